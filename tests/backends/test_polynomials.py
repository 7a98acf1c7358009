"""Elementary functions of compiled loops: error in ulps, ranges, bits, vector instructions."""

import math
import re

import llvmlite.binding
import mpmath
import numba
import numpy as np
import pytest
import scipy.special

from meanfluid.backends import libm, polynomials
from meanfluid.backends.polynomials import RANGES
from meanfluid.fields.elementary import FUNCTIONS

pytestmark = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT), reason="the functions exist only as compiled code"
)

BOUND = {  # ulps, as the module states them
    "sin": 1.0, "cos": 1.0, "tan": 2.0, "log": 1.0, "sqrt": 0.5,
    "exp": 1.0, "exprel": 2.0, "exprel_derivative": 2.0, "sinh": 1.0, "cosh": 1.0, "tanh": 2.0,
    "asin": 2.0, "acos": 2.0, "atan": 2.0,
}  # fmt: skip
CIRCULAR = ("sin", "cos", "tan")
PAIRS = ("maximum", "minimum", "atan2", "where_greater")
BY_LIBM = ("asinh", "acosh", "atanh")

TRUTH = {name: getattr(mpmath, name) for name in BOUND if not name.startswith("exprel")}
TRUTH["exprel"] = lambda x: mpmath.expm1(x) / x if x else mpmath.mpf(1)
TRUTH["exprel_derivative"] = lambda x: (
    mpmath.hyp1f1(2, 3, x) / 2 if abs(x) < 1 else ((x - 1) * mpmath.exp(x) + 1) / x**2
)

_LOOPS = {}


def loop_of(name):
    """A compiled loop that applies a polynomial function to an array."""
    if name not in _LOOPS:
        function = getattr(polynomials, name)

        def loop(x, out):
            for j in range(x.size):
                out[j] = function(x[j])

        def pair_loop(x, y, out):
            for j in range(x.size):
                out[j] = function(x[j], y[j])

        def choice_loop(x, y, out):
            for j in range(x.size):
                out[j] = function(x[j], y[j], x[j] + y[j], x[j] * y[j])

        source, count = (pair_loop, 3) if name in PAIRS else (loop, 2)
        if name == "where_greater":
            source = choice_loop
        signature = numba.void(*[numba.float64[::1]] * count)
        _LOOPS[name] = numba.njit(signature, error_model="numpy")(source)
    return _LOOPS[name]


def applied(name, points):
    out = np.empty_like(points)
    loop_of(name)(points, out)
    return out


def worst_error(name, points):
    """Largest |computed - exact| / spacing(exact), and the point where it occurs."""
    worst = (0.0, None)
    with mpmath.workprec(160):
        for x, computed in zip(points.tolist(), applied(name, points).tolist(), strict=True):
            exact = TRUTH[name](mpmath.mpf(x))
            spacing = float(np.spacing(abs(float(exact))))
            error = float(abs(mpmath.mpf(computed) - exact) / mpmath.mpf(spacing))
            if not error <= worst[0]:
                worst = (error, x)
    return worst


def with_neighbours(points):
    points = np.asarray(points, dtype=float)
    steps = (points, np.nextafter(points, np.inf), np.nextafter(points, -np.inf))
    return np.concatenate(steps)


def nearest_to_multiples_of_half_pi(limit):
    """Float64 numbers below `limit` that come closest to a multiple of pi/2.

    On each grid of spacing 2**e they are convergents of the continued fraction of pi/2**(e+1).
    """
    found = set()
    with mpmath.workprec(400):
        for e in range(-52, int(math.log2(limit)) - 52):
            rest = mpmath.pi / mpmath.mpf(2) ** (e + 1)
            before, numerator = 0, 1
            while True:
                whole = int(mpmath.floor(rest))
                before, numerator = numerator, whole * numerator + before
                if numerator >= 2**53:
                    break
                found.add(math.ldexp(numerator, e))
                rest = 1 / (rest - whole)
    return np.array(sorted(x for x in found if 0 < x <= limit))


