"""Recipes: those that are shipped, the constants of the notes, and what is said of a bad one."""

import math
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from tiny_recipe import tiny_recipe as joint_recipe
from tiny_run import TINY, tiny_recipe, tiny_toml
from wheatear.errors import InputError
from wheatear.train.opening import refuse_short
from wheatear.train.recipe import CNNStage, Recipe, RPNStage, load_recipe, shipped, validated


def complaint(name: str | Path) -> str:
    """What load_recipe says of a bad recipe: one line that begins with its name."""
    with pytest.raises(InputError) as caught:
        load_recipe(name)
    message = str(caught.value)
    assert message.removeprefix("recipe ").startswith(f"{name}: ")
    assert "\n" not in message
    return message


def number_of_anchors(recipe: Recipe) -> int:
    cells = recipe.image_size // recipe.rpn.strides[0]
    (level,) = recipe.rpn.anchors()
    return len(level.grid(cells, cells, torch.device("cpu")))


def test_the_recipes_that_are_shipped():
    assert {"seed", "seed-512"} <= set(shipped())


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_recipe_is_valid_and_named_as_its_file(name):
    assert load_recipe(name).name == name


def test_the_guide_says_how_many_photos_a_recipe_wants():
    def is_enough(name: str, photos: int) -> bool:
        try:
            refuse_short(load_recipe(name), photos, devices=1)
        except InputError:
            return False
        return True

    small, tiny, medium, polish = (
        next(photos for photos in range(1, 1000) if is_enough(name, photos))
        for name in ("small", "tiny", "medium", "polish")
    )
    guide = (Path(__file__).parents[1] / "docs" / "training.md").read_text(encoding="utf-8")
    says = f"Tiny wants {tiny} train photos or more, small {small}, medium {medium} and `polish` {polish}"
    assert says in " ".join(guide.split())


def test_seed_is_the_notes_backbone():
    backbone = load_recipe("seed").backbone
    assert backbone.channels == [[16], [32, 32], [64, 64], [128, 128], [256, 256], [512]]
    assert backbone.dropout == 0.2


def test_seed_is_the_notes_cnn_stage():
    stage = load_recipe("seed").stages[0]
    assert isinstance(stage, CNNStage)
    assert (stage.snip_size, stage.max_per_class, stage.val_fraction) == (128, 12_000, 0.2)
    assert stage.val_by == "photo"
    assert (stage.optimizer, stage.batch_size, stage.epochs, stage.l2) == ("rmsprop", 64, 30, 1e-4)
    rates = [stage.lr_at(epoch) for epoch in range(30)]
    assert rates == [1e-3] * 20 + [5e-4] * 5 + [3e-4] * 5


