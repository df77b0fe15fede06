"""A detector whose three stages train in two seconds, and helpers that its tests share."""

from pathlib import Path

import torch

from wheatear.data.formats import read_dataset
from wheatear.data.sample import Sample
from wheatear.data.splits import split
from wheatear.files import write_json
from wheatear.train.checkpoint import METRICS, WEIGHTS, save_parts
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.opening import open_run
from wheatear.train.recipe import Recipe, load_recipe
from wheatear.train.run import train_run

TINY = Path(__file__).with_name("tiny.toml")


def tiny_recipe() -> Recipe:
    return load_recipe(TINY)


def tiny_toml(folder: Path, *changes: tuple[str, str]) -> Path:
    """A file like tiny.toml in which each (old, new) piece of text, which must occur once, is replaced."""
    text = TINY.read_text("utf-8")
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / "changed.toml"
    path.write_text(text, "utf-8")
    return path


def tiny_model(recipe: Recipe | None = None, seed: int = 0) -> FasterRCNN:
    """An untrained tiny detector with widely scattered scores and boxes, in evaluation mode."""
    torch.manual_seed(seed)
    model = FasterRCNN(recipe or tiny_recipe())
    with torch.no_grad():
        for layer in (model.rpn.head.objectness, model.rpn.head.deltas, model.roi_head.scores):
            layer.weight.mul_(30)
    return model.eval()


def divided(folder: Path) -> list[Sample]:
    """The photos of a data set, one of them in val."""
    return split(read_dataset(folder))


def train_tiny(out: Path, data: Path, *, resume: bool = False) -> None:
    """Train the tiny recipe into `out`, on one thread: bit-identical on every machine with these packages."""
    torch.set_num_threads(1)
    train_run(open_run(out, tiny_recipe(), divided(data), resume=resume))


def fake_run(out: Path, data: Path, recipe: Recipe | None = None) -> FasterRCNN:
    """A finished run without training: the weights of `tiny_model`, and made-up metrics. -> the model."""
    recipe = recipe or tiny_recipe()
    model = tiny_model(recipe)
    open_run(out, recipe, divided(data))
    parts = {"cnn": [model.backbone, model.snip_head], "rpn": [model.rpn], "rcnn": [model.roi_head]}
    for stage, modules in parts.items():
        (out / stage).mkdir()
        save_parts(model, modules, out / stage / WEIGHTS)
        write_json(out / stage / METRICS, {"epoch": 2, "val_accuracy": 0.5})
    return model
