"""The elementary functions that a field's body may call, and their NumPy form.

A body is written against a namespace `m` and may use these names, arithmetic, `**`, and loops
over a fixed number of terms; it may not branch on values. Every backend supplies all of them:
compiled polynomials and libm on the CPU, torch, sympy, heyoka, and `numpy_functions` here.
"""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np

FUNCTIONS = (
    "sin", "cos", "tan", "asin", "acos", "atan", "atan2",
    "sinh", "cosh", "tanh", "asinh", "acosh", "atanh",
    "exp", "log", "sqrt", "exprel", "exprel_derivative", "maximum", "minimum", "where_greater",
)  # fmt: skip


class Elementary(Protocol):
    """The contract of every backend: the constant pi and the 21 functions of a body.

    Spellings are those of the array API standard. Five names are not in `math`:
    ``exprel(x)`` is (exp(x) - 1)/x with its limit 1 at x = 0, as in `scipy.special`, so that a
    vortex centre needs no epsilon; ``exprel_derivative(x)`` is its derivative, 1/2 at x = 0;
    ``maximum`` and ``minimum`` are branch-free and carry NaN; ``where_greater(x, y, above,
    otherwise)`` is `above` if x > y, else `otherwise`, and NaN if x or y is.
    """

    pi: float
    sin: Callable[[Any], Any]
    cos: Callable[[Any], Any]
    tan: Callable[[Any], Any]
    asin: Callable[[Any], Any]
    acos: Callable[[Any], Any]
    atan: Callable[[Any], Any]
    atan2: Callable[[Any, Any], Any]
    sinh: Callable[[Any], Any]
    cosh: Callable[[Any], Any]
    tanh: Callable[[Any], Any]
    asinh: Callable[[Any], Any]
    acosh: Callable[[Any], Any]
    atanh: Callable[[Any], Any]
    exp: Callable[[Any], Any]
    log: Callable[[Any], Any]
    sqrt: Callable[[Any], Any]
    exprel: Callable[[Any], Any]
    exprel_derivative: Callable[[Any], Any]
    maximum: Callable[[Any, Any], Any]
    minimum: Callable[[Any, Any], Any]
    where_greater: Callable[[Any, Any, Any, Any], Any]


# exprel_derivative(x) is the sum of these times x**n, nested. For abs(x) < 1.5 the rest is below
# 3e-19; the closed form ((x - 1) exp(x) + 1)/x**2 cancels there, but hardly beyond.
EXPREL_DERIVATIVE_SERIES = tuple(1 / (math.factorial(n) * (n + 2)) for n in range(22))


def _exprel(x: Any) -> Any:
    x = np.asarray(x, dtype=float)
    safe = np.where(x == 0, 1.0, x)
    return np.where(x == 0, 1.0, np.expm1(safe) / safe)


def _exprel_derivative(x: Any) -> Any:
    x = np.asarray(x, dtype=float)
    near = abs(x) < 1.5
    series = np.polynomial.polynomial.polyval(np.where(near, x, 0.0), EXPREL_DERIVATIVE_SERIES)
    large = np.where(near, 1.5, x)
    return np.where(near, series, (np.exp(large) - np.expm1(large) / large) / large)


def _where_greater(x: Any, y: Any, above: Any, otherwise: Any) -> Any:
    chosen = np.where(np.greater(x, y), above, otherwise)
    return np.where(np.isnan(x) | np.isnan(y), np.nan, chosen)


_NOT_IN_NUMPY = {
    "exprel": _exprel,
    "exprel_derivative": _exprel_derivative,
    "where_greater": _where_greater,
}

numpy_functions: Elementary = SimpleNamespace(
    pi=math.pi,
    **{name: _NOT_IN_NUMPY.get(name) or getattr(np, name) for name in FUNCTIONS},
)
