"""`wheatear train` and `wheatear export` as a user meets them."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result
from lightning.pytorch.utilities.exceptions import SIGTERMException
from typer.testing import CliRunner

from one_line import complaint_of
from tiny_model import write_tiny_model
from tiny_run import TINY, fake_run, tiny_toml
from wheatear.cli import app
from wheatear.data.formats import read_dataset
from wheatear.data.sample import Sample
from wheatear.data.splits import split
from wheatear.data.synth import draw_dataset
from wheatear.files import alone_in, sha256, write_json
from wheatear.train import agreement, export, run
from wheatear.train.checkpoint import read_json
from wheatear.train.recipe import load_recipe

torch.set_num_threads(1)

runner = CliRunner()


@pytest.fixture
def data(field_dir: Path, tmp_path: Path) -> Path:
    """A data set of the test's own to change."""
    return Path(shutil.copytree(field_dir, tmp_path / "data"))


@pytest.fixture
def fake(field_dir: Path, tmp_path: Path) -> Path:
    """A finished run."""
    fake_run(tmp_path / "run", field_dir)
    return tmp_path / "run"


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[run.Run, str | None]]:
    """Instead of training, the runs and stages that would be trained."""
    calls: list[tuple[run.Run, str | None]] = []
    monkeypatch.setattr(run, "train_run", lambda *call: calls.append(call))
    return calls


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Instead of the real export, which takes long, the model that finds red cells."""
    model = write_tiny_model(tmp_path, "cells")
    write_instead(monkeypatch, lambda _, path, seen: shutil.copy(model, path))


def write_instead(monkeypatch: pytest.MonkeyPatch, write_graph: Callable[..., object]) -> None:
    """No graph is made, and `write_graph` writes the file."""
    monkeypatch.setattr(export, "graph_of", lambda model: None)
    monkeypatch.setattr(export, "write_graph", write_graph)


def command(*arguments: object) -> Result:
    return runner.invoke(app, [*map(str, arguments)])


def complaint(*arguments: object) -> str:
    """The one line on stderr with which the command fails."""
    result = command(*arguments)
    return complaint_of(result)


# train


def test_a_run_from_photos_to_weights(field_dir, tmp_path):
    result = command("train", field_dir, "--recipe", TINY, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    for stage in ("cnn", "rpn", "rcnn"):
        for epoch in (1, 2):
            assert f"{stage} {epoch}/2  val_" in result.stdout
        assert (tmp_path / "run" / stage / "weights.safetensors").exists()
    assert " ".join(result.stdout.split()).endswith(f"Done. Next: wheatear export {tmp_path / 'run'}")
    assert result.stderr == ""


def test_a_run_that_ends_before_a_detector_is_not_to_be_exported(fake, field_dir, trained, tmp_path):
    first = tmp_path / "first.toml"
    first.write_text("[[stages]]".join(TINY.read_text().split("[[stages]]")[:2]))
    write_json(fake / "recipe.json", load_recipe(first).model_dump(mode="json"))
    split_of = ("--images", fake / "images.csv")
    result = command("train", field_dir, "--recipe", first, "--out", fake, "--resume", *split_of)
    assert result.stdout == "Done.\n"


def test_a_seed_of_ones_own(field_dir, trained, tmp_path):
    assert (
        command("train", field_dir, "--recipe", TINY, "--out", tmp_path / "run", "--seed", 7).exit_code == 0
    )
    assert trained[0][0].recipe == load_recipe(TINY).model_copy(update={"seed": 7})
    assert read_json(tmp_path / "run" / "recipe.json")["seed"] == 7


def test_other_values_for_keys_of_the_recipe(field_dir, trained, tmp_path):
    given = ("--set", "detection.nms_thresh=0.4", "--set", "name=other", "--out", tmp_path / "run")
    assert command("train", field_dir, "--recipe", TINY, *given).exit_code == 0
    kept = read_json(tmp_path / "run" / "recipe.json")
    assert (kept["name"], kept["detection"]["nms_thresh"]) == ("other", 0.4)


def test_a_value_for_a_key_that_is_not_there_is_refused(field_dir, trained, tmp_path):
    result = command("train", field_dir, "--recipe", TINY, "--set", "lr=1", "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert "--set lr: no such key in the recipe" in result.stderr
    assert not (tmp_path / "run").exists()


def test_another_seed_leaves_the_split(data, trained, tmp_path):
    (data / "images.csv").unlink(missing_ok=True)
    for seed in range(4):
        out = tmp_path / str(seed)
        assert command("train", data, "--recipe", TINY, "--out", out, "--seed", seed).exit_code == 0
    assert len({tuple(sample.name for sample in run.val) for run, _ in trained}) == 1


def test_photos_that_are_not_divided_are_divided(field_dir, tmp_path, trained):
    assert command("train", field_dir, "--recipe", TINY, "--out", tmp_path / "run").exit_code == 0
    ((made, stage),) = trained
    assert stage is None
    assert (len(made.train), len(made.val)) == (7, 1)
    expected = [sample.name for sample in split(read_dataset(field_dir), seed=1) if sample.split == "val"]
    assert [sample.name for sample in made.val] == expected  # divided by the recipe's seed
    assert not (field_dir / "images.csv").exists()


def test_photos_that_are_divided_stay_so(data, tmp_path, trained):
    names = [sample.name for sample in read_dataset(data)]
    lines = [f"{name},{'val' if i in (2, 5, 6) else 'train'}" for i, name in enumerate(names)]
    (data / "images.csv").write_text("\n".join(["image_id,split", *lines, ""]))
    command("train", data, "--recipe", TINY, "--out", tmp_path / "run")
    assert [sample.name for sample in trained[0][0].val] == [names[i] for i in (2, 5, 6)]


def test_photos_without_a_split_among_others_are_told_of(data, tmp_path, trained):
    names = [sample.name for sample in read_dataset(data)]
    (tmp_path / "list.csv").write_text(f"image_id,split\n{names[0]},val\n")
    options = ["--images", tmp_path / "list.csv", "--recipe", TINY, "--out", tmp_path / "run"]
    result = command("train", data, *options)
    assert "7 photos in no split yet, so divided into train and val" in result.stdout
    assert names[0] in [sample.name for sample in trained[0][0].val]


def test_the_options_reach_the_run(field_dir, tmp_path, trained):
    (tmp_path / "other.csv").write_text('image_id,bbox\nfield_00001,"[10, 10, 30, 20]"\n')
    options = [
        "--recipe",
        "seed-512",
        "--stage",
        "rpn",
        "--precision",
        "bf16-mixed",
        "--labels",
        tmp_path / "other.csv",
    ]
    result = command("train", field_dir, *options, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    ((made, stage),) = trained
    assert (made.folder, made.recipe, made.machine.precision) == (
        tmp_path / "run",
        load_recipe("seed-512"),
        "bf16-mixed",
    )
    assert stage == "rpn"
    heads: dict[str, Sample] = {sample.name: sample for sample in made.train}
    assert heads["field_00001"].boxes.tolist() == [[10, 10, 40, 30]]
    assert len(heads["field_00002"].boxes) == len(read_dataset(field_dir)[2].boxes)  # the others keep theirs


def test_more_photos_are_trained_on_and_written_down(data, tmp_path, trained):
    names = [sample.name for sample in read_dataset(data)]
    lines = [f"{name},{'val' if i == 2 else 'train'}" for i, name in enumerate(names)]
    (data / "images.csv").write_text("\n".join(["image_id,split", *lines, ""]))
    others = []
    for name in ("one", "two"):
        draw_dataset(tmp_path / name, 2, size=64)
        for photo in sorted((tmp_path / name / "train").iterdir()):
            photo.rename(photo.with_stem(f"{name}{photo.stem[-1]}"))
        (tmp_path / name / "train.csv").write_text(f'image_id,bbox,source\n{name}0,"[5, 5, 30, 20]",pseudo\n')
        others += ["--more", tmp_path / name]
    result = command("train", data, "--recipe", TINY, "--out", tmp_path / "run", *others)
    assert result.exit_code == 0, result.output
    ((made, _),) = trained
    assert [sample.name for sample in made.val] == [names[2]]
    assert [sample.name for sample in made.train[7:]] == ["one0", "one1", "two0", "two1"]
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["photos"] == {"train": 11, "val": 1}
    assert facts["more"] == [
        {"folder": name, "photos": 2, "heads": 1, "sources": ["pseudo"]} for name in ("one", "two")
    ]
    assert len(read_dataset(data, images=tmp_path / "run" / "images.csv")) == 8
    (tmp_path / "run" / "cnn").mkdir()
    (tmp_path / "run" / "cnn" / "last.ckpt").touch()  # it has begun
    going_on = ["train", data, "--recipe", TINY, "--out", tmp_path / "run", "--resume"]
    assert command(*going_on, *others).exit_code == 0
    assert "holds a run on other boxes" in complaint(*going_on)
    assert "has the name of" in complaint(*going_on, "--more", data)


def test_another_split_and_both_labellings_reach_the_run(field_dir, tmp_path, trained):
    boxes = "".join(f'field_0000{k},"[10, 10, 30, 20]"\n' for k in range(8))
    (tmp_path / "other.csv").write_text(f"image_id,bbox\n{boxes}")
    rows = "".join(f"field_0000{k},{'val' if k == 3 else 'train'}\n" for k in range(8))
    (tmp_path / "held.csv").write_text(f"image_id,split\n{rows}")
    options = ["--recipe", "small", "--labels", tmp_path / "other.csv", "--both"]
    options += ["--images", tmp_path / "held.csv", "--out", tmp_path / "run"]
    options += ["--set", "stages.0.warmup_steps=1", "--set", "stages.1.warmup_steps=1"]
    result = command("train", field_dir, *options)
    assert result.exit_code == 0, result.output
    own = {sample.name: sample for sample in read_dataset(field_dir)}
    ((made, _),) = trained
    assert [sample.name for sample in made.val] == ["field_00003"]
    assert [sample.name for sample in made.train] == [sample.name for sample in made.relabelled]
    assert all((sample.boxes == own[sample.name].boxes).all() for sample in [*made.train, *made.val])
    assert all(sample.boxes.tolist() == [[10, 10, 40, 30]] for sample in made.relabelled)


def test_a_recipe_that_learns_of_one_labelling_refuses_two(field_dir, tmp_path):
    (tmp_path / "other.csv").write_text("image_id,bbox\n")
    options = ["--labels", tmp_path / "other.csv", "--both", "--out", tmp_path / "run"]
    message = complaint("train", field_dir, "--recipe", "medium", *options)
    assert message == "--both: no stage of medium learns of two labellings; leave it out"
    assert not (tmp_path / "run").exists()


def test_both_labellings_need_a_second_one(field_dir, tmp_path):
    message = complaint("train", field_dir, "--recipe", "small", "--both", "--out", tmp_path / "run")
    assert message == "--both: give the other labels by --labels CSV"


@pytest.mark.parametrize("option", [["--resume"], ["--stage", "rpn"]])
def test_going_on(fake, field_dir, trained, option, tmp_path):
    data = Path(shutil.copytree(field_dir, tmp_path / "data"))
    shutil.copy(fake / "images.csv", data)
    result = command("train", data, "--recipe", TINY, "--out", fake, *option)
    assert result.exit_code == 0, result.output
    assert trained[0][0].resume


def test_a_run_goes_on_from_its_own_weights_only(fake, field_dir, data, trained, tmp_path):
    shutil.copy(fake / "images.csv", data)
    options = ["train", data, "--recipe", TINY, "--out", fake, "--resume"]
    other = fake / "cnn" / "weights.safetensors"
    message = complaint(*options, "--weights", other)
    assert (
        message
        == f"{fake}: holds a run that began with no --weights; give the same, or choose another folder"
    )
    facts = read_json(fake / "run.json")
    write_json(fake / "run.json", facts | {"weights": {"file": "mine.pth", "sha256": sha256(other)}})
    assert "began with --weights mine.pth; give the same" in complaint(*options)
    assert command(*options, "--weights", other).exit_code == 0
    assert len(trained) == 1


def test_a_stage_that_is_finished_is_said_to_be(fake, data, trained):
    shutil.copy(fake / "images.csv", data)
    result = command("train", data, "--recipe", TINY, "--out", fake, "--stage", "rpn")
    assert f"Stage rpn was finished already; remove {fake / 'rpn'} to train it again" in result.stdout
    (fake / "rcnn" / "metrics.json").unlink()
    result = command("train", data, "--recipe", TINY, "--out", fake, "--stage", "rpn")
    assert result.stdout.endswith("Done. Left: rcnn\n")


@pytest.mark.parametrize(("stop", "code"), [(SystemExit(1), 130), (SIGTERMException(), 143)])
def test_a_run_that_is_stopped_says_how_to_go_on(field_dir, tmp_path, monkeypatch, stop, code):
    def stopped(*_: object) -> None:
        raise stop

    monkeypatch.setattr(run, "train_run", stopped)
    result = command("train", field_dir, "--recipe", TINY, "--out", tmp_path / "run")
    assert result.exit_code == code
    assert result.stderr == "wheatear: stopped; go on by the same command with --resume\n"


def test_boxes_that_are_left_out_are_counted(data, tmp_path, trained):
    with (data / "train.csv").open("a") as file:
        file.write(file_line := f"{(data / 'train.csv').read_text().splitlines()[1]}\n")
        file.write(file_line)
    result = command("train", data, "--recipe", TINY, "--out", tmp_path / "run")
    left = re.match(r"left out, as they cannot be heads: (\d+) of the boxes", result.stdout)
    assert left
    assert int(left[1]) >= 2


@pytest.mark.parametrize(
    ("precision", "has", "said"),
    [
        ("bf16-mixed", {"avx512_f": True, "avx512_vnni": True, "avx512_bf16": False}, True),
        ("bf16-mixed", {"avx512_f": True, "avx512_bf16": True}, False),
        ("bf16-mixed", {"neon": True, "bf16": True}, False),
        ("32-true", {}, False),
    ],
)
def test_a_processor_that_only_imitates_bfloat16(
    field_dir, tmp_path, trained, monkeypatch, precision, has, said
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    result = command(
        "train",
        field_dir,
        "--recipe",
        TINY,
        "--out",
        tmp_path / "run",
        "--precision",
        precision,
        "--accelerator",
        "cpu",
    )
    assert result.exit_code == 0
    assert bool(trained)
    assert ("imitates" in result.stderr) == said


def test_float16_is_for_gpus(field_dir, tmp_path, trained):
    options = ["--out", tmp_path / "run", "--precision", "16-mixed", "--accelerator", "cpu"]
    assert complaint("train", field_dir, "--recipe", TINY, *options).startswith(
        "--precision 16-mixed: is for GPUs"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork", "ddp_notebook"])
def test_processes_that_python_starts_cannot_train(field_dir, tmp_path, trained, strategy):
    options = ["--out", tmp_path / "run", "--strategy", strategy]
    assert "give ddp" in complaint("train", field_dir, "--recipe", TINY, *options)


@pytest.mark.parametrize(
    "options", [["--accelerator", "tpu"], ["--strategy", "xla"], ["--strategy", "single_xla"]]
)
def test_a_machine_that_is_not_there(field_dir, tmp_path, options):
    message = complaint("train", field_dir, "--recipe", TINY, "--out", tmp_path / "run", *options)
    assert " ".join(options) in message


def test_a_folder_that_another_training_writes_into(field_dir, tmp_path, trained):
    (tmp_path / "run").mkdir()
    with alone_in(tmp_path / "run"):
        message = complaint("train", field_dir, "--recipe", TINY, "--out", tmp_path / "run")
    assert "another run is writing there" in message
    assert not trained


def test_a_second_training_leaves_the_first_ones_recipe(field_dir, tmp_path, trained):
    assert command("train", field_dir, "--recipe", TINY, "--out", tmp_path / "run").exit_code == 0
    before = (tmp_path / "run" / "recipe.json").read_text()
    with alone_in(tmp_path / "run"):
        message = complaint("train", field_dir, "--recipe", "seed", "--out", tmp_path / "run")
    assert "another run is writing there" in message
    assert (tmp_path / "run" / "recipe.json").read_text() == before


def test_a_run_is_not_written_into_a_data_set(data, trained):
    own = "image_id,split,remark\n"
    (data / "images.csv").write_text(own)
    message = complaint("train", data, "--recipe", TINY, "--out", data)
    assert message == f"{data}: is the folder of the data set; name another for --out"
    assert (data / "images.csv").read_text() == own
    assert command("train", data, "--recipe", TINY, "--out", "").exit_code == 2


@pytest.mark.parametrize("name", ["missing.safetensors", "resnet18.pth"])
def test_weights_of_no_detector_are_named(field_dir, tmp_path, trained, name):
    options = ["--recipe", "adapt", "--weights", tmp_path / name, "--out", tmp_path / "run"]
    assert f"{tmp_path / name}: holds no trained detector" in complaint("train", field_dir, *options)
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_there_is_refused(fake, field_dir, trained):
    message = complaint("train", field_dir, "--recipe", TINY, "--out", fake)
    assert message == f"{fake}: holds a run already; go on with it by --resume or choose another folder"
    assert not trained


def test_another_recipe_is_refused(fake, field_dir, trained):
    message = complaint("train", field_dir, "--recipe", "seed", "--out", fake, "--resume")
    assert message.endswith("holds a run of another recipe; choose another folder")
    assert not trained


def test_what_is_wrong_is_said_in_one_line(data, tmp_path):
    out = tmp_path / "run"
    assert complaint("train", tmp_path / "none", "--out", out) == f"{tmp_path / 'none'}: no such folder"
    assert "not one of adapt, blend, medium, polish, seed" in complaint(
        "train", data, "--recipe", "sead", "--out", out
    )
    broken = tiny_toml(tmp_path, ("seed = 1", 'seed = "one"'))
    assert complaint("train", data, "--recipe", broken, "--out", out).startswith(f"{broken}: seed: ")
    message = complaint("train", data, "--recipe", TINY, "--stage", "joint", "--out", out)
    assert message == "--stage joint: not a stage of the recipe; it has cnn, rpn, rcnn"
    assert not out.exists()
    assert "stage cnn is not finished" in complaint(
        "train", data, "--recipe", TINY, "--stage", "rpn", "--out", out
    )
    (data / "train" / "field_00003.jpg").write_bytes(b"no photo")
    assert "field_00003.jpg: cannot be read" in complaint(
        "train", data, "--recipe", TINY, "--out", tmp_path / "other"
    )


def test_one_photo_is_too_few(data, tmp_path):
    for photo in sorted((data / "train").iterdir())[1:]:
        photo.unlink()
    lines = (data / "train.csv").read_text().splitlines()
    (data / "train.csv").write_text(
        "\n".join([lines[0], *(line for line in lines if "field_00000" in line), ""])
    )
    message = complaint("train", data, "--recipe", TINY, "--out", tmp_path / "run")
    assert message.startswith("no photo is in the split 'val'; add another field photo")


def test_a_precision_that_does_not_exist(field_dir, tmp_path):
    assert "--precision" in complaint(
        "train", field_dir, "--recipe", TINY, "--precision", "half", "--out", tmp_path / "run"
    )


@pytest.mark.parametrize("arguments", [["train", "data"], ["export", "run"]])
def test_without_the_training_packages_the_user_learns_what_to_install(monkeypatch, arguments):
    monkeypatch.setitem(sys.modules, "lightning", None)  # as if it were not installed
    message = complaint(*arguments)
    assert message.startswith("training needs more packages (")
    assert message.endswith("; run pip install '.[train]' in wheatear's folder")


# export


def test_an_export_says_where_it_is(fake, exported):
    result = command("export", fake)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"Written to {fake / 'model.onnx'} (0.0 MB)\n"
    assert json.loads((fake / "model.json").read_text())["name"] == "tiny"


def test_an_export_that_forgets_thresholds_says_so(fake, exported):
    assert command("export", fake).stderr == ""
    assert command("export", fake).stderr == ""  # none were chosen
    card = json.loads((fake / "model.json").read_text())
    (fake / "model.json").write_text(json.dumps(card | {"count_threshold": 0.6}))
    again = command("export", fake)
    assert again.exit_code == 0
    assert again.stderr.startswith(f"wheatear: {fake / 'model.json'}: the thresholds of before are gone; ")
    assert again.stderr.count("\n") == 1


def test_an_export_to_another_place(fake, exported, tmp_path):
    (tmp_path / "weights").mkdir()
    assert command("export", fake, "--out", tmp_path / "weights" / "mine.onnx").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "weights").iterdir()) == ["mine.json", "mine.onnx"]
    assert not (fake / "model.onnx").exists()


def test_an_export_does_not_write_over_what_is_no_card(fake, exported, tmp_path):
    foreign = tmp_path / "mine.json"
    foreign.write_text('{"plots": 12}')
    message = complaint("export", fake, "--out", tmp_path / "mine.onnx")
    there = f"{foreign}: is there already, and no model's card"
    assert message == f"{there}; remove it, or name another file for --out"
    assert foreign.read_text() == '{"plots": 12}'
    assert not (tmp_path / "mine.onnx").exists()


@pytest.mark.parametrize("apart", [(0.4, 0.0009, 0), (0.6, 0.0009, 7), (float("inf"), float("inf"), 8)])
def test_an_export_is_checked_on_the_val_photos(fake, exported, data, monkeypatch, apart):
    (data / "images.csv").write_text((fake / "images.csv").read_text())
    seen = []

    def compare(run_folder: Path, path: Path, samples: list[Sample], _: None) -> agreement.Agreement:
        seen.append((run_folder, path, [sample.name for sample in samples]))
        return agreement.Agreement(len(samples), 7000, *apart)

    monkeypatch.setattr(agreement, "compare", compare)
    result = command("export", fake, "--check", data)
    assert seen == [(fake, fake / "model.onnx", ["field_00000"])]
    assert (
        f"1 photo, 7000 detections: torch and onnxruntime differ by at most {apart[0]:.2g} px"
        in result.stdout
    )
    assert f", {apart[2]} of them by more than 0.5 px or 0.001\n" in result.stdout
    if apart[2] <= 7:
        assert result.exit_code == 0
        assert result.stderr == ""
    else:
        assert result.exit_code == 1
        assert (
            result.stderr
            == f"wheatear: {fake / 'model.onnx'}: that is more than rounding explains; do not use it\n"
        )


@pytest.mark.parametrize("int8", [0.648, 0.646])
def test_an_export_in_8_bits_is_judged_on_the_val_photos(fake, exported, data, monkeypatch, int8):
    (data / "images.csv").write_text((fake / "images.csv").read_text())
    monkeypatch.setattr(
        agreement, "cost", lambda _, __, samples, ___: agreement.Cost(len(samples), 0.65, int8)
    )
    result = command("export", fake, "--int8", data, "--check", data)
    assert f"1 photo: Kaggle metric 0.6500 by torch, {int8:.4f} in 8 bits\n" in result.stdout
    assert read_json(fake / "model.json")["arithmetic"] == "int8"
    if int8 == 0.648:
        assert result.exit_code == 0
    else:
        assert result.exit_code == 1
        assert (
            result.stderr
            == f"wheatear: {fake / 'model.onnx'}: loses more than 0.003; export it without --int8\n"
        )


def test_an_export_sees_the_photos_as_the_run_divided_them(fake, exported, data, tmp_path, monkeypatch):
    """DIR divides nothing, and the run had more photos than DIR has."""
    with (fake / "images.csv").open("a") as file:
        file.write("more_00000,,,,train\n")
    seen = {}
    model = write_tiny_model(tmp_path, "cells")
    write_instead(monkeypatch, lambda _, path, photos: shutil.copy(model, path) and seen.update(train=photos))
    monkeypatch.setattr(
        agreement, "cost", lambda _, __, photos, ___: seen.update(val=photos) or agreement.Cost(1, 0.65, 0.65)
    )
    assert command("export", fake, "--int8", data, "--check", data).exit_code == 0
    names = {split: [sample.name for sample in photos] for split, photos in seen.items()}
    assert names == {"train": [f"field_0000{k}" for k in range(1, 8)], "val": ["field_00000"]}


def test_an_export_by_another_recipe(fake, exported, tmp_path):
    """Its name, size and detection are the other's; the network and its training are the run's."""
    out, other = tmp_path / "other.onnx", load_recipe("medium").model_dump(mode="json")
    assert command("export", fake, "--out", out, "--recipe", "medium").exit_code == 0
    card = read_json(out.with_suffix(".json"))
    taken = {key: other[key] for key in ("name", "image_size", "detection")}
    assert card["recipe"] == read_json(fake / "recipe.json") | taken
    assert (card["name"], card["usual_tta"]) == ("medium", other["detection"]["tta"])
    assert "not one of" in complaint("export", fake, "--recipe", "none")


def test_a_detector_is_exported_anew(fake, data, tmp_path, monkeypatch):
    """It has no division of its own, so the data set's is taken."""
    shutil.copy(fake / "images.csv", data)
    seen = {}
    model = write_tiny_model(tmp_path, "cells")
    write_instead(monkeypatch, lambda _, path, photos: shutil.copy(model, path) and seen.update(train=photos))
    out = tmp_path / "new.onnx"
    assert command("export", "seed", "--int8", data, "--out", out).exit_code == 0
    assert read_json(out.with_suffix(".json"))["name"] == "seed"
    assert [sample.name for sample in seen["train"]] == [f"field_0000{k}" for k in range(1, 8)]


