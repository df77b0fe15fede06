"""The commands as a user meets them: what they print, write and return."""

import shutil
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from one_line import complaint_of
from wheatear import cli_data
from wheatear.cli_data import app
from wheatear.cli_errors import friendly_errors
from wheatear.data.formats import read_dataset, write_dataset
from wheatear.errors import InputError

runner = CliRunner()


@pytest.fixture
def folder(field_dir: Path, tmp_path: Path) -> Path:
    """A folder of the test's own to write into."""
    return Path(shutil.copytree(field_dir, tmp_path / "field"))


def test_check_counts_and_finds(folder: Path) -> None:
    with (folder / "train.csv").open("a") as file:
        file.write('field_00000,256,256,"[0, 0, 300, 10]",drawn\n')
    result = runner.invoke(app, ["check", str(folder)])
    line = len((folder / "train.csv").read_text().splitlines())
    assert result.exit_code == 0
    assert f"field_00000.jpg, row {line}: outside the photo: 300 × 10 px at (0, 0)" in result.stdout
    assert "outside the photo: 1" in result.stdout
    assert "drawn" in result.stdout


def test_check_of_a_sound_folder(folder: Path) -> None:
    (folder / "train.csv").write_text("image_id,bbox\n")
    result = runner.invoke(app, ["check", str(folder)])
    assert result.exit_code == 0
    assert "no problems found" in result.stdout


def test_check_fits_anchors(folder: Path) -> None:
    lines = ["image_id,bbox", *(f'field_0000{k},"[0, 0, {20 + k}, 40]"' for k in range(8)), ""]
    (folder / "train.csv").write_text("\n".join(lines))
    result = runner.invoke(app, ["check", str(folder)])
    assert result.exit_code == 0
    assert f"anchors, fitted: {', '.join(f'{20 + k}×40' for k in range(8))}\n" in result.stdout
    assert "│ fitted  │    1.000 │    100.0% │    100.0% │" in result.stdout


def test_check_compares_the_anchors_of_a_recipe(folder: Path) -> None:
    pytest.importorskip("torch")
    result = runner.invoke(app, ["check", str(folder), "--recipe", "small"])
    assert result.exit_code == 0, result.output
    # The least is 3 strides of 8 px, 1.4 of it wide and 0.7 high at a ratio of 0.5, at 768 px for 1024.
    assert "anchors, small: 45×23, 63×32, 32×32, " in result.stdout
    assert "IoU of " in result.stdout


