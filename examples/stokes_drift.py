"""Draw and tabulate the drift of particles in waves on deep water, without small amplitudes.

A particle under a wave goes round and does not quite come back. Its Lagrangian mean velocity,
labelled by its mean height, less the Eulerian mean velocity there is the Stokes drift. For the
kinematics of a linear wave it is known in closed form, by Lambert's W function; Stokes's formula
k a^2 omega exp(2 k z) is its leading term. A table holds the computed drift against both, another
one says what the choice of the window does, and a third shows a field of one's own.

    python examples/stokes_drift.py [--steepness K_A ...] [--output DIRECTORY]

Writes a figure and a report. Under a minute on 2 cores.
"""

import argparse
import math
import sys
import time
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import brentq
from scipy.special import lambertw

import meanfluid as mf
from meanfluid.files import replacing
from meanfluid.reporting.figures import STYLE, save
from meanfluid.reporting.provenance import made_with
from meanfluid.reporting.tables import markdown_table

# ---------------------------------------------------------------- Parameters
WAVENUMBER, GRAVITY = 1.0, 9.81
HEIGHT = -0.25  # of the table: k times the mean height
HEIGHTS = np.linspace(-1.5, -0.15, 28)  # of the figure
STARTS = [-0.25, -0.6, -1.1]  # heights at which the particles of the figure start

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--steepness", type=float, nargs="+", default=[0.05, 0.1, 0.2, 0.3])
parser.add_argument("--output", type=Path, default=Path("results/stokes_drift"))
arguments = parser.parse_args()
if not all(0 < steepness <= 0.3 for steepness in arguments.steepness):
    parser.error(f"--steepness must be in (0, 0.3], got {arguments.steepness}")
began = time.perf_counter()
output = arguments.output
output.mkdir(parents=True, exist_ok=True)
omega = math.sqrt(GRAVITY * WAVENUMBER)
speed, wave_period = omega / WAVENUMBER, 2 * math.pi / omega


# ---------------------------------------------------------------- What is known
def exact_drift(steepness, height):
    """Drift over the speed of the wave at k times the mean height, by Lambert's W."""
    theta = 2 * np.pi * np.arange(512) / 512

    def drift(delta):
        return 1 - 1 / (1 / (1 + lambertw(-delta * np.cos(theta)).real)).mean()

    def miss(delta):
        return math.log(delta / steepness) + drift(delta) - height

    delta = brentq(miss, 1e-12, 0.999 / math.e, xtol=1e-16, rtol=1e-15)
    return drift(delta)


def computed(field, height):
    """Drift at k times the mean height, its error, and the period of the particles, found with it.

    A particle that drifts meets the wave less often: its period is 2 pi / (omega - k drift).
    """
    place = np.stack([np.zeros_like(height), height / WAVENUMBER], axis=1)
    period = np.full(len(place), wave_period)
    for _ in range(25):
        drift, error = mf.average_velocity(
            field, place, 0.0, period, label="mean", return_error=True
        )
        period = 2 * math.pi / (omega - WAVENUMBER * drift[:, 0])
    return drift[:, 0], error, period


# ---------------------------------------------------------------- Steeper and steeper
rows = []
for steepness in arguments.steepness:
    wave = mf.fields.deep_water_wave(steepness / WAVENUMBER, WAVENUMBER, GRAVITY)
    drift, error, _ = computed(wave, np.array([HEIGHT]))
    exact = exact_drift(steepness, HEIGHT)
    first = steepness**2 * math.exp(2 * HEIGHT)
    rows.append(
        [
            f"{steepness:g}",
            f"{drift[0] / speed:.12f}",
            f"{exact:.12f}",
            f"{abs(drift[0] / speed - exact):.0e}",
            f"{error[0] / speed:.0e}",
            f"{100 * (first / exact - 1):+.2f} %",
        ]
    )
steeper = markdown_table(
    ["k a", "drift / c", "Lambert's W", "difference", "estimated error", "Stokes's formula"], rows
)
print(f"Drift at k z = {HEIGHT:g} over the period of the particles\n\n{steeper}")

# ---------------------------------------------------------------- Which window
steepest = max(arguments.steepness)
wave = mf.fields.deep_water_wave(steepest / WAVENUMBER, WAVENUMBER, GRAVITY)
_, _, period = computed(wave, np.array([HEIGHT]))
exact = exact_drift(steepest, HEIGHT)
place = [[0.0, HEIGHT / WAVENUMBER]]
rows = []
for name, window, duration in (
    ("top hat, 1 period of the wave", mf.windows.top_hat(), wave_period),
    ("top hat, 1 period of the particle", mf.windows.top_hat(), period[0]),
    ("top hat, 20.5 periods", mf.windows.top_hat(), 20.5 * wave_period),
    ("Hann, 20.5 periods", mf.windows.hann(), 20.5 * wave_period),
    (
        "Gaussian, std 2, cut at 20.5 periods",
        mf.windows.gaussian(2 * wave_period),
        20.5 * wave_period,
    ),
):
    value, error = mf.stokes_drift(wave, place, 0.0, duration, window=window, return_error=True)
    rows.append(
        [
            name,
            f"{value[0, 0] / speed:.8f}",
            f"{value[0, 0] / speed - exact:+.0e}",
            f"{error[0] / speed:.0e}",
        ]
    )
