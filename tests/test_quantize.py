"""A detector of 8 bits: which layers are rounded and how far, and that it finds what the one in float32 finds."""

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from tiny_recipe import tiny_recipe
from tiny_run import tiny_model
from wheatear.boxes import iou
from wheatear.data.formats import read_dataset
from wheatear.detector import Card, Detector, load
from wheatear.images import open_photo
from wheatear.train import quantize
from wheatear.train.export import graph_of, write_graph
from wheatear.train.from_onnx import stored_tensors

torch.set_num_threads(1)

STEPS = 64  # from nothing to the largest weight of a channel: onnxruntime's reduced range is -64 to 64
EXACT = (
    "backbone.groups.0.0",
    "rpn.head.objectness",
    "rpn.head.deltas",
    "roi_head.scores",
    "roi_head.deltas",
)


@pytest.fixture(scope="module")
def paths(field_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same untrained network exported in both arithmetics."""
    recipe = tiny_recipe(image_size=640)
    model, folder = tiny_model(recipe), tmp_path_factory.mktemp("int8")
    card = Card(format=1, name="tiny", score_threshold=0.4, recipe=recipe.model_dump(mode="json"))
    files = {name: folder / f"{name}.onnx" for name in ("float32", "int8")}
    graph = graph_of(model)
    for (name, path), seen in zip(files.items(), ([], read_dataset(field_dir)), strict=True):
        write_graph(copy.deepcopy(graph), path, seen)
        path.with_suffix(".json").write_text(card.model_copy(update={"arithmetic": name}).model_dump_json())
    return files


@pytest.fixture(scope="module")
def detectors(paths: dict[str, Path]) -> dict[str, Detector]:
    return {name: load(path, threads=1) for name, path in paths.items()}


def test_weights_are_whole_multiples_of_a_step_but_for_the_first_and_last_layers(paths):
    before, after = (dict(stored_tensors(onnx.load(path).graph)) for path in paths.values())
    assert before.keys() == after.keys()
    rounded = set()
    for name, weight in before.items():
        if weight.ndim == 1:
            continue
        rows, kept = weight.flatten(1), after[name].flatten(1)
        step = rows.abs().amax(1, keepdim=True) / STEPS
        if any(name.startswith(layer) for layer in EXACT):
            torch.testing.assert_close(kept, rows, atol=0, rtol=1e-3)  # as far as float16 goes
        else:
            assert ((kept - rows).abs() <= 0.52 * step + 1e-3 * rows.abs()).all(), name
            assert all(len(row.unique()) <= 2 * STEPS + 1 for row in kept)
            rounded.add(name)
    assert {"roi_head.hidden.fc6.weight", "rpn.head.conv.weight", "backbone.groups.5.0.weight"} <= rounded


def test_nothing_is_rounded_between_a_convolution_and_its_relu(paths):
    """Twice rounded, it would be slower and, with half of the steps below zero, coarser."""
    graph = onnx.load(paths["int8"]).graph
    makers = {output: node.op_type for node in graph.node for output in node.output}
    before = {makers[node.input[0]] for node in graph.node if node.op_type in ("Relu", "Clip")}
    assert "DequantizeLinear" not in before


def test_it_finds_nearly_what_float32_finds(detectors, field_dir):
    for sample in read_dataset(field_dir)[:3]:
        one, other = (each.detect(sample.path, score_threshold=0.0) for each in detectors.values())
        assert len(one) > 20
        overlap = iou(one.boxes, other.boxes)
        nearest = overlap.argmax(1)
        assert np.median(overlap.max(1)) > 0.9
        assert np.median(np.abs(one.scores - other.scores[nearest])) < 0.02


def test_a_margin_is_added_in_float32(field_dir, tmp_path):
    detection = tiny_recipe().detection.model_dump() | {"margin": 0.05}
    path = tmp_path / "wider.onnx"
    model = tiny_model(tiny_recipe(image_size=640, detection=detection))
    write_graph(graph_of(model), path, read_dataset(field_dir))
    graph = onnx.load(path).graph
    (deltas,) = (node for node in graph.node if "model.roi_head.deltas.weight" in node.input)
    (addition,) = (node for node in graph.node if deltas.output[0] in node.input)
    assert (deltas.op_type, addition.op_type) == ("Gemm", "Add")
    (margin,) = (tensor for tensor in graph.initializer if tensor.name == addition.input[1])
    assert margin.data_type == onnx.TensorProto.FLOAT
    np.testing.assert_allclose(numpy_helper.to_array(margin), [0, 0, 5 * np.log(1.1), 5 * np.log(1.1)])


@pytest.mark.parametrize("shape", [(1, 1, 3), (31, 7, 3), (301, 277, 3)])
def test_photos_of_any_size(detectors, shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found = detectors["int8"].detect(image, score_threshold=0.0)
    assert (len(found) == 0) == (shape == (1, 1, 3))


def test_a_part_of_many_photos_is_looked_at(field_dir, monkeypatch, paths):
    looked = []

    def quantize_static(model: object, path: Path, reader: quantize.Photos, **_: object) -> None:
        while (given := reader.get_next()) is not None:
            looked.append(given["image"])

    monkeypatch.setattr(quantize, "quantize_static", quantize_static)
    samples = read_dataset(field_dir)
    monkeypatch.setattr(quantize, "SEEN", 3)
    quantize.quantize(onnx.load(paths["float32"]), samples, paths["int8"])
    assert len(samples) == 8
    assert [image.tobytes() for image in looked] == [
        np.asarray(open_photo(samples[i].path)).tobytes() for i in (0, 3, 6)
    ]


def test_the_model_says_nothing_of_this_machine(paths):
    content = paths["int8"].read_bytes()
    for place in (Path(torch.__file__).parents[1], Path(__file__).parents[1], paths["int8"].parent):
        assert str(place).encode() not in content
