"""Extra photos that are used for training but never for evaluation: pseudo-labels, or another data set."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wheatear.data.formats import read_dataset
from wheatear.data.sample import Sample
from wheatear.errors import InputError


@dataclass(frozen=True)
class More:
    """What a folder adds, for the record of a run. sources: the names of its photos' sources and sessions."""

    folder: str
    photos: int
    heads: int
    sources: list[str]


def add_more(samples: Sequence[Sample], folders: Sequence[Path]) -> tuple[list[Sample], list[More]]:
    """The samples plus all photos of the folders, moved to train whatever their split; and a record of each folder.

    No folders add nothing. InputError if a folder cannot be read, and for a photo with the same name as
    another, as that may be a photo of val.
    """
    together, records = list(samples), []
    known = {sample.name: sample.path for sample in samples}
    for folder in folders:
        added = [replace(sample, split="train") for sample in read_dataset(folder)]
        for sample in added:
            if sample.name in known:
                raise InputError(
                    f"{sample.path}: has the name of {known[sample.name]}; rename it or take it out"
                )
            known[sample.name] = sample.path
        together += added
        records.append(_record(folder, added))
    return together, records


def _record(folder: Path, samples: Sequence[Sample]) -> More:
    heads = sum(len(sample.boxes) for sample in samples)
    sources = {name for sample in samples for name in (sample.source, sample.session)} - {""}
    return More(folder.resolve().name, len(samples), heads, sorted(sources))
