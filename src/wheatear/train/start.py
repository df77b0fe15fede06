"""What a run starts from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wheatear.data.formats import IMAGES_CSV
from wheatear.data.sample import Sample
from wheatear.detector import find, is_file_name, read_card
from wheatear.errors import InputError
from wheatear.images import open_photo
from wheatear.train.checkpoint import (
    FACTS,
    RECIPE,
    is_detector,
    load_parts,
    put_in,
    read_json,
    refuse_untrained,
)
from wheatear.train.dataset import to_tensor
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.from_onnx import exported_network
from wheatear.train.norms import measure_norms
from wheatear.train.published import load_backbone
from wheatear.train.recipe import PretrainedBackboneRecipe, Recipe, validated
from wheatear.train.run_card import terms

MEASURED = 16  # photos
# Tables and keys of a recipe that describe its detector and not its training.
NETWORK = {"image_size", "backbone", "pyramid", "rpn", "roi", "detection"}
# Keys of a recipe that give its weights their meaning, and that the weights alone do not reveal.
MEANING: dict[str, Any] = {
    "backbone": {"name", "channels", "mean", "std", "stride_in_1x1", "last_blocks"},
    "pyramid": True,
    "rpn": {"strides", "scales", "ratios"},
    "roi": {"strides", "cells", "pool", "size", "quality", "box_weights"},
}
THRESHOLDS = {"score_threshold": True, "count_threshold": True}  # of a card


def start_file(weights: Path) -> Path:
    """The file that `--weights` refers to: itself, or the model.onnx of the shipped detector of that name.

    Raises InputError for a bare name that is neither, and for a folder.
    """
    if weights.is_dir():
        raise InputError(f"{weights}: is a folder; give the file, of a run STAGE/weights.safetensors")
    if weights.exists() or weights.suffix or weights.name != str(weights):
        return weights
    return Path(str(find(str(weights))[0]))


def is_trained(weights: Path) -> bool:
    """Whether a file is supposed to hold a whole detector and not just a backbone."""
    return is_file_name(weights) or is_detector(weights)


def of_card(weights: Path | None) -> dict[str, dict[str, Any]]:
    """What a run keeps of the detector that it starts from: of an exported one's card, or of a run; else empty.

    thresholds: an exported one's, used until a detector trained from it has its own. start_card: the licence
    and citation. Raises InputError if there is no such detector, or no card, or a run's files cannot be read.
    """
    if weights is None:
        return {"thresholds": {}, "start_card": {}}
    if not is_file_name(weights):
        run = weights.absolute().parent.parent
        is_run = all((run / name).exists() for name in (FACTS, IMAGES_CSV))
        return {"thresholds": {}, "start_card": terms(run) if is_run else {}}
    card = read_card(find(weights)[1])
    return {
        "thresholds": card.model_dump(include=THRESHOLDS | {"tta": {"__all__": THRESHOLDS}}),
        "start_card": card.model_dump(include={"licence", "citation"}),
    }


def as_started(recipe: Recipe, weights: Path | None) -> Recipe:
    """The recipe, with its ResNet's strides (stride_in_1x1) where the starting detector has them.

    The weights do not reveal them; a weights file outside its run folder is assumed to match the recipe.
    Raises InputError as in `of_card`.
    """
    if weights is None or not isinstance(recipe.backbone, PretrainedBackboneRecipe):
        return recipe
    backbone = _recipe_of(weights).get("backbone")
    if not isinstance(backbone, dict) or backbone.get("name") != recipe.backbone.name:
        return recipe  # a mismatch is reported when the weights are loaded
    strides = {"stride_in_1x1": bool(backbone.get("stride_in_1x1"))}
    return recipe.model_copy(update={"backbone": recipe.backbone.model_copy(update=strides)})


def with_network_of(recipe: Recipe, weights: Path) -> Recipe:
    """A recipe that continues from a trained detector, with that one's network, photo size and detection.

    Unchanged if its own network is the same or the detector's is unknown. Raises InputError as in
    `of_card`, and if its stages do not suit that network.
    """
    if not recipe.goes_on() or not (before := _recipe_of(weights)):
        return recipe
    other = validated(before, weights)
    if _network(other) == _network(recipe):
        return recipe
    return validated(recipe.model_dump() | other.model_dump(include=NETWORK), recipe.name)


def changed_meaning(recipe: Recipe, weights: Path | None) -> list[str]:
    """The keys by which a recipe gives the weights of a trained detector another meaning, such as "rpn.scales".

    [] without one, or if its own recipe is unknown. Raises InputError as in `of_card`.
    """
    before = _recipe_of(weights) if weights else {}
    try:
        was, now = meaning(validated(before, "")), meaning(recipe)
    except InputError:
        return []
    keys = [(table, key) for table in MEANING for key in now[table] or was[table] or ()]
    return [f"{table}.{key}" for table, key in keys if _key(was[table], key) != _key(now[table], key)]


def _key(table: Mapping[str, Any] | None, key: str) -> Any:
    return (table or {}).get(key)


def _network(recipe: Recipe) -> dict[str, Any]:
    """What recipes of the same network have in common, except stride_in_1x1, which `as_started` handles."""
    found = meaning(recipe) | {"channels": (recipe.rpn.channels, recipe.roi.channels)}
    found["backbone"].pop("stride_in_1x1", None)
    return found


def meaning(recipe: Recipe) -> dict[str, Any]:
    """What gives a detector's weights their meaning: its backbone, anchors, regions and scale of deltas."""
    return recipe.model_dump(include=MEANING)


def _recipe_of(weights: Path) -> dict[str, Any]:
    """The recipe of a trained detector, from its card or its run folder; {} if there is none."""
    if not is_trained(weights):
        return {}
    if is_file_name(weights):
        return read_card(find(weights)[1]).recipe
    kept = weights.absolute().parent.parent / RECIPE
    return read_json(kept) if kept.exists() else {}


def load_start(model: FasterRCNN, weights: str, photos: Sequence[Sample] = ()) -> None:
    """Load what a run starts from: a backbone's weights (`published`), or all those of a trained detector.

    photos: those to train on; an exported detector's batch norms are measured on some (`measure_norms`).
    Raises InputError for weights that cannot be read or do not fit.
    """
    if is_file_name(weights):
        tensors = exported_network(weights)[0].state_dict()
        put_in(model, tensors, weights)
        refuse_untrained(model, tensors, Path(weights))
        some = photos[:: max(1, len(photos) // MEASURED)][:MEASURED]
        measure_norms(model, (to_tensor(open_photo(sample.path)) for sample in some))
    elif is_detector(Path(weights)):
        refuse_untrained(model, load_parts(model, Path(weights)), Path(weights))
    else:
        load_backbone(model.backbone, model.recipe.backbone, weights)
