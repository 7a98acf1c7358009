"""Shapes of windows: transfer functions, what is cut off, and means along known trajectories."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import erf

from meanfluid import trajectories
from meanfluid.backends import compiled
from meanfluid.means import windows
from meanfluid.means.along import eulerian_mean, lagrangian_mean
from meanfluid.means.average_velocity import average_velocity
from tests.catalogue import CASES
from tests.trajectories.own_fields import turned, unsteady_rotation

TURNING = unsteady_rotation()
X = np.random.default_rng(181).uniform(-1.0, 1.0, (12, 2))
TIGHT = {"rtol": 1e-12}


def parabola(m, s):
    """Of the fraction of the window, and not symmetric."""
    return 1.0 + 3.0 * s * s


def where(m, p, t, x, y):
    return x, y


WINDOWS = {
    "top hat": windows.top_hat(),
    "hann": windows.hann(),
    "gaussian": windows.gaussian(0.4),
    "exponential": windows.exponential(0.9),
    "two-sided": windows.exponential(0.9, two_sided=True),
    "butterworth": windows.butterworth(0.9),
    "butterworth 5": windows.butterworth(1.7, order=5),
    "weighted": windows.weighted(parabola),
}
OMEGA = np.array([0.0, 0.3, 1.3, 7.0])


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("duration", [0.3, 2.4, 9.0])
def test_the_transfer_function_is_the_fourier_integral_of_the_weight(name, duration):
    window, start = WINDOWS[name], 0.7
    end = start + duration
    middle = (start + end) / 2
    reference = end if window.causal else middle

    def integral(part, omega):
        def integrand(t):
            return window.weight(t, start, end) * part(omega * (t - reference))

        options = {"epsabs": 1e-13, "epsrel": 1e-12, "limit": 200}
        return sum(quad(integrand, *w, **options)[0] for w in ((start, middle), (middle, end)))

    found = window.transfer(OMEGA, duration)
    exact = [integral(np.cos, w) + 1j * integral(np.sin, w) for w in OMEGA]
    assert found.dtype == complex and found.shape == OMEGA.shape
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-11)
    assert abs(found[0] - 1) < 1e-15


def test_transfer_functions_in_closed_form():
    """A running mean of 1.5 on frequency 2, once and twice; and the infinite filters."""
    once = windows.top_hat().transfer(2.0, 1.5)
    assert abs(once - 0.664996657736036) < 1e-15 and abs(once**2 - 0.442220554800099) < 1e-15
    np.testing.assert_allclose(windows.gaussian(0.4).transfer(OMEGA), np.exp(-0.08 * OMEGA**2))
    np.testing.assert_allclose(windows.exponential(0.9).transfer(OMEGA), 0.9 / (0.9 + 1j * OMEGA))
    both = windows.exponential(0.9, two_sided=True).transfer(OMEGA)
    np.testing.assert_allclose(both, 0.81 / (0.81 + OMEGA**2), rtol=1e-14)
    exact = 0.81 / (0.81 + math.sqrt(2) * 0.9j * OMEGA - OMEGA**2)
    np.testing.assert_allclose(windows.butterworth(0.9).transfer(OMEGA), exact, rtol=1e-14)
    for order in range(1, 9):
        gain = np.abs(windows.butterworth(0.9, order).transfer(OMEGA))
        exact = 1 / np.sqrt(1 + (OMEGA / 0.9) ** (2 * order))
        np.testing.assert_allclose(gain, exact, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(
        windows.butterworth(0.9, 1).transfer(OMEGA), windows.exponential(0.9).transfer(OMEGA)
    )


def test_what_is_cut_off_is_said():
    assert abs(windows.exponential(0.9).coverage(2.0) - (1 - math.exp(-1.8))) < 1e-15
    both = windows.exponential(0.9, two_sided=True)
    assert abs(both.coverage(2.0) - (1 - math.exp(-0.9))) < 1e-15
    assert abs(windows.gaussian(0.4).coverage(2.0) - erf(2.5 / math.sqrt(2))) < 1e-15
    z = 1.8 / math.sqrt(2)
    exact = 1 - math.exp(-z) * (math.cos(z) + math.sin(z))
    assert abs(windows.butterworth(0.9).coverage(2.0) - exact) < 1e-15
    for window in WINDOWS.values():
        assert window.coverage(1e3) == pytest.approx(1.0, abs=1e-12)
        if not window.spanning:
            far = window.transfer(OMEGA, 1e3) - window.transfer(OMEGA)
            assert np.abs(far).max() < 1e-12


def test_a_causal_window_forgets_what_is_long_before_the_end_in_both_directions():
    memory = windows.exponential(0.9)
    time = np.array([-0.5, 0.0, 1.0, 3.0, 3.5])
    whole = (1 - math.exp(-2.7)) / 0.9
    exact = np.array([0.0, math.exp(-2.7), math.exp(-1.8), 1.0, 0.0]) / whole
    np.testing.assert_allclose(memory.weight(time, 0.0, 3.0), exact, rtol=1e-14)
    backwards = memory.weight(3.0 - time, 3.0, 0.0)
    np.testing.assert_allclose(backwards, exact, rtol=1e-14)


def mean_by_gauss(window, function, start, end):
    """Weighted mean by Gauss's rule on both halves; the function gives an axis of times first."""
    node, share = np.polynomial.legendre.leggauss(40)
    middle = (start + end) / 2
    total = whole = 0.0
    for low, high in ((start, middle), (middle, end)):
        t = (low + high) / 2 + (high - low) / 2 * node
        weight = window.weight(t, start, end) * share * abs(high - low) / 2
        total = total + np.tensordot(weight, function(t), axes=1)
        whole = whole + weight.sum()
    return total / whole


