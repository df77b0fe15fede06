"""The head without regions: what each cell shall say, what it says of boxes, and a detector that finds by it."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.ops import box_iou

from test_from_onnx import random_model, write_exported
from tiny_recipe import tiny_recipe
from wheatear.data.formats import read_dataset
from wheatear.detections import Detections
from wheatear.detector import load
from wheatear.errors import InputError
from wheatear.explain.look import shipped_network
from wheatear.train.dense import DenseHead, Seen, cell_centres, chosen_cells, edge_errors
from wheatear.train.export import BOX_TOLERANCE, SCORE_TOLERANCE, export_detector, found_by_torch, gap
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.fit import Machine
from wheatear.train.from_onnx import exported_network
from wheatear.train.opening import open_run
from wheatear.train.recipe import Recipe
from wheatear.train.run import train_run
from wheatear.train.start import load_start

torch.set_num_threads(1)

DENSE = {"strides": [8, 16, 32], "channels": 8, "bins": 9}
ALONE = tiny_recipe().detection.model_dump() | {"by": "dense", "vote_iou": 0.75, "margin": 0.02}


def dense_recipe(stage: dict[str, object] | None = None, *, alone: bool, image_size: int = 2048) -> Recipe:
    detection = ALONE if alone else tiny_recipe().detection.model_dump()
    return tiny_recipe(stage, dense=DENSE, detection=detection, image_size=image_size)


def test_cells_are_counted_row_by_row():
    centres = cell_centres(2, 3, 8, torch.device("cpu"))
    assert centres.tolist() == [[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12]]


def test_an_edge_lies_at_the_mean_of_its_distribution():
    head = DenseHead(4, [8, 16], 4, 1, 5)
    edges = torch.full((2, 4, 5), -50.0)
    edges[0, range(4), [0, 1, 2, 3]] = 50  # sure
    edges[1, :, :2] = 50  # between 0 and 1
    boxes = head.boxes(edges, torch.tensor([[20.0, 36.0], [40.0, 40.0]]), torch.tensor([8.0, 16.0]))
    torch.testing.assert_close(boxes, torch.tensor([[20.0, 28, 36, 60], [32, 32, 48, 48]]))


def test_every_head_has_its_best_cells():
    centres = cell_centres(6, 6, 8, torch.device("cpu"))
    gt = torch.tensor([[0.0, 0, 24, 24], [16, 16, 40, 40]])
    boxes = torch.cat([centres - 11, centres + 11], 1)
    scores = torch.linspace(0.2, 0.8, len(centres))
    index, wanted = chosen_cells(scores, boxes, centres, gt, candidates=3)
    iou = box_iou(boxes, gt)
    for number in range(2):
        own = torch.where(index == number)[0]
        assert 1 <= len(own) <= 3
        inside = (centres[own] > gt[number, :2]) & (centres[own] < gt[number, 2:])
        assert inside.all()
        assert wanted[own].max() == pytest.approx(float(iou[own, number].max()))
        assert (iou[own, number] >= iou[own, 1 - number]).all()  # of two heads that of the better fit
    assert (wanted[index < 0] == 0).all()
    assert (wanted[index >= 0] > 0).all()


def test_a_sure_cell_is_chosen_of_those_that_fit_alike():
    centres = cell_centres(1, 2, 8, torch.device("cpu"))
    boxes = torch.tensor([[0.0, 0, 16, 8]]).repeat(2, 1)
    index, wanted = chosen_cells(torch.tensor([0.3, 0.6]), boxes, centres, boxes[:1], candidates=1)
    assert index.tolist() == [-1, 0]
    assert wanted.tolist() == pytest.approx([0, 1])


def test_without_heads_nothing_is_wanted():
    index, wanted = chosen_cells(torch.rand(6), torch.rand(6, 4), torch.rand(6, 2), torch.zeros(0, 4))
    assert index.tolist() == [-1] * 6
    assert wanted.tolist() == [0] * 6


def test_the_error_of_an_edge_is_least_at_the_truth():
    lengths = torch.tensor([[1.25, 0.0, 7.0, 99.0]])
    true = torch.full((1, 4, 5), 1e-9)
    true[0, 0, 1:3] = torch.tensor([0.75, 0.25])
    true[0, 1, 0] = true[0, 2:, 4] = 1
    errors = edge_errors(true.log(), lengths)[0]
    assert errors[0] == pytest.approx(0.5623, abs=1e-3)  # the entropy of 0.75 and 0.25
    assert errors[1:].tolist() == pytest.approx([0, 0, 0], abs=0.03)  # beyond the last bin: as there
    for other in (torch.zeros(1, 4, 5), true.roll(1, 2).log()):
        assert (edge_errors(other, lengths)[0] > errors).all()


def seen_by(head: DenseHead, gt: Tensor) -> Seen:
    """What a head would say that has learned everything of one photo of 96 × 96 px."""
    maps = {stride: torch.zeros(1, 4, 96 // stride, 96 // stride) for stride in head.strides}
    seen = head(maps)
    lengths = torch.stack(
        [torch.cat([seen.centres - box[:2], box[2:] - seen.centres], 1) / seen.strides[:, None] for box in gt]
    )
    fits = (lengths > 0).all(2) & (lengths < head.bins - 1).all(2)
    which = fits.int().argmax(0)
    lengths = lengths[which, torch.arange(len(which))].clamp(0, head.bins - 1)
    low = lengths.floor().long().clamp(max=head.bins - 2)
    edges = torch.full_like(seen.edges[0], -1e4)
    share = (lengths - low).clamp(1e-6, 1 - 1e-6)
    edges.scatter_(2, low[..., None], (1 - share).log()[..., None])
    edges.scatter_(2, low[..., None] + 1, share.log()[..., None])
    return seen._replace(logits=torch.where(fits.any(0), 3.0, -9.0)[None], edges=edges[None])


def test_what_is_learned_is_found():
    head = DenseHead(4, [8, 16], 4, 1, 9)
    gt = torch.tensor([[6.0, 9, 42, 40], [50, 44, 92, 90]])
    seen = seen_by(head, gt)
    settings = {"score_thresh": 0.1, "nms_thresh": 0.5, "detections_per_img": 500, "min_size": 2.0}
    for margin, vote_iou in ((0.0, 1.0), (0.0, 0.75), (0.1, 1.0)):
        boxes, scores = head.detect(seen, (96, 96), **settings, vote_iou=vote_iou, margin=margin)
        grown = margin * (gt[:, 2:] - gt[:, :2])
        expected = torch.cat([gt[:, :2] - grown, gt[:, 2:] + grown], 1).clamp(0, 96)
        torch.testing.assert_close(boxes[boxes[:, 0].argsort()], expected, atol=0.02, rtol=0)
        assert scores.tolist() == pytest.approx([0.976] * 2, abs=1e-3)  # the root of sigmoid(3)
    boxes, scores = head.detect(seen, (96, 96), **settings | {"score_thresh": 0.99}, vote_iou=0.75, margin=0)
    assert (boxes.shape, scores.shape) == ((0, 4), (0,))


def test_losses_teach_and_need_no_heads():
    torch.manual_seed(0)
    head = DenseHead(4, [8, 16], 4, 1, 9)
    maps = {8: torch.randn(2, 4, 12, 12), 16: torch.randn(2, 4, 6, 6)}
    heads = [torch.tensor([[6.0, 9, 42, 40], [50, 44, 92, 90]]), torch.zeros(0, 4)]
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    totals = []
    for _ in range(30):
        losses = head.losses(head(maps), heads)
        totals.append(sum(loss.item() for loss in losses.values()))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert totals[-1] < 0.5 * totals[0]
    none = head.losses(head(maps), [torch.zeros(0, 4)] * 2)
    assert none["loss_dense_score"] > 0
    assert (none["loss_dense_box"], none["loss_dense_edges"]) == (0, 0)


# in a detector


def samples(field_dir: Path):
    read = read_dataset(field_dir)
    return [replace(s, photo=s.name, split="val" if i < 2 else "train") for i, s in enumerate(read)]


@pytest.mark.parametrize("alone", [True, False])
def test_it_is_trained_along_or_alone(field_dir, tmp_path, alone):
    recipe = dense_recipe(alone=alone)
    train_run(open_run(tmp_path / "run", recipe, samples(field_dir), machine=Machine(accelerator="cpu")))
    with (tmp_path / "run" / "joint" / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    losses = [key for key in rows[0] if key.startswith("train_loss_dense")]
    assert len(losses) == 3
    assert ("train_loss_objectness" in rows[0]) is not alone
    assert all(float(row[key]) > 0 for row in rows for key in losses)
    weights = load_file(tmp_path / "run" / "joint" / "weights.safetensors")
    assert any(name.startswith("dense.") for name in weights)
    assert any(name.startswith("rpn.") for name in weights) is not alone


def random_dense(image_size: int) -> FasterRCNN:
    model = random_model(dense_recipe(alone=True, image_size=image_size))
    for layer in (model.dense.scores, model.dense.edges):
        nn.init.normal_(layer.weight, std=0.5)
    return model


@pytest.fixture(scope="module")
def exported(field_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model.onnx of a run whose dense head says something."""
    folder = tmp_path_factory.mktemp("dense")
    recipe = dense_recipe({"epochs": 1, "warmup_steps": 0}, alone=True, image_size=640)
    run = open_run(folder / "run", recipe, samples(field_dir), machine=Machine(accelerator="cpu"))
    train_run(run)
    model = random_dense(640)
    weights = {
        k: v.contiguous() for k, v in model.state_dict().items() if k.split(".")[0] not in model.idle()
    }
    save_file(weights, folder / "run" / "joint" / "weights.safetensors")
    export_detector(folder / "run", folder / "run" / "model.onnx")
    return folder / "run" / "model.onnx"


