"""Vorticity deviations: closed forms in steady and unsteady fields, and by quadrature."""

import functools
import math

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp

from meanfluid import TrajectoryError, VelocityField, lavd
from meanfluid.fields import Axis, rotation, sampled, shear, taylor_green
from tests.trajectories.own_fields import BOX, LOGISTIC, turned_angle, whirl

SQUARE = [(-1.0, 1.0), (-1.0, 1.0)]
POSITION = np.random.default_rng(171).uniform(-1, 1, (30, 2))
WHIRL = whirl(2.0, 1.0, 1.3)  # its angular velocity never changes sign


def whirl_deviation(position, half=1.0):
    """Of `whirl` over its angular velocity: |vorticity - mean over the square|.

    The circulation around the square of half width a is 4 a exp(-a^2) sqrt(pi) erf(a).
    """
    square = (position**2).sum(axis=1)
    mean = math.exp(-(half**2)) * math.sqrt(math.pi) * math.erf(half) / half
    return abs(2 * (1 - square) * np.exp(-square) - mean)


@pytest.mark.parametrize("end", [4.0, -4.0])
def test_an_unsteady_vortex_in_closed_form(end):
    """Vorticity and its mean pulsate together; particles keep their radius."""
    exact = whirl_deviation(POSITION) * abs(turned_angle(WHIRL.parameters, 0.5, end))
    found, error = lavd(WHIRL, POSITION, 0.5, end, domain=SQUARE, return_error=True)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-7)
    assert (abs(found - exact) <= 10 * error + 1e-9 * exact).mean() >= 0.95
    normalised = lavd(WHIRL, POSITION, 0.5, end, domain=SQUARE, normalise=True)
    np.testing.assert_allclose(normalised, exact / abs(end - 0.5), rtol=0, atol=1e-7)


def test_solid_rotation_has_no_deviation_but_from_another_mean():
    found = lavd(rotation(1.3), POSITION, 0.0, 5.0, domain=SQUARE)
    np.testing.assert_allclose(found, 0, rtol=0, atol=1e-12)
    found = lavd(rotation(1.3), POSITION, 0.0, 5.0, mean_vorticity=1.0)
    np.testing.assert_allclose(found, 1.6 * 5.0, rtol=1e-9)
    found = lavd(rotation(1.3), POSITION, 5.0, 0.0, mean_vorticity=1.0, normalise=True)
    np.testing.assert_allclose(found, 1.6, rtol=1e-9)


def test_a_shear_has_none_either():
    found = lavd(shear(1.5), POSITION, 0.0, 5.0, domain=SQUARE)
    np.testing.assert_allclose(found, 0, rtol=0, atol=1e-12)


def test_a_mean_that_changes_on_its_own():
    """Solid rotation beside an unsteady shear: the deviation is that of t from the mean at t."""

    def turning(m, p, t, x, y):
        return -(y * y) * m.sin(t), 0 * x

    field = VelocityField(body=turning, dimension=2)
    # vorticity 2 y sin t, y is kept; its mean over 0 < y < 1 is sin t
    x = np.add(POSITION, (0, 1))
    found = lavd(field, x, 0.0, 3.0, domain=[(-1.0, 1.0), (0.0, 1.0)])
    exact = abs(2 * x[:, 1] - 1) * (1 - math.cos(3.0))
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-7)


def cells(decay):
    field = taylor_green(1.0, 1.0, decay)
    axis = Axis(0.0, 2 * math.pi, "periodic")
    return VelocityField(
        body=field.body, parameters=field.parameters, dimension=2, domain=(axis, axis)
    )


@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_cells_over_their_period_deviate_by_all_their_vorticity(decay):
    """By scipy's quadrature along its own trajectory; the mean over a period is zero."""
    field = cells(decay)
    h = 1e-4
    for x in [(1.2, 1.0), (0.3, 0.2), (4.0, 2.0)]:
        path = solve_ivp(
            lambda t, z: field.velocity(t, z[None])[0], (0.3, 4.3), x, method="DOP853",
            rtol=1e-12, atol=1e-13, dense_output=True,
        )  # fmt: skip

        def vorticity(t, path=path):
            z = path.sol(t)
            dv_dx, du_dy = (
                (field.velocity(t, (z + h * e)[None]) - field.velocity(t, (z - h * e)[None]))[0]
                / (2 * h)
                for e in np.eye(2)
            )
            return abs(dv_dx[1] - du_dy[0])

        exact = quad(vorticity, 0.3, 4.3, limit=200, epsabs=1e-9)[0]
        found = lavd(field, [x], 0.3, 4.3)
        assert found[0] == pytest.approx(exact, abs=2e-7)


