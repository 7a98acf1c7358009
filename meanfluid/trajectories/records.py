"""What the compiled stepping reads and writes: arrays in records, component first inside."""

from typing import Any, NamedTuple

from meanfluid.fields.velocity_field import Array

END, CLAMP, REFLECT = range(3)  # what happens beyond the domain
FRESH, PAUSED, STOPPED, DONE, LATER = range(5)  # see `Course`


class Problem(NamedTuple):
    """What is integrated, and how; the same for all particles."""

    address: int  # of the block evaluator
    table: Array  # (rows, parameters)
    samples: Array  # (coefficients,) of a sampled field
    state: int  # components that the rates depend on
    components: int  # that are integrated
    rows: int  # of a rate
    bounds: Any  # (parts + 1,) int64: first component of each part, whose norm is its size
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
    lower: Array  # (dimension,), the domain; infinite where it has no end
    upper: Array
    beyond: Any  # (dimension,) int64: what happens beyond it: END, CLAMP or REFLECT
    folded: bool  # whether any axis clamps or reflects
    earliest: float  # times at which the field holds
    latest: float
    knots: Array  # (1 + dimension, 2): origin and spacing of the knots in time and space
    noise: Array  # (cells * parts,) rounding of the rates of a sampled field, everywhere in a cell
    landing: float  # how close to a knot a step has to end, in spacings; 0: knots are ignored
    sliced: bool  # whether only a slab of time is in memory
    slab: Array  # (5,): see `Slab`


class Slab(NamedTuple):
    """Which times of a sampled field are in memory; numbers of `Problem.slab`, in this order."""

    low: float  # a pair of steps has to lie between these
    high: float
    horizon: float  # how far ahead a start looks at most
    first: float  # time at which the first row of `Problem.noise` begins
    share: float  # rows of it per unit of time; 0 if there is one


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
    steps: Any  # (n, 2) int32: accepted and rejected pairs
    strayed: Any  # (n,) int8: whether it went on beyond the domain


class Course(NamedTuple):
    """How far a trajectory has come, between two slabs of a field; without slabs no rows.

    It is `FRESH` before its first step, `PAUSED` where the last slab ended, `STOPPED` where this
    one does, `DONE`, or to be begun `LATER`.
    """

    phase: Any  # (n,) int8
    elapsed: Array  # (n,)
    rhythm: Array  # (n, 3): proposal, cut, left
    heading: Array  # (n, dimension)
    sums: Array  # (n, 3, components): travelled, carry, shadow
    extremes: Array  # (n, 2, parts): reach, stray
    counts: Any  # (n, 5) int64: target, rejections, accepted, rejected, beyond


class Lanes(NamedTuple):
    """The state of one block; one column per lane."""

    who: Any  # particle in this lane, or -1
    target: Any  # next output time
    rejections: Any  # in a row
    accepted: Any
    rejected: Any
    beyond: Any  # whether the lane has left the domain
    begin: Array
    elapsed: Array
    goal: Array  # signed offset of the next output
    proposal: Array  # length of the next pair of steps
    left: Array  # pairs of steps left in this window, if their number is fixed
    pair: Array  # signed length of this pair; 0 in an idle lane
    cut: Array  # length at which this pair lands on a knot, or 0
    origin: Array  # (state, LANES)
    travelled: Array  # (components, LANES)
    carry: Array  # what rounding lost (Kahan)
    shadow: Array
    grain: Array  # (parts, LANES)
    reach: Array  # (parts, LANES): square of the largest displacement or integral so far
    stray: Array  # (parts, LANES): square of the largest distance of the shadow so far
    gain: Array  # (3, components, LANES): of both steps, and of the shadow's one
    estimate: Array  # (2, estimates, components, LANES)
    moved: Array  # (components, LANES) scratch
    stage: Array  # (stages, rows, LANES)
    slope: Array  # (2, dimension, LANES): velocity at the start and in the middle of the pair
    heading: Array  # (dimension, LANES): where the lane went last
    piece_time: Array  # what chooses the piece of a sampled field
    piece_place: Array
    time: Array
    h: Array
    clock: Array
    place: Array  # (state, LANES)
    error: Array  # in tolerances; NaN where it is not known
    factor: Array  # by which the next step may be longer
    taken: Any  # whether the pair was accepted
    alert: Any  # whether a lane needs attention of its own
    work: Array  # (3, LANES) scratch
    fold: Array  # (state, LANES) scratch: places folded into the domain
    sign: Array  # (3, dimension, LANES) scratch: see `stepping._fold_axis`
