import json
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import wheatear.detector
from tiny_model import CARD, red_cells, tiny_model, write_tiny_model
from wheatear.data.synth import draw_field
from wheatear.detector import DEFAULT_MODEL, Detector, load
from wheatear.errors import InputError
from wheatear.tiles import NMS_THRESH
from wheatear.tta import FUSION_IOU


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    return load(write_tiny_model(tmp_path_factory.mktemp("model")), threads=1)


def complaint(model) -> str:
    """What load says of a bad model: one line that names it and says what to do."""
    with pytest.raises(InputError) as caught:
        load(model)
    message = str(caught.value)
    assert message.startswith(str(model).removesuffix(".onnx"))
    assert "; " in message
    assert "\n" not in message
    return message


def test_boxes_are_pixels_of_the_photo(detector):
    # A grid of 4 × 4 over 120 × 80 pixels: cells are 30 × 20.
    heads = detector.detect(red_cells([(0, 1), (3, 3)]))
    assert heads.boxes.tolist() == [[30, 0, 60, 20], [90, 60, 120, 80]]
    assert heads.boxes.dtype == heads.scores.dtype == np.float32
    assert heads.scores.tolist() == [1, 1]
    assert (heads.height, heads.width) == (80, 120)


def test_a_photo_without_heads_is_a_normal_photo(detector):
    heads = detector.detect(red_cells([]))
    assert heads.boxes.shape == (0, 4)
    assert heads.scores.shape == (0,)
    assert (heads.height, heads.width) == (80, 120)


@given(
    cells=st.sets(st.tuples(st.integers(0, 3), st.integers(0, 3))),
    height=st.integers(1, 22).map(lambda cell: 4 * cell),
    width=st.integers(1, 22).map(lambda cell: 4 * cell),
)
def test_every_red_cell_is_found_in_photos_of_any_size(detector, cells, height, width):
    heads = detector.detect(red_cells(sorted(cells), height, width))
    step = np.array([width, height] * 2) / 4
    expected = [[column, row, column + 1, row + 1] * step for row, column in sorted(cells)]
    np.testing.assert_allclose(heads.boxes, np.reshape(expected, (-1, 4)), rtol=1e-6)


def test_the_smallest_photo(detector):
    assert len(detector.detect(np.full((1, 1, 3), (255, 0, 0), np.uint8))) == 16


def test_a_file_is_read_with_its_exif_turn(detector, tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # row 0 of the file is seen on the right
    path = tmp_path / "photo.png"
    Image.fromarray(red_cells([(0, 0)])).save(path, exif=exif)
    for photo in (path, str(path)):
        heads = detector.detect(photo)
        assert heads.boxes.tolist() == [[60, 0, 80, 30]]
        assert (heads.height, heads.width) == (120, 80)


def test_threshold_of_the_card_or_the_callers(detector):
    photo = np.full((4, 4, 3), (51, 255, 0), np.uint8)  # one score of 0.2
    photo[0, 0] = (51, 0, 0)
    assert detector.card.score_threshold == 0.4
    assert len(detector.detect(photo)) == 0
    assert len(detector.detect(photo, score_threshold=0.2)) == 1
    assert len(detector.detect(photo, score_threshold=0.21)) == 0


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_outside_0_to_1_is_refused(detector, threshold):
    with pytest.raises(ValueError, match=r"must lie in 0\.\.1"):
        detector.detect(red_cells([]), score_threshold=threshold)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 4), (3, 8, 8), (0, 8, 3), (8, 0, 3), (1, 8, 8, 3)])