def hard_points(name):
    """Points where an error would show: near zeros, at seams of the reduction, at range ends."""
    low, high = (max(min(end, 1.7e308), -1.7e308) for end in RANGES[name])
    tiny = np.array([0.0, 5e-324, 1e-310, 2.3e-308, 1e-200, 1e-20, 2.0**-54, 1e-16, 1e-9, 1e-8])
    points = [np.array([low, np.nextafter(low, 0), high, np.nextafter(high, 0)]), tiny, -tiny]
    if name in CIRCULAR:
        nearest = nearest_to_multiples_of_half_pi(high)
        seams = (np.arange(1, 200) * 0.5 + 0.25) * np.pi
        points += [nearest, -nearest, with_neighbours(seams)]
    elif name == "log":
        near_one = np.concatenate([1 + 2.0 ** -np.arange(1, 53), 1 - 2.0 ** -np.arange(1, 54)])
        points += [near_one, with_neighbours(np.sqrt(2.0) * 2.0 ** np.arange(-40, 40))]
    elif name in ("asin", "acos"):
        points += [with_neighbours([0.5, -0.5]), 1 - 2.0 ** -np.arange(2, 54)]
        points += [2.0 ** -np.arange(2, 54) - 1]
    elif name == "atan":
        seams = np.tan(np.array([np.pi / 8, np.pi / 4, 3 * np.pi / 8]))
        points += [with_neighbours(seams), with_neighbours(-seams), 10.0 ** np.arange(1, 300)]
    elif name != "sqrt":
        points += [with_neighbours([1.0, -1.0, -50.0]), -(10.0 ** np.arange(1, 300, 7))]
        seams = np.log(2) * (np.arange(-1074, 1024) + 0.5)
        points += [with_neighbours(seams[(seams > low) & (seams < high)]), seams[:60]]
    kept = np.concatenate(points)
    return kept[(kept >= low) & (kept <= high)]


def dense_points(name, seed, count):
    """Uniform near 0 and over the range, and uniform in the logarithm over the range."""
    rng = np.random.default_rng(seed)
    low, high = (max(min(end, 1e300), -1e300) for end in RANGES[name])
    widest = min(high, 1e6)
    logarithmic = 10 ** rng.uniform(-300, math.log10(high), count)
    points = [
        rng.uniform(max(low, -10), 10, count),
        rng.uniform(max(low, -1), 1, count),
        rng.uniform(max(low, -widest), widest, count),
        logarithmic if name in ("log", "sqrt") else np.sort(logarithmic)[::2],
        10 ** rng.uniform(-18, 3, count) * rng.choice([-1.0, 1.0], count),
    ]
    kept = np.concatenate(points)
    return kept[(kept >= low) & (kept <= high)]


@pytest.mark.parametrize("name", BOUND)
def test_error_stays_within_the_stated_ulps(name):
    points = np.concatenate([hard_points(name), dense_points(name, seed=3, count=700)])
    error, where = worst_error(name, points)
    assert error <= BOUND[name], f"{name}({where!r}) is wrong by {error:.3f} ulp"


def test_the_nearest_numbers_to_multiples_of_half_pi_are_as_near_as_they_can_be():
    """The reduced argument falls below 2**-58 in the range, so the sine test is a hard one."""
    points = nearest_to_multiples_of_half_pi(RANGES["sin"][1])
    smallest = np.minimum(np.abs(applied("sin", points)), np.abs(applied("cos", points))).min()
    assert smallest < 2.0**-58, smallest


@pytest.mark.parametrize("name", BOUND)
def test_any_pattern_of_bits_gives_nan_or_a_result_within_the_bound(name):
    rng = np.random.default_rng(11)
    points = rng.integers(0, 2**64, 4000, dtype=np.uint64, endpoint=False).view(np.float64)
    points = points[np.isfinite(points)]
    low, high = RANGES[name]
    inside = (points >= low) & (points <= high)
    assert np.isnan(applied(name, points[~inside])).all()
    error, where = worst_error(name, points[inside][:1000])
    assert error <= BOUND[name], f"{name}({where!r}) is wrong by {error:.3f} ulp"


@pytest.mark.parametrize("name", BOUND)
def test_beyond_the_ends_of_its_range_a_function_gives_nan(name):
    low, high = RANGES[name]
    below = [math.nextafter(low, -math.inf), 2 * low - 1]
    above = [math.nextafter(high, math.inf), 2 * high]
    beyond = np.array([x for x in below + above if math.isfinite(x)])
    values = applied(name, beyond)
    assert np.isnan(values).all(), (beyond, values)


@pytest.mark.parametrize("name", BOUND)
def test_nan_and_infinity_give_nan_or_the_limit(name):
    assert math.isnan(getattr(polynomials, name)(math.nan))
    for end in (-math.inf, math.inf):
        value = getattr(polynomials, name)(end)
        assert math.isnan(value) or value == getattr(libm, name)(end)


@pytest.mark.parametrize("name", ["sin", "tan", "sinh", "tanh", "asin", "atan", "sqrt"])
def test_the_sign_of_zero_is_kept(name):
    values = [getattr(polynomials, name)(zero) for zero in (0.0, -0.0)]
    assert [math.copysign(1.0, value) for value in values] == [1.0, -1.0]
    assert values == [0.0, 0.0]


