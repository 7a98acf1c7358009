r"""Means over a window along the trajectory that is at a given place at a given time.

The trajectory is followed from that place to both ends of the window, and what is met on both
ways is added up:

.. math:: \bar g = \int_{start}^{end} w(\tau) g(X(\tau), \tau) \, d\tau \Big/
          \int_{start}^{end} w(\tau) \, d\tau .
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from meanfluid.backends import devices
from meanfluid.backends.bodies import Observable
from meanfluid.fields.velocity_field import VelocityField
from meanfluid.means.windows import Window
from meanfluid.trajectories.flow_map import trajectories
from meanfluid.trajectories.results import Trajectories
from meanfluid.trajectories.weights import quotient, windowed_observables

VELOCITY, PLACE = "velocity", "place"  # a field, and where its particles are
_WEIGHT = "window"


@dataclass(frozen=True, eq=False)
class Followed:
    """What was met along trajectories, with estimated global errors.

    Attributes
    ----------
    values : dict of (n[, size])
        The means, "velocity" and the observables; and the positions "start" and "end".
    errors : dict of (n,)
    status : (n,) int8
    """

    values: dict[str, Any]
    errors: dict[str, Any]
    status: Any


@dataclass(frozen=True)
class Span:
    """A window [start, end], and the time at which positions are given; of all, or of each, (n,).

    Arrays are NumPy's.
    """

    start: Any
    end: Any
    anchor: Any

    def of(self, which: Any) -> "Span":
        """Return the windows of some particles."""
        times = (self.start, self.end, self.anchor)
        return Span(*(time[which] if np.ndim(time) else time for time in times))

    def shares(self) -> tuple[Any, Any]:
        """Parts of the window before and after the anchor; an empty one is all after it."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            length = self.end - self.start
            before = np.where(length == 0, 0.0, (self.anchor - self.start) / length)
            after = np.where(length == 0, 1.0, (self.end - self.anchor) / length)
        return before, after


def followed(
    field: VelocityField, functions: Mapping[str, Observable], position: Any, span: Span,
    window: Window, options: dict[str, Any], *, carried: bool = True, gradient: bool = False,
) -> Followed:  # fmt: skip
    """Follow trajectories to both ends of a window.

    Parameters
    ----------
    field : VelocityField
    functions : mapping of str to observable
        An observable that asks for `deformation` gets the derivative in `position`.
    position : (n, dimension), length
        At the anchor of `span`; a NumPy or CuPy array.
    span : Span
    window : Window
    options : dict
        Of `trajectories`.
    carried, gradient : bool
        As in `trajectories`.

    Returns
    -------
    Followed
        Arrays beside `position`.
    """
    weighed, constants = dict(functions), None
    if window.shape is not None:
        weighed = windowed_observables(field, functions, _WEIGHT, window.shape)
        pair = np.broadcast_arrays(np.empty(len(position)), *window.constants(span.start, span.end))
        constants = np.stack(pair[1:], axis=1)
    paths: list[tuple[str, Trajectories, Any]] = []
    for name, stop, share in zip(
        ("start", "end"), (span.start, span.end), span.shares(), strict=True
    ):
        if np.any(share):
            path = trajectories(
                field, position, span.anchor, stop, observables=weighed, constants=constants,
                carried=carried, gradient=gradient, **options,
            )  # fmt: skip
            paths.append((name, path, share))
    return _added(paths, position, list(functions), window)


def _added(
    paths: list[tuple[str, Trajectories, Any]], position: Any, names: list[str], window: Window
) -> Followed:
    """Add up the integrals of the parts, divide them by that of the weight, and carry errors."""
    values, errors = {}, {}
    for name in (VELOCITY, *names):
        if window.shape is None:
            values[name], errors[name] = _sum(paths, name)
        else:
            values[name], errors[name] = quotient(
                *_sum(paths, f"{name}.{_WEIGHT}"), *_sum(paths, _WEIGHT)
            )
    for name in {VELOCITY, PLACE} & set(values):  # in one dimension a tuple of one is a number
        values[name] = values[name].reshape(position.shape)
    nothing = np.zeros_like(position, shape=(len(position),))
    status = np.zeros_like(paths[0][1].status)
    values |= {"start": position, "end": position}
    errors |= {"start": nothing, "end": nothing}
    for name, path, _ in paths:
        values[name], errors[name] = path.position, path.error
        status = np.where(status == 0, path.status, status)
    return Followed(values, errors, status)


def _sum(paths: list[tuple[str, Trajectories, Any]], name: str) -> tuple[Any, Any]:
    """Mean over the window of something from its means over the parts."""
    value, error = None, None
    for _, path, share in paths:
        if name == VELOCITY:
            part, doubt = path.average_velocity, path.average_velocity_error
        else:
            part, doubt = path.means[name], path.mean_errors[name]
        if len(paths) > 1:
            own = devices.beside(doubt, np.broadcast_to(share, doubt.shape))
            part, doubt = part * _column(own, part), doubt * own
        value = part if value is None else value + part
        error = doubt if error is None else error + doubt
    return value, error


def _column(numbers: Any, beside: Any) -> Any:
    """Numbers (n,), with an axis more where what they multiply is a vector."""
    return numbers[:, None] if beside.ndim > 1 else numbers
