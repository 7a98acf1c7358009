"""The same compiled source for another target: functions bound anew to other globals.

Numba resolves the names in a function when it compiles it. A function made of the same code
object with other globals is therefore the same algorithm on another device, where for instance a
block has one lane, and arrays live in registers; and so is everything that it calls.
"""

from collections.abc import Callable, Mapping
from types import CellType, CodeType, FunctionType
from typing import Any

from numba.core.dispatcher import Dispatcher


class Rebinding:
    """Bind compiled functions, and all that they call, to other globals.

    Parameters
    ----------
    decorate : callable
        Compiles a Python function for the target.
    names : mapping of str to object
        What these names mean in all functions, in place of what they mean in their modules.
    """

    def __init__(self, decorate: Callable[[Any], Any], names: Mapping[str, Any]) -> None:
        self._decorate, self._names = decorate, names
        self._done: dict[Any, Any] = {}

    def __call__(self, function: Any) -> Any:
        """Return a compiled function on the new target; the same one for the same function."""
        python = function.py_func
        if python not in self._done:
            scope = dict(python.__globals__) | dict(self._names)
            for name in _names_in(python.__code__):
                if isinstance(scope.get(name), Dispatcher) and name not in self._names:
                    scope[name] = self(scope[name])
            cells = tuple(
                CellType(self(cell.cell_contents))
                if isinstance(cell.cell_contents, Dispatcher)
                else cell
                for cell in python.__closure__ or ()
            )
            copy = FunctionType(python.__code__, scope, python.__name__, python.__defaults__, cells)
            self._done[python] = self._decorate(copy)
        return self._done[python]


def _names_in(code: CodeType) -> set[str]:
    """All names that a function, and functions written inside it, look up."""
    inner = (_names_in(c) for c in code.co_consts if isinstance(c, CodeType))
    return set(code.co_names).union(*inner)
