"""Velocity and observables where the equations ask for them: formulas, functions, or arrays."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from meanfluid.backends.bodies import asked_for
from meanfluid.fields.elementary import numpy_functions
from meanfluid.fields.velocity_field import VelocityField
from meanfluid.means.lagrangian_pde.datasets import velocity_rows
from meanfluid.means.lagrangian_pde.grids import Grid
from meanfluid.means.lagrangian_pde.interpolants import FourierSeries, GridSpline

# Velocity (d, n) and observables (k, n) at a time and positions (n, d).
Flow = Callable[[float, Any], tuple[Any, Any]]
Observables = Mapping[str, Any] | Sequence[Any]

_CHECKED = 256  # points of an end of the box at which velocity is looked at
_EQUAL = 1e-8  # relative difference that counts as none


class Observed:
    """A flow of `Flow`'s form from what a user gave, and the names of its observables.

    Parameters
    ----------
    velocity : VelocityField, or callable ``v(time, position (n, d)) -> (n, d)``
    observables : mapping of str to callable or "velocity", or sequence of callables
        With a `VelocityField` each is ``g(m, p, t, x, y[, z])`` and may ask by name for `velocity`,
        as in `meanfluid.trajectories`; else ``g(time, position (n, d)) -> (n,) or (n, size)``.
    grid : Grid
    time : float, time
        At which all are called once, to see what they return.

    Raises
    ------
    ValueError, TypeError
        If something does not fit.
    """

    def __init__(self, velocity: Any, observables: Observables, grid: Grid, time: float) -> None:
        self.field = velocity if isinstance(velocity, VelocityField) else None
        if self.field is not None and self.field.dimension != grid.dimension:
            raise ValueError(
                f"{self.field.name} has {self.field.dimension} dimensions, the grid "
                f"{grid.dimension}"
            )
        if self.field is None and not callable(velocity):
            raise TypeError(
                "velocity must be a VelocityField or a function v(time, position), got "
                f"{velocity!r}"
            )
        self._velocity = self.field.velocity if self.field is not None else velocity
        self._functions = named(observables)
        self.name = self.field.name if self.field else getattr(velocity, "__name__", "function")
        some = grid.positions[:3]
        v = self._velocity(time, some)
        if np.shape(v) != some.shape:
            raise ValueError(
                f"velocity must return an array (points, {grid.dimension}), one row per position, "
                f"got shape {np.shape(v)} for positions {some.shape}"
            )
        self.sizes = {
            name: self._size(name, self._one(g, time, some, v), len(some))
            for name, g in self._functions.items()
        }

        self._check_ends(grid, time)

    def _check_ends(self, grid: Grid, time: float) -> None:
        """Refuse what does not repeat itself along a periodic axis, or flows through a wall."""
        everywhere = np.concatenate(self(time, grid.positions))
        if not np.isfinite(everywhere).all():
            raise ValueError(
                f"velocity must be finite everywhere on the grid, and observables, at {time}"
            )
        size = _EQUAL * np.abs(everywhere).max(axis=1, keepdims=True)
        for k, axis in enumerate(grid.axes):
            if axis.boundary == "open":
                continue
            face = grid.positions[grid.positions[:, k] == axis.lower][:_CHECKED]
            across = face + (axis.upper - axis.lower) * np.eye(grid.dimension)[k]
            here, there = (np.concatenate(self(time, x)) for x in (face, across))
            if axis.boundary == "periodic" and not (np.abs(here - there) <= size).all():
                raise ValueError(
                    f"velocity and observables must have the period of the grid, got values at "
                    f"{axis.lower} and {axis.upper} of axis {k} that differ by "
                    f"{np.abs(here - there).max():.3g}"
                )
            through = max(np.abs(here[k]).max(), np.abs(there[k]).max())
            if axis.boundary == "wall" and not through <= size[: grid.dimension].max():
                raise ValueError(
                    f"nothing may flow through a wall, got a velocity of {through:.3g} across an "
                    f'end of axis {k}; is that end "open"?'
                )

    def __call__(self, time: float, position: Any) -> tuple[Any, Any]:
        """Return velocity (d, n) and all observables below each other, (k, n)."""
        v = self._velocity(time, position)
        rows = [self._one(g, time, position, v) for g in self._functions.values()]
        stacked = np.concatenate([row.reshape(len(row), -1).T for row in rows]) if rows else v.T[:0]
        return v.T, stacked

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of a formula, for a report; nothing of a function or samples."""
        if self.field is None or self.field.samples is not None:
            return {}
        values = self.field.parameters._asdict().items()
        return {"parameters": {key: np.asarray(value).tolist() for key, value in values}}

    def _one(self, g: Any, time: float, position: Any, v: Any) -> Any:
        if isinstance(g, str):
            return v
        if self.field is None:
            return np.asarray(g(time, position)) if isinstance(position, np.ndarray) else g(
                time, position
            )  # fmt: skip
        asked = asked_for(g, self.field.dimension)
        if set(asked) - {"velocity"}:
            raise ValueError(
                f"observable {g.__name__} asks for {', '.join(asked)}; on a grid only velocity is "
                "at hand, use meanfluid.trajectories"
            )
        p = self.field.parameters if not self.field.modal and self.field.samples is None else None
        extras = {"velocity": tuple(v.T)} if asked else {}
        value = g(numpy_functions, p, time, *position.T, **extras)
        if isinstance(value, tuple):
            parts = [np.broadcast_to(part, position.shape[:1]) for part in value]
            return np.stack(parts, axis=-1) if len(parts) > 1 else parts[0]
        return np.broadcast_to(value, position.shape[:1])

    @staticmethod
    def _size(name: str, value: Any, count: int) -> int | None:
        if np.ndim(value) not in (1, 2) or len(value) != count:
            raise ValueError(
                f"observable {name} must return (points,) or (points, size), got shape "
                f"{np.shape(value)} for {count} positions"
            )
        return None if np.ndim(value) == 1 else value.shape[1]


