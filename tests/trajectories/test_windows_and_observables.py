"""Several windows at once, windows of their own, and means of observables along the way."""

import math

import numpy as np
import pytest

from meanfluid import trajectories
from meanfluid.fields import (
    double_gyre,
    gaussian_vortex,
    gerstner_wave,
    kinematic_simulation,
    rotation,
    taylor_green,
    von_karman_pao,
)
from tests.catalogue import CASES
from tests.trajectories.own_fields import (
    ON_ROTATION,
    mean_torque,
    place,
    torque,
    turned,
    unsteady_rotation,
    wide,
)

GYRE, DECAYING = double_gyre(), taylor_green(1.0, 1.0, 0.05)


@pytest.mark.parametrize("name", ["double_gyre", "abc_flow", "kinematic_simulation_2d"])
@pytest.mark.parametrize("backwards", [False, True])
def test_many_windows_in_one_run_are_those_of_separate_runs(name, backwards):
    """Steps differ, since they end at the times, so the results do within their tolerance."""
    case = CASES[name]
    x, start, end = case.position(30, seed=51), case.start, case.end
    if backwards:
        start, end = end, start
    times = start + (end - start) * np.array([0.01, 0.3, 0.31, 0.8])
    path = trajectories(case.field, x, start, end, times=times)
    assert path.position.shape == (30, 4, case.field.dimension)
    assert path.error.shape == path.average_velocity_error.shape == (30, 4)
    np.testing.assert_array_equal(path.times, times)
    for k, time in enumerate(times):
        alone = trajectories(case.field, x, start, time)
        gap = np.linalg.norm(path.position[:, k] - alone.position, axis=1)
        # each is off by its own error, which the estimates give within a factor of ten
        assert (gap <= 10 * (path.error[:, k] + alone.error) + 1e-14).all()
        assert np.median(gap) < 1e-9
        np.testing.assert_array_equal(
            path.average_velocity[:, k], path.displacement[:, k] / (time - start)
        )


def test_the_ends_of_windows_are_hit_exactly():
    """The integral of a constant over awkward times is the constant times the duration."""
    times = [0.1, 1 / 3, 0.7, 0.7 + 1e-13, 1.1, math.e]
    path = trajectories(rotation(0.0), [(1.0, 2.0)], 0.0, 3.0, times=times, observables=ON_ROTATION)
    np.testing.assert_array_equal(path.position[0], [(1.0, 2.0)] * 6)
    np.testing.assert_allclose(path.means["three"][0], 3, rtol=4e-16)


@pytest.mark.parametrize("steps", [None, 6])
def test_times_may_include_the_start_and_the_end(steps):
    field, x = unsteady_rotation(), np.array([[1.0, 0.5], [0.2, -0.3]])
    path = trajectories(
        field, x, 0.5, 2.0, times=[0.5, 1.0, 2.0], observables=[torque], steps=steps
    )
    np.testing.assert_array_equal(path.position[:, 0], x)
    np.testing.assert_array_equal(path.error[:, 0], 0)
    np.testing.assert_allclose(path.average_velocity[:, 0], field.velocity(0.5, x), rtol=1e-15)
    expected = (1 + 0.5 * math.sin(0.5)) * x[:, 0] * x[:, 1]
    np.testing.assert_allclose(path.means["torque"][:, 0, 0], expected, rtol=1e-15)
    tolerance = 1e-10 if steps is None else 1e-7
    for k, time in ((1, 1.0), (2, 2.0)):
        exact = turned(field, x, 0.5, time)
        np.testing.assert_allclose(path.position[:, k], exact, rtol=0, atol=tolerance)


def test_a_single_time_is_one_window_with_an_axis_of_its_own():
    path = trajectories(GYRE, [(0.5, 0.5), (1.0, 0.2)], 0.0, 5.0, times=[5.0])
    alone = trajectories(GYRE, [(0.5, 0.5), (1.0, 0.2)], 0.0, 5.0)
    assert path.position.shape == (2, 1, 2)
    np.testing.assert_array_equal(path.position[:, 0], alone.position)


def test_fixed_steps_are_those_of_the_whole_window_shared_out():
    """Eight steps over the window: in a window with few of them they are at least a pair."""
    x = CASES["double_gyre"].position(20, seed=52)
    whole = trajectories(GYRE, x, 0.0, 8.0, steps=8)
    parts = trajectories(GYRE, x, 0.0, 8.0, steps=8, times=[2.0, 4.0, 8.0])
    assert (whole.steps == (4, 0)).all() and (parts.steps == (4, 0)).all()
    np.testing.assert_array_equal(parts.position[:, -1], whole.position)
    odd = trajectories(GYRE, x, 0.0, 8.0, steps=7)
    np.testing.assert_array_equal(odd.position, whole.position)
    awkward = trajectories(GYRE, x, 0.0, 8.0, steps=8, times=[0.5, 8.0])
    assert (awkward.steps == (5, 0)).all()


