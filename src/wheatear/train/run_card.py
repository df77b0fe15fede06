"""What is exported: the network of a finished run, or of a detector that was exported before, and its card."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from wheatear.csv_files import read_table
from wheatear.data.formats import IMAGES_CSV
from wheatear.detector import Card, find, is_file_name
from wheatear.errors import InputError
from wheatear.train.checkpoint import (
    FACTS,
    METRICS,
    RECIPE,
    WEIGHTS,
    finished,
    load_parts,
    read_json,
    refuse_untrained,
)
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.from_onnx import exported_network
from wheatear.train.recipe import Recipe, validated

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
TAKEN = ("name", "image_size", "detection")  # keys of a recipe that may differ from the training's


def load_run(run: Path, settings: Recipe | None = None) -> FasterRCNN:
    """The model of a finished run, in evaluation mode.

    settings: a recipe whose name, image_size and detection replace the run's.
    Raises InputError if a stage is not finished, or if the recipe ends before rcnn.
    """
    recipe = validated(read_json(run / RECIPE), run / RECIPE)
    if not recipe.is_whole():
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


def describe_run(run: Path, recipe: Recipe) -> Card:
    """The card of a run, with its stages' figures.

    Its thresholds are those of the detector it started from (`of_card`), or 0.5. Raises InputError if
    run.json has no head_px.
    """
    figures = {stage.stage: read_json(run / stage.stage / METRICS) for stage in recipe.stages}
    facts = read_json(run / FACTS)
    if "head_px" not in facts:
        raise InputError(f"{run / FACTS}: has no head_px; add the median head of its train photos, in pixels")
    its = terms(run)
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
        licence=its["licence"],
        citation=its["citation"],
    )


def terms(run: Path) -> dict[str, str]:
    """The licence and the citation that go with a run's weights; both "" where none is known.

    They are those of its photos, or else of the detector that it started from. Raises InputError if run.json or
    images.csv cannot be read.
    """
    trained_on = [*_trained_on(read_json(run / FACTS))]
    added = {name for some in trained_on for each in some.get("more", []) for name in each["sources"]}
    if is_gwhd(run / IMAGES_CSV, added):
        return {"licence": DATA_LICENCE, "citation": CITATION}
    # The terms of a detector's data apply to its descendants, too.
    starts = [start for some in trained_on if any((start := some.get("start_card", {})).values())]
    return {"licence": "", "citation": ""} | (starts[0] if starts else {})


def _trained_on(facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The facts of a run and, if it is a mean, of its members, which may be means, too."""
    yield facts
    for member in facts.get("mean_of", []):
        yield from _trained_on(member)


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
