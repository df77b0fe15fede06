"""Running a recipe's stages in order, in one run folder."""

import copy
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from wheatear.errors import InputError
from wheatear.files import sha256, write_json
from wheatear.train.checkpoint import HISTORY, METRICS, WEIGHTS, finished, load_parts, save_parts
from wheatear.train.dataset import FrozenPhotos, write_maps, write_proposals
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.fit import CHECKPOINT, PLAIN, Care, fit, write_csv
from wheatear.train.joint import JointTraining
from wheatear.train.joint_data import TrainingPhotos, WholePhotos, photo_loaders, workers_may_die
from wheatear.train.machine import first_process
from wheatear.train.memory import keep_memory
from wheatear.train.opening import Run, refuse_no_stage
from wheatear.train.order import loader
from wheatear.train.plots import plot_history
from wheatear.train.recipe_stages import CNNStage, JointStage, RCNNStage, RPNStage, Stage
from wheatear.train.snips import SnipDataset, write_snips
from wheatear.train.stages import RegionClassification, RegionProposal, SnipClassification, StageModule
from wheatear.train.start import load_start

SEEDS = {"joint": 0, "refine": 1, "blend": 2}  # added to the seed: each stage augments photos differently


def train_run(run: Run, only: str | None = None) -> None:
    """Run the unfinished stages, or just the one named `only`, each starting from the weights of those before.

    Raises InputError if `only` is not a stage of the recipe, an earlier stage is not finished, or a later one
    has begun (`refuse_later`).
    """
    stages = {stage.stage: stage for stage in run.recipe.stages}
    refuse_no_stage(run.recipe, only)
    keep_memory()
    torch.manual_seed(run.recipe.seed)
    model = FasterRCNN(run.recipe)
    first = next(iter(stages))
    has_weights = finished(run.folder, first) or (run.folder / first / CHECKPOINT).exists()
    # A blend ends part of the way back to its initial weights, so it needs them when resuming, too.
    if run.recipe.goes_on() or not has_weights:
        load_start(model, str(run.weights or run.recipe.backbone.weights), run.train)
    for name, stage in stages.items():
        if finished(run.folder, name):
            load_parts(model, run.folder / name / WEIGHTS)
        elif only in (None, name):
            refuse_later(run.folder, name, list(stages))
            with workers_may_die(run.machine.workers):
                train_stage(run, model, stage, name)
        else:
            raise InputError(f"--stage {only}: stage {name} is not finished in {run.folder}; run it first")
        if name == only:
            return


def refuse_later(folder: Path, name: str, stages: Sequence[str]) -> None:
    """Raise InputError if a stage after the one to train has a finished epoch: it was trained on other weights."""
    for later in stages[stages.index(name) + 1 :]:
        if finished(folder, later) or (folder / later / CHECKPOINT).exists():
            raise InputError(
                f"{folder / later}: was trained on another {name}; remove it, to train it anew, too"
            )


@dataclass(frozen=True)
class StageParts:
    """A stage ready to train: the module, its data, and facts about the data worth recording."""

    module: StageModule
    train: DataLoader[Any]
    val: DataLoader[Any]
    facts: dict[str, int]


def prepare(run: Run, model: FasterRCNN, stage: Stage) -> StageParts:
    """Prepare the stage's module and its data, which may already be on disk."""
    seed, folder = run.recipe.seed, run.folder / "cnn" / "snips"
    match stage:
        case CNNStage():
            facts = write_snips(run.train, folder, stage, run.recipe.image_size, seed)
            snips = SnipDataset(folder, val=False), SnipDataset(folder, val=True)
            return StageParts(
                SnipClassification(model, stage, seed), *loaders(snips, stage.batch_size, seed, None), facts
            )
        case RPNStage():
            photos = frozen_photos(run, model, run.recipe.rpn.strides[0], proposals=False)
            return StageParts(
                RegionProposal(model, stage, seed), *loaders(photos, stage.batch_size, seed, list), {}
            )
        case RCNNStage():
            photos = frozen_photos(run, model, run.recipe.roi.strides[0], proposals=True)
            return StageParts(
                RegionClassification(model, stage, seed), *loaders(photos, stage.batch_size, seed, list), {}
            )
        case JointStage():
            seed += SEEDS[stage.stage]
            image_size = stage.image_size or run.recipe.image_size
            changed = TrainingPhotos(
                run.train, image_size, stage.augment, seed, run.relabelled if stage.both else ()
            )
            batches = photo_loaders(changed, WholePhotos(run.val), stage.batch_size, run.machine.workers)
            return StageParts(JointTraining(model, stage, seed, run.val), *batches, {})
    raise AssertionError(stage)


