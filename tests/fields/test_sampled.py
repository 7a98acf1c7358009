"""Sampled fields by NumPy: splines through the data, their errors, and what is refused."""

import math

import numpy as np
import pytest
from scipy.interpolate import make_interp_spline
from scipy.ndimage import map_coordinates

from meanfluid.backends import reference, symbolic
from meanfluid.fields import Axis, coarsened, double_gyre, sampled, splines

TURN = 2 * np.pi


def waves(t, x, y):
    """An unsteady flow without period."""
    return np.sin(1.3 * x + t) * np.cos(y - 0.4 * t), np.exp(-x * y / 2) * np.cos(2 * t - x)


def sampled_waves(cells, degree, **options):
    t, x, y = (np.linspace(0.0, end, cells + 1) for end in (1.0, 1.5, 2.0))
    grid = np.meshgrid(t, x, y, indexing="ij")
    return sampled(waves(*grid), [x, y], t, degree=degree, time_degree=degree, **options)


def inside(field, n, seed):
    rng = np.random.default_rng(seed)
    axes = field.samples.axes
    columns = [rng.uniform(axis.lower, axis.upper, n) for axis in axes]
    time = columns.pop(0) if field.samples.unsteady else np.zeros(n)
    return time, np.stack(columns, axis=-1)


@pytest.mark.parametrize("boundary", ["open", "periodic", ("periodic", "open", "open")])
@pytest.mark.parametrize("degree", [1, 3, 5])
@pytest.mark.parametrize("time_degree", [1, 3, 5])
def test_samples_are_met_at_the_nodes(degree, time_degree, boundary):
    rng = np.random.default_rng(3)
    time, axes = np.arange(7.0) / 3, [np.arange(6.0), 2 * np.arange(8.0) - 1, np.arange(9.0) / 7]
    values = rng.normal(size=(3, 7, 6, 8, 9))
    field = sampled(values, axes, time, degree=degree, time_degree=time_degree, boundary=boundary)
    t, *places = (c.ravel() for c in np.meshgrid(time, *axes, indexing="ij"))
    velocity = field.velocity(t, np.stack(places, axis=-1))
    np.testing.assert_allclose(velocity, values.reshape(3, -1).T, atol=2e-13)
    np.testing.assert_allclose(field.samples.node_values(), np.moveaxis(values, 0, -1), atol=2e-13)


@pytest.mark.parametrize("degree, constant", [(1, 1 / 8), (3, 1 / 384), (5, 1 / 15360)])
def test_error_on_a_wave_has_the_constant_of_theory(degree, constant):
    """Bernoulli polynomials: |error| / (k h)**p = (B_p(1/2) - B_p) / p! in the middle of a cell."""
    nodes = 62
    x = np.arange(nodes) * (TURN / nodes)
    field = sampled([np.sin(x)], [x], degree=degree, boundary="periodic")
    crest = np.pi / 2  # in the middle of a cell, since nodes / 4 is half an odd number
    error = abs(field.velocity(0.0, [[crest]])[0, 0] - 1.0)
    assert error / (TURN / nodes) ** (degree + 1) == pytest.approx(constant, rel=0.02)


@pytest.mark.parametrize("degree", [1, 3, 5])
def test_error_falls_at_the_order_of_the_spline_up_to_the_ends_and_in_time(degree):
    error = []
    for n in (12, 24, 48):
        field = sampled_waves(n, degree)
        time, position = inside(field, 6000, 0)
        position[:2000, 0] /= n / 2  # in the first cells, where not-a-knot matters
        time[2000:4000] /= n / 2
        exact = np.stack(waves(time, *position.T), axis=-1)
        error.append(np.abs(field.velocity(time, position) - exact).max())
    assert math.log2(error[1] / error[2]) == pytest.approx(degree + 1, abs=0.3), error


@pytest.mark.parametrize("degree", [1, 3, 5])
def test_polynomials_of_the_degree_are_reproduced(degree):
    rng = np.random.default_rng(1)
    u, v, w = (np.polynomial.Polynomial(rng.normal(size=degree + 1)) for _ in range(3))
    t, x, y = np.linspace(-1, 1, 8), np.linspace(0, 1, 7), np.linspace(-1, 0.5, 9)
    T, X, Y = np.meshgrid(t, x, y, indexing="ij")
    field = sampled([u(X) * v(Y) * w(T), v(X) + w(Y)], [x, y], t, degree=degree, time_degree=degree)
    time, position = inside(field, 300, 2)
    X, Y = position.T
    exact = np.stack([u(X) * v(Y) * w(time), v(X) + w(Y)], axis=-1)
    np.testing.assert_allclose(field.velocity(time, position), exact, atol=1e-12)


