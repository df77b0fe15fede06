"""The curves of a run's training: every loss and metric of every stage."""

import csv
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from wheatear.data.sample import Sample
from wheatear.explain.colours import IGNORED, INK
from wheatear.explain.drawing import bare, caption, sheet
from wheatear.explain.look import TrainedRun

PARTS = (("train", IGNORED, "--"), ("val", INK, "-"))

SECONDS_SHOWN = 180  # up to here a training took seconds, beyond it minutes


def curves(run: TrainedRun, sample: Sample) -> Figure:
    """A row of panels for each stage: its losses and metrics on the training and the validation data."""
    histories = {s.stage: read_history(run.folder / s.stage / "metrics.csv") for s in run.model.recipe.stages}
    names = {stage: metric_names(rows) for stage, rows in histories.items()}
    columns = max(map(len, names.values()))
    figure, axes = sheet(len(histories), columns, (3.6, 2.7))
    for line, (stage, rows) in enumerate(histories.items()):
        panels = axes[line * columns : (line + 1) * columns]
        for panel in panels[len(names[stage]) :]:
            bare(panel)
        for panel, name in zip(panels, names[stage], strict=False):
            plot_metric(panel, rows, stage, name)
    return caption(figure, " ".join(summary(stage, rows) for stage, rows in histories.items()))


def read_history(path: Path) -> list[dict[str, float]]:
    """The rows of a stage's metrics.csv, an epoch each."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def metric_names(rows: list[dict[str, float]]) -> list[str]:
    """What was measured, without "train_" and "val_"."""
    return sorted({key.split("_", 1)[1] for key in rows[0] if key.startswith(("train_", "val_"))})


def plot_metric(axes: Axes, rows: list[dict[str, float]], stage: str, name: str) -> None:
    """One metric of a stage over its epochs."""
    epochs = [row["epoch"] for row in rows]
    for part, colour, line in PARTS:
        if f"{part}_{name}" in rows[0]:
            axes.plot(epochs, [row[f"{part}_{name}"] for row in rows], line, color=colour, label=part)
    axes.set_title(f"{stage}: {name.replace('_', ' ')}", fontsize=10)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8)


def summary(stage: str, rows: list[dict[str, float]]) -> str:
    """A sentence with the last figures on the validation data."""
    last = rows[-1]
    figures = [
        f"{k.removeprefix('val_').replace('_', ' ')} {v:.3f}" for k, v in last.items() if k.startswith("val_")
    ]
    seconds = last["seconds"]
    took = f"{seconds:.0f} s" if seconds < SECONDS_SHOWN else f"{seconds / 60:.0f} min"
    return f"{stage}: {len(rows)} epochs in {took}, at the end on val {', '.join(figures)}."
