"""What a training starts from: a backbone, a detector of one's own, or one that was exported."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from test_from_onnx import write_exported
from tiny_recipe import tiny_recipe
from wheatear.data.formats import read_dataset
from wheatear.data.splits import split
from wheatear.detector import load
from wheatear.errors import InputError
from wheatear.files import write_json
from wheatear.images import open_photo
from wheatear.train.checkpoint import read_json, save_parts
from wheatear.train.dataset import to_tensor
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.from_onnx import exported_network
from wheatear.train.opening import open_run
from wheatear.train.recipe import load_recipe
from wheatear.train.rescale import rescale
from wheatear.train.run import train_run
from wheatear.train.run_card import describe_run
from wheatear.train.start import (
    as_started,
    changed_meaning,
    is_trained,
    load_start,
    of_card,
    start_file,
    with_network_of,
)
from wheatear.tta import ONCE

torch.set_num_threads(1)


def test_a_run_may_start_from_a_trained_detector(tmp_path):
    torch.manual_seed(1)
    trained, fresh = FasterRCNN(tiny_recipe()), FasterRCNN(tiny_recipe())
    save_parts(trained, [trained], tmp_path / "weights.safetensors")
    load_start(fresh, str(tmp_path / "weights.safetensors"))
    assert all(torch.equal(v, trained.state_dict()[k]) for k, v in fresh.state_dict().items())
    tensors = load_file(tmp_path / "weights.safetensors")
    del tensors["roi_head.deltas.bias"]
    save_file(tensors, tmp_path / "less.safetensors")
    with pytest.raises(
        InputError, match=r"less\.safetensors: does not fit the recipe \(has no roi_head\.deltas\.bias"
    ):
        load_start(fresh, str(tmp_path / "less.safetensors"))
    wide = FasterRCNN(tiny_recipe(pyramid={"channels": 16}))
    with pytest.raises(InputError, match=r"weights\.safetensors: does not fit the recipe"):
        load_start(wide, str(tmp_path / "weights.safetensors"))


def test_a_backbones_file_fills_the_backbone_alone(tmp_path):
    torch.manual_seed(1)
    trained, fresh = FasterRCNN(tiny_recipe()), FasterRCNN(tiny_recipe())
    before = fresh.rpn.head.conv.weight.clone()
    save_parts(trained, [trained.backbone], tmp_path / "weights.safetensors")
    load_start(fresh, str(tmp_path / "weights.safetensors"))
    for name, value in fresh.backbone.state_dict().items():
        assert torch.equal(value, trained.backbone.state_dict()[name])
    assert torch.equal(fresh.rpn.head.conv.weight, before)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model.onnx, in whose graph the batch norms of the pyramid are folded away."""
    return write_exported(tmp_path_factory.mktemp("export"))