@pytest.mark.parametrize("degree", [1, 3, 5])
def test_periodic_splines_agree_with_scipy(degree):
    rng = np.random.default_rng(5)
    values = rng.normal(size=(2, 16, 9))
    axes = [np.arange(16) * 0.5 - 3, np.arange(9) * 0.25]
    field = sampled(values, axes, degree=degree, boundary="periodic")
    position = rng.uniform(-30, 30, (400, 2))
    indices = [(position[:, 0] + 3) / 0.5, position[:, 1] / 0.25]
    expected = [map_coordinates(v, indices, order=degree, mode="grid-wrap") for v in values]
    np.testing.assert_allclose(
        field.velocity(0.0, position), np.stack(expected, axis=-1), atol=1e-13
    )


@pytest.mark.parametrize("degree", [1, 3, 5])
@pytest.mark.parametrize("nodes", [6, 7, 20])
def test_ends_agree_with_scipys_not_a_knot(degree, nodes):
    rng = np.random.default_rng(6)
    x, y, t = np.linspace(0, 2, nodes), np.linspace(-1, 1, 8), np.linspace(3, 4, 9)
    values = rng.normal(size=(9, nodes, 8, 2))
    field = sampled(np.moveaxis(values, -1, 0), [x, y], t, degree=degree)
    spline = make_interp_spline(t, values, k=3)
    time, position = inside(field, 50, 7)
    for moment, place, velocity in zip(time, position, field.velocity(time, position), strict=True):
        along_x = make_interp_spline(x, spline(moment), k=degree)(place[0])
        expected = make_interp_spline(y, along_x, k=degree)(place[1])
        np.testing.assert_allclose(velocity, expected, atol=1e-12)


@pytest.mark.parametrize("degree", [1, 3, 5])
def test_weights_sum_to_one_and_slopes_are_their_derivatives(degree):
    """Also beyond the cell; derivatives by complex steps, exact to rounding."""
    u = np.linspace(-1.5, 2.5, 41)
    weights = np.stack(splines.WEIGHTS[degree](u))
    np.testing.assert_allclose(weights.sum(0), 1.0, rtol=2e-13)
    step = np.stack(splines.WEIGHTS[degree](u + 1e-30j)).imag / 1e-30
    np.testing.assert_allclose(np.stack(splines.SLOPES[degree](u)), step, atol=1e-13)


def test_what_is_known_of_a_sampled_field():
    x, y, t = np.arange(8.0), np.arange(1.0, 7.0), np.arange(10.0, 20.0)
    still = np.zeros((8, 6))
    steady = sampled([still, still], [x, y], boundary=("periodic", "wall"))
    assert steady.domain == (Axis(0.0, 8.0, "periodic"), Axis(1.0, 6.0, "wall"))
    assert steady.steady and steady.time_range == (-math.inf, math.inf)
    unsteady = sampled(np.zeros((2, 10, 8, 6)), [x, y], t)
    assert unsteady.domain == (Axis(0.0, 7.0, "closed"), Axis(1.0, 6.0, "closed"))
    assert unsteady.steady is False and unsteady.time_range == (10.0, 19.0)
    assert unsteady.samples.degree == 3 and unsteady.samples.time_degree == 3
    expected = [10, 1, 1, 9, 0, 0, 1, 1, 7, 0, 1, 1, 1, 5, 0]
    np.testing.assert_array_equal(unsteady.table, [expected])


def test_there_is_no_velocity_beyond_the_data():
    x, y, t = np.arange(8.0), np.arange(6.0), np.arange(5.0)
    field = sampled(np.ones((2, 5, 8, 6)), [x, y], t, boundary=("open", "periodic"))
    position = [[7.0, 100.0], [7.1, 0.0], [-0.1, 0.0], [3.0, 0.0], [3.0, 0.0], [np.nan, 1.0]]
    velocity = field.velocity([4.0, 1.0, 1.0, 4.1, -0.1, 1.0], position)
    np.testing.assert_array_equal(np.isnan(velocity).all(axis=1), [False] + 5 * [True])
    np.testing.assert_allclose(velocity[0], 1.0, rtol=1e-15)


