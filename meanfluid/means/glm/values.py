"""Velocity, its gradient and observables at many points and times, without an integration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from meanfluid.backends.bodies import Observable, asked_for, observable_shape
from meanfluid.backends.derivatives import gradient_body
from meanfluid.fields.elementary import numpy_functions
from meanfluid.fields.velocity_field import Array, VelocityField
from meanfluid.trajectories.flow_map import trajectories

_NUMBERS = 2**21  # points times modes that are evaluated at once


@dataclass(frozen=True, eq=False)
class Local:
    """What is met at some points.

    Attributes
    ----------
    velocity : (..., dimension)
    gradient : (..., dimension, dimension)
        ``gradient[..., i, j]`` is d v_i / d x_j.
    values : dict of (...[, size])
        Of observables.
    """

    velocity: Array
    gradient: Array
    values: dict[str, Array]

    def members(self, which: Any) -> "Local":
        """Return some of the members along the first axis."""
        values = {name: value[which] for name, value in self.values.items()}
        return Local(self.velocity[which], self.gradient[which], values)


def checked_observables(field: VelocityField, observables: Mapping[str, Observable]) -> None:
    """Refuse observables that cannot be evaluated at a point.

    Raises
    ------
    ValueError
        If one is no such function, or asks for `deformation`.
    """
    for name, function in observables.items():
        if "deformation" in asked_for(function, field.dimension):
            raise ValueError(
                f"observable {name} asks for deformation, which depends on a trajectory; here an "
                "observable may ask for velocity and gradient"
            )
        observable_shape(field, function)


def local(
    field: VelocityField, time: Array, position: Array, observables: Mapping[str, Observable]
) -> Local:
    """Evaluate a field and observables of it at times (n,) and positions (n, dimension)."""
    n, d = position.shape
    velocity, gradient = np.empty((n, d)), np.empty((n, d, d))
    rows = len(field.table) if field.samples is None and field.modal else 1
    step = max(_NUMBERS // rows, 1)
    for first in range(0, n, step):
        part = slice(first, first + step)
        velocity[part], gradient[part] = _rates(field, time[part], position[part])
    values = {
        name: _observed(function, field, time, position, velocity, gradient)
        for name, function in observables.items()
    }
    return Local(velocity, gradient, values)


def _rates(field: VelocityField, time: Array, position: Array) -> tuple[Array, Array]:
    if field.samples is not None:
        return _sampled_rates(field, time, position)
    d = field.dimension
    p: Any = field.parameters
    if field.modal:  # modes along a leading axis, summed below
        p = type(p)(*field.table.T[:, :, None])
    function = gradient_body(field.body, type(field.parameters), d)
    with np.errstate(all="ignore"):
        parts = function(numpy_functions, p, time, *position.T)
    shape = (len(field.table), len(time)) if field.modal else (1, len(time))
    flat = np.stack([np.broadcast_to(part, shape).sum(axis=0) for part in parts], axis=-1)
    return flat[:, :d], flat[:, d:].reshape(-1, d, d)


def _sampled_rates(field: VelocityField, time: Array, position: Array) -> tuple[Array, Array]:
    """Velocity and gradient of the interpolant: the integrator's limits for an empty window."""
    d = field.dimension
    if len(position) == 0:
        return np.empty((0, d)), np.empty((0, d, d))
    here = trajectories(
        field, position, time, time, observables={"gradient": _GRADIENTS[d]}, on_failure="mark",
        estimate_error=False,
    )  # fmt: skip
    return here.average_velocity, here.means["gradient"].reshape(-1, d, d)


def _gradient_1(m: Any, p: Any, t: Any, x: Any, gradient: Any) -> Any:
    return gradient[0][0]


def _gradient_2(m: Any, p: Any, t: Any, x: Any, y: Any, gradient: Any) -> Any:
    return gradient[0][0], gradient[0][1], gradient[1][0], gradient[1][1]


def _gradient_3(m: Any, p: Any, t: Any, x: Any, y: Any, z: Any, gradient: Any) -> Any:
    first, second, third = gradient
    return (
        first[0], first[1], first[2], second[0], second[1], second[2], third[0], third[1], third[2],
    )  # fmt: skip


_GRADIENTS: dict[int, Observable] = {1: _gradient_1, 2: _gradient_2, 3: _gradient_3}


def _observed(
    function: Observable, field: VelocityField, time: Array, position: Array, velocity: Array,
    gradient: Array,
) -> Array:  # fmt: skip
    """Value (n,) or (n, size) of an observable; a tuple of one counts as a number."""
    d = field.dimension
    known = {
        "velocity": tuple(velocity.T),
        "gradient": tuple(tuple(gradient[:, i, j] for j in range(d)) for i in range(d)),
    }
    asked = {name: known[name] for name in asked_for(function, d)}
    p = None if field.samples is not None or field.modal else field.parameters
    with np.errstate(all="ignore"):
        value = function(numpy_functions, p, time, *position.T, **asked)
    parts = value if isinstance(value, tuple) else (value,)
    columns = [np.broadcast_to(np.asarray(part, dtype=float), time.shape) for part in parts]
    return np.array(columns[0]) if len(columns) == 1 else np.stack(columns, axis=-1)


def stacked(members: list[Local]) -> Local:
    """Join what several members meet, along a new first axis."""
    return Local(
        np.stack([member.velocity for member in members]),
        np.stack([member.gradient for member in members]),
        {name: np.stack([m.values[name] for m in members]) for name in members[0].values},
    )


def met(
    fields: Sequence[VelocityField], time: Array, position: Array,
    observables: Mapping[str, Observable],
) -> Local:  # fmt: skip
    """Evaluate each member at its own times (members, n) and positions (members, n, dimension)."""
    rows = zip(fields, time, position, strict=True)
    return stacked([local(field, now, there, observables) for field, now, there in rows])
