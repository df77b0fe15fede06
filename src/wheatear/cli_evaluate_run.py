"""`wheatear evaluate` once its options are known: the run itself, its files and its table."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wheatear.cli_evaluate_input import (
    labelled_photos,
    read_detections,
    readable,
    run_model,
    second_labelling,
)
from wheatear.cli_options import parse_head_px, say_unchosen
from wheatear.data.sample import Sample
from wheatear.data.splits import usual_split
from wheatear.detections import Detections, write_csv
from wheatear.detector import DEFAULT_MODEL, is_file_name, load
from wheatear.errors import InputError
from wheatear.evaluation import Evaluation, Thresholds, best_threshold, evaluate_at
from wheatear.evaluation_report import write_evaluation_report
from wheatear.files import make_folder, refuse_foreign, write_json
from wheatear.known_failures import known_failures
from wheatear.photo_names import are_results, holds
from wheatear.words import photos

EVALUATION, DETECTIONS, REPORT = "evaluation.json", "detections.csv", "report.html"
AT_SCORE_THRESHOLD = "at_score_threshold"  # what evaluation.json begins with
TABLE_WIDTH = 132  # characters of the table's 14 columns


def run_evaluation(
    folder: Path,
    *,
    split: str | None,
    model: str | None,
    head_px: str | None,
    tta: str | None,
    detections: Path | None,
    other_labels: Path | None,
    labels: Path | None,
    images: Path | None,
    threshold: float | None,
    choose_threshold: bool,
    report: bool,
    out: Path,
) -> None:
    """Judge, write the files and print the table. InputError, after that, if photos could not be read."""
    size = parse_head_px(head_px)
    known, wanted = labelled_photos(folder, labels, images, split, model)
    refuse_tables(out, detections, other_labels)
    refuse_foreign_evaluation(out, [DETECTIONS, *([REPORT] if report else [])])
    make_folder(out)
    chosen, views = readable(wanted), None
    thresholds = Thresholds(threshold or 0.0, threshold or 0.0)
    unread = len(wanted) - len(chosen)
    if detections:
        found = read_detections(detections, folder, known, chosen)
    elif other_labels:
        chosen, found = second_labelling(other_labels, known, chosen)
    else:
        detector = load(model or DEFAULT_MODEL, tta=tta)
        views = detector.tta
        if not choose_threshold and threshold is None:
            say_unchosen(detector)
            thresholds = Thresholds(detector.card.score_threshold, detector.card.threshold_to_count())
        chosen, found = run_model(detector, chosen, size)
        unread = len(wanted) - len(chosen)
    if choose_threshold:
        thresholds = best_threshold(chosen, found)
    figures = judge(chosen, found, thresholds)
    save(figures, found, out)
    if report:
        judged = named(detections or other_labels or model or DEFAULT_MODEL)
        judged += f" --tta {views}" if views else ""
        judged += f" --head-px {head_px}" if head_px else ""
        title = f"{judged} on {photos(len(chosen))} of {folder.resolve().name}"
        write_evaluation_report(out / REPORT, chosen, found, figures, title)
    elif (out / REPORT).exists():
        typer.echo(f"wheatear: {out}: still has {REPORT} of an earlier run", err=True)
    show(figures)
    typer.echo(f"Saved in {out}")
    card = Path(model).with_suffix(".json") if choose_threshold and model and is_file_name(model) else None
    if unread:
        stays = "; the card of the model stays as it was" if card else ""
        raise InputError(f"photos that cannot be read, and are in no figure: {unread:,}{stays}")
    if card:
        keep(card, chosen, found, figures, split or usual_split(known), views)
    elif choose_threshold and not (detections or other_labels):
        name = model or DEFAULT_MODEL
        options = f"--model {name} --threshold {thresholds.count:g}" + (f" --tta {tta}" if tta else "")
        options += f" --head-px {head_px}" if head_px else ""
        typer.echo(
            f"wheatear: {name} is a shipped detector, whose card stays as it is; give `wheatear count` {options}",
            err=True,
        )


def named(judged: str | Path) -> str:
    """What is judged, in a title: a file's name, with its folder if it is one of many a model.onnx."""
    path = Path(judged)
    return f"{path.resolve().parent.name}/{path.name}" if is_file_name(judged) else path.name


def refuse_tables(out: Path, *read: Path | None) -> None:
    """InputError where OUT/detections.csv is read from, or a count's, since what is judged is written there."""
    own = out / DETECTIONS
    if own.resolve() in [file.resolve() for file in read if file] or (own.exists() and are_results(out)):
        raise InputError(f"{own}: would be written over; name another folder for --out")


def refuse_foreign_evaluation(out: Path, files: Sequence[str]) -> None:
    """InputError where OUT has a file that is to be written, and no evaluation of ours: it is another's."""
    there = [out / name for name in (EVALUATION, *files) if (out / name).exists()]
    if not holds(out / EVALUATION, f'"{AT_SCORE_THRESHOLD}"'):
        refuse_foreign(there, "evaluation of ours")


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
            table.add_row(*map(escape, row))
        table.add_section()
        table.add_row(*rows[-1], style="bold")
        console.print(table)


def save(figures: Mapping[str, Evaluation], found: Mapping[str, Detections], out: Path) -> None:
    """OUT/evaluation.json, every figure; OUT/detections.csv, what was judged."""
    write_json(out / EVALUATION, {name: each.to_dict() for name, each in figures.items()})
    write_csv(out / DETECTIONS, found.items())


def keep(
    card: Path,
    samples: Sequence[Sample],
    found: Mapping[str, Detections],
    figures: Mapping[str, Evaluation],
    split: str,
    tta: str | None = None,
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