def test_descending_coordinates_give_the_same_field():
    rng = np.random.default_rng(8)
    x, y, values = np.arange(8.0), np.arange(6.0), rng.normal(size=(2, 8, 6))
    one = sampled(values, [x, y])
    other = sampled(values[:, ::-1, ::-1], [x[::-1], y[::-1]])
    np.testing.assert_array_equal(one.samples.flat, other.samples.flat)
    np.testing.assert_array_equal(one.table, other.table)


def test_single_precision_rounds_the_coefficients_only():
    field, single = sampled_waves(20, 3), sampled_waves(20, 3, dtype="float32")
    assert single.samples.single and single.samples.flat.dtype == np.float32
    time, position = inside(field, 500, 1)
    error = np.abs(single.velocity(time, position) - field.velocity(time, position)).max()
    assert 0 < error < 2 * np.finfo(np.float32).eps


def test_nothing_flows_through_a_wall():
    x, y = np.linspace(0, 2, 21), np.linspace(0, 1, 11)
    X, Y = np.meshgrid(x, y, indexing="ij")
    u, v = (f(np.pi * X) * g(np.pi * Y) for f, g in ((np.sin, np.cos), (np.cos, np.sin)))
    assert np.abs(u[-1]).max() > 0  # sin(2 pi) is not zero in floating point, and passes for it
    field = sampled([u, v], [x, y], boundary="wall", degree=5)
    along = np.linspace(0, 1, 77)
    for side, component in ((0, 0), (1, 1)):
        for end in (field.domain[side].lower, field.domain[side].upper):
            wall = np.stack([along * 2, along], axis=-1)
            wall[:, side] = end
            through = np.abs(field.velocity(0.0, wall)[:, component]).max()
            assert through < 8 * np.finfo(float).eps, through  # 7.5: condition of the splines
    with pytest.raises(ValueError, match=r'x ends at walls.*lower one reaches 1.*boundary="open"'):
        sampled([u + 1, v], [x, y], boundary=("wall", "open"))


def test_estimated_error_is_the_error():
    """Within a factor of two of the measured error, for each degree."""
    for degree in (1, 3, 5):
        field = sampled_waves(32, degree)
        time, position = inside(field, 5000, 4)
        error = field.velocity(time, position) - np.stack(waves(time, *position.T), axis=-1)
        estimate = field.samples.interpolation_error()
        rms = np.sqrt(np.mean(error**2, axis=0))
        assert (np.abs(np.log2(estimate.rms / rms)) < 1).all(), (estimate, rms)
        assert (estimate.maximum > estimate.rms).all()


def test_an_even_number_of_points_between_ends_can_be_judged_too():
    field = sampled_waves(33, 3)
    even, odd = field.samples.interpolation_error(), sampled_waves(32, 3).samples
    np.testing.assert_allclose(even.rms, odd.interpolation_error().rms, rtol=0.3)


def test_coarsened_fields_keep_every_other_node():
    x, y, t = np.arange(8) * (TURN / 8), np.linspace(0, 1, 9), np.linspace(0, 3, 11)
    T, X, Y = np.meshgrid(t, x, y, indexing="ij")
    values = [np.sin(X + T) * Y, np.cos(X) * Y * T]
    fine = sampled(values, [x, y], t, boundary=("periodic", "open"))
    coarse = coarsened(fine)
    direct = sampled(
        [v[::2, ::2, ::2] for v in values], [x[::2], y[::2]], t[::2], boundary=("periodic", "open")
    )
    np.testing.assert_allclose(coarse.samples.coefficients, direct.samples.coefficients, atol=1e-14)
    np.testing.assert_allclose(coarse.table, direct.table, rtol=1e-15)
    assert coarse.domain == fine.domain and coarse.time_range == fine.time_range


@pytest.mark.parametrize(
    "points, boundary, message",
    [
        (9, "periodic", "a periodic axis .* points is even .* x has 9 points"),
        (8, "open", "a bounded axis .* points is odd .* x has 8 points"),
        (5, "open", "exceed the degree, 3; x has 5 points"),
    ],
)
def test_grids_that_cannot_be_halved_are_refused(points, boundary, message):
    x = np.arange(float(points))
    field = sampled([np.sin(x)], [x], boundary=boundary)
    with pytest.raises(ValueError, match=message):
        coarsened(field)
    if points != 8:  # without its last node, an open axis serves an estimate
        with pytest.raises(ValueError, match=message):
            field.samples.interpolation_error()


