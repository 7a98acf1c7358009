"""Means by every label: closed forms, published numbers, orders in the window, round trips."""

import math

import numpy as np
import pytest

from meanfluid import Status, TrajectoryError, flow_map
from meanfluid.fields import taylor_green
from meanfluid.means import windows
from meanfluid.means.along import lagrangian_mean
from meanfluid.means.average_velocity import average_velocity
from meanfluid.means.labels import lagrangian_means, mean_position, relabel
from tests.means.moving import (
    AFFINE,
    SPIN,
    STRAINED,
    STRETCH,
    TURNED,
    WAVE,
    H,
    cosine,
    decaying,
    seen,
)

TIGHT = {"rtol": 1e-13, "atol": 1e-16}
SEEN = {"seen": seen}
CELLS = taylor_green(1.0, 1.0, 0.05)
HERE, START, END = [(1.0, 0.5)], 0.3, 2.3
POSITION = np.random.default_rng(171).uniform((0.0, 0.2), (2.0, 2.2), (40, 2))

# Of decaying cells at (1, 0.5): computed apart from this library, to these digits.
AVERAGES = {
    "initial": (0.70466903851570061081, 0.073898486977130001521),
    "final": (0.29182321242555863448, -0.57066431941068005869),
    "mean": (0.602323803016131, -0.2503582360746073),
    1.0: (0.66771250969926764967, -0.15847711551465430058),
    1.3: (0.5986991027117099, -0.2578789010595215),
}


@pytest.mark.parametrize("label", AVERAGES)
def test_one_point_has_as_many_average_velocities_as_labels(label):
    value, error = average_velocity(CELLS, HERE, START, END, label=label, return_error=True)
    true = np.linalg.norm(value - AVERAGES[label])
    assert true <= 10 * error[0] + 1e-15 and error[0] < 1e-11
    value = average_velocity(CELLS, HERE, START, END, label=label, **TIGHT)
    np.testing.assert_allclose(value, [AVERAGES[label]], rtol=0, atol=2e-15)


def test_positions_of_the_reference_point_under_every_label():
    moved = relabel(CELLS, HERE, START, END, given="initial", wanted="final", **TIGHT)
    np.testing.assert_allclose(moved, [(2.4093380770314012216, 0.64779697395426000304)], atol=2e-15)
    moved = relabel(CELLS, HERE, START, END, given="final", wanted="initial", **TIGHT)
    np.testing.assert_allclose(moved, [(0.41635357514888273104, 1.6413286388213601174)], atol=2e-15)
    moved = relabel(CELLS, HERE, START, END, given="mean", wanted="initial", **TIGHT)
    np.testing.assert_allclose(moved, [(0.481089335268136, 0.8622360632485126)], atol=2e-15)
    there = mean_position(CELLS, HERE, START, END, label="initial", **TIGHT)
    np.testing.assert_allclose(there, [(1.76530266984769655, 0.475386159436631876)], atol=2e-15)
    same = average_velocity(CELLS, there, START, END, label="mean", **TIGHT)
    np.testing.assert_allclose(same, [AVERAGES["initial"]], rtol=0, atol=2e-15)


def test_short_windows_have_the_tangent_limits_of_their_labels():
    """Errors of the series fall with the third power of the window, and with the fourth."""
    x, lengths = np.repeat(POSITION[:8], 3, axis=0), np.tile([0.2, 0.1, 0.05], 8)
    v, a, j, bent = decaying(0.7, x)
    h = lengths[:, None]
    cases = {
        "initial": (0.7, v + h / 2 * a + h**2 / 6 * j, 3),
        "final": (0.7 - lengths, v - h / 2 * a + h**2 / 6 * j, 3),
        "middle": (0.7 - lengths / 2, v + h**2 / 24 * j, 4),
        "mean": (0.7 - lengths / 2, v + h**2 / 24 * (j - bent), 4),
    }
    for label, (start, series, order) in cases.items():
        name = 0.7 if label == "middle" else label
        exact = average_velocity(CELLS, x, start, start + lengths, label=name, **TIGHT)
        miss = np.linalg.norm(exact - series, axis=1).reshape(8, 3)
        size = np.sqrt((miss**2).mean(axis=0))
        np.testing.assert_allclose(np.log2(size[:-1] / size[1:]), order, atol=0.05, err_msg=label)


