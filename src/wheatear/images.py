"""Open photos safely: one array of 8-bit RGB whatever the file contains, or one clear line about what is wrong."""

import logging
import os
import re
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from wheatear.errors import InputError

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp")
# Formats that phones and cameras also write, but that are not read here.
RAW_SUFFIXES = (
    ".dng", ".nef", ".nrw", ".cr2", ".cr3", ".arw", ".sr2", ".orf", ".raf", ".rw2", ".rwl", ".pef", ".srw", ".gpr",
    ".iiq", ".3fr", ".fff", ".mos", ".mef", ".erf", ".crw", ".dcr", ".kdc", ".mrw", ".x3f",
)  # fmt: skip
OTHER_SUFFIXES = (".heic", ".heif", ".avif", ".bmp", ".gif", ".jp2", *RAW_SUFFIXES)

# More than the 150 megapixels of the largest camera backs, and the limit at which Pillow itself refuses to continue.
MAX_PIXELS = 178_956_970

NO_MEMORY = "takes more memory than there is; close other programs, or make it smaller"

_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP")
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _PLANES = 256, 257, 258, 262, 284  # TIFF 6.0, section 8
_WHITE_IS_ZERO = 0
_TURNED, _TURNED_SIDEWAYS = range(2, 9), range(5, 9)  # Exif's orientations; some cameras write 0 for 1
_CONVERTIBLE = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")

# Without any handler, Python would print what Pillow logs about a damaged file, beside our own line.
logging.getLogger("PIL").addHandler(logging.NullHandler())

# Python keeps its warning filters per process, so only one thread at a time may swap them.
_filters_in_use = threading.Lock()
_quiet = ExitStack()  # holds the filters while photos are open
_open_photos = 0


def open_photo(path: str | Path) -> np.ndarray:
    """Read a JPEG, PNG, TIFF or WebP photo -> (H, W, 3) uint8 RGB, a new writable array.

    The EXIF orientation is applied, so H and W are those of the photo as a viewer shows it. Alpha is dropped,
    not blended: a transparent pixel keeps the colour stored under it. 16-bit values keep their upper 8 bits,
    grey becomes three equal channels, palettes and CMYK become RGB, and of several frames the first is read.

    InputError, naming the file and what to do, if it is missing, empty, not such an image, a camera's raw
    photo, cut short, damaged, has more than MAX_PIXELS pixels (refused before a pixel is decoded), or has
    pixels whose range is unknown (float, 32 bits, LAB).
    """
    path = Path(path)
    with opened(path) as image:
        image.load()
        _refuse_unknown_pixels(path, image)
        with suppress(*_BROKEN_EXIF):
            ImageOps.exif_transpose(image, in_place=True)
        return _rgb(image)


def refuse_damaged(path: str | Path) -> None:
    """InputError where open_photo would raise one, in half the time for a JPEG.

    A JPEG is decoded to its end, at an eighth of its width and height.
    """
    path = Path(path)
    with opened(path) as image:
        image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
        image.load()
        _refuse_unknown_pixels(path, image)


def photo_size(path: str | Path) -> tuple[int, int]:
    """(width, height) of what open_photo would return, from the file's header; InputError likewise.

    Pixels are not decoded, so a photo that is cut short, or whose pixels are of an unknown range, is not noticed
    here, except a cut PNG that is not square: its EXIF may follow the pixels.
    """
    with opened(Path(path)) as image:
        width, height = image.size
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            # Some versions of Pillow have already rotated `size`, others have not.
            width, height = image.tag_v2[_WIDTH], image.tag_v2[_HEIGHT]
        sideways = width != height and _orientation(image) in _TURNED_SIDEWAYS
        return (height, width) if sideways else (width, height)


def is_too_large(path: Path) -> bool:
    """Whether open_photo refuses a photo because of its number of pixels."""
    try:
        photo_size(path)
    except InputError as error:
        return str(error) == _too_large(path)
    return False


def is_turned(path: Path) -> bool:
    """Whether EXIF tells viewers to rotate or mirror the photo; False if it has too many pixels or cannot be read."""
    with suppress(InputError), opened(path) as image:
        return _orientation(image) in _TURNED
    return False


