import pytest

from wheatear.interval import CountingError, counting_error, figures


def test_the_interval_grows_in_proportion_above_vals_mean():
    error = CountingError(rmse=5, mean_heads=50)
    assert error.around(50) == pytest.approx((50 - 9.8, 50 + 9.8))
    assert error.around(500) == pytest.approx((500 - 98, 500 + 98))
    assert error.around(3) == pytest.approx((0, 12.8))
    assert CountingError(5, 50, interval_factor=2).around(50) == pytest.approx((50 - 19.6, 50 + 19.6))


def test_the_error_in_a_card():
    def of(rmse, threshold):
        overall = {"photos": 40, "heads": 2000, "count": {"rmse": rmse}}
        return {"score_threshold": threshold, "overall": overall}

    val = {"val": {"at_score_threshold": of(5, 0.7)}}
    assert counting_error(val, 0.7) == CountingError(5, 50)
    assert counting_error(val, 0.7, interval_factor=1.5) == CountingError(5, 50, 1.5)
    both = {"val": {"at_score_threshold": of(5, 0.7), "at_count_threshold": of(4, 0.6)}}
    assert [counting_error(both, at) for at in (0.7, 0.6)] == [CountingError(5, 50), CountingError(4, 50)]
    for threshold in (0.65, 0.695):  # nobody measured it there
        assert counting_error(both, threshold) is None
    empty = {"score_threshold": 0.7, "overall": {"photos": 40, "heads": 0, "count": {"rmse": 1}}}
    few = {"score_threshold": 0.7, "overall": {"photos": 9, "heads": 450, "count": {"rmse": 0}}}
    for card in (
        {},
        {"val": {}},
        {"val": None},
        *({"val": {"at_score_threshold": no}} for no in (empty, few)),
    ):
        assert counting_error(card, 0.7) is None


def test_figures_of_a_row():
    error = CountingError(rmse=5, mean_heads=50)
    assert figures(50, None, None) == [50, "", "", "", "", "", ""]
    assert figures(50, 2.0, None) == [50, "", "", 2.0, 25.0, "", ""]
    assert figures(50, 2.0, error) == [50, 40.2, 59.8, 2.0, 25.0, 20.1, 29.9]
    assert figures(50, 0.1, error)[4:] == [500.0, 402.0, 598.0]
    assert figures(51, 0.1, error)[4:] == [510.0, 410.04, 609.96]  # of the ends before they are rounded
    assert figures(0, 0.0, error) == [0, 0.0, 9.8, 0, "", "", ""]
