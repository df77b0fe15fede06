"""`wheatear explain`: the way of one photo through the detector, as pictures and a page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from wheatear.cli_errors import friendly_errors
from wheatear.cli_options import named_path, need_torch
from wheatear.errors import InputError, refuse_name

if TYPE_CHECKING:
    from wheatear.data.sample import Sample
    from wheatear.explain.seen import Finder


@friendly_errors()
def explain_command(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="The photo; labels (--data) are optional.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Folder for the pictures and the page.", parser=named_path
        ),
    ],
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="Finished run folder to use instead of a model; also shows the training."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Shipped detector or path of a model.onnx; without PyTorch only the result is shown.",
            show_default="small",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Data set that contains the photo, for its labelled boxes."),
    ] = None,
) -> None:
    """Draw each step from a photo to its count.

    Writes a PNG for each step and OUT/index.html, a page with all of them. Steps
    that this photo or model cannot show are left out, and the page says why.
    """
    if run:
        need_torch()  # before matplotlib, as its extra brings that too
    need_matplotlib()
    from wheatear.explain.seen import unlabelled
    from wheatear.explain.story import LABELS, left_out, tell

    if run and model:
        raise InputError("--run and --model: give one of the two")
    refuse_name(photo)
    sample = labelled(photo, data) if data else unlabelled(photo)
    finder, missing = open_run(run) if run else open_model(model)
    missing += [] if data else [LABELS]
    status = Console(stderr=True).status("Reading")
    with status:
        for title in tell(finder, sample, out, missing):
            status.update(title)
    for reason, titles in left_out(missing).items():
        typer.echo(f"Left out: {', '.join(titles)}: {reason}")
    typer.echo(f"Written to {out / 'index.html'}")


def need_matplotlib() -> None:
    """Raises InputError, saying what to install, where the pictures cannot be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError(f"the pictures need matplotlib ({error}); run pip install matplotlib") from None


def labelled(photo: Path, folder: Path) -> "Sample":
    """The photo with its boxes. Raises InputError where the data set does not hold it."""
    from wheatear.data.check import clean
    from wheatear.data.formats import read_dataset

    for sample in read_dataset(folder):
        if sample.path.resolve() == photo.resolve():
            return clean(sample)
    raise InputError(
        f"{photo}: not a labelled photo of {folder}; give one of its photos, or leave out --data"
    )


def open_run(folder: Path) -> "tuple[Finder, list[str]]":
    """A run, and what its recipe has not."""
    from wheatear.explain.look import TrainedRun
    from wheatear.explain.story import CNN, HISTORY
    from wheatear.train.checkpoint import has_history

    run = TrainedRun(folder)
    there = {
        CNN: run.model.snip_head is not None,
        HISTORY: all(has_history(folder, stage.stage) for stage in run.model.recipe.stages),
    }
    return run, [part for part, is_there in there.items() if not is_there]


def open_model(name: str | None) -> "tuple[Finder, list[str]]":
    """An exported detector, and what it lacks: its inside, where its card has no recipe or torch is not there."""
    from wheatear.detector import DEFAULT_MODEL, load
    from wheatear.explain.seen import ExportedModel
    from wheatear.explain.story import CNN, HISTORY, NETWORK

    name = name or DEFAULT_MODEL
    detector = load(name)
    if not detector.card.recipe or not torch_is_there():
        return ExportedModel(detector), [NETWORK]
    from wheatear.explain.look import shipped_network

    return shipped_network(name), [HISTORY, CNN]


def torch_is_there() -> bool:
    """Whether the training extra is installed."""
    try:
        need_torch()
    except InputError:
        return False
    return True