def test_solid_rotation_by_mean_position_is_the_rotation_itself():
    """Nothing but `SEEN` is asked for in linear flows: it is compiled once for all of them."""
    x = np.array([(0.8, -0.4)])
    met = lagrangian_means(TURNED, SEEN, x, 0.2, 1.7, label="initial", **TIGHT)
    np.testing.assert_allclose(met.velocity, [(-0.483040519386321, 0.860826736362407)], atol=2e-15)
    there = met.position["mean"]
    np.testing.assert_allclose(there, [(0.662174412586467, 0.37156963029717)], atol=2e-15)
    met = lagrangian_means(TURNED, SEEN, x, 0.2, 1.7, **TIGHT)
    np.testing.assert_allclose(met.velocity, [(0.978485700721718, 0.130063626308387)], atol=2e-15)
    exact = SPIN * np.stack([-POSITION[:, 1], POSITION[:, 0]], axis=-1)
    for length in (1.5, 4.0, 6.0, -4.0):
        met = lagrangian_means(TURNED, SEEN, POSITION, 0.2, 0.2 + length, label="mean")
        true = np.linalg.norm(met.velocity - exact, axis=1)
        assert true.max() < 1e-9
        assert (true <= 10 * met.velocity_error + 1e-14).all() and (met.velocity_error < 1e-7).all()


@pytest.mark.parametrize("turns", [1, 3])
def test_after_whole_turns_no_trajectory_has_a_mean_position_of_its_own(turns):
    window = (0.2, 0.2 + turns * 2 * math.pi / SPIN)
    message = r"40 of 40 .*40 x NOT_INVERTIBLE.*particle 0 .*or not one alone, whose mean position"
    with pytest.raises(TrajectoryError, match=message):
        lagrangian_means(TURNED, SEEN, POSITION, *window, label="mean")
    met = lagrangian_means(TURNED, SEEN, POSITION, *window, label="mean", on_failure="mark")
    assert (met.status == Status.NOT_INVERTIBLE).all()
    assert all(np.isnan(x).all() for x in (*met.position.values(), met.velocity, met.means["seen"]))
    assert np.isnan(met.velocity_error).all()


def test_only_the_windows_of_whole_turns_are_marked():
    turn = 2 * math.pi / SPIN
    end = np.where(np.arange(40) % 3 == 0, turn, 0.4 * turn)
    met = lagrangian_means(TURNED, SEEN, POSITION, 0.0, end, label="mean", on_failure="mark")
    assert (np.flatnonzero(met.status) == np.arange(0, 40, 3)).all()
    assert (np.isnan(met.velocity).all(axis=1) == (met.status != 0)).all()


def test_affine_flow_by_mean_position_is_the_velocity_there():
    met = lagrangian_means(AFFINE, SEEN, HERE, 0.0, 1.5, label="initial", **TIGHT)
    there = [(1.31947114914725, -0.315474326958065)]
    np.testing.assert_allclose(met.position["mean"], there, atol=5e-15)
    np.testing.assert_allclose(met.velocity, [(0.117272152394498, -1.02898750631566)], atol=5e-15)
    met = lagrangian_means(AFFINE, SEEN, POSITION, 0.0, 1.5, label="mean")
    true = np.linalg.norm(met.velocity - AFFINE.velocity(0.0, POSITION), axis=1)
    assert (true <= 10 * met.velocity_error + 1e-14).all() and (met.velocity_error < 1e-9).all()


def test_the_mean_of_a_square_in_a_stretching_flow_by_four_labels():
    x, z = 1.3, STRETCH * H
    exact = {
        "final": x**2 * (1 - math.exp(-2 * z)) / (2 * z),
        "initial": x**2 * math.expm1(2 * z) / (2 * z),
        H / 2: x**2 * math.sinh(z) / z,
        "mean": x**2 * (z / 2) / math.tanh(z / 2),
    }
    numbers = (0.8184690360079745, 4.391541423331034, 1.895874646526726, 1.788222677748529)
    for (label, value), number in zip(exact.items(), numbers, strict=True):
        assert abs(value - number) < 1e-14
        met = lagrangian_means(STRAINED, SEEN, [(x, 0.4)], 0.0, H, label=label)
        error = met.mean_error["seen"][0]
        assert abs(met.means["seen"][0, 2] - value) <= 10 * error < 1e-9, label


