"""`wheatear explain`: the story of a photo as files."""

import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from test_api import TRAINING_ONLY, loaded_by
from tiny_model import red_cells, write_tiny_model
from untrained_run import tiny_recipe, write_untrained_run
from wheatear.cli import app
from wheatear.errors import InputError
from wheatear.explain import __all__ as names
from wheatear.explain import best_regions, box_regression, found_heads, page, pooled_crop, story
from wheatear.explain.drawing import caption_of
from wheatear.explain.look import TrainedRun
from wheatear.explain.seen import unlabelled

torch.set_num_threads(1)
MODELS = {"ExportedModel", "TrainedRun", "shipped_network", "unlabelled"}
THE_STEPS = {name for name in names if name not in MODELS}


@pytest.fixture(autouse=True)
def _small_pictures(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(story, "DPI", 25)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_untrained_run(tmp_path_factory.mktemp("run") / "tiny", tiny_recipe())


def explain(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["explain", *map(str, arguments)])
    return result.exit_code, result.output


def test_every_step_is_told_once():
    told = [step.name for step in story.STORY]
    assert set(told) == THE_STEPS
    assert len(told) == len(THE_STEPS)


def test_no_module_hides_a_step():
    """A module of the same name would take the function's place as soon as it is imported."""
    modules = {path.stem for path in Path(story.__file__).parent.glob("*.py")}
    assert not modules & set(names)


def test_a_labelled_photo_shows_every_step(run: Path, field_dir: Path, field_photo: Path, tmp_path: Path):
    code, output = explain(field_photo, "--run", run, "--data", field_dir, "--out", tmp_path)
    assert code == 0, output
    assert "Left out" not in output
    assert len(list(tmp_path.glob("*.png"))) == len(story.STORY)
    html = (tmp_path / "index.html").read_text("utf-8")
    sources = re.findall(r'src="([^"]{0,40})', html)
    assert len(sources) == len(story.STORY)
    assert all(source.startswith("data:image/webp;base64,") for source in sources)
    assert not re.search(r"https?:|<script|<link", html)
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", html)
    assert all(re.search(r"\d", caption) for caption in captions)
    assert "Left out" not in html


def test_a_second_photo_leaves_no_picture_of_the_first(
    run: Path, field_dir: Path, field_photo: Path, tmp_path: Path
):
    assert explain(field_photo, "--run", run, "--data", field_dir, "--out", tmp_path)[0] == 0
    (tmp_path / "mine.png").write_text("mine")
    assert explain(field_photo, "--run", run, "--out", tmp_path)[0] == 0
    assert len(list(tmp_path.glob("*.png"))) == len(story.STORY) - 4 + 1


def test_stopped_half_way_it_leaves_nothing_of_an_earlier_photo(run: Path, tmp_path: Path):
    out = tmp_path / "out"
    for name in ("first", "second"):
        Image.new("RGB", (40, 30)).save(tmp_path / f"{name}.png")
    list(story.tell(TrainedRun(run), unlabelled(tmp_path / "first.png"), out))
    damaged = tmp_path / "first.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    with pytest.raises(InputError):
        list(story.tell(TrainedRun(run), unlabelled(damaged), out))
    assert (out / "index.html").exists()
    telling = story.tell(TrainedRun(run), unlabelled(tmp_path / "second.png"), out)
    assert [next(telling), next(telling)] == [step.title for step in story.STORY[:2]]
    assert [path.name for path in out.iterdir()] == ["01-labelled_photo.png"]


def test_a_name_in_another_script_gives_no_warning(
    run: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
):
    Image.new("RGB", (40, 30)).save(tmp_path / "小麦.png")
    telling = story.tell(TrainedRun(run), unlabelled(tmp_path / "小麦.png"), tmp_path / "out")
    assert [next(telling), next(telling)] == [step.title for step in story.STORY[:2]]
    assert not recwarn.list


def test_somebody_elses_page_is_not_written_over(run: Path, field_photo: Path, tmp_path: Path):
    (tmp_path / "index.html").write_text("mine")
    code, output = explain(field_photo, "--run", run, "--out", tmp_path)
    assert code == 1
    assert "index.html: is there already, and no pictures of ours; name another folder for --out" in output
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
    assert (tmp_path / "index.html").read_text() == "mine"


def test_a_mean_of_runs_has_no_history(run: Path, field_photo: Path, tmp_path: Path):
    mean = tmp_path / "mean"
    shutil.copytree(run, mean)
    next(mean.glob("*/metrics.csv")).unlink()
    code, output = explain(field_photo, "--run", mean, "--out", tmp_path / "out")
    assert code == 0, output
    assert f"Left out: How the training went: {story.MISSING[story.HISTORY]}" in output
    assert (tmp_path / "out" / "index.html").exists()


def test_an_unlabelled_strip_of_a_photo(run: Path, tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 255, (9, 400, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise & <b> $\\foo$.png")
    sample = unlabelled(tmp_path / "noise & <b> $\\foo$.png")
    titles = list(story.tell(TrainedRun(run), sample, tmp_path / "out", [story.LABELS]))
    html = (tmp_path / "out" / "index.html").read_text("utf-8")
    assert len(titles) == len(story.STORY) - 4
    assert html.count("Left out: the boxes of the photo are not known; --data DIR finds them.") == 4
    assert "noise &amp; &lt;b&gt; $\\foo$" in html
    assert "<b>" not in html


def test_a_detector_that_finds_nothing(run: Path, tmp_path: Path):
    blind = TrainedRun(run)
    blind.model.rpn.proposal_settings = replace(blind.model.rpn.proposal_settings, min_size=1e6)
    Image.new("RGB", (40, 30)).save(tmp_path / "black.png")
    sample = unlabelled(str(tmp_path / "black.png"))
    said = {
        best_regions: "which leaves 0",
        pooled_crop: "no region was proposed",
        box_regression: "no region was proposed",
        found_heads: "0 detections",
    }
    for step, words in said.items():
        assert words in caption_of(step(blind, sample))


def test_an_exported_model_shows_the_result_and_says_what_it_hides(tmp_path: Path):
    Image.fromarray(red_cells([(0, 0), (2, 3)])).save(tmp_path / "photo.png")
    model = write_tiny_model(tmp_path)
    code, output = explain(tmp_path / "photo.png", "--model", model, "--out", tmp_path / "out")
    assert code == 0
    assert "Left out: The network, Snips" in output
    assert "that needs the extra `train`, and a recipe on the model's card" in output
    shown = sorted(path.stem[3:] for path in (tmp_path / "out").glob("*.png"))
    assert shown == ["found_heads", "head_sizes", "labelled_photo", "score_threshold"]


def test_an_exported_model_needs_no_torch(tmp_path: Path):
    Image.fromarray(red_cells([(0, 0)])).save(tmp_path / "photo.png")
    arguments = [
        "explain",
        str(tmp_path / "photo.png"),
        "--model",
        str(write_tiny_model(tmp_path)),
        "--out",
        str(tmp_path),
    ]
    loaded = loaded_by(f"from wheatear.cli import app\napp({arguments!r}, standalone_mode=False)")
    assert loaded & set(TRAINING_ONLY) == {"matplotlib"}


def test_mistakes_are_named_in_a_line(run: Path, field_dir: Path, field_photo: Path, tmp_path: Path):
    code, output = explain(field_photo, "--run", run, "--model", "seed", "--out", tmp_path)
    assert (code, output) == (1, "wheatear: --run and --model: give one of the two\n")
    Image.new("RGB", (9, 9)).save(tmp_path / "other.png")
    code, output = explain(tmp_path / "other.png", "--run", run, "--data", field_dir, "--out", tmp_path)
    assert code == 1
    assert "other.png: not a labelled photo of" in output
    code, output = explain(tmp_path / "none.png", "--run", run, "--out", tmp_path)
    assert code == 1
    assert "no such file" in output


@pytest.mark.parametrize(
    ("option", "install"), [("--run", "pip install '.[train]' in"), ("--model", "pip install matplotlib\n")]
)
def test_one_line_names_all_that_is_to_be_installed(monkeypatch, field_photo, tmp_path, option, install):
    for package in ("lightning", "matplotlib"):
        monkeypatch.setitem(sys.modules, package, None)  # as if they were not installed
    code, output = explain(field_photo, option, "seed", "--out", tmp_path)
    assert code == 1
    assert f"run {install}" in output


def test_a_recipe_without_snips_leaves_their_steps_out():
    assert story.left_out([story.CNN]) == {story.MISSING[story.CNN]: ["Snips", "The class map"]}
    html = page.page("p", [page.Picture("Snips", "What.", left_out=story.MISSING[story.CNN])])
    assert f"Left out: {story.MISSING[story.CNN]}." in html
