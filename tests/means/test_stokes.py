"""Stokes drift against exact drifts of waves, and the orders of Stokes's own formula."""

import math

import numpy as np
import pytest
from scipy.special import j0, lambertw

from meanfluid import flow_map
from meanfluid.fields import deep_water_wave, plane_wave
from meanfluid.means import windows
from meanfluid.means.along import eulerian_mean
from meanfluid.means.average_velocity import average_velocity
from meanfluid.means.labels import lagrangian_means
from meanfluid.means.stokes import stokes_drift
from tests.means.moving import ROLLING, SHEARED, WAVE

TIGHT = {"rtol": 1e-13, "atol": 1e-16}


def deep_water_period(steepness):
    """Of particles, times the frequency of the wave, by delta: an integral of Lambert's W."""
    theta = 2 * np.pi * np.arange(256) / 256
    return 2 * np.pi * (1 / (1 + lambertw(-steepness * np.cos(theta)).real)).mean()


def test_drift_in_a_travelling_wave_is_exact_at_every_place_and_amplitude():
    """c (1 - sqrt(1 - (a/c)^2)) over the period of the particles; Stokes's a^2 / 2c to order 4."""
    x = np.stack([np.linspace(0.0, 6.0, 20), np.full(20, 0.3)], axis=1)
    amplitudes = (0.4, 0.2, 0.1, 0.05)
    drifts = []
    for a in amplitudes:
        wave, period = plane_wave(a, 0.0, 1.0, 0.0, 1.0), 2 * math.pi / math.sqrt(1 - a * a)
        drift, error = average_velocity(wave, x, 0.4, 0.4 + period, label="mean", return_error=True)
        exact = 1 - math.sqrt(1 - a * a)
        true = np.abs(drift[:, 0] - exact)
        assert (true <= 10 * error + 1e-14).all() and (error < 1e-9).all()
        drifts.append(average_velocity(wave, x[:1], 0.4, 0.4 + period, label="mean", **TIGHT)[0, 0])
    exact = (0.083484861008832, 0.02020410288672876, 0.005012562893380045, 0.001250782228091054)
    np.testing.assert_allclose(drifts, exact, rtol=0, atol=2e-14)
    rest = np.array(drifts) - np.square(amplitudes) / 2
    np.testing.assert_allclose(np.log2(rest[:-1] / rest[1:]), (4.09, 4.02, 4.005), atol=5e-3)


def test_what_a_period_of_particles_leaves_at_rest_is_subtracted():
    """Of the wave the Eulerian mean over that window is a difference of two sines."""
    x, period = np.array([(0.5, 0.0), (2.0, 0.0)]), 2 * math.pi / math.sqrt(1 - 0.09)
    drift, error = stokes_drift(WAVE, x, 0.0, period, return_error=True)
    there = 0.3 * (np.sin(x[:, 0]) - np.sin(x[:, 0] - period)) / period
    true = np.abs(drift[:, 0] - (1 - math.sqrt(1 - 0.09) - there))
    assert (true <= 10 * error + 1e-15).all() and (error < 1e-10).all()
    np.testing.assert_array_equal(drift[:, 1], 0.0)


def test_in_uniform_motion_nothing_drifts():
    still = plane_wave(0.3, 0.1, 0.0, 0.0, 1.0)
    drift, error = stokes_drift(still, [(0.2, 0.4)], 0.0, 2.2, return_error=True)
    assert np.abs(drift).max() <= 10 * error[0] + 1e-15


@pytest.mark.slow
def test_deep_water_drift_is_that_of_lamberts_w():
    """At one mean height, three steepnesses: less the formula at that height it is of order 4."""
    c = math.sqrt(9.81)
    exact = np.array((0.02486799061478816, 0.006102374714333606, 0.001518630258775831))
    first = np.array((0.02426122638850534, 0.006065306597126334, 0.001516326649281584))
    drifts = []
    for a, expected in zip((0.2, 0.1, 0.05), exact, strict=True):
        water, period = deep_water_wave(a), 2 * math.pi / c / (1 - expected)
        place = [(0.4, -0.25)]
        drift, error = average_velocity(water, place, 0.0, period, label="mean", return_error=True)
        assert np.linalg.norm(drift[0] / c - (expected, 0.0)) <= 10 * error[0] / c < 1e-9
        drift = average_velocity(water, place, 0.0, period, label="mean", **TIGHT)
        drifts.append(drift[0, 0] / c)
        both, error = stokes_drift(water, place, 0.0, period, return_error=True)
        angle = 0.4 - c * period
        speed = a * math.exp(-0.25) / period
        still = speed * (math.sin(0.4) - math.sin(angle)), speed * (math.cos(angle) - math.cos(0.4))
        assert np.linalg.norm(both[0] + still - drift[0]) <= 10 * error[0]
    np.testing.assert_allclose(drifts, exact, rtol=0, atol=5e-15)
    orders = np.log2((drifts - first)[:-1] / (drifts - first)[1:])
    np.testing.assert_allclose(orders, (4.03, 4.008), atol=5e-3)


