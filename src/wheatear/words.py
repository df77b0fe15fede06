"""Numbers in words, for every page and line that users read; and the form in which names are compared."""

import unicodedata
from collections.abc import Sequence


def composed(name: str) -> str:
    """A name with its accents in one form: some file systems and programs keep ä as one character, some as two."""
    return unicodedata.normalize("NFC", name)


def photos(number: int) -> str:
    """A number of photos: "1 photo", "1,096 photos"."""
    return "1 photo" if number == 1 else f"{number:,} photos"


def first_of(names: Sequence[object], most: int = 1) -> str:
    """The first `most` of one or more names, and how many more there are: "a.jpg and 1,096 more"."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def figures(number: float) -> str:
    """A number to three significant figures, but with all digits before the point: 0.0123, 1.23, 12,345."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"
