"""One step of training, the learning rate over the steps, and how many steps fit into a time."""

import contextlib
import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn

from meanfluid.errors import TrainingError
from meanfluid.learning.anchors import Batch
from meanfluid.learning.losses import LossValue
from meanfluid.learning.mixtures import ALWAYS, has_rows, module_of, takes
from meanfluid.learning.mixtures import Loss as Loss
from meanfluid.learning.ranks import Ranks, bare, parallel
from meanfluid.learning.schedules import current
from meanfluid.learning.soap import SOAP

Sampler = Callable[[int, Generator], Batch]
Schedule = Callable[[int, int], float]
Precision = Literal["float32", "bfloat16"]


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


@dataclass(frozen=True)
class Manner:
    """How a step is taken; see `fit` for the meaning of each."""

    clip: float | None = None
    accumulate: int = 1
    precision: Precision = "float32"
    compile: bool = False

    def check(self, model: nn.Module, batch: int) -> None:
        """Refuse what makes no sense, or does not go with a model or the size of a batch."""
        if not isinstance(self.accumulate, int) or self.accumulate < 1:
            raise ValueError(
                f"accumulate must be a whole number of at least 1, got {self.accumulate!r}"
            )
        if batch % self.accumulate:
            raise ValueError(
                f"a batch of {batch} rows does not divide into accumulate={self.accumulate} equal "
                "parts; choose a multiple"
            )
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip must be a positive norm, got {self.clip}")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f'precision must be "float32" or "bfloat16", got {self.precision!r}')
        kinds = {p.dtype for p in model.parameters() if p.is_floating_point()}
        if self.precision == "bfloat16" and kinds != {torch.float32}:
            raise ValueError(
                f'precision="bfloat16" needs weights in float32, got {sorted(map(str, kinds))}; '
                "leave it out, or convert the model with model.float()"
            )


