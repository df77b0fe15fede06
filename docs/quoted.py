"""The code and figures in walk.md, inserted by script so that they never go out of date.

<!-- code: src/wheatear/FILE.py NAME --> is followed by the function or class of that name, without its docstring.
<!-- code: FILE NAME | first text … last text --> quotes only its lines from the first text to the last text.
<!-- figure: NAME --> is followed by the picture walk/NAME.webp and its caption. Everything between such a line and
<!-- end --> is replaced.
"""

import ast
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"<!-- (code|figure): (.+?) -->\n.*?<!-- end -->", re.DOTALL)


def refresh(text: str, captions: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the text with every quotation updated from its source; figures without a caption stay as they are.

    Raises KeyError if a name is not in its file.
    """

    def renew(block: re.Match[str]) -> str:
        kind, what = block.groups()
        if kind == "code":
            return f"<!-- code: {what} -->\n```python\n{quote(what)}\n```\n<!-- end -->"
        if what not in captions:
            return block.group()
        picture = f"![{what.replace('_', ' ')}](walk/{what}.webp)"
        return f"<!-- figure: {what} -->\n{picture}\n\n*{captions[what]}*\n<!-- end -->"

    return BLOCK.sub(renew, text)


def quote(what: str) -> str:
    """Return the lines for "FILE NAME" or "FILE NAME | first … last", without their common indent."""
    place, _, span = what.partition(" | ")
    file, name = place.split()
    lines = definition((ROOT / file).read_text("utf-8"), name)
    if span:
        first, last = (part.strip() for part in span.split("…"))
        start = next((i for i, line in enumerate(lines) if first in line), None)
        end = next(
            (i for i, line in enumerate(lines) if start is not None and i >= start and last in line), None
        )
        if start is None or end is None:
            raise KeyError(f"{what}: no such lines")
        lines = lines[start : end + 1]
    return textwrap.dedent("\n".join(lines))


def definition(source: str, name: str) -> list[str]:
    """Return the lines of a function or class without its docstring; "Class.method" names one inside a class."""
    body: list[ast.stmt] = ast.parse(source).body
    for part in name.split("."):
        found = [
            node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == part
        ]
        if not found:
            raise KeyError(f"{name}: no such function or class")
        node, body = found[0], found[0].body
    lines = source.splitlines()
    skipped: range = range(0)
    if ast.get_docstring(node):
        skipped = range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    last = node.end_lineno or 0
    return [lines[i - 1] for i in range(node.lineno, last + 1) if i not in skipped]
