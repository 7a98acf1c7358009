"""SOAP: Adam run in a slowly refreshed eigenbasis of Shampoo's preconditioner.

References
----------
Vyas, Morwani, Zhao, Kwun, Shapira, Brandfonbrener, Janson and Kakade (2024), arXiv:2409.11321.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class SOAP(torch.optim.Optimizer):
    r"""Adam in the eigenbasis of the two covariance factors of the gradient.

    For a weight matrix with gradient G, running means of :math:`G G^T` and :math:`G^T G` are
    kept; their eigenvectors :math:`Q_L, Q_R` rotate the gradient, Adam is applied to
    :math:`Q_L^T G Q_R`, and its step is rotated back. The eigenvectors are refreshed every few
    steps by one orthogonal iteration. Matrices of equal shape are processed in one batch; tensors
    that are not matrices get plain Adam steps.

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters or parameter groups. One without a gradient counts as having gradient zero.
    lr : float
    betas : (float, float)
        Decay of the first and of the second moment. A first one of 0.5 suits stopped gradients,
        which are not the gradient of anything and rotate.
    eps : float
        Added to the root of the second moment.
    weight_decay : float
        Decoupled from the gradient.
    refresh : int
        Steps between refreshes of the eigenvectors.
    max_dim : int
        A longer side is left unrotated.

    Notes
    -----
    The state of a batch of equal matrices is kept with the first of them.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 5e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        *,
        eps: float = 1e-10,
        weight_decay: float = 0.0,
        refresh: int = 10,
        max_dim: int = 2048,
    ) -> None:
        if not (0 <= betas[0] < 1 and 0 <= betas[1] < 1):
            raise ValueError(f"betas must lie in [0, 1), got {betas}")
        if refresh < 1:
            raise ValueError(f"refresh must be at least 1, got {refresh}")
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "refresh": refresh,
            "max_dim": max_dim,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; return what `closure` does, if given to recompute the loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for bucket in _buckets(group["params"]):
                self._step_together(bucket, group)
        return loss

    def _step_together(self, bucket: list[Tensor], group: dict[str, Any]) -> None:
        """Update parameters of one shape."""
        grad = torch.stack([torch.zeros_like(p) if p.grad is None else p.grad for p in bucket])
        state = self.state[bucket[0]]
        beta1, beta2 = group["betas"]
        if not state:
            _start(state, grad, group["max_dim"])
        state["step"] += 1
        step = int(state["step"])
        rate = 1 - beta2 if step > 1 else 1.0
        if "left" in state:
            state["left"].lerp_(grad @ grad.mT, rate)
        if "right" in state:
            state["right"].lerp_(grad.mT @ grad, rate)
        if step == 1 or step % group["refresh"] == 0:
            _refresh(state, first=step == 1)
        grad = _rotate(state, grad)
        moment = state["moment"].lerp_(grad, 1 - beta1)
        square = state["square"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        root = (square / (1 - beta2**step)).sqrt_().add_(group["eps"])
        update = _rotate(state, moment / root, back=True)
        size = -group["lr"] / (1 - beta1**step)
        for p, change in zip(bucket, update.unbind(0), strict=True):
            if group["weight_decay"]:
                p.mul_(1 - group["lr"] * group["weight_decay"])
            p.add_(change, alpha=size)


def _buckets(params: list[Tensor]) -> list[list[Tensor]]:
    """Sort parameters by shape, dtype and device, in order of appearance."""
    found: dict[tuple[Any, ...], list[Tensor]] = {}
    for p in params:
        if p.requires_grad:
            found.setdefault((p.shape, p.dtype, p.device), []).append(p)
    return list(found.values())


def _start(state: dict[str, Any], grad: Tensor, max_dim: int) -> None:
    state["step"] = torch.zeros(())
    state["moment"] = torch.zeros_like(grad)
    state["square"] = torch.zeros_like(grad)
    if grad.ndim != 3:
        return
    for name, side in (("left", 1), ("right", 2)):
        n = grad.shape[side]
        if 1 < n <= max_dim:
            state[name] = grad.new_zeros(len(grad), n, n)
            state[f"basis_{name}"] = torch.eye(n).to(grad).repeat(len(grad), 1, 1)


def _refresh(state: dict[str, Any], first: bool) -> None:
    """Improve the eigenvectors and carry the moments into the new basis."""
    for name, axis in (("left", -2), ("right", -1)):
        if name not in state:
            continue
        factor, old = state[name], state[f"basis_{name}"]
        if first:
            state[f"basis_{name}"] = torch.linalg.eigh(factor)[1].flip(-1).contiguous()
            continue
        product = factor @ old
        order = (old * product).sum(-2).argsort(dim=-1, descending=True)
        columns = order.unsqueeze(-2).expand_as(product)
        new = torch.linalg.qr(product.gather(-1, columns))[0]
        state[f"basis_{name}"] = new
        change = new.mT @ old
        moment, square = state["moment"], state["square"]
        state["moment"] = change @ moment if name == "left" else moment @ change.mT
        places = order.unsqueeze(-1) if name == "left" else order.unsqueeze(-2)
        state["square"] = square.gather(axis, places.expand_as(square))


def _rotate(state: dict[str, Any], value: Tensor, back: bool = False) -> Tensor:
    """Take a batch of matrices into the eigenbasis, or back out of it."""
    if "left" in state:
        left = state["basis_left"]
        value = (left if back else left.mT) @ value
    if "right" in state:
        right = state["basis_right"]
        value = value @ (right.mT if back else right)
    return value
