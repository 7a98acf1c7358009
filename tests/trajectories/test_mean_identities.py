"""What average velocities obey: changes of label, splitting, differential identities, volume."""

import itertools
import math

import numpy as np
import pytest

from meanfluid import average_velocity, flow_map, trajectories
from meanfluid.fields import (
    double_gyre,
    gaussian_vortex,
    moving_vortex,
    plane_wave,
    taylor_green,
)
from tests.catalogue import CASES
from tests.trajectories.own_fields import (
    TIGHT,
    differences,
    gradient_of,
    material_derivatives,
    path_at,
    place,
    time_mean,
)

TURN = 2 * math.pi
GYRE, DECAYING = double_gyre(), taylor_green(1.0, 1.0, 0.05)
WAVE = plane_wave(amplitude_x=0.3, wavenumber_x=2.0, frequency=1.5)


@pytest.mark.parametrize("name", ["double_gyre", "abc_flow", "bickley_jet", "vortex_dipole"])
def test_average_velocities_of_parts_add_up(name):
    """A4, the semigroup of both labels: (t - r) U = (s - r) U_rs + (t - s) U_st."""
    case = CASES[name]
    x, r, t = case.position(20, seed=23), case.start, case.start + 0.6 * (case.end - case.start)
    s = r + 0.3 * (t - r)

    def u(position, start, end, label):
        return average_velocity(case.field, position, start, end, label=label, **TIGHT)

    early = u(x, r, s, "initial")
    late = u(x + (s - r) * early, s, t, "initial")
    whole = u(x, r, t, "initial")
    np.testing.assert_allclose((t - r) * whole, (s - r) * early + (t - s) * late, atol=1e-10)
    late = u(x, s, t, "final")
    early = u(x - (t - s) * late, r, s, "final")
    whole = u(x, r, t, "final")
    np.testing.assert_allclose((t - r) * whole, (s - r) * early + (t - s) * late, atol=1e-10)


@pytest.mark.parametrize("name", ["double_gyre", "rotating_strain", "abc_flow", "lamb_oseen_pair"])
def test_labels_are_one_function_of_two_times(name):
    """A2: swap the times, or move the position along, and the mean changes its label."""
    case = CASES[name]
    x, r, t = case.position(20, seed=24), case.start, case.start + 0.5 * (case.end - case.start)
    s = r + 0.4 * (t - r)

    def u(position, start, end, label):
        return average_velocity(case.field, position, start, end, label=label, **TIGHT)

    final, initial = u(x, r, t, "final"), u(x, r, t, "initial")
    np.testing.assert_array_equal(final, u(x, t, r, "initial"))
    np.testing.assert_array_equal(initial, u(x, t, r, "final"))
    np.testing.assert_array_equal(initial, u(x, r, t, r))
    np.testing.assert_array_equal(final, u(x, r, t, t))
    np.testing.assert_allclose(initial, u(x + (t - r) * initial, r, t, "final"), atol=1e-10)
    np.testing.assert_allclose(final, u(x - (t - r) * final, r, t, "initial"), atol=1e-10)
    np.testing.assert_allclose(
        u(x, r, t, s), u(flow_map(case.field, x, s, r, **TIGHT), r, t, "initial"), atol=1e-10
    )


def test_time_reversal():
    """A4 for v~(x, s) = -v(x, T - s), which for T of one period is a double gyre again."""
    reversed_gyre, period = double_gyre(-0.1, 0.25, -math.pi / 5), 10.0
    x, r, t = CASES["double_gyre"].position(20, seed=25), 1.0, 7.0
    v = GYRE.velocity(period - 3.0, x)
    np.testing.assert_allclose(reversed_gyre.velocity(3.0, x), -v, atol=1e-15)
    for label, other in (("initial", "final"), ("final", "initial")):
        found = average_velocity(reversed_gyre, x, r, t, label=label, **TIGHT)
        expected = -average_velocity(GYRE, x, period - t, period - r, label=other, **TIGHT)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    "field, moving, c",
    [
        (moving_vortex(TURN, 0.5, 0.3, 0.1), gaussian_vortex(TURN, 0.5), (0.3, 0.1)),
        # in the frame of its current, k.V is taken from the frequency of a wave
        (
            plane_wave(0.3, -0.2, 1.5, 0.8, 1.2, 0.2, -0.1),
            plane_wave(0.3, -0.2, 1.5, 0.8, 1.2 - 1.5 * 0.2 + 0.8 * 0.1),
            (0.2, -0.1),
        ),
    ],
    ids=["vortex", "wave"],
)
def test_galilean_invariance(field, moving, c):
    """A4: in a frame that moves at c, the mean is that at x' + c t (or r), less c."""
    x, c, r, t = np.random.default_rng(26).uniform(-1, 1, (20, 2)), np.array(c), 0.7, 4.2
    for label, at in (("final", t), ("initial", r)):
        seen = average_velocity(moving, x, r, t, label=label, **TIGHT)
        absolute = average_velocity(field, x + c * at, r, t, label=label, **TIGHT)
        np.testing.assert_allclose(seen, absolute - c, rtol=0, atol=2e-12)