class Stepper:
    """Takes steps with a model, a loss and an optimiser; all processes of a group take each.

    Raises
    ------
    ValueError
        If the optimiser given lacks parameters of the loss.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        optimiser: torch.optim.Optimizer | None,
        manner: Manner,
        ranks: Ranks,
    ) -> None:
        self.model, self.loss, self.manner, self.ranks = model, loss, manner, ranks
        self.extra = _trainable(module_of(loss))
        self.optimiser = SOAP([*_trainable(model), *self.extra]) if optimiser is None else optimiser
        self.held = [p for group in self.optimiser.param_groups for p in group["params"]]
        self.cleared = [*{id(p): p for p in (*model.parameters(), *self.held)}.values()]
        self._require_held(loss)
        _require_same_place(model, self.extra)
        self.evaluate = _compiled() if manner.compile else _evaluate

    def step(
        self, batch: Batch, *, progress: float, number: int, teacher: nn.Module | None = None
    ) -> Tensor:
        """Take a step; return loss, residual and gradient norm, means over processes, (3,).

        Parameters
        ----------
        progress : float
            Share of the run that is done, for a loss that is scheduled.
        number : int
            Of this step, for messages.
        """
        loss = current(self.loss, progress)
        if loss is not self.loss:
            self._require_held(loss)
        _require_same_device(self.model, batch)
        for p in self.cleared:
            p.grad = None
        found = self._gradient(loss, batch, {} if teacher is None else {"teacher": teacher})
        limit = math.inf if self.manner.clip is None else self.manner.clip
        norm = nn.utils.clip_grad_norm_([p for p in self.held if p.grad is not None], limit)
        values = self.ranks.mean(torch.stack([*found, norm.detach()]))
        if values.is_cpu:  # on a GPU, asking would wait for it every step
            require_finite(values, f"at step {number}")
        self.optimiser.step()
        return values

    def _gradient(self, loss: Loss, batch: Batch, given: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Put the gradient of the mean loss into the parameters; return loss and residual."""
        count = self.manner.accumulate
        losses, residuals = [], []
        for k, part in enumerate(_parts(batch, count)):
            with self._unsynchronised(k < count - 1):
                with self._autocast(part):
                    value = self.evaluate(loss, self.model, part | given)
                if not isinstance(value, LossValue):
                    raise ValueError(f"loss must return a LossValue, got {type(value).__name__}")
                (value.loss / count).backward()  # type: ignore[no-untyped-call]
            losses.append(value.loss.detach())
            residuals.append(value.residual.detach())
        for p in self.extra:  # the model's are averaged by DistributedDataParallel
            if p.grad is not None:
                p.grad.copy_(self.ranks.mean(p.grad))
        if count == 1:
            return losses[0], residuals[0]
        return torch.stack(losses).mean(), torch.stack(residuals).square().mean().sqrt()

    def _unsynchronised(self, wanted: bool) -> contextlib.AbstractContextManager[None]:
        """Keep the processes from averaging gradients that are not complete yet."""
        wrapper = parallel(self.model)
        if wrapper is None or not wanted:
            return contextlib.nullcontext()
        return wrapper.no_sync()

    def _autocast(self, batch: Batch) -> contextlib.AbstractContextManager[Any]:
        if self.manner.precision == "float32":
            return contextlib.nullcontext()
        # Without the cache: it would hand weights cast without gradients to a pass that needs them.
        device = next(iter(batch.values())).device.type
        return torch.autocast(device, torch.bfloat16, cache_enabled=False)

    def _require_held(self, loss: Loss) -> None:
        """Refuse parameters of a loss that would silently stay as they are."""
        module = module_of(loss)
        if module is None:
            return
        held = {id(p) for p in self.held}
        missing = [n for n, p in module.named_parameters() if p.requires_grad and id(p) not in held]
        if missing:
            raise ValueError(
                f"the loss has parameters that the optimiser does not hold: {', '.join(missing)}; "
                "make it with [*model.parameters(), *loss.parameters()], register them in the loss "
                "given to fit, or freeze them with loss.requires_grad_(False)"
            )


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
    accumulate: int = 1,
    precision: Precision = "float32",
    compile: bool = False,
    teacher: float | None = None,
    trial: int = 40,
) -> int:
    """Return how many steps fit into so many seconds, timed on copies.

    The answer depends on the machine and its load; the run made with it does not. Model, loss,
    optimiser and generator are left as they were. Scheduled losses and samplers run through their
    schedule. With a distributed model the answer is that of the first process, without the
    exchange of gradients.

    Parameters
    ----------
    trial : int
        Steps to time, after half as many to warm up.
    """
    if not seconds > 0:
        raise ValueError(f"seconds must be positive, got {seconds}")
    manner = Manner(clip, accumulate, precision, compile)
    manner.check(model, batch)
    if teacher is not None:
        check_teacher(teacher, loss)
    ranks = Ranks(model)
    learnt = None if module_of(loss) is None else loss
    model, optimiser, learnt = copy.deepcopy((bare(model), optimiser, learnt))  # one set of weights
    stepper = Stepper(model, loss if learnt is None else learnt, optimiser, manner, Ranks())
    copied = None if teacher is None else copy.deepcopy(model).requires_grad_(False)
    rehearsal = Generator(generator.device)
    rehearsal.set_state(generator.get_state())

    def run(count: int) -> float:
        began = time.perf_counter()
        values = torch.zeros(())
        for k in range(count):
            drawn = current(sampler, k / count)(batch, rehearsal)
            values = stepper.step(drawn, progress=k / count, number=k + 1, teacher=copied)
        float(values.sum())  # waits for the device
        return (time.perf_counter() - began) / count

    def count() -> int:
        with exact_outputs(manner, model, copied):
            run(max(1, trial // 2))
            return max(1, int(seconds / run(max(1, trial))))

    return ranks.from_first(count)


def check_teacher(decay: float, loss: Loss) -> None:
    """Refuse a teacher that no loss asks for, or a decay that is none."""
    if not 0 < decay < 1:
        raise ValueError(f"teacher must be a decay between 0 and 1, got {decay}")
    names, anything = takes(current(loss, 0.0))
    if "teacher" not in names and not anything:
        raise ValueError(
            f"teacher={decay} is for a loss that takes teacher=, such as semigroup_loss or "
            f"bootstrap_loss; {loss!r} takes {', '.join(sorted(names - ALWAYS)) or 'no options'}"
        )


@contextlib.contextmanager
def exact_outputs(manner: Manner, *models: nn.Module | None) -> Iterator[None]:
    """Let models return float32 whatever the precision inside, so that losses are summed in it."""
    handles = [
        bare(model).register_forward_hook(_to_float32)
        for model in models
        if model is not None and manner.precision != "float32"
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def require_finite(values: Tensor, when: str) -> None:
    """Refuse a loss, residual or gradient norm that is not finite."""
    if not bool(values.isfinite().all()):
        loss, residual, norm = values.tolist()
        raise TrainingError(
            f"training is no longer finite {when}: loss {loss}, residual {residual}, gradient "
            f"norm {norm}; lower the learning rate, clip the gradient (clip=1.0), or check that "
            "the velocity is finite wherever positions and times are sampled"
        )


def _evaluate(loss: Loss, model: nn.Module, options: dict[str, Any]) -> LossValue:
    return loss(model, **options)


def _compiled() -> Any:
    """Compile `_evaluate` for the shapes met: code for any size of batch takes long to make.

    Where buffers are used again, torch 2.13 fails for gradients through a forward-mode derivative.
    """
    return torch.compile(_evaluate, dynamic=False, options={"allow_buffer_reuse": False})


def _parts(batch: Batch, count: int) -> Sequence[Batch]:
    """Divide the rows of a batch into consecutive parts; what has no rows goes to each."""
    if count == 1:
        return [batch]
    rows = next((len(values) for values in batch.values() if values.ndim), 0)
    divided = {
        name: values.tensor_split(count) if has_rows(values, rows) else [values] * count
        for name, values in batch.items()
    }
    return [{name: chunks[k] for name, chunks in divided.items()} for k in range(count)]


def _trainable(module: nn.Module | None) -> list[Tensor]:
    return [] if module is None else [p for p in module.parameters() if p.requires_grad]


def _to_float32(module: nn.Module, inputs: Any, output: Any) -> Any:
    return output.float() if isinstance(output, Tensor) else output


def _require_same_place(model: nn.Module, parameters: Sequence[Tensor]) -> None:
    place = next(model.parameters()).device.type
    strangers = {p.device.type for p in parameters if p.device.type != place}
    if strangers:
        raise ValueError(
            f"the model is on {place} and parameters of the loss on {strangers.pop()}; move them "
            f"with loss.to({place!r}) before the optimiser is made"
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
