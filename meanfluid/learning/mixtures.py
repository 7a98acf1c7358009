"""Several losses at once, and weights that are learned."""

import copy
import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from meanfluid.learning.average_velocity import Model, Times, spread
from meanfluid.learning.losses import LossValue
from meanfluid.learning.schedules import Course, current, refuse

Loss = Callable[..., LossValue]
ALWAYS = frozenset(("model", "x", "t", "s"))
SHORTEST_SQUARE = 1e-6  # of the interval: shorter windows have the learned weight of this one


@dataclass(frozen=True)
class Part:
    """A loss in a `Mixture`.

    Parameters
    ----------
    loss : callable
        ``loss(model, x, t=, s=, ...)``, or a schedule of such.
    weight : float or callable
        Or a function of progress, such as `Ramp`. With weight 0 the loss is not evaluated.
    rows : (float, float)
        Shares of the batch between which it has its rows. Batches of `Anchors`, `Pool` and
        `NoisePath` have the same distribution in every part.
    """

    loss: Loss
    weight: float | Course = 1.0
    rows: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        first, last = self.rows
        if not 0 <= first < last <= 1:
            raise ValueError(f"rows must be shares, 0 <= first < last <= 1, got {self.rows}")
        if not callable(self.weight):
            _check_weight(self.weight)

    def at(self, progress: float) -> "Part":
        """Return the part of that share of the run."""
        weight = self.weight(progress) if callable(self.weight) else self.weight
        _check_weight(weight)
        return replace(self, loss=current(self.loss, progress), weight=weight)


