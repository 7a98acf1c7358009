"""The compiled stepping of particles, for every field and every Runge-Kutta scheme at once.

Particles are stepped in blocks of `LANES`, each lane with a step size, a clock and a fate of its
own; a lane that arrives takes the next particle of its chunk. What is integrated is the
displacement X - x with compensated summation, and beside it the flow map's gradient and the
observables, so that averages over short windows keep their relative precision. Whatever all lanes
do is a loop over them, which the compiler turns into vector instructions (`stages`, `acceptance`);
only a lane to which something happens is looked at alone (here).

Steps come in pairs of equal length: the solution takes both, and a *shadow* takes one step of
twice the length along the same sequence, for the whole trajectory. The shadow's error is
2**order times the solution's while both are small, which makes their distance, divided by
2**order - 1, an estimate of the global error.

Numba's cache on disk does not notice a change in another file: touch this one after changing any
that it imports.
"""

import math
from typing import Any

import numpy as np

from meanfluid.backends.compiled import LANES
from meanfluid.trajectories.acceptance import judge, norm, square_norm, update
from meanfluid.trajectories.records import (
    END,
    FRESH,
    PAUSED,
    STOPPED,
    Course,
    Lanes,
    Output,
    Particles,
    Problem,
)
from meanfluid.trajectories.stages import advance, choose_steps, compiled, evaluate, held, inlined

_OK, _OUT_OF_DOMAIN, _NOT_FINITE, _MAX_STEPS, _STEP_UNDERFLOW = range(5)  # Status
_EPSILON = float(np.finfo(np.float64).eps)
_SMALLEST_STEP = 1e-13  # relative to the window
_PROBE = 1e-6  # of the window: the step of the first guess at the time scale
_LOOKS = 4  # at the rates during the window
_NUDGE = 2.0**-33  # relative: the change of x and t that measures the grain of the rates


@compiled
def first_rates(
    problem: Problem, particles: Particles, output: Output, course: Course, first: int, last: int
) -> None:
    """Evaluate the rates at the start, their grain, and each particle's first pair of steps.

    The step is a fraction, set by tolerance and order, of the time scale |v| / |Dv/Dt|. The grain
    is what changing x and t by a rounding error does to a rate. That of an integral is not less
    than a rounding error of the largest rate that is met there during the window: one that passes
    through zero is often a difference of terms that do not.
    """
    dimension, lanes = particles.position.shape[1], _new_lanes(problem)
    fraction = 2.0 * max(problem.rtol, 1e-15) ** (1.0 / problem.order)
    ahead, now, then, beside = lanes.h, lanes.stage[0], lanes.stage[1], lanes.stage[2]
    largest = lanes.reach
    for block in range(first, last, LANES):
        count = min(LANES, last - block)
        if problem.sliced and not _any_fresh(course, block, count):
            continue
        _place_near(problem, particles, lanes, block, count, 0.0)
        evaluate(problem, lanes, lanes.clock, lanes.place, now)
        _place_near(problem, particles, lanes, block, count, _NUDGE)
        evaluate(problem, lanes, lanes.clock, lanes.place, beside)
        _find_largest(problem, particles, lanes, block, count, then)
        _place_near(problem, particles, lanes, block, count, 0.0)
        for lane in range(LANES):
            i = block + min(lane, count - 1)
            ahead[lane] = _seen(problem, _PROBE * particles.offsets[_row(particles, i), -1])
            lanes.clock[lane] = held(problem, particles.start[i] + ahead[lane])
            for k in range(dimension):
                lanes.place[k, lane] = particles.position[i, k] + ahead[lane] * now[k, lane]
        evaluate(problem, lanes, lanes.clock, lanes.place, then)
        for k in range(problem.components):
            for lane in range(LANES):
                then[k, lane] -= now[k, lane]
                beside[k, lane] -= now[k, lane]
        for lane in range(count):
            i = block + lane
            if problem.sliced and course.phase[i] != FRESH:
                continue
            row = _noise_row(problem, particles.start[i], output.grain.shape[1])
            for k in range(problem.components):
                output.rate[i, k] = now[k, lane]
            probe = abs(ahead[lane])
            step = probe / _PROBE
            for part in range(output.grain.shape[1]):
                low, high = problem.bounds[part], problem.bounds[part + 1]
                nudged = norm(beside, low, high, lane) / _NUDGE
                rounding = _EPSILON * max(nudged, math.sqrt(largest[part, lane]))
                output.grain[i, part] = max(rounding, problem.noise[row + part])
                change = norm(then, low, high, lane)
                if change > 0.0:
                    size = norm(now, low, high, lane)
                    step = min(step, probe * max(1.0, fraction * size / change))
            particles.first_step[i] = step


