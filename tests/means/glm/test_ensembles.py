"""Ensembles from common labels: closed forms, transport of density, errors, what is refused."""

import math

import numpy as np
import pytest

from meanfluid import Status, TrajectoryError, trajectories
from meanfluid.means import glm
from tests.means.glm.own_waves import cells, own, power, steep, swung_shear
from tests.trajectories.own_fields import TIGHT, differences

RATE = 0.7
TURNED = [own(rotation=RATE), own(rotation=-RATE)]
OF_POINTS = ("mean_velocity", "pseudomomentum", "density", "divergence")
POSITION = np.random.default_rng(7).uniform(-1, 1, (6, 2))


def shifted(phase):
    return cells(0.3, shear=0.5, shift=phase)


def test_opposite_rotations_diverge_in_the_mean():
    """R(+-theta) with theta = 0.3 and rate 0.7: xi = +-tan(theta) J x, density 1/cos(theta)^2."""
    found = glm.ensemble_mean(TURNED, POSITION, 0.0, 0.3 / RATE)
    t = math.tan(0.3)
    turned = np.stack([-POSITION[:, 1], POSITION[:, 0]], axis=1)
    np.testing.assert_allclose(found.initial_position, POSITION / math.cos(0.3), atol=1e-12)
    np.testing.assert_allclose(found.displacement, [t * turned, -t * turned], rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.density, 1 + t * t, rtol=1e-12)
    np.testing.assert_allclose(found.density_spread, 0.0, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.divergence, -0.433070749453473, rtol=1e-12)
    np.testing.assert_allclose(found.mean_velocity, -RATE * t * POSITION, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.eulerian_velocity, 0.0, rtol=0, atol=1e-15)
    assert (abs(found.divergence + 0.433070749453473) <= 10 * found.errors["divergence"]).all()