def test_an_exported_detector_finds_what_it_found(exported: Path, field_dir: Path):
    samples = read_dataset(field_dir)
    model, measured = (FasterRCNN(tiny_recipe(image_size=640)) for _ in range(2))
    load_start(model, str(exported))  # no photos to measure by
    load_start(measured, str(exported), samples)
    image = torch.randint(
        0, 256, (1, 3, 200, 300), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    with torch.inference_mode():
        for before, after in zip(model.eval()(image)[0], measured.eval()(image)[0], strict=True):
            assert len(before) > 5
            torch.testing.assert_close(after, before, atol=2e-3, rtol=1e-4)


def test_its_batch_norms_have_the_statistics_of_the_photos(exported: Path, field_dir: Path):
    model = FasterRCNN(tiny_recipe(image_size=640))
    load_start(model, str(exported), read_dataset(field_dir))
    assert model.pyramid is not None
    folded = [each for each in model.pyramid.modules() if isinstance(each, nn.BatchNorm2d)]
    photos = torch.cat([to_tensor(open_photo(sample.path)) for sample in read_dataset(field_dir)])
    with torch.no_grad():
        at_detection = model.eval().features(rescale(photos, 640))
        for norm in folded:
            norm.train()
        in_training = model.features(rescale(photos, 640))  # a batch of the photos that were measured
    assert folded
    for stride, expected in at_detection.items():
        torch.testing.assert_close(in_training[stride], expected, atol=1e-3, rtol=1e-3)


def test_a_name_means_a_shipped_detector(tmp_path: Path):
    assert start_file(Path("small")).name == "small.onnx"
    assert start_file(Path("small")).is_file()
    assert start_file(tmp_path / "small") == tmp_path / "small"
    assert start_file(Path("resnet18.pth")) == Path("resnet18.pth")
    assert is_trained(Path("A.ONNX"))
    with pytest.raises(InputError, match="smal: no shipped detector has this name; give medium, seed, small"):
        start_file(Path("smal"))
    with pytest.raises(InputError, match=r"is a folder; give the file, of a run STAGE/weights\.safetensors"):
        start_file(tmp_path)


def test_a_run_goes_on_from_an_exported_detector(exported: Path, field_dir: Path, tmp_path: Path):
    recipe = tiny_recipe(image_size=640, stage={"epochs": 1})
    train_run(open_run(tmp_path / "run", recipe, split(read_dataset(field_dir)), weights=exported))
    assert read_json(tmp_path / "run" / "run.json")["weights"]["file"] == "model.onnx"
    card = describe_run(tmp_path / "run", recipe)
    assert (card.score_threshold, card.count_threshold, card.tta) == (0.4, None, {})
    assert (card.licence, card.citation) == ("CC BY 4.0", "Somebody, 2020")
    assert (tmp_path / "run" / "joint" / "weights.safetensors").is_file()


def test_the_terms_of_a_detector_go_on_to_all_that_come_from_it(
    exported: Path, field_dir: Path, tmp_path: Path
):
    recipe, samples = tiny_recipe(image_size=640, stage={"epochs": 1}), split(read_dataset(field_dir))
    train_run(open_run(tmp_path / "run", recipe, samples, weights=exported))
    open_run(tmp_path / "next", recipe, samples, weights=tmp_path / "run" / "joint" / "weights.safetensors")
    terms = {"licence": "CC BY 4.0", "citation": "Somebody, 2020"}
    assert read_json(tmp_path / "next" / "run.json")["start_card"] == terms


def test_a_finished_first_stage_needs_no_start(exported: Path, field_dir: Path, tmp_path: Path):
    """Even if its checkpoint was deleted to save room."""
    recipe = tiny_recipe(image_size=640, stage={"epochs": 1})
    run = open_run(tmp_path / "run", recipe, split(read_dataset(field_dir)), weights=exported)
    train_run(run)
    (tmp_path / "run" / "joint" / "last.ckpt").unlink()
    train_run(replace(run, weights=tmp_path / "gone.onnx", resume=True))


def test_a_run_that_could_not_start_is_in_nobodys_way(exported: Path, field_dir: Path, tmp_path: Path):
    samples = split(read_dataset(field_dir))
    wide = tiny_recipe(image_size=640, pyramid={"channels": 16})
    with pytest.raises(InputError, match="does not fit the recipe"):
        train_run(open_run(tmp_path / "run", wide, samples, weights=exported))
    run = open_run(tmp_path / "run", tiny_recipe(image_size=640), samples, weights=exported)
    assert read_json(tmp_path / "run" / "recipe.json") == run.recipe.model_dump(mode="json")


def test_the_thresholds_of_a_start_are_those_of_its_card():
    medium = load("medium", tta=ONCE).card
    kept = of_card(start_file(Path("medium")))
    found = kept["thresholds"]
    assert (found["score_threshold"], found["count_threshold"]) == (
        medium.score_threshold,
        medium.count_threshold,
    )
    mix = medium.tta["mix"]
    assert found["tta"] == {
        "mix": {"score_threshold": mix.score_threshold, "count_threshold": mix.count_threshold}
    }
    assert kept["start_card"] == {"licence": medium.licence, "citation": medium.citation}
    assert of_card(None) == of_card(Path("weights.safetensors")) == {"thresholds": {}, "start_card": {}}


def test_a_run_has_the_strides_of_the_detector_that_it_goes_on_from(tmp_path: Path):
    """No weight tells where they are: the shipped small has them in its 1×1 convolutions, torchvision elsewhere."""
    recipe = load_recipe("small")
    onward = as_started(recipe, start_file(Path("small")))
    assert [each.backbone.model_dump()["stride_in_1x1"] for each in (recipe, onward)] == [False, True]
    assert as_started(onward, None) == onward
    trained = FasterRCNN(tiny_recipe())
    (tmp_path / "joint").mkdir()
    own = tmp_path / "joint" / "weights.safetensors"
    save_parts(trained, [trained], own)
    assert as_started(onward, own) == onward  # that of an unknown recipe is taken to be as this one
    write_json(tmp_path / "recipe.json", recipe.model_dump(mode="json"))
    assert as_started(onward, own) == recipe


def test_what_a_recipe_means_otherwise_than_its_start(exported: Path, tmp_path: Path):
    same = tiny_recipe()
    assert changed_meaning(same, exported) == []
    assert changed_meaning(same, None) == changed_meaning(same, tmp_path / "unknown.safetensors") == []
    other = tiny_recipe(rpn=same.rpn.model_dump() | {"scales": [9.0]}, pyramid={"channels": 9})
    assert changed_meaning(other, exported) == ["pyramid.channels", "rpn.scales"]


def test_a_recipe_that_goes_on_takes_the_network_of_its_detector(tmp_path: Path):
    adapt, tiny = load_recipe("adapt"), load_recipe("tiny")
    onward = with_network_of(adapt, start_file(Path("tiny")))
    assert (onward.backbone.name, onward.image_size, onward.roi) == ("resnet18", 640, tiny.roi)
    assert (onward.name, onward.stages) == (adapt.name, adapt.stages)
    for same in ("small", "medium"):  # it is theirs, but for the size of the photo
        assert with_network_of(adapt, start_file(Path(same))) == adapt
    wider = adapt.model_copy(update={"roi": adapt.roi.model_copy(update={"channels": 1024})})
    assert with_network_of(wider, start_file(Path("small"))).roi == load_recipe("small").roi
    assert with_network_of(tiny, start_file(Path("small"))) == tiny  # its first stage begins with a backbone
    assert with_network_of(adapt, tmp_path / "unknown.safetensors") == adapt


def test_the_notes_detector_is_gone_on_with_without_its_snip_classifier():
    """No export has it: it only trains the backbone."""
    model = FasterRCNN(load_recipe("seed"))
    before = model.snip_head.weight.clone()
    load_start(model, str(start_file(Path("seed"))))
    assert torch.equal(model.snip_head.weight, before)
    weights = exported_network("seed")[0].state_dict()
    assert torch.equal(model.rpn.head.conv.weight, weights["rpn.head.conv.weight"])


def test_an_exported_detector_of_another_shape_is_refused(exported: Path):
    with pytest.raises(InputError, match=r"model\.onnx: does not fit the recipe \(size mismatch"):
        load_start(FasterRCNN(tiny_recipe(pyramid={"channels": 16})), str(exported))
