"""Conserved tracers and their means: closed forms, a budget, and the theorem of moving windows."""

import math

import numpy as np
import pytest
from scipy.special import j0

from meanfluid.fields import inertial_oscillation, rotation, taylor_green
from meanfluid.means.labels import mean_position
from meanfluid.means.transport import advected, effective_velocity, mean_flow, tracer_mean
from meanfluid.trajectories.flow_map import flow_map

POSITION = np.random.default_rng(12).uniform(0.3, 2.8, (25, 2))
CELLS = taylor_green(viscosity=0.05)
WHIRL = rotation(1.3)
FREQUENCY, SPEED = 1.1, 0.4
SWAY = inertial_oscillation(SPEED, FREQUENCY)  # v = (cos f t, -sin f t) U
PERIOD = 2 * math.pi / FREQUENCY


def waves(x):
    """A tracer that is positive and not symmetric."""
    return 2.0 + np.sin(x[:, 0]) * np.cos(2 * x[:, 1]) + 0.5 * np.cos(x[:, 0])


def turned(x, angle):
    c, s = math.cos(angle), math.sin(angle)
    return x @ np.array([[c, s], [-s, c]])


def test_a_tracer_in_solid_rotation_is_turned():
    found = advected(WHIRL, waves, POSITION, 0.2, 1.7)
    np.testing.assert_allclose(found, waves(turned(POSITION, -1.3 * 1.5)), rtol=0, atol=1e-11)


def test_the_lagrangian_mean_of_a_tracer_is_the_tracer_where_the_label_says():
    angle = 1.3 * 1.5
    inverse = np.linalg.inv(
        np.array([[math.sin(angle), math.cos(angle) - 1], [1 - math.cos(angle), math.sin(angle)]])
        / angle
    )
    places = {
        "initial": POSITION,
        "final": turned(POSITION, -angle),
        "mean": POSITION @ inverse.T,
    }
    for label, place in places.items():
        found, error = tracer_mean(WHIRL, waves, POSITION, 0.2, 1.7, label=label, return_error=True)
        np.testing.assert_allclose(found, waves(place), rtol=0, atol=1e-10, err_msg=label)
        assert (error == 0).all()


def test_an_eulerian_mean_is_smeared_by_an_oscillation():
    """cos k (x - (U/f) sin f t) has the mean J0(k U / f) cos k x over a period."""
    found, error = tracer_mean(
        SWAY, lambda x: np.cos(3 * x[:, 0]), POSITION, 0.0, PERIOD, kind="eulerian",
        return_error=True,
    )  # fmt: skip
    exact = j0(3 * SPEED / FREQUENCY) * np.cos(3 * POSITION[:, 0])
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-11)
    assert error.max() < 1e-8


def test_the_lagrangian_mean_of_the_same_is_not():
    """Over a period the mean position is where the particle started, less nothing in x."""
    found = tracer_mean(SWAY, lambda x: np.cos(3 * x[:, 0]), POSITION, 0.0, PERIOD)
    np.testing.assert_allclose(found, np.cos(3 * POSITION[:, 0]), rtol=0, atol=1e-10)


def test_the_effective_velocity_closes_the_budget_of_the_eulerian_mean():
    """(c(end) - c(start)) / h + div(w <c>) = 0, the divergence by differences of fourth order."""
    start, end, step = 0.3, 1.8, 1e-2

    def flux(position):
        w = effective_velocity(CELLS, waves, position, start, end)
        return w * tracer_mean(CELLS, waves, position, start, end, kind="eulerian")[:, None]

    divergence = 0.0
    for axis in range(2):
        offset = step * np.eye(2)[axis]
        near = flux(POSITION + offset)[:, axis] - flux(POSITION - offset)[:, axis]
        far = flux(POSITION + 2 * offset)[:, axis] - flux(POSITION - 2 * offset)[:, axis]
        divergence = divergence + (8 * near - far) / (12 * step)
    growth = (advected(CELLS, waves, POSITION, start, end) - waves(POSITION)) / (end - start)
    np.testing.assert_allclose(divergence, -growth, rtol=0, atol=2e-6)
    assert np.abs(growth).max() > 0.1


def test_each_tracer_has_an_effective_velocity_of_its_own():
    first = effective_velocity(CELLS, waves, POSITION, 0.3, 1.8)
    other = effective_velocity(CELLS, lambda x: 2.0 + np.cos(x[:, 1]), POSITION, 0.3, 1.8)
    assert np.abs(first - other).max() > 5e-3  # errors are below 1e-9


def moved_by(flow, place, at, until):
    return flow_map(flow, place, at, until, rtol=1e-9)


@pytest.fixture(scope="module")
def mean_places():
    """Mean positions over windows of length 1 that end at 1.0 and at 1.6, of the same particles."""
    origin = POSITION[:8]
    later = flow_map(CELLS, origin, 0.0, 0.6)
    return (
        mean_position(CELLS, origin, 0.0, 1.0, label="initial"),
        mean_position(CELLS, later, 0.6, 1.6, label="initial"),
    )


def test_mean_positions_are_trajectories_of_the_lagrangian_mean_flow(mean_places):
    before, after = mean_places
    errors = []
    for nodes in (16, 32):
        x = np.arange(nodes) * 2 * np.pi / nodes
        flow = mean_flow(
            CELLS, [x, x], np.linspace(0.9, 1.7, 7), 1.0, boundary="periodic", rtol=1e-9
        )
        errors.append(np.abs(moved_by(flow, before, 1.0, 1.6) - after).max())
    assert errors[1] < 1e-5
    assert errors[0] / errors[1] > 2**4.5  # quintic splines: order 6, not wholly resolved


def test_the_eulerian_mean_flow_misplaces_them(mean_places):
    before, after = mean_places
    x = np.arange(32) * 2 * np.pi / 32
    flow = mean_flow(
        CELLS, [x, x], np.linspace(0.9, 1.7, 7), 1.0, kind="eulerian", boundary="periodic"
    )
    assert np.abs(moved_by(flow, before, 1.0, 1.6) - after).max() > 3e-3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tracer_mean(CELLS, waves, POSITION, 0, 1, kind="mean"), "kind must be"),
        (lambda: tracer_mean(CELLS, waves, POSITION, 0, 1, kind="eulerian", nodes=5), "nodes must"),
        (lambda: tracer_mean(CELLS, waves, POSITION, 1, 1, kind="eulerian"), "needs a window"),
        (lambda: advected(CELLS, lambda x: x, POSITION, 0, 1), "one number per position"),
        (lambda: mean_flow(CELLS, [[0, 1]] * 2, None, -1.0), "duration must be positive"),
        (lambda: mean_flow(CELLS, [[0, 1]] * 2, None, 1.0, kind="glm"), "kind must be"),
        (
            lambda: effective_velocity(CELLS, lambda x: 0 * x[:, 0], POSITION, 0, 1),
            "mean of the tracer is zero at position 0",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