def test_a_repeated_end_of_a_period_is_refused():
    x = np.linspace(0, TURN, 33)
    for function in (np.sin, np.cos):
        with pytest.raises(ValueError, match="x is periodic, but its last plane repeats the first"):
            sampled([function(x)], [x], boundary="periodic")
        sampled([function(x)], [x])


def test_symmetric_data_at_cell_centres_are_no_repetition():
    x = (np.arange(32) + 0.5) * (TURN / 32)
    field = sampled([np.cos(x) + np.cos(2 * x)], [x], boundary="periodic")
    assert field.velocity(0.0, [[0.0]])[0, 0] == pytest.approx(2.0, abs=1e-3)
    sampled([np.ones(32)], [x], boundary="periodic")  # neither are constant data


def _refused(message, velocity=None, axes=None, time=None, **options):
    x = np.arange(8.0)
    velocity = np.zeros((2, 8, 8)) if velocity is None else velocity
    with pytest.raises(ValueError, match=message):
        sampled(velocity, axes or [x, x], time, **options)


def test_impossible_samples_are_refused():
    x, still = np.arange(8.0), np.zeros((2, 8, 8))
    _refused(r"2 arrays, one per component, of shape \(8, 8\) \(x, y\)", np.zeros((8, 8, 2)))
    _refused(r"of shape \(5, 8, 8\) \(time, x, y\), got shapes", still, time=np.arange(5.0))
    _refused("1, 2 or 3 coordinates, got 4", np.zeros((4, 8, 8, 8, 8)), [x] * 4)
    _refused(r"x must be a 1-D array of real numbers, got shape \(1, 8\)", still, [x[None], x])
    _refused("must hold real numbers, got dtype complex128", still * 1j)
    _refused("degree along x must be 1 .*, 3 .* or 5 .*, got 2", degree=2)
    _refused("degree along time must be .*, got 4", np.zeros((2, 8, 8, 8)), time=x, time_degree=4)
    _refused(
        "degree 5 needs at least 6 points along x, got 5",
        np.zeros((2, 5, 8)), [x[:5], x], degree=5,
    )  # fmt: skip
    _refused("degree 3 needs at least 4 points along time, got 3", np.zeros((2, 3, 8, 8)),
             time=x[:3])  # fmt: skip
    _refused("x needs at least two points, got 1", np.zeros((2, 1, 8)), [x[:1], x])
    _refused('boundary must be "open", "periodic" or "wall", .* x, y, got', boundary="closed")
    _refused('boundary must be "open", "periodic" or "wall", .*', boundary=("open",) * 3)
    _refused('dtype must be "float64" or "float32", got', dtype="float16")
    _refused("x must be finite, got nan", axes=[np.where(x == 3, np.nan, x), x])


def test_unequal_spacing_is_refused_with_its_size():
    x = np.arange(8.0)
    x[3] += 0.25
    _refused(r"x must be equally spaced, but point 3 lies 0\.25 from its place", axes=[x, x * 0])
    _refused(r"y must be equally spaced", axes=[np.arange(8.0), np.zeros(8)])
    rounded = np.linspace(0, 360, 1440, endpoint=False, dtype=np.float32) / 3  # float32 on disk
    sampled([np.zeros(1440)], [rounded], boundary="periodic")


def test_missing_values_are_refused_with_their_number_and_place():
    holes = np.zeros((2, 8, 8))
    holes[1, 2, 3:5] = np.nan, np.inf
    _refused(r"not finite at 2 of 64 points, first at index x 2, y 3; .* cut out a box", holes)


def test_a_sampled_field_has_no_formula():
    x = np.arange(8.0)
    field = sampled([np.sin(x)], [x])
    message = "a sampled field has no formula; its velocity is interpolated"
    with pytest.raises(ValueError, match=message):
        symbolic.latex(field)
    with pytest.raises(ValueError, match=message):
        reference.reference_flow_map(field, [[1.0]], 0.0, 1.0)
    with pytest.raises(ValueError, match="is a sampled field and has no parameters"):
        field.with_parameters(rate=1.0)


def test_formulas_cannot_be_coarsened():
    with pytest.raises(ValueError, match="double_gyre is a formula; only a sampled field"):
        coarsened(double_gyre())
