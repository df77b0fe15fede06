"""The page in a browser: what is counted, mended and saved. Needs Chromium, and says so where there is none."""

import csv
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Error, Locator, Page, Route, expect, sync_playwright

from serving import served, write_three_heads
from tiny_model import red_cells, write_judged_model
from wheatear import load
from wheatear.by_hand import read_by_hand, threshold_for
from wheatear.count import COUNTS_HEADER
from wheatear.data.formats import read_dataset
from wheatear.detections import read_csv
from wheatear.folders import Folder
from wheatear.photo_names import PAGE_COLUMNS, name_photos
from wheatear.serve.app import create_app

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

expect.set_options(timeout=30_000)  # other work may have the processor
# 1.5 ± √((12.706 · 0.5)² + (0.6 · 0.98)²), as in test_folders
THREE_HEADS = "3 heads in 2 of 3 photos, 1.5 per photo (likely 0.0 to 7.9), detector tiny"
WIDTH, HEIGHT, CELL = 120, 80, (30, 20)  # pixels; a photo's cells are the heads of the tiny model


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM, args=["--headless", "--no-sandbox", "--disable-gpu"]
            )
        except Error as error:
            pytest.skip(f"Chromium does not start: {error.message.splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """a has heads of scores 0.8, 0.55 and 0.2, and b, one; c is no photo."""
    write_three_heads(tmp_path / "a.png")
    Image.fromarray(red_cells([(3, 0)])).save(tmp_path / "b, of June.png")
    (tmp_path / "c.jpg").write_text("no photo")
    return sorted(tmp_path.glob("*.*g"))


@pytest.fixture
def page(request: pytest.FixtureRequest, browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """On a screen for fingers where a test is parametrized so.

    Any error on the page fails the test, but for the browser's line on an answer that was no success."""
    (tmp_path / "model").mkdir()
    model = write_judged_model(tmp_path / "model", rmse=0.5)
    wrong: list[str] = []
    with served(create_app(load(model))) as address:
        opened = browser.new_page(
            viewport={"width": 1000, "height": 800}, has_touch=getattr(request, "param", False)
        )
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        opened.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
        opened.goto(address)
        expect(opened.locator("#files")).to_be_enabled()
        yield opened
        opened.close()
    assert [line for line in wrong if not line.startswith("Failed to load resource")] == []


def add(page: Page, photos: list[Path]) -> None:
    page.set_input_files("#files", photos)
    expect(lines(page)).to_have_count(len(photos))
    expect(lines(page).filter(has_text=re.compile("waits|is being counted"))).to_have_count(0)


def lines(page: Page) -> Locator:
    return page.locator("#photos button")


def saved(page: Page, button: str) -> tuple[str, bytes]:
    """The name and the content of what a button saves."""
    with page.expect_download() as download:
        page.click(button)
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def click(page: Page, row: int, column: int) -> None:
    """The middle of a cell of the photo, which is shown at its size."""
    position = {"x": (column + 0.5) * CELL[0], "y": (row + 0.5) * CELL[1]}
    page.locator("#canvas").click(position=position)


def drag(page: Page, x1: int, y1: int, x2: int, y2: int) -> None:
    place = page.locator("#canvas").bounding_box()
    assert place is not None
    page.mouse.move(place["x"] + x1, place["y"] + y1)
    page.mouse.down()
    page.mouse.move(place["x"] + x2, place["y"] + y2, steps=3)
    page.mouse.up()


def pixel(page: Page, x: int, y: int) -> tuple[int, ...]:
    """Of the photo as it is shown, with its boxes."""
    shown = Image.open(io.BytesIO(page.locator("#canvas").screenshot()))
    return shown.convert("RGB").getpixel((x, y))


def test_photos_are_counted_one_after_the_other(page, photos):
    add(page, photos)
    expect(lines(page).nth(0)).to_have_text(re.compile(r"^a\.png2likely 1 to 3$"))
    expect(lines(page).nth(1)).to_have_text(re.compile(r"^b, of June\.png1likely 0 to 2$"))
    expect(lines(page).nth(2)).to_have_text(re.compile(r"^c\.jpgis not an image, or cut short"))
    expect(page.locator("#total")).to_have_text(THREE_HEADS)
    page.set_input_files("#files", photos[:1])
    expect(lines(page)).to_have_count(3)  # given twice, counted once


def test_two_photos_of_one_name_would_be_one_in_the_tables(page, photos, tmp_path):
    add(page, photos[:1])
    (tmp_path / "other").mkdir()
    Image.fromarray(red_cells([])).save(tmp_path / "other" / "a.webp")
    page.set_input_files("#files", tmp_path / "other" / "a.webp")
    expect(lines(page).nth(1)).to_have_text(
        "a.webpshares its name with another photo; rename one, or count folders with wheatear count"
    )
    assert [row["image"] for row in rows(saved(page, "#counts")[1])] == ["a.png"]


@pytest.mark.parametrize("is_together", [True, False])
def test_a_photo_takes_the_place_of_its_namesake_that_cannot_be_read(page, photos, tmp_path, is_together):
    """Some cameras save each photo as a raw one, too."""
    (tmp_path / "b, of June.CR2").write_text("no photo")
    given = [tmp_path / "b, of June.CR2", photos[1]]
    for some in [given] if is_together else [given[:1], given[1:]]:
        page.set_input_files("#files", some)
        expect(lines(page).filter(has_text=re.compile("waits|is being counted"))).to_have_count(0)
    expect(lines(page)).to_have_text([re.compile(r"^b, of June\.png1likely 0 to 2$")])
    expect(page.locator("#said")).to_have_text("b, of June.png · 1 head · likely 0 to 2")
    assert [row["image"] for row in rows(saved(page, "#counts")[1])] == ["b, of June.png"]


def test_the_line_of_a_namesake_hands_on_keyboard_focus(page, photos, tmp_path):
    (tmp_path / "a.CR2").write_text("no photo")
    held: list[Route] = []
    page.route("**/detect*", lambda route: held.append(route), times=1)
    page.set_input_files("#files", [tmp_path / "a.CR2", photos[0]])
    lines(page).nth(1).click()
    expect(lines(page).nth(1)).to_be_focused()
    held.pop().continue_()
    expect(lines(page)).to_have_text([re.compile("^a.png2likely")])
    expect(lines(page)).to_be_focused()


def test_a_photo_that_was_not_answered_keeps_its_place(page, photos, tmp_path):
    """It may be added again, and its namesake would be in its way."""
    shutil.copy(photos[0], tmp_path / "a.webp")
    page.route("**/detect*", lambda route: route.abort())
    page.set_input_files("#files", [photos[0], tmp_path / "a.webp"])
    expect(lines(page)).to_have_text([re.compile("^a.pngwas not answered"), re.compile("shares its name")])
    page.unroute("**/detect*")
    page.set_input_files("#files", photos[:1])
    expect(page.locator("#said")).to_have_text("a.png · 2 heads · likely 1 to 3")


def test_a_photo_is_left_out(page, photos, tmp_path):
    add(page, photos)
    (tmp_path / "other").mkdir()
    shutil.copy(photos[0], tmp_path / "other" / "a.webp")
    page.set_input_files("#files", tmp_path / "other" / "a.webp")
    page.click("#leave")
    expect(page.locator("#total")).to_have_text(THREE_HEADS)  # its namesake's turn
    lines(page).nth(2).click()
    page.click("#leave")
    lines(page).nth(0).click()
    expect(page.locator("#total")).to_have_text("1 head in 1 of 2 photos, detector tiny")
    expect(page.locator("#said")).to_have_text(re.compile("^b, of June.png"))
    page.click("#leave")
    page.click("#leave")
    expect(page.locator("#said")).to_have_text("Drop photos of a field here. They stay on this computer.")
    expect(page.locator("#canvas")).to_be_hidden()


def test_a_lower_score_finds_more_and_has_no_interval(page, photos):
    add(page, photos[:1])
    page.locator("#threshold").fill("0.2")
    expect(page.locator("#said")).to_have_text("a.png · 3 heads")
    page.locator("#threshold").fill("0.6")
    expect(page.locator("#said")).to_have_text("a.png · 1 head")
    page.click("#own")
    expect(page.locator("#said")).to_have_text("a.png · 2 heads · likely 1 to 3")
    expect(page.locator("#own")).to_be_disabled()


def test_a_reset_score_keeps_keyboard_focus(page, photos):
    """Its button, then disabled, cannot."""
    add(page, photos[:1])
    page.locator("#threshold").fill("0.2")
    page.locator("#own").press("Enter")
    expect(page.locator("#own")).to_be_disabled()
    expect(page.locator("#threshold")).to_be_focused()


def test_the_mean_of_all_photos_is_that_of_a_counts_folder(page, photos):
    """In heads a photo, or of the ground where it is known."""
    add(page, photos[:2])
    counts = rows(saved(page, "#counts")[1])
    low, high = folder_of(counts).per_photo.interval()
    expect(page.locator("#total")).to_contain_text(f", 1.5 per photo (likely {low:.1f} to {high:.1f}), ")
    page.locator("#metres").fill("0.6")  # so 0.24 m² of ground in each
    counts = rows(saved(page, "#counts")[1])
    low, high = folder_of(counts).per_m2.interval()
    expect(page.locator("#total")).to_contain_text(f", 6.3 per m² (likely {low:.1f} to {high:.1f}), ")
    page.locator("#threshold").fill("0.2")
    expect(page.locator("#total")).to_contain_text(", 8.3 per m², ")  # nobody measured what it errs by


def test_a_tile_without_data_leaves_the_mean_per_square_metre(page, tmp_path):
    rasterio = pytest.importorskip("rasterio")
    profile = {"driver": "GTiff", "width": WIDTH, "height": HEIGHT, "count": 3, "dtype": "uint8", "nodata": 0}
    profile |= {"crs": "EPSG:32631", "transform": rasterio.Affine(0.01, 0, 500_000, 0, -0.01, 5_538_630)}
    for name, value in (("a.tif", 100), ("b.tif", 0), ("c.tif", 100)):
        with rasterio.open(tmp_path / name, "w", **profile) as file:
            file.write(np.full((3, HEIGHT, WIDTH), value, np.uint8))
    add(page, sorted(tmp_path.glob("*.tif")))
    low, high = folder_of(rows(saved(page, "#counts")[1])).per_m2.interval()
    expect(page.locator("#total")).to_contain_text(f", 0.0 per m² (likely {low:.1f} to {high:.1f}), ")
    page.click("#leave")  # so that one is left that shows any ground
    expect(page.locator("#total")).to_have_text("0 heads in 2 photos, 0.0 per m², detector tiny")


def folder_of(counts: list[dict[str, str]]) -> Folder:
    folder = Folder()
    for row in counts:
        folder.add(row)
    return folder


def test_a_checked_photo_is_one_counted_by_hand(page, photos, tmp_path):
    add(page, photos[:2])
    click(page, 0, 0)
    page.check("#checked")
    name, content = saved(page, "#counts")
    (tmp_path / name).write_bytes(content)
    given = name_photos(photos[:2])
    assert read_by_hand(tmp_path / name, given) == {given[0]: 1}


def test_a_checked_photo_stays_as_it_is(page, photos):
    add(page, photos[:2])
    click(page, 0, 0)
    page.check("#checked")
    expect(page.locator("#said")).to_have_text("a.png · 1 head · checked")
    page.locator("#threshold").fill("0.2")
    expect(page.locator("#said")).to_have_text("a.png · 1 head · checked")
    first, second = rows(saved(page, "#counts")[1])
    assert [first[name] for name in ("heads", "heads_low", "removed", "added", "checked")] == [
        "1", "", "1", "0", "yes",
    ]  # fmt: skip
    assert second["checked"] == "no"
    lines(page).nth(1).click()
    expect(page.locator("#checked")).not_to_be_checked()
    lines(page).nth(0).click()
    page.uncheck("#checked")
    expect(page.locator("#said")).to_have_text("a.png · 2 heads · corrected")


@pytest.mark.parametrize("removed", [[], [(0, 0)], [(1, 1)], [(0, 0), (1, 1)]])
@pytest.mark.parametrize("drawn", [0, 1, 2])
def test_the_threshold_by_checked_photos_is_that_of_a_count_by_hand(page, photos, removed, drawn):
    add(page, photos[:1])
    expect(page.locator("#fit")).to_be_disabled()
    for row, column in removed:
        click(page, row, column)
    for i in range(drawn):
        drag(page, 65 + 25 * i, 2, 80 + 25 * i, 14)
    page.check("#checked")
    page.click("#fit")
    threshold = threshold_for(np.array([0.8, 0.55, 0.2]), 2 - len(removed) + drawn, 1, own=0.5, floor=0.1)
    expect(page.locator("#score")).to_have_text(f"{threshold:.2f}")


def test_the_others_are_counted_by_the_checked_photos(page, photos, tmp_path):
    """And as sure as at the detector's own threshold."""
    for name in ("x.png", "y.png"):
        shutil.copy(photos[0], tmp_path / name)
    add(page, [photos[0], tmp_path / "x.png", tmp_path / "y.png"])
    for i in range(2):
        lines(page).nth(i).click()
        click(page, 1, 1)
        page.check("#checked")
    page.click("#fit")
    expect(page.locator("#score")).to_have_text("0.53")  # half-way to 0.56
    expect(lines(page).nth(2)).to_have_text(re.compile("^y.png2likely 1 to 3$"))
    expect(page.locator("#total")).to_contain_text("(likely")
    page.click("#own")
    expect(page.locator("#score")).to_have_text("0.50")


def test_a_threshold_by_photos_that_are_checked_no_more_has_no_interval(page, photos, tmp_path):
    shutil.copy(photos[0], tmp_path / "x.png")
    add(page, [photos[0], tmp_path / "x.png"])
    click(page, 1, 1)
    page.check("#checked")
    page.click("#fit")
    expect(lines(page).nth(1)).to_have_text(re.compile("^x.png2likely"))
    page.uncheck("#checked")
    expect(lines(page).nth(1)).to_have_text("x.png2")
    for _ in range(2):
        page.click("#leave")
    expect(page.locator("#score")).to_have_text("0.50")  # nothing is left that another was fitted to


def test_an_image_with_coordinates_keeps_its_own_area(page, tmp_path):
    """Whatever is said of the other photos; the half without data is no ground."""
    rasterio = pytest.importorskip("rasterio")
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[: HEIGHT // 2] = 100
    profile = {"width": WIDTH, "height": HEIGHT, "count": 3, "dtype": "uint8", "nodata": 0}
    profile |= {"crs": "EPSG:32631", "transform": rasterio.Affine(0.01, 0, 500_000, 0, -0.01, 5_538_630)}
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", **profile) as file:
        file.write(np.moveaxis(image, -1, 0))
    add(page, [tmp_path / "a.tif"])
    page.fill("#metres", "5")
    [row] = rows(saved(page, "#counts")[1])
    assert float(row["area_m2"]) == pytest.approx(1.2 * 0.4, rel=1e-2)


def test_metres_may_have_a_comma(page, photos):
    add(page, photos[:1])
    for metres, area in (
        ("1,2", "0.9600"),
        (" 1.2", "0.9600"),
        (",5", "0.1667"),
        ("1.2.", ""),
        ("0,0", ""),
        ("1,200", ""),
    ):
        page.fill("#metres", metres)
        assert rows(saved(page, "#counts")[1])[0]["area_m2"] == area


def test_upright_photos_among_others_are_told(page, photos, tmp_path):
    Image.fromarray(np.zeros((WIDTH, HEIGHT, 3), np.uint8)).save(tmp_path / "upright.png")
    add(page, [photos[0], tmp_path / "upright.png"])
    expect(page.locator("#said")).not_to_contain_text("as many metres wide")
    page.fill("#metres", "1.2")
    expect(page.locator("#said")).to_contain_text("is each as many metres wide?")


@pytest.mark.parametrize(("number", "says"), [(9, False), (10, True)])
def test_checked_heads_of_another_size_are_told(page, tmp_path, number, says):
    """24 px, where the model knows 75."""
    cells = [(row, column) for row in range(4) for column in range(4)]
    Image.fromarray(red_cells(cells[:number])).save(tmp_path / "a.png")
    add(page, [tmp_path / "a.png"])
    page.check("#checked")
    page.click("#fit")
    said = f"{number} heads in 1 checked photo, {number} found now"
    expect(page.locator("#at")).to_have_text(
        re.compile(f"^{said}. These heads have 24 px.*--head-px 24$") if says else said
    )


def test_boxes_are_drawn_around_the_heads(page, photos):
    add(page, photos[:1])
    edge = (15, 19)  # below the first cell's middle, inside its lower edge
    with_box = pixel(page, *edge)
    page.uncheck("#boxes")
    without = pixel(page, *edge)
    assert without[0] == 204
    assert with_box != without


def test_a_wrong_box_is_taken_away_by_a_click_and_comes_back_by_another(page, photos):
    add(page, photos[:1])
    click(page, 1, 1)
    expect(page.locator("#said")).to_have_text("a.png · 1 head · corrected")
    click(page, 1, 1)
    expect(page.locator("#said")).to_have_text("a.png · 2 heads · likely 1 to 3")
    click(page, 3, 2)  # there is none
    expect(page.locator("#said")).to_have_text("a.png · 2 heads · likely 1 to 3")
    page.uncheck("#boxes")
    click(page, 1, 1)  # nobody sees what it would take away
    expect(page.locator("#said")).to_have_text("a.png · 2 heads · likely 1 to 3")


def test_a_missing_box_is_drawn_and_taken_away(page, photos):
    add(page, photos[:1])
    drag(page, 80, 30, 65, 42)
    expect(page.locator("#said")).to_have_text("a.png · 3 heads · corrected")
    assert rows(saved(page, "#heads")[1])[0] == {
        "image": "a.png", "xmin": "65", "ymin": "30", "xmax": "80", "ymax": "42", "score": "1",
    }  # fmt: skip
    page.locator("#canvas").click(position={"x": 70, "y": 35})
    expect(page.locator("#said")).to_have_text("a.png · 2 heads · likely 1 to 3")


def test_a_box_lies_where_it_is_drawn_also_under_a_message(page, photos):
    """Which is on the screen when the mouse goes down."""
    add(page, photos[:1])
    saved(page, "#labels")
    expect(page.locator("#at")).to_contain_text("No photo is checked")
    drag(page, 65, 30, 80, 42)
    expect(page.locator("#at")).to_have_text("")
    box = rows(saved(page, "#heads")[1])[0]
    assert [float(box[side]) for side in ("xmin", "ymin", "xmax", "ymax")] == [65, 30, 80, 42]


def test_the_wheel_enlarges_the_photo_at_the_mouse(page, tmp_path):
    Image.fromarray(np.full((900, 1200, 3), 200, np.uint8)).save(tmp_path / "wide.png")
    add(page, [tmp_path / "wide.png"])
    shown = page.locator("#canvas")
    expect(shown).to_be_visible()
    before = shown.bounding_box()
    at = before["x"] + 0.75 * before["width"], before["y"] + 0.5 * before["height"]
    page.mouse.move(*at)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")
    expect(page.locator("#whole")).not_to_be_checked()
    after = shown.bounding_box()
    assert after["width"] > 1.5 * before["width"]
    assert (at[0] - after["x"]) / after["width"] == pytest.approx(0.75, abs=0.01)
    assert (at[1] - after["y"]) / after["height"] == pytest.approx(0.5, abs=0.01)
    page.check("#whole")
    assert [shown.bounding_box()[side] for side in ("width", "height")] == [before["width"], before["height"]]


def test_the_next_photo_is_enlarged_no_further_than_it_may_be(page, photos, tmp_path):
    Image.fromarray(np.full((900, 1600, 3), 200, np.uint8)).save(tmp_path / "wide.png")
    add(page, [photos[0], tmp_path / "wide.png"])
    shown = page.locator("#canvas")
    shown.hover()
    page.keyboard.down("Control")
    page.mouse.wheel(0, -2000)
    page.keyboard.up("Control")
    expect(shown).to_have_css("width", "3000px")  # 25 times as large
    lines(page).nth(1).click()
    expect(shown).to_have_css("width", "3000px")


def test_a_box_drawn_over_the_detectors_takes_its_place(page, photos):
    """Whether that one is sure enough or becomes so."""
    add(page, photos[:1])
    drag(page, 2, 1, 29, 19)  # over the first cell
    drag(page, 91, 41, 119, 59)  # over the last, below the threshold
    expect(page.locator("#said")).to_have_text("a.png · 3 heads · corrected")
    page.locator("#threshold").fill("0.15")
    expect(page.locator("#said")).to_have_text("a.png · 3 heads · corrected")
    (row,) = rows(saved(page, "#counts")[1])
    assert (row["heads"], row["removed"], row["added"]) == ("3", "2", "2")


def test_a_box_drawn_over_one_drawn_before_takes_its_place(page, photos):
    add(page, photos[:1])
    drag(page, 65, 30, 80, 42)
    drag(page, 85, 30, 100, 42)  # beside it
    expect(page.locator("#said")).to_have_text("a.png · 4 heads · corrected")
    drag(page, 64, 29, 81, 43)
    expect(page.locator("#said")).to_have_text("a.png · 4 heads · corrected")
    drawn = [float(row["xmin"]) for row in rows(saved(page, "#heads")[1]) if row["score"] == "1"]
    assert drawn == [85, 64]


def test_boxes_are_taken_away_by_keyboard_the_least_sure_first(page, photos):
    add(page, photos[:1])
    page.locator("#canvas").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#at")).to_have_text("1 of 2, score 0.55")
    page.keyboard.press("Enter")
    expect(page.locator("#at")).to_have_text("score 0.55, removed")
    expect(page.locator("#said")).to_have_text("a.png · 1 head · corrected")
    page.keyboard.press("Enter")
    expect(page.locator("#said")).to_have_text("a.png · 2 heads · likely 1 to 3")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#at")).to_have_text("2 of 2, score 0.80")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#at")).to_have_text("1 of 2, score 0.55")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")  # none is chosen
    expect(page.locator("#at")).to_have_text("")
    expect(page.locator("#said")).to_have_text("a.png · 2 heads · likely 1 to 3")


def test_a_box_is_placed_by_keyboard(page, photos):
    """As large as the photo's own, right of the chosen one; a key moves by an eighth of a side."""
    add(page, photos[:1])
    page.locator("#canvas").focus()
    for key in ("ArrowRight", "+", "ArrowDown", "Shift+ArrowLeft", "Enter"):
        page.keyboard.press(key)
    expect(page.locator("#said")).to_have_text("a.png · 3 heads · corrected")
    placed = rows(saved(page, "#heads")[1])[0]
    expected = (60, 20 + 2.5, 90 - 3.75, 40 + 2.5)  # the less sure one is (30, 20, 60, 40)
    sides = [float(placed[side]) for side in ("xmin", "ymin", "xmax", "ymax")]
    np.testing.assert_allclose(sides, expected, atol=0.5)
    page.locator("#canvas").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#at")).to_have_text("3 of 3, drawn by hand")
    page.keyboard.press("Delete")
    expect(page.locator("#said")).to_have_text("a.png · 2 heads · likely 1 to 3")
    page.keyboard.press("+")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    expect(page.locator("#said")).to_have_text("a.png · 2 heads · likely 1 to 3")


def test_a_box_placed_where_there_is_no_other_is_inside_its_photo(page, tmp_path):
    Image.fromarray(np.full((20, 1000, 3), 100, np.uint8)).save(tmp_path / "strip.png")
    add(page, [tmp_path / "strip.png"])
    expect(page.locator("#canvas")).to_be_visible()
    page.locator("#canvas").focus()
    for key in ("+", "Enter"):
        page.keyboard.press(key)
    (placed,) = rows(saved(page, "#heads")[1])
    assert (placed["ymin"], placed["ymax"]) == ("0", "20")


@pytest.mark.parametrize("page", [True], indirect=True)
def test_a_finger_draws_where_it_is_told_to(page, photos):
    add(page, photos[:1])
    page.check("#finger")
    place = page.locator("#canvas").bounding_box()
    fingers = page.context.new_cdp_session(page)
    for kind, at in (("Start", (65, 30)), ("Move", (75, 38)), ("Move", (80, 42)), ("End", None)):
        points = [] if at is None else [{"x": place["x"] + at[0], "y": place["y"] + at[1]}]
        fingers.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})
    expect(page.locator("#said")).to_have_text("a.png · 3 heads · corrected")


