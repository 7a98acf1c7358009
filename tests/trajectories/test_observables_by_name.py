"""Observables that ask for the velocity, its gradient and the deformation along the way."""

import numpy as np
import pytest

from meanfluid import eulerian_mean, lagrangian_mean, trajectories
from meanfluid.fields import sampled
from tests.catalogue import CASES
from tests.trajectories.own_fields import (
    LOGISTIC,
    grown,
    turned_angle,
    whirl,
    whirled,
)

WHIRL = whirl()
POSITION = np.random.default_rng(111).uniform(-1, 1, (40, 2))


def energy_of(m, p, t, x, y, velocity):
    return (velocity[0] * velocity[0] + velocity[1] * velocity[1]) / 2


def vorticity(m, p, t, x, y, gradient):
    return gradient[1][0] - gradient[0][1]


def pulled_back(m, p, t, x, y, deformation, velocity, gradient):
    """F^T grad(D phi / Dt) with phi = sin x + x y, in an order of its own."""
    u, v = velocity
    first, second = m.cos(x) + y, x
    by_x = gradient[0][0] * first + gradient[1][0] * second - m.sin(x) * u + v
    by_y = gradient[0][1] * first + gradient[1][1] * second + u
    f = deformation
    return f[0][0] * by_x + f[1][0] * by_y, f[0][1] * by_x + f[1][1] * by_y


def gradient_of_phi(position):
    x, y = position.T
    return np.stack([np.cos(x) + y, x], axis=-1)


def vorticity_without_time(position):
    """That of `whirl` over its angular velocity in the middle."""
    square = (position**2).sum(axis=1)
    return 2 * (1 - square) * np.exp(-square)


NAMED = {"energy": energy_of, "vorticity": vorticity, "pulled back": pulled_back}


@pytest.mark.parametrize("start, end", [(0.25, 5.0), (5.0, 0.25)])
def test_kinetic_energy_vorticity_and_a_pull_back_in_closed_form(start, end):
    """In the whirl radius is kept, so that two means are integrals over time.

    The third is exact: the pull-back of the gradient of D phi / Dt is the time derivative of the
    gradient of phi(X(x)) in x.
    """
    path = trajectories(WHIRL, POSITION, start, end, observables=NAMED, gradient=True)
    p, h = WHIRL.parameters, end - start
    turn = turned_angle(p, start, end) / h
    np.testing.assert_allclose(
        path.means["vorticity"], turn * vorticity_without_time(POSITION), rtol=0, atol=1e-9
    )
    node, weight = np.polynomial.legendre.leggauss(40)
    clock = (start + end) / 2 + h / 2 * node
    square = (POSITION**2).sum(axis=1)
    mean_square = weight / 2 @ (p.rate + p.sway * np.sin(p.beat * clock)) ** 2
    exact = mean_square * square * np.exp(-2 * square) / 2
    np.testing.assert_allclose(path.means["energy"], exact, rtol=0, atol=1e-9)
    there, deformation = whirled(WHIRL, POSITION, start, end)
    change = np.einsum("nij,ni->nj", deformation, gradient_of_phi(there))
    exact = (change - gradient_of_phi(POSITION)) / h
    found = path.means["pulled back"]
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-8)
    error = np.linalg.norm(found - exact, axis=1)
    assert np.mean(error <= 10 * path.mean_errors["pulled back"] + 1e-14) >= 0.95


def test_asking_by_name_does_not_change_where_particles_go():
    """The gradient of velocity alone is scratch: neither state nor step control sees it."""
    plain = trajectories(WHIRL, POSITION, 0.0, 3.0, rtol=1e-9)
    asking = trajectories(WHIRL, POSITION, 0.0, 3.0, observables=[vorticity], rtol=1e-9)
    assert asking.gradient is None
    gap = np.linalg.norm(plain.position - asking.position, axis=1)
    assert (gap <= 10 * (plain.error + asking.error)).all()
    exact = turned_angle(WHIRL.parameters, 0.0, 3.0) / 3 * vorticity_without_time(POSITION)
    np.testing.assert_allclose(asking.means["vorticity"], exact, rtol=0, atol=1e-7)