@pytest.mark.parametrize("name", ["double_gyre", "stuart_vortices", "taylor_green_decaying",
                                  "abc_flow", "kinematic_simulation_3d"])  # fmt: skip
def test_incompressible_flow_preserves_volume_but_its_mean_is_not_solenoidal(name):
    """A6: det(I + h grad U) = 1; div U = -h det(grad U) in the plane, with II in space.

    Gradients by fourth-order differences, whose error and amplified rounding stay below 1e-7.
    """
    case = CASES[name]
    x, h = case.position(12, seed=28), 0.3 * (case.end - case.start)
    for label, sign in (("initial", 1), ("final", -1)):
        gradient = gradient_of(
            lambda y, label=label: average_velocity(
                case.field, y, case.start, case.start + h, label=label, **TIGHT
            ),
            x, 1e-4,
        )  # fmt: skip
        volume = np.linalg.det(np.eye(case.field.dimension) + sign * h * gradient)
        np.testing.assert_allclose(volume, 1, rtol=0, atol=1e-7)
        trace = np.trace(gradient, axis1=1, axis2=2)
        if case.field.dimension == 2:
            expected = -sign * h * np.linalg.det(gradient)
        else:
            second = (trace**2 - np.trace(gradient @ gradient, axis1=1, axis2=2)) / 2
            expected = -sign * h * second - h * h * np.linalg.det(gradient)
        np.testing.assert_allclose(trace, expected, rtol=0, atol=1e-7)
        assert abs(trace).max() > 1e-3  # not solenoidal


@pytest.mark.parametrize("end", [3.0, -3.0])
def test_volume_changes_by_the_integral_of_the_divergence(end):
    """A6: det(I + h grad U) = exp of the integral of div v along the trajectory."""
    x = np.random.default_rng(29).uniform(-2, 2, (20, 2))
    path = path_at(WAVE, x, 0.0, end)

    def divergence(times):
        """Of v = 0.3 cos(2 x - 1.5 t)."""
        return -0.6 * np.sin(2 * path(times)[..., 0] - 1.5 * times[:, None])

    gradient = gradient_of(lambda y: flow_map(WAVE, y, 0.0, end, **TIGHT), x, 1e-3)
    expected = np.exp(end * time_mean(divergence, 0.0, end))
    assert expected.min() < 0.8 and expected.max() > 1.2
    np.testing.assert_allclose(np.linalg.det(gradient), expected, rtol=1e-8)


@pytest.mark.parametrize("name", ["double_gyre", "plane_wave_oblique", "kinematic_simulation_3d"])
def test_the_four_differential_identities(name):
    """A3: derivatives at the anchor (MeanFlow) and at the free end, for both labels."""
    case, dt = CASES[name], 3e-4
    x, r, t = case.position(20, seed=30), case.start, case.start + 0.4 * (case.end - case.start)
    v, h = case.field.velocity, t - r

    def u(position, start, end, label):
        return average_velocity(case.field, position, start, end, label=label, **TIGHT)

    def moved(time, anchor):
        return flow_map(case.field, x, anchor, time, **TIGHT)

    final, initial = u(x, r, t, "final"), u(x, r, t, "initial")
    along = differences(lambda s: u(moved(s, t), r, s, "final"), t, dt)
    np.testing.assert_allclose(final, v(t, x) - h * along, rtol=0, atol=1e-8)  # A-t
    along = differences(lambda s: u(moved(s, r), s, t, "initial"), r, dt)
    np.testing.assert_allclose(initial, v(r, x) + h * along, rtol=0, atol=1e-8)  # D-r
    at_end = differences(lambda s: u(x, s, t, "final"), r, dt)
    np.testing.assert_allclose(final, v(r, x - h * final) + h * at_end, rtol=0, atol=1e-8)  # A-r
    at_end = differences(lambda s: u(x, r, s, "initial"), t, dt)
    np.testing.assert_allclose(initial, v(t, x + h * initial) - h * at_end, atol=1e-8)  # D-t


@pytest.fixture(scope="module")
def identity_parts():
    """A9: u, v, du/dt and grad u at x = (1, 0.5), r = 0.3, t = 2.3, and the same of U."""
    x, r, t, step = np.array([[1.0, 0.5]]), 0.3, 2.3, 2e-3

    def mean(position, end, label):
        return average_velocity(DECAYING, position, r, end, label=label, **TIGHT)

    parts = {"v": DECAYING.velocity(t, x)[0], "h": t - r}
    for name, label in (("u", "final"), ("U", "initial")):
        parts[name] = mean(x, t, label)[0]
        parts[f"d{name}/dt"] = differences(lambda s, label=label: mean(x, s, label)[0], t, step)
        parts[f"grad {name}"] = gradient_of(lambda y, label=label: mean(y, t, label), x, step)[0]
    return parts