def test_exponential_memory_in_a_stretching_flow_and_in_a_rotation():
    """The label does not change what is remembered; 60 time units before the end are forgotten."""
    memory, a = windows.exponential(0.9), 0.9
    mean = lagrangian_mean(STRAINED, seen, [(1.3, 0.4)], -60.0, 0.0, window=memory, **TIGHT)
    assert abs(mean[0, 2] - 0.661304347826087) < 1e-13
    mean = lagrangian_mean(TURNED, seen, [(0.8, -0.4)], -60.0, 0.0, window=memory, **TIGHT)
    assert abs(mean[0, 0] - 0.072) < 1e-13
    start = flow_map(TURNED, [(0.8, -0.4)], 0.0, -60.0, **TIGHT)
    mean = lagrangian_mean(TURNED, seen, start, -60.0, 0.0, window=memory, label="initial", **TIGHT)
    z = complex(0.8, -0.4) * memory.transfer(SPIN, 60.0)
    assert abs(complex(*mean[0, :2]) - z) < 1e-12
    assert abs(z - complex(0.8, -0.4) * a / (a + 1j * SPIN)) < 1e-15


@pytest.mark.slow
def test_exponential_memory_by_mean_position():
    mean, error = lagrangian_mean(
        STRAINED, seen, [(1.3, 0.4)], -60.0, 0.0, window=windows.exponential(0.9), label="mean",
        return_error=True,
    )  # fmt: skip
    assert abs(mean[0, 2] - 2.090048309178744) <= 10 * error[0] < 1e-8


@pytest.mark.slow
def test_butterworth_memory_in_a_rotation():
    memory = windows.butterworth(0.9)
    mean = lagrangian_mean(TURNED, seen, [(0.8, -0.4)], -60.0, 0.0, window=memory, **TIGHT)
    assert abs(mean[0, 0] + 0.31499916782199) < 1e-13


# Of a travelling wave at three points, over (0, 5): mean of cos x by label.
POINTS = np.stack([2 * np.pi / 128 * np.array([8, 40, 100]), np.zeros(3)], axis=1)
WAVES = {
    "final": (0.781273563650644, -0.295948727568838, -0.0152471731022635),
    "initial": (0.736380491241536, -0.678949913557708, -0.0617248230316894),
    2.0: (0.97133425850539, -0.420649723222398, 0.226444370978129),
    "mean": (0.91073474639487, -0.36974426226258, 0.19201304734884),
}


def test_means_in_a_travelling_wave_by_four_labels():
    wanted = {"cosine": cosine}
    for label, exact in WAVES.items():
        met = lagrangian_means(WAVE, wanted, POINTS, 0.0, 5.0, label=label)
        true, error = np.abs(met.means["cosine"] - exact), met.mean_error["cosine"]
        assert (true <= 10 * error + 1e-14).all() and (error < 1e-10).all(), (label, true, error)
    both = {"velocity": "velocity", "cosine": cosine}
    mean = lagrangian_mean(WAVE, both, POINTS, 0.0, 5.0, label="mean", **TIGHT)
    np.testing.assert_allclose(mean["cosine"], WAVES["mean"], rtol=0, atol=1e-13)
    exact = (-0.0045022847956815, 0.11953741075562, -0.017161988906194)
    np.testing.assert_allclose(mean["velocity"][:, 0], exact, rtol=0, atol=1e-13)
    ends = relabel(WAVE, POINTS, 0.0, 5.0, given="mean", wanted="final", **TIGHT)
    exact = (0.1313838331673, 2.0844520751966, 5.0550442181481)
    np.testing.assert_allclose(ends[:, 0], exact, rtol=0, atol=1e-13)
    met = lagrangian_means(WAVE, wanted, POINTS, 0.0, 5.0, **TIGHT)
    exact = (0.0103732498403747, 0.113295418306009, -0.00875810050650129)
    np.testing.assert_allclose(met.velocity[:, 0], exact, rtol=0, atol=1e-14)
    np.testing.assert_allclose(met.means["cosine"], WAVES["final"], rtol=0, atol=1e-14)


def test_a_hann_window_in_a_travelling_wave():
    mean = lagrangian_mean(WAVE, cosine, POINTS, 0.0, 5.0, window=windows.hann(), **TIGHT)
    exact = (0.71055963118773, -0.3615913589154, -0.11562487935007)
    np.testing.assert_allclose(mean, exact, rtol=0, atol=2e-14)


@pytest.mark.slow
def test_a_hann_window_in_a_travelling_wave_by_mean_position():
    mean, error = lagrangian_mean(
        WAVE, cosine, POINTS, 0.0, 5.0, window=windows.hann(), label="mean", return_error=True
    )
    true = np.abs(mean - (0.91614154073155, -0.37575880567874, 0.19252252126983))
    assert (true <= 10 * error + 1e-14).all() and (error < 1e-9).all()


