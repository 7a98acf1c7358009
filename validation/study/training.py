"""Training for so many seconds of the process: the clock drives the schedule, and pauses.

The steps are those of `meanfluid.learning.fit`, with the share of the time in place of the share
of the steps: every arm ends its schedule exactly when its time is over, however fast the machine
is at the moment, and no speed has to be guessed beforehand.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from meanfluid.learning import Cosine, supervised_loss
from study.arms import Arm
from study.scores import relative_error
from study.truth import Truth

WARM_UP = 100  # steps over which the learning rate rises
NOISE_BATCHES = 32
HALF = 0.5
MARKS = (0.25, HALF, 0.75)  # shares of the time at which a look is taken
FALL = Cosine(warmup=0)


@dataclass
class Trained:
    """How a run went.

    Attributes
    ----------
    steps : int
    seconds : float
        Of the process, in the loop.
    finite : bool
        Whether the loss stayed finite to the end.
    curve : list of (seconds, steps, relative error)
        Before the learning rate has fallen.
    noise : dict
        Of the gradient at half time; see `gradient_noise`.
    """

    steps: int = 0
    seconds: float = 0.0
    finite: bool = True
    curve: list[tuple[float, int, float]] = field(default_factory=list)
    noise: dict[str, float] = field(default_factory=dict)

    def look(self, model: nn.Module, truth: Truth, seconds: float) -> None:
        """Note the error on the way."""
        self.curve.append((seconds, self.steps, relative_error(model, truth)))


class Clock:
    """Seconds of this process since the start, without those spent in `paused`."""

    def __init__(self) -> None:
        self.began = time.process_time()

    def __call__(self) -> float:
        return time.process_time() - self.began

    @contextmanager
    def paused(self) -> Iterator[None]:
        before = time.process_time()
        yield
        self.began += time.process_time() - before


def train(
    model: nn.Module, arm: Arm, truth: Truth, sampler: Any, seconds: float, seed: int
) -> Trained:
    """Train a model in place for so many seconds of this process."""
    draws = Generator().manual_seed(seed)
    _rehearse(model, arm, sampler)
    optimiser = arm.optimiser(model.parameters())
    rates = [group["lr"] for group in optimiser.param_groups]
    teacher = _teacher(model, arm.teacher)
    done, marks, clock = Trained(), list(MARKS), Clock()
    while (progress := clock() / seconds) < 1:
        if marks and progress >= marks[0]:
            with clock.paused():
                done.look(model, truth, progress * seconds)
                if marks.pop(0) == HALF:
                    noise = gradient_noise(model, arm, truth, sampler, teacher, HALF, seed)
                    done.noise = noise
        factor = min(1.0, (done.steps + 1) / (WARM_UP + 1)) * FALL(progress, 1)
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        value = objective(model, arm, sampler(arm.batch, draws), progress, teacher)
        if not math.isfinite(value.item()):
            done.finite = False
            break
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        optimiser.step()
        if teacher is not None:
            teacher.update_parameters(model)
        done.steps += 1
    done.seconds = clock()
    return done


def objective(
    model: nn.Module, arm: Arm, batch: dict[str, Tensor], progress: float, teacher: Any
) -> Tensor:
    """Loss of an arm at a batch, at this share of the time."""
    loss: Any = arm.loss
    loss = loss.at(progress) if hasattr(loss, "at") else loss
    given = {} if teacher is None else {"teacher": teacher.module}
    return loss(model, **batch, **given).loss


def gradient_noise(
    model: nn.Module, arm: Arm, truth: Truth, sampler: Any, teacher: Any, progress: float, seed: int
) -> dict[str, float]:
    """Noise of the gradient over its mean, and the angle of the mean with that of supervision.

    Both from some batches; squares of means are corrected for the noise that they still hold.
    """
    draws = Generator().manual_seed(seed + 10_000)

    def of_arm() -> Tensor:
        return objective(model, arm, sampler(arm.batch, draws), progress, teacher)

    def of_exact() -> Tensor:
        return supervised_loss(model, **truth.pool(arm.batch, draws)).loss

    mine, spread, size = _mean_gradient(model, of_arm)
    theirs, _, their_size = _mean_gradient(model, of_exact)
    return {
        "noise": spread / size if size else math.inf,
        "cosine": float(mine @ theirs) / (size * their_size) if size * their_size else math.nan,
    }


def _mean_gradient(model: nn.Module, value: Callable[[], Tensor]) -> tuple[Tensor, float, float]:
    """Mean of the gradient over batches, its rms deviation, and its size without the noise."""
    weights = [p for p in model.parameters() if p.requires_grad]
    rows = torch.stack([
        torch.cat([g.flatten() for g in torch.autograd.grad(value(), weights)])
        for _ in range(NOISE_BATCHES)
    ])  # fmt: skip
    mean = rows.mean(dim=0)
    variance = float((rows - mean).square().sum()) / (NOISE_BATCHES - 1)
    size = max(0.0, float(mean.square().sum()) - variance / NOISE_BATCHES) ** 0.5
    return mean, variance**0.5, size


def _teacher(model: nn.Module, decay: float | None) -> Any:
    if decay is None:
        return None
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
    return average.requires_grad_(False)


def _rehearse(model: nn.Module, arm: Arm, sampler: Any) -> None:
    """Take two steps with a copy: the first ones of a process take longer."""
    model, draws = copy.deepcopy(model), Generator().manual_seed(0)
    optimiser, teacher = arm.optimiser(model.parameters()), _teacher(model, arm.teacher)
    for _ in range(2):
        optimiser.zero_grad(set_to_none=True)
        objective(model, arm, sampler(arm.batch, draws), 0.0, teacher).backward()
        optimiser.step()
