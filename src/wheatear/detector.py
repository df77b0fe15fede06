"""Detector: a trained model.onnx, run with onnxruntime and without torch."""

import hashlib
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wheatear.detections import Detections
from wheatear.errors import InputError, first_line, first_problem
from wheatear.head_size import LARGEST_HEAD, SMALLEST_HEAD, HeadSize, measure_heads
from wheatear.pixels import InMemory, Pixels
from wheatear.raster import opened_pixels
from wheatear.sized import HeadPx, detect_sized
from wheatear.tiles import NMS_THRESH, detect_in_tiles
from wheatear.tta import FUSION_IOU, ONCE, VIEWS, Augmentation, run_views

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

DEFAULT_MODEL = "small"
# An optimizer pass that would make the max-pool of a quantized network work on bytes, which alone takes about a third
# of the time for a photo.
SLOW = "QDQPropagationTransformer"


class Judged(BaseModel):
    """Thresholds and figures for one kind of test-time augmentation, in place of the card's own; see Card.

    interval_factor: None if it was not measured with these views; the card's own then applies.
    """

    model_config = ConfigDict(frozen=True)

    score_threshold: float = Field(ge=0, le=1)
    count_threshold: float | None = Field(default=None, ge=0, le=1)
    figures: dict[str, object] = {}
    known_failures: list[str] = []
    interval_factor: float | None = Field(default=None, ge=1, allow_inf_nan=False)


