"""How good a split by snip makes the snip classifier look, compared with the split by field photo.

    python bench/snip_split.py DIR [--max-per-class 3000] [--epochs 10] [--precision bf16-mixed]
                               [--runs runs/snip_split]

Trains the cnn stage of the seed recipe twice. The two runs differ only in how the validation snips are drawn. Prints
the validation accuracy and cross-entropy of both.
"""

import argparse
from pathlib import Path

from script import run_script
from wheatear.data.formats import read_dataset
from wheatear.data.splits import split
from wheatear.errors import InputError
from wheatear.train.checkpoint import METRICS, read_json
from wheatear.train.machine import Machine
from wheatear.train.opening import open_run
from wheatear.train.recipe import CNNStage, Recipe, load_recipe
from wheatear.train.run import train_run

FEWEST = 5  # epochs


def shortened(val_by: str, max_per_class: int, epochs: int) -> Recipe:
    """Return the seed recipe with the cnn stage alone. Raises InputError for fewer epochs than the rate needs."""
    if epochs < FEWEST:
        raise InputError(f"--epochs {epochs}: the learning rate falls twice; give {FEWEST} or more")
    recipe = load_recipe("seed")
    (stage,) = [s for s in recipe.stages if isinstance(s, CNNStage)]
    # The rate falls late, as in the recipe: at the initial rate the validation figures jump from epoch to epoch.
    lr = [(0, 1e-3), (epochs // 2, 3e-4), (epochs - 2, 1e-4)]
    changes = {"val_by": val_by, "max_per_class": max_per_class, "epochs": epochs, "lr": lr}
    return recipe.model_copy(update={"stages": [stage.model_copy(update=changes)]})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--max-per-class", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--runs", type=Path, default=Path("runs/snip_split"))
    given = parser.parse_args()
    samples = split(read_dataset(given.folder))
    machine = Machine(precision=given.precision)
    for val_by in ("photo", "snip"):
        recipe = shortened(val_by, given.max_per_class, given.epochs)
        folder = given.runs / val_by
        train_run(open_run(folder, recipe, samples, machine=machine, resume=True))
        figures = read_json(folder / "cnn" / METRICS)
        accuracy, loss = figures["val_accuracy"], figures["val_cross_entropy"]
        print(f"validation by {val_by}: accuracy {100 * accuracy:.2f} %, cross-entropy {loss:.4f}")


if __name__ == "__main__":
    run_script(main)
