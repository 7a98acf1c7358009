"""Branch-free elementary functions for compiled loops over particles.

The module itself is the namespace ``m`` of a field's body on the CPU. Its functions are
arithmetic, selects and fused multiply-adds only, so LLVM turns a loop that calls them into
vector instructions. The fused operations are explicit: a value has the same bits whatever its
place in the loop and whatever the width of the machine's vectors. (A processor without fused
operations gives the same bits, slowly.)

Outside its range a function returns NaN, never a wrong finite number; NaN in gives NaN out.
Whoever evaluates a block recomputes the NaN lanes with `meanfluid.backends.libm`.

=============  ============================  =========  =================
function       range                         bound/ulp  outside
=============  ============================  =========  =================
sin, cos       abs(x) <= 2**40               1          NaN
tan            abs(x) <= 2**40               2          NaN
exp            x <= 709.78 (underflows)      1          NaN
exprel         x <= 709                      2          NaN
its derivative x <= 709                      2          NaN
sinh, cosh     abs(x) <= 709                 1          NaN
tanh, atan     every x, infinities too       2
log            normal x > 0                  1          NaN
asin, acos     abs(x) <= 1                   2          NaN, as in libm
atan2          not (0, 0), below 8.98e307    2          NaN
sqrt           x >= 0                        1/2        NaN, as in libm
=============  ============================  =========  =================

An ulp is the spacing of float64 numbers at the exact value. asinh, acosh and atanh call libm:
right everywhere, but a loop that calls them is not vectorised. `RANGES` holds the table for
programs. Coefficients and split constants come from ``tools/fit_polynomials.py``.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

from meanfluid.backends.instructions import bits as _bits
from meanfluid.backends.instructions import float_of as _float
from meanfluid.backends.instructions import fma as _fma
from meanfluid.backends.instructions import polynomial as _polynomial
from meanfluid.backends.instructions import select as _select
from meanfluid.fields.elementary import EXPREL_DERIVATIVE_SERIES

Function = TypeVar("Function", bound=Callable[..., Any])

# Typed as the identity, so that a compiled function keeps its signature for the type checker.
_compiled: Callable[[Function], Function] = njit(error_model="numpy", forceinline=True)

pi = math.pi

_CIRCULAR_LIMIT = 2.0**40
_EXP_LIMIT = 709.782712893384  # log(largest float64)
_GROWTH_LIMIT = 709.0  # 2**k and 2**-k are both representable, k = rint(x / log(2))
_LARGEST = 1.7976931348623157e308
_HALF_LARGEST = 0.5 * _LARGEST
_SMALLEST_NORMAL = 2.2250738585072014e-308

RANGES: dict[str, tuple[float, float]] = {
    "sin": (-_CIRCULAR_LIMIT, _CIRCULAR_LIMIT),
    "cos": (-_CIRCULAR_LIMIT, _CIRCULAR_LIMIT),
    "tan": (-_CIRCULAR_LIMIT, _CIRCULAR_LIMIT),
    "exp": (-math.inf, _EXP_LIMIT),
    "exprel": (-math.inf, _GROWTH_LIMIT),
    "exprel_derivative": (-math.inf, _GROWTH_LIMIT),
    "sinh": (-_GROWTH_LIMIT, _GROWTH_LIMIT),
    "cosh": (-_GROWTH_LIMIT, _GROWTH_LIMIT),
    "tanh": (-math.inf, math.inf),
    "log": (_SMALLEST_NORMAL, _LARGEST),
    "asin": (-1.0, 1.0),
    "acos": (-1.0, 1.0),
    "atan": (-math.inf, math.inf),
    "sqrt": (0.0, _LARGEST),
}
"""The closed interval on which each function of one argument is finite and within its bound."""


@_compiled
def sin(x: float) -> float:
    """Sine of `x` in radians."""
    quadrant, sine, cosine = _sine_and_cosine(math.fabs(x))
    value = _select((quadrant & 1) != 0, cosine, sine)
    sign = ((quadrant << 62) ^ _bits(x)) & _SIGN
    return _guarded(math.fabs(x) <= _CIRCULAR_LIMIT, _float(_bits(value) ^ sign))


@_compiled
def cos(x: float) -> float:
    """Cosine of `x` in radians."""
    quadrant, sine, cosine = _sine_and_cosine(math.fabs(x))
    value = _select((quadrant & 1) != 0, sine, cosine)
    sign = ((quadrant + 1) << 62) & _SIGN
    return _guarded(math.fabs(x) <= _CIRCULAR_LIMIT, _float(_bits(value) ^ sign))


@_compiled
def tan(x: float) -> float:
    """Tangent of `x` in radians."""
    quadrant, r, tail = _reduce_by_half_pi(math.fabs(x))
    sine_tail, cosine, cosine_tail = _sine_and_cosine_parts(r, tail)
    odd = (quadrant & 1) != 0
    value = _quotient(
        _select(odd, cosine, r),
        _select(odd, cosine_tail, sine_tail),
        _select(odd, r, cosine),
        _select(odd, sine_tail, cosine_tail),
    )
    sign = ((quadrant << 63) ^ _bits(x)) & _SIGN
    return _guarded(math.fabs(x) <= _CIRCULAR_LIMIT, _float(_bits(value) ^ sign))


@_compiled
def exp(x: float) -> float:
    """Exponential of `x`; it underflows gradually to 0."""
    shifted, r, tail = _reduce_by_ln2(_select(x < -746.0, -746.0, x))
    reduced = 1.0 + (r + _exponential_tail(r, tail))
    # Subnormal results are made 2**128 times too large and scaled back by a rounded product.
    subnormal = x < -700.0
    bits = _bits(reduced * _select(subnormal, 2.0**128, 1.0)) + (shifted << 52)
    return _guarded(x <= _EXP_LIMIT, _float(bits) * _select(subnormal, 2.0**-128, 1.0))


@_compiled
def exprel(x: float) -> float:
    """(exp(x) - 1)/x, with its limit 1 at 0."""
    # Below -50, exp(x) - 1 rounds to -1.
    shifted, r, tail = _reduce_by_ln2(_select(x < -50.0, -50.0, x))
    scale = _power_of_two(shifted)
    lead = scale - 1.0
    total = lead + scale * r
    tail = _fma(scale, _exponential_tail(r, tail), scale * r - (total - lead))
    value = _select(math.fabs(x) < 2.0**-54, 1.0, (total + tail) / x)
    return _guarded(x <= _GROWTH_LIMIT, value)


@_compiled
def exprel_derivative(x: float) -> float:
    """Derivative of `exprel`, ((x - 1) exp(x) + 1)/x**2 with its limit 1/2 at 0."""
    # Below -50 the numerator rounds to 1. It is made 2**-k times as large, not to overflow.
    z = _select(x < -50.0, -50.0, x)
    shifted, r, tail = _reduce_by_ln2(z)
    lead, rest = 1.0 + r, _exponential_tail(r, tail)
    rest = (r - (lead - 1.0)) + rest
    power = lead + rest
    rest = (lead - power) + rest
    factor = z - 1.0
    product = factor * power
    one = _power_of_two(-shifted)
    total = product + one
    rest = _fma(factor, power, -product) + _fma(factor, rest, ((z - factor) - 1.0) * power)
    larger = _select(one > math.fabs(product), one, product)
    smaller = _select(one > math.fabs(product), product, one)
    rest = rest + (smaller - (total - larger))
    # Both divisions by x are rounded almost correctly; below -1e200 the result underflows.
    divisor = _select(x < -1e200, -1e200, x)
    inverse = 1.0 / divisor
    once = total * inverse
    once = _fma(_fma(-once, divisor, total) + rest, inverse, once) * _power_of_two(shifted)
    far = once * inverse
    far = _fma(_fma(-far, divisor, once), inverse, far)
    value = _select(math.fabs(x) < 1.0, _polynomial(x, _EXPREL_DERIVATIVE), far)
    return _guarded(x <= _GROWTH_LIMIT, value)


@_compiled
def sinh(x: float) -> float:
    """Hyperbolic sine of `x`."""
    sine, sine_tail, _, _ = _hyperbolic_parts(math.fabs(x))
    value = _with_sign_of(sine + sine_tail, x)
    return _guarded(math.fabs(x) <= _GROWTH_LIMIT, value)


@_compiled
def cosh(x: float) -> float:
    """Hyperbolic cosine of `x`."""
    _, _, cosine, cosine_tail = _hyperbolic_parts(math.fabs(x))
    return _guarded(math.fabs(x) <= _GROWTH_LIMIT, cosine + cosine_tail)


@_compiled
def tanh(x: float) -> float:
    """Hyperbolic tangent of `x`."""
    size = math.fabs(x)
    # From 20 on, tanh rounds to 1.
    sine, sine_tail, cosine, cosine_tail = _hyperbolic_parts(_select(size > 20.0, 20.0, size))
    value = _with_sign_of(_quotient(sine, sine_tail, cosine, cosine_tail), x)
    return _guarded(x == x, value)


@_compiled
def log(x: float) -> float:
    """Natural logarithm of `x`."""
    # The exponent is taken so that the fraction lies in [sqrt(1/2), sqrt(2)).
    biased = _bits(x) + (_ONE - _ROOT_HALF)
    fraction = _float((biased & _MANTISSA) + _ROOT_HALF)
    exponent = _float((biased >> 52) | _TWO_52) - (2.0**52 + 1023.0)
    f = fraction - 1.0
    s = f / (2.0 + f)
    z = s * s
    half_square = 0.5 * f * f
    lead = exponent * _LN2_SHORT[0]
    total = lead + f
    tail = _fma(exponent, _LN2_SHORT[1], f - (total - lead))
    tail = tail + _fma(s, _fma(z, _polynomial(z, _LOG), half_square), -half_square)
    return _guarded((x >= _SMALLEST_NORMAL) & (x <= _LARGEST), total + tail)


@_compiled
def sqrt(x: float) -> float:
    """Square root of `x`, correctly rounded."""
    return math.sqrt(x)


@_compiled
def asin(x: float) -> float:
    """Arc sine of `x`."""
    near, s, rest = _arcsine_parts(math.fabs(x))
    multiple, factor = _select(near, 0.0, 2.0), _select(near, 1.0, -2.0)
    return _with_sign_of(_quarters_plus(multiple, factor * s, factor * rest), x)


@_compiled
def acos(x: float) -> float:
    """Arc cosine of `x`."""
    near, s, rest = _arcsine_parts(math.fabs(x))
    negative = x < 0.0
    factor = _select(near, -1.0, 2.0) * _select(negative, -1.0, 1.0)
    multiple = _select(near, 2.0, _select(negative, 4.0, 0.0))
    return _quarters_plus(multiple, factor * s, factor * rest)


@_compiled
def atan(x: float) -> float:
    """Arc tangent of `x`."""
    multiple, t, rest = _arctangent_parts(math.fabs(x), 1.0)
    return _with_sign_of(_quarters_plus(multiple, t, rest), x)


@_compiled
def atan2(y: float, x: float) -> float:
    """Angle of the point (x, y)."""
    width, height = math.fabs(x), math.fabs(y)
    multiple, t, rest = _arctangent_parts(height, width)
    sign = _select(x < 0.0, -1.0, 1.0)
    multiple = _select(x < 0.0, 4.0 - multiple, multiple)
    angle = _with_sign_of(_quarters_plus(multiple, sign * t, sign * rest), y)
    return _guarded((width <= _HALF_LARGEST) & (height <= _HALF_LARGEST), angle)


@_compiled
def asinh(x: float) -> float:
    """Inverse hyperbolic sine of `x`, by libm."""
    return math.asinh(x)


@_compiled
def acosh(x: float) -> float:
    """Inverse hyperbolic cosine of `x`, by libm."""
    return math.acosh(x)


@_compiled
def atanh(x: float) -> float:
    """Inverse hyperbolic tangent of `x`, by libm."""
    return math.atanh(x)


@_compiled
def maximum(x: float, y: float) -> float:
    """Larger of `x` and `y`; NaN if either is."""
    return _select((x > y) | (x != x), x, y)


@_compiled
def minimum(x: float, y: float) -> float:
    """Smaller of `x` and `y`; NaN if either is."""
    return _select((x < y) | (x != x), x, y)


@_compiled
def where_greater(x: float, y: float, above: float, otherwise: float) -> float:
    """`above` if `x` > `y`, else `otherwise`; NaN if `x` or `y` is."""
    return _guarded((x == x) & (y == y), _select(x > y, above, otherwise))


# Adding it rounds to an integer, which then sits in the low bits of the sum (two's complement).
_ROUND = 1.5 * 2.0**52
_SIGN = -(2**63)
_MANTISSA = 2**52 - 1
_ONE = 0x3FF0000000000000
_TWO_52 = 0x4330000000000000
_ROOT_HALF = 0x3FE6A09E667F3BCD
_TWO_OVER_PI = 0.6366197723675814
_HALF_PI = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33)
_TAN_22_5, _TAN_67_5 = 0.41421356237309503, 2.414213562373095
_QUARTER_PI = (0.7853981633974483, 3.061616997868383e-17)
_LOG2_E = 1.4426950408889634
_LN2 = (0.6931471805599453, 2.31904681384628e-17)
_LN2_SHORT = (0.6931471805598903, 5.497923018708371e-14)  # 42 bits: its multiples are exact

_SIN = (
    -0.16666666666666632, 0.008333333333322264, -0.00019841269829683084,
    2.7557313647032415e-06, -2.505075085094312e-08, 1.5896361683577818e-10,
)  # fmt: skip
_COS = (
    0.041666666666666644, -0.0013888888888881966, 2.4801587294339532e-05,
    -2.755731573564053e-07, 2.087590793026972e-09, -1.1369015217553673e-11,
)  # fmt: skip
_SINH = (
    0.16666666666666677, 0.008333333333321511, 0.0001984126988646182,
    2.755724384394623e-06, 2.5109173093452386e-08,
)  # fmt: skip
_COSH = (
    0.04166666666666667, 0.0013888888888880446, 2.4801587333860968e-05,
    2.755726539055489e-07, 2.091751208453523e-09,
)  # fmt: skip
_LOG = (
    0.6666666666666734, 0.3999999999941923, 0.28571428741387556,
    0.22222198674303803, 0.18183559156962306, 0.15314180535039973,
    0.14794671725147612,
)  # fmt: skip
_ATAN = (
    -0.33333333333333326, 0.19999999999997572, -0.14285714285376838,
    0.11111111087537388, -0.09090908123197733, 0.0769228231198316,
    -0.06666220630926421, 0.058769659300952175, -0.0521806867533894,
    0.04502272369705245, -0.03344658855725321, 0.015168576633709716,
)  # fmt: skip
_ASIN = (
    0.1666666666666666, 0.07500000000002291, 0.044642857139956936,
    0.03038194462960106, 0.022372152101068233, 0.01735293465789904,
    0.013962027021433648, 0.011584440494078833, 0.00949274970506364,
    0.009966597108837322, 0.0008269854096486021, 0.02450922370559689,
    -0.025740966151370843, 0.033409092192931984,
)  # fmt: skip
_EXPREL_DERIVATIVE = EXPREL_DERIVATIVE_SERIES[:19]  # for abs(x) < 1 the rest is below 4e-19


@_compiled
def _sine_and_cosine(x: float) -> tuple[int, float, float]:
    """Quadrant of `x` and the sine and cosine of its distance from the middle of it."""
    quadrant, r, tail = _reduce_by_half_pi(x)
    sine_tail, cosine, cosine_tail = _sine_and_cosine_parts(r, tail)
    return quadrant, r + sine_tail, cosine + cosine_tail


@_compiled
def _sine_and_cosine_parts(r: float, tail: float) -> tuple[float, float, float]:
    """Sine of r + tail less r; leading part and rest of its cosine."""
    z = r * r
    sine_tail = _fma(r * z, _polynomial(z, _SIN), tail)
    half = 0.5 * z
    cosine = 1.0 - half
    rest = _fma(z * z, _polynomial(z, _COS), -r * tail)
    return sine_tail, cosine, ((1.0 - cosine) - half) + rest


@_compiled
def _reduce_by_half_pi(x: float) -> tuple[int, float, float]:
    """Nearest multiple of pi/2 and the distance from it, in two parts.

    Cody and Waite's reduction with fused operations: the first difference is exact, the second
    is carried with its rounding error, because near a multiple it is all that remains.
    """
    shifted = _fma(x, _TWO_OVER_PI, _ROUND)
    multiple = shifted - _ROUND
    first = _fma(-multiple, _HALF_PI[0], x)
    product = multiple * _HALF_PI[1]
    r = first - product
    tail = ((first - r) - product) - _fma(multiple, _HALF_PI[1], -product)
    return _bits(shifted), r, _fma(-multiple, _HALF_PI[2], tail)


@_compiled
def _reduce_by_ln2(x: float) -> tuple[int, float, float]:
    """Nearest multiple of log(2) and the distance from it, in two parts."""
    shifted = _fma(x, _LOG2_E, _ROUND)
    multiple = shifted - _ROUND
    first = _fma(-multiple, _LN2[0], x)
    r = _fma(-multiple, _LN2[1], first)
    return _bits(shifted), r, _fma(-multiple, _LN2[1], first - r)


@_compiled
def _exponential_tail(r: float, tail: float) -> float:
    """exp(r + tail) - 1 - r on the reduced interval."""
    z = r * r
    even = _fma(z, _polynomial(z, _COSH), 0.5)
    return _fma(z, _fma(r, _polynomial(z, _SINH), even), tail)


@_compiled
def _hyperbolic_parts(x: float) -> tuple[float, float, float, float]:
    """Hyperbolic sine and cosine of `x`, each in two parts.

    With x = k log(2) + r, sinh(x) = sinh(k log 2) cosh(r) + cosh(k log 2) sinh(r) and likewise
    cosh(x): no difference of exponentials, so the relative error stays small near 0.
    """
    shifted, r, tail = _reduce_by_ln2(x)
    growing = 0.5 * _power_of_two(shifted)
    decaying = 0.5 * _power_of_two(-shifted)
    sine_of_multiple = growing - decaying
    cosine_of_multiple = growing + decaying
    z = r * r
    odd = _fma(r * z, _polynomial(z, _SINH), tail)
    even = z * _fma(z, _polynomial(z, _COSH), 0.5)
    sine, sine_tail = _sum_of_product(sine_of_multiple, cosine_of_multiple, r)
    cosine, cosine_tail = _sum_of_product(cosine_of_multiple, sine_of_multiple, r)
    sine_tail = sine_tail + ((growing - sine_of_multiple) - decaying)
    cosine_tail = cosine_tail + ((growing - cosine_of_multiple) + decaying)
    sine_tail = sine_tail + _fma(sine_of_multiple, even, cosine_of_multiple * odd)
    cosine_tail = cosine_tail + _fma(cosine_of_multiple, even, sine_of_multiple * odd)
    return sine, sine_tail, cosine, cosine_tail


@_compiled
def _sum_of_product(lead: float, factor: float, r: float) -> tuple[float, float]:
    """Sum lead + factor * r and its rounding error, for a product smaller than a nonzero lead."""
    total = _fma(factor, r, lead)
    return total, _fma(factor, r, lead - total)


@_compiled
def _arctangent_parts(height: float, width: float) -> tuple[float, float, float]:
    """Angle of a point of the first quadrant: a multiple of pi/4, and the rest in two parts.

    The point is rotated by the multiple (0, 1 or 2) that leaves at most pi/8.
    """
    low = height <= _TAN_22_5 * width
    high = height > _TAN_67_5 * width
    upper = _select(low, height, _select(high, -width, height - width))
    lower = _select(low, width, _select(high, height, height + width))
    t = upper / lower
    z = t * t
    multiple = _select(low, 0.0, _select(high, 2.0, 1.0))
    return multiple, t, t * z * _polynomial(z, _ATAN)


@_compiled
def _arcsine_parts(size: float) -> tuple[bool, float, float]:
    """Whether size <= 1/2, and the arc sine of size or of sqrt((1 - size)/2), in two parts.

    asin(x) = pi/2 - 2 asin(sqrt((1 - x)/2)).
    """
    near = size <= 0.5
    z = _select(near, size * size, 0.5 * (1.0 - size))
    s = _select(near, size, math.sqrt(z))
    return near, s, s * z * _polynomial(z, _ASIN)


@_compiled
def _quarters_plus(multiple: float, lead: float, rest: float) -> float:
    """Sum multiple * pi/4 + lead + rest, for a lead smaller than a nonzero first term."""
    offset = multiple * _QUARTER_PI[0]
    rest = rest + _fma(multiple, _QUARTER_PI[1], _fma(multiple, _QUARTER_PI[0], -offset))
    total = offset + lead
    return total + ((lead - (total - offset)) + rest)


@_compiled
def _quotient(upper: float, upper_tail: float, lower: float, lower_tail: float) -> float:
    """(upper + upper_tail) / (lower + lower_tail), rounded almost correctly."""
    above = upper + upper_tail
    below = lower + lower_tail
    inverse = 1.0 / below
    value = above * inverse
    rest = (upper_tail - (above - upper)) - value * (lower_tail - (below - lower))
    return _fma(_fma(-value, below, above) + rest, inverse, value)


@_compiled
def _power_of_two(shifted: int) -> float:
    """2**k, for the integer k in the low bits of `shifted`."""
    return _float((shifted + 1023) << 52)


@_compiled
def _with_sign_of(size: float, x: float) -> float:
    """`size`, which is not negative, with the sign bit of `x`."""
    return _float(_bits(size) | (_bits(x) & _SIGN))


@_compiled
def _guarded(inside: bool, value: float) -> float:
    """`value` if `inside`, else NaN."""
    return _select(inside, value, math.nan)
