"""Finite-time Lyapunov exponents: closed forms, an oracle, what is refused."""

import math

import numpy as np
import pytest

from meanfluid import TrajectoryError, ftle
from meanfluid.fields import linear_flow, sampled, shear, strain
from tests.catalogue import CASES
from tests.trajectories.own_fields import BOX, whirl, whirled

POSITION = np.random.default_rng(161).uniform(-1, 1, (40, 2))
WHIRL = whirl()


@pytest.mark.parametrize("end", [2.5, -2.5])
def test_a_strain_has_its_rate_forwards_and_backwards(end):
    found, error = ftle(strain(0.7), POSITION, 0.0, end, return_error=True)
    assert found.shape == error.shape == (40,)
    np.testing.assert_allclose(found, 0.7, rtol=0, atol=1e-11)
    assert (abs(found - 0.7) <= 10 * error + 1e-15).all() and (error < 1e-9).all()


@pytest.mark.parametrize("duration", [1e-6, 0.5, 4.0, 1e3])
def test_a_shear_stretches_by_the_largest_singular_value(duration):
    """Of [[1, s], [0, 1]]: asinh(s / 2), which is s / 2 to begin with and then log s."""
    found = ftle(shear(1.5), POSITION, 1.0, 1.0 + duration)
    h = (1.0 + duration) - 1.0
    np.testing.assert_allclose(found, math.asinh(1.5 * h / 2) / h, rtol=1e-12, atol=2e-16 / h)


def test_an_unsteady_vortex_stretches_by_its_closed_form():
    windows = np.linspace(0.5, 6.0, 40)
    deformation = np.concatenate(
        [whirled(WHIRL, x[None], 0.25, 0.25 + h)[1] for x, h in zip(POSITION, windows, strict=True)]
    )
    exact = np.log(np.linalg.norm(deformation, 2, axis=(1, 2))) / windows
    found, error = ftle(WHIRL, POSITION, 0.25, 0.25 + windows, return_error=True)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-9)
    assert np.mean(abs(found - exact) <= 10 * error + 4e-16 / windows) >= 0.95


def test_a_sampled_linear_flow_has_that_of_the_formula():
    """Splines hold it exactly."""
    matrix = np.array([[0.3, 1.2], [-0.7, -0.3]])
    x = np.linspace(-8, 8, 9)
    mesh = np.meshgrid(x, x, indexing="ij")
    grid = sampled(list(np.einsum("ij,jkl->ikl", matrix, mesh)), [x, x], degree=3)
    expected = ftle(linear_flow(matrix.tolist()), POSITION, 0.0, 3.0)
    np.testing.assert_allclose(ftle(grid, POSITION, 0.0, 3.0), expected, rtol=0, atol=1e-10)


@pytest.mark.reference
@pytest.mark.parametrize("name", ["abc_flow", pytest.param("double_gyre", marks=pytest.mark.slow)])
def test_exponents_are_those_of_taylor_series(name):
    pytest.importorskip("heyoka")
    from meanfluid.backends.reference import reference_gradient

    case = CASES[name]
    x = case.position(60, seed=162)
    gradient = reference_gradient(case.field, x, case.start, case.end)
    exact = np.log(np.linalg.norm(gradient, 2, axis=(1, 2))) / (case.end - case.start)
    found, error = ftle(case.field, x, case.start, case.end, return_error=True)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-9)
    assert np.mean(abs(found - exact) <= 10 * error + 1e-15) >= 0.95


def test_what_is_marked_is_not_a_number_and_the_rest_is():
    x = [(0.5, 0.0), (0.9, 0.0)]
    found, error = ftle(BOX, x, 0.0, 0.3, on_failure="mark", return_error=True)
    np.testing.assert_array_equal(np.isnan(found), [False, True])
    np.testing.assert_array_equal(np.isnan(error), [False, True])
    assert found[0] == 0
    with pytest.raises(TrajectoryError, match="1 of 2"):
        ftle(BOX, x, 0.0, 0.3)


REFUSED = {
    "an empty window": ({"end": 0.0}, "ftle needs windows of some length, got start == end"),
    "one empty window": ({"end": [1.0, 0.0]}, "ftle needs windows of some length"),
    "a window that is no number": ({"end": math.nan}, "ftle needs windows|end must be finite"),
    "times": ({"times": [0.5]}, "times= belongs to meanfluid.trajectories"),
    "gradient": ({"gradient": False}, "gradient= belongs to meanfluid.trajectories"),
    "observables": ({"observables": []}, "observables= belongs to meanfluid.trajectories"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_sense_is_refused(what):
    options, message = REFUSED[what]
    with pytest.raises(ValueError, match=message):
        ftle(WHIRL, POSITION[:2], **{"start": 0.0, "end": 1.0, **options})