def tiff_tags(path: Path) -> set[int]:
    """The tags of a TIFF; none of other photos, and of files that cannot be read."""
    with suppress(InputError), opened(path) as image:
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            return set(image.tag_v2)
    return set()


def is_turned_otherwise(path: Path) -> bool:
    """Whether open_photo rotates or mirrors a photo by what browsers ignore.

    That is the EXIF of a WebP, that after the pixels of a PNG, or XMP alone.
    """
    with suppress(InputError, *_BROKEN_EXIF), opened(path) as image:
        before_pixels = image.info.get("exif") or b""  # asking for the orientation of a PNG reads on
        if _orientation(image) in _TURNED:
            exif = Image.Exif()
            exif.load(before_pixels)
            return image.format == "WEBP" or ExifTags.Base.Orientation not in exif
    return False


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The file as a Pillow image, not decoded; any exception inside becomes an InputError."""
    try:
        with quiet_libraries(), path.open("rb") as file, Image.open(file, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(_too_large(path))
            if image.format == "TIFF" and path.suffix.lower() in RAW_SUFFIXES:  # Pillow reads its thumbnail
                raise InputError(f"{path}: {_unread_kind(path)}")
            yield image
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(_too_large(path)) from error
    except Exception as error:  # a damaged file can raise anything from Pillow's plug-ins
        raise InputError(f"{path}: {_what_is_wrong(path, error)}") from error


def find_photos(paths: Iterable[str | Path]) -> list[Path]:
    """The photos at these paths, sorted (2.jpg before 10.jpg), each once.

    A file is taken as given, whatever its extension; a folder is searched with all its subfolders for files
    that end in PHOTO_SUFFIXES (in any case), except hidden ones. A path that does not exist, or a folder that
    may not be read, is kept, so that whoever opens it reports it. No paths, or empty folders: [].
    """
    places = map(Path, paths)
    found = (photo for place in places for photo in (_in_folder(place) if place.is_dir() else [place]))
    return sorted(each_file_once(found), key=_natural)


def each_file_once(paths: Iterable[Path]) -> list[Path]:
    """The paths without those of files that earlier ones lead to, by way of a link to a folder or without."""
    files: dict[tuple[str, str], Path] = {}
    resolved = cache(os.path.realpath)
    for path in paths:
        files.setdefault((resolved(path.parent), path.name), path)
    return list(files.values())


def _natural(path: Path) -> tuple[list[list[str | int]], Path]:
    """A key to sort paths by their parts, with the numbers in them as numbers."""
    parts = [re.split(r"(\d+)", part) for part in map(os.path.normcase, path.parts)]
    return [[int(text) if i % 2 else text for i, text in enumerate(part)] for part in parts], path


def is_found(name: str) -> bool:
    """Whether a search of a folder for photos finds a file of this name."""
    return name.lower().endswith(PHOTO_SUFFIXES) and not name.startswith(".")


def left_out(paths: Iterable[str | Path]) -> list[str]:
    """A line on the photos in these folders of kinds that are not read; one on each linked folder that is not given."""
    links, others = dict[str, Path](), dict[str, str]()
    inputs = [Path(path) for path in paths]
    given = {os.path.realpath(path) for path in inputs}
    for folder in inputs:
        for folders, files in _seen_in(folder):
            unseen = [path for path in folders if path.is_symlink() and os.path.realpath(path) not in given]
            links |= {os.path.abspath(path): path for path in unseen}
            others |= {os.path.abspath(path): path.suffix.lower() for path in files}
    lines = [f"{link}: is a link to a folder, so left out; name the folder itself" for link in links.values()]
    kinds = Counter(others.values())
    other = {kind: kinds[kind] for kind in OTHER_SUFFIXES if kinds[kind]}
    if other:
        number, names = sum(other.values()), ", ".join(other)
        lines.append(
            f"left out, as they are of kinds that are not read ({names}): {number:,}; save them as JPEG"
        )
    return lines


# Pillow does not document what broken EXIF can raise; these are what flipping its bytes produced. A photo
# whose EXIF cannot be read is not rotated.
_BROKEN_EXIF = (SyntaxError, ValueError, TypeError, KeyError, IndexError, OverflowError, OSError)


def _orientation(image: Image.Image) -> int:
    with suppress(*_BROKEN_EXIF):
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    return 1


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence the warnings of Pillow and rasterio while a photo is open.

    Pillow warns about large photos and odd tags, rasterio about a TIFF without coordinates; our own limit and
    checks report what a user needs to know. The first photo that is opened silences them and the last one
    that is closed restores them, so that several threads can decode at once.
    """
    global _open_photos
    with _filters_in_use:
        if not _open_photos:
            _quiet.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module=r"PIL\.")
            warnings.filterwarnings("ignore", message="Dataset has no geotransform")
        _open_photos += 1
    try:
        yield
    finally:
        with _filters_in_use:
            _open_photos -= 1
            if not _open_photos:
                _quiet.close()


