"""One pair of steps in all lanes: its length, its stages, the velocity at each of them."""

import math
from typing import Any

import numpy as np
from numba import njit

from meanfluid.backends.compiled import LANES, call_block
from meanfluid.trajectories.records import CLAMP, REFLECT, Lanes, Problem

compiled = njit(cache=True, error_model="numpy", nogil=True)
# Passing the records by value costs more than the work: everything else is inlined.
inlined = njit(cache=True, error_model="numpy", nogil=True, forceinline=True, _nrt=False)


@inlined
def held(problem: Problem, time: float) -> float:
    """Keep a time within those at which the field holds: rounding must not lead beyond."""
    return max(problem.earliest, min(problem.latest, time))


@inlined
def choose_steps(problem: Problem, lanes: Lanes) -> None:
    """Divide the way to the next output time into equal pairs, so that none is tiny."""
    goal, elapsed, pair = lanes.goal, lanes.elapsed, lanes.pair
    if problem.fixed:
        left = lanes.left
        for lane in range(LANES):
            pair[lane] = (goal[lane] - elapsed[lane]) / left[lane]
        return
    if problem.landing > 0.0:
        _approach_knots(problem, lanes)
        return
    proposal = lanes.proposal
    for lane in range(LANES):
        remaining = goal[lane] - elapsed[lane]
        pairs = np.ceil(abs(remaining) / proposal[lane] * (1.0 - 1e-12))
        pair[lane] = remaining / max(1.0, pairs)


@inlined
def _approach_knots(problem: Problem, lanes: Lanes) -> None:
    """Choose steps that end on knots of time, or where a lane is to meet one of space.

    The piece of the field is chosen for the whole pair: that of its middle in time, and of the
    cell into which the lane is heading.
    """
    origin, spacing = problem.knots[0, 0], problem.knots[0, 1]
    for lane in range(LANES):
        remaining = lanes.goal[lane] - lanes.elapsed[lane]
        now, way = lanes.begin[lane] + lanes.elapsed[lane], abs(remaining)
        if spacing < math.inf and way > 0.0:
            sign = math.copysign(1.0, remaining)
            knot = math.floor((now - origin) / spacing * sign + 1e-9) + 1.0
            way = min(way, abs(origin + sign * knot * spacing - now))
        pairs = max(1.0, np.ceil(way / lanes.proposal[lane] * (1.0 - 1e-12)))
        length = way / pairs
        if lanes.cut[lane] > 0.0:
            length = min(length, lanes.cut[lane])
        lanes.pair[lane] = math.copysign(length, remaining)
        lanes.piece_time[lane] = held(problem, now + 0.5 * lanes.pair[lane])
        for k in range(lanes.piece_place.shape[0]):
            at = lanes.origin[k, lane] + lanes.travelled[k, lane]
            aside = 0.25 * problem.landing * problem.knots[1 + k, 1]
            if aside < math.inf:
                at += math.copysign(aside, lanes.heading[k, lane])
            lanes.piece_place[k, lane] = at


@inlined
def advance(problem: Problem, lanes: Lanes) -> None:
    """Take both steps of the pair, and then the shadow's one, in all lanes."""
    pair, h, time, moved = lanes.pair, lanes.h, lanes.time, lanes.moved
    for turn in range(3 if problem.shadowed else 2):  # one call of `_step`: its code is long
        share = 1.0 if turn == 2 else 0.5
        for lane in range(LANES):
            h[lane] = share * pair[lane]
            time[lane] = lanes.begin[lane] + lanes.elapsed[lane]
        if turn == 1:
            for lane in range(LANES):
                time[lane] += h[lane]
        for k in range(problem.components):
            base, gain = lanes.shadow[k] if turn == 2 else lanes.travelled[k], lanes.gain[0, k]
            for lane in range(LANES):
                moved[k, lane] = base[lane] + gain[lane] if turn == 1 else base[lane]
        _step(problem, lanes, moved)
        _weigh(problem.b, lanes.stage, h, lanes.gain[turn])
        if turn < 2 and not problem.fixed:
            for e in range(len(problem.error_weights)):
                _weigh(problem.error_weights[e], lanes.stage, h, lanes.estimate[turn, e])
        if turn < 2 and problem.landing > 0.0:
            for k in range(lanes.slope.shape[1]):
                for lane in range(LANES):
                    lanes.slope[turn, k, lane] = lanes.stage[0, k, lane]


