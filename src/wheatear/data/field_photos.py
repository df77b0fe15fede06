"""Which tiles were cut from the same field photo: those whose edges continue in each other.

The tiles of one photo share light, soil and plants, so a detector must not be trained on one and evaluated on
another.

Letters: N tiles, L pixels along an edge.
"""

import math
import os
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wheatear.data.sample import Sample
from wheatear.errors import InputError
from wheatear.images import open_photo
from wheatear.words import photos

Floats = NDArray[np.float32]

# On 1,260 tiles of the Global Wheat data set, edges that meet score above 0.51 and all others below 0.46.
MIN_SCORE = 0.48
# The edge length at which those were measured. Chance agreement of shorter edges grows with 1 / sqrt(length).
MEASURED_LENGTH = 1024
# Pixels; edges this long need a score of 0.86, and hardly any shorter ones reach the score that they need.
SHORTEST = 320
# The contrast, per pixel, that float32 rounding may leave in an edge of one uniform grey between 0 and 255.
ROUNDING = 1e-3
# Leaves and awns are finer than this many pixels; shade and gradual changes of light are coarser.
FINE_DETAIL = 17


class Edges(NamedTuple):
    """Brightness along the four edges of a tile, each (L,); left and right run from top to bottom."""

    left: Floats
    right: Floats
    top: Floats
    bottom: Floats


class Seam(NamedTuple):
    """Tile `second` continues tile `first` on the right or, if `below`, below it; `score` is at most 1."""

    score: float
    first: int
    second: int
    below: bool


def with_field_photos(samples: Sequence[Sample], unread: list[Path] | None = None) -> list[Sample]:
    """The samples, each naming its field photo: its own if every sample has one, else by the edges (`group_tiles`).

    The names do not depend on the order of the samples. unread: as in `group_tiles`.
    """
    if all(sample.photo for sample in samples):
        return list(samples)
    order = sorted(range(len(samples)), key=lambda place: samples[place].name)
    names = dict(zip(order, group_tiles([samples[place] for place in order], unread), strict=True))
    return [replace(sample, photo=names[place]) for place, sample in enumerate(samples)]


def group_tiles(samples: Sequence[Sample], unread: list[Path] | None = None) -> list[str]:
    """Name the field photo of each sample, in their order: as given for one of its tiles, else after one of them.

    Two tiles belong together if two of their edges match well enough and each is the other's best match; so
    do tiles with the same four edges (one photo stored twice), and tiles that already share a `photo`. Tiles
    of different sessions are never grouped, nor of different sources if no session is known. Only edges of
    equal length are compared, and those shorter than SHORTEST are too ambiguous: such tiles need a `photo`. A
    photo that cannot be read is a group of its own, and added to `unread`, unless it shares a `photo`. Of
    several names, the alphabetically first is used.
    """
    edges = read_edges([sample.path for sample in samples])
    joins = [*_repeated([sample.photo for sample in samples]), *_repeated(_fingerprints(edges))]
    joins += [(seam.first, seam.second) for seam in sorted(find_seams(edges), reverse=True)]
    groups = _join(joins, _places(samples))
    if unread is not None:
        tiles = Counter(groups)
        unread += [
            sample.path
            for sample, its, group in zip(samples, edges, groups, strict=True)
            if its is None and tiles[group] == 1
        ]
    names: dict[int, tuple[bool, str]] = {}
    for sample, group in zip(samples, groups, strict=True):
        name = (not sample.photo, sample.photo or sample.name)  # given ones first
        names[group] = min(name, names.get(group, name))
    return [names[group][1] for group in groups]


def too_short(samples: Sequence[Sample]) -> str | None:
    """A warning if photos without a given `photo` are too small for their edges to be matched; else None."""
    number = sum(not sample.photo and 0 < min(sample.width, sample.height) < SHORTEST for sample in samples)
    if not number:
        return None
    advice = "if they are tiles, name the field photo of each in the column photo of images.csv"
    return f"edges too short to tell tiles of one field photo by: {photos(number)}; {advice}"


def find_seams(edges: Sequence[Edges | None]) -> list[Seam]:
    """Find the edges that match; None stands for a tile that cannot be read. No tile matches itself."""
    seams: list[Seam] = []
    seen = [(tile, of_tile) for tile, of_tile in enumerate(edges) if of_tile is not None]
    for below, ends, starts in (
        (False, {tile: edge.right for tile, edge in seen}, {tile: edge.left for tile, edge in seen}),
        (True, {tile: edge.bottom for tile, edge in seen}, {tile: edge.top for tile, edge in seen}),
    ):
        for length in {len(end) for end in ends.values()}:
            tiles = [tile for tile, end in ends.items() if len(end) == length]
            end, start = (_describe(np.stack([side[tile] for tile in tiles])) for side in (ends, starts))
            matches = _match(end, start, _min_score(length))
            seams += [Seam(score, tiles[i], tiles[j], below) for score, i, j in matches]
    return seams


