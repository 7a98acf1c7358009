"""The learners of the study: a loss, an optimiser, a network, and what each is told of the flow.

Arms of one table differ in what the table is about and in nothing else: network, initial weights,
anchors, size of the batch, and the course of the learning rate are those of the library's defaults;
so is the rate, but for the arms called fast.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor

from meanfluid.learning import (
    MLP,
    SOAP,
    Anchors,
    AverageVelocity,
    LossValue,
    Pool,
    endpoint_loss,
    material_derivative,
    material_loss,
    semigroup_loss,
    supervised_loss,
)
from meanfluid.learning.average_velocity import beside
from meanfluid.learning.families import back_trace_loss, bootstrap_loss, picard_loss
from meanfluid.learning.losses import short, weighted
from meanfluid.learning.mixtures import Mixture, Part
from meanfluid.learning.schedules import Ramp, Scheduled, Sigmoid
from study.flows import MAIN, Flow

GYRE = ("double_gyre",)
GYRES = ("double_gyre", "double_gyre_half", "double_gyre_twice")
IDENTITY, SHORT, EXACT = "identity", "short integration", "exact averages"
PICARD = 74  # windows of 7 nodes: rows through the network as in the other arms
DECAY = 0.99  # of the weights of a teacher, unless a table is about it


@dataclass(frozen=True)
class Optimiser:
    """An optimiser with this decay of the first moment, `SOAP` or Adam, and a rate of its own."""

    kind: str
    beta1: float
    rate: float | None = None

    def __call__(self, parameters: Iterable[Any]) -> torch.optim.Optimizer:
        if self.kind == "SOAP":
            return SOAP(list(parameters), lr=self.rate or 5e-3, betas=(self.beta1, 0.95))
        return torch.optim.Adam(
            list(parameters), lr=self.rate or 2e-3, betas=(self.beta1, 0.99), eps=1e-10
        )

    @property
    def label(self) -> str:
        rate = "" if self.rate is None else f", rate {self.rate:g}"
        return f"{self.kind} {self.beta1:g}{rate}"


@dataclass(frozen=True)
class Arm:
    """One learner.

    Parameters
    ----------
    name, title : str
    told : str
        What it is told: the identity alone, short integrations, or exact averages.
    loss : callable
        As for `meanfluid.learning.fit`.
    optimiser : Optimiser
    flows : tuple of str
        Where the plan of the study runs it.
    teacher : float, optional
        Decay of an average of the weights that the loss is given.
    width, depth : int
    tangent : "exact" or "free"
    extra : callable, optional
        Adds to a batch: ``extra(batch, generator)``.
    """

    name: str
    title: str
    told: str
    loss: Any
    optimiser: Optimiser = Optimiser("SOAP", 0.95)
    flows: tuple[str, ...] = MAIN
    teacher: float | None = None
    width: int = 128
    depth: int = 6
    tangent: str = "exact"
    batch: int = 512
    extra: Callable[[dict[str, Tensor], Generator], dict[str, Tensor]] | None = None

    def model(self, flow: Flow, seed: int) -> AverageVelocity:
        """The model before training, the same for all arms with the same network."""
        network = MLP(
            flow.features, outputs=flow.field.dimension, width=self.width, depth=self.depth,
            generator=Generator().manual_seed(seed),
        )  # fmt: skip
        tangent: Any = self.tangent
        return AverageVelocity(flow.field, network, scale=flow.windows.longest, tangent=tangent)

    def sampler(self, flow: Flow, pool: Pool) -> Any:
        """Batches: anchors that are drawn anew, or exact averages from the pool."""
        draw = pool if self.told == EXACT else Anchors(flow.trained_in, flow.windows)
        if self.extra is None:
            return draw
        extra = self.extra
        return lambda n, generator: extra(draw(n, generator), generator)


def anywhere(batch: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
    """Split windows at a random place instead of in the middle."""
    share = torch.rand(len(batch["t"]), generator=generator)
    return batch | {"split": share.clamp(0.02, 0.98)}


def frozen_target_loss(
    model: Any, x: Tensor, *, t: Tensor, s: Tensor, teacher: Any, power: float = 0.25
) -> LossValue:
    """The material identity with the derivative taken of the teacher instead of the model."""
    with torch.no_grad():
        v = model.velocity(x, t)
        slope = material_derivative(teacher, x, t=t, s=s, advection=v, differentiable=False)[1]
        target = v + beside(s - t, v) * slope
    favoured = short(model, s - t, None)
    return weighted(model(x, t=t, s=s) - target, v, power, 1e-10, favoured)


def long_jump(longest: float) -> Callable[[dict[str, Tensor], Generator], dict[str, Tensor]]:
    """Exact steps of a uniform random duration up to `longest`, not a share of the window."""

    def extra(batch: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        jump = longest * torch.rand(len(batch["t"]), generator=generator)
        window = (batch["s"] - batch["t"]).abs()
        return batch | {"share": (jump / window.clamp_min(1e-6)).clamp(1e-3, 1.0)}

    return extra


def lengthened(longest: float) -> Callable[[dict[str, Tensor], Generator], dict[str, Tensor]]:
    """Windows in proportion to the root of a uniform number: long ones are more frequent."""

    def extra(batch: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        t, s = batch["t"], batch["s"]
        return batch | {"t": s + (longest * (t - s)).sqrt()}

    return extra


class ExactThenIdentity:
    """Supervision for half of the run, then the stopped material identity on the same anchors."""

    def at(self, progress: float) -> Any:
        if progress < 0.5:
            return supervised_loss
        return lambda model, x, *, t, s, mean: stopped(model, x, t=t, s=s)


stopped = partial(material_loss, grad_through_jvp=0.0)
full = partial(material_loss, grad_through_jvp=1.0)
published = partial(material_loss, grad_through_jvp=0.0, power=1.0, window_power=0.0)
unweighted = partial(material_loss, grad_through_jvp=0.0, power=0.5, window_power=0.0)
# Part of the gradient at first and all of it in the end; short windows count more.
rising = Scheduled(partial(material_loss, window_power=1.5), grad_through_jvp=Ramp(0.75, 1.0))
LITTLE, FAST = Optimiser("SOAP", 0.5), Optimiser("SOAP", 0.95, 12e-3)

MAIN_ARMS = (
    Arm("material", "material, half gradient", IDENTITY, material_loss),
    Arm("material_stop", "material, stopped gradient", IDENTITY, stopped, LITTLE),
    Arm("material_full", "material, full gradient", IDENTITY, full),
    Arm("material_rising", "material, rising, power 3/2", IDENTITY, rising),
    Arm("material_rising_fast", "material, rising, power 3/2, fast", IDENTITY, rising, FAST),
    Arm("endpoint", "endpoint", IDENTITY, endpoint_loss, LITTLE),
    Arm("semigroup", "semigroup", IDENTITY, semigroup_loss, extra=anywhere),
    Arm(
        "back_trace", "back trace, alpha 1 to 0", IDENTITY,
        Scheduled(back_trace_loss, alpha=Sigmoid()), LITTLE,
    ),
    Arm("picard", "Picard", IDENTITY, picard_loss, batch=PICARD),
    Arm("picard_teacher", "Picard, teacher", IDENTITY, picard_loss, teacher=DECAY, batch=PICARD),
    Arm(
        "mixture", "material and semigroup", IDENTITY,
        Mixture(
            material=Part(material_loss, rows=(0.0, 0.75)),
            semigroup=Part(semigroup_loss, weight=0.3, rows=(0.75, 1.0)),
        ),
        extra=anywhere,
    ),
    Arm("bootstrap", "bootstrap, teacher", SHORT, bootstrap_loss, teacher=DECAY),
    Arm("supervised", "supervised", EXACT, supervised_loss),
    Arm("supervised_fast", "supervised, fast", EXACT, supervised_loss, FAST),
)  # fmt: skip
BASE = {arm.name: arm for arm in MAIN_ARMS}


def variant(base: str, name: str, title: str, **changes: Any) -> Arm:
    """An arm of the main table with changes, on the double gyre only."""
    arm = BASE[base]
    return replace(
        arm, name=f"{base}-{name}", title=f"{arm.title}; {title}", **({"flows": GYRE} | changes)
    )


def with_optimiser(base: str, kind: str, beta1: float) -> Arm:
    optimiser = Optimiser(kind, beta1)
    return variant(base, f"{kind.lower()}{beta1:g}", optimiser.label, optimiser=optimiser)


OPTIMISERS = tuple(
    with_optimiser(base, kind, beta1)
    for base in ("material", "material_stop", "material_full", "picard", "bootstrap", "supervised")
    for kind, beta1 in (("Adam", 0.9), ("Adam", 0.5), ("Adam", 0.0), ("SOAP", 0.95), ("SOAP", 0.5))
    if BASE[base].optimiser != Optimiser(kind, beta1)
    and (base in ("material_stop", "supervised") or beta1 in (0.9, 0.5))
)
SIZES = tuple(
    variant(base, f"{depth}x{width}", f"{depth} x {width}", depth=depth, width=width)
    for base in ("material", "supervised")
    for depth, width in ((4, 64), (4, 128), (6, 256))
)
TEACHERS = (
    *(
        variant(base, f"teacher{decay:g}", f"decay {decay:g}", teacher=decay)
        for base, decays in (("picard_teacher", (0.9, 0.999)), ("bootstrap", (0.9, 0.999)))
        for decay in decays
    ),
    variant("bootstrap", "alone", "no teacher", teacher=None),
    variant(
        "material_stop", "teacher", "derivative of a teacher", loss=frozen_target_loss,
        teacher=DECAY,
    ),
)  # fmt: skip
JUMPS = (
    *(
        variant("bootstrap", f"share{share:g}", f"over {share:g} of the window",
                loss=partial(bootstrap_loss, share=share))
        for share in (0.05, 0.5, 1.0)
    ),
    *(
        variant("bootstrap", f"jump{jump:g}", f"over U(0, {jump:g})", extra=long_jump(jump))
        for jump in (0.25, 1.0)
    ),
)  # fmt: skip
TARGETS = (
    variant("picard", "batch512", "7 times the rows", batch=512),
    variant("picard", "long", "longer windows", extra=lengthened(5.0)),
    variant("semigroup", "middle", "split in the middle", extra=None),
    variant("semigroup", "teacher", "teacher", teacher=DECAY),
    variant("semigroup", "soap0.5", "SOAP 0.5", optimiser=LITTLE),
    variant("endpoint", "full", "full gradient", optimiser=Optimiser("SOAP", 0.95),
            loss=partial(endpoint_loss, grad_through_jvp=1.0)),
    variant("material_stop", "published", "MeanFlow as published", loss=published, tangent="free"),
    variant("material_stop", "power0.5", "power 1/2, windows alike", loss=unweighted),
    variant(
        "supervised", "then_stop", "stopped identity in the second half", loss=ExactThenIdentity()
    ),
    *(
        variant("back_trace", f"alpha{alpha:g}", f"alpha {alpha:g}",
                loss=partial(back_trace_loss, alpha=alpha))
        for alpha in (0.5, 0.1)
    ),
)  # fmt: skip
CONTROLS = (*OPTIMISERS, *SIZES, *TEACHERS, *JUMPS, *TARGETS)

WINDOWS = ("material", "material_stop", "material_full", "bootstrap", "supervised")
ARMS: dict[str, Arm] = {arm.name: arm for arm in (*MAIN_ARMS, *CONTROLS)}


def plan() -> list[tuple[str, str]]:
    """All pairs of flow and arm of the study, those of the main table first."""
    pairs = [(flow, arm.name) for arm in MAIN_ARMS for flow in arm.flows]
    pairs += [(flow, name) for name in WINDOWS for flow in GYRES if flow not in GYRE]
    return pairs + [(flow, arm.name) for arm in CONTROLS for flow in arm.flows]
