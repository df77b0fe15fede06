"""A model.onnx as a network of torch again: the same weights, the same detections."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from tiny_recipe import tiny_recipe
from wheatear.cli_explain import open_model
from wheatear.data.formats import read_dataset
from wheatear.detections import Detections
from wheatear.detector import Card, Judged, load
from wheatear.errors import InputError
from wheatear.explain import story
from wheatear.explain.look import Network, shipped_network
from wheatear.train.agreement import BOX_TOLERANCE, SCORE_TOLERANCE, gap
from wheatear.train.export import OneImage, export_detector, graph_of, write_graph
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.from_onnx import load_exported, stored_tensors, unfolded, zero_biases
from wheatear.train.recipe import Recipe

torch.set_num_threads(1)


def random_model(recipe: Recipe) -> FasterRCNN:
    """A model as after a training: no two tensors are alike, and its scores and boxes are all over the place."""
    torch.manual_seed(0)
    model = FasterRCNN(recipe).eval()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (layer.weight, layer.running_var):
                nn.init.uniform_(tensor, 0.5, 2)
            for tensor in (layer.bias, layer.running_mean):
                nn.init.normal_(tensor, std=0.2)
        elif getattr(layer, "bias", None) is not None:
            nn.init.normal_(layer.bias, std=0.1)
    for layer in (model.rpn.head.objectness, model.rpn.head.deltas, model.roi_head.scores):
        nn.init.normal_(layer.weight, std=0.2)
    return model


def write_exported(folder: Path, **detection: float) -> Path:
    """A random model.onnx of the tiny recipe, with its card; some keys of its detection replaced."""
    detection = tiny_recipe().detection.model_dump() | detection
    recipe, path = tiny_recipe(image_size=640, detection=detection), folder / "model.onnx"
    write_graph(graph_of(random_model(recipe)), path)
    said = {"licence": "CC BY 4.0", "citation": "Somebody, 2020"}
    card = Card(format=1, name="tiny", score_threshold=0.4, recipe=recipe.model_dump(mode="json"), **said)
    path.with_suffix(".json").write_text(card.model_dump_json())
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A joint model, whose pyramid has batch norms to fold."""
    return write_exported(tmp_path_factory.mktemp("export"))


def found_by_both(name: str | Path) -> tuple[Detections, Detections]:
    """What torch and onnxruntime find in the same noise, down to the score floor."""
    image = np.random.default_rng(0).integers(0, 256, (301, 277, 3), dtype=np.uint8)
    with torch.inference_mode():
        found = OneImage(shipped_network(name).model)(torch.from_numpy(image))
    return Detections(*(t.numpy() for t in found)), load(name).run(image, 0.0)


def assert_agree(name: str | Path) -> None:
    ours, theirs = found_by_both(name)
    assert len(theirs) > 5
    for one, other in ((ours, theirs), (theirs, ours)):
        box, score = gap(one, other, 0.02).max(0)
        assert box <= BOX_TOLERANCE
        assert score <= SCORE_TOLERANCE


@pytest.mark.parametrize("shipped", [False, True])
def test_it_finds_what_the_graph_finds(shipped: bool, exported: Path):
    assert_agree("seed" if shipped else exported)


def test_groups_that_no_map_needs_are_not_missed(exported: Path):
    """The export leaves out the coarsest groups of the notes' CNN where neither regions nor pyramid look at them."""
    cnn = tiny_recipe().backbone.model_dump() | {"channels": [[4], [4], [8], [8], [16], [16], [16]]}
    recipe = tiny_recipe(image_size=640, backbone=cnn)
    model = load_exported(exported.read_bytes(), recipe.model_dump(mode="json"), "tiny")
    assert model.idle_groups() == ("backbone.groups.6.",)
    plain = shipped_network(exported).model
    assert plain.idle_groups() == ()
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in plain.state_dict().items())


def test_biases_that_are_all_0_are_not_missed():
    """Those of layers that were never trained, which the export leaves out."""
    layers = {"conv": nn.Conv2d(3, 4, 1, bias=False), "norm": nn.BatchNorm2d(4), "last": nn.Conv2d(4, 2, 1)}
    model = nn.Sequential(OrderedDict(layers))
    tensors = {name: model.state_dict()[name] for name in ("conv.weight", "last.weight")}
    norm = unfolded(model, tensors)
    assert norm["norm.bias"].tolist() == norm["norm.running_mean"].tolist() == [0, 0, 0, 0]
    assert zero_biases(model, tensors)["last.bias"].tolist() == [0, 0]
    left = model.load_state_dict(tensors | norm | zero_biases(model, tensors), strict=False)
    assert left.missing_keys == left.unexpected_keys == []


