"""Means from displacements given as formulas or on grids: Gerstner, small waves, orders."""

import math
from typing import NamedTuple

import numpy as np
import pytest
from numpy.polynomial import chebyshev

from meanfluid import VelocityField
from meanfluid.fields import gerstner_wave, sampled
from meanfluid.means import glm
from meanfluid.means.glm.values import local
from tests.means.glm.own_waves import own

SPEED = math.sqrt(9.81)
PERIOD = 2 * math.pi / SPEED
DEEP, SHALLOW = -1.2, -0.4


class Circle(NamedTuple):
    frequency: float = SPEED


def circles(m, p, t, x, z):
    """Gerstner's displacement from the labels, which are mean positions; k = 1."""
    phase = x - p.frequency * t
    return -m.exp(z) * m.sin(phase), m.exp(z) * m.cos(phase)


def gerstner(position, **options):
    return glm.closed_form_mean(
        gerstner_wave(), circles, position, 0.7, parameters=Circle(), period=PERIOD, **options
    )


def test_gerstners_wave_has_pseudomomentum_and_no_drift():
    found = gerstner([[0.4, -0.5], [2.0, -0.5]])
    np.testing.assert_allclose(found.mean_velocity, 0.0, rtol=0, atol=1e-13)
    np.testing.assert_allclose(found.pseudomomentum[:, 0], 1.15223223724698, rtol=1e-13)
    np.testing.assert_allclose(found.pseudomomentum[:, 1], 0.0, rtol=0, atol=1e-13)
    np.testing.assert_allclose(found.density, 0.632120558828558, rtol=1e-14)
    np.testing.assert_allclose(found.density_spread, 0.0, rtol=0, atol=1e-14)
    np.testing.assert_allclose(found.divergence, 0.0, rtol=0, atol=1e-12)
    deep = gerstner([[0.0, -1.5]])
    np.testing.assert_allclose(deep.eulerian_velocity[0, 0], -0.17479753094157, rtol=1e-9)


def test_momentum_of_gerstners_wave_has_the_vorticity_per_mean_area():
    """Curl of momentum is density times vorticity, and density is exact to second order."""
    nodes = chebyshev.chebpts1(20)
    z = (DEEP + SHALLOW) / 2 + (SHALLOW - DEEP) / 2 * nodes
    found = gerstner(np.stack([0 * z, z], axis=1))

    def derivative(values, count=1):
        series = chebyshev.chebfit(nodes, values, 19)
        return chebyshev.chebval(nodes, chebyshev.chebder(series, count, 2 / (SHALLOW - DEEP)))

    swell = np.exp(2 * z)
    vorticity = 2 * SPEED * swell / (1 - swell)  # of w_x - u_z
    curl = -derivative(found.momentum[:, 0])
    np.testing.assert_allclose(curl, found.density * vorticity, rtol=0, atol=1e-9)
    square = (found.displacement[..., 1] ** 2).mean(axis=0)  # nothing else varies, and only in z
    np.testing.assert_allclose(1 - derivative(square, 2) / 2, found.density, rtol=0, atol=1e-9)


def test_displacements_with_a_mean_are_refused():
    def lifted(m, p, t, x, z):
        return 0.1 * m.cos(x - p.frequency * t), 0.01 + 0 * z

    for bad, message in ((lifted, "zero mean"), (lambda m, p, t, x, z: x, "a tuple of 2")):
        with pytest.raises(ValueError, match=message):
            glm.closed_form_mean(
                gerstner_wave(), bad, [[0.0, -1.5]], 0.0, parameters=Circle(), period=PERIOD
            )
    with pytest.raises(ValueError, match="one for each of the 4 members"):
        glm.closed_form_mean(
            gerstner_wave(), circles, [[0.0, -1.5]], 0.0, parameters=[Circle()], period=PERIOD,
            phases=4,
        )  # fmt: skip


SIZE = 32
LENGTH = 2 * math.pi
NODES = np.arange(SIZE) * LENGTH / SIZE
X, Y = np.meshgrid(NODES, NODES, indexing="ij")
LENGTHS = (LENGTH, LENGTH)
STIR = np.stack([-np.sin(Y), np.sin(X)])  # solid rotation at the origin, free of divergence


