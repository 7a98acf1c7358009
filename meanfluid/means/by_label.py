r"""Which position of a trajectory indexes its mean: that at a given time, or the mean position.

The mean position over a window, :math:`\Xi(a) = \overline{X}`, is a function of the position a at
an inner time of the window; a mean labelled by mean position needs its inverse, which is found by
Newton's method with the exact gradient, the mean of the flow map's gradient along the way.

References: Andrews & McIntyre (1978), J. Fluid Mech. 89, 609-646; Kafiabad & Vanneste (2023),
Computing Lagrangian means, J. Fluid Mech. 960, A36.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from meanfluid.backends import devices
from meanfluid.backends.bodies import Observable
from meanfluid.fields.velocity_field import VelocityField
from meanfluid.means.inversion import Inverse, inverted
from meanfluid.means.legs import PLACE, Followed, Span, followed
from meanfluid.means.windows import Window, checked_window
from meanfluid.trajectories.checks import checked_time_range, checked_times
from meanfluid.trajectories.control import Status, raise_on_failure
from meanfluid.trajectories.flow_map import flow_map, marking, trajectories
from meanfluid.trajectories.results import vector_norm

Label = Literal["initial", "final", "mean"]

_LABELS = ("initial", "final", "mean")
# A mean position is found within so many tolerances of the integration, if noise allows.
_CLOSE, _CLOSE_ENOUGH = 0.01, 10.0
_FINEST, _FINEST_ENOUGH = 1e-15, 1e-13  # relative: what rounding allows
# Where in the window mean positions are sought from: near the middle, but not where symmetric waves
# have their nodes, and the integral of a position at zero would begin with rounding alone.
_INSIDE = 0.47
_NUDGE, _SMALLEST_NUDGE = 1e-5, 1e-8  # of the way a particle goes, and of its coordinates


def labelled(
    field: VelocityField, functions: Mapping[str, Observable], x: Any, start: Any, end: Any,
    label: Any, window: Window | None, options: dict[str, Any], *, carry_error: bool = True,
) -> Followed:  # fmt: skip
    """Follow the trajectories that positions stand for under a label.

    Parameters
    ----------
    field : VelocityField
    functions : mapping of str to observable
    x : (n, dimension), length
        A checked NumPy or CuPy array.
    start, end : float or (n,), time
    label : "initial", "final", "mean", or float or (n,), time
    window : Window, optional
    options : dict
        Of `trajectories`.
    carry_error : bool
        Whether errors shall hold for what a label by mean position contributes.

    Returns
    -------
    Followed
        NaN, and a status, where a trajectory failed and is to be marked.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range.
    TrajectoryError
        If a trajectory fails that is not to be marked, or a mean position has none.
    """
    window, label = checked_window(window), checked_label(label)
    marked, policies = marking(options)
    times = checked_times_of(field, x, start, end)
    if isinstance(label, str) and label == "mean":
        met = _by_mean_position(field, functions, x, times, window, marked, carry_error)
    else:
        span = Span(times[0], times[1], _anchor(field, x, times, label, (start, end)))
        if window.kinked:
            met = _from_the_middle(field, functions, x, span, window, marked)
        else:
            met = followed(field, functions, x, span, window, marked)
    raise_on_failure(met.status, x, *policies)
    return met


def checked_times_of(field: VelocityField, x: Any, start: Any, end: Any) -> list[Any]:
    """Return start and end on the host, as float64 of shape () or (n,).

    Raises
    ------
    TypeError, ValueError
        If they have the wrong shape, type or range.
    """
    times = []
    for name, value in (("start", start), ("end", end)):
        time = devices.to_host(checked_times(name, value, len(x)))
        checked_time_range(field, name, time)
        times.append(time)
    return times


def checked_label(label: Any) -> Any:
    """Refuse a word that is not a label; anything else may be a time.

    Raises
    ------
    ValueError
    """
    if isinstance(label, str) and label not in _LABELS:
        raise ValueError(
            f'label must be "initial", "final", "mean" or a time in the window, got {label!r}'
        )
    return label


def _anchor(field: VelocityField, x: Any, times: list[Any], label: Any, given: Any) -> Any:
    """Return the time at which positions are given, on the host."""
    begin, stop = times
    if isinstance(label, str):
        return begin if label == "initial" else stop
    anchor = devices.to_host(checked_times("label", label, len(x)))
    checked_time_range(field, "label", anchor)
    if not ((anchor - begin) * (anchor - stop) <= 0).all():
        raise ValueError(
            f"label must lie between start {given[0]!r} and end {given[1]!r}, got {label!r}"
        )
    return anchor


def _from_the_middle(
    field: VelocityField, functions: Mapping[str, Observable], x: Any, span: Span, window: Window,
    options: dict[str, Any],
) -> Followed:  # fmt: skip
    """Follow particles to the middle first, so that no step goes across the kink of the weight."""
    middle = replace(span, anchor=span.start + 0.5 * (span.end - span.start))
    quick = {key: value for key, value in options.items() if key != "progress"}
    path = trajectories(field, x, span.anchor, middle.anchor, **quick)
    found = np.isfinite(path.position).all(axis=1)
    position = np.where(found[:, None], path.position, x)
    met = followed(field, functions, position, middle, window, options)
    unit = devices.beside(x, np.broadcast_to(np.eye(x.shape[1]), (*x.shape, x.shape[1])))
    inverse = Inverse(position, unit, 0.0 * path.error, found)
    quick |= {"estimate_error": False}
    changes = _errors_by_label(field, functions, met, position, inverse, middle, window, quick)
    values = {name: np.where(_like(found, v), v, np.nan) for name, v in met.values.items()}
    errors = {name: met.errors[name] + change * path.error for name, change in changes.items()}
    return Followed(values, errors, np.where(path.status == 0, met.status, path.status))


def _by_mean_position(
    field: VelocityField, functions: Mapping[str, Observable], x: Any, times: list[Any],
    window: Window, options: dict[str, Any], carry_error: bool,
) -> Followed:  # fmt: skip
    """Find the trajectories with these mean positions, and follow them."""
    start, end = times
    inside = 0.5 if window.kinked else _INSIDE
    span = Span(start, end, end if window.causal else start + inside * (end - start))
    quick = {key: value for key, value in options.items() if key != "progress"}
    quick |= {"estimate_error": False}
    inverse, status = _found(field, x, span, window, quick)
    found = inverse.found
    position = np.where(found[:, None], inverse.position, x)
    functions = {**functions, PLACE: place(field)}
    met = followed(field, functions, position, span, window, options)
    lost = np.where(status == 0, int(Status.NOT_INVERTIBLE), status)
    status = np.where(found, met.status, lost)
    values = {name: np.where(_like(found, v), v, np.nan) for name, v in met.values.items()}
    errors = {name: np.where(found, error, np.nan) for name, error in met.errors.items()}
    met = Followed(values, errors, status.astype(np.int8))
    if carry_error and options.get("estimate_error", True):
        away = met.errors[PLACE] + vector_norm(met.values[PLACE] - x)
        errors = _errors_by_label(field, functions, met, position, inverse, span, window, quick)
        met = replace(met, errors={name: met.errors[name] + e * away for name, e in errors.items()})
    met.values[PLACE], met.errors[PLACE] = (
        np.where(found[:, None], x, np.nan),
        met.errors[PLACE] * 0,
    )
    return met


def _found(
    field: VelocityField, x: Any, span: Span, window: Window, options: dict[str, Any]
) -> tuple[Inverse, Any]:
    """Positions at the anchor of trajectories with mean positions x; status of a first guess.

    Newton steps are made on the host; the trajectories are followed where x is.
    """
    d = field.dimension
    functions = {PLACE: place(field), "slope": _slope(field)}
    guess = _guess(field, x, span, window, options)
    first = followed(field, functions, guess, span, window, options, gradient=True)
    ready = [first]

    def mean_position(a: Any, which: Any) -> tuple[Any, Any]:
        if ready:  # the first call is for the guess
            met = ready.pop()
        else:
            there, own = devices.beside(x, a), span.of(which)
            met = followed(field, functions, there, own, window, options, gradient=True)
        value, slope = (devices.to_host(met.values[name]) for name in (PLACE, "slope"))
        return value.reshape(-1, d), slope.reshape(-1, d, d)

    reach, target = devices.to_host(_reach(first, guess)), devices.to_host(x)
    size = np.where(np.isfinite(reach), reach, 0.0) + vector_norm(target)
    rtol, atol = options.get("rtol", 1e-11), options.get("atol", 0.0)
    tolerance = max(_CLOSE * rtol, _FINEST) * size + _CLOSE * atol
    enough = max(_CLOSE_ENOUGH * rtol, _FINEST_ENOUGH) * size + _CLOSE_ENOUGH * atol
    start = devices.to_host(guess)
    found = inverted(mean_position, target, start, tolerance, enough=enough)
    return devices.at_home(found, x), first.status


def _guess(
    field: VelocityField, x: Any, span: Span, window: Window, options: dict[str, Any]
) -> Any:
    """Where a particle is at the anchor that is at its mean position at the mean time."""
    if not window.causal:
        return x
    length = span.end - span.start
    age = np.sign(length) * np.minimum(np.abs(length) / 2, window.delay)
    position = flow_map(field, x, span.end - age, span.end, **options)
    return np.where(np.isfinite(position), position, x)


def _errors_by_label(
    field: VelocityField, functions: Mapping[str, Observable], met: Followed, position: Any,
    inverse: Inverse, span: Span, window: Window, options: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Return by how much each result changes with the mean position, (n,), by Frobenius norm.

    By the chain rule from derivatives by the position at the anchor, as difference quotients.
    """
    count, d = position.shape
    step = _NUDGE * _reach(met, position) + _SMALLEST_NUDGE * vector_norm(position)
    step = np.where(step > 0, step, _SMALLEST_NUDGE)
    moved = np.concatenate([position] * d)
    for k in range(d):
        moved[k * count : (k + 1) * count, k] += step
    times = (np.tile(t, d) if np.ndim(t) else t for t in (span.start, span.end, span.anchor))
    moved = np.where(np.isfinite(moved), moved, 0.0)
    beside = followed(field, functions, moved, Span(*times), window, options)
    unit = devices.beside(position, np.eye(d))
    back = np.linalg.inv(np.where(inverse.found[:, None, None], inverse.gradient, unit))
    changes = {}
    for name, value in beside.values.items():
        there = value.reshape(d, count, -1)
        slope = (there - met.values[name].reshape(count, -1)) / step[:, None]
        change = np.sqrt((np.einsum("kni,nkj->nij", slope, back) ** 2).sum(axis=(1, 2)))
        changes[name] = np.where(np.isnan(change) & inverse.found, np.inf, change)
    return changes


