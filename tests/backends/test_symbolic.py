"""Fields as formulas: divergence, Jacobian, acceleration, LaTeX, exprel, modes, refusals."""

import sys
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch.func import jacfwd, jvp, vmap

from meanfluid.backends import symbolic
from meanfluid.backends.tensors import torch_velocity
from meanfluid.errors import MissingExtraError
from meanfluid.fields import (
    VelocityField,
    double_gyre,
    gaussian_vortex,
    gerstner_wave,
    rankine,
    rotation,
)
from tests.catalogue import CASES

sympy = pytest.importorskip("sympy")
# torch itself, on its first forward-mode derivative
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")

EXPLICIT = [name for name in CASES if not CASES[name].field.iterative]


def points_of(name: str) -> tuple[VelocityField, np.ndarray, np.ndarray]:
    case = CASES[name]
    times = np.random.default_rng(4).uniform(*sorted((case.start, case.end)), 5)
    return case.field, times, case.position(5, seed=9)


def exprel_by_mpmath(x: float, order: int = 0) -> float:
    import mpmath

    return float(mpmath.hyp1f1(order + 1, order + 2, x) / (order + 1))


def evaluated(field: VelocityField, expression: Any, t: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Numbers from an expression in the symbols of a field, one array per point."""
    symbols = symbolic.velocity(field)[1]
    arguments = [symbols.time, *symbols.position, *symbols.parameters]
    values = list(field.parameters)
    if field.modal:
        arguments, values = [*arguments, symbols.modes], [*values, len(field.table)]
    modules = [
        {"exprel": exprel_by_mpmath, "Heaviside": lambda z, *_: float(z > 0)},
        "math",
    ]
    rows = sympy.Matrix([expression]).tolist()
    evaluate = sympy.lambdify(arguments, rows, modules)
    return np.array([evaluate(t_i, *x_i, *values) for t_i, x_i in zip(t, x, strict=True)])


@pytest.mark.parametrize("field", [double_gyre(), gaussian_vortex(), rankine(), rotation()])
def test_divergence_of_an_incompressible_formula_simplifies_to_zero(field):
    assert symbolic.divergence(field) == 0


@pytest.mark.parametrize("name", EXPLICIT)
def test_divergence_vanishes_where_the_field_says_so(name):
    """Also where it does so by its numbers only, as when amplitudes are normal to wavevectors."""
    field, times, position = points_of(name)
    divergence = evaluated(field, symbolic.divergence(field), times, position)
    gradient = evaluated(field, symbolic.jacobian(field), times, position)
    trace = np.trace(gradient, axis1=1, axis2=2)
    scale = 1e-12 * abs(gradient).max()
    np.testing.assert_allclose(divergence[:, 0, 0], trace, rtol=0, atol=scale)
    if field.divergence_free:
        np.testing.assert_allclose(divergence, 0, rtol=0, atol=scale)


@pytest.mark.parametrize("name", EXPLICIT)
def test_jacobian_and_acceleration_equal_those_of_torch(name):
    field, times, position = points_of(name)
    t, x = torch.tensor(times), torch.tensor(position)
    v = torch_velocity(field)
    gradient = vmap(jacfwd(v))(x, t).numpy()
    found = evaluated(field, symbolic.jacobian(field), times, position)
    np.testing.assert_allclose(found, gradient, rtol=0, atol=1e-12 * abs(gradient).max())
    _, acceleration = jvp(v, (x, t), (v(x, t), torch.ones_like(t)))
    found = evaluated(field, symbolic.material_acceleration(field), times, position)[..., 0]
    scale = 1e-12 * (abs(gradient).max() * v(x, t).abs().max().item() + 1)
    np.testing.assert_allclose(found, acceleration.numpy(), rtol=0, atol=scale)


def test_material_acceleration_of_solid_rotation_is_centripetal():
    acceleration = symbolic.material_acceleration(rotation())
    (x, y), p = symbolic.velocity(rotation())[1][1:3]
    assert acceleration == sympy.Matrix([-(p.rate**2) * x, -(p.rate**2) * y])


def test_latex_of_the_double_gyre_names_its_parts():
    text = symbolic.latex(double_gyre())
    for piece in (
        r"\begin{aligned}", r"\dot{x} &= ", r"\dot{y} &= ", r"\end{aligned}",
        r"\mathrm{amplitude}", r"\sin{\left(\mathrm{frequency} \, t \right)}",
        r"\cos{\left(\pi \, y \right)}",
    ):  # fmt: skip
        assert piece in text, text


def test_latex_of_a_vortex_shows_the_exponential_and_not_exprel():
    text = symbolic.latex(gaussian_vortex())
    assert "exprel" not in text
    assert "e^{" in text
    assert r"\mathrm{core\ radius}" in text


class Sway(NamedTuple):
    x: float = 0.5
    nu: float = 0.1
    k_0: float = 2.0


def sway(m, p, t, x, z):
    return p.x * m.sin(p.k_0 * x) * 0.1, p.nu * z


def test_names_are_those_of_the_body_and_never_collide():
    v, symbols = symbolic.velocity(VelocityField(body=sway, parameters=Sway(), dimension=2))
    assert [str(name) for name in symbols.position] == ["x", "z"]
    assert [str(name) for name in symbols.parameters] == ["x_0", "nu", "k_0"]
    assert (
        v[0].diff(symbols.parameters.x)
        == sympy.sin(symbols.parameters.k_0 * symbols.position[0]) / 10
    )


def test_letters_stay_as_they_are_in_latex():
    text = symbolic.latex(VelocityField(body=sway, parameters=Sway(), dimension=2))
    assert r"\nu" in text
    assert "k_{0}" in text
    assert "mathrm" not in text


class Waves(NamedTuple):
    strength: np.ndarray
    n: np.ndarray


def wave(m, p, t, x, y):
    return p.strength * m.cos(p.n * y), p.strength * m.cos(p.n * x)


def test_modal_fields_are_sums_over_an_index_with_a_name_of_its_own():
    modes = Waves(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    field = VelocityField(body=wave, parameters=modes, dimension=2)
    v, symbols = symbolic.velocity(field)
    assert str(symbols.mode) == "n_0"
    assert v[0].limits == ((symbols.mode, 0, symbols.modes - 1),)
    assert symbolic.divergence(field) == 0
    text = symbolic.latex(field)
    assert r"\sum_{n_{0}=0}^{N - 1}" in text
    assert r"{\mathrm{strength}}_{n_{0}}" in text


def test_exprel_is_regular_at_zero_with_all_its_derivatives():
    exprel, x = symbolic.sympy_functions().exprel, sympy.Symbol("x", real=True)
    derivatives = [exprel(x).diff(x, order).subs(x, 0) for order in range(4)]
    assert derivatives == [1, sympy.Rational(1, 2), sympy.Rational(1, 3), sympy.Rational(1, 4)]


@pytest.mark.parametrize("order", [0, 1, 2])
def test_exprel_evaluates_to_any_number_of_digits(order):
    exprel, x = symbolic.sympy_functions().exprel, sympy.Symbol("x")
    derivative = exprel(x).diff(x, order)
    quotient = ((sympy.exp(x) - 1) / x).diff(x, order)
    for point in (sympy.Rational(-7, 3), sympy.Rational(1, 5)):
        found, expected = derivative.subs(x, point).evalf(40), quotient.subs(x, point).evalf(40)
        assert abs(found / expected - 1) < 1e-38
    assert sympy.simplify(derivative.rewrite(sympy.exp) - quotient) == 0


def test_the_derivative_of_exprel_and_choices_are_formulas():
    m, x = symbolic.sympy_functions(), sympy.Symbol("x", real=True)
    assert m.exprel_derivative(x) == m.exprel(x).diff(x)
    assert m.exprel_derivative(sympy.Integer(0)) == sympy.Rational(1, 2)
    choice = m.where_greater(x, 1, x**2, 3 * x)
    assert [choice.subs(x, place) for place in (2, 1, 0)] == [4, 3, 0]
    assert choice.diff(x).subs(x, 2) == 4


def test_exprel_has_a_form_in_latex():
    exprel, x = symbolic.sympy_functions().exprel, sympy.Symbol("x")
    assert sympy.latex(exprel(x)) == r"\operatorname{exprel}\left(x\right)"
    assert sympy.latex(exprel(x).diff(x)) == r"\operatorname{exprel}^{(1)}\left(x\right)"
    assert sympy.latex(exprel(x) ** 2) == r"\left[\operatorname{exprel}\left(x\right)\right]^{2}"


@pytest.mark.parametrize(
    "operation",
    [
        symbolic.velocity,
        symbolic.latex,
        symbolic.divergence,
        symbolic.jacobian,
        symbolic.material_acceleration,
    ],
)
def test_an_iterative_field_is_refused_by_name(operation):
    with pytest.raises(ValueError, match="gerstner_wave solves an implicit equation by iteration"):
        operation(gerstner_wave())


def test_without_sympy_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sympy", None)
    with pytest.raises(MissingExtraError, match=r"needs sympy.*meanfluid\[symbolic\]"):
        symbolic.velocity(rotation())
