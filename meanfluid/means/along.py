r"""Means of an observable over a window of time, along a path or at a place.

Both are one integral, carried by the integrator as extra state:

.. math:: \bar f = \int_{start}^{end} w(\tau) f(X(\tau), \tau) \, d\tau \Big/
          \int_{start}^{end} w(\tau) \, d\tau .

For the Lagrangian mean X is a trajectory, for the Eulerian a place; the weight w is 1 unless a
window says otherwise.
"""

from collections.abc import Mapping
from typing import Any, Literal

from numpy.typing import ArrayLike

from meanfluid.backends import devices
from meanfluid.backends.bodies import Observable
from meanfluid.fields.velocity_field import VelocityField
from meanfluid.means.by_label import Label, checked_times_of, labelled
from meanfluid.means.legs import VELOCITY, Followed, Span, followed
from meanfluid.means.windows import Window, checked_window
from meanfluid.trajectories.checks import (
    checked_field,
    checked_positions,
    refuse_options_of_trajectories,
)
from meanfluid.trajectories.doors import Arguments, Found, Quantity, name_of, on_labels

Observed = Observable | Literal["velocity"] | Mapping[str, Observable | Literal["velocity"]]


def quantities_of(kind: str) -> Any:
    """Return what names the means of the observables among the arguments of a door."""

    def named_means(arguments: Arguments) -> Any:
        observable = arguments.get("observables", arguments.get("observable"))

        def one(name: str, function: Any) -> Quantity:
            unit: Any = "velocity" if function == VELOCITY else None
            return Quantity(name, f"{kind} mean of {name}", unit)

        if isinstance(observable, Mapping):
            return {key: one(str(key), g) for key, g in observable.items()}
        return one(name_of(observable), observable)

    return named_means


@on_labels(quantities_of("Lagrangian"))
def lagrangian_mean(
    field: VelocityField,
    observable: Observed,
    position: ArrayLike,
    start: ArrayLike,
    end: ArrayLike,
    *,
    label: Label | ArrayLike = "final",
    window: Window | None = None,
    return_error: bool = False,
    **options: Any,
) -> Found:
    """Mean of an observable along each trajectory.

    Parameters
    ----------
    field : VelocityField
    observable : callable ``g(m, p, t, x, y[, z])``, or "velocity", or a mapping of str to such
        A function returns a number or a tuple.
    position : (n, dimension), length
        Where each trajectory is at the labelled time, or its mean position.
    start, end : float or (n,), time
        The window. If it is empty the mean is the observable itself.
    label : "initial", "final", "mean", or float or (n,), time
        What `position` is: where the particle is at `start`, at `end`, its mean position over the
        window, or where it is at a time between them.
    window : Window, optional
        Weight in time, by default the plain mean; see `meanfluid.windows`. The label does not
        change it: an exponential one forgets what is long before `end` under every label.
    return_error : bool
        Whether to return the estimated global error of the mean, (n,), too.
    **options
        Of `meanfluid.trajectories`.

    Returns
    -------
    (n,) or (n, size)
        And the error, if asked for; of a mapping, a dict of means, and one of errors.
        xarray in gives xarray out, with error and status: see `trajectories.doors.on_labels`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range.
    TrajectoryError
        If a trajectory fails, or a mean position has none, unless ``on_failure="mark"``.
    """
    functions, names = named(observable)
    refuse_options_of_trajectories(options)
    checked_field(field)
    give, x = devices.giver_of(position), checked_positions(position, field.dimension)
    met = labelled(
        field, functions, x, start, end, label, window, options, carry_error=return_error
    )
    return _found(met, names, give)


@on_labels(quantities_of("Eulerian"), comment="at fixed places", carried=False)
def eulerian_mean(
    field: VelocityField,
    observable: Observed,
    position: ArrayLike,
    start: ArrayLike,
    end: ArrayLike,
    *,
    window: Window | None = None,
    return_error: bool = False,
    **options: Any,
) -> Found:
    """Mean over a window of time of an observable at fixed positions.

    Parameters
    ----------
    field : VelocityField
    observable : callable ``g(m, p, t, x, y[, z])``, or "velocity", or a mapping of str to such
    position : (n, dimension), length
    start, end : float or (n,), time
    window : Window, optional
        Weight in time, by default the plain mean; see `meanfluid.windows`.
    return_error : bool
        Whether to return the estimated error of the mean, (n,), too.
    **options
        Of `meanfluid.trajectories`.

    Returns
    -------
    (n,) or (n, size)
        And the error, if asked for; of a mapping, a dict of means, and one of errors.
        xarray in gives xarray out, with error and status: see `trajectories.doors.on_labels`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range.
    """
    return at_places(field, observable, position, start, end, window, options)


def at_places(
    field: VelocityField, observable: Any, position: Any, start: Any, end: Any,
    window: Window | None, options: dict[str, Any],
) -> Found:  # fmt: skip
    """Mean at fixed positions; see `eulerian_mean`, which is its door."""
    functions, names = named(observable)
    refuse_options_of_trajectories(options)
    checked_field(field)
    give, x = devices.giver_of(position), checked_positions(position, field.dimension)
    window = checked_window(window)
    begin, stop = checked_times_of(field, x, start, end)
    anchor = begin + 0.5 * (stop - begin) if window.kinked else begin
    span = Span(begin, stop, anchor)
    met = followed(field, functions, x, span, window, options, carried=False)
    return _found(met, names, give)


def named(observable: Any) -> tuple[dict[str, Observable], Any]:
    """Return functions under names of our own, and where each wanted mean is among the results.

    The second is a name of a result, or a dict of them if a mapping was given.

    Raises
    ------
    ValueError
        If a word is not "velocity".
    """
    wanted = observable if isinstance(observable, Mapping) else {"": observable}
    functions: dict[str, Observable] = {}
    names = {}
    for k, (key, g) in enumerate(wanted.items()):
        if isinstance(g, str):
            if g != VELOCITY:
                raise ValueError(f'observable must be a function or "velocity", got {g!r}')
            names[key] = VELOCITY
        else:
            names[key] = f"observable {k}"
            functions[names[key]] = g
    return functions, names if isinstance(observable, Mapping) else names[""]


def _found(met: Followed, names: Any, give: Any) -> Found:
    if isinstance(names, dict):
        value = {key: give(met.values[name]) for key, name in names.items()}
        error = {key: give(met.errors[name]) for key, name in names.items()}
        return Found(value, error, met.status)
    return Found(give(met.values[names]), give(met.errors[names]), met.status)
