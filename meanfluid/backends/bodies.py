"""What a body and an observable must be: each is called once, and refused in words if it is wrong.

An observable has the signature of a body, ``g(m, p, t, x, y[, z])``. After the coordinates it may
ask by name for more of what the integrator has at hand:

=============  ===================  ================================================================
name           type                 value
=============  ===================  ================================================================
`velocity`     tuple                the field there
`gradient`     tuple of tuples      ``gradient[i][j]`` is d v_i / d x_j
`deformation`  tuple of tuples      ``deformation[i][j]`` is d X_i / d x_j, from the start until now
`constants`    tuple                numbers given for this particle, by ``constants=``
=============  ===================  ================================================================
"""

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np

from meanfluid.fields.elementary import numpy_functions
from meanfluid.fields.velocity_field import VelocityField

Observable = Callable[..., Any]

BY_NAME = ("velocity", "gradient", "deformation", "constants")


def checked_body(field: VelocityField) -> None:
    """Refuse a body that does not return one number per coordinate.

    Raises
    ------
    ValueError
    """
    row: Any = type(field.parameters)(*field.table[0])
    value = _called("body", field.body, row, field, ())
    if not (isinstance(value, tuple) and len(value) == field.dimension and are_numbers(value)):
        raise ValueError(
            f"body {field.name} must return a tuple of {field.dimension} real numbers, one "
            f"velocity component per coordinate, got {value!r}"
        )


def asked_for(observable: Observable, dimension: int) -> tuple[str, ...]:
    """Return what an observable asks for by name, in the order of its signature.

    Raises
    ------
    ValueError
        If it is not a plain function, or asks for something that does not exist.
    """
    if not isinstance(observable, FunctionType):
        raise ValueError(
            f"an observable must be a function written with def or lambda, got {observable!r}"
        )
    names = tuple(inspect.signature(observable).parameters)[3 + dimension :]
    unknown = [name for name in names if name not in BY_NAME]
    if unknown:
        raise ValueError(
            f"observable {observable.__name__} asks for {', '.join(unknown)}; after m, p, t and "
            f"{dimension} coordinates it may only ask for {', '.join(BY_NAME)}"
        )
    return names


def observable_shape(
    field: VelocityField, observable: Observable, constants: int = 0
) -> tuple[int, ...]:
    """Return () if an observable returns a number, (size,) if a tuple, by calling it once.

    Raises
    ------
    ValueError
        If it is not a plain function, cannot be called like a body, or returns anything but
        numbers.
    """
    names = asked_for(observable, field.dimension)
    parameters = None if field.modal or field.samples is not None else field.parameters
    value = _called("observable", observable, parameters, field, names, constants)
    is_tuple = isinstance(value, tuple)
    parts = value if is_tuple else (value,)
    if not parts or not are_numbers(parts):
        raise ValueError(
            f"observable {observable.__name__} must return a real number or a tuple of them, "
            f"got {value!r}"
        )
    return (len(parts),) if is_tuple else ()


def _called(
    kind: str, function: Callable[..., Any], p: Any, field: VelocityField, names: tuple[str, ...],
    constants: int = 0,
) -> Any:  # fmt: skip
    """What a body or observable returns at some point, by NumPy."""
    d = field.dimension
    arguments = [np.float64(0.5)] * (1 + d)
    row = (np.float64(0.5),) * d
    known = {"velocity": row, "constants": (np.float64(0.5),) * constants}
    extras = {name: known.get(name, (row,) * d) for name in names}
    try:
        with np.errstate(all="ignore"):
            return function(numpy_functions, p, *arguments, **extras)
    except (AttributeError, IndexError, TypeError) as error:
        name = getattr(function, "__name__", repr(function))
        signature = "(m, p, t" + "".join(f", {c}" for c in "xyz"[:d]) + ")"
        hint = "; p is None on a modal or sampled field" if p is None else ""
        raise ValueError(
            f"{kind} {name} could not be called as {name}{signature}{hint}: {error}"
        ) from error


def are_numbers(parts: tuple[Any, ...]) -> bool:
    """Whether all members are real numbers, not arrays."""
    return all(np.ndim(part) == 0 and np.asarray(part).dtype.kind in "iufb" for part in parts)