def loaders(
    parts: tuple[Dataset[Any], Dataset[Any]],
    batch_size: int,
    seed: int,
    collate: Callable[[list[Any]], Any] | None,
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Loaders for the train part, shuffled, and for the val part."""
    train, val = parts
    return loader(train, batch_size, seed, collate), loader(val, batch_size, None, collate)


def care(stage: Stage) -> Care:
    """The settings for a stage's validation, gradient clipping and weight averaging."""
    if isinstance(stage, JointStage):
        # With a share below 1, the weights at the end of an epoch are not those that are kept.
        val_every = stage.val_every if stage.share == 1 else 0
        return Care(val_every, stage.clip_norm, stage.ema, stage.warmup_steps)
    return PLAIN


def train_stage(run: Run, model: FasterRCNN, stage: Stage, name: str) -> None:
    """Train one stage and write its weights, history plot and, last, its figures."""
    folder = run.folder / name
    parts = prepare(run, model, stage)
    share = stage.share if isinstance(stage, JointStage) else 1.0
    before = copy.deepcopy(model.state_dict()) if share < 1 else None
    rows = fit(
        parts.module,
        parts.train,
        parts.val,
        name=name,
        folder=folder,
        epochs=stage.epochs,
        resume=run.resume,
        machine=run.machine,
        care=care(stage),
    )
    if before is not None:
        go_back(model, before, 1 - share)
    if not first_process():
        return
    if before is not None and isinstance(parts.module, JointTraining):
        rows[-1] |= parts.module.judge(
            parts.val, run.machine.precision, parts.module.trainer.strategy.root_device
        )
        write_csv(folder / HISTORY, rows)
        numbers = "  ".join(f"{key} {rows[-1][key]:.4f}" for key in rows[-1] if key.startswith("val_"))
        Console().print(f"{name}, as kept: {numbers}", highlight=False, soft_wrap=True)
    figures = rows[-1] | {f"snips_{k}": v for k, v in parts.facts.items()}
    save_parts(model, parts.module.parts, folder / WEIGHTS)
    plot_history(rows, folder / "history.png", title=f"{run.recipe.name}: {name}")
    write_json(folder / METRICS, figures)


@torch.no_grad()
def go_back(model: FasterRCNN, before: Mapping[str, Tensor], share: float) -> None:
    """Move all weights a share of the way back to what they were before."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            tensor.lerp_(before[name].to(tensor.device), share)


def frozen_photos(
    run: Run, model: FasterRCNN, stride: int, *, proposals: bool
) -> tuple[FrozenPhotos, FrozenPhotos]:
    """The train and val photos with the frozen parts' outputs, recomputed if these parts have changed."""
    maps = cache_folder(run.folder, "cnn")
    write_maps(model, [*run.train, *run.val], maps, run.recipe.strides())
    regions = None
    if proposals:
        regions = cache_folder(run.folder, "rpn")
        write_proposals(model, [*run.train, *run.val], maps, regions)
    train, val = (
        FrozenPhotos(part, maps, run.recipe.image_size, stride, regions) for part in (run.train, run.val)
    )
    return train, val


def cache_folder(run: Path, stage: str) -> Path:
    """RUN/cache/STAGE-DIGEST, named after the stage's weights so as never to outlive them; removes old ones."""
    digest = sha256(run / stage / WEIGHTS)[:12]
    folder = run / "cache" / f"{stage}-{digest}"
    for stale in run.glob(f"cache/{stage}-*"):
        if stale != folder:
            shutil.rmtree(stale)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
