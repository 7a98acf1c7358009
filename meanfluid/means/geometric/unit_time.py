"""Integration over a unit of time of states on a grid, with steps halved until they suffice."""

from collections.abc import Callable
from typing import Any

import numpy as np

from meanfluid.trajectories.tableaux import dop853

_MOST_STEPS = 512
# Halving the step divides the error of a scheme of order 8 by 256; half of that is counted on.
_GAIN = 128.0


def evolved(
    rate: Callable[[Any], Any], start: Any, tolerance: float, steps: int | None = None
) -> tuple[Any, int]:
    """Solve d(state)/dt = rate(state) from time 0 to 1 by equal steps of `dop853`.

    Parameters
    ----------
    rate : callable
    start : array
    tolerance : float
        Largest error at any entry, estimated by halving the steps.
    steps : int, optional
        Take these, and estimate nothing.

    Returns
    -------
    state, steps

    Raises
    ------
    ValueError
        If the steps get too many.
    """
    if steps is not None:
        return _stepped(rate, start, steps), steps
    count, before = 1, _stepped(rate, start, 1)
    while count < _MOST_STEPS:
        count *= 2
        after = _stepped(rate, start, count)
        if float(np.abs(after - before).max()) <= _GAIN * tolerance:
            return after, count
        before = after
    raise ValueError(
        f"expected a flow that {_MOST_STEPS} steps resolve to {tolerance:.1e}; the field is too "
        "strong for its grid or not finite: weaken it, or raise the tolerance"
    )


def _stepped(rate: Callable[[Any], Any], state: Any, steps: int) -> Any:
    size = 1.0 / steps
    for _ in range(steps):
        slopes: list[Any] = []
        for row in dop853.a.tolist():
            stage = state
            for weight, slope in zip(row, slopes, strict=False):
                if weight != 0.0:
                    stage = stage + (size * weight) * slope
            slopes.append(rate(stage))
        for weight, slope in zip(dop853.b.tolist(), slopes, strict=True):
            if weight != 0.0:
                state = state + (size * weight) * slope
    return state
