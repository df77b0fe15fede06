"""The errors of counts, by hand."""

import numpy as np
import pytest

from wheatear.counting import count_errors


def test_count_errors_by_hand():
    errors = count_errors(np.array([1, 2, 6]), np.array([1, 4, 3]))
    assert errors.mae == pytest.approx(5 / 3)
    assert errors.rmse == pytest.approx(np.sqrt(13 / 3))
    assert errors.bias == pytest.approx(-1 / 3)
    assert errors.r2 == pytest.approx(1 - 13 / 14)  # the mean is 3; SST = 4 + 1 + 9


def test_r2_needs_two_photos_that_differ():
    assert count_errors(np.array([3]), np.array([3])).r2 is None
    assert count_errors(np.array([3, 3]), np.array([3, 4])).r2 is None
    assert count_errors(np.array([3, 4]), np.array([3, 4])).r2 == 1
    with pytest.raises(ValueError, match="no counts"):
        count_errors(np.zeros(0, int), np.zeros(0, int))
