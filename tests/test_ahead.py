import threading

import pytest

from wheatear.ahead import ahead


def test_results_come_in_order():
    assert list(ahead(lambda n: n * n, range(20), threads=4)) == [n * n for n in range(20)]
    assert list(ahead(str, [])) == []


@pytest.mark.parametrize("threads", [1, 3])
def test_no_more_than_a_few_items_are_taken_ahead(threads):
    taken = []
    results = ahead(taken.append, range(100), threads)
    for used in range(1, 20):
        next(results)
        assert used <= len(taken) <= used + threads


def test_the_next_item_is_worked_on_while_a_result_is_used():
    began = [threading.Event() for _ in range(3)]

    def work(n: int) -> int:
        began[n].set()
        return n

    results = ahead(work, range(3))
    assert next(results) == 0
    assert began[1].wait(10)
    results.close()


def test_an_error_comes_at_its_turn_and_nothing_further_is_begun():
    def fail_at_2(n: int) -> int:
        if n == 2:
            raise OSError("full")
        return n

    items = iter(range(100))
    results = ahead(fail_at_2, items)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(OSError, match="full"):
        next(results)
    assert next(items) <= 4


def test_closing_closes_what_it_reads():
    closed = []

    def numbers():
        try:
            yield from range(10)
        finally:
            closed.append(True)

    results = ahead(str, numbers())
    next(results)
    results.close()
    assert closed == [True]


def test_what_is_in_work_is_told_to_stop_before_it_is_waited_for():
    begun, stopping, told = threading.Event(), threading.Event(), []

    def wait(n: int) -> int:
        if n:
            begun.set()
            told.append(stopping.wait(10))
        return n

    results = ahead(wait, range(5), stopping=stopping)
    assert next(results) == 0
    assert begun.wait(10)
    results.close()
    assert told == [True]
