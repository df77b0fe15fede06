"""report.html of a count run: whole, without anything from elsewhere, and right."""

import base64
import errno
import io
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wheatear.count_report
from html_checks import check_page
from wheatear.count_report import MANY, SIDE, SMALL_SIDE, _binned, _text, write_report
from wheatear.detector import Card
from wheatear.page import thumbnail

CARD = Card(
    format=1,
    name="tiny <1>",
    score_threshold=0.4,
    known_failures=["Heads < 9 px: few are found."],
    licence="MIT",
    citation="A. & B.",
    extra="kept",
)


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "annotated").mkdir()
    places = {}
    for name in ("a b.jpg", "<ä>.jpg"):
        places[name] = tmp_path / "annotated" / name
        Image.new("RGB", (800, 400), (90, 140, 60)).save(places[name])
    return places


ROWS = [
    {"image": "a b.jpg", "heads": 12, "heads_per_m2": 1234.5, "warnings": ""},
    {"image": "<ä>.jpg", "heads": 3, "heads_per_m2": None, "warnings": "dark & small"},
    {"image": "none.jpg", "heads": "0", "heads_per_m2": "7", "warnings": None},
]


def test_the_page(pictures: dict[str, Path], tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", ROWS, pictures, CARD, {"threshold": 0.4, "photos": "<dir>"})
    text = check_page(tmp_path / "report.html")
    assert "<strong>15 heads</strong> in 3 photos: mean 5.0, median 3, from 0 to 12 per photo." in text
    assert text.count("<img src=") == 2
    assert 'data-file="annotated/a%20b.jpg"' in text
    assert '<td class="number" data-value="1234.5">1,234.5</td>' in text
    assert '<td class="number" data-value="">–</td>' in text
    assert "dark &amp; small" in text
    assert "&lt;dir&gt;" in text
    assert "tiny &lt;1&gt;" in text
    assert "<ul>\n<li>Heads &lt; 9 px: few are found.</li>\n</ul>" in text
    assert "&quot;extra&quot;: &quot;kept&quot;" in text
    assert re.findall(r'aria-label="Histogram of (.*?)"', text) == ["heads", "heads per m²"]


def test_intervals_stand_below_their_numbers_and_empty_columns_are_left_out(tmp_path: Path) -> None:
    ends = {"heads_low": "7.5", "heads_high": "16.5", "width": "800", "warnings": ""}
    rows = [{"image": f"{heads}.jpg", "heads": heads} | ends for heads in ("0", "12")]
    write_report(tmp_path / "report.html", rows, {}, CARD, {})
    text = check_page(tmp_path / "report.html")
    assert re.findall(r"<th.*?<button>(.*?)</button>", text) == ["image", "heads"]
    assert '<td class="number" data-value="12.0">12<small>7.5 – 16.5</small></td>' in text
    assert "for about 95 in 100 photos like the validation photos.<" in text
    wide = CARD.model_copy(update={"interval_factor": 1.4})
    write_report(tmp_path / "wide.html", rows, {}, wide, {})
    assert "for about 95 in 100 photos of fields that the detector has not seen.<" in check_page(
        tmp_path / "wide.html"
    )
    write_report(tmp_path / "none.html", ROWS, {}, wide, {})
    assert "in 100 photos" not in check_page(tmp_path / "none.html")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("37.5", "37.5"),
        ("36.11", "36.1"),
        ("9", "9.0"),
        ("0", "0.0"),
        ("0.04", "0.04"),
        ("123456.7", "123,457"),
    ],
)
def test_densities_have_a_decimal(tmp_path: Path, value: str, shown: str) -> None:
    row = {"image": "a.jpg", "heads": "5", "area_m2": "1.44", "heads_per_m2": value}
    write_report(tmp_path / "report.html", [row], {}, CARD, {})
    text = check_page(tmp_path / "report.html")
    assert f'<td class="number" data-value="{float(value)}">{shown}</td>' in text
    assert ">1.44</td>" in text


def test_the_density_is_that_of_the_photos_of_known_ground(tmp_path: Path) -> None:
    rows = [{"image": f"{k}.jpg", "heads": 100 * k, "area_m2": area} for k, area in enumerate(["", 2, 0.5])]
    write_report(tmp_path / "all.html", rows[1:], {}, CARD, {})
    assert "On 2.5 m², that is <strong>120 heads per m²" in check_page(tmp_path / "all.html")
    write_report(tmp_path / "some.html", rows, {}, CARD, {})
    assert "On 2.5 m², those of 2 photos, that is" in check_page(tmp_path / "some.html")


