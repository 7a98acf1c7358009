r"""Losses that step along the trajectory instead of differentiating the model.

`back_trace_loss` takes one straight step and asks the model for the rest of the window, as
alpha-Flow does; `bootstrap_loss` takes an accurate one; `picard_loss` integrates the velocity where
the model says that the particle is. Their targets carry no gradient; they need no forward mode.

If u is the mean of f over a window, m that over its first share a, and u' that over the rest, then
u = a m + (1 - a) u'. As a target this pulls by the share a only. Losses here have the target
:math:`m + (1/a - 1) (u' - u)` instead, u frozen: its gradient is that of the former over a, so
that it and the raw residual tend to those of `material_loss` for small a.
"""

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from meanfluid.learning.average_velocity import Model, Times, Velocity, beside, given_as, spread
from meanfluid.learning.identity import check_tangent, unwrapped
from meanfluid.learning.losses import (
    Field,
    LossValue,
    Self,
    carrier_of,
    material_loss,
    on_empty,
    short,
    values_of,
    velocity_for,
    weighted,
)


def back_trace_loss(
    model: Model,
    x: Tensor,
    *,
    t: Times,
    s: Times,
    alpha: float,
    condition: Tensor | None = None,
    observable: Field | None = None,
    along: Field | Self | None = None,
    teacher: Model | None = None,
    power: float = 0.25,
    offset: float = 1e-10,
    window_power: float | None = None,
) -> LossValue:
    r"""Difference from one straight step over a share of the window, and the model over the rest.

    The target for u is
    :math:`\alpha f + (1 - \alpha) u(x + \alpha (s - t) w, t + \alpha (s - t), s)`, frozen; f is
    what is averaged and w what carries it. For alpha = 1 the model learns f itself on every window
    (trajectory flow matching); the error of the step, proportional to alpha, vanishes for alpha to
    0, where this is `material_loss` with its target frozen.

    Parameters
    ----------
    model, x, t, s, condition, observable, along, power, offset, window_power
        As for `material_loss`.
    alpha : float
        Between 0 and 1. With 0 forward mode is used. See `Scheduled` and `Sigmoid`.
    teacher : model, optional
        An averaged copy of the model, asked for the rest of the window; it slows the start, as in
        `bootstrap_loss`. Not used with alpha = 0, where it was measured to diverge.

    References
    ----------
    Zhang et al. (2025), arXiv:2510.20771.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be a share of the window between 0 and 1, got {alpha}")
    options: dict[str, Any] = {"power": power, "offset": offset}
    given = given_as(condition)
    if alpha == 0:
        options |= {"window_power": window_power, "observable": observable, "along": along}
        options |= {"condition": condition, "grad_through_jvp": 0.0}
        return material_loss(model, x, t=t, s=s, **options)
    f = values_of(observable, model, x, t)
    t, s = spread(t, x), spread(s, x)
    w = carrier_of(along, observable, model, f, {"x": x, "t": t, "s": s} | given)
    check_tangent("along", w, x)
    u = model(x, t=t, s=s, **given)
    step = alpha * (s - t)
    rest = _rest(model, teacher, x + beside(step, x) * w, t + step, s, given, alpha)
    target = _continued(u, f, rest, alpha, s != t)
    return weighted(u - target, f, **options, extra=short(model, s - t, window_power))


def bootstrap_loss(
    model: Model,
    x: Tensor,
    *,
    t: Times,
    s: Times,
    condition: Tensor | None = None,
    observable: Field | None = None,
    velocity: Velocity | Self | None = None,
    teacher: Model | None = None,
    share: float | Tensor = 0.2,
    steps: int = 2,
    power: float = 0.5,
    offset: float = 1e-10,
) -> LossValue:
    """Difference from an accurate step over a share of the window, and the model over the rest.

    The step is made by the Runge-Kutta method of fourth order, without gradients.

    Parameters
    ----------
    model, x, t, s, condition, power, offset
        As for `material_loss`.
    observable, velocity
        As for `endpoint_loss`.
    teacher : model, optional
        An averaged copy of the model, asked for the rest of the window. A decay of 0.99 was
        measured to help in 10 000 steps and to hurt in 600: what is known spreads by one share of
        the window per memory of the average, 1 / (1 - decay) steps.
    share : float or (n,)
        Of the window, more than 0 and up to 1; 1 is supervision by means made on the way.
    steps : int
        Runge-Kutta steps in it.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    t, s = spread(t, x), spread(s, x)
    part = spread(share, x)
    within = (share > 0) & (share <= 1)
    if not (within.all() if isinstance(within, Tensor) else within):
        raise ValueError(f"share must be more than 0 and at most 1, got {share}")
    given = given_as(condition)
    v = velocity_for(velocity, model, teacher)
    u = model(x, t=t, s=s, **given)
    with torch.no_grad():
        arrival, first = _runge_kutta(v, x, t, part * (s - t), steps, given)
        first = on_empty(first, observable, model, x, t, s)
    rest = _rest(model, teacher, arrival, torch.lerp(t, s, part), s, given, share)
    target = _continued(u, first, rest, part, s != t)
    return weighted(u - target, first, power, offset)


