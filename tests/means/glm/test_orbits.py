"""Progressive waves over their Lagrangian periods: closed forms, second order, what is refused."""

import math

import numpy as np
import pytest

from meanfluid import Status, TrajectoryError
from meanfluid.fields import gerstner_wave
from meanfluid.means import glm
from tests.means.glm.own_waves import cells, deep_water, line, own, steep, swung_shear

ALONG = {"wavevector": [1.0, 0.0], "frequency": 1.0}
TOGETHER = {"wavevector": [0.0, 0.0], "frequency": 1.7}
LINE_DRIFT = {
    0.4: 0.083484861008832, 0.2: 0.02020410288672876, 0.1: 0.005012562893380045,
    0.05: 0.001250782228091054,
}  # fmt: skip
DEEP_DRIFT = {0.2: 0.02486799061478816, 0.1: 0.006102374714333606, 0.05: 0.001518630258775831}
CELLS_DRIFT = {
    0.2: (0.41465428844728, 0.013555590614264),
    0.1: (0.40360625164771, 0.003460893897391),
    0.05: (0.40089791579709, 0.00086948416388638),
}


def orders(errors):
    errors = np.asarray(errors)
    return np.log2(errors[:-1] / errors[1:])


def test_a_longitudinal_wave_drifts_by_its_closed_form():
    """c - sqrt(c^2 - a^2), from any position and time; half of a^2 to second order."""
    misses = []
    for amplitude, drift in LINE_DRIFT.items():
        assert drift == pytest.approx(1 - math.sqrt(1 - amplitude**2), rel=1e-14)
        x = [[0.3, 0.0], [2.5, 1.0]]
        found = glm.orbit_mean(line(amplitude), x, [0.2, 1.0], **ALONG)
        np.testing.assert_allclose(found.mean_velocity, [[drift, 0.0]] * 2, rtol=0, atol=1e-14)
        np.testing.assert_allclose(found.period, 2 * math.pi / math.sqrt(1 - amplitude**2))
        np.testing.assert_allclose(found.eulerian_velocity, 0.0, rtol=0, atol=1e-15)
        # The one-form u dx is closed around each orbit: momentum vanishes, drift is pseudomomentum.
        np.testing.assert_allclose(found.momentum, 0.0, rtol=0, atol=1e-12)
        np.testing.assert_allclose(found.divergence, 0.0, rtol=0, atol=1e-11)
        small = glm.small_amplitude_mean(line(amplitude), x, 0.2, **ALONG)
        np.testing.assert_allclose(small.stokes_drift[:, 0], amplitude**2 / 2, rtol=1e-14)
        assert np.isnan(small.density).all()  # compressible
        misses.append(drift - amplitude**2 / 2)
    np.testing.assert_allclose(orders(misses), [4.09, 4.02, 4.005], atol=0.006)


@pytest.mark.parametrize("height, current", [(0.3, 0.4), (math.pi / 2, 2.0), (-0.7, -1.0)])
def test_a_current_changes_the_frequency_that_particles_meet(height, current):
    """c - V in place of c, also where the current overtakes the wave and phases rise."""
    strength = current / math.sin(height)
    wave, x = own(along=0.2, shear=strength), [[0.3, height]]
    found = glm.orbit_mean(wave, x, 0.0, **ALONG)
    met = math.copysign(math.sqrt((1 - current) ** 2 - 0.04), 1 - current)
    np.testing.assert_allclose(found.mean_velocity, [[1 - met, 0.0]], rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.period, 2 * math.pi / abs(met), rtol=1e-12)
    np.testing.assert_allclose(found.eulerian_velocity[:, 0], current, rtol=1e-14)
    small = glm.small_amplitude_mean(wave, x, 0.0, **ALONG)
    np.testing.assert_allclose(small.stokes_drift[:, 0], 0.02 / (1 - current), rtol=1e-13)


@pytest.mark.slow
def test_orbits_in_gerstners_wave_are_closed():
    """From the field alone: no drift, p = c e^{2z}, density 1 - e^{2z}; circles about z."""
    omega, heights = math.sqrt(9.81), np.array([-0.5, -1.0])
    phase, swell = 0.4 - omega * 0.7, np.exp(heights)
    guess = np.stack([0.4 - swell * math.sin(phase), heights + swell * math.cos(phase)], axis=1)
    x = np.stack([np.full(2, 0.4), heights], axis=1)
    found = glm.orbit_mean(
        gerstner_wave(), x, 0.7, guess=guess + 0.02, wavevector=[1.0, 0.0], frequency=omega
    )
    np.testing.assert_allclose(found.initial_position, guess, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.mean_velocity, 0.0, rtol=0, atol=1e-11)
    np.testing.assert_allclose(found.pseudomomentum[:, 0], omega * swell**2, rtol=1e-10)
    np.testing.assert_allclose(found.density, 1 - swell**2, rtol=1e-10)
    np.testing.assert_allclose(found.divergence, 0.0, rtol=0, atol=1e-10)


