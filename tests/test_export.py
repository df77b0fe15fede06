"""The exported detector against torch's, on photos of any size, and what its files hold."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from PIL import Image

from tiny_run import divided, fake_run, tiny_recipe
from wheatear.data.check import clean
from wheatear.data.sample import Sample
from wheatear.detections import Detections
from wheatear.detector import Card, Detector, load
from wheatear.errors import InputError
from wheatear.files import write_json
from wheatear.images import open_photo
from wheatear.tiles import SIZE
from wheatear.train.agreement import (
    BOX_TOLERANCE,
    SCORE_TOLERANCE,
    Agreement,
    compare,
    found_by_torch,
    gap,
)
from wheatear.train.checkpoint import read_json
from wheatear.train.export import export_detector, graph_of
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.recipe import Recipe, validated
from wheatear.train.run_card import describe_run, load_run
from wheatear.train.storage import round_weights

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def run(field_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run and its exported detector. For reading only."""
    folder = tmp_path_factory.mktemp("export") / "run"
    fake_run(folder, field_dir)
    export_detector(folder, folder / "model.onnx")
    return folder


@pytest.fixture(scope="module")
def rounded(run: Path) -> FasterRCNN:
    model = load_run(run)
    round_weights(model)
    return model


@pytest.fixture(scope="module")
def detector(run: Path) -> Detector:
    return load(run / "model.onnx", threads=1)


@pytest.fixture(scope="module")
def graph(run: Path) -> onnx.GraphProto:
    return onnx.load(run / "model.onnx").graph


def assert_agree(one: Detections, other: Detections, score_floor: float = 0.02) -> None:
    both = np.concatenate([gap(one, other, score_floor), gap(other, one, score_floor), np.zeros((1, 2))])
    assert (both.max(0) <= (BOX_TOLERANCE, SCORE_TOLERANCE)).all(), both.max(0)


# torch and onnxruntime


def test_they_agree_on_every_drawn_photo(run, field_dir):
    samples = divided(field_dir)
    result = compare(run, run / "model.onnx", samples)
    assert result.photos == len(samples) == 8
    assert result.detections > 8 * 5
    assert result.box <= 0.5
    assert result.score <= 1e-3
    assert result.apart == 0
    assert result.holds()


@pytest.mark.parametrize("size", [(300, 417), (417, 300), (33, 40), (40, 32), (32, 64), (31, 7), (5, 200)])
def test_they_agree_on_photos_of_any_size(rounded, detector, field_photo, size):
    image = np.ascontiguousarray(np.tile(open_photo(field_photo), (2, 2, 1))[: size[0], : size[1]])
    expected = found_by_torch(rounded, image)
    found = detector.detect(image, score_threshold=0)
    assert len(expected) > 0
    assert_agree(found, expected)
    assert (found.height, found.width) == size


def test_a_backbone_of_stride_64_is_exported():
    content = tiny_recipe().model_dump(mode="json")
    content["backbone"]["channels"].append([16])
    content["rpn"]["strides"] = [64]
    content["stages"][0]["snip_size"] = 64
    inputs = graph_of(FasterRCNN(validated(content, "deep"))).graph.input
    assert [image.name for image in inputs] == ["image"]


def test_they_agree_that_there_is_nothing(rounded, detector):
    image = np.full((1, 1, 3), 128, np.uint8)  # smaller than any head
    assert len(found_by_torch(rounded, image)) == 0
    found = detector.detect(image, score_threshold=0)
    assert (found.boxes.shape, found.scores.shape) == ((0, 4), (0,))


def test_they_agree_on_no_head_among_many_proposals(run, rounded, field_photo, tmp_path):
    model = onnx.load(run / "model.onnx")
    (bias,) = (tensor for tensor in model.graph.initializer if tensor.name.endswith("roi_head.scores.bias"))
    bias.CopyFrom(numpy_helper.from_array(np.array([50, -50], np.float32), bias.name))
    onnx.save(model, tmp_path / "model.onnx")
    shutil.copy(run / "model.json", tmp_path / "model.json")
    image = open_photo(field_photo)
    found = load(tmp_path / "model.onnx").detect(image, score_threshold=0)
    assert (found.boxes.shape, found.scores.shape) == ((0, 4), (0,))
    kept = rounded.roi_head.scores.bias.detach().clone()
    with torch.no_grad():
        rounded.roi_head.scores.bias.copy_(torch.tensor([50.0, -50.0]))
        expected = found_by_torch(rounded, image)
        rounded.roi_head.scores.bias.copy_(kept)
    assert len(expected) == 0


