"""Where work is shared out: chunks of particles over threads, with progress and interruption.

Kernels release Python's lock, so plain threads run them side by side. Chunks are taken from one
queue, which balances adaptive work, and a particle's result does not depend on its chunk.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np

from meanfluid.backends.compiled import LANES
from meanfluid.fields.velocity_field import Array
from meanfluid.trajectories import stepping
from meanfluid.trajectories.records import FRESH, Course, Output, Particles, Problem

Progress = Callable[[int, int], None]

_CHUNK = 128 * LANES  # at most; the end of a chunk leaves lanes idle


def default_threads() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run(
    problem: Problem,
    position: Array,
    start: Array,
    offsets: Array,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Output:
    """Integrate all particles on CPU threads.

    Parameters
    ----------
    problem : Problem
    position : (n, dimension); start : (n,); offsets : (n or 1, times)
    threads : int, optional
        Defaults to the processors this process may use.
    progress : callable ``(done, total)``, optional
        Called in this thread with the number of particles after every chunk.

    Returns
    -------
    Output
        NaN from the output time on at which a particle failed.
    """
    output = unwritten(problem, len(position), offsets.shape[1])
    particles = Particles(position, start, offsets, np.empty(len(position)))
    share_out(problem, particles, output, course_of(problem, 0), threads=threads, progress=progress)
    return output


def unwritten(problem: Problem, count: int, times: int) -> Output:
    """Return room for the results of `count` particles at some times."""
    parts = len(problem.bounds) - 1
    return Output(
        rate=np.empty((count, problem.components)),
        travelled=np.full((count, times, problem.components), np.nan),
        grain=np.empty((count, parts)),
        shadow=np.full((count if problem.shadowed else 0, times, 2, parts), np.nan),
        status=np.zeros(count, dtype=np.int8),
        steps=np.zeros((count, 2), dtype=np.int32),
        strayed=np.zeros(count, dtype=np.int8),
    )


def course_of(problem: Problem, count: int) -> Course:
    """Return room for what `count` particles keep between slabs; all are fresh."""
    parts = len(problem.bounds) - 1
    return Course(
        phase=np.full(count, FRESH, dtype=np.int8),
        elapsed=np.zeros(count),
        rhythm=np.zeros((count, 3)),
        heading=np.zeros((count, len(problem.lower))),
        sums=np.zeros((count, 3, problem.components)),
        extremes=np.zeros((count, 2, parts)),
        counts=np.zeros((count, 5), dtype=np.int64),
    )


def share_out(
    problem: Problem,
    particles: Particles,
    output: Output,
    course: Course,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Integrate all particles that are to be, as far as the problem's slab of time reaches."""
    count = len(particles.position)
    cancelled = np.zeros(1, dtype=np.int8)
    workers = threads or default_threads()
    chunk = min(_CHUNK, LANES * max(1, count // (8 * workers * LANES)))

    def advance(first: int) -> int:
        last = min(first + chunk, count)
        stepping.first_rates(problem, particles, output, course, first, last)
        stepping.integrate(problem, particles, output, course, first, last, cancelled)
        return last - first

    chunks = range(0, count, chunk)
    # Also for one chunk: Python obeys Ctrl-C only while its own thread waits.
    with ThreadPoolExecutor(min(workers, len(chunks))) as pool:
        futures = [pool.submit(advance, first) for first in chunks]
        try:
            done = 0
            for future in as_completed(futures):
                done += future.result()
                if progress is not None:
                    progress(done, count)
        except BaseException:  # Ctrl-C, or an error in `progress`: leave at once, then say so
            cancelled[0] = 1
            pool.shutdown(wait=True, cancel_futures=True)
            raise
