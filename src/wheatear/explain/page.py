"""The story of a photo as one self-contained HTML page: images inline, no script, no network."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from string import Template

from wheatear.explain.colours import MEANINGS
from wheatear.page import SCROLL


@dataclass(frozen=True)
class Picture:
    """A section of the page: a WebP image in base64 with its caption, or the reason why it has no image.

    A wide one, with several panels, would be too small to read on a phone, where it is enlarged and scrolls.
    """

    title: str
    text: str
    caption: str = ""
    image: str = ""
    left_out: str = ""
    wide: bool = False


PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$name: what the detector sees</title>
<style>
:root { color-scheme: light dark; }
body { font: 17px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .3rem; }
figure { margin: 0; }
img { width: 100%; height: auto; background: #fff; border-radius: 6px; }
figcaption, .left-out { font-size: .95rem; opacity: .85; }
.left-out { border-left: 4px solid #999; padding-left: .8rem; }
@media (max-width: 46rem) { .scroll { overflow-x: auto; } .wide { width: 46rem; } }
ul.colours { list-style: none; padding: 0; display: grid; gap: .2rem .8rem;
  grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); }
.colours li { padding-left: 1.5em; text-indent: -1.5em; }
.colours span { display: inline-block; width: 1em; height: 1em; margin-right: .5em; vertical-align: -.12em;
  border: 1px solid #888; border-radius: 2px; }
nav ol { columns: 16rem; }
</style>
</head>
<body>
<h1>What the detector sees in $name</h1>
<p>Each section is one step from the photo to its count. The colours mean the same in all of them:</p>
<ul class="colours">
$colours
</ul>
<nav><ol>
$contents
</ol></nav>
$sections
</body>
</html>
""")


def page(name: str, pictures: Sequence[Picture]) -> str:
    """The HTML of a photo's story."""
    return PAGE.substitute(
        name=escape(name),
        colours="\n".join(
            f'<li><span style="background:{colour}"></span>{meaning}</li>' for colour, meaning in MEANINGS
        ),
        contents="\n".join(
            f'<li><a href="#step-{i}">{escape(p.title)}</a></li>' for i, p in enumerate(pictures, 1)
        ),
        sections="\n".join(_section(i, p) for i, p in enumerate(pictures, 1)),
    )


def _section(number: int, picture: Picture) -> str:
    head = f'<section id="step-{number}">\n<h2>{number}. {escape(picture.title)}</h2>\n<p>{escape(picture.text)}</p>'
    if picture.left_out:
        return f'{head}\n<p class="left-out">Left out: {escape(picture.left_out)}.</p>\n</section>'
    caption = escape(picture.caption)
    frame, wide = (SCROLL, ' class="wide"') if picture.wide else ("<div>", "")
    source = f"data:image/webp;base64,{picture.image}"
    return (
        f'{head}\n<figure>{frame}<img{wide} alt="{escape(picture.title)}" src="{source}"></div>\n'
        f"<figcaption>{caption}</figcaption></figure>\n</section>"
    )
