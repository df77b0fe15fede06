"""`wheatear export` and `average`: what becomes of trained runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wheatear.cli_errors import friendly_errors
from wheatear.cli_options import named_path, need_torch
from wheatear.errors import InputError
from wheatear.words import photos

if TYPE_CHECKING:
    from wheatear.data.sample import Sample
    from wheatear.train.recipe import Recipe


@friendly_errors()
def average_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders with all stages finished.")],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Run folder to create.", parser=named_path)],
) -> None:
    """Merge several runs into one detector by averaging their weights.

    It is often better than each of them, and as fast as one. The runs must have
    started from the same detector (`wheatear train --weights`); they may differ
    in seed and labels.
    """
    need_torch()
    from wheatear.train.average import average

    average(runs, out)
    typer.echo(f"The mean of {len(runs)} runs. Next: wheatear export {out}")


@friendly_errors()
def export_command(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|FILE|NAME",
            help="Run folder with all stages finished, or a model.onnx or shipped detector (by name) to export again.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File to write.", show_default="RUN/model.onnx")
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Compare torch and onnxruntime (with --int8: their Kaggle metrics) on the val photos of this data "
            "set, in the run's split if there is a run.",
        ),
    ] = None,
    int8: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Compute in 8 bits, twice as fast; train photos of this data set are used to calibrate the value "
            "ranges.",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Take the name, image_size and the `detection` table from this recipe.",
            show_default="the run's",
        ),
    ] = None,
) -> None:
    """Write the detector as model.onnx, which runs without torch, and its card as model.json."""
    need_torch()
    from wheatear.data.formats import IMAGES_CSV, read_dataset
    from wheatear.data.splits import divided_as, photos_of, read_splits
    from wheatear.files import make_way
    from wheatear.train.export import export_detector
    from wheatear.train.recipe import load_recipe
    from wheatear.train.run_card import is_exported

    settings = load_recipe(recipe) if recipe else None
    again = is_exported(run)
    if again and (out is None or out.resolve() == run.resolve()):
        raise InputError(f"{run}: give another file to write by --out")
    path = out or run / "model.onnx"
    if out:
        if out.suffix != ".onnx":
            raise InputError(f"--out {out}: name a file that ends in .onnx; its card is written beside it")
        make_way(out)

    def divided(folder: Path) -> "list[Sample]":
        samples = read_dataset(folder)
        return samples if again else divided_as(samples, read_splits(run / IMAGES_CSV))

    card = path.with_suffix(".json")
    had_thresholds = has_thresholds(card)
    seen = photos_of(divided(int8), "train", int8) if int8 else []
    compared = photos_of(divided(check), None, check) if check else []
    export_detector(run, path, seen, settings)
    if had_thresholds and not has_thresholds(card):
        chosen_anew = f"wheatear evaluate DIR --model {path} --choose-threshold"
        typer.echo(f"wheatear: {card}: the thresholds of before are gone; {chosen_anew}", err=True)
    typer.echo(f"Written to {path} ({path.stat().st_size / 1e6:.1f} MB)")
    if check:
        judge = check_cost if int8 else check_agreement
        judge(run, path, compared, settings)


def has_thresholds(card: Path) -> bool:
    """Whether a card is there, and thresholds were chosen for its model. InputError where the file is no card."""
    from wheatear.detector import read_card

    try:
        return card.exists() and read_card(card).count_threshold is not None
    except InputError as error:
        raise InputError(
            f"{card}: is there already, and no model's card; remove it, or name another file for --out"
        ) from error


def check_cost(run: Path, path: Path, samples: "Sequence[Sample]", settings: "Recipe | None") -> None:
    """Print what 8 bits cost. Raises InputError where that is beyond the tolerance."""
    from wheatear.train.agreement import LOST, cost

    result = cost(run, path, samples, settings)
    typer.echo(
        f"{photos(result.photos)}: Kaggle metric {result.torch:.4f} by torch, {result.int8:.4f} in 8 bits"
    )
    if not result.holds():
        raise InputError(f"{path}: loses more than {LOST}; export it without --int8")


def check_agreement(run: Path, path: Path, samples: "Sequence[Sample]", settings: "Recipe | None") -> None:
    """Print how far torch and onnxruntime are apart. Raises InputError where that is beyond the tolerance."""
    from wheatear.train.agreement import BOX_TOLERANCE, SCORE_TOLERANCE, compare

    result = compare(run, path, samples, settings)
    typer.echo(
        f"{photos(result.photos)}, {result.detections} detections: torch and onnxruntime differ "
        f"by at most {result.box:.2g} px and {result.score:.2g} in score, {result.apart} of them by more than "
        f"{BOX_TOLERANCE} px or {SCORE_TOLERANCE}"
    )
    if not result.holds():
        raise InputError(f"{path}: that is more than rounding explains; do not use it")
