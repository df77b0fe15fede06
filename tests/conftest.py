"""A drawn field for every test that needs photos: quick, seeded, and in Kaggle's own layout."""

from pathlib import Path

import pytest

from count_runs import draw
from tiny_model import write_tiny_model
from wheatear.data.formats import read_dataset
from wheatear.data.sample import Sample
from wheatear.data.synth import draw_dataset

SEED_WITH_AN_EMPTY_PHOTO = 1  # the fourth photo of field_dir


@pytest.fixture(scope="session")
def field_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in Kaggle's layout with 8 drawn photos of 256 px, one without heads. Tests must not write to it."""
    folder = tmp_path_factory.mktemp("field")
    draw_dataset(folder, 8, size=256, seed=SEED_WITH_AN_EMPTY_PHOTO)
    return folder


@pytest.fixture(scope="session")
def field_photo(field_dir: Path) -> Path:
    """One photo with heads."""
    return field_dir / "train" / "field_00000.jpg"


@pytest.fixture(scope="session")
def sample(field_dir: Path) -> Sample:
    """The photo of field_dir with the most heads."""
    return max(read_dataset(field_dir), key=lambda s: len(s.boxes))


@pytest.fixture(scope="session")
def bare_sample(field_dir: Path) -> Sample:
    """A photo of field_dir without heads."""
    return min(read_dataset(field_dir), key=lambda s: len(s.boxes))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three photos with 2, 0 and 1 heads."""
    folder = tmp_path / "photos"
    for name, cells in {"a.png": [(0, 0), (3, 3)], "b.jpg": [], "sub/c.tif": [(1, 2)]}.items():
        draw(folder / name, cells)
    return folder