def _too_large(path: Path) -> str:
    return f"{path}: has more than {MAX_PIXELS:,} pixels; cut it into smaller photos"


def _unread_kind(path: Path) -> str:
    return f"is of a kind that is not read ({path.suffix}); save it as JPEG"


def _what_is_wrong(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file; check the name"
    if isinstance(error, IsADirectoryError):
        return "is a folder, not a photo; give one of the photos in it"
    if isinstance(error, PermissionError):
        return "may not be read; change its permissions"
    if isinstance(error, MemoryError):
        return NO_MEMORY
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot be read ({error.strerror}); copy it again"
    if path.stat().st_size == 0:
        return "is empty (0 bytes); copy it again"
    if path.suffix.lower() in OTHER_SUFFIXES:
        return _unread_kind(path)
    if isinstance(error, UnidentifiedImageError) and _is_heif(path):
        return "is HEIC or AVIF, whatever its name says, which is not read; save it as JPEG"
    if isinstance(error, UnidentifiedImageError):
        return "is not an image, or cut short; give a whole JPEG, PNG, TIFF or WebP file"
    return "is damaged or cut short; copy it again"


def _is_heif(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8)[4:] == b"ftyp"  # ISO/IEC 14496-12


def _refuse_unknown_pixels(path: Path, image: Image.Image) -> None:
    is_16_bit_grey = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")
    if image.mode not in _CONVERTIBLE and not is_16_bit_grey:
        raise InputError(f"{path}: has pixels of kind {image.mode}, of no known range; save it as 8-bit RGB")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = image.tag_v2.get(_BITS, (1,))
        if image.tag_v2.get(_PLANES) == 2 and len(bits) > 1 and max(bits) > 8:
            # Pillow reads these wrongly, without an error.
            raise InputError(f"{path}: has 16-bit colours plane by plane; save them pixel by pixel")


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode in _CONVERTIBLE:
        return np.array(image.convert("RGB"))
    bits, is_negative = 16, False
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = image.tag_v2.get(_BITS, (16,))[0]  # some cameras write 12
        is_negative = image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO  # Pillow inverts only 8-bit ones
    grey = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
    if is_negative:
        grey = 255 - grey
    return np.repeat(grey[..., None], 3, axis=2)


def _in_folder(folder: Path) -> Iterator[Path]:
    """The photos in a folder, and the folders in it that cannot be read."""
    unreadable: list[OSError] = []
    for _, files in _seen_in(folder, unreadable.append):
        yield from (path for path in files if is_found(path.name))
    yield from (Path(error.filename) for error in unreadable)


def _seen_in(
    folder: Path, onerror: Callable[[OSError], None] | None = None
) -> Iterator[tuple[list[Path], list[Path]]]:
    """(folders, files) of a folder and of each folder below it, without the hidden ones."""
    for parent, folders, files in os.walk(folder, onerror=onerror):
        folders[:] = [name for name in folders if not name.startswith(".")]
        shown = [name for name in files if not name.startswith(".")]
        yield [Path(parent, name) for name in folders], [Path(parent, name) for name in shown]
