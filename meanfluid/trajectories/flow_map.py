r"""The public doors: where particles go, and their average velocity on the way.

Let :math:`X_{t \to s}(x)` be the position at time s of the particle that is at x at time t. Its
average velocity over the window,

.. math:: u(x, t, s) = \frac{1}{s - t} \int_t^s v(X_{t \to \tau}(x), \tau) \, d\tau
          = \frac{X_{t \to s}(x) - x}{s - t},

is one number for one trajectory; `label` says which position of the trajectory indexes it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.backends import devices
from meanfluid.backends.bodies import Observable
from meanfluid.backends.compiled import block_evaluator, checked_layout
from meanfluid.backends.evaluation import Layout
from meanfluid.fields.sampled import coarsened
from meanfluid.fields.velocity_field import Array, VelocityField
from meanfluid.trajectories import launch
from meanfluid.trajectories.checks import (
    checked_device,
    checked_field,
    checked_options,
    checked_policies,
    checked_positions,
    checked_time_range,
    checked_times,
    checked_windows,
    refuse_options_of_trajectories,
)
from meanfluid.trajectories.control import raise_on_failure
from meanfluid.trajectories.problem import OutOfDomain, Settings, assembled
from meanfluid.trajectories.records import Output
from meanfluid.trajectories.results import Trajectories, at_home, difference, provenance, reported
from meanfluid.trajectories.tableaux import Tableau, dop853
from meanfluid.trajectories.weights import Weight, normalised, weighted_observables

Label = Literal["initial", "final"]
OnFailure = Literal["raise", "mark"]
Observables = Mapping[str, Observable] | Sequence[Observable]

# Particles at a time where only the mean of each is wanted: 0.2 GB, and 3 GB on a GPU.
_BATCH, _BATCH_ON_GPU = 2**20, 2**24


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
    refuse_options_of_trajectories(options)
    times = {"start": start, "end": end}
    return _in_batches(_position, field, position, times, options)[0]  # type: ignore[no-any-return]


def _position(
    field: VelocityField, position: ArrayLike, options: dict[str, Any], *, start: Any, end: Any
) -> tuple[Array, Array, Any]:
    path = trajectories(field, position, start, end, **options)
    return path.position, path.error, path.status


def trajectories(
    field: VelocityField,
    position: ArrayLike,
    start: ArrayLike,
    end: ArrayLike,
    *,
    observables: Observables = (),
    weights: Mapping[str, Weight] | None = None,
    gradient: bool = False,
    times: ArrayLike | None = None,
    carried: bool = True,
    rtol: float = 1e-11,
    atol: float = 0.0,
    scheme: Tableau = dop853,
    steps: int | None = None,
    max_steps: int = 100_000,
    knots: bool = True,
    out_of_domain: OutOfDomain | None = None,
    on_failure: OnFailure = "raise",
    estimate_error: bool = True,
    interpolation_error: bool = False,
    device: str | None = None,
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
        branch on values. After the coordinates it may ask by name for `velocity`, `gradient` (of
        velocity) and `deformation` (the gradient of the flow map, with ``gradient=True``).
    weights : mapping of str to callable ``w(m, t)``, optional
        Weights in time, of any sign and scale. For each, the mean of every observable `g` with
        that weight, the integral of w g over that of w, is in ``means["g.w"]``, and that of
        velocity in ``means["velocity.w"]``.
    gradient : bool
        Whether the gradient of the flow map is integrated too, by the variational equation
        dF/dt = (grad v) F with the exact derivative of the body.
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
    knots : bool
        On a sampled field, whether steps end where one polynomial of the spline meets the next,
        in time and space, so that the scheme keeps its order. Equal steps never do.
    out_of_domain : "raise", "mark", "clamp" or "reflect", optional
        What happens beyond a closed end of the domain: the trajectory fails, and raises or is
        marked; the field goes on with its value at the end; the field is mirrored. Defaults to
        `on_failure`. `Trajectories.left_domain` says for which particles it mattered.
    on_failure : "raise" or "mark"
        Whether a failed trajectory raises or is NaN with a status.
    estimate_error : bool
        False saves a third of the work and leaves NaN in the errors.
    interpolation_error : bool
        On a sampled field, whether to estimate what interpolation did to the displacement, apart
        from integration: by the same trajectories on every other node, over 2**(degree + 1) - 1.
    device : "cpu" or "cuda", optional
        Where to integrate. By default positions on an NVIDIA GPU (CuPy, torch, DLPack or
        ``__cuda_array_interface__``) stay there, and results are arrays of the same library;
        others are integrated on the CPU. "cuda" sends NumPy arrays to the GPU and back.
    threads : int, optional
        On the CPU; defaults to the processors at hand. The result does not depend on it.
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
    device = checked_device(device, position)
    x = checked_positions(position, field.dimension)
    begin, offsets = checked_windows(field, start, end, times, x)
    settings = Settings(
        rtol, atol, scheme, steps, max_steps, out_of_domain or on_failure, knots, estimate_error
    )
    checked_options(settings, on_failure, threads)
    if gradient and not carried:
        raise ValueError("gradient=True needs carried=True: particles that stay have no flow map")
    functions = _named(observables)
    functions |= weighted_observables(field, functions, weights or {})
    coarse = coarsened(field) if interpolation_error else None
    carry = {"carried": carried, "deformed": gradient}
    particles = (x, begin, offsets)
    layout, output = _integrated(
        field, tuple(functions.values()), carry, settings, particles, device, threads, progress
    )
    raise_on_failure(output.status, x, on_failure, settings.out_of_domain)
    given = {
        "start": start,
        "times": end if times is None else np.asarray(times, dtype=float),
        "provenance": provenance(field, functions, settings, carried=carried, device=device),
    }
    path = reported(
        x, offsets, output, layout, list(functions), settings, given, one_window=times is None
    )
    normalised(path, weights or {})
    if coarse is not None:
        plain, carry = replace(settings, estimate_error=False), carry | {"deformed": False}
        _, rough = _integrated(coarse, (), carry, plain, particles, device, threads, None)
        away = difference(output, rough, field)
        path = replace(path, interpolation_error=away[:, 0] if times is None else away)
    return at_home(path, position)


def _integrated(
    field: VelocityField, observables: tuple[Observable, ...], carry: dict[str, bool],
    settings: Settings, particles: tuple[Any, Any, Any], device: str, threads: int | None,
    progress: launch.Progress | None,
) -> tuple[Layout, Output]:  # fmt: skip
    """Integrate on the device asked for."""
    if device == "cpu":
        evaluator = block_evaluator(field, observables, **carry)
        layout = evaluator.layout
        problem = assembled(field, layout, settings, evaluator.address)
        return layout, launch.run(problem, *particles, threads=threads, progress=progress)
    devices.require_compiler()
    from meanfluid.trajectories import launch_cuda  # needs numba-cuda

    layout = checked_layout(field, observables, **carry)
    problem = assembled(field, layout, settings, 0)
    return layout, launch_cuda.run(
        field, observables, layout, problem, *particles, progress=progress
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
    times = {"start": start, "end": end}
    if not isinstance(label, str):
        times["label"] = label
        function: Any = _average_between
    elif label in ("initial", "final"):
        function = _average_from if label == "initial" else _average_until
    else:
        raise ValueError(f'label must be "initial", "final" or a time in the window, got {label!r}')
    value, error = _in_batches(function, field, position, times, options)
    return (value, error) if return_error else value


def _average_from(
    field: VelocityField, position: ArrayLike, options: dict[str, Any], *, start: Any, end: Any
) -> tuple[Array, Array, Any]:
    path = trajectories(field, position, start, end, **options)
    return path.average_velocity, path.average_velocity_error, path.status


def _average_until(
    field: VelocityField, position: ArrayLike, options: dict[str, Any], *, start: Any, end: Any
) -> tuple[Array, Array, Any]:
    return _average_from(field, position, options, start=end, end=start)


def _average_between(
    field: VelocityField, position: ArrayLike, options: dict[str, Any], *,
    start: Any, end: Any, label: Any,
) -> tuple[Array, Array, Any]:  # fmt: skip
    """Average velocity of the trajectory that is at `position` at a time inside the window."""
    checked_field(field)
    x = checked_positions(position, field.dimension)
    anchor, begin, stop = (
        devices.beside(x, checked_times(name, time, len(x)))
        for name, time in (("label", label), ("start", start), ("end", end))
    )
    checked_time_range(field, "label", anchor)
    if not ((anchor - begin) * (anchor - stop) <= 0).all():
        raise ValueError(f"label must lie between start {start!r} and end {end!r}, got {label!r}")
    ahead = trajectories(field, position, anchor, stop, **options)
    behind = trajectories(field, position, anchor, begin, **options)
    window = np.broadcast_to(stop - begin, (len(x),))
    with np.errstate(divide="ignore", invalid="ignore"):
        value = (ahead.displacement - behind.displacement) / window[:, None]
        error = (ahead.error + behind.error) / np.abs(window)
    empty = window == 0
    value[empty] = ahead.average_velocity[empty]
    error[empty] = ahead.average_velocity_error[empty]
    return value, error, np.where(ahead.status == 0, behind.status, ahead.status)


def _in_batches(
    function: Any, field: VelocityField, position: ArrayLike, times: dict[str, Any],
    options: dict[str, Any],
) -> tuple[Any, Any]:  # fmt: skip
    """Value and error of a function of trajectories, with memory for one batch beside the result.

    `function` returns value (n, dimension), error (n,) and status (n,) for some particles.
    """
    checked_field(field)
    x = checked_positions(position, field.dimension)
    give, count = devices.giver_of(position), len(x)
    batch = _BATCH if isinstance(x, np.ndarray) else _BATCH_ON_GPU
    if count <= batch:
        value, error, _ = function(field, x, options, **times)
        return give(value), give(error)
    own = {name: checked_times(name, value, count) for name, value in times.items()}
    on_failure = options.get("on_failure", "raise")
    out_of_domain = options.get("out_of_domain") or on_failure
    checked_policies(on_failure, out_of_domain)
    marked = options | {
        "on_failure": "mark",
        "out_of_domain": "mark" if out_of_domain == "raise" else out_of_domain,
    }
    value, error = np.empty_like(x), np.empty_like(x, shape=(count,))
    status = np.empty(count, dtype=np.int8)
    for first in range(0, count, batch):
        part = slice(first, min(first + batch, count))
        progress = options.get("progress")
        if progress is not None:
            marked["progress"] = partial(_offset_progress, progress, first, count)
        some = {name: time[part] if time.ndim else time for name, time in own.items()}
        value[part], error[part], ended = function(field, x[part], marked, **some)
        status[part] = devices.to_host(ended)
    raise_on_failure(status, x, on_failure, out_of_domain)
    return give(value), give(error)


def _offset_progress(progress: launch.Progress, first: int, count: int, done: int, _: int) -> None:
    """Report the progress of a batch as that of all of them."""
    progress(first + done, count)


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
