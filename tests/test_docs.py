"""The examples of docs/python.md, run in order in a folder with a photo and a drawn field."""

import doctest
import re
import shutil
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

import wheatear.detector
from tiny_model import write_tiny_model

GUIDE = Path(__file__).parents[1] / "docs" / "python.md"
NEEDS = {"to_pandas": "pandas", "to_supervision": "supervision"}


def blocks() -> list[doctest.DocTest]:
    """One DocTest for each block of Python whose libraries are installed; they share their names."""
    text = GUIDE.read_text(encoding="utf-8")
    parser, names, found = doctest.DocTestParser(), {}, []
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        if all(find_spec(library) for call, library in NEEDS.items() if call in block[1]):
            line = text[: block.start(1)].count("\n")
            found.append(parser.get_doctest(block[1], names, GUIDE.name, str(GUIDE), line))
    return found


@pytest.mark.filterwarnings("ignore:OpenCV:UserWarning")  # supervision's, when it is imported without
def test_the_examples(
    field_dir: Path, field_photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(field_photo, tmp_path / "photo.jpg")
    (tmp_path / "field").symlink_to(field_dir)
    # The examples show the shipped detector, whose weights a test must not need.
    tiny = write_tiny_model(tmp_path)
    monkeypatch.setattr(wheatear.detector, "load", partial(wheatear.detector.load, tiny))
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    report: list[str] = []
    runner = doctest.DocTestRunner()
    examples = blocks()
    assert sum(len(block.examples) for block in examples) > 20
    for block in examples:
        block.globs = names
        runner.run(block, out=report.append, clear_globs=False)
    assert runner.failures == 0, "".join(report)
