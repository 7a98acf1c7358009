"""The derivatives of a body, as a body: a plain function in the same vocabulary.

A body or an observable is called once with symbols instead of numbers and a namespace `m` that
writes down what is done with them, each operation once. Every operation carries its derivatives
forward, zeros are dropped, and what the results need is printed as Python source. The new
function runs wherever a body does. Loops come out unrolled.

The values are computed by the operations of the body in their order: by libm, bit for bit the
same. Their derivatives are those of the formula: where it has none, at the kink of `maximum` or
the origin of sqrt(x*x + y*y), they are one-sided or NaN. Rules that would lose digits or divide
zero by zero otherwise are spelt so that they do not: 1/cosh(x)**2 for the slope of tanh,
(1 - x)*(1 + x) for that of asin, `exprel_derivative` for that of exprel.
"""

import inspect
import math
import operator
from collections.abc import Callable, Sequence
from functools import lru_cache, reduce
from typing import Any, NoReturn

from numba.core.errors import NumbaError

from meanfluid.backends.tracing import (
    LOCAL,
    Graph,
    Namespace,
    NotFollowedError,
    Symbol,
    function_of,
    is_number,
    operand_of,
)

Function = Callable[..., Any]


def gradient_body(body: Function, record: Any, dimension: int) -> Function:
    """Return a function that gives the velocity and its gradient.

    Parameters
    ----------
    body : callable
        ``body(m, p, t, x, y[, z])`` of a field, or of one mode of a modal field: the gradient of
        the sum is the sum of the gradients.
    record : NamedTuple class, or None
        The type of the parameters `p`; None if `p` is None.
    dimension : 1, 2 or 3

    Returns
    -------
    callable
        ``(m, p, t, x, y[, z])`` to the flat tuple of the velocity components v_0, v_1, ... and
        then dv_0/dx, dv_0/dy, ..., dv_1/dx, ..., row by row. The same object for the same
        arguments, with its source at hand for `inspect.getsource` and tracebacks.

    Raises
    ------
    ValueError
        If the body does something that cannot be followed, or returns anything but `dimension`
        numbers.

    Examples
    --------
    >>> from meanfluid.fields import rotation
    >>> from meanfluid.fields.elementary import numpy_functions
    >>> field = rotation(2.0)
    >>> gradient = gradient_body(field.body, type(field.parameters), 2)
    >>> gradient(numpy_functions, field.parameters, 0.0, 1.0, 0.5)
    (-1.0, 2.0, 0.0, -2.0, 2.0, 0.0)
    """
    derived, components = _derived(body, record, dimension, _COORDINATES[:dimension])
    if components != dimension:
        raise ValueError(
            f"body {_name(body)} must return a tuple of {dimension} velocity components, one per "
            f"coordinate, got {components}"
        )
    return derived


def differentiated(
    function: Function, record: Any, dimension: int, *, by: Sequence[str] = ("x", "y")
) -> Function:
    """Return a function that gives what a body or observable does, and its derivatives.

    Parameters
    ----------
    function : callable
        ``(m, p, t, x, y[, z])``, to a number or a tuple of numbers.
    record, dimension
        As in `gradient_body`.
    by : sequence of "t", "x", "y", "z"
        The arguments to differentiate in, by their place: "y" is the second coordinate, whatever
        the function calls it. Without any, the values alone: the function with its loops unrolled,
        which the compiler turns into vector instructions where a loop inside would prevent that.

    Returns
    -------
    callable
        ``(m, p, t, x, y[, z])`` to the flat tuple of the values f_0, f_1, ... and then their
        derivatives: of f_0 in the order of `by`, of f_1, and so on.

    Raises
    ------
    ValueError
        If the function does something that cannot be followed, or an argument is wrong.
    """
    return _derived(function, record, dimension, tuple(by))[0]


_COORDINATES = ("x", "y", "z")


@lru_cache(maxsize=256)
def _derived(
    function: Function, record: Any, dimension: int, by: tuple[str, ...]
) -> tuple[Function, int]:
    """Return the new function, and how many values precede the derivatives."""
    if dimension not in (1, 2, 3):
        raise ValueError(f"dimension must be 1, 2 or 3, got {dimension!r}")
    if not (record is None or hasattr(record, "_fields")):
        raise ValueError(f"record must be a NamedTuple class or None, got {record!r}")
    roles = ("t", *_COORDINATES[:dimension])
    if not set(by) <= set(roles):
        raise ValueError(f"by must name some of {', '.join(roles)}, got {', '.join(by)!r}")
    arguments = _argument_names(function, dimension)
    graph = Graph()
    m = Namespace(graph)
    inputs = [graph.add("input", name) for name in arguments]
    p = record and record(*(graph.add("input", f"p.{name}") for name in record._fields))
    try:
        values = _numbers(function, function(m, p, *inputs))
        order = graph.needed(values)
        slopes = [_forward(graph, m, order, inputs[roles.index(role)]) for role in by]
    except NotFollowedError as error:
        raise ValueError(f"{_name(function)} cannot be differentiated: {error}") from error
    except NumbaError as error:
        raise ValueError(
            f"{_name(function)} cannot be differentiated: it calls a compiled function; mark that "
            "with numba.extending.register_jitable instead of njit"
        ) from error
    results = [*values, *(_slope_of(value, slope) for value in values for slope in slopes)]
    title = f"Values of {_name(function)}"
    title += f", then their derivatives in {', '.join(by)}, row by row." if by else "."
    return function_of(_name(function), arguments, title, graph, results), len(values)


def _name(function: Function) -> str:
    return getattr(function, "__name__", repr(function))


