"""How good detections are: the Kaggle metric, ADA, AP and the counting errors, overall and per session.

The Kaggle metric is that of the Global Wheat Detection competition (2020): for a photo, the mean over IoU
0.50:0.05:0.75 of TP / (TP + FP + FN); then the mean over photos. The competition's text counts an IoU
"greater than" the threshold, the code that its competitors shared one of "at least"; ours follows the code,
but for its "+1": our boxes are half-open. A photo without heads scores 0 with any detection, as the text
says, and 1 with none, which the text leaves open.

ADA (average domain accuracy) is that of the Global Wheat Challenge 2021 (David et al., Plant Phenomics 2021):
TP / (TP + FP + FN) at IoU 0.5, averaged over the photos of a session, then over sessions. A photo of unknown session
belongs to none: among photos of known sessions it counts for every other figure, but not for ADA. Where no session is
known at all, the sources stand for the sessions (Kaggle's layout names none of a photo without heads), and where they
are not known either, all photos are one.

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

KAGGLE_IOUS = np.arange(50, 80, 5) / 100  # the first is also that of ADA, precision and recall
SCORE_THRESHOLDS = np.arange(2, 99) / 100  # from the detectors' score floor up

_NOTHING = Detections(np.zeros((0, 4)), np.zeros(0))


@dataclass(frozen=True)
class Metrics:
    """The figures of some photos. All but AP are at the score threshold.

    photos, heads, found: photos, heads in truth, detections.
    kaggle, ada: 0..1; for a single session ada is the mean accuracy at IoU 0.5 over its photos.
    ap50, ap50_95: 0..1, over all detections, whatever the score; None without heads.
    precision, recall: 0..1 at IoU 0.5 over all photos together; None without detections or without heads.
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
    """Metrics of all photos and of each session (by name, sorted), at one score threshold."""

    score_threshold: float
    overall: Metrics
    sessions: dict[str, Metrics]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: plain numbers, strings and None only."""
        return asdict(self)

    def table(self) -> list[list[str]]:
        """Rows of text: a header, a row for each session, "all" last; "–" where a figure is not defined."""
        header = ["session", "photos", "heads", "found", "Kaggle", "ADA", "AP50", "AP50:95"]
        header += ["precision", "recall", "MAE", "RMSE", "bias", "R²"]
        return [header, *[_row(*each) for each in self.sessions.items()], _row("all", self.overall)]


@dataclass(frozen=True, eq=False)
class Sweep:
    """Figures at each score threshold, (S,) float64: the Kaggle metric in 0..1, count MAE in heads."""

    thresholds: np.ndarray
    kaggle: np.ndarray
    count_mae: np.ndarray


@dataclass(frozen=True)
class Thresholds:
    """The score thresholds with the best Kaggle metric and with the lowest count MAE."""

    kaggle: float
    count: float


def evaluate(
    truth: Sequence[Sample], detections: Mapping[str, Detections], score_threshold: float
) -> Evaluation:
    """Compare detections with the heads in truth.

    detections are keyed by the photo's file name, with or without its ending and folders before it; a photo that has no
    key has no detections. Photos are grouped by session, or by source where the session is unknown; see above for ADA's
    groups. InputError for no photos, and for detections of a photo that is not in truth (see select) or given twice.
    ValueError for a threshold outside 0..1.
    """
    if not 0 <= score_threshold <= 1:
        raise ValueError(f"score_threshold must lie in 0..1, got {score_threshold}")
    found = by_photo(truth, detections)
    counts = tally(match_photos(truth, found), score_threshold)
    sessions = {}
    for name, members in by_session(truth).items():
        own = counts.of(np.array(members))
        accuracy = float(own.accuracy()[0].mean())
        sessions[name] = _metrics(own, [truth[i] for i in members], [found[i] for i in members], accuracy)
    ada = float(np.mean([sessions[name].ada for name in domains(truth)]))
    return Evaluation(float(score_threshold), _metrics(counts, truth, found, ada), sessions)


def sweep(
    truth: Sequence[Sample],
    detections: Mapping[str, Detections],
    thresholds: np.ndarray = SCORE_THRESHOLDS,
) -> Sweep:
    """Figures at each of the score thresholds (S,). Arguments and errors are those of evaluate."""
    matches = match_photos(truth, by_photo(truth, detections))
    tallies = [tally(matches, threshold) for threshold in thresholds]
    kaggle = [one.accuracy().mean() for one in tallies]
    count_mae = [np.abs(one.found - one.heads).mean() for one in tallies]
    return Sweep(np.asarray(thresholds, np.float64), np.array(kaggle), np.array(count_mae))


def best_threshold(truth: Sequence[Sample], detections: Mapping[str, Detections]) -> Thresholds:
    """The best of SCORE_THRESHOLDS by each aim; of equals the lowest. Errors are those of evaluate."""
    figures = sweep(truth, detections)
    return Thresholds(
        kaggle=float(figures.thresholds[figures.kaggle.argmax()]),
        count=float(figures.thresholds[figures.count_mae.argmin()]),
    )


def select(
    detections: Mapping[str, Detections], known: Sequence[Sample], chosen: Sequence[Sample]
) -> dict[str, Detections]:
    """The detections of some photos of a dataset (chosen, all of them in known), by file name.

    InputError for detections of a photo that is not known.
    """
    found = {sample.path: each for sample, each in zip(known, by_photo(known, detections), strict=True)}
    return {sample.path.name: found[sample.path] for sample in chosen}


def by_photo(truth: Sequence[Sample], detections: Mapping[str, Detections]) -> list[Detections]:
    """The detections of each photo, in truth's order; of no heads for a photo without a key. Errors: as evaluate."""
    if not truth:
        raise InputError("there are no photos to evaluate; name a folder or a split that has some")
    files, stems = defaultdict[str, set[int]](set), defaultdict[str, set[int]](set)
    for place, sample in enumerate(truth):
        files[sample.path.name].add(place)
        stems[sample.name].add(place)
    found: dict[int, Detections] = {}
    for name, each in detections.items():
        last = PurePosixPath(name).name
        there = files.get(name) or stems.get(name) or files.get(last) or stems.get(last, set())
        problem = _misnamed(there, found)
        if problem:
            raise InputError(f"detections of '{name}': {problem}")
        found[min(there)] = each
    return [found.get(place, _NOTHING) for place in range(len(truth))]


