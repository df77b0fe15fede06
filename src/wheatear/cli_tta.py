"""`--tta`, which several commands share."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from wheatear.detector import Detector


class TTA(StrEnum):
    """ONCE and the names of tta.VIEWS, which `--help` shall list without loading them."""

    once = "once"
    mix = "mix"
    flips = "flips"
    turns = "turns"
    scales = "scales"


TTAOption = Annotated[
    TTA | None,
    typer.Option(
        "--tta",
        help="Views of each photo to run and fuse. once: the photo as it is; mix: the photo and an enlarged mirror "
        "image (2 runs); flips: mirrored both ways (4); turns: flips plus quarter turns (8); scales: the photo and its "
        "mirror image at three sizes (6).",
        show_default="the model's own: mix for medium, once for the other shipped ones",
    ),
]


def say_unchosen(detector: "Detector", option: str = "--threshold") -> None:
    """Tell the user where the thresholds in use were chosen for other scores: fused ones are lower.

    option: the command's own for giving one.
    """
    if detector.tta is not None and detector.tta not in detector.card.tta:
        typer.echo(
            f"wheatear: {detector.card.name} has no thresholds for --tta {detector.tta}, so too few heads may be "
            f"found; choose them by `wheatear evaluate --choose-threshold`, or give {option}",
            err=True,
        )