@pytest.mark.parametrize("shape", [(24, 24), (256, 320), (301, 177), (1100, 1500)])
def test_torch_and_onnxruntime_agree_at_any_size(exported, shape):
    model, _ = exported_network(exported)
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    ours, theirs = found_by_torch(model, image), load(exported, 1).run(image, 0.0)
    assert len(theirs) > 0
    for one, other in ((ours, theirs), (theirs, ours)):
        box, score = gap(one, other, 0.02).max(0)
        assert box <= BOX_TOLERANCE
        assert score <= SCORE_TOLERANCE


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize(
    ("before", "loaded"),
    [("dense", {"backbone", "pyramid", "dense"}), ("regions", {"backbone", "pyramid", "rpn", "roi_head"})],
)
def test_heads_that_the_start_has_not_begin_anew(exported, tmp_path, alone, before, loaded):
    torch.manual_seed(1)
    model = FasterRCNN(dense_recipe(alone=alone, image_size=640))
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    load_start(model, str(exported if before == "dense" else write_exported(tmp_path)))
    now = model.state_dict().items()
    assert {name.split(".")[0] for name, tensor in now if not torch.equal(tensor, start[name])} == loaded


def test_explain_says_that_there_are_no_regions(exported):
    with pytest.raises(InputError, match="tiny: finds heads without regions"):
        shipped_network(exported)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"detection": ALONE}, 'by = "dense" needs a table'),
        ({"dense": DENSE, "pyramid": None}, "pyramid"),
        ({"dense": DENSE, "detection": ALONE | {"suppression": "matrix", "vote_iou": 1.0}}, "suppression"),
        ({"dense": DENSE | {"bins": 1}}, "bins"),
        ({"dense": DENSE | {"strides": [8, 16]}}, r"dense: .* strides of the pyramid, \[8, 16, 32\]"),
    ],
)
def test_recipes_that_do_not_fit(changes, reason):
    with pytest.raises(ValidationError, match=reason):
        tiny_recipe(**changes)


def test_detections_are_the_photos_size():
    image = np.zeros((200, 300, 3), np.uint8)
    found = found_by_torch(random_dense(640), image)
    assert isinstance(found, Detections)
    assert ((found.boxes >= 0) & (found.boxes <= [300, 200, 300, 200])).all()
