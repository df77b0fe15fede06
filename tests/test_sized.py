"""Which photos are detected at another size, and that all commands that run a detector agree on it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tiny_model import write_tiny_model
from wheatear.cli import app
from wheatear.detector import Detector, load
from wheatear.errors import InputError
from wheatear.head_size import HeadSize
from wheatear.pixels import InMemory
from wheatear.sized import LARGE_PHOTO, detect_in_file, detect_sized, is_measured

SMALL, LARGE = InMemory(np.zeros((80, 120, 3), np.uint8)), InMemory(np.zeros((4, LARGE_PHOTO, 3), np.uint8))


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """The head_px of every detection; what is measured is 30 px, which calls for another size."""
    sizes: list[float | None] = []
    detect = Detector.detect

    def noted(self, photo, score_threshold=None, head_px=None):
        sizes.append(head_px)
        return detect(self, photo, score_threshold, head_px)

    monkeypatch.setattr(Detector, "detect", noted)
    monkeypatch.setattr(Detector, "measure_heads", lambda self, _: HeadSize(30.0, self.card.head_px))
    return sizes


@pytest.mark.parametrize(
    ("pixels", "asked", "expected"),
    [
        (SMALL, None, None),
        (SMALL, "auto", 30.0),
        (SMALL, 50.0, 50.0),
        (LARGE, None, 30.0),
        (LARGE, "auto", 30.0),
        (LARGE, 50.0, 50.0),
    ],
)
def test_what_a_photo_is_resized_by(tmp_path, used, pixels, asked, expected):
    heads, resized_by, measured = detect_sized(load(write_tiny_model(tmp_path)), pixels, 0.1, asked)
    assert used == [resized_by] == [expected]
    assert measured == (HeadSize(30.0, 75.0) if expected == 30 else None)
    assert (heads.height, heads.width) == pixels.image.shape[:2]


@pytest.mark.parametrize(
    ("longer", "expected"),
    [(199, False), (200, True), (768, True), (769, False), (1599, False), (1600, True)],
)
def test_heads_are_measured_in_photos_that_are_small_or_large(longer, expected):
    assert is_measured(longer, 100) == is_measured(100, longer) == expected


@pytest.mark.parametrize(("pixels", "expected"), [(SMALL, None), (LARGE, 30.0)])
def test_the_api_counts_as_the_command_does(tmp_path, used, pixels, expected):
    detector = load(write_tiny_model(tmp_path))
    threshold = detector.card.threshold_to_count()
    Image.fromarray(pixels.image).save(tmp_path / "photo.png")
    for photo in (tmp_path / "photo.png", pixels.image):
        counted = detector.count(photo)
        assert used[-1] == expected
        assert counted.boxes.tolist() == detector.detect(pixels, threshold, expected).boxes.tolist()
    detector.count(pixels, head_px=50.0)
    assert used[-1] == 50.0
    every = detector.count(pixels, score_threshold=0.0)
    assert every.boxes.tolist() == detector.detect(pixels, 0.0, expected).boxes.tolist()


def test_a_file_that_is_cut_short_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no photo")
    detector = load(write_tiny_model(tmp_path))
    for look in (
        lambda path: detect_in_file(detector, path, 0.1, None),
        detector.measure_heads,
        detector.detect,
    ):
        with pytest.raises(InputError, match=r"a\.png: is not an image"):
            look(tmp_path / "a.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small photo and a large one."""
    (tmp_path / "set" / "train").mkdir(parents=True)
    for name, width in (("a", 120), ("b", LARGE_PHOTO)):
        Image.new("RGB", (width, 80), "white").save(tmp_path / "set" / "train" / f"{name}.png")
    (tmp_path / "set" / "train.csv").write_text('image_id,bbox\na,"[0, 0, 30, 20]"\nb,"[0, 0, 30, 20]"\n')
    return tmp_path / "set"


@pytest.mark.parametrize("command", ["count", "evaluate", "pseudo", "denoise"])
@pytest.mark.parametrize(
    ("options", "expected"),
    [([], [None, 30]), (["--head-px", "auto"], [30, 30]), (["--head-px", "50"], [50, 50])],
)
def test_every_command_sees_photos_alike(folder, tmp_path, used, command, options, expected):
    model, photos = write_tiny_model(tmp_path), folder / "train"
    arguments = {
        "count": ["count", photos, "--out", tmp_path / "out"],
        "evaluate": ["evaluate", folder, "--out", tmp_path / "out"],
        "pseudo": ["data", "pseudo", photos, "--out", tmp_path / "out"],
        "denoise": ["data", "denoise", folder, "--out", tmp_path / "out.csv"],
    }[command]
    result = CliRunner().invoke(app, [*map(str, arguments), "--model", str(model), *options])
    assert result.exit_code == 0, result.output
    assert used == expected
    if command != "count":
        resized = expected.count(30)
        told = f"wheatear: resized, as their heads seem to call for it: {resized} photo"
        assert (told in result.stderr) == bool(resized)


@pytest.mark.parametrize("command", [["evaluate"], ["data", "denoise"]])
def test_no_size_is_one_line(folder, tmp_path, command):
    result = CliRunner().invoke(
        app, [*command, str(folder), "--out", str(tmp_path / "x"), "--head-px", "big"]
    )
    assert result.exit_code == 1
    assert result.stderr.startswith("wheatear: --head-px big: not a size")


@pytest.mark.parametrize("command", [["count"], ["data", "pseudo"]])
def test_an_empty_name_is_not_the_folder_one_is_in(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (120, 80)).save(tmp_path / "a.png")
    result = CliRunner().invoke(app, [*command, "", "--out", "out"])
    assert result.exit_code == 2
    assert "is empty" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
