import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from count_runs import count, counted, draw, lines_of, table
from wheatear import __version__
from wheatear.count import COUNTS_HEADER, Count, Options, count_photos
from wheatear.detections import Detections
from wheatear.detector import Card, Detector, load
from wheatear.errors import InputError
from wheatear.files import alone_in
from wheatear.photo_names import Photo, name_photos
from wheatear.pixels import Pixels


class Failing:
    """Finds one head in each photo until `bad` calls are done; then raises."""

    card = Card(format=1, name="failing", score_threshold=0.5)
    tta = None

    def __init__(self, bad: int, error: BaseException) -> None:
        self.calls, self.bad, self.error = 0, bad, error

    def detect(self, pixels: Pixels, threshold: float | None, head_px: float | None) -> Detections:
        self.calls += 1
        if self.calls > self.bad:
            raise self.error
        return Detections(np.array([[0, 0, 10, 10]]), np.array([0.5]), pixels.height, pixels.width)


def three(photos: Path) -> list[Photo]:
    return name_photos([photos])


def test_a_failing_model_names_the_photo(photos, tmp_path):
    failing = Failing(2, InputError("the model failed on this photo; try a smaller one"))
    counts = list(count_photos(failing, three(photos), tmp_path))
    message = f"{photos / 'sub' / 'c.tif'}: the model failed on this photo; try a smaller one"
    assert counts == [Count("a.png", 1), Count("b.jpg", 1), Count("sub/c.tif", None, message)]


def test_tables_get_their_names_when_they_are_whole(model, photos, tmp_path):
    counts = count_photos(load(model), three(photos), tmp_path)
    (tmp_path / "counts.csv").write_text("an earlier run's")
    next(counts), next(counts)
    # This is what a killed process would leave: the earlier table, and what is done beside it.
    assert (tmp_path / "counts.csv").read_text() == "an earlier run's"
    assert counted(tmp_path, "counts.csv.part") == {"a.png": 2, "b.jpg": 0}
    assert list(counts) == [Count("sub/c.tif", 1)]
    assert counted(tmp_path) == {"a.png": 2, "b.jpg": 0, "sub/c.tif": 1}
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interrupted_run_goes_on_where_it_stopped(model, photos, tmp_path, error):
    for name in ("d.png", "e.png", "f.png"):
        draw(photos / name, [(0, 0)])
    todo = name_photos([photos])
    failing = Failing(5, error)
    with pytest.raises(type(error)):
        list(count_photos(failing, todo, tmp_path))
    before = counted(tmp_path, "counts.csv.part")
    assert before == dict.fromkeys(["a.png", "b.jpg", "d.png", "e.png", "f.png"][: len(before)], 1)
    assert len(before) >= 1
    assert not list(tmp_path.glob("*.csv"))

    rest = list(count_photos(load(model), todo, tmp_path, Options(resume=True)))
    assert [count.name for count in rest] == [photo.name for photo in todo if photo.name not in before]
    assert list(counted(tmp_path)) == [photo.name for photo in todo]
    with_heads = [row[0] for row in table(tmp_path / "detections.csv")[1:]]
    assert with_heads == [name for name, heads in counted(tmp_path).items() for _ in range(heads)]
    assert not list(tmp_path.glob("*.part*"))


def test_a_row_that_a_killed_process_left_unfinished_is_done_again(model, photos, tmp_path):
    todo = three(photos)
    list(count_photos(load(model), todo, tmp_path))
    whole = {name: (tmp_path / name).read_text() for name in ("counts.csv", "detections.csv")}
    for name, text in whole.items():  # killed while writing c.tif's rows
        (tmp_path / name).unlink()
        (tmp_path / f"{name}.part").write_text(text[:-3])
    [again] = count_photos(load(model), todo, tmp_path, Options(resume=True))
    assert again.name == "sub/c.tif"
    assert whole == {name: (tmp_path / name).read_text() for name in whole}


def test_detections_of_a_photo_that_was_not_counted_are_dropped(model, photos, tmp_path):
    todo = three(photos)
    list(count_photos(load(model), todo, tmp_path))
    whole = (tmp_path / "detections.csv").read_text()
    lines = (tmp_path / "counts.csv").read_text().splitlines(keepends=True)
    (tmp_path / "counts.csv").write_text("".join(lines[:-1]))
    assert [again.name for again in count_photos(load(model), todo, tmp_path, Options(resume=True))] == [
        "sub/c.tif"
    ]
    assert (tmp_path / "detections.csv").read_text() == whole


