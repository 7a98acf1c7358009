"""Means of arrays and datasets at fixed places: over time, an ensemble, a phase, a circle.

All four take arrays with ``axis=``, or xarray objects with ``dim=``, and give back the same without
that axis. Means of a *formula* over time are those of `eulerian_mean`, which integrates it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.backends import devices
from meanfluid.means import cf
from meanfluid.means.reduction import Plan, points_of, reduced
from meanfluid.means.sample_rules import cells, circle, members, trapezoid

_TOUCHING = 1e-6  # of a cell: how far two cells may be apart that touch


def time_mean(
    data: Any,
    time: ArrayLike | None = None,
    *,
    axis: int | None = None,
    dim: str | None = None,
    skip_missing: bool = False,
    keepdims: bool = False,
    return_error: bool = False,
) -> Any:
    """Mean of samples over the window from the first to the last time, by the trapezoidal rule.

    Parameters
    ----------
    data : array, DataArray or Dataset
        Instantaneous values; or, if `cell_methods` says so, means over cells, which are weighted
        by the widths that the bounds in a dataset give. Of a dataset the variables that have `dim`
        are averaged.
    time : (n,), time
        Of an array: when the samples were taken, in order, at any spacing. An xarray object has
        its own.
    axis : int
        Of an array: along which to average.
    dim : str
        Of an xarray object: along which to average. Its coordinate holds numbers or dates.
    skip_missing : bool
        Whether to bridge samples that are NaN by a straight line between their neighbours; where
        the first or last is missing, the window is shorter. By default they are refused.
    keepdims : bool
        Of an array: whether to keep the axis, with length 1.
    return_error : bool
        Whether to return the estimated error of the rule too: NaN where there are fewer than three
        samples. It assumes that the samples resolve the signal.

    Returns
    -------
    array, DataArray or Dataset
        And the error, if asked for; a dataset holds it as one more variable, ``<name>_error``.
        xarray objects keep their units, say how they were averaged in `cell_methods`, and carry
        the middle of the window as a coordinate and its ends as bounds.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range, times are not in order, or a sample is
        not finite.

    Examples
    --------
    >>> t = np.array([0.0, 1.0, 3.0])
    >>> time_mean(2.0 * t, t, axis=0).item()
    3.0
    """
    if cf.is_xarray(data) == (time is not None):
        raise TypeError(
            "time_mean of an array needs the times of the samples, (n,); an xarray object has its "
            "own, along dim="
        )
    return reduced(
        data, _over_time, axis=axis, dim=dim, skip_missing=skip_missing, keepdims=keepdims,
        return_error=return_error,
        coordinate=None if time is None else points_of(time, "time"),
    )  # fmt: skip


def ensemble_mean(
    data: Any,
    *,
    weights: ArrayLike | None = None,
    axis: int | None = None,
    dim: str | None = None,
    skip_missing: bool = False,
    keepdims: bool = False,
    return_error: bool = False,
) -> Any:
    """Mean over the members of an ensemble.

    Parameters
    ----------
    data, axis, dim, keepdims
        As in `time_mean`. Values of formulas come from `observed`, one per member.
    weights : (members,), optional
        Not negative; they need not add up to one.
    skip_missing : bool
        Whether to average over the members that are not NaN.
    return_error : bool
        Whether to return the standard error of the mean too: with weights w it uses the effective
        number of members (sum w)^2 / sum w^2, and it assumes that members are independent.

    Returns
    -------
    As `time_mean` does, without a window.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range, or a sample is not finite.

    Examples
    --------
    >>> ensemble_mean([[1.0, 5.0], [3.0, 5.0]], axis=0)
    array([2., 5.])
    """

    def plan(coordinate: cf.Coordinate | None, count: int, means: bool) -> Plan:
        share = np.ones(count) if weights is None else np.asarray(devices.to_host(weights), float)
        if share.shape != (count,):
            raise ValueError(f"weights must have shape ({count},), got {share.shape}")
        if not (np.isfinite(share).all() and (share >= 0).all() and share.sum() > 0):
            raise ValueError(f"weights must be finite, not negative, and not all 0, got {share}")
        return Plan(members(share), "mean of members", error="standard error")

    return reduced(
        data, plan, axis=axis, dim=dim, skip_missing=skip_missing, keepdims=keepdims,
        return_error=return_error,
    )  # fmt: skip


def phase_mean(
    data: Any,
    *,
    points: int | None = None,
    period: float | None = None,
    axis: int | None = None,
    dim: str | None = None,
    skip_missing: bool = False,
    keepdims: bool = False,
    return_error: bool = False,
) -> Any:
    """Mean over a phase, from equally spaced phases around the circle.

    The rule converges faster than any power of the number of phases if the values are smooth.

    Parameters
    ----------
    data : array, DataArray, Dataset, or callable ``phase -> array``
        A callable is called at `points` phases from 0, in radians (or parts of `period`).
    points : int
        Of a callable: how many phases. An even number is needed to estimate the error.
    period : float, optional
        A full turn. By default that of the unit of the coordinate, if it is one of angle (2 pi
        for a callable), else points times spacing.
    axis, dim, skip_missing, keepdims
        As in `time_mean`. Where phases are missing the rule is the trapezoidal one, of second
        order.
    return_error : bool
        Whether to return an estimated error too: the difference from the mean of every other phase
        (or every third, if their number is odd; see `meanfluid.means.sample_rules.circle`). That
        is the error of half as many phases, and usually far too careful.

    Returns
    -------
    As `time_mean` does.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range, phases are not equally spaced, do not go
        around once or repeat the first, or a sample is not finite.

    References
    ----------
    Trefethen & Weideman (2014), The exponentially convergent trapezoidal rule, SIAM Review 56,
    385-458.

    Examples
    --------
    >>> phase_mean(lambda phase: np.cos(phase) ** 2, points=8).round(12).item()
    0.5
    """
    if callable(data) and not cf.is_xarray(data):
        data, axis = _at_phases(data, points, period, axis, dim), 0
    elif points is not None:
        raise ValueError("points= is for a callable; data have their own phases")
    return _around(
        data, period, axis=axis, dim=dim, skip_missing=skip_missing, keepdims=keepdims,
        return_error=return_error,
    )  # fmt: skip


def zonal_mean(
    data: Any,
    *,
    period: float | None = None,
    axis: int | None = None,
    dim: str | None = None,
    skip_missing: bool = False,
    keepdims: bool = False,
    return_error: bool = False,
) -> Any:
    """Mean around a full circle of space: along longitude, or a periodic coordinate.

    Parameters
    ----------
    data, axis, dim, keepdims
        As in `time_mean`.
    period : float, optional
        Length of the circle. By default that of the unit of the coordinate, if it is one of angle
        (360 degrees), else points times spacing. An axis of an array is taken for a full circle.
    skip_missing : bool
        Whether to bridge samples that are NaN by a straight line between their neighbours.
    return_error : bool
        Whether to return an estimated error too, as in `phase_mean`.

    Returns
    -------
    As `time_mean` does.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range, points are not equally spaced, do not go
        around once or repeat the first, or a sample is not finite.

    Examples
    --------
    >>> x = np.arange(8) * np.pi / 4
    >>> zonal_mean(1.0 + np.sin(x), axis=0).item()
    1.0
    """
    return _around(
        data, period, axis=axis, dim=dim, skip_missing=skip_missing, keepdims=keepdims,
        return_error=return_error,
    )  # fmt: skip


def _over_time(coordinate: cf.Coordinate | None, count: int, means: bool) -> Plan:
    """The trapezoidal rule between the first and last time, or the widths of cells."""
    if coordinate is None:
        raise ValueError("the dimension has no coordinate, and so no times: use assign_coords")
    steps = np.diff(coordinate.numbers)
    if not ((steps > 0).all() or (steps < 0).all()):
        raise ValueError("times must be in order and differ: sort the samples, and drop doubles")
    values = coordinate.values
    if not means:
        ends = sorted((values[0], values[-1]))
        return Plan(trapezoid(coordinate.numbers), "trapezoidal rule", (ends[0], ends[1]))
    if coordinate.cells is None:
        raise ValueError(
            f"cell_methods says that these are means over cells of {coordinate.name}; pass the "
            "Dataset with the bounds of the cells, or ensemble_mean(..., weights=their widths)"
        )
    lower, upper = coordinate.cells.min(axis=1), coordinate.cells.max(axis=1)
    widths = (upper - lower) / (np.timedelta64(1, "s") if upper.dtype.kind == "M" else 1.0)
    order = np.argsort(lower)
    gaps = (lower[order][1:] - upper[order][:-1]) / (upper - lower).max()
    if not (widths > 0).all() or (np.abs(gaps) > _TOUCHING).any():
        raise ValueError(f"cells of {coordinate.name} must touch, neither overlap nor leave gaps")
    return Plan(
        cells(widths.astype(float)), "weighted by widths of cells", (lower.min(), upper.max())
    )


def _at_phases(
    function: Callable[[float], Any], points: Any, period: Any, axis: Any, dim: Any
) -> Any:
    """Values (points, ...) of a function of the phase."""
    if axis is not None or dim is not None:
        raise ValueError("a callable has no axis to name: it is called at every phase")
    if isinstance(points, bool) or not isinstance(points, int | np.integer) or points < 1:
        raise ValueError(f"points must be the number of phases, at least 1, got {points!r}")
    turn = 2 * np.pi if period is None else float(period)
    return np.stack([function(turn * k / int(points)) for k in range(int(points))])


def _around(data: Any, period: float | None, **options: Any) -> Any:
    def plan(coordinate: cf.Coordinate | None, count: int, means: bool) -> Plan:
        if period is not None and not (np.isfinite(period) and period > 0):
            raise ValueError(f"period must be positive, got {period!r}")
        name = f"mean of {count} equally spaced points of a circle"
        if coordinate is None or count == 1:
            return Plan(circle(count), name)
        length = cf.checked_circle(coordinate, period)
        lower = coordinate.values.min()
        dates = coordinate.values.dtype.kind in "mM"
        return Plan(circle(count), name, None if dates else (lower, lower + length))

    return reduced(data, plan, **options)
