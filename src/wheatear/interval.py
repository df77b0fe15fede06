"""The uncertainty of a count: the interval that contains the true number of heads for about 95 of 100 photos."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

NORMAL_95 = 1.96  # standard deviations on each side of the mean that contain 95 % of a normal distribution
ENOUGH = 10  # photos on which a counting error is measured
FIGURES = (
    "heads", "heads_low", "heads_high", "area_m2", "heads_per_m2", "heads_per_m2_low", "heads_per_m2_high",
)  # fmt: skip


class Interval(NamedTuple):
    """The ends of an interval that contains the true number of heads for about 95 of 100 photos."""

    low: float
    high: float


@dataclass(frozen=True)
class CountingError:
    """How far off the detector's counts were on val, per photo: root mean square error, and mean number of heads.

    interval_factor: the card's factor by which intervals are wider than for photos like those of val.
    """

    rmse: float
    mean_heads: float
    interval_factor: float = 1.0

    @property
    def margin(self) -> float:
        """The half-width, in heads, of the interval of a count of at most mean_heads."""
        return NORMAL_95 * self.rmse * self.interval_factor

    def around(self, heads: int) -> Interval:
        """Count ± 1.96 RMSE × interval_factor, and proportionally more if heads exceeds mean_heads; never below 0.

        It is proportional to the count, not to its square root, as errors within one field tend in the same
        direction.
        """
        margin = self.margin * max(1.0, heads / self.mean_heads)
        return Interval(max(0.0, heads - margin), heads + margin)


def counting_error(
    figures: Mapping[str, object], threshold: float, interval_factor: float = 1.0
) -> CountingError | None:
    """The error in a model card's figures at a score threshold; None if it was not measured there on val.

    Nor is it known from fewer than ENOUGH photos, which may happen to be counted exactly.
    """
    val = figures.get("val")
    if not isinstance(val, dict):
        return None
    try:
        for measured in filter(None, map(val.get, ("at_count_threshold", "at_score_threshold"))):
            overall = measured["overall"]
            mean = overall["heads"] / overall["photos"]
            if (
                mean > 0
                and overall["photos"] >= ENOUGH
                and math.isclose(measured["score_threshold"], threshold, abs_tol=1e-9)
            ):
                return CountingError(float(overall["count"]["rmse"]), mean, interval_factor)
    except (TypeError, KeyError, ZeroDivisionError):
        pass
    return None


def figures(heads: int, area_m2: float | None, error: CountingError | None) -> list[str | float]:
    """The values of the columns FIGURES in a table; "" where unknown."""
    ends = [] if error is None else list(error.around(heads))
    low, high = [round(end, 1) for end in ends] or ("", "")
    if area_m2 is None:
        return [heads, low, high, "", "", "", ""]
    if not area_m2:
        return [heads, low, high, 0, "", "", ""]
    per_m2 = [round(number / area_m2, 2) for number in (heads, *ends)]
    return [heads, low, high, round(area_m2, 4), *(per_m2 if ends else [*per_m2, "", ""])]
