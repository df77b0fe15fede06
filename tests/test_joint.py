"""The joint stage from photos to weights: it learns, it resumes, and several processes learn as one."""

import csv
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from tiny_recipe import tiny_recipe
from wheatear.data.check import clean
from wheatear.data.formats import read_dataset
from wheatear.data.sample import Sample
from wheatear.detections import Detections
from wheatear.errors import InputError
from wheatear.train import joint_data
from wheatear.train.checkpoint import read_json
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.joint import JointTraining, lr_share
from wheatear.train.joint_data import Batch, EpochItems, TrainingPhotos, WholePhotos
from wheatear.train.machine import Machine
from wheatear.train.opening import open_run
from wheatear.train.recipe import Recipe
from wheatear.train.roi import label_proposals
from wheatear.train.run import prepare, train_run
from wheatear.train.run_card import describe_run, load_run

torch.set_num_threads(1)

CPU = Machine(accelerator="cpu")


@pytest.fixture(scope="module")
def samples(field_dir: Path) -> list[Sample]:
    """Six drawn photos to train on, one of them empty, and two to validate on."""
    read = read_dataset(field_dir)
    return [replace(s, photo=s.name, split="val" if i < 2 else "train") for i, s in enumerate(read)]


def train(
    folder: Path, recipe: Recipe, samples: list[Sample], *, resume: bool = False, workers: int = 0
) -> list[dict[str, str]]:
    machine = replace(CPU, workers=workers)
    train_run(open_run(folder, recipe, samples, machine=machine, resume=resume))
    return history(folder / "joint")


def history(stage: Path) -> list[dict[str, str]]:
    with (stage / "metrics.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def assert_same_weights(one: Path, other: Path) -> None:
    """Of two stages' folders, to the bit."""
    ours, theirs = (load_file(stage / "weights.safetensors") for stage in (one, other))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def kill_in_the_second_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    step = JointTraining.training_step

    def killed(self: JointTraining, batch: Batch, batch_idx: int) -> Any:
        if self.current_epoch == 1 and batch_idx == 1:
            raise RuntimeError("killed")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(JointTraining, "training_step", killed)


def total(row: dict[str, str]) -> float:
    return sum(float(value) for key, value in row.items() if key.startswith("train_loss"))


def test_it_learns_and_is_judged_when_asked(tmp_path, samples):
    rows = train(tmp_path / "run", tiny_recipe({"epochs": 4, "val_every": 2, "batch_size": 1}), samples)
    assert total(rows[-1]) < 0.9 * total(rows[0])
    assert [bool(row["val_kaggle"]) for row in rows] == [False, True, False, True]
    assert (tmp_path / "run" / "joint" / "history.png").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_run_equals_an_unbroken_one(tmp_path, samples, monkeypatch, workers):
    recipe = tiny_recipe({"ema": 0.5})
    unbroken = train(tmp_path / "unbroken", recipe, samples)
    kill_in_the_second_epoch(monkeypatch)
    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path / "resumed", recipe, samples, workers=workers)
    monkeypatch.undo()
    resumed = train(tmp_path / "resumed", recipe, samples, resume=True, workers=workers)
    for one, other in zip(unbroken, resumed, strict=True):
        assert one | {"seconds": ""} == other | {"seconds": ""}
    assert_same_weights(tmp_path / "unbroken" / "joint", tmp_path / "resumed" / "joint")


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal on this system")
def test_a_process_that_is_killed_while_it_loads_photos_is_one_line(tmp_path, samples, monkeypatch):
    getitem = TrainingPhotos.__getitem__

    def killed(self: TrainingPhotos, item: int) -> Any:
        if item >= len(self):  # in the second epoch
            os.kill(os.getpid(), signal.SIGKILL)
        return getitem(self, item)

    recipe = tiny_recipe({"ema": 0.5})
    with monkeypatch.context() as killing:
        killing.setattr(TrainingPhotos, "__getitem__", killed)
        with pytest.raises(
            InputError, match=r"^--workers 1: one of these processes was killed, .*by --resume$"
        ):
            train(tmp_path / "killed", recipe, samples, workers=1)
    train(tmp_path / "unbroken", recipe, samples)
    train(tmp_path / "killed", recipe, samples, resume=True)
    assert_same_weights(tmp_path / "unbroken" / "joint", tmp_path / "killed" / "joint")


