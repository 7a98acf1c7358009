"""After a pair of steps: its error, whether it is accepted, what the next length is."""

import math
from typing import Any

from meanfluid.backends import polynomials
from meanfluid.backends.compiled import LANES
from meanfluid.trajectories.records import END, Lanes, Problem
from meanfluid.trajectories.stages import inlined

_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 5.0
_HALVINGS = 60  # of the pair, until its crossing of a knot is known to rounding


@inlined
def judge(problem: Problem, lanes: Lanes) -> None:
    """Decide in which lanes the pair is accepted, and how the step may change."""
    moved, error, factor, taken = lanes.moved, lanes.error, lanes.factor, lanes.taken
    for lane in range(LANES):
        error[lane] = 0.0
    for k in range(problem.components):
        row, travelled, carry = moved[k], lanes.travelled[k], lanes.carry[k]
        first, second = lanes.gain[0, k], lanes.gain[1, k]
        for lane in range(LANES):
            row[lane] = travelled[lane] + ((first[lane] + second[lane]) - carry[lane])
        for lane in range(LANES):
            error[lane] += 0.0 * row[lane]  # NaN where a value is not finite
    if problem.fixed:
        for lane in range(LANES):
            factor[lane] = 1.0
            taken[lane] = error[lane] == 0.0
        return
    for part in range(lanes.reach.shape[0]):
        _add_error(problem, lanes, part)
    power = -1.0 / (problem.error_order + 1)
    for lane in range(LANES):
        value = min(max(error[lane], 1e-12), 1e12)
        change = _SAFETY * polynomials.exp(power * polynomials.log(value))
        factor[lane] = min(max(change, _SHRINK), _GROW) if error[lane] >= 0.0 else _SHRINK
        taken[lane] = error[lane] <= 1.0
    if problem.landing > 0.0:
        for lane in range(LANES):
            lanes.cut[lane] = 0.0
            if taken[lane] and lanes.pair[lane] != 0.0:
                _look_for_knots(problem, lanes, lane)


@inlined
def _add_error(problem: Problem, lanes: Lanes, part: int) -> None:
    """Raise the error of each lane, in units of its tolerance, to that of one part at least.

    The displacement is one vector, and so are the flow map's gradient and every integral.
    Tolerance is relative to the largest value so far, which does not depend on where the origin
    lies, and never finer than the grain that rounding leaves.
    """
    first, last = problem.bounds[part], problem.bounds[part + 1]
    reach, grain, pair, error = lanes.reach[part], lanes.grain[part], lanes.pair, lanes.error
    size, fine, coarse = lanes.work[0], lanes.work[1], lanes.work[2]
    square_norm(lanes.moved, first, last, size)
    for lane in range(LANES):
        largest = math.sqrt(max(reach[lane], size[lane]))
        finest = 4.0 * grain[lane] * abs(pair[lane])
        size[lane] = problem.atol + problem.rtol * largest + finest
    for half in range(2):
        square_norm(lanes.estimate[half, 0], first, last, fine)
        if lanes.estimate.shape[1] == 2:
            # Hairer, Norsett & Wanner, sec. II.10: the fifth-order estimate, damped where the
            # third-order one says that the solution is smooth. Here both are squares.
            square_norm(lanes.estimate[half, 1], first, last, coarse)
            for lane in range(LANES):
                total = fine[lane] + 0.01 * coarse[lane]
                fine[lane] = fine[lane] / math.sqrt(total) if total != 0.0 else 0.0
        else:
            for lane in range(LANES):
                fine[lane] = math.sqrt(fine[lane])
        for lane in range(LANES):
            value = fine[lane] / size[lane] if fine[lane] != 0.0 else 0.0
            error[lane] = error[lane] if not value > error[lane] else value
            error[lane] += 0.0 * value  # NaN stays


@inlined
def square_norm(vector: Any, first: int, last: int, out: Any) -> None:
    """Sum the squares of some components, lane by lane."""
    for lane in range(LANES):
        out[lane] = 0.0
    for k in range(first, last):
        row = vector[k]
        for lane in range(LANES):
            out[lane] += row[lane] * row[lane]


