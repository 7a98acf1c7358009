"""Runs of two processes, for tests; as a script, ``python -m ... rank folder``, one of the two.

It leaves without ending the process group; see `distributed_run`.
"""

import os
import signal
import sys
import traceback
from datetime import timedelta
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from meanfluid.learning import (
    MLP,
    Anchors,
    AverageVelocity,
    Box,
    Features,
    LossValue,
    UniformTriangle,
    fit,
    steps_within,
)
from meanfluid.learning.identity import material_derivative
from meanfluid.learning.steps import Stepper
from tests.learning.closed_forms import affine_velocity

STEPS, BATCH, RATE, SIZE = 6, 8, 0.05, 2
SAMPLER = Anchors(Box((-1.0, -1.0), (1.0, 1.0)), UniformTriangle(), dtype=torch.float64)


class Tanh(nn.Module):
    """A network that forward mode passes layer by layer."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 8, dtype=torch.float64)
        self.outer = nn.Linear(8, 2, dtype=torch.float64)
        for p in self.parameters():
            nn.init.normal_(p, std=0.5, generator=generator)

    def forward(self, x, t, s):
        return self.outer(torch.tanh(self.inner(torch.cat([x, t[:, None], s[:, None]], dim=1))))


class Plain(nn.Module):
    """Mean square residual with a learnt weight and a pull to the teacher: a mean over rows."""

    def __init__(self, fails_from: float = 2.0) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))
        self.fails_from = fails_from

    def at(self, progress):
        def loss(model, x, *, t, s, teacher):
            f = affine_velocity(x, t)
            u, derivative = material_derivative(model, x, t=t, s=s, advection=f)
            residual = u - f - (s - t)[:, None] * derivative
            pull = (u - teacher(x, t=t, s=s)).square().sum(1).mean()
            square = residual.square().sum(1).mean()
            square = square * torch.nan if progress >= self.fails_from else square
            value = torch.exp(-self.level) * square + self.level + (0.1 + progress) * pull
            return LossValue(value, square.detach())

        return loss


def model(kind: str) -> AverageVelocity:
    generator = torch.Generator().manual_seed(4)
    if kind == "layers":
        return AverageVelocity(affine_velocity, Tanh(generator))
    features = Features([(-2.0, 2.0)] * 2, dtype=torch.float64)
    return AverageVelocity(affine_velocity, MLP(features, width=6, depth=2, generator=generator))


def train(kind: str, folder: Path, loss: nn.Module, **options):
    learner = DistributedDataParallel(model(kind))
    descent = torch.optim.SGD([*learner.parameters(), *loss.parameters()], lr=RATE)
    settings = {
        "steps": STEPS, "batch": BATCH, "accumulate": 2, "every": 2, "ema": 0.5, "teacher": 0.9,
        "checkpoint_every": 2, "schedule": lambda step, steps: 1.0, "log": folder / "log.csv",
        "generator": torch.Generator().manual_seed(9), "optimiser": descent,
    }  # fmt: skip
    result = fit(learner, loss, SAMPLER, **(settings | options))
    weights = [p.detach() for p in (*learner.parameters(), *loss.parameters())]
    return weights, list(result.averages[0].parameters()), result


def outcome(run) -> str:
    """Say what a run raises."""
    try:
        run()
    except (Exception, KeyboardInterrupt) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def main(rank: int, folder: Path) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo" if sys.platform == "linux" else "lo0"
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=SIZE,
        timeout=timedelta(seconds=60),
    )  # fmt: skip
    found, weights = {}, {}
    for kind in ("layers", "whole"):
        reports = []
        *weights[kind], result = train(
            kind, folder / kind, Plain(), report=lambda step, values, to=reports: to.append(step)
        )
        found[kind] = {"loss": result.loss, "residual": result.residual, "reports": reports}
    weights["resumed"] = interrupted_and_resumed(rank, folder, found)
    found |= refusals(rank, folder)
    found["budget"] = steps_within(
        0.2, DistributedDataParallel(model("layers")), Plain(), SAMPLER, batch=BATCH * (rank + 1),
        generator=torch.Generator(), teacher=0.9, trial=4,
    )  # fmt: skip
    torch.save({"found": found, "weights": weights}, folder / f"{rank}.pt")


def interrupted_and_resumed(rank: int, folder: Path, found: dict) -> tuple:
    """Let Ctrl-C reach the second process alone, in step 3; then go on."""
    original, options = Stepper.step, {"checkpoint": folder / "run.ckpt"}

    def interrupting(self, batch, *, number, **others):
        if rank == 1 and number == 3:
            signal.raise_signal(signal.SIGINT)
        return original(self, batch, number=number, **others)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
    Stepper.step = interrupting
    found["interrupted"] = outcome(lambda: train("layers", folder / "resumed", Plain(), **options))
    Stepper.step = original
    found["saved"] = torch.load(options["checkpoint"], weights_only=True)["state"]["step"]
    *weights, result = train("layers", folder / "resumed", Plain(), **options)
    found["resumed"] = {"loss": result.loss, "residual": result.residual}
    return weights


def refusals(rank: int, folder: Path) -> dict[str, str]:
    """Runs that go wrong in one process."""
    damaged, place = folder / "damaged.ckpt", folder / "refused"
    if rank == 0:
        damaged.write_bytes(b"not a checkpoint")
    ill = Plain(fails_from=0.5 if rank == 1 else 2.0)
    generator = torch.Generator()
    return {
        "damaged": outcome(lambda: train("layers", place, Plain(), checkpoint=damaged)),
        "different": outcome(lambda: train("layers", place, Plain(), steps=STEPS + rank)),
        "not finite": outcome(lambda: train("layers", place, ill)),
        "not wrapped": outcome(
            lambda: fit(model("layers"), Plain(), SAMPLER, steps=1, generator=generator)
        ),
    }


if __name__ == "__main__":
    code = 1
    try:
        main(int(sys.argv[1]), Path(sys.argv[2]))
        code = 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