DEFAULT = ("hann", "exponential")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in DEFAULT else pytest.mark.slow) for n in WINDOWS],
)
def test_means_with_windows_of_ones_own_for_every_particle(name):
    """Along the known path of an unsteady rotation; windows run both ways, and may be empty."""
    window, rng = WINDOWS[name], np.random.default_rng(182)
    start = rng.uniform(0.0, 3.0, len(X))
    end = start + rng.uniform(-4.0, 4.0, len(X))
    end[:2] = start[:2]
    both = {"where": where, "velocity": "velocity"}
    for label, given in (("initial", start), ("final", end)):
        value, error = lagrangian_mean(
            TURNING, both, X, start, end, label=label, window=window, return_error=True
        )
        for i, (a, b) in enumerate(zip(start, end, strict=True)):

            def path(ts, i=i, given=given):
                return np.stack([turned(TURNING, X[i : i + 1], given[i], t)[0] for t in ts])

            def speed(ts, path=path):
                return np.stack(
                    [TURNING.velocity(t, x[None])[0] for t, x in zip(ts, path(ts), strict=True)]
                )

            for key, function in (("where", path), ("velocity", speed)):
                exact = mean_by_gauss(window, function, a, b) if a != b else function([a])[0]
                true = np.linalg.norm(value[key][i] - exact)
                assert true <= 10 * error[key][i] + 1e-13, (key, i, true, error[key][i])
                assert true < 1e-8, (key, i, true)


@pytest.mark.slow
def test_an_eulerian_mean_filters_what_happens_at_the_place():
    """The angular velocity 1 + sin(t) / 2 through the transfer function of the window."""
    start, end = 0.4, 5.1
    for name in DEFAULT:
        window = WINDOWS[name]
        reference = end if window.causal else (start + end) / 2
        factor = window.transfer(1.0, end - start) * np.exp(1j * reference)
        rate = 1 + 0.5 * factor.imag
        value, error = eulerian_mean(
            TURNING, where, X, start, end, window=window, return_error=True
        )
        np.testing.assert_allclose(value, X, rtol=0, atol=1e-12)
        value, error = eulerian_mean(
            TURNING, {"u": "velocity", "x": where}, X, start, end, window=window, return_error=True
        )
        true = np.linalg.norm(value["u"] - rate * np.stack([-X[:, 1], X[:, 0]], axis=1), axis=1)
        assert (true <= 10 * error["u"] + 1e-14).all() and true.max() < 1e-9


def test_other_times_rates_and_places_compile_nothing_new():
    lagrangian_mean(TURNING, where, X, 0.0, 1.0, window=windows.exponential(0.9))
    lagrangian_mean(TURNING, where, X, 0.0, 1.0, window=windows.hann())
    before = compiled._compile.cache_info().misses
    for rate, end in ((0.3, 1.0), (2.0, 4.0)):
        lagrangian_mean(TURNING, where, X, 0.1, end, window=windows.exponential(rate))
        lagrangian_mean(TURNING, where, X[:5], 0.1 * rate, end, window=windows.hann())
    assert compiled._compile.cache_info().misses == before


