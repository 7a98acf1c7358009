"""From what the public doors accept to the record that kernels read, the same on every device."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from meanfluid.backends.evaluation import Layout
from meanfluid.fields.slabs import SlabbedSamples
from meanfluid.fields.velocity_field import Array, VelocityField
from meanfluid.trajectories.records import CLAMP, END, REFLECT, Problem, Slab
from meanfluid.trajectories.tableaux import Tableau

OutOfDomain = Literal["raise", "mark", "clamp", "reflect"]

_BEYOND = {"raise": END, "mark": END, "clamp": CLAMP, "reflect": REFLECT}
_LANDED = 1e-13  # relative: what evaluating a spline beyond its own cell may change
_ALL_TIMES = Slab(low=-math.inf, high=math.inf, horizon=math.inf, first=0.0, share=0.0)
_CLOSEST = 1e-11  # in spacings: as close to a knot as a step can be made to end


@dataclass(frozen=True)
class Settings:
    """How trajectories are integrated; see `meanfluid.trajectories` for what each means."""

    rtol: float
    atol: float
    scheme: Tableau
    steps: int | None
    max_steps: int
    out_of_domain: OutOfDomain
    knots: bool
    estimate_error: bool


def assembled(field: VelocityField, layout: Layout, settings: Settings, address: int) -> Problem:
    """Return the record that the stepping reads; `address` is that of the block evaluator."""
    scheme, d = settings.scheme, field.dimension
    lower, upper, beyond = _ends(field, layout, settings.out_of_domain)
    knots = np.stack([np.zeros(1 + layout.places), np.full(1 + layout.places, np.inf)], axis=1)
    landing = 0.0
    if settings.knots and field.samples is not None and settings.steps is None:
        axes = field.samples.axes
        for row, axis in enumerate(axes, start=1 + d - len(axes)):
            knots[row] = axis.lower, axis.spacing
        landing = _landing(field, field.samples.degree, layout, settings.out_of_domain)
    return Problem(
        address=address, table=field.table,
        samples=_words(field), state=layout.state,
        components=layout.components, rows=layout.rows, bounds=bounds_of(layout),
        a=scheme.a, b=scheme.b, c=scheme.c, error_weights=scheme.errors, order=scheme.order,
        error_order=scheme.error_order, rtol=float(settings.rtol), atol=float(settings.atol),
        max_steps=int(settings.max_steps),
        fixed=-(-settings.steps // 2) if settings.steps else 0,
        shadowed=bool(settings.estimate_error), lower=lower, upper=upper, beyond=beyond,
        folded=bool((beyond != END).any()), earliest=field.time_range[0],
        latest=field.time_range[1], knots=knots, noise=_noise(field, layout),
        landing=landing, sliced=False, slab=np.array(_ALL_TIMES),
    )  # fmt: skip


def _landing(field: VelocityField, degree: int, layout: Layout, policy: OutOfDomain) -> float:
    """How close to a knot a step has to end, in spacings.

    The polynomial of a cell goes apart from that of the next one with the distance to the power
    `degree`, its gradient with one power less; where the data end and the field is clamped or
    mirrored, with the first power. The time spent on the wrong side is one more factor.
    """
    kinked = policy in ("clamp", "reflect") and any(
        axis.boundary == "closed" for axis in field.domain or ()
    )
    power = 1 if kinked else degree + 1 - layout.graded
    return float(max(_CLOSEST, _LANDED ** (1.0 / power)))


def _noise(field: VelocityField, layout: Layout) -> Array:
    """Rounding error of every rate that holds everywhere: a sum of samples may cancel to zero."""
    noise = np.zeros(len(bounds_of(layout)) - 1)
    if field.samples is not None and not isinstance(field.samples, SlabbedSamples):
        noise = noise_of(field, layout, field.samples.largest)
    return noise


def noise_of(field: VelocityField, layout: Layout, largest: Any) -> Array:
    """Rounding error of every rate, (..., parts), where coefficients are at most `largest`."""
    largest = np.asarray(largest)
    noise = np.zeros((*largest.shape, len(bounds_of(layout)) - 1))
    noise[..., 0] = np.finfo(float).eps * largest
    if layout.deformed and field.samples is not None:
        spacing = min(axis.spacing for axis in field.samples.axes[-field.dimension :])
        noise[..., 1] = noise[..., 0] / spacing
    return noise


def _words(field: VelocityField) -> Array:
    """Coefficients of samples; of those in slabs only in `slabs`."""
    if field.samples is None or isinstance(field.samples, SlabbedSamples):
        return np.zeros(1)
    return field.samples.words


def bounds_of(layout: Layout) -> np.ndarray[Any, np.dtype[np.int64]]:
    """First component of each part: displacement, flow-map gradient, and every integral."""
    places, state = layout.places, layout.state
    carried = [0, places] if state > places else [0]
    return np.array([*carried, *np.cumsum([state, *layout.sizes])], dtype=np.int64)


def _ends(
    field: VelocityField, layout: Layout, policy: OutOfDomain
) -> tuple[Array, Array, np.ndarray[Any, np.dtype[np.int64]]]:
    """Return where the domain ends and what happens there.

    Nothing flows through a wall: what is found beyond it got there by rounding, and is reflected.
    """
    places = layout.places
    lower, upper = np.full(places, -np.inf), np.full(places, np.inf)
    beyond = np.full(places, END, dtype=np.int64)
    for k, axis in enumerate(field.domain or ()):
        if axis.boundary in ("closed", "wall"):
            lower[k], upper[k] = axis.lower, axis.upper
            beyond[k] = REFLECT if axis.boundary == "wall" else _BEYOND[policy]
    return lower, upper, beyond
