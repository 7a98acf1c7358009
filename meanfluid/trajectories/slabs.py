"""Trajectories through a sampled field of which only a slab of time is in memory.

All particles go to the end of the slab that is in memory, or to the end of their windows; the slab
moves on to the particle that is last, and so forth, once forwards and once backwards if windows run
both ways. Between slabs a trajectory keeps all that its next pair of steps depends on, and a pair
that would lead out of the slab is left for the next one. Pairs are therefore the same as without
slabs, and where slabs begin and end does not matter, bit for bit.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from meanfluid.backends.evaluation import Layout
from meanfluid.fields.slabs import Ring, SlabbedSamples
from meanfluid.fields.velocity_field import Array, VelocityField
from meanfluid.trajectories import launch
from meanfluid.trajectories.problem import noise_of
from meanfluid.trajectories.records import (
    FRESH,
    LATER,
    PAUSED,
    STOPPED,
    Output,
    Particles,
    Problem,
    Slab,
)

# In spacings of the time levels:
_SLACK = 1e-6  # how far rounding may lead beyond the end of a slab
_NEAR = 1e-7  # of a level a time belongs to the cell ahead
_INSIDE = 0.005  # how far inside the margins times are held
_HORIZON = 0.99  # how far ahead a start looks; it fits between the slab and where times are held


class Engine(Protocol):
    """What integrates all particles in one slab, on some device.

    Attributes
    ----------
    phase : (n,) int8, elapsed : (n,)
        Of `records.Course`, on the host.
    """

    phase: Any
    elapsed: Any

    @property
    def output(self) -> Output:
        """What is written, beside the positions."""

    def advance(self, problem: Problem, samples: Any) -> None:
        """Integrate the particles that are fresh or paused; `samples` as in `Ring.flat`."""


class HostEngine:
    """Threads of the CPU."""

    def __init__(
        self, problem: Problem, position: Array, start: Array, offsets: Array, threads: int | None
    ) -> None:
        count = len(position)
        self._output = launch.unwritten(problem, count, offsets.shape[1])
        self._particles = Particles(position, start, offsets, np.empty(count))
        self._course, self._threads = launch.course_of(problem, count), threads
        self.phase, self.elapsed = self._course.phase, self._course.elapsed

    @property
    def output(self) -> Output:
        """What is written."""
        return self._output

    def advance(self, problem: Problem, samples: Any) -> None:
        """Integrate the particles that are fresh or paused."""
        launch.share_out(
            problem, self._particles, self._output, self._course, threads=self._threads
        )


def run(
    field: VelocityField,
    layout: Layout,
    problem: Problem,
    engine: Engine,
    start: Array,
    offsets: Array,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Output:
    """Integrate all particles, slab by slab.

    Parameters
    ----------
    field : VelocityField
        With `SlabbedSamples`.
    layout : Layout
    problem : Problem
        Of the whole field, without its samples.
    engine : Engine
    start : (n,); offsets : (n or 1, times)
        On the host.
    progress : callable ``(done, total)``, optional
        Called after every slab with the number of particles, those on their way in proportion.

    Returns
    -------
    Output
        NaN from the output time on at which a particle failed.

    Raises
    ------
    ValueError
        If a level that is read is not what it should be, or a step longer than the slab.
    """
    tour = _Tour(field, layout, problem, engine, start, offsets)
    while tour.move():
        if progress is not None:
            progress(tour.arrived, len(start))
    return engine.output


class _Tour:
    """Which particles are where, and which slab is next."""

    def __init__(
        self, field: VelocityField, layout: Layout, problem: Problem, engine: Engine,
        start: Array, offsets: Array,
    ) -> None:  # fmt: skip
        if not isinstance(field.samples, SlabbedSamples):
            raise TypeError(f"{field.name} is not read in slabs")
        self._field, self._layout, self._problem, self._engine = field, layout, problem, engine
        self._samples, self._start = field.samples, start
        self._window = np.broadcast_to(offsets[:, -1], start.shape)
        self._begun, self._done = np.zeros((2, len(start)), dtype=bool)
        self._ring: Ring | None = None
        self._backward = False

    @property
    def arrived(self) -> int:
        """Particles that are done, and those on their way in proportion."""
        moving = ~self._done & (self._window != 0)
        way = np.abs(self._engine.elapsed[moving] / self._window[moving])
        return int(np.count_nonzero(self._done) + way.sum())

    def move(self) -> bool:
        """Take the next slab into memory and integrate through it; False if all are done."""
        waiting = ~self._done & ((self._window < 0) == self._backward)
        if not waiting.any():
            if self._backward:
                return False
            self._ring, self._backward = None, True
            return self.move()
        now = self._start + self._engine.elapsed
        first, last = self._cells(now[waiting], (self._start + self._window)[waiting])
        if self._ring is None:
            self._ring = Ring(self._samples)
        held = self._ring.move(first, last, backward=self._backward)
        problem = self._sliced(self._ring, (first, last), held)
        slab = Slab(*problem.slab)
        here = waiting & (now >= slab.low) & (now <= slab.high)
        phase, before = self._engine.phase, self._engine.elapsed[here].copy()
        phase[:] = LATER
        phase[here] = np.where(self._begun[here], PAUSED, FRESH)
        self._engine.advance(problem, self._ring.flat)
        ended = here & (phase != STOPPED)
        self._done |= ended
        self._begun |= here
        if not ended.any() and (self._engine.elapsed[here] == before).all():
            self._refuse(int(np.flatnonzero(here)[0]), last - first)
        return True

    def _cells(self, now: Array, end: Array) -> tuple[int, int]:
        """Cells of the next slab: from the particle that is last on, as far as is needed."""
        axis, most = self._samples.axes[0], self._samples.plan.cells
        inverse = axis.geometry[2]
        sign = -1 if self._backward else 1
        here, there = (sign * (t - axis.lower) * inverse for t in (now, end))
        order = np.argsort(here)
        furthest = np.maximum.accumulate(there[order])
        gaps = np.flatnonzero(here[order][1:] > furthest[:-1] + 1.0)
        begin = math.floor(here.min() + _NEAR)
        stop = math.ceil((furthest[gaps[0]] if gaps.size else furthest[-1]) - _NEAR)
        stop = min(max(stop, begin + 1), begin + most)
        low, high = (-stop, -begin) if self._backward else (begin, stop)
        low = min(
            max(low, 0), axis.cells - 1
        )  # a window may end where it starts, at the last level
        return low, max(min(high, axis.cells), low + 1)

    def _sliced(self, ring: Ring, cells: tuple[int, int], held: tuple[int, int]) -> Problem:
        """Return the problem of which only this slab is in memory."""
        axis = self._samples.axes[0]
        spacing = axis.spacing
        (first, last), (low, high) = cells, held
        latest = axis.lower + (high - _INSIDE) * spacing
        slab = Slab(
            low=axis.lower + (first - _SLACK) * spacing,
            high=axis.lower + (last + _SLACK) * spacing,
            horizon=_HORIZON * spacing,
            first=axis.lower + (low - _SLACK) * spacing,
            share=1.0 / spacing,
        )
        return self._problem._replace(
            table=ring.table, samples=ring.words, sliced=True, slab=np.array(slab),
            noise=noise_of(self._field, self._layout, ring.sizes_of(low, high)).reshape(-1),
            earliest=axis.lower + (low + _INSIDE) * spacing if low else axis.lower,
            latest=latest if high <= axis.cells else axis.upper,
        )  # fmt: skip

    def _refuse(self, particle: int, cells: int) -> None:
        raise ValueError(
            f"particle {particle} cannot step through a slab of {cells} intervals between time "
            "levels in one pair of steps; take a larger slab, more steps, or knots=True without "
            "steps="
        )
