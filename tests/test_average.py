"""Means of weights."""

import errno
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import wheatear.train.average
from one_line import complaint_of
from tiny_run import fake_run, tiny_recipe
from wheatear.cli import app
from wheatear.errors import InputError
from wheatear.files import write_json
from wheatear.train.average import BACKBONE, HEADS, average
from wheatear.train.checkpoint import METRICS, WEIGHTS, read_json
from wheatear.train.run_card import describe_run, load_run

runner = CliRunner()


@pytest.fixture
def runs(field_dir: Path, tmp_path: Path) -> list[Path]:
    """Three finished runs of one network, their weights 1, 2 and 6 times the first's."""
    folders = [tmp_path / name for name in "abc"]
    for folder, factor in zip(folders, (1, 2, 6), strict=True):
        fake_run(folder, field_dir)
        for path in folder.glob(f"*/{WEIGHTS}"):
            tensors = load_file(path)
            save_file({k: v * factor if v.is_floating_point() else v for k, v in tensors.items()}, path)
    return folders


def test_it_is_the_mean_of_each_weight(runs, tmp_path):
    path = average(runs, tmp_path / "mean")
    assert path == tmp_path / "mean" / "rcnn" / WEIGHTS
    first, mean = load_run(runs[0]).state_dict(), load_run(tmp_path / "mean").state_dict()
    for name, tensor in mean.items():
        expected = first[name] * 3 if tensor.is_floating_point() else first[name]
        torch.testing.assert_close(tensor, expected)
    assert load_file(path).keys() == mean.keys()  # so that a training can begin at this file


def test_it_says_what_it_is_the_mean_of(runs, tmp_path):
    average(runs, tmp_path / "mean")
    facts = read_json(tmp_path / "mean" / "run.json")
    assert [member["run"] for member in facts["mean_of"]] == ["a", "b", "c"]
    assert facts["photos"] == read_json(runs[0] / "run.json")["photos"]
    card = describe_run(tmp_path / "mean", load_run(tmp_path / "mean").recipe)
    assert card.figures["stages"]["rcnn"] == {"runs": 3}
    assert card.data == facts


def test_the_folder_one_is_in_can_be_a_run_or_the_mean(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(runs[0])
    average([Path(), runs[1]], tmp_path / "mean")
    facts = read_json(tmp_path / "mean" / "run.json")
    assert [member["run"] for member in facts["mean_of"]] == ["a", "b"]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    average(runs, Path())
    assert read_json(Path("run.json"))["run"] == "here"
    load_run(tmp_path / "here")


@pytest.mark.parametrize(
    "fact",
    [
        {"more": [{"folder": "more", "photos": 1, "heads": 1, "sources": ["usask_1"]}]},
        {"start_card": {"licence": "The photos: CC BY 4.0", "citation": "Somebody, 2020"}},
    ],
)
def test_the_terms_of_any_member_are_those_of_the_mean(runs, tmp_path, fact):
    write_json(runs[1] / "run.json", read_json(runs[1] / "run.json") | fact)
    average(runs, tmp_path / "mean")
    assert "CC BY 4.0" in describe_run(tmp_path / "mean", tiny_recipe()).licence


def test_the_terms_of_a_member_of_a_member_are_those_of_the_mean(runs, tmp_path):
    more = {"more": [{"folder": "more", "photos": 1, "heads": 1, "sources": ["usask_1"]}]}
    write_json(runs[1] / "run.json", read_json(runs[1] / "run.json") | more)
    average(runs[:2], tmp_path / "two")
    average([tmp_path / "two", runs[2]], tmp_path / "mean")
    assert "CC BY 4.0" in describe_run(tmp_path / "mean", tiny_recipe()).licence


def test_what_has_no_mean(runs, field_dir, tmp_path):
    with pytest.raises(InputError, match="one run alone has no mean"):
        average(runs[:1], tmp_path / "mean")
    with pytest.raises(InputError, match="holds a run already"):
        average(runs, runs[2])
    content = tiny_recipe().model_dump(mode="json")
    content["roi"]["channels"] *= 2
    fake_run(tmp_path / "other", field_dir, type(tiny_recipe()).model_validate(content))
    with pytest.raises(InputError, match=r"other: not of the same layers as .*a; give runs of one network"):
        average([*runs, tmp_path / "other"], tmp_path / "mean")
    (runs[1] / "rcnn" / METRICS).unlink()
    with pytest.raises(InputError, match="b: stage rcnn is not finished"):
        average(runs, tmp_path / "mean")
    write_json(runs[1] / "rcnn" / METRICS, {})
    assert not (tmp_path / "mean").exists()


def test_a_mean_that_was_not_finished_is_not_in_the_way(runs, tmp_path, monkeypatch):
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as late:
        late.setattr(wheatear.train.average, "write_json", full)
        with pytest.raises(OSError, match="No space left"):
            average(runs, tmp_path / "new" / "mean")
    assert average(runs, tmp_path / "new" / "mean").is_file()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mean"]


@pytest.mark.parametrize("parts", [("",), HEADS, BACKBONE])
def test_runs_that_began_apart_have_no_mean(runs, tmp_path, parts):
    """Of heads alone, as from ImageNet with another seed, or of backbones alone, as from others with the same seed."""
    for path in runs[1].glob(f"*/{WEIGHTS}"):
        its = load_file(path)
        save_file(
            {
                name: torch.randn_like(tensor)
                if name.startswith(parts) and tensor.is_floating_point()
                else tensor
                for name, tensor in its.items()
            },
            path,
        )
    with pytest.raises(InputError, match=f"^{runs[1]}: did not begin where {runs[0]} began"):
        average(runs[:2], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()


def test_the_command(runs, tmp_path):
    out = tmp_path / "mean"
    result = runner.invoke(app, ["average", *map(str, runs), "--out", str(out)])
    assert result.stdout == f"The mean of 3 runs. Next: wheatear export {out}\n"
    again = runner.invoke(app, ["average", *map(str, runs), "--out", str(out)])
    assert complaint_of(again) == f"{out}: holds a run already; choose another folder"


def test_runs_of_other_splits_have_no_mean(runs, tmp_path):
    images = runs[1] / "images.csv"
    images.write_text(images.read_text().replace(",val", ",train", 1))
    with pytest.raises(InputError, match=r"b: divides other photos than .*a, or otherwise"):
        average(runs, tmp_path / "mean")
    assert not (tmp_path / "mean").exists()


@pytest.mark.parametrize(
    "change", [("rpn", "scales", [0.5, 0.75, 1.0]), ("roi", "box_weights", [5, 5, 5, 5])]
)
def test_weights_that_mean_another_thing_have_no_mean(runs, field_dir, tmp_path, change):
    part, key, value = change
    content = tiny_recipe().model_dump(mode="json")
    content[part][key] = value
    fake_run(tmp_path / "other", field_dir, type(tiny_recipe()).model_validate(content))
    with pytest.raises(
        InputError, match=r"other: has another backbone, other anchors or regions than .*a; give"
    ):
        average([*runs, tmp_path / "other"], tmp_path / "mean")


def test_how_runs_were_trained_makes_no_other_weights(runs, field_dir, tmp_path):
    content = tiny_recipe().model_dump(mode="json")
    content["rpn"]["batch_size_per_image"] *= 2
    content["backbone"]["dropout"] = 0.1
    fake_run(tmp_path / "other", field_dir, type(tiny_recipe()).model_validate(content))
    average([*runs, tmp_path / "other"], tmp_path / "mean")
