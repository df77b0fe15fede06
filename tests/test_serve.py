"""What the page in the browser asks for, without a browser."""

import errno
import json
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from count_runs import count, draw, table
from serving import ask, served, write_three_heads
from test_geo import geotiff
from tiny_model import red_cells, write_judged_model, write_tiny_model
from wheatear import Detections, load
from wheatear.count import COUNTS_HEADER
from wheatear.detector import Detector
from wheatear.photo_names import PAGE_COLUMNS
from wheatear.serve import app as serve


@pytest.fixture
def detector(tmp_path: Path) -> Detector:
    return load(write_judged_model(tmp_path, rmse=3.0))


@pytest.fixture
def page(detector: Detector) -> Iterator[str]:
    """Its address."""
    with served(serve.create_app(detector)) as address:
        yield address


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return write_three_heads(tmp_path / "photo.png")


def test_the_page_is_whole_and_loads_nothing_from_elsewhere(page):
    start = ask(f"{page}/")
    assert start.headers["content-type"].startswith("text/html")
    assert "Add photos" in start.text
    for name, kind in serve.PARTS.items():
        part = ask(f"{page}/{name}")
        assert part.status == 200
        assert part.headers["content-type"].startswith(kind)
        assert "default-src 'none'" in part.headers["content-security-policy"]
        assert "://" not in part.text


def test_a_page_of_another_name_is_not_answered(page):
    """DNS rebinding: a name of somebody else's may be pointed at this computer."""
    assert ask(f"{page}/model", Host="example.org").status == 400
    assert ask(f"{page}/model", Host="localhost:8000").status == 200


def test_the_page_learns_how_the_detector_counts(page):
    facts = ask(f"{page}/model").json()
    thresholds = facts.pop("thresholds")
    assert (thresholds[0], thresholds[-1]) == (0.1, 0.98)  # no lower than scores are given
    students = facts.pop("student_95")
    assert (len(students), students[0], students[-1]) == (99, 12.706, pytest.approx(1.984, abs=0.001))
    assert facts == {
        "name": "tiny",
        "run": "tiny",
        "threshold": 0.5,
        "floor": 0.1,
        "error": {"margin": 1.96 * 3, "mean_heads": 4.0},
        "own_worth": 2,
        "still_off": [0.15, 2],
        "shared": 0.6,
        "trained_px": 75.0,
        "usual_px": pytest.approx([63.07, 106.07], abs=0.01),
        "enough_heads": 10,
        "head_metres": [0.005, 0.2],
        "counts_header": [*COUNTS_HEADER, *PAGE_COLUMNS],
        "heads_header": ["image", "xmin", "ymin", "xmax", "ymax", "score"],
        "categories": [{"id": 1, "name": "wheat head", "supercategory": ""}],
    }


def test_a_photo_gives_all_that_the_detector_finds(page, detector, photo):
    said = ask(f"{page}/detect", photo.read_bytes()).json()
    for threshold in (0.1, 0.5, 0.6, 1.0):
        heads = detector.detect(photo, threshold)
        number = int((np.array(said["scores"]) >= threshold).sum())
        assert number == len(heads)
        np.testing.assert_allclose(np.reshape(said["boxes"][:number], (-1, 4)), heads.boxes, atol=0.01)
    assert (said["width"], said["height"], len(said["boxes"]), said["warnings"]) == (120, 80, 3, [])


def test_a_score_just_below_the_threshold_is_no_head(detector, photo, monkeypatch):
    """What is sent is not rounded, as 0.49996 would be 0.5 to whoever counts."""
    scores = np.float32([0.9, 0.5, 0.49996])
    heads = Detections(np.tile([0, 0, 9, 9], (3, 1)), scores, 80, 120)
    monkeypatch.setattr(detector, "detect", lambda *_: heads)
    said = serve.found_in(detector, photo)["scores"]
    assert np.array_equal(said, scores)
    assert sum(score >= np.float32(0.5) for score in said) == len(heads.above(0.5)) == 2


def test_a_photo_with_coordinates_has_an_area(page, tmp_path):
    """80 × 120 pixels of 1 cm."""
    photo = geotiff(tmp_path / "a.tif", red_cells([(0, 0)]))
    said = ask(f"{page}/detect?name=a.tif", photo.read_bytes()).json()
    assert said["area_m2"] == pytest.approx(0.96, rel=1e-3)


def test_whoever_goes_away_leaves_no_traceback(page, photo, capfd):
    with socket.create_connection((serve.HOST, int(page.rpartition(":")[2]))) as connection:
        head = f"POST /detect HTTP/1.1\r\nHost: {serve.HOST}\r\nContent-Length: 1000\r\n\r\n"
        connection.sendall(head.encode() + photo.read_bytes()[:20])
    assert ask(f"{page}/detect", photo.read_bytes()).status == 200
    assert capfd.readouterr().err == ""


