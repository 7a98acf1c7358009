"""Mean vorticity from velocities on a surface, against sums of exact vorticity inside."""

import math

import numpy as np
import pytest
import sympy
from numpy.polynomial import chebyshev

from meanfluid import VelocityField
from meanfluid.backends import symbolic
from meanfluid.fields import abc_flow, double_gyre, rotation, taylor_green
from meanfluid.means.circulation import mean_vorticity_over
from tests.catalogue import CASES
from tests.trajectories.own_fields import turned_angle, whirl


def quadrature(field, box, t, nodes=48):
    """Mean of the symbolic curl over a box by Gauss's rule."""
    rate, symbols = symbolic.velocity(field)
    rate = rate.subs(dict(zip(symbols.parameters, map(sympy.Float, field.parameters), strict=True)))
    slope = rate.jacobian(symbols.position)
    if field.dimension == 2:
        curl = [slope[1, 0] - slope[0, 1]]
    else:
        curl = [slope[2, 1] - slope[1, 2], slope[0, 2] - slope[2, 0], slope[1, 0] - slope[0, 1]]
    function = sympy.lambdify([symbols.time, *symbols.position], curl, "numpy")
    node, weight = np.polynomial.legendre.leggauss(nodes)
    axes = [(a + b) / 2 + (b - a) / 2 * node for a, b in box]
    means = []
    for part in function(t, *np.meshgrid(*axes, indexing="ij")):
        mean = np.broadcast_to(part, (nodes,) * field.dimension)
        for _ in box:
            mean = weight / 2 @ mean
        means.append(float(mean))
    return means


@pytest.mark.parametrize(
    "name, box",
    [
        ("double_gyre", [(0.0, 1.0), (0.0, 1.0)]),
        ("taylor_green_decaying", [(0.2, 1.3), (-0.4, 2.0)]),
        ("bickley_jet", [(0.0, 20.0), (0.5, 3.0)]),
        ("abc_flow", [(0.0, 1.0), (0.5, 2.5), (-1.0, 0.3)]),
    ],
)
def test_stokes_theorem_gives_the_mean_of_the_curl(name, box):
    field = CASES[name].field
    series = mean_vorticity_over(field, box, 0.3, 4.3)
    assert series.shape[0] == (1 if field.dimension == 2 else 3)
    for t in (0.3, 1.7, 4.3):
        found = [chebyshev.chebval((t - 2.3) / 2.0, row) for row in series]
        np.testing.assert_allclose(found, quadrature(field, box, t), rtol=0, atol=1e-9)


def test_a_mean_that_does_not_change_is_one_number():
    square = [(-1.0, 1.0), (-1.0, 1.0)]
    np.testing.assert_allclose(mean_vorticity_over(rotation(1.3), square, 0.0, 9.0), [[2.6]])
    cells = [(0.0, 2 * math.pi)] * 2
    zero = mean_vorticity_over(taylor_green(), cells, 0.0, 9.0)
    np.testing.assert_array_equal(zero, [[0.0]])
    assert mean_vorticity_over(abc_flow(), [(0.0, 1.0)] * 3, 0.0, 9.0).shape == (3, 1)


@pytest.mark.parametrize("start, end", [(0.0, 20.0), (20.0, 0.0)])
def test_a_pulsating_vortex_is_resolved_in_time(start, end):
    """The integral of its mean over time is the angle turned times the mean of the profile."""
    field = whirl()
    series = mean_vorticity_over(field, [(-1.0, 1.0), (-1.0, 1.0)], start, end)
    mean = math.exp(-1) * math.sqrt(math.pi) * math.erf(1)
    integral = chebyshev.chebint(series[0])
    found = np.diff(chebyshev.chebval([-1, 1], integral))[0] * (end - start) / 2
    exact = mean * turned_angle(field.parameters, start, end)
    assert found == pytest.approx(exact, rel=1e-9)


def test_the_domain_of_the_field_is_the_default():
    """The gyres turn against one another: over both of them nothing is left."""
    field = double_gyre(perturbation=0.0)
    np.testing.assert_array_equal(mean_vorticity_over(field, None, 0.0, 5.0), [[0.0]])
    half = mean_vorticity_over(field, [(0.0, 1.0), (0.0, 1.0)], 0.0, 5.0)
    # psi = A sin(pi x) sin(pi y): the mean of its Laplacian is -2 pi^2 A (2 / pi)^2
    np.testing.assert_allclose(abs(half), [[8 * 0.1]], rtol=1e-9)


def test_an_empty_window_has_the_mean_of_its_instant():
    field = whirl()
    series = mean_vorticity_over(field, [(-1.0, 1.0), (-1.0, 1.0)], 0.7, 0.7)
    mean = math.exp(-1) * math.sqrt(math.pi) * math.erf(1)
    assert series.shape == (1, 1)
    assert series[0, 0] == pytest.approx(mean * (2 + math.sin(1.3 * 0.7)), rel=1e-9)


def test_what_cannot_be_resolved_is_refused():
    def humming(m, p, t, x, y):
        return -y * m.sin(1e4 * t), 0 * x

    def jagged(m, p, t, x, y):
        return m.maximum(x - 0.123, 0.0) * y, 0 * x

    square = [(-1.0, 1.0), (-1.0, 1.0)]
    with pytest.raises(
        ValueError, match=r"from 0\.0 to 1\.0 varies too fast to be resolved by 257"
    ):
        mean_vorticity_over(VelocityField(body=humming, dimension=2), square, 0.0, 1.0)
    with pytest.raises(ValueError, match="is not resolved by 512 nodes along every edge"):
        mean_vorticity_over(VelocityField(body=jagged, dimension=2), square, 0.0, 1.0)
