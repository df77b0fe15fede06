"""Draw the pictures of walk.md from a drawn field and a run, and renew the captions and the code that it quotes.

    wheatear data draw field -n 40
    wheatear train field --recipe docs/walk.toml --out runs/walk
    python docs/make_figures.py --run runs/walk

The photo is drawn with another seed than the training's, so the network has not seen it. The pictures of the joint
detector are those of the shipped small; without --run they, and those that need no network, are drawn anew.
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
SEED = 2012  # any but 0, the training's
DPI, QUALITY = 80, 75  # all pictures together stay near 1 MB
JOINT, SHIPPED = "joint_", "small"
JOINT_STEPS = ("feature_maps", "best_regions", "box_regression", "hits_and_misses")

Draw = Callable[[Network, Sample], Figure]


def main() -> None:
    """Renew docs/walk/*.webp and docs/walk.md."""
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
    """Write OUT/STEP.webp of every picture on one drawn photo of size² px, without a run of the shipped detector's
    alone; -> captions by name.
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
                figure.savefig(part, format="webp", dpi=DPI, pil_kwargs={"quality": QUALITY})
    return captions


def run_pictures() -> Iterator[tuple[str, Draw]]:
    """Name and function of each picture of the run."""
    for step in STORY:
        yield step.name, getattr(steps, step.name)
    for draw in MISTAKES:
        yield draw.__name__, draw


def joint_pictures() -> Iterator[tuple[str, Draw]]:
    """Name and function of each picture of the shipped detector."""
    for step in JOINT_STEPS:
        yield JOINT + step, getattr(steps, step)


def idea_pictures() -> Iterator[tuple[str, Draw]]:
    """Name and function of each picture that shows the photo alone."""
    for draw in IDEAS:
        yield draw.__name__, draw


if __name__ == "__main__":
    main()
