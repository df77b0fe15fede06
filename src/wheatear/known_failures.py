"""Where a detector fails, in sentences for its card: the heads, photos and sessions on which it does worst."""

from collections.abc import Mapping, Sequence

from wheatear.data.sample import Sample
from wheatear.detections import Detections
from wheatear.error_analysis import by_density, by_head_size
from wheatear.evaluation import KAGGLE_IOUS, Evaluation, by_photo, match_photos
from wheatear.matching import tally
from wheatear.words import photos

# A warning is given for a recall this far below that of all heads, a bias of the counts above this share of the heads,
# and a session's Kaggle metric below this share of that of all photos.
RECALL_LOST, HEADS_LOST, METRIC_KEPT = 0.05, 0.05, 0.8
ENOUGH = 3  # photos of a session; a single one means little


def known_failures(
    samples: Sequence[Sample],
    detections: Mapping[str, Detections],
    at_score: Evaluation,
    at_count: Evaluation,
) -> list[str]:
    """One sentence for each group of heads, photos or sessions whose results are beyond these limits.

    samples, detections: as given to evaluation.evaluate. at_score, at_count: its results at the threshold for
    boxes, by which heads and sessions are judged, and at that for counting, by which photos are judged.
    """
    found = by_photo(samples, detections)
    matches = match_photos(samples, found, KAGGLE_IOUS[:1])
    lines, recall, kaggle = list[str](), at_score.overall.recall or 0.0, at_score.overall.kaggle
    for size in by_head_size(samples, found, matches, at_score.score_threshold):
        if size.recall < recall - RECALL_LOST:
            lines.append(
                f"Heads of {size.low:g} to {size.high:g} px (root of the box's area): {size.recall:.0%} are found, "
                f"of all heads {recall:.0%}."
            )
    densities = by_density(tally(matches, at_count.score_threshold))
    for density in densities:
        if abs(density.bias) > HEADS_LOST * (density.low + density.high) / 2:
            few_or_many = "few" if density.bias < 0 else "many"
            most = density.high if density is densities[-1] else density.high - 1
            lines.append(
                f"Photos with {density.low:g} to {most:g} heads: counted {abs(density.bias):.1f} too "
                f"{few_or_many} on average ({photos(density.photos)})."
            )
    for name, session in at_score.sessions.items():
        if session.photos >= ENOUGH and session.kaggle < METRIC_KEPT * kaggle:
            lines.append(
                f"{name} ({photos(session.photos)}): Kaggle metric {session.kaggle:.2f}, of all photos {kaggle:.2f}."
            )
    return lines
