"""The frame of the HTML reports: each is one self-contained file whose policy forbids network access."""

import base64
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from PIL import Image

from wheatear.files import whole

Write = Callable[[str], object]

JPEG_QUALITY = 70  # little more than half the size of annotated pictures' 90; the boxes stay clear

# Content that is wider than the screen can be scrolled, with the keyboard too.
SCROLL = '<div class="scroll" tabindex="0" role="region" aria-label="scrolls sideways">'

_START = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<h1>$title</h1>
""")
_END = Template("""<dialog aria-label="Picture">
<button class="close">Close</button><img alt=""><p><span></span> <a hidden></a></p></dialog>
<script>
$script</script>
</body>
</html>
""")


@contextmanager
def open_page(path: Path, title: str) -> Iterator[Write]:
    """Give a function that appends HTML to the page; the page gets its name once the block ends well."""
    with whole(path) as part, part.open("w", encoding="utf-8", errors="replace") as file:
        file.write(_START.substitute(title=escape(title), style=_part("report.css")))
        yield file.write
        file.write(_END.substitute(script=_part("report.js")))


def thumbnail(picture: Image.Image, side: int) -> str:
    """The picture as a JPEG of at most `side` pixels a side, in a data URI."""
    if picture.format == "JPEG":
        picture.draft("RGB", (side, side))  # decodes a large photo at a fraction of its size
    small = picture.convert("RGB")
    small.thumbnail((side, side))
    data = io.BytesIO()
    small.save(data, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


def opening(data_uri: str, text: str, file: str = "") -> str:
    """A thumbnail that opens when clicked; with a file (a relative URL), there is a link to the whole picture."""
    link = f' data-file="{escape(file)}"' if file else ""
    return f'<button class="open"{link}><img src="{data_uri}" alt="{escape(text)}"></button>'


def figure(content: str, caption: str) -> str:
    """HTML content above a caption, which is HTML too."""
    return f"<figure>{content}<figcaption>{caption}</figcaption></figure>\n"


def key(colour: str, meaning: str) -> str:
    """An entry of a legend."""
    return f'<span class="key" style="background:{colour}"></span>{escape(meaning)}'


def header(titles: Sequence[str], numbers: Iterable[bool]) -> str:
    """The start of a table that can be sorted by its titles; an empty title is not a button."""
    cells = []
    for title, number in zip(titles, numbers, strict=True):
        kind = ' class="number"' if number else ""
        cells.append(
            f"<th{kind}><button>{escape(title)}</button></th>" if title else '<th aria-label="picture"></th>'
        )
    return f"{SCROLL}<table>\n<thead><tr>{''.join(cells)}</tr></thead>\n<tbody>\n"


def cell(text: str, value: float | None = None, number: bool = False, small: str = "") -> str:
    """A cell with text, or with a number to sort by; None sorts below all others. small: smaller text below it."""
    below = f"<small>{escape(small)}</small>" if small else ""
    if not number:
        return f'<td class="name">{escape(text)}{below}</td>'
    return f'<td class="number" data-value="{"" if value is None else value}">{escape(text)}{below}</td>'


END_OF_TABLE = "</tbody>\n</table></div>\n"


def _part(name: str) -> str:
    return (files("wheatear") / "html" / name).read_text(encoding="utf-8")