class Mixture(nn.Module):
    """Weighted sum of losses, each of which has a name.

    What a batch holds beside x, t and s is handed to the losses that name it; what none names goes
    to those that take any keyword. The residual is the root mean square of those of the parts,
    which are in `LossValue.parts`. A module, so that the parameters of losses are trained.

    Parameters
    ----------
    **parts : Part or callable
        Losses by name; a plain loss has weight 1 and all rows.

    Examples
    --------
    >>> from meanfluid.learning import material_loss, semigroup_loss
    >>> mixture = Mixture(
    ...     material=material_loss, semigroup=Part(semigroup_loss, weight=0.3, rows=(0.0, 0.25))
    ... )
    """

    def __init__(self, **parts: Part | Loss) -> None:
        super().__init__()
        if not parts:
            raise ValueError("a mixture needs at least one loss, name=loss")
        self.parts = {
            name: part if isinstance(part, Part) else Part(part) for name, part in parts.items()
        }
        self._modules_of_parts = nn.ModuleList(
            module for part in self.parts.values() if (module := module_of(part.loss)) is not None
        )
        self._scheduled = any(
            callable(p.weight) or hasattr(p.loss, "at") for p in self.parts.values()
        )

    def at(self, progress: float) -> "Mixture":
        """Return the mixture of that share of the run."""
        if not self._scheduled:
            return self
        settled = copy.copy(self)  # with the same registered modules
        settled.parts = {name: part.at(progress) for name, part in self.parts.items()}
        settled._scheduled = False
        return settled

    def forward(self, model: Model, x: Tensor, *, t: Times, s: Times, **given: Any) -> LossValue:
        """Return the sum, and the residual of each part."""
        if self._scheduled:
            refuse(self)
        t, s = spread(t, x), spread(s, x)
        active = {name: part for name, part in self.parts.items() if part.weight}
        if not active:
            raise ValueError("all weights of the mixture are 0 at this step; there is no loss")
        loss, residuals = x.new_zeros(()), {}
        for name, options in self._options(active, given).items():
            part = active[name]
            rows = _rows(name, part, len(x))
            cut = {
                key: value[rows] if has_rows(value, len(x)) else value
                for key, value in options.items()
            }
            value = part.loss(model, x[rows], t=t[rows], s=s[rows], **cut)
            loss = loss + part.weight * value.loss  # type: ignore[operator]
            residuals[name] = value.residual
        residual = torch.stack(list(residuals.values())).square().mean().sqrt()
        return LossValue(loss, residual, parts=residuals)

    def _options(self, active: dict[str, Part], given: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Hand what is given to the parts that name it."""
        named = {name: takes(part.loss) for name, part in self.parts.items()}
        known = frozenset().union(*(names for names, _ in named.values()))
        open_ended = any(anything for _, anything in named.values())
        strange = [key for key in given if key not in known]
        if strange and not open_ended:
            raise ValueError(
                f"no loss of the mixture takes {', '.join(strange)}; they take "
                f"{', '.join(sorted(known - ALWAYS))}"
            )
        return {
            name: {
                key: value
                for key, value in given.items()
                if key in named[name][0] or (named[name][1] and key in strange)
            }
            for name in active
        }


class LearnedWeights(nn.Module):
    r"""A loss, the rows of which are weighted by what is learned to be their usual size.

    The loss is the mean of :math:`e^{-w} (L + \text{offset}) + w`, L the squared residual of a row
    and w(t, s) a function with parameters: it is least at :math:`w = \log E[L | t, s]`, so that in
    the end windows of every length and at every time weigh alike. Weights of the loss inside are
    replaced by these. w is linear in its parameters, so that this part of the minimisation is
    convex; it starts at zero.

    Parameters
    ----------
    loss : callable
        Any that returns rows; schedules too.
    start, end : float, time
        Interval of all t and s.
    degree : int
        Of the cosines of t and s - t in w, beside the logarithm of the window.
    offset : float
        Squared residual below which rows are not weighted any more.

    References
    ----------
    Karras et al. (2024), arXiv:2312.02696, for weights by uncertainty; Boffi, Albergo and
    Vanden-Eijnden (2025), arXiv:2505.18825, for those of two times.
    """

    def __init__(
        self,
        loss: Loss,
        *,
        start: float = 0.0,
        end: float = 1.0,
        degree: int = 4,
        offset: float = 1e-6,
    ) -> None:
        super().__init__()
        if not start < end:
            raise ValueError(f"times must have start < end, got {start} and {end}")
        if degree < 0 or not offset > 0:
            raise ValueError(
                f"degree must not be negative, and offset positive, got {degree} and {offset}"
            )
        self.loss, self.start, self.end, self.offset = loss, start, end, offset
        self.waves = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
        self.coefficients = nn.Parameter(torch.zeros(len(self.waves) + 1))

    def at(self, progress: float) -> Callable[..., LossValue]:
        """Return the loss of that share of the run, with the same parameters."""
        settled = current(self.loss, progress)
        return self if settled is self.loss else functools.partial(self, _settled=settled)

    def log_weight(self, t: Tensor, s: Tensor) -> Tensor:
        """Return w (n,), at times (n,): minus the logarithm of the weight."""
        length = self.end - self.start
        place, window = (t - self.start) / length, (s - t) / length
        terms = [
            torch.cos(math.pi * i * place) * torch.cos(math.pi * j * (window + 1) / 2)
            for i, j in self.waves
        ]
        terms.append(torch.log(window.square() + SHORTEST_SQUARE))
        # Not by a product of matrices, which autocast would take in bfloat16.
        return (torch.stack(terms, dim=1) * self.coefficients.to(t.dtype)).sum(dim=1)

    def forward(
        self,
        model: Model,
        x: Tensor,
        *,
        t: Times,
        s: Times,
        _settled: Loss | None = None,
        **given: Any,
    ) -> LossValue:
        """Return the weighted loss and the raw residual."""
        if _settled is None and hasattr(self.loss, "at"):
            _settled = current(self.loss, 0.0)
            if _settled is not self.loss:
                refuse(self)
        value = (_settled or self.loss)(model, x, t=t, s=s, **given)
        if value.rows is None or len(value.rows) != len(x):
            raise ValueError(
                f"the loss gives no residual of each row, which learned weights need; put "
                f"LearnedWeights around each part of a mixture, or let {self.loss!r} return rows"
            )
        w = self.log_weight(spread(t, value.rows), spread(s, value.rows))
        loss = (torch.exp(-w) * (value.rows + self.offset) + w).mean()
        return value._replace(loss=loss)


def takes(loss: Any) -> tuple[frozenset[str], bool]:
    """Names of the options that a loss takes, and whether it takes any others."""
    if isinstance(loss, functools.partial):
        return takes(loss.func)
    if isinstance(loss, Mixture):
        inside = [takes(part.loss) for part in loss.parts.values()]
        return frozenset().union(*(names for names, _ in inside)), any(a for _, a in inside)
    function = loss.forward if isinstance(loss, nn.Module) else loss
    parameters = inspect.signature(function).parameters.values()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = frozenset(p.name for p in parameters if p.kind in named and p.name[0] != "_")
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters)
    inner = getattr(loss, "loss", None)
    if anything and isinstance(loss, nn.Module) and callable(inner):  # handed on
        handed, anything = takes(inner)
        names |= handed
    return names, anything


def _rows(name: str, part: Part, n: int) -> slice:
    first, last = (round(share * n) for share in part.rows)
    if first == last:
        raise ValueError(f"{name} has no rows: {part.rows} of a batch of {n}; make it larger")
    return slice(first, last)


def module_of(loss: Loss) -> nn.Module | None:
    """Return the module that a loss is, options aside, or None."""
    inner: Any = loss
    while isinstance(inner, functools.partial):
        inner = inner.func
    return inner if isinstance(inner, nn.Module) else None


def has_rows(value: Any, n: int) -> bool:
    """Whether what a batch of n rows holds has a row for each."""
    return isinstance(value, Tensor) and value.ndim > 0 and len(value) == n


def _check_weight(weight: float) -> None:
    if not 0 <= weight < math.inf:
        raise ValueError(f"a weight must be a number that is not negative, got {weight}")
