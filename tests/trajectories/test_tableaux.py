"""Runge-Kutta coefficients against the order conditions of Butcher's rooted trees."""

from types import SimpleNamespace

import numpy as np
import pytest

from meanfluid.trajectories import Tableau, dop853, rk4, tsit5, vern7
from meanfluid.trajectories.tableaux import _trees, order_defect

SCHEMES = {scheme.name: scheme for scheme in (rk4, tsit5, vern7, dop853)}
STAGES = {"rk4": 4, "tsit5": 7, "vern7": 10, "dop853": 12}
ORDERS = {"rk4": 4, "tsit5": 5, "vern7": 7, "dop853": 8}

every_scheme = pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)


def changed(scheme: Tableau, name: str, index, by: float) -> Tableau:
    """Return the scheme with one coefficient changed."""
    parts = {key: getattr(scheme, key).copy() for key in ("a", "b", "c", "errors")}
    parts[name][index] += by
    return Tableau(name="odd", order=scheme.order, error_order=scheme.error_order, **parts)


def rounding(scheme: Tableau) -> float:
    """What rounding the coefficients can do to a condition of up to nine nested sums."""
    size = max(np.abs(scheme.a).sum(axis=1).max(), np.abs(scheme.b).sum(), 1.0)
    return 9 * np.finfo(float).eps * size * np.abs(scheme.b).sum()


def test_rooted_trees_are_counted_by_cayley_s_sequence():
    """OEIS A000081."""
    assert [len(_trees(n)) for n in range(1, 10)] == [1, 1, 2, 4, 9, 20, 48, 115, 286]


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_collocation_at_gauss_points_has_twice_its_stages_as_order(stages):
    """Butcher (1964): the trees are checked on implicit schemes that are derived here."""
    nodes, weights = np.polynomial.legendre.leggauss(stages)
    nodes, weights = (1 + nodes) / 2, weights / 2
    powers = np.arange(1, stages + 1)
    a = np.linalg.solve((nodes[:, None] ** (powers - 1)).T, (nodes[:, None] ** powers / powers).T).T
    scheme = SimpleNamespace(a=a, b=weights)
    assert order_defect(scheme, 2 * stages) < 1e-15
    assert order_defect(scheme, 2 * stages + 1) > 1e-6


@every_scheme
def test_every_order_condition_holds_at_the_declared_order_and_not_beyond(scheme):
    assert scheme.order == ORDERS[scheme.name] and scheme.stages == STAGES[scheme.name]
    holds, fails = order_defect(scheme), order_defect(scheme, scheme.order + 1)
    assert holds < rounding(scheme) < 1e-10, (holds, rounding(scheme))
    assert fails > 1e-6, fails


@every_scheme
def test_nodes_are_row_sums_in_the_step(scheme):
    np.testing.assert_allclose(scheme.c, scheme.a.sum(axis=1), rtol=0, atol=4e-14)
    assert scheme.c[0] == 0 and (scheme.c > -1e-13).all() and (scheme.c < 1 + 1e-13).all()
    assert not np.triu(scheme.a).any()


@pytest.mark.parametrize(
    "scheme, orders",
    [(tsit5, [4]), (vern7, [6]), (dop853, [5, 3])],
    ids=["tsit5", "vern7", "dop853"],
)
def test_embedded_solutions_have_their_order_and_no_more(scheme, orders):
    """b - e satisfies the trees of the embedded order."""
    assert len(scheme.errors) == len(orders)
    for weights, order in zip(scheme.errors, orders, strict=True):
        embedded = SimpleNamespace(a=scheme.a, b=scheme.b - weights)
        holds, fails = order_defect(embedded, order), order_defect(embedded, order + 1)
        assert holds < rounding(scheme), holds
        assert fails > 1e-5, fails
    if len(orders) == 1:
        assert scheme.error_order == orders[0]
    else:  # Hairer, Norsett & Wanner: the square of h^6 over h^4, of order 8 in the step
        assert scheme.error_order + 1 == 2 * (orders[0] + 1) - (orders[1] + 1)


