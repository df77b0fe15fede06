"""Draw the figures of walk.md from a synthetic field and a run, and update the captions and the code that it quotes.

    wheatear data draw field -n 40
    wheatear train field --recipe docs/walk.toml --out runs/walk
    python docs/make_figures.py --run runs/walk

The photo is drawn with a different seed from the training photos, so the network was not trained on it. The figures
of the joint detector show the shipped small. Without --run only these, and those that need no network, are redrawn.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from matplotlib.figure import Figure

import wheatear.explain as steps
from ideas import IDEAS
from mistakes import MISTAKES
from quoted import refresh
from wheatear.data.formats import read_dataset
from wheatear.data.sample import Sample
from wheatear.data.synth import draw_dataset
from wheatear.explain.drawing import caption_of
from wheatear.explain.look import Network, TrainedRun, shipped_network
from wheatear.explain.story import STORY
from wheatear.files import whole

HERE = Path(__file__).parent
SEED = 2012  # any seed except 0, which the training photos have
DPI, QUALITY = 80, 75  # keep all figures together near 1 MB
JOINT, SHIPPED = "joint_", "small"
JOINT_STEPS = ("feature_maps", "best_regions", "box_regression", "hits_and_misses")

Draw = Callable[[Network, Sample], Figure]


def main() -> None:
    """Update docs/walk/*.webp and docs/walk.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="a finished run folder")
    parser.add_argument("--size", type=int, default=1024, help="px of the drawn photo")
    options = parser.parse_args()
    captions = make_figures(options.run, HERE / "walk", options.size)
    page = HERE / "walk.md"
    text = refresh(page.read_text("utf-8"), captions)
    with whole(page) as part:
        part.write_text(text, "utf-8")


def make_figures(run: Path | None, out: Path, size: int) -> dict[str, str]:
    """Write OUT/NAME.webp for every figure, made from one synthetic photo of size² px; return the captions by name.

    Without a run, only the figures of the shipped detector are written.
    """
    out.mkdir(parents=True, exist_ok=True)
    pictures: list[tuple[Network, str, Draw]] = []
    if run is not None:
        trained = TrainedRun(run)
        pictures += [(trained, *picture) for picture in run_pictures()]
    shipped = shipped_network(SHIPPED)
    pictures += [(shipped, *picture) for picture in (*joint_pictures(), *idea_pictures())]
    captions = {}
    with tempfile.TemporaryDirectory() as folder:
        draw_dataset(folder, 1, size, SEED)
        (sample,) = read_dataset(folder)
        for network, name, draw in pictures:
            figure = draw(network, sample)
            captions[name] = caption_of(figure)
            figure.supxlabel("")
            with whole(out / f"{name}.webp") as part:
                figure.savefig(
                    part,
                    format="webp",
                    dpi=DPI,
                    bbox_inches="tight",
                    pad_inches=0.04,
                    pil_kwargs={"quality": QUALITY},
                )
    return captions


def run_pictures() -> Iterator[tuple[str, Draw]]:
    """Name and function of each figure of the run."""
    for step in STORY:
        yield step.name, getattr(steps, step.name)
    for draw in MISTAKES:
        yield draw.__name__, draw


def joint_pictures() -> Iterator[tuple[str, Draw]]:
    """Name and function of each figure of the shipped detector."""
    for step in JOINT_STEPS:
        yield JOINT + step, getattr(steps, step)


def idea_pictures() -> Iterator[tuple[str, Draw]]:
    """Name and function of each figure that shows only the photo."""
    for draw in IDEAS:
        yield draw.__name__, draw


if __name__ == "__main__":
    main()
