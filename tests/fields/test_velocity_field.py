"""The record of a field: its checks, its table of parameters, its NumPy velocity."""

import dataclasses
import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meanfluid.fields import Axis, VelocityField, rotation, taylor_green, vortex_dipole
from meanfluid.fields.elementary import FUNCTIONS, numpy_functions


class Drift(NamedTuple):
    speed: float = 2.0


def drift(m, p, t, x):
    return (p.speed * m.cos(t),)


class Waves(NamedTuple):
    size: np.ndarray
    wavenumber: np.ndarray
    height: float = 0.5


def waves(m, p, t, x, y):
    return p.size * m.cos(p.wavenumber * x - t), p.height * p.size


def test_field_takes_its_name_from_the_body():
    assert VelocityField(body=drift, parameters=Drift(), dimension=1).name == "drift"
    assert VelocityField(body=drift, parameters=Drift(), dimension=1, name="tide").name == "tide"


def test_facts_are_unknown_unless_stated():
    field = VelocityField(body=drift, parameters=Drift(), dimension=1)
    assert field.steady is None and field.divergence_free is None
    assert field.exact_flow_map is None and field.domain is None
    assert field.time_range == (-math.inf, math.inf)


def test_field_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        rotation().steady = False


def test_velocity_broadcasts_constants_and_times():
    field = VelocityField(body=drift, parameters=Drift(), dimension=1)
    v = field.velocity([0.0, math.pi], [[5.0], [6.0]])
    np.testing.assert_allclose(v, [[2.0], [-2.0]])
    assert field.velocity(0.0, np.zeros((3, 1))).shape == (3, 1)
    assert field.velocity(0.0, np.zeros((0, 1))).shape == (0, 1)


def test_velocity_is_float64_for_integer_positions():
    v = rotation(2.0).velocity(0, [[1, 3]])
    assert v.dtype == np.float64
    np.testing.assert_array_equal(v, [[-6.0, 2.0]])


def test_modal_velocity_is_the_sum_over_modes():
    p = Waves(np.array([1.0, 0.5, -2.0]), np.array([1.0, 3.0, 4.0]))
    field = VelocityField(body=waves, parameters=p, dimension=2)
    t, x = np.array([0.1, 0.2]), np.array([[0.3, 0.0], [1.1, 7.0]])
    expected = [
        [sum(s * math.cos(k * xi - ti) for s, k in zip(p.size, p.wavenumber, strict=True)), -0.25]
        for ti, xi in zip(t, x[:, 0], strict=True)
    ]
    assert field.modal and not rotation().modal
    np.testing.assert_allclose(field.velocity(t, x), expected, rtol=1e-14)


def test_table_has_a_row_per_mode_and_repeats_common_numbers():
    p = Waves(np.array([1.0, 0.5]), np.array([1.0, 3.0]))
    table = VelocityField(body=waves, parameters=p, dimension=2).table
    np.testing.assert_array_equal(table, [[1.0, 1.0, 0.5], [0.5, 3.0, 0.5]])
    assert table.flags.c_contiguous and table.dtype == np.float64
    np.testing.assert_array_equal(taylor_green(2, 3, 0).table, [[2.0, 3.0, 0.0]])
    assert VelocityField(body=lambda m, p, t, x: (x,), dimension=1).table.shape == (1, 0)


def test_parameters_can_be_changed_by_name():
    field = rotation(1.0).with_parameters(rate=3.0)
    assert field.parameters.rate == 3.0 and field.name == "rotation"
    np.testing.assert_array_equal(field.velocity(0.0, [[1.0, 0.0]]), [[0.0, 3.0]])
    with pytest.raises(ValueError, match="speed"):
        rotation().with_parameters(speed=1.0)
    with pytest.raises(ValueError, match="finite"):
        rotation().with_parameters(rate=math.nan)


@settings(derandomize=True, deadline=None, max_examples=80)
@given(x=st.floats(-1e4, 1e4), y=st.floats(-1e4, 1e4))
def test_wrapping_moves_by_whole_periods_on_periodic_axes_only(x, y):
    field = VelocityField(
        body=lambda m, p, t, x, y: (y, x), dimension=2,
        domain=(Axis(-1.0, 2.5, "periodic"), Axis(0.0, 1.0)),
    )  # fmt: skip
    (wrapped, other), periods = field.wrap([[x, y]])[0], 3.5
    assert -1.0 <= wrapped <= 2.5 and other == y
    assert math.remainder(wrapped - x, periods) == pytest.approx(0, abs=1e-11)