@inlined
def _any_fresh(course: Course, block: int, count: int) -> bool:
    fresh = False
    for i in range(block, block + count):
        fresh |= course.phase[i] == FRESH
    return fresh


@inlined
def _seen(problem: Problem, ahead: float) -> float:
    """Look ahead no further than the slab that holds the start is sure to reach."""
    horizon: float = problem.slab[2]
    return max(-horizon, min(horizon, ahead))


@inlined
def _noise_row(problem: Problem, time: float, parts: int) -> int:
    """Where in `Problem.noise` the numbers of the cell of time stand."""
    cells = problem.noise.shape[0] // parts
    cell = math.floor((time - problem.slab[3]) * problem.slab[4])
    return parts * int(max(0.0, min(cells - 1.0, cell)))


@inlined
def _find_largest(
    problem: Problem, particles: Particles, lanes: Lanes, block: int, count: int, rate: Any
) -> None:
    """Square of the largest rate of each integral at the place of the start, during the window."""
    for part in range(lanes.reach.shape[0]):
        for lane in range(LANES):
            lanes.reach[part, lane] = 0.0
    for look in range(_LOOKS if problem.components > problem.state else 0):
        _place_near(problem, particles, lanes, block, count, 0.0)
        for lane in range(LANES):
            offset = particles.offsets[_row(particles, block + min(lane, count - 1)), -1]
            window = _seen(problem, offset)
            later = lanes.clock[lane] + (look + 1) / _LOOKS * window
            lanes.clock[lane] = held(problem, later)
        evaluate(problem, lanes, lanes.clock, lanes.place, rate)
        for part in range(lanes.reach.shape[0]):
            first, last = problem.bounds[part], problem.bounds[part + 1]
            square_norm(rate, first, last, lanes.work[0])
            for lane in range(LANES):
                size = lanes.work[0, lane]
                if first >= problem.state and size > lanes.reach[part, lane]:  # not if NaN
                    lanes.reach[part, lane] = size


@inlined
def _place_near(
    problem: Problem, particles: Particles, lanes: Lanes, block: int, count: int, nudge: float
) -> None:
    """Place a block at its start, with x and t a little larger in proportion."""
    dimension = particles.position.shape[1]
    for lane in range(LANES):
        i = block + min(lane, count - 1)
        lanes.clock[lane] = held(problem, particles.start[i] * (1.0 + nudge))
        for k in range(dimension):
            lanes.place[k, lane] = particles.position[i, k] * (1.0 + nudge)
        for k in range(problem.state - dimension):
            lanes.place[dimension + k, lane] = _identity(k, dimension)


@inlined
def _identity(k: int, dimension: int) -> float:
    """Entry k of the unit matrix, row-major: the flow map's gradient at the start."""
    return 1.0 if k % (dimension + 1) == 0 else 0.0


@compiled
def integrate(
    problem: Problem, particles: Particles, output: Output, course: Course, first: int, last: int,
    cancelled: Any,
) -> None:  # fmt: skip
    """Integrate particles ``first:last`` to all their output times, or to the end of the slab.

    `cancelled` (1,) may be set to 1 by another thread to stop soon.
    """
    lanes = _new_lanes(problem)
    waiting, active = first, 0
    while True:
        waiting, active = _load(problem, particles, output, course, lanes, waiting, last, active)
        if active == 0:
            return
        if cancelled[0]:
            return
        choose_steps(problem, lanes)
        if problem.sliced:
            active -= _stop(problem, output, course, lanes)
        advance(problem, lanes)
        judge(problem, lanes)
        if problem.sliced:
            _note_rates(problem, lanes)
        if update(problem, lanes):
            for lane in range(LANES):
                if lanes.alert[lane]:
                    active -= _attend(problem, particles, output, lanes, lane)


