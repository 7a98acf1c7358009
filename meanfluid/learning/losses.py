"""Losses for average velocities; each returns what to minimise beside the raw residual.

The names say which equation is enforced: `material_loss` differentiates at the anchor (MeanFlow),
`endpoint_loss` at the free end, `semigroup_loss` composes two windows, `supervised_loss` compares
with exact means. All take positions and keyword times: a batch is a dict, ``loss(model, **batch)``.

Targets carry no gradient, except that of `material_loss`: through its derivative, half of the
gradient passes by default. Squared residuals are divided by the mean square of what is
averaged, so that losses, weights and their constants are dimensionless. Defaults of the material
and the supervised loss were measured, with `SOAP` and `MLP`, on the double gyre and on a pair of
vortices.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from meanfluid.learning.average_velocity import Model, Times, Velocity, spread
from meanfluid.learning.identity import (
    check_tangent,
    free_end_derivative,
    material_derivative,
    unwrapped,
)

HEAVIEST = 0.5  # no weight exceeds this power of the largest float, so that none overflows
SHORTEST = 1e-3  # of the rms window: shorter ones weigh no more

Field = Velocity | Tensor  # a function of (x, t), or its values at the batch


class LossValue(NamedTuple):
    """What a loss returns.

    Attributes
    ----------
    loss : Tensor, scalar
        Weighted; minimise this. With weights it hardly falls: read the residual instead.
    residual : Tensor, scalar
        Unweighted root mean square of the residual, relative to what is averaged; no gradient.
    """

    loss: Tensor
    residual: Tensor


def material_loss(
    model: Model,
    x: Tensor,
    *,
    t: Times,
    s: Times,
    observable: Field | None = None,
    along: Field | None = None,
    power: float = 0.25,
    offset: float = 1e-10,
    window_power: float | None = None,
    grad_through_jvp: float | None = None,
) -> LossValue:
    """Residual of the material identity u = f + (s - t) D_w u at a batch of anchors.

    MeanFlow as published stops the gradient at the whole target and weights with p = 1, windows
    alike. That is ``grad_through_jvp=0, power=1, window_power=0``, with a model of
    ``tangent="free"``; give the optimiser little momentum then, such as
    ``SOAP(model.parameters(), betas=(0.5, 0.95))``, for the stopped gradient is not the gradient
    of anything and rotates.

    Parameters
    ----------
    model : AverageVelocity
    x, t, s : (n, d), (n,), (n,)
        Anchors and free ends.
    observable : callable f(x, t) or (n, outputs), optional
        What is averaged; the model's velocity by default.
    along : callable w(x, t) or (n, d), optional
        What carries the mean: by default the velocity of the model, or the observable if the
        model has none. `at_rest` gives the Eulerian mean.
    power, offset : float
        Rows are weighted by 1 / (e + offset)^power, e their squared residual relative to the
        mean square of f. Power 0 is the plain mean square, 1/2 nearly a mean distance.
    window_power : float, optional
        Rows are also weighted by ``1 / |s - t|**window_power``, relative to the rms window; 1 by
        default with ``tangent="exact"``, where the network is multiplied by s - t, else 0.
    grad_through_jvp : float, optional
        Share of the gradient that passes through the derivative: 0 freezes the target, 1 (or
        True) minimises the whole residual. By default 1/2, which was measured to be best, or 0
        if the observable is given by values: those may be noisy, and the square of noise in the
        derivative would be minimised too.

    References
    ----------
    Geng, Deng, Bai, Kolter and He (2025), arXiv:2505.13447, Algorithm 1 and section 4.3.
    """
    if grad_through_jvp is None:
        grad_through_jvp = 0.0 if isinstance(observable, Tensor) else 0.5
    if window_power is None:
        window_power = float(getattr(unwrapped(model), "tangent", None) == "exact")
    f = _values(observable, model, x, t)
    carried = along is None and (observable is None or not _knows_velocity(model))
    w = f if carried else _values(along, model, x, t)
    t, s = spread(t, x), spread(s, x)
    window = (s - t)[:, None]
    moving = s != t
    through = bool(grad_through_jvp)
    if x.is_cuda or bool(moving.all()):  # on a GPU, asking would wait for it every step
        u, derivative = material_derivative(model, x, t=t, s=s, advection=w, differentiable=through)
        change = window * derivative
    else:  # an empty window needs no derivative
        u = model(x, t=t, s=s)
        change = torch.zeros_like(u)
        with torch.set_grad_enabled(through and torch.is_grad_enabled()):
            derivative = material_derivative(
                model, x[moving], t=t[moving], s=s[moving], advection=w[moving]
            )[1]
            change = change.index_put((moving,), window[moving] * derivative)
    target = f + torch.lerp(change.detach(), change, float(grad_through_jvp))
    return _weighted(u - target, f, power, offset, _short(s - t, window_power))


def endpoint_loss(
    model: Model,
    x: Tensor,
    *,
    t: Times,
    s: Times,
    power: float = 0.5,
    offset: float = 1e-10,
) -> LossValue:
    """Residual of u + (s - t) du/ds = v(x + (s - t) u, s), the identity at the free end.

    It evaluates the velocity where the model says that the particle ends. Parameters as in
    `material_loss`.
    """
    t, s = spread(t, x), spread(s, x)
    window = (s - t)[:, None]
    u, slope = free_end_derivative(model, x, t=t, s=s, differentiable=False)
    with torch.no_grad():
        arrival = velocity_of(model)(x + window * u, s)
        target = arrival - window * slope
    return _weighted(u - target, arrival, power, offset)


def semigroup_loss(
    model: Model,
    x: Tensor,
    *,
    t: Times,
    s: Times,
    split: float | Tensor = 0.5,
    power: float = 0.5,
    offset: float = 1e-10,
) -> LossValue:
    """Difference between one jump and two, through the time that splits the window.

    Needs no derivative, but an anchor: a model with ``tangent="exact"`` or another loss beside.

    Parameters
    ----------
    split : float or (n,)
        Share of the window in the first of the two jumps, between 0 and 1.
    """
    t, s = spread(t, x), spread(s, x)
    share = spread(split, x)
    if not bool(((share > 0) & (share < 1)).all()):
        raise ValueError(f"split must lie strictly between 0 and 1, got {split}")
    middle = torch.lerp(t, s, share)
    with torch.no_grad():
        first = model(x, t=t, s=middle)
        second = model(x + (middle - t)[:, None] * first, t=middle, s=s)
        target = torch.lerp(second, first, share[:, None])
    return _weighted(model(x, t=t, s=s) - target, target, power, offset)


def supervised_loss(
    model: Model,
    x: Tensor,
    *,
    t: Times,
    s: Times,
    mean: Tensor,
    power: float = 0.0,
    offset: float = 1e-10,
) -> LossValue:
    """Difference from exact means (n, outputs), such as those of `exact_pool`.

    The plain mean square by default: weights were measured to hurt here.
    """
    u = model(x, t=t, s=s)
    check_tangent("mean", mean, u)
    return _weighted(u - mean, mean, power, offset)


def at_rest(x: Tensor, t: Tensor) -> Tensor:
    """Velocity zero: means carried along it are Eulerian time means."""
    return torch.zeros_like(x)


def velocity_of(model: Model) -> Velocity:
    """Return the velocity that a model averages."""
    velocity: Velocity | None = getattr(unwrapped(model), "velocity", None)
    if velocity is None:
        raise ValueError(
            f"{type(model).__name__} has no velocity; use an AverageVelocity, or pass observable="
        )
    return velocity


def _knows_velocity(model: Model) -> bool:
    bare = unwrapped(model)
    return bool(getattr(bare, "knows_velocity", hasattr(bare, "velocity")))


def _values(field: Field | None, model: Model, x: Tensor, t: Times) -> Tensor:
    if isinstance(field, Tensor):
        return field
    function: Callable[[Tensor, Tensor], Tensor] = velocity_of(model) if field is None else field
    with torch.no_grad():
        return function(x, spread(t, x))


def _short(window: Tensor, power: float) -> Tensor | float:
    """Weights that favour short windows, relative to the rms one, finite on empty ones."""
    if not power:
        return 1.0
    duration = window.detach().abs()
    typical = duration.square().mean().sqrt().clamp_min(torch.finfo(duration.dtype).tiny)
    return (duration / typical).clamp_min(SHORTEST) ** -power


def _weighted(
    residual: Tensor,
    reference: Tensor,
    power: float,
    offset: float,
    extra: Tensor | float = 1.0,
) -> LossValue:
    if residual.shape != reference.shape:
        raise ValueError(
            f"the model returns shape {tuple(residual.shape)} where the average of "
            f"{tuple(reference.shape)} is wanted; set the number of outputs of the network"
        )
    size = reference.detach().square().sum(-1).mean()
    tiny = torch.finfo(residual.dtype).tiny
    e = residual.square().sum(-1) / size.clamp_min(tiny)
    least = tiny ** (HEAVIEST / max(1.0, power))
    weight = extra * (e.detach() + offset).clamp_min(least) ** -power
    return LossValue((weight * e).mean(), e.detach().mean().sqrt())
