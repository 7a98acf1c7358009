"""The compiled stepping of particles, for every field and every Runge-Kutta scheme at once.

Particles are stepped in blocks of `LANES`, each lane with a step size, a clock and a fate of its
own; a lane that arrives takes the next particle of its chunk. What is integrated is the
displacement X - x with compensated summation, and the observables beside it, so that averages
over short windows keep their relative precision.

Steps come in pairs of equal length: the solution takes both, and a *shadow* takes one step of
twice the length along the same sequence, for the whole trajectory. The shadow's error is
2**order times the solution's while both are small, which makes their distance, divided by
2**order - 1, an estimate of the global error.

Everything compiled is in this one file, but for `LANES` and `call_block`: Numba's cache on disk
does not notice a change in another file, so touch this one after changing those.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from meanfluid.backends.compiled import LANES, call_block
from meanfluid.fields.velocity_field import Array

_jit = njit(cache=True, error_model="numpy", nogil=True)
# Passing the records below by value costs more than the work: everything else is inlined.
_inlined = njit(cache=True, error_model="numpy", nogil=True, forceinline=True, _nrt=False)

_OK, _OUT_OF_DOMAIN, _NOT_FINITE, _MAX_STEPS, _STEP_UNDERFLOW = range(5)  # Status
_EPSILON = float(np.finfo(np.float64).eps)
_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 5.0
_SMALLEST_STEP = 1e-13  # relative to the window
_PROBE = 1e-6  # of the window: the step of the first guess at the time scale
_NUDGE = 2.0**-33  # relative: the change of x and t that measures the grain of the rates


class Problem(NamedTuple):
    """What is integrated, and how; the same for all particles."""

    address: int  # of the block evaluator
    table: Array  # (rows, parameters)
    components: int  # of velocity and observables together
    a: Array
    b: Array
    c: Array
    error_weights: Array
    order: int
    error_order: int
    rtol: float
    atol: float
    max_steps: int
    fixed: int  # pairs of steps over the whole window, or 0: chosen by the error
    shadowed: bool
    lower: Array  # (dimension,), where a trajectory ends
    upper: Array
    earliest: float  # times at which the field holds
    latest: float


class Particles(NamedTuple):
    """Where and when the particles start, and the signed times of output after that."""

    position: Array  # (n, dimension)
    start: Array  # (n,)
    offsets: Array  # (n or 1, times), monotone
    first_step: Array  # (n,)


class Output(NamedTuple):
    """What is written; rows of particles that failed keep what they held."""

    rate: Array  # (n, components): velocity and observables at the start
    grain: Array  # (n, parts): what rounding of place and time does to the rates there
    travelled: Array  # (n, times, components): displacement and integrals
    shadow: Array  # (n, times, 2, parts): how far the shadow is from them, and was at most
    status: Any  # (n,) int8
    steps: Any  # (n, 2): accepted and rejected pairs


class Lanes(NamedTuple):
    """The state of one block; component first."""

    who: Any  # particle in this lane, or -1
    target: Any  # next output time
    rejections: Any  # in a row
    begin: Array
    elapsed: Array
    proposal: Array  # length of the next pair of steps
    pair: Array  # signed length of this pair; 0 in an idle lane
    origin: Array
    travelled: Array
    carry: Array  # what rounding lost (Kahan)
    shadow: Array
    reach: Array  # (parts, LANES): largest displacement, and value of each integral, so far
    stray: Array  # (parts, LANES): largest distance of the shadow so far
    left: Any  # pairs of steps left in this window, if their number is fixed
    gain: Array  # (3, components, LANES): of both steps, and of the shadow's one
    estimate: Array  # (2, estimates, components, LANES)
    moved: Array  # scratch
    stage: Array  # (stages, components, LANES)
    time: Array
    h: Array
    clock: Array
    place: Array


@_jit
def first_rates(
    problem: Problem, particles: Particles, output: Output, first: int, last: int
) -> None:
    """Evaluate the rates at the start, their grain, and each particle's first pair of steps.

    The step is a fraction, set by tolerance and order, of the time scale |v| / |Dv/Dt|. The grain
    is what changing x and t by a rounding error does to a rate.
    """
    dimension, components = particles.position.shape[1], problem.components
    fraction = 2.0 * max(problem.rtol, 1e-15) ** (1.0 / problem.order)
    clock, place, ahead = np.zeros(LANES), np.zeros((dimension, LANES)), np.zeros(LANES)
    now, then, beside = (
        np.zeros((components, LANES)),
        np.zeros((components, LANES)),
        np.zeros((components, LANES)),
    )
    for block in range(first, last, LANES):
        count = min(LANES, last - block)
        for lane in range(LANES):
            row = _row(particles, block + min(lane, count - 1))
            ahead[lane] = _PROBE * particles.offsets[row, -1]
        _evaluate_near(problem, particles, block, count, 0.0, clock, place, now)
        _evaluate_near(problem, particles, block, count, _NUDGE, clock, place, beside)
        for lane in range(LANES):
            i = block + min(lane, count - 1)
            clock[lane] = _held(problem, particles.start[i] + ahead[lane])
            for k in range(dimension):
                place[k, lane] = particles.position[i, k] + ahead[lane] * now[k, lane]
        call_block(problem.address, problem.table, clock, place, then)
        for k in range(components):
            for lane in range(LANES):
                then[k, lane] -= now[k, lane]
                beside[k, lane] -= now[k, lane]
        for lane in range(count):
            i = block + lane
            for k in range(components):
                output.rate[i, k] = now[k, lane]
            probe = abs(ahead[lane])
            step = probe / _PROBE
            for part in range(output.grain.shape[1]):
                low, high = _first(part, dimension), dimension + part
                output.grain[i, part] = _EPSILON / _NUDGE * _norm(beside, low, high, lane)
                change = _norm(then, low, high, lane)
                if change > 0.0:
                    size = _norm(now, low, high, lane)
                    step = min(step, probe * max(1.0, fraction * size / change))
            particles.first_step[i] = step


@_inlined
def _evaluate_near(
    problem: Problem, particles: Particles, block: int, count: int, nudge: float,
    clock: Any, place: Any, rate: Any,
) -> None:  # fmt: skip
    """Evaluate the rates of a block at the start, with x and t a little larger in proportion."""
    for lane in range(LANES):
        i = block + min(lane, count - 1)
        clock[lane] = _held(problem, particles.start[i] * (1.0 + nudge))
        for k in range(place.shape[0]):
            place[k, lane] = particles.position[i, k] * (1.0 + nudge)
    call_block(problem.address, problem.table, clock, place, rate)


@_inlined
def _held(problem: Problem, time: float) -> float:
    """Keep a time within those at which the field holds: rounding must not lead beyond."""
    return max(problem.earliest, min(problem.latest, time))


@_jit
def integrate(
    problem: Problem, particles: Particles, output: Output, first: int, last: int, cancelled: Any
) -> None:
    """Integrate particles ``first:last`` to all their output times.

    `cancelled` (1,) may be set to 1 by another thread to stop soon.
    """
    lanes = _new_lanes(
        particles.position.shape[1], problem.components, len(problem.b), len(problem.error_weights)
    )
    waiting, active = first, 0
    while True:
        waiting, active = _load(problem, particles, output, lanes, waiting, last, active)
        if active == 0:
            return
        if cancelled[0]:
            return
        _choose_steps(problem, particles, lanes)
        _advance(problem, lanes)
        for lane in range(LANES):
            i = lanes.who[lane]
            if i >= 0:
                status = _settle(problem, particles, output, lanes, lane)
                if status == _OK:
                    _record(particles, output, lanes, lane)
                output.status[i] = status
                if status != _OK or lanes.target[lane] == particles.offsets.shape[1]:
                    _park(lanes, lane)
                    active -= 1


@_jit
def _new_lanes(dimension: int, components: int, stages: int, estimates: int) -> Lanes:
    state, parts = (components, LANES), (1 + components - dimension, LANES)
    return Lanes(
        np.full(LANES, -1), np.zeros(LANES, np.int64), np.zeros(LANES, np.int64),
        np.zeros(LANES), np.zeros(LANES), np.zeros(LANES), np.zeros(LANES),
        np.zeros((dimension, LANES)), np.zeros(state), np.zeros(state), np.zeros(state),
        np.zeros(parts), np.zeros(parts), np.zeros(LANES, np.int64),
        np.zeros((3, components, LANES)), np.zeros((2, estimates, components, LANES)),
        np.zeros(state), np.zeros((stages, components, LANES)),
        np.zeros(LANES), np.zeros(LANES), np.zeros(LANES), np.zeros((dimension, LANES)),
    )  # fmt: skip


@_inlined
def _load(
    problem: Problem, particles: Particles, output: Output, lanes: Lanes,
    waiting: int, last: int, active: int,
) -> tuple[int, int]:  # fmt: skip
    """Give every idle lane the next particle; return the next in the queue and how many move."""
    for lane in range(LANES):
        while lanes.who[lane] < 0 and waiting < last:
            i = waiting
            waiting += 1
            output.status[i] = _status_at_start(problem, particles, output, i)
            if output.status[i] != _OK:
                continue
            active += 1
            lanes.who[lane] = i
            lanes.target[lane] = lanes.rejections[lane] = lanes.left[lane] = 0
            lanes.begin[lane], lanes.elapsed[lane] = particles.start[i], 0.0
            lanes.proposal[lane] = particles.first_step[i]
            for k in range(lanes.origin.shape[0]):
                lanes.origin[k, lane] = particles.position[i, k]
            for k in range(problem.components):
                lanes.travelled[k, lane] = lanes.carry[k, lane] = lanes.shadow[k, lane] = 0.0
            for part in range(lanes.reach.shape[0]):
                lanes.reach[part, lane] = lanes.stray[part, lane] = 0.0
            _record(particles, output, lanes, lane)  # windows of no length
            if lanes.target[lane] == particles.offsets.shape[1]:
                _park(lanes, lane)
                active -= 1
    return waiting, active


@_inlined
def _status_at_start(problem: Problem, particles: Particles, output: Output, i: int) -> int:
    for k in range(particles.position.shape[1]):
        if not problem.lower[k] <= particles.position[i, k] <= problem.upper[k]:
            return _OUT_OF_DOMAIN
    for k in range(problem.components):
        if not math.isfinite(output.rate[i, k]):
            return _NOT_FINITE
    return _OK


@_inlined
def _park(lanes: Lanes, lane: int) -> None:
    """Leave a lane idle at the origin of its particle, where its rates are still evaluated."""
    lanes.who[lane] = -1
    lanes.pair[lane] = 0.0
    for k in range(lanes.travelled.shape[0]):
        lanes.travelled[k, lane] = lanes.shadow[k, lane] = 0.0


@_inlined
def _row(particles: Particles, i: int) -> int:
    """Row of the output times of particle i: its own, or the one that all share."""
    return i if particles.offsets.shape[0] > 1 else 0


@_inlined
def _choose_steps(problem: Problem, particles: Particles, lanes: Lanes) -> None:
    """Divide the way to the next output time into equal pairs, so that none is tiny."""
    for lane in range(LANES):
        if lanes.who[lane] >= 0:
            row = _row(particles, lanes.who[lane])
            remaining = particles.offsets[row, lanes.target[lane]] - lanes.elapsed[lane]
            if problem.fixed:
                if lanes.left[lane] == 0:
                    share = abs(remaining / particles.offsets[row, -1]) * problem.fixed
                    lanes.left[lane] = max(1, math.ceil(share - 1e-6))
                lanes.pair[lane] = remaining / lanes.left[lane]
            else:
                pairs = math.ceil(abs(remaining) / lanes.proposal[lane] * (1.0 - 1e-12))
                lanes.pair[lane] = remaining / max(1.0, pairs)


@_inlined
def _advance(problem: Problem, lanes: Lanes) -> None:
    """Take both steps of the pair, and the shadow's one, in all lanes."""
    for lane in range(LANES):
        lanes.h[lane] = 0.5 * lanes.pair[lane]
        lanes.time[lane] = lanes.begin[lane] + lanes.elapsed[lane]
    _step(problem, lanes, lanes.travelled)
    _weigh(problem.b, lanes.stage, lanes.h, lanes.gain[0])
    for e in range(len(problem.error_weights)):
        _weigh(problem.error_weights[e], lanes.stage, lanes.h, lanes.estimate[0, e])
    for k in range(problem.components):
        for lane in range(LANES):
            lanes.moved[k, lane] = lanes.travelled[k, lane] + lanes.gain[0, k, lane]
    for lane in range(LANES):
        lanes.time[lane] += lanes.h[lane]
    _step(problem, lanes, lanes.moved)
    _weigh(problem.b, lanes.stage, lanes.h, lanes.gain[1])
    for e in range(len(problem.error_weights)):
        _weigh(problem.error_weights[e], lanes.stage, lanes.h, lanes.estimate[1, e])
    if problem.shadowed:
        for lane in range(LANES):
            lanes.h[lane] = lanes.pair[lane]
            lanes.time[lane] = lanes.begin[lane] + lanes.elapsed[lane]
        _step(problem, lanes, lanes.shadow)
        _weigh(problem.b, lanes.stage, lanes.h, lanes.gain[2])