def _misnamed(places: set[int], found: Mapping[int, Detections]) -> str | None:
    """What is wrong with a name that stands for the photos at these places; None for one not found yet."""
    if not places:
        return "no such photo among the labels; drop them or add its labels"
    if len(places) > 1:
        return "several photos have that name; write the file's ending"
    if places & found.keys():
        return "given both with and without the file's ending; choose one"
    return None


def by_session(truth: Sequence[Sample]) -> dict[str, list[int]]:
    """The places in truth of each session's photos, by the session's name (or the source's), sorted."""
    members: dict[str, list[int]] = {}
    for place, sample in enumerate(truth):
        members.setdefault(sample.session_or_source, []).append(place)
    return dict(sorted(members.items()))


def domains(truth: Sequence[Sample]) -> list[str]:
    """Those of by_session's names that ADA is averaged over: known sessions, or known sources, or all photos as one."""
    sessions = {sample.session for sample in truth} - {""}
    sources = {sample.source for sample in truth} - {""}
    return sorted(sessions or sources) or list(by_session(truth))


def match_photos(
    truth: Sequence[Sample], found: Sequence[Detections], iou_thresholds: np.ndarray = KAGGLE_IOUS
) -> list[Matches]:
    """Each photo's detections, as by_photo orders them, matched to its heads."""
    return [match(sample.boxes, each, iou_thresholds) for sample, each in zip(truth, found, strict=True)]


def _metrics(counts: Tally, truth: Sequence[Sample], found: Sequence[Detections], ada: float) -> Metrics:
    ap50, ap50_95 = average_precision([sample.boxes for sample in truth], found)
    hits, heads, detected = int(counts.hits[0].sum()), int(counts.heads.sum()), int(counts.found.sum())
    return Metrics(
        photos=len(truth),
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