def test_the_limits_are_exact():
    assert polynomials.exprel(0.0) == 1.0 and polynomials.exprel_derivative(0.0) == 0.5
    assert polynomials.exp(0.0) == polynomials.cos(0.0) == polynomials.cosh(0.0) == 1.0
    assert polynomials.log(1.0) == 0.0
    assert polynomials.exp(-math.inf) == polynomials.exp(-1e300) == 0.0
    assert polynomials.tanh(math.inf) == 1.0
    assert polynomials.pi == math.pi


@pytest.mark.parametrize("name", BOUND)
def test_a_result_has_the_same_bits_wherever_it_stands_in_a_loop(name):
    """One call, and loops of 1 to 70 passes that start at every offset."""
    low, high = RANGES[name]
    points = np.random.default_rng(7).uniform(max(low, -40), min(high, 40), 70)
    points[::9] *= 1e-3
    function = getattr(polynomials, name)
    alone = np.array([function(x) for x in points.tolist()])
    for length in range(1, 71):
        for offset in range(71 - length):
            block = applied(name, points[offset : offset + length])
            assert block.tobytes() == alone[offset : offset + length].tobytes(), (length, offset)


@pytest.mark.skipif(
    not llvmlite.binding.get_host_cpu_features().get("fma"),
    reason="reads the assembly of an x86 processor with fused operations",
)
@pytest.mark.parametrize("name", [*BOUND, *PAIRS])
def test_a_loop_becomes_vector_instructions_without_a_call(name):
    (signature,) = loop_of(name).signatures
    symbol = loop_of(name).overloads[signature].fndesc.llvm_func_name
    assembly = loop_of(name).inspect_asm(signature)
    body = re.split(r"\n_?[A-Za-z_]\S*:", assembly.split(f"\n{symbol}:")[1])[0]
    packed = re.findall(r"\tv?(?:mul|add|sub|div|sqrt|cmp|fn?m(?:add|sub)\d*)\w*pd\t", body)
    fewest = 1 if name in ("sqrt", "maximum", "minimum", "where_greater") else 10
    assert len(packed) >= fewest, body
    assert not re.findall(r"\tcall\w*\t.*", body)


def angle_errors(y, x):
    """Errors of atan2 in ulps; infinite where it is not a number."""
    errors = []
    with mpmath.workprec(160):
        for above, right in zip(y.tolist(), x.tolist(), strict=True):
            exact = mpmath.atan2(above, right)
            computed = polynomials.atan2(above, right)
            spacing = mpmath.mpf(float(np.spacing(abs(float(exact)))))
            error = float(abs(mpmath.mpf(computed) - exact) / spacing)
            errors.append(error if error == error else math.inf)
    return np.array(errors)


def test_the_angle_of_a_point_is_within_two_ulps():
    rng = np.random.default_rng(13)
    turns = rng.uniform(-math.pi, math.pi, 3000)
    seams = with_neighbours(np.arange(-8, 9) * np.pi / 8)
    angles = np.concatenate([turns, seams, 10 ** rng.uniform(-300, 0, 300)])
    size = 10 ** rng.uniform(-290, 300, angles.size)
    y, x = size * np.sin(angles), size * np.cos(angles)
    errors = angle_errors(y, x)
    worst = errors.argmax()
    assert errors[worst] <= 2.0, (y[worst], x[worst], errors[worst])


def test_the_angle_on_the_axes_is_exact_and_elsewhere_left_to_libm():
    assert [polynomials.atan2(*point) for point in ((0.0, 2.0), (1.0, 0.0), (-1.0, -0.0))] == [
        0.0, math.pi / 2, -math.pi / 2,
    ]  # fmt: skip
    assert polynomials.atan2(0.0, -1.0) == math.pi and polynomials.atan2(-0.0, -1.0) == -math.pi
    assert math.copysign(1.0, polynomials.atan2(-0.0, 1.0)) == -1.0
    undecided = [(0.0, 0.0), (1e308, 1e308), (math.inf, 1.0), (1.0, -math.inf), (math.nan, 1.0)]
    assert all(math.isnan(polynomials.atan2(*point)) for point in undecided)


@pytest.mark.parametrize("name, larger", [("maximum", True), ("minimum", False)])
@pytest.mark.parametrize("namespace", [polynomials, libm])
def test_the_larger_and_the_smaller_carry_nan(namespace, name, larger):
    function = getattr(namespace, name)
    assert function(1.0, 2.0) == function(2.0, 1.0) == (2.0 if larger else 1.0)
    assert function(-math.inf, math.inf) == (math.inf if larger else -math.inf)
    assert math.isnan(function(math.nan, 1.0)) and math.isnan(function(1.0, math.nan))


