"""Spatial filters: transfer functions, constants, walls, orders of convergence, refusals."""

import math

import numpy as np
import pytest
import xarray as xr

from meanfluid.means.filters import gaussian, sharp_spectral, top_hat

X = 2 * np.pi * np.arange(64) / 64
STEP = X[1]
MAKERS = {"top-hat": top_hat, "Gaussian": gaussian, "sharp spectral": sharp_spectral}
NUMBERS = {"top-hat": 0.776699238306022, "Gaussian": 0.786627861066553, "sharp spectral": 1.0}


@pytest.mark.parametrize("name", MAKERS)
def test_a_mode_is_multiplied_by_the_transfer_function(name):
    apply = MAKERS[name](0.8)
    assert apply.transfer(3.0) == pytest.approx(NUMBERS[name], rel=1e-14)
    for k in (0, 1, 3, 9, 31, 32):
        for mode in (np.cos(k * X), np.exp(1j * k * X)):
            found = apply(mode, axis=0, spacing=STEP)
            np.testing.assert_allclose(found, apply.transfer(k) * mode, rtol=0, atol=1e-14)


def test_the_sharp_cut_off_keeps_its_own_wavenumber():
    apply = sharp_spectral(math.pi / 9)
    np.testing.assert_allclose(
        apply(np.cos(9 * X), axis=0, spacing=STEP), np.cos(9 * X), atol=1e-14
    )
    np.testing.assert_allclose(apply(np.cos(10 * X), axis=0, spacing=STEP), 0 * X, atol=1e-14)


def test_the_transfer_function_is_the_fourier_transform_of_the_kernel():
    """By Gauss quadrature of exp(-i k r) over the top-hat; the Gaussian has its second moment."""
    nodes, weights = np.polynomial.legendre.leggauss(20)
    k = np.array([0.0, 2.0, 5.0, 11.0])
    integral = (np.cos(np.outer(k, 0.4 * nodes)) * weights / 2).sum(axis=1)
    np.testing.assert_allclose(top_hat(0.8).transfer(k), integral, atol=1e-14)
    for maker in (top_hat, gaussian):  # 1 - k^2 D^2/24: variance D^2/12
        small = 1 - maker(0.8).transfer(1e-3)
        assert small == pytest.approx(1e-6 * 0.8**2 / 24, rel=1e-6)


