"""What the scripts of bench/ promise beside times and figures of real photos."""

import runpy
import shutil
import sys
import tomllib
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import levers
import pseudo
import scales
import seams
import second_labels
import seed_ideas
import shared_error
import snip_split
import unseen
from tiny_model import write_tiny_model
from tiny_recipe import tiny_recipe
from tiny_run import fake_run
from tiny_run import tiny_recipe as stages_recipe
from wheatear.csv_files import read_table
from wheatear.data.formats import IMAGES_CSV, read_dataset, write_dataset
from wheatear.data.kaggle import write_labels
from wheatear.data.sample import Sample
from wheatear.detections import Detections, write_csv
from wheatear.errors import InputError
from wheatear.evaluation import Thresholds
from wheatear.interval import CountingError
from wheatear.train.checkpoint import METRICS, RECIPE, finished, read_json
from wheatear.train.machine import Machine
from wheatear.train.opening import open_run
from wheatear.train.recipe import Recipe, validated
from wheatear.train.recipe_changes import changed
from wheatear.train.run import train_run

BENCH = Path(levers.__file__).parent


def test_every_lever_makes_a_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BENCH.parent)  # where its base is named from
    base, all_levers = levers.read_levers(BENCH / "levers.toml", Path("photos"))
    assert len(all_levers) > 20
    for lever in all_levers:
        validated(changed(base, lever.changes | {"name": lever.name}), lever.name)


def test_a_detection_that_is_the_base_s_gains_nothing(field_dir: Path, tmp_path: Path) -> None:
    """By the same labels, too: of the val photos, the first has a box twice, which training leaves out."""
    read = read_dataset(field_dir)
    samples = [replace(s, photo=s.name, split="val" if i < 2 else "train") for i, s in enumerate(read)]
    samples[0] = replace(samples[0], boxes=samples[0].boxes[[0, *range(len(samples[0].boxes))]])
    photos, out = tmp_path / "photos", tmp_path / "levers"
    write_dataset(samples, photos, "kaggle", link=True)
    recipe = tiny_recipe()
    train_run(open_run(out / levers.BASE, recipe, read_dataset(photos), machine=Machine(accelerator="cpu")))
    shutil.copyfile(out / levers.BASE / IMAGES_CSV, out / IMAGES_CSV)
    same = levers.Lever("same", {"detection.nms_thresh": recipe.detection.nms_thresh}, [])
    levers.judge_base(same, Namespace(folder=photos, out=out, precision="32-true"))
    base, judged = (read_json(out / name / levers.JOINT / METRICS) for name in (levers.BASE, same.name))
    assert judged == pytest.approx(base, abs=1e-6)
    with pytest.raises(InputError, match="another recipe, split or precision"):
        levers.judge_base(same, Namespace(folder=photos, out=out, precision="bf16-mixed"))


