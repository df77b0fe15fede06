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
        help="See each photo several times and fuse what is found: as it is and, larger, mirrored (2 views), "
        "flipped (4), turned as well (8), or as it is and mirrored in three sizes (6).",
        show_default="once; mix with medium",
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
