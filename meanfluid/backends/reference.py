"""The oracle: trajectories by Taylor series of order twenty and more, to rounding error.

The formula of a field is called once with heyoka expressions, which an adaptive Taylor
integrator compiles. Particles are integrated one by one; this is for truth, not for speed.
The formula is taken to hold everywhere: closed axes and time ranges of a field are not watched.
A trajectory that crosses a kink of `maximum` or `minimum` is less accurate, for a Taylor
series does not see it coming.
"""

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.errors import TrajectoryError, missing_extra
from meanfluid.fields.elementary import FUNCTIONS
from meanfluid.fields.velocity_field import Array, VelocityField

Precision = Literal["double", "extended"]

_MAX_STEPS = 1_000_000  # a step covers a good part of a turnover time
_EXPREL_DEGREE = 30


def reference_flow_map(
    field: VelocityField,
    position: ArrayLike,
    start: ArrayLike,
    end: ArrayLike,
    *,
    observables: Sequence[Callable[..., Any]] = (),
    tolerance: float = 1e-18,
    precision: Precision = "double",
) -> Any:
    r"""Where particles that are at `position` at time `start` are at time `end`.

    Parameters
    ----------
    field : VelocityField
    position : (n, dimension), length
        At `start`.
    start, end : float or (n,), time
        Backwards if `end` is before `start`.
    observables : sequence of callables ``g(m, p, t, x, y[, z])``, optional
        Scalars, or tuples of scalars, to be integrated along each trajectory. On a modal field
        `p` is None.
    tolerance : float
        Relative truncation error of a step. Below the unit of rounding it only adds margin.
    precision : "double" or "extended"
        Arithmetic of the integration. Extended is the `long double` of the machine, 64 bits of
        mantissa on x86, about five times slower; parameters and results are float64 in any case.

    Returns
    -------
    (n, dimension), length
        Final positions; with observables a pair, of these and of the signed integrals
        :math:`\int_{start}^{end} g\,d\tau`, (n, components of all observables).

    Raises
    ------
    ValueError
        If an argument has the wrong shape or is not finite.
    TrajectoryError
        If a trajectory becomes infinite or needs too many steps.
    MissingExtraError
        If heyoka is not installed.
    """
    heyoka = _heyoka()
    number = _number_type(precision)
    position, start, end = _checked(field, position, start, end)
    system = _system(heyoka, field, observables)
    integrator = _integrator(heyoka, field, system, number, tolerance)
    final = _propagated(integrator, number, position, start, end)
    if not observables:
        return final
    return final[:, : field.dimension].copy(), final[:, field.dimension :].copy()


def reference_gradient(
    field: VelocityField,
    position: ArrayLike,
    start: ArrayLike,
    end: ArrayLike,
    *,
    tolerance: float = 1e-18,
    precision: Precision = "double",
) -> Array:
    r"""Gradient of the flow map, by integrating the variational equations.

    Parameters
    ----------
    field, position, start, end, tolerance, precision
        As in `reference_flow_map`.

    Returns
    -------
    (n, dimension, dimension)
        Entry (i, j) of each matrix is :math:`\partial X_i(end) / \partial X_j(start)`.

    Raises
    ------
    ValueError, TrajectoryError, MissingExtraError
        As in `reference_flow_map`.
    """
    heyoka = _heyoka()
    number = _number_type(precision)
    position, start, end = _checked(field, position, start, end)
    variational = heyoka.var_ode_sys(_system(heyoka, field, ()), heyoka.var_args.vars, order=1)
    integrator = _integrator(heyoka, field, variational, number, tolerance)
    final = _propagated(integrator, number, position, start, end)
    first_order = final[:, integrator.get_vslice(order=1)]
    return first_order.reshape(len(position), field.dimension, field.dimension).copy()


def _heyoka() -> Any:
    try:
        import heyoka
    except ImportError as error:
        raise missing_extra("heyoka", "reference") from error
    return heyoka


def _checked(
    field: VelocityField, position: ArrayLike, start: ArrayLike, end: ArrayLike
) -> tuple[Array, Array, Array]:
    position = np.asarray(position, dtype=float)
    if position.ndim != 2 or position.shape[1] != field.dimension:
        raise ValueError(
            f"position must have shape (particles, {field.dimension}), got {position.shape}"
        )
    times = []
    for name, time in (("start", start), ("end", end)):
        time = np.asarray(time, dtype=float)
        if time.shape not in ((), position.shape[:1]):
            raise ValueError(
                f"{name} must be a number or have shape {position.shape[:1]}, got {time.shape}"
            )
        if not np.isfinite(time).all():
            raise ValueError(f"{name} must be finite, got {time}")
        times.append(np.broadcast_to(time, position.shape[:1]))
    if not np.isfinite(position).all():
        raise ValueError(f"position must be finite, got {position[~np.isfinite(position)][0]}")
    return position, times[0], times[1]


def _number_type(precision: Precision) -> type:
    if precision not in ("double", "extended"):
        raise ValueError(f'precision must be "double" or "extended", got {precision!r}')
    return float if precision == "double" else np.longdouble