SPACE = [(-1.0, 1.0)] * 3


def still(m, p, t, x, y, z):
    """Beyond (0, 0, 1) vorticity is (-x, -y, 2 z) at time 0, where nothing moves on the axis."""
    return -z * y * m.cos(t), z * x * m.cos(t), 0 * z


def test_in_space_the_deviation_is_the_length_of_a_vector():
    """Height and radius are kept; vorticity is (-x, -y, 2 z) cos t, and its mean is zero."""
    field = VelocityField(body=still, dimension=3)
    x = np.random.default_rng(172).uniform(-1, 1, (20, 3))
    size = np.sqrt(x[:, 0] ** 2 + x[:, 1] ** 2 + 4 * x[:, 2] ** 2)
    found = lavd(field, x, 0.0, 1.5, domain=SPACE)
    np.testing.assert_allclose(found, size * math.sin(1.5), rtol=0, atol=1e-7)
    # with the mean over a box that is not centred: (0, 0, 1) cos t
    found = lavd(field, x, 0.0, 1.5, domain=[(-1.0, 1.0), (-1.0, 1.0), (0.0, 1.0)])
    size = np.sqrt(x[:, 0] ** 2 + x[:, 1] ** 2 + (2 * x[:, 2] - 1) ** 2)
    np.testing.assert_allclose(found, size * math.sin(1.5), rtol=0, atol=1e-7)
    steady = lavd(field, x, 0.0, 1.5, mean_vorticity=(0.0, 0.0, 0.0))
    size = np.sqrt(x[:, 0] ** 2 + x[:, 1] ** 2 + 4 * x[:, 2] ** 2)
    np.testing.assert_allclose(steady, size * math.sin(1.5), rtol=0, atol=1e-7)


@functools.cache
def sampled_whirl():
    x, t = np.linspace(-1.5, 1.5, 33), np.linspace(0, 2.0, 17)
    clock, *mesh = np.meshgrid(t, x, x, indexing="ij")
    values = WHIRL.velocity(clock.ravel(), np.stack([c.ravel() for c in mesh], axis=-1))
    return sampled(list(values.T.reshape(2, *clock.shape)), [x, x], t, degree=5, time_degree=5)


def test_a_sampled_vortex_over_its_own_domain():
    """To the error of the gradient of a quintic."""
    x = POSITION
    exact = whirl_deviation(x, 1.5) * turned_angle(WHIRL.parameters, 0.0, 2.0)
    found = lavd(sampled_whirl(), x, 0.0, 2.0)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-4)


def test_failures_are_marked_or_raised():
    x = [(0.5, 0.0), (0.9, 0.0)]
    found = lavd(BOX, x, 0.0, 0.3, on_failure="mark")
    np.testing.assert_array_equal(np.isnan(found), [False, True])
    assert found[0] == 0
    with pytest.raises(TrajectoryError, match="1 of 2"):
        lavd(BOX, x, 0.0, 0.3)


REFUSED = {
    "no domain": ({}, r"a bounded domain of 2 intervals .* got \[\]; pass domain="),
    "a domain of one": ({"domain": [(0, 1)]}, "a bounded domain of 2 intervals"),
    "without end": ({"domain": [(0, 1), (0, math.inf)]}, "a bounded domain of 2 intervals"),
    "upside down": ({"domain": [(0, 1), (1, 0)]}, "intervals with lower < upper"),
    "domain and mean": (
        {"domain": SQUARE, "mean_vorticity": 0.0},
        r"1 finite number\(s\) and excludes domain",
    ),
    "a vector in the plane": ({"mean_vorticity": (0, 0, 1)}, "mean_vorticity must be 1 finite"),
    "no number": ({"mean_vorticity": math.nan}, "mean_vorticity must be 1 finite number"),
    "windows of their own": ({"start": [0.0] * 30, "domain": SQUARE}, "lavd needs one window"),
    "times": ({"times": [0.5], "domain": SQUARE}, "times= belongs to meanfluid.trajectories"),
    "on a line": (
        {"field": LOGISTIC, "position": [[1.0]]},
        "vorticity needs 2 or 3 dimensions, got 1",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_sense_is_refused(what):
    arguments = {"field": WHIRL, "position": POSITION, "start": 0.0, "end": 1.0}
    options, message = REFUSED[what]
    with pytest.raises(ValueError, match=message):
        lavd(**{**arguments, **options})
