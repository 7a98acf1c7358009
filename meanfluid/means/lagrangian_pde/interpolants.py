"""Fields on a grid between its nodes: their Fourier series, or splines; values and gradients."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from meanfluid.fields import splines
from meanfluid.means.lagrangian_pde.grids import Grid
from meanfluid.means.periodic import Interpolant


class FourierSeries:
    """The trigonometric interpolant of fields on a periodic grid: exact, at a cost.

    It costs as many operations as there are modes, for each point; short waves at the level of
    rounding are left out. Runs on the library of its input, NumPy or CuPy.

    Parameters
    ----------
    grid : Grid
    fields : (k, *shape)
    """

    def __init__(self, grid: Grid, fields: Any) -> None:
        self._lower = [axis.lower for axis in grid.axes]
        self._series = Interpolant(fields, grid.length)

    def at(self, points: Any) -> Any:
        """Return values (k, n) at points (n, dimension)."""
        return self._series.at(self._from_corner(points))

    def gradient(self, points: Any) -> Any:
        """Return derivatives (k, n, dimension) at points (n, dimension)."""
        return np.moveaxis(self._series.gradient(self._from_corner(points)), 1, 2)

    def _from_corner(self, points: Any) -> Any:
        return np.stack([points[:, k] - lower for k, lower in enumerate(self._lower)])


class GridSpline:
    """Product splines through fields on a grid, on the CPU.

    Values come from SciPy's compiled sum of B-splines, for the coefficients of
    `meanfluid.fields.splines`; ends that are not periodic are not-a-knot.

    Parameters
    ----------
    grid : Grid
    fields : (k, *shape)
    degree : 1, 3 or 5
    """

    def __init__(self, grid: Grid, fields: Any, degree: int = 5) -> None:
        self._grid, self._degree = grid, degree
        table = np.asarray(fields, dtype=float)
        for axis, periodic in enumerate(grid.periodic, start=1):
            table = splines.coefficients(table, axis, degree, periodic=periodic)
        self._table = np.ascontiguousarray(table)

    def at(self, points: Any) -> Any:
        """Return values (k, n) at points (n, dimension); beyond an end, those at the end."""
        from scipy.ndimage import map_coordinates  # here: it is slow to import

        where = np.stack(self._scaled(points)) + self._degree // 2
        result = np.empty((len(self._table), len(points)))
        for k, table in enumerate(self._table):
            map_coordinates(
                table, where, output=result[k], order=self._degree, mode="nearest", prefilter=False
            )
        return result

    def gradient(self, points: Any) -> Any:
        """Return derivatives (k, n, dimension) at points (n, dimension)."""
        cells, values, slopes = [], [], []
        for k, scaled in enumerate(self._scaled(points)):
            last = self._table.shape[k + 1] - self._degree - 1
            cell = np.clip(np.floor(scaled), 0, last).astype(np.intp)
            cells.append(cell)
            values.append(splines.WEIGHTS[self._degree](scaled - cell))
            slopes.append(splines.SLOPES[self._degree](scaled - cell))
        result = np.zeros((len(self._table), len(points), self._grid.dimension))
        for corner in np.ndindex(*[self._degree + 1] * self._grid.dimension):
            entries = self._table[
                (slice(None), *(cell + k for cell, k in zip(cells, corner, strict=True)))
            ]
            for axis in range(self._grid.dimension):
                result[:, :, axis] += entries * _product(values, slopes, corner, axis)
        return result / self._grid.spacing

    def _scaled(self, points: Any) -> list[Any]:
        """Places in units of the spacing, from the first node on."""
        places = []
        for k, (axis, periodic) in enumerate(
            zip(self._grid.axes, self._grid.periodic, strict=True)
        ):
            scaled = (points[:, k] - axis.lower) / self._grid.spacing[k]
            n = self._grid.shape[k]
            places.append(np.mod(scaled, n) if periodic else np.clip(scaled, 0, n - 1))
        return places


def _product(
    values: Sequence[Any], slopes: Sequence[Any], corner: tuple[int, ...], axis: int
) -> Any:
    result: Any = 1.0
    for k, j in enumerate(corner):
        result = result * (slopes[k][j] if k == axis else values[k][j])
    return result
