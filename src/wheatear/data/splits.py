"""Divide photos into train and val with no field photo on both sides, and write and read the division."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import numpy as np

from wheatear.csv_files import read_table, require, write_table
from wheatear.data.field_photos import with_field_photos
from wheatear.data.sample import Sample
from wheatear.errors import InputError

Groups = dict[str, list[Sample]]
COLUMNS = ("image_id", "source", "session", "photo", "split")  # of images.csv


def split(
    samples: Sequence[Sample], val_fraction: float = 0.13, seed: int = 0, unread: list[Path] | None = None
) -> list[Sample]:
    """The samples, in their order, with `photo` and `split` filled in.

    Field photos are divided, not tiles: about val_fraction of those of each session (or source) and of
    each number of tiles go to val; at least one overall, but never all (a single one goes to train, unless
    others are there already and none of them is in val). Existing splits are kept, and the other tiles of the
    same photo follow them. Tiles are grouped by their edges, unless every sample already names its photo. The
    order of the samples does not matter; no samples give [].
    unread: gets the photos that could not be read for that, each of which counts as a field photo of its own.

    Raises InputError unless 0 < val_fraction < 1.
    """
    if not 0 < val_fraction < 1:
        raise InputError(f"a val fraction of {val_fraction} leaves one side empty; give one between 0 and 1")
    samples = with_field_photos(samples, unread)
    side = _divide(_by_photo(samples), val_fraction, np.random.default_rng(seed))
    return [replace(sample, split=sample.split or side[sample.photo]) for sample in samples]


def hold_out(
    samples: Sequence[Sample], sessions: Collection[str], unread: list[Path] | None = None
) -> list[Sample]:
    """The samples, in their order, with the field photos of these sessions in val and all others in train.

    A session is given by its name, or by its source where it has none; existing splits are ignored. A field
    photo with even one tile from these sessions is held out whole. Tiles are grouped as in `split`, and
    unread is as there.
    Raises InputError for a session that does not exist, and if nothing is left to train on.
    """
    there = {sample.session_or_source for sample in samples}
    if unknown := sorted(set(sessions) - there):
        raise InputError(f"--hold-out {unknown[0]}: no such session; there are {', '.join(sorted(there))}")
    samples = with_field_photos(samples, unread)
    held = {sample.photo for sample in samples if sample.session_or_source in sessions}
    if all(sample.photo in held for sample in samples):
        raise InputError("--hold-out: no photo is left to train on; hold out fewer sessions")
    return [replace(sample, split="val" if sample.photo in held else "train") for sample in samples]


def divided_photos(samples: Sequence[Sample]) -> int:
    """How many field photos have tiles in train and others in val or test: `split` leaves such as they were given."""
    splits: dict[str, set[str]] = {}
    for sample in samples:
        splits.setdefault(sample.photo, set()).add(sample.split)
    return sum("train" in given and len(given) > 1 for given in splits.values())


def usual_split(samples: Sequence[Sample]) -> str:
    """val, or all if no photo is in a split."""
    return "val" if any(sample.split for sample in samples) else "all"


def photos_of(samples: Sequence[Sample], split: str | None, folder: Path) -> list[Sample]:
    """The photos of a split; by default val, or all if the photos are not divided.

    Raises InputError if no photo is in the split, or there is none at all.
    """
    if not samples:
        raise InputError(f"{folder}: has no labelled photos; add some, or name another folder")
    splits = {sample.split for sample in samples} - {""}
    wanted = split or usual_split(samples)
    chosen = [sample for sample in samples if wanted in ("all", sample.split)]
    if not chosen:
        there = ", ".join(sorted(splits)) or "none; run `wheatear data split` first"
        raise InputError(f"{folder}: no photo is in the split '{wanted}'; there are: {there}")
    return chosen


def write_split(samples: Sequence[Sample], path: Path) -> None:
    """Like `write_images_csv`, but an existing images.csv keeps its extra columns and the rows of other photos."""
    header, rows = read_table(path) if path.exists() else ([], [])
    before = {row["image_id"]: row for _, row in rows}
    now = {sample.name: dict(zip(COLUMNS, _row(sample), strict=True)) for sample in samples}
    header = [*COLUMNS, *(column for column in header if column not in COLUMNS)]
    both = [before.get(name, {}) | now.get(name, {}) for name in now | before]
    write_table(path, [header, *([row.get(column, "") for column in header] for row in both)])


def divided_as(samples: Sequence[Sample], splits: Mapping[str, str]) -> list[Sample]:
    """The samples that are in splits, as `read_splits` gives them, with these; all of them unchanged if none is."""
    known = [replace(sample, split=splits[sample.name]) for sample in samples if sample.name in splits]
    return known or list(samples)


def read_splits(images: Path) -> dict[str, str]:
    """The split of each photo, by name, from an images.csv written by `write_images_csv`."""
    header, rows = read_table(images)
    require(images, header, "image_id", "split")
    return {row["image_id"]: row["split"] for _, row in rows}


def write_images_csv(samples: Sequence[Sample], path: str | Path) -> None:
    """Write images.csv (image_id, source, session, photo, split), whole or not at all."""
    write_table(Path(path), [COLUMNS, *map(_row, samples)])


def _row(sample: Sample) -> tuple[str, ...]:
    return sample.name, sample.source, sample.session, sample.photo, sample.split


def _by_photo(samples: Sequence[Sample]) -> Groups:
    groups: Groups = {}
    for sample in sorted(samples, key=attrgetter("name")):
        groups.setdefault(sample.photo, []).append(sample)
    return groups


def _divide(groups: Groups, val_fraction: float, rng: np.random.Generator) -> dict[str, str]:
    """The side of each field photo."""
    side = {photo: _given_side(tiles) for photo, tiles in groups.items()}
    given = set(side.values())
    undecided = sorted(photo for photo in groups if not side[photo])
    luck = dict(zip(undecided, rng.random(len(undecided)), strict=True))
    undecided.sort(key=lambda photo: (_stratum(groups[photo]), len(groups[photo]), luck[photo]))
    for photo in undecided:
        side[photo] = "train"
    # Where train has photos and val none, even a single new photo goes to val: nothing else would ever fill it.
    most = len(undecided) - (0 if "train" in given and "val" not in given else 1)
    for place in _spread(len(undecided), val_fraction, rng.random(), most):
        side[undecided[place]] = "val"
    return side


def _given_side(tiles: Sequence[Sample]) -> str:
    """The split that tiles of a photo already have, "" if none; train if any has it, as val must be unseen."""
    given = {tile.split for tile in tiles} - {""}
    return "train" if "train" in given else min(given, default="")


def _stratum(tiles: Sequence[Sample]) -> str:
    return max(tile.session or tile.source for tile in tiles)


def _spread(n: int, fraction: float, start: float, most: int) -> list[int]:
    """About fraction * n indices out of n, evenly spread from `start` in 0..1: at least one, but at most `most`.

    Taking photos from a sorted list at even steps gives each stratum its share.
    """
    chosen = min(max(1, round(fraction * n)), most)
    return [int((k + start) * n / chosen) for k in range(chosen)]
