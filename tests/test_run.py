"""A run: what it refuses, what its folder holds, its stages one by one, and that no kill changes its result."""

import csv
import json
import shutil
import signal
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from killed_run import train_until
from tiny_run import divided, fake_run, tiny_model, tiny_recipe, train_tiny
from wheatear.data.sample import Sample
from wheatear.errors import InputError
from wheatear.train.checkpoint import load_parts, save_parts
from wheatear.train.machine import Machine
from wheatear.train.opening import open_run
from wheatear.train.recipe import Recipe
from wheatear.train.relabelled import Relabelled
from wheatear.train.run import train_run

torch.set_num_threads(1)

STAGES = ("cnn", "rpn", "rcnn")
HAS_KILL = pytest.mark.skipif(sys.platform == "win32", reason="no such signal on this system")

# In the order in which they come; the run goes on after each.
MOMENTS = [
    "field_00004.jpg: read",  # while snips are cut
    "val.npy: before",
    "snips.json: before",
    "step: 3",  # no checkpoint yet
    "cnn/last.ckpt: after",
    "step: 5",  # in the second epoch
    "cnn/metrics.csv: after",  # with a row for an epoch without a checkpoint
    "cnn/weights.safetensors: before",  # after the last epoch
    "cnn/metrics.json: before",
    "field_00004.jpg: read",  # while maps are made
    "field_00005.map32.npy: after",  # one of a photo's two maps
    "rpn/last.ckpt: before",
    "rpn/last.ckpt: after",
    "rpn/metrics.json: after",  # between two stages
    "field_00006.proposals.npy: before",
    "rcnn/last.ckpt: after",
    "step: 2",
    "rcnn/metrics.json: before",
]


@pytest.fixture(scope="module")
def samples(field_dir: Path) -> list[Sample]:
    return divided(field_dir)


