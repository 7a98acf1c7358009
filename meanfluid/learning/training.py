"""A training loop that can be killed: stepwise schedule, log, atomic checkpoints, exact resumption.

A run is determined by its settings and the state of its generator. A run resumed from its
checkpoint continues to the same bits, on the same machine and versions, as one never stopped;
layers that draw from torch's global generator, such as dropout, are outside of that promise.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from meanfluid.learning.checkpoints import load_checkpoint, refusing, save_checkpoint
from meanfluid.learning.fingerprints import fingerprint
from meanfluid.learning.run_log import append_row, start_log
from meanfluid.learning.soap import SOAP
from meanfluid.learning.steps import Cosine, Loss, Sampler, Schedule, advance, require_finite


class Training(NamedTuple):
    """How a run ended.

    Attributes
    ----------
    step : int
        Steps taken, those before a resumption included.
    seconds : float
        Time in the loop, likewise.
    loss, residual : float
        Means since the last row but one of the log.
    average : nn.Module or None
        The model with exponentially averaged weights, if asked for.
    """

    step: int
    seconds: float
    loss: float
    residual: float
    average: nn.Module | None


def fit(
    model: nn.Module,
    loss: Loss,
    sampler: Sampler,
    *,
    steps: int,
    generator: Generator,
    batch: int = 512,
    optimiser: torch.optim.Optimizer | None = None,
    schedule: Schedule | None = None,
    ema: float | None = None,
    clip: float | None = None,
    log: str | Path | None = None,
    checkpoint: str | Path | None = None,
    every: int = 100,
    checkpoint_every: int = 1000,
    progress: bool = True,
    resume: bool = True,
) -> Training:
    """Minimise a loss over batches from a sampler, changing the model in place.

    Parameters
    ----------
    model : nn.Module
    loss : callable
        ``loss(model, **batch)`` returning a `LossValue`; options by `functools.partial`.
    sampler : callable
        ``sampler(batch, generator)`` returning a dict of tensors, such as `Anchors` or a `Pool`.
    steps, batch : int
        Steps in all, and rows per step. For a budget in seconds see `steps_within`.
    generator : torch.Generator
        The only source of randomness, on the device of the model; part of the checkpoint.
    optimiser : torch.optim.Optimizer, optional
        `SOAP` with its defaults if omitted.
    schedule : callable, optional
        ``schedule(step, steps)``, factor of the learning rate; `Cosine` if omitted.
    ema : float, optional
        Decay of an exponential average of the weights, returned as ``average``.
    clip : float, optional
        Largest norm of the gradient.
    log : path, optional
        CSV with one row per `every` steps: means over them of the loss and of the raw residual.
    checkpoint : path, optional
        Written every `checkpoint_every` steps, at the end, and on Ctrl-C.
    progress : bool
        Show a bar on standard error, if that is a terminal.
    resume : bool
        Continue from the checkpoint if there is one; otherwise start anew and replace it.

    Returns
    -------
    Training

    Raises
    ------
    ValueError
        If a setting makes no sense, or a checkpoint is wanted and one is out of its reach.
    TrainingError
        If the loss or its gradient stops being finite; the last good checkpoint is kept. On a
        CPU this is before the step is taken. On a GPU, which would have to be waited for, it is
        at the next row of the log or checkpoint: by then the weights are spoilt.
    CheckpointError
        If the checkpoint is damaged, or belongs to another run; see `fingerprints`.
    """
    _check(model, steps, batch, every, checkpoint_every, ema)
    run = _Run(model, optimiser, schedule, steps, ema, generator)
    book = _Book(log, every, checkpoint, checkpoint_every)
    if checkpoint is not None:
        book.fingerprint = run.fingerprint(loss=loss, sampler=sampler, batch=batch, clip=clip)
    book.open(run, resume)

    def step() -> Tensor:
        drawn = sampler(batch, generator)
        return advance(model, loss, drawn, run.optimiser, clip, step=run.step + 1)

    _train(run, step, book, steps, progress)
    average = None if run.average is None else run.average.module
    return Training(run.step, run.seconds, run.last[0], run.last[1], average)


class _Run:
    """Everything that a run changes, and that a checkpoint must hold."""

    def __init__(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer | None,
        schedule: Schedule | None,
        steps: int,
        ema: float | None,
        generator: Generator,
    ) -> None:
        if optimiser is None:
            optimiser = SOAP([p for p in model.parameters() if p.requires_grad])
        factor = Cosine() if schedule is None else schedule
        self.model, self.optimiser, self.generator = model, optimiser, generator
        self.settings = {"steps": steps, "schedule": factor, "ema": ema}
        self.scheduler = LambdaLR(optimiser, lambda step: factor(step, steps))
        self.average = (
            None if ema is None else AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(ema))  # type: ignore[no-untyped-call]
        )
        self.step, self.seconds, self.rate = 0, 0.0, 0.0
        self.sums = torch.zeros(3, dtype=torch.float64)
        self.count = 0
        self.last = [math.nan, math.nan]

    def record(self, values: Tensor, began: float) -> None:
        """Count a step just taken."""
        self.rate = float(self.optimiser.param_groups[0]["lr"])
        self.scheduler.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.sums = self.sums.to(values.device) + values
        self.count += 1
        self.step += 1
        self.seconds = time.perf_counter() - began

    def close_row(self) -> tuple[int, float, float, float, float]:
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
            "optimiser": self.optimiser.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "generator": self.generator.get_state(),
            "sums": self.sums,
            **{name: getattr(self, name) for name in ("step", "seconds", "rate", "count", "last")},
        }

    def load(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scheduler.load_state_dict(state["scheduler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.generator.set_state(state["generator"])
        for name in ("sums", "step", "seconds", "rate", "count", "last"):
            setattr(self, name, state[name])

    def fingerprint(self, **settings: Any) -> dict[str, str]:
        """Describe what a run that continues this one must share."""
        groups = [
            {name: value for name, value in group.items() if name not in ("params", "lr")}
            for group in self.optimiser.param_groups
        ]
        return fingerprint(
            settings
            | self.settings
            | {
                "model": self.model,
                "optimiser": (type(self.optimiser), groups),
                "seed": self.generator.initial_seed(),
                "device": str(self.generator.device),
            }
        )


@dataclass
class _Book:
    """Where a run is written down, and every how many steps."""

    log: str | Path | None
    every: int
    checkpoint: str | Path | None
    checkpoint_every: int
    fingerprint: dict[str, str] = field(default_factory=dict)

    def open(self, run: _Run, resume: bool) -> None:
        """Continue from the checkpoint, if there is one and it is wanted, and begin the log."""
        if self.checkpoint is not None and resume and Path(self.checkpoint).exists():
            state = load_checkpoint(self.checkpoint, self.fingerprint)
            with refusing(self.checkpoint, "does not hold what this run needs"):
                run.load(state)
        if self.log is not None:
            start_log(self.log, run.step)

    def save(self, run: _Run) -> None:
        """Write the checkpoint, if one is wanted."""
        if self.checkpoint is not None:
            run.require_finite()
            save_checkpoint(self.checkpoint, run.state(), self.fingerprint)


def _train(run: _Run, step: Callable[[], Tensor], book: _Book, steps: int, progress: bool) -> None:
    """Take the steps that are left, and write them down."""
    bar = tqdm(total=steps, initial=run.step, unit="step", disable=None if progress else True)
    with bar, _delayed_interrupt() as interrupted:
        began = time.perf_counter() - run.seconds
        while run.step < steps:
            run.record(step(), began)
            bar.update()
            if run.step % book.every == 0 or run.step == steps:
                row = run.close_row()
                bar.set_postfix(residual=f"{row[-1]:.3g}")
                if book.log is not None:
                    append_row(book.log, row)
            stop = bool(interrupted)
            if stop or run.step % book.checkpoint_every == 0 or run.step == steps:
                book.save(run)
            if stop:
                raise KeyboardInterrupt


@contextmanager
def _delayed_interrupt() -> Iterator[list[bool]]:
    """Note Ctrl-C in the list given, so that a step is finished first; a second one is obeyed."""
    noted: list[bool] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    previous = signal.getsignal(signal.SIGINT)
    if previous in (signal.SIG_IGN, None):  # as under nohup: Ctrl-C is not meant for this process
        yield noted
        return

    def note(number: int, frame: Any) -> None:
        noted.append(True)
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, previous)


def _check(
    model: nn.Module, steps: int, batch: int, every: int, checkpoint_every: int, ema: float | None
) -> None:
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError("the model has no parameters to train")
    for name, value in {
        "steps": steps,
        "batch": batch,
        "every": every,
        "checkpoint_every": checkpoint_every,
    }.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    if ema is not None and not 0 < ema < 1:
        raise ValueError(f"ema must be a decay between 0 and 1, got {ema}")