def test_what_was_not_counted_is_said(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", ROWS, {}, CARD, {}, ["<a>.jpg: is empty", "b.jpg: is cut short"])
    text = check_page(tmp_path / "report.html")
    assert "2 photos could not be counted" in text
    assert "<li>&lt;a&gt;.jpg: is empty</li>" in text


def test_every_photo_is_in_the_histogram(tmp_path: Path) -> None:
    rows = [{"image": f"{k}.jpg", "heads": k * k} for k in range(40)]
    write_report(tmp_path / "report.html", rows, {}, CARD, {})
    text = check_page(tmp_path / "report.html")
    assert sum(int(n) for n in re.findall(r"<title>(\d+)</title></rect>", text)) == 40


def test_the_median_of_two_photos_is_their_mean(tmp_path: Path) -> None:
    rows = [{"image": f"{heads}.jpg", "heads": heads} for heads in (10, 11)]
    write_report(tmp_path / "report.html", rows, {}, CARD, {})
    assert "mean 10.5, median 10.5, from 10 to 11 per photo" in check_page(tmp_path / "report.html")


def test_one_photo_and_none(tmp_path: Path) -> None:
    write_report(tmp_path / "one.html", ROWS[:1], {}, CARD, {})
    assert "12 heads</strong> in 1 photo." in check_page(tmp_path / "one.html")
    write_report(tmp_path / "none.html", [], {}, CARD, {})
    assert "No photo was counted." in check_page(tmp_path / "none.html")


def test_of_many_photos_the_pictures_are_smaller(pictures: dict[str, Path], tmp_path: Path) -> None:
    for number in (MANY, MANY + 1):
        rows = [ROWS[0], *(ROWS[0] | {"image": f"{k}.jpg"} for k in range(number - 1))]
        write_report(tmp_path / f"{number}.html", rows, pictures, CARD, {})
    sizes = []
    for number in (MANY, MANY + 1):
        data = check_page(tmp_path / f"{number}.html").split("data:image/jpeg;base64,")[1].split('"')[0]
        sizes.append(max(Image.open(io.BytesIO(base64.b64decode(data))).size))
    assert sizes == [SIDE, SMALL_SIDE]


def test_a_picture_elsewhere_opens_but_is_not_linked(pictures: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write_report(tmp_path / "sub" / "report.html", ROWS[:1], pictures, CARD, {})
    text = check_page(tmp_path / "sub" / "report.html")
    assert "<img src=" in text
    assert "data-file=" not in text


def test_names_that_are_no_text(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", [{"image": "\udcff.jpg", "heads": 1}], {}, CARD, {})
    assert "?.jpg" in check_page(tmp_path / "report.html")


def test_a_picture_that_cannot_be_read_is_left_out(pictures: dict[str, Path], tmp_path: Path) -> None:
    pictures["a b.jpg"].write_bytes(b"no picture")
    write_report(tmp_path / "report.html", ROWS, pictures, CARD, {})
    text = check_page(tmp_path / "report.html")
    assert text.count("<img src=") == 1
    assert "<strong>15 heads</strong>" in text


def test_a_page_that_breaks_off_is_not_left(
    pictures: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(wheatear.count_report, "opening", fail)
    with pytest.raises(OSError, match="No space"):
        write_report(tmp_path / "report.html", ROWS, pictures, CARD, {})
    assert [path.name for path in tmp_path.iterdir()] == ["annotated"]


def test_thumbnails_are_small(pictures: dict[str, Path]) -> None:
    with Image.open(pictures["a b.jpg"]) as picture:
        assert thumbnail(picture, SIDE).startswith("data:image/jpeg;base64,")
        assert max(picture.size) >= SIDE
    assert len(thumbnail(Image.new("RGBA", (4000, 3000)), 64)) < 1500


def test_bins_of_whole_numbers_hold_as_many_each() -> None:
    for values in (np.repeat(np.arange(17), 20), np.repeat(np.arange(4), 75), np.repeat(np.arange(60), 10)):
        counts, edges = _binned(values.astype(float))
        assert counts.sum() == len(values)
        assert len({*counts[:-1]}) <= 1
        assert (np.diff(edges) == np.diff(edges)[0]).all()
    counts, _ = _binned(np.array([7.0, 7.0]))
    assert counts.tolist() == [2]


def test_many_heads_are_written_out() -> None:
    assert [_text(number) for number in (1234567, 41.5, 99999, None)] == ["1,234,567", "41.5", "99,999", "–"]


@pytest.mark.skipif(not shutil.which("node"), reason="needs Node.js")
def test_the_name_of_a_picture_need_not_be_text(tmp_path: Path) -> None:
    """It is a part of its URL that cannot be decoded, and must not keep the picture from opening."""
    script = (files("wheatear") / "html" / "report.js").read_text(encoding="utf-8")
    asked = "const document = { addEventListener() {} };\n" + script
    asked += 'console.log(named("lat%E9.jpg"), named("a%20b.jpg"));'
    (tmp_path / "asked.js").write_text(asked, encoding="utf-8")
    said = subprocess.run(["node", tmp_path / "asked.js"], capture_output=True, text=True, check=True).stdout
    assert said == "lat%E9.jpg a b.jpg\n"
