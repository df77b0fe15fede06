"""The data of the joint stages: photos, augmented for training, whole and unchanged for validation."""

import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from wheatear.data.sample import Sample
from wheatear.errors import InputError
from wheatear.images import open_photo
from wheatear.train.augment import Picture, augment
from wheatear.train.dataset import to_tensor
from wheatear.train.order import EpochShuffle
from wheatear.train.recipe_stages import AugmentRecipe
from wheatear.train.rescale import scale_factor

SHARED_MEMORY = Path("/dev/shm")  # of Linux; through it processes hand over what they have loaded
AHEAD = 2  # batches that each process loads ahead, torch's default


class Batch(NamedTuple):
    """images (B, 3, S, S) uint8 and, for each, its heads (G, 4) float32 xyxy pixels; G may be 0."""

    images: Tensor
    gt_boxes: list[Tensor]


class EpochItems(EpochShuffle):
    """A shuffle whose items also encode the epoch: item = epoch · length + index.

    The random draws for a photo thus depend on its item alone, not on the worker process.
    """

    def __iter__(self) -> Iterator[int]:
        return (self.epoch * self.length + index for index in super().__iter__())


class TrainingPhotos(Dataset[tuple[Tensor, Tensor]]):
    """Photos changed by `augment`. An item is (3, S, S) uint8 and (G, 4) boxes; its index is from `EpochItems`.

    relabelled: the same photos, in the same order, with other boxes; each time a photo is drawn it gets
    either set with equal probability. Empty if there is only one labelling.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        image_size: int,
        recipe: AugmentRecipe,
        seed: int,
        relabelled: Sequence[Sample] = (),
    ) -> None:
        self.samples, self.recipe, self.seed, self.relabelled = samples, recipe, seed, relabelled
        self.factor = float(scale_factor(image_size))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((self.seed, item))

        def another() -> Picture:
            return self.picture(int(rng.integers(len(self))), rng)

        picture = augment(self.picture(item % len(self), rng), another, self.factor, self.recipe, rng)
        return to_tensor(picture.image)[0], torch.from_numpy(picture.boxes)

    def picture(self, index: int, rng: np.random.Generator) -> Picture:
        """A photo with the heads from one of its labellings."""
        return read((self.relabelled if self.relabelled and rng.random() < 0.5 else self.samples)[index])


def read(sample: Sample) -> Picture:
    """A photo and its heads."""
    return Picture(open_photo(sample.path), sample.boxes)


def collate(items: Sequence[tuple[Tensor, Tensor]]) -> Batch:
    """Join training photos into a batch."""
    images, boxes = zip(*items, strict=True)
    return Batch(torch.stack(images), list(boxes))


class WholePhotos(Dataset[tuple[int, Tensor]]):
    """Unchanged photos: the index and (3, H, W) uint8."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, i: int) -> tuple[int, Tensor]:
        return i, to_tensor(open_photo(self.samples[i].path))[0]


def photo_loaders(
    train: TrainingPhotos, val: WholePhotos, batch_size: int, workers: int
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Batches of augmented photos, each once per epoch; and whole photos; each loaded by `workers` processes.

    Raises InputError if there is too little shared memory for that many processes.
    """
    largest = max(sample.width * sample.height for sample in val.samples)
    refuse_little_memory(3 * batch_size * train.recipe.crop**2, math.ceil(len(train) / batch_size), workers)
    refuse_little_memory(3 * largest, len(val), workers)
    shuffle = EpochItems(len(train), train.seed)
    loader = partial(
        DataLoader[Any],
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=workers > 0 and torch.cuda.is_available(),
    )
    # With generators of their own, not the one that dropout uses, as in `order.loader`.
    return (
        loader(train, batch_size, sampler=shuffle, collate_fn=collate, generator=torch.Generator()),
        loader(val, 1, collate_fn=list, generator=torch.Generator()),
    )


def refuse_little_memory(batch: int, batches: int, workers: int) -> None:
    """InputError if the shared memory cannot hold what the processes load ahead: torch would wait for it forever.

    batch: bytes of the largest of an epoch's batches. Containers often have 64 MB.
    """
    if not workers or not SHARED_MEMORY.is_dir():
        return
    needed, free = batch * min(AHEAD * workers + 1, batches), shutil.disk_usage(SHARED_MEMORY).free
    if needed > free:
        raise InputError(
            f"--workers {workers}: load up to {math.ceil(needed / 1e6):,} MB ahead, and {SHARED_MEMORY} has room for "
            f"{free // 10**6:,} MB; give fewer, or more shared memory (docker run --shm-size)"
        )


@contextmanager
def workers_may_die(workers: int) -> Iterator[None]:
    """InputError where one of the processes that load photos was killed; the training can go on with fewer."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise InputError(
            f"--workers {workers}: one of these processes was killed, as the system does when memory is short; "
            "give fewer, and go on by --resume"
        ) from None