@_inlined
def _step(problem: Problem, lanes: Lanes, travelled: Any) -> None:
    """Evaluate all stages of a step of length h from ``origin + travelled`` at `time`."""
    a, c, stage, clock, h, time = (
        problem.a,
        problem.c,
        lanes.stage,
        lanes.clock,
        lanes.h,
        lanes.time,
    )
    for i in range(a.shape[0]):
        for lane in range(LANES):
            clock[lane] = _held(problem, time[lane] + c[i] * h[lane])
        for k in range(lanes.place.shape[0]):
            place, origin, moved = lanes.place[k], lanes.origin[k], travelled[k]
            _combine(a[i], i, stage, k, place)
            for lane in range(LANES):
                place[lane] = origin[lane] + (moved[lane] + h[lane] * place[lane])
        call_block(problem.address, problem.table, clock, lanes.place, stage[i])


@_inlined
def _combine(weights: Any, count: int, stage: Any, k: int, out: Any) -> None:
    """Sum the first `count` stages of component k with their weights, lane by lane."""
    for lane in range(LANES):
        out[lane] = 0.0
    for j in range(count):
        weight, rate = weights[j], stage[j, k]
        if weight != 0.0:
            for lane in range(LANES):
                out[lane] += weight * rate[lane]


@_inlined
def _weigh(weights: Any, stage: Any, h: Any, out: Any) -> None:
    """Form out = h * sum of weighted stages, for all components."""
    for k in range(out.shape[0]):
        row = out[k]
        _combine(weights, len(weights), stage, k, row)
        for lane in range(LANES):
            row[lane] *= h[lane]


