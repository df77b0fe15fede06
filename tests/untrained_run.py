"""A run folder as training leaves it, but of a small, untrained network."""

import json
from pathlib import Path

import torch
from torch import nn

from wheatear.files import write_json
from wheatear.train.checkpoint import METRICS, WEIGHTS, save_parts
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.recipe import Recipe, load_recipe

CHANGES = {
    "name": "tiny",
    "backbone": {"channels": [[4], [4, 4], [4, 4], [8, 8], [8, 8], [8]]},
    "rpn": {"channels": 8, "batch_size_per_image": 32, "pre_nms_top_n": 200, "post_nms_top_n": 50},
    "roi": {"channels": 8},
}
HISTORIES = {
    "cnn": "epoch,seconds,lr,val_accuracy,train_accuracy\n1,10,0.1,0.6,0.7\n2,20,0.1,0.75,0.8\n",
    "rpn": "epoch,seconds,lr,val_recall\n1,10,0.1,0.25\n",
    "rcnn": "epoch,seconds,lr,val_loss_box_reg,train_loss_box_reg\n1,10,0.1,2.5,3.5\n",
    "joint": "epoch,seconds,lr,train_loss_quality,val_kaggle\n1,10,0.1,0.5,\n2,20,0.1,0.25,0.125\n",
}


def tiny_recipe(snip_size: int = 64) -> Recipe:
    """The seed recipe with few filters, for small photos."""
    settings = load_recipe("seed").model_dump(mode="json")
    for key, value in CHANGES.items():
        settings[key] = settings[key] | value if isinstance(value, dict) else value
    settings["stages"][0]["snip_size"] = snip_size
    return Recipe.model_validate(settings)


def write_untrained_run(folder: Path, recipe: Recipe) -> Path:
    """Write every file of a finished run that `wheatear explain` reads, and return the folder."""
    torch.manual_seed(0)
    model = FasterRCNN(recipe)
    for layer in (model.rpn.head.objectness, model.rpn.head.deltas, model.roi_head.scores):
        nn.init.normal_(layer.weight, std=0.5)
    everything = [model.backbone, model.snip_head, model.pyramid, model.rpn, model.roi_head]
    parts = {"cnn": everything[:2], "rpn": [model.rpn], "rcnn": [model.roi_head], "joint": everything}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "recipe.json", recipe.model_dump(mode="json"))
    for stage in (each.stage for each in recipe.stages):
        trained = parts[stage]
        (folder / stage).mkdir()
        save_parts(model, [part for part in trained if part is not None], folder / stage / WEIGHTS)
        (folder / stage / "metrics.csv").write_text(HISTORIES[stage])
        (folder / stage / METRICS).write_text(json.dumps({}))
    return folder
