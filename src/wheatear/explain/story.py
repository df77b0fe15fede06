"""The steps in order: what each shows, which are possible for a photo and a model, and the files that result."""

import base64
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

import wheatear.explain as steps
from wheatear.data.sample import Sample
from wheatear.explain.drawing import caption_of
from wheatear.explain.page import Picture, page
from wheatear.explain.seen import Finder
from wheatear.files import refuse_foreign, whole

PAGE = "index.html"
WIDE = 9.0  # inches; text in a wider diagram is too small for a phone
DPI = 110  # a panel of 4 inches is as wide as a phone
WEBP_QUALITY = 82  # a tenth of a PNG's size, without artefacts around the boxes

NETWORK, HISTORY, CNN, LABELS = "network", "history", "cnn", "labels"
MISSING = {
    NETWORK: "the inside of this model cannot be shown: that needs the extra `train`, and a recipe on the model's card",
    HISTORY: "exported models and means of runs have no record of a training; --run RUN of a single training shows it",
    CNN: "there is no snip classifier here: the joint stage trains without one, and an exported model leaves it out",
    LABELS: "the boxes of the photo are not known; --data DIR finds them",
}


@dataclass(frozen=True)
class Step:
    """A picture of the story: the function of wheatear.explain that draws it, and what it requires."""

    name: str
    title: str
    text: str
    needs: tuple[str, ...] = ()


STORY = (
    Step(
        "labelled_photo",
        "The photo",
        "What the network gets: colours, and in training the boxes that people drew.",
    ),
    Step(
        "layers",
        "The network",
        "The backbone turns the photo into maps, the region proposal network (RPN) says where a head might be, and "
        "the RoI head looks at each of these places again.",
        (NETWORK,),
    ),
    Step(
        "snips",
        "Snips",
        "The backbone learns first, from an easier question: is there a head in this small square?",
        (NETWORK, CNN, LABELS),
    ),
    Step(
        "curves",
        "How the training went",
        "The RPN and the RoI head each have one loss for scores (cross-entropy) and one for box deltas (smooth L1; the "
        "RoI head's may be GIoU); a predicted IoU has one too. Parts trained together use the sum. Lower is better "
        "for a loss and the counting error (MAE); for accuracy, recall and the Kaggle metric, higher.",
        (NETWORK, HISTORY),
    ),
    Step(
        "feature_maps",
        "Feature maps",
        "Each channel of a map answers one question that the training found useful, at every place.",
        (NETWORK,),
    ),
    Step(
        "class_map",
        "The class map",
        "The classifier can be slid over the whole map: a first, blurred answer to where heads are.",
        (NETWORK, CNN),
    ),
    Step(
        "receptive_field",
        "What a cell can see",
        "A cell knows only the pixels that reach it through the layers below. This field must be larger than a head.",
        (NETWORK,),
    ),
    Step("head_sizes", "How large heads are", "Anchors and receptive field must fit these sizes."),
    Step(
        "anchor_boxes",
        "Anchors",
        "The RPN does not invent boxes. It scores and corrects boxes of fixed sizes and shapes at every cell.",
        (NETWORK,),
    ),
    Step(
        "labelling",
        "Which anchors are heads",
        "Anchors that overlap a head well are foreground, those that overlap heads little or not at all are "
        "background, and doubtful ones are ignored. Background is far more common, so training draws a balanced "
        "sample.",
        (NETWORK, LABELS),
    ),
    Step(
        "training_samples",
        "Training samples",
        "Some of the anchors drawn, as the RPN sees them.",
        (NETWORK, LABELS),
    ),
    Step(
        "best_regions",
        "From anchors to regions",
        "The trained RPN scores every anchor. The best are moved by their deltas, and of those that lie on one another "
        "the best alone is kept (non-maximum suppression, NMS).",
        (NETWORK,),
    ),
    Step(
        "pooled_crop",
        "Cutting a region out",
        "Regions have many sizes and the RoI head's first layer has one, so each is cut out of the map and resampled.",
        (NETWORK,),
    ),
    Step(
        "box_regression",
        "Moving a region",
        "The RoI head scores each region and moves it once more, for heads are rarely where an anchor was.",
        (NETWORK,),
    ),
    Step(
        "found_heads",
        "What is found",
        "Many regions end up on the same head, so again of those that overlap the best alone is kept (NMS); the others "
        "may have a say in where its edges lie (votes). What is left and reaches the score threshold is counted.",
    ),
    Step("hits_and_misses", "Against the truth", "Hits, misses and false alarms.", (LABELS,)),
    Step(
        "score_threshold",
        "The score threshold",
        "A lower threshold finds more heads but also more false alarms. The count is right where missed heads and "
        "false alarms balance.",
    ),
)


def tell(run: Finder, sample: Sample, out: Path, missing: Sequence[str] = ()) -> Iterator[str]:
    """Draw the story of a photo into OUT/NN-step.png and, last, OUT/index.html; yields each step's title as it begins.

    missing: those of NETWORK, HISTORY, CNN and LABELS that are not available; the steps that need them are
    left out, and the page says why. What an earlier run left is removed before the first picture is written: if the
    program is killed, no picture is beside those of another photo. Raises InputError if the photo cannot be read
    or OUT holds an index.html that is not ours, and OSError if OUT cannot be written.
    """
    pictures: list[Picture] = []
    files = [out / f"{number:02d}-{step.name}.png" for number, step in enumerate(STORY, 1)]
    if (out / PAGE).exists() and not files[0].exists():
        refuse_foreign([out / PAGE], "pictures of ours")
    out.mkdir(parents=True, exist_ok=True)
    for file, step in zip(files, STORY, strict=True):
        lacks = [need for need in step.needs if need in missing]
        if lacks:
            pictures.append(Picture(step.title, step.text, left_out=MISSING[lacks[0]]))
            continue
        yield step.title
        draw: Callable[[Finder, Sample], Figure] = getattr(steps, step.name)
        figure = draw(run, sample)
        if step is STORY[0]:  # the photo can be read
            for earlier in (out / PAGE, *files):
                earlier.unlink(missing_ok=True)
        with warnings.catch_warnings():
            # In another script than matplotlib's font has; the page has the name as text.
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            pictures.append(_picture(step, figure, file))
    with whole(out / PAGE) as part:
        part.write_text(page(sample.name, pictures), "utf-8")


def left_out(missing: Sequence[str]) -> dict[str, list[str]]:
    """Titles of the steps that need something missing, by the reason given on the page."""
    reasons: dict[str, list[str]] = {}
    for step in STORY:
        if lacks := [need for need in step.needs if need in missing]:
            reasons.setdefault(MISSING[lacks[0]], []).append(step.title)
    return reasons


def _picture(step: Step, figure: Figure, path: Path) -> Picture:
    """Save a figure with its caption as PNG, and without it for the page, which has the caption as text."""
    # A tight box holds all that is drawn: as laid out, some figures have titles that cross their upper edge.
    save = partial(figure.savefig, dpi=DPI, bbox_inches="tight", pad_inches=0.04)
    with whole(path) as part:
        save(part, format="png")
    text = caption_of(figure)
    figure.supxlabel("")
    image = io.BytesIO()
    save(image, format="webp", pil_kwargs={"quality": WEBP_QUALITY})
    return Picture(
        step.title,
        step.text,
        text,
        base64.b64encode(image.getvalue()).decode(),
        wide=len(figure.axes) > 1 or figure.get_figwidth() > WIDE,
    )
