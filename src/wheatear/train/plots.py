"""The plots that training saves in its run folder."""

from pathlib import Path

from matplotlib.figure import Figure

from wheatear.files import whole
from wheatear.palette import BLUE, VERMILLION


def plot_history(rows: list[dict[str, float]], path: Path, title: str) -> None:
    """Plot each metric over the epochs in a panel of its own, training and validation together, as a PNG."""
    names = sorted(
        {key.split("_", 1)[1] for row in rows for key in row if key.startswith(("train_", "val_"))}
    )
    figure = Figure(figsize=(4.5 * len(names), 3.5), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for part, colour in (
            ("train", BLUE),
            ("val", VERMILLION),
        ):  # Okabe and Ito's, which the colour-blind can distinguish
            points = [(row["epoch"], row[f"{part}_{name}"]) for row in rows if f"{part}_{name}" in row]
            if points:
                axes.plot(*zip(*points, strict=True), color=colour, label=part)
        axes.set(xlabel="epoch", title=name.replace("_", " "))
        axes.legend()
    figure.suptitle(title, parse_math=False)
    with whole(path) as unfinished:
        figure.savefig(unfinished, format="png", dpi=120)