def test_eulerian_means_of_what_is_asked_for_by_name():
    """At a fixed place of the whirl all follows the angular velocity."""
    start, end = 0.25, 5.0
    turn = turned_angle(WHIRL.parameters, start, end) / (end - start)
    found = eulerian_mean(WHIRL, vorticity, POSITION, start, end)
    exact = turn * vorticity_without_time(POSITION)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-10)


def test_the_velocity_asked_for_is_the_one_that_carries():
    """In a sampled field, whose formula nobody has; and of the gradient, its trace vanishes."""
    x = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    mesh = np.meshgrid(x, x, indexing="ij")
    velocity = [-np.sin(mesh[0]) * np.cos(mesh[1]), np.cos(mesh[0]) * np.sin(mesh[1])]
    field = sampled(velocity, [x, x], degree=5, boundary="periodic")

    def seen(m, p, t, x, y, gradient, velocity):
        return velocity[0], velocity[1], gradient[0][0] + gradient[1][1]

    path = trajectories(field, 3 + POSITION, 0.0, 4.0, observables=[seen])
    np.testing.assert_allclose(path.means["seen"][:, :2], path.average_velocity, atol=1e-12)
    np.testing.assert_allclose(path.means["seen"][:, 2], 0, atol=1e-3)


def test_the_velocity_of_a_modal_field_is_the_sum_over_its_modes():
    case = CASES["kinematic_simulation_2d"]

    def carrier(m, p, t, x, y, velocity):
        return velocity[0], velocity[1]

    path = trajectories(case.field, case.position(20, 112), 0.0, 1.0, observables=[carrier])
    gap = np.linalg.norm(path.means["carrier"] - path.average_velocity, axis=1)
    assert (gap <= 10 * (path.mean_errors["carrier"] + path.average_velocity_error)).all()


def test_on_a_line_there_is_one_of_each():
    """The mean of 1 / F dF/dt is that of dv/dx: log F over the duration."""

    def stretching(m, p, t, x, velocity, gradient, deformation):
        return velocity[0], gradient[0][0], gradient[0][0] * deformation[0][0]

    x = np.array([[0.1], [1.0], [3.0]])
    path = trajectories(LOGISTIC, x, 0.0, 1.5, observables=[stretching], gradient=True)
    there = grown(x, 1.5)
    slope = np.exp(-1.5) * (there / x) ** 2
    exact = np.hstack([there - x, np.log(slope), slope - 1]) / 1.5
    np.testing.assert_allclose(path.means["stretching"], exact, rtol=0, atol=1e-10)


REFUSED = {
    "an unknown name": (
        lambda m, p, t, x, y, vorticity: x, True,
        r"asks for vorticity; after m, p, t and 2 coordinates it may only ask for velocity, grad",
    ),
    "a third coordinate": (lambda m, p, t, x, y, z: x, True, "asks for z; after"),
    "deformation of nothing": (
        lambda m, p, t, x, y, deformation: deformation[0][0], False, "gradient=True",
    ),
    "too many components": (
        lambda m, p, t, x, y, velocity: velocity[2], False, "could not be called|out of range",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_exist_cannot_be_asked_for(what):
    g, gradient, message = REFUSED[what]
    with pytest.raises(ValueError, match=message):
        trajectories(WHIRL, POSITION, 0.0, 1.0, observables={"g": g}, gradient=gradient)


def test_means_with_one_observable_may_ask_too_but_not_for_deformation():
    found = lagrangian_mean(WHIRL, vorticity, POSITION, 0.25, 5.0, label="initial")
    turn = turned_angle(WHIRL.parameters, 0.25, 5.0) / 4.75
    np.testing.assert_allclose(found, turn * vorticity_without_time(POSITION), rtol=0, atol=1e-9)
    with pytest.raises(ValueError, match="gradient=True"):
        lagrangian_mean(WHIRL, pulled_back, POSITION, 0.25, 5.0)