def test_without_a_screen_for_fingers_none_is_asked_for(page, photos):
    add(page, photos[:1])
    expect(page.locator("#finger")).to_be_hidden()


def test_the_counts_are_a_table(page, photos):
    add(page, photos)
    click(page, 0, 0)
    page.locator("#metres").fill("0.6")  # so 0.24 m² of ground
    expect(page.locator("#said")).to_have_text("a.png · 1 head · corrected · 4.2 per m²")
    name, content = saved(page, "#counts")
    first, second = rows(content)
    assert name == "counts.csv"
    assert tuple(first) == (*COUNTS_HEADER, *PAGE_COLUMNS)
    assert first == {
        "image": "a.png", "heads": "1", "heads_low": "", "heads_high": "", "area_m2": "0.2400", "heads_per_m2": "4.17",
        "heads_per_m2_low": "", "heads_per_m2_high": "", "width": "120", "height": "80", "resized_by": "",
        "warnings": "",
        "removed": "1", "added": "0", "checked": "no", "threshold": "0.5", "model": "tiny",
    }  # fmt: skip
    assert (second["image"], second["heads_low"], second["heads_high"]) == ("b, of June.png", "0.0", "2.0")
    assert (second["heads_per_m2_low"], second["heads_per_m2_high"]) == ("0.08", "8.25")


