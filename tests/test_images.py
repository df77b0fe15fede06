import io
import os
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from wheatear.errors import InputError
from wheatear.images import (
    PHOTO_SUFFIXES,
    find_photos,
    is_turned,
    is_turned_otherwise,
    left_out,
    open_photo,
    photo_size,
    refuse_damaged,
)

LOSSLESS = [("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {"lossless": True})]
RNG = np.random.default_rng(0)
# Flat blocks of 8 pixels, which JPEG keeps nearly as they are.
COLOURS = np.kron(RNG.integers(0, 256, (3, 5, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
DEEP = RNG.integers(0, 65536, (4, 6, 3), dtype=np.uint16)


def save(path: Path, image: Image.Image | np.ndarray, **options: object) -> Path:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(path, **options)
    return path


def encoded(kind: str, image: np.ndarray = COLOURS, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def png(image: np.ndarray, colour_type: int) -> bytes:
    """A PNG of 16 bits, which Pillow writes for grey alone; colour type 0 grey, 2 RGB, 4 grey and alpha."""
    height, width = image.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in image)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    )


def tiff(
    image: np.ndarray, order: str = "<", planes: int = 1, kind: int = 1, bits: int = 16, grey: int = 1
) -> bytes:
    """By TIFF 6.0, not compressed. planes 2: colour after colour; kind 1: integers, 3: floats; grey 0: 0 is white."""
    height, width = image.shape[:2]
    channels = image.shape[2] if image.ndim == 3 else 1
    pixels = np.moveaxis(image, -1, 0) if planes == 2 else image
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    start = 8 + 2 + 11 * 12 + 4
    tags = [(256, [width]), (257, [height]), (258, [bits] * channels), (259, [1])]
    tags += [(262, [2 if channels == 3 else grey]), (273, [start + 12]), (277, [channels]), (278, [height])]
    tags += [(279, [len(data)]), (284, [planes]), (339, [kind] * channels)]
    extra, entries = b"", b""
    for tag, values in tags:
        packed = struct.pack(f"{order}{len(values)}H", *values).ljust(4, b"\0")
        if len(packed) > 4:
            place, extra = struct.pack(order + "I", start + len(extra)), extra + packed
            packed = place
        entries += struct.pack(order + "HHI", tag, 3, len(values)) + packed
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    return head + entries + struct.pack(order + "I", 0) + extra.ljust(12, b"\0") + data


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def complaint(path: Path) -> str:
    """What open_photo says of a bad file: one line that names it and says what to do."""
    with pytest.raises(InputError) as caught:
        open_photo(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "; " in message
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """Pixel by pixel from the EXIF 2.3 table of where row 0 and column 0 of the file are seen."""
    height, width = image.shape[:2]
    seen = np.zeros((width, height, 3) if orientation > 4 else (height, width, 3), np.uint8)
    for y in range(seen.shape[0]):
        for x in range(seen.shape[1]):
            row, column = {
                1: (y, x),
                2: (y, width - 1 - x),
                3: (height - 1 - y, width - 1 - x),
                4: (height - 1 - y, x),
                5: (x, y),
                6: (height - 1 - x, y),
                7: (height - 1 - x, width - 1 - y),
                8: (x, width - 1 - y),
            }[orientation]
            seen[y, x] = image[row, column]
    return seen


@pytest.mark.parametrize(("kind", "options"), LOSSLESS)
def test_lossless_files_come_back_as_they_are(tmp_path, kind, options):
    path = written(tmp_path / "photo", encoded(kind, **options))
    photo = open_photo(path)
    assert photo.dtype == np.uint8
    assert photo.flags.writeable
    np.testing.assert_array_equal(photo, COLOURS)


def test_jpeg_comes_back_nearly_as_it_is(tmp_path):
    path = save(tmp_path / "photo.jpg", COLOURS, quality=100, subsampling=0)
    assert np.abs(open_photo(path).astype(int) - COLOURS).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "options"), LOSSLESS)
def test_exif_turn_is_obeyed(tmp_path, kind, options, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    path = written(tmp_path / "photo", encoded(kind, exif=exif, **options))
    expected = turned(COLOURS, orientation)
    np.testing.assert_array_equal(open_photo(path), expected)
    assert photo_size(path) == (expected.shape[1], expected.shape[0])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turn_of_a_jpeg_is_obeyed(tmp_path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    path = written(tmp_path / "photo", encoded("JPEG", exif=exif, quality=100, subsampling=0))
    expected = turned(COLOURS, orientation)
    assert np.abs(open_photo(path).astype(int) - expected).max() <= 2
    assert photo_size(path) == (expected.shape[1], expected.shape[0])


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0"])
def test_a_photo_with_broken_exif_is_taken_as_it_lies(tmp_path, exif):
    path = written(tmp_path / "photo", encoded("JPEG", exif=exif))
    assert open_photo(path).shape == COLOURS.shape
    assert photo_size(path) == (40, 24)


def test_alpha_is_dropped_not_blended(tmp_path):
    alpha = np.zeros((24, 40, 1), np.uint8)
    path = save(tmp_path / "photo.png", np.concatenate([COLOURS, alpha], axis=2))
    np.testing.assert_array_equal(open_photo(path), COLOURS)


def test_grey_becomes_three_equal_channels(tmp_path):
    grey = COLOURS[..., 0]
    photo = open_photo(save(tmp_path / "grey.png", grey))
    np.testing.assert_array_equal(photo, np.stack([grey] * 3, axis=2))


def test_black_and_white_becomes_0_and_255(tmp_path):
    path = save(tmp_path / "fax.png", Image.fromarray(np.array([[True, False]])))
    assert open_photo(path).tolist() == [[[255] * 3, [0] * 3]]


@pytest.mark.parametrize("transparency", [None, 0, b"\0\x80\xff"])
def test_palette_becomes_its_colours(tmp_path, transparency):
    image = Image.fromarray(np.array([[0, 1, 2, 1]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    options = {} if transparency is None else {"transparency": transparency}
    photo = open_photo(save(tmp_path / "palette.png", image, **options))
    assert photo.tolist() == [[[10, 20, 30], [40, 50, 60], [70, 80, 90], [40, 50, 60]]]


@pytest.mark.parametrize("suffix", ["tif", "jpg"])
def test_cmyk_becomes_rgb(tmp_path, suffix):
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    photo = open_photo(save(tmp_path / f"print.{suffix}", red))
    assert np.abs(photo.astype(int) - (255, 0, 0)).max() <= 2


@pytest.mark.parametrize(
    "data",
    [png(DEEP, 2), tiff(DEEP), tiff(DEEP, ">")],
    ids=["png", "tiff", "tiff of the other byte order"],
)
def test_16_bit_colour_keeps_its_upper_8_bits(tmp_path, data):
    path = written(tmp_path / "deep", data)
    np.testing.assert_array_equal(open_photo(path), (DEEP >> 8).astype(np.uint8))
    assert photo_size(path) == (6, 4)


def test_16_bit_grey_whose_white_is_0_is_turned_round(tmp_path):
    photo = open_photo(written(tmp_path / "deep.tif", tiff(DEEP[..., 0], grey=0)))
    np.testing.assert_array_equal(photo[..., 0], 255 - (DEEP[..., 0] >> 8))


@pytest.mark.parametrize(
    "data",
    [png(DEEP[..., 0], 0), png(DEEP[..., :2], 4), tiff(DEEP[..., 0]), tiff(DEEP[..., 0], ">")],
    ids=["png", "png with alpha", "tiff", "tiff of the other byte order"],
)
def test_16_bit_grey_keeps_its_upper_8_bits(tmp_path, data):
    grey = (DEEP[..., 0] >> 8).astype(np.uint8)
    photo = open_photo(written(tmp_path / "deep", data))
    np.testing.assert_array_equal(photo, np.stack([grey] * 3, axis=2))


def test_16_bit_grey_is_turned_too(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    path = save(tmp_path / "deep.png", DEEP[..., 0], exif=exif)
    np.testing.assert_array_equal(open_photo(path)[..., 0], np.rot90(DEEP[..., 0] >> 8, -1))


def test_12_bit_grey_keeps_its_upper_8_bits(tmp_path):
    packed = np.array([[0xFF, 0xF8, 0x00]], np.uint8)  # two pixels: 0xFFF, 0x800
    data = bytearray(tiff(packed, bits=12))
    data[18:20] = struct.pack("<H", 2)  # the width, which is not the number of bytes
    assert open_photo(written(tmp_path / "deep.tif", bytes(data)))[..., 0].tolist() == [[255, 128]]


def test_16_bit_colour_plane_by_plane_is_refused(tmp_path):
    path = written(tmp_path / "planes.tif", tiff(DEEP, planes=2))
    assert complaint(path) == "has 16-bit colours plane by plane; save them pixel by pixel"


def test_values_of_unknown_range_are_refused(tmp_path):
    path = written(tmp_path / "float.tif", tiff(DEEP[..., 0].astype(np.float32), kind=3, bits=32))
    assert complaint(path) == "has pixels of kind F, of no known range; save it as 8-bit RGB"
    path = save(tmp_path / "lab.tif", Image.new("LAB", (4, 4)))
    assert "pixels of kind LAB" in complaint(path)


def test_a_missing_file(tmp_path):
    assert complaint(tmp_path / "missing.jpg") == "no such file; check the name"


def test_a_folder(tmp_path):
    assert complaint(tmp_path) == "is a folder, not a photo; give one of the photos in it"


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = save(tmp_path / "photo.jpg", COLOURS)
    monkeypatch.setattr(Path, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Denied")))
    assert complaint(path) == "may not be read; change its permissions"


def test_a_photo_larger_than_the_memory(tmp_path, monkeypatch):
    path = save(tmp_path / "photo.png", COLOURS)
    monkeypatch.setattr(Image.Image, "load", lambda *_: (_ for _ in ()).throw(MemoryError))
    assert complaint(path) == "takes more memory than there is; close other programs, or make it smaller"


def test_a_phones_photo_that_was_renamed(tmp_path):
    path = written(tmp_path / "photo.jpg", b"\0\0\0\x18ftypheic" + bytes(64))
    assert complaint(path) == "is HEIC or AVIF, whatever its name says, which is not read; save it as JPEG"


@pytest.mark.parametrize("name", ["a.DNG", "b.nef", "c.pef"])
def test_a_raw_photo_is_not_its_thumbnail(tmp_path, name):
    """A camera's raw photo is a TIFF, whose first image is small."""
    Image.new("RGB", (160, 120)).save(tmp_path / name, "TIFF")
    with pytest.raises(InputError, match=rf"{name}: is of a kind that is not read \(.*\); save it as JPEG"):
        open_photo(tmp_path / name)


def test_an_empty_file(tmp_path):
    assert complaint(written(tmp_path / "photo.jpg", b"")) == "is empty (0 bytes); copy it again"


@pytest.mark.parametrize("data", [b"image,heads\n", b"\x89PNG\r\n\x1a\n", b"GIF89a\1\0\1\0\0\0\0;", b"II*\0"])
def test_not_an_image(tmp_path, data):
    assert complaint(written(tmp_path / "photo.jpg", data)).startswith("is not an image, or cut short; ")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_photo_cut_short(tmp_path, kind):
    data = encoded(kind)
    path = written(tmp_path / "photo", data[: len(data) * 3 // 4])
    assert complaint(path) == "is damaged or cut short; copy it again"
    with pytest.raises(InputError, match="is damaged or cut short; copy it again"):
        refuse_damaged(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_whole_photo_is_not_damaged(tmp_path, kind):
    refuse_damaged(written(tmp_path / "photo", encoded(kind)))


def test_a_photo_of_a_few_pixels_is_not_damaged(tmp_path):
    refuse_damaged(save(tmp_path / "photo.jpg", COLOURS[:5]))


def test_an_orientation_of_none_is_no_turn(tmp_path):
    """Some cameras write 0."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 0
    for kind in ("tif", "webp"):
        path = save(tmp_path / f"photo.{kind}", COLOURS, exif=exif)
        assert not is_turned(path)
        assert not is_turned_otherwise(path)


def bomb(kind: str) -> bytes:
    """A file that claims 60,000 × 60,000 pixels and holds next to none."""
    if kind == "PNG":
        header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
        chunk = b"IHDR" + header
        return b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"\0\0\0\0IDAT"
    if kind == "JPEG":
        data = encoded("JPEG")
        return data.replace(struct.pack(">HH", *COLOURS.shape[:2]), struct.pack(">HH", 60_000, 60_000), 1)
    return tiff(DEEP).replace(struct.pack("<HHIHH", 256, 3, 1, 6, 0), struct.pack("<HHII", 256, 4, 1, 2**31))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_bomb_is_refused_by_its_header(tmp_path, kind):
    path = written(tmp_path / "bomb", bomb(kind))
    assert complaint(path) == "has more than 178,956,970 pixels; cut it into smaller photos"
    with pytest.raises(InputError, match="178,956,970"):
        photo_size(path)


def test_the_limit_is_of_pixels(tmp_path, monkeypatch):
    path = save(tmp_path / "photo.png", COLOURS)
    monkeypatch.setattr("wheatear.images.MAX_PIXELS", 24 * 40)
    assert open_photo(path).shape == (24, 40, 3)
    monkeypatch.setattr("wheatear.images.MAX_PIXELS", 24 * 40 - 1)
    with pytest.raises(InputError, match=r"photo\.png: has more than 959 pixels; "):
        open_photo(path)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_pillows_own_warning_of_large_photos_does_not_leak(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 24 * 40 - 1)
    path = written(tmp_path / "photo", encoded(kind))
    assert open_photo(path).shape == (24, 40, 3)
    assert photo_size(path) == (40, 24)


def test_several_threads_decode_at_once_and_leave_the_warnings_as_they_were(tmp_path, monkeypatch):
    path = save(tmp_path / "photo.png", COLOURS)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 24 * 40 - 1)
    both_open = threading.Barrier(2, timeout=60)

    def rgb(image: Image.Image) -> np.ndarray:
        both_open.wait()
        return np.asarray(image)

    monkeypatch.setattr("wheatear.images._rgb", rgb)
    before = list(warnings.filters)
    with ThreadPoolExecutor(2) as pool:
        for photo in pool.map(open_photo, [path, path]):
            np.testing.assert_array_equal(photo, COLOURS)
    assert warnings.filters == before


def test_size_needs_the_header_only(tmp_path):
    data = encoded("JPEG", np.zeros((64, 64, 3), np.uint8))
    assert photo_size(written(tmp_path / "photo.jpg", data[:-20])) == (64, 64)


@given(kind=st.sampled_from(["JPEG", "PNG", "TIFF", "WEBP"]), share=st.floats(0, 1, exclude_max=True))
def test_no_half_photo_is_ever_returned(tmp_path_factory, kind, share):
    data = encoded(kind)
    folder = tmp_path_factory.mktemp("cut")
    whole = open_photo(written(folder / "whole", data))
    try:
        photo = open_photo(written(folder / "cut", data[: int(len(data) * share)]))
    except InputError:
        return
    np.testing.assert_array_equal(photo, whole)


@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP"]),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_a_damaged_file_gives_a_photo_or_one_clear_line(tmp_path_factory, kind, changes):
    exif = Image.Exif()
    exif[274], exif[271] = 6, "a camera"
    data = bytearray(encoded(kind, exif=exif))
    for place, value in changes:
        data[place % len(data)] = value
    path = written(tmp_path_factory.mktemp("damaged") / "photo", bytes(data))
    try:
        with mock.patch("wheatear.images.MAX_PIXELS", 100_000):
            photo = open_photo(path)
    except InputError:
        return
    assert photo.dtype == np.uint8
    assert photo_size(path) == (photo.shape[1], photo.shape[0])


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folders_are_searched_for_photos(tmp_path):
    touch(tmp_path, "b.JPG", "a.png", "c.webp", "notes.txt", ".hidden.jpg", ".cache/d.jpg", "sub/e.tiff")
    names = [path.relative_to(tmp_path).as_posix() for path in find_photos([tmp_path])]
    assert names == ["a.png", "b.JPG", "c.webp", "sub/e.tiff"]


def test_every_photo_is_found_once(tmp_path):
    touch(tmp_path, "a.jpg", "sub/b.jpg")
    twice = [tmp_path, tmp_path / "sub", tmp_path / "a.jpg", tmp_path / "sub" / ".." / "a.jpg"]
    assert find_photos(twice) == [tmp_path / "a.jpg", tmp_path / "sub" / "b.jpg"]


def test_files_are_taken_as_given(tmp_path):
    touch(tmp_path, "photo.dat", ".hidden.jpg")
    given_files = [tmp_path / ".hidden.jpg", tmp_path / "missing.jpg", tmp_path / "photo.dat"]
    assert find_photos(given_files) == given_files


def test_numbers_in_names_are_sorted_as_numbers(tmp_path):
    names = ["plot 2/b.jpg", "plot 10/a9.jpg", "plot 10/a10.jpg", "plot 10/b.jpg"]
    for name in reversed(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_photos([tmp_path]) == [tmp_path / name for name in names]


def test_nothing_to_find(tmp_path):
    assert find_photos([]) == []
    assert find_photos([tmp_path]) == []


def test_a_folder_that_may_not_be_read_is_reported_by_whoever_opens_it(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg", "locked/b.jpg")
    scan = os.scandir

    def scandir(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert find_photos([tmp_path]) == [tmp_path / "a.jpg", tmp_path / "locked"]
    assert "is a folder" in complaint(tmp_path / "locked")


def test_suffixes_are_lower_case_with_their_dot():
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in PHOTO_SUFFIXES)


def test_photos_of_other_kinds_and_linked_folders_are_named(tmp_path):
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    for name in ("a.jpg", "b.HEIC", "sub/c.nef", "sub/d.heic", ".e.heic", "notes.txt"):
        (tmp_path / "photos" / name).touch()
    (tmp_path / "photos" / "linked").symlink_to(tmp_path)
    given = [tmp_path / "photos", tmp_path / "photos" / "a.jpg", tmp_path / "photos" / "sub"]
    assert left_out(given) == [  # once each
        f"{tmp_path}/photos/linked: is a link to a folder, so left out; name the folder itself",
        "left out, as they are of kinds that are not read (.heic, .nef): 3; save them as JPEG",
    ]
    (tmp_path / "photos" / "b.HEIC").write_bytes(b"ftypheic")
    with pytest.raises(InputError, match=r"b.HEIC: is of a kind that is not read \(.HEIC\); save it as JPEG"):
        open_photo(tmp_path / "photos" / "b.HEIC")


def test_a_damaged_tiff_is_told_in_our_own_line_alone(tmp_path: Path) -> None:
    """In a process of its own, as pytest has log handlers, without which Python prints what is logged."""
    Image.new("RGB", (20, 10)).save(tmp_path / "bad.tif")
    content = (tmp_path / "bad.tif").read_bytes()
    samples_a_pixel = struct.pack("<HHIHH", 277, 3, 1, 3, 0)
    assert samples_a_pixel in content
    (tmp_path / "bad.tif").write_bytes(
        content.replace(samples_a_pixel, struct.pack("<HHIHH", 277, 3, 1, 9999, 0))
    )
    command = "import sys; from wheatear.images import is_too_large; is_too_large(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", command, str(tmp_path / "bad.tif")], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
