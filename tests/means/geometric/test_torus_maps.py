"""Maps of the torus: exact interpolation, composition, inverse, exponential and logarithm."""

import numpy as np
import pytest

import meanfluid as mf
from meanfluid.means.geometric import (
    TorusMap,
    advection,
    curl,
    divergence,
    euler_exp,
    euler_log,
    exp,
    gradient,
    leray,
    log,
    mesh,
    push_forward,
)
from meanfluid.means.periodic import solenoidal

BOX = (2 * np.pi, 4 * np.pi)  # not square, and y counted in half waves
X, Y = mesh((24, 32), BOX)
Q = np.stack([2 * np.sin(Y), -np.sin(X) + 0.3])


@pytest.mark.parametrize("shape", [(7, 9), (8, 10), (9, 8)])
def test_values_anywhere_are_those_of_the_trigonometric_polynomial(shape):
    generator = np.random.default_rng(5)
    x, y = mesh(shape, BOX)
    points = generator.uniform(-20.0, 20.0, (50, 2))

    def polynomial(x, y):
        value = 0.3 + 0.2 * np.cos(3 * x - y) + 0.5 * np.sin(x + 1.5 * y)
        slope = [
            -0.6 * np.sin(3 * x - y) + 0.5 * np.cos(x + 1.5 * y),
            0.2 * np.sin(3 * x - y) + 0.75 * np.cos(x + 1.5 * y),
        ]
        return value, np.stack(slope, axis=-1)

    one = TorusMap(np.stack([polynomial(x, y)[0], 0 * x]), BOX)
    value, slope = polynomial(*points.T)
    np.testing.assert_allclose(one(points)[:, 0] - points[:, 0], value, rtol=0, atol=3e-14)
    np.testing.assert_allclose(one.gradient_at(points)[:, 0] - [1, 0], slope, rtol=0, atol=6e-14)
    at_grid = np.moveaxis(one.gradient, (0, 1), (-2, -1)).reshape(-1, 2, 2)
    ours = one.gradient_at(one.points.reshape(2, -1).T)
    np.testing.assert_allclose(ours, at_grid, rtol=0, atol=3e-14)


def test_calculus_on_the_grid_is_exact_for_waves():
    np.testing.assert_allclose(gradient(np.sin(2 * X) * np.cos(Y), BOX)[0],
                               2 * np.cos(2 * X) * np.cos(Y), atol=1e-13)  # fmt: skip
    carried = advection(Q, Q, BOX)
    np.testing.assert_allclose(carried[0], (0.3 - np.sin(X)) * 2 * np.cos(Y), atol=1e-13)
    np.testing.assert_allclose(carried[1], -2 * np.sin(Y) * np.cos(X), atol=1e-13)


def test_products_are_not_aliased():
    """On 24 points the product of waves 9 and 10 is wave 19, which would pass for wave 5."""
    q = np.stack([np.cos(9 * X), 0 * X])
    product = advection(q, np.sin(10 * X) / 10, BOX)
    np.testing.assert_allclose(product, 0.5 * np.cos(X), atol=1e-13)
    folded = q[0] * np.cos(10 * X)
    assert np.abs(folded - product - 0.5 * np.cos(5 * X)).max() < 1e-12


def test_projection_takes_away_a_gradient_and_nothing_else():
    slope = gradient(np.cos(X) * np.sin(1.5 * Y), BOX)
    np.testing.assert_allclose(leray(Q + slope, BOX), Q, atol=1e-13)
    assert np.abs(divergence(leray(slope + Q**2, BOX), BOX)).max() < 1e-12
    np.testing.assert_allclose(solenoidal(curl(Q, BOX), Q.mean(axis=(1, 2)), BOX), Q, atol=1e-13)


def test_exponential_is_the_flow_map():
    """Of a cellular flow, against the library's own trajectories and their closed form."""
    field = mf.fields.taylor_green()
    flow = TorusMap.from_flow(field, (32, 32), 0.0, 0.4)
    velocity = field.velocity(0.0, flow.points.reshape(2, -1).T).T.reshape(flow.points.shape)
    ours = exp(0.4 * velocity, flow.lengths)
    np.testing.assert_allclose(ours.displacement, flow.displacement, rtol=0, atol=1e-12)
    assert ours.area_error < 1e-9
    ideal = euler_exp(0.4 * velocity, flow.lengths)  # a steady flow of an ideal fluid
    np.testing.assert_allclose(ideal.displacement, flow.displacement, rtol=0, atol=1e-12)


def test_composition_and_inverse_are_those_of_the_group():
    once, twice, back = (exp(s * Q, BOX) for s in (0.1, 0.2, -0.1))
    np.testing.assert_allclose(once.after(once).displacement, twice.displacement, atol=1e-12)
    np.testing.assert_allclose(once.inverse().displacement, back.displacement, atol=1e-12)


def test_logarithm_undoes_the_exponential():
    found = log(exp(0.08 * Q, BOX))
    assert found.converged and found.residual < 1e-11 * BOX[1]
    np.testing.assert_allclose(found.field, 0.08 * Q, rtol=0, atol=1e-9)


def test_logarithm_says_where_it_does_not_converge():
    found = log(exp(0.6 * Q, BOX), iterations=4)
    assert not found.converged and found.residual > 1e-3


def test_an_ideal_fluid_flows_back_the_way_it_came():
    """The vorticity carried along gives the final velocity, whose reverse leads home."""
    w = 0.15 * Q
    there = euler_exp(w, BOX)
    vorticity = push_forward(curl(w, BOX), there, "scalar")
    final = solenoidal(vorticity - vorticity.mean(), w.mean(axis=(1, 2)), BOX)
    home = euler_exp(-final, BOX).after(there)
    assert np.abs(final - w).max() > 1e-2  # it is not steady
    assert np.abs(home.displacement).max() < 1e-9
    np.testing.assert_allclose((final**2).mean(), (w**2).mean(), rtol=1e-10)
    found = euler_log(there)
    assert found.converged
    np.testing.assert_allclose(found.field, w, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda: TorusMap(np.zeros((2, 8)), BOX), r"shape \(2, nx, ny\)"),
        (lambda: TorusMap(np.full((2, 8, 8), np.nan), BOX), "must be finite"),
        (lambda: TorusMap(Q, (1.0, 0.0)), "period of each of the 2 axes"),
        (lambda: TorusMap(Q, BOX)([1.0, 2.0]), r"shape \(n, 2\)"),
        (lambda: TorusMap(Q, BOX).after(TorusMap(Q, (1.0, 1.0))), "maps of one torus"),
        (lambda: TorusMap(2 * np.stack([np.sin(X), 0 * X]), BOX).inverse(), "one to one"),
        (lambda: TorusMap.from_flow(mf.fields.double_gyre(), (8, 8), 0, 1), "two periodic axes"),
        (lambda: euler_exp(gradient(np.cos(X), BOX), BOX), "free of divergence"),
        (lambda: exp(Q, BOX, steps=0), "positive whole number"),
        (lambda: exp(Q, BOX, tolerance=-1.0), "positive length"),
        (lambda: advection(Q, np.zeros((4, 4)), BOX), "one grid"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
