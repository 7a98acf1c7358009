r"""Generation: averages of a velocity that is known only through pairs of data and noise.

On the straight line from data x to noise :math:`\epsilon`, :math:`z_t = (1 - t) x + t \epsilon`,
the velocity is :math:`\epsilon - x`, and its mean over all lines through :math:`z_t` is the
velocity field v that carries noise to data. `material_loss` learns the averages of v when it is
given :math:`\epsilon - x` as its observable: the target is linear in it, so that only its mean
counts. Nothing else differs from learning the averages of a known flow.

References
----------
Geng, Deng, Bai, Kolter and He (2025), arXiv:2505.13447; Lipman, Chen, Ben-Hamu, Nickel and Le
(2023), arXiv:2210.02747, for the field that is learned on empty windows alone.
"""

import copy
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Generator, Tensor

from meanfluid.learning.anchors import Batch, TimeSampler, even, uniform
from meanfluid.learning.average_velocity import Model, Times, beside, spread
from meanfluid.learning.identity import check_tangent, unwrapped
from meanfluid.learning.losses import LossValue, material_loss
from meanfluid.learning.schedules import current

PROBES = 256  # windows drawn to look at a sampler of times


@dataclass(frozen=True, eq=False)
class NoisePath:
    """Sampler of points between data and noise, ``{"x": z, "t", "s", "observable": noise - data}``.

    Called with a number and a generator, like `Anchors`. Every row of the data is equally likely,
    and a batch takes its rows evenly from one end of the data to the other, so that data sorted
    by class are drawn with about equal numbers of each.

    Parameters
    ----------
    data : (rows, ...)
        On the device of the generator; of several processes each holds all of them.
    times : callable
        Sampler of t and s in [0, 1], such as `UniformTriangle`, or a schedule of those. With
        ``diagonal=1`` all windows are empty: plain flow matching.
    condition : (rows, ...), optional
        Handed to the model, such as the numbers of classes.
    null : int, optional
        Number that stands for no class.
    drop : float
        Share of rows whose class is replaced by `null`, for guidance.
    coupling : "independent" or "optimal"
        Which noise a row of data gets: any, or that which makes the sum of squared lengths of a
        batch's lines least, within each class if there are classes. Both have the same ends;
        lines that are coupled optimally cross less, so that v varies less along its trajectories.
        It is found on the CPU.

    Raises
    ------
    ValueError
        If the data are not finite or do not fit the condition, times lie outside [0, 1], or the
        share makes no sense; at a call, if the generator is on another device than the data.
    """

    data: Tensor
    times: TimeSampler
    condition: Tensor | None = None
    null: int | None = None
    drop: float = 0.0
    coupling: Literal["independent", "optimal"] = "independent"

    def __post_init__(self) -> None:
        if self.data.ndim < 2 or not len(self.data) or not self.data.is_floating_point():
            raise ValueError(
                "data must be rows of floating-point numbers, (rows, ...), got "
                f"{self.data.dtype} of shape {tuple(self.data.shape)}"
            )
        if not bool(self.data.isfinite().all()):
            raise ValueError("data must be finite, got NaN or infinity; remove those rows")
        if self.condition is not None and len(self.condition) != len(self.data):
            raise ValueError(
                f"condition must have one row per row of the data, {len(self.data)}, got "
                f"{len(self.condition)}"
            )
        if self.coupling not in ("independent", "optimal"):
            raise ValueError(f'coupling must be "independent" or "optimal", got {self.coupling!r}')
        if (
            self.coupling == "optimal"
            and self.condition is not None
            and (self.condition.ndim != 1 or self.condition.is_floating_point())
        ):
            raise ValueError(
                'coupling="optimal" needs a condition of class numbers, (rows,), got '
                f"{self.condition.dtype} of shape {tuple(self.condition.shape)}"
            )
        if not 0 <= self.drop < 1:
            raise ValueError(f"drop must be a share from 0 to below 1, got {self.drop}")
        if self.drop and (self.condition is None or self.null is None):
            raise ValueError(
                f"drop={self.drop} needs condition= and null=, the number that stands for no class"
            )
        _check_times(self.times, self.data.device)

    def at(self, progress: float) -> Self:
        """Return the sampler of a share of the run, if the times follow it."""
        times = current(self.times, progress)
        if times is self.times:
            return self
        settled = copy.copy(self)  # the data need no second look, every step
        object.__setattr__(settled, "times", times)
        return settled

    def __call__(self, n: int, generator: Generator) -> Batch:
        """Draw a batch of n."""
        if generator.device.type != self.data.device.type:
            raise ValueError(
                f"data are on {self.data.device} and the generator on {generator.device}; move the "
                "data with .to(device), or make a torch.Generator(device)"
            )
        rows = _rows(len(self.data), n, generator)
        data = self.data[rows]
        noise = torch.randn(
            data.shape, generator=generator, device=generator.device, dtype=data.dtype
        )
        if self.coupling == "optimal":
            classes = None if self.condition is None else self.condition[rows]
            noise = noise[matched(data, noise, classes)]
        t, s = (instant.to(data.dtype) for instant in _windows(self.times, n, generator))
        between = torch.lerp(data, noise, beside(t, data))
        batch = {"x": between, "t": t, "s": s, "observable": noise - data}
        if self.condition is None:
            return batch
        condition = self.condition[rows]
        if self.drop:
            dropped = uniform(n, 1, generator)[:, 0] < self.drop
            null = condition.new_tensor(self.null)
            condition = torch.where(beside(dropped, condition), null, condition)
        return batch | {"condition": condition}


