"""What a detector gains on a field that it was not trained on from pseudo-labels, its own output used as labels.

    python bench/pseudo.py DIR --models runs/unseen [--groups bench/unseen.toml] [--only NAME …] [--recipe adapt]
                           [--ways alone more none] [--photos 1100] [--labels CSV] [--precision bf16-mixed]
                           [--int8] [--out runs/pseudo]

MODELS is the folder of `bench/unseen.py`: for each group of sessions, it has a detector that was trained without them.
What this finds in two views (`--tta mix`), at its threshold for counts, is used as labels for the group's photos, as
`wheatear data pseudo --min-score` does. It is then fine-tuned with `wheatear train --recipe RECIPE --weights MODEL` in
OUT/GROUP-WAY, for as many epochs as make about PHOTOS training photos in total, on:

    alone   the group's photos only
    more    these and the train photos that it knows (`--more`)
    none    the train photos that it knows: the effect of further training without the group's photos

The figures are transductive: the evaluation uses the same photos of the group, but with true labels that no training
was given. Thresholds are chosen on known photos, as in unseen.py. Finished runs are kept. With --int8 all detectors
compute in 8 bits, those in MODELS too.
"""

import argparse
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from levers import TRAIN, run_command, write_recipe
from script import refuse_unknown, run_script
from unseen import HEADER, Judged, divided, exported, file_name, judge, rows, without
from wheatear import load
from wheatear.data.formats import IMAGES_CSV, read_dataset
from wheatear.data.kaggle import KAGGLE_CSV, PHOTOS, write_labels
from wheatear.data.sample import Sample
from wheatear.data.splits import write_images_csv
from wheatear.train.recipe import load_recipe, validated
from wheatear.train.recipe_changes import changed

VIEWS = "mix"
WAYS = ("alone", "more", "none")


def labelled(before: Judged) -> list[Sample]:
    """Return the group's photos with what was found in them, at the threshold for counts, as labels."""
    photos = []
    for sample in before.unseen[0]:
        found = before.found[sample.path.name].above(before.at.count)
        photos.append(replace(sample, boxes=found.boxes))
    return photos


def learned(way: str, samples: Sequence[Sample], own: Sequence[Sample]) -> list[Sample]:
    """Return all samples, the group's with pseudo-labels; those that this way trains on are in train."""
    made = {sample.name: sample for sample in own}
    sides = {"alone": ("train", "test"), "more": ("train", "train"), "none": ("test", "train")}
    groups, known = sides[way]
    photos = []
    for sample in samples:
        if sample.name in made:
            photos.append(replace(made[sample.name], split=groups))
        else:
            photos.append(replace(sample, split=known) if sample.split == "train" else sample)
    return photos


def data_set(photos: Sequence[Sample], folder: Path) -> None:
    """Write a separate data set that links to these photos alone; one that is not in its csv has no heads."""
    links = folder / PHOTOS
    if links.is_symlink():  # to the folder of the photos, as it once was
        links.unlink()
    links.mkdir(parents=True, exist_ok=True)
    for photo in photos:
        if not (links / photo.path.name).exists():
            (links / photo.path.name).symlink_to(photo.path.resolve())
    write_labels(photos, folder / KAGGLE_CSV)
    write_images_csv(photos, folder / IMAGES_CSV)


def train(name: str, model: Path, photos: Sequence[Sample], given: argparse.Namespace) -> Path:
    """Fine-tune a detector in a separate process unless that is done already; return the exported file."""
    folder, file, run = (given.out / f"{name}{end}" for end in ("-photos", ".toml", ""))
    data_set(photos, folder)
    epochs = max(1, round(given.photos / sum(sample.split == "train" for sample in photos)))
    recipe = load_recipe(given.recipe).model_dump(mode="json")
    own = changed(recipe, {"name": name, "stages.0.epochs": epochs, "stages.0.val_every": epochs})
    validated(own, name)
    write_recipe(own, file)
    command = [*TRAIN, folder, "--recipe", file, "--weights", model, "--out", run, "--resume"]
    command += ["--precision", given.precision]
    run_command(command)
    return exported(run, given.folder, given.int8)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--groups", type=Path, default=Path(__file__).with_name("unseen.toml"))
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--recipe", default="adapt")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--photos", type=int, default=1100)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs/pseudo"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    groups = tomllib.loads(given.groups.read_text("utf-8"))["groups"]
    refuse_unknown("--only", given.only or [], groups)
    photos = divided(given.folder, groups, given.groups)
    number = 2 if given.labels else 1
    print("| | session | photos | heads | thresholds |" + HEADER * number)
    print("|---|---|---|---|---|" + "---|---|---|---|---|" * number)
    for name in given.only or groups:
        sessions, model = groups[name], given.models / file_name(name, given.int8)
        samples = without(photos, sessions)
        labellings = [samples]
        if given.labels:
            images = given.models / f"{name}.csv"
            labellings.append(read_dataset(given.folder, given.labels, images=images))

        def say(what: str, judged: Judged) -> None:
            print("\n".join(f"| {what} {row}" for row in rows([judged])), flush=True)

        say("before", judge(load(model), name, sessions, labellings))
        twice = judge(load(model, tta=VIEWS), name, sessions, labellings)
        say(f"before, {VIEWS}", twice)
        own = labelled(twice)
        for way in given.ways:
            after = train(f"{name}-{way}", model, learned(way, samples, own), given)
            say(way, judge(load(after), f"{name}, {way}", sessions, labellings))


if __name__ == "__main__":
    run_script(main)