def _argument_names(function: Function, dimension: int) -> tuple[str, ...]:
    """Names of time and coordinates, those of the function unless one would clash."""
    names = tuple(inspect.signature(function).parameters)[2:]
    taken = {"m", "p", "inf", "nan"}
    clash = any(name in taken or name.startswith(LOCAL) for name in names)
    return ("t", *_COORDINATES[:dimension]) if clash or len(names) != 1 + dimension else names


def _numbers(function: Function, value: Any) -> list[Any]:
    """Return the components of what a function returned."""
    parts = [operand_of(part) for part in (value if isinstance(value, tuple) else (value,))]
    if not parts or any(part is NotImplemented for part in parts):
        raise ValueError(
            f"{_name(function)} must return a real number or a tuple of them, got {value!r}"
        )
    return parts


def _slope_of(operand: Any, slope: dict[int, Any]) -> Any:
    return slope.get(operand.index, 0.0) if isinstance(operand, Symbol) else 0.0


def _forward(graph: Graph, m: Any, order: list[int], seed: Symbol) -> dict[int, Any]:
    """Derivatives in the seed of those operations, by index, where they are not zero."""
    slope: dict[int, Any] = {seed.index: 1.0}
    for index in order:
        operation, operands = graph.nodes[index]
        slopes = [_slope_of(operand, slope) for operand in operands]
        if not all(is_number(s, 0) for s in slopes):
            value = graph.add(operation, *operands)
            found = (
                _chosen_slope(m, operation, operands, slopes)
                if operation in _CHOICES
                else _summed_slope(m, value, _RULES[operation], operands, slopes)
            )
            if not is_number(found, 0):
                slope[index] = found
    return slope


def _summed_slope(
    m: Any, value: Symbol, rules: Any, operands: Sequence[Any], slopes: Sequence[Any]
) -> Any:
    terms = [
        rule(m, value, *operands) * slope
        for rule, slope in zip(rules, slopes, strict=True)
        if not is_number(slope, 0)
    ]
    terms = [term for term in terms if not is_number(term, 0)]
    return reduce(operator.add, terms) if terms else 0.0


def _chosen_slope(m: Any, operation: str, operands: Sequence[Any], slopes: Sequence[Any]) -> Any:
    """Derivative of a choice: that of the operand chosen, without arithmetic on the other."""
    x, y = operands[:2]
    if operation == "minimum":
        x, y = y, x
    above, otherwise = slopes[-2:]
    if above is otherwise or (not isinstance(above, Symbol) and is_number(otherwise, above)):
        return above
    return m.where_greater(x, y, above, otherwise)


_CHOICES = ("maximum", "minimum", "where_greater")


def _reciprocal(m: Any, v: Any, x: Any, y: Any) -> Any:
    return math.copysign(math.inf, y) if is_number(y, 0) else 1 / y


def _slope_in_base(m: Any, v: Any, x: Any, n: Any) -> Any:
    """Derivative of x**n in x; 0 for n = 0 and 1 for n = 1, at x = 0 too."""
    if isinstance(n, Symbol):
        return m.where_greater(m.maximum(n, -n), 0.0, n * x ** (n - 1), 0.0)
    if n == 0.5:
        return 0.5 / v
    return n * x ** (n - 1) if n != 0 else 0.0


def _slope_in_exponent(m: Any, v: Any, x: Any, n: Any) -> Any:
    """Derivative of x**n in n; at x = 0 it is 0 for n > 0."""
    slope = v * m.log(x)
    if not isinstance(x, Symbol) and x > 0:
        return slope
    at_zero = m.where_greater(n, 0.0, 0.0, slope)
    return m.where_greater(m.maximum(x, -x), 0.0, slope, at_zero)


def _no_second_derivative(m: Any, v: Any, x: Any) -> NoReturn:
    raise NotFollowedError("m.exprel_derivative has no derivative here; take that of m.exprel")


# The derivative of each operation in each of its operands, from m, its value, and the operands.
_RULES: dict[str, tuple[Function, ...]] = {
    "negative": (lambda m, v, x: -1.0,),
    "+": (lambda m, v, x, y: 1.0,) * 2,
    "-": (lambda m, v, x, y: 1.0, lambda m, v, x, y: -1.0),
    "*": (lambda m, v, x, y: y, lambda m, v, x, y: x),
    "/": (_reciprocal, lambda m, v, x, y: -(v / y)),
    "**": (_slope_in_base, _slope_in_exponent),
    "sin": (lambda m, v, x: m.cos(x),),
    "cos": (lambda m, v, x: -m.sin(x),),
    "tan": (lambda m, v, x: 1 + v * v,),
    "asin": (lambda m, v, x: 1 / m.sqrt((1 - x) * (1 + x)),),
    "acos": (lambda m, v, x: -1 / m.sqrt((1 - x) * (1 + x)),),
    "atan": (lambda m, v, x: 1 / (1 + x * x),),
    "atan2": (lambda m, v, y, x: x / (x * x + y * y), lambda m, v, y, x: -y / (x * x + y * y)),
    "sinh": (lambda m, v, x: m.cosh(x),),
    "cosh": (lambda m, v, x: m.sinh(x),),
    "tanh": (lambda m, v, x: 1 / (m.cosh(x) * m.cosh(x)),),
    "asinh": (lambda m, v, x: 1 / m.sqrt(1 + x * x),),
    "acosh": (lambda m, v, x: 1 / m.sqrt((x - 1) * (x + 1)),),
    "atanh": (lambda m, v, x: 1 / ((1 - x) * (1 + x)),),
    "exp": (lambda m, v, x: v,),
    "log": (lambda m, v, x: 1 / x,),
    "sqrt": (lambda m, v, x: 0.5 / v,),
    "exprel": (lambda m, v, x: m.exprel_derivative(x),),
    "exprel_derivative": (_no_second_derivative,),
}