@pytest.mark.parametrize("given", ["initial", "final", "mean", 1.1])
@pytest.mark.parametrize("wanted", ["initial", "final", "mean"])
def test_labels_convert_there_and_back(given, wanted):
    there, error = relabel(
        CELLS, POSITION, START, END, given=given, wanted=wanted, return_error=True
    )
    velocity = average_velocity(CELLS, POSITION, START, END, label=given)
    again = average_velocity(CELLS, there, START, END, label=wanted)
    np.testing.assert_allclose(again, velocity, rtol=0, atol=1e-10)
    assert (error < 1e-9).all()
    if isinstance(given, str):
        back = relabel(CELLS, there, START, END, given=wanted, wanted=given)
        np.testing.assert_allclose(back, POSITION, rtol=0, atol=1e-10)


def test_one_integration_gives_all_labels_of_a_row():
    met = lagrangian_means(CELLS, {}, POSITION, START, END, label="mean")
    np.testing.assert_array_equal(met.position["mean"], POSITION)
    np.testing.assert_array_equal(met.position_error["mean"], 0.0)
    there = flow_map(CELLS, met.position["initial"], START, END)
    np.testing.assert_allclose(there, met.position["final"], rtol=0, atol=1e-10)
    moved = (met.position["final"] - met.position["initial"]) / (END - START)
    np.testing.assert_allclose(moved, met.velocity, rtol=0, atol=1e-14)
    assert met.window == windows.top_hat() and met.label == "mean" and not met.status.any()


def test_particles_may_have_windows_and_labels_of_their_own():
    rng = np.random.default_rng(172)
    start = rng.uniform(0.0, 2.0, 40)
    end = start + rng.uniform(-2.0, 2.0, 40)
    end[:3] = start[:3]
    value = average_velocity(CELLS, POSITION, start, end, label="mean")
    one_by_one = [
        average_velocity(CELLS, POSITION[i : i + 1], start[i], end[i], label="mean")[0]
        for i in range(6)
    ]
    np.testing.assert_allclose(value[:6], one_by_one, rtol=0, atol=1e-10)
    for i in range(3):
        expected = CELLS.velocity(start[i], POSITION[i : i + 1])[0]
        np.testing.assert_allclose(value[i], expected, rtol=1e-13)


def slope(function, at, step=2e-2):
    """Derivative by differences of sixth order."""
    values = [function(at + k * step) for k in (-3, -2, -1, 1, 2, 3)]
    return np.tensordot([-1, 9, -45, 45, -9, 1], values, axes=1) / (60 * step)


@pytest.mark.parametrize("label", ["final", "mean"])
def test_mean_positions_of_a_moving_window_move_with_the_average_velocity_there(label):
    """The velocity that Lagrangian means ride on: over [t - 2, t] it is u, as an integral over t.

    Nothing is a difference quotient: mean positions are compared with the integral of u along
    their own path, by a rule that is exact to rounding.
    """
    begin, nodes, weights = 0.3, *np.polynomial.legendre.leggauss(16)
    few, total = POSITION[:8], 0.0
    for time, weight in zip(begin + (nodes + 1) / 2, weights / 2, strict=True):
        there = flow_map(CELLS, few, 0.0, time, **TIGHT)
        mean = mean_position(CELLS, there, time - 2.0, time, **TIGHT)
        at = there if label == "final" else mean
        u = average_velocity(CELLS, at, time - 2.0, time, label=label, **TIGHT)
        total = total + weight * u
    first, last = (
        mean_position(CELLS, flow_map(CELLS, few, 0.0, t, **TIGHT), t - 2.0, t, **TIGHT)
        for t in (begin, begin + 1.0)
    )
    np.testing.assert_allclose(total, last - first, rtol=0, atol=2e-14)


def test_the_mean_position_of_a_growing_window_lags_behind_the_particle():
    """Its velocity is (X - mean) / (time since the start), not the average velocity."""
    begin, now = 1.0, 1.9

    def mean_until(time):
        return mean_position(CELLS, POSITION, begin, time, label="initial", **TIGHT)

    there = flow_map(CELLS, POSITION, begin, now, **TIGHT)
    expected = (there - mean_until(now)) / (now - begin)
    found = slope(mean_until, now)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    velocity = average_velocity(CELLS, there, begin, now)
    assert np.abs(found - velocity).max() > 0.1


def test_a_label_that_is_not_one_is_refused():
    with pytest.raises(ValueError, match=r'wanted must be "initial", "final" or "mean", got 0\.5'):
        relabel(CELLS, HERE, 0.0, 1.0, given="initial", wanted=0.5)
    with pytest.raises(ValueError, match=r"label must be .* got 'start'"):
        mean_position(CELLS, HERE, 0.0, 1.0, label="start")
    with pytest.raises(TypeError, match="observables must be a mapping"):
        lagrangian_means(CELLS, [seen], HERE, 0.0, 1.0)