def test_axes_are_filtered_one_after_the_other():
    kx, ky = 3, 2
    field = np.cos(kx * X)[:, None] * np.sin(ky * X)
    apply = gaussian(0.8)
    found = apply(field, axis=(0, -1), spacing=STEP)
    factor = math.exp(-(kx**2 + ky**2) * 0.8**2 / 24)
    np.testing.assert_allclose(found, factor * field, rtol=0, atol=1e-14)
    half = apply(apply(field, axis=0, spacing=STEP), axis=1, spacing=STEP)
    np.testing.assert_allclose(found, half, rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", ["top-hat", "Gaussian"])
@pytest.mark.parametrize("width", [0.01, 0.3, 0.8, 50.0])
def test_between_walls_constants_stay_and_the_largest_value_is_never_exceeded(name, width):
    apply = MAKERS[name](width)
    constant = apply(np.full((2, 40), 3.0), axis=1, spacing=0.05, ends="bounded")
    np.testing.assert_allclose(constant, 3.0, rtol=1e-13)
    noise = np.random.default_rng(5).uniform(0, 1, 40)
    found = apply(noise, axis=0, spacing=0.05, ends="bounded")
    assert found.min() >= noise.min() - 1e-13 and found.max() <= noise.max() + 1e-13


@pytest.mark.parametrize("name", ["top-hat", "Gaussian"])
def test_straight_lines_stay_far_from_walls_and_bend_at_them(name):
    x = 0.05 * np.arange(101)
    found = MAKERS[name](0.8)(x, axis=0, spacing=0.05, ends="bounded")
    inside = slice(40, 61)  # 2 from either wall: 8.7 standard deviations of the Gaussian
    np.testing.assert_allclose(found[inside], x[inside], rtol=0, atol=1e-12)
    cut = {"top-hat": 0.2, "Gaussian": 0.8 / math.sqrt(12) * math.sqrt(2 / math.pi)}[name]
    assert found[0] == pytest.approx(cut, rel=1e-12)  # mean of the half of the kernel inside
    assert x[-1] - found[-1] == pytest.approx(cut, rel=1e-12)


@pytest.mark.parametrize("name", ["top-hat", "Gaussian"])
def test_between_walls_the_filter_converges_at_second_order(name):
    """To the transfer function in the middle; to the mean over the part inside at the wall."""
    apply, k, errors = MAKERS[name](0.8), 3.0, []
    for n in (80, 160, 320):
        x = np.arange(n + 1) * (8.0 / n)
        found = apply(np.cos(k * x), axis=0, spacing=8.0 / n, ends="bounded")
        middle = found[n // 2] - apply.transfer(k) * math.cos(4 * k)
        # By symmetry the half of the kernel inside gives the same mean of a cosine.
        errors.append((abs(middle), abs(found[0] - apply.transfer(k))))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, 2.0, atol=0.05)


def test_walls_break_the_commutation_with_derivatives():
    """A filtered straight line has not slope 1 at a wall; on the circle all slopes commute."""
    x = 0.05 * np.arange(101)
    slope = np.diff(top_hat(0.8)(x, axis=0, spacing=0.05, ends="bounded")) / 0.05
    assert slope[0] == pytest.approx(0.5, rel=1e-12)
    assert slope[50] == pytest.approx(1.0, rel=1e-12)


def test_a_dataarray_keeps_its_coordinates_and_says_what_was_done():
    data = xr.DataArray(
        np.cos(3 * X)[:, None] * np.ones(5), {"x": ("x", X, {"units": "m"}), "z": np.arange(5.0)},
        ("x", "z"), "u", {"units": "m s-1", "cell_methods": "time: mean"},
    )  # fmt: skip
    found = gaussian(0.8)(data, dim="x")
    np.testing.assert_allclose(found, 0.786627861066553 * data, atol=1e-14)
    assert found.attrs["cell_methods"] == (
        "time: mean x: mean (comment: Gaussian filter of width 0.8, periodic)"
    )
    assert found.attrs["units"] == "m s-1" and found["x"].attrs == {"units": "m"}
    both = gaussian(0.8)(data, dim=("x", "z"), ends=("periodic", "bounded"))
    np.testing.assert_allclose(both, found, atol=1e-13)
    turned = gaussian(0.8)(data.transpose("z", "x"), dim="x")
    np.testing.assert_array_equal(turned.transpose("x", "z"), found)


DATA = xr.DataArray(np.ones(4), {"x": [0.0, 1.0, 2.0, 4.0]}, ("x",))
REFUSED = {
    "no width": (lambda: top_hat(0.0), ValueError, "width must be positive"),
    "no spacing": (lambda: top_hat(1.0)(X, axis=0), TypeError, "axis= and spacing="),
    "a negative spacing": (lambda: top_hat(1.0)(X, axis=0, spacing=-1), ValueError, "positive"),
    "two spacings": (lambda: top_hat(1.0)(X, axis=0, spacing=[1, 2]), ValueError, "one per axis"),
    "a missing axis": (lambda: top_hat(1.0)(X, axis=1, spacing=1), ValueError, "different axes"),
    "an axis twice": (lambda: top_hat(1.0)(X, axis=[0, -1], spacing=1), ValueError, "different"),
    "other ends": (
        lambda: top_hat(1.0)(X, axis=0, spacing=1, ends="wall"), ValueError, "ends must be"),
    "walls and a sharp cut-off": (
        lambda: sharp_spectral(1.0)(X, axis=0, spacing=1, ends="bounded"), ValueError, "no sense"),
    "a gap": (lambda: top_hat(1.0)([1.0, np.nan], axis=0, spacing=1), ValueError, "axis 0=1; fill"),
    "uneven coordinates": (lambda: top_hat(1.0)(DATA, dim="x"), ValueError, "equally spaced"),
    "no coordinates": (
        lambda: top_hat(1.0)(DATA.drop_vars("x"), dim="x"), ValueError, "no coordinate"),
    "no dim": (lambda: top_hat(1.0)(DATA), TypeError, "needs dim="),
    "a dataset": (lambda: top_hat(1.0)(DATA.to_dataset(name="a"), dim="x"), TypeError, "variable"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_sense_is_refused(what):
    call, kind, message = REFUSED[what]
    with pytest.raises(kind, match=message):
        call()
