"""What each lever is worth: a table of short trainings that each differ from a base in one thing.

    python bench/levers.py DIR [--levers bench/levers.toml] [--share 0.4] [--images FILE] [--only NAME …]
                           [--precision bf16-mixed] [--backbones DIR] [--jobs 2] [--out runs/levers]

Each lever is a separate `wheatear train` run in OUT/NAME, with the recipe OUT/NAME.toml and the log OUT/NAME.log. The
base is the lever "base". A lever that changes only [detection] needs no training: the base's run is evaluated again.
All levers train on the same share of the train photos (whole field photos, from every session) and are evaluated on
all val photos (those of the split FILE if --images is given, for example with sessions held out). Finished runs are
kept: the same command continues where it was stopped, and if you add a lever to the file, a second call trains only
that one. OUT/levers.md and OUT/levers.csv are rewritten after each run. With --jobs several levers are trained at
once, each on its share of the cores.

With the file provided and 0.4 of the 1,096 photos, a lever processes 440 crops of 384² in each of 6 epochs, and the val
photos once at 512². At the speed of its ResNet-18 this takes about 6 minutes on two free cores with bfloat16, so nearly
4 hours for all of them. ImageNet weights are downloaded, or read from the files BACKBONE.pth in --backbones; Caffe's,
which the lever resnet50 needs, cannot be downloaded. With a GPU, raise --share and the epochs: a lever, and above all
an augmentation, may not gain in a long run what it gains in a short one. Seconds include training and validation.
GFLOPs are those of one synthetic 1024² photo; a multiplication and an addition count as two.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from script import refuse_unknown, run_script
from wheatear.csv_files import write_table
from wheatear.data.check import clean
from wheatear.data.formats import IMAGES_CSV, read_dataset
from wheatear.data.sample import Sample
from wheatear.data.splits import split, write_images_csv
from wheatear.data.synth import draw_field
from wheatear.detections import Detections
from wheatear.errors import InputError
from wheatear.files import whole, write_json
from wheatear.images import open_photo
from wheatear.train.agreement import found_by_torch
from wheatear.train.checkpoint import FACTS, METRICS, RECIPE, WEIGHTS, finished, load_parts, read_json
from wheatear.train.dataset import to_tensor
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.fit import CHECKPOINT
from wheatear.train.joint import JointTraining
from wheatear.train.joint_data import WholePhotos
from wheatear.train.order import loader
from wheatear.train.recipe import JointStage, Recipe, load_recipe, validated
from wheatear.train.recipe_changes import changed
from wheatear.train.run_card import load_run

BASE, JOINT = "base", "joint"
WHEATEAR = [sys.executable, "-c", "from wheatear.cli import app; app()"]
TRAIN = [*WHEATEAR, "train"]


def run_command(command: Sequence[object]) -> None:
    """Run a command in a separate process, with its output on stderr: stdout is for the table.

    Exits if the command fails; it has said why.
    """
    status = subprocess.run([str(word) for word in command], stdout=sys.stderr).returncode
    if status:
        raise SystemExit(status)


@dataclass(frozen=True)
class Lever:
    """Changes of recipe keys, such as "rpn.channels" or "stages.0.lr", and further options for `wheatear train`."""

    name: str
    changes: dict[str, Any]
    options: list[str]

    def is_base_otherwise_judged(self) -> bool:
        """Whether it needs no training of its own, only another evaluation of the base."""
        return bool(self.changes) and all(key.startswith("detection.") for key in self.changes)


@dataclass(frozen=True)
class Row:
    """A row of the table; gain is the difference of kaggle from the base's."""

    lever: str
    kaggle: float
    gain: float
    count_mae: float
    seconds: float
    gflops: float
    parameters: int
    changes: str


def read_levers(file: Path, folder: Path) -> tuple[dict[str, Any], list[Lever]]:
    """Return the shortened base as keys and values, and the levers, with the base itself first."""
    content = tomllib.loads(file.read_text("utf-8"))
    base = shortened(content)
    levers = [Lever(BASE, {}, [])]
    for name, each in content["levers"].items():
        options = [option.replace("{DIR}", str(folder)) for option in each.pop("options", [])]
        levers.append(Lever(name, each, options))
    return base, levers