def test_meanflow_identity_and_its_parts_at_the_reference_point(identity_parts):
    """A9: D_t u at fixed r, the divergences, and the residual of the identity, which is zero."""
    u, v, h, u_t, grad = (identity_parts[k] for k in ("u", "v", "h", "du/dt", "grad u"))
    rate = u_t + grad @ v
    np.testing.assert_allclose(rate, (0.1474541401634289, 0.1824262634887811), atol=1e-9)
    np.testing.assert_allclose(u - v + h * rate, 0, rtol=0, atol=1e-9)
    traces = [np.trace(identity_parts[k]) for k in ("grad u", "grad U")]
    expected = (-0.0143538104767551, -0.223718116355428)
    np.testing.assert_allclose(traces, expected, rtol=0, atol=1e-9)


MUTATIONS = {
    "sign flipped": (0.938271, lambda u, v, h, u_t, g: u - v - h * (u_t + g @ v)),
    "no advection": (0.800463, lambda u, v, h, u_t, g: u - v + h * u_t),
    "no time derivative": (0.350234, lambda u, v, h, u_t, g: u - v + h * (g @ v)),
    "VJP instead of JVP": (0.920973, lambda u, v, h, u_t, g: u - v + h * (u_t + g.T @ v)),
    "elementwise": (0.403180, lambda u, v, h, u_t, g: u - v + h * (u_t + np.diag(g) * v)),
    "tangent u instead of v": (0.138243, lambda u, v, h, u_t, g: u - v + h * (u_t + g @ u)),
}


@pytest.mark.parametrize("mistake", MUTATIONS)
def test_wrong_identities_miss_by_the_tabulated_amount(identity_parts, mistake):
    """A9, mutation table."""
    expected, residual = MUTATIONS[mistake]
    parts = (identity_parts[k] for k in ("u", "v", "h", "du/dt", "grad u"))
    assert np.linalg.norm(residual(*parts)) == pytest.approx(expected, abs=1e-6)


def test_the_identity_of_the_final_label_fails_for_the_initial(identity_parts):
    """A9: 1.17110 if the mean labelled by the initial position is put into it."""
    mean, v, h, rate, grad = (identity_parts[k] for k in ("U", "v", "h", "dU/dt", "grad U"))
    residual = np.linalg.norm(mean - v + h * (rate + grad @ v))
    assert residual == pytest.approx(1.17110, abs=1e-5)


def test_splitting_a_window_without_moving_the_midpoint_is_wrong():
    """A9: by 0.332098 of displacement along x, split at 1.1; the semigroup above is right."""
    x, r, s, t = [(1, 0.5)], 0.3, 1.1, 2.3
    late = average_velocity(DECAYING, x, s, t, **TIGHT)
    early = average_velocity(DECAYING, x, r, s, **TIGHT)
    whole = average_velocity(DECAYING, x, r, t, **TIGHT)
    residual = (t - r) * whole - (t - s) * late - (s - r) * early
    assert abs(residual).max() == pytest.approx(0.332098, abs=1e-6)


def test_stepping_forwards_with_the_mean_of_the_final_label_is_wrong():
    """A9: x + h u instead of x + h U is off by (0.825692, 1.28913)."""
    x = np.array([[1, 0.5]])
    u, reached = average_velocity(DECAYING, x, 0.3, 2.3), flow_map(DECAYING, x, 0.3, 2.3)
    np.testing.assert_allclose(abs(x + 2 * u - reached), [(0.825692, 1.28913)], atol=1e-5)


@pytest.mark.parametrize("label, order", [("initial", 3), ("final", 3), ("middle", 4), ("mean", 4)])
def test_short_windows_follow_the_series_of_their_label(label, order):
    """A5: the remainder of each series falls at its order; 2.997, 2.999, 4.001 and 4.000."""
    v, a, j = material_derivatives(DECAYING, 2)
    x, middle, remainders = np.array([[1.0, 0.5]]), 1.3, []
    for h in (0.1, 0.05, 0.025):
        r, t = middle - h / 2, middle + h / 2
        if label in ("initial", "final"):
            sign = 1 if label == "initial" else -1
            r, t = (middle, middle + h) if label == "initial" else (middle - h, middle)
            found = average_velocity(DECAYING, x, r, t, label=label, **TIGHT)
            series = v(middle, x) + sign * h / 2 * a(middle, x) + h * h / 6 * j(middle, x)
        elif label == "middle":
            found = average_velocity(DECAYING, x, r, t, label=middle, **TIGHT)
            series = v(middle, x) + h * h / 24 * j(middle, x)
        else:
            first = x
            for _ in range(8):  # the mean position differs from the first by half a displacement
                path = trajectories(DECAYING, first, r, t, observables=[place], **TIGHT)
                first = first + x - path.means["place"][:, :2]
            found = path.average_velocity
            gradient = gradient_of(lambda y: v(middle, y), x, 1e-3)[0]
            series = v(middle, x) + h * h / 24 * (j(middle, x) - a(middle, x) @ gradient.T)
        remainders.append(np.linalg.norm(found - series))
    observed = [math.log2(a / b) for a, b in itertools.pairwise(remainders)]
    assert observed == pytest.approx([order, order], abs=0.03), remainders
