"""What comes of `wheatear evaluate`: its files, its table, and the thresholds in a model's card."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wheatear.data.sample import Sample
from wheatear.detections import Detections, write_csv
from wheatear.detector import is_file_name
from wheatear.errors import InputError
from wheatear.evaluation import Evaluation, Thresholds, evaluate_at
from wheatear.files import make_folder, refuse_foreign, write_json
from wheatear.known_failures import known_failures
from wheatear.photo_names import are_results, holds

EVALUATION, DETECTIONS, REPORT = "evaluation.json", "detections.csv", "report.html"
AT_SCORE_THRESHOLD = "at_score_threshold"  # what evaluation.json begins with
TABLE_WIDTH = 132  # characters of the table's 14 columns


def prepare(out: Path, report: bool, *read: Path | None) -> None:
    """Create OUT, before the work whose results it will contain.

    InputError where OUT/detections.csv is read from, or a count's, since what is judged is written there; and where
    OUT has a file that is to be written, and no evaluation of ours: it is another's.
    report: whether report.html will be written, too. read: the files of detections or labels to judge.
    """
    own = out / DETECTIONS
    if own.resolve() in [file.resolve() for file in read if file] or (own.exists() and are_results(out)):
        raise InputError(f"{own}: would be written over; name another folder for --out")
    if not holds(out / EVALUATION, f'"{AT_SCORE_THRESHOLD}"'):
        files = [out / name for name in (EVALUATION, DETECTIONS, *([REPORT] if report else []))]
        refuse_foreign([file for file in files if file.exists()], "evaluation of ours")
    make_folder(out)


def named(judged: str | Path) -> str:
    """What is judged, in a title: a file's name, with its folder if it is one of many a model.onnx."""
    path = Path(judged)
    return f"{path.resolve().parent.name}/{path.name}" if is_file_name(judged) else path.name


def judge(
    samples: Sequence[Sample], found: Mapping[str, Detections], thresholds: Thresholds
) -> dict[str, Evaluation]:
    """Evaluations AT_SCORE_THRESHOLD and, where that for counting differs, "at_count_threshold"."""
    at = {AT_SCORE_THRESHOLD: thresholds.kaggle}
    if thresholds.count != thresholds.kaggle:
        at["at_count_threshold"] = thresholds.count
    return dict(zip(at, evaluate_at(samples, found, list(at.values())), strict=True))


def show(figures: Mapping[str, Evaluation]) -> None:
    """A table for each threshold."""
    console = Console()
    if console.width < TABLE_WIDTH:
        # Lines that the terminal folds still show every digit; narrow columns do not.
        console = Console(width=TABLE_WIDTH)
    for name, evaluation in figures.items():
        header, *rows = evaluation.table()
        table = Table(title=evaluation.title(name), title_justify="left", box=box.SIMPLE_HEAD)
        for i, column in enumerate(header):
            table.add_column(column, justify="right" if i else "left")
        for row in rows[:-1]:
            table.add_row(*map(Text, row))
        table.add_section()
        table.add_row(*rows[-1], style="bold")
        console.print(table)


def save(figures: Mapping[str, Evaluation], found: Mapping[str, Detections], out: Path, report: bool) -> None:
    """OUT/evaluation.json, every figure; OUT/detections.csv, what was judged.

    What an earlier run left is removed first, report.html too if a new one is to come: if the program is killed,
    no file is beside the figures of another run.
    """
    for name in (DETECTIONS, *([REPORT] if report else [])):
        (out / name).unlink(missing_ok=True)
    write_json(out / EVALUATION, {name: each.to_dict() for name, each in figures.items()})
    write_csv(out / DETECTIONS, found.items())


def keep(
    card: Path,
    samples: Sequence[Sample],
    found: Mapping[str, Detections],
    figures: Mapping[str, Evaluation],
    split: str,
    tta: str | None,
) -> None:
    """Write the chosen thresholds and what they give into a model's card, that with tta apart from the rest."""
    content = json.loads(card.read_text("utf-8"))
    judged = content.setdefault("tta", {}).setdefault(tta, {}) if tta else content
    evaluations = list(figures.values())
    first, last = evaluations[0], evaluations[-1]
    judged["score_threshold"], judged["count_threshold"] = first.score_threshold, last.score_threshold
    judged.setdefault("figures", {})[split] = {name: e.to_dict() for name, e in figures.items()}
    judged["known_failures"] = known_failures(samples, found, first, last)
    write_json(card, content)