def test_photos_that_do_not_fit_into_the_shared_memory_are_not_waited_for(tmp_path, samples, monkeypatch):
    """An epoch has two batches of three crops of 128 px, which are 0.3 MB, and two photos of 256 px for validation."""
    monkeypatch.setattr(joint_data, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=300_000))
    with pytest.raises(
        InputError, match=r"^--workers 9: load up to 1 MB ahead, and .* has room for 0 MB; give fewer"
    ):
        train(tmp_path / "run", tiny_recipe(), samples, workers=9)
    assert not (tmp_path / "run" / "joint").exists()
    joint_data.refuse_little_memory(150_000, 2, 9)
    joint_data.refuse_little_memory(300_001, 2, 0)


def test_a_run_killed_before_its_weights_were_written_ends_with_the_averaged_ones(tmp_path, samples):
    recipe = tiny_recipe({"ema": 0.5})
    train(tmp_path / "run", recipe, samples)
    shutil.copytree(tmp_path / "run", tmp_path / "before")
    for name in ("weights.safetensors", "metrics.json"):
        (tmp_path / "run" / "joint" / name).unlink()
    train(tmp_path / "run", recipe, samples, resume=True)
    assert_same_weights(tmp_path / "before" / "joint", tmp_path / "run" / "joint")


def test_before_the_average_begins_the_weights_themselves_are_judged(tmp_path, samples):
    """An average of nothing would be what the training began with; here it begins in the second of two epochs."""
    stage = {"warmup_steps": 3}
    plain = train(tmp_path / "plain", tiny_recipe(stage), samples)
    averaged = train(tmp_path / "averaged", tiny_recipe(stage | {"ema": 0.5}), samples)
    assert averaged[0] | {"seconds": ""} == plain[0] | {"seconds": ""}


def test_a_machine_that_is_not_there_is_one_line(tmp_path, samples):
    machine = replace(CPU, accelerator="abacus")
    with pytest.raises(InputError, match=r"^--accelerator abacus, --devices 1, --strategy auto, .*: "):
        train_run(open_run(tmp_path / "run", tiny_recipe(), samples, machine=machine))


def test_photos_without_a_head_teach_nothing(tmp_path, samples):
    bare = [replace(sample, boxes=sample.boxes[:0], rows=sample.rows[:0]) for sample in samples]
    with pytest.raises(InputError, match="no head is labelled in the train photos"):
        open_run(tmp_path / "run", tiny_recipe(), bare, machine=CPU)
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_gone_on_with_on_other_boxes(tmp_path, samples):
    open_run(tmp_path / "run", tiny_recipe(), samples, machine=CPU)
    (tmp_path / "run" / "joint").mkdir()
    (tmp_path / "run" / "joint" / "last.ckpt").touch()  # it has begun
    open_run(tmp_path / "run", tiny_recipe(), samples[::-1], machine=CPU, resume=True)
    other = [replace(samples[0], boxes=samples[0].boxes + 1), *samples[1:]]
    with pytest.raises(InputError, match="holds a run on other boxes of these photos"):
        open_run(tmp_path / "run", tiny_recipe(), other, machine=CPU, resume=True)


def test_refine_goes_on_from_what_joint_left(tmp_path, samples):
    recipe = tiny_recipe({"val_every": 2})
    stages = [recipe.stages[0], recipe.stages[0].model_copy(update={"stage": "refine", "proposals": 80})]
    recipe = Recipe.model_validate(recipe.model_copy(update={"stages": stages}).model_dump())
    rows = train(tmp_path / "run", recipe, samples)
    refined = history(tmp_path / "run" / "refine")
    assert rows[0]["lr"] == refined[0]["lr"]  # the rate begins anew
    assert (
        refined[0]["train_loss_objectness"] < rows[1]["train_loss_objectness"] < "0.69"
    )  # the weights do not
    assert load_run(tmp_path / "run").recipe == recipe
    card = describe_run(tmp_path / "run", recipe)
    assert list(card.figures["stages"]) == ["joint", "refine"]


