"""Creating or resuming a run folder: what is trained, and on what, is recorded before training starts."""

import hashlib
import math
import os
import platform
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wheatear.boxes import sizes
from wheatear.data.check import clean
from wheatear.data.formats import IMAGES_CSV
from wheatear.data.more import More
from wheatear.data.sample import Sample
from wheatear.data.splits import read_splits, write_images_csv
from wheatear.errors import InputError
from wheatear.files import sha256, write_json
from wheatear.images import refuse_damaged
from wheatear.train.checkpoint import FACTS, RECIPE, read_json
from wheatear.train.machine import HERE, PRECISIONS, Machine, first_process
from wheatear.train.recipe import Recipe, validated
from wheatear.train.recipe_stages import JointStage
from wheatear.train.relabelled import Relabelled, is_same, labellings, record
from wheatear.train.start import as_started, is_trained, of_card

LEARNT = ("train", "val")  # the splits used in training
PACKAGES = ("wheatear", "torch", "torchvision", "lightning", "numpy", "pillow")


@dataclass(frozen=True)
class Run:
    """A run folder and what all its stages share.

    weights: a file to start from instead of the recipe's. relabelled: as in `TrainingPhotos`.
    left_out: number of boxes in the train and val photos that cannot be heads.
    """

    folder: Path
    recipe: Recipe
    train: list[Sample]
    val: list[Sample]
    resume: bool
    machine: Machine = HERE
    weights: Path | None = None
    relabelled: Sequence[Sample] = ()
    left_out: int = 0


def open_run(
    folder: Path,
    recipe: Recipe,
    samples: Sequence[Sample],
    *,
    resume: bool = False,
    machine: Machine = HERE,
    weights: Path | None = None,
    more: Sequence[More] = (),
    other_labels: Relabelled | None = None,
    only: str | None = None,
) -> Run:
    """Create a run folder, or resume one, and record what is about to be trained, and on what.

    samples include their split; boxes that cannot be heads are left out (`clean`).
    more: records of those added for training alone, at the end of samples; images.csv omits them.
    other_labels: of the train photos; val photos are evaluated against their own.
    only: the stage that is about to be trained; None: all.
    Raises InputError for a photo that is damaged or of another size than its labels say; if no photo is in
    train or none in val, or no train photo has a head; for a folder with a data set; for a folder with a run
    that has begun, without `resume` or if it has another recipe, other photos, another split, other boxes or
    labels, other starting weights, another precision or number of devices; for an unknown precision; for a
    joint stage, if it is to be trained, that would end before it has warmed up; for two labellings if no stage
    trains on both; if the recipe continues from a trained detector and `weights` is not one; and if it has no
    stage `only`.
    """
    refuse_no_stage(recipe, only)
    refuse_unusable(samples, other_labels)
    refuse_mismatched(recipe, machine.precision, weights, other_labels)
    refuse_short(recipe, sum(s.split == "train" for s in samples), machine.devices, only)
    recipe = as_started(recipe, weights)
    own = samples[: len(samples) - sum(each.photos for each in more)]
    start = {
        "weights": {"file": weights.name, "sha256": sha256(weights)} if weights else None,
        **of_card(weights),
        "labels": record(other_labels),
        "boxes_sha256": digest([s for s in samples if s.split in LEARNT]),
    }
    kept = folder / RECIPE
    if not kept.exists():
        refuse_data(folder)
    if first_process() and kept.exists() and has_begun(folder):
        refuse_another(folder, recipe, own, resume)
        refuse_another_start(folder, start, machine)
    by_split, again, left_out = learnt_photos(samples, other_labels)
    if first_process():
        # Find a damaged photo before hours of training, not after them.
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            list(threads.map(refuse_damaged, [s.path for chosen in by_split.values() for s in chosen]))
        folder.mkdir(parents=True, exist_ok=True)
        write_json(kept, recipe.model_dump(mode="json"))
        write_images_csv(own, folder / IMAGES_CSV)
        write_json(folder / FACTS, describe(by_split, machine, more) | start)
    train, val = by_split["train"], by_split["val"]
    return Run(folder, recipe, train, val, resume, machine, weights, again, left_out)


