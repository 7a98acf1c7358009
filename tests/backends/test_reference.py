"""The Taylor oracle: published end points, closed forms, gradients, integrals, refusals."""

import math
import sys
from typing import NamedTuple

import mpmath
import numpy as np
import pytest
import scipy.linalg

from meanfluid.backends.reference import reference_flow_map, reference_gradient
from meanfluid.errors import MissingExtraError, TrajectoryError
from meanfluid.fields import (
    VelocityField,
    abc_flow,
    bickley_jet,
    double_gyre,
    linear_flow,
    plane_wave,
    rotation,
    strain,
    stuart_vortices,
    vortex_dipole,
)
from tests.catalogue import CASES

pytest.importorskip("heyoka")
pytestmark = pytest.mark.reference

# End points from time 0, computed in multiple precision with independent step sizes.
END_POINTS = [
    (double_gyre(), 5.0, (0.5, 0.5), (0.840893647781605429, 0.33769612064713241)),
    (double_gyre(), 20.0, (0.5, 0.5), (0.84219089612588277, 0.679084215199541742)),
    (double_gyre(), 5.0, (1.0, 0.25), (0.14014753239340675, 0.401541987042118265)),
    (double_gyre(), 20.0, (1.0, 0.25), (1.70600517650125844, 0.0841036115930426597)),
    (double_gyre(), 5.0, (1.3, 0.8), (0.986650001470003653, 0.0141870484299425288)),
    (double_gyre(), 20.0, (1.3, 0.8), (1.01011334749404534, 0.988220440235210016)),
    (
        abc_flow(), 10.0, (1.0, 2.0, 3.0),
        (-0.478969823209552153, 1.02773769126098239, 23.5954402690551891),
    ),
    (
        abc_flow(), 10.0, (0.1, 0.2, 0.3),
        (-4.10013156353462141, 1.16131207341493416, -2.92264543855428356),
    ),
    (bickley_jet(), 10.0, (0.0, 0.5), (27.4949798113456356, -2.38318915610309892)),
    (bickley_jet(), 10.0, (5.0, -2.0), (34.442960291222643, -2.06354885824349044)),
    (stuart_vortices(), 10.0, (2.5, 0.2), (3.25723166436804947, 0.563997492546401839)),
    (stuart_vortices(), 10.0, (1.0, 1.5), (10.3417042816778703, 1.83373000945960672)),
    (vortex_dipole(), 2.0, (0.4, 0.3), (1.74894010841783957, 0.177897696078207323)),
    (vortex_dipole(), 0.6, (0.2, 0.0), (1.32428434599254439, 0.0)),
]  # fmt: skip
IDS = [f"{field.name}-{end:g}-{start[0]:g}" for field, end, start, _ in END_POINTS]
CLOSED = [name for name in CASES if CASES[name].field.exact_flow_map is not None]


@pytest.mark.parametrize("precision", ["double", "extended"])
@pytest.mark.parametrize("field, time, start, end", END_POINTS, ids=IDS)
def test_end_points_known_to_many_digits_are_reached(field, time, start, end, precision):
    found = reference_flow_map(field, [start], 0.0, time, precision=precision)
    np.testing.assert_allclose(found, [end], rtol=2e-14, atol=1e-15)


