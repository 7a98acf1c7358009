"""Average velocities in closed form, of tensors: theory B2 (affine flow) and J1 (Gaussian)."""

import math

import torch
from torch import Tensor, nn

A = torch.tensor([[0.3, 1.2], [-0.7, -0.3]], dtype=torch.float64)  # A A = -0.75, periodic orbits
B = torch.tensor([0.1, -0.2], dtype=torch.float64)
DRIFT = torch.tensor([0.4, -0.25], dtype=torch.float64)
RATE = math.sqrt(0.75)


def affine_velocity(x: Tensor, t: Tensor) -> Tensor:
    """v = A (x - c t) + b + c: an affine flow seen from a moving frame, so that it is unsteady."""
    a, b, c = A.to(x), B.to(x), DRIFT.to(x)
    return (x - c * t[:, None]) @ a.T + b + c


class AffineAverage(nn.Module):
    """u = c + phi_1(A h) (A (x - c t) + b), h = s - t; phi_1 in closed form since A A = -0.75."""

    def forward(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        a, b, c = A.to(x), B.to(x), DRIFT.to(x)
        h = (s - t)[:, None]
        y = (x - c * t[:, None]) @ a.T + b
        half = torch.sinc(RATE * h / (2 * math.pi))
        return c + torch.sinc(RATE * h / math.pi) * y + h / 2 * half**2 * (y @ a.T)


class GaussianPath:
    """Linear path from data N(mean, covariance) at t = 0 to unit noise at t = 1."""

    def __init__(self, mean: list[float], covariance: list[list[float]]) -> None:
        self.mean = torch.tensor(mean, dtype=torch.float64)
        self.covariance = torch.tensor(covariance, dtype=torch.float64)
        self.spread, self.axes = torch.linalg.eigh(self.covariance)

    def velocity(self, z: Tensor, t: Tensor) -> Tensor:
        t = t[:, None]
        y = (z - (1 - t) * self.mean.to(z)) @ self.axes.to(z)
        spread = self.spread.to(z)
        rate = (t - (1 - t) * spread) / ((1 - t) ** 2 * spread + t**2)
        return -self.mean.to(z) + (rate * y) @ self.axes.to(z).T

    def average(self, z: Tensor, t: Tensor, s: Tensor) -> Tensor:
        t, s = t[:, None], s[:, None]
        y = (z - (1 - t) * self.mean.to(z)) @ self.axes.to(z)
        spread = self.spread.to(z)
        ratio = ((1 - s) ** 2 * spread + s**2) / ((1 - t) ** 2 * spread + t**2)
        carried = (1 - s) * self.mean.to(z) + (ratio.sqrt() * y) @ self.axes.to(z).T
        return (carried - z) / (s - t)


class Wrapped(nn.Module):
    """A function (x, t, s), or (x, t, s, condition), as a network."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


PLANE = GaussianPath([1.0, -0.5], [[1.0, 0.6], [0.6, 0.5]])
LINE = GaussianPath([2.0], [[0.25]])


def anchors(n: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Positions, anchor times and free ends of either sign, in float64."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    t, s = 0.05 + 0.9 * torch.rand(2, n, generator=generator, dtype=torch.float64)
    return x, t, s


class GrowingImages(nn.Module):
    """u of x' = (1 + k) x cos t, k the number of the class: x expm1(q) / (s - t)."""

    def forward(self, x: Tensor, t: Tensor, s: Tensor, condition: Tensor) -> Tensor:
        rate = 1 + condition.to(x.dtype)
        empty = s == t
        h = torch.where(empty, 1, s - t)
        growth = torch.expm1(rate * (torch.sin(s) - torch.sin(t))) / h
        return x * torch.where(empty, rate * torch.cos(t), growth)[:, None, None, None]