def test_a_page_of_elsewhere_cannot_have_photos_counted(page, photo):
    assert ask(f"{page}/detect", photo.read_bytes(), **{"Sec-Fetch-Site": "cross-site"}).status == 403
    assert ask(f"{page}/detect", photo.read_bytes(), **{"Sec-Fetch-Site": "same-origin"}).status == 200


def test_a_full_disk_is_one_line(page, photo, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(serve, "_received", full)
    said = ask(f"{page}/detect", photo.read_bytes())
    assert (said.status, said.json()) == (
        507,
        {"error": "could not be put into a file (No space left on device)"},
    )


def test_a_photo_too_large_for_the_memory_is_one_line(page, photo, monkeypatch):
    def lacking(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(serve, "detect_sized", lacking)
    said = ask(f"{page}/detect", photo.read_bytes())
    line = "takes more memory than there is; close other programs, or make it smaller"
    assert (said.status, said.json()) == (422, {"error": line})


def test_the_error_of_counts_is_known_where_it_was_measured(tmp_path):
    write_tiny_model(tmp_path, "bare")
    with served(serve.create_app(load(tmp_path / "bare.onnx"))) as bare:
        assert ask(f"{bare}/model").json()["error"] is None


def test_photos_that_were_resized_say_by_what(detector, photo):
    assert serve.found_in(detector, photo)["resized_by"] is None
    assert serve.found_in(detector, photo, 50.0)["resized_by"] == 50
    assert serve.facts_of(detector, 50.0)["usual_px"] is None


@pytest.mark.parametrize(
    ("name", "orientation", "turned"),
    [("a.webp", 3, True), ("a.webp", 1, False), ("a.jpg", 3, False), ("a.png", 3, False)],
)
def test_a_turn_that_browsers_do_not_obey_is_told(detector, tmp_path, name, orientation, turned):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(red_cells([(0, 0)])).save(tmp_path / name, exif=exif)
    assert serve.found_in(detector, tmp_path / name)["turned"] is turned


def test_a_turn_after_the_pixels_of_a_png_is_told(detector, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    Image.fromarray(red_cells([(0, 0)])).save(tmp_path / "a.png", exif=exif)
    content = (tmp_path / "a.png").read_bytes()
    at = content.index(b"eXIf") - 4
    length = 12 + int.from_bytes(content[at : at + 4])
    end = content.index(b"IEND") - 4
    parts = content[:at], content[at + length : end], content[at : at + length], content[end:]
    (tmp_path / "a.png").write_bytes(b"".join(parts))
    said = serve.found_in(detector, tmp_path / "a.png")
    assert said["boxes"] == [[90, 60, 120, 80]]  # turned it is
    assert said["turned"] is True


def test_a_turn_in_xmp_alone_is_told(detector, tmp_path):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
    Image.fromarray(red_cells([(0, 0)])).save(tmp_path / "a.jpg", xmp=xmp)
    assert serve.found_in(detector, tmp_path / "a.jpg")["turned"] is True


def test_what_a_count_warns_of_is_said(tmp_path):
    """Heads of 24 px, of a model that knows larger ones."""
    model = write_tiny_model(tmp_path, "large", head_px=120.0)
    draw(tmp_path / "a.png", [(row, column) for row in range(4) for column in range(4)])
    with served(serve.create_app(load(model))) as page:
        (warning,) = ask(f"{page}/detect", (tmp_path / "a.png").read_bytes()).json()["warnings"]
    assert "try --head-px" in warning
    count(model, tmp_path / "counted", tmp_path / "a.png")
    assert table(tmp_path / "counted" / "counts.csv")[1][-1] == warning


def test_what_is_no_photo_is_one_line(page):
    said = ask(f"{page}/detect", b"not a photo")
    assert said.status == 422
    assert said.json() == {
        "error": "is not an image, or cut short; give a whole JPEG, PNG, TIFF or WebP file"
    }
    assert ask(f"{page}/detect", b"").json() == {"error": "is empty (0 bytes); copy it again"}
    said = ask(f"{page}/detect?name=../IMG_1.HEIC", b"not a photo")
    assert said.json() == {"error": "is of a kind that is not read (.heic); save it as JPEG"}


def test_a_photo_that_is_too_large_is_not_kept_in_memory(page, photo, monkeypatch):
    monkeypatch.setattr(serve, "LARGEST", 10)
    said = ask(f"{page}/detect", photo.read_bytes())
    assert (said.status, said.json()) == (413, {"error": "is larger than 0 MB"})


def test_nothing_is_left_of_a_photo(page, photo, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    for content in (photo.read_bytes(), b"not a photo"):
        ask(f"{page}/detect", content)
    assert not list((tmp_path / "temporary").iterdir())


def test_the_answer_is_json_of_plain_numbers(page, photo):
    """A page that reads them needs no digits beyond a hundredth of a pixel."""
    said = ask(f"{page}/detect", photo.read_bytes())
    assert json.loads(said.text)["scores"] == sorted(said.json()["scores"], reverse=True)
    assert max(len(str(number)) for box in said.json()["boxes"] for number in box) <= 6
