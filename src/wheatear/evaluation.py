"""How good detections are: the Kaggle metric, ADA, AP and the counting errors, overall and per session.

The Kaggle metric is that of the Global Wheat Detection competition (2020): for each photo, the mean over the
IoU thresholds 0.50:0.05:0.75 of TP / (TP + FP + FN); then the mean over photos. The competition's description
counts a match if the IoU is "greater than" the threshold, the code that its participants shared if it is "at
least" the threshold; ours follows the code, except for its "+1" in box sizes: our boxes are half-open. A
photo without heads scores 0 if anything is detected in it, as the description says, and 1 if nothing is,
which the description leaves open.

ADA (average domain accuracy) is that of the Global Wheat Challenge 2021 (David et al., Plant Phenomics 2021):
TP / (TP + FP + FN) at IoU 0.5, averaged over the photos of a session, then over sessions. A photo whose
session is unknown belongs to none: if any other photo's session is known, it counts towards every figure
except ADA. If no session is known at all, sources are used instead of sessions (Kaggle's layout gives none
for a photo without heads), and if those are unknown too, all photos form one group.

Shape letters: P photos, S score thresholds.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from wheatear.average_precision import average_precision
from wheatear.counting import CountErrors, count_errors
from wheatear.data.sample import Sample
from wheatear.detections import Detections
from wheatear.errors import InputError
from wheatear.matching import Matches, Tally, match, tally
from wheatear.words import composed

KAGGLE_IOUS = np.arange(50, 80, 5) / 100  # the first is also that of ADA, precision and recall
SCORE_THRESHOLDS = np.arange(2, 99) / 100  # from the detectors' score floor up

AP = tuple[float, float] | tuple[None, None]  # AP50 and AP50:95

_NOTHING = Detections(np.zeros((0, 4)), np.zeros(0))


@dataclass(frozen=True)
class Metrics:
    """The figures for a set of photos, all at the score threshold except AP.

    photos, heads, found: the numbers of photos, labelled heads and detections.
    kaggle, ada: 0..1; for a single session, ada is the mean accuracy at IoU 0.5 over its photos.
    ap50, ap50_95: 0..1, over all detections, whatever their score; None without heads.
    precision, recall: 0..1 at IoU 0.5, over all photos together; None without detections (precision) or
    without heads (recall).
    count: the counting errors; see counting.CountErrors.
    """

    photos: int
    heads: int
    found: int
    kaggle: float
    ada: float
    ap50: float | None
    ap50_95: float | None
    precision: float | None
    recall: float | None
    count: CountErrors


@dataclass(frozen=True)
class Evaluation:
    """The metrics of all photos and of each session (by name, sorted), at one score threshold."""

    score_threshold: float
    overall: Metrics
    sessions: dict[str, Metrics]

    def to_dict(self) -> dict[str, Any]:
        """A nested dict of plain numbers, strings and None only, for JSON."""
        return asdict(self)

    def title(self, name: str) -> str:
        """A title for the table, after a name such as at_score_threshold: "At score threshold 0.50"."""
        return f"{name.replace('_', ' ')} {self.score_threshold:.2f}".capitalize()

    def table(self) -> list[list[str]]:
        """Rows of text: a header, one row per session, and "all" last; "–" where a figure is undefined."""
        header = ["session", "photos", "heads", "found", "Kaggle", "ADA", "AP50", "AP50:95"]
        header += ["precision", "recall", "MAE", "RMSE", "bias", "R²"]
        return [header, *[_row(*each) for each in self.sessions.items()], _row("all", self.overall)]


@dataclass(frozen=True)
class Thresholds:
    """The score thresholds with the best Kaggle metric and with the lowest count MAE."""

    kaggle: float
    count: float


@dataclass(frozen=True, eq=False)
class Sweep:
    """Figures at each score threshold, (S,) float64: Kaggle metric in 0..1, MAE of the counts in heads."""

    thresholds: np.ndarray
    kaggle: np.ndarray
    count_mae: np.ndarray

    def best(self) -> Thresholds:
        """The best threshold for each purpose; the lowest of equals."""
        return Thresholds(
            kaggle=float(self.thresholds[self.kaggle.argmax()]),
            count=float(self.thresholds[self.count_mae.argmin()]),
        )


def evaluate(
    truth: Sequence[Sample], detections: Mapping[str, Detections], score_threshold: float
) -> Evaluation:
    """Compare detections with the labelled heads of the photos in truth.

    detections are keyed by the photo's file name, with or without its extension or leading folders; a photo
    without a key has no detections. Those below score_threshold, 0..1, are ignored except by AP. Photos are
    grouped by session, or by source if the session is unknown; for ADA's groups see the module
    wheatear.evaluation. InputError if there are no photos, and for a key that matches no photo in truth (to
    evaluate a part of a dataset, see select), matches several, or matches the same photo as another key.
    ValueError for a threshold outside 0..1.
    """
    (evaluation,) = evaluate_at(truth, detections, [score_threshold])
    return evaluation


def evaluate_at(
    truth: Sequence[Sample], detections: Mapping[str, Detections], score_thresholds: Sequence[float]
) -> list[Evaluation]:
    """What evaluate gives at each of the score thresholds; what does not depend on them is computed once."""
    for threshold in score_thresholds:
        if not 0 <= threshold <= 1:
            raise ValueError(f"score_threshold must lie in 0..1, got {threshold}")
    found = by_photo(truth, detections)
    matches, groups = match_photos(truth, found), by_session(truth)
    ap = _ap(truth, found, range(len(truth)))
    ap_of = {name: ap if len(groups) == 1 else _ap(truth, found, group) for name, group in groups.items()}
    averaged = domains(truth)
    evaluations = []
    for threshold in score_thresholds:
        counts = tally(matches, threshold)
        accuracy = counts.accuracy()[0]
        sessions = {}
        for name, members in groups.items():
            own = counts.of(np.array(members))
            sessions[name] = _metrics(own, ap_of[name], float(accuracy[members].mean()))
        ada = float(np.mean([accuracy[members].mean() for members in averaged]))
        evaluations.append(Evaluation(float(threshold), _metrics(counts, ap, ada), sessions))
    return evaluations


def sweep(
    truth: Sequence[Sample],
    detections: Mapping[str, Detections],
    thresholds: np.ndarray = SCORE_THRESHOLDS,
) -> Sweep:
    """The figures at each of the score thresholds (S,). Arguments and errors are as in evaluate."""
    matches = match_photos(truth, by_photo(truth, detections))
    tallies = [tally(matches, threshold) for threshold in thresholds]
    kaggle = [one.accuracy().mean() for one in tallies]
    count_mae = [np.abs(one.found - one.heads).mean() for one in tallies]
    return Sweep(np.asarray(thresholds, np.float64), np.array(kaggle), np.array(count_mae))


def best_threshold(truth: Sequence[Sample], detections: Mapping[str, Detections]) -> Thresholds:
    """The best of SCORE_THRESHOLDS for each purpose; the lowest of equals. Errors are as in evaluate."""
    return sweep(truth, detections).best()


def select(
    detections: Mapping[str, Detections], known: Sequence[Sample], chosen: Sequence[Sample]
) -> dict[str, Detections]:
    """The detections of some photos (chosen) of a dataset (known, which contains them), by file name.

    InputError for detections of a photo that is not in known; the others of evaluate apply too.
    """
    found = {sample.path: each for sample, each in zip(known, by_photo(known, detections), strict=True)}
    return {sample.path.name: found[sample.path] for sample in chosen}


def by_photo(truth: Sequence[Sample], detections: Mapping[str, Detections]) -> list[Detections]:
    """The detections of each photo, in truth's order; empty for a photo without a key. Errors: as in evaluate."""
    if not truth:
        raise InputError("there are no photos to evaluate; name a folder or a split that has some")
    files, stems = defaultdict[str, set[int]](set), defaultdict[str, set[int]](set)
    for place, sample in enumerate(truth):
        files[composed(sample.path.name)].add(place)
        stems[sample.name].add(place)
    found: dict[int, Detections] = {}
    for written, each in detections.items():
        name = composed(written)
        last = PurePosixPath(name).name
        there = files.get(name) or stems.get(name) or files.get(last) or stems.get(last, set())
        problem = _misnamed(there, found)
        if problem:
            raise InputError(f"detections of '{name}': {problem}")
        found[min(there)] = each
    return [found.get(place, _NOTHING) for place in range(len(truth))]


