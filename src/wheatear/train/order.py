"""The order of the training items: one for each (seed, epoch), divided between processes."""

from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler


class EpochShuffle(Sampler[int]):
    """A shuffle that depends only on the seed and the epoch; Lightning calls `set_epoch`.

    Each of several processes gets its share; if the items do not divide evenly, the first ones are repeated.
    """

    def __init__(self, length: int, seed: int) -> None:
        self.length, self.seed, self.epoch = length, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.length // processes()[1])

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch))
        order = torch.randperm(self.length, generator=generator).tolist()
        rank, world = processes()
        return islice(cycle(order), rank, len(self) * world, world)


def processes() -> tuple[int, int]:
    """The rank of this process among those that train together, and their number."""
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    return (torch.distributed.get_rank(), torch.distributed.get_world_size()) if together else (0, 1)


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed for each epoch of each run; 1,000,003 is prime and greater than any number of epochs."""
    return seed * 1_000_003 + epoch


def loader(data: Dataset[Any], batch_size: int, seed: int | None, collate: Any = None) -> DataLoader[Any]:
    """Batches in a new order each epoch or, without a seed, in the data's own order.

    No worker processes: with few cores they would take time from the convolutions.
    """
    sampler = None if seed is None else EpochShuffle(len(data), seed)  # type: ignore[arg-type]
    # A generator of its own: the loader draws a number each time it is opened, which must not come from the
    # generator that dropout uses, as Lightning opens it at a different moment when it resumes.
    return DataLoader(data, batch_size, sampler=sampler, collate_fn=collate, generator=torch.Generator())