def test_a_particle_in_deep_water_from_where_it_starts():
    z = -0.2 - 0.1 * math.exp(-0.2)  # k z less the vertical part of the phase: an invariant
    delta = 0.1 * math.exp(z)
    assert abs(delta - 0.0754369426564219606) < 1e-15
    period = deep_water_period(delta) / math.sqrt(9.81)
    assert abs(period - 2.01775026476093553) < 1e-14
    met = lagrangian_means(
        deep_water_wave(), {}, [(0.0, -0.2)], 0.0, period, label="initial", **TIGHT
    )
    assert abs(met.velocity[0, 0] - 0.0181360697710643324) < 2e-15
    assert abs(met.velocity[0, 1]) < 2e-15
    assert abs(met.position["mean"][0, 1] + 0.276082673862021464) < 2e-15


@pytest.mark.slow
def test_a_shear_that_is_swung_across_drifts_by_a_bessel_function():
    period, z = 2 * math.pi / 1.7, 0.8
    place = [(0.3, z)]
    drift, error = average_velocity(
        SHEARED, place, 0.2, 0.2 + period, label="mean", return_error=True
    )
    expected = j0(0.6 / 1.7) * math.sin(z)
    assert abs(expected - 0.6951896070398013) < 1e-15
    assert np.linalg.norm(drift[0] - (expected, 0.0)) <= 10 * error[0] < 1e-9
    there = eulerian_mean(SHEARED, "velocity", place, 0.2, 0.2 + period)
    assert abs(there[0, 0] - 0.7173560908995228) < 1e-13
    both, error = stokes_drift(SHEARED, place, 0.2, 0.2 + period, return_error=True)
    assert abs(both[0, 0] - (expected - 0.7173560908995228)) <= 10 * error[0]


def lagrangian_period(field, start):
    """Time in which the phase x - t of a particle goes back by a turn."""
    period = 2 * math.pi
    for _ in range(30):
        period = 2 * math.pi + (flow_map(field, start, 0.0, period, **TIGHT) - start)[0, 0]
    return period


@pytest.mark.slow
def test_rolls_that_travel_carry_particles_with_them():
    """Beside the formula of second order, B^2 cos(2 y) / 2, at the mean position: order 4."""
    exact = {
        0.2: (0.013555590614264, 0.41465428844728),
        0.1: (0.003460893897391, 0.40360625164771),
        0.05: (0.00086948416388638, 0.40089791579709),
    }
    rest = []
    for strength, (drift, height) in exact.items():
        field = ROLLING.with_parameters(strength=strength)
        start = np.array([(0.0, 0.4)])
        period = lagrangian_period(field, start)
        met = lagrangian_means(field, {}, start, 0.0, period, label="initial", **TIGHT)
        assert abs(met.velocity[0, 0] - drift) < 2e-14
        assert abs(met.position["mean"][0, 1] - height) < 1e-13
        rest.append(abs(met.velocity[0, 0] - strength**2 / 2 * math.cos(2 * height)))
        again = average_velocity(field, met.position["mean"], 0.0, period, label="mean", **TIGHT)
        np.testing.assert_allclose(again, met.velocity, rtol=0, atol=1e-13)
    orders = np.log2(np.array(rest[:-1]) / rest[1:])
    np.testing.assert_allclose(orders, (3.85, 3.97), atol=6e-3)


@pytest.mark.slow
def test_a_hann_window_over_many_periods_needs_no_period():
    """It damps what a window that is no whole number of periods leaves of the oscillation."""
    x, exact = np.array([(0.5, 0.0)]), 1 - math.sqrt(1 - 0.09)
    plain = stokes_drift(WAVE, x, 0.0, 61.0)
    hann = stokes_drift(WAVE, x, 0.0, 61.0, window=windows.hann())
    assert abs(hann[0, 0] - exact) < 1e-4 < abs(plain[0, 0] - exact)
