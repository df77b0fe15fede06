"""Another labelling of the train photos: what is learnt, what is written down, what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tiny_recipe
import tiny_run
from wheatear.data.sample import Sample
from wheatear.errors import InputError
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.opening import Run, open_run
from wheatear.train.relabelled import Relabelled, is_same, labellings
from wheatear.train.run import prepare

BOX = [[10, 10, 40, 30]]


@pytest.fixture(scope="module")
def samples(field_dir: Path) -> list[Sample]:
    return tiny_run.divided(field_dir)


def other(samples: list[Sample], folder: Path, *, both: bool) -> Relabelled:
    """Labels of one box a photo, but for the last, which they do not know."""
    file = folder / "other.csv"
    file.write_text("labels")
    boxes = np.array(BOX, np.float32)
    return Relabelled(file, [replace(s, boxes=boxes, rows=s.rows[:1]) for s in samples[:-1]], both)


def opened(samples: list[Sample], folder: Path, labels: Relabelled | None, *, resume: bool = False) -> Run:
    return open_run(folder / "run", tiny_recipe.tiny_recipe(), samples, other_labels=labels, resume=resume)


def test_without_another_labelling_the_own_is_learnt(samples, tmp_path):
    run = opened(samples, tmp_path, None)
    assert run.relabelled == []
    assert json.loads((tmp_path / "run" / "run.json").read_text())["labels"] is None


@pytest.mark.parametrize("both", [False, True])
def test_what_is_learnt_and_written_down(samples, tmp_path, both):
    run = opened(samples, tmp_path, other(samples, tmp_path, both=both))
    own = {sample.name: len(sample.boxes) for sample in samples}
    new = run.relabelled if both else run.train
    assert [sample.boxes.tolist() for sample in new[:-1]] == [BOX] * 6
    assert len(new[-1].boxes) == own[new[-1].name]  # of a photo that the others do not know
    if both:
        assert [len(sample.boxes) for sample in run.train] == [own[sample.name] for sample in run.train]
    assert bool(run.relabelled) == both
    assert [len(sample.boxes) for sample in run.val] == [own[sample.name] for sample in run.val]
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["labels"]["file"] == "other.csv"
    assert facts["labels"]["both"] == both
    assert facts["heads"]["train"] == sum(len(sample.boxes) for sample in run.train)


@pytest.mark.parametrize("both", [False, True])
def test_a_stage_may_learn_of_the_own_labels_alone(samples, tmp_path, both):
    run = opened(samples, tmp_path, other(samples, tmp_path, both=True))
    stage = run.recipe.stages[0].model_copy(update={"both": both})
    learned = prepare(run, FasterRCNN(run.recipe), stage).train.dataset
    assert [sample.name for sample in learned.relabelled] == [sample.name for sample in run.train] * both


def test_a_run_goes_on_with_its_own_labels_only(samples, tmp_path):
    labels = other(samples, tmp_path, both=True)
    run = opened(samples, tmp_path, labels)
    (run.folder / "joint").mkdir()
    (run.folder / "joint" / "last.ckpt").touch()  # it has begun
    opened(samples, tmp_path, labels, resume=True)
    for changed in (None, replace(labels, both=False)):
        with pytest.raises(InputError, match="holds a run on other labels; choose another folder"):
            opened(samples, tmp_path, changed, resume=True)
    labels.file.write_text("others")
    with pytest.raises(InputError, match="on other labels"):
        opened(samples, tmp_path, labels, resume=True)


def test_only_the_joint_stage_learns_of_both(samples, tmp_path):
    labels = other(samples, tmp_path, both=True)
    with pytest.raises(InputError, match=r"^--both: no stage of tiny learns of two labellings"):
        open_run(tmp_path / "run", tiny_run.tiny_recipe(), samples, other_labels=labels)
    assert not (tmp_path / "run").exists()


def test_boxes_that_cannot_be_heads_are_left_out_here_too(samples):
    speck = np.array([*samples[1].boxes.tolist(), [5, 5, 5.1, 5.1]], np.float32)
    labels = Relabelled(
        Path("other.csv"), [replace(samples[1], boxes=speck, rows=speck[:0, 0].astype(int))], False
    )
    (learnt,), _ = labellings(samples[1:2], labels)
    assert len(learnt.boxes) <= len(samples[1].boxes)


def test_the_same_labels_by_another_name():
    one = {"file": "a.csv", "sha256": "1", "both": True}
    assert is_same(one, {**one, "file": "b.csv"})
    assert is_same(None, None)
    for other in (None, {**one, "sha256": "2"}, {**one, "both": False}):
        assert not is_same(one, other)
        assert not is_same(other, one)
