"""A run folder made, or gone on with: what is to be trained on what, written down before it begins."""

import hashlib
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from wheatear.boxes import area
from wheatear.data.check import clean
from wheatear.data.formats import IMAGES_CSV
from wheatear.data.more import More
from wheatear.data.sample import Sample
from wheatear.data.splits import read_splits, write_images_csv
from wheatear.errors import InputError
from wheatear.train.checkpoint import read_json, sha256, write_json
from wheatear.train.fit import HERE, Machine, first_process
from wheatear.train.recipe import Recipe, validated
from wheatear.train.relabelled import Relabelled, labellings, record, refuse_others
from wheatear.train.start import is_trained

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")  # of Lightning's, those in which the boxes stay exact
PACKAGES = ("wheatear", "torch", "torchvision", "lightning", "numpy", "pillow")


@dataclass(frozen=True)
class Run:
    """A run folder and what all of its stages share.

    weights: a file to start from in place of the recipe's. relabelled: `TrainingPhotos`'s of the train photos.
    left_out: boxes of the train and val photos that cannot be heads.
    """

    folder: Path
    recipe: Recipe
    train: list[Sample]
    val: list[Sample]
    precision: str
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
    precision: str = "32-true",
    resume: bool = False,
    machine: Machine = HERE,
    weights: Path | None = None,
    more: Sequence[More] = (),
    other_labels: Relabelled | None = None,
) -> Run:
    """Make a run folder, or go on with one, and write down what is about to be trained on what.

    samples carry their split; unreadable photos are an error and boxes that cannot be heads are left out (`clean`).
    more: the record of those among them that were added for training alone.
    other_labels are those of train photos; val photos are judged by their own.
    Raises InputError for a folder that holds a run already without `resume`, or one of another recipe, other photos,
    another split or other labels; for a precision that there is not; where a stage cannot learn of both labellings; and
    where the recipe goes on from a trained detector and `weights` are none.
    """
    unreadable = [s.path for s in samples if not s.width]
    if unreadable:
        raise InputError(
            f"{unreadable[0]}: cannot be read; mend or remove it (`wheatear data check` names all such photos)"
        )
    if precision not in PRECISIONS:
        raise InputError(f"--precision {precision}: not one of {', '.join(PRECISIONS)}")
    if other_labels and other_labels.both and not recipe.learns_of_both():
        raise InputError(f"--both: no stage of {recipe.name} learns of two labellings; leave it out")
    if recipe.goes_on() and not (weights and is_trained(weights)):
        raise InputError(f"recipe {recipe.name}: goes on from a trained detector; give one by --weights")
    kept = folder / "recipe.json"
    if kept.exists() and first_process():
        refuse_another(folder, recipe, samples, resume)
        refuse_other_weights(folder, weights)
        refuse_others(folder, other_labels)
    divided = {split: [s for s in samples if s.split == split] for split in ("train", "val")}
    for split, chosen in divided.items():
        if not chosen:
            raise InputError(f"no photo is in the split '{split}'; check the split column of images.csv")
    by_split = {split: [clean(s) for s in chosen] for split, chosen in divided.items()}
    left_out = heads_of(*divided.values()) - heads_of(*by_split.values())
    own = digest(*divided.values())
    if kept.exists() and first_process():
        refuse_other_boxes(folder, own)
    by_split["train"], again = labellings(by_split["train"], other_labels)
    if not heads_of(by_split["train"]):
        raise InputError("no head is labelled in the train photos; there is nothing to learn")
    if first_process():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(kept, recipe.model_dump(mode="json"))
        write_images_csv(samples, folder / IMAGES_CSV)
        facts = describe(by_split, precision, machine, weights, more)
        facts |= {"labels": record(other_labels), "boxes_sha256": own}
        write_json(folder / "run.json", facts)
    return Run(
        folder,
        recipe,
        by_split["train"],
        by_split["val"],
        precision,
        resume,
        machine,
        weights,
        again,
        left_out,
    )


def refuse_another(folder: Path, recipe: Recipe, samples: Sequence[Sample], resume: bool) -> None:
    """Raises InputError where a folder's run is not to be gone on with, or not with this recipe and these photos."""
    if not resume:
        raise InputError(f"{folder}: holds a run already; go on with it by --resume or choose another folder")
    if validated(read_json(folder / "recipe.json"), folder / "recipe.json") != recipe:
        raise InputError(f"{folder}: holds a run of another recipe; choose another folder")
    images = folder / IMAGES_CSV
    known = read_splits(images) if images.exists() else {}
    if known and known != {sample.name: sample.split for sample in samples}:
        raise InputError(f"{folder}: holds a run on other photos or another split; choose another folder")


def heads_of(*photos: Sequence[Sample]) -> int:
    """The number of boxes in some lists of photos."""
    return sum(len(sample.boxes) for some in photos for sample in some)


def digest(*photos: Sequence[Sample]) -> str:
    """Of the data set's own boxes, in whatever order the photos come."""
    found = hashlib.sha256()
    for sample in sorted((sample for some in photos for sample in some), key=lambda sample: sample.name):
        found.update(sample.name.encode() + np.ascontiguousarray(sample.boxes, np.float32).tobytes())
    return found.hexdigest()


def refuse_other_boxes(folder: Path, own: str) -> None:
    """Raises InputError where a folder's run, if it says so, began with other boxes than those of this digest."""
    facts = folder / "run.json"
    if facts.exists() and read_json(facts).get("boxes_sha256", own) != own:
        raise InputError(f"{folder}: holds a run on other boxes of these photos; choose another folder")


def refuse_other_weights(folder: Path, weights: Path | None) -> None:
    """Raises InputError where a folder's run, if it holds one, began with another file than `weights`."""
    facts = folder / "run.json"
    if not facts.exists():
        return
    before, now = read_json(facts).get("weights") or {}, _start(weights) or {}
    if before.get("sha256") != now.get("sha256"):
        began = f"--weights {before['file']}" if before else "no --weights"
        raise InputError(
            f"{folder}: holds a run that began with {began}; give the same, or choose another folder"
        )


def _start(weights: Path | None) -> dict[str, str] | None:
    """What run.json says of the file that a run began with."""
    return {"file": weights.name, "sha256": sha256(weights)} if weights else None


def head_px(samples: Sequence[Sample]) -> float:
    """The median root of a box's area, in pixels of the photos, to a tenth."""
    return round(float(np.median(np.sqrt(area(np.concatenate([sample.boxes for sample in samples]))))), 1)


def describe(
    by_split: dict[str, list[Sample]],
    precision: str,
    machine: Machine,
    weights: Path | None,
    more: Sequence[More],
) -> dict[str, object]:
    """What a reader needs to judge the figures of a run: data, versions, machine, the file it started from."""
    return {
        "photos": {split: len(samples) for split, samples in by_split.items()},
        "heads": {split: heads_of(samples) for split, samples in by_split.items()},
        "head_px": head_px(by_split["train"]),
        "more": [asdict(each) for each in more],
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
        "threads": torch.get_num_threads(),
        "precision": precision,
        **asdict(machine),
        "weights": _start(weights),
    }
