import ntpath
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

import wheatear.photo_names
from count_runs import draw
from wheatear.photo_names import common_folder, each_once, name_photos, way


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def named(inputs: list[Path]) -> dict[str, str]:
    return {photo.name: photo.picture for photo in name_photos(inputs)}


def test_names_are_relative_to_the_folder_given(tmp_path):
    touch(tmp_path, "a.jpg", "sub/a.jpg", "other/b.png")
    assert named([tmp_path]) == {
        "a.jpg": "a.jpg",
        "other/b.png": "other/b.jpg",
        "sub/a.jpg": "sub/a.jpg",
    }
    assert named([tmp_path / "sub", tmp_path / "other" / "b.png"]) == {
        "a.jpg": "a.jpg",
        "b.png": "b.jpg",
    }


def test_photos_of_one_name_in_two_folders_are_told_apart(tmp_path):
    touch(tmp_path, "east/a.jpg", "west/a.jpg", "west/b.jpg")
    names = {"east/a.jpg": "east/a.jpg", "west/a.jpg": "west/a.jpg", "west/b.jpg": "west/b.jpg"}
    assert named([tmp_path / "east", tmp_path / "west"]) == names
    assert named([tmp_path / "east" / "a.jpg", tmp_path / "west"]) == names


def test_a_photo_in_several_of_the_folders_is_named_from_the_first_of_them(tmp_path):
    touch(tmp_path, "a/b/c.jpg", "a/d.jpg")
    assert named([tmp_path / "a" / "b", tmp_path / "a"]) == {
        "c.jpg": "c.jpg",
        "d.jpg": "d.jpg",
    }
    assert named([tmp_path / "a", tmp_path / "a" / "b"]).keys() == {"b/c.jpg", "d.jpg"}


def test_photos_that_differ_in_their_ending_have_pictures_of_their_own(tmp_path):
    touch(tmp_path, "a.jpg", "a.png", "b.jpg")
    assert named([tmp_path]) == {
        "a.jpg": "a.jpg.jpg",
        "a.png": "a.png.jpg",
        "b.jpg": "b.jpg",  # as in a run before the other came
    }


def test_a_longer_name_that_is_anothers_shorter_one(tmp_path):
    touch(tmp_path, "a.jpg", "a.png", "a.jpg.png")
    assert named([tmp_path]) == {
        "a.jpg": "a.jpg.jpg",
        "a.jpg.png": "a.jpg.png.jpg",
        "a.png": "a.png.jpg",
    }


def test_relative_folders(tmp_path, monkeypatch):
    touch(tmp_path, "photos/a.jpg", "photos/out/annotated/a.jpg")
    (tmp_path / "photos" / "out" / "settings.json").write_text('{"model_sha256": "0123456789ab"}')
    monkeypatch.chdir(tmp_path / "photos")
    assert named([Path()]) == {"a.jpg": "a.jpg"}
    assert named([Path("../photos")]) == {"a.jpg": "a.jpg"}


def test_inputs_are_taken_once(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg", "sub/b.jpg", "sub/c/d.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "a.jpg")
    monkeypatch.chdir(tmp_path)
    a, link, sub, b, c = Path("a.jpg"), Path("link.jpg"), Path("sub"), Path("sub/b.jpg"), Path("sub/c")
    assert each_once([]) == ([], [])
    assert each_once([a, b]) == ([a, b], [])
    assert each_once([a, a, link, tmp_path / a]) == ([a], [a, link, tmp_path / a])
    assert each_once([b, sub, c]) == ([b, sub, c], [b, c])
    assert each_once([Path("none.jpg"), a]) == ([Path("none.jpg"), a], [])


def test_photos_on_two_drives_of_windows(monkeypatch):
    monkeypatch.setattr(wheatear.photo_names, "os", SimpleNamespace(path=ntpath))
    monkeypatch.setattr(wheatear.photo_names, "PurePath", PureWindowsPath)
    field, card, server = "C:\\field\\a.jpg", "D:\\card\\a.jpg", "\\\\nas\\photos\\a.jpg"
    assert common_folder(map(ntpath.dirname, (field, "C:\\b.jpg"))) == "C:\\"
    assert [way(path, "C:\\") for path in (field, "C:\\b.jpg")] == ["field/a.jpg", "b.jpg"]
    for other in (card, server):
        assert common_folder(map(ntpath.dirname, (field, other))) == ""
    assert [way(path, "") for path in (field, card, server)] == [
        "C/field/a.jpg",
        "D/card/a.jpg",
        "nas/photos/a.jpg",
    ]


def test_no_photos_have_no_names(tmp_path):
    assert name_photos([]) == []
    assert name_photos([tmp_path]) == []


@given(
    st.sets(
        st.tuples(st.sampled_from(["east", "west"]), st.sampled_from(["", "sub/"]), st.sampled_from("abA")),
        min_size=1,
    ),
    st.sampled_from([".jpg", ".png"]),
)
def test_no_two_photos_share_a_name_or_a_picture(tmp_path_factory, places, suffix):
    folder = tmp_path_factory.mktemp("photos")
    touch(folder, *[f"{first}/{second}{name}{suffix}" for first, second, name in places], "east/a.tif")
    (folder / "west").mkdir(exist_ok=True)
    photos = name_photos([folder / "east", folder / "west"])
    assert len({photo.path for photo in photos}) == len(places) + 1
    assert len({photo.name for photo in photos}) == len(photos)
    assert len({photo.picture for photo in photos}) == len(photos)


def test_what_earlier_runs_made_is_no_photo(tmp_path):
    """Pictures and maps of a run, whether it ended, or was stopped before it had its tables."""
    draw(tmp_path / "a.png", [])
    started = '{\n  "model": "small",\n  "model_sha256": "0123456789ab"\n}\n'
    ended = "image,heads,heads_low,heads_high\n"
    for out, beside, text in (
        ("ended", "counts.csv", ended),
        ("gone on with", "settings.json", started),
        ("stopped", "settings.json.part", started),
    ):
        for made in ("annotated/a.jpg", "maps/a_density.tif"):
            draw(tmp_path / out / made, [])
        (tmp_path / out / beside).write_text(text)
    draw(
        tmp_path / "maps" / "b.png", []
    )  # a folder of the user's own, beside a table and settings of the user's own
    (tmp_path / "counts.csv").write_text("plot,heads\n1,2\n")
    (tmp_path / "settings.json").write_text("{}")
    assert [photo.name for photo in name_photos([tmp_path])] == ["a.png", "maps/b.png"]


def test_an_orthomosaic_in_a_folder_called_maps_stays_a_photo(tmp_path):
    """Beside the results of a run into the folder above it."""
    touch(tmp_path, "maps/field.tif", "maps/maps/field_density.tif", "annotated/maps/field.jpg")
    (tmp_path / "counts.csv").write_text("image,heads,heads_low,heads_high\n")
    assert [photo.name for photo in name_photos([tmp_path])] == ["maps/field.tif"]


def test_a_photo_whose_map_would_be_anothers_map_of_plots_has_another(tmp_path):
    touch(tmp_path, "a.tif", "a_Plots.tif", "b.jpg")
    assert named([tmp_path]) == {
        "a.tif": "a.jpg",
        "a_Plots.tif": "a_Plots.tif.jpg",
        "b.jpg": "b.jpg",
    }
