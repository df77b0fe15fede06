"""`wheatear evaluate` as a user meets it: two labellings, anybody's detections, and the report."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from html_checks import check_page
from tiny_model import red_cells, write_tiny_model
from wheatear.cli_evaluate import evaluate_command
from wheatear.data.formats import read_dataset
from wheatear.data.sample import Sample
from wheatear.detections import Detections, write_csv
from wheatear.evaluation import evaluate
from wheatear.evaluation_report import write_evaluation_report

SHARED = Path(__file__).parents[2] / "shared" / "gwd"

app = typer.Typer()
app.command()(evaluate_command)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def overall(out: Path) -> dict:
    return json.loads((out / "evaluation.json").read_text())["at_score_threshold"]["overall"]


@pytest.fixture
def second(field_dir: Path, tmp_path: Path) -> Path:
    """The field's own labels again, without the first photo's and with the second's first box left out."""
    with (field_dir / "train.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    names = list(dict.fromkeys(row[0] for row in rows))
    rows.remove(next(row for row in rows if row[0] == names[1]))
    path = tmp_path / "second.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *(row for row in rows if row[0] != names[0])])
    return path


def test_a_second_labelling(field_dir: Path, second: Path, tmp_path: Path) -> None:
    result = run(field_dir, "--other-labels", second, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert "7 of 8 photos are in both labellings; the others are left out\n" in result.stdout
    figures = overall(tmp_path / "out")
    assert (figures["photos"], figures["heads"] - figures["found"], figures["precision"]) == (7, 1, 1)


def test_another_split(field_dir: Path, second: Path, tmp_path: Path) -> None:
    rows = "".join(f"field_0000{k},{'val' if k in (2, 3, 5) else 'train'}\n" for k in range(8))
    (tmp_path / "held.csv").write_text(f"image_id,split\n{rows}")
    options = ["--other-labels", second, "--images", tmp_path / "held.csv"]
    result = run(field_dir, *options, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert overall(tmp_path / "out")["photos"] == 3


def test_a_second_labelling_of_other_photos(field_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "second.csv").write_text('image_id,bbox\nz,"[1, 2, 3, 4]"\n')
    result = run(field_dir, "--other-labels", tmp_path / "second.csv", "--out", tmp_path / "out")
    assert result.exit_code == 1
    file = tmp_path / "second.csv"
    assert result.stderr == f"wheatear: {file}: no photo for z (line 2); add or unlist them\n"


def test_two_things_to_judge_are_refused(field_dir: Path, second: Path) -> None:
    result = run(field_dir, "--other-labels", second, "--detections", second)
    assert (result.exit_code, result.stderr) == (
        1,
        "wheatear: --model, --detections and --other-labels: give one of them\n",
    )


def test_a_model_and_the_thresholds_in_its_card(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    Image.fromarray(red_cells([(0, 0), (2, 1)])).save(tmp_path / "train" / "a.png")
    (tmp_path / "train.csv").write_text('image_id,bbox\na,"[0, 0, 30, 20]"\na,"[30, 40, 30, 20]"\n')
    model = write_tiny_model(tmp_path)
    result = run(tmp_path, "--model", model, "--choose-threshold", "--report", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert (overall(tmp_path / "out")["kaggle"], overall(tmp_path / "out")["found"]) == (1, 2)
    card = json.loads(model.with_suffix(".json").read_text())
    assert card["score_threshold"] == card["count_threshold"] == 0.02
    assert f"<h1>{tmp_path.name}/tiny.onnx on 1 photo of" in check_page(tmp_path / "out" / "report.html")


def test_the_known_limit_of_the_labels(tmp_path: Path) -> None:
    if not SHARED.is_dir():
        pytest.skip("needs the Kaggle photos in ../shared/gwd")
    relabelled = SHARED / "train_relabelled_2021.csv"
    result = run(SHARED, "--other-labels", relabelled, "--out", tmp_path)
    assert "163 of 164 photos are in both labellings" in result.stdout
    figures = overall(tmp_path)
    assert figures["kaggle"] == pytest.approx(0.7552, abs=5e-5)
    assert figures["count"]["mae"] == pytest.approx(1.902, abs=5e-4)


@pytest.fixture
def detections(field_dir: Path, tmp_path: Path) -> Path:
    """Every head but each photo's first, and one box too many a photo."""
    rng = np.random.default_rng(0)
    found = []
    for sample in read_dataset(field_dir):
        boxes = np.concatenate([sample.boxes[1:], [[0, 0, 9, 9]]])
        found.append((sample.path.name, Detections(boxes, rng.uniform(0.3, 1, len(boxes)))))
    write_csv(tmp_path / "found.csv", found)
    return tmp_path / "found.csv"


def test_the_report(field_dir: Path, detections: Path, tmp_path: Path) -> None:
    result = run(
        field_dir, "--detections", detections, "--report", "--out", tmp_path / "out", "--threshold", 0.3
    )
    assert result.exit_code == 0, result.stderr
    text = check_page(tmp_path / "out" / "report.html")
    assert "<h2>Scores</h2>" in text
    for title in ("Counts", "By size of the heads", "By number of heads"):
        assert f"<h2>{title}, at the threshold 0.30</h2>" in text
    # Of the scatters one is for all, two for where photos are from: the one without heads has no line to tell.
    assert text.count("<svg") == 3 + 3 + 2 + 1
    assert text.count(", score ") > text.count("score threshold 0.30")
    false_alarms, missed = text.split("Missed heads, the least suspected first</h2>")
    assert false_alarms.count('class="open"') == 8
    assert missed.count('class="open"') == 7  # one photo has no heads


def test_the_report_without_scores_draws_no_curves(field_dir: Path, second: Path, tmp_path: Path) -> None:
    assert run(field_dir, "--other-labels", second, "--report", "--out", tmp_path / "out").exit_code == 0
    text = check_page(tmp_path / "out" / "report.html")
    assert "<h2>Scores</h2>" not in text
    assert "<h2>Counts</h2>" in text
    assert "second.csv on 7 photos of" in text


def test_the_report_of_nothing_found(field_dir: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "found.csv", [])
    (tmp_path / "photos" / "train").mkdir(parents=True)
    empty = next(sample for sample in read_dataset(field_dir) if not len(sample.boxes))
    (tmp_path / "photos" / "train" / empty.path.name).symlink_to(empty.path)
    (tmp_path / "photos" / "train.csv").write_text("image_id,bbox\n")
    for folder in (field_dir, tmp_path / "photos"):
        out = tmp_path / f"out_{folder.name}"
        result = run(folder, "--detections", tmp_path / "found.csv", "--report", "--out", out)
        assert result.exit_code == 0, result.stderr
        check_page(out / "report.html")


def test_a_second_labelling_that_names_empty_photos_leaves_the_others_out(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / "d" / "train").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (100, 80)).save(tmp_path / "d" / "train" / f"{name}.png")
    (tmp_path / "d" / "train.csv").write_text('image_id,bbox\na,"[20, 20, 30, 30]"\n')
    second = tmp_path / "second.csv"
    second.write_text("image_id,PredictionString\na,1 60 40 30 30\nb,\n")
    result = run(tmp_path / "d", "--other-labels", second, "--out", tmp_path / "out")
    assert "2 of 3 photos are in both labellings" in result.output
    second.write_text('image_id,bbox\na,"[60, 40, 30, 30]"\n')
    result = run(tmp_path / "d", "--other-labels", second, "--out", tmp_path / "out")
    assert "3 of 3 photos are in both labellings" in result.output


def test_a_label_that_is_inside_out_is_drawn_in_the_report(tmp_path: Path) -> None:
    (tmp_path / "d" / "train").mkdir(parents=True)
    Image.fromarray(red_cells([(0, 0)])).save(tmp_path / "d" / "train" / "a.png")
    (tmp_path / "d" / "train.csv").write_text('image_id,bbox\na,"[0, 0, 30, 20]"\na,"[90, 60, -30, 20]"\n')
    write_csv(tmp_path / "found.csv", [("a", Detections(np.array([[0, 0, 30, 20]]), np.array([0.9])))])
    result = run(
        tmp_path / "d", "--detections", tmp_path / "found.csv", "--report", "--out", tmp_path / "out"
    )
    assert result.exit_code == 0, result.output
    check_page(tmp_path / "out" / "report.html")


def test_detections_are_not_written_over(field_dir: Path, detections: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    own = tmp_path / "out" / "detections.csv"
    own.write_text(detections.read_text())
    result = run(field_dir, "--detections", own, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "detections.csv: would be written over; name another folder for --out" in result.output
    (tmp_path / "out" / "counts.csv").write_text("image,heads,more\n")  # a count's
    assert run(field_dir, "--detections", detections, "--out", tmp_path / "out").exit_code == 1
    assert own.read_text() == detections.read_text()


@pytest.mark.parametrize(("name", "more"), [("detections.csv", []), ("report.html", ["--report"])])
def test_somebody_elses_files_are_not_written_over(
    field_dir: Path, detections: Path, tmp_path: Path, name: str, more: list[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("mine")
    result = run(field_dir, "--detections", detections, "--out", out, *more)
    assert result.exit_code == 1
    assert (
        f"{name}: is there already, and no evaluation of ours; name another folder for --out" in result.stderr
    )
    assert (out / name).read_text() == "mine"
    (out / name).unlink()
    for _ in range(2):  # an evaluation's own may be made anew
        assert run(field_dir, "--detections", detections, "--out", out, *more).exit_code == 0


def test_counts_in_the_report_are_those_at_their_own_threshold(tmp_path: Path) -> None:
    """One head of a score between the two thresholds."""
    Image.new("RGB", (100, 80)).save(tmp_path / "a.png")
    box = np.array([[10, 10, 40, 40]], np.float32)
    samples = [Sample(tmp_path / "a.png", np.concatenate([box, box + 50]), 100, 80)]
    found = {"a.png": Detections(np.concatenate([box, box + 50]), np.array([0.9, 0.5]))}
    figures = {
        "at_score_threshold": evaluate(samples, found, 0.7),
        "at_count_threshold": evaluate(samples, found, 0.3),
    }
    write_evaluation_report(tmp_path / "report.html", samples, found, figures, "a")
    text = (tmp_path / "report.html").read_text()
    assert "<h2>Counts, at the threshold 0.30</h2>" in text
    assert "a.png: 2 counted, 2 labelled" in text
    assert "<h2>By size of the heads, at the threshold 0.70</h2>" in text
    metric, mae = re.findall(r"<figcaption>Best, .*?</figcaption>", text)
    assert "the threshold, 0.70" in metric
    assert "the threshold, 0.30" in mae


def test_a_report_of_an_earlier_run_is_named(field_dir: Path, detections: Path, tmp_path: Path) -> None:
    options = [field_dir, "--detections", detections, "--out", tmp_path / "out"]
    assert "earlier run" not in run(*options, "--report").stderr
    assert "still has report.html of an earlier run" in run(*options).stderr


@pytest.mark.parametrize(
    ("at", "left"),
    [
        ("write_json", ["evaluation.json"]),
        ("write_csv", ["evaluation.json"]),
        ("write_evaluation_report", ["detections.csv", "evaluation.json"]),
    ],
)
def test_killed_between_its_files_it_leaves_none_of_another_run(
    field_dir: Path,
    detections: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: str,
    left: list[str],
) -> None:
    options = [field_dir, "--detections", detections, "--report", "--out", tmp_path / "out"]
    assert run(*options).exit_code == 0

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    module = "evaluation_report" if at == "write_evaluation_report" else "cli_evaluate_output"
    monkeypatch.setattr(f"wheatear.{module}.{at}", killed)
    assert run(*options).exit_code != 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == left


def test_an_evaluation_json_of_somebody_elses_is_not_written_over(
    field_dir: Path, detections: Path, tmp_path: Path
) -> None:
    (tmp_path / "evaluation.json").write_text('{"mine": 1}')
    result = run(field_dir, "--detections", detections, "--out", tmp_path)
    assert result.exit_code == 1
    assert "evaluation.json: is there already, and no evaluation of ours" in result.stderr
    assert (tmp_path / "evaluation.json").read_text() == '{"mine": 1}'


def test_what_is_computed_is_saved_before_it_is_shown(
    field_dir: Path, detections: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the table goes into a pipe that nobody reads any more."""

    def closed(_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("wheatear.cli_evaluate_output.show", closed)
    result = run(field_dir, "--detections", detections, "--report", "--out", tmp_path / "out")
    assert result.exit_code != 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "detections.csv",
        "evaluation.json",
        "report.html",
    ]


def test_sessions_in_brackets_are_shown_as_they_are(
    field_dir: Path, detections: Path, tmp_path: Path
) -> None:
    names = [sample.name for sample in read_dataset(field_dir)]
    rows = "".join(
        f"{name},,{'plot [/north]' if k else '[red]x:100:y'},,val\n" for k, name in enumerate(names)
    )
    (tmp_path / "images.csv").write_text("image_id,source,session,photo,split\n" + rows)
    result = run(
        field_dir, "--images", tmp_path / "images.csv", "--detections", detections, "--out", tmp_path / "out"
    )
    assert result.exit_code == 0, result.output
    assert "plot [/north]" in result.stdout
    assert "[red]x:100:y" in result.stdout