def shortened(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe that a file names as its base, with only its first stages and the values of "short"."""
    recipe = load_recipe(content["base"]).model_dump(mode="json")
    recipe["stages"] = recipe["stages"][: content.get("stages")]
    return changed(recipe, content.get("short", {}))


def toml(value: object) -> str:
    """Format a value as TOML; keys without a value are left out."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {toml(v)}" for k, v in value.items() if v is not None) + "}"
    return f"[{', '.join(map(toml, value))}]" if isinstance(value, list) else json.dumps(value)


def write_recipe(recipe: Mapping[str, Any], file: Path) -> None:
    """Write a recipe as TOML, completely or not at all."""
    with whole(file) as part:
        part.write_text("".join(f"{k} = {toml(v)}\n" for k, v in recipe.items() if v is not None), "utf-8")


def thinned(samples: Sequence[Sample], share: float) -> list[Sample]:
    """Return the samples with only a share of the train photos of every session in train, and the others in test."""
    photos = sorted({(s.session_or_source, s.photo) for s in samples if s.split == "train"})
    kept = {photo for i, photo in enumerate(photos) if int((i + 1) * share) > int(i * share)}
    left_out = [s.split == "train" and (s.session_or_source, s.photo) not in kept for s in samples]
    return [replace(s, split="test") if out else s for s, out in zip(samples, left_out, strict=True)]


def is_kept(folder: Path, recipe: Recipe, given: argparse.Namespace, last: str = JOINT) -> bool:
    """Whether a lever's folder has its last stage. Raises InputError if recipe, split or precision are others."""
    if not finished(folder, last):
        return False
    kept = validated(read_json(folder / RECIPE), folder)
    is_split = (folder / IMAGES_CSV).read_bytes() == (given.out / IMAGES_CSV).read_bytes()
    if kept != recipe or not is_split or read_json(folder / FACTS)["precision"] != given.precision:
        raise InputError(
            f"{folder}: was trained with another recipe, split or precision; choose another --out"
        )
    return True