def test_an_idea_that_was_being_copied_from_the_base_is_copied_again(
    field_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_run(tmp_path / seed_ideas.BASE, field_dir)
    base, copyfile = stages_recipe().model_dump(mode="json"), shutil.copyfile
    idea, last = levers.Lever("pooled", {"roi.size": 5}, []), False
    for files in range(20):
        folder, left = tmp_path / idea.name, iter(range(files))

        def copy_some(*arguments: Any, left: Iterator[int] = left, **options: Any) -> Any:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return copyfile(*arguments, **options)

        with monkeypatch.context() as stopping:
            stopping.setattr(shutil, "copyfile", copy_some)
            try:
                seed_ideas.begin_at_base(idea, base, tmp_path)
                last = True
            except KeyboardInterrupt:
                pass
        seed_ideas.begin_at_base(idea, base, tmp_path)
        its = validated(read_json(folder / RECIPE), folder)
        assert (its.name, its.roi.size) == (idea.name, 5)
        assert [finished(folder, stage) for stage in ("cnn", "rpn", "rcnn")] == [True, True, False]
        shutil.rmtree(folder)
    assert last


def test_snips_of_photos_that_are_not_divided_yet(
    field_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def tiny(val_by: str, *_: int) -> Recipe:
        recipe = stages_recipe().model_dump(mode="json")
        recipe["stages"] = [recipe["stages"][0] | {"val_by": val_by}]
        return validated(recipe, "tiny")

    monkeypatch.setattr(snip_split, "shortened", tiny)
    options = ["--precision", "32-true", "--runs", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["snip_split.py", str(field_dir), *options])
    snip_split.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("validation by")]
    assert [line.split(":")[0] for line in lines] == ["validation by photo", "validation by snip"]


def test_the_rate_of_the_snip_classifier_falls_twice() -> None:
    with pytest.raises(InputError, match=r"^--epochs 4: the learning rate falls twice; give 5 or more$"):
        snip_split.shortened("photo", 100, 4)
    recipe = snip_split.shortened("photo", 100, 5)
    assert validated(recipe.model_dump(mode="json"), "kept") == recipe


def test_a_model_without_its_card_is_exported_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an export leaves it that was killed."""
    commands: list[object] = []
    monkeypatch.setattr(unseen, "run_command", commands.append)
    (tmp_path / "farm.onnx").touch()
    assert unseen.exported(tmp_path / "farm", tmp_path, int8=False) == tmp_path / "farm.onnx"
    assert len(commands) == 1
    (tmp_path / "farm.json").touch()
    unseen.exported(tmp_path / "farm", tmp_path, int8=False)
    assert len(commands) == 1


def test_the_groups_of_unseen_share_no_session_and_train_by_a_recipe() -> None:
    content = tomllib.loads((BENCH / "unseen.toml").read_text("utf-8"))
    validated(levers.shortened(content), BENCH / "unseen.toml")
    sessions = [session for group in content["groups"].values() for session in group]
    assert len(set(sessions)) == len(sessions) > 0


@pytest.mark.parametrize("script", [levers, seed_ideas, pseudo])
def test_a_name_that_is_not_in_the_file_is_refused(
    script: Any, field_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(BENCH.parent)  # where the base of levers.toml is named from
    options = ["--only", "farn", "--out", str(tmp_path / "out"), "--models", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["script", str(field_dir), *options[: 6 if script is pseudo else 4]])
    monkeypatch.setattr("levers.subprocess", None)  # no training begins
    with pytest.raises(InputError, match=r"^--only: there is no farn; there are "):
        script.main()


@pytest.mark.parametrize("script", [unseen, pseudo])
def test_a_session_that_is_not_there_is_not_trained_on(
    script: Any, field_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, groups = tmp_path / "data", tmp_path / "groups.toml"
    samples = read_dataset(field_dir)
    write_dataset([replace(s, session="Farm_1", split="train") for s in samples], data, "kaggle", link=True)
    groups.write_text('base = "small"\n[groups]\nfarm = ["Farm_1"]\nother = ["farm_1"]\n')
    options = ["--groups", str(groups), "--out", str(tmp_path / "out"), "--models", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["script", str(data), *options[: 4 if script is unseen else 6]])
    monkeypatch.setattr("levers.subprocess", None)  # no training begins
    with pytest.raises(
        InputError, match=rf"^{groups}: sessions of {data}: there is no farm_1; there are Farm_1$"
    ):
        script.main()


def sample(name: str, heads: int, source: str, session: str, split: str = "train") -> Sample:
    return Sample(Path(name), squares(heads), 100, 100, source, session, split=split)


def squares(number: int) -> np.ndarray:
    """As many heads of 8 px in a row, (number, 4)."""
    left = 10.0 * np.arange(number)
    return np.stack([left, left * 0, left + 8, left * 0 + 8], axis=1)


def test_a_group_leaves_out_its_sessions_and_what_may_be_of_them() -> None:
    samples = [
        sample("a.jpg", 1, "farm", "Farm_1"),
        sample("b.jpg", 1, "farm", ""),
        sample("c.jpg", 1, "farm", "Farm_2", "val"),
        sample("d.jpg", 1, "field", ""),
    ]
    assert [s.split for s in unseen.without(samples, ["Farm_1"])] == ["test", "test", "val", "train"]


class Told:
    """A detector that keeps what it is told of the size of each photo's heads."""

    card = SimpleNamespace(score_floor=0.02)

    def __init__(self) -> None:
        self.sizes: dict[str, float | None] = {}

    def detect(self, photo: Path, score_threshold: float, head_px: float | None) -> Detections:
        self.sizes[photo.name] = head_px
        return Detections(squares(1), np.array([0.9]))


@pytest.mark.parametrize("told", [False, True])
def test_the_size_of_heads_is_told_of_unseen_photos_alone(told: bool) -> None:
    known, photo = sample("known.jpg", 1, "field", "Field_1", "val"), sample("new.jpg", 2, "farm", "Farm_1")
    detector = Told()
    unseen.judge(detector, "farm", ["Farm_1"], [[known, photo]], told)  # type: ignore[arg-type]
    assert detector.sizes == {"known.jpg": None, "new.jpg": 8.0 if told else None}


def test_the_figures_of_unseen_photos_at_thresholds_of_known_ones() -> None:
    """Two heads of three are sure, one is doubtful; the threshold for counts leaves it out."""
    known, photo = sample("known.jpg", 2, "field", "Field_1", "val"), sample("new.jpg", 3, "farm", "Farm_1")
    found = {
        "known.jpg": Detections(squares(2), np.array([0.9, 0.8])),
        "new.jpg": Detections(squares(3), np.array([0.9, 0.8, 0.4])),
    }
    judged = unseen.Judged(Thresholds(0.3, 0.5), 0.02, CountingError(0.4, 2.0), [[known]], [[photo]], found)
    assert unseen.rows([judged]) == [
        "| Farm_1 | 1 | 3 | 0.30, 0.50 | 1.000 | 1.000 | 1.00 | 0.67 | 0.00 |",
        "| all, mean of the photos | 1 | 3 | | 1.000 | 1.000 | 1.00 | 0.67 | 0.00 |",
    ]
    assert [unseen.count_mae([judged], shift, "unseen", 0) for shift in (0.0, -0.1)] == [1.0, 0.0]
    assert unseen.count_mae([judged], 0.0, "known", 0) == 0.0
    assert unseen.widening([judged], "unseen", 0) == pytest.approx(1 / (1.96 * 0.4))


def test_photos_of_a_field_are_taken_together_and_choose_its_threshold() -> None:
    """Each of six has three heads, of which one is just too doubtful; three counted by hand make it count."""
    photos = [sample(f"{k}.jpg", 3, "farm", "Farm_1") for k in range(6)]
    found = {photo.path.name: Detections(squares(3), np.array([0.9, 0.8, 0.495])) for photo in photos}
    judged = [unseen.Judged(Thresholds(0.3, 0.5), 0.02, CountingError(0.4, 3.0), [[]], [photos], found)]
    held, half = unseen.means(judged, 0, 3, factor=1.0, shared=1.0)
    assert (held, half) == (0.0, pytest.approx(1.96 * 0.4 / 2))
    assert unseen.means(judged, 0, 3, factor=2.0, shared=1.0)[0] == 1.0
    assert unseen.by_hand(judged, 0, 0, factor=1.0) == (1.0, pytest.approx(1 / 3), 0.0)
    assert unseen.by_hand(judged, 0, 3, factor=1.0) == (0.0, 0.0, 1.0)
    assert unseen.possible(judged, (0, 3, 5, 6, 10)) == [0, 3, 5]


def test_pseudo_labels_take_the_place_of_true_ones() -> None:
    """Those above the threshold for counts; a photo in which nothing is found has no heads then."""
    photos = [sample("new.jpg", 3, "farm", "Farm_1", "test"), sample("bare.jpg", 1, "farm", "Farm_1", "test")]
    found = {
        "new.jpg": Detections(squares(2), np.array([0.9, 0.4])),
        "bare.jpg": Detections(squares(0), np.zeros(0)),
    }
    own = pseudo.labelled(
        unseen.Judged(Thresholds(0.3, 0.5), 0.02, CountingError(0.4, 2.0), [], [photos], found)
    )
    assert [len(photo.boxes) for photo in own] == [1, 0]
    known = [sample("a.jpg", 1, "field", "Field_1"), sample("v.jpg", 1, "field", "Field_1", "val")]
    sides = {
        way: [photo.split for photo in pseudo.learned(way, [*photos, *known], own)] for way in pseudo.WAYS
    }
    assert sides == {
        "alone": ["train", "train", "test", "val"],
        "more": ["train", "train", "train", "val"],
        "none": ["test", "test", "train", "val"],
    }
    assert [len(photo.boxes) for photo in pseudo.learned("more", [*photos, *known], own)] == [1, 0, 1, 1]


@pytest.mark.parametrize("to", ["kaggle", "yolo"])
def test_pseudo_labels_are_of_photos_in_any_layout(to: str, field_dir: Path, tmp_path: Path) -> None:
    """In YOLO's, those of train and of val lie apart; a photo that is not labelled stays out."""
    read = read_dataset(field_dir)
    samples = [replace(s, session="Farm_1", split="val" if i < 2 else "train") for i, s in enumerate(read)]
    write_dataset(samples, tmp_path / "photos", to, link=True)
    photos = read_dataset(tmp_path / "photos")[:-1]
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "train").symlink_to(photos[0].path.parent)
    before = sorted(photos[0].path.parent.iterdir())
    for _ in range(2):  # the same command goes on
        pseudo.data_set(photos, tmp_path / "made")
    made = read_dataset(tmp_path / "made")
    assert [(s.name, s.split, len(s.boxes)) for s in made] == [
        (s.name, s.split, len(s.boxes)) for s in photos
    ]
    assert sorted(photos[0].path.parent.iterdir()) == before


