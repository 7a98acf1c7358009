"""Velocities of mean maps, and corrections from one mean to another, against exact means."""

from functools import cache

import numpy as np
import pytest

from meanfluid.means.geometric import (
    TorusMap,
    corrected_scalar,
    corrected_velocity,
    deviations,
    exp,
    leray,
    mean_map,
    mean_velocity,
    mesh,
    pull_back_mean,
    second_order_shift,
)

BOX = (2 * np.pi, 2 * np.pi)
X, Y = mesh((24, 24), BOX)
FIRST = np.stack([2 * np.sin(2 * Y), -np.sin(X)])
SECOND = np.stack([np.sin(Y), np.sin(X - 0.3)])
STEP = 0.02


def largest(field):
    return np.abs(field).max()


def order(error, size):
    return np.log2(error(size) / error(size / 2))


@cache
def standing(size, time):
    """Two flows in opposite phase; the group mean is the identity at all times."""
    q = size * (np.cos(time) * FIRST + np.sin(time) * SECOND)
    return exp(q, BOX), exp(-q, BOX)


def velocity_of(kind, size, **options):
    times = 0.4 + STEP * np.arange(-2, 3)
    maps = [mean_map(standing(size, float(t)), kind, **options).map for t in times]
    return mean_velocity(maps, STEP)


def shift_of(kind, size, time):
    members = standing(size, time)
    return second_order_shift(deviations(members, mean_map(members, "arithmetic").map), kind)


def corrected(kind, size):
    before, now, after = (shift_of(kind, size, 0.4 + s * STEP) for s in (-1, 0, 1))
    rate = (after - before) / (2 * STEP)
    # The shift is cos(2 t) and sin(2 t) times fields: the central difference is off by a factor.
    rate *= 2 * STEP / np.sin(2 * STEP)
    return corrected_velocity(velocity_of("arithmetic", size), now, rate, BOX)


def test_the_velocity_of_the_arithmetic_mean_is_the_mean_velocity_of_the_particles():
    """Of steady flows: the mean of q at the members' positions, seen from the mean position."""
    q = 0.07 * FIRST, 0.15 * SECOND + 0.1
    means = [
        mean_map([exp((1 + s * h) * one, BOX) for one in q], "arithmetic").map
        for h in (0.1, 0.05)
        for s in range(-2, 3)
    ]
    away = deviations([exp(one, BOX) for one in q], means[2])
    exact = np.stack([pull_back_mean([one[i] for one in q], away, "scalar") for i in range(2)])
    five, half = mean_velocity(means[:5], 0.1) - exact, mean_velocity(means[5:], 0.05) - exact
    three = mean_velocity(means[6:9], 0.05) - exact
    assert np.log2(largest(five) / largest(half)) == pytest.approx(4.0, abs=0.1)
    assert 100 * largest(half) < largest(three)


def test_a_flow_in_opposite_phases_has_no_soward_roberts_velocity_but_an_arithmetic_one():
    """The correction takes all of it away, to fourth order."""
    size = 0.06
    assert largest(velocity_of("arithmetic", size)) > 5e-4
    left = order(lambda eps: largest(corrected("soward_roberts", eps)), size)
    assert left == pytest.approx(4.0, abs=0.1)


def test_the_velocity_of_optimal_transport_is_the_corrected_arithmetic_one():
    def error(eps):
        exact = velocity_of("optimal_transport", eps, tolerance=1e-11)
        return largest(corrected("optimal_transport", eps) - exact)

    def uncorrected(eps):
        return largest(velocity_of("arithmetic", eps) - velocity_of("optimal_transport", eps))

    assert order(error, 0.06) == pytest.approx(4.0, abs=0.1)
    assert order(uncorrected, 0.06) == pytest.approx(2.0, abs=0.1)


def test_means_of_scalars_differ_by_the_shift():
    scalar = np.cos(X + Y) + np.sin(2 * X)

    def error(eps, *, correct):
        members = standing(eps, 0.4)
        away = deviations(members, mean_map(members, "arithmetic").map)
        mean = pull_back_mean([scalar, scalar], away, "scalar")
        if correct:
            mean = corrected_scalar(mean, shift_of("soward_roberts", eps, 0.4), scalar, BOX)
        return largest(mean - pull_back_mean([scalar, scalar], members, "scalar"))

    assert order(lambda eps: error(eps, correct=True), 0.06) == pytest.approx(4.0, abs=0.1)
    assert order(lambda eps: error(eps, correct=False), 0.06) == pytest.approx(2.0, abs=0.1)


def test_shifts_of_kinds_fit_together():
    group, nearest, geodesic, none = (
        shift_of(kind, 0.06, 0.4)
        for kind in ("soward_roberts", "optimal_transport", "geodesic", "extended_glm")
    )
    assert not none.any() and (nearest == geodesic).all()
    assert largest(leray(nearest, BOX)) < 1e-15
    assert largest(leray(group - nearest, BOX) - (group - nearest)) < 1e-15


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda: mean_velocity([TorusMap(FIRST, BOX)] * 4, 0.1), "odd number of maps"),
        (lambda: mean_velocity([TorusMap(FIRST, BOX)] * 3, 0.0), "not zero"),
        (lambda: second_order_shift([TorusMap(FIRST, BOX)], "mean"), "kind must be one of"),
        (lambda: corrected_velocity(FIRST, FIRST[0], FIRST, BOX), "a shift on a periodic box"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