def train(lever: Lever, recipe: Mapping[str, Any], given: argparse.Namespace, last: str = JOINT) -> bool:
    """Train a lever in a separate process unless it is trained already. Return False, and print a line, if it fails.

    last: the recipe's last stage. Raises InputError if the recipe is invalid, or if OUT has the lever trained in
    another way.
    """
    folder, file = given.out / lever.name, given.out / f"{lever.name}.toml"
    changes = changed(recipe, lever.changes | {"name": lever.name})
    if given.backbones and changes["backbone"]["weights"] == "imagenet":
        changes["backbone"]["weights"] = str(given.backbones / f"{changes['backbone']['name']}.pth")
    if is_kept(folder, validated(changes, lever.name), given, last):
        return True
    write_recipe(changes, file)
    options = [
        "--images",
        given.out / "images.csv",
        "--precision",
        given.precision,
        *lever.options,
        "--resume",
    ]
    command = [*TRAIN, given.folder, "--recipe", file, "--out", folder, *options]
    share = max(1, (os.cpu_count() or 1) // given.jobs)
    threads = {"OMP_NUM_THREADS": str(share)} if given.jobs > 1 else {}
    log = given.out / f"{lever.name}.log"
    with log.open("a") as output:
        done = subprocess.run(
            [str(word) for word in command],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | threads,
        )
    if done.returncode:
        print(f"{lever.name}: failed; see {log}", file=sys.stderr)
    return done.returncode == 0


def judge_base(lever: Lever, given: argparse.Namespace) -> None:
    """Create the folder of a lever with the base's training: a copy of that run, evaluated with the lever's recipe."""
    base, folder = given.out / BASE, given.out / lever.name
    recipe = validated(changed(read_json(base / RECIPE), lever.changes | {"name": lever.name}), lever.name)
    if is_kept(folder, recipe, given):
        return
    # The metrics are written last, because they mark a finished stage.
    unlike = shutil.ignore_patterns(METRICS, CHECKPOINT, "tensorboard")
    shutil.copytree(base, folder, dirs_exist_ok=True, ignore=unlike)
    write_json(folder / RECIPE, recipe.model_dump(mode="json"))
    model = FasterRCNN(recipe).eval()
    load_parts(model, folder / JOINT / WEIGHTS)
    # As training validates the base: in its precision, and with its boxes, which lack those that cannot be heads.
    samples = read_dataset(given.folder, images=given.out / IMAGES_CSV)
    val = [clean(sample) for sample in samples if sample.split == "val"]
    (stage,) = [each for each in recipe.stages if isinstance(each, JointStage)]
    training, photos = JointTraining(model, stage, recipe.seed, val), loader(WholePhotos(val), 1, None, list)
    figures = training.judge(photos, given.precision, torch.device("cpu"))
    write_json(folder / JOINT / METRICS, read_json(base / JOINT / METRICS) | figures)


def found_by(model: FasterRCNN, photo: Path) -> Detections:
    """Return what a network finds in a photo file."""
    return found_by_torch(model, open_photo(photo))


def measured(lever: Lever, folder: Path, before: Sequence[Row]) -> Row:
    """Return the figures of a finished run; the first of the rows before it is the base."""
    figures, model = read_json(folder / JOINT / METRICS), load_run(folder)
    image = to_tensor(draw_field(np.random.default_rng(0))[0])
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(image)
    return Row(
        lever.name,
        figures["val_kaggle"],
        figures["val_kaggle"] - before[0].kaggle if before else 0.0,
        figures["val_count_mae"],
        figures["seconds"],
        counter.get_total_flops() / 1e9,
        sum(p.numel() for p in model.parameters()),
        describe(lever),
    )


def describe(lever: Lever) -> str:
    """Describe what differs from the base, in the recipe and in the command."""
    changes = [f"{key} = {toml(value)}" for key, value in lever.changes.items()]
    return ", ".join(changes + ([" ".join(lever.options)] if lever.options else []))


def write_rows(rows: Sequence[Row], out: Path) -> None:
    """Write OUT/levers.csv and OUT/levers.md."""
    header = [field.name for field in fields(Row)]
    write_table(out / "levers.csv", [header, *map(astuple, rows)])
    lines = [
        "| lever | Kaggle | gain | count MAE | seconds | GFLOPs | parameters | changes |",
        "|---" * 8 + "|",
    ]
    lines += [
        f"| {r.lever} | {r.kaggle:.3f} | {r.gain:+.3f} | {r.count_mae:.2f} | {r.seconds:.0f} | {r.gflops:.1f} "
        f"| {r.parameters / 1e6:.1f} M | {f'`{r.changes}`' if r.changes else ''} |"
        for r in rows
    ]
    with whole(out / "levers.md") as part:
        part.write_text("\n".join(lines) + "\n", "utf-8")


def refuse_failed(names: Sequence[str], out: Path) -> None:
    """Raise InputError, after the table, if some trainings are missing in it because they failed."""
    if names:
        raise InputError(f"{out}: {', '.join(names)}: failed, and not in the table; their logs say why")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--levers", type=Path, default=Path(__file__).with_suffix(".toml"))
    parser.add_argument("--share", type=float, default=0.4)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--backbones", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/levers"))
    given = parser.parse_args()
    recipe, levers = read_levers(given.levers, given.folder)
    refuse_unknown("--only", given.only, [lever.name for lever in levers])
    given.out.mkdir(parents=True, exist_ok=True)
    samples = split(read_dataset(given.folder, images=given.images))
    write_images_csv(thinned(samples, given.share), given.out / IMAGES_CSV)
    wanted = [lever for lever in levers if not given.only or lever.name in (BASE, *given.only)]
    pool = ThreadPoolExecutor(given.jobs)
    trained = {
        lever.name: pool.submit(train, lever, recipe, given)
        for lever in wanted
        if not lever.is_base_otherwise_judged()
    }
    rows: list[Row] = []
    failed: list[str] = []
    try:
        for lever in wanted:
            if lever.name not in trained:
                judge_base(lever, given)
            elif not trained[lever.name].result():
                if lever.name == BASE:
                    raise SystemExit("the base failed, and without it no lever has a gain")
                failed.append(lever.name)
                continue
            rows.append(measured(lever, given.out / lever.name, rows))
            write_rows(rows, given.out)
    finally:
        pool.shutdown(cancel_futures=True)
    print((given.out / "levers.md").read_text("utf-8"))
    refuse_failed(failed, given.out)


if __name__ == "__main__":
    run_script(main)
