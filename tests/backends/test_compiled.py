"""Bodies compiled for blocks of particles: the same numbers, at any argument, from any body."""

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numba import njit

from meanfluid import average_velocity, flow_map
from meanfluid.backends import libm, polynomials, symbolic
from meanfluid.backends.bodies import observable_shape
from meanfluid.backends.compiled import LANES, block_evaluator, call_block, scalar_velocity
from meanfluid.backends.tensors import torch_velocity
from meanfluid.fields import VelocityField, double_gyre, rotation, taylor_green
from tests.catalogue import CASES
from tests.trajectories.own_fields import (
    BOX,
    LOGISTIC,
    ON_ROTATION,
    grown,
    torque,
    unsteady_rotation,
)

EPS = np.finfo(float).eps


@njit
def evaluate_block(address, table, samples, time, state, piece_time, piece_place, rate):
    call_block(address, table, samples, time, state, piece_time, piece_place, rate)


def block_rate(field, time, position, **options):
    """Rates (n, components) of up to LANES particles by the block evaluator; idle lanes at 0.5.

    `position` (n, state) goes on with the gradient of the flow map if that is carried along.
    """
    evaluator, n = block_evaluator(field, **options), len(position)
    layout = evaluator.layout
    clock, place = np.full(LANES, 0.5), np.full((layout.state, LANES), 0.5)
    clock[:n], place[:, :n] = time, np.transpose(position)
    rate = np.full((layout.rows, LANES), np.nan)
    samples = np.zeros(1) if field.samples is None else field.samples.flat
    piece = np.ascontiguousarray(place[: field.dimension])
    evaluate_block(evaluator.address, field.table, samples, clock, place, clock, piece, rate)
    return rate[: layout.components, :n].T


# The user's own unsteady field in space, in ten lines, for every backend.
class Screw(NamedTuple):
    swirl: float = 1.5
    beat: float = 2.0
    stretch: float = 0.4


def screw(m, p, t, x, y, z):
    turning = p.swirl * (1 + m.sin(p.beat * t) / 3)
    return -turning * y, turning * x, p.stretch * m.cos(t) * z


SCREW = VelocityField(body=screw, parameters=Screw(), dimension=3)


def screwed(p, position, start, end):
    """Closed-form flow map of `SCREW`."""
    x, y, z = np.asarray(position).T
    angle = p.swirl * (
        end - start + (math.cos(p.beat * start) - math.cos(p.beat * end)) / (3 * p.beat)
    )
    c, s = math.cos(angle), math.sin(angle)
    stretch = math.exp(p.stretch * (math.sin(end) - math.sin(start)))
    return np.stack([c * x - s * y, s * x + c * y, stretch * z], axis=-1)


POINTS = np.random.default_rng(81).uniform(-1, 1, (40, 3))


# Newton's iteration divides by a Jacobian down to 0.1; sums of modes have phases up to 100.
ULPS = {"gerstner_wave": 100, "kinematic_simulation_2d": 64, "kinematic_simulation_3d": 64}


@pytest.mark.parametrize("name", CASES)
def test_the_block_evaluator_gives_the_velocity_of_every_field(name):
    """To a few units in the last place of the largest velocity, at 64 places and times at once."""
    case = CASES[name]
    x = case.position(LANES, seed=82)
    t = np.random.default_rng(83).uniform(*sorted((case.start, case.end)), LANES)
    expected = case.field.velocity(t, x)
    found = block_rate(case.field, t, x)
    ulps = abs(found - expected).max() / (EPS * abs(expected).max())
    assert ulps < ULPS.get(name, 16), ulps


@pytest.mark.parametrize(
    "name, namespace", [("lamb_oseen_pair", libm), ("double_gyre", polynomials)],
    ids=["libm", "polynomials"],
)  # fmt: skip
def test_the_scalar_form_gives_the_same_velocity(name, namespace):
    case = CASES[name]
    velocity, t = scalar_velocity(case.field, namespace), (case.start + case.end) / 2
    x = case.position(20, seed=84)
    found = np.array([velocity(case.field.table, t, x_i) for x_i in x])
    expected = case.field.velocity(t, x)
    assert abs(found - expected).max() < 16 * EPS * abs(expected).max()
    if namespace is polynomials:  # the very same operations, one particle at a time
        np.testing.assert_allclose(found, block_rate(case.field, t, x), rtol=4 * EPS)


