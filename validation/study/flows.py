"""The flows of the study: what is averaged, over which windows, and what the network is shown.

Anchors are drawn where trajectories stay, since a learner that integrates nothing knows what lies
along a trajectory only if it was trained there: in periodic boxes, between walls that are
streamlines, or in a region a little wider than the one in which errors are measured.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

import meanfluid as mf
from meanfluid.fields.modal import PlaneModes
from meanfluid.fields.velocity_field import Axis, VelocityField
from meanfluid.learning import Box, Disc, Features, UniformWindow


@dataclass(frozen=True)
class Flow:
    """One flow of the study.

    Parameters
    ----------
    name, title : str
    field : VelocityField
    windows : UniformWindow
        Backward windows, label "final".
    trained_in, measured_in : sampler of positions
    features : Features
        What every network is shown.
    pool : int
        Exact averages for the supervised arm.
    """

    name: str
    title: str
    field: VelocityField
    windows: UniformWindow
    trained_in: Any
    measured_in: Any
    features: Features
    pool: int = 2**19


@cache
def flow(name: str) -> Flow:
    """The flow of that name."""
    if name not in FLOWS:
        raise ValueError(f"flow must be one of {', '.join(FLOWS)}, got {name!r}")
    return FLOWS[name]()


def affine() -> Flow:
    # In the frame of the axes particles go round ellipses of aspect sqrt(1.5 / 0.5) = 1.73.
    field = mf.fields.rotating_strain(rate=0.5, frequency=1.0)
    windows = UniformWindow(0.0, 2 * math.pi, longest=3.0, overhang=True)
    features = Features(
        [(-1.75, 1.75)] * 2, time_period=2 * math.pi, windows=(-3.0, 0.0), harmonics=2
    )
    title = "affine: strain that turns"
    return Flow("affine", title, field, windows, Disc(radius=1.75), Disc(radius=1.0), features)


def vortex_pair() -> Flow:
    field = mf.fields.lamb_oseen_pair(circulation=math.pi, viscosity=math.pi / 2000, separation=1.0)
    windows = UniformWindow(8.0, 12.0, longest=1.0, overhang=True)
    features = Features(
        [(-1.25, 1.25)] * 2, time_range=(8.0, 13.0), windows=(-1.0, 0.0), rotation=1.0
    )
    title = "pair of Lamb-Oseen vortices"
    inner, outer = Disc(radius=1.25), Disc(radius=1.375)
    return Flow("vortex_pair", title, field, windows, outer, inner, features)


def double_gyre(name: str = "double_gyre", longest: float = 5.0, pool: int = 2**19) -> Flow:
    field = mf.fields.double_gyre()
    windows = UniformWindow(0.0, 10.0, longest=longest, overhang=True)
    features = Features(
        [(0.0, 2.0), (0.0, 1.0)], time_period=10.0, windows=(-longest, 0.0), half_waves=2
    )
    box = Box.of(field)
    title = f"double gyre, windows to {longest:g}"
    return Flow(name, title, field, windows, box, box, features, pool)


def bickley_jet() -> Flow:
    # In units of the jet's width and speed; 6 of time are 2 days of the usual parameters.
    field = mf.fields.bickley_jet(jet_speed=1.0, jet_width=1.0, radius=6.371 / 1.77)
    assert field.domain is not None
    period = field.domain[0].upper
    windows = UniformWindow(0.0, 12.0, longest=6.0, overhang=True)
    features = Features(
        [(0.0, period), (-2.25, 2.25)], periodic=[True, False], time_range=(0.0, 18.0),
        windows=(-6.0, 0.0), harmonics=3,
    )  # fmt: skip
    outer, inner = Box((0.0, -2.25), (period, 2.25)), Box((0.0, -1.5), (period, 1.5))
    return Flow("bickley_jet", "Bickley jet", field, windows, outer, inner, features)


def abc() -> Flow:
    field = mf.fields.abc_flow()
    windows = UniformWindow(0.0, 4.0, longest=2.0, overhang=True)
    features = Features(
        [(0.0, 2 * math.pi)] * 3, periodic=[True] * 3, time_range=None, windows=(-2.0, 0.0),
        harmonics=2,
    )  # fmt: skip
    box = Box.of(field)
    return Flow("abc", "ABC flow", field, windows, box, box, features)


def turbulence() -> Flow:
    """Kinematic simulation whose wavevectors are rounded to integers, so that it is periodic."""
    spectrum = mf.fields.von_karman_pao(0.5, k_energy=1.5, k_eta=8.0, dimension=2)
    field = mf.fields.kinematic_simulation(spectrum, modes=12, wavenumbers=(0.8, 4.5), seed=3)
    field = replace(
        field,
        parameters=_on_integers(field.parameters),
        domain=(Axis(0.0, 2 * math.pi, "periodic"),) * 2,
    )
    windows = UniformWindow(0.0, 4.0, longest=3.0, overhang=True)
    features = Features(
        [(0.0, 2 * math.pi)] * 2, periodic=[True] * 2, time_range=(0.0, 7.0), windows=(-3.0, 0.0),
        harmonics=3,
    )  # fmt: skip
    box = Box.of(field)
    return Flow("turbulence", "kinematic simulation", field, windows, box, box, features)


def _on_integers(modes: PlaneModes) -> PlaneModes:
    """The same strengths and frequencies on the nearest integer wavevectors."""
    before = np.stack([modes.wavenumber_x, modes.wavenumber_y])
    after = np.rint(before)
    empty = ~after.any(axis=0)
    after[:, empty] = np.where(np.abs(before) == np.abs(before).max(axis=0), np.sign(before), 0)[
        :, empty
    ]

    def across(wave: Any) -> Any:
        return np.stack([-wave[1], wave[0]]) / np.hypot(*wave)

    parts = []
    for amplitude in ((modes.cosine_x, modes.cosine_y), (modes.sine_x, modes.sine_y)):
        strength = (across(before) * np.stack(amplitude)).sum(axis=0)
        parts.extend(strength * across(after))
    return PlaneModes(*after, modes.frequency, *parts)


MAIN = ("affine", "vortex_pair", "double_gyre", "bickley_jet", "abc", "turbulence")
FLOWS: dict[str, Callable[[], Flow]] = {
    "affine": affine,
    "vortex_pair": vortex_pair,
    "double_gyre": double_gyre,
    "bickley_jet": bickley_jet,
    "abc": abc,
    "turbulence": turbulence,
    "double_gyre_half": lambda: double_gyre("double_gyre_half", 2.5, 2**18),
    "double_gyre_twice": lambda: double_gyre("double_gyre_twice", 10.0, 2**18),
}
