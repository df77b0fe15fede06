"""Weights rounded to float16 or int8: what lies in the file, and that torch and onnxruntime agree on it."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import nn

from tiny_recipe import tiny_recipe
from wheatear.detections import Detections
from wheatear.train.export import BOX_TOLERANCE, SCORE_TOLERANCE, OneImage, export_onnx, gap
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.storage import in_float16, in_int8, round_weights, rounded_to_int8

torch.set_num_threads(1)


def widened(stored, nodes) -> np.ndarray:
    """What the nodes make of the stored tensors, worked out by onnxruntime."""
    name = nodes[-1].output[0]
    shape = stored[0].dims
    graph = onnx.helper.make_graph(
        nodes, "widen", [], [onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)], stored
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {})[0]


def test_int8_by_hand():
    weight = torch.tensor([[254.0, -127.0, 1.4], [0.0, 0.0, 0.0], [1.0, -0.5, 0.004]])
    kept = rounded_to_int8(weight)
    assert kept[0].tolist() == [254, -128, 2]  # steps of 2; 63.5 goes to the even 64
    assert kept[1].tolist() == [0, 0, 0]
    np.testing.assert_allclose(kept[2], [1, -64 / 127, 1 / 127], rtol=1e-6)


@pytest.mark.parametrize("shape", [(4, 9), (5, 3, 3, 3), (7, 1, 3, 3)])
def test_what_is_stored_is_what_torch_rounds_to(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    tensor = numpy_helper.from_array(weight.numpy(), "w")
    np.testing.assert_allclose(widened(*in_int8(tensor)), rounded_to_int8(weight), rtol=1e-6)
    assert np.array_equal(widened(*in_float16(tensor)), weight.half().float())


def test_a_second_rounding_changes_nothing():
    weight = torch.randn((6, 50), generator=torch.Generator().manual_seed(1))
    once = rounded_to_int8(weight)
    assert not torch.equal(once, weight)
    torch.testing.assert_close(rounded_to_int8(once), once, rtol=1e-6, atol=0)


def test_an_int8_detector(tmp_path):
    torch.manual_seed(0)
    model = FasterRCNN(tiny_recipe(image_size=640)).eval()
    for layer in (model.rpn.head.objectness, model.rpn.head.deltas, model.roi_head.scores):
        nn.init.normal_(layer.weight, std=0.2)
    export_onnx(model, tmp_path / "half.onnx")
    round_weights(model, "int8")
    export_onnx(model, tmp_path / "model.onnx", "int8")
    assert (tmp_path / "model.onnx").stat().st_size < (tmp_path / "half.onnx").stat().st_size
    stored = onnx.load(tmp_path / "model.onnx").graph.initializer
    assert all(t.data_type != TensorProto.FLOAT or np.prod(t.dims) < 1024 for t in stored)
    image = np.random.default_rng(0).integers(0, 256, (256, 320, 3), dtype=np.uint8)
    with torch.inference_mode():
        ours = Detections(*(t.numpy() for t in OneImage(model)(torch.from_numpy(image))))
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    theirs = Detections(*session.run(["boxes", "scores"], {"image": image}))
    assert len(ours) > 0
    for one, other in ((ours, theirs), (theirs, ours)):
        box, score = gap(one, other, 0.02).max(0)
        assert box <= BOX_TOLERANCE
        assert score <= SCORE_TOLERANCE