def test_seed_is_the_notes_rpn_stage():
    recipe = load_recipe("seed")
    rpn, stage = recipe.rpn, recipe.stages[1]
    assert (rpn.strides[0], rpn.channels) == (32, 256)
    assert (rpn.ratios, rpn.scales) == ([0.6, 1, 2], [1, 1.5, 2])
    assert (rpn.fg_iou_thresh, rpn.bg_iou_thresh) == (0.7, 0.3)
    assert (rpn.batch_size_per_image, rpn.positive_fraction) == (256, 0.5)
    assert (rpn.pre_nms_top_n, rpn.nms_thresh, rpn.post_nms_top_n) == (1000, 0.7, 300)
    assert (stage.stage, stage.optimizer) == ("rpn", "adam")
    rates = [stage.lr_at(epoch) for epoch in range(stage.epochs)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < rates[0]


def test_seed_is_the_notes_rcnn_stage():
    recipe = load_recipe("seed")
    roi, stage = recipe.roi, recipe.stages[2]
    assert (roi.strides[0], roi.pool, roi.size, roi.channels) == (16, "crop_and_resize", 7, 1024)
    assert (roi.fg_iou_thresh, roi.bg_iou_thresh) == (0.5, 0.2)
    assert (roi.batch_size_per_image, roi.positive_fraction) == (256, 0.5)
    assert (stage.stage, stage.optimizer, stage.lr_at(0)) == ("rcnn", "adam", 2e-4)
    assert len(recipe.stages) == 3


@pytest.mark.parametrize(
    ("name", "size", "anchors", "snip"), [("seed", 1024, 9216, 128), ("seed-512", 512, 2304, 64)]
)
def test_the_scales_of_the_notes(name, size, anchors, snip):
    recipe = load_recipe(name)
    assert (recipe.image_size, recipe.stages[0].snip_size) == (size, snip)
    assert number_of_anchors(recipe) == anchors


def test_anchors_are_the_scales_times_the_stride():
    (level,) = load_recipe("seed").rpn.anchors()
    assert (level.stride, level.sizes, level.ratios) == (32, (32, 48, 64), (0.6, 1, 2))
    width, height = (level.cell()[:, 2:] - level.cell()[:, :2]).unbind(1)
    assert math.isclose(width[0] * height[0], 32**2, rel_tol=1e-5)
    assert math.isclose(height[0] / width[0], 0.6, rel_tol=1e-5)


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 1e-3), (19, 1e-3), (20, 5e-4), (24, 5e-4), (25, 3e-4), (99, 3e-4)]
)
def test_lr_at(epoch, rate):
    steps = [(0, 1e-3), (20, 5e-4), (25, 3e-4)]
    stage = RPNStage(stage="rpn", batch_size=1, epochs=30, optimizer="adam", lr=steps)
    assert stage.lr_at(epoch) == rate


def test_a_file_or_a_name():
    assert load_recipe(str(TINY)) == load_recipe(TINY) == tiny_recipe()


def test_a_recipe_survives_json():
    recipe = load_recipe("seed")
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


def test_a_name_that_is_not_shipped_lists_those_that_are():
    assert "seed, seed-512" in complaint("sead")


def test_a_file_that_is_missing(tmp_path):
    assert "No such file" in complaint(tmp_path / "none.toml")


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "photo.toml").write_bytes(b"\xff\xd8\xff")
    assert "cannot be read" in complaint(tmp_path / "photo.toml")


def test_a_file_with_a_byte_order_mark(tmp_path):
    path = tiny_toml(tmp_path)
    path.write_text(path.read_text("utf-8"), "utf-8-sig")
    assert load_recipe(path) == load_recipe(TINY)


