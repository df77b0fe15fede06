"""settings.json of a count: what its numbers depend on, so that a run is resumed with the settings it began with."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from wheatear import __version__
from wheatear.count import Options, counted_before
from wheatear.detector import Detector
from wheatear.errors import InputError
from wheatear.files import part_of, parts_of_plots, sha256, write_json
from wheatear.photo_names import COUNTS, MODEL_KEY, SETTINGS, Photo
from wheatear.words import first_of

DIGITS = 12  # of a digest: enough to tell files apart, and short enough to read
MEND = "give the folders that were given before, or leave out --resume"
# The options that give the settings with these keys.
OPTIONS = {
    "tta": "--tta", "by_hand": "--by-hand", "threshold": "--threshold", "head_px": "--head-px",
    "gsd_mm": "--gsd", "frame_m": "--frame", "height_m": "--height", "plots": "--plots", "cell_m": "--cell",
}  # fmt: skip
PHOTOS = "photos"  # the key for where each photo lies, relative to OUT
BYTES = "bytes"  # the key for the size of each photo's file, by which a replaced file is recognised

Settings = dict[str, str | float | None]


def begin_settings(
    out: Path, detector: Detector, options: Options, photos: Sequence[Photo]
) -> tuple[Settings, Callable[[], None]]:
    """Write OUT/settings.json.part -> its contents except for the photos, and what gives the file its name.

    That is to be called before the tables get theirs, so that tables with their names are never those of
    other settings. Until then, and after an interruption, settings.json of an earlier run is unchanged.
    InputError if a run is resumed with other settings than it began with. The file also records where each
    photo lies: a photo already counted must keep its name, and no other photo may have that name, or it would
    be counted twice or not at all. Its file must have the same size as before, too.
    """
    path, settings = out / SETTINGS, settings_of(detector, options)
    places = {photo.name: _place(photo.path, out) for photo in photos}
    sizes = {photo.name: _bytes(photo.path) for photo in photos}
    begun = _begun(out)
    if options.resume and begun.exists():
        before = _read(begun)
        _refuse_changed(begun, before, settings)
        known = before.get(PHOTOS) or {}
        done = {name: known[name] for name in counted_before(out) if name in known}
        if not _were_moved(out, done, places):
            _refuse_other_names(done, places)
        had = before.get(BYTES) or {}
        _refuse_other_files({name: had[name] for name in done if name in had}, sizes)
        places, sizes = known | places, had | sizes
    part = part_of(path)
    write_json(part, {**settings, PHOTOS: places, BYTES: sizes})
    return settings, partial(os.replace, part, path)


def settings_of(detector: Detector, options: Options) -> Settings:
    """The settings that the numbers depend on, by name; None for what was not asked for."""
    plots = options.maps.plots
    return {
        "wheatear": __version__,
        "model": detector.card.name,
        MODEL_KEY: detector.sha256[:DIGITS],
        "tta": detector.tta,
        "by_hand": options.by_hand,
        "threshold": options.threshold,
        "head_px": options.head_px,
        "gsd_mm": options.scale.gsd_mm,
        "frame_m": options.scale.frame_m,
        "height_m": options.scale.height_m,
        "plots": None if plots is None else plots.path.name,
        "plots_sha256": None if plots is None else _digest(plots.path),
        "cell_m": options.maps.cell_m,
    }


def _begun(out: Path) -> Path:
    """The settings file of OUT's tables so far, which may not exist."""
    path = out / SETTINGS
    part = part_of(path)
    return part if part.exists() and part_of(out / COUNTS).exists() else path


def places_of(out: Path) -> dict[str, Path]:
    """Where the photos in OUT's tables so far lie, by name; empty without settings."""
    path = _begun(out)
    known = (_read(path).get(PHOTOS) or {}) if path.exists() else {}
    return {name: out / place for name, place in known.items()}


def _digest(plots: Path) -> str:
    """The digest of a file of plots; for a Shapefile, of all the files that it consists of."""
    first, *others = map(sha256, parts_of_plots(plots))
    return (hashlib.sha256("".join([first, *others]).encode()).hexdigest() if others else first)[:DIGITS]


def _were_moved(out: Path, done: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Whether all photos already counted have left their places, and all their names are given again elsewhere."""
    return done.keys() <= now.keys() and not any((out / place).exists() for place in done.values())


def _place(photo: Path, out: Path) -> str:
    """Where a photo lies, relative to OUT, so that both can be moved together; an absolute path on another drive."""
    try:
        return os.path.relpath(os.path.realpath(photo), os.path.realpath(out))
    except ValueError:  # it is on another Windows drive
        return os.path.realpath(photo)


def _read(path: Path) -> dict[str, Any]:
    try:
        before = json.loads(path.read_text("utf-8"))
    except ValueError:
        before = None
    if not isinstance(before, dict) or not all(
        isinstance(before.get(key, {}), dict) for key in (PHOTOS, BYTES)
    ):
        raise InputError(f"{path}: is damaged; count again without --resume")
    return before


def _refuse_changed(path: Path, before: Mapping[str, Any], settings: Settings) -> None:
    for name, value in settings.items():
        if before.get(name) != value:
            was, now = ("not given" if each is None else each for each in (before.get(name), value))
            option = OPTIONS.get(name, name)
            if name == "threshold" and settings["by_hand"]:
                option = f"the threshold fitted to {settings['by_hand']}"
            raise InputError(
                f"{path}: {option} was {was}, now {now}; give the same, or name another folder for --out"
            )


def _bytes(photo: Path) -> int | None:
    """The size of a file; None if it cannot be determined, in which case the count reports why."""
    with suppress(OSError):
        return photo.stat().st_size
    return None


def _refuse_other_files(before: Mapping[str, int | None], now: Mapping[str, int | None]) -> None:
    """InputError if a file given now has another size than the file of the same name that was counted.

    before: the sizes of the files that were counted, by photo name, None if unknown; now: those of the files
    given.
    """
    changed = [
        name for name in before if None not in (before[name], now.get(name)) and before[name] != now[name]
    ]
    if changed:
        raise InputError(
            f"{first_of(changed)}: another file than the one that was counted; name another folder for --out, or "
            "leave out --resume to count all again"
        )


def _refuse_other_names(done: Mapping[str, str], now: Mapping[str, str]) -> None:
    """InputError if a photo already counted would get another name, or another photo its name.

    done: the places of the photos already counted, by name; now: those of the photos to be counted.
    """
    names: dict[str, list[str]] = {}  # a link has the same place as its photo, and is counted too
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
