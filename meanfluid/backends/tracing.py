"""A body as a list of operations, and a list of operations as a function.

A body is called once with symbols instead of numbers and a `Namespace` as its `m`, which write down
what is done with them in a `Graph`, each operation once. `function_of` prints operations as the
source of a plain function in the vocabulary of bodies. The operations and their order are those of
the body; only signs move, which changes no bit.
"""

import math
import operator
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from meanfluid.backends.written import written
from meanfluid.fields.elementary import FUNCTIONS

LOCAL = "s"  # of the names s1, s2, ... of intermediate results
_INLINE = 60  # characters of a result that is used once and printed in place


class NotFollowedError(Exception):
    """The message says what was met and what to use instead."""


class Graph:
    """Operations in the order in which they were met, each once.

    An operand is a number or the `Symbol` of an earlier operation.
    """

    def __init__(self) -> None:
        self.nodes: list[tuple[str, tuple[Any, ...]]] = []
        self._known: dict[Any, Symbol] = {}

    def add(self, operation: str, *operands: Any) -> "Symbol":
        """Return the symbol of an operation; the operand of an input is its text."""
        key = (operation, *(_key(operand) for operand in operands))
        if key not in self._known:
            self._known[key] = Symbol(self, len(self.nodes))
            self.nodes.append((operation, operands))
        return self._known[key]

    def needed(self, results: Sequence[Any]) -> list[int]:
        """Indices of the operations that results depend on, in order."""
        found: set[int] = set()
        waiting = list(results)
        while waiting:
            operand = waiting.pop()
            if isinstance(operand, Symbol) and operand.index not in found:
                found.add(operand.index)
                waiting.extend(self.nodes[operand.index][1])
        return sorted(found)


def _key(operand: Any) -> Any:
    # 1, 1.0 and True are equal, and so are 0.0 and -0.0, but they are not the same operand.
    return ("symbol", operand.index) if isinstance(operand, Symbol) else repr(operand)


def operand_of(value: Any) -> Any:
    """Return a number as Python's own, a symbol as it is, and NotImplemented for the rest."""
    if isinstance(value, Symbol):
        return value
    if isinstance(value, bool | int | np.bool_ | np.integer):
        return int(value)
    return float(value) if isinstance(value, float | np.floating) else NotImplemented


def is_number(operand: Any, value: float) -> bool:
    """Whether an operand is a number and equal to a value."""
    return not isinstance(operand, Symbol) and operand == value


def _binary(operation: str, *, reflected: bool = False) -> Any:
    def method(self: "Symbol", other: Any) -> Any:
        other = operand_of(other)
        if other is NotImplemented:
            return NotImplemented
        left, right = (other, self) if reflected else (self, other)
        simpler = _simpler(operation, left, right)
        return self.graph.add(operation, left, right) if simpler is None else simpler

    return method


def _simpler(operation: str, left: Any, right: Any) -> Any:
    """Return the same bits with fewer operations or signs, or None if there is no such form."""
    if operation in ("*", "/", "**") and is_number(right, 1):
        return left
    if operation == "*" and is_number(left, 1):
        return right
    if operation in ("*", "/") and is_number(right, -1):
        return -left
    if operation == "*" and is_number(left, -1):
        return -right
    (u, left_negative), (v, right_negative) = _signed(left), _signed(right)
    if operation in ("*", "/") and (left_negative or right_negative):
        size = u * v if operation == "*" else u / v
        return size if left_negative and right_negative else -size
    if operation in ("+", "-") and right_negative:
        return left - v if operation == "+" else left + v
    return right - u if operation == "+" and left_negative else None


def _signed(operand: Any) -> tuple[Any, bool]:
    """Return u and True if the operand is -u, else itself and False."""
    if isinstance(operand, Symbol):
        operation, operands = operand.graph.nodes[operand.index]
        if operation == "negative":
            return operands[0], True
    return operand, False


def _refused(met: str, advice: str) -> Any:
    def method(self: "Symbol", *arguments: Any) -> NoReturn:
        raise NotFollowedError(f"{met} cannot be followed; {advice}")

    return method


_CHOOSE = "choose with m.maximum, m.minimum or m.where_greater(x, y, above, otherwise)"
_CALL = "use the functions of m: m.sin(x), not math.sin(x) or numpy.sin(x)"
_ARITHMETIC = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.divide: operator.truediv,
    np.power: operator.pow,
}


