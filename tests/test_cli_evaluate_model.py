"""`wheatear evaluate` on photos whose figures are worked by hand, with a model that finds the red cells."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from one_line import complaint_of
from tiny_model import red_cells, write_tiny_model
from wheatear.cli import app
from wheatear.detector import Card

runner = CliRunner()
Cells = list[tuple[int, int]]

# name: split, session, cells with heads, cells that are red. Cells (row, column) are 30 × 20 px of 120 × 80.
PHOTOS: dict[str, tuple[str, str, Cells, Cells]] = {
    "a": ("val", "north", [(0, 1), (3, 3)], [(0, 1), (3, 3)]),  # both found: 1
    "b": ("val", "north", [(1, 1)], [(1, 1)]),  # found, and a dim cell that is no head: 1/2
    "c": ("val", "south", [], []),  # nothing there, nothing found: 1
    "d": ("train", "south", [(0, 0)], []),  # missed: 0
}
DIM = (2, 2)  # in photo b, with a score of 127/255 = 0.498


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cells")
    (folder / "train").mkdir()
    for name, (_, _, _, red) in PHOTOS.items():
        photo = red_cells(red)
        if name == "b":
            photo[DIM[0] * 20 : DIM[0] * 20 + 20, DIM[1] * 30 : DIM[1] * 30 + 30] = (127, 0, 0)
        Image.fromarray(photo).save(folder / "train" / f"{name}.png")
    lines = [
        f'{name},"[{30 * c}, {20 * r}, 30, 20]"'
        for name, (_, _, heads, _) in PHOTOS.items()
        for r, c in heads
    ]
    (folder / "train.csv").write_text("\n".join(["image_id,bbox", *lines, ""]))
    lines = [f"{name},{session},{split}" for name, (split, session, _, _) in PHOTOS.items()]
    (folder / "images.csv").write_text("\n".join(["image_id,session,split", *lines, ""]))
    return folder


@pytest.fixture
def folder(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(source, tmp_path / "cells"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path, note="kept")  # its card's threshold is 0.4


def evaluate(*arguments: object) -> Result:
    return runner.invoke(app, ["evaluate", *map(str, arguments)])


def figures(out: Path, name: str = "at_score_threshold") -> dict:
    content = json.loads((out / "evaluation.json").read_text())
    return content[name]


def complaint(*arguments: object) -> str:
    """The one line on stderr with which the command fails."""
    result = evaluate(*arguments)
    assert result.stdout == ""
    return complaint_of(result)


# from a model


def test_the_figures_by_hand(folder, model, tmp_path):
    result = evaluate(folder, "--model", model, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = figures(tmp_path / "out")
    assert found["score_threshold"] == 0.4
    overall, north, south = found["overall"], found["sessions"]["north"], found["sessions"]["south"]
    assert (overall["photos"], overall["heads"], overall["found"]) == (3, 3, 4)
    assert overall["kaggle"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert (north["kaggle"], south["kaggle"]) == (0.75, 1)
    assert overall["ada"] == pytest.approx((0.75 + 1) / 2)
    assert (overall["precision"], overall["recall"]) == (0.75, 1)
    assert overall["count"]["mae"] == pytest.approx(1 / 3)
    assert overall["count"]["bias"] == pytest.approx(1 / 3)
    assert overall["ap50"] == 1  # the false one comes after all true ones
    assert set(json.loads((tmp_path / "out" / "evaluation.json").read_text())) == {"at_score_threshold"}


def test_the_table_on_the_screen(folder, model, tmp_path):
    lines = evaluate(folder, "--model", model, "--out", tmp_path / "out").stdout.splitlines()
    assert lines[0].strip() == "At score threshold 0.40"
    table = {line.split()[0]: line.split()[1:] for line in lines if line.strip()}
    assert table["session"][:5] == ["photos", "heads", "found", "Kaggle", "ADA"]
    assert table["north"][:5] == ["2", "3", "4", "0.750", "0.750"]
    assert table["south"][:5] == ["1", "0", "0", "1.000", "1.000"]
    assert table["all"][:5] == ["3", "3", "4", "0.833", "0.875"]
    assert lines[-1] == f"Saved in {tmp_path / 'out'}"


def test_the_detections_are_saved(folder, model, tmp_path):
    evaluate(folder, "--model", model, "--out", tmp_path / "deep" / "out")
    with (tmp_path / "deep" / "out" / "detections.csv").open(newline="") as file:
        header, *lines = csv.reader(file)
    assert header == ["image", "xmin", "ymin", "xmax", "ymax", "score"]
    assert sorted(lines) == [
        ["a.png", "30.0", "0.0", "60.0", "20.0", "1.0"],
        ["a.png", "90.0", "60.0", "120.0", "80.0", "1.0"],
        ["b.png", "30.0", "20.0", "60.0", "40.0", "1.0"],
        ["b.png", "60.0", "40.0", "90.0", "60.0", "0.498"],
    ]


def test_where_figures_are_saved_if_no_place_is_named(folder, model, tmp_path):
    assert evaluate(folder, "--model", model).exit_code == 0
    assert sorted(path.name for path in (tmp_path / "evaluation").iterdir()) == [
        "detections.csv",
        "evaluation.json",
    ]


@pytest.mark.parametrize(
    ("split", "photos", "kaggle"),
    [("val", 3, 2.5 / 3), ("train", 1, 0), ("all", 4, 2.5 / 4), (None, 3, 2.5 / 3)],
)
def test_the_photos_of_a_split(folder, model, tmp_path, split, photos, kaggle):
    option = ["--split", split] if split else []
    assert evaluate(folder, "--model", model, *option, "--out", tmp_path / "out").exit_code == 0
    overall = figures(tmp_path / "out")["overall"]
    assert overall["photos"] == photos
    assert overall["kaggle"] == pytest.approx(kaggle)


def test_photos_that_are_not_divided_are_all_judged(folder, model, tmp_path):
    (folder / "images.csv").unlink()
    assert evaluate(folder, "--model", model, "--out", tmp_path / "out").exit_code == 0
    assert figures(tmp_path / "out")["overall"]["photos"] == 4


@pytest.mark.parametrize(("threshold", "found"), [(0, 4), (0.49, 4), (0.5, 3), (1, 3)])
def test_a_threshold_of_ones_own(folder, model, tmp_path, threshold, found):
    result = evaluate(folder, "--model", model, "--threshold", threshold, "--out", tmp_path / "out")
    assert f"At score threshold {threshold:.2f}" in result.stdout
    assert figures(tmp_path / "out")["overall"]["found"] == found


def test_a_card_with_a_threshold_for_counting(folder, tmp_path):
    model = write_tiny_model(tmp_path, count_threshold=0.6)
    result = evaluate(folder, "--model", model, "--out", tmp_path / "out")
    assert "At score threshold 0.40" in result.stdout
    assert "At count threshold 0.60" in result.stdout
    assert figures(tmp_path / "out")["overall"]["found"] == 4
    assert figures(tmp_path / "out", "at_count_threshold")["overall"]["found"] == 3


# the threshold chosen


def test_the_best_threshold_is_chosen_and_kept_in_the_card(folder, model, tmp_path):
    result = evaluate(folder, "--model", model, "--choose-threshold", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "At score threshold 0.50" in result.stdout  # the lowest that leaves the dim cell out
    assert figures(tmp_path / "out")["overall"]["kaggle"] == 1
    content = json.loads(model.with_suffix(".json").read_text())
    card = Card.model_validate(content)
    assert (card.score_threshold, card.count_threshold) == (0.5, 0.5)
    assert card.figures["val"] == json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert (card.name, card.score_floor, content["note"]) == ("tiny", 0.02, "kept")
    assert card.known_failures == []  # all is found


def test_thresholds_are_not_kept_in_the_card_of_a_model_that_came_meanwhile(
    folder, model, tmp_path, monkeypatch
):
    card = model.with_suffix(".json").read_text()
    # The table is shown after the work, before the card is written.
    monkeypatch.setattr("wheatear.cli_evaluate_output.show", lambda _: model.write_bytes(b"exported anew"))
    result = evaluate(folder, "--model", model, "--choose-threshold", "--out", tmp_path / "out")
    assert complaint_of(result) == (
        f"{model}: was replaced meanwhile, so its card stays as it is; evaluate it again"
    )
    assert model.with_suffix(".json").read_text() == card
    assert (tmp_path / "out" / "evaluation.json").exists()


def test_thresholds_chosen_for_a_shipped_detector_are_not_kept(folder, tmp_path):
    result = evaluate(
        folder, "--model", "tiny", "--choose-threshold", "--tta", "flips", "--out", tmp_path / "out"
    )
    threshold = list(json.loads((tmp_path / "out" / "evaluation.json").read_text()).values())[-1][
        "score_threshold"
    ]
    assert result.stderr == (
        "wheatear: tiny is a shipped detector, whose card stays as it is; "
        f"give `wheatear count` --model tiny --threshold {threshold:g} --tta flips\n"
    )


def test_a_models_ending_may_be_in_capitals(folder, model, tmp_path):
    capitals = model.rename(model.with_suffix(".ONNX"))
    result = evaluate(folder, "--model", capitals, "--choose-threshold", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert json.loads(model.with_suffix(".json").read_text())["count_threshold"] == 0.5


def test_figures_of_the_stages_stay_in_the_card(folder, tmp_path):
    model = write_tiny_model(tmp_path, figures={"stages": {"cnn": {"val_accuracy": 0.9}}})
    evaluate(folder, "--model", model, "--choose-threshold", "--split", "train", "--out", tmp_path / "out")
    kept = json.loads(model.with_suffix(".json").read_text())["figures"]
    assert kept["stages"] == {"cnn": {"val_accuracy": 0.9}}
    assert kept["train"]["at_score_threshold"]["overall"]["photos"] == 1


def test_without_being_asked_the_card_stays(folder, model, tmp_path):
    before = model.with_suffix(".json").read_bytes()
    evaluate(folder, "--model", model, "--out", tmp_path / "out")
    evaluate(folder, "--model", model, "--threshold", "0.7", "--out", tmp_path / "out")
    assert model.with_suffix(".json").read_bytes() == before


def test_figures_of_photos_that_are_not_divided_are_not_called_val(folder, model, tmp_path):
    (folder / "images.csv").unlink()
    evaluate(folder, "--model", model, "--choose-threshold", "--out", tmp_path / "out")
    assert list(json.loads(model.with_suffix(".json").read_text())["figures"]) == ["all"]


# from a CSV


def test_the_detections_of_a_model_judged_from_a_csv_have_the_models_figures(folder, model, tmp_path):
    evaluate(folder, "--model", model, "--out", tmp_path / "model")
    saved = tmp_path / "model" / "detections.csv"
    result = evaluate(folder, "--detections", saved, "--threshold", 0.4, "--out", tmp_path / "csv")
    assert result.exit_code == 0, result.output
    assert figures(tmp_path / "csv") == figures(tmp_path / "model")
    assert (tmp_path / "csv" / "detections.csv").read_text() == saved.read_text()


def test_every_detection_of_a_csv_counts_unless_a_threshold_is_given(folder, tmp_path):
    (tmp_path / "found.csv").write_text("image,xmin,ymin,xmax,ymax,score\na,30,0,60,20,0.01\nd,0,0,30,20,1\n")
    assert evaluate(folder, "--detections", tmp_path / "found.csv", "--out", tmp_path / "out").exit_code == 0
    overall = figures(tmp_path / "out")["overall"]
    assert (overall["found"], overall["heads"]) == (1, 3)  # photo d is no val photo
    assert overall["kaggle"] == pytest.approx((1 / 2 + 0 + 1) / 3)


def test_the_best_threshold_for_a_csv(folder, tmp_path):
    (tmp_path / "found.csv").write_text("image,xmin,ymin,xmax,ymax,score\nb,30,20,60,40,0.9\nb,0,0,9,9,0.3\n")
    evaluate(folder, "--detections", tmp_path / "found.csv", "--choose-threshold", "--out", tmp_path / "out")
    assert figures(tmp_path / "out")["score_threshold"] == 0.31


def test_other_labels_of_the_same_photos(folder, model, tmp_path):
    (tmp_path / "other.csv").write_text('image_id,bbox\nc,"[0, 0, 30, 20]"\n')
    evaluate(folder, "--model", model, "--labels", tmp_path / "other.csv", "--out", tmp_path / "out")
    overall = figures(tmp_path / "out")["overall"]
    assert overall["heads"] == 4
    assert overall["kaggle"] == pytest.approx((1 + 1 / 2 + 0) / 3)


# what goes wrong


def test_a_split_without_photos(folder, model):
    message = complaint(folder, "--model", model, "--split", "test")
    assert message == f"{folder}: no photo is in the split 'test'; there are: train, val"


def test_a_split_of_photos_that_are_not_divided(folder, model):
    (folder / "images.csv").unlink()
    message = complaint(folder, "--model", model, "--split", "val")
    assert message.endswith(
        "no photo is in the split 'val'; there are: none; run `wheatear data split` first"
    )


def test_labels_of_photos_of_another_size_are_told(folder, model):
    labels = folder / "train.csv"
    lines = ["image_id,width,height,bbox", 'a,120,80,"[30, 0, 30, 20]"', 'b,240,160,"[60, 40, 60, 40]"', ""]
    labels.write_text("\n".join(lines))
    said = evaluate(folder, "--model", model).stderr
    assert "photos of another size than their labels say, whose boxes may lie elsewhere: 1; see" in said
    labels.write_text("\n".join([*lines[:2], ""]))
    assert evaluate(folder, "--model", model).stderr == ""


def test_a_model_and_a_csv(folder, model):
    message = complaint(folder, "--model", model, "--detections", "a.csv")
    assert message.endswith("give one of them")


def test_a_threshold_given_and_to_be_chosen(folder, model):
    assert "--threshold" in complaint(folder, "--model", model, "--threshold", 0.4, "--choose-threshold")


def test_detections_of_an_unknown_photo(folder, tmp_path):
    (tmp_path / "found.csv").write_text("image,xmin,ymin,xmax,ymax,score\nz,0,0,9,9,0.9\n")
    assert complaint(folder, "--detections", tmp_path / "found.csv").startswith(
        f"{tmp_path / 'found.csv'}: detections of 'z': no such photo"
    )


def test_a_row_that_is_no_detection(folder, tmp_path):
    (tmp_path / "found.csv").write_text("image,xmin,ymin,xmax,ymax,score\na,0,0,9,9\n")
    assert "found.csv, line 2: " in complaint(folder, "--detections", tmp_path / "found.csv")


def test_files_that_are_not_there(folder, tmp_path):
    assert "no such model" in complaint(folder, "--model", tmp_path / "none.onnx")
    assert "no shipped detector has this name" in complaint(folder, "--model", "none")
    assert "none.csv: no such file" in complaint(folder, "--detections", tmp_path / "none.csv")
    assert complaint(tmp_path / "none") == f"{tmp_path / 'none'}: no such folder"


def test_an_unreadable_photo_is_named(folder, model):
    """One that is none, and one that is cut short; the others are judged."""
    (folder / "train" / "a.png").write_bytes(b"no photo")
    whole = (folder / "train" / "b.png").read_bytes()
    (folder / "train" / "b.png").write_bytes(whole[: len(whole) // 2])
    card = model.with_suffix(".json").read_text()
    result = evaluate(folder, "--model", model, "--choose-threshold")
    assert result.exit_code == 1
    assert [line.split(": ")[1] for line in result.stderr.splitlines()] == [
        str(folder / "train" / "a.png"),
        str(folder / "train" / "b.png"),
        "photos that cannot be read, and are in no figure",
    ]
    assert "the card of the model stays as it was" in result.stderr
    assert model.with_suffix(".json").read_text() == card
    figures = json.loads(Path("evaluation/evaluation.json").read_text())["at_score_threshold"]
    assert figures["overall"]["photos"] == 1


def test_nothing_but_unreadable_photos(folder, model):
    for name in "abc":
        (folder / "train" / f"{name}.png").write_bytes(b"no photo")
    result = evaluate(folder, "--model", model)
    assert result.stderr.splitlines()[-1] == "wheatear: none of the photos can be read; nothing is written"


def test_a_threshold_out_of_range(folder, model):
    assert evaluate(folder, "--model", model, "--threshold", 1.5).exit_code == 2


def test_a_model_in_its_run_is_judged_on_the_photos_that_it_has_not_seen(folder, model, tmp_path):
    """Where the data set divides nothing."""
    shutil.move(folder / "images.csv", tmp_path / "images.csv")
    (tmp_path / "run.json").write_text("{}")
    result = runner.invoke(app, ["evaluate", str(folder), "--model", str(model)])
    assert result.exit_code == 0, result.output
    assert f"The photos are divided by {tmp_path / 'images.csv'}" in result.stdout
    judged = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())
    assert judged["at_score_threshold"]["overall"]["photos"] == 3


def test_boxes_without_area_are_said_to_be_there(folder, model):
    with (folder / "train.csv").open("a") as file:
        file.write('c,"[5, 5, -3, 10]"\n')
    result = runner.invoke(app, ["evaluate", str(folder), "--model", str(model)])
    assert "labelled boxes without area in their photo, which nothing can find: 1; see" in result.stderr


def test_a_split_that_names_some_of_the_photos_is_not_taken(folder, model, tmp_path):
    """Names that cameras give are often alike, and of photos that came later nobody has said what they are for."""
    lines = (folder / "images.csv").read_text().splitlines(keepends=True)
    (folder / "images.csv").unlink()
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "images.csv").write_text("".join(lines[:2]))
    assert f"or --images {tmp_path / 'images.csv'} to judge by its val photos" in complaint(
        folder, "--model", model
    )
    (tmp_path / "images.csv").write_text(
        "".join(lines[:2]) + lines[1].replace(lines[1].split(",")[0], "gone", 1)
    )
    assert complaint(folder, "--model", model).endswith("give --split all to judge by all of them")
    assert evaluate(folder, "--model", model, "--split", "all").exit_code == 0
    (tmp_path / "images.csv").write_text("image_id,split\nother,val\n")
    assert "divided by" not in evaluate(folder, "--model", model).stdout


def test_photos_that_a_model_was_trained_on_are_told_of(folder, model, tmp_path):
    """A data set may be divided otherwise than its run was."""
    names = [line.split(",")[0] for line in (folder / "images.csv").read_text().splitlines()[1:]]
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "images.csv").write_text(f"image_id,split\n{names[0]},train\n{names[1]},val\n")
    warning = f"1 of {len(names)} photos have names of photos that the model was trained on"
    assert warning in evaluate(folder, "--model", model, "--split", "all").stderr
    (tmp_path / "run.json").unlink()
    assert "was trained on" not in evaluate(folder, "--model", model, "--split", "all").stderr


def test_thresholds_of_resized_photos_are_in_no_card(folder, model):
    result = runner.invoke(
        app, ["evaluate", "cells", "--model", str(model), "--head-px", "40", "--choose-threshold"]
    )
    assert "--choose-threshold: is for photos as `wheatear count` sees them" in complaint_of(result)