@compiled
def _new_lanes(problem: Problem) -> Lanes:
    dimension, stages = len(problem.lower), max(3, len(problem.b))  # 3 for `first_rates`
    state, components = (problem.state, LANES), (problem.components, LANES)
    parts, place = (len(problem.bounds) - 1, LANES), (dimension, LANES)
    estimates = (2, len(problem.error_weights), problem.components, LANES)
    return Lanes(
        np.full(LANES, -1), np.zeros(LANES, np.int64), np.zeros(LANES, np.int64),
        np.zeros(LANES, np.int64), np.zeros(LANES, np.int64), np.zeros(LANES, np.int64),
        np.zeros(LANES), np.zeros(LANES), np.zeros(LANES), np.ones(LANES), np.ones(LANES),
        np.zeros(LANES), np.zeros(LANES), np.zeros(state), np.zeros(components),
        np.zeros(components), np.zeros(components), np.zeros(parts), np.zeros(parts),
        np.zeros(parts), np.zeros((3, problem.components, LANES)), np.zeros(estimates),
        np.zeros(components), np.zeros((stages, problem.rows, LANES)),
        np.zeros((2, dimension, LANES)), np.zeros(place), np.zeros(LANES), np.zeros(place),
        np.zeros(LANES), np.zeros(LANES), np.zeros(LANES), np.zeros(state), np.zeros(LANES),
        np.zeros(LANES), np.zeros(LANES, np.int64), np.zeros(LANES, np.int64),
        np.zeros((3, LANES)), np.zeros(state), np.zeros((3, dimension, LANES)),
    )  # fmt: skip


@inlined
def _load(
    problem: Problem, particles: Particles, output: Output, course: Course, lanes: Lanes,
    waiting: int, last: int, active: int,
) -> tuple[int, int]:  # fmt: skip
    """Give every idle lane the next particle; return the next in the queue and how many move."""
    if waiting < last:
        for lane in range(LANES):
            while lanes.who[lane] < 0 and waiting < last:
                i = waiting
                waiting += 1
                if problem.sliced and course.phase[i] != FRESH:
                    if course.phase[i] == PAUSED:
                        _resume(problem, particles, output, course, lanes, lane, i)
                        active += 1
                    continue
                output.status[i] = _status_at_start(problem, particles, output, i)
                output.strayed[i] = output.status[i] == _OUT_OF_DOMAIN
                if output.status[i] == _OK:
                    _seat(problem, particles, output, lanes, lane, i)
                    _record(problem, particles, output, lanes, lane)  # windows of no length
                    if lanes.target[lane] == particles.offsets.shape[1]:
                        _park(output, lanes, lane)
                    else:
                        active += 1
    return waiting, active


@inlined
def _status_at_start(problem: Problem, particles: Particles, output: Output, i: int) -> int:
    for k in range(particles.position.shape[1]):
        inside = problem.lower[k] <= particles.position[i, k] <= problem.upper[k]
        if problem.beyond[k] == END and not inside:
            return _OUT_OF_DOMAIN
    for k in range(problem.components):
        if not math.isfinite(output.rate[i, k]):
            return _NOT_FINITE
    return _OK


@inlined
def _seat(
    problem: Problem, particles: Particles, output: Output, lanes: Lanes, lane: int, i: int
) -> None:
    """Put particle i at its start into a lane."""
    dimension = particles.position.shape[1]
    lanes.who[lane] = i
    lanes.target[lane] = lanes.rejections[lane] = lanes.beyond[lane] = 0
    lanes.accepted[lane] = lanes.rejected[lane] = 0
    lanes.begin[lane], lanes.elapsed[lane] = particles.start[i], 0.0
    lanes.proposal[lane] = particles.first_step[i]
    lanes.cut[lane] = lanes.left[lane] = 0.0
    direction = particles.offsets[_row(particles, i), -1]
    for k in range(dimension):
        lanes.origin[k, lane] = particles.position[i, k]
        lanes.heading[k, lane] = output.rate[i, k] * direction
    for k in range(problem.state - dimension):
        lanes.origin[dimension + k, lane] = _identity(k, dimension)
    for k in range(problem.components):
        lanes.travelled[k, lane] = lanes.carry[k, lane] = lanes.shadow[k, lane] = 0.0
    for part in range(lanes.reach.shape[0]):
        lanes.reach[part, lane] = lanes.stray[part, lane] = 0.0
        lanes.grain[part, lane] = output.grain[i, part]


