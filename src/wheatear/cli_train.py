"""`wheatear train`."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wheatear.cli_errors import friendly_errors
from wheatear.cli_options import DatasetArgument, ImagesOption, named_path, need_torch
from wheatear.errors import InputError
from wheatear.words import photos

if TYPE_CHECKING:
    from wheatear.data.sample import Sample
    from wheatear.train.machine import Machine
    from wheatear.train.recipe import Recipe


@friendly_errors(", or take a smaller batch (--set stages.0.batch_size=4)")
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
    from wheatear.train.machine import Machine, first_process
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
    machine = Machine(accelerator, devices, strategy, workers, precision)
    if both and not labels:
        raise InputError("--both: give the other labels by --labels CSV")
    refuse_unable(machine, settings)
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
        if machine.only_imitates():
            say(
                f"--precision {precision}: this processor only imitates it, two to twelve times slower; leave it out",
                err=True,
            )
        if run.left_out:
            say(
                f"left out, as they cannot be heads: {run.left_out:,} of the boxes; `wheatear data check` names them"
            )
        for remark in remarks:
            say(remark)
        if stage and finished(out, stage):
            say(f"Stage {stage} was finished already; remove {out / stage} to train it again")
        with said_to_stop():
            train_run(run, stage)
    if is_divided_here:
        say(f"The photos are divided by {out / IMAGES_CSV}: take it for --images")
    left = [each.stage for each in settings.stages if not finished(out, each.stage)]
    following = f" Next: wheatear export {out}" if settings.is_whole() else ""
    say(f"Done. Left: {', '.join(left)}" if left else f"Done.{following}")


def refuse_unable(machine: "Machine", recipe: "Recipe") -> None:
    """InputError for a machine on which this recipe cannot be trained, or not in its precision."""
    if machine.devices > 1 and not recipe.is_joint():
        raise InputError(
            f"--devices {machine.devices}: only joint stages train on several; recipe {recipe.name} has others"
        )
    if any(way in machine.strategy for way in ("spawn", "fork", "notebook")):
        raise InputError(
            f"--strategy {machine.strategy}: processes that Python starts cannot train here; give ddp"
        )
    if machine.precision == "16-mixed" and not machine.has_gpu():
        raise InputError("--precision 16-mixed: is for GPUs; on a processor give bf16-mixed, or leave it out")


def in_splits(samples: "list[Sample]", seed: int) -> "tuple[list[Sample], bool, list[str]]":
    """The photos in train and val; whether they had to be divided for that; and what the user should know of it."""
    from wheatear.data.field_photos import too_short
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
