"""The order of what is learned from."""

import torch

from wheatear.train import order
from wheatear.train.order import EpochShuffle, epoch_seed, loader

POINTS = list(range(10))


def test_each_epoch_has_an_order_of_its_own_that_the_seed_says():
    sampler, orders = EpochShuffle(20, seed=4), []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
        assert list(sampler) == orders[-1]
        assert sorted(orders[-1]) == list(range(20))
    assert len({tuple(order) for order in orders}) == 3
    again = EpochShuffle(20, seed=4)
    again.set_epoch(2)  # without the epochs before
    assert list(again) == orders[2]
    assert list(EpochShuffle(20, seed=5)) != orders[0]
    assert len(sampler) == 20


def test_no_two_epochs_of_any_two_runs_share_a_seed():
    seeds = {epoch_seed(seed, epoch) for seed in range(50) for epoch in range(200)}
    assert len(seeds) == 50 * 200


def test_a_loader_without_a_seed_keeps_the_order():
    assert [x.tolist() for x in loader(POINTS, 4, None)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    shuffled = torch.cat(list(loader(POINTS, 4, 0))).tolist()
    assert shuffled != sorted(shuffled)
    assert sorted(shuffled) == list(range(10))


def test_a_loader_may_put_batches_together_its_own_way():
    assert [len(batch) for batch in loader([1, 2, 3], 2, None, list)] == [2, 1]
    assert next(iter(loader([1, 2, 3], 2, None, list))) == [1, 2]


def test_many_processes_have_as_many_each(monkeypatch):
    """More than twice as many as there are items, too."""
    for length, world in ((7, 3), (3, 8), (1, 4)):
        shares = []
        for rank in range(world):
            monkeypatch.setattr(order, "processes", lambda rank=rank, world=world: (rank, world))
            shuffle = EpochShuffle(length, seed=2)
            shares.append(list(shuffle))
            assert len(shares[-1]) == len(shuffle)
        assert {item for share in shares for item in share} == set(range(length))


def test_one_process_has_the_whole_shuffle():
    shuffle = EpochShuffle(7, seed=2)
    assert sorted(shuffle) == list(range(7))
    assert len(shuffle) == 7
