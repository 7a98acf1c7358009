"""Errors fall at the order of the scheme, on unsteady fields with closed-form flow maps."""

import itertools
import math

import numpy as np
import pytest

from meanfluid import Tableau, dop853, flow_map, rk4, trajectories, tsit5, vern7
from meanfluid.fields import rotating_strain, taylor_green
from tests.trajectories.own_fields import (
    flow_of,
    mean_torque,
    rms,
    torque,
    turned,
    unsteady_rotation,
)

POSITION = np.random.default_rng(0).uniform(-1, 1, (64, 2))


def scheme_of(name, order, rows, weights):
    a = np.array(rows, dtype=float)
    return Tableau(name, order, a, np.array(weights), a.sum(axis=1), np.zeros((0, len(a))), 0)


euler = scheme_of("Euler", 1, [[0]], [1.0])
midpoint = scheme_of("midpoint", 2, [[0, 0], [0.5, 0]], [0.0, 1.0])
kutta3 = scheme_of("Kutta", 3, [[0, 0, 0], [0.5, 0, 0], [-1, 2, 0]], [1 / 6, 2 / 3, 1 / 6])


def observed_orders(errors):
    return [math.log2(a / b) for a, b in itertools.pairwise(errors)]


def fixed_step_errors(field, exact, start, end, scheme, steps):
    final = exact(field, POSITION, start, end)
    return [
        rms(flow_map(field, POSITION, start, end, scheme=scheme, steps=n) - final) for n in steps
    ]


def halvings(first):
    return [first, 2 * first, 4 * first, 8 * first]


# Parameters and steps are chosen where the leading term of the error rules and rounding does not:
# the fifth-order term of tsit5 is so small that it takes short steps to see it.
@pytest.mark.parametrize(
    "scheme, field, exact, start, end, first",
    [
        (euler, unsteady_rotation(), turned, 0.25, 2.25, 200),
        (midpoint, unsteady_rotation(), turned, 0.25, 6.25, 60),
        (kutta3, unsteady_rotation(), turned, 0.25, 6.25, 60),
        (rk4, unsteady_rotation(), turned, 0.25, 6.25, 20),
        (tsit5, unsteady_rotation(2.0, 1.0), turned, 0.25, 6.25, 256),
        (vern7, unsteady_rotation(0.2, 0.5, 6.0), turned, 0.25, 6.25, 32),
        (dop853, unsteady_rotation(2.0, 1.0), turned, 0.25, 12.25, 16),
        (rk4, rotating_strain(0.5, 1.7), flow_of, 0.25, 8.25, 20),
        (tsit5, rotating_strain(0.8, 0.5), flow_of, 0.25, 8.25, 32),
        (vern7, rotating_strain(0.5, 1.7), flow_of, 0.25, 8.25, 20),
        (dop853, rotating_strain(0.3, 3.0), flow_of, 0.25, 8.25, 16),
        (rk4, taylor_green(1.5, 2.0, 0.1), flow_of, 0.25, 3.25, 8),
        (tsit5, taylor_green(4.0, 1.0, 0.1), flow_of, 0.25, 8.25, 256),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_halving_the_step_divides_the_error_by_two_to_the_order(
    scheme, field, exact, start, end, first
):
    errors = fixed_step_errors(field, exact, start, end, scheme, halvings(first))
    assert observed_orders(errors) == pytest.approx([scheme.order] * 3, abs=0.15), errors


@pytest.mark.parametrize("scheme, first", [(vern7, 16), (dop853, 8)], ids=["vern7", "dop853"])
def test_high_orders_are_no_worse_in_decaying_cells(scheme, first):
    """Here the leading terms of the error nearly cancel, so that it may fall faster."""
    field = taylor_green(1.5, 2.0, 0.03)
    errors = fixed_step_errors(field, flow_of, 0.25, 4.25, scheme, halvings(first))
    assert math.log2(errors[0] / errors[3]) / 3 > scheme.order - 0.15, errors
    assert errors[3] < 1e-12


@pytest.mark.parametrize("scheme, first", [(rk4, 20), (dop853, 24)], ids=["rk4", "dop853"])
@pytest.mark.parametrize("end", [12.25, -11.75])
def test_means_of_observables_converge_at_the_order_of_the_scheme(scheme, first, end):
    field, start = unsteady_rotation(2.0, 1.0), 0.25
    exact = mean_torque(field, POSITION, start, end)
    first = 4 * first if scheme is rk4 else first
    errors = [
        rms(
            trajectories(
                field, POSITION, start, end, observables=[torque], scheme=scheme, steps=n
            ).means["torque"][:, 0]
            - exact
        )
        for n in halvings(first)
    ]
    assert math.log2(errors[0] / errors[3]) / 3 == pytest.approx(scheme.order, abs=0.15), errors


def test_a_wrong_runge_kutta_4_shows_its_order_one():
    """The last stage at half the step (see test_tableaux), declared honestly as first order."""
    wrong = scheme_of(
        "wrong", 1, [[0] * 4, [0.5, 0, 0, 0], [0, 0.5, 0, 0], [0, 0, 0.5, 0]], list(rk4.b)
    )
    errors = fixed_step_errors(unsteady_rotation(), turned, 0.25, 2.25, wrong, halvings(200))
    assert observed_orders(errors) == pytest.approx([1, 1, 1], abs=0.15), errors


def test_frozen_stage_times_would_be_found_out_by_unsteady_fields_only():
    """Past the checks by force: order one where velocity depends on time, else four."""
    frozen = scheme_of("frozen", 4, rk4.a, list(rk4.b))
    object.__setattr__(frozen, "c", np.zeros(4))
    field, steady_field = unsteady_rotation(), unsteady_rotation(1.0, 0.0)
    unsteady = fixed_step_errors(field, turned, 0.25, 2.25, frozen, halvings(200))
    steady = fixed_step_errors(steady_field, turned, 0.25, 6.25, frozen, halvings(40))
    assert observed_orders(unsteady) == pytest.approx([1, 1, 1], abs=0.15), unsteady
    assert observed_orders(steady) == pytest.approx([4, 4, 4], abs=0.15), steady


@pytest.mark.parametrize("scheme", [tsit5, vern7, dop853], ids=lambda scheme: scheme.name)
@pytest.mark.parametrize(
    "field, exact, start, end",
    [
        (unsteady_rotation(), turned, 0.25, 6.25),
        (rotating_strain(0.8, 0.5), flow_of, 3.3, 0.3),
        (taylor_green(1.5, 2.0, 0.03), flow_of, 0.25, 4.25),
    ],
    ids=["rotation", "strain", "cells"],
)
def test_a_tenth_of_the_tolerance_gives_a_tenth_of_the_error(scheme, field, exact, start, end):
    """Over seven decades; steps are whole fractions of the window, hence the scatter of each."""
    final, decades = exact(field, POSITION, start, end), np.arange(5, 13)
    errors = [
        rms(flow_map(field, POSITION, start, end, scheme=scheme, rtol=10.0**-k, atol=1e-16) - final)
        for k in decades
    ]
    slope = -np.polyfit(decades, np.log10(errors), 1)[0]
    assert slope == pytest.approx(1, abs=0.2), errors
    assert (np.array(errors) < 100 * 10.0**-decades).all(), errors


def test_looser_tolerance_takes_fewer_steps():
    steps = [
        trajectories(unsteady_rotation(), POSITION, 0.25, 6.25, rtol=10.0**-k).steps.sum()
        for k in (4, 8, 12)
    ]
    assert steps[0] < steps[1] < steps[2], steps
