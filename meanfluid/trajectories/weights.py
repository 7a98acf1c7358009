"""Means with a weight in time: each weight times each observable is one more observable."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import FunctionType
from typing import Any

import numpy as np
from numba.extending import register_jitable

from meanfluid.backends.bodies import Observable, are_numbers, asked_for, observable_shape
from meanfluid.backends.written import written
from meanfluid.fields.elementary import numpy_functions
from meanfluid.fields.velocity_field import VelocityField
from meanfluid.trajectories.results import Trajectories, vector_norm

Weight = Callable[..., Any]

_VELOCITY = "velocity"


def weighted_observables(
    field: VelocityField, observables: Mapping[str, Observable], weights: Mapping[str, Weight],
    constants: int = 0,
) -> dict[str, Observable]:  # fmt: skip
    """Return the weights themselves, and all their products with the observables and velocity.

    The observables may ask for that many constants.

    Raises
    ------
    ValueError
        If a weight is not a function ``w(m, t)`` that returns a number, or a name is taken.
    """
    products: dict[str, Observable] = {}
    for name, weight in weights.items():
        checked_weight(weight, f"weight {name}", "t")
        products |= _products(field, observables, name, weight, constants)
    taken = sorted(set(products) & set(observables))
    if taken:
        raise ValueError(f"observables and weights must have different names, got {taken} twice")
    return products


def windowed_observables(
    field: VelocityField, observables: Mapping[str, Observable], name: str, shape: Weight
) -> dict[str, Observable]:
    """Return a weight ``w(m, t, a, b)`` itself, and its products with the observables and velocity.

    They ask for two `constants`, a and b of each particle, so that all windows of one shape are
    the same code.
    """
    return _products(field, observables, name, shape, 0, of_weight=2)


def normalised(path: Trajectories, weights: Mapping[str, Weight]) -> None:
    """Divide the means of the products by those of the weights, and propagate their errors."""
    for name in weights:
        whole, doubt = path.means.pop(name), path.mean_errors.pop(name)
        for key in [key for key in path.means if key.endswith(f".{name}")]:
            path.means[key], path.mean_errors[key] = quotient(
                path.means[key], path.mean_errors[key], whole, doubt
            )


def quotient(total: Any, error: Any, whole: Any, doubt: Any) -> tuple[Any, Any]:
    """Return numbers or vectors over numbers, both with errors, and the error of that."""
    vector = total.ndim > whole.ndim
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / (whole[..., None] if vector else whole)
        size = vector_norm(mean) if vector else np.abs(mean)
        return mean, (error + size * doubt) / np.abs(whole)


def _products(
    field: VelocityField, observables: Mapping[str, Observable], name: str, weight: Weight,
    constants: int, of_weight: int = 0,
) -> dict[str, Observable]:  # fmt: skip
    d = field.dimension
    products = {
        name: _product(None, (), (), weight, d, of_weight),
        f"{_VELOCITY}.{name}": _product(None, (_VELOCITY,), (d,), weight, d, of_weight),
    }
    for key, g in observables.items():
        shape = observable_shape(field, g, constants)
        products[f"{key}.{name}"] = _product(g, asked_for(g, d), shape, weight, d, of_weight)
    return products


def checked_weight(weight: Any, name: str, argument: str) -> None:
    """Refuse anything but a function ``(m, argument)`` that returns a number.

    Parameters
    ----------
    weight : callable
    name : str
        What to call it: "weight w".
    argument : str
        What it is a function of: "t", time, or "s", the fraction of a window.

    Raises
    ------
    ValueError
    """
    form = f"w(m, {argument})"
    if not isinstance(weight, FunctionType):
        raise ValueError(
            f"{name} must be a function {form} written with def or lambda, got {weight!r}"
        )
    try:
        value = weight(numpy_functions, np.float64(0.5))
    except (AttributeError, TypeError) as error:
        raise ValueError(f"{name} could not be called as {form}: {error}") from error
    if not are_numbers((value,)):
        raise ValueError(f"{name} must return a real number, got {value!r}")


@lru_cache(maxsize=256)
def _product(
    g: Observable | None, asked: tuple[str, ...], shape: tuple[int, ...], weight: Weight, d: int,
    of_weight: int,
) -> Observable:  # fmt: skip
    """Return the observable w(t) g, or w(t) velocity, or w(t); the same for the same functions.

    The weight takes as many constants as `of_weight` says.
    """
    called = ", ".join(["m", "p", "t", *"xyz"[:d], *asked])
    value = f"g({called})" if g is not None else (asked[0] if asked else "1.0")
    arguments = f"{called}, constants" if of_weight else called
    own = "".join(f", constants[{k}]" for k in range(of_weight))
    parts = [f"w * value[{k}]" for k in range(shape[0])] if shape else ["w * value"]
    result = f"({', '.join(parts)},)" if shape else parts[0]
    names = {"weight": register_jitable(weight)}
    if g is not None:
        names["g"] = register_jitable(g)
    lines = [f"w = weight(m, t{own})", f"value = {value}", f"return {result}"]
    return written(f"product({arguments})", lines, names)