def test_pull_backs_of_velocity_differ_by_their_closed_forms():
    """As scalars, vectors, one-forms: c(1 - r), c(1/r - r), 0 with r = sqrt(1 - a^2/c^2)."""
    found = glm.orbit_mean(line(0.3, 2.0, 1.5), [[0.7, 0.0]], 0.0, wavevector=[2, 0], frequency=1.5)
    u, slope = found.displaced_velocity, found.displacement_gradient
    means = {k: glm.pull_back_mean(u, slope, k)[0, 0] for k in ("scalar", "vector", "one_form")}
    assert means["scalar"] == pytest.approx(0.062613645756624, abs=1e-14)
    assert means["vector"] == pytest.approx(0.1309307341415954, abs=1e-12)
    assert means["one_form"] == pytest.approx(0.0, abs=1e-13)
    assert means["vector"] / means["scalar"] == pytest.approx(2.091089451179962, rel=1e-11)
    density = glm.pull_back_mean(np.ones(u.shape[:2]), slope, "density")
    np.testing.assert_allclose(density, found.density, rtol=1e-15)
    with pytest.raises(ValueError, match="kind must be"):
        glm.pull_back_mean(u, slope, "two_form")
    with pytest.raises(ValueError, match="a vector needs value of shape"):
        glm.pull_back_mean(u[0], slope, "vector")


def test_the_lagrangian_period_in_deep_water_is_lamberts():
    """From (0, -0.2): k = omega = 1 are units in which g = 1."""
    found = glm.lagrangian_period(deep_water(0.1), [[0.0, -0.2]], 0.0, **ALONG)
    omega = math.sqrt(9.81)
    assert found.period[0] == pytest.approx(2.01775026476093553 * omega, rel=1e-13)
    np.testing.assert_allclose(found.drift, [[0.0181360697710643324 / omega, 0.0]], atol=1e-14)
    assert abs(found.drift[0, 0] - 0.0181360697710643324 / omega) <= 10 * found.drift_error[0]
    orbit = glm.orbit_mean(deep_water(0.1), [[0.0, -0.2]], 0.0, label="initial", **ALONG)
    assert orbit.position[0, 1] == pytest.approx(-0.276082673862021464, abs=1e-13)


def test_deep_water_drifts_by_the_table_at_the_mean_height():
    misses, of_density = [], []
    for amplitude, drift in DEEP_DRIFT.items():
        x = [[0.3, -0.25]]
        found = glm.orbit_mean(deep_water(amplitude), x, 0.0, **ALONG)
        np.testing.assert_allclose(found.mean_velocity, [[drift, 0.0]], rtol=0, atol=1e-13)
        # Irrotational, steady in the frame of the wave: drift is pseudomomentum at any amplitude.
        np.testing.assert_allclose(found.pseudomomentum, found.mean_velocity, rtol=0, atol=1e-13)
        assert found.density_spread[0] <= 10 * found.errors["density"][0]
        small = glm.small_amplitude_mean(deep_water(amplitude), x, 0.0, **ALONG)
        leading = amplitude**2 * math.exp(-0.5)
        np.testing.assert_allclose(small.stokes_drift, [[leading, 0.0]], rtol=0, atol=1e-16)
        np.testing.assert_allclose(small.pseudomomentum, [[leading, 0.0]], rtol=0, atol=1e-16)
        misses.append(drift - leading)
        of_density.append(small.density[0] - found.density[0])
    np.testing.assert_allclose(orders(misses), [4.03, 4.008], atol=0.006)
    assert (orders(of_density) > 3.9).all()


