"""What each of the notes' four ideas for better results is worth: a table of short trainings of their three stages.

    python bench/seed_ideas.py DIR [--ideas bench/seed_ideas.toml] [--share 0.25] [--only NAME …]
                               [--precision bf16-mixed] [--jobs 2] [--out runs/seed_ideas]

The ideas are to train longer, to use harder backgrounds (for the snips or for the regions), to stretch and squeeze the
spikes, and to pool the regions better than crop_and_resize does. Each is a separate `wheatear train` run in OUT/NAME
that differs from the base in some keys of the recipe. An idea that concerns only the R-CNN starts from the base's
first two stages. All train on the same share of the train photos (whole field photos, from every session). Snips and
sampled regions are evaluated as their stages do it themselves. Detections are evaluated on all val photos: the Kaggle
metric and the count, each at its best threshold.

Finished runs are kept: the same command continues where it was stopped. OUT/ideas.md is rewritten after each run.
"""

import argparse
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from levers import BASE, Lever, describe, found_by, refuse_failed, shortened, thinned, train
from script import refuse_unknown, run_script
from wheatear.average_precision import average_precision
from wheatear.data.formats import IMAGES_CSV, read_dataset
from wheatear.data.sample import Sample
from wheatear.data.splits import split, write_images_csv
from wheatear.evaluation import sweep
from wheatear.files import whole, write_json
from wheatear.train.checkpoint import METRICS, RECIPE, read_json
from wheatear.train.recipe import validated
from wheatear.train.recipe_changes import changed
from wheatear.train.run_card import load_run

CNN, RPN, RCNN = "cnn", "rpn", "rcnn"
OF_THE_RCNN = ("roi.", "stages.2.")
JUDGED = "judged.json"


class Row(NamedTuple):
    """A row of the table."""

    idea: str
    snip_accuracy: float
    snip_cross_entropy: float
    recall: float
    region_cross_entropy: float
    kaggle: float
    ap50: float
    count_mae: float
    changes: str


def is_of_the_rcnn(idea: Lever) -> bool:
    """Whether an idea changes only the R-CNN."""
    return bool(idea.changes) and all(key.startswith(OF_THE_RCNN) for key in idea.changes)


def begin_at_base(idea: Lever, recipe: Mapping[str, Any], out: Path) -> None:
    """Create the folder of an idea for the R-CNN: a copy of the base's without its R-CNN, with the idea's recipe."""
    folder = out / idea.name
    if (folder / RECIPE).exists():
        return
    # The recipe is written last, because it marks a whole copy.
    unlike = shutil.ignore_patterns(RCNN, JUDGED, RECIPE, "snips")
    shutil.copytree(out / BASE, folder, dirs_exist_ok=True, ignore=unlike)
    content = validated(changed(recipe, idea.changes | {"name": idea.name}), idea.name)
    write_json(folder / RECIPE, content.model_dump(mode="json"))


def judged(folder: Path, val: Sequence[Sample]) -> dict[str, float]:
    """Return the figures of a finished run's detections on val; they are stored in the run."""
    kept = folder / JUDGED
    if not kept.exists():
        model = load_run(folder)
        found = {sample.path.name: found_by(model, sample.path) for sample in val}
        figures = sweep(val, found)
        ap50, _ = average_precision([sample.boxes for sample in val], [found[s.path.name] for s in val])
        best = {"kaggle": float(figures.kaggle.max()), "count_mae": float(figures.count_mae.min())}
        write_json(kept, best | {"ap50": ap50 or 0.0})
    return {name: float(value) for name, value in read_json(kept).items()}


def row_of(idea: Lever, folder: Path, val: Sequence[Sample]) -> Row:
    """Return the figures of a finished run."""
    cnn, rpn, rcnn = (read_json(folder / stage / METRICS) for stage in (CNN, RPN, RCNN))
    figures = judged(folder, val)
    return Row(
        idea.name,
        cnn["val_accuracy"],
        cnn["val_cross_entropy"],
        rpn["val_recall"],
        rcnn["val_loss_classifier"],
        figures["kaggle"],
        figures["ap50"],
        figures["count_mae"],
        describe(idea),
    )


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write the table, completely or not at all."""
    lines = [
        "| idea | snips | cross-entropy | heads proposed | regions' cross-entropy | Kaggle | AP50 | count MAE "
        "| changes |",
        "|---" * 9 + "|",
    ]
    lines += [
        f"| {r.idea} | {100 * r.snip_accuracy:.2f} % | {r.snip_cross_entropy:.3f} | {100 * r.recall:.1f} % "
        f"| {r.region_cross_entropy:.3f} | {r.kaggle:.3f} | {r.ap50:.3f} | {r.count_mae:.2f} | `{r.changes}` |"
        for r in rows
    ]
    with whole(path) as part:
        part.write_text("\n".join(lines) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ideas", type=Path, default=Path(__file__).with_suffix(".toml"))
    parser.add_argument("--share", type=float, default=0.25)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/seed_ideas"))
    parser.set_defaults(backbones=None)  # of which `levers.train` asks; the notes' network begins at random
    given = parser.parse_args()
    content = tomllib.loads(given.ideas.read_text("utf-8"))
    recipe = shortened(content)
    ideas = [Lever(BASE, {}, [])] + [Lever(name, keys, []) for name, keys in content["ideas"].items()]
    refuse_unknown("--only", given.only, [idea.name for idea in ideas])
    ideas = [idea for idea in ideas if not given.only or idea.name in (BASE, *given.only)]
    given.out.mkdir(parents=True, exist_ok=True)
    samples = thinned(split(read_dataset(given.folder)), given.share)
    write_images_csv(samples, given.out / IMAGES_CSV)
    val = [sample for sample in samples if sample.split == "val"]

    def trained(idea: Lever) -> bool:
        if is_of_the_rcnn(idea):
            if not based.result():
                return False
            begin_at_base(idea, recipe, given.out)
        return train(idea, recipe, given, RCNN)

    with ThreadPoolExecutor(given.jobs) as pool:
        based = pool.submit(train, ideas[0], recipe, given, RCNN)
        # The base is submitted first, so that the ideas that wait for it cannot occupy all the workers.
        runs = [based, *(pool.submit(trained, idea) for idea in ideas[1:])]
        rows: list[Row] = []
        failed: list[str] = []
        for idea, run in zip(ideas, runs, strict=True):
            if run.result():
                rows.append(row_of(idea, given.out / idea.name, val))
                write_rows(rows, given.out / "ideas.md")
            else:
                failed.append(idea.name)
    if rows:
        print((given.out / "ideas.md").read_text("utf-8"))
    refuse_failed(failed, given.out)


if __name__ == "__main__":
    run_script(main)