@_inlined
def _settle(problem: Problem, particles: Particles, output: Output, lanes: Lanes, lane: int) -> int:
    """Accept or reject the pair of steps of one lane, choose its next length, return its status."""
    i, finite = lanes.who[lane], True
    for k in range(problem.components):
        increment = (lanes.gain[0, k, lane] + lanes.gain[1, k, lane]) - lanes.carry[k, lane]
        lanes.moved[k, lane] = lanes.travelled[k, lane] + increment
        finite &= math.isfinite(lanes.moved[k, lane])
    error = 0.0
    if not problem.fixed:
        error = _local_error(problem, output, lanes, lanes.estimate[0], lane)
        second = _local_error(problem, output, lanes, lanes.estimate[1], lane)
        if not second <= error:  # also when NaN
            error = second
    factor = _GROW
    if not finite or math.isnan(error):
        factor = _SHRINK
    elif error > 0.0:
        factor = min(_GROW, max(_SHRINK, _SAFETY * error ** (-1.0 / (problem.error_order + 1))))

    length = abs(lanes.pair[lane])
    if finite and error <= 1.0:
        _accept(problem, lanes, lane)
        output.steps[i, 0] += 1
        if factor < 1.0 or lanes.rejections[lane] > 0:
            lanes.proposal[lane] = length * min(factor, 1.0)
        else:  # a step cut short by an output time says little about the next one
            lanes.proposal[lane] = max(lanes.proposal[lane], length * factor)
        lanes.rejections[lane] = 0
        lanes.left[lane] -= 1
        for k in range(lanes.origin.shape[0]):
            at = lanes.origin[k, lane] + lanes.travelled[k, lane]
            if not problem.lower[k] <= at <= problem.upper[k]:
                return _OUT_OF_DOMAIN
    else:
        output.steps[i, 1] += 1
        lanes.rejections[lane] += 1
        lanes.proposal[lane] = length * min(factor, _SAFETY)
        smallest = _SMALLEST_STEP * abs(particles.offsets[_row(particles, i), -1])
        if problem.fixed or lanes.proposal[lane] < smallest:
            return _STEP_UNDERFLOW if finite else _NOT_FINITE
    spent = not problem.fixed and output.steps[i, 0] + output.steps[i, 1] >= problem.max_steps
    if spent and not _reached(particles.offsets[_row(particles, i), -1], lanes.elapsed[lane]):
        return _MAX_STEPS
    return _OK