def picard_loss(
    model: Model,
    x: Tensor,
    *,
    t: Times,
    s: Times,
    condition: Tensor | None = None,
    observable: Field | None = None,
    velocity: Velocity | Self | None = None,
    teacher: Model | None = None,
    nodes: int = 7,
    power: float = 0.5,
    offset: float = 1e-10,
) -> LossValue:
    r"""Difference from the integral of the velocity where the model says that the particle is.

    A window from t to s gives one row per node :math:`t_j = t + c_j (s - t)`, with the target
    :math:`\frac{1}{c_j} \int_0^{c_j} v(x + c (s - t) u(x, t, t_c), t_c) \, dc`, integrated over the
    polynomial through all nodes and the anchor.

    Parameters
    ----------
    model, x, t, s, condition, power, offset
        As for `material_loss`.
    observable, velocity
        As for `endpoint_loss`.
    teacher : model, optional
        An averaged copy of the model, which says where the particle is.
    nodes : int
        Chebyshev-Lobatto points after the anchor, the free end among them. The model sees as many
        rows per row of the batch; the error of the integral falls exponentially with their number.
    """
    t, s = spread(t, x), spread(s, x)
    places, integrals = (torch.from_numpy(a).to(x) for a in collocation(nodes))
    anchor = {"x": x, "t": t} | given_as(condition)
    rows = {name: torch.cat([values] * nodes) for name, values in anchor.items()}
    ends = torch.cat([torch.lerp(t, s, place) for place in places])
    u = model(**rows, s=ends)
    v = velocity_for(velocity, model, teacher)
    with torch.no_grad():
        known = u if teacher is None else teacher(**rows, s=ends)
        there = rows["x"] + beside(ends - rows["t"], x) * known.to(x.dtype)
        given = {name: torch.cat([a, rows[name]]) for name, a in anchor.items() if name not in "xt"}
        values = v(torch.cat([x, there]), torch.cat([t, ends]), **given)
        with torch.autocast(x.device.type, enabled=False):
            target = torch.tensordot(integrals, values.reshape(nodes + 1, *x.shape), dims=1)
        target = torch.stack([on_empty(a, observable, model, x, t, s) for a in target])
    value = weighted(u - target.flatten(0, 1), target.flatten(0, 1), power, offset)
    assert value.rows is not None
    return value._replace(rows=value.rows.reshape(nodes, len(x)).mean(0))


@functools.lru_cache(maxsize=8)
def collocation(nodes: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Chebyshev-Lobatto points c_1 .. c_K of [0, 1], and means up to them of what is known there.

    Returns
    -------
    places : (nodes,)
        Without the point 0, which is c_0.
    integrals : (nodes, nodes + 1)
        Applied to values at c_0 .. c_K: means over [0, c_j] of the polynomial through them.
    """
    if nodes < 1:
        raise ValueError(f"nodes must be at least 1, got {nodes}")
    points = (1 - np.cos(np.pi * np.arange(nodes + 1) / nodes)) / 2
    basis = np.polynomial.legendre.legvander(2 * points - 1, nodes)
    antiderivatives = np.stack(
        [
            np.polynomial.legendre.legval(
                2 * points - 1, np.polynomial.legendre.legint(unit, lbnd=-1)
            )
            for unit in np.eye(nodes + 1)
        ],
        axis=1,
    )
    means = np.linalg.solve(basis.T, antiderivatives[1:].T / 2).T / points[1:, None]
    return points[1:], means


def _rest(
    model: Model,
    teacher: Model | None,
    x: Tensor,
    t: Tensor,
    s: Tensor,
    given: dict[str, Tensor],
    share: float | Tensor,
) -> Tensor | None:
    """Return the mean over the rest of the window, None if nothing is left of it."""
    if isinstance(share, float | int) and share == 1:
        return None
    asked = unwrapped(model) if teacher is None else teacher
    with torch.no_grad():
        rest: Tensor = asked(x, t=t, s=s, **given)
    return rest.to(x.dtype)


def _continued(
    u: Tensor, first: Tensor, rest: Tensor | None, share: float | Tensor, moving: Tensor
) -> Tensor:
    """Target that pulls u to share * first + (1 - share) * rest; to first on empty windows."""
    if rest is None:
        return first
    behind = (1 / share - 1) * moving.to(first.dtype)
    return first + beside(behind, first) * (rest - u.detach().to(first.dtype))


def _runge_kutta(
    v: Any, x: Tensor, t: Tensor, duration: Tensor, steps: int, given: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Positions after a duration of either sign, and the mean velocity on the way."""
    h = duration / steps
    mean = torch.zeros_like(x)
    for k in range(steps):
        now = t + k * h
        k1 = v(x, now, **given)
        k2 = v(x + beside(h / 2, x) * k1, now + h / 2, **given)
        k3 = v(x + beside(h / 2, x) * k2, now + h / 2, **given)
        k4 = v(x + beside(h, x) * k3, now + h, **given)
        slope = (k1 + 2 * k2 + 2 * k3 + k4) / 6
        x, mean = x + beside(h, x) * slope, mean + slope / steps
    return x, mean