def test_a_detector_that_is_exported_anew_needs_another_place(tmp_path):
    model = write_tiny_model(tmp_path, "cells")
    for given in ([model], [model, "--out", model], ["small"]):
        message = complaint("export", *given)
        assert message == f"{given[0]}: give another file to write by --out"
    assert complaint("export", "smal").endswith("is this a run folder?")
    assert "no such model" in complaint("export", tmp_path / "none.onnx", "--out", tmp_path / "new.onnx")


def test_an_export_that_is_another_detector_does_not_pass_its_check(fake, exported, field_dir):
    assert complaint("export", fake, "--check", field_dir).endswith(
        "do not use it"
    )  # there is nothing red in a field


def test_the_photos_of_a_check_are_looked_for_before_the_export(fake, tmp_path):
    assert complaint("export", fake, "--check", tmp_path / "none").endswith("none: no such folder")
    assert not (fake / "model.onnx").exists()


def test_runs_that_cannot_be_exported(fake, tmp_path):
    assert "is this a run folder?" in complaint("export", tmp_path / "none")
    (fake / "rpn" / "metrics.json").unlink()
    assert "stage rpn is not finished" in complaint("export", fake)
    assert not (fake / "model.onnx").exists()


def test_an_export_makes_the_folder_that_is_not_there(fake, exported, tmp_path):
    assert command("export", fake, "--out", tmp_path / "new" / "mine.onnx").exit_code == 0
    assert (tmp_path / "new" / "mine.onnx").exists()
    (tmp_path / "folder.onnx").mkdir()
    assert complaint("export", fake, "--out", tmp_path / "folder.onnx").endswith(": is a folder; name a file")
    assert "name a file that ends in .onnx" in complaint("export", fake, "--out", tmp_path / "det.json")