@dataclass(frozen=True)
class Guidance:
    r"""Guidance towards a class as a property of the velocity that is averaged.

    The velocity of class c becomes
    :math:`\omega v + \kappa u(z, t, t | c) + (1 - \omega - \kappa) u(z, t, t | \text{none})`,
    where v is that of the data and u(z, t, t) the model's own. For an exact model the strength is
    :math:`\omega / (1 - \kappa)`. Its averages obey the same identity, and one step of the model
    is one evaluation.

    Parameters
    ----------
    scale : float
        :math:`\omega`.
    own : float
        :math:`\kappa`.
    null : int
        Number that stands for no class; rows that have it keep their velocity.
    start, end : float
        Times between which guidance acts.

    Raises
    ------
    ValueError
        If a number makes no sense; at a call, if the condition is not one number per row.

    References
    ----------
    Geng, Deng, Bai, Kolter and He (2025), arXiv:2505.13447, section 4.2; Kynkaanniemi et al.
    (2024), arXiv:2404.07724, for guidance in part of the time.
    """

    scale: float
    null: int
    own: float = 0.0
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        if not self.scale > 0 or not 0 <= self.own < 1:
            raise ValueError(
                f"guidance needs scale > 0 and 0 <= own < 1, got {self.scale} and {self.own}"
            )
        if not self.start < self.end:
            raise ValueError(f"guidance needs start < end, got {self.start} and {self.end}")

    def __call__(
        self, model: Model, x: Tensor, *, t: Tensor, observable: Tensor, condition: Tensor
    ) -> Tensor:
        """Guided velocity (n, ...), without gradients."""
        if condition.shape != (len(x),):
            raise ValueError(
                f"guidance needs the number of a class for each row, ({len(x)},), got a condition "
                f"of shape {tuple(condition.shape)}"
            )
        guided = (condition != self.null) & (t >= self.start) & (t <= self.end)
        bare = unwrapped(model)
        with torch.no_grad():  # all rows: their number would change shapes from batch to batch
            free = bare(x, t=t, s=t, condition=torch.full_like(condition, self.null))
            blend = self.scale * observable + (1 - self.scale - self.own) * free
            if self.own:
                blend = blend + self.own * bare(x, t=t, s=t, condition=condition)
        return torch.where(beside(guided, x), blend.to(observable.dtype), observable)


