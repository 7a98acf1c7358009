"""The record of a velocity field: one formula, its parameters, where it holds, what is known.

The formula is a plain function ``body(m, p, t, x, y[, z])`` of scalars (see `elementary` for
`m`). If the parameters `p` are arrays instead of numbers, the field is *modal*: the body is the
contribution of one mode, and the velocity is its sum over the entries of the arrays.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfluid.fields.elementary import numpy_functions
from meanfluid.fields.samples import Samples

Array = NDArray[np.float64]
Body = Callable[..., tuple[Any, ...]]
ExactFlowMap = Callable[[Any, Array, Array, Array], Array]


class NoParameters(NamedTuple):
    """The parameters of a body that has none."""


@dataclass(frozen=True)
class Axis:
    """One coordinate axis of a domain.

    Parameters
    ----------
    lower, upper : float, length
        The interval that is usually looked at (and sampled).
    boundary : "open", "periodic", "closed" or "wall"
        Whether the formula goes on to hold beyond the interval, repeats itself with period
        ``upper - lower``, or means nothing there, so that a trajectory ends that is found
        outside after a step. A wall is an end through which nothing flows: the velocity across it
        is zero.
    """

    lower: float
    upper: float
    boundary: Literal["open", "periodic", "closed", "wall"] = "open"

    def __post_init__(self) -> None:
        if not self.lower < self.upper:
            raise ValueError(f"an axis needs lower < upper, got {self.lower} and {self.upper}")
        if self.boundary not in ("open", "periodic", "closed", "wall"):
            raise ValueError(
                f'boundary must be "open", "periodic", "closed" or "wall", got {self.boundary!r}'
            )
        if self.boundary == "periodic" and not math.isfinite(self.upper - self.lower):
            raise ValueError(f"a periodic axis needs a finite period, got {self}")


@dataclass(frozen=True, eq=False, kw_only=True)
class VelocityField:
    """A velocity field v(t, x), one definition for every backend.

    Parameters
    ----------
    body : callable
        ``body(m, p, t, x, y[, z])``: scalars in, one velocity component per coordinate out.
    parameters : NamedTuple of float or of 1-D arrays of one length
        What the body calls `p`. Arrays make the field modal: the body is summed over them.
    dimension : 1, 2 or 3
        Number of coordinates.
    name : str, optional
        Defaults to the name of the body.
    domain : tuple of Axis, optional
        One per coordinate; open and unbounded in effect if omitted.
    time_range : (float, float), time
        Where the formula holds in time, ends excluded if infinite.
    source : str, optional
        Paper and equation.
    steady, divergence_free : bool, optional
        Known facts; None where nothing is claimed.
    exact_flow_map : callable, optional
        ``(parameters, position (n, dimension), start (n,), end (n,)) -> position (n, dimension)``
        in closed form; positions are unwrapped on periodic axes.
    iterative : bool
        The body iterates to solve an implicit equation, so its symbolic form is not useful.
    samples : Samples, optional
        Of a sampled field, whose velocity is interpolated; its body is never called. Such fields
        are made by `meanfluid.fields.sampled` and `from_xarray`.

    Raises
    ------
    ValueError
        If the parts do not fit together.

    Examples
    --------
    >>> from typing import NamedTuple
    >>> class Rolls(NamedTuple):
    ...     amplitude: float = 1.0
    ...     sway: float = 0.3
    >>> def rolls(m, p, t, x, z):
    ...     phase = x - p.sway * m.sin(t)
    ...     return (-p.amplitude * m.sin(phase) * m.cos(z), p.amplitude * m.cos(phase) * m.sin(z))
    >>> field = VelocityField(body=rolls, parameters=Rolls(), dimension=2)
    >>> field.velocity(0.0, [[0.0, 1.5707963267948966]])
    array([[-0.,  1.]])
    """

    body: Body
    parameters: Any = field(default_factory=NoParameters)
    dimension: int
    name: str = ""
    domain: tuple[Axis, ...] | None = None
    time_range: tuple[float, float] = (-math.inf, math.inf)
    source: str = ""
    steady: bool | None = None
    divergence_free: bool | None = None
    exact_flow_map: ExactFlowMap | None = None
    iterative: bool = False
    samples: Samples | None = None

    def __post_init__(self) -> None:
        if not callable(self.body):
            raise ValueError(f"body must be a function (m, p, t, x, y[, z]), got {self.body!r}")
        if self.dimension not in (1, 2, 3):
            raise ValueError(f"dimension must be 1, 2 or 3, got {self.dimension!r}")
        if self.domain is not None and len(self.domain) != self.dimension:
            raise ValueError(
                f"domain must have one Axis per coordinate, {self.dimension}, "
                f"got {len(self.domain)}"
            )
        for axis in self.domain or ():
            if not isinstance(axis, Axis):
                raise ValueError(f"domain must hold Axis(lower, upper, ...), got {axis!r}")
        if not self.time_range[0] < self.time_range[1]:
            raise ValueError(f"time_range must increase, got {self.time_range}")
        if not self.name:
            object.__setattr__(self, "name", getattr(self.body, "__name__", "field"))
        _parameter_table(self.parameters)  # raises on parameters that cannot be tabulated

    @property
    def table(self) -> Array:
        """Parameters as float64 (rows, parameters): one row, or one per mode.

        Of a sampled field, the geometry of its grid: see `Samples.table`.
        """
        if self.samples is not None:
            return self.samples.table
        return _parameter_table(self.parameters)

    @property
    def modal(self) -> bool:
        """Whether the velocity is a sum of the body over arrays of parameters."""
        return any(np.ndim(value) > 0 for value in self.parameters)

    def velocity(self, time: ArrayLike, position: ArrayLike) -> Array:
        """Velocity at given times and positions, by NumPy.

        Parameters
        ----------
        time : float or (n,), time
        position : (n, dimension), length

        Returns
        -------
        (n, dimension), length / time
            NaN where a sampled field has no data.

        Raises
        ------
        ValueError
            If a shape does not fit, or the body does not return one component per coordinate.
        """
        position = np.asarray(position)
        if position.dtype.kind not in "iuf":
            raise ValueError(f"position must hold real numbers, got dtype {position.dtype}")
        position = position.astype(float)
        if position.ndim != 2 or position.shape[1] != self.dimension:
            raise ValueError(
                f"position must have shape (particles, {self.dimension}), got {position.shape}; "
                "for one particle pass [[x, y]]"
            )
        if np.shape(time) not in ((), (len(position),)):
            raise ValueError(
                f"time must be a number or have shape ({len(position)},), got {np.shape(time)}"
            )
        t = np.broadcast_to(np.asarray(time, dtype=float), position.shape[:1])
        if self.samples is not None:
            return self.samples.velocity(t, position)
        columns = position.T
        p = self.parameters
        if self.modal:  # modes along a leading axis, summed below
            p = type(p)(*self.table.T[:, :, None])
        parts = self.body(numpy_functions, p, t, *columns)
        if len(parts) != self.dimension:
            raise ValueError(
                f"body {self.name} must return {self.dimension} velocity components, one per "
                f"coordinate, got {len(parts)}"
            )
        if self.modal:
            shape = (len(self.table), t.size)
            return np.stack([np.broadcast_to(c, shape).sum(0) for c in parts], axis=-1)
        return np.stack([np.broadcast_to(c, t.shape) for c in parts], axis=-1).astype(float)

    def wrap(self, position: ArrayLike) -> Array:
        """Bring positions (n, dimension) back into the periods of the periodic axes."""
        wrapped = np.array(position, dtype=float)
        for k, axis in enumerate(self.domain or ()):
            if axis.boundary == "periodic":
                period = axis.upper - axis.lower
                wrapped[:, k] = axis.lower + np.mod(wrapped[:, k] - axis.lower, period)
        return wrapped

    def with_parameters(self, **changes: float) -> "VelocityField":
        """Return the same formula with some parameters changed; nothing is recompiled for it.

        What was known of the field (steady, divergence-free) may no longer hold, and is dropped.

        Raises
        ------
        ValueError
            If the field has a period or a range of time, which may depend on the parameters:
            make such a field anew. If it is sampled, for then it has no parameters.
        """
        if self.samples is not None:
            raise ValueError(f"{self.name} is a sampled field and has no parameters")
        periodic = any(axis.boundary == "periodic" for axis in self.domain or ())
        if periodic or self.time_range != (-math.inf, math.inf):
            raise ValueError(
                f"{self.name} has a period or a range of time that its parameters may set; make "
                "it anew with the parameters wanted"
            )
        parameters = self.parameters._replace(**changes)
        return replace(self, parameters=parameters, steady=None, divergence_free=None)


def _parameter_table(parameters: Any) -> Array:
    if not (isinstance(parameters, tuple) and hasattr(parameters, "_fields")):
        raise ValueError(
            f"parameters must be a NamedTuple of numbers or 1-D arrays, got {parameters!r}"
        )
    if not parameters:
        return np.zeros((1, 0))
    try:
        columns = [np.atleast_1d(np.asarray(value, dtype=float)) for value in parameters]
        table = np.stack(np.broadcast_arrays(*columns), axis=-1)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"parameters must be numbers or 1-D arrays of one length, got {parameters!r}"
        ) from error
    if table.ndim != 2:
        raise ValueError(f"parameters must be numbers or 1-D arrays, got {parameters!r}")
    if not np.isfinite(table).all():
        raise ValueError(f"parameters must be finite, got {parameters!r}")
    return np.ascontiguousarray(table)
