"""Sampled velocities that stay where they are, but for a slab of time that is in memory.

Time levels are read one by one, when they are needed. The spline in space is solved for level by
level; in time each coefficient is the sum of a few dozen levels around it (`LocalFilter`), which is
the same whatever the slab. Coefficients are kept in a *ring*: those of cell c stand at position
c modulo the size of the ring, so that compiled code finds them as if time were periodic, at the
same fraction of a cell, bit for bit, as in a field that is in memory whole.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfluid.fields import splines
from meanfluid.fields.grids import Grid
from meanfluid.fields.samples import (
    GEOMETRY,
    Array,
    InterpolationError,
    SampleAxis,
    Samples,
)

_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
          "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}  # fmt: skip
_READING = 6  # levels of temporary arrays while one is read and its spline is solved for
_MARGIN = 1  # cells on either side in memory, so that rounding of time does not lead out


@dataclass(frozen=True)
class Plan:
    """How the levels that may be in memory are used.

    Parameters
    ----------
    cells : int
        Between time levels, through which trajectories can go in one slab.
    ring : int
        Cells of the ring: these, the margins, and room where it is closed.
    kept : bool
        Whether levels that the next slab needs, too, are kept, so that each is read once.
    """

    cells: int
    ring: int
    kept: bool


@dataclass(frozen=True, eq=False, kw_only=True)
class SlabbedSamples(Samples):
    """Samples that are read level by level; see `Samples` for the rest.

    Parameters
    ----------
    coefficients : (0, components)
        Nothing but the type of the coefficients.
    values : callable ``level -> (x[, y[, z]], component)``
        Reads the velocity at the nodes of one time level, ascending along all axes.
    slab : int or str
        How much may be in memory: time levels, or bytes as "2 GB".
    """

    values: Callable[[int], Array]
    slab: Any

    def __post_init__(self) -> None:
        self.plan  # noqa: B018 - raises if the slab is too small

    @cached_property
    def filter(self) -> splines.LocalFilter:
        """The coefficients in time, each from the levels around it."""
        precision = float(np.finfo(self.coefficients.dtype).eps)
        return splines.LocalFilter(self.axes[0].nodes, self.axes[0].degree, precision)

    @property
    def level_shape(self) -> tuple[int, ...]:
        """Spline coefficients of one time level, (x[, y[, z]], component)."""
        return (*(axis.cells + axis.degree for axis in self.axes[1:]), self.dimension)

    @cached_property
    def plan(self) -> Plan:
        """How the levels that may be in memory are used.

        Raises
        ------
        ValueError
            If they are too few.
        """
        time, bytes_of_level = self.axes[0], 8 * int(np.prod(self.level_shape))
        levels = _levels(self.slab, bytes_of_level)
        spare, overlap = 2 * _MARGIN + 2 * time.degree, 2 * self.filter.reach
        cells = min(self._positions(levels - 1 - overlap) - spare, time.cells)
        kept = cells > 0
        if not kept:
            cells = min(self._positions(levels - 1) - spare, time.cells)
        if cells < 1:
            least = math.ceil((1 + spare) * (1.5 if self.single else 1)) + 1
            raise ValueError(
                f"a slab of {self.slab!r} holds {max(levels, 0)} time levels of "
                f"{bytes_of_level / 1e6:.3g} MB; a spline of degree {time.degree} in time needs "
                f"at least {least}, and {least + overlap} so that each level is read once; take a "
                "larger slab, or a smaller time_degree"
            )
        return Plan(cells, cells + 2 * _MARGIN + time.degree, kept)

    def _positions(self, levels: int) -> int:
        """How many coefficients in time fit; those of float32 are summed in double precision.

        A sum is done with when all levels within reach have passed.
        """
        if not self.single:
            return levels
        return max(int(levels / 1.5), 2 * (levels - 2 * self.filter.reach - 1))

    @property
    def flat(self) -> NDArray[Any]:
        """Not there: coefficients are never in memory all at once."""
        raise ValueError(
            "this sampled field is read in slabs of time and never in memory whole; make it "
            "without slab= for this, from the times that are needed"
        )

    @property
    def words(self) -> Array:
        """Not there, as `flat`."""
        return self.flat

    @property
    def largest(self) -> float:
        """Not there, as `flat`."""
        return float(self.flat[0])

    def velocity(self, time: Array, position: Array) -> Array:
        """Velocity (n, dimension) at times (n,) and positions (n, dimension), by NumPy.

        As that of `Samples`; the levels around each time are read for it.
        """
        axis, ring = self.axes[0], Ring(self)
        result = np.full(position.shape, np.nan)
        left = (time >= axis.lower) & (time <= axis.upper)
        cell = axis.cell(time)[0]
        while left.any():
            first = int(cell[left].min())
            last = min(first + self.plan.cells, int(cell[left].max()) + 1)
            ring.move(first, last, backward=False)
            here = left & (cell < last)
            result[here] = ring.velocity(time[here], position[here])
            left &= ~here
        return result

    def halved(self) -> "SlabbedSamples":
        """Return the samples of every other node along all axes, read in slabs as well.

        Raises
        ------
        ValueError
            If an axis cannot be halved.
        """
        every_other = (slice(None, None, 2),) * self.dimension
        return replace(
            self,
            axes=tuple(axis.halved() for axis in self.axes),
            values=lambda level: self.values(2 * level)[every_other],
        )

    def node_values(self) -> Array:
        """Not there, as `flat`."""
        return self.flat

    def interpolation_error(self) -> InterpolationError:
        """Not there, as `flat`; ``trajectories(..., interpolation_error=True)`` is."""
        return InterpolationError(self.flat, self.flat)


def levels_of(grid: Grid, read: Callable[[int], NDArray[Any]]) -> Callable[[int], Array]:
    """Return the function that reads a level in the order of the data, and checks it."""
    level, nodes = grid.level, grid.axes[0].nodes

    def values(k: int) -> Array:
        number = nodes - 1 - k if grid.descending[0] else k
        found = read(number)
        if found.shape != (*level.shape, len(level.axes)):
            raise ValueError(
                f"time level {number} must hold {len(level.axes)} components of shape "
                f"{level.shape}, got {found.shape[-1]} of {found.shape[:-1]}"
            )
        return level.oriented(found, f" of time level {number}")

    return values


def _levels(slab: Any, bytes_of_level: int) -> int:
    """How many levels may be in memory."""
    if isinstance(slab, int | np.integer) and not isinstance(slab, bool):
        return int(slab)
    found = re.fullmatch(r"\s*([0-9.]+)\s*([A-Za-z]+)\s*", slab) if isinstance(slab, str) else None
    if not found or found[2] not in _UNITS:
        raise ValueError(
            f"slab must be a number of time levels, or bytes as '500 MB' or '2 GiB', got {slab!r}"
        )
    return int(float(found[1]) * _UNITS[found[2]] / bytes_of_level) - _READING


class Ring:
    """The coefficients of some consecutive cells of time, and how to get those of others.

    Parameters
    ----------
    samples : SlabbedSamples

    Attributes
    ----------
    array : (positions, x[, y[, z]], component)
        Coefficients k to k + degree of cell c at position c modulo `Plan.ring` + k.
    flat : (coefficients,)
        The same as one row.
    words : (...,) float64
        The same memory as words, whatever the type; padded if need be.
    sizes : (positions,)
        The largest modulus of each.
    """

    def __init__(self, samples: SlabbedSamples) -> None:
        self.samples, self.plan = samples, samples.plan
        self.degree = samples.axes[0].degree
        positions = self.plan.ring + self.degree
        shape = (positions, *samples.level_shape)
        size = int(np.prod(shape))
        memory = np.full(size + size % 2, np.nan, samples.coefficients.dtype)
        self.flat, self.words = memory[:size], memory.view(np.float64)
        self.array = self.flat.reshape(shape)
        self.sizes = np.zeros(positions)
        self._held = np.full(positions, -1)  # which coefficient stands there
        self._levels: dict[int, Array] = {}

    @property
    def table(self) -> Array:
        """`Samples.table` for the ring, in which time is periodic."""
        table = self.samples.table.copy()
        table[0, GEOMETRY.index("cells")] = self.plan.ring
        table[0, GEOMETRY.index("periodic")] = 1.0
        return table

    def sizes_of(self, first: int, last: int) -> Array:
        """The largest coefficient that each of the cells ``first:last`` uses."""
        start = np.arange(first, last) % self.plan.ring
        every = start[:, None] + np.arange(self.degree + 1)
        largest: Array = self.sizes[every].max(axis=1)
        return largest

    def velocity(self, time: Array, position: Array) -> Array:
        """Velocity by NumPy at times that the slab holds."""
        (axis, *others), ring = self.samples.axes, self.plan.ring
        closed = SampleAxis(
            axis.name, axis.lower, axis.lower + ring * axis.spacing, ring, axis.degree,
            periodic=True,
        )  # fmt: skip
        view = Samples(axes=(closed, *others), unsteady=True, coefficients=self.array)
        return view.velocity(time, position)

    def move(self, first: int, last: int, *, backward: bool) -> tuple[int, int]:
        """Hold the cells ``first:last`` and the margins; return which cells that makes in all.

        `backward` says where the next slab will be.
        """
        cells = self.samples.axes[0].cells
        low, high = max(first - _MARGIN, 0), min(last + _MARGIN, cells + 1)
        wanted = self._places(low, high)
        for position, j in wanted.items():  # where the ring is closed some stand twice
            if self._held[position] != j:
                twin = np.flatnonzero(self._held == j)
                if twin.size:
                    self._copy(int(twin[0]), position)
        missing: dict[int, list[int]] = {}
        for position, j in wanted.items():
            if self._held[position] != j:
                missing.setdefault(j, []).append(position)
                self._held[position] = -1
        self._solve(missing, low, high + self.degree, backward=backward)
        return low, high

    def _places(self, low: int, high: int) -> dict[int, int]:
        """Which coefficient is wanted at which position, for cells ``low:high``."""
        ring = self.plan.ring
        return {c % ring + k: c + k for c in range(low, high) for k in range(self.degree + 1)}

    def _copy(self, position: int, to: int) -> None:
        self.array[to], self.sizes[to] = self.array[position], self.sizes[position]
        self._held[to] = self._held[position]

    def _solve(self, missing: dict[int, list[int]], low: int, high: int, *, backward: bool) -> None:
        """Sum coefficients from levels, each of which is looked at once; `low` to `high` are held.

        Levels are taken in the direction of the pass, so that those of the last slab are done with
        before the ones for the next slab fill the memory.
        """
        terms = {j: self._terms(j) for j in missing}
        ends = {j: (first, first + len(weights)) for j, (first, weights) in terms.items()}
        needed = sorted({k for first, last in ends.values() for k in range(first, last)})
        single, sums = self.samples.single, {}
        for k in reversed(needed) if backward else needed:
            level = self._level(k)
            for j, (first, weights) in terms.items():
                if not first <= k < first + len(weights):
                    continue
                if j not in sums:
                    sums[j] = np.empty_like(level) if single else self.array[missing[j][0]]
                    np.multiply(level, weights[k - first], out=sums[j])
                else:
                    sums[j] += weights[k - first] * level
                if k == (first if backward else first + len(weights) - 1):
                    self._finish(missing[j], j, sums.pop(j))
            if not self._useful(k, low, high, backward=backward):
                self._levels.pop(k, None)
            del level  # before the next one is read
        for k in [*self._levels]:
            if not self._useful(k, low, high, backward=backward):
                del self._levels[k]

    def _terms(self, j: int) -> tuple[int, Array]:
        """First level and weights of coefficient j.

        The last one stands for the one after it, too: that has no weight where the data end.
        """
        axis = self.samples.axes[0]
        return self.samples.filter.terms(min(j, axis.cells + axis.degree - 1))

    def _level(self, k: int) -> Array:
        """Coefficients in space of one time level."""
        if k not in self._levels:
            values = self.samples.values(k)
            for axis_number, axis in enumerate(self.samples.axes[1:]):
                values = splines.coefficients(
                    values, axis_number, axis.degree, periodic=axis.periodic
                )
            self._levels[k] = values
        return self._levels[k]

    def _useful(self, k: int, low: int, high: int, *, backward: bool) -> bool:
        """Whether the next slab needs level k, once coefficients ``low:high`` are held."""
        if not self.plan.kept:
            return False
        if backward:
            first, weights = self._terms(low - 1) if low else (0, ())
            return k < first + len(weights)
        return high <= self.samples.axes[0].cells + self.degree and k >= self._terms(high)[0]

    def _finish(self, positions: list[int], j: int, total: Array) -> None:
        for position in positions:
            self.array[position] = total
            self.sizes[position] = max(total.max(), -total.min())
            self._held[position] = j