def _min_score(length: int) -> float:
    return MIN_SCORE * math.sqrt(max(1.0, MEASURED_LENGTH / length))


def _match(ends: Floats, starts: Floats, min_score: float) -> Iterator[tuple[float, int, int]]:
    """The score, at least min_score, of each (end, start) that are each other's best match, and that pair."""
    scores: Floats = ends @ starts.T
    np.fill_diagonal(scores, -1)
    start_of, end_of = scores.argmax(1), scores.argmax(0)
    for end, start in enumerate(start_of):
        if end_of[start] == end and scores[end, start] >= min_score:
            yield float(scores[end, start]), end, int(start)


def _describe(edges: Floats) -> Floats:
    """Describe edges (N, L) by unit vectors (N, 2L) whose dot product is the mean of two correlations.

    One is that of the edges as they are, the other that of their fine detail. Alone, the first is fooled by
    two photos under the same light, the second by noise.
    """
    both: Floats = np.concatenate([_unit(edges), _unit(edges - _smooth(edges))], axis=1)
    return both * np.float32(0.5**0.5)


def _smooth(edges: Floats) -> Floats:
    """Running mean along edges (N, L) over FINE_DETAIL pixels, with the end values repeated."""
    half = FINE_DETAIL // 2
    padded = np.pad(edges, ((0, 0), (half + 1, half)), mode="edge")
    sums = padded.cumsum(axis=1, dtype=np.float64)  # float32 would lose the detail to rounding
    return ((sums[:, FINE_DETAIL:] - sums[:, :-FINE_DETAIL]) / FINE_DETAIL).astype(np.float32)


def _unit(rows: Floats) -> Floats:
    """Rows (N, L) minus their mean, scaled to length 1; a row without contrast becomes zeros, and matches nothing."""
    centred: Floats = rows - rows.mean(axis=1, keepdims=True)
    lengths: Floats = np.linalg.norm(centred, axis=1, keepdims=True)
    lengths[lengths < ROUNDING * math.sqrt(rows.shape[1])] = np.inf
    return centred / lengths


def read_edges(paths: Iterable[Path]) -> list[Edges | None]:
    """The edges of each photo; None for one that cannot be read or is less than 2 pixels wide or high."""
    # Decoding releases the GIL; more photos at a time than cores would only cost memory.
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(threads.map(_read_edges, paths))


def _read_edges(path: Path) -> Edges | None:
    try:
        image = open_photo(path)
    except InputError:
        return None
    if min(image.shape[:2]) < 2:
        return None
    sideways = image.transpose(1, 0, 2)
    return Edges(
        left=_at_border(image[:, :2]),
        right=_at_border(image[:, :-3:-1]),
        top=_at_border(sideways[:, :2]),
        bottom=_at_border(sideways[:, :-3:-1]),
    )


def _at_border(strip: NDArray[np.uint8]) -> Floats:
    """Brightness (L,) at the border of a strip (L, 2, 3), extrapolated from its two columns, the outer one first."""
    grey: Floats = strip.mean(axis=2, dtype=np.float32)
    return np.float32(1.5) * grey[:, 0] - np.float32(0.5) * grey[:, 1]


def _fingerprints(edges: Iterable[Edges | None]) -> list[bytes]:
    """The four edges of each tile as one key; b"" for an unreadable tile, or one whose edges are all the same grey."""
    return [
        b"".join(edge.tobytes() for edge in of_tile)
        if of_tile and np.ptp(np.concatenate(of_tile)) > 0
        else b""
        for of_tile in edges
    ]


def _repeated(keys: Sequence[Hashable]) -> Iterator[tuple[int, int]]:
    """Pairs (index where a key first occurs, index where it is repeated), ignoring the empty key."""
    first: dict[Hashable, int] = {}
    for place, key in enumerate(keys):
        if key and first.setdefault(key, place) != place:
            yield first[key], place


def _places(samples: Sequence[Sample]) -> list[str]:
    """What must not differ within a photo: the session or, if no session is known, the source; "" matches all."""
    sessions = [sample.session for sample in samples]
    return sessions if any(sessions) else [sample.source for sample in samples]


def _join(joins: Iterable[tuple[int, int]], places: Sequence[str]) -> list[int]:
    """The group number of each tile after making the joins in order, except those that would mix two places."""
    group = np.arange(len(places))
    place_of = dict(enumerate(places))
    for first, second in joins:
        keep, lose = sorted((int(group[first]), int(group[second])))
        if keep == lose or (place_of[keep] and place_of[lose] and place_of[keep] != place_of[lose]):
            continue
        group[group == lose] = keep
        place_of[keep] = place_of[keep] or place_of[lose]
    return [int(number) for number in group]