def test_pseudomomentum_of_opposite_rotations_is_their_closed_form():
    """grad xi = +-t J, u^l = +-rate J x, f x xi = -+f t x; so p = -rate t x - f t^2 J x / 2."""
    t = math.tan(0.3)
    turned = np.stack([-POSITION[:, 1], POSITION[:, 0]], axis=1)
    for f in (None, 1.3):
        found = glm.ensemble_mean(TURNED, POSITION, 0.0, 0.3 / RATE, rotation=f)
        expected = -t * RATE * POSITION - (f or 0.0) / 2 * t * t * turned
        np.testing.assert_allclose(found.pseudomomentum, expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(found.momentum, found.mean_velocity - expected, atol=1e-12)


def test_labels_initial_and_mean_name_the_same_particles():
    one = glm.ensemble_mean(shifted, POSITION, 0.0, 1.5, label="initial", phases=8)
    two = glm.ensemble_mean(shifted, one.position, 0.0, 1.5, label="mean", phases=8)
    np.testing.assert_allclose(two.initial_position, POSITION, rtol=0, atol=1e-10)
    np.testing.assert_allclose(two.displacement, one.displacement, rtol=0, atol=1e-10)
    np.testing.assert_allclose(two.pseudomomentum, one.pseudomomentum, rtol=0, atol=1e-9)


def test_phases_are_those_of_later_starts():
    """In a field of one period, starting later is another phase: of the wave, times -omega."""
    wave = cells(0.3, shear=0.5)
    one = glm.ensemble_mean(shifted, POSITION, 0.0, 1.5, phases=8)
    two = glm.ensemble_mean(wave, POSITION, 0.0, 1.5, phases=8, period=2 * math.pi)
    back = -np.arange(8) % 8
    np.testing.assert_allclose(two.displacement, one.displacement[back], rtol=0, atol=1e-11)
    for name in ("mean_velocity", "stokes_drift", "pseudomomentum", "density", "divergence"):
        np.testing.assert_allclose(getattr(two, name), getattr(one, name), rtol=0, atol=1e-10)


def test_mean_positions_move_with_the_mean_velocity_and_carry_the_density():
    """d x/dt = u, d log density/dt = -div u along mean paths, det grad xi the same in all."""
    at = {"label": "initial", "phases": 8}

    def followed(end):
        found = glm.ensemble_mean(shifted, POSITION, 0.0, end, **at)
        return np.concatenate([found.position.T, [np.log(found.density)]])

    here = glm.ensemble_mean(shifted, POSITION, 0.0, 2.0, **at)
    rates = differences(followed, 2.0, 2e-3)
    np.testing.assert_allclose(rates[:2].T, here.mean_velocity, rtol=0, atol=1e-8)
    np.testing.assert_allclose(rates[2], -here.divergence, rtol=0, atol=1e-8)
    assert abs(here.divergence).max() > 0.01
    assert (here.density_spread <= 10 * here.errors["density"]).all()


def test_gradients_are_those_of_the_fields_at_mean_positions():
    """By finite differences in the mean position, of displacement and of mean velocity."""
    centre = POSITION[:1]
    steps = 1e-3 * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    found = glm.ensemble_mean(shifted, centre + steps, 0.0, 1.5, phases=8)
    for j, (up, down) in enumerate(((1, 2), (3, 4))):
        slope = (found.displacement[:, up] - found.displacement[:, down]) / 2e-3
        np.testing.assert_allclose(slope, found.displacement_gradient[:, 0, :, j], atol=2e-6)
        slope = (found.mean_velocity[up] - found.mean_velocity[down]) / 2e-3
        np.testing.assert_allclose(slope, found.mean_velocity_gradient[0, :, j], atol=2e-6)


def test_errors_bound_what_is_wrong():
    """Against tight tolerances and four times as many phases."""
    wanted = {"observables": {"steep": steep, "power": power}, "rotation": 0.5}
    found = glm.ensemble_mean(shifted, POSITION, 0.0, 3.0, phases=8, rtol=1e-7, **wanted)
    exact = glm.ensemble_mean(shifted, POSITION, 0.0, 3.0, phases=32, **TIGHT, **wanted)
    for name, error in found.errors.items():
        if not name.startswith(("displacement", "position")):
            away = getattr(found, name) - getattr(exact, name)
            away = np.sqrt((away**2).reshape(6, -1).sum(axis=1))
            assert (away <= 10 * error).all(), name
    away = np.sqrt(((found.displacement - exact.displacement[::4]) ** 2).sum(axis=-1)).max(axis=0)
    assert (away <= 10 * found.errors["displacement"]).all()
    groups = (("means", "mean_errors"), ("eulerian_means", "eulerian_errors"),
              ("stokes_corrections", "stokes_errors"))  # fmt: skip
    for group, errors in groups:
        for name in ("steep", "power"):
            away = getattr(found, group)[name] - getattr(exact, group)[name]
            away = np.sqrt((away**2).reshape(6, -1).sum(axis=1))
            assert (away <= 10 * getattr(found, errors)[name]).all(), name


def test_errors_of_integration_are_near_what_they_estimate():
    """For a list of members there is no error of quadrature."""
    members = [shifted(0.3), shifted(2.0), cells(0.2)]
    found = glm.ensemble_mean(members, POSITION, 0.0, 3.0, rtol=1e-6)
    exact = glm.ensemble_mean(members, POSITION, 0.0, 3.0, **TIGHT)
    for name in ("displacement", "displacement_gradient", *OF_POINTS):
        away = (getattr(found, name) - getattr(exact, name)) ** 2
        if name in OF_POINTS:
            size = np.sqrt(away.reshape(6, -1).sum(axis=1))
        else:
            size = np.sqrt(away.reshape(3, 6, -1).sum(axis=2)).max(axis=0)
        error = found.errors[name]
        assert (size <= 10 * error).all() and (error < 1e-3).all(), name


def test_observables_meet_what_the_particles_meet():
    end, a = 1.5, POSITION
    found = glm.ensemble_mean(
        TURNED, a, 0.0, end, label="initial", observables={"steep": steep, "power": power}
    )
    total = 0.0
    for field in TURNED:
        there = trajectories(field, a, 0.0, end, gradient=True).position
        rate = field.parameters.rotation
        total = total + np.stack([-(rate**2) * there[:, 0] * there[:, 1], -rate * there[:, 0]], 1)
    np.testing.assert_allclose(found.means["power"], total / 2, rtol=0, atol=1e-11)
    mean = found.position
    np.testing.assert_allclose(
        found.eulerian_means["power"][:, 0], -(RATE**2) * mean[:, 0] * mean[:, 1], atol=1e-14
    )
    np.testing.assert_allclose(found.eulerian_means["steep"], np.cos(2 * mean[:, 1]), rtol=1e-14)


def test_no_time_is_no_displacement():
    found = glm.ensemble_mean(TURNED, POSITION, 1.0, 1.0)
    np.testing.assert_array_equal(found.displacement, 0.0)
    np.testing.assert_array_equal(found.stokes_drift, 0.0)
    np.testing.assert_array_equal(found.density, 1.0)


def test_where_means_fold_there_is_no_mean_position():
    """Opposite quarter turns bring every particle to a mean position at the origin."""
    quarter = math.pi / 2 / RATE
    for label in ("mean", "initial"):
        with pytest.raises(TrajectoryError, match="6 x NOT_INVERTIBLE"):
            glm.ensemble_mean(TURNED, POSITION, 0.0, quarter, label=label)
        found = glm.ensemble_mean(TURNED, POSITION, 0.0, quarter, label=label, on_failure="mark")
        assert (found.status == Status.NOT_INVERTIBLE).all()
        assert found.displacement.shape == (2, 6, 2) and np.isnan(found.displacement).all()
        assert np.isnan(found.errors["density"]).all()
    ends = np.array([quarter, 0.3, 0.3, 0.3, 0.3, 0.3])
    some = glm.ensemble_mean(TURNED, POSITION, 0.0, ends, on_failure="mark")
    np.testing.assert_array_equal(some.status, [5, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(some.density[1:], 1 / math.cos(0.3 * RATE) ** 2, rtol=1e-12)


def test_a_member_that_fails_fails_the_point():
    found = glm.ensemble_mean(
        TURNED, POSITION, 0.0, 1.0, label="initial", max_steps=1, on_failure="mark"
    )
    assert (found.status == Status.MAX_STEPS).all()
    with pytest.raises(TrajectoryError, match="MAX_STEPS"):
        glm.ensemble_mean(TURNED, POSITION, 0.0, 1.0, max_steps=1)


REFUSED = {
    "no members": (([],), {}, ValueError, "at least one field"),
    "a number": ((3.0,), {}, TypeError, "an ensemble must be a sequence"),
    "no period": ((swung_shear(),), {}, ValueError, "pass its period"),
    "no fields": (([1, 2],), {}, TypeError, "field must be a VelocityField"),
    "a period of many": ((TURNED,), {"period": 1.0}, ValueError, "goes with a single field"),
    "phases of a list": ((TURNED,), {"phases": 8}, ValueError, "phases= goes with a function"),
    "two phases": ((shifted,), {"phases": 2}, ValueError, "an even number of at least 4"),
    "a label": ((TURNED,), {"label": "final"}, ValueError, "label must be"),
    "times": ((TURNED,), {"times": [1.0]}, ValueError, "times= belongs to"),
    "a policy": ((TURNED,), {"on_failure": "skip"}, ValueError, "on_failure must be"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_sense_is_refused(what):
    arguments, options, error, message = REFUSED[what]
    with pytest.raises(error, match=message):
        glm.ensemble_mean(*arguments, POSITION, 0.0, 1.0, **options)
