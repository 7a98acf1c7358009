r"""What a mean does to a tracer that particles keep.

Let c be conserved along trajectories, c(X(t), t) = c(X(start), start). Its Lagrangian mean is c
itself, at the place that the label names, and is carried unchanged by the Lagrangian mean flow. Its
Eulerian mean is smeared by every wave, and obeys no transport equation of its own: the velocity
that carries it, :math:`\langle v c \rangle / \langle c \rangle`, is different for every tracer.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.backends import devices
from meanfluid.fields.sampled import Boundary, sampled
from meanfluid.fields.velocity_field import Array, VelocityField
from meanfluid.means.along import eulerian_mean
from meanfluid.means.average_velocity import average_velocity
from meanfluid.means.labels import relabelled
from meanfluid.means.windows import Window, top_hat
from meanfluid.trajectories.checks import (
    checked_field,
    checked_positions,
    refuse_options_of_trajectories,
)
from meanfluid.trajectories.doors import Arguments, Found, Quantity, name_of, on_labels
from meanfluid.trajectories.flow_map import in_batches, position_of

Tracer = Callable[[Any], Any]
Passing = Callable[[Array, Array], tuple[Array, Array]]

_DOUBT = "error of quadrature (not of trajectories)"


def _of_advected(arguments: Arguments) -> Quantity:
    name = name_of(arguments["tracer"], "tracer")
    about = "at the end of the window, conserved along trajectories"
    return Quantity(name, f"advected {name}", mean=False, comment=about)


@on_labels(_of_advected)
def advected(
    field: VelocityField,
    tracer: Tracer,
    position: ArrayLike,
    start: ArrayLike,
    end: ArrayLike,
    **options: Any,
) -> Found:
    """Value at `end` of a tracer that is known at `start` and conserved along trajectories.

    Parameters
    ----------
    field : VelocityField
    tracer : callable ``(position (n, dimension)) -> (n,)``
        The tracer at `start`; of unwrapped positions, so it repeats itself on periodic axes.
    position : (n, dimension), length
        Where the tracer is wanted, at `end`.
    start, end : float or (n,), time
    **options
        Of `meanfluid.trajectories`.

    Returns
    -------
    (n,), the unit of the tracer
        xarray in gives xarray out, with status but no error: see `trajectories.doors.on_labels`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range.
    TrajectoryError
        If a trajectory fails, unless ``on_failure="mark"``.
    """
    checked_field(field)
    x = checked_positions(position, field.dimension)
    value, status = _arrived(field, tracer, x, start, end, options)
    return Found(devices.at_home(value, position), None, status)


def _of_tracer(arguments: Arguments) -> Quantity:
    name = name_of(arguments["tracer"], "tracer")
    if arguments["kind"] == "eulerian":
        return Quantity(name, f"Eulerian mean of {name}", comment="at fixed places")
    label = arguments["label"]
    return Quantity(name, f"Lagrangian mean of {name}", comment=f"moved with particles, {label=}")


@on_labels(_of_tracer, comment="of a conserved tracer", doubt=_DOUBT)
def tracer_mean(
    field: VelocityField,
    tracer: Tracer,
    position: ArrayLike,
    start: float,
    end: float,
    *,
    kind: Literal["lagrangian", "eulerian"] = "lagrangian",
    label: Literal["initial", "final", "mean"] = "mean",
    window: Window | None = None,
    nodes: int = 64,
    return_error: bool = False,
    **options: Any,
) -> Found:
    r"""Mean over a window of a tracer that is conserved along trajectories.

    Lagrangian, it is the tracer itself, moved: :math:`\bar c(x) = c(a, start)` with a the position
    at `start` of the trajectory that x labels. Eulerian, it is the mean at a fixed place of what
    passes there, by Gauss-Legendre quadrature.

    Parameters
    ----------
    field : VelocityField
    tracer : callable ``(position (n, dimension)) -> (n,)``
        At `start`.
    position : (n, dimension), length
    start, end : float, time
        The window.
    kind : "lagrangian" or "eulerian"
    label : "initial", "final" or "mean"
        What `position` is, for the Lagrangian mean: the place at `start`, at `end`, or the mean.
    window : Window, optional
        Shape of the weight, a top-hat by default. The Lagrangian mean depends on it through the
        mean position alone.
    nodes : int
        Of the quadrature of the Eulerian mean; a tracer that is drawn out needs more of them.
    return_error : bool
        Whether to return the difference to a quadrature on half as many nodes too; zero for the
        Lagrangian mean, which is none.
    **options
        Of `meanfluid.trajectories`.

    Returns
    -------
    (n,), the unit of the tracer
        And its error, if asked for.
        xarray in gives xarray out, with error and status: see `trajectories.doors.on_labels`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range.
    TrajectoryError
        If a trajectory fails, or no trajectory has its mean position there, unless
        ``on_failure="mark"``.
    """
    if kind == "lagrangian":
        checked_field(field)
        x = checked_positions(position, field.dimension)
        origin = relabelled(
            field, x, start, end, label, "initial", window, options, carry_error=False
        )
        value = _evaluated(tracer, origin.value)
        value, exact = (devices.at_home(part, position) for part in (value, np.zeros_like(value)))
        return Found(value, exact, origin.status)
    if kind != "eulerian":
        raise ValueError(f'kind must be "lagrangian" or "eulerian", got {kind!r}')

    def passing(place: Array, time: Array) -> tuple[Array, Array]:
        amount, status = _arrived(field, tracer, place, start, time, options)
        return amount[:, None], status

    value, error, status = _quadrature(passing, field, position, start, end, window, nodes)
    value, error = (devices.at_home(part[:, 0], position) for part in (value, error))
    return Found(value, error, status)


@on_labels(
    Quantity("effective_velocity", "velocity that carries the Eulerian mean", "velocity"),
    comment="at fixed places, weighted with a conserved tracer",
    doubt=_DOUBT,
)
def effective_velocity(
    field: VelocityField,
    tracer: Tracer,
    position: ArrayLike,
    start: float,
    end: float,
    *,
    window: Window | None = None,
    nodes: int = 64,
    return_error: bool = False,
    **options: Any,
) -> Found:
    r"""Velocity :math:`\langle v c \rangle / \langle c \rangle` that carries an Eulerian mean.

    The mean of a conserved tracer in a flow free of divergence obeys :math:`\partial_t \langle c
    \rangle + \nabla \cdot (w \langle c \rangle) = 0` with this w, the flux over the amount: the
    Eulerian mean velocity and the flux of the fluctuations. Each tracer has its own.

    Parameters
    ----------
    field, tracer, position, start, end, window, nodes, **options
        See `tracer_mean`. The tracer must not have a mean of zero.
    return_error : bool
        Whether to return the difference to a quadrature on half as many nodes, (n,), too.

    Returns
    -------
    (n, dimension), length / time
        And its error, if asked for.
        xarray in gives xarray out, with error and status: see `trajectories.doors.on_labels`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range, or the mean of the tracer vanishes.
    TrajectoryError
        If a trajectory fails, unless ``on_failure="mark"``.
    """

    def flux(place: Array, time: Array) -> tuple[Array, Array]:
        amount, status = _arrived(field, tracer, place, start, time, options)
        velocity = field.velocity(time, devices.to_host(place))
        carried = amount[:, None] * devices.beside(place, velocity)
        return np.concatenate([amount[:, None], carried], axis=1), status

    value, error, status = _quadrature(flux, field, position, start, end, window, nodes)
    amount = value[:, :1]
    if (amount == 0).any():
        first = int(np.flatnonzero(amount[:, 0] == 0)[0])
        raise ValueError(
            f"the mean of the tracer is zero at position {first}, where no velocity carries it; "
            "leave out places that the tracer does not reach"
        )
    velocity = value[:, 1:] / amount
    doubt = np.sqrt((error[:, 1:] ** 2).sum(axis=1))
    doubt = (doubt + np.sqrt((velocity**2).sum(axis=1)) * error[:, 0]) / np.abs(amount[:, 0])
    velocity, doubt = (devices.at_home(part, position) for part in (velocity, doubt))
    return Found(velocity, doubt, status)


def mean_flow(
    field: VelocityField,
    axes: Sequence[ArrayLike],
    times: ArrayLike | None,
    duration: float,
    *,
    kind: Literal["lagrangian", "eulerian"] = "lagrangian",
    label: Literal["initial", "final", "mean"] = "mean",
    window: Window | None = None,
    boundary: Boundary | Sequence[Boundary] = "open",
    degree: int = 5,
    **options: Any,
) -> VelocityField:
    r"""Mean velocity over a moving window as a field of its own, which can be integrated in turn.

    At every node and every time t it is the mean over [t - `duration`, t]. Labelled by mean
    position it is the velocity of the generalised Lagrangian mean: mean positions over the moving
    window are its trajectories, whatever the weight, for d/dt of
    :math:`\int G(\tau - t) X(\tau) \, d\tau` is the mean of the velocity. (Not so for a window
    that grows, or another label, or the Eulerian mean.)

    Parameters
    ----------
    field : VelocityField
    axes : sequence of arrays (points,), length
        Coordinates of the nodes, equally spaced; see `meanfluid.fields.sampled`.
    times : (points,), time, or None
        Ends of the windows, equally spaced. None: one window that ends at time 0, for a mean that
        is steady.
    duration : float, time
        Length of the window.
    kind, label, window
        Of the mean; see `meanfluid.average_velocity`.
    boundary, degree
        Of the interpolation; see `meanfluid.fields.sampled`. The error of interpolation is what
        limits the accuracy of trajectories.
    **options
        Of `meanfluid.trajectories`.

    Returns
    -------
    VelocityField
        Sampled.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range.
    TrajectoryError
        If a trajectory fails, or a node is the mean position of none.

    References
    ----------
    Andrews & McIntyre (1978), An exact theory of nonlinear waves on a Lagrangian-mean flow,
    J. Fluid Mech. 89, 609.
    """
    checked_field(field)
    if not 0 < duration < np.inf:
        raise ValueError(f"duration must be positive and finite, got {duration!r}")
    columns = [np.asarray(axis, dtype=float) for axis in axes]
    ends = np.zeros(1) if times is None else np.asarray(times, dtype=float)
    shape = (len(ends), *(len(axis) for axis in columns))
    mesh = np.meshgrid(ends, *columns, indexing="ij")
    end, position = mesh[0].ravel(), np.stack([part.ravel() for part in mesh[1:]], axis=1)
    if kind == "lagrangian":
        velocity = average_velocity(
            field, position, end - duration, end, label=label, window=window, **options
        )
    elif kind == "eulerian":
        velocity = eulerian_mean(
            field, "velocity", position, end - duration, end, window=window, **options
        )
    else:
        raise ValueError(f'kind must be "lagrangian" or "eulerian", got {kind!r}')
    parts = [part.reshape(shape) for part in velocity.T]
    return sampled(
        [part[0] for part in parts] if times is None else parts, columns,
        None if times is None else ends, degree=degree, time_degree=degree, boundary=boundary,
        name=f"{kind} mean of {field.name}",
    )  # fmt: skip


def _quadrature(
    function: Passing, field: VelocityField, position: ArrayLike, start: float, end: float,
    window: Window | None, nodes: int,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Return the weighted mean of a function of place and time, its error, and a status."""
    x = checked_positions(position, field.dimension)
    if not (nodes >= 4 and nodes % 2 == 0):
        raise ValueError(f"nodes must be an even number from 4 on, got {nodes!r}")
    if start == end:
        raise ValueError(f"an Eulerian mean needs a window, got start = end = {start!r}")
    (fine, status), (coarse, other) = (
        _gauss_legendre(function, x, start, end, window or top_hat(), count)
        for count in (nodes, nodes // 2)
    )
    return fine, np.abs(fine - coarse), np.where(status == 0, other, status)


def _gauss_legendre(
    function: Passing, x: Array, start: float, end: float, window: Window, count: int
) -> tuple[Array, Array]:
    place, share = np.polynomial.legendre.leggauss(count)
    time = start + (end - start) * (1.0 + place) / 2.0
    weight = share * window.weight(time, start, end)
    total: Any = 0.0
    status: Any = None
    for t, w in zip(time, weight / weight.sum(), strict=True):
        value, ended = function(x, np.full(len(x), t))
        total = total + w * value
        status = ended if status is None else np.where(status == 0, ended, status)
    return total, status


def _arrived(
    field: VelocityField, tracer: Tracer, position: ArrayLike, start: Any, time: Any,
    options: dict[str, Any],
) -> tuple[Array, Array]:  # fmt: skip
    """Return the tracer at given times, and how the trajectories that bring it ended."""
    refuse_options_of_trajectories(options)
    times = {"start": time, "end": start}
    origin, _, status = in_batches(position_of, field, position, times, options)
    return _evaluated(tracer, origin), status


def _evaluated(tracer: Tracer, position: Array) -> Array:
    value: Array = devices.beside(position, tracer(position)).astype(float, copy=False)
    if value.shape != position.shape[:1]:
        raise ValueError(
            f"tracer must return one number per position, shape {position.shape[:1]}, got "
            f"{value.shape}"
        )
    lost = ~np.isfinite(position).all(axis=1)
    return np.where(lost, np.nan, value) if lost.any() else value