@pytest.mark.parametrize(
    ("detections", "apart", "holds"),
    [
        (7102, 7, True),
        (7102, 8, False),
        (326, 2, True),
        (326, 3, False),
        (10, 1, True),
        (10, 2, False),
        (0, 0, True),
    ],
)
def test_rare_differences_are_rounding(detections: int, apart: int, holds: bool):
    """One in a thousand; in a few photos those that a single decision moves."""
    assert Agreement(1, detections, 1.0, 0.01, apart).holds() == holds


def test_a_difference_is_found(run, field_dir, tmp_path):
    model = onnx.load(run / "model.onnx")
    (bias,) = (tensor for tensor in model.graph.initializer if tensor.name.endswith("roi_head.deltas.bias"))
    moved = numpy_helper.to_array(bias) + np.float32([1, 0, 0, 0])  # a tenth of a box's width
    bias.CopyFrom(numpy_helper.from_array(moved, bias.name))
    onnx.save(model, tmp_path / "model.onnx")
    shutil.copy(run / "model.json", tmp_path / "model.json")
    result = compare(run, tmp_path / "model.onnx", divided(field_dir)[:1])
    assert result.box > BOX_TOLERANCE
    assert result.score < 1
    assert result.apart > 5
    assert not result.holds()


def test_photos_are_compared_as_they_are_opened(run, tmp_path, field_photo):
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    Image.open(field_photo).crop((0, 0, 120, 80)).save(turned, exif=exif)
    sample = Sample(turned, np.zeros((0, 4), np.float32), 80, 120)
    result = compare(run, run / "model.onnx", [sample])
    assert result.photos == 1
    assert result.box <= 0.5


