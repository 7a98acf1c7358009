"""Trajectories in sampled fields: knots, convergence in the spacing, boundaries of the grid."""

import functools
import itertools
import math

import numpy as np
import pytest

from meanfluid import VelocityField, average_velocity, dop853, flow_map, rk4, trajectories
from meanfluid.fields import sampled
from tests.catalogue import integrated
from tests.trajectories.own_fields import rms

TURN = 2 * math.pi
POSITION = np.random.default_rng(141).uniform(0, TURN, (40, 2))
END = 3.0


def swaying(m, p, t, x, y):
    """Pulsating cells in an unsteady current, periodic in both coordinates."""
    a = 1 + 0.3 * m.sin(1.7 * t)
    return (
        -a * m.sin(x) * m.cos(y) + 0.2 * m.cos(t),
        a * m.cos(x) * m.sin(y) + 0.1 * m.sin(x + t),
    )


SWAYING = VelocityField(body=swaying, dimension=2)


def samples_of(field, axes, time):
    """Arrays of velocity on a grid in time and space, one per component."""
    clock, *mesh = np.meshgrid(time, *axes, indexing="ij")
    position = np.stack([c.ravel() for c in mesh], axis=-1)
    values = field.velocity(clock.ravel(), position)
    return list(values.T.reshape(-1, *clock.shape))


@functools.cache
def grid(degree, points=16, times=13, **options):
    """`SWAYING` on a periodic grid."""
    x, t = np.linspace(0, TURN, points, endpoint=False), np.linspace(0.0, END, times)
    values = samples_of(SWAYING, [x, x], t)
    return sampled(
        values, [x, x], t, degree=degree, time_degree=degree, boundary="periodic", **options
    )


@functools.cache
def tight(degree):
    """Where particles go in the coarse grid: both ways of stepping agree on it."""
    with_knots = flow_map(grid(degree), POSITION, 0.0, END, rtol=1e-15)
    without = flow_map(grid(degree), POSITION, 0.0, END, rtol=1e-14, knots=False)
    np.testing.assert_allclose(with_knots, without, rtol=0, atol=2e-9 if degree < 5 else 1e-11)
    return with_knots


@pytest.mark.parametrize("degree", [1, 3, 5])
def test_steps_that_end_on_knots_keep_the_accuracy_that_others_lose(degree):
    """Nothing jumps within a step; across a knot a derivative does, which dop853 cannot see."""
    heeded = trajectories(grid(degree), POSITION, 0.0, END, rtol=1e-9)
    error = np.linalg.norm(heeded.position - tight(degree), axis=1)
    assert error.max() < 1e-12
    ratio = np.maximum(heeded.error, 1e-14) / np.maximum(error, 1e-14)
    assert np.mean((ratio > 0.1) & (ratio < 10)) >= 0.95, np.quantile(ratio, [0, 0.05, 0.95, 1])
    ignored = flow_map(grid(degree), POSITION, 0.0, END, rtol=1e-9, knots=False)
    assert np.linalg.norm(ignored - tight(degree), axis=1).max() > 100 * error.max()


@pytest.mark.parametrize("degree", [1, 3, 5])
def test_an_independent_integrator_goes_the_same_way(degree):
    """Scipy's, with the NumPy form of the interpolant, and as blind to knots as it can be."""
    expected = integrated(grid(degree), POSITION, 0.0, END)
    atol = {1: 1e-7, 3: 1e-8, 5: 1e-11}[degree]
    np.testing.assert_allclose(tight(degree), expected, rtol=0, atol=atol)


def test_equal_steps_lose_their_order_at_knots():
    """Of eight on a formula, less than five is left on a cubic: its third derivative jumps."""
    errors = [
        rms(flow_map(grid(3), POSITION, 0.0, END, scheme=dop853, steps=n) - tight(3))
        for n in (32, 64, 128, 256)
    ]
    assert math.log2(errors[0] / errors[-1]) / 3 < 5.0, errors
    smooth = flow_map(SWAYING, POSITION, 0.0, END, rtol=1e-14)
    errors = [
        rms(flow_map(SWAYING, POSITION, 0.0, END, scheme=dop853, steps=n) - smooth)
        for n in (16, 32)
    ]
    assert math.log2(errors[0] / errors[1]) > 7.5, errors


def test_equal_steps_on_a_formula_of_low_degree_keep_the_order_of_the_scheme():
    """rk4 on a quintic grid sees four continuous derivatives and does not notice the knots."""
    errors = [
        rms(flow_map(grid(5), POSITION, 0.0, END, scheme=rk4, steps=n) - tight(5))
        for n in (64, 128, 256)
    ]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert orders == pytest.approx([4, 4], abs=0.15), errors