def test_a_second_labelling_is_found_by_the_photos(field_dir: Path, tmp_path: Path) -> None:
    """They have other names, another order and were saved anew; one is not there, one is of another photo."""
    samples = read_dataset(field_dir)
    others = []
    for number, each in enumerate(reversed(samples[1:])):
        path = tmp_path / f"{number}.jpg"
        with Image.open(each.path) as image:
            image.save(path, quality=50)
        others.append(replace(each, path=path, boxes=each.boxes + 1))
    Image.new("RGB", (64, 64), "green").save(tmp_path / "bare.png")
    others.append(Sample(tmp_path / "bare.png", squares(0), 64, 64))
    found = second_labels.second_labels(samples, others)
    assert [sample.name for sample in found] == [sample.name for sample in samples[1:]]
    write_labels(found, tmp_path / "second.csv")
    again = {sample.name: sample.boxes for sample in read_dataset(field_dir, tmp_path / "second.csv")}
    assert np.array_equal(again[samples[0].name], samples[0].boxes)
    assert all(np.allclose(again[sample.name], sample.boxes + 1, atol=1e-3) for sample in samples[1:])


def test_the_error_of_models_and_of_what_they_are_fused_to(tmp_path: Path) -> None:
    """One sees each head a pixel to the right, the other to the left and not the last head; the mean is where it is."""
    photos = [sample("a.jpg", 3, "farm", "Farm_1", "val"), sample("b.jpg", 1, "farm", "Farm_2")]
    found = []
    for model, heads, shift in (("right", 3, 1), ("left", 2, -1)):
        boxes = squares(heads) + np.array([shift, 0, shift, 0])
        file = tmp_path / f"{model}.csv"
        write_csv(file, {"a.jpg": Detections(boxes, np.array([0.9, 0.8, 0.7])[:heads])}.items())
        found.append(shared_error.detections_of(str(file), photos[:1], photos, "once"))
    missed = shared_error.edge_errors(found[1][0], photos[0])
    assert np.allclose(missed[:2], [-1 / 8, 0, -1 / 8, 0])
    assert np.isnan(missed[2]).all()
    errors, sessions = shared_error.by_model(found, photos[:1])
    assert np.allclose(errors[:, :, 0], [[1 / 8, 1 / 8], [-1 / 8, -1 / 8]])
    assert list(sessions) == ["Farm_1"] * 2
    assert shared_error.fused(found[:1]) == found[0]
    both = shared_error.fused(found)[0]
    where_they_are = squares(3)
    where_they_are[2, [0, 2]] += 1
    assert np.allclose(sorted(both.boxes.tolist()), where_they_are)
    assert np.allclose(sorted(both.scores), [0.35, 0.8, 0.9])