def test_the_heads_are_read_as_a_counts_are(page, photos, tmp_path):
    add(page, photos)
    drag(page, 65, 30, 80, 42)
    name, content = saved(page, "#heads")
    (tmp_path / name).write_bytes(content)
    found = read_csv(tmp_path / name)
    assert {image: len(heads) for image, heads in found.items()} == {"a.png": 3, "b, of June.png": 1}
    np.testing.assert_allclose(found["a.png"].boxes[0], (65, 30, 80, 42))


def test_the_labels_are_a_data_set_with_the_photos(page, photos, tmp_path):
    add(page, photos)
    click(page, 1, 1)
    drag(page, 65, 30, 80, 42)
    name, content = saved(page, "#labels")
    folder = tmp_path / "data" / "train"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(content)
    for photo in photos[:2]:
        shutil.copy(photo, folder)
    first, second = read_dataset(tmp_path / "data")
    np.testing.assert_allclose(first.boxes, [(65, 30, 80, 42), (0, 0, 30, 20)], atol=0.01)
    assert (first.path.name, second.path.name, len(second.boxes)) == ("a.png", "b, of June.png", 1)
    categories = [
        {"id": 1, "name": "wheat head", "supercategory": ""}
    ]  # as `wheatear count --format coco` writes them
    assert json.loads(content)["categories"] == categories


