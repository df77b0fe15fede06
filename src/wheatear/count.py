"""The work behind `wheatear count`: photos in; counts, boxes, pictures and maps out.

There are three steps (open, detect, write), each with its own threads, so that the next photo is decoded and
the last one's picture drawn while the detector works. The tables grow in the order of the photos.
"""

import errno
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event
from typing import Literal, NamedTuple

import numpy as np

from wheatear.ahead import ahead
from wheatear.area import Scale
from wheatear.detections import HEADER, rows
from wheatear.detector import Detector
from wheatear.errors import InputError, refuse_line_break
from wheatear.ground import ground_of, odd_scale, odd_size
from wheatear.images import NO_MEMORY
from wheatear.interval import FIGURES, CountingError, counting_error, figures
from wheatear.outputs import Maps, PlotRow, draw_picture, write_maps
from wheatear.photo_names import COUNTS, MAPS, PICTURES, Photo
from wheatear.pixels import Pixels, Window
from wheatear.raster import Raster, open_pixels
from wheatear.sized import HeadPx, Sized, detect_sized
from wheatear.tables import Row, keep_rows, rows_so_far, table

DETECTIONS, PLOTS = "detections.csv", "plots.csv"
COUNTS_HEADER = ("image", *FIGURES, "width", "height", "resized_by", "warnings")
PLOTS_HEADER = ("image", "plot", *FIGURES, "warnings")

Write = Callable[[Iterable[Row]], None]
OWN: Literal["own"] = "own"


@dataclass(frozen=True)
class Options:
    """The options of a count.

    threshold, head_px: as in detect_sized.
    scale: of the ground, as given by the user. maps: for georeferenced images.
    pictures: whether to draw them. jobs: photos at a time in each step. resume: continue the tables of an
    interrupted run.
    error: the counting error; OWN for the card's at this threshold, None if unknown.
    by_hand: the name of the file of counts by hand to which threshold was fitted; None without one.
    """

    threshold: float | None = None
    head_px: HeadPx = None
    scale: Scale = field(default_factory=Scale)
    maps: Maps = field(default_factory=Maps)
    pictures: bool = True
    jobs: int = 1
    resume: bool = False
    error: CountingError | Literal["own"] | None = OWN
    by_hand: str | None = None


@dataclass(frozen=True)
class Count:
    """The result for one photo: its heads and ground area, or the line that says why there is no count.

    is_resized: whether it was resized for the size of its heads as the detector measured it.
    """

    name: str
    heads: int | None
    error: str = ""
    area_m2: float | None = None
    warnings: tuple[str, ...] = ()
    is_resized: bool = False


def count_photos(
    detector: Detector,
    photos: Sequence[Photo],
    out: Path,
    options: Options | None = None,
    finish: Callable[[], None] | None = None,
) -> Generator[Count]:
    """Count the heads in each photo and write OUT/counts.csv, detections.csv, annotated/*.jpg and maps/*.

    With options.maps.plots it also writes plots.csv. It yields one Count per photo as soon as it is done, in
    the order given. A photo that cannot be read or run yields its error and is in none of the tables. The
    tables get their names when the last photo is done; until then, and after an interruption, they are
    *.csv.part and contain every photo yielded so far. With options.resume, photos already in them are
    skipped. finish: called after the last photo, just before the tables get their names. Memory does not grow
    with the number of photos. OSError if OUT cannot be written.
    """
    options = options or Options()
    done = counted_before(out) if options.resume else set()
    todo = [photo for photo in photos if photo.name not in done]
    with _tables(out, options, done) as write, closing(_results(detector, todo, out, options)) as results:
        own = counting_error_of(detector, options.threshold)
        error = own if options.error == OWN else options.error
        for result in results:
            if isinstance(result, _Done):
                _add_rows(write, result, error)
                photo, (heads, resized_by, measured), area_m2, warnings, _ = result
                yield Count(photo.name, len(heads), "", area_m2, warnings, bool(measured and resized_by))
            else:
                yield Count(result.photo.name, None, result.error)
        if finish:
            finish()


def counting_error_of(detector: Detector, threshold: float | None) -> CountingError | None:
    """The error of the detector's counts at a threshold (None: the card's for boxes); None if not measured so."""
    card = detector.card
    if detector.tta is not None and detector.tta not in card.tta:
        return None
    return counting_error(
        card.figures, card.score_threshold if threshold is None else threshold, card.interval_factor
    )


def counted_before(out: Path) -> set[str]:
    """The names of the photos in OUT's counts, from a finished or an interrupted run; empty if there was none."""
    return {row[0] for row in rows_so_far(out / COUNTS, COUNTS_HEADER)}


class _Opened(NamedTuple):
    photo: Photo
    pixels: Pixels


class _Found(NamedTuple):
    photo: Photo
    pixels: Pixels
    sized: Sized