def test_refine_is_a_run_of_the_next_seed_from_those_weights(tmp_path, samples):
    stage = tiny_recipe().stages[0]
    both = [stage, stage.model_copy(update={"stage": "refine"})]
    train(tmp_path / "one", tiny_recipe().model_copy(update={"stages": both}), samples)
    start = tmp_path / "one" / "joint" / "weights.safetensors"
    train_run(open_run(tmp_path / "two", tiny_recipe(seed=1), samples, machine=CPU, weights=start))
    assert_same_weights(tmp_path / "one" / "refine", tmp_path / "two" / "joint")


def test_blend_keeps_the_weights_half_way(tmp_path, samples):
    tensors = {}
    for share in (1.0, 0.5):
        stage = tiny_recipe({"epochs": 3, "val_every": 3}).stages[0]
        blend = stage.model_copy(update={"stage": "blend", "share": share})
        run = tmp_path / str(share)
        train(run, tiny_recipe().model_copy(update={"stages": [stage, blend]}), samples)
        tensors[share] = load_file(run / "blend" / "weights.safetensors")
        figures = read_json(run / "blend" / "metrics.json")
        assert figures["epoch"] == 3
        val = [clean(sample) for sample in samples if sample.split == "val"]
        kept = JointTraining(load_run(run), blend, 0, val)
        expected = kept.judge(
            DataLoader(WholePhotos(val), 1, collate_fn=list), "32-true", torch.device("cpu")
        )
        assert {name: figures[name] for name in expected} == pytest.approx(expected)
        assert float(history(run / "blend")[-1]["val_kaggle"]) == pytest.approx(
            expected["val_kaggle"], abs=1e-6
        )
    before = load_file(run / "joint" / "weights.safetensors")
    assert before.keys() == tensors[0.5].keys()
    for name, tensor in tensors[0.5].items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, (before[name] + tensors[1.0][name]) / 2)
    assert not torch.equal(before["rpn.head.conv.weight"], tensors[0.5]["rpn.head.conv.weight"])


def test_blend_alone_goes_on_from_a_trained_detector(tmp_path, samples, monkeypatch):
    """To the same weights as after a joint stage, also where it was killed and went on.

    The averages leave the mean colour as it is, which the second network has anew.
    """
    recipe = tiny_recipe({"ema": 0.9})
    backbone = recipe.backbone.model_copy(update={"mean": (0.485, 0.456, 0.406)})
    recipe = recipe.model_copy(update={"backbone": backbone})
    (stage,) = recipe.stages
    blend = stage.model_copy(update={"stage": "blend", "share": 0.5})
    both, alone = (recipe.model_copy(update={"stages": s}) for s in ([stage, blend], [blend]))
    train(tmp_path / "both", both, samples)

    def go_on(resume: bool) -> None:
        start = tmp_path / "both" / "joint" / "weights.safetensors"
        train_run(open_run(tmp_path / "alone", alone, samples, machine=CPU, weights=start, resume=resume))

    kill_in_the_second_epoch(monkeypatch)
    with pytest.raises(RuntimeError, match="killed"):
        go_on(resume=False)
    monkeypatch.undo()
    go_on(resume=True)
    assert_same_weights(tmp_path / "both" / "blend", tmp_path / "alone" / "blend")
    assert load_run(tmp_path / "alone").recipe == alone


def test_blend_alone_wants_a_trained_detector(tmp_path, samples):
    recipe, backbone = tiny_recipe({"stage": "blend", "share": 0.5}), tmp_path / "backbone.pth"
    for weights, says in ((None, "give one by --weights"), (backbone, "pth: holds no trained detector")):
        with pytest.raises(InputError, match=f"recipe tiny: goes on from a trained detector; .*{says}"):
            open_run(tmp_path / "run", recipe, samples, machine=CPU, weights=weights)
    assert not (tmp_path / "run").exists()


def test_the_first_stage_has_nothing_to_go_back_to():
    stage = {"stage": "joint", "share": 0.5}
    with pytest.raises(
        ValueError, match="stages: the first one begins with nothing to keep; give it no share"
    ):
        tiny_recipe(stage)


@pytest.mark.parametrize(
    "names", [["refine"], ["joint", "blend", "refine"], ["refine", "blend"], ["joint", "joint"]]
)
def test_joint_stages_in_another_order_are_refused(names):
    stages = [tiny_recipe().stages[0].model_dump() | {"stage": name} for name in names]
    with pytest.raises(ValueError, match="or joint, refine, blend"):
        tiny_recipe(stages=stages)


