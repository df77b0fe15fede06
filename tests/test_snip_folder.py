"""The folder that snips are kept in: what its files hold, when it is used again, and the data set read from it."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tiny_run import divided
from wheatear.data import field_photos
from wheatear.data.sample import Sample
from wheatear.errors import InputError
from wheatear.images import open_photo
from wheatear.train.recipe_stages import CNNStage
from wheatear.train.snips import SnipDataset, all_snips, write_snips

SIZE = 32
RUN = {"batch_size": 8, "epochs": 1, "optimizer": "adam", "lr": [[0, 1e-3]]}
STAGE = CNNStage(stage="cnn", snip_size=SIZE, max_per_class=100, val_fraction=0.3, **RUN)
NONE = np.zeros((0, 4), np.float32)


def boxes(*corners: list[float]) -> np.ndarray:
    return np.array(corners, np.float32)


def photo(name: str, group: str = "", side: int = 64, heads: np.ndarray = NONE) -> Sample:
    return Sample(Path(f"{name}.png"), heads, side, side, photo=group)


@pytest.fixture(scope="module")
def samples(field_dir: Path) -> list[Sample]:
    return [sample for sample in divided(field_dir) if sample.split == "train"]


@pytest.fixture(scope="module")
def folder(samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished snip set. For reading only."""
    folder = tmp_path_factory.mktemp("snips") / "made"
    write_snips(samples, folder, STAGE, 1024, seed=1)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_files_agree_with_each_other_and_with_the_counts(samples, folder):
    snips, labels, val, photos = (
        np.load(folder / f"{name}.npy") for name in ("snips", "labels", "val", "photos")
    )
    counts = json.loads((folder / "snips.json").read_text())
    every = all_snips(samples, 1024, SIZE)
    assert counts["heads"] == sum(w.label for w in every)
    assert counts["backgrounds"] == sum(not w.label for w in every)
    assert counts["kept"] == len(snips) == len(labels) == len(val) == len(photos) == 200
    assert counts["val"] == val.sum()
    assert snips.shape == (200, SIZE, SIZE, 3)
    assert (labels == 1).sum() == (labels == 0).sum() == STAGE.max_per_class
    assert (folder / "photos.txt").read_text().split() == [sample.name for sample in samples]
    assert 0 < val.sum() < 200
    assert not {samples[i].photo for i in photos[val]} & {samples[i].photo for i in photos[~val]}


def test_photos_of_no_known_field_photo_are_grouped_once(samples, tmp_path, monkeypatch):
    """Pairs of them are tiles of one; snips beside heads keep to that, too."""
    groups = [str(i // 2) for i in range(len(samples))]
    calls = []
    monkeypatch.setattr(field_photos, "group_tiles", lambda given, _: calls.append(given) or groups)
    stage = STAGE.model_copy(update={"hard_negatives": 0.5})
    write_snips([replace(sample, photo="") for sample in samples], tmp_path, stage, 1024, seed=1)
    val, photos = np.load(tmp_path / "val.npy"), np.load(tmp_path / "photos.npy")
    assert len(calls) == 1
    assert val.any()
    assert not {groups[i] for i in photos[val]} & {groups[i] for i in photos[~val]}


def test_every_snip_is_a_piece_of_its_photo(samples, folder):
    snips, labels, photos = (np.load(folder / f"{name}.npy") for name in ("snips", "labels", "photos"))
    images = [open_photo(sample.path) for sample in samples]
    pieces = {
        (w.photo, w.label, images[w.photo][w.y : w.y + SIZE, w.x : w.x + SIZE].tobytes())
        for w in all_snips(samples, 1024, SIZE)
    }
    cut = [
        (p, lab, snip.tobytes()) for p, lab, snip in zip(photos.tolist(), labels.tolist(), snips, strict=True)
    ]
    assert set(cut) <= pieces
    assert len(set(cut)) == len(cut)


def test_a_photo_without_heads_gives_background_alone(samples, folder):
    (empty,) = (i for i, sample in enumerate(samples) if not len(sample.boxes))
    labels, photos = np.load(folder / "labels.npy"), np.load(folder / "photos.npy")
    assert (photos == empty).any()
    assert (labels[photos == empty] == 0).all()


def test_the_same_seed_gives_the_same_files(samples, folder, tmp_path):
    write_snips(samples, tmp_path / "again", STAGE, 1024, seed=1)
    write_snips(samples, tmp_path / "other", STAGE, 1024, seed=2)
    assert contents(tmp_path / "again") == contents(folder)
    assert contents(tmp_path / "other")["snips.npy"] != contents(folder)["snips.npy"]


def test_a_finished_folder_is_used_as_it_is(samples, folder, tmp_path):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    gone = [replace(sample, path=Path("gone.jpg")) for sample in samples]
    counts = write_snips(gone, copy, STAGE, 1024, seed=7)
    assert counts == json.loads((folder / "snips.json").read_text())
    assert contents(copy) == contents(folder)


def test_an_unfinished_folder_is_made_anew(samples, folder, tmp_path):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "snips.json").unlink()
    (copy / "snips.npy").write_bytes(b"cut sho")
    (copy / "val.npy").unlink()
    write_snips(samples, copy, STAGE, 1024, seed=1)
    assert contents(copy) == contents(folder)


@pytest.mark.parametrize(
    "heads",
    [NONE, boxes([0, 0, 64, 64]), boxes([16, 16, 48, 48])],
    ids=["no heads", "all one head", "no background"],
)
def test_too_few_snips_are_an_error(tmp_path, heads):
    samples = [photo(str(i), heads=heads) for i in range(4)]
    with pytest.raises(
        InputError, match=r"^4 photos give 0 snips of 32 px a class, too few .*; add photos"
    ) as caught:
        write_snips(samples, tmp_path / "snips", STAGE, 256, seed=0)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "snips").exists()  # so the run has not begun


