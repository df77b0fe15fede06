"""The training curves of a run: every loss and metric of every stage."""

import csv
from pathlib import Path

from matplotlib.figure import Figure

from wheatear.data.sample import Sample
from wheatear.errors import InputError
from wheatear.explain.colours import IGNORED, INK
from wheatear.explain.drawing import bare, caption, sheet
from wheatear.explain.look import TrainedRun
from wheatear.train.checkpoint import HISTORY
from wheatear.train.plots import COLUMNS, metric_names, plot_metric

LINES = (("train", IGNORED, "--"), ("val", INK, "-"))

SECONDS_SHOWN = 180  # below this a training time is given in seconds, from here on in minutes


def curves(run: TrainedRun, sample: Sample) -> Figure:
    """The losses and metrics of each stage on the training and validation data, each stage in rows of its own."""
    histories = {s.stage: read_history(run.folder / s.stage / HISTORY) for s in run.model.recipe.stages}
    names = {stage: metric_names(rows) for stage, rows in histories.items()}
    columns = min(COLUMNS, max(map(len, names.values())))
    rows_of = {stage: -(-len(some) // columns) for stage, some in names.items()}
    figure, axes = sheet(sum(rows_of.values()), columns, (3.6, 2.7))
    for stage, rows in histories.items():
        panels, axes = axes[: rows_of[stage] * columns], axes[rows_of[stage] * columns :]
        for panel in panels[len(names[stage]) :]:
            bare(panel)
        for panel, name in zip(panels, names[stage], strict=False):
            plot_metric(panel, rows, name, LINES)
            panel.set_title(f"{stage}: {name.replace('_', ' ')}", fontsize=10)
    return caption(figure, " ".join(summary(stage, rows) for stage, rows in histories.items()))


def read_history(path: Path) -> list[dict[str, float]]:
    """The rows of a stage's metrics.csv, one per epoch; a metric not measured in an epoch is missing from its row.

    Raises InputError if there are no rows, or something other than numbers.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    except (ValueError, TypeError, csv.Error) as error:  # TypeError: a row with more fields than columns
        raise InputError(
            f"{path}: holds something other than numbers ({error}); train the stage again"
        ) from None
    if not rows:
        raise InputError(f"{path}: has no rows; train the stage again")
    return rows


def summary(stage: str, rows: list[dict[str, float]]) -> str:
    """A sentence with the training time and the last metrics on the validation data."""
    last = rows[-1]
    figures = [
        f"{k.removeprefix('val_').replace('_', ' ')} {v:.3f}" for k, v in last.items() if k.startswith("val_")
    ]
    seconds = last["seconds"]
    took = f"{seconds:.0f} s" if seconds < SECONDS_SHOWN else f"{seconds / 60:.0f} min"
    epochs = "1 epoch" if len(rows) == 1 else f"{len(rows)} epochs"
    return f"{stage}: {epochs} in {took}, at the end on val {', '.join(figures)}."
