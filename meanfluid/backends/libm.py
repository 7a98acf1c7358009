"""The elementary functions of `meanfluid.backends.polynomials`, by libm.

The safe path: right for every argument, never vectorised. Errors follow IEEE 754 (infinity or
NaN), as CUDA does, and unlike Python's `math` never raise.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

from meanfluid.fields.elementary import EXPREL_DERIVATIVE_SERIES

Function = TypeVar("Function", bound=Callable[..., Any])

# Typed as the identity, so that a compiled function keeps its signature for the type checker.
_compiled: Callable[[Function], Function] = njit(error_model="numpy", forceinline=True)

pi = math.pi


@_compiled
def sin(x: float) -> float:
    """Sine of `x` in radians."""
    return math.sin(x)


@_compiled
def cos(x: float) -> float:
    """Cosine of `x` in radians."""
    return math.cos(x)


@_compiled
def tan(x: float) -> float:
    """Tangent of `x` in radians."""
    return math.tan(x)


@_compiled
def asin(x: float) -> float:
    """Arc sine of `x`."""
    return math.asin(x)


@_compiled
def acos(x: float) -> float:
    """Arc cosine of `x`."""
    return math.acos(x)


@_compiled
def atan(x: float) -> float:
    """Arc tangent of `x`."""
    return math.atan(x)


@_compiled
def atan2(y: float, x: float) -> float:
    """Angle of the point (x, y)."""
    return math.atan2(y, x)


@_compiled
def sinh(x: float) -> float:
    """Hyperbolic sine of `x`."""
    return math.sinh(x)


@_compiled
def cosh(x: float) -> float:
    """Hyperbolic cosine of `x`."""
    return math.cosh(x)


@_compiled
def tanh(x: float) -> float:
    """Hyperbolic tangent of `x`."""
    return math.tanh(x)


@_compiled
def asinh(x: float) -> float:
    """Inverse hyperbolic sine of `x`."""
    return math.asinh(x)


@_compiled
def acosh(x: float) -> float:
    """Inverse hyperbolic cosine of `x`."""
    return math.acosh(x)


@_compiled
def atanh(x: float) -> float:
    """Inverse hyperbolic tangent of `x`."""
    return math.atanh(x)


@_compiled
def exp(x: float) -> float:
    """Exponential of `x`."""
    return math.exp(x)


@_compiled
def exprel(x: float) -> float:
    """(exp(x) - 1)/x, with its limits: 1 at 0, infinity at infinity."""
    value = math.expm1(x) / x
    return 1.0 if x == 0.0 else (x if x == math.inf else value)


@_compiled
def exprel_derivative(x: float) -> float:
    """Derivative of `exprel`, with its limits: 1/2 at 0, infinity at infinity."""
    if math.fabs(x) < 1.5:
        value = 0.0
        for n in range(len(EXPREL_DERIVATIVE_SERIES) - 1, -1, -1):
            value = value * x + EXPREL_DERIVATIVE_SERIES[n]
        return value
    if x > 50.0:  # (exp(x) - exprel(x))/x, but infinity where exp overflows
        return x if x == math.inf else math.exp(x) * (1.0 - 1.0 / x) / x
    return (math.exp(x) - math.expm1(x) / x) / x


@_compiled
def log(x: float) -> float:
    """Natural logarithm of `x`."""
    return math.log(x)


@_compiled
def sqrt(x: float) -> float:
    """Square root of `x`."""
    return math.sqrt(x)


@_compiled
def maximum(x: float, y: float) -> float:
    """Larger of `x` and `y`; NaN if either is."""
    return x if x > y or x != x else y


@_compiled
def minimum(x: float, y: float) -> float:
    """Smaller of `x` and `y`; NaN if either is."""
    return x if x < y or x != x else y


@_compiled
def where_greater(x: float, y: float, above: float, otherwise: float) -> float:
    """`above` if `x` > `y`, else `otherwise`; NaN if `x` or `y` is."""
    return math.nan if x != x or y != y else (above if x > y else otherwise)
