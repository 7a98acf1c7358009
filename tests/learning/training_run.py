"""A small training run for tests; as a script, ``python -m ... folder``, one to be killed."""

import sys
from pathlib import Path

import torch

from meanfluid.learning import (
    MLP,
    Anchors,
    AverageVelocity,
    Box,
    Features,
    Training,
    UniformTriangle,
    fit,
    material_loss,
)

STEPS = 400


def velocity(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return torch.stack([-x[:, 1] + t, x[:, 0]], dim=1)


def parts() -> tuple[AverageVelocity, Anchors, torch.Generator]:
    generator = torch.Generator().manual_seed(11)
    network = MLP(Features([(-1, 1), (-1, 1)]), width=16, depth=2, generator=generator)
    sampler = Anchors(Box((-1.0, -1.0), (1.0, 1.0)), UniformTriangle())
    return AverageVelocity(velocity, network), sampler, generator


def run(folder: Path | None, **options) -> tuple[AverageVelocity, Training, torch.Generator]:
    """Train with the default optimiser; every row logged, checkpoints every 20 steps."""
    torch.set_num_threads(1)
    model, sampler, generator = parts()
    if folder is not None:
        options = {"log": folder / "log.csv", "checkpoint": folder / "run.ckpt"} | options
    settings = {"steps": STEPS, "batch": 32, "ema": 0.9, "every": 10, "checkpoint_every": 20}
    result = fit(model, material_loss, sampler, generator=generator, **(settings | options))
    return model, result, generator


if __name__ == "__main__":
    run(Path(sys.argv[1]))
