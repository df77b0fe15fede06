"""docs/walk.md: its pictures can be drawn, its quotations are current, its links lead somewhere."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from make_figures import idea_pictures, joint_pictures, make_figures, run_pictures
from mistakes import iou_plus_one, linear_scores, lost_heads, missing_activation, plus_one, split_by_snip
from quoted import ROOT, definition, quote, refresh
from test_explain_result import outlines
from untrained_run import tiny_recipe, write_untrained_run
from wheatear.data.sample import Sample
from wheatear.explain.colours import HEAD, MISSED
from wheatear.explain.drawing import caption_of
from wheatear.explain.look import TrainedRun

torch.set_num_threads(1)
WALK = ROOT / "docs" / "walk.md"


@pytest.fixture(scope="module")
def text() -> str:
    return WALK.read_text("utf-8")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    return TrainedRun(write_untrained_run(tmp_path_factory.mktemp("run") / "tiny", tiny_recipe()))


def test_quotations_are_as_the_code_is_now(text: str):
    assert text.count("<!-- code: ") == text.count("```python\n") >= 8
    assert refresh(text) == text


def test_links_and_pictures_are_there(text: str):
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]
    assert len(links) > 10
    assert [link for link in links if not (WALK.parent / link).exists()] == []


def test_every_picture_is_in_the_walk_once(text: str):
    pictures = [name for name, _ in (*run_pictures(), *joint_pictures(), *idea_pictures())]
    assert sorted(re.findall(r"<!-- figure: (\w+) -->", text)) == sorted(pictures)


def test_names_in_the_text_are_in_the_file_that_they_link(text: str):
    named = re.findall(r"\[`(\w+)`\]\(\.\./(src/\S+?\.py)\)", text)
    assert len(named) > 3
    for name, file in named:
        assert definition((ROOT / file).read_text("utf-8"), name)


def test_a_quotation_without_its_docstring():
    lines = definition(
        'def one():\n    """Doc\n\n    more."""\n    return 1\n\n\nclass Two:\n    def one(self):\n        return 2\n',
        "one",
    )
    assert lines == ["def one():", "    return 1"]
    assert quote("docs/quoted.py refresh | return BLOCK … return BLOCK") == "return BLOCK.sub(renew, text)"
    for wrong in ("docs/quoted.py nothing", "docs/quoted.py refresh | not there … return"):
        with pytest.raises(KeyError):
            quote(wrong)


def test_a_caption_takes_the_place_of_the_old():
    old = "a\n<!-- figure: one -->\nold\n<!-- end -->\nb"
    assert refresh(old) == old
    assert refresh(old, {"one": "3 heads."}) == (
        "a\n<!-- figure: one -->\n![one](walk/one.webp)\n\n*3 heads.*\n<!-- end -->\nb"
    )


def test_all_pictures_at_a_small_size(run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("make_figures.DPI", 20)
    captions = make_figures(run.folder, tmp_path, size=256)
    names = [name for name, _ in (*run_pictures(), *joint_pictures(), *idea_pictures())]
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(names)
    assert list(captions) == names
    assert all(re.search(r"\d", caption) for caption in captions.values())


def test_without_a_run_the_shipped_detector_alone_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("make_figures.DPI", 20)
    assert list(make_figures(None, tmp_path, size=256)) == [
        name for name, _ in (*joint_pictures(), *idea_pictures())
    ]


def test_one_too_many_pixels():
    assert iou_plus_one(np.array([0, 0, 7, 7]), np.array([0, 0, 7, 7])) == 1
    assert iou_plus_one(np.array([0, 0, 1, 1]), np.array([1, 0, 2, 1])) == pytest.approx(1 / 3)


def lines(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(line.get_ydata()) for line in figure.axes[0].lines]


def test_plus_one_hurts_small_boxes_most(run: TrainedRun, sample: Sample):
    right, wrong = lines(plus_one(run, sample))
    assert set(right) == {0.5}
    assert (np.diff(wrong) < 0).all()
    assert wrong[-1] > 0.5


def test_heads_are_either_learnt_or_lost(run: TrainedRun, sample: Sample):
    figure = lost_heads(run, sample)
    learnt, lost = len(outlines(figure, HEAD)), len(outlines(figure, MISSED))
    assert learnt + lost == len(sample.boxes)
    assert lost > 0
    assert f"they take {lost} of {len(sample.boxes)} heads" in caption_of(figure)


def test_without_the_activation_scores_are_linear(run: TrainedRun, sample: Sample):
    look = run.look(sample)
    head = run.model.rpn.head
    folded = torch.einsum("oc,cikl->oikl", head.objectness.weight[:, :, 0, 0], head.conv.weight)
    bias = head.objectness.weight[:, :, 0, 0] @ head.conv.bias + head.objectness.bias
    expected = torch.nn.functional.conv2d(look.features[0], folded, bias, padding=1)
    found = linear_scores(look).reshape(8, 8, 9).permute(2, 0, 1)[None]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    with_relu, without = (axes.images[0].get_array() for axes in missing_activation(run, sample).axes)
    assert not np.allclose(with_relu, without)


def test_snips_of_one_photo_overlap(run: TrainedRun, sample: Sample):
    caption = caption_of(split_by_snip(run, sample))
    shared, of = map(int, re.search(r"validation: (\d+) of (\d+) share", caption).groups())
    assert 0 < shared <= of
