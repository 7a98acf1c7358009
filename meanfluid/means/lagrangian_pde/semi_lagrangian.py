r"""Transport on any box: follow the fluid back over each step and interpolate where it was.

The foot of each node's path is found by Runge-Kutta of order four, the middle of the path by
Hermite's cubic through both ends. Along the path :math:`dg/d\tau = A g + s` is an ordinary
equation, integrated by Runge-Kutta of order four with s at the foot, in the middle and at the node.
Splines of odd `degree` interpolate.

With step dt and spacing dx the error is :math:`O(dt^4 + dx^{degree+1} / dt)`: each step
interpolates once. With dt proportional to dx that is at least min(4, degree). Shorter steps alone
do not help beyond the balance of both. The step has no limit of stability from dx; paths must not
cross, |grad v| dt < 1.

At a wall the normal velocity is zero, and feet beyond it by rounding are put back on it. Fluid
that comes in through an open end brings no past with it, and its share of the fluid at each node,
`outside`, is carried along by linear interpolation, which never overshoots; the front is smeared
over a few nodes. Splines see a kink there, whose trace falls by 0.43 (degree 5) from node to node.
"""

from typing import Any

import numpy as np

from meanfluid.fields.velocity_field import Array
from meanfluid.means.lagrangian_pde.grids import Grid
from meanfluid.means.lagrangian_pde.interpolants import GridSpline
from meanfluid.means.lagrangian_pde.transport import runge_kutta


class SemiLagrangian:
    """Splines along the paths of the fluid, on the CPU.

    Parameters
    ----------
    grid : Grid
    degree : 3 or 5

    Raises
    ------
    ValueError
        If the degree is another one.
    """

    def __init__(self, grid: Grid, degree: int = 5) -> None:
        if degree not in (3, 5):
            raise ValueError(f"degree must be 3 or 5, got {degree!r}")
        self.grid, self.degree = grid, degree

    @property
    def name(self) -> str:
        """What to write into a report."""
        return f"semi-Lagrangian, splines of degree {self.degree}, RK4"

    def step(
        self, state: Any, outside: Any, velocity: Any, source: Any, matrix: Array, step: float
    ) -> tuple[Any, Any]:
        """Advance fields by one step along the paths; see `Transport`."""
        grid = self.grid
        foot, middle = self._path(velocity, step)
        old, early, half, late = _weights(matrix, step)
        # One interpolation for what comes from the foot, since everything is linear.
        begin = np.tensordot(old, state, axes=1) + np.tensordot(early, source[0], axes=1)
        between = np.tensordot(half, source[1], axes=1)
        gained = self._spline(begin.reshape(-1, *grid.shape)).at(foot)
        gained += self._spline(between.reshape(-1, *grid.shape)).at(middle)
        new = gained.reshape(state.shape) + np.tensordot(late, source[2], axes=1)
        return new, self._outside(outside, foot)

    def space_error(self, state: Any) -> Any:
        """Return NaN: the error in space shows against a coarser grid."""
        return np.full(state.shape[: -self.grid.dimension], np.nan)

    def interpolant(self, fields: Any) -> GridSpline:
        """Return fields (k, *shape) as splines."""
        return self._spline(fields)

    def coarser(self) -> "SemiLagrangian | None":
        """Return the same on every other node, or None if the ends do not allow it."""
        grid = self.grid.halved()
        return None if grid is None else SemiLagrangian(grid, self.degree)

    def _spline(self, fields: Any) -> GridSpline:
        return GridSpline(self.grid, fields, self.degree)

    def _path(self, velocity: Any, step: float) -> tuple[Any, Any]:
        """Where the fluid of each node was at the beginning and in the middle, (points, d) each."""
        x = self.grid.positions
        early, half = self._spline(velocity[0]), self._spline(velocity[1])
        first = velocity[2].reshape(self.grid.dimension, -1).T
        second = half.at(self._inside(x - 0.5 * step * first)).T
        third = half.at(self._inside(x - 0.5 * step * second)).T
        fourth = early.at(self._inside(x - step * third)).T
        foot = self._inside(x - step / 6.0 * (first + 2.0 * (second + third) + fourth))
        at_foot = early.at(foot).T
        middle = 0.5 * (x + foot) + 0.125 * step * (at_foot - first)
        return foot, self._inside(middle)

    def _inside(self, x: Any) -> Any:
        """Put back what lies beyond a wall."""
        for k, axis in enumerate(self.grid.axes):
            if axis.boundary == "wall":
                x[:, k] = np.clip(x[:, k], axis.lower, axis.upper)
        return x

    def _outside(self, outside: Any, foot: Any) -> Any:
        came = np.where(self.grid.beyond_open_ends(foot.T), 1.0, 0.0)
        if outside.any():
            came = np.maximum(came, GridSpline(self.grid, outside[None], 1).at(foot)[0])
        return came.reshape(self.grid.shape)


def _weights(matrix: Array, step: float) -> list[Array]:
    """Matrices by which one Runge-Kutta step takes g and the three sources to the new g."""
    one, none = np.eye(len(matrix)), np.zeros_like(matrix)
    found = []
    for which in range(4):
        g, early, half, late = (one if which == k else none for k in range(4))
        sources = early, half, late

        def rate(state: Any, k: int, sources: Any = sources) -> Any:
            return matrix @ state + sources[k]

        found.append(runge_kutta(rate, g, step))
    return found
