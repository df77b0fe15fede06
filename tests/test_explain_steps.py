"""The pictures of the stages: their numbers against the parts that made them, and what they draw."""

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from untrained_run import tiny_recipe, write_untrained_run
from wheatear.data.sample import Sample
from wheatear.errors import InputError
from wheatear.explain.anchors import anchor_boxes, middle_cell
from wheatear.explain.architecture import layers
from wheatear.explain.channels import feature_maps, strongest_channels
from wheatear.explain.classifier import class_map, cut_snips, head_probability, slide, snips
from wheatear.explain.drawing import caption_of
from wheatear.explain.history import curves, read_history
from wheatear.explain.labels import label_anchors, labelling, training_samples
from wheatear.explain.look import TrainedRun
from wheatear.explain.proposals import before_nms, best_of_cells, best_regions, recall_by_number
from wheatear.explain.receptive import arithmetic, measure, receptive_field, side_holding
from wheatear.explain.regions import aligned_points, box_regression, pooled_crop, sample_points, spread
from wheatear.train.anchors import AnchorLevel
from wheatear.train.dataset import to_tensor
from wheatear.train.roi import crop_and_resize, roi_align, to_rois

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    return TrainedRun(write_untrained_run(tmp_path_factory.mktemp("run") / "tiny", tiny_recipe()))


def labels_of(figure: Figure) -> list[str]:
    """The texts of all legends."""
    boxes = [axes.get_legend() for axes in figure.axes]
    return [text.get_text() for box in boxes if box for text in box.get_texts()]


def outlines(figure: Figure, panel: int) -> list[int]:
    """How many boxes each call drew on a panel."""
    return [len(c.get_paths()) for c in figure.axes[panel].collections if isinstance(c, LineCollection)]


def test_the_diagram_has_the_shapes_of_this_photo(run: TrainedRun, sample: Sample):
    shown = {text.get_text() for text in layers(run, sample).axes[0].texts}
    assert {"3 × 256 × 256", "8 × 16 × 16", "8 × 8 × 8", "9 and 36 × 8 × 8", "576 × 4", "200 × 4"} <= shown
    proposals = len(run.look(sample).proposals[0])
    assert {f"{proposals} × 8 × 7 × 7", f"{proposals} × 2 and {proposals} × 4"} <= shown
    weights = sum(p.numel() for p in run.model.parameters())
    assert f"{weights:,} weights" in caption_of(layers(run, sample))


def test_snips_are_those_of_the_training_with_their_probability(run: TrainedRun, sample: Sample):
    look = run.look(sample)
    cut, labels = cut_snips(look, 64)
    probability = head_probability(run.model, cut)
    first = run.model.classify(to_tensor(cut[0])).softmax(1)[0, 1].item()
    assert probability[0] == pytest.approx(first, abs=1e-6)
    figure = snips(run, sample)
    wrong = ((probability > 0.5) != labels).sum()
    assert f"{labels.sum()} centred on a head (of {len(sample.boxes)};" in caption_of(figure)
    assert f"{len(labels) - wrong} of {len(labels)} right" in caption_of(figure)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert len(titles) == sum(min(8, n) for n in (labels.sum(), (labels == 0).sum(), wrong))


def test_the_class_map_of_one_snip_is_the_classifier(run: TrainedRun, sample: Sample):
    snip = run.look(sample).image[:64, :64]
    maps = run.model.backbone(to_tensor(snip))[32].detach()
    np.testing.assert_allclose(
        slide(run.model, maps, 2)[0, 0], head_probability(run.model, snip[None])[0], atol=1e-6
    )
    assert slide(run.model, maps, 3).size == 0


def test_the_class_map_lies_in_the_middle_of_its_snips(run: TrainedRun, sample: Sample):
    figure = class_map(run, sample)
    heat = figure.axes[1].images[1]
    assert heat.get_array().shape == (7, 7)
    assert heat.get_extent() == [16, 240, 240, 16]


def test_the_strongest_channels_vary_most():
    maps = torch.stack(
        [torch.full((2, 2), 9.0), torch.tensor([[0.0, 1], [0, 1]]), torch.tensor([[0.0, 3], [0, 3]])]
    )
    assert strongest_channels(maps, 2).tolist() == [2, 1]