def test_one_field_photo_cannot_be_on_both_sides(samples, tmp_path):
    one = [replace(sample, photo="one") for sample in samples]
    with pytest.raises(InputError, match=r"photos in train, of one field photo: .*; add another field photo"):
        write_snips(one, tmp_path / "snips", STAGE, 1024, seed=0)
    assert not (tmp_path / "snips").exists()
    write_snips(one, tmp_path / "snips", STAGE.model_copy(update={"val_by": "snip"}), 1024, seed=0)


# the dataset


@pytest.mark.parametrize("name", ["snips.npy", "labels.npy", "val.npy"])
def test_a_damaged_snip_set_is_named(folder, tmp_path, name):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / name).write_bytes((copy / name).read_bytes()[:-1])
    with pytest.raises(
        InputError, match=rf"{name}: is damaged or cut short; remove .*copy, and it is computed"
    ):
        SnipDataset(copy, val=True)


def test_the_dataset_is_one_side_and_stays_on_disk(folder):
    train, val = SnipDataset(folder, val=False), SnipDataset(folder, val=True)
    for data in (train, val):
        assert isinstance(data.snips, np.memmap)
        assert not data.snips.flags.writeable
    held = np.load(folder / "val.npy")
    assert (len(train), len(val)) == ((~held).sum(), held.sum())
    snips, labels = np.load(folder / "snips.npy"), np.load(folder / "labels.npy")
    for data, side in ((train, ~held), (val, held)):
        read = [data[i] for i in range(len(data))]
        assert [label for _, label in read] == labels[side].tolist()
        assert np.array_equal(
            torch.stack([snip for snip, _ in read]).permute(0, 2, 3, 1).numpy(), snips[side]
        )


def test_a_snip_is_bytes_channels_first(folder):
    snip, label = SnipDataset(folder, val=True)[0]
    assert snip.shape == (3, SIZE, SIZE)
    assert snip.dtype == torch.uint8
    assert isinstance(label, int)
    snip.zero_()  # a copy: the file is as it was
    assert SnipDataset(folder, val=True)[0][0].any()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full disk")
@pytest.mark.parametrize("name", ["labels.npy", "val.npy", "photos.npy", "photos.txt"])
def test_a_file_for_which_the_disk_has_no_room_is_named(samples, tmp_path, name):
    (tmp_path / name).symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space") as raised:
        write_snips(samples, tmp_path, STAGE, 1024, seed=1)
    assert raised.value.filename == str(tmp_path / name)
    (tmp_path / name).unlink()
    write_snips(samples, tmp_path, STAGE, 1024, seed=1)
    assert (tmp_path / "snips.json").exists()


def test_what_a_killed_run_has_cut_leaves_its_room(samples, folder, tmp_path, monkeypatch):
    snips, disk_usage = tmp_path / "snips.npy", shutil.disk_usage

    def small(path: Path) -> object:
        taken = snips.stat().st_size if snips.exists() else 0
        return disk_usage(path)._replace(free=(folder / snips.name).stat().st_size - taken)

    snips.write_bytes(bytes(100_000))
    monkeypatch.setattr(shutil, "disk_usage", small)
    write_snips(samples, tmp_path, STAGE, 1024, seed=1)
    assert contents(tmp_path) == contents(folder)


@pytest.mark.parametrize("left", [b"", bytes(20), b'{"heads": 3'])
def test_counts_that_are_damaged_are_one_line(samples, tmp_path, left):
    (tmp_path / "snips.json").write_bytes(left)
    said = f"{tmp_path / 'snips.json'}: is damaged or cut short; remove {tmp_path}, and it is computed anew"
    with pytest.raises(InputError, match=f"^{re.escape(said)}$"):
        write_snips(samples, tmp_path, STAGE, 1024, seed=1)
