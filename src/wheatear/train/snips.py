"""Snips: squares cut from photos and kept on disk, either centred on a head or background.

A snip set is a folder: snips.npy (N, S, S, 3) uint8, memory-mapped; labels.npy (N,) 1 head / 0 background; val.npy (N,)
bool; photos.npy (N,) index into photos.txt. `snips.json` is written last, so a folder without it is unfinished.
"""

import errno
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from wheatear.data.field_photos import with_field_photos
from wheatear.data.sample import Sample
from wheatear.errors import InputError
from wheatear.files import naming, write_json
from wheatear.train.checkpoint import damaged, read_array
from wheatear.train.photo import scaled_boxes, scaled_photo, scaled_size
from wheatear.train.recipe_stages import CNNStage
from wheatear.words import photos


def head_corners(boxes: np.ndarray, width: int, height: int, size: int) -> np.ndarray:
    """Top-left corners (M, 2) int64 xy of the snips centred on heads that lie entirely within the photo."""
    corners: np.ndarray = np.round((boxes[:, :2] + boxes[:, 2:]) / 2 - size / 2).astype(np.int64)
    inside: np.ndarray = (corners >= 0) & (corners + size <= [width, height])
    return corners[inside.all(axis=1)]


def background_corners(boxes: np.ndarray, width: int, height: int, size: int) -> np.ndarray:
    """Top-left corners (M, 2) int64 xy of the windows in a non-overlapping grid that touch no box."""
    corners = grid_corners(width, height, size, size)
    return corners[~touches(boxes, corners, size)]


