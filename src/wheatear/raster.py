"""GeoTIFFs and very large TIFFs, read window by window with rasterio (needs the extra `geo`)."""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wheatear.errors import InputError, is_utf_8, refuse_name
from wheatear.images import (
    NO_MEMORY,
    OTHER_SUFFIXES,
    is_too_large,
    is_turned,
    open_photo,
    quiet_libraries,
    tiff_tags,
)
from wheatear.pixels import InMemory, Pixels, Window

if TYPE_CHECKING:
    from affine import Affine
    from rasterio import DatasetReader
    from rasterio.crs import CRS
    from rasterio.enums import ColorInterp

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # of TIFF and BigTIFF, in either byte order
GEO = ("rasterio", "pyogrio", "shapely")  # packages of the extra; maps need all of them
INSTALL = "install wheatear's extra `geo`: pip install '.[geo]'"
# GeoTIFF tags (OGC 19-008r4): the coordinates' reference system; pixel scale, tie points and transformation.
COORDINATES, PLACES = 34735, frozenset({33550, 33922, 34264})
WORLD_FILES = (".tfw", ".wld")
# Above this many pixels a TIFF is read in windows, so that memory does not grow with its size. A photo of 24
# megapixels, which is 72 MB, is read faster at once.
LARGE = 50_000_000
# GDAL caches decoded blocks, by default in up to a twentieth of the machine's memory. A row of windows of a striped
# file 20,000 pixels wide is 77 MB.
CACHE_BYTES = 256 * 1024**2


def open_pixels(path: str | Path) -> Pixels:
    """Open a photo for reading: a GeoTIFF or a large TIFF in windows, any other whole, as open_photo reads it.

    Also read in windows, unless EXIF turns them, are a TIFF with a mask, a no-data value, alpha or 16-bit
    colours plane by plane, and one that open_photo cannot read, as GDAL supports more kinds. Without the
    extra every TIFF is read whole. InputError as in open_photo and Raster, and for a TIFF whose name GDAL
    cannot handle.
    """
    path = Path(path)
    if not _is_tiff(path):
        return InMemory(open_photo(path))
    if raster := _as_raster(path):
        return raster
    try:
        return InMemory(open_photo(path))
    except InputError as error:
        if error.__cause__ is None or is_turned(path):  # it is not damaged, but of an unsupported kind
            raise
        if dataset := _open(path):
            return Raster(path, dataset)
        if not has_geo():
            raise InputError(f"{error}; if it is a whole TIFF, {INSTALL}") from error
        raise


@contextmanager
def opened_pixels(path: str | Path) -> Iterator[Pixels]:
    """open_pixels for a `with` block, which closes it; an InputError or a lack of memory in it names the file too."""
    with closing(open_pixels(path)) as pixels:
        try:
            yield pixels
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except MemoryError as error:
            raise InputError(f"{path}: {NO_MEMORY}") from error


def _as_raster(path: Path) -> "Raster | None":
    """The TIFF as a Raster; None if it is an ordinary photo, or if GDAL cannot open it."""
    if not has_geo():
        if is_too_large(path):
            raise InputError(f"{path}: is too large to be read whole; {INSTALL}")
        return None
    dataset = _open(path)
    if dataset is None:
        return None
    from rasterio.enums import Interleaving

    # 16-bit colours plane by plane, which Pillow misreads.
    is_misread = (
        dataset.count > 1 and dataset.dtypes[0] == "uint16" and dataset.interleaving == Interleaving.band
    )
    is_plain = _has_no_mask(dataset) and dataset.width * dataset.height <= LARGE and not is_misread
    if dataset.crs is None and (is_plain or is_turned(path)):  # GDAL ignores the EXIF orientation
        dataset.close()
        return None
    return Raster(path, dataset)


def _is_tiff(path: Path) -> bool:
    """Whether a file begins like a TIFF; cameras' raw photos, which do too, are recognised by their extensions."""
    if path.suffix.lower() in OTHER_SUFFIXES:
        return False
    with suppress(OSError), path.open("rb") as file:
        return file.read(4) in TIFF_STARTS
    return False


def has_geo() -> bool:
    """Whether all packages of the extra are installed."""
    return all(find_spec(package) for package in GEO)


def lacks_geo(path: Path) -> bool:
    """Whether a photo is a GeoTIFF whose coordinates cannot be read because the extra is not installed."""
    return _is_tiff(path) and not has_geo() and COORDINATES in tiff_tags(path)


def is_placed(path: Path) -> bool:
    """Whether a TIFF tells where its pixels lie, itself or by a world file beside it, whether in a CRS or in none."""
    if not _is_tiff(path):
        return False
    is_with_world_file = any(path.with_suffix(suffix).is_file() for suffix in WORLD_FILES)
    return is_with_world_file or not PLACES.isdisjoint(tiff_tags(path))


def _open(path: Path) -> "DatasetReader | None":
    if not has_geo():
        return None
    import rasterio
    from rasterio.errors import RasterioIOError

    refuse_name(path)
    if not is_utf_8(str(path)):
        raise InputError(f"{str(path)!r}: the name of its folder is not in UTF-8; rename that")
    try:
        with quiet_libraries():
            return rasterio.open(path, driver="GTiff")
    except RasterioIOError:
        return None  # open_photo reports what is wrong with it