@_inlined
def _accept(problem: Problem, lanes: Lanes, lane: int) -> None:
    dimension = lanes.origin.shape[0]
    for k in range(problem.components):
        increment = (lanes.gain[0, k, lane] + lanes.gain[1, k, lane]) - lanes.carry[k, lane]
        lanes.carry[k, lane] = (lanes.moved[k, lane] - lanes.travelled[k, lane]) - increment
        lanes.travelled[k, lane] = lanes.moved[k, lane]
        lanes.shadow[k, lane] += lanes.gain[2, k, lane]
    for part in range(lanes.reach.shape[0]):
        size = _norm(lanes.travelled, _first(part, dimension), dimension + part, lane)
        lanes.reach[part, lane] = max(lanes.reach[part, lane], size)
        lanes.stray[part, lane] = max(lanes.stray[part, lane], _distance(lanes, part, lane))
    lanes.elapsed[lane] += lanes.pair[lane]


@_inlined
def _local_error(problem: Problem, output: Output, lanes: Lanes, estimate: Any, lane: int) -> float:
    """Return the largest estimated local error of a lane, in units of its tolerance.

    The displacement is one vector; every integral stands for itself. Tolerance is relative to the
    largest value so far, which does not depend on where the origin lies, and never finer than
    the grain that rounding leaves.
    """
    dimension, worst = lanes.origin.shape[0], 0.0
    for part in range(lanes.reach.shape[0]):
        first, last = _first(part, dimension), dimension + part
        error = _norm(estimate[0], first, last, lane)
        if len(estimate) == 2 and error > 0.0:
            # Hairer, Norsett & Wanner, sec. II.10: the fifth-order estimate, damped where the
            # third-order one says that the solution is smooth.
            coarse = _norm(estimate[1], first, last, lane)
            error = error * error / math.sqrt(error * error + 0.01 * coarse * coarse)
        if error != 0.0:  # also when NaN
            size = max(lanes.reach[part, lane], _norm(lanes.moved, first, last, lane))
            grain = 4.0 * output.grain[lanes.who[lane], part] * abs(lanes.pair[lane])
            error /= problem.atol + problem.rtol * size + grain
            if not error <= worst:
                worst = error
    return worst