def test_rk4_has_no_embedded_solution():
    assert rk4.errors.shape == (0, 4)


@every_scheme
def test_no_coefficient_can_be_mistyped(scheme):
    """A change of 1e-9 in any coefficient is refused, and the message says of which kind."""
    conditions = {
        "a": "row sums of a equal c",
        "b": r"sum b c\^0 = 1/1",
        "c": "row sums of a equal c",
        "errors": r"error weights \d sum to zero",
    }
    for name, broken in conditions.items():
        coefficients = getattr(scheme, name)
        for index in zip(*np.nonzero(coefficients), strict=True):
            with pytest.raises(ValueError, match=rf"odd: violates '{broken}' by 1\.00e-09"):
                changed(scheme, name, index, by=1e-9)


@every_scheme
def test_a_change_that_keeps_the_row_sums_breaks_a_tree(scheme):
    """Two coefficients of the last row exchanged: consistent in quadrature, of lower order."""
    row = np.flatnonzero(np.abs(scheme.a).sum(axis=1) * (scheme.b != 0))[-1]
    nonzero = np.flatnonzero(scheme.a[row])
    columns = [nonzero[0], nonzero[-1]] if len(nonzero) > 1 else [0, nonzero[0]]
    a = scheme.a.copy()
    a[row, columns] = a[row, columns[::-1]]
    with pytest.raises(ValueError, match="odd: violates 'conditions of all rooted trees' by"):
        Tableau("odd", scheme.order, a, scheme.b, a.sum(axis=1), scheme.errors, 0)


def test_a_runge_kutta_4_with_its_last_stage_at_half_the_step_is_refused():
    """k4 taken at t + dt/2 from x + k3 dt/2 is a mistake found in the wild; its order is one."""
    a = np.zeros((4, 4))
    a[1, 0] = a[2, 1] = a[3, 2] = 0.5
    with pytest.raises(ValueError, match=r"wrong: violates 'sum b c\^1 = 1/2' by 8\.33e-02"):
        Tableau("wrong", 4, a, rk4.b, a.sum(axis=1), rk4.errors, 0)
    honest = Tableau("wrong", 1, a, rk4.b, a.sum(axis=1), rk4.errors, 0)
    assert order_defect(honest) < 1e-15 and order_defect(honest, 2) == pytest.approx(1 / 12)


def test_stage_times_frozen_at_the_start_of_the_step_are_refused():
    with pytest.raises(ValueError, match=r"frozen: violates 'row sums of a equal c' by 1\.00e\+00"):
        Tableau("frozen", 4, rk4.a, rk4.b, np.zeros(4), rk4.errors, 0)


def test_implicit_schemes_are_refused():
    with pytest.raises(ValueError, match="Euler: a must be strictly lower triangular"):
        Tableau("Euler", 1, np.ones((1, 1)), np.ones(1), np.ones(1), np.zeros((0, 1)), 0)


def test_more_than_two_error_estimates_are_refused():
    with pytest.raises(ValueError, match="at most two error estimates, got 3"):
        Tableau("many", 4, rk4.a, rk4.b, rk4.c, np.zeros((3, 4)), 3)


def test_shapes_that_contradict_one_another_are_refused():
    message = (
        r"short: a, b, c and errors must have shapes \(s, s\), .* got \(4, 4\), \(3,\), \(4,\)"
    )
    with pytest.raises(ValueError, match=message):
        Tableau("short", 4, rk4.a, rk4.b[:3], rk4.c, rk4.errors, 0)


def test_lists_of_numbers_make_a_scheme():
    heun = Tableau("Heun", 2, [[0, 0], [1, 0]], [0.5, 0.5], [0, 1], np.zeros((0, 2)), 0)
    assert heun.stages == 2 and heun.a.dtype == np.float64
    assert order_defect(heun) == 0 and order_defect(heun, 3) > 0.1
