"""Backbones cut out of classifiers, and the weights they start from. The weights here are made up, nothing is loaded
from elsewhere."""

from pathlib import Path
from urllib.request import urlopen

import pytest
import torch
from torch import Tensor, nn

from wheatear.errors import InputError
from wheatear.train.backbone import NotesCNN
from wheatear.train.checkpoint import save_parts
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.pretrained import PretrainedCNN, classifier, stages
from wheatear.train.published import load_backbone, published
from wheatear.train.recipe import NotesBackboneRecipe, PretrainedBackboneRecipe, load_recipe

torch.set_num_threads(1)

CHANNELS = {
    "resnet18": [64, 128, 256, 512],
    "resnet50": [256, 512, 1024, 2048],
    "mobilenet_v2": [24, 32, 96, 320],
    "efficientnet_lite0": [24, 40, 112, 320],
    "efficientnet_lite1": [24, 40, 112, 320],
    "efficientnet_lite2": [24, 48, 120, 352],
}


def recipe(name: str, **changes: object) -> PretrainedBackboneRecipe:
    common = {"name": name, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    return PretrainedBackboneRecipe.model_validate(common | changes)


def notes_recipe() -> NotesBackboneRecipe:
    return NotesBackboneRecipe(
        name="notes", channels=[[2], [3]], dropout=0.0, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
    )


def file_of(folder: Path, weights: dict[str, Tensor]) -> str:
    torch.save(weights, folder / "weights.pth")
    return str(folder / "weights.pth")


@pytest.mark.parametrize("name", CHANNELS)
def test_maps_have_their_strides_and_channels_at_odd_sizes(name):
    backbone = PretrainedCNN(recipe(name)).eval()
    assert list(backbone.out_channels.values()) == CHANNELS[name]
    with torch.inference_mode():
        maps = backbone(torch.zeros(1, 3, 33, 65, dtype=torch.uint8))
    expected = {s: (1, c, 64 // s, 96 // s) for s, c in zip((4, 8, 16, 32), CHANNELS[name], strict=True)}
    assert {stride: tuple(m.shape) for stride, m in maps.items()} == expected


def test_frozen_stages_stay_as_they_are():
    backbone = PretrainedCNN(recipe("resnet18", frozen=2))
    before = {name: tensor.clone() for name, tensor in backbone.stages.state_dict().items()}
    backbone.requires_grad_(True)
    backbone.train()
    learning = [p for p in backbone.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=1.0)
    backbone(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))[32].sum().backward()
    optimizer.step()
    changed = {
        name.split(".")[0]
        for name, tensor in backbone.stages.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    assert changed == {"2", "3"}  # batch norms' statistics among them


@pytest.mark.parametrize(("name", "last"), [("resnet18", "fc."), ("mobilenet_v2", "classifier.")])
def test_weights_are_loaded_with_or_without_the_last_layer(tmp_path, name, last):
    network = classifier(recipe(name))
    whole = network.state_dict()
    expected = nn.ModuleList(stages(network)).state_dict()
    for weights in (whole, {k: v for k, v in whole.items() if not k.startswith(last)}):
        backbone = PretrainedCNN(recipe(name))
        load_backbone(backbone, recipe(name), file_of(tmp_path, weights))
        assert all(
            torch.equal(v, expected[k.removeprefix("stages.")]) for k, v in backbone.state_dict().items()
        )


def test_efficientnet_lite_is_loaded_in_the_order_of_the_published_file(tmp_path):
    network = classifier(recipe("efficientnet_lite0"))
    weights = {f"_other_{i}": torch.rand(v.shape) for i, v in enumerate(network.state_dict().values())}
    assert len(weights) == 296  # that many are in the published file
    backbone = PretrainedCNN(recipe("efficientnet_lite0"))
    load_backbone(backbone, recipe("efficientnet_lite0"), file_of(tmp_path, weights))
    assert torch.equal(next(iter(backbone.state_dict().values())), weights["_other_0"])


def test_weights_of_another_network_are_refused(tmp_path):
    path = file_of(tmp_path, classifier(recipe("mobilenet_v2")).state_dict())
    for name in ("resnet18", "efficientnet_lite0"):
        with pytest.raises(InputError, match=f"weights.pth: not weights of {name}") as caught:
            load_backbone(PretrainedCNN(recipe(name)), recipe(name), path)
        assert len(str(caught.value)) < 250  # and not hundreds of keys


@pytest.mark.parametrize("content", [None, b"", b"not weights", b"hello", b"access denied", b"GIF89a"])
def test_a_file_without_weights_is_named(tmp_path, content):
    path = tmp_path / "weights.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"weights.pth: (weights cannot be read|no weights; give)"):
        load_backbone(PretrainedCNN(recipe("resnet18")), recipe("resnet18"), str(path))


def test_the_stride_may_sit_in_the_1x1_convolution():
    ordinary, caffe = (classifier(recipe("resnet50", stride_in_1x1=first)) for first in (False, True))
    assert [ordinary.layer2[0].conv1.stride, ordinary.layer2[0].conv2.stride] == [(1, 1), (2, 2)]
    for layer in (caffe.layer2, caffe.layer3, caffe.layer4):
        assert [layer[0].conv1.stride, layer[0].conv2.stride] == [(2, 2), (1, 1)]
    assert caffe.layer1[0].conv2.stride == (1, 1)


def test_torchvisions_weights_are_not_put_where_the_stride_is_elsewhere():
    caffe = recipe("resnet50", stride_in_1x1=True)
    with pytest.raises(InputError, match=r"resnet50: torchvision's weights .* set stride_in_1x1 = false"):
        load_backbone(PretrainedCNN(caffe), caffe, "imagenet")


def test_a_fourth_stage_may_be_short(tmp_path):
    network = classifier(recipe("resnet50"))
    short = recipe("resnet50", last_blocks=1)
    backbone = PretrainedCNN(short)
    load_backbone(backbone, short, file_of(tmp_path, network.state_dict()))
    (last,) = backbone.stages[3]
    assert [len(backbone.stages[i][-1]) for i in (0, 1, 2)] == [3, 4, 6]
    assert len(last) == 1
    assert torch.equal(last[0].conv1.weight, network.layer4[0].conv1.weight)
    assert list(backbone.out_channels.values()) == CHANNELS["resnet50"]


def test_stages_that_nothing_looks_at_are_left_out(tmp_path):
    path = file_of(tmp_path, classifier(recipe("resnet18")).state_dict())
    full, fine = (
        PretrainedCNN(recipe("resnet18")).eval(),
        PretrainedCNN(recipe("resnet18"), coarsest=16).eval(),
    )
    for backbone in (full, fine):
        load_backbone(backbone, recipe("resnet18"), path)
    assert fine.out_channels == {4: 64, 8: 128, 16: 256}
    with torch.inference_mode():
        maps, expected = (b(torch.full((1, 3, 32, 64), 99, dtype=torch.uint8)) for b in (fine, full))
    assert list(maps) == [4, 8, 16]
    assert all(torch.equal(m, expected[stride]) for stride, m in maps.items())


def test_a_detector_has_the_stages_that_its_recipe_looks_at():
    small, notes = load_recipe("small"), load_recipe("seed")
    fine = small.model_copy(
        update={part: getattr(small, part).model_copy(update={"strides": [8, 16]}) for part in ("rpn", "roi")}
    )
    with_snips = notes.model_copy(update={"backbone": small.backbone})
    assert [list(FasterRCNN(r).backbone.out_channels) for r in (small, fine, with_snips)] == [
        [4, 8, 16, 32],
        [4, 8, 16],
        [4, 8, 16, 32],  # the snip classifier looks at the last
    ]


@pytest.mark.parametrize(("name", "blocks"), [("resnet18", 3), ("resnet50", 4), ("mobilenet_v2", 1)])
def test_there_are_no_more_blocks_than_the_classifier_has(name, blocks):
    with pytest.raises(ValueError, match=f"last_blocks: {name} has"):
        recipe(name, last_blocks=blocks)


def test_the_notes_cnn_starts_from_a_run_of_its_own(tmp_path):
    trained = nn.Module()
    trained.backbone, trained.snip_head = NotesCNN(notes_recipe()), nn.Linear(2, 2)
    save_parts(trained, [trained.backbone, trained.snip_head], tmp_path / "weights.safetensors")
    backbone = NotesCNN(notes_recipe())
    load_backbone(backbone, notes_recipe(), str(tmp_path / "weights.safetensors"))
    pairs = zip(backbone.state_dict().values(), trained.backbone.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_nothing_to_start_from():
    before = PretrainedCNN(recipe("resnet18"))
    kept = [v.clone() for v in before.state_dict().values()]
    load_backbone(before, recipe("resnet18"), "")
    assert all(torch.equal(a, b) for a, b in zip(kept, before.state_dict().values(), strict=True))
    with pytest.raises(InputError, match="has no ImageNet weights"):
        load_backbone(NotesCNN(notes_recipe()), notes_recipe(), "imagenet")


def test_a_download_that_was_cut_short_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "cut.pth").write_bytes(b"half of it")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("torch.hub.urlopen", lambda _: urlopen((tmp_path / "cut.pth").as_uri()))
    with pytest.raises(
        InputError, match=r"^resnet18: its weights cannot be downloaded \(invalid hash value .*by --weig"
    ):
        published("resnet18")
    assert not list((tmp_path / "home").rglob("*.pth"))
