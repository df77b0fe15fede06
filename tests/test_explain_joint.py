"""The pictures of a joint run: what they show of several levels, and that no photo stops them."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import box_iou

import untrained_run
from test_explain_steps import labels_of, outlines
from tiny_recipe import tiny_recipe
from wheatear.data.sample import Sample
from wheatear.errors import InputError
from wheatear.explain import found_heads, story
from wheatear.explain.anchors import anchor_boxes, best_anchors
from wheatear.explain.architecture import layers
from wheatear.explain.channels import feature_maps
from wheatear.explain.drawing import caption_of
from wheatear.explain.field import fields_by_structure
from wheatear.explain.history import curves
from wheatear.explain.labels import label_anchors, labelling, training_samples
from wheatear.explain.look import Network, TrainedRun
from wheatear.explain.part import cut_out, middle
from wheatear.explain.proposals import before_nms, best_of_cells, best_regions
from wheatear.explain.receptive import arithmetic, known_sides, measure, receptive_field
from wheatear.explain.regions import box_regression, pooled_crop
from wheatear.explain.seen import caveat, unlabelled
from wheatear.sized import LARGE_PHOTO
from wheatear.tiles import SIZE
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.pyramid import pyramid_roi_align
from wheatear.train.roi import to_rois

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _small_pictures(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(story, "DPI", 20)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    recipe = tiny_recipe(image_size=1024)
    return TrainedRun(untrained_run.write_untrained_run(tmp_path_factory.mktemp("run") / "joint", recipe))


def test_a_damaged_card_is_named(run: TrainedRun, tmp_path: Path):
    shutil.copytree(run.folder, tmp_path / "run")
    (tmp_path / "run" / "model.json").write_text("{}")
    with pytest.raises(InputError, match=r"model\.json"):
        TrainedRun(tmp_path / "run")


def told(run: TrainedRun, sample: Sample, out: Path, *missing: str) -> str:
    """The page of all the steps that a joint run can have."""
    titles = list(story.tell(run, sample, out, [story.CNN, *missing]))
    html = (out / "index.html").read_text("utf-8")
    assert html.count("<img") == len(titles)
    return html


def test_a_labelled_photo_shows_all_but_the_snips(run: TrainedRun, sample: Sample, tmp_path: Path):
    html = told(run, sample, tmp_path)
    assert html.count("Left out: ") == html.count(story.MISSING[story.CNN]) == 2


@pytest.mark.parametrize(
    "step", [anchor_boxes, labelling, training_samples, best_regions, box_regression, receptive_field]
)
def test_a_photo_without_heads(step, run: TrainedRun, bare_sample: Sample):
    assert len(bare_sample.boxes) == 0
    assert "nan" not in caption_of(step(run, bare_sample))
    assert len(label_anchors(run.look(bare_sample)).fg_idx) == 0


def test_a_strip_in_which_nothing_is_found(run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = replace(run.model.rpn.proposal_settings, min_size=1e6)
    monkeypatch.setattr(run.model.rpn, "proposal_settings", settings)
    Image.new("RGB", (300, 9)).save(tmp_path / "strip.png")
    strip = unlabelled(tmp_path / "strip.png")
    told(run, strip, tmp_path / "out", story.LABELS)
    for step, words in (
        (best_regions, "which leaves 0"),
        (pooled_crop, "no region was proposed"),
        (box_regression, "no region was proposed"),
        (found_heads, "0 detections"),
    ):
        assert words in caption_of(step(run, strip))


def test_of_a_large_photo_the_middle_is_explained(run: TrainedRun, tmp_path: Path):
    Image.new("RGB", (SIZE + 20, 100), "green").save(tmp_path / "large.png")
    boxes = np.array([[0, 0, 12, 30], [5, 10, 45, 50], [700, 10, 740, 50], [1280, 0, 1300, 9]], np.float32)
    large = replace(unlabelled(tmp_path / "large.png"), boxes=boxes)
    part = cut_out(large, middle(large))
    np.testing.assert_array_equal(part.boxes, [[0, 10, 35, 50], [690, 10, 730, 50]])
    assert run.look(large).image.shape == (100, SIZE, 3)
    caption = caption_of(story.steps.labelled_photo(run, large))
    assert f"{SIZE + 20}×100 px, of which the middle {SIZE}×100 px are explained; 2 heads" in caption


def test_a_larger_photo_has_more_regions(run: TrainedRun, tmp_path: Path):
    """1280² for 1024²: 156 of a level for 100, and at most 78 in all for 50."""
    Image.new("RGB", (SIZE, SIZE), "green").save(tmp_path / "large.png")
    large = unlabelled(tmp_path / "large.png")
    look = run.look(large)
    assert len(before_nms(look)) == 3 * 156
    assert {tuple(box) for box in look.proposals[0].tolist()} <= {tuple(b) for b in before_nms(look).tolist()}
    assert "(at most 78; " in caption_of(best_regions(run, large))
    assert "156 × 4" in [text.get_text() for text in layers(run, large).axes[0].texts]


def test_the_diagram_has_the_shapes_of_every_level(run: TrainedRun, sample: Sample):
    figure = layers(run, sample)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert {"8 × 32 × 32", "8 × 16 × 16", "8 × 8 × 8", "3 and 12 × 8 × 8", "3,072 × 4", "192 × 4"} <= set(
        texts
    )
    cut = [int((run.look(sample).region_strides == stride).sum()) for stride in (8, 16, 32)]
    assert f"roi_align ({cut[0]} of 8, {cut[1]} of 16, {cut[2]} of 32)" in texts
    assert "scores, predicted IoU, deltas" in texts


def test_the_diagram_tells_what_becomes_of_displaced_regions(sample: Sample):
    detection = {"vote_iou": 0.75, "margin": 0.0125, "nms_thresh": 0.5, "score_floor": 0.05}
    recipe = tiny_recipe(image_size=1024)
    recipe = recipe.model_copy(update={"detection": recipe.detection.model_copy(update=detection)})
    texts = [
        text.get_text() for text in layers(Network(FasterRCNN(recipe).eval(), 0.5), sample).axes[0].texts
    ]
    told = ["edges moved out by 1.25%", "score floor 0.05, NMS at IoU 0.5", "votes of boxes above IoU 0.75"]
    assert [text for text in texts if text in told] == told


def test_what_the_count_does_otherwise_is_told(run: TrainedRun, tmp_path: Path):
    Image.new("RGB", (LARGE_PHOTO, 60), "green").save(tmp_path / "large.png")
    said = "`wheatear count` resizes a photo of this size where its heads call for it"
    large = unlabelled(tmp_path / "large.png")
    assert caption_of(found_heads(run, large)).endswith(f"{said}, so its count may be another.")
    more = f"{said} and fuses several views of it (--tta mix), so its count may be another."
    assert caveat(large, "mix") == more
    assert caveat(replace(large, width=LARGE_PHOTO - 1)) == ""


def test_each_level_has_its_channels(run: TrainedRun, sample: Sample):
    figure, maps = feature_maps(run, sample), run.look(sample).maps
    assert [axes.images[0].get_array().shape for axes in figure.axes[::4]] == [(32, 32), (16, 16), (8, 8)]
    channel = int(figure.axes[4].get_title().split()[-1])
    np.testing.assert_array_equal(figure.axes[4].images[0].get_array(), maps[16][0, channel])


def test_the_field_by_structure_is_that_of_the_arithmetic():
    model = FasterRCNN(untrained_run.tiny_recipe())
    sides = arithmetic(model.recipe.backbone.channels)
    assert fields_by_structure(model, [16, 32]) == [(sides[s], sides[s] + 2 * s) for s in (16, 32)]


def test_no_pixel_beyond_the_structure_changes_a_level(run: TrainedRun, sample: Sample):
    sides = known_sides(run.look(sample))
    finest, coarsest = sides[0], sides[-1]
    assert finest[0] <= finest[1] < coarsest[0] < coarsest[1]
    for level, (cell, _) in enumerate(sides):
        assert 0 < max(measure(run.look(sample), "cell", level, cell).span) <= cell


def test_every_head_has_its_best_anchor_on_one_level(run: TrainedRun, sample: Sample):
    look = run.look(sample)
    anchors, iou, levels = best_anchors(look)
    everyone = box_iou(torch.from_numpy(look.boxes), torch.cat(look.anchors))
    np.testing.assert_array_equal(iou, everyone.amax(1))
    figure = anchor_boxes(run, sample)
    drawn = [outlines(figure, 3 + level) for level in range(3)]
    assert drawn == [[(levels == level).sum()] * 2 for level in range(3)]
    assert len(anchors) == len(sample.boxes)
    assert "cross the border and are trained like the others" in caption_of(figure)


def test_anchors_that_cross_the_border_are_labelled(run: TrainedRun, sample: Sample):
    labelled = label_anchors(run.look(sample))
    assert labelled.strides.unique(return_counts=True)[1].tolist() == [3072, 768, 192]
    sides = (labelled.windows[:, 2] - labelled.windows[:, 0]).tolist()
    assert sides == (3 * labelled.strides).tolist()
    figure = labelling(run, sample)
    assert f"foreground ({(labelled.labels == 1).sum()})" in labels_of(figure)
    assert f"{len(sample.boxes)} heads, 4,032 anchors: " in caption_of(figure)


def test_objectness_has_a_map_a_level(run: TrainedRun, sample: Sample):
    look = run.look(sample)
    best = best_of_cells(look, look.scored[0])
    assert [level.shape for level in best] == [(32, 32), (16, 16), (8, 8)]
    assert max(level.max() for level in best) == pytest.approx(look.scored[0].max().sigmoid().item())
    figure = best_regions(run, sample)
    for panel, level in zip(figure.axes, best, strict=False):
        np.testing.assert_array_equal(panel.images[1].get_array(), level)


def test_a_region_is_cut_from_the_level_of_its_size(run: TrainedRun, sample: Sample):
    look, head = run.look(sample), run.model.roi_head
    figure = pooled_crop(run, sample)
    chosen = int(caption_of(figure).split()[1]) - 1
    crop, _ = pyramid_roi_align(
        look.maps, to_rois([look.proposals[0][chosen : chosen + 1]]), head.cells, head.size
    )
    shown = next(axes for axes in figure.axes if axes.get_title().startswith("RoIAlign, channel"))
    channel = int(shown.get_title().split()[-1])
    np.testing.assert_allclose(shown.images[0].get_array(), crop[0, channel].detach(), atol=1e-6)
    assert f"the map of stride {look.region_strides[chosen]} (by their sizes" in caption_of(figure)


def test_the_strides_of_a_recipe_may_be_in_any_order(run: TrainedRun, sample: Sample, monkeypatch):
    look = run.look(sample)
    strides = look.region_strides
    recipe = look.model.recipe
    roi = recipe.roi.model_copy(update={"strides": recipe.roi.strides[::-1]})
    monkeypatch.setattr(look.model, "recipe", recipe.model_copy(update={"roi": roi}))
    assert torch.equal(look.region_strides, strides)


def test_scores_are_those_of_the_detections(run: TrainedRun, sample: Sample):
    look = run.look(sample)
    judged = look.judged
    np.testing.assert_allclose(judged.scores, (judged.likely * judged.fit).sqrt())
    assert np.isin(look.detections.scores, judged.scores.numpy()).all()
    figure = box_regression(run, sample)
    best = int(judged.scores.argmax())
    assert f"(p {judged.likely[best]:.2f}, f {judged.fit[best]:.2f})" in figure.axes[0].get_title()


def test_curves_show_what_was_measured_in_some_epochs_alone(run: TrainedRun, sample: Sample):
    figure = curves(run, sample)
    kaggle, quality = figure.axes
    np.testing.assert_array_equal(kaggle.lines[0].get_xydata(), [[2, 0.125]])
    np.testing.assert_array_equal(quality.lines[0].get_ydata(), [0.5, 0.25])
    assert "joint: 2 epochs in 20 s, at the end on val kaggle 0.125." in caption_of(figure)