def test_a_file_that_is_no_toml(tmp_path):
    path = tiny_toml(tmp_path, ("seed = 1", "seed 1"))
    assert "not TOML: " in complaint(path)
    assert "line 3" in complaint(path)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("seed = 1", "seed = 1\nsize = 3", "size"),
        ("dropout = 0.2", "drop_out = 0.2", "backbone.notes.dropout"),
        ("dropout = 0.2", "dropout = 0.2\nmomentum = 1", "backbone.notes.momentum"),
        ("snip_size = 32", "snip_size = 32\nsnips = 3", "stages.0.cnn.snips"),
        ("[detection]", "[detections]", "detection"),
        ("seed = 1", 'seed = "one"', "seed"),
        ("image_size = 1024", "image_size = 0", "image_size"),
        ("image_size = 1024", "image_size = 1024.5", "image_size"),
        ("dropout = 0.2", "dropout = 1.5", "backbone.notes.dropout"),
        ("std = [0.229, 0.224, 0.225]", "std = [0.229, 0.224]", "backbone.notes.std.2"),
        ("std = [0.229, 0.224, 0.225]", "std = [0.229, 0.224, 0.0]", "backbone.notes.std.2"),
        ('pool = "crop_and_resize"', 'pool = "max"', "roi.pool"),
        ('name = "notes"', 'name = "resnet"', "backbone"),
        ("fg_iou_thresh = 0.7", "fg_iou_thresh = 7", "rpn.fg_iou_thresh"),
        ("detections_per_img = 500", "detections_per_img = 499", "detection.detections_per_img"),
        ("[detection]", "[detection]\nmargin = -0.01", "detection.margin"),
        ("[detection]", "[detection]\nmargin = 0.21", "detection.margin"),
        ("[detection]", "[detection]\nmargin = nan", "detection.margin"),
        ("[detection]", '[detection]\nmargin = "1 %"', "detection.margin"),
        ("std = [0.229, 0.224, 0.225]", "std = [0.229, 0.224, inf]", "backbone.notes.std.2"),
        ("lr = [[0, 2e-4]]", "lr = [[0, inf]]", "stages.2.rcnn.lr.0.1"),
        ("fg_iou_thresh = 0.7", "fg_iou_thresh = 0.0", "rpn.fg_iou_thresh"),
        ("fg_iou_thresh = 0.7", "fg_iou_thresh = 0.2", "rpn"),
        ('stage = "cnn"', 'stage = "ccn"', "stages.0"),
        ('optimizer = "rmsprop"', 'optimizer = "sgd"', "stages.0.cnn.optimizer"),
        ("lr = [[0, 2e-4]]", "lr = []", "stages.2.rcnn.lr"),
        ("lr = [[0, 2e-4]]", "lr = [[0, -2e-4]]", "stages.2.rcnn.lr.0.1"),
        ("lr = [[0, 2e-4]]", "lr = [[1, 2e-4]]", "stages.2.rcnn"),
        ("lr = [[0, 1e-3], [1, 5e-4]]", "lr = [[0, 1e-3], [9, 5e-4], [3, 1e-4]]", "stages.0.cnn"),
        ("\nl2 = 1e-4", "\nl2 = -1e-4", "stages.0.cnn.l2"),
        ("lr = [[0, 1e-3], [1, 5e-4]]", "lr = [[0, 1e-3], [0, 5e-4]]", "stages.0.cnn"),
        ('name = "tiny"', 'name = "../tiny"', "name"),
        ('name = "tiny"', 'name = ""', "name"),
        ("dropout = 0.2", "dropout = 1.0", "backbone.notes.dropout"),
        ("batch_size_per_image = 32", "batch_size_per_image = 1", "roi"),
        ("snip_size = 32", "snip_size = 32\nstretch = 0.5", "stages.0.cnn.stretch"),
        ("snip_size = 32", "snip_size = 32\nhard_negatives = 1.5", "stages.0.cnn.hard_negatives"),
    ],
)
def test_a_key_that_is_wrong_is_named(tmp_path, old, new, key):
    path = tiny_toml(tmp_path, (old, new))
    named = complaint(path).removeprefix(f"{path}: ").split(": ")[0]
    assert named == key


def test_rates_that_do_not_begin_at_the_beginning(tmp_path):
    path = tiny_toml(tmp_path, ("lr = [[0, 2e-4]]", "lr = [[1, 2e-4]]"))
    assert "lr must begin at epoch 0" in complaint(path)