def test_arrays_of_another_shape_are_refused(detector, shape):
    with pytest.raises(ValueError, match=r"must be \(H, W, 3\)"):
        detector.detect(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("photo", [np.zeros((8, 8, 3)), np.zeros((8, 8, 3), np.uint16), [[[0, 0, 0]]], None])
def test_what_is_no_uint8_array_is_refused(detector, photo):
    with pytest.raises(TypeError, match="must be a path or a uint8 array"):
        detector.detect(photo)


def test_a_view_that_is_not_contiguous_is_accepted(detector):
    photo = red_cells([(0, 1)])
    assert detector.detect(photo[:, ::-1]).boxes.tolist() == [[60, 0, 90, 20]]


def test_a_bad_photo_is_named(detector, tmp_path):
    with pytest.raises(InputError, match=r"missing\.jpg: no such file"):
        detector.detect(tmp_path / "missing.jpg")


def test_a_photo_the_model_fails_on_is_named(tmp_path):
    model = tiny_model()
    places = next(value for value in model.graph.initializer if value.name == "middles")
    places.CopyFrom(
        onnx.numpy_helper.from_array(np.full((16, 2), 2, np.float32), "middles")
    )  # outside any photo
    path = write_tiny_model(tmp_path)
    onnx.save(model, path)
    photo = tmp_path / "photo.png"
    Image.fromarray(red_cells([])).save(photo)
    with pytest.raises(
        InputError, match=r"photo\.png: the model failed on this photo \(.*\); try a smaller one$"
    ):
        load(path).detect(photo)
    with pytest.raises(InputError, match=r"^the model failed on this photo"):
        load(path).detect(red_cells([]))


def test_one_detector_serves_many_threads(detector):
    photos = [red_cells([(n % 4, n // 4)], 40 + n, 60) for n in range(16)]
    alone = [detector.detect(photo).boxes.tolist() for photo in photos]
    with ThreadPoolExecutor(8) as pool:
        together = [heads.boxes.tolist() for heads in pool.map(detector.detect, photos * 8)]
    assert together == alone * 8


@pytest.mark.parametrize("thresh", ["x", None, 1.5, [0.5]])
def test_a_card_whose_nms_threshold_is_none_has_the_usual_one(tmp_path, thresh):
    model = write_tiny_model(tmp_path, recipe={"detection": {"nms_thresh": thresh}})
    assert load(model).card.nms_thresh() == NMS_THRESH


def test_boxes_from_two_windows_are_told_apart_by_the_ious_of_a_single_window(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        wheatear.detector, "detect_in_tiles", lambda run, pixels, scale, thresh: asked.append(thresh)
    )
    model = write_tiny_model(tmp_path, recipe={"detection": {"nms_thresh": 0.3}})
    for tta in (None, "mix"):
        load(model, 1, tta).detect(red_cells([]))
    assert asked == [0.3, FUSION_IOU]


def test_the_card_keeps_what_it_does_not_know(tmp_path):
    card = load(write_tiny_model(tmp_path, figures={"map": 0.5}, colour="blue")).card
    assert card.figures == {"map": 0.5}
    assert card.model_extra == {"colour": "blue"}
    assert (card.licence, card.recipe) == ("", {})


def test_a_model_that_is_not_there(tmp_path):
    assert "no such model" in complaint(tmp_path / "missing.onnx")
    assert "no such model" in complaint(str(tmp_path / "missing.onnx"))


def test_a_folder_in_place_of_its_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    for folder in (tmp_path / "run", "run"):
        assert (
            complaint(folder) == f"{folder}: is a folder; give the model.onnx that `wheatear export` writes"
        )


def test_an_unknown_name(tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    write_tiny_model(tmp_path / "weights", "small")
    monkeypatch.setattr(wheatear.detector, "files", lambda _: tmp_path)
    assert complaint("large") == "large: no shipped detector has this name; give small"
    assert len(load("small").detect(red_cells([(0, 0)]))) == 1


def test_an_installation_without_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(wheatear.detector, "files", lambda _: tmp_path)
    assert complaint("seed") == "seed: no shipped detector has this name; give the path of a model.onnx"


@pytest.mark.parametrize("data", [b"", b"not a model", "cut"])
def test_a_damaged_model(tmp_path, data):
    path = write_tiny_model(tmp_path)
    path.write_bytes(path.read_bytes()[:-200] if data == "cut" else data)
    assert "not a model that can be loaded" in complaint(path)


def test_somebody_elses_model(tmp_path):
    path = write_tiny_model(tmp_path)
    onnx.save(tiny_model(image_name="pixels"), path)
    assert "not a Wheatear detector" in complaint(path)


def test_a_model_without_its_card(tmp_path):
    path = write_tiny_model(tmp_path)
    path.with_suffix(".json").unlink()
    assert "tiny.json: the model's card cannot be read; it belongs beside the model" in complaint(path)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"format": 2}, "tiny.json, format: "),
        ({"score_threshold": 1.5}, "tiny.json, score_threshold: "),
        ({"score_threshold": None}, "tiny.json, score_threshold: "),
        ({"figures": []}, "tiny.json, figures: "),
    ],
)
def test_a_bad_card(tmp_path, change, where):
    assert where in complaint(write_tiny_model(tmp_path, **change))


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_card_that_is_no_card(tmp_path, text):
    path = write_tiny_model(tmp_path)
    path.with_suffix(".json").write_text(text)
    assert "tiny.json, the whole file: " in complaint(path)


def test_threads_are_zero_or_more(tmp_path):
    with pytest.raises(ValueError, match="threads must be 0"):
        load(write_tiny_model(tmp_path), threads=-1)


def test_shipped_detectors_load_and_run():
    weights = files("wheatear") / "weights"
    names = [entry.name.removesuffix(".onnx") for entry in weights.iterdir() if entry.name.endswith(".onnx")]
    assert DEFAULT_MODEL in names
    for name in names:
        detector = load(name, threads=1)
        assert detector.card.name == name
        assert set(json.loads(detector.card.model_dump_json())) >= set(CARD)
        assert detector.detect(red_cells([], 128, 160)).boxes.shape[1] == 4


def test_the_default_detector_counts_drawn_fields():
    """It learned from photos alone; whoever tries the commands of the README sees these fields first."""
    fields = [draw_field(np.random.default_rng(number)) for number in range(6)]
    detector = load()
    found = [len(detector.detect(image, detector.card.threshold_to_count())) for image, _ in fields]
    assert sum(found) == pytest.approx(sum(len(boxes) for _, boxes in fields), rel=0.15)
