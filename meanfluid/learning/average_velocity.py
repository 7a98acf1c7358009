"""The learned two-time function u(x, t, s): mean velocity of the particle that is at x at time t.

(x, t) is the anchor, s the free end of the window, before or after t. With X the trajectory
through the anchor, u(x, t, s) = (X(s) - x) / (s - t), and u(x, t, t) = v(x, t). In the words of
`average_velocity`: ``label="final"`` is u(x, t=end, s=start), ``label="initial"`` is
u(x, t=start, s=end).
"""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from meanfluid.backends.tensors import torch_velocity
from meanfluid.fields.velocity_field import VelocityField

Velocity = Callable[[Tensor, Tensor], Tensor]
Times = float | Tensor
Model = Any  # u = model(x, t=, s=): an AverageVelocity, or any module or function called like one


class AverageVelocity(nn.Module):
    r"""Model of u(x, t, s), from a velocity and a network N(x, t, s).

    With ``tangent="exact"`` the model is :math:`v(x, t) + (s - t) N(x, t, s) / T`, which is v on
    an empty window whatever the weights; it needs v in every call. With ``tangent="free"`` the
    model is N itself.

    Positions are points (n, d), or anything else of one row each, such as images.

    Parameters
    ----------
    velocity : VelocityField, callable v(x, t), or None
        What is averaged: tensors (n, d) and (n,) in, (n, outputs) out. A module given here is not
        trained, nor moved by ``.to``. None is allowed with ``tangent="free"``, when v is only
        known through samples.
    network : nn.Module
        ``network(x, t, s)``, such as `MLP`; ``network(x, t, s, condition)`` if it is called with
        a condition.
    tangent : "exact" or "free"
        Whether the limit s = t is hard-wired.
    scale : float, time
        T, the typical window.

    Raises
    ------
    ValueError
        If an argument, or the input of a call, has the wrong kind, shape or dtype.
    """

    caches: ClassVar = ("_converted",)  # no part of what a model is; see `fingerprints`

    def __init__(
        self,
        velocity: VelocityField | Velocity | None,
        network: nn.Module,
        *,
        tangent: Literal["exact", "free"] = "exact",
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if tangent not in ("exact", "free"):
            raise ValueError(f'tangent must be "exact" or "free", got {tangent!r}')
        if tangent == "exact" and velocity is None:
            raise ValueError('tangent="exact" needs a velocity; without one use tangent="free"')
        if velocity is not None and not callable(velocity) and not _is_field(velocity):
            raise ValueError(
                f"velocity must be a VelocityField or a function v(x, t), got {velocity!r}"
            )
        if not scale > 0:
            raise ValueError(f"scale must be a positive duration, got {scale}")
        self.network = network
        self.tangent = tangent
        self.scale = scale
        self._source = (velocity,)  # in a tuple, so that a module is not registered and trained
        self._converted: dict[tuple[torch.dtype, torch.device], Velocity] = {}

    @property
    def knows_velocity(self) -> bool:
        """Whether the model was built with a velocity."""
        return self._source[0] is not None

    def velocity(self, x: Tensor, t: Times) -> Tensor:
        """Velocity (n, outputs) at positions (n, d) and times (n,): what this model averages."""
        (source,) = self._source
        if source is None:
            raise ValueError(
                "this model was built without a velocity; give one to AverageVelocity, or the "
                "sampled values to the loss as observable="
            )
        if isinstance(source, VelocityField):
            key = x.dtype, x.device
            if key not in self._converted:
                self._converted[key] = torch_velocity(source, dtype=key[0], device=key[1])
            source = self._converted[key]
        velocity: Velocity = source
        return velocity(x, spread(t, x))

    def forward(self, x: Tensor, *, t: Times, s: Times, condition: Tensor | None = None) -> Tensor:
        """Average velocity (n, outputs) of the particles at x (n, d) at time t, over [t, s].

        A condition (n, ...), such as the numbers of classes, is handed to the network.
        """
        self._check(x)
        t, s = spread(t, x), spread(s, x)
        given = () if condition is None else (condition,)
        correction: Tensor = self.network(x, t, s, *given)
        if self.tangent == "free":
            return correction
        with torch.autocast(x.device.type, enabled=False):
            v = self.velocity(x, t)
        _check_width(correction, v)
        return v + beside((s - t) / self.scale, v) * correction

    def with_tangent(
        self,
        x: Tensor,
        *,
        t: Tensor,
        s: Tensor,
        along: tuple[Tensor, Tensor, Tensor],
        differentiable: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Average velocity and its derivative along (dx, dt, ds), in one pass.

        Only if the network has a method `with_tangent`; `identity.material_derivative` is the
        general way.
        """
        self._check(x)
        network: Any = self.network
        correction: tuple[Tensor, Tensor] = network.with_tangent(
            x, t, s, along, differentiable=differentiable
        )
        if self.tangent == "free":
            return correction
        value, change = correction
        dx, dt, ds = along
        v, dv = self.velocity_and_change(x, t, (dx, dt))
        _check_width(value, v)
        lapse, growth = ((s - t) / self.scale)[:, None], ((ds - dt) / self.scale)[:, None]
        u = v + lapse * value
        with torch.set_grad_enabled(differentiable and torch.is_grad_enabled()):
            du = dv + growth * value + lapse * change
        return u, du

    def velocity_and_change(
        self, x: Tensor, t: Tensor, along: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Velocity (n, outputs) and its derivative along (dx, dt), without gradients.

        By one reverse pass per component: for the short formulas that velocities are, an order
        of magnitude faster than forward mode, whose cost per operation is large.
        """
        dx, dt = along
        with torch.enable_grad():
            x, t = x.detach().requires_grad_(), t.detach().clone().requires_grad_()
            v = self.velocity(x, t)
            changes: list[Tensor] = []
            for component in v.unbind(1):
                if component.requires_grad:
                    v_x, v_t = torch.autograd.grad(
                        component.sum(), (x, t), retain_graph=True, materialize_grads=True
                    )
                    changes.append((v_x * dx).sum(1) + v_t * dt)
                elif isinstance(self._source[0], VelocityField):  # does not vary
                    changes.append(torch.zeros_like(component))
                else:
                    raise ValueError(
                        "the velocity does not depend differentiably on x and t; write it in "
                        'torch operations, or use tangent="free", which never differentiates it'
                    )
        return v.detach(), torch.stack(changes, dim=1).detach()

    def displacement(self, x: Tensor, *, t: Times, s: Times) -> Tensor:
        """Displacement (n, d) between t and s of the particles at x at time t."""
        u: Tensor = self(x, t=t, s=s)
        return beside(spread(s, x) - spread(t, x), u) * u

    def flow(self, x: Tensor, *, t: Times, s: Times, jumps: int = 1) -> Tensor:
        """Positions (n, d) at time s of the particles at x at time t, in equal jumps."""
        return carry(self, x, t=t, s=s, jumps=jumps)

    def extra_repr(self) -> str:
        """Describe what the weights do not show."""
        (source,) = self._source
        what = source.name if isinstance(source, VelocityField) else source
        return f"velocity={what}, tangent={self.tangent}, scale={self.scale}"

    def _check(self, x: Tensor) -> None:
        if x.ndim < 2:
            raise ValueError(
                f"x must have shape (particles, dimension) or (images, ...), got "
                f"{tuple(x.shape)}; for one particle pass [[x, y]]"
            )
        expected = next((p.dtype for p in self.network.parameters()), x.dtype)
        if x.dtype != expected:
            raise ValueError(
                f"x must be {expected} like the network, got {x.dtype}; convert x, or the model "
                "with model.double() or model.float()"
            )


def carry(model: Model, x: Tensor, *, t: Times, s: Times, jumps: int = 1) -> Tensor:
    """Positions (n, d) at time s of the particles at x at time t, in equal jumps of a model."""
    if jumps < 1:
        raise ValueError(f"jumps must be at least 1, got {jumps}")
    t, s = spread(t, x), spread(s, x)
    for k in range(jumps):
        x = jump(model, x, t=torch.lerp(t, s, k / jumps), s=torch.lerp(t, s, (k + 1) / jumps))
    return x


def jump(model: Model, x: Tensor, *, t: Tensor, s: Tensor, **given: Tensor) -> Tensor:
    """Positions at times s (n,) of the particles at x at times t (n,), in one jump of a model."""
    u: Tensor = model(x, t=t, s=s, **given)
    return x + beside(s - t, x) * u


def given_as(condition: Tensor | None) -> dict[str, Tensor]:
    """Return the keyword by which a model is handed a condition, if there is one."""
    return {} if condition is None else {"condition": condition}


def beside(time: Tensor, x: Tensor) -> Tensor:
    """Return times (n,) in the shape (n, 1, ...) that multiplies x (n, ...)."""
    return time.reshape(-1, *[1] * (x.ndim - 1))


def spread(time: Times, x: Tensor) -> Tensor:
    """Return a time as a tensor (n,), one per row of x, of the dtype and on the device of x."""
    time = torch.as_tensor(time, dtype=x.dtype, device=x.device)
    if time.ndim > 1 or (time.ndim == 1 and len(time) not in (1, len(x))):
        raise ValueError(
            f"a time must be a number or have shape ({len(x)},), got {tuple(time.shape)}"
        )
    return time.expand(len(x)).contiguous()  # forward mode refuses what is only expanded


def _check_width(correction: Tensor, velocity: Tensor) -> None:
    """Refuse a network whose outputs would be broadcast against the velocity."""
    if correction.shape != velocity.shape:
        raise ValueError(
            f"the network returns shape {tuple(correction.shape)} and the velocity "
            f'{tuple(velocity.shape)}; with tangent="exact" they are added: set the number of '
            'outputs of the network, or use tangent="free" for other means'
        )


def _is_field(candidate: object) -> bool:
    return isinstance(candidate, VelocityField)
