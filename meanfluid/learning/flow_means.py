r"""Lagrangian and Eulerian mean velocity in one network, and the Stokes drift between them.

Both means satisfy the material identity, :math:`u = v + (s - t) D_w u`, one with :math:`w = v`, the
other with :math:`w = 0`. The mean position of a trajectory follows from its displacements,

.. math:: \Xi(x, t, s) = x + \frac{1}{s - t} \int_t^s (\tau - t) \, u(x, t, \tau) \, d\tau ,

and the Stokes drift is the Lagrangian mean less the Eulerian mean at that position.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from meanfluid.fields.velocity_field import VelocityField
from meanfluid.learning.average_velocity import AverageVelocity, Times, Velocity, beside, spread
from meanfluid.learning.losses import LossValue, at_rest, material_loss

NODES = 12  # of the quadrature over the window


class Drift(NamedTuple):
    """Stokes drift of trajectories.

    Attributes
    ----------
    position : (n, d), length
        Mean positions.
    value : (n, d), length / time
        Stokes drift there.
    """

    position: Tensor
    value: Tensor


class FlowMeans(nn.Module):
    """The two mean velocities of a flow, with one network of twice as many outputs.

    Train it by `flow_means_loss`; one run of `fit` learns both, in one process.

    Parameters
    ----------
    velocity : VelocityField or callable v(x, t)
    network : nn.Module
        ``network(x, t, s)`` with outputs (n, 2 d), such as ``MLP(features, outputs=2 * d)``.
    scale : float, time
        The typical window.

    Attributes
    ----------
    lagrangian, eulerian : AverageVelocity
        Each is called ``(x, t=, s=)``: the mean of velocity along the trajectory through (x, t),
        and at the place x, over the window from t to s of either sign.

    Raises
    ------
    ValueError
        At a call, if the network does not have twice as many outputs as the velocity.
    """

    def __init__(
        self, velocity: VelocityField | Velocity, network: nn.Module, *, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.lagrangian, self.eulerian = (
            AverageVelocity(velocity, _Half(network, second), scale=scale)
            for second in (False, True)
        )

    def mean_position(self, x: Tensor, *, t: Times, s: Times) -> Tensor:
        """Mean positions (n, d) between t and s of the particles at x (n, d) at time t."""
        t, s = spread(t, x), spread(s, x)
        nodes, weights = np.polynomial.legendre.leggauss(NODES)
        moved = torch.zeros_like(x)
        for share, weight in zip((1 + nodes) / 2, weights / 2, strict=True):
            end = torch.lerp(t, s, float(share))
            moved = moved + float(weight) * beside(end - t, x) * self.lagrangian(x, t=t, s=end)
        return x + moved

    def stokes_drift(self, x: Tensor, *, t: Times, s: Times) -> Drift:
        """Stokes drift over [t, s] of the particles at x (n, d) at time t, at mean positions."""
        place = self.mean_position(x, t=t, s=s)
        return Drift(place, self.lagrangian(x, t=t, s=s) - self.eulerian(place, t=t, s=s))


def flow_means_loss(
    model: FlowMeans, x: Tensor, *, t: Times, s: Times, **options: Any
) -> LossValue:
    """Sum of the material losses of the Lagrangian mean, along v, and the Eulerian one, at rest.

    Parameters
    ----------
    model : FlowMeans
    x, t, s : (n, d), (n,), (n,)
        Anchors and free ends.
    **options
        Of `material_loss`, but `along`.

    Returns
    -------
    LossValue
        Loss and rows are sums over the two, the residual the root mean square of theirs.

    Raises
    ------
    ValueError
        If the model is inside `DistributedDataParallel`.
    """
    if isinstance(model, DistributedDataParallel):
        raise ValueError(
            "FlowMeans is trained in one process; pass it without DistributedDataParallel"
        )
    moving = material_loss(model.lagrangian, x, t=t, s=s, **options)
    fixed = material_loss(model.eulerian, x, t=t, s=s, along=at_rest, **options)
    residual = (moving.residual.square() + fixed.residual.square()).div(2).sqrt()
    assert moving.rows is not None and fixed.rows is not None
    return LossValue(moving.loss + fixed.loss, residual, moving.rows + fixed.rows)


class _Half(nn.Module):
    """First or second half of the outputs of a network."""

    def __init__(self, network: nn.Module, second: bool) -> None:
        super().__init__()
        self.network, self.second = network, second
        if hasattr(network, "with_tangent"):
            self.with_tangent = self._with_tangent

    def forward(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return self._half(self.network(x, t, s))

    def _with_tangent(self, *arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
        network: Any = self.network
        value, change = network.with_tangent(*arguments, **options)
        return self._half(value), self._half(change)

    def _half(self, outputs: Tensor) -> Tensor:
        if outputs.shape[1] % 2:
            raise ValueError(
                "the network must have twice as many outputs as the velocity has components, got "
                f"{outputs.shape[1]}; build it with outputs=2 * dimension"
            )
        return outputs.chunk(2, dim=1)[self.second]
