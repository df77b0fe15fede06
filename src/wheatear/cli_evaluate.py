"""`wheatear evaluate`: the options."""

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
)
from wheatear.errors import InputError


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
    from wheatear.cli_evaluate_run import run_evaluation

    run_evaluation(
        folder,
        split=split,
        model=model,
        head_px=head_px,
        tta=tta,
        detections=detections,
        other_labels=other_labels,
        labels=labels,
        images=images,
        threshold=threshold,
        choose_threshold=choose_threshold,
        report=report,
        out=out,
    )


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