def test_a_users_own_field_in_space_is_integrated():
    start, end = 0.3, 5.3
    exact = screwed(SCREW.parameters, POINTS, start, end)
    np.testing.assert_allclose(flow_map(SCREW, POINTS, start, end), exact, rtol=0, atol=1e-9)
    mean = average_velocity(SCREW, exact, start, end)
    np.testing.assert_allclose(mean, (exact - POINTS) / (end - start), rtol=0, atol=1e-9)


def test_a_users_own_field_in_space_is_a_torch_function():
    t = np.linspace(0, 3, len(POINTS))
    expected = SCREW.velocity(t, POINTS)
    found = torch_velocity(SCREW)(torch.tensor(POINTS), torch.tensor(t)).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-15)
    np.testing.assert_allclose(block_rate(SCREW, t, POINTS), expected, rtol=0, atol=1e-15)


def test_a_users_own_field_in_space_is_a_formula():
    sympy = pytest.importorskip("sympy")
    v, symbols = symbolic.velocity(SCREW)
    p, (_, y, _) = symbols.parameters, symbols.position
    expected = -p.swirl * (1 + sympy.sin(p.beat * symbols.time) / 3) * y
    assert sympy.simplify(v[0] - expected) == 0
    divergence = symbolic.divergence(SCREW)
    assert sympy.simplify(divergence - p.stretch * sympy.cos(symbols.time)) == 0
    assert "swirl" in symbolic.latex(SCREW)


def test_a_users_own_field_does_not_depend_on_where_its_parameters_come_from():
    """Changed parameters are data: nothing is compiled again, and the numbers follow."""
    changed = SCREW.with_parameters(swirl=-0.7, stretch=1.0)
    assert block_evaluator(changed) is block_evaluator(SCREW)
    exact = screwed(changed.parameters, POINTS, 0.0, 2.0)
    np.testing.assert_allclose(flow_map(changed, POINTS, 0.0, 2.0), exact, rtol=0, atol=1e-9)
    exact = screwed(SCREW.parameters, POINTS, 0.0, 2.0)
    np.testing.assert_allclose(flow_map(SCREW, POINTS, 0.0, 2.0), exact, rtol=0, atol=1e-9)


def test_fields_of_one_maker_share_their_code():
    assert block_evaluator(rotation(1.0)) is block_evaluator(rotation(-2.5))
    assert block_evaluator(taylor_green()) is block_evaluator(taylor_green(1.5, 2.0, 0.03))
    assert block_evaluator(rotation()) is not block_evaluator(double_gyre())


def test_a_field_on_a_line():
    """Logistic growth."""
    x, h = np.array([[0.1], [1.0], [2.0], [3.0]]), 3.0
    exact = grown(x, h)
    np.testing.assert_allclose(flow_map(LOGISTIC, x, 1.0, 1.0 + h), exact, rtol=0, atol=1e-10)
    mean = average_velocity(LOGISTIC, exact, 1.0, 1.0 + h)
    np.testing.assert_allclose(mean, (exact - x) / h, rtol=0, atol=1e-10)


def test_bodies_may_return_integers():
    """The body of BOX returns 1, 0."""
    np.testing.assert_array_equal(block_rate(BOX, 0.0, [(0.25, 2), (0, -1)]), [(1, 0), (1, 0)])
    found = flow_map(BOX, [(0.25, 2), (0, -1)], 0, 0.5)
    np.testing.assert_allclose(found, [(0.75, 2), (0.5, -1)], rtol=1e-15)


def test_components_follow_one_another():
    """Velocity first, then each observable; without carrying, no motion and then the velocity."""
    field, x = rotation(2.0), [(1.0, 3.0)]
    carried = block_evaluator(field, ON_ROTATION).layout
    assert (carried.dimension, carried.sizes, carried.components) == (2, (1, 1, 3), 7)
    found = block_rate(field, 0.5, x, observables=ON_ROTATION)
    np.testing.assert_array_equal(found, [(-6, 2, 20, 3, 1, 6.5, 9)])
    still = block_evaluator(unsteady_rotation(), [torque], carried=False).layout
    assert (still.dimension, still.sizes, still.components) == (2, (2, 2), 6)
    found = block_rate(unsteady_rotation(), 0.0, x, observables=[torque], carried=False)
    np.testing.assert_array_equal(found, [(0, 0, -3, 1, 3, 10)])


