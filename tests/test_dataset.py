"""What the frozen parts make of each photo, computed once and kept."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tiny_run import tiny_model
from wheatear.data.sample import Sample
from wheatear.errors import InputError
from wheatear.train.dataset import (
    FrozenPhotos,
    map_path,
    proposals_path,
    read_map,
    save_array,
    to_tensor,
    write_maps,
    write_proposals,
)
from wheatear.train.faster_rcnn import FasterRCNN

torch.set_num_threads(1)

STRIDES = (32, 16)


@pytest.fixture(scope="module")
def model() -> FasterRCNN:
    return tiny_model()


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Two photos, the first half as high as wide, the second half as wide as high and without heads."""
    folder, noise = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    made = []
    for name, width, height, heads in (("low", 256, 128, [[16, 16, 80, 64]]), ("high", 128, 256, [])):
        image = noise.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(image).save(folder / f"{name}.png")
        made.append(Sample(folder / f"{name}.png", np.array(heads, np.float32).reshape(-1, 4), width, height))
    return made


@pytest.fixture
def maps(model: FasterRCNN, samples: list[Sample], tmp_path: Path) -> Path:
    write_maps(model, samples, tmp_path / "maps", STRIDES)
    return tmp_path / "maps"


def test_to_tensor_turns_channels_to_the_front():
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    tensor = to_tensor(image)
    assert tensor.shape == (1, 3, 2, 3)
    assert tensor.dtype == torch.uint8
    assert tensor[0, 2, 1, 0] == image[1, 0, 2]
    assert tensor.is_contiguous(memory_format=torch.channels_last)
    image[:] = 0
    assert tensor.any()


def test_arrays_are_written_whole(tmp_path):
    path = tmp_path / "a.npy"
    save_array(path, np.arange(3))
    assert np.load(path).tolist() == [0, 1, 2]
    with pytest.raises(TypeError):
        save_array(path, np.array([{}.keys()], dtype=object))  # cannot be pickled
    assert np.load(path).tolist() == [0, 1, 2]
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_map_is_named(samples, maps):
    path = map_path(maps, samples[0], 32)
    for content in (b"", path.read_bytes()[:50], path.read_bytes()[:-1], b"something else"):
        path.write_bytes(content)
        with pytest.raises(
            InputError, match=r"low\.map32\.npy: is damaged .*; remove .*maps, and it is "
        ) as caught:
            read_map(maps, samples[0], 32)
        assert "\n" not in str(caught.value)


def test_maps_are_the_backbones_in_half_precision(model, samples, maps):
    assert len(list(maps.iterdir())) == 4
    for sample, shape in zip(samples, [(4, 8), (8, 4)], strict=True):
        image = Image.open(sample.path).resize((shape[1] * 32, shape[0] * 32), Image.Resampling.BILINEAR)
        with torch.inference_mode():
            expected = model.backbone(to_tensor(np.asarray(image)))
        for stride in STRIDES:
            kept = np.load(map_path(maps, sample, stride))
            assert kept.dtype == np.float16
            assert kept.flags.c_contiguous
            features = read_map(maps, sample, stride)
            assert features.dtype == torch.float32
            torch.testing.assert_close(features, expected[stride].half().float(), atol=0, rtol=0)
        assert features.shape[2:] == (2 * shape[0], 2 * shape[1])


def test_only_missing_maps_are_computed(model, samples, maps):
    low, high = samples
    kept = map_path(maps, low, 32)
    kept.write_bytes(b"as it was")
    map_path(maps, high, 16).unlink()
    map_path(maps, high, 32).write_bytes(b"of a photo with a map missing")
    write_maps(model, samples, maps, STRIDES)
    assert kept.read_bytes() == b"as it was"
    assert read_map(maps, high, 16).shape == (1, 8, 16, 8)
    assert read_map(maps, high, 32).shape == (1, 16, 8, 4)


def test_maps_are_made_in_evaluation_mode(model, samples, maps, tmp_path):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    write_maps(model, samples, tmp_path / "again", STRIDES)
    for sample in samples:
        assert torch.equal(read_map(tmp_path / "again", sample, 32), read_map(maps, sample, 32))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.eval()


def test_proposals_are_those_of_the_rpn_on_the_kept_map(model, samples, maps, tmp_path):
    regions = tmp_path / "regions"
    regions.mkdir()
    model.train()  # it must not matter
    write_proposals(model, samples, maps, regions)
    assert not model.training
    for sample, (width, height) in zip(samples, [(256, 128), (128, 256)], strict=True):
        kept = np.load(proposals_path(regions, sample))
        with torch.inference_mode():
            ((boxes, _),) = model.propose({32: read_map(maps, sample, 32)}, (height, width))
        assert kept.dtype == np.float32
        assert np.array_equal(kept, boxes.numpy())
        assert (kept[:, 2:] <= [width, height]).all()
        assert len(kept)


def test_only_missing_proposals_are_computed(model, samples, maps, tmp_path):
    regions = tmp_path / "regions"
    regions.mkdir()
    proposals_path(regions, samples[0]).write_bytes(b"as it was")
    write_proposals(model, samples, maps, regions)
    assert proposals_path(regions, samples[0]).read_bytes() == b"as it was"
    assert np.load(proposals_path(regions, samples[1])).shape[1] == 4


def test_a_frozen_photo(model, samples, maps, tmp_path):
    regions = tmp_path / "regions"
    regions.mkdir()
    write_proposals(model, samples, maps, regions)
    data = FrozenPhotos(samples, maps, 1024, 16, regions)
    assert len(data) == 2
    low, high = data[0], data[1]
    assert torch.equal(low.features, read_map(maps, samples[0], 16))
    assert low.gt_boxes.tolist() == [[16, 16, 80, 64]]
    assert torch.equal(low.proposals, torch.from_numpy(np.load(proposals_path(regions, samples[0]))))
    assert low.image_size == (128, 256)
    assert high.gt_boxes.shape == (0, 4)
    assert high.gt_boxes.dtype == torch.float32
    assert high.image_size == (256, 128)


def test_photos_before_there_are_proposals(samples, maps):
    data = FrozenPhotos(samples, maps, 1024, 32, None)
    assert data[0].features.shape == (1, 16, 4, 8)
    assert data[0].proposals.shape == (0, 4)