def test_a_margin_is_read_from_the_card(exported: Path, tmp_path: Path):
    path = write_exported(tmp_path, margin=0.05)
    assert_agree(path)
    wider, plain = (shipped_network(each).model for each in (path, exported))
    assert wider.recipe.detection.margin == 0.05
    for name, tensor in plain.state_dict().items():  # the graph's addition is not taken for a bias
        assert torch.equal(wider.state_dict()[name], tensor), name


def test_it_is_exported_anew(exported: Path, field_dir: Path, tmp_path: Path):
    """It finds what it found before, and its card keeps what was chosen and nothing that was measured."""
    first, again = tmp_path / "first.onnx", tmp_path / "again.onnx"
    first.write_bytes(exported.read_bytes())
    card = Card.model_validate_json(exported.with_suffix(".json").read_bytes())
    chosen = {"score_threshold": 0.3, "count_threshold": 0.2, "interval_factor": 1.4}
    judged = Judged(**chosen, figures={"val": 1}, known_failures=["rain"])
    figures = {"stages": {"joint": 2}, "val": 3}
    update = dict(judged) | {"usual_tta": "flips", "tta": {"mix": judged}, "figures": figures}
    first.with_suffix(".json").write_text(card.model_copy(update=update).model_dump_json())
    export_detector(first, again)
    image = np.random.default_rng(0).integers(0, 256, (301, 277, 3), dtype=np.uint8)
    one, other = (load(path).run(image, 0.0) for path in (first, again))
    assert len(one) > 5
    assert gap(one, other, 0.02).max(0) == pytest.approx([0, 0], abs=1e-3)
    own = {"usual_tta": "flips", "tta": {"mix": Judged(**chosen)}, "score_floor": 0.02}
    kept = card.model_copy(update=chosen | own)
    assert load(again, tta="once").card == kept.model_copy(update={"figures": {"stages": {"joint": 2}}})

    recipe = tiny_recipe(image_size=640)
    other_detection = recipe.detection.model_copy(update={"margin": 0.05, "score_floor": 0.1})
    wider = recipe.model_copy(update={"detection": other_detection})
    export_detector(first, again, read_dataset(field_dir), wider)
    kept = load(again, tta="once").card
    assert (kept.arithmetic, kept.usual_tta, kept.recipe["detection"]["margin"]) == ("int8", None, 0.05)
    assert kept.score_floor == 0.1


def test_weights_are_as_stored(exported: Path):
    model = shipped_network(exported).model
    original = random_model(model.recipe)
    for name in ("roi_head.scores.weight", "backbone.groups.2.2.running_var", "rpn.head.conv.bias"):
        stored, expected = model.state_dict()[name], original.state_dict()[name]
        torch.testing.assert_close(stored, expected, atol=0, rtol=1e-3)
    assert model.snip_head is None


def test_explain_opens_an_exported_model(exported: Path):
    finder, missing = open_model(str(exported))
    assert isinstance(finder, Network)
    assert finder.threshold == 0.4
    assert missing == [story.HISTORY, story.CNN]


def test_weights_are_widened_by_whatever_nodes_the_graph_has():
    weight = np.arange(-6, 6, dtype=np.int8).reshape(3, 4)
    scale = np.array([[0.5], [1], [2]], np.float32)
    nodes = [
        helper.make_node("Cast", ["w.int8"], ["w.wide"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["w.wide", "w.scale"], ["model.last.weight"]),
        helper.make_node("Gemm", ["image", "model.last.weight", "b"], ["boxes"], transB=1),
    ]
    stored = {"w.int8": weight, "w.scale": scale, "b": np.ones(3, np.float32)}
    graph = helper.make_graph(
        nodes, "tiny", [], [], [numpy_helper.from_array(array, name) for name, array in stored.items()]
    )
    found = dict(stored_tensors(graph))
    assert found.keys() == {"last.weight", "last.bias"}
    np.testing.assert_array_equal(found["last.weight"], weight * scale)


def test_a_graph_of_another_network_is_refused(exported: Path):
    recipe = Card.model_validate_json(exported.with_suffix(".json").read_bytes()).recipe
    graph = onnx.load(exported)
    for node in graph.graph.node:
        if node.op_type == "Conv" and "rpn.head.conv" in node.input[1]:
            node.input[1] = "nameless"
    with pytest.raises(InputError, match=r"tiny: is not the network of its card \(rpn.head.conv.weight"):
        load_exported(graph.SerializeToString(), recipe, "tiny")
    with pytest.raises(InputError, match=r"tiny, recipe: rpn\.channels: "):
        load_exported(exported.read_bytes(), recipe | {"rpn": recipe["rpn"] | {"channels": 0}}, "tiny")
    wider = recipe | {"roi": recipe["roi"] | {"channels": 24}}
    with pytest.raises(InputError, match=r"tiny: is not the network of its card .*roi_head"):
        load_exported(exported.read_bytes(), wider, "tiny")
