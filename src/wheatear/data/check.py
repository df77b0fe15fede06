"""Count what a data set holds, and find what is wrong with it.

Letters: G boxes of a photo.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from wheatear.boxes import area, clip
from wheatear.data.sample import Sample
from wheatear.errors import InputError
from wheatear.images import open_photo

# Areas relative to the median head of the same photo, as a head is 30 px long in one photo and 150 in another.
# Both limits lie in gaps between the areas on 1,260 photos that were labelled twice. Below this one are 56 boxes
# of the first labelling, slivers at the border and slips of the mouse, and 4 of the second, more careful one.
SPECK = 1 / 20
# The second labelling has nothing above 10.8; the four boxes of the first above 12 all frame several heads.
GIANT = 12
# For photos with too few boxes to have a typical head. The largest real head in these covers 0.12 of the photo.
GIANT_SHARE = 0.5
ROUNDING = 0.001  # pixels: the precision to which the formats store coordinates


@dataclass(frozen=True)
class Problem:
    """One finding. `row` is the box's entry in `Sample.rows`; 0 if there is none, or the finding is about the photo."""

    photo: Path
    row: int
    kind: str
    detail: str


@dataclass(frozen=True)
class Summary:
    """Counts over some photos. `heads` (per photo) and `sizes` (√area in pixels) are (min, median, max)."""

    name: str
    photos: int
    photos_without_heads: int
    boxes: int
    heads: tuple[float, float, float]
    sizes: tuple[float, float, float]


@dataclass(frozen=True)
class Report:
    total: Summary
    places: list[Summary]
    problems: list[Problem]


def check(samples: Sequence[Sample]) -> Report:
    """Open every photo and examine every box: counts, overall and per session or source, and problems.

    Kinds of problem: unreadable photo, duplicate photo (the same pixels under another name), other size (the
    labels were made on a photo of another size, or on one not turned as its EXIF tag says); and for boxes:
    outside the photo, no area, speck, giant, duplicate row. No samples give zero counts and no problems.
    """
    places: dict[str, list[Sample]] = {}
    for sample in samples:
        places.setdefault(sample.session_or_source, []).append(sample)
    return Report(
        total=_summarise("all", samples),
        places=[_summarise(name, places[name]) for name in sorted(places)],
        problems=[
            *_photo_problems(samples),
            *(_size_problem(sample) for sample in samples if sample.is_of_another_size()),
            *(problem for sample in samples for problem in _box_problems(sample)),
        ],
    )


def is_speck(boxes: np.ndarray) -> np.ndarray:
    """Which boxes (G, 4) of one photo are too small to be a head: (G,) bool."""
    areas = area(boxes)
    return areas < SPECK * _middle(areas)


def is_giant(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Which boxes (G, 4) of one photo of width x height pixels are too large to be one head: (G,) bool.

    Width and height are 0 if unknown; a box is then compared only with the others.
    """
    areas = area(boxes)
    return (areas > GIANT * _middle(areas)) | (areas > GIANT_SHARE * (width * height or np.inf))


def clean(sample: Sample) -> Sample:
    """The sample with boxes fit to train on: clipped to the photo, without duplicates, specks, giants and empty boxes.

    `rows` stays aligned with the boxes; a sample without `rows` stays without. A photo may be left with no
    boxes. If the photo's size is unknown, boxes are not clipped.
    """
    faults = _find_faults(sample)
    keep = ~(faults["no area"] | faults["speck"] | faults["giant"] | faults["duplicate row"])
    return replace(sample, boxes=in_photo(sample)[keep], rows=sample.rows[keep[: len(sample.rows)]])


def _find_faults(sample: Sample) -> dict[str, np.ndarray]:
    """Which boxes have each fault: (G,) bool. Sizes are those of the part inside the photo."""
    clipped = in_photo(sample)
    empty = area(clipped) == 0
    speck, giant, duplicate = (np.zeros(len(clipped), bool) for _ in range(3))
    speck[~empty] = is_speck(clipped[~empty])
    giant[~empty] = is_giant(clipped[~empty], sample.width, sample.height)
    duplicate[:] = True
    duplicate[np.unique(sample.boxes, axis=0, return_index=True)[1]] = False
    outside = (abs(clipped - sample.boxes) > ROUNDING).any(axis=1)
    return {
        "outside the photo": outside,
        "no area": empty,
        "speck": speck,
        "giant": giant,
        "duplicate row": duplicate,
    }


def in_photo(sample: Sample) -> np.ndarray:
    """The sample's boxes (G, 4), clipped to the photo if its size is known."""
    return clip(sample.boxes, sample.height, sample.width) if sample.width else sample.boxes


def _middle(areas: np.ndarray) -> float:
    return float(np.median(areas)) if len(areas) else 0.0


def _box_problems(sample: Sample) -> Iterator[Problem]:
    for kind, mask in _find_faults(sample).items():
        for box in np.flatnonzero(mask):
            xmin, ymin, xmax, ymax = sample.boxes[box]
            detail = f"{xmax - xmin:g} × {ymax - ymin:g} px at ({xmin:g}, {ymin:g})"
            yield Problem(sample.path, int(sample.rows[box]) if len(sample.rows) else 0, kind, detail)


def _photo_problems(samples: Sequence[Sample]) -> Iterator[Problem]:
    first: dict[str, Path] = {}
    # Decoding releases the GIL; more photos at a time than cores would only cost memory.
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for sample, (digest, error) in zip(samples, threads.map(_digest, samples), strict=True):
            if error:
                yield Problem(sample.path, 0, "unreadable photo", error)
            elif first.setdefault(digest, sample.path) != sample.path:
                yield Problem(sample.path, 0, "duplicate photo", f"the same pixels as {first[digest].name}")


def _size_problem(sample: Sample) -> Problem:
    labelled, size = (
        f"{width} × {height} px" for width, height in (sample.labelled_size, (sample.width, sample.height))
    )
    turned = " (turned by its EXIF tag?)" if sample.labelled_size == (sample.height, sample.width) else ""
    return Problem(sample.path, 0, "other size", f"{labelled} by its labels, {size} as it is{turned}")


def _digest(sample: Sample) -> tuple[str, str]:
    """A digest of the photo's size and pixels, or what is wrong with the file."""
    try:
        image = open_photo(sample.path)
    except InputError as error:
        return "", str(error)
    return f"{image.shape} {hashlib.sha256(image.tobytes()).hexdigest()}", ""


def _summarise(name: str, samples: Sequence[Sample]) -> Summary:
    heads = np.array([len(sample.boxes) for sample in samples])
    areas = [area(sample.boxes) for sample in samples]
    return Summary(
        name=name,
        photos=len(samples),
        photos_without_heads=int((heads == 0).sum()),
        boxes=int(heads.sum()),
        heads=_range(heads),
        sizes=_range(np.sqrt(np.concatenate(areas)) if areas else heads),
    )


def _range(values: np.ndarray) -> tuple[float, float, float]:
    """Minimum, median and maximum; zeros if there are no values."""
    if not len(values):
        return 0.0, 0.0, 0.0
    return float(values.min()), float(np.median(values)), float(values.max())
