"""The record of a sampled velocity: grid, spline coefficients, units; its NumPy form.

Every axis, time first if there is one, has equal spacing. The velocity is a product spline (see
`splines`) whose coefficients are computed once, so that it is evaluated in the same way in every
cell, next to a boundary too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfluid.fields import splines

Array = NDArray[np.float64]

_POINTS = 4096  # evaluated at a time, so that temporaries stay small

GEOMETRY = ("lower", "spacing", "inverse_spacing", "cells", "periodic")
"""The numbers of one axis in `Samples.table`."""


@dataclass(frozen=True)
class SampleAxis:
    """Equally spaced nodes along one axis, and the spline between them.

    Parameters
    ----------
    name : str
        "time", or a coordinate.
    lower, upper : float
        First node; last node, or on a periodic axis one period after the first.
    nodes : int
    degree : 1, 3 or 5
    periodic : bool

    Raises
    ------
    ValueError
        If the degree is another one, or there are fewer nodes than degree + 1.
    """

    name: str
    lower: float
    upper: float
    nodes: int
    degree: int
    periodic: bool = False

    def __post_init__(self) -> None:
        if self.degree not in splines.WEIGHTS:
            raise ValueError(
                f"degree along {self.name} must be 1 (linear), 3 (cubic) or 5 (quintic), "
                f"got {self.degree!r}"
            )
        if self.nodes <= self.degree:
            raise ValueError(
                f"a spline of degree {self.degree} needs at least {self.degree + 1} points along "
                f"{self.name}, got {self.nodes}; choose a smaller degree"
            )

    @property
    def cells(self) -> int:
        """Intervals between nodes; the last one of a periodic axis leads back to the first."""
        return self.nodes if self.periodic else self.nodes - 1

    @property
    def spacing(self) -> float:
        """Distance of two nodes."""
        return (self.upper - self.lower) / self.cells

    @property
    def geometry(self) -> tuple[float, ...]:
        """The numbers that `GEOMETRY` names."""
        inverse = self.cells / (self.upper - self.lower)
        return self.lower, self.spacing, inverse, float(self.cells), float(self.periodic)

    def cell(self, x: Array) -> tuple[NDArray[np.intp], Array]:
        """Index of the cell that holds each x, and the fraction of it, NaN where there is none."""
        scaled = (x - self.lower) * self.geometry[2]
        if self.periodic:
            scaled = np.where(np.isfinite(x), scaled, np.nan)
            whole = np.floor(scaled)
            index = np.mod(whole, self.cells)
        else:
            scaled = np.where((x >= self.lower) & (x <= self.upper), scaled, np.nan)
            whole = index = np.clip(np.floor(scaled), 0, self.cells - 1)
        return np.nan_to_num(index).astype(np.intp), scaled - whole

    @property
    def halvable(self) -> bool:
        """Whether every other node makes a coarser grid of the same extent."""
        return self.cells % 2 == 0 and self.nodes - self.cells // 2 > self.degree

    def halved(self) -> "SampleAxis":
        """Return the axis of every other node.

        Raises
        ------
        ValueError
            If the number of cells is odd, or too few nodes are left for the degree.
        """
        if not self.halvable:
            kind, wanted = ("a periodic", "even") if self.periodic else ("a bounded", "odd")
            raise ValueError(
                f"{kind} axis can be halved if its number of points is {wanted} and half of them "
                f"exceed the degree, {self.degree}; {self.name} has {self.nodes} points"
            )
        nodes = self.nodes - self.cells // 2
        return SampleAxis(
            self.name, self.lower, self.upper, nodes, self.degree, periodic=self.periodic
        )


class InterpolationError(NamedTuple):
    """Estimated error of an interpolated velocity, (dimension,) each, length / time."""

    rms: Array
    maximum: Array


@dataclass(frozen=True, eq=False, kw_only=True)
class Samples:
    """Spline coefficients of a velocity on a uniform grid.

    Parameters
    ----------
    axes : tuple of SampleAxis
        Time first if the velocity depends on it, then the coordinates.
    unsteady : bool
        Whether the first axis is time.
    coefficients : ([time,] x[, y[, z]], component) float64 or float32, length / time
        As `splines.coefficients` gives them along every axis: cells + degree of them.
    units : mapping of str to str
        Of "velocity" and of the axes, as far as known.
    time_reference : numpy.datetime64, optional
        Where the axis of time has its zero, if the data have dates.
    """

    axes: tuple[SampleAxis, ...]
    unsteady: bool
    coefficients: NDArray[Any]
    units: Mapping[str, str] = field(default_factory=dict)
    time_reference: Any = None

    @property
    def dimension(self) -> int:
        """Number of coordinates, and of components."""
        return len(self.axes) - self.unsteady

    @property
    def degree(self) -> int:
        """Degree of the spline in space."""
        return self.axes[-1].degree

    @property
    def time_degree(self) -> int | None:
        """Degree of the spline in time, None if steady."""
        return self.axes[0].degree if self.unsteady else None

    @property
    def single(self) -> bool:
        """Whether coefficients are stored in single precision."""
        return self.coefficients.dtype == np.float32

    @cached_property
    def flat(self) -> NDArray[Any]:
        """The coefficients as one row, in C order, for compiled code."""
        return self.coefficients.reshape(-1)

    @cached_property
    def words(self) -> Array:
        """The coefficients as words of float64, whatever their type; padded if need be."""
        flat = self.flat
        if flat.dtype != np.float64:
            padded = np.zeros(flat.size + flat.size % 2, dtype=flat.dtype)
            padded[: flat.size] = flat
            flat = padded.view(np.float64)
        return flat

    @cached_property
    def largest(self) -> float:
        """The largest modulus of a coefficient: the scale of rounding of the velocity."""
        return float(max(self.flat.max(), -self.flat.min()))

    @cached_property
    def table(self) -> Array:
        """Geometry, (1, 5 axes): five numbers per axis, named in `GEOMETRY`, time first."""
        return np.array([[number for axis in self.axes for number in axis.geometry]])

    def velocity(self, time: Array, position: Array) -> Array:
        """Velocity (n, dimension) at times (n,) and positions (n, dimension), by NumPy.

        It is NaN where there are no data: outside of axes that are not periodic, time included.
        """
        columns = [time, *position.T] if self.unsteady else list(position.T)
        result = np.empty(position.shape)
        for begin in range(0, len(position), _POINTS):
            part = slice(begin, begin + _POINTS)
            result[part] = self._spline([column[part] for column in columns])
        return result

    def _spline(self, columns: list[Array]) -> Array:
        indices, weights = [], []
        for k, (axis, x) in enumerate(zip(self.axes, columns, strict=True)):
            cell, u = axis.cell(x)
            stencil = cell[:, None] + np.arange(axis.degree + 1)
            others = [1] * (len(self.axes) - 1)
            indices.append(stencil.reshape(len(x), *others[:k], -1, *others[k:]))
            weights.append(np.stack(splines.WEIGHTS[axis.degree](u), axis=-1))
        values: Array = self.coefficients[tuple(indices)].astype(float)
        for w in weights:  # the first axis of the stencil first
            values = np.einsum("nk,nk...->n...", w, values)
        return values

    def node_values(self) -> Array:
        """Velocity at the nodes, ([time,] x[, y[, z]], component): the data."""
        values = self.coefficients.astype(float)
        for k, axis in enumerate(self.axes):
            values = splines.node_values(values, k, axis.degree, periodic=axis.periodic)
        return values

    def interpolation_error(self) -> InterpolationError:
        r"""Estimated error of the velocity between the nodes, from coarser splines of the data.

        Along each axis in turn, a spline through every other node is compared with the data at
        the nodes left out, which lie where its error is largest. An error of order
        p = degree + 1 is :math:`2^p` times smaller on the grid itself. This assumes data that the
        coarser grid still resolves; if it does not, the estimate is too small. The axes' maxima
        are added, and their squared means.

        Returns
        -------
        InterpolationError

        Raises
        ------
        ValueError
            If an axis cannot be halved: an odd number of points on a periodic one, or too few.
        """
        values = self.node_values()
        square, maximum = np.zeros(self.dimension), np.zeros(self.dimension)
        for k, axis in enumerate(self.axes):
            error = _halving_error(values, k, axis).reshape(-1, self.dimension)
            square += np.mean(error**2, axis=0)
            maximum += np.max(np.abs(error), axis=0)
        return InterpolationError(np.sqrt(square), maximum)


def _halving_error(values: Array, k: int, axis: SampleAxis) -> Array:
    """Error of the spline through every other node, at the nodes left out, over 2**order."""
    lines = np.moveaxis(values, k, 0)
    if not axis.periodic and len(lines) % 2 == 0:  # the last node has no partner: leave it out
        lines = lines[:-1]
        axis = SampleAxis(axis.name, axis.lower, axis.upper - axis.spacing, len(lines), axis.degree)
    coarse = axis.halved()
    solved = splines.coefficients(lines[::2], 0, coarse.degree, periodic=coarse.periodic)
    error = splines.cell_centre_values(solved, 0, coarse.degree) - lines[1::2]
    return np.asarray(error / 2 ** (axis.degree + 1))
