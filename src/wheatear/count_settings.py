"""settings.json of a count: what the numbers depend on, so that a run is resumed as it began."""

import json
from pathlib import Path

from wheatear.count import Options
from wheatear.detector import Detector
from wheatear.errors import InputError
from wheatear.files import whole

SETTINGS = "settings.json"
DIGITS = 12  # of the digest: enough to tell models apart, and short enough to read

Settings = dict[str, str | float | None]


def keep_settings(out: Path, detector: Detector, options: Options) -> None:
    """Write OUT/settings.json. InputError where a run is resumed with other settings than it began with."""
    path, settings = out / SETTINGS, settings_of(detector, options)
    if options.resume and path.exists():
        _refuse_others(path, settings)
    with whole(path) as part:
        part.write_text(json.dumps(settings, indent=2) + "\n", "utf-8")


def settings_of(detector: Detector, options: Options) -> Settings:
    """What the numbers depend on, by name; None for what was not asked for."""
    plots = options.maps.plots
    return {
        "model": detector.card.name,
        "model_sha256": detector.sha256[:DIGITS],
        "tta": detector.tta,
        "threshold": options.threshold,
        "head_px": options.head_px,
        "gsd_mm": options.scale.gsd_mm,
        "frame_m": options.scale.frame_m,
        "height_m": options.scale.height_m,
        "plots": None if plots is None else str(plots.path),
        "cell_m": options.maps.cell_m,
    }


def _refuse_others(path: Path, settings: Settings) -> None:
    try:
        before = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: is damaged; count again without --resume") from error
    for name, value in settings.items():
        if before.get(name) != value:
            was = before.get(name)
            raise InputError(f"{path}: {name} was {was}, now {value}; give the same, or leave out --resume")
