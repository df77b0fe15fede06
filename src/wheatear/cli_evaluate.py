"""`wheatear evaluate`: a detector, or anybody's detections, against labelled photos."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wheatear.cli_errors import friendly_errors
from wheatear.cli_evaluate_run import (
    labelled_photos,
    read_detections,
    readable,
    run_model,
    second_labelling,
)
from wheatear.cli_options import (
    DatasetArgument,
    HeadPxOption,
    ImagesOption,
    ModelOption,
    named_path,
    parse_head_px,
)
from wheatear.cli_tta import TTAOption
from wheatear.errors import InputError
from wheatear.files import make_folder, refuse_foreign, whole
from wheatear.words import photos

if TYPE_CHECKING:
    from wheatear.data.sample import Sample
    from wheatear.detections import Detections
    from wheatear.evaluation import Evaluation, Thresholds


EVALUATION, DETECTIONS, REPORT = "evaluation.json", "detections.csv", "report.html"
AT_SCORE_THRESHOLD = "at_score_threshold"  # what evaluation.json begins with
TABLE_WIDTH = 132  # characters of the table's 14 columns


@friendly_errors()
def evaluate_command(
    folder: DatasetArgument,
    split: Annotated[
        str | None,
        typer.Option(
            help="Photos to evaluate: train, val, test or all.",
            show_default="val, or all if there is no split",
        ),
    ] = None,
    model: ModelOption = None,
    head_px: HeadPxOption = None,
    tta: TTAOption = None,
    detections: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV|JSON",
            help="Evaluate these detections instead of a model: a CSV with image,xmin,ymin,xmax,ymax,score, or COCO "
            "results.",
        ),
    ] = None,
    other_labels: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV", help="Evaluate this second labelling of the photos as if a detector had found it."
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV", help="Labels to use as ground truth; photos that it does not name keep DIR's own."
        ),
    ] = None,
    images: ImagesOption = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Score threshold.", show_default="the model's own; 0 without a model"
        ),
    ] = None,
    choose_threshold: Annotated[
        bool,
        typer.Option(
            "--choose-threshold",
            help="Choose the best thresholds on these photos, and save them in the card of a model FILE.",
        ),
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Also write report.html: curves, errors by size, worst mistakes.")
    ] = False,
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder for the figures and detections.", parser=named_path),
    ] = Path("evaluation"),
) -> None:
    """Print and save the Kaggle metric, ADA, AP and counting errors, overall and per session.

    A photo that cannot be read is reported and left out of all figures; the exit
    code is then 1.
    """
    from wheatear.data.splits import usual_split
    from wheatear.detector import DEFAULT_MODEL, is_file_name
    from wheatear.evaluation import Thresholds, best_threshold

    refuse_contradictions(model, detections, other_labels, tta, head_px, threshold, choose_threshold)
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
        own = not choose_threshold and threshold is None
        chosen, found, its, views = run_model(model or DEFAULT_MODEL, chosen, tta, size, own)
        unread = len(wanted) - len(chosen)
        thresholds = its if own else thresholds
    if choose_threshold:
        thresholds = best_threshold(chosen, found)
    figures = judge(chosen, found, thresholds)
    save(figures, found, out)
    if report:
        judged = Path(detections or other_labels or model or DEFAULT_MODEL).name
        judged += f" --tta {views}" if views else ""
        judged += f" --head-px {head_px}" if head_px else ""
        title = f"{judged} on {photos(len(chosen))} of {folder.resolve().name}"
        save_report(title, chosen, found, figures, out)
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


def refuse_contradictions(
    model: str | None,
    detections: Path | None,
    other_labels: Path | None,
    tta: str | None,
    head_px: str | None,
    threshold: float | None,
    choose_threshold: bool,
) -> None:
    """InputError for options of `wheatear evaluate` that exclude each other."""
    if sum(bool(given) for given in (model, detections, other_labels)) > 1:
        raise InputError("--model, --detections and --other-labels: give one of them")
    for name, given in (("--tta", tta), ("--head-px", head_px)):
        if given and (detections or other_labels):
            raise InputError(f"{name} {given}: is for a model; leave it out")
    if choose_threshold and isinstance(parse_head_px(head_px), float):
        raise InputError(
            "--choose-threshold: is for photos as `wheatear count` sees them; leave out --head-px"
        )
    if choose_threshold and threshold is not None:
        raise InputError("--threshold and --choose-threshold: give one of the two")


def refuse_tables(out: Path, *read: Path | None) -> None:
    """InputError where OUT/detections.csv is read from, or a count's, since what is judged is written there."""
    from wheatear.photo_names import are_results

    own = out / DETECTIONS
    if own.resolve() in [file.resolve() for file in read if file] or (own.exists() and are_results(out)):
        raise InputError(f"{own}: would be written over; name another folder for --out")