@inlined
def _stop(problem: Problem, output: Output, course: Course, lanes: Lanes) -> int:
    """Set aside the lanes whose next pair is not within the slab; return how many.

    All that the next pair depends on is kept, so that it is the same whatever the slab.
    """
    stopped = 0
    for lane in range(LANES):
        now = lanes.begin[lane] + lanes.elapsed[lane]
        then = now + lanes.pair[lane]
        outside = min(now, then) < problem.slab[0] or max(now, then) > problem.slab[1]
        if lanes.who[lane] >= 0 and outside:
            i = lanes.who[lane]
            course.phase[i], course.elapsed[i] = STOPPED, lanes.elapsed[lane]
            course.rhythm[i, 0], course.rhythm[i, 1] = lanes.proposal[lane], lanes.cut[lane]
            course.rhythm[i, 2] = lanes.left[lane]
            for k in range(lanes.heading.shape[0]):
                course.heading[i, k] = lanes.heading[k, lane]
            for k in range(problem.components):
                course.sums[i, 0, k] = lanes.travelled[k, lane]
                course.sums[i, 1, k] = lanes.carry[k, lane]
                course.sums[i, 2, k] = lanes.shadow[k, lane]
            for part in range(lanes.reach.shape[0]):
                course.extremes[i, 0, part] = lanes.reach[part, lane]
                course.extremes[i, 1, part] = lanes.stray[part, lane]
            course.counts[i, 0], course.counts[i, 1] = lanes.target[lane], lanes.rejections[lane]
            course.counts[i, 2], course.counts[i, 3] = lanes.accepted[lane], lanes.rejected[lane]
            course.counts[i, 4] = lanes.beyond[lane]
            _park(output, lanes, lane)
            lanes.pair[lane] = 0.0
            stopped += 1
    return stopped


@inlined
def _note_rates(problem: Problem, lanes: Lanes) -> None:
    """Keep the grain of each integral at a rounding error of the largest rate on the way.

    Through slabs a start cannot look at the whole window; see `first_rates`.
    """
    size = lanes.work[0]
    for part in range(lanes.grain.shape[0]):
        first, last = problem.bounds[part], problem.bounds[part + 1]
        if first >= problem.state:
            square_norm(lanes.stage[0], first, last, size)
            for lane in range(LANES):
                rounding = _EPSILON * math.sqrt(size[lane])
                if rounding > lanes.grain[part, lane]:  # not if NaN
                    lanes.grain[part, lane] = rounding


@inlined
def _resume(
    problem: Problem, particles: Particles, output: Output, course: Course, lanes: Lanes,
    lane: int, i: int,
) -> None:  # fmt: skip
    """Put particle i into a lane as `_stop` set it aside."""
    _seat(problem, particles, output, lanes, lane, i)
    output.status[i] = _OK
    lanes.elapsed[lane] = course.elapsed[i]
    lanes.proposal[lane], lanes.cut[lane] = course.rhythm[i, 0], course.rhythm[i, 1]
    lanes.left[lane] = course.rhythm[i, 2]
    for k in range(lanes.heading.shape[0]):
        lanes.heading[k, lane] = course.heading[i, k]
    for k in range(problem.components):
        lanes.travelled[k, lane] = course.sums[i, 0, k]
        lanes.carry[k, lane] = course.sums[i, 1, k]
        lanes.shadow[k, lane] = course.sums[i, 2, k]
    for part in range(lanes.reach.shape[0]):
        lanes.reach[part, lane] = course.extremes[i, 0, part]
        lanes.stray[part, lane] = course.extremes[i, 1, part]
    lanes.target[lane], lanes.rejections[lane] = course.counts[i, 0], course.counts[i, 1]
    lanes.accepted[lane], lanes.rejected[lane] = course.counts[i, 2], course.counts[i, 3]
    lanes.beyond[lane] = course.counts[i, 4]
    lanes.goal[lane] = particles.offsets[_row(particles, i), lanes.target[lane]]


