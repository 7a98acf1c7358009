"""Random fields of Fourier modes: exact energy, incompressible, isotropic, reproducible."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad

from meanfluid import fields

SPECTRA = {
    "von_karman_pao": fields.von_karman_pao,
    "gaussian_spectrum": fields.gaussian_spectrum,
    "power_law": fields.power_law,
}


def integral(spectrum, moment=0, lower=None, upper=None):
    """Adaptive quadrature of k**moment E(k) in log k."""
    edges = np.linspace(math.log(lower or spectrum.lower), math.log(upper or spectrum.upper), 13)
    return sum(
        quad(lambda s: math.exp(s * (moment + 1)) * float(spectrum(math.exp(s))), a, b,
             epsabs=1e-14, epsrel=1e-13)[0]
        for a, b in pairwise(edges)
    )  # fmt: skip


def amplitudes(field):
    """Wavevectors, A and B of the modes, each (modes, dimension)."""
    d, table = field.dimension, field.table
    return table[:, :d], table[:, d + 1 : 2 * d + 1], table[:, 2 * d + 1 :]


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("name", SPECTRA)
def test_spectra_hold_the_energy_of_the_velocity_asked_for(name, dimension):
    """The integral is d u'^2 / 2 (H1), and the range to resolve holds all but 2e-5 of it."""
    spectrum = SPECTRA[name](rms_velocity=1.7, dimension=dimension)
    energy = dimension / 2 * 1.7**2
    if name == "power_law":
        assert integral(spectrum) == pytest.approx(energy, rel=1e-12)
        np.testing.assert_array_equal(spectrum([0.5, 60.0]), 0)
    else:
        whole = integral(spectrum, 0, 1e-4, 300.0 if name == "von_karman_pao" else 8.0)
        assert whole == pytest.approx(energy, rel=1e-10)
        assert 1 - 2e-5 < integral(spectrum) / energy < 1


def test_von_karman_pao_is_renormalised():
    """H1: with the classical constant the integral is 1.12563891999, and 2 int k^2 E 425.628."""
    spectrum = fields.von_karman_pao(1.0, k_energy=2.0, k_eta=60.0)
    restored = 1.5 / 1.12563891999
    k = np.array([0.3, 2.0, 17.0, 80.0])
    classical = 1.452762112210974 / 2 * (k / 2) ** 4 / (1 + (k / 2) ** 2) ** (17 / 6)
    classical = classical * np.exp(-2 * (k / 60) ** 2)
    np.testing.assert_allclose(spectrum(k), restored * classical, rtol=1e-10)
    dissipation = 2 * integral(spectrum, 2, 1e-3, 400.0)
    assert dissipation == pytest.approx(restored * 425.628048728, rel=1e-10)


def test_von_karman_pao_tends_to_von_karman():
    """H1: alpha (3-D, no Pao factor) and k_e L, L = (pi / 2 u'^2) int E/k dk."""
    spectrum = fields.von_karman_pao(1.0, k_energy=1.0, k_eta=1e15)
    assert float(spectrum(1.0)) * 2 ** (17 / 6) == pytest.approx(1.452762112210974, rel=1e-8)
    length = math.pi / 2 * integral(spectrum, -1, 1e-3, 1e6)
    assert length == pytest.approx(0.7468342002221868, rel=1e-8)


def test_gaussian_spectrum_has_the_integral_scale_of_the_theory():
    """H1: E ~ k^3 exp(-k^2) in the plane has L = (2/u'^2) int E/k dk = sqrt(pi)."""
    spectrum = fields.gaussian_spectrum(1.3, k_energy=1.0)
    length = 2 / 1.3**2 * integral(spectrum, -1, 1e-9, 8.0)
    assert length == pytest.approx(math.sqrt(math.pi), rel=1e-8)


@pytest.mark.parametrize("modes", [1, 7, 64])
@pytest.mark.parametrize("dimension", [2, 3])
def test_every_mode_has_the_energy_of_its_bin(dimension, modes):
    spectrum = fields.von_karman_pao(0.9, 2.0, 30.0, dimension=dimension)
    field = fields.kinematic_simulation(spectrum, modes=modes, dimension=dimension, seed=4)
    k, a, b = amplitudes(field)
    energy = ((a**2).sum(1) + (b**2).sum(1)) / 4
    edges = np.geomspace(spectrum.lower, spectrum.upper, modes + 1)
    expected = [integral(spectrum, 0, *edge) for edge in pairwise(edges)]
    np.testing.assert_allclose(energy, expected, rtol=2e-6 if modes == 1 else 1e-11)
    np.testing.assert_allclose(np.linalg.norm(k, axis=1), np.sqrt(edges[1:] * edges[:-1]))
    if dimension == 3:
        np.testing.assert_allclose((a**2).sum(1), (b**2).sum(1), rtol=1e-13)


def test_mean_square_velocity_in_space_is_the_energy():
    """The mean over a large box tends to twice the sum of energies, by quasi-random points."""
    spectrum = fields.gaussian_spectrum(0.8, 1.0)
    field = fields.kinematic_simulation(spectrum, modes=12, seed=6)
    golden = (math.sqrt(5) - 1) / 2
    n = np.arange(200_000)
    x = 4000 * np.stack([(n + 0.5) / len(n), np.mod(n * golden, 1)], axis=-1)
    square = (field.velocity(0.4, x) ** 2).sum(axis=1).mean()
    assert square / 2 == pytest.approx(integral(spectrum), rel=2e-3)