@_inlined
def _first(part: int, dimension: int) -> int:
    """Part 0 is the displacement, components 0 to dimension; part k its k-th integral."""
    return 0 if part == 0 else dimension + part - 1


@_inlined
def _norm(vector: Any, first: int, last: int, lane: int) -> float:
    total = 0.0
    for k in range(first, last):
        total += vector[k, lane] * vector[k, lane]
    return math.sqrt(total)


@_inlined
def _distance(lanes: Lanes, part: int, lane: int) -> float:
    """How far the shadow is from the solution in one part."""
    dimension, total = lanes.origin.shape[0], 0.0
    for k in range(_first(part, dimension), dimension + part):
        total += (lanes.shadow[k, lane] - lanes.travelled[k, lane]) ** 2
    return math.sqrt(total)


@_inlined
def _reached(offset: float, elapsed: float) -> bool:
    return abs(offset - elapsed) <= 1e-14 * abs(offset)


@_inlined
def _record(particles: Particles, output: Output, lanes: Lanes, lane: int) -> None:
    """Write down the state at every output time that the lane has reached."""
    i = lanes.who[lane]
    row = _row(particles, i)
    while lanes.target[lane] < particles.offsets.shape[1]:
        offset = particles.offsets[row, lanes.target[lane]]
        if not _reached(offset, lanes.elapsed[lane]):
            break
        lanes.elapsed[lane] = offset  # exactly, so that round-off of the clock cannot build up
        for k in range(lanes.travelled.shape[0]):
            output.travelled[i, lanes.target[lane], k] = lanes.travelled[k, lane]
        for part in range(lanes.reach.shape[0]):
            output.shadow[i, lanes.target[lane], 0, part] = _distance(lanes, part, lane)
            output.shadow[i, lanes.target[lane], 1, part] = lanes.stray[part, lane]
        lanes.target[lane] += 1
