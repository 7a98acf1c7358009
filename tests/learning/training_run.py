"""A small training run for tests; as a script, ``python -m ... folder``, one to be killed."""

import sys
from functools import partial
from pathlib import Path

import torch
from torch import nn

from meanfluid.learning import (
    MLP,
    Anchors,
    AverageVelocity,
    Box,
    Features,
    LossValue,
    Training,
    UniformTriangle,
    fit,
    material_loss,
)

STEPS = 200


def velocity(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return torch.stack([-x[:, 1] + t, x[:, 0]], dim=1)


def parts() -> tuple[AverageVelocity, Anchors, torch.Generator]:
    generator = torch.Generator().manual_seed(11)
    network = MLP(Features([(-1, 1), (-1, 1)]), width=16, depth=2, generator=generator)
    sampler = Anchors(Box((-1.0, -1.0), (1.0, 1.0)), UniformTriangle())
    return AverageVelocity(velocity, network), sampler, generator


class Taught(nn.Module):
    """The identity with a learnt weight, and a pull to the teacher that grows with time."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(()))

    def at(self, progress: float) -> partial:
        return partial(self, share=0.1 * progress)

    def forward(self, model, x, *, t, s, teacher, share) -> LossValue:
        value = material_loss(model, x, t=t, s=s)
        pull = (model(x, t=t, s=s) - teacher(x, t=t, s=s)).square().mean()
        loss = torch.exp(-self.level) * value.loss + self.level + share * pull
        return LossValue(loss, value.residual)


class Growing:
    """Anchors of a box that grows."""

    def at(self, progress: float) -> Anchors:
        size = 0.5 + 0.5 * progress
        return Anchors(Box((-size, -size), (size, size)), UniformTriangle())


def run(folder: Path | None, **options) -> tuple[AverageVelocity, Training, torch.Generator]:
    """Train with all that a checkpoint must hold; logged every 10 steps, saved every 15."""
    torch.set_num_threads(1)
    model, _, generator = parts()
    if folder is not None:
        options = {"log": folder / "log.csv", "checkpoint": folder / "run.ckpt"} | options
    settings = {
        "steps": STEPS, "batch": 32, "accumulate": 2, "ema": (0.9, 0.5), "teacher": 0.8,
        "every": 10, "checkpoint_every": 15,
    }  # fmt: skip
    result = fit(model, Taught(), Growing(), generator=generator, **(settings | options))
    return model, result, generator


if __name__ == "__main__":
    run(Path(sys.argv[1]))