class Symbol:
    """A number that is not known yet: the result of an operation of a graph."""

    __slots__ = ("graph", "index")

    def __init__(self, graph: Graph, index: int) -> None:
        self.graph = graph
        self.index = index

    def __neg__(self) -> Any:
        size, negative = _signed(self)
        return size if negative else self.graph.add("negative", self)

    def __pos__(self) -> "Symbol":
        return self

    __add__, __radd__ = _binary("+"), _binary("+", reflected=True)
    __sub__, __rsub__ = _binary("-"), _binary("-", reflected=True)
    __mul__, __rmul__ = _binary("*"), _binary("*", reflected=True)
    __truediv__, __rtruediv__ = _binary("/"), _binary("/", reflected=True)
    __pow__, __rpow__ = _binary("**"), _binary("**", reflected=True)

    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = _refused("a comparison", _CHOOSE)
    __bool__ = _refused("if, and, or, not", _CHOOSE)
    __abs__ = _refused("abs(x)", "use m.maximum(x, -x)")
    __float__ = __complex__ = _refused("a conversion to a number", _CALL)
    __int__ = __index__ = _refused("a conversion to an integer", "loop over a fixed number")
    __round__ = __trunc__ = __floor__ = __ceil__ = _refused("rounding", "it has no derivative")
    __mod__ = __rmod__ = __floordiv__ = __rfloordiv__ = __divmod__ = __rdivmod__ = _refused(
        "% and //", "make a formula periodic with m.sin and m.cos"
    )
    __iter__ = __getitem__ = __len__ = _refused("a part of a number", "arguments are scalars")

    def __array_ufunc__(self, function: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """Let a NumPy number, such as an entry of a constant array, stand on the left."""
        if function in _ARITHMETIC and method == "__call__" and not options:
            left, right = map(operand_of, inputs)
            if left is not NotImplemented and right is not NotImplemented:
                return _ARITHMETIC[function](left, right)
        raise NotFollowedError(f"numpy.{function.__name__} cannot be followed; {_CALL}")


class Namespace:
    """The `m` of a body that is written down."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.pi = graph.add("input", "m.pi")

    def __getattr__(self, name: str) -> Any:
        if name not in FUNCTIONS:
            raise NotFollowedError(f"m.{name} does not exist; m has pi, {', '.join(FUNCTIONS)}")

        def function(*arguments: Any) -> Symbol:
            operands = [operand_of(argument) for argument in arguments]
            if any(operand is NotImplemented for operand in operands):
                raise NotFollowedError(f"m.{name} of {arguments!r} is not a function of numbers")
            return self._graph.add(name, *operands)

        return function


_SUM, _PRODUCT, _SIGN, _POWER, _ATOM = range(1, 6)  # how tightly what is printed holds together
_LEVEL = {"+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "**": _POWER}


def function_of(
    name: str, arguments: tuple[str, ...], title: str, graph: Graph, results: list[Any]
) -> Callable[..., Any]:
    """Compile the function that returns the results, and keep its source for whoever asks."""
    word = name if name.isidentifier() else "function"
    signature = f"derivatives_of_{word.strip('_')}({', '.join(('m', 'p', *arguments))})"
    lines = [f'"""{title}"""', *_body_lines(graph, results)]
    names: dict[str, Any] = {"__name__": __name__, "inf": math.inf, "nan": math.nan}
    return written(signature, lines, names, title=f"derivatives of {name}")


def _body_lines(graph: Graph, results: list[Any]) -> list[str]:
    order = graph.needed(results)
    uses = Counter(
        operand.index
        for operands in (results, *(graph.nodes[index][1] for index in order))
        for operand in operands
        if isinstance(operand, Symbol)
    )
    lines: list[str] = []
    printed: dict[int, tuple[str, int]] = {}
    for index in order:
        text, level = _expression(*graph.nodes[index], printed)
        named = uses[index] > 1 or len(text) > _INLINE
        if named and graph.nodes[index][0] != "input":
            name = f"{LOCAL}{len(lines) + 1}"
            lines.append(f"{name} = {text}")
            text, level = name, _ATOM
        printed[index] = text, level
    returned = [f"    {_text(result, printed)[0]}," for result in results]
    return [*lines, "return (", *returned, ")"]


def _expression(
    operation: str, operands: Sequence[Any], printed: dict[int, tuple[str, int]]
) -> tuple[str, int]:
    """Print an operation, with the parentheses that keep the order of evaluation."""
    if operation == "input":
        return operands[0], _ATOM
    texts = [_text(operand, printed) for operand in operands]
    if operation == "negative":  # -u * v is read as (-u) * v, which has the bits of -(u * v)
        return f"-{_within(*texts[0], _PRODUCT)}", _PRODUCT
    if operation not in _LEVEL:
        return f"m.{operation}({', '.join(text for text, _ in texts)})", _ATOM
    level = _LEVEL[operation]
    needs = (_ATOM, _SIGN) if operation == "**" else (level, level + 1)
    left, right = (_within(*text, need) for text, need in zip(texts, needs, strict=True))
    return f"{left} {operation} {right}", level


def _text(operand: Any, printed: dict[int, tuple[str, int]]) -> tuple[str, int]:
    if isinstance(operand, Symbol):
        return printed[operand.index]
    negative = math.copysign(1.0, operand) < 0
    return repr(operand), _SIGN if negative else _ATOM


def _within(text: str, level: int, needed: int) -> str:
    return text if level >= needed else f"({text})"