@pytest.mark.parametrize("dimension", [2, 3])
def test_modes_are_incompressible_one_by_one(dimension):
    field = fields.kinematic_simulation(
        fields.power_law(dimension=dimension), modes=200, dimension=dimension, seed=8
    )
    k, a, b = amplitudes(field)
    size = np.linalg.norm(k, axis=1) * np.sqrt((a**2).sum(1) + (b**2).sum(1))
    for vector in (a, b):
        assert abs((k * vector).sum(axis=1) / size).max() < 1e-14


def test_frequencies_are_those_of_the_eddies():
    """H2: omega = lambda sqrt(k^3 E(k))."""
    spectrum = fields.power_law(1.0, 2.0, 40.0)
    field = fields.kinematic_simulation(spectrum, modes=9, dimension=3, seed=1, unsteadiness=0.3)
    k = np.linalg.norm(amplitudes(field)[0], axis=1)
    np.testing.assert_allclose(field.parameters.frequency, 0.3 * np.sqrt(k**3 * spectrum(k)))
    assert field.steady is False
    frozen = fields.kinematic_simulation(spectrum, modes=9, seed=1, unsteadiness=0.0)
    assert frozen.steady is True and not frozen.parameters.frequency.any()


@pytest.mark.parametrize("dimension", [2, 3])
def test_ensemble_is_isotropic_and_homogeneous(dimension):
    """Second moments over 1500 seeds, at two points and times, within five standard errors."""
    spectrum = fields.gaussian_spectrum(1.0, 1.0, dimension=dimension)
    rng, seeds = np.random.default_rng(77), 1500
    samples = np.array([
        fields.kinematic_simulation(spectrum, modes=4, dimension=dimension, seed=rng).velocity(
            [0.0, 2.3], [[0.0] * dimension, [1.7, -0.4, 0.9][:dimension]]
        )
        for _ in range(seeds)
    ])  # fmt: skip
    variance = 2 * integral(spectrum) / dimension
    for v in np.moveaxis(samples, 1, 0):
        products = v[:, :, None] * v[:, None, :] - variance * np.eye(dimension)
        score = abs(products.mean(axis=0)) / (products.std(axis=0) / math.sqrt(seeds))
        assert score.max() < 5, score
        mean_score = abs(v.mean(axis=0)) / (v.std(axis=0) / math.sqrt(seeds))
        assert mean_score.max() < 5, mean_score


def test_directions_are_uniform():
    """Second moments of directions: 1/d on the diagonal, zero off it."""
    for dimension in (2, 3):
        field = fields.kinematic_simulation(
            fields.power_law(dimension=dimension), modes=4000, dimension=dimension, seed=2
        )
        k = amplitudes(field)[0]
        unit = k / np.linalg.norm(k, axis=1, keepdims=True)
        moment = unit.T @ unit / 4000
        np.testing.assert_allclose(moment, np.eye(dimension) / dimension, atol=5 / math.sqrt(8000))


def test_seed_makes_the_field_reproducible_and_another_seed_another_field():
    spectrum = fields.von_karman_pao()
    make = fields.kinematic_simulation
    first, again, other = (make(spectrum, seed=seed, dimension=3) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.table, again.table)
    assert abs(first.table - other.table).max() > 0.1
    generator = make(spectrum, seed=np.random.default_rng(1), dimension=3)
    np.testing.assert_array_equal(first.table, generator.table)


def test_plain_function_serves_as_spectrum():
    field = fields.kinematic_simulation(
        lambda k: k**-2.0, modes=5, seed=0, wavenumbers=(1.0, 32.0), dimension=2
    )
    _, a, b = amplitudes(field)
    assert ((a**2).sum() + (b**2).sum()) / 4 == pytest.approx(1 - 1 / 32, rel=1e-13)
    assert field.modal and field.table.shape == (5, 7)
    assert field.domain[0].upper == pytest.approx(2 * math.pi / math.sqrt(2))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"dimension": 1}, "dimension must be 2 or 3, got 1"),
        ({"modes": 0}, "modes must be at least 1, got 0"),
        ({"wavenumbers": (2.0, 1.0)}, r"\(smallest, largest\), got 2.0, 1.0"),
        ({"wavenumbers": (0.0, 1.0)}, r"positive numbers .*, got 0.0, 1.0"),
        ({"spectrum": lambda k: 1 / k}, r"wavenumbers=\(smallest, largest\) must be given"),
        (
            {"spectrum": lambda k: -k, "wavenumbers": (1.0, 2.0)},
            "spectrum must be finite and not negative for k from 1.0 to 2.0",
        ),
    ],
)
def test_impossible_simulations_are_refused(change, message):
    arguments = {"spectrum": fields.power_law(), "modes": 3, "seed": 0} | change
    with pytest.raises(ValueError, match=message):
        fields.kinematic_simulation(**arguments)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: fields.von_karman_pao(k_eta=0.0), "k_eta must be positive, got 0.0"),
        (lambda: fields.gaussian_spectrum(-1.0), "rms_velocity must be positive, got -1.0"),
        (lambda: fields.power_law(lower=3.0, upper=2.0), r"\(smallest, largest\), got 3.0, 2.0"),
        (lambda: fields.power_law(dimension=4), "dimension must be 2 or 3, got 4"),
    ],
)
def test_impossible_spectra_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