def test_feature_maps_show_the_map_itself(run: TrainedRun, sample: Sample):
    figure = feature_maps(run, sample)
    maps = run.look(sample).maps[32][0]
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == 8
    channel = int(shown[0].get_title().split()[1])
    np.testing.assert_array_equal(shown[0].images[0].get_array(), maps[channel])


def test_curves_plot_the_history(run: TrainedRun, sample: Sample):
    figure = curves(run, sample)
    panel = next(axes for axes in figure.axes if axes.get_title() == "cnn: accuracy")
    train, val = panel.lines
    np.testing.assert_array_equal(train.get_ydata(), [0.7, 0.8])
    np.testing.assert_array_equal(val.get_ydata(), [0.6, 0.75])
    assert "cnn: 2 epochs in 20 s, at the end on val accuracy 0.750." in caption_of(figure)


def test_the_receptive_field_of_the_notes_by_arithmetic():
    notes = arithmetic([[16], [32, 32], [64, 64], [128, 128], [256, 256], [512]])
    assert notes == {1: 3, 2: 12, 4: 30, 8: 66, 16: 138, 32: 218}


def test_no_pixel_beyond_the_arithmetic_changes_a_cell(run: TrainedRun, sample: Sample):
    look = run.look(sample)
    side = arithmetic(run.model.recipe.backbone.channels)[32]
    cell, score = measure(look, "cell", 0, side), measure(look, "score", 0, side + 64)
    assert 0 < max(cell.span) <= side
    assert max(cell.span) < max(score.span) <= side + 64
    assert cell.side <= max(cell.span) + 1
    xs = np.nonzero(cell.gradient)[1]
    assert abs(xs.mean() - cell.centre[0]) < 20
    assert f"{cell.span[0]}×{cell.span[1]}" in caption_of(receptive_field(run, sample))


def test_the_square_that_holds_a_share():
    ring = np.zeros((9, 9))
    ring[4, 4], ring[2, 4] = 6, 4
    assert side_holding(ring, (4.5, 4.5), 0.5) == 1
    assert side_holding(ring, (4.5, 4.5), 0.9) == 5
    assert side_holding(np.zeros((9, 9)), (4.5, 4.5), 0.9) == 0


def test_the_middle_cell_and_its_window():
    anchors, window = middle_cell(AnchorLevel(32, (32.0, 48.0, 64.0), (0.6, 1.0, 2.0)), (8, 8))
    np.testing.assert_array_equal(window, [96, 96, 192, 192])
    np.testing.assert_allclose((anchors[:, :2] + anchors[:, 2:]) / 2, 144, atol=1e-4)
    assert (anchors[:, :2] >= window[:2]).all()
    assert (anchors[:, 2:] <= window[2:]).all()


def test_anchors_are_drawn_each_once(run: TrainedRun, sample: Sample):
    figure = anchor_boxes(run, sample)
    kept = outlines(figure, 2)[0]
    assert outlines(figure, 0) == [9, len(sample.boxes), 1]
    assert outlines(figure, 1) == [576 - kept, kept]
    assert f"576 anchors in all; {576 - kept} cross the photo's border" in caption_of(figure)


def test_labelling_before_and_after_sampling(run: TrainedRun, sample: Sample):
    labelled = label_anchors(run.look(sample))
    figure = labelling(run, sample)
    found = labels_of(figure)
    counts = [int((labelled.labels == label).sum()) for label in (1, 0, -1)]
    for name, count in zip(("foreground", "background", "ignored"), counts, strict=True):
        assert f"{name} ({count})" in found
    assert len(labelled.fg_idx) + len(labelled.bg_idx) == 32
    assert f"background ({len(labelled.bg_idx)})" in found
    best_of_heads = labelled.labels[labelled.iou == labelled.iou.max()]
    assert (best_of_heads == 1).all()


def test_training_samples_show_anchor_window_and_head(run: TrainedRun, sample: Sample):
    labelled = label_anchors(run.look(sample))
    figure = training_samples(run, sample)
    shown = min(4, len(labelled.fg_idx))
    assert [outlines(figure, i) for i in range(shown)] == [[1, 1, 1]] * shown
    assert [outlines(figure, i) for i in range(4, 8)] == [[1, 1]] * 4
    window = labelled.windows[labelled.fg_idx[0]]
    assert (window[2:] - window[:2]).tolist() == [96, 96]


