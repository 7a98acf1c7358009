"""Mean maps: formulas and their orders, conditions solved exactly, invariances, failures."""

from functools import cache

import numpy as np
import pytest

from meanfluid.means.geometric import (
    TorusMap,
    advection,
    curl,
    deviations,
    euler_exp,
    exp,
    gradient,
    leray,
    mean_map,
    mesh,
)
from meanfluid.means.geometric.mean_maps import second_order_logarithm

BOX = (2 * np.pi, 2 * np.pi)
X, Y = mesh((32, 32), BOX)
Q = np.stack([2 * np.sin(2 * Y), -np.sin(X)])  # stream function cos x + cos 2y
CARRIED = np.stack([-4 * np.sin(X) * np.cos(2 * Y), -2 * np.cos(X) * np.sin(2 * Y)])
PROJECTED = np.stack([-12 / 5 * np.sin(X) * np.cos(2 * Y), 6 / 5 * np.cos(X) * np.sin(2 * Y)])
FIRST = np.stack([np.sin(Y), np.sin(2 * X)])
SECOND = np.stack(
    [
        2 * np.sin(2 * Y) + 0.3 * np.cos(X) * np.cos(Y),
        -np.sin(X) + 0.3 * np.sin(X) * np.sin(Y),
    ]
)
AREA_PRESERVING = ("soward_roberts", "optimal_transport", "geodesic")
SMALL = 0.04
COARSE = mesh((24, 24), BOX)


@cache
def there_and_back(size):
    return exp(size * Q, BOX), exp(-size * Q, BOX)


@cache
def two_flows(size):
    return exp(size * FIRST, BOX), exp(size * SECOND, BOX)


def order(error, size=SMALL):
    """Power of the size with which an error falls when the size is halved."""
    return np.log2(error(size) / error(size / 2))


def largest(field):
    return np.abs(field).max()


def sampled(field, size):
    """A field of stream function given by a function, times a size, on the coarse grid."""
    return size * field(*COARSE)


def swirl(x, y):
    return np.stack([2 * np.sin(2 * y), -np.sin(x)])


def jets(x, y):
    return np.stack([np.sin(y), np.sin(x - 0.3)])


def cells(x, y):
    return np.stack([np.cos(x) * np.cos(y), np.sin(x) * np.sin(y)])


# ---------------------------------------------------------------- formulas and their orders


def test_the_second_order_field_is_what_it_should_be():
    np.testing.assert_allclose(advection(Q, Q, BOX), CARRIED, rtol=0, atol=1e-13)
    np.testing.assert_allclose(leray(CARRIED, BOX), PROJECTED, rtol=0, atol=1e-13)


def test_the_arithmetic_mean_moves_and_grows_as_known():
    """Computed apart at eps = 0.1; and id + eps^2 q.grad q / 2 up to fourth order."""
    mean = mean_map(there_and_back(0.1), "arithmetic")
    known = [0.0041616580360343, -0.0076493809954874]
    np.testing.assert_allclose(mean.map.displacement[:, 3, 5], known, rtol=0, atol=1e-13)
    assert mean.map.determinant[3, 5] == pytest.approx(1.0125137258917, abs=1e-11)
    assert mean.area_error == largest(mean.map.determinant - 1) > 0.04
    trace = -8 * np.cos(X) * np.cos(2 * Y)

    def displacement_error(eps):
        mean = mean_map(there_and_back(eps), "extended_glm").map
        return largest(mean.displacement - 0.5 * eps**2 * CARRIED)

    def determinant_error(eps):
        mean = mean_map(there_and_back(eps), "arithmetic").map
        return largest(mean.determinant - 1 - 0.5 * eps**2 * trace)

    assert order(displacement_error) == pytest.approx(4.0, abs=0.01)
    assert order(determinant_error) == pytest.approx(4.0, abs=0.01)


def rotational_rest(maps, mean):
    away = deviations(maps, mean)
    return largest(curl(sum(one.displacement for one in away) / len(away), BOX))