@inlined
def _park(output: Output, lanes: Lanes, lane: int) -> None:
    """Leave a lane idle at the origin of its particle, where its rates are still evaluated."""
    i = lanes.who[lane]
    output.steps[i, 0], output.steps[i, 1] = lanes.accepted[lane], lanes.rejected[lane]
    output.strayed[i] = lanes.beyond[lane]
    for part in range(lanes.grain.shape[0]):
        output.grain[i, part] = lanes.grain[part, lane]
    lanes.who[lane] = -1
    lanes.goal[lane] = lanes.elapsed[lane]
    lanes.proposal[lane] = lanes.left[lane] = 1.0
    lanes.cut[lane] = 0.0
    for k in range(lanes.travelled.shape[0]):
        lanes.travelled[k, lane] = lanes.carry[k, lane] = lanes.shadow[k, lane] = 0.0


@inlined
def _row(particles: Particles, i: int) -> int:
    """Row of the output times of particle i: its own, or the one that all share."""
    return i if particles.offsets.shape[0] > 1 else 0


@inlined
def _attend(problem: Problem, particles: Particles, output: Output, lanes: Lanes, lane: int) -> int:
    """See to one lane; return 1 if its particle is done, well or not."""
    i = lanes.who[lane]
    status = _status(problem, particles, lanes, lane)
    if status == _OK:
        _record(problem, particles, output, lanes, lane)
    output.status[i] = status
    if status != _OK or lanes.target[lane] == particles.offsets.shape[1]:
        _park(output, lanes, lane)
        return 1
    return 0


@inlined
def _status(problem: Problem, particles: Particles, lanes: Lanes, lane: int) -> int:
    if lanes.taken[lane]:
        for k in range(lanes.piece_place.shape[0]):
            at = lanes.origin[k, lane] + lanes.travelled[k, lane]
            if problem.beyond[k] == END and not problem.lower[k] <= at <= problem.upper[k]:
                return _OUT_OF_DOMAIN
    elif lanes.cut[lane] == 0.0:
        offset = particles.offsets[_row(particles, lanes.who[lane]), -1]
        if problem.fixed or lanes.proposal[lane] < _SMALLEST_STEP * abs(offset):
            finite = True
            for k in range(problem.components):
                finite &= math.isfinite(lanes.moved[k, lane])
            return _STEP_UNDERFLOW if finite else _NOT_FINITE
    spent = lanes.accepted[lane] + lanes.rejected[lane] >= problem.max_steps
    if spent and not problem.fixed:
        offset = particles.offsets[_row(particles, lanes.who[lane]), -1]
        if not _reached(offset, lanes.elapsed[lane]):
            return _MAX_STEPS
    return _OK


@inlined
def _reached(offset: float, elapsed: float) -> bool:
    return abs(offset - elapsed) <= 1e-14 * abs(offset)


@inlined
def _record(
    problem: Problem, particles: Particles, output: Output, lanes: Lanes, lane: int
) -> None:
    """Write down the state at every output time that the lane has reached."""
    i = lanes.who[lane]
    row = _row(particles, i)
    before = lanes.target[lane]
    while lanes.target[lane] < particles.offsets.shape[1]:
        offset = particles.offsets[row, lanes.target[lane]]
        if not _reached(offset, lanes.elapsed[lane]):
            break
        lanes.elapsed[lane] = offset  # exactly, so that round-off of the clock cannot build up
        for k in range(lanes.travelled.shape[0]):
            output.travelled[i, lanes.target[lane], k] = lanes.travelled[k, lane]
        if problem.shadowed:
            for part in range(lanes.reach.shape[0]):
                first, last = problem.bounds[part], problem.bounds[part + 1]
                away = 0.0
                for k in range(first, last):
                    away += (lanes.shadow[k, lane] - lanes.travelled[k, lane]) ** 2
                output.shadow[i, lanes.target[lane], 0, part] = math.sqrt(away)
                output.shadow[i, lanes.target[lane], 1, part] = math.sqrt(lanes.stray[part, lane])
        lanes.target[lane] += 1
    if lanes.target[lane] < particles.offsets.shape[1]:
        goal = particles.offsets[row, lanes.target[lane]]
        lanes.goal[lane] = goal
        if problem.fixed and (lanes.target[lane] > before or lanes.left[lane] <= 0.0):
            share = abs((goal - lanes.elapsed[lane]) / particles.offsets[row, -1]) * problem.fixed
            lanes.left[lane] = max(1.0, np.ceil(share - 1e-6))