@inlined
def norm(vector: Any, first: int, last: int, lane: int) -> float:
    """Euclidean length of some components of one lane."""
    total = 0.0
    for k in range(first, last):
        total += vector[k, lane] * vector[k, lane]
    return math.sqrt(total)


@inlined
def _look_for_knots(problem: Problem, lanes: Lanes, lane: int) -> None:
    """Refuse a pair that goes past a knot, and say how long it should be to end on it.

    The path is the quartic through both ends and the middle with the velocities of the first two
    (a polynomial in the fraction of the pair).
    """
    half, fraction = 0.5 * lanes.pair[lane], 1.0
    for k in range(lanes.piece_place.shape[0]):
        origin, spacing = problem.knots[1 + k, 0], problem.knots[1 + k, 1]
        if spacing < math.inf:
            at = lanes.origin[k, lane] + lanes.travelled[k, lane]
            cell = math.floor((lanes.piece_place[k, lane] - origin) / spacing)
            low, high = origin + cell * spacing - at, origin + (cell + 1.0) * spacing - at
            first, both = lanes.gain[0, k, lane], lanes.gain[0, k, lane] + lanes.gain[1, k, lane]
            margin = problem.landing * spacing
            for end in range(2):
                value = both if end else first
                if value > high + margin or value < low - margin:
                    knot = high + 0.5 * margin if value > high else low - 0.5 * margin
                    begin, middle = lanes.slope[0, k, lane] * half, lanes.slope[1, k, lane] * half
                    limit = fraction if end else min(fraction, 0.5)
                    fraction = _crossing(begin, first, middle, both, knot, limit)
    if fraction < 1.0:
        lanes.taken[lane] = 0
        lanes.cut[lane] = fraction * abs(lanes.pair[lane])


@inlined
def _crossing(
    begin: float, first: float, middle: float, both: float, knot: float, limit: float
) -> float:
    """Fraction of the pair at which the quartic is at the knot, at most `limit`.

    In s = 2 f the quartic has value 0 and slope `begin` at 0, `first` and `middle` at 1, and value
    `both` at 2.
    """
    # It is begin s + b s^2 + c s^3 + d s^4 with b + c + d = p and 2 b + 3 c + 4 d = r, from value
    # and slope at 1, and b + 2 c + 4 d = q, from the value at 2.
    p, r, q = first - begin, middle - begin, 0.25 * (both - 2.0 * begin)
    d = q - r + p
    c = r - 2.0 * p - 2.0 * d
    b = p - c - d
    low, high = 0.0, 2.0 * limit
    sign = math.copysign(1.0, knot)
    for _ in range(_HALVINGS):
        s = 0.5 * (low + high)
        if sign * (s * (begin + s * (b + s * (c + s * d))) - knot) < 0.0:
            low = s
        else:
            high = s
    return 0.5 * high


