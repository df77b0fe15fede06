"""What a card says of the heads, photos and sessions that a detector does worst."""

from pathlib import Path

import numpy as np

from wheatear.data.sample import Sample
from wheatear.detections import Detections
from wheatear.evaluation import evaluate
from wheatear.known_failures import known_failures


def row(number: int, side: int) -> np.ndarray:
    """Heads of side² pixels, one beside the other: (number, 4)."""
    left = 2.0 * side * np.arange(number)
    return np.stack([left, np.zeros(number), left + side, np.full(number, side)], axis=1)


def described(photos: dict[str, tuple[np.ndarray, int]]) -> list[str]:
    """The failures where of each photo's heads, the first so many are found; its session is its name's letter."""
    samples = [
        Sample(Path(f"{name}.jpg"), boxes.astype(np.float32), 2000, 2000, session=name[0])
        for name, (boxes, _) in photos.items()
    ]
    found = {f"{name}.jpg": Detections(boxes[:n], np.full(n, 0.9)) for name, (boxes, n) in photos.items()}
    figures = evaluate(samples, found, 0.5)
    return known_failures(samples, found, figures, figures)


def test_a_detector_without_failures_has_none():
    assert described({"a1": (row(10, 20), 10), "b1": (row(20, 40), 20)}) == []


def test_small_heads_in_a_dense_photo():
    small = described({"a1": (row(40, 20), 20), "b1": (row(20, 40), 20), "b2": (row(20, 41), 20)})
    assert small == [  # and nothing of a session of one photo
        "Heads of 20 to 40 px (root of the box's area): 50% are found, of all heads 75%.",
        "Photos with 20 to 40 heads: counted 6.7 too few on average (3 photos).",
    ]


def test_a_session():
    sessions = {
        f"{session}{i}": (row(20, 40), heads) for session, heads in (("a", 10), ("b", 20)) for i in range(3)
    }
    assert described(sessions)[-1] == "a (3 photos): Kaggle metric 0.50, of all photos 0.75."


def test_boxes_are_judged_at_their_threshold_and_counts_at_theirs():
    """Of the small heads half have a score of 0.4, all others 0.9; all boxes overlap their heads by 0.6."""
    boxes = {"a.jpg": row(20, 20), "b.jpg": row(20, 40), "c.jpg": row(20, 41)}
    samples = [Sample(Path(name), heads.astype(np.float32), 2000, 2000) for name, heads in boxes.items()]
    scores = {"a.jpg": np.repeat([0.9, 0.4], 10), "b.jpg": np.full(20, 0.9), "c.jpg": np.full(20, 0.9)}
    found = {name: Detections(heads * [1, 1, 1, 0.6], scores[name]) for name, heads in boxes.items()}
    strict, lax = evaluate(samples, found, 0.5), evaluate(samples, found, 0.3)
    heads = "Heads of 20 to 40 px (root of the box's area): 50% are found, of all heads 83%."
    assert known_failures(samples, found, strict, lax) == [heads]
    counts = "Photos with 20 to 20 heads: counted 3.3 too few on average (3 photos)."
    assert known_failures(samples, found, lax, strict) == [counts]


def test_a_session_a_little_worse_than_all_is_no_failure():
    sessions = {f"{session}{i}": (row(20, 40), n) for session, n in (("a", 17), ("b", 20)) for i in range(3)}
    assert not any("Kaggle metric" in line for line in described(sessions))