class Card(BaseModel):
    """What is known about a trained detector: the JSON file beside its model.onnx. Unknown keys are kept.

    score_threshold: detections below it are left out unless the caller asks for them; chosen on val for the
                     Kaggle metric.
    count_threshold: the same, chosen for the smallest counting error; None if none was chosen for counting.
    score_floor:     the model itself returns nothing below it, whatever threshold the caller asks for.
    head_px:         the median size of the heads in training: the square root of a box's area, in pixels.
    known_failures:  what the detector does worst, one sentence each; written when the thresholds were chosen.
    interval_factor: how many times as wide as val's errors suggest a count's interval must be to contain 95
                     of 100 true counts in fields not used in training; 1 if that was not measured
                     (bench/unseen.py).
    arithmetic:      what the model computes in: float32, or int8 (mostly 8-bit integers).
    usual_tta:       the test-time augmentation used by default, a name from tta.VIEWS; None for a single
                     view.
    tta:             by name from tta.VIEWS, the augmentations for which thresholds were chosen.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    format: Literal[1]
    name: str
    score_threshold: float = Field(ge=0, le=1)
    count_threshold: float | None = Field(default=None, ge=0, le=1)
    score_floor: float = Field(default=0.0, ge=0, le=1)
    head_px: float = Field(default=75.0, gt=0)
    arithmetic: Literal["float32", "int8"] = "float32"
    usual_tta: Augmentation | None = None
    tta: dict[str, Judged] = {}
    recipe: dict[str, object] = {}
    data: dict[str, object] = {}
    figures: dict[str, object] = {}
    known_failures: list[str] = []
    interval_factor: float = Field(default=1.0, ge=1, allow_inf_nan=False)
    licence: str = ""
    citation: str = ""

    def threshold_to_count(self) -> float:
        """The score threshold for counting: count_threshold, or score_threshold if there is none."""
        return self.score_threshold if self.count_threshold is None else self.count_threshold

    def nms_thresh(self) -> float:
        """The IoU above which the detector takes two boxes for the same head; NMS_THRESH if not in the recipe."""
        detection = self.recipe.get("detection")
        thresh = detection.get("nms_thresh") if isinstance(detection, dict) else None
        return float(thresh) if isinstance(thresh, int | float) and 0 <= thresh <= 1 else NMS_THRESH

    def with_tta(self, tta: str) -> "Card":
        """The card with the thresholds and figures for these views; unchanged if it has none for them."""
        judged = self.tta.get(tta)
        if judged is None:
            return self
        return self.model_copy(
            update=dict(judged) | {"interval_factor": judged.interval_factor or self.interval_factor}
        )


class Detector:
    """Finds wheat heads in photos. Create one with load(); threads may share it, but each process must load its own.

    card: thresholds and figures for the views in use. tta: the test-time augmentation, a name from tta.VIEWS;
    None for a single view.
    sha256: the hexadecimal SHA-256 digest of model.onnx; several models may have the same name.
    """

    def __init__(
        self, session: "InferenceSession", card: Card, tta: str | None = None, sha256: str = ""
    ) -> None:
        self.card = card if tta is None else card.with_tta(tta)
        self.tta = tta
        self.sha256 = sha256
        self._session = session

    def detect(
        self,
        photo: str | Path | np.ndarray | Pixels,
        score_threshold: float | None = None,
        head_px: float | None = None,
    ) -> Detections:
        """Find the heads in one photo -> Detections, best first; of length 0 for a photo without heads.

        photo: the path of a file (see raster.open_pixels), an (H, W, 3) uint8 RGB array with H, W >= 1, or
               Pixels to be read window by window. If a side exceeds 1,280 pixels after resizing by head_px,
               the photo is processed in tiles, as memory use grows with the pixels of a run.
        score_threshold: 0..1, the lowest score returned; None uses the card's. A run of the model returns
               nothing below the card's score_floor.
        head_px: the size of the heads in this photo, in pixels (the square root of a box's area); the photo
               is resized so that they have the size that the model was trained on. None leaves the photo as
               it is.

        Boxes are xyxy pixels of the photo as given, after its EXIF orientation is applied. InputError for a
        file that cannot be read or a photo on which the model fails; TypeError for anything but a path,
        Pixels or a uint8 array; ValueError for an array of another shape, a threshold outside 0..1 or a head
        size outside 4..10,000.
        """
        threshold = self.card.score_threshold if score_threshold is None else score_threshold
        if not 0 <= threshold <= 1:
            raise ValueError(f"score_threshold must lie in 0..1, got {threshold}")
        scale = 1.0 if head_px is None else self.scale_for(head_px)
        run, same_head = partial(self.run, score_threshold=threshold), self.card.nms_thresh()
        if self.tta is not None:
            run_all = partial(self.run, score_threshold=0.0)
            run, same_head = partial(run_views, run_all, VIEWS[self.tta], threshold), FUSION_IOU
        with _opened(photo) as pixels:
            return detect_in_tiles(run, pixels, scale, same_head)

    def count(
        self,
        photo: str | Path | np.ndarray | Pixels,
        score_threshold: float | None = None,
        head_px: HeadPx = None,
    ) -> Detections:
        """Find the heads in one photo as `wheatear count` does -> Detections, best first; their number is the count.

        It differs from detect in two ways: it uses the card's threshold for counting, and if the longer side
        of the photo has 1,600 pixels or more, or 200 to 768, it first measures the size of the heads and
        resizes the photo if necessary.
        score_threshold: 0..1, replaces that threshold, like `wheatear count --threshold`.
        head_px: the size of the heads in this photo, in pixels; "auto" measures it whatever the photo's size.

        photo and errors: as in detect.
        """
        threshold = self.card.threshold_to_count() if score_threshold is None else score_threshold
        with _opened(photo) as pixels:
            return detect_sized(self, pixels, threshold, head_px).heads

    def scale_for(self, head_px: float) -> float:
        """The factor by which a photo with heads of this size in pixels is resized. ValueError outside 4..10,000."""
        if not SMALLEST_HEAD <= head_px <= LARGEST_HEAD:
            raise ValueError(f"head_px must lie in {SMALLEST_HEAD}..{LARGEST_HEAD}, got {head_px}")
        return self.card.head_px / head_px

    def measure_heads(self, photo: str | Path | np.ndarray | Pixels) -> HeadSize:
        """Measure the size of the heads in a photo; its `to_resize` is for detect's head_px (see wheatear.head_size).

        photo: as in detect; InputError, TypeError and ValueError likewise.
        """
        run = partial(self.run, score_threshold=self.card.score_floor)
        with _opened(photo) as pixels:
            return measure_heads(run, pixels, self.card.head_px)

    def run(self, image: np.ndarray, score_threshold: float) -> Detections:
        """Run the model once on (H, W, 3) uint8 RGB, whatever its size. InputError if the model fails."""
        try:
            boxes, scores = self._session.run(["boxes", "scores"], {"image": np.ascontiguousarray(image)})
            found = Detections(boxes, scores, *image.shape[:2])
        except Exception as error:  # onnxruntime's exceptions share no base class of their own
            message = f"the model failed on this photo ({first_line(error)}); try a smaller one"
            raise InputError(message) from error
        return found.above(score_threshold)


def load(model: str | Path = DEFAULT_MODEL, threads: int = 0, tta: str | None = None) -> Detector:
    """Load a shipped detector by name, or one of your own by the path of its model.onnx.

    The card must lie beside the model, under the same name but ending in .json.
    threads: CPU threads for one photo; 0 uses all cores.
    tta: test-time augmentation, one of tta.VIEWS: "mix" (2 runs of the model), "flips" (4), "turns" (8) or
         "scales" (6); "once" for none; None for the card's default, which is mix for the shipped medium and
         none for the other shipped detectors.

    InputError if the model or its card is missing, damaged or not one of Wheatear's; ValueError for
    threads < 0 or an unknown tta.
    """
    if threads < 0:
        raise ValueError(f"threads must be 0 (all cores) or more, got {threads}")
    if tta not in (None, ONCE, *VIEWS):
        raise ValueError(f"tta must be None or one of {', '.join((ONCE, *VIEWS))}, got {tta!r}")
    weights, path = find(model)
    card = read_card(path)
    content = weights.read_bytes()
    session = _session(weights, content, threads)
    seen = tta or card.usual_tta
    return Detector(session, card, None if seen == ONCE else seen, hashlib.sha256(content).hexdigest())


def is_file_name(model: str | Path) -> bool:
    """Whether this can only be the file name of your own model.onnx, not the name of a shipped detector."""
    return str(model).lower().endswith(".onnx")


def find(model: str | Path) -> tuple[Traversable, Traversable]:
    """The model.onnx and the card of a shipped detector or of your own. InputError if there is no such model."""
    is_name = isinstance(model, str) and Path(model).name == model and not is_file_name(model)
    return _shipped(str(model)) if is_name else _own(Path(model))


def _shipped(name: str) -> tuple[Traversable, Traversable]:
    folder = files("wheatear") / "weights"
    weights = folder / f"{name}.onnx"
    if not weights.is_file():
        if Path(name).is_dir():
            return _own(Path(name))
        entries = folder.iterdir() if folder.is_dir() else ()
        shipped = ", ".join(sorted(entry.name[:-5] for entry in entries if entry.name.endswith(".onnx")))
        raise InputError(
            f"{name}: no shipped detector has this name; give {shipped or 'the path of a model.onnx'}"
        )
    return weights, folder / f"{name}.json"


def _own(path: Path) -> tuple[Path, Path]:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such model"
        raise InputError(f"{path}: {what}; give the model.onnx that `wheatear export` writes")
    return path, path.with_suffix(".json")


def read_card(path: Traversable) -> Card:
    """The card in a file, such as `find` returns. InputError if it cannot be read or is not a valid card."""
    try:
        return Card.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: the model's card cannot be read; it belongs beside the model") from error
    except ValidationError as error:
        raise InputError(f"{path}, {first_problem(error)}; export the model again") from error


def _session(path: Traversable, content: bytes, threads: int) -> "InferenceSession":
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # failures are raised as exceptions; onnxruntime would print them as well
    try:
        session = onnxruntime.InferenceSession(
            content,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=[SLOW],
        )
    except Exception as error:  # onnxruntime's exceptions share no base class of their own
        message = f"{path}: not a model that can be loaded ({first_line(error)}); export it again"
        raise InputError(message) from error
    _refuse_foreign(path, session)
    return session


def _refuse_foreign(path: Traversable, session: "InferenceSession") -> None:
    inputs = [(entry.name, entry.type, len(entry.shape)) for entry in session.get_inputs()]
    outputs = {entry.name for entry in session.get_outputs()}
    if inputs != [("image", "tensor(uint8)", 3)] or not {"boxes", "scores"} <= outputs:
        raise InputError(f"{path}: not a Wheatear detector; give a model that `wheatear export` wrote")


def _opened(photo: str | Path | np.ndarray | Pixels) -> AbstractContextManager[Pixels]:
    if isinstance(photo, str | Path):
        return opened_pixels(photo)
    return nullcontext(photo if isinstance(photo, Pixels) else InMemory(_checked(photo)))


def _checked(image: object) -> np.ndarray:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise TypeError(f"photo must be a path or a uint8 array, got {kind}")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"photo must be (H, W, 3) with H, W >= 1, got {image.shape}")
    return np.ascontiguousarray(image)
