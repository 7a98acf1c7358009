r"""The public doors: where particles go, and their average velocity on the way.

Let :math:`X_{t \to s}(x)` be the position at time s of the particle that is at x at time t. Its
average velocity over the window,

.. math:: u(x, t, s) = \frac{1}{s - t} \int_t^s v(X_{t \to \tau}(x), \tau) \, d\tau
          = \frac{X_{t \to s}(x) - x}{s - t},

is one number for one trajectory; `label` says which position of the trajectory indexes it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.backends.compiled import BlockEvaluator, Observable, block_evaluator
from meanfluid.fields.velocity_field import Array, VelocityField
from meanfluid.trajectories import launch, stepping
from meanfluid.trajectories.checks import (
    checked_field,
    checked_options,
    checked_positions,
    checked_time_range,
    checked_times,
    checked_windows,
    refuse_options_of_trajectories,
)
from meanfluid.trajectories.control import raise_on_failure
from meanfluid.trajectories.tableaux import Tableau, dop853

Label = Literal["initial", "final"]
OnFailure = Literal["raise", "mark"]
Observables = Mapping[str, Observable] | Sequence[Observable]


_STRAY = 0.15  # part of the shadow's largest distance so far that bounds the error from below
_CENTRE = 0.8  # over the catalogue the plain quotient is 1.2 times the error in the median


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Where particles went, and what they met on the way.

    With ``times=`` given, arrays have an axis of times after the axis of particles.

    Attributes
    ----------
    position : (n[, times], dimension), length
        At `end`, or at each of the times; unwrapped on periodic axes.
    displacement : (n[, times], dimension), length
        From the position at `start`.
    average_velocity : (n[, times], dimension), length / time
        Over the window from `start`, labelled by the position at `start`.
    error : (n[, times]), length
        Estimate of the global error of `displacement` (Euclidean norm).
    average_velocity_error : (n[, times]), length / time
    means : dict of (n[, times][, size])
        Mean of each observable over the window, labelled by the position at `start`.
    mean_errors : dict of the same shapes
        Estimate of the global error of each mean.
    status : (n,) int8
        See `meanfluid.Status`; 0 is OK. Where it is not, the arrays hold NaN from the output
        time on at which the particle failed.
    steps : (n, 2) int
        Accepted and rejected pairs of steps.
    start, times : (n,) or scalar, time
        The anchor, and the free ends of the windows.
    provenance : dict
        Field, parameters, scheme, tolerances and versions.
    """

    position: Array
    displacement: Array
    average_velocity: Array
    error: Array
    average_velocity_error: Array
    means: dict[str, Array]
    mean_errors: dict[str, Array]
    status: np.ndarray[Any, np.dtype[np.int8]]
    steps: np.ndarray[Any, np.dtype[np.int64]]
    start: Any
    times: Any
    provenance: dict[str, Any]


def flow_map(
    field: VelocityField,
    position: ArrayLike,
    start: ArrayLike,
    end: ArrayLike,
    **options: Any,
) -> Array:
    """Position at `end` of the particles that are at `position` at `start`.

    Parameters
    ----------
    field : VelocityField
    position : (n, dimension), length
        Integers and float32 are promoted to float64.
    start, end : float or (n,), time
        ``end < start`` runs backwards.
    **options
        Of `trajectories`: tolerances, scheme, threads and so on.

    Returns
    -------
    (n, dimension), length
        Float64; unwrapped on periodic axes (see `VelocityField.wrap`).

    Raises
    ------
    ValueError
        If an argument has the wrong shape, type or range.
    TrajectoryError
        If a trajectory fails, unless ``on_failure="mark"``.
    """
    return trajectories(field, position, start, end, **options).position