@pytest.mark.parametrize("rtol", [1e-5, 1e-8])
def test_errors_of_orbits_bound_what_is_wrong(rtol):
    """Against the table, p = u there, and few phases against many."""
    found = glm.orbit_mean(
        deep_water(0.2), [[0.3, -0.25]], 0.0, phases=8, rtol=rtol, atol=1e-3 * rtol, **ALONG
    )
    exact = glm.orbit_mean(deep_water(0.2), [[0.3, -0.25]], 0.0, **ALONG)
    for name in ("mean_velocity", "pseudomomentum"):
        away = abs(getattr(found, name)[0] - [DEEP_DRIFT[0.2], 0.0]).max()
        assert away <= 10 * found.errors[name][0] < 1e-2, name
    for name in ("density", "divergence", "stokes_drift", "momentum"):
        away = abs(getattr(found, name) - getattr(exact, name)).max()
        assert away <= 10 * found.errors[name][0], name
    away = abs(found.displacement - exact.displacement[::4]).max()
    assert away <= 10 * found.errors["displacement"][0]
    away = abs(found.displacement_gradient - exact.displacement_gradient[::4]).max()
    assert away <= 10 * found.errors["displacement_gradient"][0]


def test_pulled_back_as_a_vector_deep_water_moves_twice_as_fast():
    """a = 0.1, k = 1, omega = 1.3 at mean height -0.4, to second order: 0.0116826."""
    wave = own(along=0.13, decay=1.0, turning=1.0, frequency=1.3)
    found = glm.small_amplitude_mean(wave, [[0.0, -0.4]], 0.0, wavevector=[1.0, 0.0], frequency=1.3)
    assert found.stokes_drift[0, 0] == pytest.approx(0.0058412765335239, rel=1e-13)
    exact = glm.orbit_mean(wave, [[0.0, -0.4]], 0.0, wavevector=[1.0, 0.0], frequency=1.3)
    pulled = glm.pull_back_mean(exact.displaced_velocity, exact.displacement_gradient, "vector")
    assert pulled[0, 0] == pytest.approx(0.011682553067048, rel=0.03)
    assert pulled[0, 0] / exact.mean_velocity[0, 0] == pytest.approx(2, rel=0.01)


def test_cells_that_travel_drift_by_the_table():
    misses = []
    for amplitude, (height, drift) in CELLS_DRIFT.items():
        wave = cells(amplitude)
        found = glm.orbit_mean(wave, [[0.0, 0.4]], 0.0, label="initial", **ALONG)
        assert found.position[0, 1] == pytest.approx(height, abs=2e-13)
        np.testing.assert_allclose(found.mean_velocity, [[drift, 0.0]], rtol=0, atol=1e-13)
        again = glm.orbit_mean(wave, found.position, 0.0, **ALONG)
        np.testing.assert_allclose(again.initial_position, [[0.0, 0.4]], rtol=0, atol=1e-11)
        small = glm.small_amplitude_mean(wave, found.position, 0.0, **ALONG)
        leading = amplitude**2 / 2 * math.cos(2 * found.position[0, 1])
        np.testing.assert_allclose(small.stokes_drift, [[leading, 0.0]], rtol=0, atol=1e-15)
        misses.append(drift - small.mean_velocity[0, 0])
    np.testing.assert_allclose(orders(np.abs(misses)), [3.85, 3.97], atol=0.006)


def test_an_oscillation_across_a_shear_averages_it_by_bessels_function():
    """u = J0(W/omega) sin z; of cos 2z, J0(2W/omega)."""
    found = glm.orbit_mean(
        swung_shear(), [[0.0, 0.8]], 0.4, observables={"steep": steep}, **TOGETHER
    )
    assert found.mean_velocity[0, 0] == pytest.approx(0.6951896070398013, abs=1e-13)
    np.testing.assert_array_equal(found.period, 2 * math.pi / 1.7)
    assert found.eulerian_velocity[0, 0] == pytest.approx(0.7173560908995228, abs=1e-15)
    small = glm.small_amplitude_mean(
        swung_shear(), [[0.0, 0.8]], 0.4, observables={"steep": steep}, **TOGETHER
    )
    assert small.mean_velocity[0, 0] == pytest.approx(0.6950162818403681, abs=1e-14)
    s = 0.6 / 1.7
    np.testing.assert_allclose(small.stokes_corrections["steep"], -(s**2) * math.cos(1.6))
    mean = np.mean(np.cos(2 * s * np.sin(2 * np.pi * np.arange(32) / 32))) * math.cos(1.6)
    np.testing.assert_allclose(found.means["steep"], [mean], rtol=0, atol=1e-13)
    np.testing.assert_allclose(found.eulerian_means["steep"], [math.cos(1.6)], rtol=1e-14)
    np.testing.assert_allclose(
        found.stokes_corrections["steep"], [mean - math.cos(1.6)], rtol=0, atol=1e-13
    )


