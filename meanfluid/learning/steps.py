"""One step of training, the learning rate over the steps, and how many steps fit into a time."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from meanfluid.errors import TrainingError
from meanfluid.learning.losses import LossValue
from meanfluid.learning.sampling import Batch
from meanfluid.learning.soap import SOAP

Sampler = Callable[[int, Generator], Batch]
Loss = Callable[..., LossValue]
Schedule = Callable[[int, int], float]


@dataclass(frozen=True)
class Cosine:
    """Learning-rate factor: a linear rise over `warmup` steps, then half a cosine to `floor`.

    The half cosine, from 1 to 0, is raised to `power`.
    """

    warmup: int = 100
    floor: float = 0.0
    power: float = 1.5

    def __call__(self, step: int, steps: int) -> float:
        """Factor for a step of so many."""
        rise = min(1.0, (step + 1) / (self.warmup + 1))
        fall: float = max(0.0, (1 + math.cos(math.pi * step / steps)) / 2) ** self.power
        return rise * (self.floor + (1 - self.floor) * fall)


def steps_within(
    seconds: float,
    model: nn.Module,
    loss: Loss,
    sampler: Sampler,
    *,
    generator: Generator,
    batch: int = 512,
    optimiser: torch.optim.Optimizer | None = None,
    clip: float | None = None,
    trial: int = 40,
) -> int:
    """Return how many steps fit into so many seconds, timed on copies.

    The answer depends on the machine and its load; the run made with it does not. Model,
    optimiser and generator are left as they were.

    Parameters
    ----------
    trial : int
        Steps to time, after half as many to warm up.
    """
    if not seconds > 0:
        raise ValueError(f"seconds must be positive, got {seconds}")
    model, optimiser = copy.deepcopy((model, optimiser))  # together: one set of parameters
    if optimiser is None:
        optimiser = SOAP([p for p in model.parameters() if p.requires_grad])
    rehearsal = Generator(generator.device)
    rehearsal.set_state(generator.get_state())

    def run(count: int) -> float:
        began = time.perf_counter()
        values = torch.zeros(())
        for step in range(1, count + 1):
            values = advance(model, loss, sampler(batch, rehearsal), optimiser, clip, step=step)
        float(values.sum())  # waits for the device
        return (time.perf_counter() - began) / count

    run(max(1, trial // 2))
    return max(1, int(seconds / run(max(1, trial))))


def advance(
    model: nn.Module,
    loss: Loss,
    batch: Batch,
    optimiser: torch.optim.Optimizer,
    clip: float | None = None,
    *,
    step: int,
) -> Tensor:
    """Take one optimiser step; return loss, residual and gradient norm as a tensor (3,)."""
    _require_same_device(model, batch)
    optimiser.zero_grad(set_to_none=True)
    value = loss(model, **batch)
    if not isinstance(value, LossValue):
        raise ValueError(f"loss must return a LossValue, got {type(value).__name__}")
    value.loss.backward()  # type: ignore[no-untyped-call]
    parameters = [p for p in model.parameters() if p.grad is not None]
    limit = math.inf if clip is None else clip
    norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
    values = torch.stack([value.loss.detach(), value.residual.detach(), norm.detach()])
    if values.is_cpu:  # on a GPU, asking would wait for it every step
        require_finite(values, f"at step {step}")
    optimiser.step()
    return values


def require_finite(values: Tensor, when: str) -> None:
    """Refuse a loss, residual or gradient norm that is not finite."""
    if not bool(values.isfinite().all()):
        loss, residual, norm = values.tolist()
        raise TrainingError(
            f"training is no longer finite {when}: loss {loss}, residual {residual}, gradient "
            f"norm {norm}; lower the learning rate, clip the gradient (clip=1.0), or check that "
            "the velocity is finite wherever positions and times are sampled"
        )


def _require_same_device(model: nn.Module, batch: Batch) -> None:
    place = next(model.parameters()).device.type
    strangers = {a.device.type for a in batch.values() if a.device.type != place}
    if strangers:
        raise ValueError(
            f"the model is on {place} and its batch on {strangers.pop()}: samplers draw on the "
            f"device of the generator, so pass generator=torch.Generator({place!r}), or move the "
            "model with model.to(...) before its optimiser is made"
        )
