"""Snips: squares cut from photos, centred on a head or holding none, kept on disk.

A snip set is a folder: snips.npy (N, S, S, 3) uint8, memory-mapped; labels.npy (N,) 1 head / 0 background; val.npy (N,)
bool; photos.npy (N,) index into photos.txt. `snips.json` is written last, so a folder without it is unfinished.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from wheatear.data.sample import Sample
from wheatear.train.photo import scaled_boxes, scaled_photo, scaled_size
from wheatear.train.recipe_stages import CNNStage


def head_corners(boxes: np.ndarray, width: int, height: int, size: int) -> np.ndarray:
    """Top-left corners (M, 2) int64 xy of the snips centred on heads; those that leave the photo are dropped."""
    corners: np.ndarray = np.round((boxes[:, :2] + boxes[:, 2:]) / 2 - size / 2).astype(np.int64)
    inside: np.ndarray = (corners >= 0) & (corners + size <= [width, height])
    return corners[inside.all(axis=1)]


def background_corners(boxes: np.ndarray, width: int, height: int, size: int) -> np.ndarray:
    """Top-left corners (M, 2) int64 xy of the grid's windows that touch no box."""
    x, y = np.meshgrid(np.arange(0, width - size + 1, size), np.arange(0, height - size + 1, size))
    corners = np.stack([x.ravel(), y.ravel()], 1)
    corner = corners[:, None]
    apart: np.ndarray = (boxes[:, :2] >= corner + size) | (boxes[:, 2:] <= corner)
    return corners[np.all(apart.any(axis=2), axis=1)]


@dataclass(frozen=True)
class Window:
    """Where a snip lies: photo index, top-left corner in pixels of the scaled photo, and 1 for a head."""

    photo: int
    x: int
    y: int
    label: int


def windows(samples: Sequence[Sample], image_size: int, size: int) -> list[Window]:
    """Every head snip and every empty window of the photos, in the photos' order."""
    found = []
    for index, sample in enumerate(samples):
        boxes, (width, height) = scaled_boxes(sample, image_size), scaled_size(sample, image_size)
        for label, corners in ((1, head_corners), (0, background_corners)):
            found += [Window(index, int(x), int(y), label) for x, y in corners(boxes, width, height, size)]
    return found


def choose(found: Sequence[Window], max_per_class: int, rng: np.random.Generator) -> list[Window]:
    """As many heads as backgrounds, at most `max_per_class` of each, at random; sorted by photo for reading."""
    by_label = [[w for w in found if w.label == label] for label in (0, 1)]
    count = min(max_per_class, *map(len, by_label))
    kept = [group[i] for group in by_label for i in rng.permutation(len(group))[:count]]
    return sorted(kept, key=lambda w: (w.photo, w.label, w.y, w.x))


def hold_out(samples: Sequence[Sample], fraction: float, rng: np.random.Generator) -> np.ndarray:
    """(len(samples),) bool: the validation photos, whole field photos at a time, about `fraction` of the photos."""
    groups = sorted({s.photo or s.name for s in samples})
    sizes = {g: sum((s.photo or s.name) == g for s in samples) for g in groups}
    held: set[str] = set()
    for i in rng.permutation(len(groups)):
        if sum(sizes[g] for g in held) < fraction * len(samples):
            held.add(groups[i])
    return np.array([(s.photo or s.name) in held for s in samples])


def write_snips(
    samples: Sequence[Sample], folder: Path, stage: CNNStage, image_size: int, seed: int
) -> dict[str, int]:
    """Cut the snips of a stage and write them to `folder`; does nothing where they already are. -> counts."""
    done = folder / "snips.json"
    if done.exists():
        return dict(json.loads(done.read_text("utf-8")))
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    found = windows(samples, image_size, stage.snip_size)
    kept = choose(found, stage.max_per_class, rng)
    held = hold_out(samples, stage.val_fraction, rng)
    size = stage.snip_size
    snips = np.lib.format.open_memmap(folder / "snips.npy", "w+", np.uint8, (len(kept), size, size, 3))
    photo, image = -1, np.zeros((0, 0, 3), np.uint8)
    for i, w in enumerate(kept):
        if w.photo != photo:
            photo, image = w.photo, scaled_photo(samples[w.photo], image_size)
        snips[i] = image[w.y : w.y + size, w.x : w.x + size]
    snips.flush()
    np.save(folder / "labels.npy", np.array([w.label for w in kept], np.int64))
    np.save(folder / "val.npy", held[[w.photo for w in kept]] if kept else np.zeros(0, bool))
    np.save(folder / "photos.npy", np.array([w.photo for w in kept], np.int64))
    (folder / "photos.txt").write_text("".join(f"{s.name}\n" for s in samples), "utf-8")
    counts = {"heads": sum(w.label for w in found), "backgrounds": sum(1 - w.label for w in found)}
    counts |= {
        "kept_per_class": len(kept) // 2,
        "val": int(held[[w.photo for w in kept]].sum()) if kept else 0,
    }
    done.write_text(json.dumps(counts), "utf-8")
    return counts


class SnipDataset(Dataset[tuple[Tensor, int]]):
    """The training or the validation part of a snip set: (3, S, S) uint8, label."""

    def __init__(self, folder: Path, *, val: bool) -> None:
        self.snips = np.load(folder / "snips.npy", mmap_mode="r")
        self.labels = np.load(folder / "labels.npy")
        self.index = np.flatnonzero(np.load(folder / "val.npy") == val)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        j = int(self.index[i])
        return torch.from_numpy(self.snips[j].copy()).permute(2, 0, 1), int(self.labels[j])
