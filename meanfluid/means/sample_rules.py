r"""Means of samples along one axis: weights, estimated errors, and what is done about gaps.

A rule turns samples (k, m), some of n along the axis, into their mean (m,) and its estimated
error (m,). It is told which k of the n samples it gets, for those that are missing may be left out.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from meanfluid.backends import devices
from meanfluid.fields.velocity_field import Array

Rule = Callable[[Any, Any], tuple[Any, Any]]

_ROUNDING = float(np.finfo(float).eps)


def trapezoid(places: Array) -> Rule:
    r"""Return the trapezoidal rule at places (n,), which may be unequally spaced.

    Its error is the sum over cells of :math:`f'' h^3 / 12`, with :math:`f''` from three points. On
    equal spacing that is a third of what changes if every other point is left out (Richardson).
    One sample is its own mean, with an error that is not known.
    """

    def rule(values: Any, which: Any) -> tuple[Any, Any]:
        t = np.abs(places[which] - places[which[0]])
        gaps = np.diff(t)
        if len(t) == 1:
            return values[0] * 1.0, _unknown(values)
        weights = np.zeros(len(t))
        weights[:-1] += gaps / 2
        weights[1:] += gaps / 2
        doubt = _doubt(t, gaps) / t[-1] if len(t) > 2 else None
        return _summed(values, weights / t[-1], doubt)

    return rule


def _doubt(t: Array, gaps: Array) -> Array:
    """Weights (n,) whose sum with the samples is the error of the integral."""
    doubt = np.zeros(len(t))
    for k in range(1, len(t) - 1, 2):
        _add_curvature(doubt, k, gaps, gaps[k - 1] ** 3 + gaps[k] ** 3)
    if len(t) % 2 == 0:  # the last cell has no partner
        _add_curvature(doubt, len(t) - 2, gaps, gaps[-1] ** 3)
    return doubt / 12


def _add_curvature(doubt: Array, k: int, gaps: Array, scale: float) -> None:
    """Add the weights of the second derivative at point k, times `scale`."""
    a, b = gaps[k - 1], gaps[k]
    doubt[k - 1 : k + 2] += 2 * scale * np.array([1 / a, -(a + b) / (a * b), 1 / b]) / (a + b)


def circle(count: int) -> Rule:
    r"""Return the mean of n samples equally spaced around a circle.

    It converges faster than any power of 1/n on smooth functions (exponentially on analytic ones).
    The error is that of the coarser rule of every p-th sample, p being the smallest divisor of n:
    of every other sample if n is even. It is not known if n is 1 or a prime above 2.

    With gaps, each sample counts for half of the arcs to its neighbours: an error of second order
    in the arcs, which is not estimated.
    """
    divisor = next((p for p in range(2, count) if count % p == 0), 0) if count > 2 else count

    def rule(values: Any, which: Any) -> tuple[Any, Any]:
        if len(which) < count:
            ahead = np.diff(np.append(which, which[0] + count))
            return _summed(values, (ahead + np.roll(ahead, 1)) / (2 * count), None)
        weights = np.full(count, 1 / count)
        if divisor < 2:
            return _summed(values, weights, None)
        coarse = np.zeros(count)
        coarse[::divisor] = divisor / count
        return _summed(values, weights, weights - coarse)

    return rule


def cells(widths: Array) -> Rule:
    """Return the mean of means over cells of some widths (n,), which is exact.

    If cells are missing, the mean is that of the others, with an error that is not known.
    """

    def rule(values: Any, which: Any) -> tuple[Any, Any]:
        weights = widths[which] / widths[which].sum()
        return _summed(values, weights, 0 * weights if len(which) == len(widths) else None)

    return rule


def members(share: Array) -> Rule:
    r"""Return the mean of independent samples with shares (n,) that need not add up to one.

    The error is the standard error of the mean, :math:`s / \sqrt{n_e}`, with the effective number
    :math:`n_e = (\sum w)^2 / \sum w^2` and the unbiased variance
    :math:`s^2 = \sum w (f - \bar f)^2 / (\sum w - \sum w^2 / \sum w)`. One member tells no error.
    """

    def rule(values: Any, which: Any) -> tuple[Any, Any]:
        total = share[which].sum()
        if total == 0:
            return np.full_like(values[0], np.nan), _unknown(values)
        weights = share[which] / total
        mean, _ = _summed(values, weights, None)
        left = 1.0 - (weights**2).sum()
        if left <= 0 or (weights > 0).sum() < 2:
            return mean, _unknown(values)
        variance = _sum(weights, np.abs(values - mean) ** 2) / left
        return mean, np.sqrt(variance * (weights**2).sum())

    return rule


def averaged(
    values: Any, axis: int, rule: Rule, *, skip_missing: bool, labels: Sequence[str] | None = None
) -> tuple[Any, Any]:
    """Mean and estimated error of an array along one of its axes.

    Parameters
    ----------
    values : array of any shape, on the host or on a GPU
    axis : int
    rule : Rule
    skip_missing : bool
        Whether to leave out samples that are NaN; the mean is NaN where all are.
    labels : sequence of str, optional
        Names of the axes, for messages.

    Returns
    -------
    mean, error : arrays with `axis` left out

    Raises
    ------
    ValueError
        If a sample is infinite, or NaN and not to be skipped.
    """
    present = checked_finite(values, skip_missing=skip_missing, labels=labels)
    samples = np.moveaxis(values, axis, 0)
    shape, count = samples.shape[1:], samples.shape[0]
    samples = samples.reshape(count, -1)
    everything = np.arange(count)
    if present is None:
        mean, error = rule(samples, everything)
        return mean.reshape(shape), error.reshape(shape)
    present = np.moveaxis(present, axis, 0).reshape(count, -1)
    mean = np.full_like(samples, np.nan, shape=samples.shape[1:])
    error = np.full_like(mean, np.nan, dtype=float)
    patterns, which = np.unique(present, axis=1, return_inverse=True)
    order = np.argsort(which, kind="stable")
    edges = np.searchsorted(which[order], np.arange(patterns.shape[1] + 1))
    for k, pattern in enumerate(patterns.T):
        columns = devices.beside(samples, order[edges[k] : edges[k + 1]])
        if pattern.any():
            some = samples[:, columns][devices.beside(samples, everything[pattern])]
            mean[columns], error[columns] = rule(some, everything[pattern])
    return mean.reshape(shape), error.reshape(shape)


def checked_numbers(data: Any) -> Any:
    """Return numbers in double precision, as a NumPy array or, on a GPU, a CuPy array.

    Raises
    ------
    TypeError
        If they are not numbers, or masked.
    """
    if isinstance(data, np.ma.MaskedArray):
        raise TypeError("data are a masked array; pass data.filled(np.nan) and skip_missing=True")
    values = devices.as_cupy(data) if devices.is_on_gpu(data) else np.asarray(data)
    if values.dtype.kind not in "iufcb":
        raise TypeError(f"data must hold numbers, got dtype {values.dtype}")
    return values.astype(np.complex128 if values.dtype.kind == "c" else np.float64)


def checked_finite(values: Any, *, skip_missing: bool, labels: Sequence[str] | None = None) -> Any:
    """Return None if all samples are finite, else where they are not NaN, on the host.

    Raises
    ------
    ValueError
        If a sample is infinite, or NaN and not to be skipped.
    """
    if bool(np.isfinite(values).all()):
        return None
    missing, infinite = np.isnan(values), np.isinf(values)
    bad = infinite if skip_missing else ~np.isfinite(values)
    count = int(bad.sum())
    if count:
        first = np.argwhere(devices.to_host(bad))[0].tolist()
        names = labels or [f"axis {k}" for k in range(len(first))]
        place = ", ".join(f"{name}={i}" for name, i in zip(names, first, strict=True))
        advice = "remove them" if skip_missing else "fill the gaps, or pass skip_missing=True"
        raise ValueError(
            f"{count} of {values.size} samples are not finite, the first at index {place}; {advice}"
        )
    return devices.to_host(~missing)


def _summed(values: Any, weights: Array, doubt: Array | None) -> tuple[Any, Any]:
    mean = _sum(weights, values)
    if doubt is None:
        return mean, _unknown(values)
    return mean, np.abs(_sum(doubt, values)) + _ROUNDING * _sum(weights, np.abs(values))


def _sum(weights: Array, values: Any) -> Any:
    return np.tensordot(devices.beside(values, weights), values, axes=1)


def _unknown(values: Any) -> Any:
    return np.full_like(values[0], np.nan, dtype=float)
