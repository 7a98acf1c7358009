"""Averages keep their relative precision as the window closes, and have their limit at it."""

import math

import numpy as np
import pytest

from meanfluid import average_velocity, trajectories
from meanfluid.fields import double_gyre, moving_vortex, rotation, taylor_green
from tests.catalogue import CASES
from tests.trajectories.own_fields import (
    displaced,
    material_derivatives,
    mean_torque,
    torque,
    turned_angle,
    unsteady_rotation,
)

EPS = np.finfo(float).eps
DECAYING = taylor_green(1.5, 2.0, 0.03)
DECAYING_POSITION = CASES["taylor_green_decaying"].position(40, seed=43)
DECAYING_TERMS = material_derivatives(DECAYING, 4)
FAR_TERMS = material_derivatives(taylor_green(), 3)
WINDOWS = [sign * 10.0**-k for k in range(3, 13) for sign in (1, -1)]


def relative(found, exact) -> float:
    """Largest error of a vector relative to its length."""
    return float((np.linalg.norm(found - exact, axis=1) / np.linalg.norm(exact, axis=1)).max())


@pytest.mark.parametrize("duration", [*WINDOWS, 1e-15, 3e-16, 1e-30, -1e-100])
def test_average_velocity_of_an_unsteady_rotation_has_no_cancellation(duration):
    """Against the closed form 2 sin(a/2) R(a/2) J x / h, from time 0 where h may be tiny."""
    field, x = unsteady_rotation(), np.random.default_rng(41).uniform(-1, 1, (50, 2))
    found = average_velocity(field, x, 0.0, duration, label="initial")
    error = relative(found, displaced(field, x, 0.0, duration) / duration)
    assert error < 1e-13, error


@pytest.mark.parametrize("duration", WINDOWS)
def test_mean_of_an_observable_has_no_cancellation(duration):
    field, x = unsteady_rotation(), np.random.default_rng(42).uniform(0.2, 1, (50, 2))
    start = 0.75
    end = start + duration
    found = trajectories(field, x, start, end, observables=[torque]).means["torque"]
    np.testing.assert_allclose(found[:, 0], mean_torque(field, x, start, end), rtol=1e-13)
    np.testing.assert_allclose(found[:, 1], (x * x).sum(axis=1), rtol=1e-13)


@pytest.mark.parametrize("label, sign", [("initial", 1), ("final", -1)])
@pytest.mark.parametrize("duration", WINDOWS)
def test_average_velocity_in_decaying_cells_follows_its_series(duration, label, sign):
    """A5 with five terms of exact derivatives: what is left out is below h^5 D^5 v / 720."""
    x, anchor = DECAYING_POSITION, 0.75
    free = anchor + sign * duration
    h = sign * (free - anchor)  # the window that the rounded times have
    start, end = (anchor, free) if label == "initial" else (free, anchor)
    found = average_velocity(DECAYING, x, start, end, label=label)
    series = sum(
        (sign * h) ** k / math.factorial(k + 1) * term(anchor, x)
        for k, term in enumerate(DECAYING_TERMS)
    )
    error = relative(found, series)
    assert error < 1e-13, error


@pytest.mark.parametrize("name", ["double_gyre", "bickley_jet", "abc_flow", "deep_water_wave"])
@pytest.mark.parametrize("sign", [1, -1])
def test_three_terms_are_enough_below_the_window_of_rounding(name, sign):
    """I6: below h = (6 eps |x| / |j|)^(1/3) the series v + h a/2 + h^2 j/6 is exact to rounding.

    There, a difference of positions would have lost eps |x| / h, at least 1e-11 here.
    """
    case = CASES[name]
    x, t = case.position(30, seed=44), case.start
    v, a, j = (term(t, x) for term in material_derivatives(case.field, 2))
    size, jerk = np.linalg.norm(x, axis=1).min(), np.linalg.norm(j, axis=1).max()
    longest = (6 * EPS * size / jerk) ** (1 / 3)
    for h in longest * np.array([1, 1e-1, 1e-3, 1e-6]):
        h = sign * (t + h - t)
        found = average_velocity(case.field, x, t, t + h, label="initial")
        error = relative(found, v + h / 2 * a + h * h / 6 * j)
        # In the velocity itself, rounding of x or t counts with its gradient.
        rounding = 4 * EPS * (1 + sensitivity(case.field, t, x))
        assert error < 1e-13 + rounding, (h, error)


def sensitivity(field, t, x) -> float:
    """Condition number |grad v| |x| / |v| of the velocity, the largest over particles."""
    h = 1e-6
    size = np.linalg.norm(field.velocity(t, x), axis=1)
    changes = [
        np.linalg.norm(field.velocity(t, x + h * e) - field.velocity(t, x - h * e), axis=1)
        for e in np.eye(field.dimension)
    ]
    return float((np.sum(changes, axis=0) / (2 * h) * np.linalg.norm(x, axis=1) / size).max())