def test_displacement_has_the_rate_and_gradient_of_small_waves_on_a_shear():
    """The solution mode by mode and the orbits agree to second order in the amplitude."""
    away = []
    for amplitude in (0.02, 0.01):
        wave = cells(amplitude, shear=0.4)
        found = glm.orbit_mean(wave, [[0.5, 0.7]], 0.0, phases=16, **ALONG)
        small = glm.small_amplitude_mean(wave, [[0.5, 0.7]], 0.0, phases=16, **ALONG)
        # Members of an orbit fall in phase from that at its mean position, those of a formula rise.
        one, other = found.displacement_gradient[0], small.displacement_gradient[0]
        away.append([
            abs(one - other).max(),
            abs(found.displacement[0] - small.displacement[0]).max(),
            abs(found.pseudomomentum - small.pseudomomentum).max(),
            abs(found.mean_velocity - small.mean_velocity).max(),
        ])  # fmt: skip
    assert (np.array(away[0]) < [2e-3, 1e-3, 1e-6, 1e-6]).all()
    rates = orders(away)[0]
    assert (rates[:2] > 1.9).all() and (rates[2:] > 3.8).all()


def test_gradients_of_displacement_have_zero_mean_over_an_orbit():
    found = glm.orbit_mean(cells(0.2, shear=0.3), [[1.0, 0.7]], 0.0, **ALONG)
    np.testing.assert_allclose(found.displacement.mean(axis=0), 0.0, rtol=0, atol=1e-15)
    np.testing.assert_allclose(found.displacement_gradient.mean(axis=0), 0.0, rtol=0, atol=1e-11)
    np.testing.assert_allclose(found.density_spread, 0.0, rtol=0, atol=1e-11)


def test_what_has_no_period_is_raised_or_marked():
    trapped = line(1.2)
    with pytest.raises(TrajectoryError, match="1 of 1 orbits have no mean position"):
        glm.lagrangian_period(trapped, [[0.3, 0.0]], 0.0, **ALONG)
    marked = glm.lagrangian_period(trapped, [[0.3, 0.0]], 0.0, on_failure="mark", **ALONG)
    assert marked.status[0] == Status.NOT_INVERTIBLE and np.isnan(marked.period[0])
    found = glm.orbit_mean(
        own(along=0.4, decay=1.0), [[0.3, -2.0], [0.3, 1.5]], 0.0, on_failure="mark", **ALONG
    )
    np.testing.assert_array_equal(found.status, [0, Status.NOT_INVERTIBLE])
    assert np.isfinite(found.mean_velocity[0]).all() and np.isnan(found.mean_velocity[1]).all()
    assert found.displacement.shape == (32, 2, 2) and np.isnan(found.displacement[:, 1]).all()


REFUSED = {
    "another wave": ({"frequency": 1.3}, "is no wave of wavevector"),
    "another period": ({"wavevector": [0.7, 0.0], "frequency": 0.7}, "is no wave of wavevector"),
    "nothing that oscillates": ({"wavevector": [0, 0], "frequency": 0.0}, "frequency must be"),
    "a wavevector in space": ({"wavevector": [1, 0, 0]}, "wavevector must hold 2"),
    "odd phases": ({"phases": 7}, "phases must be an even number"),
    "a label": ({"label": "final"}, 'label must be "mean" or "initial"'),
    "rotation in space": ({"rotation": [0, 0, 1]}, "rotation"),
    "no estimate": ({"estimate_error": False}, "estimate_error= belongs to"),
    "a guess of what is known": ({"label": "initial", "guess": [[0.3, 0.0]]}, "guess= goes with"),
    "a guess too many": ({"guess": [[0.3, 0.0]] * 2}, "guess must have the shape"),
    "an observable": ({"observables": {"f": lambda m, p, t, x, y, deformation: x}}, "deformation"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_sense_is_refused(what):
    options, message = REFUSED[what]
    with pytest.raises(ValueError, match=message):
        glm.orbit_mean(line(0.3), [[0.3, 0.0]], 0.0, **{**ALONG, **options})


def test_small_waves_are_refused_where_they_are_not_local():
    with pytest.raises(ValueError, match="critical layer"):
        glm.small_amplitude_mean(cells(0.01, shear=1.0), [[0.0, math.pi / 2]], 0.0, **ALONG)
    steady = cells(0.1, frequency=0.0, shear=0.5, swing=0.5)
    with pytest.raises(ValueError, match="carries the wave"):
        glm.small_amplitude_mean(steady, [[0.0, 0.5]], 0.0, wavevector=[1, 0], frequency=0.0)