def test_means_of_cosines_along_a_cellular_orbit():
    """B4: cos x and cos y over tau = 5 from (1.2, 1.0)."""
    path = trajectories(
        taylor_green(), [(1.2, 1.0)], 0.0, 5.0, observables=[place], rtol=1e-13, atol=1e-16
    )
    expected = (-0.226689574510462444, -0.0192597534836496465)
    np.testing.assert_allclose(path.means["place"][0, 2:], expected, rtol=0, atol=1e-13)


def test_observables_on_solid_rotation():
    """Kinetic energy is kept, x y has the mean of sin(2 a)/2, and time that of its ends."""
    x, start, end = CASES["rotation"].position(30, seed=53), 0.5, 4.0
    path = trajectories(rotation(1.3), x, start, end, observables=ON_ROTATION)
    radius, angle = np.hypot(*x.T), np.arctan2(*x.T[::-1])
    turn = 1.3 * (end - start)
    xy, difference = (
        radius**2 / 2 * f(2 * angle + turn) * math.sin(turn) / turn for f in (np.sin, np.cos)
    )
    half, middle = radius**2 / 2, (start + end) / 2
    expected = {
        "energy": half * 1.3**2,
        "three": np.full(30, 3.0),
        "moments": np.stack([half + difference, 1.3 * xy + middle, half - difference], axis=-1),
    }
    assert list(path.means) == list(path.mean_errors) == list(expected)
    for name, exact in expected.items():
        assert path.means[name].shape == exact.shape and path.mean_errors[name].shape == (30,)
        error = np.linalg.norm(np.reshape(path.means[name] - exact, (30, -1)), axis=1)
        assert error.max() < 1e-10, name
        assert (error <= 10 * path.mean_errors[name] + 2e-14).all(), name


def test_observables_follow_the_parameters_of_the_field():
    for rate in (0.5, 2.0):
        path = trajectories(rotation(rate), [(0.3, 0.2)], 0.0, 1.0, observables=ON_ROTATION)
        assert path.means["energy"][0] == pytest.approx(0.13 * rate**2 / 2, rel=1e-10)


def test_observables_take_the_names_of_a_mapping():
    named = dict(zip("abc", ON_ROTATION, strict=True))
    path = trajectories(rotation(1.3), [(0.3, 0.2)], 0.0, 1.0, observables=named)
    assert list(path.means) == list(path.mean_errors) == ["a", "b", "c"]
    assert path.means["a"][0] == pytest.approx(0.13 * 1.3**2 / 2, rel=1e-10)
    assert path.means["b"][0] == pytest.approx(3, rel=1e-15)


def test_with_times_means_have_an_axis_of_times_before_that_of_a_tuple():
    path = trajectories(
        rotation(1.3), [(0.3, 0.2)], 0.0, 1.0, observables=ON_ROTATION, times=[0.5, 1.0]
    )
    assert path.means["moments"].shape == (1, 2, 3)
    assert path.mean_errors["moments"].shape == (1, 2)
    assert path.means["three"].shape == path.mean_errors["three"].shape == (1, 2)
    turn = 1.3 * np.array([0.5, 1.0])
    cosine = (0.05 * np.sin(turn) * np.cos(turn) - 0.12 * np.sin(turn) ** 2) / (2 * turn)
    np.testing.assert_allclose(path.means["moments"][0, :, 0], 0.065 + cosine, rtol=0, atol=1e-11)


@pytest.mark.parametrize("end", [6.5, -5.0])
def test_observables_of_an_unsteady_field_forwards_and_backwards(end):
    field, x = unsteady_rotation(), np.random.default_rng(54).uniform(-1, 1, (50, 2))
    path = trajectories(field, x, 0.5, end, observables=[torque])
    exact = mean_torque(field, x, 0.5, end)
    np.testing.assert_allclose(path.means["torque"][:, 0], exact, rtol=0, atol=1e-10)
    np.testing.assert_allclose(path.means["torque"][:, 1], (x * x).sum(1), rtol=1e-10)
    error = np.linalg.norm(path.means["torque"] - np.stack([exact, (x * x).sum(1)], 1), axis=1)
    assert np.mean(error <= 10 * path.mean_errors["torque"] + 1e-14) > 0.95