def test_wrapping_leaves_its_argument_alone():
    x = np.array([[7.0, -1.0]])
    taylor_green().wrap(x)
    np.testing.assert_array_equal(x, [[7.0, -1.0]])


@pytest.mark.parametrize("shape", [(2,), (3, 3), (1, 2, 2), ()])
def test_positions_of_the_wrong_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"shape \(particles, 2\), got \("):
        rotation().velocity(0.0, np.zeros(shape))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((1.0, 1.0), "an axis needs lower < upper, got 1.0 and 1.0"),
        ((0.0, math.nan), "an axis needs lower < upper, got 0.0 and nan"),
        ((0.0, 1.0, "cyclic"), '"open", "periodic", "closed" or "wall", got \'cyclic\''),
    ],
)
def test_impossible_axes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Axis(*arguments)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"body": "x"}, r"body must be a function \(m, p, t, x, y\[, z\]\), got 'x'"),
        ({"dimension": 4}, "dimension must be 1, 2 or 3, got 4"),
        ({"domain": (Axis(0, 1),)}, "one Axis per coordinate, 2, got 1"),
        ({"time_range": (1.0, 1.0)}, r"time_range must increase, got \(1.0, 1.0\)"),
        (
            {"parameters": {"size": 1.0}},
            "must be a NamedTuple of numbers or 1-D arrays, got {'size'",
        ),
        ({"parameters": (1.0,)}, r"must be a NamedTuple of numbers or 1-D arrays, got \(1.0,\)"),
        ({"parameters": Drift("fast")}, "must be numbers or 1-D arrays of one length, got Drift"),
        ({"parameters": Drift(math.inf)}, "parameters must be finite"),
        ({"parameters": Drift(np.zeros((2, 2)))}, "parameters must be numbers or 1-D arrays, got"),
        (
            {"parameters": Waves(np.zeros(2), np.zeros(3))},
            "must be numbers or 1-D arrays of one length",
        ),
    ],
)
def test_fields_whose_parts_do_not_fit_are_refused(change, message):
    arguments = {"body": waves, "parameters": Drift(), "dimension": 2} | change
    with pytest.raises(ValueError, match=message):
        VelocityField(**arguments)


def test_the_vocabulary_is_complete_and_exprel_has_its_limit():
    for name in FUNCTIONS:
        assert callable(getattr(numpy_functions, name))
    assert numpy_functions.pi == math.pi
    x = np.array([0.0, 1e-300, -1e-9, 1.0, -50.0])
    expected = [1.0, 1.0, 1 - 0.5e-9, math.e - 1, (1 - math.exp(-50)) / 50]
    np.testing.assert_allclose(numpy_functions.exprel(x), expected, rtol=2e-16)


def test_the_derivative_of_exprel_has_its_limit():
    x = np.array([0.0, 1e-300, 1.0, -50.0])
    expected = [0.5, 0.5, 1.0, (1 - 51 * math.exp(-50)) / 2500]
    np.testing.assert_allclose(numpy_functions.exprel_derivative(x), expected, rtol=1e-15)
    x = np.array([-1.4999, -1.5, 1.4999, 1.5, 20.0])
    by_parts = (np.exp(x) - (np.exp(x) - 1) / x) / x
    np.testing.assert_allclose(numpy_functions.exprel_derivative(x), by_parts, rtol=2e-15)


def test_a_choice_takes_one_side_whole_and_carries_nan():
    x, y = np.array([2.0, 1.0, 1.0, math.nan]), np.array([1.0, 2.0, 1.0, 0.0])
    found = numpy_functions.where_greater(x, y, 3.0, [math.inf, 4.0, 5.0, 6.0])
    np.testing.assert_array_equal(found, [3.0, 4.0, 5.0, math.nan])


def test_maximum_carries_nan():
    for function in (numpy_functions.maximum, numpy_functions.minimum):
        assert np.isnan(function(math.nan, 1.0)) and np.isnan(function(1.0, math.nan))


def test_a_dipole_is_the_sum_of_its_two_vortices():
    dipole = vortex_dipole(2.0, 1.0)
    kind = type(dipole.parameters)
    x = np.array([[0.3, 0.1], [-1.0, 2.0]])
    rows = [
        VelocityField(body=dipole.body, parameters=kind(*row), dimension=2).velocity(0.7, x)
        for row in dipole.table.tolist()
    ]
    np.testing.assert_allclose(dipole.velocity(0.7, x), rows[0] + rows[1], rtol=1e-15)
