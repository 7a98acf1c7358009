"""Where work is shared out on an NVIDIA GPU: slices of particles, streams, progress, interruption.

A slice is one launch, in which each thread integrates particles from start to end. Slices are
made to take less than a second each, so that Ctrl-C is obeyed soon; the next one is queued before
the last one ends. Results do not depend on the slices.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import config, cuda

from meanfluid.backends import devices
from meanfluid.backends.bodies import Observable
from meanfluid.backends.evaluation import Layout, source_of
from meanfluid.fields.slabs import SlabbedSamples
from meanfluid.fields.velocity_field import Array, VelocityField
from meanfluid.trajectories import slabs
from meanfluid.trajectories.kernels_cuda import kernel, variant_of
from meanfluid.trajectories.launch import course_of
from meanfluid.trajectories.records import Course, Output, Problem

Progress = Callable[[int, int], None]

_THREADS = 128  # of a block
_BLOCKS = 8  # on each multiprocessor, at most: more than fit, so that none is left without work
_SLICE_SECONDS = 0.4
_MEMORY = 0.6  # part of the free memory that particles from the host may take


@dataclass(frozen=True)
class _Engine:
    """Compiled kernels and the arrays that all slices read."""

    compiled: Any
    again: Callable[[], Any]  # compiled only if a particle asks for it
    settings: tuple[Any, ...]
    blocks: int

    def launch(self, stream: Any, arrays: tuple[Any, ...], first: int, last: int) -> None:
        """Queue the integration of particles ``first:last``."""
        blocks = max(1, min(-(-(last - first) // _THREADS), self.blocks))
        self.compiled[blocks, _THREADS, stream](*self.settings, *arrays, first, last)

    def launch_again(self, stream: Any, arrays: tuple[Any, ...], first: int, last: int) -> None:
        """Queue the integration of those that were not finite, by other functions."""
        blocks = max(1, min(-(-(last - first) // _THREADS), self.blocks))
        self.again()[blocks, _THREADS, stream](*self.settings, *arrays, first, last)


def run(
    field: VelocityField,
    observables: tuple[Observable, ...],
    layout: Layout,
    problem: Problem,
    position: Any,
    start: Any,
    offsets: Any,
    *,
    progress: Progress | None = None,
) -> Output:
    """Integrate all particles on the GPU.

    Parameters
    ----------
    field : VelocityField
    observables : tuple of callables
    layout : Layout
    problem : Problem
        Of NumPy arrays.
    position : (n, dimension)
        On the GPU, as a CuPy array, which is used where it is; or on the host, from where
        particles go to the current GPU, and results come back, in slices.
    start : (n,); offsets : (n or 1, times)
        On either side.
    progress : callable ``(done, total)``, optional
        Called in this thread with the number of particles after every slice.

    Returns
    -------
    Output
        Beside `position`: CuPy arrays, or NumPy arrays. NaN from the output time on at which a
        particle failed.

    Raises
    ------
    MissingExtraError
        If numba-cuda, or CuPy for an array on the GPU, is not installed.
    """
    if devices.is_on_gpu(position):
        home = devices.home_of(position)
        with home.at_work(), cuda.gpus[home.device]:
            if isinstance(field.samples, SlabbedSamples):
                stream = _stream_of(home)
                there = _SlabEngine(
                    field, observables, layout, problem, position, start, offsets, stream
                )
                return _run_slabs(there, field, layout, problem, start, offsets, progress)
            engine = _engine(field, observables, layout, problem)
            return _run_there(engine, problem, layout, position, start, offsets, home, progress)
    if isinstance(field.samples, SlabbedSamples):
        there = _SlabEngine(
            field, observables, layout, problem, position, start, offsets, cuda.default_stream()
        )
        return _run_slabs(there, field, layout, problem, start, offsets, progress)
    engine = _engine(field, observables, layout, problem)
    return _run_from_host(engine, problem, layout, position, start, offsets, progress)


def _engine(
    field: VelocityField, observables: tuple[Observable, ...], layout: Layout, problem: Problem,
    samples: Any = None,
) -> _Engine:  # fmt: skip
    """Compile, and bring to the GPU what all particles share; `samples` are those of a slab."""
    source, variant = source_of(field), variant_of(problem)
    if samples is None:
        samples = problem.samples if field.samples is None else np.asarray(field.samples.flat)
    put = cuda.to_device
    settings = (
        put(problem.table), put(samples), put(problem.lower), put(problem.upper),
        put(problem.knots), put(problem.noise), put(problem.slab), problem.rtol, problem.atol,
        problem.max_steps, problem.fixed, problem.earliest, problem.latest,
    )  # fmt: skip
    multiprocessors = 1
    if not config.ENABLE_CUDASIM:
        multiprocessors = cuda.get_current_device().MULTIPROCESSOR_COUNT
    return _Engine(
        kernel(source, observables, layout, variant),
        lambda: kernel(source, observables, layout, variant.again),
        settings,
        _BLOCKS * multiprocessors,
    )


def _shapes(
    problem: Problem, layout: Layout, count: int, times: int
) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Shape and type of what a kernel writes, in the order of its arguments."""
    parts, components = len(problem.bounds) - 1, layout.components
    return {
        "rate": ((count, components), np.float64),
        "grain": ((count, parts), np.float64),
        "travelled": ((count, times, components), np.float64),
        "shadow": ((count if problem.shadowed else 0, times, 2, parts), np.float64),
        "status": ((count,), np.int8),
        "steps": ((count, 2), np.int32),
        "strayed": ((count,), np.int8),
    }