def test_photos_that_are_counted_in_tiles_are_compared_whole(run, tmp_path, field_photo):
    image = open_photo(field_photo)
    large = np.tile(image, (1, SIZE // image.shape[1] + 1, 1))
    Image.fromarray(large).save(tmp_path / "large.png")
    sample = Sample(tmp_path / "large.png", np.zeros((0, 4), np.float32), large.shape[1], large.shape[0])
    result = compare(run, run / "model.onnx", [sample])
    assert result.detections > 20
    assert result.holds()


@pytest.fixture(scope="module")
def wider() -> Recipe:
    """The recipe with a margin about its boxes."""
    recipe = tiny_recipe()
    return recipe.model_copy(update={"detection": recipe.detection.model_copy(update={"margin": 0.05})})


def test_a_margin_comes_with_another_recipe(run, wider, field_dir, tmp_path):
    path, samples = tmp_path / "wider.onnx", divided(field_dir)[:2]
    export_detector(run, path, settings=wider)
    assert compare(run, path, samples, wider).holds()
    assert not compare(run, path, samples).holds()
    assert load(path).card.recipe["detection"]["margin"] == 0.05


def test_a_margin_is_one_addition_to_the_graph(run, graph, wider, tmp_path):
    export_detector(run, tmp_path / "wider.onnx", settings=wider)
    with_it = onnx.load(tmp_path / "wider.onnx").graph
    one, other = ([node.op_type for node in each.node] for each in (graph, with_it))
    additions = [i for i, op_type in enumerate(other) if op_type == "Add"]
    assert any(one == other[:i] + other[i + 1 :] for i in additions)


# how far apart


def found(*rows: list[float]) -> Detections:
    values = np.array(rows, np.float32).reshape(-1, 5)
    return Detections(values[:, :4], values[:, 4])


def test_the_gap_by_hand():
    one = found([0, 0, 10, 10, 0.9], [20, 20, 30, 30, 0.5])
    other = found([20, 20.25, 30, 29, 0.5], [0, 0.5, 10, 10, 0.8])
    np.testing.assert_allclose(gap(one, other, 0.02), [[0.5, 0.1], [1, 0]], atol=1e-6)


def test_detections_of_equal_score_may_change_places():
    one = found([0, 0, 10, 10, 0.5], [20, 20, 30, 30, 0.5])
    other = found([20, 20, 30, 30, 0.5001], [0, 0, 10, 10, 0.5])
    assert gap(one, other, 0.02).max() <= 1.1e-4


def test_detections_at_the_floor_may_be_missing():
    one = found([0, 0, 10, 10, 0.5], [20, 20, 30, 30, 0.0205])
    other = found([0, 0, 10, 10, 0.5])
    assert gap(one, other, score_floor=0.02).tolist() == [[0, 0]]
    assert gap(one, other, score_floor=0.01).tolist() == [[0, 0], [20, pytest.approx(0.4795)]]


def test_a_detection_without_a_partner_is_infinitely_far():
    assert gap(found([0, 0, 10, 10, 0.5]), found(), 0.02).tolist() == [[np.inf, np.inf]]
    assert gap(found(), found([0, 0, 10, 10, 0.5]), 0.02).shape == (0, 2)
    assert gap(found(), found(), 0.02).shape == (0, 2)


# the files


def test_the_card_is_complete(run, field_dir):
    card = Card.model_validate_json((run / "model.json").read_bytes())
    assert (card.format, card.name, card.score_threshold, card.count_threshold) == (1, "tiny", 0.5, None)
    assert card.score_floor == tiny_recipe().detection.score_floor
    assert Recipe.model_validate(card.recipe) == tiny_recipe()
    assert card.data == read_json(run / "run.json")
    assert card.figures == {
        "stages": {stage: {"epoch": 2, "val_accuracy": 0.5} for stage in ("cnn", "rpn", "rcnn")}
    }
    boxes = np.concatenate([clean(s).boxes for s in divided(field_dir) if s.split == "train"])
    sides = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    assert card.head_px == pytest.approx(np.median(sides), abs=0.06)
    assert card.usual_tta is None
    flips = tiny_recipe().detection.model_copy(update={"tta": "flips"})
    assert describe_run(run, tiny_recipe().model_copy(update={"detection": flips})).usual_tta == "flips"
    assert card == describe_run(run, tiny_recipe())
    assert card.model_extra == {}


@pytest.mark.parametrize(
    ("column", "name"), [("source", "usask_1"), ("session", "Arvalis_4"), ("source", "mine")]
)
def test_the_card_names_the_data_set_that_it_learned_from(run, tmp_path, column, name):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "images.csv").write_text(f"image_id,{column}\na,{name}\nb,other\n")
    card = describe_run(tmp_path / "run", tiny_recipe())
    assert ("CC BY 4.0" in card.licence) == ("Global Wheat Head" in card.citation) == (name != "mine")


def test_a_model_never_has_the_card_of_an_earlier_one(run, tmp_path, monkeypatch):
    """Whichever of the two files is renamed last, and whether it was before or after that."""
    model, card, replace = tmp_path / "model.onnx", tmp_path / "model.json", os.replace
    earlier = read_json(run / "model.json") | {"count_threshold": 0.25}
    for file in (model, card):
        for after in (False, True):
            model.write_bytes(b"an earlier model")
            write_json(card, earlier)

            def replace_and_stop(part: Path, path: Path, last: Path = file, done: bool = after) -> None:
                if path != last or done:
                    replace(part, path)
                if path == last:
                    raise KeyboardInterrupt

            with monkeypatch.context() as stopping:
                stopping.setattr(os, "replace", replace_and_stop)
                with pytest.raises(KeyboardInterrupt):
                    export_detector(run, model)
            assert not card.exists() or (
                model.read_bytes() != b"an earlier model" and "0.25" not in card.read_text()
            )
            assert not list(tmp_path.glob("*.part*"))


def test_an_export_that_fails_leaves_the_earlier_model_and_its_card(run, tmp_path, monkeypatch):
    model, card = tmp_path / "model.onnx", tmp_path / "model.json"
    model.write_bytes(b"an earlier model")
    card.write_text("its card")

    def disk_is_full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("wheatear.train.export.write_graph", disk_is_full)
    with pytest.raises(OSError, match=r"No space left on device: .*model\.onnx"):
        export_detector(run, model)
    assert (model.read_bytes(), card.read_text()) == (b"an earlier model", "its card")


def test_large_weights_are_stored_as_float16(graph, rounded):
    stored = {t.name: t for t in graph.initializer}
    large = {
        name: w for name, w in rounded.state_dict().items() if w.is_floating_point() and w.numel() >= 1024
    }
    assert len(large) == 3  # a kernel of the backbone, one of the RPN, the regions' hidden layer
    for name, weight in large.items():
        (tensor,) = (t for key, t in stored.items() if key.endswith(f"{name}.half"))
        assert tensor.data_type == TensorProto.FLOAT16
        kept = numpy_helper.to_array(tensor).astype(np.float32)
        assert np.array_equal(kept, weight.numpy()) or np.array_equal(kept, weight.numpy().T)
    others = [t for t in graph.initializer if t.data_type == TensorProto.FLOAT]
    assert others
    assert all(np.prod(t.dims) < 1024 for t in others)


def test_rounding_leaves_small_tensors_alone(run, rounded):
    before = load_run(run).state_dict()
    for name, after in rounded.state_dict().items():
        is_large = after.is_floating_point() and after.numel() >= 1024
        assert torch.equal(after, before[name].half().float() if is_large else before[name])
        assert after.dtype == before[name].dtype
    large = before["roi_head.hidden.weight"]
    assert not torch.equal(large, large.half().float())  # there was something to round


def test_the_model_says_nothing_of_this_machine(run):
    content = (run / "model.onnx").read_bytes()
    for place in (Path(torch.__file__).parents[1], Path(__file__).parents[1], run):
        assert str(place).encode() not in content
    assert b".py" not in content


def test_inputs_and_outputs(graph):
    (image,) = graph.input
    assert image.name == "image"
    assert image.type.tensor_type.elem_type == TensorProto.UINT8
    height, width, colours = image.type.tensor_type.shape.dim
    assert height.dim_param
    assert width.dim_param
    assert height.dim_param != width.dim_param
    assert colours.dim_value == 3
    assert [output.name for output in graph.output] == ["boxes", "scores"]


def test_the_detector_keeps_to_its_floor_and_to_the_cards_threshold(detector, field_photo):
    every = detector.detect(field_photo, score_threshold=0)
    sure = detector.detect(field_photo)
    assert every.scores.min() >= np.float32(0.02)
    assert 0 < len(sure) < len(every)
    assert sure.scores.min() >= 0.5


# runs that cannot be exported


@pytest.mark.parametrize("stage", ["cnn", "rpn", "rcnn"])
def test_an_unfinished_run_is_named(run, tmp_path, stage):
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    (copy / stage / "metrics.json").unlink()
    with pytest.raises(
        InputError, match=rf"run: stage {stage} is not finished; go on with `wheatear train … --resume`"
    ):
        load_run(copy)


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(InputError, match=r"recipe\.json: cannot be read .*; is this a run folder\?"):
        export_detector(tmp_path, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_run_of_another_version_is_named(run, tmp_path):
    recipe = json.loads((run / "recipe.json").read_text())
    (tmp_path / "recipe.json").write_text(json.dumps(recipe | {"novelty": 1}))
    with pytest.raises(InputError, match=r"recipe\.json.*novelty"):
        load_run(tmp_path)


def test_a_model_is_loaded_in_evaluation_mode(run):
    assert not any(module.training for module in load_run(run).modules())


def test_photos_added_for_training_are_of_gwhd_too(field_dir, tmp_path):
    fake_run(tmp_path / "run", field_dir)
    facts = read_json(tmp_path / "run" / "run.json")
    recipe = tiny_recipe()
    known = [["usask_1"], ["Arvalis_5"], ["myfield", "ULiège-GxABT_1"]]
    own = [["myfield"], ["INRAE_Dijon_2025"], ["ETHZ"], ["myfield_1"]]
    for sources, licensed in [(each, True) for each in known] + [(each, False) for each in own]:
        more = [{"folder": "more", "photos": 1, "heads": 1, "sources": sources}]
        write_json(tmp_path / "run" / "run.json", facts | {"more": more})
        assert bool(describe_run(tmp_path / "run", recipe).licence) == licensed
