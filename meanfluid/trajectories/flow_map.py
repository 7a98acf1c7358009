"""The public doors: where particles go, and what they meet on the way."""

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
from meanfluid.fields.slabs import SlabbedSamples
from meanfluid.fields.velocity_field import Array, VelocityField
from meanfluid.trajectories import launch, slabs
from meanfluid.trajectories.checks import (
    checked_device,
    checked_field,
    checked_options,
    checked_policies,
    checked_positions,
    checked_times,
    checked_windows,
    refuse_options_of_trajectories,
    with_constants,
)
from meanfluid.trajectories.control import raise_on_failure
from meanfluid.trajectories.doors import Arguments, Found, Quantity, on_labels, on_labels_or
from meanfluid.trajectories.problem import OutOfDomain, Settings, assembled
from meanfluid.trajectories.records import Output
from meanfluid.trajectories.results import Trajectories, difference, provenance, reported
from meanfluid.trajectories.tableaux import Tableau, dop853
from meanfluid.trajectories.weights import Weight, normalised, weighted_observables

OnFailure = Literal["raise", "mark"]
Observables = Mapping[str, Observable] | Sequence[Observable]

# Particles at a time where only the mean of each is wanted: 0.2 GB, and 3 GB on a GPU.
_BATCH, _BATCH_ON_GPU = 2**20, 2**24