def _misnamed(places: set[int], found: Mapping[int, Detections]) -> str | None:
    """What is wrong with a name that matches the photos at these indices; None if nothing is.

    found: the indices of the photos that have their detections already.
    """
    if not places:
        return "no such photo among the labels; drop them or add its labels"
    if len(places) > 1:
        return "several photos have that name; write the file's ending"
    if places & found.keys():
        return "given more than once, as with another folder or without the file's ending; choose one"
    return None


def by_session(truth: Sequence[Sample]) -> dict[str, list[int]]:
    """The indices in truth of each session's photos, by session name (or source name), sorted by name."""
    return _places([sample.session_or_source for sample in truth])


def domains(truth: Sequence[Sample]) -> list[list[int]]:
    """The indices in truth of each group that ADA averages over: known sessions, else known sources, else all."""
    for names in ([sample.session for sample in truth], [sample.source for sample in truth]):
        if known := [places for name, places in _places(names).items() if name]:
            return known
    return [list(range(len(truth)))]


def _places(names: Sequence[str]) -> dict[str, list[int]]:
    """The indices at which each name stands, sorted by name."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    return dict(sorted(places.items()))


def match_photos(
    truth: Sequence[Sample], found: Sequence[Detections], iou_thresholds: np.ndarray = KAGGLE_IOUS
) -> list[Matches]:
    """Each photo's detections, in the order of by_photo, matched to its heads."""
    return [match(sample.boxes, each, iou_thresholds) for sample, each in zip(truth, found, strict=True)]


def _ap(truth: Sequence[Sample], found: Sequence[Detections], members: Sequence[int]) -> AP:
    return average_precision([truth[i].boxes for i in members], [found[i] for i in members])


def _metrics(counts: Tally, ap: AP, ada: float) -> Metrics:
    ap50, ap50_95 = ap
    hits, heads, detected = int(counts.hits[0].sum()), int(counts.heads.sum()), int(counts.found.sum())
    return Metrics(
        photos=len(counts.heads),
        heads=heads,
        found=detected,
        kaggle=float(counts.accuracy().mean()),
        ada=ada,
        ap50=ap50,
        ap50_95=ap50_95,
        precision=hits / detected if detected else None,
        recall=hits / heads if heads else None,
        count=count_errors(counts.heads, counts.found),
    )


def _row(name: str, figures: Metrics) -> list[str]:
    shares = [figures.kaggle, figures.ada, figures.ap50, figures.ap50_95, figures.precision, figures.recall]
    count = figures.count
    return [
        name,
        *[str(number) for number in (figures.photos, figures.heads, figures.found)],
        *[_text(share, ".3f") for share in shares],
        *[_text(number, ".2f") for number in (count.mae, count.rmse)],
        _text(count.bias, "+.2f"),
        _text(count.r2, ".3f"),
    ]


def _text(number: float | None, form: str) -> str:
    return "–" if number is None else format(number, form)
