"""Taylor's dispersion: closed forms of the spread, of the correlation, and of their relation."""

import numpy as np
import pytest

from meanfluid.fields import plane_wave, shear
from meanfluid.means.dispersion import dispersion, taylor_variance

FREQUENCY, SPEED = 1.3, 0.7
# v = (a cos(y - f t), 0): the place y, which no particle leaves, is the phase of an oscillation.
OSCILLATION = plane_wave(SPEED, 0.0, 0.0, 1.0, FREQUENCY)
PHASES = np.stack([np.zeros(16), np.arange(16) * 2 * np.pi / 16], axis=1)
TIMES = 0.4 + np.array([0.5, 1.0, 2.0, 5.0])


@pytest.fixture(scope="module")
def spread():
    return dispersion(OSCILLATION, PHASES, 0.4, TIMES)


def test_oscillations_of_all_phases_spread_and_come_back(spread):
    """The mean square over phases is that of 15 degrees of freedom times 16 / 15."""
    h = spread.duration
    np.testing.assert_allclose(h, [0.5, 1.0, 2.0, 5.0])
    exact = SPEED**2 * (1 - np.cos(FREQUENCY * h)) / FREQUENCY**2 * 16 / 15
    np.testing.assert_allclose(spread.displacement[:, 0, 0], exact, rtol=1e-10)
    np.testing.assert_allclose(spread.velocity[:, 0, 0], exact / h**2, rtol=1e-10)
    np.testing.assert_array_equal(spread.displacement[:, 1, 1], 0.0)
    np.testing.assert_allclose(spread.drift, 0.0, atol=1e-12)


def test_their_velocity_is_correlated_by_the_cosine(spread):
    exact = SPEED**2 / 2 * np.cos(FREQUENCY * spread.duration) * 16 / 15
    np.testing.assert_allclose(spread.correlation[:, 0, 0], exact, rtol=0, atol=1e-13)


def test_spread_and_correlation_are_one_statement(spread):
    implied = taylor_variance(
        lambda s: SPEED**2 / 2 * np.cos(FREQUENCY * s) * 16 / 15, spread.duration
    )
    np.testing.assert_allclose(spread.displacement[:, 0, 0], implied, rtol=1e-10)


def test_exponential_memory_has_taylors_closed_form():
    def variance(h):
        return 2 * 0.8 * (h - 0.8 * (1 - np.exp(-h / 0.8)))

    h = np.array([1e-3, 0.3, 3.0, 300.0])
    found = taylor_variance(lambda s: np.exp(-s / 0.8), h)
    np.testing.assert_allclose(found, variance(h), rtol=1e-9)
    assert abs(found[2] - 3.55010271469569) < 1e-12
    assert abs(found[2] / 9 - 0.39445585718841) < 1e-13
    # From the variance of v for a short window to 2 kappa / h, kappa = 0.8, for a long one.
    assert abs(found[0] / h[0] ** 2 - 1) < 1e-3
    assert abs(found[3] / h[3] - 2 * 0.8) < 1e-2


def test_variance_does_not_ask_for_the_direction_of_time():
    assert taylor_variance(np.cos, -2.0) == taylor_variance(np.cos, 2.0)
    assert taylor_variance(np.cos, 0.0) == 0.0


def test_the_standard_error_is_that_of_independent_particles():
    """Shear: displacement h y, with y normal; the error of a variance is variance sqrt(2 / n)."""
    y = np.random.default_rng(8).standard_normal(20_000)
    position = np.stack([np.zeros_like(y), y], axis=1)
    found = dispersion(shear(1.0), position, 0.0, [2.0], estimate_error=False)
    error = found.displacement_error[0, 0, 0]
    assert abs(error / (4 * np.sqrt(2 / 20_000)) - 1) < 0.05
    assert abs(found.displacement[0, 0, 0] - 4.0) < 4 * error


@pytest.mark.parametrize(
    ("position", "times", "options", "message"),
    [
        (PHASES[:1], [1.0], {}, "at least two, got 1"),
        (PHASES, [], {}, r"times must hold the ends of the windows, \(k,\), got \[\]"),
        (PHASES, [1.0], {"on_failure": "mark"}, "need all of them"),
    ],
)
def test_what_makes_no_statistics_is_refused(position, times, options, message):
    with pytest.raises(ValueError, match=message):
        dispersion(OSCILLATION, position, 0.0, times, **options)


def test_a_correlation_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="smooth and finite"):
        taylor_variance(lambda s: abs(s - 0.7) ** -1.5, 2.0)
    with pytest.raises(ValueError, match="must be finite"):
        taylor_variance(np.cos, np.inf)
