"""`wheatear train`, `average` and `export`: the commands that need torch."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wheatear.cli_errors import friendly_errors
from wheatear.cli_options import DatasetArgument, ImagesOption, named_path
from wheatear.errors import InputError
from wheatear.words import photos

if TYPE_CHECKING:
    from wheatear.data.sample import Sample
    from wheatear.train.fit import Machine
    from wheatear.train.recipe import Recipe


def need_torch() -> None:
    """Raises InputError, saying what to install, where the training extra is not there."""
    try:
        import lightning  # noqa: F401
        import torchvision  # noqa: F401

        for package in ("onnx", "onnxscript", "safetensors", "tensorboard"):  # which take seconds to load
            if not find_spec(package):
                raise ImportError(f"No module named '{package}'")
    except ImportError as error:
        raise InputError(
            f"training needs more packages ({error}); run pip install '.[train]' in wheatear's folder"
        ) from None


@friendly_errors()
def train_command(
    folder: DatasetArgument,
    recipe: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="Shipped recipe, or the path of a TOML file.")
    ] = "tiny",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a key of the recipe, e.g. stages.0.epochs=5; can be repeated.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Run folder.",
            show_default="runs/<name of the recipe>",
            parser=named_path,
        ),
    ] = None,
    stage: Annotated[
        str | None, typer.Option(help="Train only this stage.", show_default="all, in order")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=2**31 - 1,
            help="Random seed: initial weights, order of the photos, augmentation.",
            show_default="the recipe's",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Train on these labels; photos that it does not name keep DIR's own. The val photos are still "
            "evaluated against DIR's own.",
        ),
    ] = None,
    both: Annotated[
        bool,
        typer.Option(
            "--both",
            help="With --labels: alternate at random between those labels and DIR's own, in stages that support it.",
        ),
    ] = False,
    images: ImagesOption = None,
    more: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="Also train on all photos of this data set, e.g. one from `wheatear data pseudo`; can be repeated.",
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="32-true, bf16-mixed or 16-mixed; bf16-mixed is faster where the hardware supports bfloat16."
        ),
    ] = "32-true",
    accelerator: Annotated[str, typer.Option(help="cpu, gpu, mps, or auto for the best available.")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Number of such devices to train on.")] = 1,
    strategy: Annotated[str, typer.Option(help="Lightning strategy; ddp for several devices.")] = "auto",
    workers: Annotated[
        int,
        typer.Option(min=0, help="Processes that load photos for the joint stages; for machines with a GPU."),
    ] = 0,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|NAME",
            help="Start from these weights instead of the recipe's: a backbone, a trained detector "
            "(weights.safetensors or model.onnx), or a shipped detector by name.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run where it stopped.")] = False,
) -> None:
    """Train the stages of a recipe in order, each starting from the weights of the previous ones.

    Photos without a split are divided into train and val as `wheatear data split`
    does. With --resume, a stopped run continues after its last finished epoch.
    """
    need_torch()
    from wheatear.data.formats import IMAGES_CSV, read_dataset
    from wheatear.data.more import add_more
    from wheatear.files import alone_in
    from wheatear.train.checkpoint import finished
    from wheatear.train.fit import Machine, first_process
    from wheatear.train.opening import open_run
    from wheatear.train.recipe import load_recipe
    from wheatear.train.recipe_changes import with_options
    from wheatear.train.relabelled import Relabelled
    from wheatear.train.run import train_run
    from wheatear.train.start import changed_meaning, start_file, with_network_of

    start = weights and start_file(weights)
    asked = load_recipe(recipe)
    loaded = with_network_of(asked, start) if start else asked
    settings = with_options(loaded, set_ or ())
    if seed is not None:
        settings = settings.model_copy(update={"seed": seed})
    machine = Machine(accelerator, devices, strategy, workers)
    if both and not labels:
        raise InputError("--both: give the other labels by --labels CSV")
    refuse_unable(machine, settings, precision)
    out = out or Path("runs") / settings.name
    if out.resolve() == folder.resolve():
        raise InputError(f"{out}: is the folder of the data set; name another for --out")
    # With the recipe's own seed, so that runs of other seeds compare.
    samples, is_divided_here, remarks = in_splits(read_dataset(folder, images=images), loaded.seed)
    samples, added = add_more(samples, more or ())
    other = Relabelled(labels, read_dataset(folder, labels), both) if labels else None
    say = typer.echo if first_process() else quiet
    with alone_in(out) if first_process() else nullcontext():
        run = open_run(
            out,
            settings,
            samples,
            precision=precision,
            resume=resume or stage is not None,
            machine=machine,
            weights=start,
            more=added,
            other_labels=other,
            only=stage,
        )
        if loaded != asked:
            say(f"The network is that of {weights}, not the recipe's: {settings.image_size} px")
        if other_keys := changed_meaning(run.recipe, start):
            say(f"{weights} had another {', '.join(other_keys)}, so what it learnt is in part lost")
        if machine.only_imitates(precision):
            say(
                f"--precision {precision}: this processor only imitates it, two to twelve times slower; leave it out",
                err=True,
            )
        if run.left_out:
            say(f"{run.left_out:,} boxes that cannot be heads are left out; `wheatear data check` names them")
        for remark in remarks:
            say(remark)
        if stage and finished(out, stage):
            say(f"Stage {stage} was finished already; remove {out / stage} to train it again")
        with said_to_stop():
            train_run(run, stage)
    if is_divided_here:
        say(f"The photos are divided by {out / IMAGES_CSV}: take it for --images")
    left = [each.stage for each in settings.stages if not finished(out, each.stage)]
    say(f"Done. Next: wheatear export {out}" if not left else f"Done. Left: {', '.join(left)}")


def refuse_unable(machine: "Machine", recipe: "Recipe", precision: str) -> None:
    """InputError for a machine on which this recipe cannot be trained, or not in this precision."""
    if machine.devices > 1 and not recipe.is_joint():
        raise InputError(
            f"--devices {machine.devices}: only joint stages train on several; recipe {recipe.name} has others"
        )
    if any(way in machine.strategy for way in ("spawn", "fork", "notebook")):
        raise InputError(
            f"--strategy {machine.strategy}: processes that Python starts cannot train here; give ddp"
        )
    if precision == "16-mixed" and not machine.has_gpu():
        raise InputError("--precision 16-mixed: is for GPUs; on a processor give bf16-mixed, or leave it out")


def in_splits(samples: "list[Sample]", seed: int) -> "tuple[list[Sample], bool, list[str]]":
    """The photos in train and val; whether they had to be divided for that; and what the user should know of it."""
    from wheatear.data.photos import too_short
    from wheatear.data.splits import split

    undivided = sum(not sample.split for sample in samples)
    if not undivided:
        return samples, False, []
    remarks = []
    if undivided < len(samples):
        remarks.append(f"{photos(undivided)} in no split yet, so divided into train and val")
    if untold := too_short(samples):
        remarks.append(untold.capitalize())
    return split(samples, seed=seed), True, remarks


def quiet(message: str, err: bool = False) -> None:
    """What is said by all processes but the first of those that train together."""


@contextmanager
def said_to_stop() -> Iterator[None]:
    """Tell how to go on after Ctrl-C, or SIGTERM at which Lightning ends in silence; exit as shells do."""
    try:
        yield
    except (SystemExit, KeyboardInterrupt) as stop:
        # Lightning's SIGTERMException is a kind of SystemExit.
        terminated = type(stop) not in (SystemExit, KeyboardInterrupt)
        typer.echo("wheatear: stopped; go on by the same command with --resume", err=True)
        raise typer.Exit(128 + (signal.SIGTERM if terminated else signal.SIGINT)) from None


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
    from wheatear.data.splits import divided_as, photos_of
    from wheatear.files import make_way
    from wheatear.train.export import export_detector, is_exported
    from wheatear.train.recipe import load_recipe

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
        return samples if again else divided_as(samples, run / IMAGES_CSV)

    card = path.with_suffix(".json")
    had_thresholds = has_thresholds(card)
    seen = photos_of(divided(int8), "train", int8) if int8 else []
    export_detector(run, path, seen, settings)
    if had_thresholds and not has_thresholds(card):
        chosen_anew = f"wheatear evaluate DIR --model {path} --choose-threshold"
        typer.echo(f"wheatear: {card}: the thresholds of before are gone; {chosen_anew}", err=True)
    typer.echo(f"Written to {path} ({path.stat().st_size / 1e6:.1f} MB)")
    if check:
        judge = check_cost if int8 else check_agreement
        judge(run, path, photos_of(divided(check), None, check), settings)


def has_thresholds(card: Path) -> bool:
    """Whether a card is there, and thresholds were chosen for its model. InputError where the file is no card."""
    from wheatear.detector import read_card

    try:
        return card.exists() and read_card(card).count_threshold is not None
    except InputError as error:
        raise InputError(
            f"{card}: is there already, and no model's card; name another file for --out"
        ) from error


def check_cost(run: Path, path: Path, samples: "Sequence[Sample]", settings: "Recipe | None") -> None:
    """Print what 8 bits cost. Raises InputError where that is beyond the tolerance."""
    from wheatear.train.export import LOST, cost

    result = cost(run, path, samples, settings)
    typer.echo(
        f"{photos(result.photos)}: Kaggle metric {result.torch:.4f} by torch, {result.int8:.4f} in 8 bits"
    )
    if not result.holds():
        raise InputError(f"{path}: loses more than {LOST}; export it without --int8")


def check_agreement(run: Path, path: Path, samples: "Sequence[Sample]", settings: "Recipe | None") -> None:
    """Print how far torch and onnxruntime are apart. Raises InputError where that is beyond the tolerance."""
    from wheatear.train.export import BOX_TOLERANCE, RARE, SCORE_TOLERANCE, compare

    result = compare(run, path, samples, settings)
    typer.echo(
        f"{photos(result.photos)}, {result.detections} detections: torch and onnxruntime differ "
        f"by at most {result.box:.2g} px and {result.score:.2g} in score, {result.apart} of them by more than "
        f"{BOX_TOLERANCE} px or {SCORE_TOLERANCE}"
    )
    if not result.holds():
        raise InputError(f"{path}: that is more than one in {1 / RARE:,.0f}; do not use it")
