"""Export a run folder, or a detector that was exported before, to model.onnx and its card, model.json."""

import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from wheatear.data.formats import IMAGES_CSV
from wheatear.data.sample import Sample
from wheatear.data.tables import read_table
from wheatear.detections import Detections
from wheatear.detector import Card, find, is_file_name, load
from wheatear.errors import InputError
from wheatear.evaluation import sweep
from wheatear.files import whole
from wheatear.images import open_photo
from wheatear.train.checkpoint import (
    METRICS,
    RECIPE,
    WEIGHTS,
    finished,
    load_parts,
    read_json,
    refuse_untrained,
    write_json,
)
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.from_onnx import exported_network
from wheatear.train.quantize import quantize
from wheatear.train.recipe import Recipe, validated
from wheatear.train.rescale import REFERENCE
from wheatear.train.storage import round_weights, shrink
from wheatear.tta import ONCE

# Prefixes of the data set's sources and sessions: usask_1 in Kaggle's release, Usask_1 in that of 2021.
GWHD_INSTITUTES = [
    "arvalis",
    "cimmyt",
    "ethz",
    "inrae",
    "ksu",
    "nau",
    "nmbu",
    "rres",
    "terraref",
    "ukyoto",
    "uliège-gxabt",
    "uq",
    "usask",
    "utokyo",
]
DATA_LICENCE = (
    "The photos and boxes are those of the Global Wheat Head Dataset, CC BY 4.0; the weights are MIT."
)
CITATION = (
    "E. David et al., Global Wheat Head Detection (GWHD) dataset, Plant Phenomics 2020, 3521852; "
    "Global Wheat Head Detection 2021, Plant Phenomics 2021, 9846158."
)
BOX_TOLERANCE, SCORE_TOLERANCE = 0.5, 1e-3  # px and score within which torch and onnxruntime agree
# Share of the detections that may differ by more: where the IoU of two proposals is almost exactly the NMS
# threshold, rounding decides in each engine whether both are kept.
RARE = 1e-3
LOST = 0.003  # how much Kaggle metric an 8-bit detector may lose
TAKEN = ("name", "image_size", "detection")  # keys of a recipe that may differ from the training's