def test_anchors_that_the_window_cannot_see_are_refused_with_the_reason(tmp_path):
    # 2.2 strides of 32 px with ratio 2: 70.4·√2 = 99.6 px, more than 3 · 32 = 96 px; with 2.1 it is 95 px.
    path = tiny_toml(tmp_path, ("scales = [1.0, 1.5, 2.0]", "scales = [1.0, 2.2]"))
    message = complaint(path)
    assert "anchor of 50×100 px" in message
    assert "longer than 3 strides of 32 px" in message
    assert "the 3×3 window cannot see" in message
    assert (
        load_recipe(tiny_toml(tmp_path, ("scales = [1.0, 1.5, 2.0]", "scales = [1.0, 2.1]"))).rpn.scales[1]
        == 2.1
    )


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("[rpn]\nstrides = [32]", "[rpn]\nstrides = [64]", "rpn"),
        ("[roi]\nstrides = [16]", "[roi]\nstrides = [64]", "roi"),
        ("snip_size = 32", "snip_size = 40", "stages"),
        ('[[stages]]\nstage = "rpn"', '[[stages]]\nstage = "rcnn"', "stages"),
        ("[[4], [4], [8], [8], [8], [16]]", "[[4], [4], [8], [8], [16], []]", "backbone.notes.channels"),
        ("[[4], [4], [8], [8], [8], [16]]", "[]", "backbone.notes.channels"),
        ("scales = [1.0, 1.5, 2.0]", "scales = []", "rpn.scales"),
        ("seed = 1", "seed = -1", "seed"),
        ("image_size = 1024", "image_size = 1000", "image_size"),
        ("score_floor = 0.02", "score_floor = 0", "detection.score_floor"),
        ("val_fraction = 0.3", "val_fraction = 0", "stages.0.cnn.val_fraction"),
        ("[roi]", "[pyramid]\nchannels = 8\n[roi]", 'a [pyramid] needs roi.pool = "roi_align"'),
        ("\nsize = 7", "\nsize = 1", 'roi.pool = "crop_and_resize" needs a size of 2 or more'),
        ("[roi]", '[roi]\nquality = "iou"', 'roi.quality = "iou" needs a [pyramid]'),
        ("[roi]", "[roi]\nsampling_ratio = 1", 'roi.sampling_ratio is for roi.pool = "roi_align"'),
        (
            "[roi]",
            '[roi]\nbox_loss = "giou"',
            "roi: quality, box_loss and box_loss_weight are for joint stages",
        ),
    ],
)
def test_a_detector_that_cannot_be_built_or_trained_is_refused(tmp_path, old, new, key):
    assert f": {key}" in complaint(tiny_toml(tmp_path, (old, new)))


@pytest.mark.parametrize("scale", [[1.4, 0.7], [0.01, 1.0], [1.0, 20.0]])
def test_scales_that_no_photo_can_have(scale):
    changed = {"augment": {"crop": 128, "scale": scale}}
    with pytest.raises(ValueError, match=r"the smaller first, both between 0.1 and 10"):
        joint_recipe(changed)


def test_a_recipe_has_a_stage_and_a_seed_that_torch_knows():
    for part in ({"stages": []}, {"seed": 2**31}):
        with pytest.raises(ValidationError):
            Recipe.model_validate(joint_recipe().model_dump(mode="json") | part)


def test_a_pyramid_is_of_joint_stages_and_has_each_level_once():
    content = joint_recipe().model_dump(mode="json")
    apart = load_recipe("seed").model_dump(mode="json")["stages"]
    with pytest.raises(InputError, match=r"a \[pyramid\] is trained by joint stages alone"):
        validated({**content, "stages": apart[:1]}, "recipe")
    content["rpn"]["strides"].append(content["rpn"]["strides"][0])
    with pytest.raises(InputError, match="strides: give each once"):
        validated(content, "recipe")


@pytest.mark.parametrize(("part", "strides"), [("rpn", [8, 16, 32, 64]), ("roi", [2, 4, 8])])
def test_maps_that_no_pretrained_backbone_has(part, strides):
    content = load_recipe("small").model_dump(mode="json")
    content[part]["strides"] = strides
    with pytest.raises(InputError, match=rf"{part}: no map of stride \d+; the backbone has \[4, 8, 16, 32\]"):
        validated(content, "small")


@pytest.mark.parametrize("stages", [["rpn"], ["rcnn"], ["cnn", "rcnn"], ["rpn", "rcnn"]])
def test_stages_that_lack_one_before_them(tmp_path, stages):
    content = load_recipe(tiny_toml(tmp_path)).model_dump(mode="json")
    content["stages"] = [stage for stage in content["stages"] if stage["stage"] in stages]
    with pytest.raises(InputError, match="give cnn, rpn, rcnn in this order"):
        validated(content, "tiny")