def test_resuming_a_finished_run_counts_what_is_new(model, photos, tmp_path):
    out = tmp_path / "out"
    assert count(model, out, photos, "--resume").exit_code == 0
    draw(photos / "new.png", [(0, 0)])
    result = count(model, out, photos, "--resume")
    assert lines_of(result) == ["wheatear: 3 of 4 photos were counted before; going on with the others"]
    assert counted(out) == {"a.png": 2, "b.jpg": 0, "sub/c.tif": 1, "new.png": 1}


def test_a_run_that_is_finished_shows_its_means_again(model, photos, tmp_path):
    out = tmp_path / "out"
    assert count(model, out, photos).exit_code == 0
    again = count(model, out, photos, "--resume")
    assert lines_of(again) == ["wheatear: 3 of 3 photos were counted before"]
    assert "of 2 photos" in again.stdout
    assert "Total" not in again.stdout  # of this run, which has counted nothing


def test_another_photo_of_a_name_that_was_counted_is_refused(model, photos, tmp_path):
    out = tmp_path / "out"
    assert count(model, out, photos).exit_code == 0
    content = (photos / "a.png").read_bytes()
    draw(photos / "a.png", [(row, column) for row in range(4) for column in range(4)])
    again = count(model, out, photos, "--resume")
    said = "wheatear: a.png: another file than the one that was counted; name another folder for --out, or"
    assert lines_of(again) == [f"{said} leave out --resume to count all again"]
    (photos / "a.png").write_bytes(content)  # as when it is copied again
    assert count(model, out, photos, "--resume").exit_code == 0
    settings = json.loads((out / "settings.json").read_text())
    del settings["bytes"]
    (out / "settings.json").write_text(json.dumps(settings))  # of a run before lengths were kept
    assert count(model, out, photos, "--resume").exit_code == 0


def test_a_run_is_not_resumed_with_other_settings(model, photos, tmp_path):
    out = tmp_path / "out"
    assert count(model, out, photos).exit_code == 0
    result = count(model, out, photos, "--resume", "--threshold", "0.9")
    assert result.exit_code == 1
    said = "--threshold was 0.4, now 0.9; give the same, or name another folder for --out"
    assert lines_of(result) == [f"wheatear: {out}/settings.json: {said}"]


def test_a_run_is_not_resumed_with_another_detector_of_the_same_name(model, photos, tmp_path):
    out, content = tmp_path / "out", Path(model).read_bytes()
    assert count(model, out, photos).exit_code == 0
    Path(model).write_bytes(content + b"\xa2\x06\x00")  # a field that nobody knows
    result = count(model, out, photos, "--resume")
    Path(model).write_bytes(content)
    assert result.exit_code == 1
    assert "settings.json: model_sha256 was " in lines_of(result)[0]