def learnt_photos(
    samples: Sequence[Sample], other_labels: Relabelled | None
) -> tuple[dict[str, list[Sample]], list[Sample], int]:
    """What is trained on -> photos by split, without boxes that cannot be heads; again; the number of those boxes.

    again: the train photos with the labels that alternate with the first ones' at random, or [] (`labellings`).
    InputError if no photo is in train or none in val, or no train photo has a head.
    """
    divided = {split: [s for s in samples if s.split == split] for split in LEARNT}
    for split, chosen in divided.items():
        if not chosen:
            raise InputError(
                f"no photo is in the split '{split}'; add another field photo, or check the split column of images.csv"
            )
    by_split = {split: [clean(s) for s in chosen] for split, chosen in divided.items()}
    left_out = heads_of(*divided.values()) - heads_of(*by_split.values())
    by_split["train"], again = labellings(by_split["train"], other_labels)
    if not heads_of(by_split["train"]):
        if lost := heads_of(divided["train"]):
            raise InputError(
                f"none of the {lost:,} boxes in the train photos can be a head; see `wheatear data check`"
            )
        raise InputError("no head is labelled in the train photos; there is nothing to learn")
    return by_split, again, left_out


def refuse_unusable(samples: Sequence[Sample], other_labels: Relabelled | None) -> None:
    """InputError for a photo that cannot be read, or one of train or val that has another size than its labels say."""
    unreadable = [s.path for s in samples if not s.width]
    if unreadable:
        raise InputError(
            f"{unreadable[0]}: cannot be read; mend or remove it (`wheatear data check` names all such photos)"
        )
    learnt = {sample.name for sample in samples if sample.split in LEARNT}
    for sample in [*samples, *(other_labels.samples if other_labels else ())]:
        if sample.name in learnt and sample.is_of_another_size():
            raise InputError(
                f"{sample.path}: is of another size than its labels say (`wheatear data check` names all such photos); "
                "mend or remove it"
            )


def refuse_mismatched(
    recipe: Recipe, precision: str, weights: Path | None, other_labels: Relabelled | None
) -> None:
    """InputError for an unknown precision, and for labels or starting weights that the recipe cannot use."""
    if precision not in PRECISIONS:
        raise InputError(f"--precision {precision}: not one of {', '.join(PRECISIONS)}")
    if other_labels and other_labels.both and not recipe.learns_of_both():
        raise InputError(f"--both: no stage of {recipe.name} learns of two labellings; leave it out")
    if recipe.goes_on() and not (weights and is_trained(weights)):
        lacks = f"{weights}: holds no trained detector" if weights else "give one by --weights"
        raise InputError(f"recipe {recipe.name}: goes on from a trained detector; {lacks}")


def refuse_data(folder: Path) -> None:
    """Raise InputError for the folder of a data set, whose images.csv a run would overwrite."""
    if (folder / IMAGES_CSV).exists():
        raise InputError(f"{folder}: has an {IMAGES_CSV} and no run; choose another folder")


def has_begun(folder: Path) -> bool:
    """Whether any stage has left a file in a run folder; if the start failed, none has, and nothing is lost."""
    return any(
        path.name != "tensorboard" for stage in folder.iterdir() if stage.is_dir() for path in stage.iterdir()
    )


def refuse_no_stage(recipe: Recipe, only: str | None) -> None:
    """Raise InputError if `only` is given and not a stage of the recipe."""
    names = [stage.stage for stage in recipe.stages]
    if only is not None and only not in names:
        raise InputError(f"--stage {only}: not a stage of the recipe; it has {', '.join(names)}")