def _course_there(problem: Problem, count: int) -> Course:
    """Memory for what `count` particles keep between slabs; of none, one of each stands for it."""
    return Course(*(cuda.to_device(a) for a in course_of(problem, max(1, count))))


def _run_there(
    engine: _Engine, problem: Problem, layout: Layout, position: Any, start: Any, offsets: Any,
    home: devices.Home, progress: Progress | None,
) -> Output:  # fmt: skip
    """Integrate particles that are on the GPU, on the stream of their library."""
    cupy = devices.cupy_library()
    given = [cupy.ascontiguousarray(devices.as_cupy(a), dtype=float) for a in
             (position, start, offsets)]  # fmt: skip
    count, times = len(position), offsets.shape[1]
    written = {
        name: cupy.empty(shape, dtype)
        for name, (shape, dtype) in _shapes(problem, layout, count, times).items()
    }
    failed = cupy.zeros(1, np.int8)
    own = [*given, cupy.empty(count), *written.values()]
    arrays = (*(_seen(a) for a in own), *_course_there(problem, 0), _seen(failed))
    stream = _stream_of(home)
    for first, last in _slices(count, stream, progress):
        engine.launch(stream, arrays, first, last)
    if int(failed[0]):
        for first, last in _slices(count, stream, None):
            engine.launch_again(stream, arrays, first, last)
    return Output(**written)


def _stream_of(home: devices.Home) -> Any:
    return cuda.external_stream(home.stream) if home.stream else cuda.default_stream()


