"""The charts of an evaluation, as HTML figures with inline SVG; the data is computed elsewhere."""

from collections.abc import Sequence
from html import escape

import numpy as np

from wheatear.counting import count_errors
from wheatear.data.sample import Sample
from wheatear.detections import Detections
from wheatear.error_analysis import by_density, by_head_size, precision_recall
from wheatear.evaluation import Sweep, by_session
from wheatear.matching import Matches, Tally, tally
from wheatear.page import figure, key
from wheatear.palette import BLUE, GREEN, ORANGE, VERMILLION
from wheatear.svg import Axis, bars, chart, dots, line
from wheatear.words import photos

GREY = "#888888"
SHARE = (0.0, 1.0)
SMALL = (220, 200)  # two fit side by side on a phone


def precision_recall_chart(matches: Sequence[Matches], threshold: float) -> str:
    """Precision over recall, with a mark at the threshold."""
    precision, recall = precision_recall(matches)
    counts = tally(matches, threshold)
    hits, found, heads = int(counts.hits[0].sum()), int(counts.found.sum()), int(counts.heads.sum())
    marks = [line(zip(recall.tolist(), precision.tolist(), strict=True), BLUE)]
    if found and heads:
        marks.append(
            dots([(hits / heads, hits / found)], VERMILLION, [f"score threshold {threshold:.2f}"], 6)
        )
    drawn = chart("Precision over recall", Axis("recall", *SHARE), Axis("precision", *SHARE), marks)
    return figure(
        drawn, f"Precision and recall at IoU 0.5.{key(VERMILLION, f'at the threshold, {threshold:.2f}')}"
    )


def threshold_charts(figures: Sweep, threshold: float, count_threshold: float) -> list[str]:
    """The Kaggle metric, and the mean absolute error of the counts, over the score threshold, with each one marked."""
    best = figures.best()
    metric = _over_threshold(figures.thresholds, figures.kaggle, "Kaggle metric", 1.0, threshold)
    # Near a threshold of 1 nothing is counted; an axis up to that error would squeeze the part that matters.
    top = max(1.0, min(float(figures.count_mae.max()), 6 * float(figures.count_mae.min()) + 1))
    count = _over_threshold(figures.thresholds, figures.count_mae, "count MAE, heads", top, count_threshold)
    now, now_count = (key(VERMILLION, f"the threshold, {each:.2f}") for each in (threshold, count_threshold))
    return [
        figure(metric, f"Best, {figures.kaggle.max():.3f}, at {best.kaggle:.2f}.{now}"),
        figure(count, f"Best, {figures.count_mae.min():.2f}, at {best.count:.2f}.{now_count}"),
    ]


def _over_threshold(
    thresholds: np.ndarray, values: np.ndarray, name: str, top: float, threshold: float
) -> str:
    points = [(x, y) for x, y in zip(thresholds.tolist(), values.tolist(), strict=True) if y <= top]
    marks = [
        line(points, BLUE),
        line([(threshold, 0), (threshold, top)], VERMILLION, dashed=True),
    ]
    return chart(f"{name} over score threshold", Axis("score threshold", *SHARE), Axis(name, 0, top), marks)


def count_charts(samples: Sequence[Sample], counts: Tally) -> list[str]:
    """Heads counted over heads labelled: all photos, then each session, those with the most photos first."""
    sessions = sorted(by_session(samples).items(), key=lambda each: -len(each[1]))
    groups = [("all", list(range(len(samples))))] + (sessions if len(sessions) > 1 else [])
    top = max(1.0, float(max(counts.heads.max(), counts.found.max()))) * 1.05
    return [
        _scatter(name, [samples[i] for i in places], counts.of(np.array(places)), top)
        for name, places in groups
    ]


def _scatter(name: str, samples: Sequence[Sample], counts: Tally, top: float) -> str:
    points = [(float(x), float(y)) for x, y in zip(counts.heads, counts.found, strict=True)]
    names = [
        f"{sample.path.name}: {found} counted, {heads} labelled"
        for sample, found, heads in zip(samples, counts.found, counts.heads, strict=True)
    ]
    marks = [line([(0, 0), (top, top)], GREY, dashed=True), dots(points, BLUE, names)]
    drawn = chart(
        f"Counts, {name}",
        Axis("labelled", 0, top, whole=True),
        Axis("counted", 0, top, whole=True),
        marks,
        *SMALL,
    )
    errors = count_errors(counts.heads, counts.found)
    r2 = "–" if errors.r2 is None else f"{errors.r2:.2f}"
    caption = f"<strong>{escape(name)}</strong>: R² {r2}, MAE {errors.mae:.1f}, {photos(len(samples))}"
    return figure(drawn, caption)


def size_charts(
    samples: Sequence[Sample], found: Sequence[Detections], matches: Sequence[Matches], threshold: float
) -> list[str]:
    """Recall by size of the heads and precision by size of the detections, in fifths of the heads."""
    bins = by_head_size(samples, found, matches, threshold)
    if not bins:
        return []
    x = _bin_axis("√area, pixels", [(each.low, each.high) for each in bins])
    recall = [(k - 0.4, k + 0.4, each.recall) for k, each in enumerate(bins)]
    precision = [
        (k - 0.4, k + 0.4, each.precision) for k, each in enumerate(bins) if each.precision is not None
    ]
    heads = f"{min(each.heads for each in bins):,} to {max(each.heads for each in bins):,} heads a bar"
    return [
        figure(
            chart("Recall by size", x, Axis("recall", *SHARE), [bars(recall, GREEN)]), f"Recall; {heads}."
        ),
        figure(
            chart("Precision by size", x, Axis("precision", *SHARE), [bars(precision, BLUE)]),
            "Precision, by the size of the detection.",
        ),
    ]


def density_charts(counts: Tally) -> list[str]:
    """Mean absolute error and bias of the counts by number of heads, in fifths of the photos."""
    bins = by_density(counts)
    x = _bin_axis("heads a photo", [(each.low, each.high) for each in bins])
    mae = [(k - 0.4, k, each.mae) for k, each in enumerate(bins)]
    bias = [(k, k + 0.4, each.bias) for k, each in enumerate(bins)]
    ends = [0.0, 1.0, *(each.mae for each in bins), *(each.bias for each in bins)]
    y = Axis("heads", min(ends) * 1.05, max(ends) * 1.05)
    drawn = chart("Count errors by number of heads", x, y, [bars(mae, ORANGE), bars(bias, BLUE)])
    return [figure(drawn, f"Errors of the count.{key(ORANGE, 'mean absolute error')}{key(BLUE, 'bias')}")]


def _bin_axis(name: str, spans: Sequence[tuple[float, float]]) -> Axis:
    """An axis with a position 0, 1, 2 … for each bin, labelled with its limits."""
    labels = [(float(k), f"{low:.0f}–{high:.0f}") for k, (low, high) in enumerate(spans)]
    return Axis(name, -0.6, len(spans) - 0.4, labels)