def test_recall_grows_with_the_regions():
    heads = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10]])
    regions = torch.tensor([[50.0, 50, 60, 60], [0, 0, 10, 10], [0, 0, 10, 8], [20, 0, 30, 6]])
    assert recall_by_number(regions, heads, 0.5).tolist() == [0, 0.5, 0.5, 1]
    assert recall_by_number(regions, heads, 0.7).tolist() == [0, 0.5, 0.5, 0.5]
    assert recall_by_number(regions[:0], heads, 0.5).shape == (0,)


def test_regions_before_and_after_the_nms(run: TrainedRun, sample: Sample):
    look = run.look(sample)
    before, after = before_nms(look), look.proposals[0]
    assert len(before) == 200
    assert all(any(torch.equal(box, other) for other in before) for box in after)
    figure = best_regions(run, sample)
    assert outlines(figure, 1) == [200, len(sample.boxes)]
    assert outlines(figure, 2) == [len(after), len(sample.boxes)]
    (best,) = best_of_cells(look, look.scored[0])
    np.testing.assert_allclose(figure.axes[0].images[1].get_array(), best)
    assert best.max() == pytest.approx(look.scored[0].max().sigmoid().item())


def test_samples_are_taken_where_the_picture_says():
    """Maps whose values are the x and the y of their cells' middles give back where they were sampled."""
    stride, cells = 16, torch.arange(20.0)
    middles = (cells + 0.5) * stride
    maps = torch.stack([middles.expand(20, 20), middles[:, None].expand(20, 20)])[None]
    box = torch.tensor([70.0, 40, 200, 150])
    rois = to_rois([box[None]])

    for crops, points in (
        (crop_and_resize(maps, rois, stride)[0], sample_points(box, maps, stride, 7)),
        (roi_align(maps, rois, stride)[0], aligned_points(box, 7)),
    ):
        np.testing.assert_allclose(crops[0, 0], points[:, 0], atol=0.01)
        np.testing.assert_allclose(crops[1, :, 0], points[:, 1], atol=0.01)


def test_both_crops_of_one_region_are_shown(run: TrainedRun, sample: Sample):
    figure = pooled_crop(run, sample)
    crops = [np.asarray(axes.images[0].get_array()) for axes in figure.axes if "channel" in axes.get_title()]
    assert [crop.shape for crop in crops] == [(7, 7)] * 6
    assert "This run uses crop_and_resize" in caption_of(figure)


def test_regions_are_shown_where_the_head_moves_them(run: TrainedRun, sample: Sample):
    figure = box_regression(run, sample)
    look = run.look(sample)
    best = int(look.judged.scores.argmax())
    drawn = [c.get_paths()[0].vertices for c in figure.axes[0].collections if isinstance(c, LineCollection)]
    np.testing.assert_allclose(drawn[-2].min(0), look.proposals[0][best, :2], atol=1e-4)
    np.testing.assert_allclose(drawn[-1].min(0), look.judged.boxes[best, :2], atol=1e-4)
    assert f"score {look.judged.scores[best]:.2f}" in figure.axes[0].get_title()


def test_spread_takes_boxes_that_do_not_overlap():
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 5, 15, 15], [20, 0, 30, 10], [40, 0, 50, 10]])
    assert spread(boxes, torch.tensor([1, 0, 3, 2]), 2) == [1, 3]


@pytest.mark.parametrize("step", [snips, labelling, training_samples, best_regions, box_regression])
def test_a_photo_without_heads(step, run: TrainedRun, bare_sample: Sample):
    assert len(bare_sample.boxes) == 0
    figure = step(run, bare_sample)
    figure.canvas.draw()
    assert caption_of(figure)
    assert len(label_anchors(run.look(bare_sample)).fg_idx) == 0


@pytest.mark.parametrize(
    "content", ["", "epoch,train_loss\n", "epoch,train_loss\n1,none\n", "epoch,train_loss\n1,2,3\n"]
)
def test_a_history_that_is_none_is_named(tmp_path, content):
    path = tmp_path / "metrics.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=r"metrics\.csv: .*; train the stage again"):
        read_history(path)
