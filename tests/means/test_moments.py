"""Generalised central moments, Favre means, triple decomposition: closed forms and identities."""

import math

import numpy as np
import pytest
import xarray as xr

from meanfluid.means.eulerian import ensemble_mean, time_mean, zonal_mean
from meanfluid.means.filters import gaussian, top_hat
from meanfluid.means.moments import central_moment, favre, triple_decomposition

X = 2 * np.pi * np.arange(64) / 64
RANDOM = np.random.default_rng(11)


def les(maker, width):
    return lambda f: maker(width)(f, axis=0, spacing=X[1])


def smooth():
    waves = np.arange(1, 7)
    sizes, phases = RANDOM.normal(size=6), RANDOM.uniform(0, 6, 6)
    return (sizes * np.cos(np.outer(X, waves) + phases)).sum(axis=1)


@pytest.mark.parametrize("maker", [gaussian, top_hat])
def test_the_moment_of_a_wave_has_a_closed_form(maker):
    """tau(cos kx, cos kx) = (1 - G(k)^2)/2 + (G(2k) - G(k)^2)/2 cos 2kx."""
    wave, k = np.cos(3 * (X + 0.3)), 3
    one, two = (float(maker(0.8).transfer(n * k)) for n in (1, 2))
    exact = (1 - one**2) / 2 + (two - one**2) / 2 * np.cos(2 * k * (X + 0.3))
    found = central_moment(les(maker, 0.8), wave, wave)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-14)
    if maker is gaussian:
        assert found[0] == pytest.approx(0.21740571261844, rel=1e-12)


def test_with_an_ensemble_they_are_the_moments_of_deviations():
    f, g, h = RANDOM.normal(size=(3, 50, 4))

    def mean(a):
        return ensemble_mean(a, axis=0)

    a, b, c = (q - mean(q) for q in (f, g, h))
    np.testing.assert_allclose(central_moment(mean, f, g), mean(a * b), atol=1e-14)
    np.testing.assert_allclose(central_moment(mean, f, g, h), mean(a * b * c), atol=1e-14)


def test_the_third_moment_completes_the_mean_of_a_product():
    """Germano (1992): <fgh> is the sum over the ways to split three factors."""
    mean, (f, g, h) = les(gaussian, 0.8), (smooth(), smooth(), smooth())
    p, q, r = map(mean, (f, g, h))
    total = p * q * r + central_moment(mean, f, g, h)
    total += p * central_moment(mean, g, h)
    total += q * central_moment(mean, f, h) + r * central_moment(mean, f, g)
    np.testing.assert_allclose(total, mean(f * g * h), rtol=0, atol=1e-12)


def test_moments_do_not_change_if_constants_are_added():
    """Deviations would: <f'g'> is not a moment of a filter."""
    mean, (f, g, h) = les(gaussian, 0.8), (smooth(), smooth(), smooth())
    for moved, still in (
        (central_moment(mean, f + 2, g - 5), central_moment(mean, f, g)),
        (central_moment(mean, f + 2, g - 5, h + 1), central_moment(mean, f, g, h)),
    ):
        np.testing.assert_allclose(moved, still, rtol=0, atol=1e-12)
    deviations = mean((f - mean(f)) * (g - mean(g)))
    assert abs(deviations - central_moment(mean, f, g)).max() > 0.01


@pytest.mark.parametrize("test", [les(gaussian, 1.2), les(top_hat, 2.0)])
def test_germano_identity_relates_two_levels_of_filtering(test):
    """T(f,g) = <tau(f,g)>~ + L, with the resolved L = <<f><g>>~ - <<f>>~<<g>>~."""
    grid, (f, g) = les(gaussian, 0.6), (smooth(), smooth())
    both = central_moment(lambda a: test(grid(a)), f, g)
    resolved = central_moment(test, grid(f), grid(g))
    np.testing.assert_allclose(both, test(central_moment(grid, f, g)) + resolved, atol=1e-13)
    assert abs(resolved).max() > 0.01  # the identity is not empty


def array(values, **attributes):
    t = np.linspace(0.0, 3.0, len(values))
    return xr.DataArray(values, {"time": t}, ("time",), "u", attributes)


def test_a_moment_of_dataarrays_has_the_units_of_the_product():
    u = array(RANDOM.normal(size=9), units="m s-1", standard_name="eastward_wind")
    v = array(RANDOM.normal(size=9), units="K").rename("theta")
    found = central_moment(lambda a: time_mean(a, dim="time"), u, v)
    assert found.attrs["units"] == "m s-1 K" and "standard_name" not in found.attrs
    assert found.attrs["long_name"] == "generalised central moment of u, theta"
    plain = central_moment(
        lambda a: time_mean(a, u["time"].to_numpy(), axis=0), u.to_numpy(), v.to_numpy()
    )
    assert float(found) == pytest.approx(float(plain), rel=1e-14)


