"""What changes along a run: options of a loss as functions of the share of the run that is done.

A loss or a sampler may be an object with a method ``at(progress)``, progress in [0, 1), which
returns the plain loss or sampler of that step; `fit` calls it every step. Nothing is counted, so
that a resumed run continues to the same bits.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from torch import nn

Course = Callable[[float], float]  # a number as a function of progress
T = TypeVar("T")


@dataclass(frozen=True)
class Ramp:
    """A number that goes from `first` to `last` in a straight line, between two shares of the run.

    Parameters
    ----------
    first, last : float
    start, end : float
        Shares of the run between which it changes.
    """

    first: float
    last: float
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        _check_shares(self.start, self.end)

    def __call__(self, progress: float) -> float:
        """Return the number at a share of the run."""
        share = min(1.0, max(0.0, (progress - self.start) / (self.end - self.start)))
        return self.first + (self.last - self.first) * share


@dataclass(frozen=True)
class Sigmoid:
    """A number that goes from `first` to `last` along a sigmoid, between two shares of the run.

    With its defaults it is the schedule of alpha in `back_trace_loss` that alpha-Flow uses.

    Parameters
    ----------
    first, last : float
    steepness : float
        Of the sigmoid, per share of the run between `start` and `end`.
    clamp : float
        A part of the way smaller than this counts as none, at both ends.
    start, end : float
        Shares of the run between which it changes.

    References
    ----------
    Zhang et al. (2025), arXiv:2510.20771.
    """

    first: float = 1.0
    last: float = 0.0
    steepness: float = 25.0
    clamp: float = 0.005
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        _check_shares(self.start, self.end)
        if not self.steepness > 0 or not 0 <= self.clamp < 0.5:
            raise ValueError(
                "a sigmoid needs steepness > 0 and 0 <= clamp < 1/2, got "
                f"{self.steepness} and {self.clamp}"
            )

    def __call__(self, progress: float) -> float:
        """Return the number at a share of the run."""
        share = (progress - self.start) / (self.end - self.start)
        done = (1 + math.tanh(self.steepness / 2 * (share - 0.5))) / 2
        if done < self.clamp:
            return self.first
        if done > 1 - self.clamp:
            return self.last
        return self.first + (self.last - self.first) * done


class Scheduled(nn.Module):
    """A loss with options that follow the run, ``Scheduled(back_trace_loss, alpha=Ramp(1, 0))``.

    A module, so that the parameters of a loss that has some are trained.

    Parameters
    ----------
    loss : callable
        As for `fit`.
    **options : callable
        Numbers as functions of progress, such as `Ramp` and `Sigmoid`.
    """

    def __init__(self, loss: Callable[..., Any], **options: Course) -> None:
        super().__init__()
        for name, course in options.items():
            if not callable(course):
                raise ValueError(
                    f"{name} must be a function of progress, got {course!r}; constants go into "
                    "functools.partial"
                )
        self.loss, self.options = loss, options

    def at(self, progress: float) -> Callable[..., Any]:
        """Return the loss with the options of that share of the run."""
        options = {name: course(progress) for name, course in self.options.items()}
        return functools.partial(current(self.loss, progress), **options)

    def forward(self, *arguments: Any, **options: Any) -> NoReturn:
        """Refuse: what the options are is only known `at` some progress."""
        refuse(self)


def current(thing: T, progress: float) -> T:
    """Return what a schedule gives for the share of the run that is done, or the thing itself."""
    at: Callable[[float], T] | None = getattr(thing, "at", None)
    return thing if at is None else at(progress)


def refuse(schedule: object) -> NoReturn:
    """Raise that a schedule was called as if it were what it gives."""
    raise ValueError(
        f"{type(schedule).__name__} changes along a run and cannot be called itself; call what "
        ".at(progress) returns, with progress from 0 to 1, as fit does"
    )


def _check_shares(start: float, end: float) -> None:
    if not 0 <= start < end <= 1:
        raise ValueError(
            f"start and end must be shares of the run, 0 <= start < end <= 1, got {start} and {end}"
        )
