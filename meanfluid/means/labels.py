"""From one label of trajectories to another, and everything about them from one integration."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from meanfluid.backends import devices
from meanfluid.backends.bodies import Observable
from meanfluid.fields.velocity_field import VelocityField
from meanfluid.means.along import quantities_of
from meanfluid.means.by_label import Label, checked_label, labelled, place
from meanfluid.means.legs import PLACE, VELOCITY, Followed
from meanfluid.means.windows import Window, checked_window
from meanfluid.trajectories.checks import (
    checked_field,
    checked_positions,
    refuse_options_of_trajectories,
)
from meanfluid.trajectories.doors import Arguments, Found, Quantity, on_labels

_POSITIONS = {"initial": "start", "final": "end", "mean": PLACE}
_PLACES = {
    "initial": Quantity(
        "initial_position", "position at the start of the window", "length", mean=False
    ),
    "final": Quantity("final_position", "position at the end of the window", "length", mean=False),
    "mean": Quantity("mean_position", "mean position", "length"),
}


@dataclass(frozen=True, eq=False)
class LagrangianMeans:
    """Means along trajectories, one row each, and the positions that may label them.

    Attributes
    ----------
    position : dict of (n, dimension), length
        Under "initial", "final" and "mean": at `start`, at `end`, and averaged over the window.
        Unwrapped on periodic axes (see `VelocityField.wrap`).
    velocity : (n, dimension), length / time
        Lagrangian mean velocity.
    means : dict of (n[, size])
        Mean of each observable.
    position_error, mean_error : dict of (n,)
        Estimated global errors of `position` and of `means`; Euclidean norm of a vector's.
    velocity_error : (n,), length / time
    status : (n,) int8
        See `meanfluid.Status`; the rows of a trajectory that failed hold NaN.
    start, end : float or (n,), time
    label : str, or float or (n,)
        Which position was given.
    window : Window
    """

    position: dict[str, Any]
    velocity: Any
    means: dict[str, Any]
    position_error: dict[str, Any]
    velocity_error: Any
    mean_error: dict[str, Any]
    status: Any
    start: Any
    end: Any
    label: Any
    window: Window


def _of_means(arguments: Arguments) -> dict[Any, Quantity]:
    places = {(0, label): place for label, place in _PLACES.items()}
    velocity = {(1, VELOCITY): Quantity("average_velocity", "average velocity", "velocity")}
    own = quantities_of("Lagrangian")(arguments)
    return places | velocity | {(2, key): quantity for key, quantity in own.items()}


def _of_relabel(arguments: Arguments) -> Quantity:
    return _PLACES[arguments["wanted"]]


@on_labels(_of_means)
def lagrangian_means(
    field: VelocityField,
    observables: Mapping[str, Observable],
    position: ArrayLike,
    start: ArrayLike,
    end: ArrayLike,
    *,
    label: Label | ArrayLike = "final",
    window: Window | None = None,
    **options: Any,
) -> Found:
    """Means of several observables and of velocity, with all positions that may label them.

    Parameters
    ----------
    field : VelocityField
    observables : mapping of str to callable ``g(m, p, t, x, y[, z])``
        It may be empty.
    position : (n, dimension), length
    start, end : float or (n,), time
    label : "initial", "final", "mean", or float or (n,), time
        What `position` is: where the particle is at `start`, at `end`, its mean position, or
        where it is at a time between them.
    window : Window, optional
        Weight in time, by default the plain mean; see `meanfluid.windows`.
    **options
        Of `meanfluid.trajectories`.

    Returns
    -------
    LagrangianMeans
        xarray in gives xarray out, with error and status: see `trajectories.doors.on_labels`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range.
    TrajectoryError
        If a trajectory fails, or a mean position has none, unless ``on_failure="mark"``.
    """
    if not isinstance(observables, Mapping):
        raise TypeError(f"observables must be a mapping of names to functions, got {observables!r}")
    names = {key: f"observable {k}" for k, key in enumerate(observables)}
    functions = {names[key]: g for key, g in observables.items()}
    met, give = _met(field, functions, position, start, end, label, window, options)
    record = LagrangianMeans(
        position={key: give(met.values[name]) for key, name in _POSITIONS.items()},
        velocity=give(met.values[VELOCITY]),
        means={key: give(met.values[name]) for key, name in names.items()},
        position_error={key: give(met.errors[name]) for key, name in _POSITIONS.items()},
        velocity_error=give(met.errors[VELOCITY]),
        mean_error={key: give(met.errors[name]) for key, name in names.items()},
        status=met.status,
        start=start,
        end=end,
        label=label,
        window=checked_window(window),
    )
    return Found(
        {**_keyed(0, record.position), (1, VELOCITY): record.velocity, **_keyed(2, record.means)},
        {**_keyed(0, record.position_error), (1, VELOCITY): record.velocity_error,
         **_keyed(2, record.mean_error)},
        record.status, record,
    )  # fmt: skip


def _keyed(first: int, values: dict[Any, Any]) -> dict[Any, Any]:
    return {(first, key): value for key, value in values.items()}


@on_labels(_PLACES["mean"])
def mean_position(
    field: VelocityField,
    position: ArrayLike,
    start: ArrayLike,
    end: ArrayLike,
    *,
    label: Label | ArrayLike = "final",
    window: Window | None = None,
    return_error: bool = False,
    **options: Any,
) -> Found:
    """Mean over a window of the position of each trajectory.

    Parameters
    ----------
    field : VelocityField
    position : (n, dimension), length
    start, end : float or (n,), time
    label : "initial", "final", "mean", or float or (n,), time
        What `position` is; see `lagrangian_means`.
    window : Window, optional
        Weight in time, by default the plain mean.
    return_error : bool
        Whether to return the estimated global error, (n,), too.
    **options
        Of `meanfluid.trajectories`.

    Returns
    -------
    (n, dimension), length
        Unwrapped on periodic axes. And the error, if asked for.
        xarray in gives xarray out, with error and status: see `trajectories.doors.on_labels`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range.
    TrajectoryError
        If a trajectory fails, or a mean position has none, unless ``on_failure="mark"``.
    """
    return relabelled(
        field, position, start, end, label, "mean", window, options, carry_error=return_error
    )


@on_labels(_of_relabel)
def relabel(
    field: VelocityField,
    position: ArrayLike,
    start: ArrayLike,
    end: ArrayLike,
    *,
    given: Label | ArrayLike,
    wanted: Label,
    window: Window | None = None,
    return_error: bool = False,
    **options: Any,
) -> Found:
    """Return the positions under one label of the trajectories that have some under another.

    Parameters
    ----------
    field : VelocityField
    position : (n, dimension), length
    start, end : float or (n,), time
    given : "initial", "final", "mean", or float or (n,), time
        What `position` is; see `lagrangian_means`.
    wanted : "initial", "final" or "mean"
        What is to be returned. For another time see `flow_map`.
    window : Window, optional
        Weight in time of the mean position, by default the plain mean.
    return_error : bool
        Whether to return the estimated global error, (n,), too.
    **options
        Of `meanfluid.trajectories`.

    Returns
    -------
    (n, dimension), length
        Unwrapped on periodic axes. And the error, if asked for.
        xarray in gives xarray out, with error and status: see `trajectories.doors.on_labels`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range.
    TrajectoryError
        If a trajectory fails, or a mean position has none, unless ``on_failure="mark"``.
    """
    return relabelled(
        field, position, start, end, given, wanted, window, options, carry_error=return_error
    )


def relabelled(
    field: VelocityField, position: Any, start: Any, end: Any, given: Any, wanted: str,
    window: Window | None, options: dict[str, Any], *, carry_error: bool,
) -> Found:  # fmt: skip
    """Positions under another label; see `relabel`, which is its door."""
    if not (isinstance(wanted, str) and wanted in _POSITIONS):
        raise ValueError(f'wanted must be "initial", "final" or "mean", got {wanted!r}')
    met, give = _met(
        field, {}, position, start, end, given, window, options, carry_error=carry_error
    )
    name = _POSITIONS[wanted]
    return Found(give(met.values[name]), give(met.errors[name]), met.status)


def _met(
    field: VelocityField, functions: dict[str, Observable], position: Any, start: Any, end: Any,
    label: Any, window: Window | None, options: dict[str, Any], *, carry_error: bool = True,
) -> tuple[Followed, Any]:  # fmt: skip
    """Follow trajectories, their mean position included; and what returns arrays to their home."""
    refuse_options_of_trajectories(options)
    checked_field(field)
    checked_label(label)
    give, x = devices.giver_of(position), checked_positions(position, field.dimension)
    functions = {**functions, PLACE: place(field)}
    met = labelled(field, functions, x, start, end, label, window, options, carry_error=carry_error)
    return met, give