@pytest.fixture(scope="module")
def done(field_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, trained in one go. For reading only."""
    folder = tmp_path_factory.mktemp("run") / "done"
    train_tiny(folder, field_dir)
    return folder


@pytest.fixture
def copy(done: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "copy"))


def rows(run: Path, stage: str) -> list[dict[str, str]]:
    with (run / stage / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def figures(run: Path, stage: str) -> dict[str, float]:
    content = json.loads((run / stage / "metrics.json").read_text())
    del content["seconds"]
    return content


def weights(run: Path, stage: str) -> dict[str, bytes]:
    return {name: t.numpy().tobytes() for name, t in load_file(run / stage / "weights.safetensors").items()}


def assert_same(one: Path, other: Path) -> None:
    """Bit for bit the same weights, and the same figures but for the seconds."""
    for stage in STAGES:
        assert rows(one, stage) == rows(other, stage)
        assert figures(one, stage) == figures(other, stage)
        assert weights(one, stage) == weights(other, stage)


def refusal(folder: Path, recipe: Recipe, samples: list[Sample], *, resume: bool = False) -> str:
    with pytest.raises(InputError) as caught:
        open_run(folder, recipe, samples, resume=resume)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# kills


@HAS_KILL
def test_a_run_killed_again_and_again_gives_the_result_of_an_unbroken_one(done, field_dir, tmp_path):
    run = tmp_path / "killed"
    for moment in MOMENTS:
        assert train_until(moment, run, field_dir) == -signal.SIGKILL, moment
    assert train_until(None, run, field_dir) == 0
    assert_same(run, done)


@HAS_KILL
def test_a_checkpoint_is_never_half_written(field_dir, tmp_path):
    assert train_until("cnn/last.ckpt: half", tmp_path / "run", field_dir) == 0  # there is no such moment


@HAS_KILL
def test_a_stage_goes_on_with_its_next_epoch(field_dir, tmp_path):
    run = tmp_path / "run"
    assert train_until("cnn/last.ckpt: after", run, field_dir) == -signal.SIGKILL
    assert [row["epoch"] for row in rows(run, "cnn")] == ["1"]
    assert train_until("cnn/metrics.csv: after", run, field_dir) == -signal.SIGKILL
    assert [row["epoch"] for row in rows(run, "cnn")] == ["1", "2"]


# what is refused


def test_an_unreadable_photo_is_named_and_nothing_is_made(samples, tmp_path):
    bad = [*samples[:3], replace(samples[3], path=Path("field/bad.jpg"), width=0, height=0), *samples[4:]]
    assert refusal(tmp_path / "run", tiny_recipe(), bad).startswith(
        "field/bad.jpg: cannot be read; mend or remove it"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_photos_is_named_and_nothing_is_made(samples, tmp_path, split):
    alone = [replace(sample, split=split) for sample in samples]
    missing = {"train": "val", "val": "train"}[split]
    message = refusal(tmp_path / "run", tiny_recipe(), alone)
    advice = "add another field photo, or check the split column of images.csv"
    assert message == f"no photo is in the split '{missing}'; {advice}"
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_there_is_not_begun_again(samples, copy):
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    message = refusal(copy, tiny_recipe(), samples)
    assert message == f"{copy}: holds a run already; go on with it by --resume or choose another folder"
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_a_run_of_another_recipe_is_not_gone_on_with(samples, copy):
    other = tiny_recipe().model_copy(update={"seed": 2})
    assert (
        refusal(copy, other, samples, resume=True)
        == f"{copy}: holds a run of another recipe; choose another folder"
    )
    assert json.loads((copy / "recipe.json").read_text())["seed"] == 1


def test_a_run_on_other_photos_is_not_gone_on_with(samples, copy):
    assert str(copy) in refusal(copy, tiny_recipe(), samples[:-1], resume=True)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_photo_that_is_damaged_is_named_before_the_training(samples, field_dir, tmp_path, split):
    data = Path(shutil.copytree(field_dir, tmp_path / "data"))
    photo = data / "train" / next(sample.path.name for sample in samples if sample.split == split)
    photo.write_bytes(photo.read_bytes()[:3000])  # its size can be read, its pixels cannot
    with pytest.raises(InputError, match=rf"{photo.name}: is damaged or cut short"):
        train_tiny(tmp_path / "run", data)
    assert not (tmp_path / "run").exists()


# what a run folder holds


def test_what_is_trained_on_what_is_written_down(samples, tmp_path):
    run = open_run(tmp_path / "deep" / "run", tiny_recipe(), samples, machine=Machine(precision="bf16-mixed"))
    assert Recipe.model_validate(json.loads((run.folder / "recipe.json").read_text())) == tiny_recipe()
    facts = json.loads((run.folder / "run.json").read_text())
    assert facts["photos"] == {"train": 7, "val": 1}
    assert facts["heads"] == {"train": sum(len(s.boxes) for s in run.train), "val": len(run.val[0].boxes)}
    assert facts["precision"] == "bf16-mixed"
    assert facts["versions"]["torch"] == version("torch")
    assert facts["versions"]["wheatear"] == version("wheatear")
    assert facts["threads"] == torch.get_num_threads()
    assert facts["machine"]["cores"] >= 1
    with (run.folder / "images.csv").open(newline="") as file:
        split = {row["image_id"]: row["split"] for row in csv.DictReader(file)}
    assert split == {sample.name: sample.split for sample in samples}


def test_photos_of_neither_side_are_left_out(samples, tmp_path):
    divided = [replace(sample, split="test") if i == 5 else sample for i, sample in enumerate(samples)]
    run = open_run(tmp_path, tiny_recipe(), divided)
    assert (len(run.train), len(run.val)) == (6, 1)


def test_boxes_that_cannot_be_heads_are_left_out(samples, tmp_path):
    speck = replace(samples[1], boxes=[*samples[1].boxes, [10, 10, 10.5, 10.5], [-30, 10, -5, 40]])
    speck = replace(speck, boxes=torch.tensor([list(map(float, box)) for box in speck.boxes]).numpy())
    run = open_run(tmp_path, tiny_recipe(), [samples[0], speck, *samples[2:]])
    assert speck.name == run.train[0].name
    assert len(run.train[0].boxes) <= len(speck.boxes) - 2


def test_the_folder_of_a_finished_run(done):
    top = {path.name for path in done.iterdir()}
    assert top == {"recipe.json", "run.json", "images.csv", "cache", *STAGES}
    each = {"weights.safetensors", "metrics.csv", "metrics.json", "history.png", "last.ckpt", "tensorboard"}
    for stage in STAGES:
        assert {path.name for path in (done / stage).iterdir()} - {"snips"} == each
        assert [row["epoch"] for row in rows(done, stage)] == ["1", "2"]
        last = figures(done, stage)
        assert {k: v for k, v in last.items() if not k.startswith("snips_")} == {
            k: float(v) for k, v in rows(done, stage)[-1].items()
        }
        with Image.open(done / stage / "history.png") as plot:
            assert plot.format == "PNG"
            assert min(plot.size) > 100
    assert figures(done, "cnn")["snips_kept"] == 200
    assert not list(done.rglob("*.part"))


def test_each_stage_has_the_weights_of_its_own_parts(done):
    parts = {stage: {name.partition(".")[0] for name in weights(done, stage)} for stage in STAGES}
    assert parts == {"cnn": {"backbone", "snip_head"}, "rpn": {"rpn"}, "rcnn": {"roi_head"}}
    together = [name for stage in STAGES for name in weights(done, stage)]
    assert sorted(together) == sorted(tiny_model().state_dict())


def test_maps_and_proposals_are_kept_once_a_photo(done, samples):
    kept = sorted(path.name for path in (done / "cache").rglob("*.npy"))
    expected = [f"{s.name}.{kind}.npy" for s in samples for kind in ("map16", "map32", "proposals")]
    assert kept == sorted(expected)
    assert len(list((done / "cache").iterdir())) == 2


# stages one by one


def test_stages_trained_one_by_one_give_the_same(done, samples, tmp_path):
    for stage in STAGES:
        torch.manual_seed(99)
        train_run(open_run(tmp_path / "run", tiny_recipe(), samples, resume=True), stage)
        trained = [name for name in STAGES if (tmp_path / "run" / name / "metrics.json").exists()]
        assert trained == list(STAGES[: STAGES.index(stage) + 1])
    assert_same(tmp_path / "run", done)


def test_a_stage_needs_those_before_it(samples, tmp_path):
    run = open_run(tmp_path / "run", tiny_recipe(), samples)
    with pytest.raises(InputError, match=r"^--stage rcnn: stage cnn is not finished in .*run; run it first$"):
        train_run(run, "rcnn")
    assert not (tmp_path / "run" / "cnn").exists()


def test_a_stage_that_the_recipe_has_not(samples, tmp_path):
    with pytest.raises(
        InputError, match=r"^--stage joint: not a stage of the recipe; it has cnn, rpn, rcnn$"
    ):
        train_run(open_run(tmp_path, tiny_recipe(), samples), "joint")


def test_a_finished_run_is_left_as_it_is(samples, copy):
    before = {path: path.stat().st_mtime_ns for path in copy.glob("*/*") if path.is_file()}
    train_run(open_run(copy, tiny_recipe(), samples, resume=True))
    train_run(open_run(copy, tiny_recipe(), samples, resume=True), "rpn")
    assert {path: path.stat().st_mtime_ns for path in copy.glob("*/*") if path.is_file()} == before


def test_maps_of_other_weights_are_not_used(samples, copy):
    old = {path.name for path in (copy / "cache").iterdir()}
    weights = copy / "cnn" / "weights.safetensors"
    model = tiny_model()
    load_parts(model, weights)
    with torch.no_grad():
        model.backbone.groups[0][0].weight.add_(0.1)
    save_parts(model, [model.backbone, model.snip_head], weights)
    for stage in ("rpn", "rcnn"):
        shutil.rmtree(copy / stage)
    train_run(open_run(copy, tiny_recipe(), samples, resume=True))
    new = {path.name for path in (copy / "cache").iterdir()}
    assert {name.partition("-")[0] for name in new} == {"cnn", "rpn"}
    assert len(new) == 2
    assert not new & old


def test_a_stage_is_not_trained_under_a_later_one(tmp_path, field_dir):
    fake_run(tmp_path / "run", field_dir)
    shutil.rmtree(tmp_path / "run" / "rpn")
    with pytest.raises(
        InputError, match="rcnn: was trained on another rpn; remove it, to train it anew, too"
    ):
        train_tiny(tmp_path / "run", field_dir, resume=True)


def test_a_stage_is_not_trained_under_a_later_one_that_was_stopped(copy, field_dir):
    shutil.rmtree(copy / "rpn")
    (copy / "rcnn" / "metrics.json").unlink()
    with pytest.raises(
        InputError, match="rcnn: was trained on another rpn; remove it, to train it anew, too"
    ):
        train_tiny(copy, field_dir, resume=True)


def test_photos_of_another_size_than_their_labels_say_are_refused(samples, tmp_path):
    half = [replace(sample, labelled_size=(sample.width // 2, sample.height // 2)) for sample in samples]
    with pytest.raises(InputError, match="is of another size than its labels say"):
        open_run(tmp_path / "run", tiny_recipe(), half)
    others = Relabelled(tmp_path / "labels.csv", [replace(sample, split="") for sample in half], both=False)
    others.file.write_text("")
    with pytest.raises(InputError, match="is of another size than its labels say"):
        open_run(tmp_path / "run", tiny_recipe(), samples, other_labels=others)
    assert not (tmp_path / "run").exists()


def test_a_run_is_gone_on_with_on_as_many_devices(samples, copy):
    with pytest.raises(InputError, match=r"holds a run of --devices 1; give the same, or choose"):
        open_run(copy, tiny_recipe(), samples, resume=True, machine=Machine(devices=2))


def test_facts_that_are_damaged(samples, copy):
    (copy / "run.json").write_text("[]")
    with pytest.raises(InputError, match=r"run\.json: cannot be read \(not an object of JSON\)"):
        open_run(copy, tiny_recipe(), samples, resume=True)


def test_a_split_without_its_columns(samples, copy):
    (copy / "images.csv").write_text("name\na\n")
    with pytest.raises(InputError, match=r"images\.csv.*image_id"):
        open_run(copy, tiny_recipe(), samples, resume=True)


def test_a_run_is_gone_on_with_in_its_own_precision(samples, copy):
    with pytest.raises(InputError, match=r"holds a run of --precision 32-true; give the same, or choose"):
        open_run(copy, tiny_recipe(), samples, resume=True, machine=Machine(precision="bf16-mixed"))