@pytest.mark.parametrize("name", CLOSED)
def test_closed_form_flow_maps_are_reproduced_in_both_directions(name):
    case = CASES[name]
    x = case.position(4, seed=3)
    start, end = np.full(4, case.start), np.full(4, case.end)
    exact = case.field.exact_flow_map(case.field.parameters, x, start, end)
    there = reference_flow_map(case.field, x, case.start, case.end)
    back = reference_flow_map(case.field, there, case.end, case.start)
    np.testing.assert_allclose(there, exact, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(back, x, rtol=1e-12, atol=1e-12)


def test_each_particle_has_its_own_window():
    x = np.array([[1.0, 0.0], [0.0, 2.0], [0.5, 0.5]])
    start, end = np.array([0.0, 1.0, 3.0]), np.array([2.0, -1.0, 3.0])
    field = rotation(0.7)
    found = reference_flow_map(field, x, start, end)
    exact = field.exact_flow_map(field.parameters, x, start, end)
    np.testing.assert_allclose(found, exact, rtol=0, atol=4e-16)
    assert (found[2] == x[2]).all()
    assert reference_flow_map(field, np.zeros((0, 2)), 0.0, 1.0).shape == (0, 2)


INCOMPRESSIBLE = [double_gyre(), abc_flow(), bickley_jet(), stuart_vortices(), vortex_dipole()]


@pytest.mark.parametrize("field", INCOMPRESSIBLE, ids=lambda field: field.name)
def test_flow_maps_of_incompressible_flows_preserve_volume(field):
    x = next(case for case in CASES.values() if case.field.name == field.name).position(3, seed=8)
    gradient = reference_gradient(field, x, 0.0, [1.0, -2.0, 2.5])
    error = abs(np.linalg.det(gradient) - 1)
    assert (error <= 1e-12).all(), error


def test_volume_changes_by_the_integral_of_the_divergence():
    field = plane_wave()

    def divergence(m, p, t, x, y):
        phase = p.wavenumber_x * x + p.wavenumber_y * y - p.frequency * t
        return -(p.amplitude_x * p.wavenumber_x + p.amplitude_y * p.wavenumber_y) * m.sin(phase)

    x = [[0.3, 0.1], [2.0, -1.0]]
    for end in (4.0, -4.0):
        _, integral = reference_flow_map(field, x, 0.0, end, observables=[divergence])
        volume = np.linalg.det(reference_gradient(field, x, 0.0, end))
        np.testing.assert_allclose(volume, np.exp(integral[:, 0]), rtol=1e-13)


def test_gradient_of_a_linear_flow_is_the_matrix_exponential():
    matrix = [[0.3, 1.2], [-0.7, -0.3]]
    found = reference_gradient(linear_flow(matrix), [[1.0, 0.5], [0.2, 0.1]], 0.5, [2.0, -1.0])
    exact = [scipy.linalg.expm(1.5 * np.array(matrix)), scipy.linalg.expm(-1.5 * np.array(matrix))]
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-14)


def test_gradient_of_the_double_gyre_agrees_with_differences_of_the_flow_map():
    x, h = np.array([0.7, 0.4]), 1e-4
    ends = reference_flow_map(
        double_gyre(), x + h * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]]), 0.0, 4.0
    )
    expected = np.stack([ends[0] - ends[1], ends[2] - ends[3]], axis=-1) / (2 * h)
    found = reference_gradient(double_gyre(), [x], 0.0, 4.0)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["double_gyre", "vortex_dipole"])
@pytest.mark.parametrize("forwards", [True, False])
def test_the_integral_of_velocity_is_displacement_with_the_sign_of_time(name, forwards):
    case = CASES[name]
    start, end = (case.start, case.end) if forwards else (case.end, case.start)

    def one_and_velocity(m, p, t, x, y):
        return (1, *velocity(m, t, x, y))

    def velocity(m, t, x, y):
        rows = case.field.table
        parts = [case.field.body(m, type(case.field.parameters)(*row), t, x, y) for row in rows]
        return [sum(component[1:], component[0]) for component in zip(*parts, strict=True)]

    x = case.position(3, seed=1)
    final, integrals = reference_flow_map(
        case.field, x, start, end, observables=[one_and_velocity, lambda m, p, t, x, y: 2 * t]
    )
    np.testing.assert_allclose(integrals[:, 0], end - start, rtol=1e-14)
    np.testing.assert_allclose(integrals[:, 1:3], final - x, rtol=0, atol=2e-13)
    np.testing.assert_allclose(integrals[:, 3], end**2 - start**2, rtol=1e-14)


def test_an_observable_may_use_the_parameters_of_the_field():
    _, found = reference_flow_map(
        strain(0.7), [[1.0, 1.0]], 0.0, 2.0, observables=[lambda m, p, t, x, y: p.rate * x * y]
    )
    np.testing.assert_allclose(found, [[1.4]], rtol=1e-15)


def on_a_line(body, **parameters) -> VelocityField:
    return VelocityField(body=body, dimension=1, **parameters)


