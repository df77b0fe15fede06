"""How far counts are from the true numbers. Shape letter: P photos."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CountErrors:
    """Errors of the counts per photo.

    mae, rmse: mean absolute and root mean square error, in heads.
    bias: mean of predicted - true, in heads; above 0 if too many are counted.
    r2:   coefficient of determination, 1 - SSE / SST: at most 1, and below 0 if the mean of the true counts
          would be a better prediction. None for fewer than two photos, and if all have the same true count.
    """

    mae: float
    rmse: float
    bias: float
    r2: float | None


def count_errors(true: np.ndarray, predicted: np.ndarray) -> CountErrors:
    """Errors of the predicted counts (P,) of one or more photos. ValueError if there are none."""
    if not len(true):
        raise ValueError("the errors of no counts are not defined")
    error = predicted.astype(np.float64) - true
    spread = float(((true - true.mean()) ** 2).sum())
    return CountErrors(
        mae=float(np.abs(error).mean()),
        rmse=float(np.sqrt((error**2).mean())),
        bias=float(error.mean()),
        r2=1 - float((error**2).sum()) / spread if spread > 0 else None,
    )