def test_opposite_stirring_diverges_as_opposite_rotations_do_where_it_is_one():
    """At the origin -2 theta theta' to second order, for theta = 0.3 and rate 0.7: -0.42."""
    xi, rate = 0.3 * np.stack([STIR, -STIR]), 0.7 * np.stack([STIR, -STIR])
    rest = np.zeros_like(STIR)
    found = glm.divergence_second_order(xi, rate, rest, LENGTHS)
    assert found[0, 0] == pytest.approx(-0.42, rel=1e-13)
    # q_j q_k differentiated twice is q_{j,k} q_{k,j} = -2 cos x cos y.
    np.testing.assert_allclose(found, -0.42 * np.cos(X) * np.cos(Y), rtol=0, atol=1e-13)
    density = glm.density_second_order(xi, LENGTHS)
    np.testing.assert_allclose(density, 1 + 0.09 * np.cos(X) * np.cos(Y), rtol=0, atol=1e-13)
    p = glm.pseudomomentum_second_order(xi, rate, rest, LENGTHS, rotation=0.4)
    # -theta theta' q_{j,i} q_j - f/2 theta^2 q_{j,i} (J q)_j
    direct = -0.21 * np.stack([np.cos(X) * np.sin(X), np.cos(Y) * np.sin(Y)])
    direct += 0.018 * np.stack([np.cos(X) * np.sin(Y), -np.cos(Y) * np.sin(X)])
    np.testing.assert_allclose(p, direct, rtol=0, atol=1e-14)


def test_a_mean_flow_carries_density_and_makes_it_diverge():
    """The wave packet xi = +-A(x) is at rest, so that u' = U dA/dx; nothing changes in time."""
    xi = 0.1 * np.stack([STIR, -STIR])
    mean = np.stack([np.full_like(X, 0.8), np.zeros_like(X)])
    following = 0.8 * 0.1 * np.stack([0 * X, np.cos(X)])
    found = glm.divergence_second_order(xi, np.stack([following, -following]), mean, LENGTHS)
    density = 1 + 0.01 * np.cos(X) * np.cos(Y)
    np.testing.assert_allclose(glm.density_second_order(xi, LENGTHS), density, rtol=0, atol=1e-14)
    np.testing.assert_allclose(found, 0.8 * 0.01 * np.sin(X) * np.cos(Y), rtol=0, atol=1e-14)


def ellipses(phase, amplitude):
    """Two displacements free of divergence, in quadrature, on both axes."""
    one = np.stack([np.cos(Y + phase), np.sin(X + phase)])
    two = np.stack([np.cos(X + Y), -np.cos(X + Y)]) * math.cos(phase)
    return amplitude * (one + two)


def test_on_a_grid_and_as_a_formula_means_are_the_same():
    phases = 2 * np.pi * np.arange(8) / 8
    xi = np.stack([ellipses(phase, 0.1) for phase in phases])
    place = np.stack([X, Y]) + xi
    fields = [VelocityField(body=stirring, dimension=2, parameters=Phase(s)) for s in phases]
    points = np.stack([X.ravel(), Y.ravel()], axis=1)
    whole = glm.closed_form_mean(
        fields, displaced, points, 0.0, parameters=[Phase(s) for s in phases], rotation=0.6
    )
    velocity = np.stack([
        field.velocity(0.0, there.reshape(2, -1).T).T.reshape(2, SIZE, SIZE)
        for field, there in zip(fields, place, strict=True)
    ])  # fmt: skip
    grid = glm.grid_mean(xi, velocity, LENGTHS, rotation=0.6)
    for name in ("mean_velocity", "pseudomomentum", "momentum"):
        expected = getattr(whole, name).T.reshape(2, SIZE, SIZE)
        np.testing.assert_allclose(getattr(grid, name), expected, rtol=0, atol=1e-13)
    for name in ("density", "density_spread", "divergence"):
        expected = getattr(whole, name).reshape(SIZE, SIZE)
        np.testing.assert_allclose(getattr(grid, name), expected, rtol=0, atol=1e-11)


def spatial(m, p, t, x, y, z):
    a, b = 0.1 * m.cos(p.phase), 0.1 * m.sin(p.phase)
    return a * m.cos(y) + b * m.sin(z), b * m.cos(z + x), a * m.sin(x * y)


def space(m, p, t, x, y, z):
    return m.sin(z + p.phase), m.cos(x), m.sin(y) + x


def test_in_space_momentum_is_the_pull_back_of_velocity_as_a_one_form():
    """In a rotating frame of the absolute one, u + f x (x + xi) / 2 less that of f x x / 2."""
    x = np.random.default_rng(3).uniform(-1, 1, (5, 3))
    phases = [Phase(2 * math.pi * k / 6) for k in range(6)]
    fields = [VelocityField(body=space, dimension=3, parameters=p) for p in phases]
    f = np.array([0.3, -0.2, 0.5])
    for rotation in (None, f):
        found = glm.closed_form_mean(fields, spatial, x, 0.0, parameters=phases, rotation=rotation)
        u, frame = found.displaced_velocity, 0.0
        if rotation is not None:
            u = u + np.cross(f, x + found.displacement) / 2
            frame = np.cross(f, x) / 2
        absolute = glm.pull_back_mean(u, found.displacement_gradient, "one_form")
        np.testing.assert_allclose(found.momentum, absolute - frame, rtol=0, atol=1e-15)
    assert (abs(found.pseudomomentum) > 1e-5).any()