def test_the_favre_mean_makes_the_mean_momentum_exact():
    """<rho f> = <rho> f~, and f~ = <f> + tau(rho, f)/<rho>; with equal density it is the mean."""
    mean, f = les(gaussian, 0.8), smooth()
    density = 2 + np.cos(X)
    found = favre(mean, density, f)
    np.testing.assert_allclose(
        found, mean(f) + central_moment(mean, density, f) / mean(density), atol=1e-13
    )
    np.testing.assert_allclose(favre(mean, np.full(64, 3.0), f), mean(f), atol=1e-14)


def test_a_favre_mean_of_dataarrays_keeps_the_unit():
    u = array(np.arange(5.0), units="m s-1", standard_name="sea_water_x_velocity")
    found = favre(lambda a: time_mean(a, dim="time"), array(np.ones(5), units="kg m-3"), u)
    assert found.attrs["units"] == "m s-1" and found.name == "u" and float(found) == 2.0


def test_densities_that_are_negative_or_vanish_are_refused():
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        favre(np.mean, np.array([1.0, -1.0]), np.ones(2))
    with pytest.raises(ValueError, match="must be positive, got 0"):
        favre(np.mean, np.zeros(2), np.ones(2))


def test_a_triple_decomposition_finds_its_parts():
    """A wave, and a slower one that takes 20 periods of it for 7 of its own."""
    phase = 2 * np.pi * np.arange(16 * 20) / 16
    wave, other = 0.5 * np.cos(phase + 0.2), 0.3 * np.sin(phase * 7 / 20)
    found = triple_decomposition(1.5 + wave + other, 16, axis=0)
    np.testing.assert_allclose(found.mean, 1.5, rtol=1e-13)
    np.testing.assert_allclose(found.periodic, wave, atol=1e-13)
    np.testing.assert_allclose(found.remainder, other, atol=1e-13)


def test_the_three_parts_add_up_and_are_orthogonal_even_to_those_of_another_signal():
    signals = RANDOM.normal(size=(2, 3, 60))
    (f, g) = (triple_decomposition(s, 12, axis=-1) for s in signals)
    np.testing.assert_allclose(sum(f), signals[0], atol=1e-14)
    for one, two in ((f.periodic, g.remainder), (f.remainder, g.periodic), (f.mean, g.remainder),
                     (f.mean, g.periodic)):  # fmt: skip
        np.testing.assert_allclose((one * two).mean(axis=-1), 0, atol=1e-15)
    cycles = f.remainder.reshape(3, 5, 12)
    np.testing.assert_allclose(cycles.mean(axis=1), 0, atol=1e-15)
    energy = sum((part**2).mean(axis=-1) for part in f)
    np.testing.assert_allclose(energy, (signals[0] ** 2).mean(axis=-1), rtol=1e-13)


def test_a_triple_decomposition_of_a_dataarray_names_its_parts():
    data = array(RANDOM.normal(size=12), units="m s-1", cell_methods="x: mean")
    found = triple_decomposition(data, 4, dim="time")
    assert [part.name for part in found] == ["u_mean", "u_periodic", "u_remainder"]
    assert all(part.attrs["units"] == "m s-1" for part in found)
    assert found.periodic.attrs["long_name"] == "periodic part of u"
    np.testing.assert_allclose(sum(part.to_numpy() for part in found), data, atol=1e-15)


REFUSED = {
    "a broken period": (lambda: triple_decomposition(X, 7, axis=0), ValueError, "no whole number"),
    "half a sample": (lambda: triple_decomposition(X, 3.5, axis=0), ValueError, "whole number"),
    "no axis": (lambda: triple_decomposition(X, 8), TypeError, "needs axis="),
    "no dim": (lambda: triple_decomposition(array(X), 8), TypeError, "needs dim="),
    "a gap": (lambda: triple_decomposition([1.0, math.nan], 2, axis=0), ValueError, "not finite"),
    "uneven times": (
        lambda: triple_decomposition(
            xr.DataArray(np.ones(3), {"t": [0.0, 1.0, 5.0]}, ("t",)), 3, dim="t"),
        ValueError, "equally spaced"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_sense_is_refused(what):
    call, kind, message = REFUSED[what]
    with pytest.raises(kind, match=message):
        call()


def test_the_zonal_mean_needs_no_generalised_moments():
    f, g = smooth(), smooth()

    def mean(a):
        return zonal_mean(a, axis=0)

    assert central_moment(mean, f, g) == pytest.approx(mean((f - mean(f)) * (g - mean(g))))
