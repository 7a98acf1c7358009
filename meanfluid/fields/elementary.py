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
    "exp", "log", "sqrt", "exprel", "maximum", "minimum",
)  # fmt: skip


class Elementary(Protocol):
    """The contract of every backend: the constant pi and the nineteen functions of a body.

    Spellings are those of the array API standard. Three names are not in `math`:
    ``exprel(x)`` is (exp(x) - 1)/x with its limit 1 at x = 0, as in `scipy.special`, so that a
    vortex centre needs no epsilon; ``maximum`` and ``minimum`` are branch-free and carry NaN.
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
    maximum: Callable[[Any, Any], Any]
    minimum: Callable[[Any, Any], Any]


def _exprel(x: Any) -> Any:
    x = np.asarray(x, dtype=float)
    safe = np.where(x == 0, 1.0, x)
    return np.where(x == 0, 1.0, np.expm1(safe) / safe)


numpy_functions: Elementary = SimpleNamespace(
    pi=math.pi,
    exprel=_exprel,
    **{name: getattr(np, name) for name in FUNCTIONS if name != "exprel"},
)