@inlined
def update(problem: Problem, lanes: Lanes) -> int:
    """Move the lanes whose pair was accepted; return how many lanes need attention."""
    taken, alert, pair, elapsed = lanes.taken, lanes.alert, lanes.pair, lanes.elapsed
    for k in range(problem.components):
        moved, travelled, carry = lanes.moved[k], lanes.travelled[k], lanes.carry[k]
        first, second = lanes.gain[0, k], lanes.gain[1, k]
        for lane in range(LANES):
            lost = (moved[lane] - travelled[lane]) - ((first[lane] + second[lane]) - carry[lane])
            carry[lane] = lost if taken[lane] else carry[lane]
        for lane in range(LANES):
            travelled[lane] = moved[lane] if taken[lane] else travelled[lane]
    if problem.shadowed:
        for k in range(problem.components):
            shadow, gain = lanes.shadow[k], lanes.gain[2, k]
            for lane in range(LANES):
                shadow[lane] = shadow[lane] + gain[lane] if taken[lane] else shadow[lane]
    _remember_extremes(problem, lanes)
    goal, left = lanes.goal, lanes.left
    for lane in range(LANES):
        elapsed[lane] = elapsed[lane] + pair[lane] if taken[lane] else elapsed[lane]
        left[lane] = left[lane] - 1.0 if taken[lane] else left[lane]
    for lane in range(LANES):
        arrived = abs(goal[lane] - elapsed[lane]) <= 1e-14 * abs(goal[lane])
        alert[lane] = (lanes.who[lane] >= 0) & (arrived | (taken[lane] == 0))
    _count(problem, lanes)
    for k in range(lanes.piece_place.shape[0]):
        low, high = problem.lower[k], problem.upper[k]
        if low > -math.inf or high < math.inf:
            for lane in range(LANES):
                at = lanes.origin[k, lane] + lanes.travelled[k, lane]
                if not low <= at <= high and lanes.who[lane] >= 0:
                    lanes.beyond[lane] = 1
                    if problem.beyond[k] == END:
                        alert[lane] = 1
    total = 0
    for lane in range(LANES):
        total += alert[lane]
    return total


@inlined
def _remember_extremes(problem: Problem, lanes: Lanes) -> None:
    """Keep the largest size of every part, and the shadow's largest distance from it."""
    size, away = lanes.work[0], lanes.work[1]
    for part in range(lanes.reach.shape[0]):
        first, last = problem.bounds[part], problem.bounds[part + 1]
        reach, stray = lanes.reach[part], lanes.stray[part]
        square_norm(lanes.travelled, first, last, size)
        for lane in range(LANES):
            reach[lane] = max(reach[lane], size[lane])
        if problem.shadowed:
            _square_distance(lanes, first, last, away)
            for lane in range(LANES):
                stray[lane] = stray[lane] if away[lane] <= stray[lane] else away[lane]


@inlined
def _square_distance(lanes: Lanes, first: int, last: int, out: Any) -> None:
    """How far the shadow is from the solution in one part, squared."""
    for lane in range(LANES):
        out[lane] = 0.0
    for k in range(first, last):
        shadow, travelled = lanes.shadow[k], lanes.travelled[k]
        for lane in range(LANES):
            away = shadow[lane] - travelled[lane]
            out[lane] += away * away


@inlined
def _count(problem: Problem, lanes: Lanes) -> None:
    """Count pairs and propose the next length.

    A step cut short by an output time says little about the next one, and one that is to land on
    a knot says nothing: its proposal stays.
    """
    taken, factor, proposal, cut = lanes.taken, lanes.factor, lanes.proposal, lanes.cut
    for lane in range(LANES):
        lanes.accepted[lane] += taken[lane]
        lanes.rejected[lane] += 1 - taken[lane]
    if problem.fixed:
        return
    for lane in range(LANES):
        length, change = abs(lanes.pair[lane]), factor[lane]
        careful = (change < 1.0) | (lanes.rejections[lane] > 0)
        longer = max(proposal[lane], length * change)
        after = length * min(change, 1.0) if careful else longer
        shorter = proposal[lane] if cut[lane] > 0.0 else length * min(change, _SAFETY)
        fresh = after if taken[lane] else shorter
        proposal[lane] = fresh if length > 0.0 else proposal[lane]
    for lane in range(LANES):
        failed = (taken[lane] == 0) & (cut[lane] == 0.0)
        lanes.rejections[lane] = lanes.rejections[lane] + 1 if failed else 0
    for lane in range(LANES):
        spent = lanes.accepted[lane] + lanes.rejected[lane] >= problem.max_steps
        lanes.alert[lane] |= (lanes.who[lane] >= 0) & spent
    if problem.landing > 0.0:
        for k in range(lanes.heading.shape[0]):
            for lane in range(LANES):
                latest = lanes.gain[1, k, lane]
                lanes.heading[k, lane] = latest if taken[lane] else lanes.heading[k, lane]
