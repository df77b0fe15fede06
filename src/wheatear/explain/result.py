"""The result: the photo, what is found in it, hits and misses, and what the score threshold does to the count.

These steps need no torch. G heads as labelled, N detections.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wheatear.boxes import sizes
from wheatear.data.sample import Sample
from wheatear.detections import Detections
from wheatear.evaluation import SCORE_THRESHOLDS
from wheatear.explain.colours import BACKGROUND, FOUND, HEAD, INK, MISSED, TRUTH
from wheatear.explain.drawing import caption, draw_boxes, legend, panel_for, sheet, show, write
from wheatear.explain.seen import Finder, Seen
from wheatear.matching import match, tally

HIT_IOU = 0.5  # as in ADA and in the RPN's recall
WIDTH = 7.0  # inches, of a single photo or plot
SIZE_BINS = 24


def labelled_photo(run: Finder, sample: Sample) -> Figure:
    """The photo with its heads as labelled."""
    seen = run.seen(sample)
    figure, axes = _photo(seen)
    draw_boxes(axes, seen.boxes, TRUTH)
    (height, width), part = seen.image.shape[:2], seen.part
    text = f"{sample.name}: {sample.width}×{sample.height} px"
    if (part.width, part.height) != (sample.width, sample.height):
        text += f", of which the middle {part.width}×{part.height} px are explained"
    if (part.width, part.height) != (width, height):
        text += f", at the network's scale {width}×{height}"
    return caption(figure, f"{text}; {_heads(seen.boxes)}.")


def found_heads(run: Finder, sample: Sample) -> Figure:
    """The detections that count, with their scores."""
    seen = run.seen(sample)
    found = seen.detections.above(run.threshold)
    figure, axes = _photo(seen)
    draw_boxes(axes, found.boxes, FOUND)
    _write_scores(axes, found)
    text = (
        f"{len(found)} detections with a score of {run.threshold:.2f} or more; the model gives {len(seen.detections)} "
        "in all, however low their score."
    )
    return caption(figure, f"{text} {seen.caveat}".rstrip())


def hits_and_misses(run: Finder, sample: Sample) -> Figure:
    """The detections that count, compared with the heads as labelled."""
    seen = run.seen(sample)
    found = seen.detections.above(run.threshold)
    head_of = pair(seen.boxes, found)
    hit = head_of >= 0
    missed = np.delete(seen.boxes, head_of[hit], axis=0)
    figure, axes = _photo(seen)
    draw_boxes(axes, missed, MISSED, label=f"missed ({len(missed)})", style="--", width=2.2)
    draw_boxes(axes, found.boxes[~hit], BACKGROUND, label=f"false alarm ({(~hit).sum()})", width=2.2)
    draw_boxes(axes, found.boxes[hit], HEAD, label=f"hit ({hit.sum()})")
    _write_scores(axes, found)
    legend(axes)
    union = len(seen.boxes) + len(found) - hit.sum()
    return caption(
        figure,
        f"At score {run.threshold:.2f} and IoU {HIT_IOU}: {hit.sum()} hits, {len(missed)} heads missed, "
        f"{(~hit).sum()} false alarms. Accuracy hits / (hits + missed + false alarms) = "
        f"{hit.sum() / union if union else 1:.3f}; counted {len(found)} of {len(seen.boxes)}.",
    )


def score_threshold(run: Finder, sample: Sample) -> Figure:
    """The count at every score threshold, the hits in it, and the number of heads as labelled."""
    seen = run.seen(sample)
    matches = [match(seen.boxes, seen.detections, np.array([HIT_IOU]))]
    tallies = [tally(matches, threshold) for threshold in SCORE_THRESHOLDS]
    counts = [int(each.found[0]) for each in tallies]
    figure, (axes,) = sheet(1, 1, (WIDTH, 4))
    axes.plot(SCORE_THRESHOLDS, counts, color=FOUND, lw=2.5, label="counted")
    text = f"At {run.threshold:.2f} the count is {len(seen.detections.above(run.threshold))}"
    if len(seen.boxes):
        hits = [int(each.hits[0, 0]) for each in tallies]
        axes.plot(SCORE_THRESHOLDS, hits, color=HEAD, ls="--", label=f"hits (IoU {HIT_IOU})")
        axes.axhline(len(seen.boxes), color=TRUTH, label="heads as labelled")
        best = int(np.abs(np.array(counts) - len(seen.boxes)).argmin())
        text += f", at {SCORE_THRESHOLDS[best]:.2f} it would come nearest to the {len(seen.boxes)} labelled "
        text += f"({counts[best]})"
    axes.axvline(run.threshold, color=INK, ls=":", label=f"threshold {run.threshold:.2f}")
    axes.set(xlabel="score threshold", ylabel="heads in this photo", xlim=(0, 1), ylim=(0, None))
    axes.legend(fontsize=8)
    return caption(
        figure, f"{text}. Between 0.3 and 0.7 it runs from {_count(seen, 0.3)} down to {_count(seen, 0.7)}."
    )


def head_sizes(run: Finder, sample: Sample) -> Figure:
    """How large the heads of this photo are, as labelled and as found."""
    seen = run.seen(sample)
    found = seen.detections.above(run.threshold)
    figure, (axes,) = sheet(1, 1, (WIDTH, 4))
    plot_sizes(axes, seen.boxes, found.boxes)
    parts = [
        f"{name}: {size_range(boxes)}" for name, boxes in (("labelled", seen.boxes), ("found", found.boxes))
    ]
    return caption(
        figure, f"Head size, √(width · height) in px (smallest / median / largest): {'; '.join(parts)}."
    )


def plot_sizes(axes: Axes, boxes: np.ndarray, found: np.ndarray) -> None:
    """Histograms of √area of labelled (G, 4) and found (N, 4) boxes on the same bins."""
    truth, ours = sizes(boxes), sizes(found)
    top = max([1.0, *truth, *ours])
    bins = np.linspace(0, top, SIZE_BINS + 1).tolist()
    axes.hist(truth, bins, color=TRUTH, label=f"labelled ({len(truth)})")
    axes.hist(ours, bins, histtype="step", color=FOUND, lw=2.5, label=f"found ({len(ours)})")
    axes.set(xlabel="√area of a head, px", ylabel="heads")
    axes.legend(fontsize=8)


def size_range(boxes: np.ndarray) -> str:
    """Smallest / median / largest √area; "none" for no boxes."""
    px = sizes(boxes)
    return f"{px.min():.0f} / {np.median(px):.0f} / {px.max():.0f}" if len(px) else "none"


def pair(boxes: np.ndarray, found: Detections) -> np.ndarray:
    """(N,) int64: the head (of G) that each detection matches, or -1; greedy by descending score, as in `matching`."""
    return match(boxes, found, np.array([HIT_IOU])).taken[0]


def _photo(seen: Seen) -> tuple[Figure, Axes]:
    figure, (axes,) = sheet(1, 1, panel_for(seen.image, WIDTH))
    show(axes, seen.image)
    return figure, axes


def _write_scores(axes: Axes, found: Detections) -> None:
    for (x, y, _, _), score in zip(found.boxes, found.scores, strict=True):
        write(axes, x + 2, y + 2, f"{score:.2f}")


def _heads(boxes: np.ndarray) -> str:
    if not len(boxes):
        return "no head is labelled"
    return f"{len(boxes)} heads as labelled, √area {size_range(boxes)} px (smallest / median / largest)"


def _count(seen: Seen, threshold: float) -> int:
    return len(seen.detections.above(threshold))