def test_of_photos_that_are_checked_in_part_these_alone_are_labelled(page, photos):
    """A detector that is judged by what it found itself would be perfect."""
    add(page, photos)
    saved(page, "#labels")
    expect(page.locator("#at")).to_contain_text("No photo is checked")
    lines(page).nth(1).click()
    page.check("#checked")
    content = saved(page, "#labels")[1]
    assert [image["file_name"] for image in json.loads(content)["images"]] == ["b, of June.png"]
    expect(page.locator("#at")).to_have_text("Labels of 1 checked photo, without 1 unchecked")


def test_a_fit_that_is_far_off_gives_no_intervals(page, tmp_path):
    """As `wheatear count --by-hand`: 3 of 16 heads that are all as sure are right."""
    cells = [(row, column) for row in range(4) for column in range(4)]
    for name in ("a.png", "b.png"):
        Image.fromarray(red_cells(cells)).save(tmp_path / name)
    add(page, [tmp_path / "a.png", tmp_path / "b.png"])
    expect(lines(page).nth(1)).to_contain_text("likely")
    for cell in cells[3:]:
        click(page, *cell)
    page.check("#checked")
    page.click("#fit")
    expect(page.locator("#at")).to_contain_text(
        "16 found now: that is still far off, so there are no intervals"
    )
    expect(lines(page).nth(1)).not_to_contain_text("likely")
    page.uncheck("#checked")
    expect(lines(page).nth(1)).to_contain_text("likely")


