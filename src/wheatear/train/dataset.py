"""The outputs of the detector's frozen parts for each photo, computed once and kept on disk.

MAPS/NAME.mapS.npy is the backbone's map of stride S, (C, H, W) float16; REGIONS/NAME.proposals.npy holds the
frozen RPN's proposals, (R, 4) float32. Each file is written completely or not at all, so a killed run resumes
with the photos that are missing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.progress import track
from torch import Tensor
from torch.utils.data import Dataset

from wheatear.data.sample import Sample
from wheatear.files import whole
from wheatear.train.checkpoint import read_array
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.photo import scaled_boxes, scaled_photo, scaled_size


class FrozenPhoto(NamedTuple):
    """A photo as the later stages get it: map (1, C, H, W), heads (G, 4), proposals (R, 4), (height, width) px."""

    features: Tensor
    gt_boxes: Tensor
    proposals: Tensor
    image_size: tuple[int, int]


def to_tensor(image: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) uint8, in channels-last memory layout."""
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None]


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an .npy file, completely or not at all."""
    with whole(path) as part, part.open("wb") as file:
        np.save(file, array)


@torch.inference_mode()
def write_maps(model: FasterRCNN, samples: Sequence[Sample], folder: Path, strides: Sequence[int]) -> None:
    """Compute and save the maps at the given strides for every photo that lacks any of them."""
    folder.mkdir(parents=True, exist_ok=True)
    model.eval()
    missing = [s for s in samples if not all(map_path(folder, s, stride).exists() for stride in strides)]
    for sample in track(missing, "maps", transient=True):
        maps = model.backbone(to_tensor(scaled_photo(sample, model.recipe.image_size)))
        for stride in strides:
            save_array(map_path(folder, sample, stride), maps[stride][0].half().contiguous().numpy())


@torch.inference_mode()
def write_proposals(model: FasterRCNN, samples: Sequence[Sample], maps: Path, folder: Path) -> None:
    """Compute and save the proposals for every photo that has none yet, from its map in the folder `maps`."""
    model.eval()
    (stride,) = model.recipe.rpn.strides
    missing = [s for s in samples if not proposals_path(folder, s).exists()]
    for sample in track(missing, "proposals", transient=True):
        width, height = scaled_size(sample, model.recipe.image_size)
        ((boxes, _),) = model.propose({stride: read_map(maps, sample, stride)}, (height, width))
        save_array(proposals_path(folder, sample), boxes.float().numpy())


def map_path(folder: Path, sample: Sample, stride: int) -> Path:
    return folder / f"{sample.name}.map{stride}.npy"


def proposals_path(folder: Path, sample: Sample) -> Path:
    return folder / f"{sample.name}.proposals.npy"


def read_map(folder: Path, sample: Sample, stride: int) -> Tensor:
    """(1, C, H, W) float32. Raises InputError if the file is damaged."""
    return torch.from_numpy(read_array(map_path(folder, sample, stride))).float()[None]


class FrozenPhotos(Dataset[FrozenPhoto]):
    """Photos with their maps at one stride and, given the folder `regions`, their proposals."""

    def __init__(
        self, samples: Sequence[Sample], maps: Path, image_size: int, stride: int, regions: Path | None
    ) -> None:
        self.samples, self.maps, self.image_size, self.stride = samples, maps, image_size, stride
        self.regions = regions

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, i: int) -> FrozenPhoto:
        sample = self.samples[i]
        width, height = scaled_size(sample, self.image_size)
        proposals = np.zeros((0, 4), np.float32)
        if self.regions is not None:
            proposals = read_array(proposals_path(self.regions, sample))
        return FrozenPhoto(
            read_map(self.maps, sample, self.stride),
            torch.from_numpy(scaled_boxes(sample, self.image_size)),
            torch.from_numpy(proposals),
            (height, width),
        )
