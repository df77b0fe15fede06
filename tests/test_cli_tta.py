"""`--tta` of `wheatear count` and `wheatear evaluate`, on a photo with a head that only one of four flips shows."""

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from count_runs import count, counted, lines_of
from tiny_model import RED, red_cells, write_tiny_model
from wheatear.cli import app
from wheatear.count_settings import SETTINGS

# Cells are 30 × 20 px, and the tiny model looks at one pixel of each, a little right and below of the middle.
SEEN_BY_ONE = (2 * 20 + 10, 2 * 30 + 15)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    image = red_cells([(0, 0)])
    image[SEEN_BY_ONE] = RED
    path = tmp_path / "field" / "train" / "a.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(image).save(path)
    return path


@pytest.fixture
def field(photo: Path) -> Path:
    """Labels of the photo, by which both heads are there."""
    folder = photo.parents[1]
    (folder / "train.csv").write_text('image_id,bbox\na,"[0, 0, 30, 20]"\na,"[60, 40, 30, 20]"\n')
    return folder


def evaluate(*arguments: object) -> None:
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    assert result.exit_code == 0, result.output


def test_a_head_that_one_view_sees_counts_for_a_quarter(photo, tmp_path):
    model = write_tiny_model(tmp_path)
    for options, heads in [([], 2), (["--tta", "flips"], 1), (["--tta", "flips", "--threshold", "0.25"], 2)]:
        out = tmp_path / f"out{'-'.join(options)}"
        assert count(model, out, photo, *options).exit_code == 0
        assert counted(out) == {"a.png": heads}


def test_the_cards_threshold_for_these_views_is_taken(photo, tmp_path):
    flips = {"score_threshold": 0.5, "count_threshold": 0.2}
    model = write_tiny_model(tmp_path, tta={"flips": flips})
    result = count(model, tmp_path / "out", photo, "--tta", "flips")
    assert lines_of(result) == []
    assert counted(tmp_path / "out") == {"a.png": 2}
    assert json.loads((tmp_path / "out" / SETTINGS).read_text())["threshold"] == 0.2


def test_evaluate_says_so_too(field, tmp_path):
    model = write_tiny_model(tmp_path)
    arguments = ["evaluate", field, "--model", model, "--tta", "flips", "--out", tmp_path / "out"]
    for options, said in [([], True), (["--threshold", "0.2"], False), (["--choose-threshold"], False)]:
        result = CliRunner().invoke(app, list(map(str, arguments + options)))
        assert ("has no thresholds for --tta flips" in result.stderr) == said


def test_a_card_without_such_thresholds_is_named(photo, tmp_path):
    model = write_tiny_model(tmp_path, tta={"flips": {"score_threshold": 0.5}})
    [line] = lines_of(count(model, tmp_path / "out", photo, "--tta", "turns"))
    assert line.startswith(
        "wheatear: tiny has no thresholds for --tta turns, so too few heads may be found; "
    )
    assert lines_of(count(model, tmp_path / "own", photo, "--tta", "turns", "--threshold", "0.1")) == []


def test_a_count_is_resumed_with_the_same_views(photo, tmp_path):
    model, out = write_tiny_model(tmp_path, tta={"flips": {"score_threshold": 0.4}}), tmp_path / "out"
    count(model, out, photo, "--tta", "flips")
    assert json.loads((out / SETTINGS).read_text())["tta"] == "flips"
    assert count(model, out, photo, "--tta", "flips", "--resume").exit_code == 0
    assert lines_of(count(model, out, photo, "--resume")) == [
        f"wheatear: {out / SETTINGS}: --tta was flips, now not given; give the same, or name another folder for --out"
    ]


def test_an_unknown_kind_is_a_usage_error(photo, tmp_path):
    result = count(write_tiny_model(tmp_path), tmp_path / "out", photo, "--tta", "all")
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_thresholds_chosen_for_these_views_are_kept_apart(field, tmp_path):
    model, card = write_tiny_model(tmp_path, note="kept"), tmp_path / "tiny.json"
    before = json.loads(card.read_text())
    evaluate(
        field, "--model", model, "--tta", "flips", "--choose-threshold", "--report", "--out", tmp_path / "out"
    )
    after = json.loads(card.read_text())
    flips = after.pop("tta")["flips"]
    assert after == before
    assert (flips["score_threshold"], flips["count_threshold"]) == (0.02, 0.02)
    assert flips["figures"]["all"] == json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert "tiny.onnx --tta flips" in (tmp_path / "out" / "report.html").read_text()
    evaluate(field, "--model", model, "--tta", "flips", "--out", tmp_path / "again")
    again = json.loads((tmp_path / "again" / "evaluation.json").read_text())["at_score_threshold"]
    assert (again["score_threshold"], again["overall"]["found"]) == (0.02, 2)
    evaluate(field, "--model", model, "--out", tmp_path / "plain")
    plain = json.loads((tmp_path / "plain" / "evaluation.json").read_text())["at_score_threshold"]
    assert plain["score_threshold"] == 0.4


def test_what_the_card_usually_does_is_kept_as_such(field, tmp_path):
    model = write_tiny_model(tmp_path, usual_tta="flips")
    for tta in ([], ["--tta", "once"]):
        evaluate(field, "--model", model, *tta, "--choose-threshold", "--report", "--out", tmp_path / "out")
        card = json.loads((tmp_path / "tiny.json").read_text())
        assert list(card["tta"]) == ["flips"]
        assert ("figures" in card) == (tta != [])
        assert ("--tta flips" in (tmp_path / "out" / "report.html").read_text()) == (tta == [])


def test_both_are_kept_beside_each_other(field, tmp_path):
    model = write_tiny_model(tmp_path)
    for tta in ([], ["--tta", "flips"], ["--tta", "turns"]):
        evaluate(field, "--model", model, *tta, "--choose-threshold", "--out", tmp_path / "out")
    card = json.loads((tmp_path / "tiny.json").read_text())
    assert list(card["tta"]) == ["flips", "turns"]
    assert list(card["figures"]) == ["all"]


@pytest.mark.parametrize("option", ["--detections", "--other-labels"])
def test_what_is_no_model_has_no_views(field, option):
    result = CliRunner().invoke(app, ["evaluate", str(field), option, "some.csv", "--tta", "flips"])
    assert result.exit_code == 1
    assert result.stderr == "wheatear: --tta flips: is for a model; leave it out\n"