def test_the_picture_has_its_photos_size_and_boxes(page, photos):
    add(page, photos[:1])
    name, content = saved(page, "#picture")
    drawn = Image.open(io.BytesIO(content))
    assert (name, drawn.size) == ("a_heads.jpg", (WIDTH, HEIGHT))
    plain = np.asarray(Image.open(photos[0]).convert("RGB"), int)
    difference = np.abs(np.asarray(drawn, int) - plain).max(2)
    assert difference[19, 5:25].min() > 30
    assert np.median(difference) < 30


def test_what_is_drawn_of_a_photo_stays_out_of_the_next(page, photos):
    add(page, photos)
    place = page.locator("#canvas").bounding_box()
    page.mouse.move(place["x"] + 65, place["y"] + 30)
    page.mouse.down()
    page.mouse.move(place["x"] + 80, place["y"] + 42)
    lines(page).nth(0).focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#said")).to_have_text(re.compile("^b, of June.png"))
    page.mouse.up()
    expect(page.locator("#total")).to_have_text(THREE_HEADS)


def test_a_photo_that_was_mended_is_shown_anew(page, tmp_path):
    (tmp_path / "a.png").write_text("no photo")
    add(page, [tmp_path / "a.png"])
    Image.fromarray(red_cells([(0, 0)])).save(tmp_path / "a.png")
    page.set_input_files("#files", tmp_path / "a.png")
    expect(page.locator("#said")).to_have_text("a.png · 1 head · likely 0 to 2")
    expect(page.locator("#canvas")).to_be_visible()
    assert pixel(page, 15, 10)[0] > 200


