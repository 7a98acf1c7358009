"""Instructions that compiled code may ask for by name: fused operations, selects, bit patterns.

They are what Numba does not spell: each becomes one LLVM instruction (a polynomial, one for each
coefficient), inside a loop as on its own.
"""

from collections.abc import Callable
from typing import Any

from numba import types
from numba.extending import intrinsic

_gives_float: Callable[[Any], Callable[..., float]] = intrinsic
_gives_integer: Callable[[Any], Callable[..., int]] = intrinsic


@_gives_float
def fma(context: Any, x: Any, y: Any, z: Any) -> Any:
    """x*y + z with one rounding."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), generate


@_gives_float
def polynomial(context: Any, x: Any, coefficients: Any) -> Any:
    """Polynomial by Horner's rule, unrolled; the coefficients start with the constant."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        variable, packed = arguments
        terms = [builder.extract_value(packed, j) for j in range(coefficients.count)]
        value = terms.pop()
        while terms:
            value = builder.fma(value, variable, terms.pop())
        return value

    return types.float64(types.float64, coefficients), generate


@_gives_float
def select(context: Any, condition: Any, x: Any, y: Any) -> Any:
    """`x` if `condition`, else `y`, without a branch."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(*arguments)

    return types.float64(types.boolean, types.float64, types.float64), generate


@_gives_integer
def bits(context: Any, x: Any) -> Any:
    """The bits of a float64 as an integer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.int64))

    return types.int64(types.float64), generate


@_gives_float
def float_of(context: Any, x: Any) -> Any:
    """The float64 with the bits of an integer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.float64))

    return types.float64(types.int64), generate
