"""A second labelling of the train photos: it replaces the data set's own or alternates with it at random."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wheatear.data.check import clean
from wheatear.data.sample import Sample
from wheatear.files import sha256


@dataclass(frozen=True)
class Relabelled:
    """Samples with the labels of `file`, which replace the data set's own or, if `both`, alternate with them."""

    file: Path
    samples: Sequence[Sample]
    both: bool


def labellings(train: Sequence[Sample], other: Relabelled | None) -> tuple[list[Sample], list[Sample]]:
    """The samples to train on, and the samples that alternate with them at random, or none.

    A photo that is not in the other labelling keeps its own labels.
    """
    if other is None:
        return list(train), []
    known = {sample.name: clean(sample) for sample in other.samples}
    again = [known.get(sample.name, sample) for sample in train]
    return (list(train), again) if other.both else (again, [])


def record(other: Relabelled | None) -> dict[str, object] | None:
    """The entry in run.json; None for the data set's own labels alone."""
    return {"file": other.file.name, "sha256": sha256(other.file), "both": other.both} if other else None


def is_same(one: Mapping[str, object] | None, other: Mapping[str, object] | None) -> bool:
    """Whether two records describe the same labels, whatever the names of their files."""
    if one is None or other is None:
        return one is other
    return all(one.get(key) == other.get(key) for key in ("sha256", "both"))
