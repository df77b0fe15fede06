"""report.html of `wheatear evaluate`: the figures, the curves behind them, and pictures of the worst mistakes."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from wheatear.data.sample import Sample
from wheatear.detections import Detections
from wheatear.error_analysis import Mistake, worst_false_alarms, worst_misses
from wheatear.errors import InputError
from wheatear.evaluation import KAGGLE_IOUS, Evaluation, by_photo, match_photos, sweep
from wheatear.evaluation_charts import (
    count_charts,
    density_charts,
    precision_recall_chart,
    size_charts,
    threshold_charts,
)
from wheatear.images import open_photo
from wheatear.matching import Matches, tally
from wheatear.page import END_OF_TABLE, cell, figure, header, key, open_page, opening, thumbnail
from wheatear.palette import BLUE, ORANGE, PURPLE, SKY_BLUE

MISTAKES = 12  # of each kind: two rows on a screen
AROUND = 4  # a mistake is shown with its neighbours, in a square of this many times its longer side
SIDE = 320  # pixels per side of that square on the page

# As in the other pictures: a head as labelled, a detection, a false alarm, a miss.
HEAD, FOUND, FALSE_ALARM, MISS = BLUE, SKY_BLUE, PURPLE, ORANGE


def write_evaluation_report(
    path: str | Path,
    samples: Sequence[Sample],
    detections: Mapping[str, Detections],
    figures: Mapping[str, Evaluation],
    title: str,
) -> None:
    """Write one self-contained HTML page: tables, charts and pictures.

    samples, detections: as given to evaluation.evaluate, with all scores. figures: its results, by name; the
    charts are drawn at the score threshold of the first, those of counts at that of the last. Errors are as
    in evaluate.
    """
    thresholds = [evaluation.score_threshold for evaluation in figures.values()]
    threshold, count_threshold = thresholds[0], thresholds[-1]
    found = by_photo(samples, detections)
    matches = match_photos(samples, found, KAGGLE_IOUS[:1])
    counts = tally(matches, count_threshold)
    with open_page(Path(path), title) as write:
        for name, evaluation in figures.items():
            write(_table(name, evaluation))
        at = at_count = ""
        if len({float(score) for each in found for score in each.scores}) > 1:
            at, at_count = (f", at the threshold {each:.2f}" for each in (threshold, count_threshold))
            curves = [precision_recall_chart(matches, threshold)]
            curves += threshold_charts(sweep(samples, detections), threshold, count_threshold)
            write(_section("Scores", curves))
        write(_section(f"Counts{at_count}", count_charts(samples, counts), small=True))
        write(_section(f"By size of the heads{at}", size_charts(samples, found, matches, threshold)))
        write(_section(f"By number of heads{at_count}", density_charts(counts)))
        write(_mistakes(samples, found, matches, threshold))


def _table(name: str, evaluation: Evaluation) -> str:
    titles, *rows = evaluation.table()
    lines = [
        f"<h2>{escape(evaluation.title(name))}</h2>\n",
        header(titles, [False, *[True] * (len(titles) - 1)]),
    ]
    lines += [f"<tr>{_cells(row)}</tr>\n" for row in rows[:-1]]
    last = f'</tbody>\n<tfoot><tr class="all">{_cells(rows[-1])}</tr></tfoot>'  # stays last when sorted
    return "".join([*lines, END_OF_TABLE.replace("</tbody>", last)])


def _cells(row: Sequence[str]) -> str:
    name, *numbers = row
    values = [None if text == "–" else float(text) for text in numbers]
    return cell(name) + "".join(
        cell(text, value, number=True) for text, value in zip(numbers, values, strict=True)
    )


def _section(title: str, figures: Sequence[str], small: bool = False) -> str:
    kind = "figures small" if small else "figures"
    return f'<h2>{escape(title)}</h2>\n<div class="{kind}">\n{"".join(figures)}</div>\n' if figures else ""


def _mistakes(
    samples: Sequence[Sample], found: Sequence[Detections], matches: Sequence[Matches], threshold: float
) -> str:
    kept = [each.above(threshold) for each in found]
    kinds = {
        "False alarms, the highest scores first": worst_false_alarms(found, matches, threshold, MISTAKES),
        "Missed heads, the least suspected first": worst_misses(samples, found, matches, threshold, MISTAKES),
    }
    colours = (
        (HEAD, "a head as labelled"),
        (FOUND, "a detection"),
        (FALSE_ALARM, "a false alarm"),
        (MISS, "a miss"),
    )
    parts = [f"<p>{''.join(key(*each) for each in colours)}</p>\n"] if any(kinds.values()) else []
    for title, mistakes in kinds.items():
        pictures = [_picture(samples[each.photo], kept[each.photo], each) for each in mistakes]
        if pictures:
            parts.append(f'<h2>{escape(title)}</h2>\n<div class="pictures">\n{"".join(pictures)}</div>\n')
    return "".join(parts)


def _picture(sample: Sample, found: Detections, mistake: Mistake) -> str:
    text = sample.path.name if mistake.score is None else f"{sample.path.name}, score {mistake.score:.2f}"
    try:
        photo = Image.fromarray(open_photo(sample.path))
    except InputError as error:
        return figure("", escape(str(error)))
    return figure(opening(thumbnail(_crop(photo, sample, found, mistake), SIDE), text), escape(text))


def _crop(photo: Image.Image, sample: Sample, found: Detections, mistake: Mistake) -> Image.Image:
    """A square of SIDE pixels with the mistake in its centre, or off-centre where the photo ends."""
    xmin, ymin, xmax, ymax = mistake.box.tolist()
    side = AROUND * max(xmax - xmin, ymax - ymin, 1)
    left = min(max((xmin + xmax - side) / 2, 0), max(0, photo.width - side))
    top = min(max((ymin + ymax - side) / 2, 0), max(0, photo.height - side))
    area = (left, top, left + side, top + side)
    crop = photo.transform((SIDE, SIDE), Image.Transform.EXTENT, area, Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(crop)
    colour = MISS if mistake.score is None else FALSE_ALARM
    for boxes, line, width in (
        (sample.boxes, HEAD, 3),
        (found.boxes, FOUND, 2),
        (mistake.box[None], colour, 4),
    ):
        for box in (boxes - np.array([left, top, left, top], np.float32)) * (SIDE / side):
            one, other = box[:2], box[2:]  # a label may be inverted
            draw.rectangle([*np.minimum(one, other), *np.maximum(one, other)], outline=line, width=width)
    return crop