@pytest.mark.parametrize(
    ("checked", "buttons", "asks"),
    [
        (False, ["#counts"], ["beforeunload"]),
        (False, ["#labels"], []),
        (False, ["#heads", "#counts"], []),
        (True, ["#heads"], ["beforeunload"]),
        (True, ["#counts", "#heads"], []),
    ],
)
def test_the_page_asks_before_boxes_and_marks_are_lost(page, photos, checked, buttons, asks):
    """The counts have no boxes, and the boxes do not say which photos are checked."""
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    add(page, photos[:1])
    click(page, 1, 1)
    page.set_checked("#checked", checked)
    for button in buttons:
        saved(page, button)
    page.goto("about:blank")
    assert asked == asks


def test_another_detector_counts_no_photos_of_this_page(page, photos):
    add(page, photos[:1])
    page.route(
        "**/model", lambda route: route.fulfill(json={"name": "other", "threshold": 0.5, "floor": 0.1})
    )
    page.set_input_files("#files", photos[1:2])
    expect(lines(page).nth(1)).to_have_text(
        "b, of June.pnganother detector runs now: save, and reload the page"
    )


def test_a_scale_that_no_wheat_has_is_told(page, tmp_path):
    """16 heads of 24 px."""
    cells = [(row, column) for row in range(4) for column in range(4)]
    Image.fromarray(red_cells(cells)).save(tmp_path / "a.png")
    add(page, [tmp_path / "a.png"])
    page.locator("#metres").fill("0.3")
    expect(page.locator("#said")).to_have_text(re.compile(r"266\.7 per m²( ·|$)"))
    expect(page.locator("#said")).not_to_have_text(re.compile("mm long"))
    page.locator("#metres").fill("30")
    expect(page.locator("#said")).to_have_text(
        re.compile(r"heads would be 6120 mm long; are the metres right\?$")
    )
    page.locator("#metres").fill("-1")
    expect(page.locator("#said")).not_to_have_text(re.compile("m²"))


