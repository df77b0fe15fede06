"""The mean of trained detectors' weights (a model soup, Wortsman et al. 2022).

Training runs that start from the same detector and differ in the order of the photos, in the labels or
slightly in the learning rate end near each other, and the mean of their weights is often better than each of
them: what one learned by chance, the others did not. Unlike an ensemble, it is as fast as one detector.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from wheatear.data.formats import IMAGES_CSV
from wheatear.data.splits import read_splits
from wheatear.errors import InputError
from wheatear.files import make_folder, whole_folder, write_json
from wheatear.train.checkpoint import FACTS, METRICS, RECIPE, WEIGHTS, read_json, save_parts
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.opening import refuse_data
from wheatear.train.run_card import load_run
from wheatear.train.start import meaning

# The smallest cosine similarity of two runs' weights at which their mean makes sense: of the heads, which
# start at random when training from ImageNet, and of the backbone, since heads with the same seed start
# equal. The heads of small, which was fine-tuned from medium, and of medium have 0.998; those of two runs
# from ImageNet with different seeds have about 0.
HEADS, BACKBONE, RELATED = ("rpn.", "roi_head."), ("backbone.",), 0.5


def average(runs: Sequence[Path], out: Path) -> Path:
    """Write a run folder with the mean weights of finished runs and the first one's recipe -> the weights' path.

    Raises InputError for fewer than two runs or one given twice; for runs that are unfinished, have other
    layers, anchors or regions (`meaning`), or did not start from the same detector; for runs with different
    splits, as the mean would be evaluated on photos that one was trained on; and if `out` already holds a run
    or a data set.
    """
    refuse_runs(runs, out)
    models = [load_run(run) for run in runs]
    weights = [model.state_dict() for model in models]
    refuse_other_networks(runs, models)
    mean_weights = mean(weights, runs)
    refuse_unrelated(runs, weights)
    model = models[0]
    model.load_state_dict(mean_weights)
    stages = [stage.stage for stage in model.recipe.stages]
    members = [{"run": run.resolve().name, **read_json(run / FACTS)} for run in runs]
    place = out.resolve()  # the folder one is in, ".", has no name of its own
    make_folder(place.parent)
    with whole_folder(place) as part:
        for stage in stages:
            (part / stage).mkdir()
        for stage in stages[:-1]:
            for name in (WEIGHTS, METRICS):
                shutil.copyfile(runs[0] / stage / name, part / stage / name)
        save_parts(model, [model], part / stages[-1] / WEIGHTS)
        write_json(part / FACTS, members[0] | {"run": place.name, "mean_of": members})
        shutil.copyfile(runs[0] / IMAGES_CSV, part / IMAGES_CSV)
        write_json(part / stages[-1] / METRICS, {"runs": len(runs)})
        write_json(part / RECIPE, model.recipe.model_dump(mode="json"))
    return out / stages[-1] / WEIGHTS


def refuse_runs(runs: Sequence[Path], out: Path) -> None:
    """InputError for fewer than two runs, one given twice, other splits, or an `out` that holds a run or a data set."""
    if len(runs) < 2:
        raise InputError("one run alone has no mean; give two or more")
    if (out / RECIPE).exists():
        raise InputError(f"{out}: holds a run already; choose another folder")
    refuse_data(out)
    if len({run.resolve() for run in runs}) < len(runs):
        raise InputError("a run is given twice, and would count twice; give each once")
    for run in runs[1:]:
        if read_splits(run / IMAGES_CSV) != read_splits(runs[0] / IMAGES_CSV):
            raise InputError(
                f"{run}: divides other photos than {runs[0]}, or otherwise; give runs of one images.csv"
            )


def refuse_other_networks(runs: Sequence[Path], models: Sequence[FasterRCNN]) -> None:
    """InputError for a run whose outputs mean something else than the first one's."""
    for run, model in zip(runs, models, strict=True):
        if meaning(model.recipe) != meaning(models[0].recipe):
            raise InputError(
                f"{run}: has another backbone, other anchors or regions than {runs[0]}; give runs of one recipe"
            )


def refuse_unrelated(runs: Sequence[Path], weights: Sequence[Mapping[str, Tensor]]) -> None:
    """InputError for a run that did not start from the same detector as the first one."""
    for run, its in zip(runs[1:], weights[1:], strict=True):
        if min(cosine(weights[0], its, parts) for parts in (HEADS, BACKBONE)) < RELATED:
            raise InputError(
                f"{run}: did not begin where {runs[0]} began, so that the mean of both is no detector; "
                "give runs that began with the same --weights"
            )


def cosine(weights: Mapping[str, Tensor], other: Mapping[str, Tensor], parts: tuple[str, ...]) -> float:
    """Cosine similarity of two detectors' kernels, over the parts whose names start with one of `parts`."""
    names = [name for name, tensor in weights.items() if name.startswith(parts) and tensor.ndim > 1]
    a, b = (torch.cat([each[name].flatten().double() for name in names]) for each in (weights, other))
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


def mean(weights: Sequence[dict[str, Tensor]], runs: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of each tensor; integers are the first run's. Raises InputError if names or shapes differ."""
    first = {name: tensor.shape for name, tensor in weights[0].items()}
    for run, other in zip(runs, weights, strict=True):
        if {name: tensor.shape for name, tensor in other.items()} != first:
            raise InputError(f"{run}: not of the same layers as {runs[0]}; give runs of one network")
    return {
        name: sum((w[name].double() for w in weights[1:]), tensor.double()).div(len(weights)).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in weights[0].items()
    }
