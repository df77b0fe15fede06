"""Matrix NMS against the paper's formula, written slowly, and votes by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import box_iou, nms

from wheatear.train.suppression import matrix_nms, unsuppressed, vote

torch.set_num_threads(1)


def slow_matrix_nms(boxes: Tensor, scores: Tensor) -> list[float]:
    order = scores.argsort(descending=True).tolist()
    iou = box_iou(boxes, boxes)
    lowered = scores.tolist()
    for place, j in enumerate(order):
        shares = [1.0]
        for rank, i in enumerate(order[:place]):
            covered = max((iou[k, i].item() for k in order[:rank]), default=0.0)
            shares.append((1 - iou[i, j].item()) / max(1 - covered, 1e-6))
        lowered[j] *= min(shares)
    return lowered


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 12), st.integers(0, 2**31))
def test_it_is_the_papers_formula(n: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    corners = 20 * torch.rand(n, 2, generator=generator)
    boxes = torch.cat([corners, corners + 5 + 20 * torch.rand(n, 2, generator=generator)], dim=1)
    scores = torch.rand(n, generator=generator)
    lowered = matrix_nms(boxes, scores)
    assert torch.allclose(lowered, torch.tensor(slow_matrix_nms(boxes, scores)), atol=1e-5)
    assert (lowered <= scores).all()


def test_by_hand():
    """The second overlaps the best by a third and keeps two thirds; the third stands alone; the fourth repeats it."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 5, 10, 15], [50, 50, 60, 60], [50, 50, 60, 60]])
    lowered = matrix_nms(boxes, torch.tensor([0.9, 0.6, 0.8, 0.7]))
    assert torch.allclose(lowered, torch.tensor([0.9, 0.4, 0.8, 0.0]), atol=1e-6)


def test_boxes_vote_for_a_mean_weighted_by_their_scores():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 4], [50, 50, 60, 60]])
    scores = torch.tensor([0.6, 0.3, 0.5, 0.55])
    means, surely = vote(boxes[[0, 3]], boxes, scores, 0.8)
    # The second box overlaps the first by 0.9, half way from 0.8 to 1, so it has half of its weight.
    assert means.tolist() == [[50, 50, 60, 60], [0, 0, 10, pytest.approx((0.6 * 10 + 0.15 * 9) / 0.75)]]
    assert surely.tolist() == pytest.approx(
        [0.55, (0.6**2 + 0.15 * 0.3) / 0.75]
    )  # now the fourth comes first


def test_autocast_does_not_round_the_votes():
    boxes = torch.tensor([[695.3, 701.2, 760.1, 770.6], [697.1, 702.4, 761.7, 769.9]])
    scores = torch.tensor([0.9, 0.7])
    expected = vote(boxes[:1], boxes, scores, 0.5)
    with torch.autocast("cpu", torch.bfloat16):
        found = vote(boxes[:1], boxes, scores, 0.5)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_no_boxes_have_no_votes():
    none = torch.zeros(0, 4)
    assert [tuple(t.shape) for t in vote(none, none, torch.zeros(0), 0.7)] == [(0, 4), (0,)]
    assert [tuple(t.shape) for t in vote(none, torch.ones(2, 4), torch.ones(2), 0.7)] == [(0, 4), (0,)]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(0, 40), st.integers(0, 2**31))
def test_many_sets_at_once_keep_what_an_nms_keeps_of_each(sets: int, n: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    corners = 30 * torch.rand(sets, n, 2, generator=generator)
    boxes = torch.cat([corners, corners + 5 + 20 * torch.rand(sets, n, 2, generator=generator)], dim=2)
    there = torch.rand(sets, n, generator=generator) < 0.8
    kept = unsuppressed(boxes, there, 0.3)
    for its_boxes, its_there, its_kept in zip(boxes, there, kept, strict=True):
        (index,) = torch.where(its_there)
        best_first = torch.arange(len(index), 0, -1, dtype=torch.float32)
        expected = index[nms(its_boxes[index], best_first, 0.3)]
        assert torch.where(its_kept)[0].tolist() == sorted(expected.tolist())