class _SlabEngine:
    """All particles on the GPU while slabs of the field pass by; see `slabs.Engine`."""

    def __init__(
        self, field: VelocityField, observables: tuple[Observable, ...], layout: Layout,
        problem: Problem, position: Any, start: Any, offsets: Any, stream: Any,
    ) -> None:  # fmt: skip
        count, times = len(position), offsets.shape[1]
        shapes: dict[str, Any] = _shapes(problem, layout, count, times)
        self._compiled, self._stream, self._count = (field, observables, layout), stream, count
        self._there = devices.is_on_gpu(position)
        if self._there:
            cupy = devices.cupy_library()
            given = [cupy.ascontiguousarray(devices.as_cupy(a), dtype=float) for a in
                     (position, start, offsets)]  # fmt: skip
            written: dict[str, Any] = {k: cupy.zeros(*v) for k, v in shapes.items()}
            seen = [_seen(a) for a in (*given, *written.values())]
        else:
            given = [cuda.to_device(np.ascontiguousarray(a)) for a in (position, start, offsets)]
            written = {name: _there(*v) for name, v in shapes.items()}
            written["status"].copy_to_device(np.zeros(max(1, count), np.int8))
            seen = [*given, *written.values()]
        self._written, self._shapes, self._own = written, shapes, given
        self._course: Any = _course_there(problem, count)
        self._failed = cuda.to_device(np.zeros(1, np.int8))
        self._arrays = (*seen[:3], cuda.device_array(max(1, count)), *seen[3:], *self._course,
                        self._failed)  # fmt: skip
        self.phase, self.elapsed = np.zeros(count, np.int8), np.zeros(count)

    @property
    def output(self) -> Output:
        """What is written, beside the positions that were given."""
        if self._there:
            return Output(**self._written)
        home = {name: array.copy_to_host() for name, array in self._written.items()}
        return Output(**{k: home[k][: shape[0]] for k, (shape, _) in self._shapes.items()})

    def advance(self, problem: Problem, samples: Any) -> None:
        """Integrate the particles that are fresh or paused."""
        engine = _engine(*self._compiled, problem, samples)
        stream, count = self._stream, self._count
        self._course.phase.copy_to_device(self.phase, stream=stream)
        self._failed.copy_to_device(np.zeros(1, np.int8), stream=stream)
        for first, last in _slices(count, stream, None):
            engine.launch(stream, self._arrays, first, last)
        if self._failed.copy_to_host(stream=stream)[0]:
            for first, last in _slices(count, stream, None):
                engine.launch_again(stream, self._arrays, first, last)
        self._course.phase.copy_to_host(self.phase, stream=stream)
        self._course.elapsed.copy_to_host(self.elapsed, stream=stream)
        stream.synchronize()


def _run_slabs(
    engine: _SlabEngine, field: VelocityField, layout: Layout, problem: Problem, start: Any,
    offsets: Any, progress: Progress | None,
) -> Output:  # fmt: skip
    start, offsets = devices.to_host(start), devices.to_host(offsets)
    return slabs.run(field, layout, problem, engine, start, offsets, progress=progress)


def _seen(array: Any) -> Any:
    """A CuPy array as Numba sees it; an empty one has no address, so another stands for it."""
    if array.size == 0:
        return cuda.device_array((1,) * array.ndim, array.dtype)
    return cuda.as_cuda_array(array, sync=False)


def _slices(count: int, stream: Any, progress: Progress | None) -> Iterator[tuple[int, int]]:
    """Yield ranges of particles, as long as the last ones were quick; the caller queues each.

    One range is queued ahead of the one that the GPU works on.
    """
    queued: list[tuple[Any, int, int]] = []
    first, size, begun = 0, _THREADS * 1024, time.perf_counter()
    while first < count or queued:
        if first < count:
            last = min(first + size, count)
            yield first, last
            event = cuda.event()
            event.record(stream)
            queued.append((event, last, last - first))
            first = last
        if len(queued) == 2 or first == count:
            event, done, length = queued.pop(0)
            event.synchronize()
            now = time.perf_counter()
            if progress is not None:
                progress(done, count)
            size = _next_size(length, now - begun)
            begun = now


