r"""The material identity, which ties a mean along trajectories to what is averaged.

The mean of f carried along w, anchored at (x, t) with free end s, satisfies

.. math:: u = f(x, t) + (s - t) D_w u, \qquad D_w = \partial_t + w(x, t) \cdot \nabla,

s held fixed; the sign of s - t is that of the window, forwards or backwards, not a convention.
D_w u is one forward-mode product with tangent (w, 1, 0) on (x, t, s). With f = w = v it is
MeanFlow's identity; with w = 0, u is the Eulerian time mean.

References
----------
Geng, Deng, Bai, Kolter and He (2025), arXiv:2505.13447, equation for the average velocity.
"""

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from meanfluid.learning.average_velocity import (
    AverageVelocity,
    Model,
    Times,
    beside,
    given_as,
    spread,
)

EMPTY = 1e-30  # keeps a division by an empty window finite; the quotient is not used


def material_derivative(
    model: Model,
    x: Tensor,
    *,
    t: Times,
    s: Times,
    advection: Tensor,
    condition: Tensor | None = None,
    differentiable: bool = True,
    difference: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Average u and its derivative D_w u along `advection`, the free end held fixed.

    Parameters
    ----------
    model : callable
        ``model(x, t=, s=)``, of a module built from layers that forward mode handles.
    x : (n, d), length
    t, s : (n,), time
        Anchor time and free end.
    advection : (n, d), length / time
        w(x, t).
    condition : (n, ...), optional
        Handed to the model.
    differentiable : bool
        Whether D_w u carries gradients; without them it costs little memory.
    difference : float, optional
        Instead of forward mode, a central difference over this share of the window to either
        side, for networks that forward mode cannot pass. In float32 shares of 0.005 to 0.01 were
        measured to be best; their error, the square of the share times the third derivative, is
        one of the target and not of the training. It is zero on empty windows.

    Returns
    -------
    u, derivative : (n, outputs)

    Raises
    ------
    ValueError
        If `advection` does not match x in shape and dtype, or the share is not sensible.
    """
    check_tangent("advection", advection, x)
    t, s = spread(t, x), spread(s, x)
    along = (advection, torch.ones_like(t), torch.zeros_like(s))
    given = given_as(condition)
    if difference is not None:
        return _with_difference(model, x, t, s, along, differentiable, difference, given)
    return _with_tangent(model, x, t, s, along, differentiable, given)


def free_end_derivative(
    model: Model,
    x: Tensor,
    *,
    t: Times,
    s: Times,
    condition: Tensor | None = None,
    differentiable: bool = True,
) -> tuple[Tensor, Tensor]:
    """Average u and its derivative in the free end s, the anchor (x, t) held fixed."""
    t, s = spread(t, x), spread(s, x)
    along = (torch.zeros_like(x), torch.zeros_like(t), torch.ones_like(s))
    given = given_as(condition)
    return _with_tangent(model, x, t, s, along, differentiable, given)


def material_residual(
    model: Model,
    x: Tensor,
    *,
    t: Times,
    s: Times,
    observable: Tensor,
    advection: Tensor,
    condition: Tensor | None = None,
) -> Tensor:
    """Residual u - f - (s - t) D_w u of the material identity; zero for the exact mean.

    The error of u is the mean of this residual along the trajectory, from the anchor to the free
    end, so that a residual below some bound everywhere bounds the error by the same number.

    Parameters
    ----------
    observable : (n, outputs)
        f(x, t), what is averaged; for the average velocity, v.
    advection : (n, d), length / time
        w(x, t), what carries the mean; for Lagrangian means, v.
    condition : (n, ...), optional
        Handed to the model.
    """
    u, derivative = material_derivative(
        model, x, t=t, s=s, advection=advection, condition=condition
    )
    check_tangent("observable", observable, u)
    return u - observable - beside(spread(s, x) - spread(t, x), u) * derivative


def one_pass(model: Model) -> bool:
    """Whether the network of a model gives value and derivative together, at little cost."""
    return isinstance(model, AverageVelocity) and hasattr(model.network, "with_tangent")


def unwrapped(model: Model) -> Model:
    """Return the model inside DistributedDataParallel, or the model itself."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def check_tangent(name: str, value: Tensor, like: Tensor) -> None:
    """Refuse values that would be broadcast or promoted against the tensor they belong to."""
    if value.shape != like.shape or value.dtype != like.dtype:
        raise ValueError(
            f"{name} must be {like.dtype} of shape {tuple(like.shape)}, "
            f"got {value.dtype} of shape {tuple(value.shape)}; one row per particle"
        )


def _with_tangent(
    model: Model,
    x: Tensor,
    t: Tensor,
    s: Tensor,
    along: tuple[Tensor, Tensor, Tensor],
    differentiable: bool,
    given: dict[str, Tensor],
) -> tuple[Tensor, Tensor]:
    # Forward mode fails inside DistributedDataParallel; only the pass with gradients needs it.
    bare = unwrapped(model)
    through = differentiable and torch.is_grad_enabled()
    with torch.autocast(x.device.type, enabled=False):  # a derivative needs all the digits
        if one_pass(bare) and not given:
            u, du = bare.with_tangent(x, t=t, s=s, along=along, differentiable=through)
            repeated = bare is not model
        else:
            with torch.set_grad_enabled(through):
                u, du = torch.func.jvp(
                    lambda x, t, s: bare(x, t=t, s=s, **given), (x, t, s), along
                )[:2]
            repeated = bare is not model or not through
    return (model(x, t=t, s=s, **given) if repeated and torch.is_grad_enabled() else u), du


def _with_difference(
    model: Model,
    x: Tensor,
    t: Tensor,
    s: Tensor,
    along: tuple[Tensor, Tensor, Tensor],
    differentiable: bool,
    share: float,
    given: dict[str, Tensor],
) -> tuple[Tensor, Tensor]:
    """As `_with_tangent`, by a central difference that stays on one side of the free end."""
    if not 0 < share < 1:
        raise ValueError(f"difference must be a share of the window between 0 and 1, got {share}")
    bare, step = unwrapped(model), share * (s - t).abs()
    dx, dt, ds = along
    through = differentiable and torch.is_grad_enabled()
    with torch.set_grad_enabled(through), torch.autocast(x.device.type, enabled=False):
        ahead, behind = (
            bare(x + beside(h, x) * dx, t=t + h * dt, s=s + h * ds, **given) for h in (step, -step)
        )
        width = beside(2 * step, ahead)
        du = torch.where(width > 0, (ahead - behind) / width.clamp_min(EMPTY), 0.0)
    return model(x, t=t, s=s, **given), du