def refuse_short(recipe: Recipe, photos: int, devices: int, only: str | None = None) -> None:
    """Raise InputError for a joint stage, of all or just the one named `only`, with no more steps than its warm-up."""
    for stage in recipe.stages:
        if isinstance(stage, JointStage) and only in (None, stage.stage):
            steps = math.ceil(math.ceil(photos / devices) / stage.batch_size) * stage.epochs
            if steps <= stage.warmup_steps:
                raise InputError(
                    f"stage {stage.stage}: {steps} steps in all for {photos:,} photos, {stage.warmup_steps} to warm "
                    "up; raise its epochs or lower its warmup_steps (the recipe adapt, from a shipped detector, "
                    "needs few photos)"
                )


def refuse_another(folder: Path, recipe: Recipe, samples: Sequence[Sample], resume: bool) -> None:
    """Raise InputError unless a folder's run is to be resumed and has this recipe, photos and split."""
    if not resume:
        raise InputError(f"{folder}: holds a run already; go on with it by --resume or choose another folder")
    if validated(read_json(folder / RECIPE), folder / RECIPE) != recipe:
        raise InputError(f"{folder}: holds a run of another recipe; choose another folder")
    images = folder / IMAGES_CSV
    known = read_splits(images) if images.exists() else {}
    if known and known != {sample.name: sample.split for sample in samples}:
        raise InputError(f"{folder}: holds a run on other photos or another split; choose another folder")


def refuse_another_start(folder: Path, start: Mapping[str, Any], machine: Machine) -> None:
    """Raise InputError if a folder's run.json has other weights, labels, boxes, precision or devices.

    Another number of devices changes the steps per epoch, on which the learning rate and the averages depend.
    """
    before = read_json(folder / FACTS) if (folder / FACTS).exists() else start
    was, now = before.get("weights") or {}, start["weights"] or {}
    if was.get("sha256") != now.get("sha256"):
        began = f"--weights {was['file']}" if was else "no --weights"
        raise InputError(
            f"{folder}: holds a run that began with {began}; give the same, or choose another folder"
        )
    for name, value in (("precision", machine.precision), ("devices", machine.devices)):
        if before.get(name, value) != value:
            raise InputError(
                f"{folder}: holds a run of --{name} {before[name]}; give the same, or choose another folder"
            )
    if not is_same(before.get("labels"), start["labels"]):
        raise InputError(f"{folder}: holds a run on other labels; choose another folder")
    if before.get("boxes_sha256", start["boxes_sha256"]) != start["boxes_sha256"]:
        raise InputError(f"{folder}: holds a run on other boxes of these photos; choose another folder")


def heads_of(*photos: Sequence[Sample]) -> int:
    """The total number of boxes in some lists of photos."""
    return sum(len(sample.boxes) for some in photos for sample in some)


def digest(photos: Sequence[Sample]) -> str:
    """SHA-256 of the photos' names and boxes, whatever the order of the photos."""
    found = hashlib.sha256()
    for sample in sorted(photos, key=lambda sample: sample.name):
        found.update(sample.name.encode() + np.ascontiguousarray(sample.boxes, np.float32).tobytes())
    return found.hexdigest()


def head_px(samples: Sequence[Sample]) -> float:
    """The median square root of a box's area, in pixels of the photos, rounded to a tenth."""
    return round(float(np.median(sizes(np.concatenate([sample.boxes for sample in samples])))), 1)


def describe(by_split: dict[str, list[Sample]], machine: Machine, more: Sequence[More]) -> dict[str, object]:
    """What a reader needs to judge a run's figures: data, versions, machine."""
    return {
        "photos": {split: len(samples) for split, samples in by_split.items()},
        "heads": {split: heads_of(samples) for split, samples in by_split.items()},
        "head_px": head_px(by_split["train"]),
        "more": [asdict(each) for each in more],
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
        "threads": torch.get_num_threads(),
        **asdict(machine),
    }
