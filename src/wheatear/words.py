"""Numbers in words, for every page and line that a reader sees."""


def photos(number: int) -> str:
    """1 photo, 1,096 photos."""
    return "1 photo" if number == 1 else f"{number:,} photos"


def figures(number: float) -> str:
    """Three figures, all of those before the point: 0.0123, 1.23, 12,345."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"
