"""Lagrangian and Eulerian means of observables, against closed forms and one another."""

import math

import numpy as np
import pytest

from meanfluid import (
    TrajectoryError,
    average_velocity,
    eulerian_mean,
    lagrangian_mean,
    trajectories,
)
from meanfluid.fields import rotation, taylor_green
from meanfluid.trajectories import tsit5
from tests.catalogue import CASES
from tests.trajectories.own_fields import (
    energy,
    mean_torque,
    place,
    torque,
    turned,
    unsteady_rotation,
)

TIGHT = {"rtol": 1e-13, "atol": 1e-16}
CELLS, DECAYING = taylor_green(), taylor_green(1.0, 1.0, 0.05)
TURNING = unsteady_rotation()


def test_means_of_cosines_along_a_cellular_orbit_by_both_labels():
    """B4: from (1.2, 1.0) over tau = 5, and the same mean by the point that is reached."""
    expected = (-0.226689574510462444, -0.0192597534836496465)
    initial = lagrangian_mean(CELLS, place, [(1.2, 1.0)], 0.0, 5.0, label="initial", **TIGHT)
    np.testing.assert_allclose(initial[0, 2:], expected, rtol=0, atol=1e-13)
    reached = [(1.111908851930888074, 2.0766030876535733675)]
    final = lagrangian_mean(CELLS, place, reached, 0.0, 5.0, **TIGHT)
    np.testing.assert_allclose(final[0, 2:], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("start, end", [(0.25, 7.0), (7.0, 0.25), (-3.0, 1.0)])
def test_the_labels_say_which_end_of_the_trajectory_is_given(start, end):
    """By the closed form; a window may run backwards, and has the same mean."""
    x = np.random.default_rng(91).uniform(-1, 1, (30, 2))
    exact = mean_torque(TURNING, x, start, end)
    found = lagrangian_mean(TURNING, torque, x, start, end, label="initial")
    np.testing.assert_allclose(found[:, 0], exact, rtol=0, atol=1e-10)
    reached = turned(TURNING, x, start, end)
    for window in ((start, end), (end, start)):
        label = "final" if window == (start, end) else "initial"
        found = lagrangian_mean(TURNING, torque, reached, *window, label=label)
        np.testing.assert_allclose(found[:, 0], exact, rtol=0, atol=1e-10)


@pytest.mark.parametrize("label", ["initial", "final"])
def test_the_lagrangian_mean_of_velocity_is_the_average_velocity(label):
    for name in ("double_gyre", "abc_flow"):
        case = CASES[name]
        x, window = case.position(20, seed=92), (case.start, case.end)
        mean, error = lagrangian_mean(
            case.field, "velocity", x, *window, label=label, return_error=True
        )
        expected = average_velocity(case.field, x, *window, label=label, return_error=True)
        np.testing.assert_array_equal(mean, expected[0])
        np.testing.assert_array_equal(error, expected[1])


def test_the_final_label_is_the_default_as_it_is_of_average_velocity():
    x = [(1.0, 0.5)]
    np.testing.assert_array_equal(
        lagrangian_mean(DECAYING, "velocity", x, 0.3, 2.3),
        lagrangian_mean(DECAYING, "velocity", x, 0.3, 2.3, label="final"),
    )
    expected = (0.29182321242555863448, -0.57066431941068005869)  # A9
    found = lagrangian_mean(DECAYING, "velocity", x, 0.3, 2.3, **TIGHT)
    np.testing.assert_allclose(found, [expected], rtol=0, atol=1e-12)


def test_the_eulerian_mean_of_the_reference_point():
    """A9: the time mean of the velocity at (1, 0.5), which is that of exp(-2 nu t)."""
    found, error = eulerian_mean(
        DECAYING, "velocity", [(1.0, 0.5)], 0.3, 2.3, return_error=True, **TIGHT
    )
    expected = (0.6495198539740935, -0.2278364925329033)
    np.testing.assert_allclose(found, [expected], rtol=0, atol=1e-13)
    assert error.shape == (1,) and 0 < error[0] < 1e-13


@pytest.mark.parametrize("start, end", [(0.25, 7.0), (7.0, 0.25)])
def test_eulerian_means_hold_the_place_and_run_with_time(start, end):
    """The angular velocity of the place averages to (angle turned) / (end - start)."""
    x = np.random.default_rng(93).uniform(-1, 1, (20, 2))
    rate = 1 + 0.5 * (math.cos(start) - math.cos(end)) / (end - start)
    found = eulerian_mean(TURNING, torque, x, start, end)
    np.testing.assert_allclose(found[:, 0], rate * x.prod(axis=1), rtol=0, atol=1e-11)
    np.testing.assert_allclose(found[:, 1], (x * x).sum(axis=1), rtol=1e-14)


def test_in_uniform_motion_the_lagrangian_mean_is_the_eulerian():
    """B5: the velocity is the same everywhere, and so is its mean."""
    case = CASES["inertial_oscillation"]
    mean = lagrangian_mean(case.field, "velocity", case.position(5, seed=94), 0.5, 3.2, **TIGHT)
    expected = [(-0.135701579558193, -0.213744959933389)] * 5
    np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-13)