def trajectories(
    field: VelocityField,
    position: ArrayLike,
    start: ArrayLike,
    end: ArrayLike,
    *,
    observables: Observables = (),
    times: ArrayLike | None = None,
    carried: bool = True,
    rtol: float = 1e-11,
    atol: float = 0.0,
    scheme: Tableau = dop853,
    steps: int | None = None,
    max_steps: int = 100_000,
    on_failure: OnFailure = "raise",
    estimate_error: bool = True,
    threads: int | None = None,
    progress: launch.Progress | None = None,
) -> Trajectories:
    """Integrate particles, and observables along them, over one window or several.

    Parameters
    ----------
    field : VelocityField
    position : (n, dimension), length
        At `start`. Integers and float32 are promoted to float64.
    start, end : float or (n,), time
        ``end < start`` runs backwards; an empty window gives the limits v and g.
    observables : mapping of str to callable, or sequence of callables
        Each ``g(m, p, t, x, y[, z])``, like a body, returns a number or a tuple (a tuple of one
        counts as a number); its integral is carried along as extra state. Like a body it must not
        branch on values.
    times : (k,), optional, time
        Between `start` and `end`, in the order in which they are passed; one window from `start`
        to each. `start` must then be a number.
    carried : bool
        Whether particles move with the field. If not, they stay where they are, and all averages
        are Eulerian.
    rtol, atol : float
        Local tolerance of a step, relative to the largest displacement (or integral) so far, and
        absolute, in the unit of each; never finer than rounding allows. The global error is
        estimated apart, in `error`: within a factor of ten for nearly all particles at the
        default tolerances, rougher at loose ones.
    scheme : Tableau
        `dop853` by default; also `tsit5`, `vern7`, `rk4`.
    steps : int, optional
        Equal steps over the window instead of steps chosen by the error; rounded up so that
        they come in pairs, in each window if there are several.
    max_steps : int
        Pairs of steps, rejected ones included, after which a trajectory fails.
    on_failure : "raise" or "mark"
        Whether a failed trajectory raises or is NaN with a status.
    estimate_error : bool
        False saves a third of the work and leaves NaN in the errors.
    threads : int, optional
        Defaults to the processors at hand. The result does not depend on it.
    progress : callable ``(done, total)``, optional

    Returns
    -------
    Trajectories

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range.
    TrajectoryError
        If a trajectory fails, unless ``on_failure="mark"``.
    """
    checked_field(field)
    x = checked_positions(position, field.dimension)
    begin, offsets = checked_windows(field, start, end, times, len(x))
    checked_options(rtol, atol, scheme, steps, max_steps, on_failure, threads)
    functions = _named(observables)
    evaluator = block_evaluator(field, tuple(functions.values()), carried=carried)
    lower, upper = _walls(field)
    problem = stepping.Problem(
        evaluator.address, field.table, evaluator.components, scheme.a, scheme.b, scheme.c,
        scheme.errors, scheme.order, scheme.error_order, float(rtol), float(atol), int(max_steps),
        -(-steps // 2) if steps else 0, bool(estimate_error), lower, upper, *field.time_range,
    )  # fmt: skip
    result = launch.run(problem, x, begin, offsets, threads=threads, progress=progress)
    if on_failure == "raise":
        raise_on_failure(result.status, x)
    error = _global_error(scheme, result, offsets, field.dimension, estimate_error)
    given = {
        "start": start,
        "times": end if times is None else np.asarray(times, dtype=float),
        "provenance": _provenance(
            field, functions, scheme=scheme.name, rtol=rtol, atol=atol, steps=steps,
            max_steps=max_steps, carried=carried,
        ),
    }  # fmt: skip
    return _assembled(
        x,
        offsets,
        result,
        error,
        evaluator,
        list(functions),
        carried,
        given,
        one_window=times is None,
    )


def _assembled(
    x: Array, offsets: Array, result: stepping.Output, error: Array, evaluator: BlockEvaluator,
    names: list[str], carried: bool, given: dict[str, Any], *, one_window: bool,
) -> Trajectories:  # fmt: skip
    """Divide integrals by durations, and name their parts."""
    d, window = evaluator.dimension, np.abs(offsets)[..., None]
    travelled = result.travelled
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(
            window == 0, result.rate[:, None] + travelled, travelled / offsets[..., None]
        )
        mean_error = np.where(window == 0, 0.0 * error, error / window)
    velocity = slice(0, d) if carried else slice(d, 2 * d)
    velocity_error = mean_error[..., 0] if carried else _length(mean_error[..., 1 : 1 + d])
    parts = _parts(names, evaluator, 0 if carried else 1)
    which = (slice(None), 0) if one_window else (slice(None),)
    return Trajectories(
        position=(x[:, None] + travelled[..., :d])[which],
        displacement=travelled[..., :d][which],
        average_velocity=mean[..., velocity][which],
        error=error[..., 0][which],
        average_velocity_error=velocity_error[which],
        means={name: mean[..., part][which] for name, part in parts.items()},
        mean_errors={
            name: mean_error[..., _shifted(part, 1 - d)][which] for name, part in parts.items()
        },
        status=result.status,
        steps=result.steps,
        **given,
    )


def average_velocity(
    field: VelocityField,
    position: ArrayLike,
    start: ArrayLike,
    end: ArrayLike,
    *,
    label: Label | ArrayLike = "final",
    return_error: bool = False,
    **options: Any,
) -> Any:
    r"""Velocity averaged over a window along each trajectory.

    The mean is displacement over duration, :math:`(X(end) - X(start)) / (end - start)`. With
    ``label="final"`` it is MeanFlow's :math:`u(z_t, r, t)`, r = start, t = end; an empty window
    gives the velocity itself.

    Parameters
    ----------
    field : VelocityField
    position : (n, dimension), length
        Where each trajectory is at the labelled time.
    start, end : float or (n,), time
        The window; it may run backwards, which does not change the mean.
    label : "initial", "final", or float or (n,), time
        The time at which `position` holds: `start`, `end`, or a time between them.
    return_error : bool
        Whether to return the estimated global error, (n,), too.
    **options
        Of `trajectories`.

    Returns
    -------
    (n, dimension), length / time
        And the error, if asked for.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range.
    TrajectoryError
        If a trajectory fails, unless ``on_failure="mark"``.

    References
    ----------
    Geng, Deng, Bai, Kolter & He (2025), Mean flows for one-step generative modeling,
    arXiv:2505.13447; the final label is strategy 1 of Kafiabad & Vanneste (2023), J. Fluid Mech.
    960, A36.
    """
    refuse_options_of_trajectories(options)
    if not isinstance(label, str):
        value, error = _indexed_between(field, position, start, end, label, options)
    elif label in ("initial", "final"):
        anchor, free_end = (start, end) if label == "initial" else (end, start)
        path = trajectories(field, position, anchor, free_end, **options)
        value, error = path.average_velocity, path.average_velocity_error
    else:
        raise ValueError(f'label must be "initial", "final" or a time in the window, got {label!r}')
    return (value, error) if return_error else value


def _indexed_between(
    field: VelocityField, position: ArrayLike, start: ArrayLike, end: ArrayLike,
    label: ArrayLike, options: dict[str, Any],
) -> tuple[Array, Array]:  # fmt: skip
    """Average velocity of the trajectory that is at `position` at a time inside the window."""
    checked_field(field)
    count = len(checked_positions(position, field.dimension))
    anchor = checked_times("label", label, count)
    begin, stop = checked_times("start", start, count), checked_times("end", end, count)
    checked_time_range(field, "label", anchor)
    if not ((anchor - begin) * (anchor - stop) <= 0).all():
        raise ValueError(f"label must lie between start {start!r} and end {end!r}, got {label!r}")
    ahead = trajectories(field, position, anchor, stop, **options)
    behind = trajectories(field, position, anchor, begin, **options)
    window = np.broadcast_to(stop - begin, (count,))
    with np.errstate(divide="ignore", invalid="ignore"):
        value = (ahead.displacement - behind.displacement) / window[:, None]
        error = (ahead.error + behind.error) / np.abs(window)
    empty = window == 0
    value[empty] = ahead.average_velocity[empty]
    error[empty] = ahead.average_velocity_error[empty]
    return value, error


def _global_error(
    scheme: Tableau, result: stepping.Output, offsets: Array, dimension: int, wanted: bool
) -> Array:
    """Estimate the error of the displacement and of each integral, (n, times, 1 + integrals).

    Over ``2**order - 1`` the shadow's distance is the error, while both are small. It may pass
    through zero where the error does not, so a part of its largest value so far is a lower bound.
    Rounding adds the spacing of the result, and what it does to places and times.
    """
    travelled, shadow = result.travelled, result.shadow
    if not wanted:
        return np.full((*travelled.shape[:2], shadow.shape[-1]), np.nan)
    distance = np.maximum(shadow[..., 0, :], _STRAY * shadow[..., 1, :])
    size = np.concatenate(
        [_length(travelled[..., :dimension])[..., None], np.abs(travelled[..., dimension:])], -1
    )
    rounding = np.finfo(float).eps * size + result.grain[:, None] * np.abs(offsets)[..., None]
    error = _CENTRE * distance / (2**scheme.order - 1) + rounding
    # A shadow that blew up beside a finite solution says that nothing is known of the error.
    return np.asarray(np.where(np.isnan(error) & np.isfinite(size), np.inf, error))


def _shifted(part: int | slice, by: int) -> int | slice:
    return part + by if isinstance(part, int) else slice(part.start + by, part.stop + by)


def _length(components: Array) -> Array:
    return np.asarray(np.sqrt((components**2).sum(axis=-1)))


def _named(observables: Observables) -> dict[str, Observable]:
    if isinstance(observables, Mapping):
        return dict(observables)
    if callable(observables):
        raise ValueError("observables must be a sequence or mapping of functions; pass [g]")
    named = {getattr(g, "__name__", f"observable_{k}"): g for k, g in enumerate(observables)}
    if len(named) < len(observables):
        raise ValueError(
            "observables must have different names, got "
            f"{[getattr(g, '__name__', g) for g in observables]}; pass a mapping"
        )
    return named


def _parts(names: list[str], evaluator: BlockEvaluator, skipped: int) -> dict[str, Any]:
    """Where each observable's integral stands: an index for a number, a slice for a tuple."""
    ends = np.cumsum((evaluator.dimension, *evaluator.sizes))
    parts: dict[str, Any] = {}
    for k, name in enumerate(names, start=skipped):
        size = evaluator.sizes[k]
        parts[name] = int(ends[k]) if size == 1 else slice(int(ends[k]), int(ends[k + 1]))
    return parts


def _walls(field: VelocityField) -> tuple[Array, Array]:
    """Return the bounds at which a trajectory ends: those of closed axes only."""
    lower, upper = np.full(field.dimension, -np.inf), np.full(field.dimension, np.inf)
    for k, axis in enumerate(field.domain or ()):
        if axis.boundary == "closed":
            lower[k], upper[k] = axis.lower, axis.upper
    return lower, upper


def _provenance(
    field: VelocityField, functions: Mapping[str, Observable], **settings: Any
) -> dict[str, Any]:
    return {
        "field": field.name,
        "parameters": {k: np.asarray(v).tolist() for k, v in field.parameters._asdict().items()},
        "observables": list(functions),
        **settings,
        "device": "cpu",
        **_versions(),
    }


@cache
def _versions() -> dict[str, str]:
    return {package: version(package) for package in ("meanfluid", "numpy", "numba")}