def test_a_table_has_no_lines_but_its_own(
    field_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(write_tiny_model(tmp_path))
    monkeypatch.setattr("sys.argv", ["scales.py", str(field_dir), "--split", "all", "--model", model])
    scales.main()
    first, *table = capsys.readouterr().out.splitlines()
    assert "photos" in first
    assert len(table) == 2 + 2 + 3 * 2
    assert all(line.startswith("|") for line in table)


def test_photos_without_neighbours_have_no_seams(field_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["seams.py", str(field_dir), "--split", "all", "--model", "tiny"])
    with pytest.raises(SystemExit, match="no two photos"):
        seams.main()


@pytest.mark.parametrize(
    "name", ["near", "proposals --run run", "scales", "second_labels other --out second.csv"]
)
def test_a_missing_folder_is_one_line(name: str, tmp_path: Path, monkeypatch, capsys) -> None:
    script, *options = name.split()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [f"{script}.py", "nowhere", *options])
    with pytest.raises(SystemExit, match=r"^1$"):
        runpy.run_path(str(BENCH / f"{script}.py"), run_name="__main__")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_yolo_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(SystemExit, match="pip install ultralytics"):
        runpy.run_path(str(BENCH / "yolo.py"))


def test_the_split_that_is_committed_is_that_of_the_photos() -> None:
    shared = BENCH.parent.parent / "shared" / "gwd" / "images.csv"
    if not shared.exists():
        pytest.skip(f"no {shared}")
    assert read_table(BENCH / "gwd.csv") == read_table(shared)