class OneImage(nn.Module):
    """The detector as it is exported: one photo in, its boxes and scores out."""

    def __init__(self, model: FasterRCNN) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(H, W, 3) uint8 RGB -> boxes (N, 4) xyxy pixels, scores (N,), descending."""
        ((boxes, scores),) = self.model(image.permute(2, 0, 1)[None])
        return boxes, scores


def load_run(run: Path, settings: Recipe | None = None) -> FasterRCNN:
    """The model of a finished run, in evaluation mode.

    settings: a recipe whose name, image_size and detection replace the run's.
    Raises InputError if a stage is not finished, or if the recipe ends before rcnn.
    """
    recipe = validated(read_json(run / RECIPE), run / RECIPE)
    if recipe.stages[-1].stage in ("cnn", "rpn"):
        raise InputError(
            f"{run}: its recipe ends with stage {recipe.stages[-1].stage}; a detector needs rcnn, too"
        )
    taken = {} if settings is None else settings.model_dump(mode="json", include=set(TAKEN))
    model, read = FasterRCNN(validated(recipe.model_dump(mode="json") | taken, run / RECIPE)), set[str]()
    for stage in recipe.stages:
        if not finished(run, stage.stage):
            raise InputError(
                f"{run}: stage {stage.stage} is not finished; go on with `wheatear train … --resume`"
            )
        read |= load_parts(model, run / stage.stage / WEIGHTS)
    refuse_untrained(model, read, run)
    return model.eval()


def trained(source: Path, settings: Recipe | None = None) -> tuple[FasterRCNN, Card]:
    """The network to export and its card, from a finished run, a shipped detector or a model.onnx.

    settings: as in `load_run`. Raises InputError if there is no such run or detector.
    """
    if not is_exported(source):
        model = load_run(source, settings)
        return model, describe_run(source, model.recipe)
    taken = settings.model_dump(mode="json", include=set(TAKEN)) if settings else {}
    model, card = exported_network(str(source), taken)
    usual = card.usual_tta if settings is None else settings.detection.tta
    return model, card.model_copy(
        update={
            "name": model.recipe.name,
            "recipe": model.recipe.model_dump(mode="json"),
            "score_floor": model.recipe.detection.score_floor,
            "arithmetic": "float32",
            "usual_tta": usual,
            # The figures were measured on the other file.
            "tta": {
                views: judged.model_copy(update={"figures": {}, "known_failures": []})
                for views, judged in card.tta.items()
            },
            "figures": {"stages": card.figures.get("stages", {})},
            "known_failures": [],
        }
    )


def is_exported(source: Path) -> bool:
    """Whether `source` is the name of a shipped detector or a model.onnx rather than a run folder."""
    if source.is_dir():
        return False
    try:
        find(str(source))
    except InputError:
        return is_file_name(source)
    return True


def export_detector(
    source: Path, path: Path, seen: Sequence[Sample] = (), settings: Recipe | None = None
) -> None:
    """Write the model.onnx of a finished run, or of an exported detector, to `path`, and its card beside it.

    seen: training photos to quantize it with to 8 bits (`quantize`), if any. settings: as in `load_run`.
    """
    model, card = trained(source, settings)
    if not seen:
        round_weights(model)
    with whole(path) as part:
        export_onnx(model, part, seen)
    if seen:
        card = card.model_copy(update={"arithmetic": "int8"})
    write_json(path.with_suffix(".json"), card.model_dump(mode="json"))


def export_onnx(model: FasterRCNN, path: Path, seen: Sequence[Sample] = ()) -> None:
    """Write the model as ONNX; see `graph_of` and `write_graph`."""
    write_graph(graph_of(model), path, seen)


def write_graph(plain: onnx.ModelProto, path: Path, seen: Sequence[Sample] = ()) -> None:
    """Write a graph, which may be modified in the process.

    seen: photos to quantize it with; without them, weights are stored as float16 and used as float32.
    """
    if seen:
        quantize(plain, seen, path)
    else:
        onnx.save(shrink(plain), path)


def graph_of(model: FasterRCNN) -> onnx.ModelProto:
    """The float32 model as a graph: "image" (H, W, 3) uint8, any H and W -> "boxes" (N, 4), "scores" (N,)."""
    # A map of one cell would be traced as a special case; the graph accepts such maps all the same.
    two_cells = max(model.backbone.out_channels) * REFERENCE // model.recipe.image_size + 1
    example = torch.zeros(max(256, two_cells), max(320, two_cells + 64), 3, dtype=torch.uint8)
    sides = {i: torch.export.Dim(name, min=two_cells) for i, name in enumerate(("height", "width"))}
    # Without gradients, as `roi_align` takes another path for maps that need them.
    with torch.no_grad(), warnings.catch_warnings():  # torchvision's nms uses a deprecated name in torch
        warnings.filterwarnings("ignore", ".*create_unbacked_symint", FutureWarning)
        program = torch.export.export(
            OneImage(model).eval(),
            (example,),
            dynamic_shapes=(sides,),
            prefer_deferred_runtime_asserts_over_guards=True,
        )
        exported = torch.onnx.export(
            program, input_names=["image"], output_names=["boxes", "scores"], verbose=False
        )
    assert exported is not None
    return without_notes(exported.model_proto)


def without_notes(model: onnx.ModelProto) -> onnx.ModelProto:
    """A graph without the exporter's metadata, which holds this machine's paths and outweighs a small graph."""
    del model.graph.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    return model


def describe_run(run: Path, recipe: Recipe) -> Card:
    """The card of a run, with its stages' figures.

    Its thresholds are those of the detector it started from (`of_card`), or 0.5. Raises InputError if
    run.json has no head_px.
    """
    figures = {stage.stage: read_json(run / stage.stage / METRICS) for stage in recipe.stages}
    facts = read_json(run / "run.json")
    if "head_px" not in facts:
        raise InputError(
            f"{run / 'run.json'}: has no head_px; add the median head of its train photos, in pixels"
        )
    added = {name for each in facts.get("more", []) for name in each["sources"]}
    start = facts.get("start_card", {})  # the terms of a detector's data apply to its descendants, too
    licence, citation = start.get("licence", ""), start.get("citation", "")
    if is_gwhd(run / IMAGES_CSV, added):
        licence, citation = DATA_LICENCE, CITATION
    return Card(
        format=1,
        name=recipe.name,
        **{"score_threshold": 0.5} | facts.get("thresholds", {}),
        score_floor=recipe.detection.score_floor,
        head_px=facts["head_px"],
        usual_tta=recipe.detection.tta,
        recipe=recipe.model_dump(mode="json"),
        data=facts,
        figures={"stages": figures},
        licence=licence,
        citation=citation,
    )


def is_gwhd(images: Path, added: Collection[str] = ()) -> bool:
    """Whether a run has Global Wheat Head Dataset photos: with a source or session like INSTITUTE_NUMBER.

    added: sources and sessions of photos added for training alone, which images.csv does not list.
    """
    _, table = read_table(images)
    names = set(added) | {
        row[column] for _, row in table for column in ("source", "session") if row.get(column)
    }
    parts = [name.lower().rpartition("_") for name in names]
    return any(institute in GWHD_INSTITUTES and number.isdecimal() for institute, _, number in parts)


@dataclass(frozen=True)
class Agreement:
    """The largest differences between torch and onnxruntime over some photos, in pixels and in score.

    apart: the number of detections that differ by more than the tolerances.
    """

    photos: int
    detections: int
    box: float
    score: float
    apart: int

    def holds(self) -> bool:
        """Whether the two agree, except for rare decisions that rounding reversed."""
        return self.apart <= RARE * self.detections


@torch.inference_mode()
def found_by_torch(model: FasterRCNN, image: np.ndarray) -> Detections:
    """All detections of a network in a photo, (H, W, 3) uint8 RGB, down to its score floor."""
    boxes, scores = OneImage(model)(torch.from_numpy(image.copy()))
    return Detections(boxes.numpy(), scores.numpy(), *image.shape[:2])


def found_by_both(
    model: FasterRCNN, onnx_path: Path, samples: Sequence[Sample]
) -> Iterator[tuple[Detections, Detections]]:
    """The detections of torch and of onnxruntime in each photo, in a single view."""
    detector = load(onnx_path, tta=ONCE)
    for sample in samples:
        image = open_photo(sample.path)
        yield found_by_torch(model, image), detector.detect(image, score_threshold=0.0)


def compare(
    source: Path, onnx_path: Path, samples: Sequence[Sample], settings: Recipe | None = None
) -> Agreement:
    """Run torch and onnxruntime on every photo and compare their detections."""
    model, _ = trained(source, settings)
    round_weights(model)
    floor = model.recipe.detection.score_floor
    gaps, detections, apart = [np.zeros((1, 2))], 0, 0
    for theirs, ours in found_by_both(model, onnx_path, samples):
        both = [gap(theirs, ours, floor), gap(ours, theirs, floor)]
        gaps += both
        detections += len(ours)
        apart += max(int((each > (BOX_TOLERANCE, SCORE_TOLERANCE)).any(1).sum()) for each in both)
    box, score = np.concatenate(gaps).max(0)
    return Agreement(len(samples), detections, float(box), float(score), apart)


@dataclass(frozen=True)
class Cost:
    """The cost of 8 bits: the Kaggle metric of torch in float32 and of the file, each at its best threshold."""

    photos: int
    torch: float
    int8: float

    def holds(self) -> bool:
        """Whether the cost is small enough."""
        return self.int8 >= self.torch - LOST


def cost(source: Path, onnx_path: Path, samples: Sequence[Sample], settings: Recipe | None = None) -> Cost:
    """Evaluate a network and its 8-bit export on labelled photos."""
    names = [sample.path.name for sample in samples]
    found = zip(*found_by_both(trained(source, settings)[0], onnx_path, samples), strict=True)
    best = [sweep(samples, dict(zip(names, each, strict=True))).kaggle.max() for each in found]
    return Cost(len(samples), *map(float, best))


def gap(one: Detections, other: Detections, score_floor: float) -> np.ndarray:
    """(N, 2): the distance of each detection of `one` from the nearest in `other`, in pixels and in score.

    Paired by distance, as rounding may swap two detections of equal score; those within SCORE_TOLERANCE of
    the floor are left out, as rounding may drop them. Infinite if `other` is empty.
    """
    one = one.above(score_floor + SCORE_TOLERANCE)
    if not len(one) or not len(other):
        return np.full((len(one), 2), np.inf)
    box = np.abs(one.boxes[:, None] - other.boxes).max(2)
    score = np.abs(one.scores[:, None] - other.scores)
    nearest = np.maximum(box / BOX_TOLERANCE, score / SCORE_TOLERANCE).argmin(1)
    rows = np.arange(len(one))
    return np.stack([box[rows, nearest], score[rows, nearest]], 1)
