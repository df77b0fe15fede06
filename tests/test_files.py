"""Files are written whole or not at all."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wheatear.files import parts_of_plots, whole, whole_folder


def test_the_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "counts.csv"
    with whole(path) as part:
        part.write_text("a,b\n")
        assert not path.exists()
        assert part.parent == tmp_path  # on the same disk, so that the renaming is all or nothing
    assert path.read_text() == "a,b\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "counts.csv"
    path.write_text("old")

    def write() -> None:
        with whole(path) as part:
            part.write_text("half of the n")
            assert path.read_text() == "old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_new_file_takes_the_place_of_the_old(tmp_path):
    path = tmp_path / "counts.csv"
    path.write_text("old and longer")
    with whole(path) as part:
        part.write_text("new")
    assert path.read_text() == "new"


def test_a_block_that_writes_nothing_is_an_error_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "counts.csv"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), whole(path):
        pass
    assert path.read_text() == "old"


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    path = tmp_path / "none" / "counts.csv"
    with pytest.raises(FileNotFoundError), whole(path) as part:
        part.write_text("new")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no such signal")
def test_a_program_killed_while_it_writes_leaves_the_old_file_and_the_next_one_writes_all(tmp_path):
    path = tmp_path / "counts.csv"
    path.write_text("old")
    code = (
        "import os, signal\nfrom pathlib import Path\nfrom wheatear.files import whole\n"
        f"with whole(Path({str(path)!r})) as part:\n"
        "    part.write_text('half of the n')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    with whole(path) as part:
        part.write_text("new")
    assert os.listdir(tmp_path) == ["counts.csv"]
    assert path.read_text() == "new"


def test_a_folder_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "yolo"
    with whole_folder(path) as part:
        (part / "sub").mkdir()
        (part / "sub" / "a.txt").write_text("new")
        assert not path.exists()
    assert (path / "sub" / "a.txt").read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_joins_what_is_there(tmp_path):
    path = tmp_path / "yolo"
    (path / "sub").mkdir(parents=True)
    for name in ("sub/a.txt", "mine.txt"):
        (path / name).write_text("old")
    (tmp_path / "yolo.part").mkdir()
    (tmp_path / "yolo.part" / "half.txt").write_text("what a killed process left")
    with whole_folder(path) as part:
        (part / "sub").mkdir()
        for name in ("sub/a.txt", "sub/b.txt"):
            (part / name).write_text("new")
    texts = {file.relative_to(path).as_posix(): file.read_text() for file in path.rglob("*.txt")}
    assert texts == {"sub/a.txt": "new", "sub/b.txt": "new", "mine.txt": "old"}
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_fails_is_not_left(tmp_path):
    def fill_up() -> None:
        with whole_folder(tmp_path / "yolo") as part:
            (part / "a.txt").write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device: '.*yolo'"):
        fill_up()
    assert list(tmp_path.iterdir()) == []


def test_the_files_of_a_shapefile(tmp_path, monkeypatch):
    names = ["p.DBF", "p.shp", "p.shx"]
    for name in (*names, "p.shp.xml", "p.qix", "pp.dbf"):
        (tmp_path / name).touch()
    assert [part.name for part in parts_of_plots(tmp_path / "p.shp")] == names
    # As on macOS and Windows, which know a file by its name in other letters, too.
    known = [name.lower() for name in names]
    monkeypatch.setattr(Path, "is_file", lambda path: path.name.lower() in known)
    found = {part.name.lower() for part in parts_of_plots(tmp_path / "P.shp")}
    assert found == {"p.dbf", "p.shp", "p.shx"}


def test_the_files_of_a_geopackage_that_another_program_has_open(tmp_path):
    plots, log = tmp_path / "p.gpkg", tmp_path / "p.gpkg-wal"
    for path in (plots, log, tmp_path / "p.gpkg-shm"):
        path.touch()
    assert parts_of_plots(plots) == [plots]
    log.write_bytes(b"edited")
    assert parts_of_plots(plots) == [plots, log]
