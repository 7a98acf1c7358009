"""The state of a training run: all that steps change, and that a checkpoint must hold."""

import math
import platform
import time
from importlib.metadata import version
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from meanfluid.learning.fingerprints import fingerprint
from meanfluid.learning.mixtures import module_of
from meanfluid.learning.ranks import bare, draw_base, seed
from meanfluid.learning.schedules import current
from meanfluid.learning.steps import (
    Cosine,
    Sampler,
    Schedule,
    Stepper,
    require_finite,
)

COUNTERS = ("step", "seconds", "rate", "count", "last")
Row = tuple[int, float, float, float, float]  # step, seconds, learning rate, loss, residual


class Run:
    """Model, loss, optimiser, averages, random numbers and counters of a run.

    Parameters
    ----------
    stepper : Stepper
        Holds the model, the loss and the optimiser.
    steps : int
        Of the whole run.
    decays : tuple of float
        Of the averages of the weights.
    teacher : float or None
        Decay of the average that the loss is given.
    """

    def __init__(
        self,
        stepper: Stepper,
        schedule: Schedule | None,
        steps: int,
        decays: tuple[float, ...],
        teacher: float | None,
        generator: Generator,
    ) -> None:
        factor = Cosine() if schedule is None else schedule
        self.stepper, self.ranks, self.steps = stepper, stepper.ranks, steps
        self.model, self.optimiser = bare(stepper.model), stepper.optimiser
        self.loss_module = module_of(stepper.loss)
        self.ranks.copy_first(self.loss_module)
        self.scheduler = LambdaLR(self.optimiser, lambda step: factor(step, steps))
        self.averages = [_average(self.model, decay) for decay in decays]
        self.teacher = None if teacher is None else _average(self.model, teacher)
        if self.teacher is not None:
            self.teacher.requires_grad_(False)
        self.generator, self.base = generator, 0
        if self.ranks.distributed:
            base = draw_base(generator)
            self.base = self.ranks.from_first(lambda: base)
            self.own = Generator(generator.device)
        self.settings = {"steps": steps, "schedule": factor, "ema": decays, "teacher": teacher}
        self.step, self.seconds, self.rate = 0, 0.0, 0.0
        self.sums = torch.zeros(3, dtype=torch.float64)
        self.count = 0
        self.last = [math.nan, math.nan]

    def take_step(self, sampler: Sampler, batch: int, began: float) -> None:
        """Draw a batch, take a step and count it."""
        progress = self.step / self.steps
        drawn = current(sampler, progress)(batch, self._source())
        teacher = None if self.teacher is None else self.teacher.module
        values = self.stepper.step(drawn, progress=progress, number=self.step + 1, teacher=teacher)
        self.rate = float(self.optimiser.param_groups[0]["lr"])
        self.scheduler.step()
        for average in self._all_averages():
            average.update_parameters(self.model)
        self.sums = self.sums.to(values.device) + values
        self.count += 1
        self.step += 1
        self.seconds = time.perf_counter() - began

    def close_row(self) -> Row:
        """Return the next row of the log and start another."""
        self.require_finite()
        loss, residual, _ = (self.sums / self.count).tolist()
        self.last = [loss, residual]
        self.sums, self.count = torch.zeros_like(self.sums), 0
        return self.step, self.seconds, self.rate, loss, residual

    def require_finite(self) -> None:
        """Refuse to go on, and to overwrite a good checkpoint, after a step that was not."""
        require_finite(self.sums, f"by step {self.step}")

    def state(self) -> dict[str, Any]:
        """Return what `load` needs."""
        return {
            "model": self.model.state_dict(),
            "loss": None if self.loss_module is None else self.loss_module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "averages": [average.state_dict() for average in self.averages],
            "teacher": None if self.teacher is None else self.teacher.state_dict(),
            "generator": self.generator.get_state(),
            "base": self.base,
            "sums": self.sums,
            **{name: getattr(self, name) for name in COUNTERS},
        }

    def load(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.model.load_state_dict(state["model"])
        if self.loss_module is not None:
            self.loss_module.load_state_dict(state["loss"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scheduler.load_state_dict(state["scheduler"])
        for average, saved in zip(self.averages, state["averages"], strict=True):
            average.load_state_dict(saved)
        if self.teacher is not None:
            self.teacher.load_state_dict(state["teacher"])
        self.generator.set_state(state["generator"])
        for name in ("base", "sums", *COUNTERS):
            setattr(self, name, state[name])

    def fingerprint(self, sampler: Sampler, batch: int) -> dict[str, str]:
        """Describe what a run that continues this one must share.

        `compile` is left out: it changes the speed, and the results by rounding only.
        """
        groups = [
            {name: value for name, value in group.items() if name not in ("params", "lr")}
            for group in self.optimiser.param_groups
        ]
        manner = self.stepper.manner
        return fingerprint(
            self.settings
            | {
                "model": self.model,
                "loss": self.stepper.loss,
                "sampler": sampler,
                "batch": batch,
                "clip": manner.clip,
                "accumulate": manner.accumulate,
                "precision": manner.precision,
                "optimiser": (type(self.optimiser), groups),
                "seed": self.generator.initial_seed(),
                "device": str(self.generator.device),
                "versions": f"Python {platform.python_version()}, meanfluid {version('meanfluid')}",
                "processes": self.ranks.size if self.ranks.distributed else "not distributed",
            }
        )

    def _source(self) -> Generator:
        """Return the generator that the next step draws from."""
        if not self.ranks.distributed:
            return self.generator
        return self.own.manual_seed(seed(self.base, self.step, self.ranks.rank))

    def _all_averages(self) -> list[AveragedModel]:
        return [*self.averages, *([] if self.teacher is None else [self.teacher])]


def _average(model: nn.Module, decay: float) -> AveragedModel:
    """Return an average whose memory grows with the steps taken, until it is that of the decay.

    Else the weights of the first step would keep a share decay^steps, for long.
    """

    @torch.no_grad()
    def update(average: Any, present: Any, taken: Any) -> None:
        kept: Tensor = ((1.0 + taken.double()) / (10.0 + taken)).clamp_max(decay)
        torch._foreach_mul_(average, kept)
        torch._foreach_add_(average, torch._foreach_mul(present, 1.0 - kept))

    return AveragedModel(model, multi_avg_fn=update)