@pytest.mark.parametrize("duration", WINDOWS)
def test_far_from_the_origin_what_is_lost_does_not_depend_on_the_window(duration):
    """At |x| = 1400 the velocity is known to eps |x| |grad v| = 3e-13, whatever the window;
    a difference of positions is off by eps |x| / h, which is 0.3 for h = 1e-12.
    """
    field, start = taylor_green(), 0.75
    near = CASES["taylor_green"].position(40, seed=45)
    far = near + 2 * math.pi * np.array([160, -160])
    h = start + duration - start
    v, a, j, s = (term(start, far) for term in FAR_TERMS)
    exact = v + h / 2 * a + h * h / 6 * j + h**3 / 24 * s
    found = trajectories(field, far, start, start + duration)
    bound = 2 * EPS * np.linalg.norm(far, axis=1)  # the gradient is at most 1
    error = np.linalg.norm(found.average_velocity - exact, axis=1)
    assert (error <= bound).all(), (error / bound).max()
    assert (error <= 10 * found.average_velocity_error).mean() >= 0.95
    if abs(duration) <= 1e-6:
        differenced = np.linalg.norm((found.position - far) / h - exact, axis=1)
        assert differenced.max() > 100 * bound.max()


@pytest.mark.parametrize("duration", [1e-3, 1e-6, 1e-9])
def test_late_and_far_the_mean_is_that_in_the_moving_frame(duration):
    """A4 at t = 4096, where the vortex is at x = 1024: rounding of x and t counts, not of x / h."""
    field = moving_vortex(2 * math.pi, 0.5, 0.25, 0.125)
    x, start, c = np.random.default_rng(46).uniform(-1, 1, (40, 2)), 4096.0, np.array([0.25, 0.125])
    end = start + duration
    place = x + c * start
    still = field.with_parameters(velocity_x=0.0, velocity_y=0.0)
    expected = average_velocity(still, place - c * start, 0.0, end - start, label="initial") + c
    found = average_velocity(field, place, start, end, label="initial")
    # Omega is at most 4, and so is r dOmega/dr; t is rounded to eps t / 2, and moves c
    bound = 8 * EPS * 1024 * 1.2
    assert abs(found - expected).max() < bound, abs(found - expected).max() / bound


def test_a_window_of_one_unit_in_the_last_place():
    field, x = unsteady_rotation(), [[1.0, 0.0]]
    for start in (1.0, 1000.0, -3.0):
        end = np.nextafter(start, math.inf)
        found = average_velocity(field, x, start, end)
        np.testing.assert_allclose(found, field.velocity(start, x), rtol=1e-13, atol=1e-12)


def test_an_empty_window_gives_the_velocity_and_the_observable():
    """Exactly: this velocity and square radius need no elementary function."""
    field, x = rotation(1.3), np.random.default_rng(47).uniform(-1, 1, (70, 2))
    for label in ("initial", "final", 0.7):
        found, error = average_velocity(field, x, 0.7, 0.7, label=label, return_error=True)
        np.testing.assert_array_equal(found, field.velocity(0.7, x))
        np.testing.assert_array_equal(error, 0)
    path = trajectories(unsteady_rotation(), x, 0.7, 0.7, observables=[torque])
    np.testing.assert_array_equal(path.means["torque"][:, 1], (x * x).sum(axis=1))
    np.testing.assert_array_equal(path.position, x)
    np.testing.assert_array_equal(path.displacement, 0)
    for errors in (path.error, path.average_velocity_error, path.mean_errors["torque"]):
        np.testing.assert_array_equal(errors, 0)
    assert not path.status.any() and not path.steps.any()


@pytest.mark.parametrize("name", CASES)
def test_an_empty_window_gives_the_velocity_of_every_field(name):
    case = CASES[name]
    x, t = case.position(20, seed=48), (case.start + case.end) / 2
    found, expected = average_velocity(case.field, x, t, t), case.field.velocity(t, x)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * abs(expected).max())


@pytest.mark.parametrize("label", ["initial", "final"])
def test_empty_windows_among_others_do_not_disturb_them(label):
    field, rng = double_gyre(), np.random.default_rng(49)
    x, start, end = rng.uniform(0, 1, (150, 2)), rng.uniform(0, 5, 150), rng.uniform(0, 5, 150)
    empty = rng.random(150) < 0.4
    end[empty] = start[empty]
    found = average_velocity(field, x, start, end, label=label)
    alone = average_velocity(field, x[~empty], start[~empty], end[~empty], label=label)
    np.testing.assert_array_equal(found[~empty], alone)
    expected = field.velocity(start[empty], x[empty])
    np.testing.assert_allclose(found[empty], expected, rtol=0, atol=1e-15)


def test_the_estimate_of_the_error_stays_relative_too():
    field, x, start = unsteady_rotation(), [[1.0, 0.3]], 0.75
    for duration in (1e-3, 1e-6, 1e-9, 1e-12):
        path = trajectories(field, x, start, start + duration)
        speed = np.linalg.norm(path.average_velocity)
        assert 0 < path.average_velocity_error[0] < 1e-13 * speed


def test_the_closed_forms_of_these_tests_agree_with_mpmath():
    mpmath = pytest.importorskip("mpmath")
    p, start, end = unsteady_rotation(1.3, 0.4, 2.0).parameters, 0.75, 0.7501
    with mpmath.workdps(40):
        exact = mpmath.quad(lambda t: p.rate + p.sway * mpmath.sin(p.beat * t), [start, end])
        angle = [exact + mpmath.atan2(0.3, 1), mpmath.hypot(1, 0.3)]
        shift = float(angle[1] * mpmath.cos(angle[0]) - 1)
    assert turned_angle(p, start, end) == pytest.approx(float(exact), rel=1e-15)
    moved = displaced(unsteady_rotation(1.3, 0.4, 2.0), [[1.0, 0.3]], start, end)
    assert moved[0, 0] == pytest.approx(shift, rel=1e-14)