def test_a_run_is_not_resumed_with_another_version(model, photos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert count(model, out, photos).exit_code == 0
    monkeypatch.setattr("wheatear.count_settings.__version__", "0.0")
    said = (
        f"settings.json: wheatear was {__version__}, now 0.0; give the same, or name another folder for --out"
    )
    assert said in lines_of(count(model, out, photos, "--resume"))[0]


def test_tables_of_other_columns_are_not_resumed(model, photos, tmp_path):
    (tmp_path / "counts.csv").write_text("image,heads\na.png,2\n")
    result = count(model, tmp_path, photos, "--resume")
    assert result.exit_code == 1
    [said] = lines_of(result)
    assert said.endswith("counts.csv, line 1: other columns than this run's; name another folder for --out")


def test_ctrl_c_ends_with_a_line(model, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(Detector, "detect", Failing(1, KeyboardInterrupt()).detect)
    result = count(model, tmp_path / "out", photos)
    assert result.exit_code == 130
    done = tmp_path / "out" / "counts.csv.part"
    assert lines_of(result) == [
        f"wheatear: stopped; go on with --resume; the photos done so far are in {done}"
    ]
    assert counted(tmp_path / "out", done.name).items() <= {"a.png": 1}.items()


def test_a_second_run_that_is_stopped_leaves_the_first_ones_results(model, photos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    count(model, out, photos)
    before = {name: (out / name).read_text() for name in ("counts.csv", "settings.json")}
    with monkeypatch.context() as stopping:
        stopping.setattr(Detector, "detect", Failing(1, KeyboardInterrupt()).detect)
        assert count(model, out, photos, "--threshold", "0.9").exit_code == 130
    assert {name: (out / name).read_text() for name in before} == before
    other = count(model, out, photos, "--resume")
    assert lines_of(other)[0].startswith(
        f"wheatear: {out / 'settings.json.part'}: --threshold was 0.9, now 0.4"
    )
    assert count(model, out, photos, "--threshold", "0.9", "--resume").exit_code == 0
    assert json.loads((out / "settings.json").read_text())["threshold"] == 0.9
    assert not list(out.glob("*.part"))


def test_settings_that_no_table_was_begun_with_do_not_pass_for_those_of_the_table(model, photos, tmp_path):
    """As a full disk leaves them."""
    out = tmp_path / "out"
    count(model, out, photos)
    settings = json.loads((out / "settings.json").read_text()) | {"threshold": 0.9}
    (out / "settings.json.part").write_text(json.dumps(settings))
    result = count(model, out, photos, "--threshold", "0.9", "--resume")
    assert lines_of(result)[0].startswith(f"wheatear: {out / 'settings.json'}: --threshold was 0.4, now 0.9")


@pytest.mark.parametrize("last", ["detections.csv", "counts.csv", "settings.json"])
@pytest.mark.parametrize("earlier", [False, True])
def test_a_run_that_ends_among_its_last_files_is_resumed_with_its_own_settings(
    model, photos, tmp_path, monkeypatch, last, earlier
):
    out, replace = tmp_path / "out", os.replace
    if earlier:
        count(model, out, photos)

    def replace_and_stop(part: Path, path: Path) -> None:
        replace(part, path)
        if path == out / last:
            raise KeyboardInterrupt

    with monkeypatch.context() as stopping:
        stopping.setattr(os, "replace", replace_and_stop)
        assert count(model, out, photos, "--threshold", "0.9").exit_code == 130
    other = count(model, out, photos, "--resume")
    assert other.exit_code == 1
    assert "--threshold was 0.9, now 0.4; give the same" in lines_of(other)[0]
    assert count(model, out, photos, "--threshold", "0.9", "--resume").exit_code == 0
    assert not list(out.glob("*.part"))


def test_what_a_stopped_run_counted_is_not_thrown_away(model, photos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as stopping:
        stopping.setattr(Detector, "detect", Failing(1, KeyboardInterrupt()).detect)
        count(model, out, photos)
    (out / "counts.csv.part").write_text(",".join(COUNTS_HEADER) + "\na.png,2,,,,,,,120,80,,\n")
    result = count(model, out, photos)
    assert result.exit_code == 1
    assert lines_of(result) == [
        f"wheatear: {out}: holds 1 photo of a run that was stopped; go on with --resume, or name another folder "
        "for --out"
    ]
    assert count(model, out, photos, "--resume").exit_code == 0
    (out / "counts.csv.part").write_text(
        "image,heads\na.png,2\n"
    )  # of another version: nothing to go on with
    assert count(model, out, photos).exit_code == 0


def test_photos_that_have_gone_are_said_and_stay_in_their_folder(model, tmp_path):
    for name in ("one/a.png", "one/b.png", "two/c.png"):
        draw(tmp_path / "p" / name, [(0, 0)])
    out = tmp_path / "out"
    count(model, out, tmp_path / "p")
    (tmp_path / "p" / "one" / "a.png").rename(tmp_path / "p" / "one" / "new.png")
    result = count(model, out, tmp_path / "p", "--resume")
    assert lines_of(result) == [
        "wheatear: counted before, and no longer where it was: one/a.png; "
        "to drop its row, name another folder for --out",
        "wheatear: 2 of 3 photos were counted before; going on with the others",
    ]
    assert counted(out) == {"one/a.png": 1, "one/b.png": 1, "two/c.png": 1, "one/new.png": 1}
    assert [row[:2] for row in table(out / "folders.csv")[1:]] == [["one", "3"], ["two", "1"]]


def test_a_photo_that_has_gone_is_still_known_to_have_lain_there(model, tmp_path):
    """Its name alone does not tell its folder."""
    for name in ("a.png", "b.png"):
        draw(tmp_path / "p" / name, [(0, 0)])
    out = tmp_path / "out"
    count(model, out, tmp_path / "p")
    (tmp_path / "p" / "a.png").unlink()
    assert count(model, out, tmp_path / "p", "--resume").exit_code == 0
    assert [row[:2] for row in table(out / "folders.csv")[1:]] == [["p", "2"]]


def test_results_that_were_moved_without_the_photos_are_gone_on_with(model, photos, tmp_path):
    count(model, tmp_path / "out", photos)
    (tmp_path / "results").mkdir()
    (tmp_path / "out").rename(tmp_path / "results" / "out")
    draw(photos / "new.png", [(0, 0)])
    assert count(model, tmp_path / "results" / "out", photos, "--resume").exit_code == 0
    assert counted(tmp_path / "results" / "out") == {"a.png": 2, "b.jpg": 0, "sub/c.tif": 1, "new.png": 1}


def test_two_runs_at_once_do_not_write_into_one_folder(model, photos, tmp_path):
    out = tmp_path / "out"
    count(model, out, photos)
    with alone_in(out):
        result = count(model, out, photos)
    assert result.exit_code == 1
    assert lines_of(result) == [
        f"wheatear: {out}: another run is writing there; wait for it, or name another folder for --out"
    ]
    assert count(model, out, photos).exit_code == 0


def test_a_picture_too_long_for_jpeg(model, tmp_path):
    Image.new("L", (65_501, 1)).save(tmp_path / "long.png")
    photos = name_photos([tmp_path / "long.png"])
    [failed] = count_photos(load(model), photos, tmp_path)
    assert "count it with --no-pictures" in failed.error
    [done] = count_photos(load(model), photos, tmp_path, Options(pictures=False))
    assert done.heads is not None


def test_a_photo_is_counted_once_however_the_folders_are_given(model, tmp_path):
    for place in ("one/a.png", "two/a.png", "two/b.png"):
        draw(tmp_path / place, [(0, 0)])
    out = tmp_path / "out"
    assert count(model, out, tmp_path / "one").exit_code == 0
    more = count(model, out, tmp_path / "one", tmp_path / "two", "--resume")
    assert more.exit_code == 1
    assert lines_of(more) == [
        "wheatear: ../one/a.png: would be one/a.png in the tables, where it is a.png already; "
        "give the folders that were given before, or leave out --resume"
    ]
    other = count(model, out, tmp_path / "two", "--resume")
    assert lines_of(other)[0].startswith(
        "wheatear: ../two/a.png: would be a.png in the tables, as ../one/a.png is"
    )
    assert counted(out) == {"a.png": 1}
    draw(tmp_path / "one" / "new\x1b.png", [])
    resumed = count(model, out, tmp_path / "one", "--resume")
    assert resumed.exit_code == 0
    assert "new?.png" in resumed.stdout
    assert "Total of 1 photo counted now" in resumed.stdout
    assert counted(out) == {"a.png": 1, "new\x1b.png": 0}


def test_results_and_photos_may_be_moved_together(model, photos, tmp_path):
    assert count(model, photos / "out", photos).exit_code == 0
    photos.rename(tmp_path / "moved")
    assert count(model, tmp_path / "moved" / "out", tmp_path / "moved", "--resume").exit_code == 0


@pytest.mark.parametrize("content", ["[]", "{", '{"photos": []}'])
def test_settings_that_are_damaged(model, photos, tmp_path, content):
    out = tmp_path / "out"
    assert count(model, out, photos).exit_code == 0
    (out / "settings.json").write_text(content)
    result = count(model, out, photos, "--resume")
    assert lines_of(result) == [f"wheatear: {out}/settings.json: is damaged; count again without --resume"]


def test_a_photo_and_a_link_to_it_are_gone_on_with(model, photos, tmp_path):
    (photos / "latest.png").symlink_to(photos / "a.png")
    out = tmp_path / "out"
    assert count(model, out, photos).exit_code == 0
    again = count(model, out, photos, "--resume", "--report")
    assert (again.exit_code, lines_of(again)) == (
        0,
        ["wheatear: 4 of 4 photos were counted before"],
    )
    (photos / "newest.png").symlink_to(photos / "a.png")
    assert count(model, out, photos, "--resume").exit_code == 0
    assert counted(out)["newest.png"] == counted(out)["a.png"]


def test_a_large_photo_is_not_worked_on_after_a_stop(model, tmp_path, monkeypatch):
    """The last photo has nine windows; the first one of them is being run when the user stops."""
    for name in "abc":
        draw(tmp_path / "in" / f"{name}.png", [(0, 0)])
    Image.fromarray(np.zeros((3000, 3000, 3), np.uint8)).save(tmp_path / "in" / "z.png")
    windows, begun, closing_now = [], threading.Event(), threading.Event()

    def run(self: Detector, image: np.ndarray, score_threshold: float) -> Detections:
        if len(image) > 1000:
            windows.append(image.shape)
            begun.set()
            closing_now.wait(10)
        return Detections(np.zeros((0, 4)), np.zeros(0), *image.shape[:2])

    monkeypatch.setattr(Detector, "run", run)
    todo = name_photos([tmp_path / "in"])
    counts = count_photos(load(model), todo, tmp_path, Options(head_px=75.0))
    assert [next(counts).name, next(counts).name] == ["a.png", "b.png"]
    assert begun.wait(10)
    threading.Timer(0.2, closing_now.set).start()
    counts.close()
    assert len(windows) == 1
