"""A second labelling of the train photos: learnt instead of the data set's own, or by turns with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wheatear.data.check import clean
from wheatear.data.sample import Sample
from wheatear.files import sha256


@dataclass(frozen=True)
class Relabelled:
    """The labels of `file`: the samples as they have them, by turns with the data set's own where `both`."""

    file: Path
    samples: Sequence[Sample]
    both: bool


def labellings(train: Sequence[Sample], other: Relabelled | None) -> tuple[list[Sample], list[Sample]]:
    """What is learnt of the train photos: the samples, and those by turns with which they are seen, or none.

    A photo that the other labelling does not know keeps its own labels.
    """
    if other is None:
        return list(train), []
    known = {sample.name: clean(sample) for sample in other.samples}
    again = [known.get(sample.name, sample) for sample in train]
    return (list(train), again) if other.both else (again, [])


def record(other: Relabelled | None) -> dict[str, object] | None:
    """What run.json says of it: None for the data set's own labels alone."""
    return {"file": other.file.name, "sha256": sha256(other.file), "both": other.both} if other else None


def is_same(one: Mapping[str, object] | None, other: Mapping[str, object] | None) -> bool:
    """Whether two records are of the same labels, whatever their files were called."""
    if one is None or other is None:
        return one is other
    return all(one.get(key) == other.get(key) for key in ("sha256", "both"))