def test_a_photo_that_is_gone_is_named_and_may_come_again(page, photos):
    hidden = photos[0].rename(photos[0].with_suffix(".away"))
    hidden.rename(photos[0])
    page.route("**/detect*", lambda route: (photos[0].rename(hidden), route.abort()))
    page.set_input_files("#files", photos[:1])
    expect(lines(page).nth(0)).to_have_text("a.pngcannot be read (moved, changed or a folder); add it again")
    page.unroute("**/detect*")
    hidden.rename(photos[0])
    page.set_input_files("#files", photos[:1])
    expect(page.locator("#said")).to_have_text("a.png · 2 heads · likely 1 to 3")


def test_counting_goes_on_after_the_program_was_started_again(page, photos):
    page.route("**/*", lambda route: route.abort())
    page.set_input_files("#files", photos[:2])
    page.click("#again")  # nobody answers yet
    expect(page.locator("#again")).to_be_visible()
    page.unroute("**/*")
    page.click("#again")
    expect(page.locator("#total")).to_have_text(THREE_HEADS.replace(" of 3", ""))
    expect(page.locator("#again")).to_be_hidden()


def test_arrow_keys_go_from_photo_to_photo(page, photos):
    add(page, photos)
    lines(page).nth(0).focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#said")).to_have_text(re.compile("^b, of June.png"))
    expect(lines(page).nth(1)).to_have_attribute("aria-current", "true")
    for _ in range(3):
        page.keyboard.press("ArrowUp")
    expect(page.locator("#said")).to_have_text(re.compile("^a.png"))


