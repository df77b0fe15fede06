"""The training curves, and the plot of them that training saves in its run folder."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from wheatear.files import whole
from wheatear.palette import BLUE, VERMILLION

Lines = tuple[tuple[str, str, str], ...]  # part of the data, colour, line style

COLUMNS = 4  # the joint stage has eight metrics: two rows
LINES: Lines = (("train", BLUE, "-"), ("val", VERMILLION, "-"))


def plot_history(rows: list[dict[str, float]], path: Path, title: str) -> None:
    """Plot each metric over the epochs in a panel of its own, training and validation together, as a PNG."""
    names = metric_names(rows)
    columns = min(COLUMNS, len(names))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(4.5 * columns, 3.5 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in panels[len(names) :]:
        axes.remove()
    for axes, name in zip(panels, names, strict=False):
        plot_metric(axes, rows, name, LINES)
        axes.set_title(name.replace("_", " "))
    figure.suptitle(title, parse_math=False)
    with whole(path) as unfinished:
        figure.savefig(unfinished, format="png", dpi=120)


def metric_names(rows: list[dict[str, float]]) -> list[str]:
    """The metrics that were measured in any epoch, without "train_" and "val_"."""
    return sorted({key.split("_", 1)[1] for row in rows for key in row if key.startswith(("train_", "val_"))})


def plot_metric(axes: Axes, rows: list[dict[str, float]], name: str, lines: Lines) -> None:
    """One metric over the epochs in which it was measured, a line per part of the data; a dot for a lone epoch."""
    for part, colour, style in lines:
        key = f"{part}_{name}"
        measured = [(row["epoch"], row[key]) for row in rows if key in row]
        if measured:
            marker = "o" if len(measured) == 1 else ""
            axes.plot(*zip(*measured, strict=True), style, color=colour, marker=marker, label=part)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.legend(fontsize=8)
