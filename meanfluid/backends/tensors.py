"""Velocity fields as torch functions, differentiable in every mode that torch knows.

The formula of the field is called once with tensors, so autograd, `torch.func.jvp`, `vmap` and
`torch.compile` see ordinary tensor operations. Parameters stay Python numbers and therefore
never promote a float32 tensor. This is the only file outside `learning` that imports torch.
"""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from meanfluid.fields.elementary import FUNCTIONS, Elementary
from meanfluid.fields.velocity_field import VelocityField

_LARGEST_TEMPORARY = 2**22  # elements of (modes, points) that one chunk of a modal sum may hold


class TensorVelocity:
    """A velocity v(x, t) of tensors; see `torch_velocity`, which builds it.

    Attributes
    ----------
    field : VelocityField
    dimension : int
    """

    def __init__(
        self, field: VelocityField, dtype: torch.dtype | None, device: torch.device | str | None
    ) -> None:
        self.field = field
        self.dimension = field.dimension
        self._dtype = dtype
        self._device = None if device is None else torch.device(device)
        self._numbers = None if field.modal else _record(field, map(float, field.parameters))
        self._table = torch.tensor(field.table).to(device=self._device, dtype=dtype)

    def __repr__(self) -> str:
        return f"torch_velocity({self.field.name})"

    def __call__(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Velocity at positions `x` (..., dimension) and times `t`, broadcastable to (...)."""
        if not (isinstance(x, Tensor) and x.is_floating_point()):
            raise ValueError(
                f"position must be a floating-point tensor, got {getattr(x, 'dtype', type(x))}"
            )
        if x.ndim == 0 or x.shape[-1] != self.dimension:
            raise ValueError(
                f"position must have shape (..., {self.dimension}), got {tuple(x.shape)}"
            )
        place = x.to(device=self._device, dtype=self._dtype)
        time = torch.as_tensor(t, dtype=place.dtype, device=place.device)
        _check_time(time, x)
        columns = place.unbind(-1)
        velocity = (
            self._sum_of_modes(time, columns)
            if self._numbers is None
            else _stacked(self.field.body(tensor_functions, self._numbers, time, *columns), columns)
        )
        return velocity.to(device=x.device, dtype=x.dtype)

    def _sum_of_modes(self, time: Tensor, columns: tuple[Tensor, ...]) -> Tensor:
        points = columns[0]
        table = self._table.to(device=points.device, dtype=points.dtype)
        chunk = max(1, _LARGEST_TEMPORARY // max(1, points.numel()))
        velocity: Tensor | None = None
        for rows in torch.split(table, chunk):
            modes = [c.reshape(-1, *[1] * points.ndim) for c in rows.unbind(-1)]
            parts = self.field.body(tensor_functions, _record(self.field, modes), time, *columns)
            many = tuple(c.expand(len(rows), *c.shape) for c in columns)
            part = _stacked(parts, many).sum(0)
            velocity = part if velocity is None else velocity + part
        assert velocity is not None  # a table has at least one row
        return velocity


def torch_velocity(
    field: VelocityField,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> TensorVelocity:
    """Return the velocity of a field as a function ``v(x, t)`` of tensors.

    Parameters
    ----------
    field : VelocityField
        A modal field is summed over its modes by broadcasting, in chunks if there are many.
    dtype, device : optional
        Precision and place of the arithmetic; by default those of `x`. Naming them places the
        modes of a modal field once and for all instead of at every call.

    Returns
    -------
    TensorVelocity
        ``v(x, t)`` takes `x` (..., dimension) and `t`, a number or a tensor broadcastable to
        (...), and returns a tensor like `x` in shape, dtype and device.

    Raises
    ------
    ValueError
        By ``v``, if `x` or `t` has the wrong shape, or `x` is not floating point.

    Examples
    --------
    >>> import torch
    >>> from meanfluid.fields import rotation
    >>> v = torch_velocity(rotation(2.0))
    >>> v(torch.tensor([[1.0, 0.5]]), 0.0)
    tensor([[-1.,  2.]])
    """
    return TensorVelocity(field, dtype, device)


def _record(field: VelocityField, values: Any) -> Any:
    return type(field.parameters)(*values)


def _check_time(time: Tensor, x: Tensor) -> None:
    try:
        time.expand(x.shape[:-1])
    except RuntimeError as error:
        raise ValueError(
            f"time must broadcast to {tuple(x.shape[:-1])}, one for each position, "
            f"got shape {tuple(time.shape)}"
        ) from error


def _stacked(parts: tuple[Any, ...], columns: tuple[Tensor, ...]) -> Tensor:
    like = columns[0]
    full = [
        c.expand(like.shape) if isinstance(c, Tensor) else torch.full_like(like, c) for c in parts
    ]
    return torch.stack(full, dim=-1)


def _exprel(x: Tensor) -> Tensor:
    # Derivatives of expm1(x)/x cancel as 1/x and 1/x^2, so that all of |x| < 1 takes the series,
    # differentiated exactly; its remainder in the second derivative is below 1e-17. The branch
    # not taken is fed a harmless number, for a gradient of 0 times infinity would be NaN.
    near = x.abs() < 1
    small = torch.where(near, x, 0.0)
    series = torch.full_like(small, _EXPREL_SERIES[-1])
    for coefficient in _EXPREL_SERIES[-2::-1]:
        series = series * small + coefficient
    large = torch.where(near, 1.0, x)
    return torch.where(near, series, torch.expm1(large) / large)


_EXPREL_SERIES = tuple(1 / math.factorial(n + 1) for n in range(20))


def _number_exprel(x: float) -> float:
    return math.expm1(x) / x if x else 1.0


def _number_maximum(x: float, y: float) -> float:
    return x if x > y or math.isnan(x) else y


def _number_minimum(x: float, y: float) -> float:
    return x if x < y or math.isnan(x) else y


def _unary(of_tensor: Callable[[Tensor], Tensor], of_number: Callable[[float], float]) -> Any:
    def function(x: Any) -> Any:
        return of_tensor(x) if isinstance(x, Tensor) else of_number(x)

    return function


def _binary(
    of_tensors: Callable[[Tensor, Tensor], Tensor], of_numbers: Callable[[float, float], float]
) -> Any:
    def function(x: Any, y: Any) -> Any:
        if isinstance(x, Tensor):
            return of_tensors(x, y if isinstance(y, Tensor) else torch.full_like(x, y))
        if isinstance(y, Tensor):
            return of_tensors(torch.full_like(y, x), y)
        return of_numbers(x, y)

    return function


def _functions() -> Any:
    functions = SimpleNamespace(
        pi=math.pi,
        exprel=_unary(_exprel, _number_exprel),
        atan2=_binary(torch.atan2, math.atan2),
        maximum=_binary(torch.maximum, _number_maximum),
        minimum=_binary(torch.minimum, _number_minimum),
    )
    for name in FUNCTIONS:
        if not hasattr(functions, name):
            setattr(functions, name, _unary(getattr(torch, name), getattr(math, name)))
    return functions


tensor_functions: Elementary = _functions()
