"""A training loop that can be killed: stepwise schedule, log, atomic checkpoints, exact resumption.

A run is determined by its settings and the state of its generator. A run resumed from its
checkpoint continues to the same bits, on the same machine and versions, as one never stopped;
layers that draw from torch's global generator, such as dropout, are outside of that promise.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Generator, nn
from tqdm import tqdm

from meanfluid.learning.interrupts import delayed_interrupt
from meanfluid.learning.ranks import Ranks
from meanfluid.learning.records import Book, Report
from meanfluid.learning.run import Run
from meanfluid.learning.steps import (
    Loss,
    Manner,
    Precision,
    Sampler,
    Schedule,
    Stepper,
    check_teacher,
    exact_outputs,
)


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
    averages : tuple of nn.Module
        Models with exponentially averaged weights, one for each decay asked for.
    """

    step: int
    seconds: float
    loss: float
    residual: float
    averages: tuple[nn.Module, ...]


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
    ema: float | Sequence[float] | None = None,
    teacher: float | None = None,
    clip: float | None = None,
    accumulate: int = 1,
    precision: Precision = "float32",
    compile: bool = False,
    log: str | Path | None = None,
    report: Report | None = None,
    checkpoint: str | Path | None = None,
    every: int = 100,
    checkpoint_every: int = 1000,
    progress: bool = True,
    resume: bool = True,
) -> Training:
    """Minimise a loss over batches from a sampler, changing the model in place.

    A model inside `DistributedDataParallel` is trained by all processes of its group together,
    each of which calls `fit` alike and draws a batch of its own; see Notes.

    Parameters
    ----------
    model : nn.Module
    loss : callable
        ``loss(model, **batch)`` returning a `LossValue`; options by `functools.partial`. The
        parameters of one that is an ``nn.Module`` are trained, too. One with a method
        ``at(progress)``, progress in [0, 1) the share of the run that is done, is a schedule: the
        method returns the loss of a step.
    sampler : callable
        ``sampler(batch, generator)`` returning a dict of tensors, such as `Anchors` or a `Pool`;
        or a schedule, likewise.
    steps, batch : int
        Steps in all, and rows per step and process. For a budget in seconds see `steps_within`.
    generator : torch.Generator
        The only source of randomness, on the device of the model; part of the checkpoint.
    optimiser : torch.optim.Optimizer, optional
        `SOAP` with its defaults if omitted, with the parameters of model and loss.
    schedule : callable, optional
        ``schedule(step, steps)``, factor of the learning rate; `Cosine` if omitted.
    ema : float or sequence of float, optional
        Decays of exponential averages of the model's weights, returned as ``averages``. They
        begin with the weights after the first step, which are soon forgotten: after n steps an
        average keeps no more than (1 + n) / (10 + n) of itself.
    teacher : float, optional
        Decay of such an average that every step hands to the loss, as ``teacher=``; it carries no
        gradient. At the first step it is the model as given.
    clip : float, optional
        Largest norm of the gradient, over all that is trained.
    accumulate : int
        Take a batch in so many equal parts, one after another, to use less memory: the mean of
        their losses is minimised. That is the loss of the batch if it is a plain mean over rows.
        Weights and scales that the loss takes from the batch, as those of this package do, are
        then taken from each part, so that results differ slightly.
    precision : "float32" or "bfloat16"
        With "bfloat16" the pass with gradients runs in it, by `torch.autocast`; weights,
        derivatives along the flow, what the model returns and the loss stay in float32. A pass
        whose derivative carries gradients, too, is in float32 as a whole. With "float32" all is
        in the precision of the weights.
    compile : bool
        Compile the loss, and the model inside of it, by `torch.compile`. It takes up to minutes
        before the first step, and again when what is scheduled changes. Results differ by
        rounding; a checkpoint serves both ways. `MLP` gains next to nothing.
    log : path, optional
        CSV with one row per `every` steps: means over them of the loss and of the raw residual.
    report : callable, optional
        ``report(step, values)``, called for each row of the log with a dict of its numbers by the
        names of the log's columns. A resumed run reports again what came after its checkpoint.
        For TensorBoard: ``writer.add_scalar(name, value, step)`` for each of them.
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
        If a setting makes no sense or differs between processes, the optimiser lacks parameters
        of the loss, or a checkpoint is wanted and something is out of its reach.
    TrainingError
        If the loss or its gradient stops being finite; the last good checkpoint is kept. On a
        CPU this is before the step is taken. On a GPU, which would have to be waited for, it is
        at the next row of the log or checkpoint: by then the weights are spoilt.
    CheckpointError
        If the checkpoint is damaged, or belongs to another run; see `fingerprints`.

    Notes
    -----
    With several processes a step is that of one process with all their batches joined, for a
    plain mean over rows; as with `accumulate`, weights and scales are those of each batch. What a
    process draws for a step depends on the seed, the step and its rank alone. The first process
    writes log and checkpoint and shows the bar; loss and residual are means over the processes. A
    checkpoint belongs to a number of processes. Ctrl-C in one of them stops all after the same
    step.
    """
    decays = _decays(ema)
    _check(model, steps, batch, every, checkpoint_every, decays)
    if teacher is not None:
        check_teacher(teacher, loss)
    manner = Manner(clip, accumulate, precision, compile)
    manner.check(model, batch)
    ranks = Ranks(model)
    ranks.agree(
        {
            "steps": steps, "batch": batch, "accumulate": accumulate, "every": every,
            "checkpoint_every": checkpoint_every, "checkpoint": checkpoint is not None,
        }
    )  # fmt: skip
    stepper = Stepper(model, loss, optimiser, manner, ranks)
    run = Run(stepper, schedule, steps, decays, teacher, generator)
    book = Book(log, every, checkpoint, checkpoint_every, report)
    book.open(run, resume, lambda: run.fingerprint(sampler, batch))
    _train(run, sampler, batch, book, progress)
    averages = tuple(average.module for average in run.averages)
    return Training(run.step, run.seconds, run.last[0], run.last[1], averages)


def _train(run: Run, sampler: Sampler, batch: int, book: Book, progress: bool) -> None:
    """Take the steps that are left, and write them down."""
    hidden = None if progress and run.ranks.first else True
    bar = tqdm(total=run.steps, initial=run.step, unit="step", disable=hidden)
    teacher = None if run.teacher is None else run.teacher.module
    with bar, exact_outputs(run.stepper.manner, run.model, teacher), delayed_interrupt() as noted:
        began = time.perf_counter() - run.seconds
        while run.step < run.steps:
            run.take_step(sampler, batch, began)
            bar.update()
            last = run.step == run.steps
            if last or run.step % book.every == 0:
                row = run.close_row()
                bar.set_postfix(residual=f"{row[-1]:.3g}")
                book.write(run, row)
            stop = run.ranks.any(bool(noted))
            if stop or last or run.step % book.checkpoint_every == 0:
                book.save(run)
            if stop or last:
                run.ranks.any(False)  # none goes on before the checkpoint is there
            if stop:
                raise KeyboardInterrupt


def _decays(ema: float | Sequence[float] | None) -> tuple[float, ...]:
    if ema is None:
        return ()
    return (ema,) if isinstance(ema, int | float) else tuple(ema)


def _check(
    model: nn.Module,
    steps: int,
    batch: int,
    every: int,
    checkpoint_every: int,
    decays: tuple[float, ...],
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
    for decay in decays:
        if not 0 < decay < 1:
            raise ValueError(f"ema must be a decay between 0 and 1, or several, got {decay}")