def test_exprel_is_integrated_through_zero():
    """dx/dt = (e^x - 1)/x takes the time of the integral of x/(e^x - 1) from -3 to 3."""
    field = on_a_line(lambda m, p, t, x: (m.exprel(x),))
    time = float(mpmath.quad(lambda x: x / mpmath.expm1(x), [-3, 0, 3]))
    assert reference_flow_map(field, [[-3.0]], 0.0, time)[0, 0] == pytest.approx(3, rel=2e-14)
    assert reference_flow_map(field, [[3.0]], time, 0.0)[0, 0] == pytest.approx(-3, rel=2e-14)
    slope = reference_gradient(field, [[-3.0]], 0.0, time)[0, 0, 0]  # the ratio of the speeds
    assert slope == pytest.approx(math.exp(3), rel=1e-13)


def test_the_derivative_of_exprel_integrates_to_exprel():
    """Along x = t from -3 to 3, through 0."""
    field = on_a_line(lambda m, p, t, x: (1.0,))
    _, found = reference_flow_map(
        field, [[-3.0]], -3.0, 3.0, observables=[lambda m, p, t, x: m.exprel_derivative(x)]
    )
    exact = math.expm1(3) / 3 - math.expm1(-3) / -3
    assert found[0, 0] == pytest.approx(exact, rel=1e-14)


def test_a_choice_is_made_between_two_velocities():
    field = on_a_line(lambda m, p, t, x: (m.where_greater(x, 0.0, x, -1.0),))
    found = reference_flow_map(field, [[-5.0], [1.5]], 0.0, 0.5)
    np.testing.assert_allclose(found, [[-5.5], [1.5 * math.exp(0.5)]], rtol=1e-15)


def test_maximum_and_minimum_choose_their_branch():
    field = on_a_line(lambda m, p, t, x: (m.maximum(m.minimum(x, 2.0), 1.0),))
    found = reference_flow_map(field, [[-5.0], [1.1], [3.0]], 0.0, 0.5)
    np.testing.assert_allclose(found, [[-4.5], [1.1 * math.exp(0.5)], [4.0]], rtol=1e-15)


class Pulses(NamedTuple):
    beat: np.ndarray


def test_modal_fields_are_summed():
    field = on_a_line(lambda m, p, t, x: (m.cos(p.beat * t),), parameters=Pulses(np.arange(1, 5)))
    exact = sum(math.sin(1.5 * k) / k for k in range(1, 5))
    assert reference_flow_map(field, [[0.0]], 0.0, 1.5)[0, 0] == pytest.approx(exact, rel=1e-14)


def test_a_trajectory_that_blows_up_is_reported_with_its_particle():
    """dx/dt = x^2 from x = 1 is infinite at t = 1."""
    field = on_a_line(lambda m, p, t, x: (x * x,))
    with pytest.raises(TrajectoryError, match=r"particle 1, at \[1\.\] .* towards 2\.0"):
        reference_flow_map(field, [[-1.0], [1.0]], 0.0, 2.0)
    with pytest.raises(TrajectoryError, match="particle 0"):
        reference_gradient(field, [[1.0]], 0.0, 2.0)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"position": [1.0, 0.0]}, r"shape \(particles, 2\), got \(2,\)"),
        ({"position": [[1.0, 0.0, 0.0]]}, r"shape \(particles, 2\), got \(1, 3\)"),
        ({"position": [[1.0, math.nan]]}, "position must be finite, got nan"),
        ({"start": [0.0, 1.0]}, r"start must be a number or have shape \(1,\), got \(2,\)"),
        ({"end": math.inf}, "end must be finite, got inf"),
        ({"tolerance": 0.0}, "tolerance must lie between 0 and 1, got 0.0"),
        ({"precision": "quad"}, "precision must be .*, got 'quad'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(changes, message):
    arguments = {"position": [[1.0, 0.0]], "start": 0.0, "end": 1.0} | changes
    for function in (reference_flow_map, reference_gradient):
        with pytest.raises(ValueError, match=message):
            function(rotation(), **arguments)


def test_without_heyoka_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "heyoka", None)
    with pytest.raises(MissingExtraError, match=r"needs heyoka.*meanfluid\[reference\]"):
        reference_flow_map(rotation(), [[1.0, 0.0]], 0.0, 1.0)