def generative_loss(
    model: Model,
    x: Tensor,
    *,
    t: Times,
    s: Times,
    observable: Tensor,
    condition: Tensor | None = None,
    guidance: Guidance | None = None,
    along: Any = "self",
    power: float = 0.0,
    offset: float = 1e-3,
    window_power: float | None = None,
    grad_through_jvp: float = 0.0,
    difference: float | None = None,
    moving: int | None = None,
) -> LossValue:
    """Material loss at points between data and noise, for batches of `NoisePath`.

    `material_loss` with the target's gradient stopped and, unless told otherwise, with the tangent
    along the model's own velocity u(z, t, t), which has no noise. If all windows are empty it is
    the loss of flow matching.

    The loss has a floor, the variance of the target at the solution: that of noise minus data, or
    with ``along=None`` that times the square of the flow map's gradient, which is smaller where
    the flow from noise to data contracts.

    Parameters
    ----------
    observable : (n, ...)
        Velocity of the line through x, noise minus data.
    condition : (n, ...), optional
        Handed to the model.
    guidance : Guidance, optional
        Changes the velocity that is averaged.
    along, window_power, grad_through_jvp, difference, moving
        As for `material_loss`; ``along=None`` takes the tangent along the noisy velocity itself,
        as MeanFlow was first published.
    power, offset : float
        Likewise. Only with power 0 is the mean learned exactly: other weights depend on a noisy
        residual and move the solution from the mean towards a median. The solution was computed to
        be off by 13 % of v with power 0.25, and 34 % with 0.5, for three clusters in the plane; by
        3 % and 6 % for digits of 64 pixels.

    Raises
    ------
    ValueError
        If there is guidance without a condition.
    """
    check_tangent("observable", observable, x)
    t, s = spread(t, x), spread(s, x)
    if guidance is not None:
        if condition is None:
            raise ValueError("guidance needs a condition, the numbers of classes; got none")
        observable = guidance(model, x, t=t, observable=observable, condition=condition)
    return material_loss(
        model,
        x,
        t=t,
        s=s,
        condition=condition,
        observable=observable,
        along=along,
        power=power,
        offset=offset,
        window_power=window_power,
        grad_through_jvp=grad_through_jvp,
        difference=difference,
        moving=moving,
    )


def matched(data: Tensor, noise: Tensor, classes: Tensor | None = None) -> Tensor:
    """Numbers (n,) of the noise that each row of data gets, at the least sum of squared distances.

    Parameters
    ----------
    data, noise : (n, ...)
    classes : (n,), optional
        Rows exchange noise within a class only.

    References
    ----------
    Tong et al. (2024), arXiv:2302.00482; Pooladian et al. (2023), arXiv:2304.14772.
    """
    product = (data.flatten(1) @ noise.flatten(1).T).double().cpu().numpy()
    groups = np.zeros(len(data)) if classes is None else classes.cpu().numpy()
    order = np.arange(len(data))
    for group in np.unique(groups):
        (rows,) = np.nonzero(groups == group)
        first, second = linear_sum_assignment(product[np.ix_(rows, rows)], maximize=True)
        order[rows[first]] = rows[second]
    return torch.as_tensor(order, device=data.device)


def _rows(count: int, n: int, generator: Generator) -> Tensor:
    """Numbers of n rows, evenly from all, in random order."""
    share = torch.arange(n, device=generator.device) + uniform(n, 1, generator)[:, 0]
    rows = (share * (count / n)).long().clamp_max(count - 1)
    return rows[torch.randperm(n, generator=generator, device=generator.device)]


def _check_times(times: Any, device: torch.device) -> None:
    """Refuse a sampler of times outside [0, 1], where there is neither data nor noise."""
    drawn = torch.stack(_windows(current(times, 0.0), PROBES, Generator(device).manual_seed(0)))
    if not bool(((drawn >= 0) & (drawn <= 1)).all()):
        raise ValueError(
            "times must lie between 0, data, and 1, noise; got windows from "
            f"{float(drawn.min()):.3g} to {float(drawn.max()):.3g}"
        )


def _windows(times: Any, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
    if hasattr(times, "place"):
        windows: tuple[Tensor, Tensor] = times.place(even(n, times.columns, generator))
        return windows
    drawn: tuple[Tensor, Tensor] = times(n, generator)
    return drawn