@pytest.mark.parametrize("namespace", [polynomials, libm])
def test_a_choice_takes_one_side_whole_and_carries_nan(namespace):
    choose, inf, nan = namespace.where_greater, math.inf, math.nan
    assert (choose(2.0, 1.0, 3.0, nan), choose(1.0, 2.0, inf, 4.0)) == (3.0, 4.0)
    assert choose(1.0, 1.0, 3.0, 4.0) == choose(0.0, -0.0, 3.0, 4.0) == 4.0
    assert choose(inf, -inf, 3.0, 4.0) == 3.0
    assert math.isnan(choose(nan, 1.0, 3.0, 4.0)) and math.isnan(choose(1.0, nan, 3.0, 4.0))


@pytest.mark.parametrize("namespace", [polynomials, libm])
def test_a_module_serves_as_the_namespace_of_a_body(namespace):
    @numba.njit(error_model="numpy")
    def body(m, x, y):
        return m.sin(m.pi * x) + m.maximum(m.exp(x), y)

    @numba.njit(error_model="numpy")
    def evaluate(x, y):
        return body(namespace, x, y)

    expected = math.sin(math.pi * 0.3) + 4.0
    assert evaluate(0.3, 4.0) == pytest.approx(expected, rel=1e-15)
    assert evaluate(0.3, 4) == evaluate(0.3, 4.0)
    assert evaluate(2, 4) == evaluate(2.0, 4.0)


@pytest.mark.parametrize("namespace", [polynomials, libm])
def test_a_namespace_has_every_name_a_body_may_call(namespace):
    assert all(callable(getattr(namespace, name)) for name in FUNCTIONS)


LIBM_POINTS = [0.0, -0.0, 1e-310, 1e-9, 0.25, -0.5, 0.875, 1.0, -1.0, 2.5, -30.0, 700.0]


@pytest.mark.parametrize("name", [*BOUND, *BY_LIBM])
def test_libm_agrees_with_the_standard_library(name):
    special = {"exprel": scipy.special.exprel, "exprel_derivative": TRUTH["exprel_derivative"]}
    trusted = special.get(name) or getattr(math, name)
    for x in LIBM_POINTS:
        try:
            expected = float(trusted(x))
        except (ValueError, OverflowError):  # tested below
            continue
        value = getattr(libm, name)(x)
        assert abs(value - expected) <= np.spacing(abs(expected)), (x, value, expected)
        assert math.copysign(1.0, value) == math.copysign(1.0, expected), x


def test_the_derivative_of_exprel_by_libm_is_within_four_ulps():
    seams = with_neighbours([1.5, -1.5, 50.0])
    points = np.concatenate([seams, dense_points("exprel_derivative", seed=5, count=1000)])
    with mpmath.workprec(160):
        for x in points.tolist():
            exact = TRUTH["exprel_derivative"](mpmath.mpf(x))
            error = abs(mpmath.mpf(libm.exprel_derivative(x)) - exact)
            assert error <= 4 * mpmath.mpf(float(np.spacing(float(exact)))), x


def test_libm_follows_ieee_where_the_standard_library_raises():
    assert libm.exp(1000.0) == libm.exprel(1000.0) == libm.cosh(1000.0) == math.inf
    assert libm.sinh(-1000.0) == libm.log(0.0) == libm.atanh(-1.0) == -math.inf
    undefined = [libm.log(-1.0), libm.sqrt(-1.0), libm.asin(2.0), libm.acos(-2.0)]
    undefined += [libm.acosh(0.5), libm.sin(math.inf), libm.cos(-math.inf), libm.tan(math.inf)]
    assert all(math.isnan(value) for value in undefined)
    assert libm.exprel(math.inf) == math.inf and libm.exprel(-math.inf) == 0.0
    assert libm.exprel(0.0) == libm.exprel(-0.0) == 1.0
    assert libm.exprel_derivative(math.inf) == libm.exprel_derivative(1000.0) == math.inf
    assert libm.exprel_derivative(-math.inf) == 0.0 and libm.exprel_derivative(0.0) == 0.5
    assert libm.atan2(0.0, -1.0) == math.pi and libm.atan2(-0.0, -1.0) == -math.pi


@pytest.mark.parametrize("name", BY_LIBM)
def test_functions_without_a_polynomial_are_those_of_libm(name):
    for x in (-0.75, 0.0, 0.3, 1.0, 4.0):
        np.testing.assert_array_equal(getattr(polynomials, name)(x), getattr(libm, name)(x))