@pytest.mark.parametrize("degree", [1, 3, 5])
def test_the_flow_map_converges_with_the_spacing_to_that_of_the_formula(degree):
    """With the power degree + 1 of the spacing in space and time; the estimate knows by how much.

    Halving all spacings compares with an error 2^(degree + 1) larger, which is the asymptotic
    error to its relative correction of a few h^2: hence a factor of five on the coarser grids.
    """
    exact = flow_map(SWAYING, POSITION, 0.0, END)
    errors = []
    for points in (16, 32, 64):
        path = trajectories(
            grid(degree, points, 2 * points + 1), POSITION, 0.0, END, interpolation_error=True
        )
        error = np.linalg.norm(path.position - exact, axis=1)
        ratio = path.interpolation_error / error
        assert ((ratio > 0.2) & (ratio < 5)).all(), np.quantile(ratio, [0, 0.5, 1])
        errors.append(rms(error))
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert orders == pytest.approx([degree + 1] * 2, abs=0.2), errors


def test_interpolation_errors_have_the_shape_of_positions():
    path = trajectories(grid(3), POSITION[:5], 0.0, END, times=[1.0, 2.0], interpolation_error=True)
    assert path.interpolation_error.shape == (5, 2)
    assert trajectories(grid(3), POSITION[:5], 0.0, END).interpolation_error is None
    with pytest.raises(ValueError, match="is a formula; only a sampled field can be coarsened"):
        trajectories(SWAYING, POSITION[:5], 0.0, END, interpolation_error=True)
    with pytest.raises(ValueError, match="can be halved"):
        trajectories(grid(3, 15), POSITION[:5], 0.0, END, interpolation_error=True)


@pytest.mark.parametrize("degree", [1, 3, 5])
def test_trajectories_run_back_to_where_they_came_from(degree):
    back = trajectories(grid(degree), tight(degree), END, 0.0)
    np.testing.assert_allclose(back.position, POSITION, rtol=0, atol=2e-10)
    mean = average_velocity(grid(degree), tight(degree), 0.0, END)
    np.testing.assert_allclose(mean, (tight(degree) - POSITION) / END, rtol=0, atol=1e-10)