def test_empty_windows_give_the_observable_itself():
    x = np.random.default_rng(95).uniform(-1, 1, (10, 2))
    for mean in (lagrangian_mean, eulerian_mean):
        found, error = mean(TURNING, torque, x, 2.0, 2.0, return_error=True)
        expected = (1 + 0.5 * math.sin(2.0)) * x.prod(axis=1)
        np.testing.assert_allclose(found[:, 0], expected, rtol=1e-14)
        np.testing.assert_array_equal(found[:, 1], (x * x).sum(axis=1))
        np.testing.assert_array_equal(error, 0)


def test_shapes_of_means_and_their_errors():
    x = [(1.0, 0.5), (0.2, 0.1), (0.0, 0.0)]
    for mean in (lagrangian_mean, eulerian_mean):
        value, error = mean(TURNING, torque, x, 0.0, 1.0, return_error=True)
        assert value.shape == (3, 2) and error.shape == (3,)
        value, error = mean(DECAYING, "velocity", x, 0.0, 1.0, return_error=True)
        assert value.shape == (3, 2) and error.shape == (3,)


def test_windows_may_differ_between_particles():
    rng = np.random.default_rng(96)
    x, start, end = rng.uniform(-1, 1, (40, 2)), rng.uniform(0, 4, 40), rng.uniform(0, 4, 40)
    end[:5] = start[:5]
    found = lagrangian_mean(TURNING, torque, x, start, end, label="initial")
    expected = [
        mean_torque(TURNING, x[i : i + 1], start[i], end[i])[0]
        if i >= 5
        else (1 + 0.5 * math.sin(start[i])) * x[i].prod()
        for i in range(40)
    ]
    np.testing.assert_allclose(found[:, 0], expected, rtol=0, atol=1e-10)


def test_means_are_those_of_trajectories():
    """And take its options; the last label is reached by running the window backwards."""
    x = CASES["rotation"].position(10, seed=97)
    options = {"scheme": tsit5, "rtol": 1e-6, "threads": 1}
    path = trajectories(TURNING, x, 3.0, 0.5, observables=[torque], **options)
    found = lagrangian_mean(TURNING, torque, x, 0.5, 3.0, **options)
    np.testing.assert_array_equal(found, path.means["torque"])


REFUSED = {
    "unknown label": (
        {"label": "middle"}, ValueError,
        'label must be "initial", "final", "mean" or a time in the window, got \'middle\'',
    ),
    "a time outside as label": (
        {"label": 1.5}, ValueError, "label must lie between start 0.0 and end 1.0, got 1.5",
    ),
    "no window": (
        {"window": "hann"}, TypeError, r"window must be a window such as .*hann\(\), got 'hann'",
    ),
    "unknown observable": (
        {"observable": "vorticity"}, ValueError,
        'observable must be a function or "velocity", got \'vorticity\'',
    ),
    "several times": ({"times": [0.5]}, ValueError, "times= belongs to meanfluid.trajectories"),
    "several observables": ({"observables": [energy]}, ValueError, "observables= belongs to mean"),
    "an opposite": ({"carried": True}, ValueError, "carried= belongs to meanfluid.trajectories"),
    "wrong position": ({"position": [1.0, 0.5]}, ValueError, r"shape \(particles, 2\), got \(2,\)"),
    "not a field": ({"field": energy}, TypeError, "field must be a VelocityField, got function"),
    "wrong signature": (
        {"observable": lambda m, p, t, x: x}, ValueError, r"could not be called as <lambda>\(m, p,",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_arguments_that_make_no_sense_are_refused(what):
    changes, error, message = REFUSED[what]
    arguments = {
        "field": rotation(), "observable": energy, "position": [(1.0, 0.5)], "start": 0.0,
        "end": 1.0, **changes,
    }  # fmt: skip
    with pytest.raises(error, match=message):
        lagrangian_mean(**arguments)
    if "label" not in arguments:
        with pytest.raises(error, match=message):
            eulerian_mean(**arguments)


def test_failures_are_marked_or_raised_as_in_trajectories():
    arguments = (TURNING, torque, [(1.0, 0.5), (0.0, 0.0)], 0.0, 50.0)
    with pytest.raises(TrajectoryError, match=r"1 of 2 .*MAX_STEPS.*particle 0 at \[1.0, 0.5\]"):
        lagrangian_mean(*arguments, max_steps=3)
    marked = lagrangian_mean(*arguments, max_steps=3, on_failure="mark")
    np.testing.assert_array_equal(np.isnan(marked), [[True, True], [False, False]])