class _Done(NamedTuple):
    photo: Photo
    sized: Sized
    area_m2: float | None
    warnings: tuple[str, ...]
    plots: list[PlotRow]


class _Failed(NamedTuple):
    photo: Photo
    error: str


def _results(
    detector: Detector, photos: Sequence[Photo], out: Path, options: Options
) -> Generator[_Done | _Failed]:
    """Take each photo through the three steps."""
    stopping = Event()
    opened = ahead(_open, photos, options.jobs)
    found = ahead(partial(_detect, detector, options, stopping), opened, options.jobs, stopping)
    return ahead(partial(_write, detector.card.head_px, out, options), found, options.jobs)


def _open(photo: Photo) -> _Opened | _Failed:
    try:
        refuse_line_break(photo.path, photo.name)
        return _Opened(photo, open_pixels(photo.path))
    except InputError as error:
        return _Failed(photo, str(error))


@dataclass(frozen=True, eq=False)
class _UntilStopped:
    """Pixels that can no longer be read once a run is stopped, so that nobody waits for the rest of a large photo."""

    pixels: Pixels
    stopping: Event

    @property
    def height(self) -> int:
        return self.pixels.height

    @property
    def width(self) -> int:
        return self.pixels.width

    def read(self, window: Window) -> np.ndarray:
        if self.stopping.is_set():
            raise CancelledError
        return self.pixels.read(window)

    def valid(self, window: Window) -> np.ndarray | None:
        return self.pixels.valid(window)

    def close(self) -> None:
        self.pixels.close()


def _detect(
    detector: Detector, options: Options, stopping: Event, opened: _Opened | _Failed
) -> _Found | _Failed:
    if isinstance(opened, _Failed):
        return opened
    photo, pixels = opened
    try:
        seen = _UntilStopped(pixels, stopping)
        return _Found(photo, pixels, detect_sized(detector, seen, options.threshold, options.head_px))
    except InputError as error:
        pixels.close()
        return _Failed(photo, f"{photo.path}: {error}")
    except MemoryError:
        pixels.close()
        return _Failed(photo, f"{photo.path}: {NO_MEMORY}")


def _write(trained_px: float, out: Path, options: Options, found: _Found | _Failed) -> _Done | _Failed:
    """Write pictures and maps before the tables' rows: the files of a photo in the tables are complete."""
    if isinstance(found, _Failed):
        return found
    photo, pixels, sized = found
    heads = sized.heads
    with closing(pixels):
        try:
            ground = ground_of(photo.path, pixels, options.scale)
            if options.pictures:
                draw_picture(pixels, heads, out / PICTURES / photo.picture, options.maps.plots)
            plots: list[PlotRow] = []
            warnings = list(ground.warnings)
            if isinstance(pixels, Raster) and pixels.crs:
                place = (out / MAPS / photo.picture).with_suffix("")
                plots, more = write_maps(pixels, heads, ground, options.maps, place.parent, place.name)
                warnings += more
            elif options.maps.plots:
                warnings.append("has no coordinates, so no plots are counted in it")
        except InputError as error:
            return _Failed(photo, f"{photo.path}: {error}")
        except MemoryError:
            return _Failed(photo, f"{photo.path}: {NO_MEMORY}")
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            return _Failed(photo, f"{photo.path}: its name is too long for the files made of it; shorten it")
    size = odd_size(heads, sized.resized_by or trained_px, sized.measured)
    warnings += filter(None, (size, odd_scale(heads, ground.pixel_m2)))
    return _Done(photo, sized, ground.area_m2, tuple(warnings), plots)


@contextmanager
def _tables(out: Path, options: Options, done: set[str]) -> Iterator[dict[str, Write]]:
    headers: dict[str, Row] = {COUNTS: COUNTS_HEADER, DETECTIONS: HEADER}
    if options.maps.plots:
        headers[PLOTS] = PLOTS_HEADER
    with ExitStack() as stack:
        for name, header in headers.items():
            if options.resume:
                keep_rows(out / name, header, done.__contains__)
        yield {
            name: stack.enter_context(table(out / name, header, options.resume))
            for name, header in headers.items()
        }


def _add_rows(write: dict[str, Write], done: _Done, error: CountingError | None) -> None:
    """Write the counts last: a photo listed there is complete in the other tables too."""
    name, heads = done.photo.name, done.sized.heads
    if PLOTS in write:
        write[PLOTS](
            [name, row.plot, *figures(row.heads, row.area_m2, error), row.warning] for row in done.plots
        )
    write[DETECTIONS](rows(name, heads))
    resized_by = "" if done.sized.resized_by is None else round(done.sized.resized_by, 1)
    photo = heads.width, heads.height, resized_by, "; ".join(done.warnings)
    write[COUNTS]([[name, *figures(len(heads), done.area_m2, error), *photo]])