@pytest.mark.parametrize("degree", [1, 3, 5])
def test_particles_on_nodes_and_along_grid_lines(degree):
    """A shear along x whose speed depends on y: exact on every grid line, either way, and back.

    Particles start on nodes, on lines of the grid, and run through several periods.
    """
    n = 16
    x = np.linspace(0, TURN, n, endpoint=False)
    speed = np.cos(x)
    speed[np.abs(speed) < 1e-12] = 0.0
    values = [np.broadcast_to(speed, (n, n)), np.zeros((n, n))]
    field = sampled(values, [x, x], degree=degree, boundary="periodic")
    start = np.array([(x[i], x[j]) for i in (0, 3, 15) for j in range(n)])
    start = np.concatenate([start, np.add(start, (0.1, 0.0))])
    for end in (30.0, -30.0):
        path = trajectories(field, start, 0.0, end)
        nodes = np.tile(np.arange(n), 6)
        expected = start + end * np.stack([speed[nodes], 0 * speed[nodes]], axis=-1)
        assert not path.status.any()
        np.testing.assert_allclose(path.position, expected, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(path.position[:, 1], start[:, 1])


@pytest.mark.parametrize("degree", [1, 3, 5])
def test_particles_that_start_on_knots_go_either_way(degree):
    """Against particles that start beside them: the flow map is continuous."""
    n = 16
    nodes = TURN / n * np.random.default_rng(142).integers(0, n, (40, 2))
    for start, end in ((0.0, END), (END, 0.0), (0.75, 2.25)):
        path = trajectories(grid(degree), nodes, start, end, gradient=True)
        assert not path.status.any()
        nudge = 1e-9 * np.array([1.0, -0.5])
        beside = flow_map(grid(degree), nodes + nudge, start, end)
        stretch = np.linalg.norm(path.gradient, axis=(1, 2)).max()
        gap = np.linalg.norm(beside - path.position, axis=1)
        assert gap.max() < 4e-9 * stretch + 1e-11


def test_a_current_carries_through_many_periods():
    """An unsteady uniform current: exact in any period, and the grid has no seam."""
    x, t = np.linspace(-1, 1, 8, endpoint=False), np.linspace(0, 100.0, 101)
    current = 3 + np.zeros((101, 8, 8))
    field = sampled(
        [current, -2 * current / 3], [x, x], t, degree=3, time_degree=3, boundary="periodic"
    )
    start = np.random.default_rng(143).uniform(-5, 5, (20, 2))
    found = flow_map(field, start, 0.0, 100.0)
    np.testing.assert_allclose(found, np.add(start, (300, -200)), rtol=1e-13)


def test_every_period_is_the_same():
    shifted = POSITION + TURN * np.array([5, -3])
    path = trajectories(grid(3), shifted, 0.0, END)
    gap = np.linalg.norm(path.position - (tight(3) + TURN * np.array([5, -3])), axis=1)
    assert gap.max() < 1e-11


@pytest.mark.parametrize("degree", [1, 3, 5])
def test_on_a_line(degree):
    """v = x (1 - x / 2) sampled; a cubic holds it exactly, a line follows its own chord."""
    x = np.linspace(-1.0, 3.0, 33)
    field = sampled([x * (1 - x / 2)], [x], degree=degree, boundary="open")
    start, h = np.array([[0.1], [1.0], [1.5], [0.125]]), 2.0
    exact = 2 / (1 + (2 / start - 1) * math.exp(-h))
    found = flow_map(field, start, 0.0, h)
    atol = 1e-11 if degree > 1 else 1e-2
    np.testing.assert_allclose(found, exact, rtol=0, atol=atol)
    expected = integrated(field, start, 0.0, h)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("degree", [1, 3, 5])
def test_in_space_and_time(degree):
    def stirring(m, p, t, x, y, z):
        a = 1 + 0.4 * m.sin(t)
        return m.sin(z) * a + m.cos(y), m.sin(x) + a * m.cos(z), m.sin(y) * a + m.cos(x)

    formula = VelocityField(body=stirring, dimension=3)
    start = np.random.default_rng(144).uniform(0, TURN, (20, 3))
    exact, errors = flow_map(formula, start, 0.0, 1.5), []
    for points in (16, 32):
        x, t = np.linspace(0, TURN, points, endpoint=False), np.linspace(0, 1.5, points + 1)
        values = samples_of(formula, [x] * 3, t)
        field = sampled(values, [x] * 3, t, degree=degree, time_degree=degree, boundary="periodic")
        path = trajectories(field, start, 0.0, 1.5)
        assert path.error.max() < 1e-11
        errors.append(rms(path.position - exact))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(degree + 1, abs=0.4), errors


def test_steady_fields_in_space():
    """A rigid rotation is linear, so that any spline holds it exactly."""
    x = np.linspace(-2, 2, 9)
    mesh = np.meshgrid(x, x, x, indexing="ij")
    for degree in (1, 3):
        field = sampled([-mesh[1], mesh[0], 0 * mesh[2]], [x] * 3, degree=degree)
        start = np.random.default_rng(145).uniform(-1, 1, (20, 3))
        found = flow_map(field, start, 0.0, 5.0)
        c, s = math.cos(5.0), math.sin(5.0)
        exact = start @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-11)


def test_single_precision_costs_seven_digits_and_no_more():
    """Rounded coefficients move the velocity by 1e-7 of itself; the rest is in double."""
    single = trajectories(grid(3, dtype="float32"), POSITION, 0.0, END)
    gap = np.linalg.norm(single.position - tight(3), axis=1)
    assert 0 < gap.max() < 1e-5
    independent = integrated(grid(3, dtype="float32"), POSITION, 0.0, END)
    np.testing.assert_allclose(single.position, independent, rtol=0, atol=1e-8)


def test_times_outside_of_the_data_are_refused():
    for window in ((-0.1, 1.0), (0.0, END + 0.1)):
        with pytest.raises(ValueError, match=r"must lie in the time range \[0.0, 3.0\] of sampled"):
            flow_map(grid(3), POSITION, *window)


def test_steps_end_on_every_knot_of_time_that_they_pass():
    """A velocity that is linear in time between knots: each interval is integrated exactly."""
    t, speed = np.linspace(0, 1, 6), np.array([0.0, 1, -1, 2, 0, 3])
    values = [np.broadcast_to(speed[:, None], (6, 4)).copy()]
    x = np.linspace(0, 1, 4, endpoint=False)
    field = sampled(values, [x], t, degree=1, time_degree=1, boundary="periodic")
    path = trajectories(field, [[0.3]], 0.0, 1.0, times=[0.2, 0.5, 1.0])
    area = np.concatenate([[0], np.cumsum((speed[1:] + speed[:-1]) / 2 * 0.2)])
    middle = area[2] + 0.1 * (speed[2] + (speed[2] + speed[3]) / 2) / 2
    np.testing.assert_allclose(path.displacement[0, :, 0], [area[1], middle, area[5]], atol=1e-14)
