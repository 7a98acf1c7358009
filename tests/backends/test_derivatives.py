"""Derivatives of bodies: against mpmath, sympy and identities; exact limits; every backend."""

import inspect
import math
import re
from types import SimpleNamespace
from typing import Any, NamedTuple

import llvmlite.binding
import mpmath
import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.extending import register_jitable

from meanfluid.backends import libm, polynomials, symbolic
from meanfluid.backends.derivatives import differentiated, gradient_body
from meanfluid.backends.reference import heyoka_functions
from meanfluid.backends.tensors import tensor_functions
from meanfluid.fields import VelocityField, gaussian_vortex, moving_vortex, rankine
from meanfluid.fields.elementary import FUNCTIONS, numpy_functions
from meanfluid.fields.velocity_field import NoParameters
from tests.catalogue import CASES

EPS = np.finfo(float).eps
POINTS = 8

mpmath_functions = SimpleNamespace(
    pi=mpmath.mp.pi,
    exprel=lambda x: mpmath.hyp1f1(1, 2, x),
    exprel_derivative=lambda x: mpmath.hyp1f1(2, 3, x) / 2,
    maximum=max,
    minimum=min,
    where_greater=lambda x, y, above, otherwise: above if x > y else otherwise,
    **{name: getattr(mpmath, name) for name in FUNCTIONS if hasattr(mpmath, name)},
)


def gradient_of(field: VelocityField):
    return gradient_body(field.body, type(field.parameters), field.dimension)


