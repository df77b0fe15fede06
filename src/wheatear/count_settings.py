"""settings.json of a count: what the numbers depend on, so that a run is resumed as it began."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wheatear.count import Options, counted_before
from wheatear.detector import Detector
from wheatear.errors import InputError
from wheatear.files import part_of, sha256, whole
from wheatear.photo_names import COUNTS, MODEL_KEY, SETTINGS, Photo

DIGITS = 12  # of a digest: enough to tell files apart, and short enough to read
MEND = "give the folders that were given before, or leave out --resume"
PHOTOS = "photos"  # the key of where each photo lies, from OUT on

Settings = dict[str, str | float | None]


@contextmanager
def kept_settings(
    out: Path, detector: Detector, options: Options, photos: Sequence[Photo]
) -> Iterator[Settings]:
    """Write OUT/settings.json -> what it says but for the photos.

    Like the tables it has its name once the block ends well; until then, and after an interruption, it is
    settings.json.part, and what an earlier run left is as it was.
    InputError where a run is resumed with other settings than it began with. The file also says where each photo lies:
    a photo that was counted before must have the name that it had, and no other photo may have it, or it would be
    counted twice, or not at all.
    """
    path, settings = out / SETTINGS, settings_of(detector, options)
    part = part_of(path)
    places = {photo.name: _place(photo.path, out) for photo in photos}
    begun = part if part.exists() and part_of(out / COUNTS).exists() else path  # those of the tables so far
    if options.resume and begun.exists():
        before = _read(begun)
        _refuse_others(begun, before, settings)
        known = before.get(PHOTOS) or {}
        _refuse_other_names({name: known[name] for name in counted_before(out) if name in known}, places)
        places = known | places
    with whole(part) as new:
        new.write_text(json.dumps({**settings, PHOTOS: places}, indent=2) + "\n", "utf-8")
    yield settings
    os.replace(part, path)


def settings_of(detector: Detector, options: Options) -> Settings:
    """What the numbers depend on, by name; None for what was not asked for."""
    plots = options.maps.plots
    return {
        "model": detector.card.name,
        MODEL_KEY: detector.sha256[:DIGITS],
        "tta": detector.tta,
        "threshold": options.threshold,
        "head_px": options.head_px,
        "gsd_mm": options.scale.gsd_mm,
        "frame_m": options.scale.frame_m,
        "height_m": options.scale.height_m,
        "plots": None if plots is None else plots.path.name,
        "plots_sha256": None if plots is None else sha256(plots.path)[:DIGITS],
        "cell_m": options.maps.cell_m,
    }


def _place(photo: Path, out: Path) -> str:
    """Where a photo lies, from OUT on, so that both may be moved together; from the root on, on another drive."""
    try:
        place = os.path.relpath(os.path.realpath(photo), os.path.realpath(out))
    except ValueError:  # of another drive of Windows
        place = os.path.realpath(photo)
    return place.encode("utf-8", "backslashreplace").decode()


def _read(path: Path) -> dict[str, Any]:
    try:
        before = json.loads(path.read_text("utf-8"))
    except ValueError:
        before = None
    if not isinstance(before, dict) or not isinstance(before.get(PHOTOS, {}), dict):
        raise InputError(f"{path}: is damaged; count again without --resume")
    return before


def _refuse_others(path: Path, before: Mapping[str, Any], settings: Settings) -> None:
    for name, value in settings.items():
        if before.get(name) != value:
            was = before.get(name)
            raise InputError(f"{path}: {name} was {was}, now {value}; give the same, or leave out --resume")


def _refuse_other_names(done: Mapping[str, str], now: Mapping[str, str]) -> None:
    """done: the places of the photos that were counted, by name; now: those of the photos that are to be."""
    names: dict[str, list[str]] = {}  # a link has the place of its photo, and is counted like it
    for name, place in done.items():
        names.setdefault(place, []).append(name)
    for name, place in now.items():
        before = names.get(place, [name])
        if done.get(name, place) != place:
            raise InputError(f"{place}: would be {name} in the tables, as {done[name]} is already; {MEND}")
        if name not in before and not any(now.get(other) == place for other in before):
            raise InputError(
                f"{place}: would be {name} in the tables, where it is {before[0]} already; {MEND}"
            )