def split(sizes: Mapping[str, int | None], rows: Any) -> dict[str, Any]:
    """Return named parts of rows (k, ...): (...) of a number, (size, ...) of several."""
    parts, first = {}, 0
    for name, size in sizes.items():
        parts[name] = rows[first] if size is None else rows[first : first + size]
        first += 1 if size is None else size
    return parts


def named(observables: Observables) -> dict[str, Any]:
    """Return observables by name.

    Raises
    ------
    ValueError
        If two have one name, or one is neither a function nor "velocity".
    """
    if isinstance(observables, str) or callable(observables):
        raise ValueError("observables must be a sequence or mapping of functions; pass [g]")
    if isinstance(observables, Mapping):
        found = dict(observables)
    else:
        found = {
            g if isinstance(g, str) else getattr(g, "__name__", f"observable_{k}"): g
            for k, g in enumerate(observables)
        }
        if len(found) < len(observables):
            raise ValueError(f"observables must have different names, got {list(found)}")
    for name, g in found.items():
        if not (callable(g) or (isinstance(g, str) and g == "velocity")):
            raise ValueError(f'observable {name} must be a function or "velocity", got {g!r}')
    return found


def interpolated(
    grid: Grid, times: Sequence[float], velocity: Any, observed: Any, *, exact: bool = False
) -> Flow:
    """Return the flow that arrays hold at the times of one step, between the nodes too.

    Parameters
    ----------
    grid : Grid
    times : three times of the step
    velocity : (3, dimension, *shape), or Dataset
        As in `RunningMean.step`.
    observed : (3, k, *shape)
    exact : bool
        Whether to sum the Fourier series, which is exact and slow, in place of quintic splines.
    """
    d, velocity = grid.dimension, velocity_rows(velocity, grid)
    tables: dict[float, Any] = {}

    def flow(time: float, position: Any) -> tuple[Any, Any]:
        index = min(range(len(times)), key=lambda k: abs(times[k] - time))
        if times[index] not in tables:
            both = np.concatenate([velocity[index], observed[index]])
            tables[times[index]] = (FourierSeries if exact else GridSpline)(grid, both)
        rows = tables[times[index]].at(position)
        return rows[:d], rows[d:]

    return flow