shapes = markdown_table(["window", "Stokes drift / c", "less the exact", "estimated error"], rows)
print(f"\nStokes drift for k a = {steepest:g} by different windows\n\n{shapes}")


# ---------------------------------------------------------------- A field of one's own
class Standing(NamedTuple):
    """Amplitudes of two waves that meet."""

    right: float = 0.3
    left: float = 0.1


def body(m, p, t, x):
    """Of the same frequency 1 and wavenumber 1; length and time are measured in them."""
    return (p.right * m.cos(x - t) + p.left * m.cos(x + t),)


meeting = mf.VelocityField(body=body, parameters=Standing(), dimension=1)
place = np.linspace(0.0, math.pi, 5)[:, None]
span = 41.0 * math.pi
value, error = mf.stokes_drift(
    meeting, place, 0.0, span, window=mf.windows.hann(), return_error=True
)
own = markdown_table(
    ["x", "Stokes drift", "estimated error"],
    [
        [f"{x:.4f}", f"{v:.8f}", f"{e:.0e}"]
        for (x,), (v,), e in zip(place, value, error, strict=True)
    ],
)
print(f"\nTwo waves that meet: a field of one's own\n\n{own}")

# ---------------------------------------------------------------- Figure
with plt.rc_context(STYLE):
    figure = plt.figure(figsize=(7.2, 3.1), layout="constrained")
    paths, profile = figure.subplots(1, 2, width_ratios=(1.25, 1.0))
    times = np.linspace(0.0, 3 * wave_period, 241)
    start = np.array([[0.0, z / WAVENUMBER] for z in STARTS])
    path = mf.trajectories(wave, start, 0.0, times[-1], times=times)
    for k in range(len(start)):
        x, z = path.position[k].T * WAVENUMBER
        (line,) = paths.plot(x, z, linewidth=1.1)
        paths.plot(x[0], z[0], "o", color=line.get_color(), markersize=4)
        paths.plot(x[-1], z[-1], "s", color=line.get_color(), markersize=4)
    paths.plot([], [], "o", color="0.4", markersize=4, label="start")
    paths.plot([], [], "s", color="0.4", markersize=4, label="end")
    paths.legend(frameon=False, fontsize=8, loc="lower right")
    paths.set(xlabel="k x", ylabel="k z", title=f"three wave periods, k a = {steepest:g}")
    paths.set_aspect("equal", adjustable="datalim")
    for steepness, colour in zip((steepest, steepest / 2), ("C3", "C0"), strict=True):
        field = mf.fields.deep_water_wave(steepness / WAVENUMBER, WAVENUMBER, GRAVITY)
        drift, _, _ = computed(field, HEIGHTS)
        exact = [exact_drift(steepness, z) for z in HEIGHTS]
        formula = steepness**2 * np.exp(2 * HEIGHTS)
        label = f"k a = {steepness:g}"
        profile.plot(exact, HEIGHTS, color=colour, linewidth=1.1, label=f"{label}: Lambert's W")
        profile.plot(formula, HEIGHTS, "--", color=colour, linewidth=1.1, label=f"{label}: Stokes")
        profile.plot(drift[::3] / speed, HEIGHTS[::3], "o", color=colour, markersize=3.5)
    profile.plot([], [], "o", color="0.4", markersize=3.5, label="computed")
    profile.set(xlabel="drift / c", ylabel="k times mean height", title="drift by mean height")
    profile.set_xlim(left=0.0)
    profile.legend(frameon=False, fontsize=8)
    save(figure, output / "stokes_drift.png")

# ---------------------------------------------------------------- Report
where = {
    "command": "examples/stokes_drift.py " + " ".join(sys.argv[1:]),
    "integration": "dop853, rtol 1e-11, atol 0",
    **made_with(),
}
report = f"""# Stokes drift at any amplitude

Lagrangian mean velocity of particles in the linear wave on deep water, by their mean height.

![drift](stokes_drift.png)

## Steeper and steeper

At k z = {HEIGHT:g}, over the period of the particles. Stokes's formula is taken at the mean height.

{steeper}

## Which window

For k a = {steepest:g}; the Eulerian mean over the same window is subtracted.

{shapes}

## A field of one's own

Two waves that meet, with a Hann window over 20.5 periods.

{own}

## Provenance

{markdown_table(["", ""], [[name, value] for name, value in where.items()])}
"""
with replacing(output / "report.md") as file:
    file.write(report.encode())
print(f"\nreport: {output / 'report.md'}; {time.perf_counter() - began:.0f} s in all")