@pytest.mark.parametrize(("image_size", "factor"), [(None, 2.0), (512, 0.5)])
def test_a_stage_may_train_at_another_scale(tmp_path, samples, image_size, factor):
    recipe = tiny_recipe({"image_size": image_size})
    run = open_run(tmp_path / "run", recipe, samples, machine=CPU)
    assert prepare(run, FasterRCNN(recipe), recipe.stages[0]).train.dataset.factor == factor


@pytest.mark.parametrize("box_loss", ["smooth_l1", "giou"])
def test_photos_without_heads_have_no_loss_of_boxes(box_loss):
    recipe = tiny_recipe()
    recipe = recipe.model_copy(update={"roi": recipe.roi.model_copy(update={"box_loss": box_loss})})
    module = JointTraining(FasterRCNN(recipe), recipe.stages[0], 0, [])
    losses = module.losses(Batch(torch.zeros(2, 3, 64, 64, dtype=torch.uint8), [torch.zeros(0, 4)] * 2))
    assert {name for name, loss in losses.items() if loss.item() == 0} == {
        "loss_rpn_box_reg",
        "loss_box_reg",
        "loss_quality",
    }
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None for p in module.model.parameters())


def test_a_training_photo_follows_from_seed_and_item_alone(samples):
    recipe = tiny_recipe()
    photos, again = (TrainingPhotos(samples, 2048, recipe.stages[0].augment, seed=1) for _ in range(2))
    image, boxes = photos[5]
    assert image.shape == (3, 128, 128)
    assert boxes.shape[1:] == (4,)
    assert torch.equal(image, again[5][0])
    assert not torch.equal(image, photos[5 + len(samples)][0])


def test_a_photo_has_either_of_two_labellings(samples):
    recipe, bare = tiny_recipe().stages[0].augment, [replace(s, boxes=s.boxes[:0]) for s in samples]
    photos = TrainingPhotos(samples, 2048, recipe, 1, bare)
    rng = np.random.default_rng(0)
    seen = [len(photos.picture(0, rng).boxes) for _ in range(100)]
    assert set(seen) == {0, len(samples[0].boxes)}
    assert 35 < seen.count(0) < 65
    again = TrainingPhotos(samples, 2048, recipe, 1, bare)
    assert all(torch.equal(photos[item][1], again[item][1]) for item in range(10))


def test_one_labelling_draws_no_luck(samples):
    """So that what is drawn for a photo does not depend on whether there could have been another."""
    rng = np.random.default_rng(0)
    photos = TrainingPhotos(samples, 2048, tiny_recipe().stages[0].augment, 1)
    assert len(photos.picture(0, rng).boxes) == len(samples[0].boxes)
    assert rng.random() == np.random.default_rng(0).random()


def test_items_say_the_epoch_and_processes_share_them(monkeypatch):
    items = EpochItems(5, seed=0)
    items.set_epoch(3)
    assert sorted(items) == [15, 16, 17, 18, 19]
    order, shares = list(items), []
    for rank in range(2):
        monkeypatch.setattr("wheatear.train.order.processes", lambda rank=rank: (rank, 2))
        assert len(items) == 3
        shares.append(list(items))
    assert shares == [[order[0], order[2], order[4]], [order[1], order[3], order[0]]]


@pytest.mark.parametrize(
    ("step", "share"), [(0, 1 / 5), (3, 4 / 5 * (0.1 + 0.9 * 0.9755)), (10, 0.55), (20, 0.1), (25, 0.1)]
)
def test_the_rate_rises_and_falls(step, share):
    assert lr_share(step, total=20 if step != 3 else 30, warmup=4, final=0.1) == pytest.approx(
        share, abs=1e-3
    )


def test_a_stage_shorter_than_its_warm_up_is_refused(tmp_path, samples):
    with pytest.raises(InputError, match=r"stage joint: 4 steps in all for .* photos, 4 to warm up"):
        train(tmp_path / "run", tiny_recipe({"warmup_steps": 4}), samples)