def near_corners(boxes: np.ndarray, width: int, height: int, size: int) -> np.ndarray:
    """Top-left corners (M, 2) int64 xy of windows, half a window apart, that touch boxes, but none in the middle.

    The middle is the inner half of each side, where a head snip has its head.
    """
    corners = grid_corners(width, height, size, size // 2)
    quarter = size // 4
    in_middle = touches(boxes, corners + quarter, size - 2 * quarter)
    return corners[touches(boxes, corners, size) & ~in_middle]


def grid_corners(width: int, height: int, size: int, step: int) -> np.ndarray:
    """Top-left corners (M, 2) int64 xy of the windows of a grid that lie inside the photo, row by row."""
    x, y = np.meshgrid(np.arange(0, width - size + 1, step), np.arange(0, height - size + 1, step))
    return np.stack([x.ravel(), y.ravel()], 1)


def touches(boxes: np.ndarray, corners: np.ndarray, size: int) -> np.ndarray:
    """(M,) bool: whether the window at each of (M, 2) corners shares any area with one of the boxes."""
    corner = corners[:, None]
    apart: np.ndarray = (boxes[:, :2] >= corner + size) | (boxes[:, 2:] <= corner)
    return (~apart.any(axis=2)).max(axis=1, initial=False)


@dataclass(frozen=True)
class Snip:
    """Where a snip lies: photo index, top-left corner in pixels of the scaled photo, and 1 for a head."""

    photo: int
    x: int
    y: int
    label: int


def all_snips(samples: Sequence[Sample], image_size: int, size: int) -> list[Snip]:
    """Every head snip and every empty window of the photos, in order of the photos."""
    found = []
    for index, sample in enumerate(samples):
        boxes, (width, height) = scaled_boxes(sample, image_size), scaled_size(sample, image_size)
        for label, corners in ((1, head_corners), (0, background_corners)):
            found += [Snip(index, int(x), int(y), label) for x, y in corners(boxes, width, height, size)]
    return found


def choose(found: Sequence[Snip], max_per_class: int, rng: np.random.Generator) -> list[Snip]:
    """Sample equally many heads and backgrounds, at most `max_per_class` each; sorted by photo for reading."""
    by_label = [[w for w in found if w.label == label] for label in (0, 1)]
    count = min(max_per_class, *map(len, by_label))
    kept = [group[i] for group in by_label for i in rng.permutation(len(group))[:count]]
    return sorted(kept, key=reading_order)


def reading_order(snip: Snip) -> tuple[int, int, int, int]:
    """The sort key by which each photo is read once."""
    return snip.photo, snip.label, snip.y, snip.x


def hold_out(
    kept: Sequence[Snip], samples: Sequence[Sample], stage: CNNStage, rng: np.random.Generator
) -> np.ndarray:
    """(N,) bool: for validation: `val_fraction` of the field photos that the samples name, or of single snips."""
    held: np.ndarray = rng.permutation(len(kept)) < stage.val_fraction * len(kept)
    if stage.val_by == "photo":
        held = hold_out_photos(samples, stage.val_fraction, rng)[[w.photo for w in kept]]
    return held


def hold_out_photos(samples: Sequence[Sample], fraction: float, rng: np.random.Generator) -> np.ndarray:
    """(len(samples),) bool: whole field photos are held out until they make up `fraction` of the samples."""
    groups = [sample.photo for sample in samples]
    sizes = Counter(groups)
    order = sorted(sizes)
    held: set[str] = set()
    for i in rng.permutation(len(order)):
        if sum(sizes[group] for group in held) < fraction * len(samples):
            held.add(order[i])
    return np.array([group in held for group in groups])


def with_hard_negatives(
    kept: Sequence[Snip],
    held: np.ndarray,
    samples: Sequence[Sample],
    stage: CNNStage,
    image_size: int,
    rng: np.random.Generator,
) -> tuple[list[Snip], np.ndarray]:
    """Replace a share of the training backgrounds by ones beside heads -> snips; (N,) bool: for validation.

    None come from field photos with snips for validation, if these are held out; fewer are replaced if there
    are not enough.
    """
    easy = [i for i, w in enumerate(kept) if w.label == 0 and not held[i]]
    unseen = {samples[w.photo].photo for i, w in enumerate(kept) if held[i] and stage.val_by == "photo"}
    near = [
        Snip(index, int(x), int(y), 0)
        for index, sample in enumerate(samples)
        if sample.photo not in unseen
        for x, y in near_corners(
            scaled_boxes(sample, image_size), *scaled_size(sample, image_size), stage.snip_size
        )
    ]
    number = min(round(stage.hard_negatives * len(easy)), len(near))
    gone = {easy[i] for i in rng.permutation(len(easy))[:number]}
    mixed = [(w, bool(held[i])) for i, w in enumerate(kept) if i not in gone]
    mixed += [(near[i], False) for i in rng.permutation(len(near))[:number]]
    mixed.sort(key=lambda each: reading_order(each[0]))
    return [w for w, _ in mixed], np.array([is_held for _, is_held in mixed], bool)


def write_snips(
    samples: Sequence[Sample], folder: Path, stage: CNNStage, image_size: int, seed: int
) -> dict[str, int]:
    """Cut a stage's snips and write them to `folder`, unless they are already there. -> counts.

    Raises InputError if the photos are all of one field photo, or do not give snips of both classes for both training
    and validation; and if snips.json is damaged, as after a power cut.
    """
    done = folder / "snips.json"
    if done.exists():
        try:
            return dict(json.loads(done.read_text("utf-8")))
        except ValueError:
            raise damaged(done) from None
    rng = np.random.default_rng(seed)
    if stage.val_by == "photo":
        samples = with_field_photos(samples)
        if len({sample.photo for sample in samples}) == 1:
            raise InputError(
                f"{photos(len(samples))} in train, of one field photo: none is left to validate the snip classifier "
                "on; add another field photo"
            )
    found = all_snips(samples, image_size, stage.snip_size)
    kept = choose(found, stage.max_per_class, rng)
    held = hold_out(kept, samples, stage, rng)
    if stage.hard_negatives:
        kept, held = with_hard_negatives(kept, held, samples, stage, image_size, rng)
    if len({(w.label, val) for w, val in zip(kept, held.tolist(), strict=True)}) < 4:
        raise InputError(
            f"{photos(len(samples))} give {len(kept) // 2} snips of {stage.snip_size} px a class, too few for training "
            "and validation; add photos with heads and with ground between them"
        )
    folder.mkdir(parents=True, exist_ok=True)
    cut(kept, samples, image_size, stage.snip_size, folder / "snips.npy")
    arrays = {
        "labels.npy": np.array([w.label for w in kept], np.int64),
        "val.npy": held,
        "photos.npy": np.array([w.photo for w in kept], np.int64),
    }
    for name, array in arrays.items():
        with naming(folder / name):
            np.save(folder / name, array)
    with naming(folder / "photos.txt"):
        (folder / "photos.txt").write_text("".join(f"{s.name}\n" for s in samples), "utf-8")
    heads = sum(w.label for w in found)
    counts = {"heads": heads, "backgrounds": len(found) - heads, "kept": len(kept), "val": int(held.sum())}
    write_json(done, counts)
    return counts


def cut(kept: Sequence[Snip], samples: Sequence[Sample], image_size: int, size: int, path: Path) -> None:
    """Write snips, sorted by photo, as one (N, size, size, 3) uint8 array, with one photo in memory at a time.

    Raises OSError if there is not enough room on the disk.
    """
    path.unlink(missing_ok=True)  # left by a run that was killed; it may take the room
    # The file is memory-mapped, so running out of room while writing would kill the process.
    if shutil.disk_usage(path.parent).free < len(kept) * size * size * 3:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    snips = np.lib.format.open_memmap(path, "w+", np.uint8, (len(kept), size, size, 3))
    photo, image = -1, np.zeros((0, 0, 3), np.uint8)
    for i, w in enumerate(kept):
        if w.photo != photo:
            photo, image = w.photo, scaled_photo(samples[w.photo], image_size)
        snips[i] = image[w.y : w.y + size, w.x : w.x + size]
    snips.flush()


class SnipDataset(Dataset[tuple[Tensor, int]]):
    """The training or validation part of a snip set: (3, S, S) uint8, label. InputError if a file is damaged."""

    def __init__(self, folder: Path, *, val: bool) -> None:
        self.snips = read_array(folder / "snips.npy", mapped=True)
        self.labels = read_array(folder / "labels.npy")
        self.index = np.flatnonzero(read_array(folder / "val.npy") == val)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        j = int(self.index[i])
        return torch.from_numpy(self.snips[j].copy()).permute(2, 0, 1), int(self.labels[j])
