"""The box coder, the matcher and the sampler."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.detection import _utils as det_utils
from torchvision.ops import box_iou

import oracles
from wheatear.train.targets import TargetSettings, decode, encode, match, sample, sample_targets

torch.set_num_threads(1)

WEIGHTS = [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)]
SEEDS = st.integers(0, 2**31)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_boxes(n: int, generator: torch.Generator, whole: bool = False) -> Tensor:
    """n boxes of 2 to 40 px in about 100 px; whole pixels make equal IoUs likely."""
    corner = torch.rand(n, 2, generator=generator) * 100
    side = torch.rand(n, 2, generator=generator) * 38 + 2
    boxes = torch.cat([corner, corner + side], dim=1)
    return (boxes / 8).round() * 8 + torch.tensor([0.0, 0, 8, 8]) if whole else boxes


# box coder


def test_encode_by_hand():
    anchor = torch.tensor([[0.0, 0, 10, 20]])
    gt = torch.tensor([[5.0, 10, 25, 20]])  # centre (15, 15), 20 × 10; the anchor's (5, 10), 10 × 20
    ln2 = 0.693147
    torch.testing.assert_close(encode(gt, anchor), torch.tensor([[1.0, 0.25, ln2, -ln2]]))
    torch.testing.assert_close(
        encode(gt, anchor, (10, 10, 5, 5)), torch.tensor([[10, 2.5, 5 * ln2, -5 * ln2]])
    )


@pytest.mark.parametrize("weights", WEIGHTS)
def test_coder_is_torchvisions(weights):
    generator = seeded(0)
    gt, anchors = random_boxes(200, generator), random_boxes(200, generator)
    theirs = det_utils.BoxCoder(weights)
    torch.testing.assert_close(
        encode(gt, anchors, weights), theirs.encode_single(gt, anchors), atol=1e-4, rtol=0
    )
    deltas = torch.randn(200, 4, generator=generator) * 3 * torch.tensor(weights)
    assert (deltas[:, 2] / weights[2] > 4.2).any()  # some beyond the limit
    expected = theirs.decode_single(deltas, anchors)
    torch.testing.assert_close(decode(deltas, anchors, weights), expected, atol=1e-4, rtol=1e-5)


@given(seed=SEEDS, weights=st.sampled_from(WEIGHTS))
@settings(deadline=None, max_examples=30)
def test_coder_is_the_oracles_and_decode_undoes_encode(seed, weights):
    generator = seeded(seed)
    gt, anchors = random_boxes(5, generator), random_boxes(5, generator)
    deltas = encode(gt, anchors, weights)
    oracle = [oracles.encode(g, a, weights) for g, a in zip(gt.tolist(), anchors.tolist(), strict=True)]
    torch.testing.assert_close(deltas, torch.tensor(oracle), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(decode(deltas, anchors, weights), gt, atol=1e-3, rtol=0)
    wild = torch.randn(5, 4, generator=generator) * 6
    oracle = [oracles.decode(d, a, weights) for d, a in zip(wild.tolist(), anchors.tolist(), strict=True)]
    torch.testing.assert_close(decode(wild, anchors, weights), torch.tensor(oracle), atol=1e-2, rtol=1e-4)


def test_decode_limits_growth_and_keeps_the_anchors_precision():
    anchor = torch.tensor([[1000.0, 1000, 1016, 1016]])
    grown = decode(torch.tensor([[0.0, 0, 1e9, 0]]), anchor)[0]
    assert (grown[2] - grown[0]).item() == pytest.approx(1000, rel=1e-5)
    half = decode(torch.zeros(1, 4, dtype=torch.bfloat16), torch.tensor([[1001.5, 1, 1017.5, 17]]))
    assert half.tolist() == [[1001.5, 1, 1017.5, 17]]
    assert decode(torch.zeros(1, 4).double(), anchor).dtype == anchor.dtype


def test_coder_of_nothing():
    none = torch.zeros(0, 4)
    assert encode(none, none).shape == decode(none, none).shape == (0, 4)


# matcher


def test_match_by_hand():
    iou = torch.tensor(
        [
            [0.8, 0.7, 0.5, 0.3, 0.0, 0.0],
            [0.0, 0.1, 0.2, 0.0, 0.0, 0.4],
        ]
    )
    labels, matched = match(iou, 0.7, 0.3, allow_low_quality=True)
    assert labels.tolist() == [1, 1, -1, 0, 0, 1]  # the last is the best of the second head
    assert matched.tolist() == [0, 0, 0, 0, 0, 1]
    assert match(iou, 0.7, 0.3, allow_low_quality=False)[0].tolist() == [1, 1, -1, 0, 0, -1]


def test_background_never_overwrites_a_heads_best():
    labels, matched = match(torch.tensor([[0.05, 0.2, 0.2]]), 0.7, 0.3, allow_low_quality=True)
    assert labels.tolist() == [0, 1, 1]  # both of the equals
    assert matched.tolist() == [0, 0, 0]


def test_a_best_box_belongs_to_the_head_that_it_overlaps_most():
    iou = torch.tensor([[0.5, 0.0], [0.4, 0.3]])  # box 0 is the best of both heads
    labels, matched = match(iou, 0.7, 0.3, allow_low_quality=True)
    assert (labels.tolist(), matched.tolist()) == ([1, 0], [0, 1])


def test_a_head_that_no_box_touches_chooses_none_unlike_in_torchvision():
    iou = torch.tensor([[0.0, 0.0, 0.0], [0.8, 0.0, 0.1]])
    assert match(iou, 0.7, 0.3, allow_low_quality=True)[0].tolist() == [1, 0, 0]
    theirs = det_utils.Matcher(0.7, 0.3, allow_low_quality_matches=True)(iou)
    assert (theirs >= 0).all()  # what the guard is for; drop it should torchvision mend this


@pytest.mark.parametrize("allow_low_quality", [True, False])
def test_match_without_heads_or_boxes(allow_low_quality):
    labels, matched = match(torch.zeros(0, 3), 0.5, 0.2, allow_low_quality=allow_low_quality)
    assert (labels.tolist(), matched.tolist()) == ([0, 0, 0], [0, 0, 0])
    labels, matched = match(torch.zeros(2, 0), 0.5, 0.2, allow_low_quality=allow_low_quality)
    assert labels.shape == matched.shape == (0,)
    assert labels.dtype == matched.dtype == torch.int64


@given(seed=SEEDS, g=st.integers(0, 5), n=st.integers(0, 12), whole=st.booleans(), low=st.booleans())
@settings(deadline=None, max_examples=80)
def test_match_is_the_oracles(seed, g, n, whole, low):
    generator = seeded(seed)
    iou = box_iou(random_boxes(g, generator, whole), random_boxes(n, generator, whole))
    labels, matched = match(iou, 0.5, 0.25, allow_low_quality=low)
    assert (labels.tolist(), matched.tolist()) == oracles.match(iou.tolist(), n, 0.5, 0.25, low)


@pytest.mark.parametrize("low", [True, False])
def test_match_is_torchvisions(low):
    generator = seeded(1)
    anchors = random_boxes(500, generator)
    iou = box_iou(random_boxes(20, generator), anchors)
    assert (iou.amax(dim=1) > 0).all()
    labels, matched = match(iou, 0.6, 0.3, allow_low_quality=low)
    theirs = det_utils.Matcher(0.6, 0.3, allow_low_quality_matches=low)(iou)
    assert {-1, 0, 1} == set(labels.tolist())
    assert torch.equal(labels, torch.where(theirs >= 0, 1, torch.where(theirs == -1, 0, -1)))
    assert torch.equal(matched[labels == 1], theirs[theirs >= 0])


def test_iou_oracle_is_torchvisions():
    generator = seeded(2)
    a, b = random_boxes(10, generator), random_boxes(10, generator)
    oracle = torch.tensor([[oracles.iou(p, q) for q in b.tolist()] for p in a.tolist()])
    torch.testing.assert_close(oracle, box_iou(a, b), atol=1e-5, rtol=0)


# sampler


@given(
    seed=SEEDS,
    labels=st.lists(st.sampled_from([-1, 0, 1]), max_size=40),
    size=st.integers(0, 30),
    fraction=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
@settings(deadline=None, max_examples=60)
def test_sample_draws_as_many_as_torchvision_without_repetition(seed, labels, size, fraction):
    labels = torch.tensor(labels, dtype=torch.int64)
    index, drawn = sample(labels[None], size, fraction, seeded(seed))
    theirs = det_utils.BalancedPositiveNegativeSampler(size, fraction)([labels])
    assert index.shape == drawn.shape == (1, min(size, len(labels)))
    kept = index[drawn >= 0].tolist()
    assert labels[kept].tolist() == drawn[drawn >= 0].tolist()
    assert ((drawn == 1).sum(), (drawn == 0).sum()) == (theirs[0][0].sum(), theirs[1][0].sum())
    assert drawn[0].tolist() == sorted(drawn[0].tolist(), reverse=True)
    assert len(set(kept)) == len(kept)


def test_sample_is_fair_and_follows_its_generator_alone():
    labels = torch.tensor([[1, 0, 1, -1, 1, 1], [0, 0, 0, -1, 0, 1]])
    state = torch.get_rng_state()
    generator = seeded(0)
    counts = torch.zeros(2, 6)
    for _ in range(400):
        index, drawn = sample(labels, 2, 1.0, generator)
        assert (drawn[0] == 1).all()
        assert drawn[1].tolist() == [1, 0]
        counts.scatter_add_(1, index, torch.ones(2, 2))
    assert (counts[0, [0, 2, 4, 5]] / 400 - 0.5).abs().max() < 0.1
    assert (counts[1, [0, 1, 2, 4]] / 400 - 0.25).abs().max() < 0.1
    assert counts[:, 3].sum() == 0
    assert torch.equal(torch.get_rng_state(), state)
    first, again = sample(labels, 2, 1.0, seeded(3)), sample(labels, 2, 1.0, seeded(3))
    assert torch.equal(first[0], again[0])


# all of it


@given(seed=SEEDS, sizes=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30)), min_size=1, max_size=3))
@settings(deadline=None, max_examples=40)
def test_sample_targets_says_what_to_learn(seed, sizes):
    generator = seeded(seed)
    boxes = [random_boxes(n, generator) for _, n in sizes]
    gt = [random_boxes(g, generator) for g, _ in sizes]
    rule = TargetSettings(0.3, 0.1, 8, 0.5, True, weights=(10.0, 10.0, 5.0, 5.0))
    targets = sample_targets(boxes, gt, rule, generator)
    assert targets.target_deltas.shape == (len(targets.index), 4)
    assert torch.equal(targets.rois(), torch.cat([targets.image[:, None], targets.boxes], dim=1))
    assert targets.image.tolist() == sorted(targets.image.tolist())
    for image, (its_boxes, its_heads) in enumerate(zip(boxes, gt, strict=True)):
        table = [[oracles.iou(head, box) for box in its_boxes.tolist()] for head in its_heads.tolist()]
        expected, matched = oracles.match(table, len(its_boxes), 0.3, 0.1, True)
        own = targets.image == image
        index, labels = targets.index[own].tolist(), targets.labels[own].tolist()
        assert len(index) == len(set(index)) == min(8, min(4, expected.count(1)) + expected.count(0))
        assert labels == sorted(labels, reverse=True)
        assert torch.equal(targets.boxes[own], its_boxes[index])
        for i, label, deltas in zip(index, labels, targets.target_deltas[own], strict=True):
            assert label == expected[i]
            if label == 1:
                moved = decode(deltas[None], its_boxes[i : i + 1], rule.weights)[0]
                torch.testing.assert_close(moved, its_heads[matched[i]], atol=1e-3, rtol=0)
            else:
                assert not deltas.any()


@pytest.mark.parametrize(
    ("changed", "heads", "background"),
    [
        ({}, 2, 2),
        ({"bg_iou_thresh": 0.1}, 2, 1),
        ({"positive_fraction": 0.25}, 1, 2),
        ({"batch_size_per_image": 2}, 1, 1),
    ],
)
def test_settings_reach_the_matcher_and_the_sampler(changed, heads, background):
    """The boxes overlap the head by 1, 0.9, 0.2 and 0."""
    gt = torch.tensor([[0.0, 0, 10, 10]])
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 2], [50, 50, 60, 60]])
    common = {"fg_iou_thresh": 0.5, "bg_iou_thresh": 0.2, "batch_size_per_image": 4, "positive_fraction": 0.5}
    rule = TargetSettings(allow_low_quality=False, **common | changed)
    labels = sample_targets([boxes], [gt], rule, seeded(0)).labels.tolist()
    assert (labels.count(1), labels.count(0)) == (heads, background)
