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

from meanfluid.fields.elementary import (
    EXPREL_DERIVATIVE_SERIES,
    FUNCTIONS,
    Elementary,
    numpy_functions,
)
from meanfluid.fields.samples import GEOMETRY, SampleAxis, Samples
from meanfluid.fields.splines import WEIGHTS
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
        self._coefficients: Tensor | None = None
        if field.samples is not None:
            nodes = torch.tensor(field.samples.flat).reshape(-1, self.dimension)
            self._coefficients = nodes.to(device=self._device, dtype=dtype)

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
        if self.field.samples is not None:
            velocity = self._interpolated(self.field.samples, time, columns)
        elif self._numbers is None:
            velocity = self._sum_of_modes(time, columns)
        else:
            parts = self.field.body(tensor_functions, self._numbers, time, *columns)
            velocity = _stacked(parts, columns)
        return velocity.to(device=x.device, dtype=x.dtype)

    def _interpolated(self, samples: Samples, time: Tensor, columns: tuple[Tensor, ...]) -> Tensor:
        """Gather the stencil of each point and contract it, the first axis first."""
        assert self._coefficients is not None
        points = columns[0]
        placed = [time.expand(points.shape), *columns] if samples.unsteady else list(columns)
        nodes: Tensor = torch.zeros((), dtype=torch.long, device=points.device)
        weights: list[Tensor] = []
        for axis, x in zip(samples.axes, placed, strict=True):
            cell, u = _cell(axis, x)
            stencil = cell[..., None] + torch.arange(axis.degree + 1, device=points.device)
            nodes = nodes[..., None] * (axis.cells + axis.degree)
            nodes = nodes + stencil.reshape(points.shape + (1,) * len(weights) + (-1,))
            weights.append(torch.stack(WEIGHTS[axis.degree](u), dim=-1))
        values = self._coefficients.to(device=points.device)[nodes].to(points.dtype)
        for w in weights:
            w = w.reshape(w.shape + (1,) * (values.ndim - w.ndim))
            values = (w * values).sum(points.ndim)
        return values

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
        A modal field is summed over its modes by broadcasting, in chunks if there are many. A
        sampled field is NaN where it has no data.
    dtype, device : optional
        Precision and place of the arithmetic; by default those of `x`. Naming them places the
        modes of a modal field, or the coefficients of a sampled one, once and for all instead of
        at every call.

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


def _cell(axis: SampleAxis, x: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the cell that holds each x, and the fraction of it, NaN where there is none."""
    scaled = (x - axis.lower) * axis.geometry[GEOMETRY.index("inverse_spacing")]
    if axis.periodic:
        whole = torch.floor(scaled)
        index = torch.remainder(whole, axis.cells)
    else:
        scaled = torch.where((x >= axis.lower) & (x <= axis.upper), scaled, math.nan)
        whole = index = torch.floor(scaled).clamp(0, axis.cells - 1)
    return torch.nan_to_num(index).long(), scaled - whole


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


def _exprel_derivative(x: Tensor) -> Tensor:
    # As above, with the range on which the closed form cancels.
    near = x.abs() < 1.5
    small = torch.where(near, x, 0.0)
    series = torch.full_like(small, EXPREL_DERIVATIVE_SERIES[-1])
    for coefficient in EXPREL_DERIVATIVE_SERIES[-2::-1]:
        series = series * small + coefficient
    large = torch.where(near, 1.5, x)
    closed = (torch.exp(large) - torch.expm1(large) / large) / large
    return torch.where(near, series, closed)


def _number_exprel_derivative(x: float) -> float:
    return float(numpy_functions.exprel_derivative(x))


def _where_greater(x: Any, y: Any, above: Any, otherwise: Any) -> Any:
    like = next((a for a in (x, y, above, otherwise) if isinstance(a, Tensor)), None)
    if like is None:
        return math.nan if math.isnan(x) or math.isnan(y) else (above if x > y else otherwise)
    x, y, above, otherwise = (
        a if isinstance(a, Tensor) else torch.full_like(like, a) for a in (x, y, above, otherwise)
    )
    chosen = torch.where(x > y, above, otherwise)
    return torch.where(x.isnan() | y.isnan(), math.nan, chosen)


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
        exprel_derivative=_unary(_exprel_derivative, _number_exprel_derivative),
        where_greater=_where_greater,
        atan2=_binary(torch.atan2, math.atan2),
        maximum=_binary(torch.maximum, _number_maximum),
        minimum=_binary(torch.minimum, _number_minimum),
    )
    for name in FUNCTIONS:
        if not hasattr(functions, name):
            setattr(functions, name, _unary(getattr(torch, name), getattr(math, name)))
    return functions


tensor_functions: Elementary = _functions()