class Phase(NamedTuple):
    phase: float


def displaced(m, p, t, x, y):
    both = m.cos(x + y) * m.cos(p.phase)
    return 0.1 * (m.cos(y + p.phase) + both), 0.1 * (m.sin(x + p.phase) - both)


def stirring(m, p, t, x, y):
    return m.sin(y + p.phase) + 0.3 * m.cos(x), m.cos(x - p.phase)


def test_stokes_corrections_on_a_grid_miss_what_is_of_fourth_order():
    """Of a scalar with a mean, cos x cos y, and a fluctuation; all even orders only by symmetry."""
    away = []
    for amplitude in (0.1, 0.05, 0.025):
        phases = 2 * np.pi * np.arange(16) / 16
        xi = np.stack([ellipses(phase, amplitude) for phase in phases])
        mean = np.cos(X) * np.cos(Y)
        waves = np.stack([amplitude * np.sin(X + 2 * Y + phase) for phase in phases])
        place = np.stack([X, Y]) + xi
        exact = np.mean([
            np.cos(a) * np.cos(b) + amplitude * np.sin(a + 2 * b + phase)
            for (a, b), phase in zip(place, phases, strict=True)
        ], axis=0)  # fmt: skip
        found = glm.stokes_correction_second_order(xi, waves, mean, LENGTHS)
        several = glm.stokes_correction_second_order(
            xi, np.stack([waves, 2 * waves], 1), np.stack([mean, 2 * mean]), LENGTHS
        )
        np.testing.assert_allclose(several, [found, 2 * found], rtol=0, atol=1e-14)
        away.append(abs(found - (exact - mean)).max())
    rates = np.log2(np.array(away[:-1]) / away[1:])
    assert (rates > 3.9).all() and away[0] < 3e-3


BAD_GRIDS = {
    "a list": (([[1.0]], STIR, LENGTHS), TypeError, "must be an array"),
    "no members": ((STIR, STIR, LENGTHS), ValueError, "shape \\(members, dimension"),
    "another velocity": ((STIR[None], STIR, LENGTHS), ValueError, "velocity must be an array"),
    "a mean": ((STIR[None], STIR[None], LENGTHS), ValueError, "zero mean"),
    "one length": ((STIR[None], STIR[None], (1.0,)), ValueError, "lengths must hold"),
    "nan": ((STIR[None] * np.nan, STIR[None], LENGTHS), ValueError, "finite numbers"),
}


@pytest.mark.parametrize("what", BAD_GRIDS)
def test_what_is_no_displacement_on_a_grid_is_refused(what):
    arguments, error, message = BAD_GRIDS[what]
    with pytest.raises(error, match=message):
        glm.grid_mean(*arguments)


def test_modal_and_sampled_fields_have_velocity_and_gradient_at_points():
    x = np.random.default_rng(5).uniform(0, 3, (4, 2))
    t = np.zeros(4)
    modal = own(cells=np.array([0.3, 0.2]), frequency=np.array([1.0, 2.0]), shear=0.1)
    found = local(modal, t, x, {})
    np.testing.assert_allclose(found.velocity, modal.velocity(t, x), rtol=0, atol=1e-13)
    h = 1e-5
    for j, e in enumerate(h * np.eye(2)):
        slope = (modal.velocity(t, x + e) - modal.velocity(t, x - e)) / (2 * h)
        np.testing.assert_allclose(found.gradient[:, :, j], slope, rtol=0, atol=1e-6)
    nodes = np.linspace(-1, 4, 8)
    mesh = np.meshgrid(nodes, nodes, indexing="ij")
    matrix = np.array([[0.3, 1.2], [-0.7, -0.3]])
    grid = sampled(list(np.einsum("ij,jkl->ikl", matrix, mesh)), [nodes, nodes], degree=3)
    found = local(grid, t, x, {"shear": shear})
    np.testing.assert_allclose(found.velocity, x @ matrix.T, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.gradient, [matrix] * 4, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.values["shear"], 1.2, rtol=1e-12)


def shear(m, p, t, x, y, gradient):
    return gradient[0][1]