def test_a_recipe_in_a_folder_with_brackets_is_named_in_full(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(folder)
    (folder / "[b").mkdir()
    shutil.copyfile(Path(cli_data.__file__).parent / "recipes" / "small.toml", folder / "[b" / "].toml")
    result = runner.invoke(app, ["check", ".", "--recipe", "[b/].toml"])
    assert "│ [b/].toml │" in result.stdout


def test_check_needs_torch_for_a_recipe_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning", None)  # as if it were not installed
    assert runner.invoke(app, ["check", str(folder)]).exit_code == 0
    result = runner.invoke(app, ["check", str(folder), "--recipe", "small"])
    assert result.exit_code == 1
    assert "pip install '.[train]'" in result.stderr


def test_check_fails_on_an_unreadable_photo(folder: Path) -> None:
    (folder / "train" / "field_00001.jpg").write_bytes(b"no photo")
    result = runner.invoke(app, ["check", str(folder)])
    assert result.exit_code == 1
    assert "field_00001.jpg: unreadable photo: " in result.stdout


def test_split_writes_into_the_folder(folder: Path) -> None:
    result = runner.invoke(app, ["split", str(folder), "--val", "0.4"])
    assert result.exit_code == 0
    sides = [sample.split for sample in read_dataset(folder)]
    assert (sides.count("train"), sides.count("val")) == (5, 3)
    assert "8 tiles of 8 field photos; 0 pairs of tiles share one." in result.stdout


def test_split_says_that_val_is_empty(tmp_path: Path) -> None:
    runner.invoke(app, ["draw", str(tmp_path / "one"), "-n", "1", "--size", "64"])
    result = runner.invoke(app, ["split", str(tmp_path / "one")])
    assert result.exit_code == 0
    assert result.stderr.splitlines()[-1].startswith("wheatear: no photo is in val, ")
    assert [sample.split for sample in read_dataset(tmp_path / "one")] == ["train"]


def test_split_writes_elsewhere(folder: Path, tmp_path: Path) -> None:
    result = runner.invoke(app, ["split", str(folder), "--out", str(tmp_path / "here.csv"), "--seed", "1"])
    assert result.exit_code == 0
    assert (tmp_path / "here.csv").read_text().startswith("image_id,source,session,photo,split\n")
    assert not (folder / "images.csv").exists()


def test_split_overwrites_no_other_table(folder: Path) -> None:
    before = (folder / "train.csv").read_text()
    result = runner.invoke(app, ["split", str(folder), "--out", str(folder / "train.csv")])
    assert result.exit_code == 1
    assert result.stderr.strip().endswith("is no images.csv; name another file for --out")
    assert (folder / "train.csv").read_text() == before
    for _ in range(2):  # its own it does
        assert runner.invoke(app, ["split", str(folder), "--out", str(folder / "held.csv")]).exit_code == 0


def test_split_writes_no_labels_into_the_folder(folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "coco"
    write_dataset(read_dataset(folder), own, "coco")
    result = runner.invoke(app, ["split", str(own), "--out", str(own / "train.csv")])
    assert complaint_of(result) == (
        f"{own / 'train.csv'}: would be read as the data set's own; name another file for --out"
    )
    assert not (own / "train.csv").exists()
    assert runner.invoke(app, ["split", str(own), "--out", str(own / "split.csv")]).exit_code == 0


def test_split_keeps_what_else_the_folders_own_file_says(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "images.csv").write_text("image_id,split,variety\nfield_00000,,Apache\n")
    assert runner.invoke(app, ["split", "../" + folder.name]).exit_code == 0
    assert runner.invoke(app, ["split", str(folder), "--out", "images.csv"]).exit_code == 0
    assert (folder / "images.csv").read_text().splitlines()[1].endswith(",Apache")


def test_split_counts_the_tiles_of_a_photo(folder: Path) -> None:
    rows = "".join(f"field_0000{k},,,{k // 3},\n" for k in range(8))
    (folder / "images.csv").write_text("image_id,source,session,photo,split\n" + rows)
    result = runner.invoke(app, ["split", str(folder)])
    assert "8 tiles of 3 field photos; 7 pairs of tiles share one." in result.stdout


def test_split_says_which_field_photos_were_divided_already(folder: Path) -> None:
    splits = ["train", "val", "train", "train", "test", "train", "val", "test"]
    rows = "".join(f"field_0000{k},{k // 2},{splits[k]}\n" for k in range(8))
    (folder / "images.csv").write_text("image_id,photo,split\n" + rows)
    result = runner.invoke(app, ["split", str(folder)])
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith(
        "wheatear: field photos that were divided already, with tiles in train and in val or "
    )
    assert (
        f"test: 2; figures on those are too good; give all tiles of a field photo one split in {folder}"
        in line
    )


def test_split_holds_sessions_out(folder: Path, tmp_path: Path) -> None:
    rows = "".join(f"field_0000{k},,{'abc'[k % 3]},{k},train\n" for k in range(8))
    (folder / "images.csv").write_text("image_id,source,session,photo,split\n" + rows)
    options = ["--hold-out", "a", "--hold-out", "c", "--out", str(tmp_path / "held.csv")]
    result = runner.invoke(app, ["split", str(folder), *options])
    assert result.exit_code == 0, result.output
    sides = {s.name: s.split for s in read_dataset(folder, images=tmp_path / "held.csv")}
    assert sides == {f"field_0000{k}": "train" if k % 3 == 1 else "val" for k in range(8)}
    assert {sample.split for sample in read_dataset(folder)} == {"train"}


def test_split_names_the_sessions_that_there_are(folder: Path) -> None:
    result = runner.invoke(app, ["split", str(folder), "--hold-out", "Arvalis_1"])
    assert result.exit_code == 1
    assert result.stderr == "wheatear: --hold-out Arvalis_1: no such session; there are drawn, unknown\n"


def test_draw_draws_what_check_accepts(tmp_path: Path) -> None:
    result = runner.invoke(app, ["draw", str(tmp_path / "new"), "-n", "2", "--size", "128", "--seed", "3"])
    assert result.exit_code == 0
    samples = read_dataset(tmp_path / "new")
    assert [(sample.width, sample.height) for sample in samples] == [(128, 128)] * 2


@pytest.mark.parametrize("command", [["check"], ["split"]])
def test_a_wrong_folder_is_one_line_on_stderr(command: list[str], tmp_path: Path) -> None:
    result = runner.invoke(app, [*command, str(tmp_path / "nowhere")])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == f"wheatear: {tmp_path / 'nowhere'}: no such folder\n"


def test_a_place_that_cannot_be_written_is_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = runner.invoke(app, ["split", str(folder), "--out", str(tmp_path / "file" / "images.csv")])
    assert complaint_of(result) == f"{tmp_path / 'file'}: is a file; name a folder for the results"
    result = runner.invoke(app, ["split", str(folder), "--out", str(tmp_path)])
    assert complaint_of(result) == f"{tmp_path}: is a folder; name a file"


def test_a_seed_below_0_is_refused(folder: Path) -> None:
    result = runner.invoke(app, ["split", str(folder), "--seed", "-1"])
    assert result.exit_code == 2
    assert "--seed" in result.stderr


def test_help_tells_the_exit_code() -> None:
    assert "exit code is 1 if a photo cannot be read" in " ".join(
        runner.invoke(app, ["check", "--help"]).stdout.split()
    )


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("a.csv, line 2:\nbad"), "wheatear: a.csv, line 2: bad\n"),
        (PermissionError(13, "Permission denied", "/x"), "wheatear: /x: Permission denied\n"),
        (
            OSError(28, "No space left on device"),
            "wheatear: No space left on device; make room on that disk\n",
        ),
        (OSError(), "wheatear: OSError\n"),
        (
            InputError("Caught it in\n wheatear.errors.InputError: a.jpg: is damaged"),
            "wheatear: a.jpg: is damaged\n",
        ),
    ],
)
def test_friendly_errors_print_one_line(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as exit_, friendly_errors():
        raise error
    assert exit_.value.exit_code == 1
    assert capsys.readouterr().err == line


def test_friendly_errors_hide_no_mistake_of_ours_and_no_closed_pipe() -> None:
    for mistake in (ValueError, BrokenPipeError):
        with pytest.raises(mistake), friendly_errors():
            raise mistake


def test_split_takes_an_images_csv_that_divides_nothing(folder: Path) -> None:
    (folder / "images.csv").write_text("image_id,session\nfield_00000,north\n")
    assert runner.invoke(app, ["split", str(folder)]).exit_code == 0
    assert read_dataset(folder)[0].session == "north"


def test_split_says_where_edges_are_too_short(folder: Path, tmp_path: Path) -> None:
    """The photos are of 64 px; two of them say what they are cut from."""
    (folder / "images.csv").write_text("image_id,photo\nfield_00000,x\nfield_00001,x\n")
    says = "wheatear: edges too short to tell tiles of one field photo by: 6 photos; if they are tiles, name"
    assert says in runner.invoke(app, ["split", str(folder), "--out", str(tmp_path / "a.csv")]).stderr
    rows = "".join(f"field_0000{k},x{k}\n" for k in range(8))
    (folder / "images.csv").write_text("image_id,photo\n" + rows)
    assert runner.invoke(app, ["split", str(folder), "--out", str(tmp_path / "a.csv")]).stderr == ""


@pytest.mark.parametrize("held", [[], ["--hold-out", "drawn"]])
def test_split_says_which_photos_it_could_not_compare(folder: Path, held: list[str]) -> None:
    """And its advice is of use: the mended photo joins the one that it was cut from."""
    twin = (folder / "train" / "field_00000.jpg").read_bytes()
    (folder / "train" / "twin.jpg").write_bytes(twin[: len(twin) // 2])
    rows = [
        "image_id,session",
        *(f"field_0000{k},s{k}" for k in range(1, 8)),
        "field_00000,drawn",
        "twin,drawn",
    ]
    (folder / "images.csv").write_text("\n".join(rows) + "\n")
    result = runner.invoke(app, ["split", str(folder), *held])
    assert result.exit_code == 0
    assert "photos that cannot be read, so taken for field photos of their own: 1; see" in result.stderr
    (folder / "train" / "twin.jpg").write_bytes(twin)
    rows = (folder / "images.csv").read_text().splitlines()
    (folder / "images.csv").write_text("\n".join(row for row in rows if not row.startswith("twin,")) + "\n")
    assert "cannot be read" not in runner.invoke(app, ["split", str(folder), *held]).stderr
    by_name = {sample.name: sample for sample in read_dataset(folder)}
    assert by_name["twin"].photo == by_name["field_00000"].photo == "field_00000"
    assert by_name["twin"].split == by_name["field_00000"].split


def test_names_in_brackets_are_shown_as_they_are(folder: Path) -> None:
    (folder / "images.csv").write_text(
        "image_id,session\nfield_00000,plot [/north]\nfield_00001,[red]x:100:y\n"
    )
    result = runner.invoke(app, ["check", str(folder)])
    assert result.exit_code == 0, result.output
    assert "plot [/north]" in result.stdout
    assert "[red]x:100:y" in result.stdout
