from pathlib import Path

import pytest

from count_runs import count, counted, draw, lines_of


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full disk")
@pytest.mark.parametrize(
    "name", ["counts.csv.part", "detections.csv.part", "settings.json.part", "annotated/a.jpg.part"]
)
def test_a_full_disk_is_one_line_that_names_the_file(model, photos, tmp_path, name):
    out = tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).symlink_to("/dev/full")
    result = count(model, out, photos)
    assert result.exit_code == 1
    assert lines_of(result) == [f"wheatear: {(out / name).with_suffix('')}: No space left on device"]


def test_out_below_a_file_is_one_line(model, photos, tmp_path):
    result = count(model, photos / "a.png" / "out", photos)
    assert result.exit_code == 1
    assert lines_of(result) == [f"wheatear: {photos / 'a.png' / 'out'}: Not a directory"]


def test_out_that_may_not_be_written_is_one_line(model, photos, tmp_path, monkeypatch):
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    result = count(model, tmp_path / "out", photos)
    assert lines_of(result) == [f"wheatear: {tmp_path / 'out'}: Permission denied"]


def test_the_same_photo_twice_is_counted_once(model, photos, tmp_path):
    photo = photos / "a.png"
    result = count(model, tmp_path / "out", photo, photos / "sub" / ".." / "a.png")
    assert result.exit_code == 0
    assert lines_of(result) == [f"wheatear: {photos}/sub/../a.png: given twice; counted once"]
    assert counted(tmp_path / "out") == {"a.png": 2}


@pytest.mark.parametrize("jobs", [1, 3])
def test_jobs_change_nothing_but_the_time(model, tmp_path, jobs):
    for number in range(12):
        draw(tmp_path / "photos" / f"{number:02}.png", [(0, column) for column in range(number % 4)])
    result = count(model, tmp_path / "out", tmp_path / "photos", "--jobs", jobs)
    assert result.exit_code == 0
    assert list(counted(tmp_path / "out").items()) == [(f"{n:02}.png", n % 4) for n in range(12)]