@on_labels(Quantity("position", "position at the end of the window", "length", mean=False))
def flow_map(
    field: VelocityField,
    position: ArrayLike,
    start: ArrayLike,
    end: ArrayLike,
    **options: Any,
) -> Found:
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
        xarray in gives xarray out, with error and status: see `trajectories.doors.on_labels`.

    Raises
    ------
    ValueError
        If an argument has the wrong shape, type or range.
    TrajectoryError
        If a trajectory fails, unless ``on_failure="mark"``.
    """
    refuse_options_of_trajectories(options)
    return Found(*in_batches(position_of, field, position, {"start": start, "end": end}, options))


def position_of(
    field: VelocityField, position: ArrayLike, options: dict[str, Any], *, start: Any, end: Any
) -> tuple[Array, Array, Any]:
    """Positions at the end of the window, their errors and statuses; for `in_batches`."""
    path = trajectories(field, position, start, end, **options)
    return path.position, path.error, path.status


def _of_path(arguments: Arguments) -> dict[Any, Quantity]:
    """What trajectories tell, by the attributes of the record that hold it."""
    taken = f"{'along trajectories' if arguments['carried'] else 'at fixed places'}, label=initial"
    over, slope = "displacement over the window", "derivative of the position by that at the start"
    found: dict[Any, Quantity] = {
        "position": Quantity("position", "position at the end of the window", "length", mean=False),
        "displacement": Quantity("displacement", over, "length", mean=False),
        "average_velocity": Quantity(
            "average_velocity", "average velocity", "velocity", taken=taken
        ),
        "gradient": Quantity("gradient", slope, mean=False),
        "interpolation_error": Quantity(
            "interpolation_error", "estimated error of displacement from interpolation", "length",
            mean=False,
        ),
        "left_domain": Quantity(
            "left_domain", "whether the particle was found beyond the domain", mean=False, once=True
        ),
        "accepted": Quantity("accepted_steps", "accepted pairs of steps", mean=False, once=True),
        "rejected": Quantity("rejected_steps", "rejected pairs of steps", mean=False, once=True),
    }  # fmt: skip
    plain = list(_named(arguments["observables"]))
    weighted = [f"{key}.{w}" for w in arguments["weights"] or () for key in ("velocity", *plain)]
    names = [*plain, *weighted]
    return found | {
        ("mean", name): Quantity(name, f"mean of {name}", taken=taken) for name in names
    }


@on_labels_or(Trajectories, _of_path, by_chunks=False)
def trajectories(
    field: VelocityField,
    position: ArrayLike,
    start: ArrayLike,
    end: ArrayLike,
    *,
    observables: Observables = (),
    weights: Mapping[str, Weight] | None = None,
    constants: ArrayLike | None = None,
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
) -> Found:
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
        velocity), `deformation` (the gradient of the flow map, with ``gradient=True``) and
        `constants` (a tuple of those of this particle).
    weights : mapping of str to callable ``w(m, t)``, optional
        Weights in time, of any sign and scale. For each, the mean of every observable `g` with
        that weight, the integral of w g over that of w, is in ``means["g.w"]``, and that of
        velocity in ``means["velocity.w"]``.
    constants : (n, k), optional
        Numbers that belong to a particle, for observables; they are data, and are not compiled.
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
        xarray in gives xarray out: see `trajectories.doors.on_labels`. With `times` the Dataset has
        a dimension `time`, the middles of the windows. The gradient is `gradient_x_y` and so on,
        the derivative of x by y at the start. Rows of `constants` are in the order of the labels.
        Chunks are computed at once.

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
    places = x if constants is None else with_constants(x, constants)
    kept = places.shape[1] - x.shape[1]
    functions = _named(observables)
    functions |= weighted_observables(field, functions, weights or {}, kept)
    coarse = coarsened(field) if interpolation_error else None
    carry = {"carried": carried, "deformed": gradient, "constants": kept}
    particles = (places, begin, offsets)
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
        plain, alone = replace(settings, estimate_error=False), (x, begin, offsets)
        carry |= {"deformed": False, "constants": 0}
        _, rough = _integrated(coarse, (), carry, plain, alone, device, threads, None)
        away = difference(output, rough, field)
        path = replace(path, interpolation_error=away[:, 0] if times is None else away)
    return _found(devices.at_home(path, position, but=("start", "times", "provenance")))


def _found(path: Trajectories) -> Found:
    """Return a record by the keys of `_of_path`."""
    value: dict[Any, Any] = {
        "position": path.position, "displacement": path.displacement,
        "average_velocity": path.average_velocity, "gradient": path.gradient,
        "interpolation_error": path.interpolation_error, "left_domain": path.left_domain,
        "accepted": path.steps[:, 0], "rejected": path.steps[:, 1],
        **{("mean", name): mean for name, mean in path.means.items()},
    }  # fmt: skip
    error: dict[Any, Any] = {
        "position": path.error, "displacement": path.error,
        "average_velocity": path.average_velocity_error, "gradient": path.gradient_error,
        **{("mean", name): doubt for name, doubt in path.mean_errors.items()},
    }  # fmt: skip
    several = path.displacement.ndim == 3
    return Found(
        value, error, path.status, path, path.times, path.provenance,
        (lambda: [_found(path.window(k)) for k in range(len(path.times))]) if several else None,
    )  # fmt: skip


def _integrated(
    field: VelocityField, observables: tuple[Observable, ...], carry: dict[str, Any],
    settings: Settings, particles: tuple[Any, Any, Any], device: str, threads: int | None,
    progress: launch.Progress | None,
) -> tuple[Layout, Output]:  # fmt: skip
    """Integrate on the device asked for."""
    if device == "cpu":
        evaluator = block_evaluator(field, observables, **carry)
        layout = evaluator.layout
        problem = assembled(field, layout, settings, evaluator.address)
        if isinstance(field.samples, SlabbedSamples):
            engine = slabs.HostEngine(problem, *particles, threads)
            return layout, slabs.run(
                field, layout, problem, engine, *particles[1:], progress=progress
            )
        return layout, launch.run(problem, *particles, threads=threads, progress=progress)
    devices.require_compiler()
    from meanfluid.trajectories import launch_cuda  # needs numba-cuda

    layout = checked_layout(field, observables, **carry)
    problem = assembled(field, layout, settings, 0)
    return layout, launch_cuda.run(
        field, observables, layout, problem, *particles, progress=progress
    )


def in_batches(
    function: Any, field: VelocityField, position: ArrayLike, times: dict[str, Any],
    options: dict[str, Any],
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Value, error and status of a function of trajectories, in memory for one batch at a time.

    `function` returns value (n, dimension), error (n,) and status (n,) for some particles. The
    values and errors are arrays of the library of `position`.
    """
    checked_field(field)
    x = checked_positions(position, field.dimension)
    give, count = devices.giver_of(position), len(x)
    batch = _BATCH if isinstance(x, np.ndarray) else _BATCH_ON_GPU
    if count <= batch:
        value, error, status = function(field, x, options, **times)
        return give(value), give(error), status
    own = {name: checked_times(name, value, count) for name, value in times.items()}
    marked, policies = marking(options)
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
    raise_on_failure(status, x, *policies)
    return give(value), give(error), status


def marking(options: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, str]]:
    """Return options of `trajectories` under which failures are marked, and what was asked for.

    The second, `on_failure` and `out_of_domain`, is for `raise_on_failure` when all is done.
    """
    on_failure = options.get("on_failure", "raise")
    out_of_domain = options.get("out_of_domain") or on_failure
    checked_policies(on_failure, out_of_domain)
    policy = "mark" if out_of_domain == "raise" else out_of_domain
    return options | {"on_failure": "mark", "out_of_domain": policy}, (on_failure, out_of_domain)


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
