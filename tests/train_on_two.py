"""Train the tiny recipe in two processes: train_on_two.py PHOTOS RUN. Lightning starts this script a second time.

Each process writes a digest of its weights beside RUN, as rank0 and rank1.
"""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_only

from tiny_recipe import tiny_recipe
from wheatear.data.formats import read_dataset
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.machine import Machine
from wheatear.train.opening import open_run
from wheatear.train.run import train_stage


def main(photos: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    # Its last group is of no use: no map depends on it.
    cnn = tiny_recipe().backbone.model_dump() | {"channels": [[4], [4], [8], [8], [16], [16], [16]]}
    recipe = tiny_recipe({"ema": 0.5, "batch_size": 1}, backbone=cnn)
    samples = [
        replace(s, photo=s.name, split="val" if i < 2 else "train")
        for i, s in enumerate(read_dataset(photos))
    ]
    machine = Machine(accelerator="cpu", devices=2, strategy="ddp")
    run = open_run(folder, recipe, samples, machine=machine)
    torch.manual_seed(rank_zero_only.rank)  # different initial weights, so that only DDP can make them agree
    model = FasterRCNN(recipe)
    train_stage(run, model, recipe.stages[0], "joint")
    # Not batch norm's running means: each process has those of its own last photos, and the first one's are kept.
    weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
    digest = hashlib.sha256(weights).hexdigest()
    (folder.parent / f"rank{rank_zero_only.rank}").write_text(digest)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
