"""A detector with a pyramid as ONNX: it scales the photo itself, and finds what torch finds."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from tiny_recipe import tiny_recipe
from wheatear.detections import Detections
from wheatear.train.agreement import BOX_TOLERANCE, SCORE_TOLERANCE, gap
from wheatear.train.export import OneImage, graph_of, write_graph
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.from_onnx import stored_tensors
from wheatear.train.storage import normed_convolutions, round_weights

torch.set_num_threads(1)

MIN_SIZE = 20.0  # px after scaling by 640 / 1024 or less, so a photo of 24 px is too small for a head


@pytest.fixture(
    scope="module", params=[("nms", 640, 1.0, 0.0), ("matrix", 512, 1.0, 0.0), ("nms", 640, 0.7, 0.02)]
)
def both(request, tmp_path_factory) -> tuple[OneImage, onnxruntime.InferenceSession]:
    """The same detector, with weights that say something, for torch and for onnxruntime."""
    suppression, image_size, vote_iou, margin = request.param
    detection = tiny_recipe().detection.model_dump() | {
        "suppression": suppression,
        "vote_iou": vote_iou,
        "margin": margin,
        "min_size": MIN_SIZE,
    }
    torch.manual_seed(0)
    model = FasterRCNN(tiny_recipe(image_size=image_size, detection=detection)).eval()
    for layer in (model.rpn.head.objectness, model.rpn.head.deltas, model.roi_head.scores):
        nn.init.normal_(layer.weight, std=0.2)
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    round_weights(model)
    write_graph(graph_of(model), path)
    return OneImage(model).eval(), onnxruntime.InferenceSession(path)


@pytest.mark.parametrize("shape", [(24, 24), (256, 320), (301, 177), (512, 640), (1100, 2000)])
def test_torch_and_onnxruntime_agree_at_any_size(both, shape):
    model, session = both
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    with torch.inference_mode():
        ours = Detections(*(t.numpy() for t in model(torch.from_numpy(image))))
    theirs = Detections(*session.run(["boxes", "scores"], {"image": image}))
    assert (len(ours) == 0) == (shape == (24, 24))
    assert ((theirs.boxes >= 0) & (theirs.boxes <= [shape[1], shape[0]] * 2)).all()
    for one, other in ((ours, theirs), (theirs, ours)):
        box, score = np.concatenate([np.zeros((1, 2)), gap(one, other, 0.02)]).max(0)
        assert box <= BOX_TOLERANCE
        assert score <= SCORE_TOLERANCE


def test_a_network_for_small_photos_is_exported(tmp_path):
    recipe = tiny_recipe().model_copy(update={"image_size": 96})
    model = FasterRCNN(recipe).eval()
    write_graph(graph_of(model), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    boxes, _ = session.run(["boxes", "scores"], {"image": np.zeros((200, 700, 3), np.uint8)})
    assert boxes.shape[1] == 4


def test_the_weights_in_the_file_are_those_of_torch(tmp_path):
    """Both are rounded once, after batch norms with statistics of their own are folded into the convolutions."""
    torch.manual_seed(0)
    model = FasterRCNN(tiny_recipe(image_size=640)).eval()
    norms = [norm for *_, norm in normed_convolutions(model)]
    for norm in norms:
        for tensor in (norm.weight, norm.running_var):
            nn.init.uniform_(tensor, 0.5, 2.0)
        for tensor in (norm.bias, norm.running_mean):
            nn.init.normal_(tensor, std=0.1)
    image = torch.rand(1, 3, 256, 320) * 255
    before = list(model.features(image).values())
    round_weights(model)
    after = list(model.features(image).values())
    write_graph(graph_of(model), tmp_path / "model.onnx")
    stored = dict(stored_tensors(onnx.load(tmp_path / "model.onnx").graph))
    assert norms
    for name, convolution, *_ in normed_convolutions(model):
        torch.testing.assert_close(stored[f"{name}.weight"], convolution.weight.data, rtol=0, atol=0)
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-2)