def test_optimal_transport_leaves_a_gradient_to_fourth_order():
    def error(eps):
        return rotational_rest(there_and_back(eps), exp(0.5 * eps**2 * PROJECTED, BOX))

    def wrong(eps):
        return rotational_rest(there_and_back(eps), TorusMap.identity((32, 32), BOX))

    assert order(error) == pytest.approx(4.0, abs=0.02)
    assert order(wrong) == pytest.approx(2.0, abs=0.02)


def test_the_geodesic_from_the_formula_ends_at_the_member_to_third_order():
    def error(eps, mean):
        geodesic = euler_exp(eps * Q, BOX).after(mean(eps))
        return largest(geodesic.displacement - there_and_back(eps)[0].displacement)

    def formula(eps):
        return exp(0.5 * eps**2 * PROJECTED, BOX)

    def identity(eps):
        return TorusMap.identity((32, 32), BOX)

    assert order(lambda eps: error(eps, formula)) == pytest.approx(3.0, abs=0.01)
    assert order(lambda eps: error(eps, identity)) == pytest.approx(2.0, abs=0.02)


def fluctuation(size):
    """The mean field of two flows, and the mean of q'.grad q'."""
    away = 0.5 * size * (FIRST - SECOND)
    return 0.5 * size * (FIRST + SECOND), advection(away, away, BOX)


def test_the_arithmetic_mean_of_two_flows_is_that_of_the_formula():
    def error(eps):
        mean, product = fluctuation(eps)
        formula = exp(mean + 0.5 * product, BOX).displacement
        return largest(mean_map(two_flows(eps), "arithmetic").map.displacement - formula)

    assert order(error) == pytest.approx(3.0, abs=0.02)


def test_the_formula_of_optimal_transport_is_of_third_order_and_needs_its_term():
    def error(eps):
        mean = mean_map(two_flows(eps), "optimal_transport", order=2)
        assert mean.order == 2 and mean.iterations == 0
        return rotational_rest(two_flows(eps), mean.map)

    def wrong(eps):
        return rotational_rest(two_flows(eps), exp(fluctuation(eps)[0], BOX))

    assert order(error) == pytest.approx(3.0, abs=0.02)
    assert order(wrong) == pytest.approx(2.0, abs=0.04)


def test_the_formula_of_soward_and_roberts_is_of_third_order_without_a_term():
    def rest(eps, mean):
        return largest(sum(map(second_order_logarithm, deviations(two_flows(eps), mean))))

    def error(eps):
        return rest(eps, mean_map(two_flows(eps), "soward_roberts", order=2).map)

    def wrong(eps):
        mean, product = fluctuation(eps)
        return rest(eps, exp(mean + 0.5 * leray(product, BOX), BOX))

    assert order(error) == pytest.approx(3.0, abs=0.02)
    assert order(wrong) == pytest.approx(2.0, abs=0.04)


def test_reported_residuals_of_formulas_fall_at_their_order():
    def residual(kind):
        return lambda eps: mean_map(two_flows(eps), kind, order=2).residual

    assert order(residual("geodesic")) == pytest.approx(3.0, abs=0.05)
    assert order(residual("optimal_transport")) == pytest.approx(3.0, abs=0.05)


# ---------------------------------------------------------------- conditions solved exactly


@pytest.mark.parametrize("kind, leads", [("soward_roberts", exp), ("geodesic", euler_exp)])
def test_a_barycentre_is_found_where_it_was_put(kind, leads):
    """Members lie where three fields whose weighted mean is zero lead from a known map."""
    w = np.array([0.5, 0.3, 0.2])
    fields = [sampled(swirl, 0.03), sampled(jets, 0.05)]
    fields.append(-(w[0] * fields[0] + w[1] * fields[1]) / w[2])
    centre = exp(sampled(cells, 0.15) + 0.2, BOX)
    members = [leads(field, BOX).after(centre) for field in fields]
    found = mean_map(members, kind, weights=2 * w)
    assert found.converged and found.residual <= 1e-9 * BOX[0]
    np.testing.assert_allclose(found.map.displacement, centre.displacement, rtol=0, atol=2e-8)
    assert found.area_error < 1e-7