@pytest.mark.parametrize("times", [None, [0.3, 1.0, 2.3]])
def test_eulerian_means_of_velocity_stay_where_they_are(times):
    """The mean of exp(-2 nu t) times the velocity at time 0; A9 gives it at (1, 0.5)."""
    x, start, end = [(1.0, 0.5), (2.0, -3.0)], 0.3, 2.3
    path = trajectories(DECAYING, x, start, end, carried=False, times=times)
    velocity, whole = DECAYING.velocity(0.0, x), path.average_velocity
    if times is not None:
        first, second, whole = np.moveaxis(path.average_velocity, 1, 0)
        np.testing.assert_allclose(first, math.exp(-0.03) * velocity, rtol=1e-14)
        decay = (math.exp(-0.03) - math.exp(-0.1)) / (0.1 * 0.7)
        np.testing.assert_allclose(second, decay * velocity, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        whole[0], (0.6495198539740935, -0.2278364925329033), rtol=0, atol=1e-12
    )
    decay = (math.exp(-0.1 * start) - math.exp(-0.1 * end)) / (0.1 * (end - start))
    np.testing.assert_allclose(whole, decay * velocity, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(path.displacement, 0)
    assert (path.average_velocity_error < 1e-12).all()


@pytest.mark.parametrize("end", [7.0, -2.5])
def test_eulerian_means_of_observables_beside_that_of_velocity(end):
    """Of the pulsating rotation both follow the mean of its angular velocity."""
    field, x, start = unsteady_rotation(), CASES["rotation"].position(20, seed=60), 0.25
    path = trajectories(field, x, start, end, carried=False, observables=[torque])
    rate = 1 + 0.5 * (math.cos(start) - math.cos(end)) / (end - start)
    turned_x = np.stack([-x[:, 1], x[:, 0]], axis=-1)
    np.testing.assert_allclose(path.average_velocity, rate * turned_x, rtol=0, atol=1e-11)
    means, errors = path.means["torque"], path.mean_errors["torque"]
    exact = np.stack([rate * x.prod(axis=1), (x * x).sum(axis=1)], axis=-1)
    np.testing.assert_allclose(means, exact, rtol=0, atol=1e-11)
    assert (np.linalg.norm(means - exact, axis=1) <= 10 * errors + 1e-14).all()
    np.testing.assert_array_equal(path.position, x)


@pytest.mark.slow
def test_eulerian_means_over_a_period_of_gerstner_s_wave():
    """B8b: -0.17479753094157 at z = -1.5, at every x; nothing across."""
    period = 2 * math.pi / math.sqrt(9.81)
    path = trajectories(gerstner_wave(), [(0, -1.5), (2.5, -1.5)], 0, period, carried=False)
    expected = [(-0.17479753094157, 0)] * 2
    np.testing.assert_allclose(path.average_velocity, expected, rtol=0, atol=1e-11)


MODAL = CASES["kinematic_simulation_2d"]


def test_observables_on_modal_fields_are_counted_once():
    """Not once per mode: the mean of x^2 over a short window is x^2, whatever the modes."""
    x = MODAL.position(70, seed=55)
    path = trajectories(MODAL.field, x, 0.0, 1e-9, observables=[wide])
    np.testing.assert_allclose(path.means["wide"][:, 0], x[:, 0] ** 2, rtol=1e-7)
    np.testing.assert_allclose(path.means["wide"][:, 1], np.cos(x[:, 1]), rtol=0, atol=1e-7)


@pytest.mark.reference
def test_means_on_modal_fields_agree_with_taylor_series():
    pytest.importorskip("heyoka")
    from meanfluid.backends.reference import reference_flow_map

    x = MODAL.position(10, seed=56)
    path = trajectories(MODAL.field, x, 0.0, 3.0, observables=[wide], rtol=1e-13, atol=1e-16)
    final, integrals = reference_flow_map(MODAL.field, x, 0.0, 3.0, observables=[wide])
    np.testing.assert_allclose(path.position, final, rtol=0, atol=1e-8)
    np.testing.assert_allclose(path.means["wide"], integrals / 3.0, rtol=0, atol=1e-8)


def test_observables_that_use_the_parameters_of_a_modal_field_are_told_that_there_are_none():
    modal = kinematic_simulation(
        von_karman_pao(1.0, k_energy=1.5, k_eta=15.0, dimension=2), modes=3, seed=1
    )

    def frequency(m, p, t, x, y):
        return p.frequency * x

    message = r"frequency could not be called as frequency\(m, p, t, x, y\); p is None on a modal"
    with pytest.raises(ValueError, match=message):
        trajectories(modal, [(0.0, 0.0)], 0.0, 1.0, observables=[frequency])


def test_every_particle_may_have_its_own_window():
    field, rng = gaussian_vortex(), np.random.default_rng(57)
    x, start, end = rng.uniform(-1, 1, (90, 2)), rng.uniform(-2, 2, 90), rng.uniform(-2, 2, 90)
    exact = field.exact_flow_map(field.parameters, x, start, end)
    path = trajectories(field, x, start, end)
    error = np.linalg.norm(path.position - exact, axis=1)
    assert (error <= 10 * path.error + 1e-14).all() and np.median(error) < 1e-10
    mean = path.displacement / (end - start)[:, None]
    np.testing.assert_allclose(path.average_velocity, mean, rtol=1e-15)
    np.testing.assert_array_equal(path.start, start)
    np.testing.assert_array_equal(path.times, end)
    for one in (3, 77):
        alone = trajectories(field, x[one : one + 1], start[one], end[one])
        np.testing.assert_array_equal(path.position[one], alone.position[0])
        np.testing.assert_array_equal(path.error[one], alone.error[0])


def test_one_of_start_and_end_may_be_common():
    field, x = gaussian_vortex(), np.random.default_rng(58).uniform(-1, 1, (20, 2))
    ends = np.linspace(-1, 3, 20)
    there = trajectories(field, x, 0.5, ends).position
    exact = field.exact_flow_map(field.parameters, x, np.full(20, 0.5), ends)
    np.testing.assert_allclose(there, exact, rtol=0, atol=1e-7)
    back = trajectories(field, there, ends, 0.5).position
    np.testing.assert_allclose(back, x, rtol=0, atol=1e-7)