def evaluated(field: VelocityField, t: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Velocity (n, d) and its gradient (n, d, d) by the derived body with NumPy, modes summed."""
    p, d = field.parameters, field.dimension
    if field.modal:
        p = type(p)(*field.table.T[:, :, None])
    parts = gradient_of(field)(numpy_functions, p, t, *x.T)
    rows = len(field.table) if field.modal else 1
    summed = np.stack([np.broadcast_to(part, (rows, len(x))).sum(0) for part in parts], axis=-1)
    return summed[:, :d], summed[:, d:].reshape(-1, d, d)


def points_of(name: str) -> tuple[VelocityField, np.ndarray, np.ndarray]:
    case = CASES[name]
    t = np.random.default_rng(21).uniform(*sorted((case.start, case.end)), POINTS)
    return case.field, t, case.position(POINTS, seed=22)


def by_differences(function: Any, place: Any, axis: int) -> list[Any]:
    """Central differences so fine, in 70 digits, that 40 digits of the derivative are right."""
    step = mpmath.mpf(10) ** -22
    ahead, behind = list(place), list(place)
    ahead[axis], behind[axis] = place[axis] + step, place[axis] - step
    pairs = zip(function(*ahead), function(*behind), strict=True)
    return [(after - before) / (2 * step) for after, before in pairs]


def exact_gradient(field: VelocityField, t: float, x: np.ndarray) -> np.ndarray:
    record = type(field.parameters)
    rows = [record(*map(mpmath.mpf, row)) for row in field.table.tolist()]

    def velocity(*place: Any) -> list[Any]:
        parts = [field.body(mpmath_functions, p, mpmath.mpf(t), *place) for p in rows]
        return [mpmath.fsum(component) for component in zip(*parts, strict=True)]

    with mpmath.workdps(70):
        place = [mpmath.mpf(x_i) for x_i in x.tolist()]
        columns = [by_differences(velocity, place, axis) for axis in range(field.dimension)]
        return np.array(columns, dtype=float).T


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_is_that_of_the_velocity_in_seventy_digits(name):
    field, t, x = points_of(name)
    exact = np.array([exact_gradient(field, t_i, x_i) for t_i, x_i in zip(t, x, strict=True)])
    _, found = evaluated(field, t, x)
    error = abs(found - exact).max()
    assert error <= 30 * EPS * abs(exact).max(), error / abs(exact).max()


@pytest.mark.parametrize("name", [n for n in CASES if not CASES[n].field.iterative])
def test_the_gradient_equals_the_jacobian_of_the_formula(name):
    sympy, special = pytest.importorskip("sympy"), pytest.importorskip("scipy.special")
    field, t, x = points_of(name)
    symbols = symbolic.velocity(field)[1]
    arguments = [symbols.time, *symbols.position, *symbols.parameters]
    values = list(field.parameters)
    if field.modal:
        arguments, values = [*arguments, symbols.modes], [*values, len(field.table)]
    functions = {
        "exprel": lambda z, n=0: special.hyp1f1(n + 1, n + 2, z) / (n + 1),
        "Heaviside": lambda z, *_: float(z > 0),
    }
    evaluate = sympy.lambdify(arguments, symbolic.jacobian(field).tolist(), [functions, "math"])
    exact = np.array([evaluate(t_i, *x_i, *values) for t_i, x_i in zip(t, x, strict=True)])
    _, found = evaluated(field, t, x)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-13 * abs(exact).max())


@pytest.mark.parametrize("name", [n for n in CASES if CASES[n].field.divergence_free])
def test_the_trace_vanishes_where_the_field_is_free_of_divergence(name):
    field, t, x = points_of(name)
    _, gradient = evaluated(field, t, x)
    trace = np.trace(gradient, axis1=1, axis2=2)
    assert abs(trace).max() <= 30 * EPS * abs(gradient).max()


@pytest.mark.parametrize("name", CASES)
def test_the_velocity_keeps_its_bits(name):
    field, t, x = points_of(name)
    np.testing.assert_array_equal(evaluated(field, t, x)[0], field.velocity(t, x))


_inlined = numba.njit(error_model="numpy", forceinline=True)


def loop_of(function: Any, field: VelocityField, namespace: Any, components: int) -> Any:
    """A compiled ``(table, time (n,), place (d, n), out (components, n))`` that adds up modes."""
    names = {"f": _inlined(function), "m": namespace, "record": type(field.parameters)}
    parameters = ", ".join(f"table[row, {k}]" for k in range(field.table.shape[1]))
    place = ", ".join(f"place[{k}, lane]" for k in range(field.dimension))
    lines = ["def loop(table, time, place, out):", "    for row in range(table.shape[0]):"]
    lines += [f"        p = record({parameters})", "        for lane in range(time.shape[0]):"]
    lines += [f"            value = f(m, p, time[lane], {place})"]
    lines += [f"            out[{k}, lane] += value[{k}]" for k in range(components)]
    exec("\n".join(lines), names)
    signature = numba.void(
        *[numba.float64[:, ::1] if d else numba.float64[::1] for d in (1, 0, 1, 1)]
    )
    return numba.njit(signature, error_model="numpy")(names["loop"])


def by_loop(function: Any, field: VelocityField, namespace: Any, components: int, t: Any, x: Any):
    out = np.zeros((components, len(t)))
    loop_of(function, field, namespace, components)(field.table, t, np.ascontiguousarray(x.T), out)
    return out


@pytest.mark.parametrize("namespace", [libm, polynomials], ids=["libm", "polynomials"])
@pytest.mark.parametrize(
    "name", ["double_gyre", "gerstner_wave", "rankine", "lamb_oseen_pair", "abc_flow"]
)
def test_compiled_it_keeps_the_bits_of_the_velocity_and_gives_the_gradient(name, namespace):
    field, t, x = points_of(name)
    d = field.dimension
    alone = by_loop(field.body, field, namespace, d, t, x)
    together = by_loop(gradient_of(field), field, namespace, d + d * d, t, x)
    np.testing.assert_array_equal(together[:d], alone)
    _, expected = evaluated(field, t, x)
    found = together[d:].T.reshape(-1, d, d)
    np.testing.assert_allclose(found, expected, rtol=0, atol=100 * EPS * abs(expected).max())


@pytest.mark.skipif(
    not llvmlite.binding.get_host_cpu_features().get("fma"),
    reason="reads the assembly of an x86 processor with fused operations",
)
@pytest.mark.parametrize("name", ["double_gyre", "rankine", "gaussian_vortex", "gerstner_wave"])
def test_a_loop_over_the_derived_body_becomes_vector_instructions(name):
    field = CASES[name].field
    d = field.dimension
    loop = loop_of(gradient_of(field), field, polynomials, d + d * d)
    (signature,) = loop.signatures
    symbol = loop.overloads[signature].fndesc.llvm_func_name
    assembly = loop.inspect_asm(signature).split(f"\n{symbol}:")[1]
    body = re.split(r"\n_?[A-Za-z_]\S*:", assembly)[0]
    packed = re.findall(r"\tv?(?:mul|add|sub|div|sqrt|cmp|fn?m(?:add|sub)\d*)\w*pd\t", body)
    assert len(packed) >= (10 if name == "rankine" else 50), body
    assert not re.findall(r"\tcall\w*\t.*", body)


def test_at_the_centre_of_a_vortex_the_gradient_is_solid_rotation():
    """Exactly: the singularity of (1 - exp(-r^2))/r^2 is removed in the derivative, too."""
    for field, t, centre in (
        (gaussian_vortex(2.0, 0.5), 0.0, (0.0, 0.0)),
        (moving_vortex(2.0, 0.5, 1.0, -2.0), 0.5, (0.5, -1.0)),
        (rankine(2.0, 0.5), 0.0, (0.0, 0.0)),
    ):
        turning = 2.0 / (2 * math.pi * 0.25)
        velocity, gradient = evaluated(field, t, np.array([centre]))
        np.testing.assert_array_equal(gradient, [[[0, -turning], [turning, 0]]])
        np.testing.assert_array_equal(
            velocity, [[getattr(field.parameters, f"velocity_{c}", 0.0) for c in "xy"]]
        )


class Power(NamedTuple):
    n: float


def slope(function: Any, *place: Any, p: Any = None, m: Any = numpy_functions) -> list[float]:
    """Derivatives in x (and y) at a place, of a function of m, p, t, x[, y]."""
    d = len(place)
    by = ("x", "y")[:d]
    with np.errstate(all="ignore"):
        derived = differentiated(function, p and type(p), d, by=by)
        values = derived(m, p, np.float64(0.0), *map(np.float64, place))
    return [float(value) for value in values[-d:]]


@pytest.mark.parametrize(
    "n, at_zero, at_two", [
        (0, 0, 0), (1, 1, 1), (2, 0, 4), (3, 0, 12), (-1, -math.inf, -0.25), (-2, -math.inf, -0.25),
        (0.5, math.inf, 0.25 * 2**0.5), (1.5, 0, 1.5 * 2**0.5), (2.0, 0, 4), (1.0, 1, 1),
    ],
)  # fmt: skip
def test_powers_have_the_right_slope_at_zero_too(n, at_zero, at_two):
    for p, power in ((None, lambda m, p, t, x: x**n), (Power(float(n)), lambda m, p, t, x: x**p.n)):
        found = [slope(power, x, p=p)[0] for x in (0.0, 2.0)]
        assert found == pytest.approx([at_zero, at_two], rel=4 * EPS, abs=0), p


def test_powers_may_depend_on_position_in_base_and_exponent():
    assert slope(lambda m, p, t, x: 3.0**x, 2.0) == pytest.approx([9 * math.log(3)])
    assert slope(lambda m, p, t, x: x**x, 2.0) == pytest.approx([4 * (1 + math.log(2))])
    assert slope(lambda m, p, t, x, y: x**y, 2.0, 3.0) == pytest.approx([12, 8 * math.log(2)])
    assert slope(lambda m, p, t, x, y: x**y, 0.0, 2.0) == [0, 0]
    assert slope(lambda m, p, t, x, y: x**y, 0.0, 1.0) == [1, 0]
    assert slope(lambda m, p, t, x, y: p.n**y, 1.0, 2.0, p=Power(0.0)) == [0, 0]
    assert math.isnan(slope(lambda m, p, t, x, y: x**y, -2.0, 3.0)[1])


def test_where_there_is_no_derivative_it_is_infinite_not_a_number_or_one_sided():
    assert slope(lambda m, p, t, x: m.sqrt(x), 0.0) == [math.inf]
    assert math.isnan(slope(lambda m, p, t, x, y: m.sqrt(x * x + y * y), 0.0, 0.0)[0])
    assert slope(lambda m, p, t, x: m.maximum(2 * x, 3 * x), 0.0) == [3]
    assert slope(lambda m, p, t, x: m.minimum(2 * x, 3 * x), 0.0) == [3]


def test_a_choice_has_the_slope_of_the_side_chosen_whatever_the_other_is():
    def clipped(m, p, t, x):
        return m.maximum(m.sqrt(x), 0.5 * x), m.minimum(x**3, 8), m.where_greater(x, 0, x, m.log(x))

    derived = differentiated(clipped, None, 1, by=("x",))
    with np.errstate(all="ignore"):
        assert derived(numpy_functions, None, 0.0, np.float64(9.0))[3:] == (0.5, 0.0, 1.0)
        assert derived(numpy_functions, None, 0.0, np.float64(1.0))[3:] == (0.5, 3.0, 1.0)
        assert derived(numpy_functions, None, 0.0, np.float64(0.0))[5] == math.inf
    assert math.isnan(derived(numpy_functions, None, 0.0, np.float64(math.nan))[3])


ARGUMENTS: dict[str, list[float]] = {
    "asin": [-0.999999, 0.0, 0.3, 0.999999], "acos": [-0.999999, 0.0, 0.3, 0.999999],
    "atanh": [-0.999999, 0.0, 0.3, 0.999999], "acosh": [1.0000001, 1.5, 40.0],
    "log": [1e-10, 0.5, 1e10], "sqrt": [1e-10, 0.5, 1e10], "tan": [-1.57, 0.0, 0.7, 20.0],
    "exprel": [-600.0, -1.7, -1.0, -1e-5, 0.0, 1e-20, 0.6, 1.6, 600.0],
}  # fmt: skip
ORDINARY = [-20.0, -1.1, -1e-9, 0.0, 0.4, 3.0, 20.0]
ONE_ARGUMENT = [
    name
    for name in FUNCTIONS
    if name not in ("atan2", "maximum", "minimum", "where_greater", "exprel_derivative")
]


@pytest.mark.parametrize("namespace", [numpy_functions, polynomials], ids=["numpy", "polynomials"])
@pytest.mark.parametrize("name", ONE_ARGUMENT)
def test_every_elementary_function_has_an_accurate_derivative(name, namespace):
    """In relative terms, also where 1 - tanh(x)**2 or 1 - x*x would have cancelled."""
    for x in ARGUMENTS.get(name, ORDINARY):
        found = slope(lambda m, p, t, x: getattr(m, name)(x), x, m=namespace)[0]
        with mpmath.workdps(70):
            function = getattr(mpmath_functions, name)
            (exact,) = by_differences(lambda z, f=function: [f(z)], [mpmath.mpf(x)], 0)
        assert found == pytest.approx(float(exact), rel=8 * EPS, abs=1e-30), x


def test_the_angle_of_a_point_turns_at_the_inverse_radius():
    def angle(m, p, t, x, y):
        return m.atan2(y, x)

    for x, y in ((3.0, 4.0), (-3.0, 4.0), (-3.0, -4.0), (0.0, 5.0), (-5.0, 0.0)):
        assert slope(angle, x, y) == pytest.approx([-y / 25, x / 25], rel=2 * EPS)


# A tree of operations as nested tuples; its leaves are coordinates, time, the parameter, numbers.
LEAVES = st.sampled_from(["t", "x", "y", "n"]) | st.floats(-2, 2, allow_subnormal=False)
SAFE = ("sin", "cos", "tanh", "atan", "exprel", "asinh", "maximum", "minimum", "where_greater")
TREES = st.recursive(
    LEAVES,
    lambda trees: st.tuples(
        st.sampled_from([*"+-*/", "**2", "**3", "power", "root", *SAFE]), trees, trees
    ),
    max_leaves=14,
)


def grown(tree: Any, m: Any, values: dict[str, Any]) -> Any:
    """The value of a tree; poles and wild growth are kept out by construction."""
    if not isinstance(tree, tuple):
        return values[tree] if isinstance(tree, str) else tree
    operation, left, right = tree[0], *(grown(branch, m, values) for branch in tree[1:])
    match operation:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return m.tanh(left) * right
        case "/":
            return left / (2 + m.sin(right))
        case "**2" | "**3":
            return m.sin(left) ** int(operation[-1])
        case "power":
            return (2 + m.cos(left)) ** m.sin(right)
        case "root":
            return m.sqrt(1 + left * left) - right**0
        case "maximum" | "minimum":
            return getattr(m, operation)(left, right)
        case "where_greater":
            return m.where_greater(m.sin(left), 0.25, m.cos(right), left)
        case "exprel":
            return m.exprel(m.sin(left))
    return getattr(m, operation)(left)


@given(TREES)
@settings(max_examples=150, deadline=None)
def test_any_formula_has_the_derivatives_of_its_differences(tree):
    """In 70 digits: tested is the formula of the derivative and not its rounding."""

    def function(m, p, t, x, y):
        return m.sin(grown(tree, m, {"t": t, "x": x, "y": y, "n": p.n}))

    derived = differentiated(function, Power, 2, by=("t", "x", "y"))
    with mpmath.workdps(70):
        p, place = (
            Power(mpmath.mpf("0.7312")),
            [mpmath.mpf(c) for c in ("0.317", "-0.823", "1.291")],
        )
        value, *found = derived(mpmath_functions, p, *place)
        exact = [
            by_differences(lambda *at: [function(mpmath_functions, p, *at)], place, axis)[0]
            for axis in range(3)
        ]
        assert value == function(mpmath_functions, p, *place)
        errors = [abs(f - e) / (1 + abs(e)) for f, e in zip(found, exact, strict=True)]
        assert max(errors) < 1e-30, (errors, inspect.getsource(derived))


class Column(NamedTuple):
    swirl: float = 1.5
    width: float = 0.6
    beat: float = 2.0


@register_jitable
def squared(x):
    return x * x


WEIGHTS = np.array([0.25, -0.5, 0.125])


def column(m, p, t, x, y, z):
    """Helpers, constant arrays, loops, choices and exprel in one body."""
    distance = squared(x) + squared(y)
    turning = p.swirl * (1 + m.sin(p.beat * t) / 3) * m.exprel(-distance / p.width**2)
    lift = m.maximum(m.exp(-distance), 0.25) * m.cos(z - p.beat * t)
    for k in range(3):
        lift = lift + WEIGHTS[k] * m.sin((k + 1) * z)
    return -turning * y, turning * x, lift


PLACE = (0.4, 0.3, -0.7, 1.1)  # t, x, y, z


def expected_of_column() -> list[float]:
    with mpmath.workdps(70):
        p = Column(*map(mpmath.mpf, Column()))
        place = list(map(mpmath.mpf, PLACE))

        def velocity(*at: Any) -> Any:
            return column(mpmath_functions, p, *at)

        rows = zip(*(by_differences(velocity, place, axis) for axis in (1, 2, 3)), strict=True)
        return [
            float(part) for part in (*velocity(*place), *(entry for row in rows for entry in row))
        ]


def column_by_numpy(g: Any) -> list[Any]:
    return list(g(numpy_functions, Column(), *PLACE))


def column_by_torch(g: Any) -> list[Any]:
    parts = g(tensor_functions, Column(), *(torch.tensor(c, dtype=torch.float64) for c in PLACE))
    return [float(part) for part in parts]


def column_by_sympy(g: Any) -> list[Any]:
    sympy = pytest.importorskip("sympy")
    symbols = sympy.symbols("t x y z", real=True)
    parts = g(symbolic.sympy_functions(), Column(), *symbols)
    at = dict(zip(symbols, PLACE, strict=True))
    return [float(sympy.sympify(part).subs(at)) for part in parts]


def column_by_heyoka(g: Any) -> list[Any]:
    heyoka = pytest.importorskip("heyoka")
    m = heyoka_functions(heyoka)
    variables = heyoka.make_vars("t", "x", "y", "z")
    parts = g(m, Column(), *variables)
    return list(heyoka.cfunc([m.expression(part) for part in parts], vars=variables)(PLACE))


def column_compiled(g: Any) -> list[Any]:
    field = VelocityField(body=column, parameters=Column(), dimension=3)
    t, *x = PLACE
    return by_loop(g, field, polynomials, 12, np.array([t]), np.array([x]))[:, 0].tolist()


@pytest.mark.parametrize(
    "evaluate",
    [column_by_numpy, column_by_torch, column_by_sympy, column_by_heyoka, column_compiled],
)
def test_the_derived_body_is_a_body_for_every_backend(evaluate):
    found = evaluate(gradient_body(column, Column, 3))
    np.testing.assert_allclose(found, expected_of_column(), rtol=4e-15, atol=1e-15)


def test_observables_have_derivatives_in_time_and_place():
    """A number, a tuple, and the acceleration of a field in time."""

    def energy(m, p, t, x, y):
        return t**2 * x * y + 1

    at = (2.0, 3.0, 5.0)
    assert differentiated(energy, None, 2)(None, None, *at) == (61, 20, 12)
    assert differentiated(energy, None, 2, by=("t", "y"))(None, None, *at) == (61, 60, 12)

    def pair(m, p, t, x, z):
        return x * z, 7

    derived = differentiated(pair, None, 2, by=("y", "x"))
    assert derived(None, None, *at) == (15, 7, 3, 5, 0, 0)
    assert list(inspect.signature(derived).parameters) == ["m", "p", "t", "x", "z"]


def test_second_derivatives_are_those_of_the_derived_body():
    field = CASES["double_gyre"].field
    twice = differentiated(gradient_of(field), type(field.parameters), 2)
    t, x, y = PLACE[:3]
    values = twice(numpy_functions, field.parameters, t, x, y)
    second = np.reshape(values[6 + 4 :], (2, 2, 2))  # of v_i, in x_j and then in x_k
    np.testing.assert_allclose(second[:, 0, 1], second[:, 1, 0], rtol=1e-14)
    with mpmath.workdps(70):
        exact = by_differences(
            lambda *at: gradient_of(field)(mpmath_functions, field.parameters, t, *at)[2:],
            [mpmath.mpf(x), mpmath.mpf(y)],
            1,
        )
    np.testing.assert_allclose(second[:, :, 1].ravel(), np.array(exact, dtype=float), rtol=1e-14)


def test_without_derivatives_loops_come_out_unrolled_with_the_same_bits():
    field, t, x = points_of("gerstner_wave")
    straight = differentiated(field.body, type(field.parameters), 2, by=())
    assert "for" not in inspect.getsource(straight).split("def")[1].split('"""')[2]
    found = by_loop(straight, field, polynomials, 2, t, x)
    np.testing.assert_array_equal(found, by_loop(field.body, field, polynomials, 2, t, x))


def test_a_body_without_parameters_takes_none_or_an_empty_record():
    def body(m, p, t, x):
        return (x * x,)

    assert gradient_body(body, None, 1)(None, None, 0.0, 3.0) == (9, 6)
    assert gradient_body(body, NoParameters, 1)(None, NoParameters(), 0.0, 3.0) == (9, 6)


def test_wrong_arguments_are_refused():
    def body(m, p, t, x, y):
        return x, y, t

    with pytest.raises(ValueError, match=r"tuple of 2 velocity components.*got 3"):
        gradient_body(body, None, 2)
    with pytest.raises(ValueError, match="dimension must be 1, 2 or 3, got 4"):
        gradient_body(body, None, 4)
    with pytest.raises(ValueError, match="by must name some of t, x, y, got 'z'"):
        differentiated(body, None, 2, by=("z",))
    with pytest.raises(ValueError, match="record must be a NamedTuple class or None"):
        differentiated(body, float, 2)