def kept(m, p, t, x, y, constants):
    return constants[0] * (x * x + y * y), constants[1]


def test_observables_may_ask_for_numbers_of_their_particle():
    """The square radius does not change in a rotation."""
    own = np.random.default_rng(183).normal(size=(len(X), 2))
    path = trajectories(TURNING, X, 0.0, 2.0, observables=[kept], constants=own)
    exact = np.stack([own[:, 0] * (X * X).sum(axis=1), own[:, 1]], axis=1)
    np.testing.assert_allclose(path.means["kept"], exact, rtol=0, atol=1e-10)
    assert path.position.shape == X.shape
    np.testing.assert_allclose(path.position, turned(TURNING, X, 0.0, 2.0), rtol=0, atol=1e-10)


@pytest.mark.slow
def test_windows_work_on_modal_and_sampled_fields_with_their_gradient():
    """A Hann window by mean position, against the plain weight of `trajectories`."""
    case = CASES["kinematic_simulation_2d"]
    x, h = case.position(10, seed=184), 0.4

    def hann(m, t):
        return 1 - m.cos(2 * m.pi * t / 0.4)

    value = average_velocity(case.field, x, 0.0, h, label="initial", window=windows.hann())
    path = trajectories(case.field, x, 0.0, h, observables=[where], weights={"hann": hann})
    np.testing.assert_allclose(value, path.means["velocity.hann"], rtol=0, atol=1e-9)
    there = path.means["where.hann"]
    again = average_velocity(case.field, there, 0.0, h, label="mean", window=windows.hann())
    np.testing.assert_allclose(again, value, rtol=0, atol=1e-8)


REFUSED = {
    "no std": (lambda: windows.gaussian(0.0), "std must be a positive number, got 0.0"),
    "NaN": (lambda: windows.exponential(math.nan), "rate must be a positive number, got nan"),
    "a word": (lambda: windows.butterworth("fast"), "rate must be a positive number, got 'fast'"),
    "order 9": (lambda: windows.butterworth(1.0, 9), "order must be an integer from 1 to 8, got 9"),
    "half an order": (lambda: windows.butterworth(1.0, 1.5), "order must be an integer"),
    "no function": (lambda: windows.weighted(1.0), r"the weight must be a function w\(m, s\)"),
    "arguments": (lambda: windows.weighted(lambda s: s), r"could not be called as w\(m, s\)"),
    "a tuple": (lambda: windows.weighted(lambda m, s: (s, s)), "must return a real number"),
    "nothing left": (
        lambda: windows.weighted(lambda m, s: m.sin(2 * m.pi * s)), "integral of the weight must",
    ),
    "no duration": (lambda: windows.hann().transfer(1.0), "stretches with the window: pass its"),
    "negative": (lambda: windows.hann().transfer(1.0, -1.0), "duration must be a positive number"),
    "empty": (lambda: windows.hann().weight(0.0, 1.0, 1.0), "length of the window must be a pos"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_windows_that_make_no_sense_are_refused(what):
    make, message = REFUSED[what]
    with pytest.raises(ValueError, match=message):
        make()


def test_constants_that_do_not_fit_are_refused():
    for constants, message in (
        (np.ones(3), r"constants must have shape \(12, k\), a row for each particle, got \(3,\)"),
        (np.full((12, 1), np.nan), "constants must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            trajectories(TURNING, X, 0.0, 1.0, constants=constants)
    with pytest.raises(ValueError, match="asks for constants: pass constants="):
        trajectories(TURNING, X, 0.0, 1.0, observables=[lambda m, p, t, x, y, constants: x])
    with pytest.raises(ValueError, match="constants= belongs to meanfluid"):
        lagrangian_mean(TURNING, where, X, 0.0, 1.0, constants=np.ones((12, 2)))


def test_windows_are_values():
    assert windows.gaussian(0.4) == windows.gaussian(0.4) != windows.gaussian(0.5)
    assert repr(windows.butterworth(0.9, 3)) == "butterworth(rate=0.9, order=3)"
    assert len({windows.hann(), windows.hann(), windows.weighted(parabola)}) == 2
