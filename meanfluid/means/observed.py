"""An observable at given positions and times, by NumPy: nothing is integrated or compiled.

On tracks from xarray it is what an instrument would have met there.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.backends import devices
from meanfluid.backends.bodies import Observable, asked_for, observable_shape
from meanfluid.fields.elementary import numpy_functions
from meanfluid.fields.velocity_field import Array, VelocityField
from meanfluid.trajectories.checks import (
    checked_field,
    checked_positions,
    checked_time_range,
    checked_times,
)
from meanfluid.trajectories.doors import Arguments, Found, Quantity, name_of, on_labels
from meanfluid.trajectories.results import described


def _of_observable(arguments: Arguments) -> Quantity:
    observable = arguments["observable"]
    unit: Any = "velocity" if isinstance(observable, str) else None
    name = name_of(observable)
    return Quantity(name, name, unit, mean=False, comment="values at the positions and times")


@on_labels(_of_observable, by_chunks=False)
def observed(
    field: VelocityField,
    observable: Observable | Literal["velocity"],
    position: ArrayLike,
    time: ArrayLike | None = None,
) -> Found:
    """Values of an observable at given positions and times.

    Stacked over several fields they are what `ensemble_mean` and `phase_mean` average.

    Parameters
    ----------
    field : VelocityField
    observable : callable ``g(m, p, t, x, y[, z])``, or "velocity"
        Returns a number or a tuple. After the coordinates it may ask for `velocity`.
    position : (n, dimension), length
        The array chooses where the result goes; the formula is evaluated on the host.
    time : float or (n,), time, optional
        By default the coordinate `time` of a Dataset: of tracks, say, each point of which has its
        own.

    Returns
    -------
    (n,) or (n, size)
        xarray in gives xarray out: see `trajectories.doors.on_labels`. The Dataset has no error and
        no status, and no bounds of time; tracks keep their dimensions and their `featureType`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range, or the observable asks for more than
        the velocity: then ``eulerian_mean(field, observable, position, time, time)`` gives the
        same values by compiled code.

    Examples
    --------
    >>> from meanfluid.fields import rotation
    >>> observed(rotation(2.0), lambda m, p, t, x, y: x * y, [[3.0, 0.5]], 0.0)
    array([1.5])
    """
    checked_field(field)
    if time is None:
        raise TypeError("pass time=, or a Dataset of positions with a coordinate called time")
    x = checked_positions(devices.to_host(position), field.dimension)
    moment = checked_times("time", devices.to_host(time), len(x))
    checked_time_range(field, "time", moment)
    value = _evaluated(field, observable, x, np.broadcast_to(moment, (len(x),)))
    told = {"field": field.name, **described(field)}
    return Found(devices.at_home(value, position), None, None, provenance=told)


def _evaluated(field: VelocityField, observable: Any, x: Array, moment: Array) -> Array:
    if isinstance(observable, str):
        if observable != "velocity":
            raise ValueError(f'observable must be a function or "velocity", got {observable!r}')
        return field.velocity(moment, x)
    names = asked_for(observable, field.dimension)
    if not set(names) <= {"velocity"}:
        raise ValueError(
            f"observable {observable.__name__} asks for {', '.join(names)}; here it may only ask "
            "for velocity: use eulerian_mean(field, observable, position, time, time)"
        )
    shape = observable_shape(field, observable)
    p = None if field.modal or field.samples is not None else field.parameters
    extras = {"velocity": tuple(field.velocity(moment, x).T)} if names else {}
    value = observable(numpy_functions, p, moment, *x.T, **extras)
    if not shape:
        return np.array(np.broadcast_to(value, (len(x),)), dtype=float)
    return np.stack([np.broadcast_to(part, (len(x),)) for part in value], axis=-1).astype(float)