@cache
def pair():
    return exp(sampled(swirl, 0.06), BOX), exp(sampled(jets, 0.15), BOX)


@cache
def mean_of_pair(kind):
    return mean_map(pair(), kind)


def test_no_map_that_keeps_area_is_nearer_than_optimal_transport():
    """Mean square distance to the members, along solenoidal fields in both directions."""

    def cost(mean):
        return sum(((one.displacement - mean.displacement) ** 2).sum() for one in pair())

    found = mean_of_pair("optimal_transport")
    assert found.converged and found.area_error < 1e-8
    least = cost(found.map)
    for field in (swirl, jets, cells, lambda x, y: np.stack([np.cos(3 * y), np.cos(2 * x)])):
        step = sampled(field, 1e-3)
        there, back = (cost(exp(s * step, BOX).after(found.map)) - least for s in (1, -1))
        assert min(there, back) > 0
        assert abs(there - back) < 1e-2 * (there + back)  # the slope is zero


def test_three_means_that_keep_area_are_three_and_the_arithmetic_does_not():
    means = [mean_of_pair(kind) for kind in AREA_PRESERVING]
    assert all(mean.converged and mean.area_error < 1e-8 for mean in means)
    assert mean_map(pair(), "arithmetic").area_error > 1e-2
    apart = [
        largest(one.map.displacement - other.map.displacement)
        for one, other in zip(means, means[1:] + means[:1], strict=True)
    ]
    assert min(apart) > 1e-6


@pytest.mark.parametrize("kind", ("arithmetic", *AREA_PRESERVING))
def test_means_commute_with_relabelling_of_particles(kind):
    """Right composition with any map that keeps area."""
    first = exp(sampled(cells, 0.1), BOX)
    found = mean_map([one.after(first) for one in pair()], kind).map
    expected = mean_of_pair(kind).map.after(first)
    np.testing.assert_allclose(found.displacement, expected.displacement, rtol=0, atol=3e-8)


def test_the_group_mean_commutes_with_inversion_and_with_maps_of_space():
    inverse = mean_map([one.inverse() for one in pair()], "soward_roberts").map
    home = inverse.after(mean_of_pair("soward_roberts").map)
    assert largest(home.displacement) < 3e-8
    after = exp(sampled(cells, 0.1), BOX)
    moved = mean_map([after.after(one) for one in pair()], "soward_roberts").map
    expected = after.after(mean_of_pair("soward_roberts").map)
    np.testing.assert_allclose(moved.displacement, expected.displacement, rtol=0, atol=5e-8)


# ---------------------------------------------------------------- what does not work is said


def test_a_mean_that_is_not_reached_raises_or_is_marked():
    with pytest.raises(RuntimeError, match="did not converge: residual"):
        mean_map(pair(), "optimal_transport", iterations=1)
    marked = mean_map(pair(), "optimal_transport", iterations=1, on_failure="mark")
    assert not marked.converged and marked.residual > 1e-6


@pytest.mark.parametrize(
    "wrong, error, message",
    [
        (lambda: mean_map([], "arithmetic"), TypeError, "one or more TorusMap"),
        (lambda: mean_map(pair(), "harmonic"), ValueError, "kind must be one of"),
        (lambda: mean_map(pair(), "geodesic", order=3), ValueError, "order must be None or 2"),
        (lambda: mean_map(pair(), "geodesic", tolerance=0), ValueError, "positive length"),
        (lambda: mean_map(pair(), "arithmetic", weights=[1]), ValueError, "one per member"),
        (lambda: mean_map([*pair(), *two_flows(0.04)], "arithmetic"), ValueError, "share periods"),
        (
            lambda: mean_map([TorusMap(gradient(0.1 * np.cos(X), BOX), BOX)], "geodesic"),
            ValueError,
            "keep area",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, error, message):
    with pytest.raises(error, match=message):
        wrong()
