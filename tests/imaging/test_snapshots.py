"""Statistics of snapshots: known fields, Parseval, closed forms of increments and divergence."""

import math

import numpy as np
import pytest
import torch

from meanfluid.imaging import metrics

N = 16
X, Y = np.meshgrid(np.arange(N) / N, np.arange(N) / N)  # last axis x, the one before it y
TURN = 2 * math.pi


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def test_the_spectrum_of_known_waves_is_in_their_shells():
    """A wave of amplitude a has half the variance a^2/4; (3, 4) is of length 5, (2, 2) of 2.8."""
    field = 2.0 * np.cos(TURN * 2 * X) + 0.6 * np.sin(TURN * (3 * X - 4 * Y)) + 7.0
    field += 0.4 * np.cos(TURN * 2 * (X + Y))
    k, density = metrics.shell_spectrum(field)
    np.testing.assert_array_equal(k, np.arange(1, len(k) + 1))
    expected = np.zeros(len(k))
    expected[[1, 2, 4]] = 1.0, 0.04, 0.09
    np.testing.assert_allclose(density, expected, rtol=0, atol=1e-15)
    k, scaled = metrics.shell_spectrum(field, length=3.0)
    np.testing.assert_allclose(k, TURN / 3 * np.arange(1, len(k) + 1))
    np.testing.assert_allclose(scaled * TURN / 3, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("n", [15, 16])
def test_the_spectrum_adds_up_to_half_the_variance(n):
    field = noise(3, 2, n, n)
    k, density = metrics.shell_spectrum(torch.tensor(field), length=5.0)
    assert density.shape == (3, 2, len(k))
    total = density.sum(axis=-1) * (k[1] - k[0])
    np.testing.assert_allclose(total, field.var(axis=(-2, -1)) / 2, rtol=1e-13)


def test_a_spectrum_is_compared_shell_by_shell_with_its_scatter():
    """Amplitudes 1.1 times as large have 0.21 more energy; the error is that of the mean."""
    real = noise(100, N, N)
    scores = []
    for seed in range(60):
        x, y = noise(100, N, N, seed=2 * seed), 1.1 * noise(80, N, N, seed=2 * seed + 1)
        difference, error = metrics.spectrum_difference(x, y)
        scores.append((difference.density - 0.21) / error)
    assert np.mean(scores) == pytest.approx(0, abs=4 / math.sqrt(np.size(scores)))
    assert np.mean(np.square(scores)) == pytest.approx(1, abs=4 * math.sqrt(2 / np.size(scores)))
    same, _ = metrics.spectrum_difference(real, real)
    np.testing.assert_allclose(same.density, 0, atol=1e-15)
    with pytest.raises(ValueError, match="at least two snapshots"):
        metrics.spectrum_difference(real[:1], real)
    with pytest.raises(ValueError, match=r"same grid, got \(16, 16\) and \(15, 15\)"):
        metrics.spectrum_difference(real, noise(3, 15, 15))


def test_increments_and_structure_functions_of_a_wave_are_known():
    """cos(kx + kr) - cos(kx) has the mean square 1 - cos(kr); along y nothing changes."""
    field = np.cos(TURN * 3 * X)
    along_x = metrics.increments(field, 2)
    np.testing.assert_allclose(along_x, np.cos(TURN * 3 * (X + 2 / N)) - field, atol=1e-14)
    np.testing.assert_array_equal(metrics.increments(field, 5, axis=-2), 0)
    r = np.arange(5)
    expected = (1 - np.cos(TURN * 3 * r / N)) / 2  # mean over both axes
    found = metrics.structure_function(field, 2, r)
    np.testing.assert_allclose(found, expected, atol=1e-14)
    np.testing.assert_allclose(metrics.structure_function(noise(4, N, N), 1, r), 0, atol=1e-15)


def test_the_second_structure_function_is_the_transform_of_the_spectrum():
    """Twice the variance less the covariance, of any periodic field."""
    field = noise(N, N)
    power = abs(np.fft.fft2(field)) ** 2 / N**2
    covariance = np.fft.ifft2(power).real
    expected = [2 * covariance[0, 0] - covariance[0, r] - covariance[r, 0] for r in (1, 3)]
    np.testing.assert_allclose(metrics.structure_function(field, 2, (1, 3)), expected, rtol=1e-12)


def test_the_curl_of_a_streamfunction_has_no_divergence_and_a_gradient_has():
    psi_x = TURN * np.cos(TURN * X) * np.cos(TURN * 2 * Y)
    psi_y = -2 * TURN * np.sin(TURN * X) * np.sin(TURN * 2 * Y)
    flow, gradient = np.stack([-psi_y, psi_x]), np.stack([psi_x, psi_y])
    assert metrics.rms_divergence(flow, length=1.0) < 1e-15
    laplacian = -5 * TURN**2 * np.sin(TURN * X) * np.cos(TURN * 2 * Y)
    absolute = metrics.rms_divergence(gradient, length=1.0, relative=False)
    assert absolute == pytest.approx(math.sqrt((laplacian**2).mean()), rel=1e-13)
    assert metrics.rms_divergence(gradient) == pytest.approx(1.0, rel=1e-13)
    both = metrics.rms_divergence(np.stack([flow, gradient]))
    assert both.shape == (2,)
    free = metrics.rms_divergence(noise(300, 2, N, N))
    assert (free**2).mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: metrics.shell_spectrum(np.zeros((4, 5))), r"shape \(..., n, n\), got \(4, 5\)"),
        (lambda: metrics.shell_spectrum(np.full((4, 4), np.nan)), "finite, got 16 entries"),
        (lambda: metrics.shell_spectrum(np.zeros((4, 4)), length=0), "length must be positive"),
        (lambda: metrics.increments(np.zeros((4, 4)), 1, axis=0), "axis must be -1 or -2, got 0"),
        (lambda: metrics.structure_function(np.zeros((4, 4)), 0, [1]), "order must be at least 1"),
        (lambda: metrics.rms_divergence(np.zeros((3, 4, 4))), r"shape \(..., 2, n, n\), got"),
    ],
)
def test_snapshots_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
