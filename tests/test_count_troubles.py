import errno
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import wheatear.count
from count_runs import count, counted, draw, lines_of


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full disk")
@pytest.mark.parametrize(
    "name", ["counts.csv.part", "detections.csv.part", "settings.json.part.part", "annotated/a.jpg.part"]
)
def test_a_full_disk_is_one_line_that_names_the_file(model, photos, tmp_path, name):
    out = tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).symlink_to("/dev/full")
    result = count(model, out, photos)
    assert result.exit_code == 1
    assert lines_of(result) == [
        f"wheatear: {(out / name).with_suffix('')}: No space left on device; make room on that disk"
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full disk")
def test_what_was_counted_before_the_disk_was_full_is_kept(model, photos, tmp_path):
    out = tmp_path / "out"
    (out / "annotated" / "sub").mkdir(parents=True)
    (out / "annotated" / "sub" / "c.jpg.part").symlink_to("/dev/full")
    assert count(model, out, photos).exit_code == 1
    done = counted(out, "counts.csv.part")
    assert done.items() <= {"a.png": 2, "b.jpg": 0}.items()
    result = count(model, out, photos, "--resume")
    assert result.exit_code == 0
    assert counted(out) == {"a.png": 2, "b.jpg": 0, "sub/c.tif": 1}


def test_a_name_too_long_for_its_picture_is_one_photo_less(model, photos, tmp_path):
    draw(photos / f"{'x' * 251}.png", [])
    result = count(model, tmp_path / "out", photos)
    assert result.exit_code == 1
    (line,) = lines_of(result)
    assert line.endswith("x.png: its name is too long for the files made of it; shorten it")
    assert counted(tmp_path / "out") == {"a.png": 2, "b.jpg": 0, "sub/c.tif": 1}


@pytest.mark.parametrize("step", ["detect_sized", "draw_picture"])
def test_a_photo_too_large_for_the_memory_is_one_photo_less(model, photos, tmp_path, monkeypatch, step):
    usual = getattr(wheatear.count, step)

    def lacking(*given: Any) -> Any:
        if any(getattr(each, "height", 0) == 1000 for each in given):
            raise MemoryError
        return usual(*given)

    Image.new("RGB", (1000, 1000)).save(photos / "large.png")
    monkeypatch.setattr(wheatear.count, step, lacking)
    result = count(model, tmp_path / "out", photos)
    said = "takes more memory than there is; close other programs, or make it smaller"
    assert (result.exit_code, lines_of(result)) == (1, [f"wheatear: {photos / 'large.png'}: {said}"])
    assert counted(tmp_path / "out") == {"a.png": 2, "b.jpg": 0, "sub/c.tif": 1}


def test_a_name_with_letters_between_colons_is_printed_as_it_is(model, tmp_path):
    (tmp_path / "a:x:b.png").touch()
    result = count(model, tmp_path / "out", tmp_path / "a:x:b.png")
    assert f"wheatear: {tmp_path / 'a:x:b.png'}: is empty (0 bytes); copy it again" in lines_of(result)


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


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_out_that_is_there_and_may_not_be_written_is_one_line(model, photos, tmp_path):
    out = tmp_path / "out"
    out.mkdir(mode=0o555)
    result = count(model, out, photos)
    assert result.exit_code == 1
    assert lines_of(result) == [f"wheatear: {out}: Permission denied"]


@pytest.mark.skipif(os.name != "posix", reason="this system has no such locks")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_out_on_a_disk_without_locks_is_one_line(model, photos, tmp_path, monkeypatch, number):
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    result = count(model, tmp_path / "out", photos)
    said = f"wheatear: {tmp_path / 'out'}: {os.strerror(number)}; name a folder on another disk"
    assert (result.exit_code, lines_of(result)) == (1, [said])


def test_the_same_photo_twice_is_counted_once(model, photos, tmp_path):
    photo = photos / "a.png"
    result = count(model, tmp_path / "out", photo, photos / "sub" / ".." / "a.png")
    assert result.exit_code == 0
    assert lines_of(result) == [f"wheatear: {photos}/sub/../a.png: given twice; counted once"]
    assert counted(tmp_path / "out") == {"a.png": 2}


def test_a_link_to_a_photo_is_the_same_photo(model, photos, tmp_path):
    link = tmp_path / "link.png"
    link.symlink_to(photos / "a.png")
    result = count(model, tmp_path / "out", photos / "a.png", link)
    assert lines_of(result) == [f"wheatear: {link}: given twice; counted once"]
    assert counted(tmp_path / "out") == {"a.png": 2}


def test_photos_in_a_folder_that_is_given_too_are_counted_once(model, photos, tmp_path):
    given = [photos / "a.png", photos, photos / "sub", photos / "b.jpg"]
    result = count(model, tmp_path / "out", *given)
    assert result.exit_code == 0
    assert lines_of(result) == [f"wheatear: {photos / 'a.png'} and 2 more: given twice; counted once"]
    assert counted(tmp_path / "out") == {"a.png": 2, "b.jpg": 0, "sub/c.tif": 1}


@pytest.mark.parametrize("jobs", [1, 3])
def test_jobs_change_nothing_but_the_time(model, tmp_path, jobs):
    for number in range(12):
        draw(tmp_path / "photos" / f"{number:02}.png", [(0, column) for column in range(number % 4)])
    result = count(model, tmp_path / "out", tmp_path / "photos", "--jobs", jobs)
    assert result.exit_code == 0
    assert list(counted(tmp_path / "out").items()) == [(f"{n:02}.png", n % 4) for n in range(12)]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
@pytest.mark.parametrize("name", ["a\rb.png", "a\nb.png", "a\r\nb.png"])
def test_a_name_with_a_line_break_is_one_line_and_the_others_are_counted(model, photos, tmp_path, name):
    (photos / name).write_bytes((photos / "a.png").read_bytes())
    out = tmp_path / "out"
    result = count(model, out, photos)
    assert result.exit_code == 1
    assert lines_of(result)[0] == f"wheatear: {str(photos / name)!r}: has a line break in its name; rename it"
    assert counted(out) == {"a.png": 2, "b.jpg": 0, "sub/c.tif": 1}


@pytest.mark.parametrize("option", ["--out", "--model"])
def test_an_empty_name_is_a_usage_error(model, photos, tmp_path, option):
    """As of a variable that is not set: it is neither the folder one is in nor small."""
    result = count(model, tmp_path / "out", photos, option, "")
    assert result.exit_code == 2
    assert "is empty; name a" in result.stderr


def test_a_folder_of_a_tables_name_is_one_line(model, photos, tmp_path):
    (tmp_path / "counts.csv").mkdir()
    result = count(model, tmp_path, photos)
    assert result.exit_code == 1
    assert lines_of(result)[0].startswith(f"wheatear: {tmp_path / 'counts.csv'}: is a folder; move it away")


def test_why_a_folder_holds_no_photos_is_said(model, tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.heic").touch()
    result = count(model, tmp_path / "out", tmp_path / "p")
    assert result.exit_code == 2
    assert [line.split(",")[0] for line in lines_of(result)] == [
        "wheatear: left out",
        f"wheatear: no photos found in {tmp_path / 'p'}; give JPEG",
    ]


def test_a_file_that_its_folder_would_not_give_is_not_given_twice(model, photos, tmp_path):
    (photos / "noext").write_bytes((photos / "a.png").read_bytes())
    result = count(model, tmp_path / "out", photos, photos / "noext")
    assert lines_of(result) == []
    assert counted(tmp_path / "out")["noext"] == 2


@pytest.mark.parametrize("given", ["p/link", "elsewhere"])
def test_a_linked_folder_that_is_given_too_is_neither_left_out_nor_given_twice(model, tmp_path, given):
    draw(tmp_path / "p" / "a.png", [(0, 0)])
    draw(tmp_path / "elsewhere" / "b.png", [(0, 0)])
    (tmp_path / "p" / "link").symlink_to(tmp_path / "elsewhere")
    result = count(model, tmp_path / "out", tmp_path / "p", tmp_path / given)
    assert lines_of(result) == []
    assert sum(counted(tmp_path / "out").values()) == 2


def test_a_hidden_folder_that_is_given_too_is_not_given_twice(model, tmp_path):
    draw(tmp_path / "p" / "a.png", [(0, 0)])
    draw(tmp_path / "p" / ".h" / "b.png", [(0, 0)])
    given = [tmp_path / "p", tmp_path / "p" / ".h", tmp_path / "p" / ".h" / "b.png"]
    result = count(model, tmp_path / "out", *given)
    assert lines_of(result) == [f"wheatear: {given[2]}: given twice; counted once"]
    assert sum(counted(tmp_path / "out").values()) == 2


def test_a_folder_and_one_in_it_by_way_of_a_link_have_each_photo_once(model, photos, tmp_path):
    (tmp_path / "link").symlink_to(photos)
    count(model, tmp_path / "out", photos, tmp_path / "link" / "sub", tmp_path / "link" / "sub" / "c.tif")
    assert counted(tmp_path / "out") == {"a.png": 2, "b.jpg": 0, "sub/c.tif": 1}