def _next_size(length: int, seconds: float) -> int:
    """How many particles keep the GPU busy for `_SLICE_SECONDS`, in whole blocks."""
    growth = min(16.0, _SLICE_SECONDS / max(seconds, 1e-6))
    return max(1, int(length * growth) // _THREADS) * _THREADS


def _run_from_host(
    engine: _Engine, problem: Problem, layout: Layout, position: Array, start: Array,
    offsets: Array, progress: Progress | None,
) -> Output:  # fmt: skip
    """Integrate particles of the host: one slice is copied while another one is integrated."""
    count, times = len(position), offsets.shape[1]
    output = Output(
        **{
            name: np.empty(shape, dtype)
            for name, (shape, dtype) in _shapes(problem, layout, count, times).items()
        }
    )
    size = _fitting(problem, layout, count, times, own_times=len(offsets) > 1)
    lines = [
        _Line(engine, problem, layout, size, offsets) for _ in range(min(2, -(-count // size)))
    ]
    done = 0
    for number, first in enumerate(range(0, count, size)):
        line = lines[number % len(lines)]
        done += line.bring_home(output)
        if progress is not None and done:
            progress(done, count)
        line.send(position, start, offsets, first, min(first + size, count))
    for line in sorted(lines, key=lambda line: line.first):
        done += line.bring_home(output)
        if progress is not None:
            progress(done, count)
    return output


def _fitting(problem: Problem, layout: Layout, count: int, times: int, *, own_times: bool) -> int:
    """How many particles of a slice fit in the memory of the GPU twice, and take about a second."""
    each = 8 * (layout.places + 2 + (times if own_times else 0))
    for shape, dtype in _shapes(problem, layout, 1, times).values():
        each += int(np.prod(shape)) * np.dtype(dtype).itemsize
    free = 2**30 if config.ENABLE_CUDASIM else cuda.current_context().get_memory_info().free
    return int(max(1, min(count, 2**20, _MEMORY * free / (2 * each))))


class _Line:
    """A stream, with memory for one slice on both sides."""

    def __init__(
        self, engine: _Engine, problem: Problem, layout: Layout, size: int, offsets: Array
    ) -> None:
        self._engine, self._stream = engine, cuda.stream()
        self.first = self._last = 0
        times, rows = offsets.shape[1], size if len(offsets) > 1 else 1
        shapes = {
            "position": ((size, layout.places), np.float64),
            "start": ((size,), np.float64),
            "offsets": ((rows, times), np.float64),
        }
        self._given = {k: _pair(*v) for k, v in shapes.items()}
        self._written = {k: _pair(*v) for k, v in _shapes(problem, layout, size, times).items()}
        self._failed = _pair((1,), np.int8)
        self._arrays = (
            *(there for _, there in self._given.values()),
            cuda.device_array(size),
            *(there for _, there in self._written.values()),
            *_course_there(problem, 0),
            self._failed[1],
        )

    def send(self, position: Array, start: Array, offsets: Array, first: int, last: int) -> None:
        """Queue the copies of a slice and its integration."""
        self.first, self._last = first, last
        count, stream = last - first, self._stream
        shared = len(offsets) == 1
        values = position[first:last], start[first:last], offsets if shared else offsets[first:last]
        for (here, there), value in zip(self._given.values(), values, strict=True):
            here[: len(value)] = value
            there.copy_to_device(here, stream=stream)
        here, there = self._failed
        here[0] = 0
        there.copy_to_device(here, stream=stream)
        self._engine.launch(stream, self._arrays, 0, count)
        self._fetch()

    def _fetch(self) -> None:
        for here, there in (*self._written.values(), self._failed):
            there.copy_to_host(here, stream=self._stream)

    def bring_home(self, output: Output) -> int:
        """Wait for the slice, write it into `output`, and return how long it is."""
        count = self._last - self.first
        if count == 0:
            return 0
        self._stream.synchronize()
        if self._failed[0][0]:
            self._engine.launch_again(self._stream, self._arrays, 0, count)
            self._fetch()
            self._stream.synchronize()
        for name, (here, _) in self._written.items():
            whole = getattr(output, name)
            if len(whole):
                whole[self.first : self._last] = here[:count]
        self._last = self.first
        return count


def _pair(shape: tuple[int, ...], dtype: Any) -> tuple[Any, Any]:
    """Memory on both sides."""
    there = _there(shape, dtype)
    return cuda.pinned_array(there.shape, dtype), there


def _there(shape: tuple[int, ...], dtype: Any) -> Any:
    """Memory on the GPU; at least one element, since nothing has no address."""
    return cuda.device_array(tuple(max(1, n) for n in shape), dtype)