class Raster:
    """A TIFF on disk as Pixels. Only one thread at a time may read it.

    Colours are the bands that the file marks as red, green and blue, else its first three; with fewer than
    three, the first is read as grey. Values of 9 to 16 bits keep their upper 8 bits, as in open_photo; those of
    fewer than 8 are scaled to 0..255. Pixels are without data where the file's mask, no-data value or alpha
    says so. InputError for a palette and for pixels of other types, whose range is unknown; reading a damaged
    file raises one that does not name the file. The Raster owns the dataset: it is closed with the Raster, or
    if creating that fails.
    """

    def __init__(self, path: Path, dataset: "DatasetReader") -> None:
        self.path = path
        self._dataset = dataset
        try:
            self._bands = _colour_bands(path, dataset)
        except InputError:
            dataset.close()
            raise
        self._alpha = _alpha_band(dataset)
        # Of more than four bands GDAL does not take an alpha band for a mask.
        self._all_valid = _has_no_mask(dataset) and self._alpha is None
        bits = 16 if dataset.dtypes[0] == "uint16" else 8
        self._bits = int(dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", bits))  # of a value
        # Of such a file 0 is white, and GDAL inverts nothing.
        self._is_negative = dataset.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES"

    @property
    def height(self) -> int:
        return int(self._dataset.height)

    @property
    def width(self) -> int:
        return int(self._dataset.width)

    @property
    def crs(self) -> "CRS | None":
        """The coordinate reference system; None if the file has none."""
        return self._dataset.crs

    @property
    def transform(self) -> "Affine":
        """From (column, row) in pixels, with (0, 0) the upper left corner of the upper left pixel, to the CRS."""
        return self._dataset.transform

    @property
    def has_place(self) -> bool:
        """Whether the file says where its pixels lie in a CRS; some files have a CRS and no coordinates."""
        return self.crs is not None and not self.transform.is_identity

    def read(self, window: Window) -> np.ndarray:
        """(h, w, 3) uint8 RGB of a window."""
        return self._read(window, (window.bottom - window.top, window.right - window.left))

    def overview(self, max_side: int) -> np.ndarray:
        """The whole raster, reduced so that neither side is longer than max_side: (h, w, 3) uint8 RGB."""
        shrink = max(1.0, max(self.height, self.width) / max_side)
        shape = max(1, round(self.height / shrink)), max(1, round(self.width / shrink))
        return self._read(Window(0, 0, self.height, self.width), shape)

    def valid(self, window: Window) -> np.ndarray | None:
        """(h, w) bool, False where there is no data; None if the whole file is data."""
        if self._all_valid:
            return None
        with _reading():
            if self._alpha is None or self._dataset.nodata is None:
                valid: np.ndarray = self._dataset.dataset_mask(window=_ranges(window)) > 0
            else:  # GDAL's own mask would count the values of alpha too
                bands = self._dataset.read(self._bands, window=_ranges(window))
                valid = (bands != self._dataset.nodata).any(axis=0)
            # GDAL's own mask ignores alpha beside another mask, and among more than four bands.
            if self._alpha is not None:
                valid &= self._dataset.read(self._alpha, window=_ranges(window)) > 0
            return valid

    def close(self) -> None:
        self._dataset.close()

    def _read(self, window: Window, shape: tuple[int, int]) -> np.ndarray:
        with _reading():
            bands = self._dataset.read(
                self._bands, window=_ranges(window), out_shape=(len(self._bands), *shape)
            )
        if self._bits >= 8:
            bands = (bands >> (self._bits - 8)).astype(np.uint8)
        else:
            bands = np.rint(bands * (255 / (2**self._bits - 1))).astype(np.uint8)
        if self._is_negative:
            bands = 255 - bands
        return np.ascontiguousarray(np.broadcast_to(bands, (3, *shape)).transpose(1, 2, 0))


@contextmanager
def _reading() -> Iterator[None]:
    """Limit GDAL's cache and turn its read errors into InputError.

    GDAL fixes the size of its cache permanently when it reads the first block, in whatever thread that is.
    """
    from rasterio import Env
    from rasterio.errors import RasterioIOError

    try:
        with Env(GDAL_CACHEMAX=CACHE_BYTES):
            yield
    except RasterioIOError as error:
        raise InputError("is damaged or cut short; copy it again") from error


def _ranges(window: Window) -> tuple[tuple[int, int], tuple[int, int]]:
    return (window.top, window.bottom), (window.left, window.right)


def _colour_bands(path: Path, dataset: "DatasetReader") -> list[int]:
    """The 1-based numbers of the bands to read: three colours, or one grey."""
    from rasterio.enums import ColorInterp

    meanings = _meanings(path, dataset)
    if ColorInterp.palette in meanings:
        raise InputError(f"{path}: its pixels are places in a palette; save it as 8-bit RGB")
    if set(dataset.dtypes) - {"uint8", "uint16"}:
        kind = dataset.dtypes[0]
        raise InputError(f"{path}: has pixels of kind {kind}, of no known range; save it as 8-bit RGB")
    colours = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
    if all(colour in meanings for colour in colours):
        return [meanings.index(colour) + 1 for colour in colours]
    return [1, 2, 3] if dataset.count >= 3 else [1]


def _meanings(path: Path, dataset: "DatasetReader") -> "list[ColorInterp]":
    """What the bands mean; InputError if the file is too damaged to tell.

    When first asked, rasterio raises what GDAL found wrong while it opened the file, such as an overview that was
    cut off. If the pixels are damaged too, reading them raises an error.
    """
    for _ in range(2):
        with suppress(Exception):  # GDAL's exceptions have no public base of their own
            return list(dataset.colorinterp)
    raise InputError(f"{path}: is damaged or cut short; copy it again")


def _alpha_band(dataset: "DatasetReader") -> int | None:
    from rasterio.enums import ColorInterp

    meanings = list(dataset.colorinterp)
    return meanings.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in meanings else None


def _has_no_mask(dataset: "DatasetReader") -> bool:
    from rasterio.enums import MaskFlags

    return all(MaskFlags.all_valid in flags for flags in dataset.mask_flag_enums)