def test_a_photo_that_the_browser_cannot_show_is_counted_all_the_same(page, tmp_path):
    Image.fromarray(red_cells([(0, 0)])).save(tmp_path / "a.tif")
    add(page, [tmp_path / "a.tif"])
    expect(page.locator("#said")).to_have_text(
        "a.tif · 1 head · likely 0 to 2 · This browser cannot show the photo; save it as JPEG to see its boxes."
    )
    expect(page.locator("#canvas")).to_be_hidden()


def test_photos_are_dropped_on_the_page(page):
    page.evaluate(
        """() => {
            const given = new DataTransfer();
            given.items.add(new File(["no photo"], "dropped.jpg"));
            dispatchEvent(new DragEvent("drop", { dataTransfer: given, cancelable: true }));
        }"""
    )
    expect(lines(page).nth(0)).to_have_text(re.compile("^dropped.jpgis not an image"))


@pytest.mark.parametrize("width", [360, 768])
def test_a_long_name_is_broken_where_the_screen_is_narrow(page, photos, width):
    """Those of public photos of wheat are of 64 letters and digits."""
    page.set_viewport_size({"width": width, "height": 740})
    add(page, [photos[0].rename(photos[0].with_name(f"{'0123456789abcdef' * 4}.png"))])
    expect(page.locator("#said")).to_contain_text("2 heads")
    sides = "({ scrollWidth, clientWidth }) => [scrollWidth, clientWidth]"
    assert page.locator("html").evaluate(sides) == [width, width]


def test_on_a_narrow_screen_the_photo_is_right_below_the_list(page, photos):
    page.set_viewport_size({"width": 360, "height": 740})
    add(page, photos[2:])  # which is none, so that much of the screen is left
    photo_list, said = page.locator("nav").bounding_box(), page.locator(".row").bounding_box()
    assert said["y"] == pytest.approx(photo_list["y"] + photo_list["height"], abs=1)
