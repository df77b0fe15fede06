"""A run folder's weights and figures, read and written."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tiny_run import tiny_model
from wheatear.errors import InputError
from wheatear.files import write_json
from wheatear.train.checkpoint import (
    METRICS,
    WEIGHTS,
    finished,
    load_parts,
    read_json,
    refuse_untrained,
    save_parts,
)


def other(seed: int = 1) -> nn.Module:
    return tiny_model(seed=seed)


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_json_comes_back(tmp_path):
    content = {"name": "Ährenfeld", "figures": {"accuracy": 0.5, "none": None}, "list": [1, 2]}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content
    assert (tmp_path / "a.json").read_text("utf-8").endswith("}\n")


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"\xff\xfe"])
def test_json_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json: cannot be read .*; is this a run folder\?$"):
        read_json(path)


def test_only_the_parts_are_written_under_their_names_in_the_model(tmp_path):
    model = tiny_model()
    save_parts(model, [model.backbone, model.snip_head], tmp_path / WEIGHTS)
    written = load_file(tmp_path / WEIGHTS)
    expected = {k: v for k, v in model.state_dict().items() if k.startswith(("backbone.", "snip_head."))}
    assert written.keys() == expected.keys()
    assert all(torch.equal(written[name], expected[name]) for name in expected)
    assert any(name.endswith("running_mean") for name in written)  # a map cannot be made without them
    assert [path.name for path in tmp_path.iterdir()] == [WEIGHTS]


def test_parts_come_back_and_the_others_stay(tmp_path):
    model, target = tiny_model(), other()
    before = state(target)
    save_parts(model, [model.rpn], tmp_path / WEIGHTS)
    load_parts(target, tmp_path / WEIGHTS)
    for name, value in target.state_dict().items():
        assert torch.equal(value, model.state_dict()[name] if name.startswith("rpn.") else before[name])
    assert not torch.equal(before["rpn.head.conv.weight"], target.state_dict()["rpn.head.conv.weight"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full disk")
def test_weights_for_which_the_disk_has_no_room(tmp_path):
    path = tmp_path / WEIGHTS
    path.with_name(f"{WEIGHTS}.part").symlink_to("/dev/full")
    model = tiny_model()
    with pytest.raises(OSError, match="No space") as raised:
        save_parts(model, [model], path)
    assert raised.value.filename == str(path)
    assert not any(tmp_path.iterdir())


def test_all_parts_make_the_whole_model(tmp_path):
    model, target = tiny_model(), other()
    parts = {"cnn": [model.backbone, model.snip_head], "rpn": [model.rpn], "rcnn": [model.roi_head]}
    for name, modules in parts.items():
        save_parts(model, modules, tmp_path / name)
        load_parts(target, tmp_path / name)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in target.state_dict().items())


def test_weights_of_another_shape_are_refused(tmp_path):
    model = tiny_model()
    tensors = model.state_dict() | {"rpn.head.conv.bias": torch.zeros(3)}
    save_file({k: v.contiguous() for k, v in tensors.items()}, tmp_path / WEIGHTS)
    with pytest.raises(
        InputError, match=r"safetensors: does not fit the recipe \(size mismatch for rpn.head.conv.bias"
    ):
        load_parts(model, tmp_path / WEIGHTS)


def test_weights_of_another_model_are_refused(tmp_path):
    save_file({"fpn.weight": torch.zeros(3)}, tmp_path / WEIGHTS)
    with pytest.raises(InputError, match=r"safetensors: does not fit the recipe \(unknown fpn.weight\)$"):
        load_parts(tiny_model(), tmp_path / WEIGHTS)


def test_damaged_weights_are_named(tmp_path):
    (tmp_path / WEIGHTS).write_bytes(b"cut sho")
    with pytest.raises(InputError, match=WEIGHTS):
        load_parts(tiny_model(), tmp_path / WEIGHTS)


def test_a_stage_is_finished_when_its_figures_are_written(tmp_path):
    assert not finished(tmp_path, "cnn")
    (tmp_path / "cnn").mkdir()
    (tmp_path / "cnn" / WEIGHTS).touch()
    assert not finished(tmp_path, "cnn")
    (tmp_path / "cnn" / METRICS).write_text(json.dumps({}))
    assert finished(tmp_path, "cnn")
    assert not finished(tmp_path, "rpn")


def test_weights_that_nothing_was_read_of_are_no_detector(tmp_path):
    model = tiny_model()
    read = set[str]()
    for name, part in (("cnn", model.backbone), ("rpn", model.rpn)):
        save_parts(model, [part], tmp_path / name)
        read |= load_parts(model, tmp_path / name)
    with pytest.raises(InputError, match=r"run: does not fit the recipe \(has no roi_head\."):
        refuse_untrained(model, read, Path("run"))
    save_parts(model, [model.roi_head], tmp_path / "rcnn")
    refuse_untrained(
        model, read | load_parts(model, tmp_path / "rcnn"), Path("run")
    )  # the snip classifier may lack