def test_a_later_stage_is_refused_before_the_first_has_learned(tmp_path, samples):
    recipe = tiny_recipe().model_dump(mode="json")
    recipe["stages"].append(recipe["stages"][0] | {"stage": "blend", "share": 0.5, "warmup_steps": 50})
    with pytest.raises(InputError, match=r"stage blend: 4 steps in all for .* photos, 50 to warm up"):
        train(tmp_path / "run", Recipe.model_validate(recipe), samples)
    assert not (tmp_path / "run").exists()


def test_a_stage_that_is_not_trained_may_be_too_short(tmp_path, samples):
    recipe = tiny_recipe().model_dump(mode="json")
    recipe["stages"].append(recipe["stages"][0] | {"stage": "blend", "share": 0.5, "warmup_steps": 50})
    run = open_run(tmp_path / "run", Recipe.model_validate(recipe), samples, machine=CPU, only="joint")
    assert run.folder.exists()
    with pytest.raises(InputError, match="stage blend: 4 steps in all"):
        open_run(tmp_path / "other", run.recipe, samples, machine=CPU, only="blend")


def test_two_processes_end_with_the_same_weights(tmp_path, field_dir):
    script = Path(__file__).with_name("train_on_two.py")
    done = subprocess.run(
        [sys.executable, str(script), str(field_dir), str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    digests = [(tmp_path / f"rank{rank}").read_text() for rank in range(2)]
    assert digests[0] == digests[1]
    assert (tmp_path / "run" / "joint" / "weights.safetensors").exists()
    assert len(history(tmp_path / "run" / "joint")) == 2


def test_a_step_draws_from_the_stages_proposals_and_sums_all_losses(monkeypatch):
    recipe = tiny_recipe({"proposals": 5})
    module = JointTraining(FasterRCNN(recipe), recipe.stages[0], 0, [])
    seen = []

    def label(proposals, *given):
        seen.append([len(boxes) for boxes in proposals])
        return label_proposals(proposals, *given)

    monkeypatch.setattr("wheatear.train.joint.label_proposals", label)
    batch = Batch(
        torch.zeros(2, 3, 64, 64, dtype=torch.uint8), [torch.tensor([[10.0, 10, 40, 40]]), torch.zeros(0, 4)]
    )
    module.losses(batch)
    assert seen == [[5, 5]]
    monkeypatch.setattr(module, "losses", lambda _: {"a": torch.tensor(1.0), "b": torch.tensor(2.0)})
    monkeypatch.setattr(module, "log_means", lambda *_: None)
    assert module.training_step(batch, 0).item() == 3


def test_a_stage_is_judged_at_its_best_thresholds(samples):
    """A head and, at half of its score, a false alarm."""
    val, recipe, logged = (
        [replace(samples[0], boxes=np.array([[0, 0, 10, 10]], np.float32))],
        tiny_recipe(),
        {},
    )
    module = JointTraining(FasterRCNN(recipe), recipe.stages[0], 0, val)
    module.log = logged.__setitem__
    boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60]])
    module.found = {val[0].path.name: Detections(boxes, np.array([0.8, 0.4]))}
    module.on_validation_epoch_end()
    assert logged == {"val_kaggle": 1.0, "val_threshold": 0.41, "val_count_mae": 0.0}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_optimisers_groups(optimizer):
    """The new layers at the rate that is written down, the backbone at its share; no decay of biases and norms."""
    recipe = tiny_recipe(
        {"optimizer": optimizer, "lr": 0.1, "backbone_lr": 0.5, "warmup_steps": 1, "final_lr": 0.2}
    )
    module = JointTraining(FasterRCNN(recipe), recipe.stages[0], 0, [])
    module._trainer = SimpleNamespace(estimated_stepping_batches=10)
    chosen = module.configure_optimizers()
    groups = chosen["optimizer"].param_groups
    assert [(g["initial_lr"], g["weight_decay"]) for g in groups] == [
        (0.1, 0.01),
        (0.1, 0),
        (0.05, 0.01),
        (0.05, 0),
    ]
    assert all(optimizer == "adamw" or (g["nesterov"] and g["momentum"] == 0.9) for g in groups)
    backbone = {id(p) for p in module.model.backbone.parameters()}
    assert [{id(p) in backbone for p in g["params"]} for g in groups] == [{False}, {False}, {True}, {True}]
    rate = chosen["lr_scheduler"]["scheduler"].lr_lambdas[0]
    assert [rate(0), rate(10)] == pytest.approx([0.5, 0.2])