def test_shapes_of_observables_are_found_by_calling_them():
    """A number has none, and a tuple of one is told from it."""
    assert [observable_shape(rotation(), g) for g in ON_ROTATION] == [(), (1,), (3,)]
    assert observable_shape(rotation(), lambda m, p, t, x, y: (1, x, True)) == (3,)
    assert observable_shape(rotation(), lambda m, p, t, x, y: m.log(-x) + p.rate) == ()
    assert observable_shape(rotation(), lambda m, p, t, x, y, gradient: gradient[1][0]) == ()
    with pytest.raises(ValueError, match=r"could not be called as <lambda>\(m, p, t, x, y, z\)"):
        observable_shape(SCREW, lambda m, p, t, x, y: x)


def elementary(m, p, t, x, y, z):
    return (
        m.sin(x) + m.cos(x) + m.tan(x),
        m.exp(y) + m.sinh(y),
        m.log(z) + m.sqrt(z) + m.minimum(m.exp(y), 5.0),
    )


ELEMENTARY = VelocityField(body=elementary, dimension=3)
FAR = [1e15, -3e17, 1e22, 2.0**52, 1e300]
OVERFLOW = [709.0, 710.0, 720.0, 1000.0, -1000.0, -746.0, math.inf, -math.inf, 1e308]


def by_math(x, y, z):
    """The same sums by Python's libm, with infinity where it raises instead."""

    def safe(function, argument):
        try:
            return function(argument)
        except OverflowError:
            return math.copysign(math.inf, argument) if function is math.sinh else math.inf

    return (
        math.sin(x) + math.cos(x) + math.tan(x),
        safe(math.exp, y) + safe(math.sinh, y),
        math.log(z) + math.sqrt(z) + min(safe(math.exp, y), 5.0),
    )


def test_arguments_beyond_the_polynomials_take_the_safe_path():
    """Bit for bit what libm gives, where they give up; their neighbours keep their bits."""
    ordinary = np.random.default_rng(85).uniform(0.1, 2, (40, 3))
    alone = block_rate(ELEMENTARY, 0.0, ordinary)
    x = np.concatenate([ordinary, [(far, 0.3, 1.7) for far in FAR]])
    found = block_rate(ELEMENTARY, 0.0, x)
    np.testing.assert_array_equal(found[:40], alone)
    np.testing.assert_array_equal(found[40:], [by_math(far, 0.3, 1.7) for far in FAR])


@pytest.mark.parametrize("y", OVERFLOW)
def test_overflow_is_infinity_as_in_libm(y):
    """`minimum` carries the NaN of the polynomial on, so that it is noticed and done again."""
    found = block_rate(ELEMENTARY, 0.0, [(0.3, y, 1.7)])[0]
    np.testing.assert_allclose(found, by_math(0.3, y, 1.7), rtol=8 * EPS)


def test_what_is_not_a_number_stays_so_in_its_lane_only():
    nan, inf = math.nan, math.inf
    x = np.array([(0.3, 0.2, 1), (nan, 0.2, 1), (inf, 0.2, 1), (0.3, nan, 1), (0.3, 0.2, -1)])
    found = block_rate(ELEMENTARY, 0.0, x)
    expected = [[0, 0, 0], [1, 0, 0], [1, 0, 0], [0, 1, 1], [0, 0, 1]]
    np.testing.assert_array_equal(np.isnan(found), np.array(expected, dtype=bool))
    np.testing.assert_array_equal(found[0], block_rate(ELEMENTARY, 0.0, x[:1])[0])


def test_the_logarithm_of_zero_is_minus_infinity():
    found = block_rate(ELEMENTARY, 0.0, [(0.0, 0.0, 0.0)])[0]
    np.testing.assert_array_equal(found, [1, 1, -math.inf])


@pytest.mark.slow
def test_constants_and_closures_are_compiled_in():
    def around(rate):
        def body(m, p, t, x, y):
            return -rate * y, rate * x

        return VelocityField(body=body, dimension=2)

    for rate in (0.5, 2.0):
        found = flow_map(around(rate), [(1.0, 0.0)], 0.0, 1.0)
        np.testing.assert_allclose(found, [(math.cos(rate), math.sin(rate))], atol=1e-10)
