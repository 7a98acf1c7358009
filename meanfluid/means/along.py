r"""Means of an observable over a window of time, along a path or at a place.

Both are one integral, carried by the integrator as extra state:

.. math:: \bar f(x, t, s) = \frac{1}{s - t} \int_t^s f(X(\tau), \tau) \, d\tau .

For the Lagrangian mean X is the trajectory through x at time t, for the Eulerian X = x.
"""

from typing import Any, Literal

from numpy.typing import ArrayLike

from meanfluid.backends.bodies import Observable
from meanfluid.fields.velocity_field import Array, VelocityField
from meanfluid.trajectories.checks import refuse_options_of_trajectories
from meanfluid.trajectories.flow_map import trajectories
from meanfluid.trajectories.results import Trajectories


def lagrangian_mean(
    field: VelocityField,
    observable: Observable | Literal["velocity"],
    position: ArrayLike,
    start: ArrayLike,
    end: ArrayLike,
    *,
    label: Literal["initial", "final"] = "final",
    return_error: bool = False,
    **options: Any,
) -> Any:
    """Mean of an observable along each trajectory.

    Parameters
    ----------
    field : VelocityField
    observable : callable ``g(m, p, t, x, y[, z])``, or "velocity"
        Returns a number or a tuple.
    position : (n, dimension), length
        Where each trajectory is at the labelled time.
    start, end : float or (n,), time
        The window. If it is empty the mean is the observable itself.
    label : "initial" or "final"
        Whether `position` holds at `start` or at `end`.
    return_error : bool
        Whether to return the estimated global error of the mean, of the same shape, too.
    **options
        Of `meanfluid.trajectories`.

    Returns
    -------
    (n,) or (n, size)
        And the error, if asked for.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range.
    TrajectoryError
        If a trajectory fails, unless ``on_failure="mark"``.
    """
    if label not in ("initial", "final"):
        raise ValueError(f'label must be "initial" or "final", got {label!r}')
    anchor, free_end = (start, end) if label == "initial" else (end, start)
    path = _integrated(field, observable, position, anchor, free_end, carried=True, options=options)
    return _reported(path, observable, return_error)


def eulerian_mean(
    field: VelocityField,
    observable: Observable | Literal["velocity"],
    position: ArrayLike,
    start: ArrayLike,
    end: ArrayLike,
    *,
    return_error: bool = False,
    **options: Any,
) -> Any:
    """Mean over a window of time of an observable at fixed positions.

    Parameters
    ----------
    field : VelocityField
    observable : callable ``g(m, p, t, x, y[, z])``, or "velocity"
    position : (n, dimension), length
    start, end : float or (n,), time
    return_error : bool
        Whether to return the estimated error of the mean too.
    **options
        Of `meanfluid.trajectories`.

    Returns
    -------
    (n,) or (n, size)
        And the error, if asked for.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range.
    """
    path = _integrated(field, observable, position, start, end, carried=False, options=options)
    return _reported(path, observable, return_error)


def _integrated(
    field: VelocityField,
    observable: Observable | Literal["velocity"],
    position: ArrayLike,
    start: ArrayLike,
    end: ArrayLike,
    *,
    carried: bool,
    options: dict[str, Any],
) -> Trajectories:
    refuse_options_of_trajectories(options)
    if isinstance(observable, str) and observable != "velocity":
        raise ValueError(f'observable must be a function or "velocity", got {observable!r}')
    functions = {} if isinstance(observable, str) else {"observable": observable}
    return trajectories(
        field, position, start, end, observables=functions, carried=carried, **options
    )


def _reported(path: Trajectories, observable: Any, return_error: bool) -> Any:
    value: Array
    if isinstance(observable, str):
        value, error = path.average_velocity, path.average_velocity_error
    else:
        value, error = path.means["observable"], path.mean_errors["observable"]
    return (value, error) if return_error else value
