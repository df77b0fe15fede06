"""`wheatear evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from wheatear.cli_errors import friendly_errors
from wheatear.cli_options import (
    DatasetArgument,
    HeadPxOption,
    ImagesOption,
    ModelOption,
    TTAOption,
    named_path,
    parse_head_px,
    say_unchosen,
)
from wheatear.errors import InputError
from wheatear.words import photos


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
    refuse_contradictions(model, detections, other_labels, tta, head_px, threshold, choose_threshold)
    size = parse_head_px(head_px)
    from wheatear.cli_evaluate_input import (
        labelled_photos,
        read_detections,
        readable,
        run_model,
        second_labelling,
    )
    from wheatear.cli_evaluate_output import REPORT, judge, keep, named, prepare, save, show
    from wheatear.data.splits import usual_split
    from wheatear.detector import DEFAULT_MODEL, is_file_name, load
    from wheatear.evaluation import Thresholds, best_threshold
    from wheatear.evaluation_report import write_evaluation_report
    from wheatear.files import sha256

    known, wanted = labelled_photos(folder, labels, images, split, model)
    prepare(out, report, detections, other_labels)
    chosen, name, views = readable(wanted), model or DEFAULT_MODEL, None
    thresholds = Thresholds(threshold or 0.0, threshold or 0.0)
    unread = len(wanted) - len(chosen)
    if detections:
        found = read_detections(detections, folder, known, chosen)
    elif other_labels:
        chosen, found = second_labelling(other_labels, known, chosen)
    else:
        detector = load(name, tta=tta)
        views = detector.tta
        if not choose_threshold and threshold is None:
            say_unchosen(detector)
            thresholds = Thresholds(detector.card.score_threshold, detector.card.threshold_to_count())
        chosen, found = run_model(detector, chosen, size)
        unread = len(wanted) - len(chosen)
    if choose_threshold:
        thresholds = best_threshold(chosen, found)
    figures = judge(chosen, found, thresholds)
    save(figures, found, out, report)
    sized = f" --head-px {head_px}" if head_px else ""
    if report:
        judged = named(detections or other_labels or name) + (f" --tta {views}" if views else "") + sized
        title = f"{judged} on {photos(len(chosen))} of {folder.resolve().name}"
        write_evaluation_report(out / REPORT, chosen, found, figures, title)
    elif (out / REPORT).exists():
        typer.echo(f"wheatear: {out}: still has {REPORT} of an earlier run", err=True)
    show(figures)
    typer.echo(f"Saved in {out}")
    file = Path(model) if choose_threshold and model and is_file_name(model) else None
    if unread:
        stays = "; the card of the model stays as it was" if file else ""
        raise InputError(f"photos that cannot be read, and are in no figure: {unread:,}{stays}")
    if file:
        if sha256(file) != detector.sha256:  # its card is another model's, too
            raise InputError(f"{file}: was replaced meanwhile, so its card stays as it is; evaluate it again")
        keep(file.with_suffix(".json"), chosen, found, figures, split or usual_split(known), views)
    elif choose_threshold and not (detections or other_labels):
        options = f"--model {name} --threshold {thresholds.count:g}{f' --tta {tta}' if tta else ''}{sized}"
        stays = "is a shipped detector, whose card stays as it is"
        typer.echo(f"wheatear: {name} {stays}; give `wheatear count` {options}", err=True)


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