def _reach(met: Followed, position: Any) -> Any:
    """How far the ends of trajectories are from a position on them, (n,)."""
    return np.maximum(
        vector_norm(met.values["start"] - position), vector_norm(met.values["end"] - position)
    )


def _like(mask: Any, value: Any) -> Any:
    return mask[:, None] if value.ndim > 1 else mask


def place(field: VelocityField) -> Observable:
    """Return the observable whose mean is the mean position."""
    return (_place_1, _place_2, _place_3)[field.dimension - 1]


def _slope(field: VelocityField) -> Observable:
    """Return the observable whose mean is the gradient of the mean position, row-major."""
    return (_slope_1, _slope_2, _slope_3)[field.dimension - 1]


def _place_1(m: Any, p: Any, t: Any, x: Any) -> Any:
    return (x,)


def _place_2(m: Any, p: Any, t: Any, x: Any, y: Any) -> Any:
    return x, y


def _place_3(m: Any, p: Any, t: Any, x: Any, y: Any, z: Any) -> Any:
    return x, y, z


def _slope_1(m: Any, p: Any, t: Any, x: Any, deformation: Any) -> Any:
    return (deformation[0][0],)


def _slope_2(m: Any, p: Any, t: Any, x: Any, y: Any, deformation: Any) -> Any:
    return deformation[0] + deformation[1]


def _slope_3(m: Any, p: Any, t: Any, x: Any, y: Any, z: Any, deformation: Any) -> Any:
    return deformation[0] + deformation[1] + deformation[2]
