"""Numbers in words, for every page and line that a reader sees."""


def photos(number: int) -> str:
    """1 photo, 1,096 photos."""
    return "1 photo" if number == 1 else f"{number:,} photos"