def refuse_foreign_evaluation(out: Path, files: "Sequence[str]") -> None:
    """InputError where OUT has a file that is to be written, and no evaluation of ours: it is another's."""
    from wheatear.photo_names import holds

    there = [out / name for name in (EVALUATION, *files) if (out / name).exists()]
    if not holds(out / EVALUATION, f'"{AT_SCORE_THRESHOLD}"'):
        refuse_foreign(there, "evaluation of ours")


def judge(
    samples: "Sequence[Sample]", found: "Mapping[str, Detections]", thresholds: "Thresholds"
) -> "dict[str, Evaluation]":
    """Evaluations AT_SCORE_THRESHOLD and, where that for counting differs, "at_count_threshold"."""
    from wheatear.evaluation import evaluate_at

    at = {AT_SCORE_THRESHOLD: thresholds.kaggle}
    if thresholds.count != thresholds.kaggle:
        at["at_count_threshold"] = thresholds.count
    return dict(zip(at, evaluate_at(samples, found, list(at.values())), strict=True))


def show(figures: "Mapping[str, Evaluation]") -> None:
    """A table for each threshold."""
    console = Console()
    if (
        console.width < TABLE_WIDTH
    ):  # lines that the terminal folds still show every digit; narrow columns do not
        console = Console(width=TABLE_WIDTH)
    for name, evaluation in figures.items():
        title = f"{name.replace('_', ' ')} {evaluation.score_threshold:.2f}".capitalize()
        header, *rows = evaluation.table()
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
        for i, column in enumerate(header):
            table.add_column(column, justify="right" if i else "left")
        for row in rows[:-1]:
            table.add_row(*map(escape, row))
        table.add_section()
        table.add_row(*rows[-1], style="bold")
        console.print(table)


def save(figures: "Mapping[str, Evaluation]", found: "Mapping[str, Detections]", out: Path) -> None:
    """OUT/evaluation.json, every figure; OUT/detections.csv, what was judged."""
    from wheatear.detections import write_csv

    with whole(out / EVALUATION) as part:
        part.write_text(json.dumps({k: e.to_dict() for k, e in figures.items()}, indent=2) + "\n", "utf-8")
    write_csv(out / DETECTIONS, found.items())


def save_report(
    title: str,
    samples: "Sequence[Sample]",
    found: "Mapping[str, Detections]",
    figures: "Mapping[str, Evaluation]",
    out: Path,
) -> None:
    """OUT/report.html."""
    from wheatear.evaluation_report import write_evaluation_report

    write_evaluation_report(out / REPORT, samples, found, figures, title)


def keep(
    card: Path,
    samples: "Sequence[Sample]",
    found: "Mapping[str, Detections]",
    figures: "Mapping[str, Evaluation]",
    split: str,
    tta: str | None = None,
) -> None:
    """Write the chosen thresholds and what they give into a model's card, that with tta apart from the rest."""
    from wheatear.known_failures import known_failures

    content = json.loads(card.read_text("utf-8"))
    judged = content.setdefault("tta", {}).setdefault(tta, {}) if tta else content
    evaluations = list(figures.values())
    first, last = evaluations[0], evaluations[-1]
    judged["score_threshold"], judged["count_threshold"] = first.score_threshold, last.score_threshold
    judged.setdefault("figures", {})[split] = {name: e.to_dict() for name, e in figures.items()}
    judged["known_failures"] = known_failures(samples, found, first, last)
    with whole(card) as part:
        part.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