def _integrator(
    heyoka: Any, field: VelocityField, system: Any, number: type, tolerance: float
) -> Any:
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance must lie between 0 and 1, got {tolerance}")
    states = len(system) if isinstance(system, list) else field.dimension
    return heyoka.taylor_adaptive(
        system,
        [number(0.0)] * states,
        tol=number(tolerance),
        high_accuracy=True,  # compensated summation of the series
        compact_mode=True,  # loops instead of unrolled code: compiles large formulas quickly
        fp_type=number,
        pars=[] if field.modal else [number(value) for value in field.parameters],
    )


def _system(
    heyoka: Any, field: VelocityField, observables: Sequence[Callable[..., Any]]
) -> list[tuple[Any, Any]]:
    """Differential equations of the coordinates and of the integrals, as (variable, rate)."""
    m = heyoka_functions(heyoka)
    coordinates = heyoka.make_vars(*("x", "y", "z")[: field.dimension])
    coordinates = list(coordinates) if field.dimension > 1 else [coordinates]
    record = type(field.parameters)
    p: Any
    if field.modal:
        p = None
        modes = [
            field.body(m, record(*map(heyoka.expression, row)), heyoka.time, *coordinates)
            for row in field.table
        ]
        rates = [
            heyoka.sum([m.expression(part) for part in parts]) for parts in zip(*modes, strict=True)
        ]
    else:
        p = record(*(heyoka.par[i] for i in range(len(field.parameters))))
        rates = list(field.body(m, p, heyoka.time, *coordinates))
    for observable in observables:
        value = observable(m, p, heyoka.time, *coordinates)
        rates.extend(value if isinstance(value, tuple) else (value,))
    integrals = [heyoka.make_vars(f"integral_{i}") for i in range(len(rates) - field.dimension)]
    return [
        (variable, m.expression(rate))
        for variable, rate in zip(coordinates + integrals, rates, strict=True)
    ]


def _propagated(integrator: Any, number: type, position: Array, start: Array, end: Array) -> Array:
    """Final states of the particles, one row each; the initial state is that of `integrator`."""
    initial = np.array(integrator.state)
    dimension = position.shape[1]
    final = np.empty((len(position), len(initial)))
    for i, (x, r, s) in enumerate(zip(position, start, end, strict=True)):
        integrator.time = number(r)
        integrator.state[:] = initial
        integrator.state[:dimension] = x
        outcome = integrator.propagate_until(number(s), max_steps=_MAX_STEPS)[0]
        if outcome.name != "time_limit" or not np.isfinite(integrator.state).all():
            raise TrajectoryError(
                f"particle {i}, at {x} at time {r}, reached {integrator.state[:dimension]} at time "
                f"{integrator.time} and no further towards {s} ({outcome.name}); does the formula "
                "hold there?"
            )
        final[i] = integrator.state
    return final


def heyoka_functions(heyoka: Any) -> Any:
    """Return the functions of a body for heyoka expressions and numbers.

    Besides the names of `Elementary` there is `expression`, which makes one of a number.
    """

    def expression(x: Any) -> Any:
        return x if isinstance(x, heyoka.expression) else heyoka.expression(float(x))

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments: function(*map(expression, arguments))

    def exprel(x: Any) -> Any:
        # A quotient would force tiny steps wherever its denominator nears zero. The step that
        # begins with |x| < 1 may carry x to about 3, where the remainder 3^31 / 32! is 2e-21.
        near = heyoka.lt(x * x, 1.0)
        series = expression(0.0)
        for n in range(_EXPREL_DEGREE, -1, -1):
            series = series * x + heyoka.expression(np.longdouble(1) / math.factorial(n + 1))
        large = heyoka.select(near, expression(1.0), x)
        return heyoka.select(near, series, heyoka.expm1(large) / large)

    def exprel_derivative(x: Any) -> Any:
        near = heyoka.lt(x * x, 1.0)
        series = expression(0.0)
        for n in range(_EXPREL_DEGREE, -1, -1):
            coefficient = np.longdouble(1) / (math.factorial(n) * (n + 2))
            series = series * x + heyoka.expression(coefficient)
        large = heyoka.select(near, expression(1.0), x)
        quotient = (heyoka.exp(large) - heyoka.expm1(large) / large) / large
        return heyoka.select(near, series, quotient)

    def where_greater(x: Any, y: Any, above: Any, otherwise: Any) -> Any:
        return heyoka.select(heyoka.gt(x, y), above, otherwise)

    functions: dict[str, Callable[..., Any]] = {
        "exprel": exprel,
        "exprel_derivative": exprel_derivative,
        "where_greater": where_greater,
        "maximum": lambda x, y: heyoka.select(heyoka.gte(x, y), x, y),
        "minimum": lambda x, y: heyoka.select(heyoka.lte(x, y), x, y),
    }
    return SimpleNamespace(
        pi=heyoka.pi,
        expression=expression,
        **{
            name: wrapped(functions[name] if name in functions else getattr(heyoka, name))
            for name in FUNCTIONS
        },
    )