@inlined
def _step(problem: Problem, lanes: Lanes, travelled: Any) -> None:
    """Evaluate all stages of a step of length h from ``origin + travelled`` at `time`."""
    a, c, stage, clock, h, time = (
        problem.a, problem.c, lanes.stage, lanes.clock, lanes.h, lanes.time,
    )  # fmt: skip
    for i in range(a.shape[0]):
        node = c[i]
        for lane in range(LANES):
            clock[lane] = held(problem, time[lane] + node * h[lane])
        for k in range(lanes.place.shape[0]):
            place, origin, moved = lanes.place[k], lanes.origin[k], travelled[k]
            _combine(a[i], i, stage, k, place)
            for lane in range(LANES):
                place[lane] = origin[lane] + (moved[lane] + h[lane] * place[lane])
        _evaluate_piece(problem, lanes, stage[i])


@inlined
def _combine(weights: Any, count: int, stage: Any, k: int, out: Any) -> None:
    """Sum the first `count` stages of component k with their weights, lane by lane."""
    for lane in range(LANES):
        out[lane] = 0.0
    for j in range(count):
        weight, rate = weights[j], stage[j, k]
        if weight != 0.0:
            for lane in range(LANES):
                out[lane] += weight * rate[lane]


@inlined
def _weigh(weights: Any, stage: Any, h: Any, out: Any) -> None:
    """Form out = h * sum of weighted stages, for all components."""
    for k in range(out.shape[0]):
        row = out[k]
        _combine(weights, len(weights), stage, k, row)
        for lane in range(LANES):
            row[lane] *= h[lane]


@inlined
def _evaluate_piece(problem: Problem, lanes: Lanes, rate: Any) -> None:
    """Evaluate all lanes at their stage, with the piece of the pair if knots are heeded."""
    if problem.landing > 0.0:
        evaluate(problem, lanes, lanes.piece_time, lanes.piece_place, rate)
    else:
        evaluate(problem, lanes, lanes.clock, lanes.place, rate)


@inlined
def evaluate(problem: Problem, lanes: Lanes, piece_time: Any, piece_place: Any, rate: Any) -> None:
    """Evaluate all lanes at (clock, place), folded back into the domain if that is asked for."""
    clock, place, fold, sign = lanes.clock, lanes.place, lanes.fold, lanes.sign
    if not problem.folded:
        call_block(
            problem.address, problem.table, problem.samples, clock, place, piece_time, piece_place,
            rate,
        )  # fmt: skip
        return
    dimension, piece, slope = sign.shape[1], sign[2], sign[1]
    for k in range(dimension):
        for lane in range(LANES):
            _fold_axis(problem, k, lane, place, piece_place, fold, sign)
    for j in range(problem.state - dimension):
        k = j // dimension
        for lane in range(LANES):
            fold[dimension + j, lane] = slope[k, lane] * place[dimension + j, lane]
    call_block(
        problem.address, problem.table, problem.samples, clock, fold, piece_time, piece, rate
    )
    for k in range(dimension):
        for lane in range(LANES):
            rate[k, lane] *= sign[0, k, lane]
    for j in range(problem.state - dimension):
        k = j // dimension
        for lane in range(LANES):
            rate[dimension + j, lane] *= sign[0, k, lane]


@inlined
def _fold_axis(
    problem: Problem, k: int, lane: int, place: Any, piece_place: Any, fold: Any, sign: Any
) -> None:
    """Fold one coordinate into the domain by the image that holds the piece.

    What is kept: the folded place and piece (`sign[2]`), the sign of the velocity (`sign[0]`), and
    the derivative of the folded coordinate (`sign[1]`).
    """
    at, piece, low, high = place[k, lane], piece_place[k, lane], problem.lower[k], problem.upper[k]
    sign[0, k, lane] = sign[1, k, lane] = 1.0
    if problem.beyond[k] == REFLECT and not low <= piece <= high:
        width = high - low
        image = math.floor((piece - low) / width)
        if image % 2.0 == 0.0:
            at, piece = at - image * width, piece - image * width
        else:
            at, piece = high - (at - (low + image * width)), high - (piece - (low + image * width))
            sign[0, k, lane] = sign[1, k, lane] = -1.0
    elif problem.beyond[k] == CLAMP and not low <= piece <= high:
        at = piece = min(max(piece, low), high)
        sign[1, k, lane] = 0.0
    fold[k, lane], sign[2, k, lane] = at, piece
