"""Separate waves from the flow that carries them: filters at fixed points and along paths.

A jet U(z) flows over a wavy ground. A wave lifts fluid that rests at height h to z = h +
a sin(k x - w t), and the scalar f has a part A sin(k x - w t) of it beside the part of the flow.
At a fixed point the wave has the frequency w. For a lee wave that is zero: a filter in time takes
it for the mean. Along the path of the fluid it has the frequency k U - w, and a filter removes it,
unless it is the wave that travels with the fluid. All of it is exact, so that what a filter leaves
of the wave is known. Lagrangian means come from equations on a grid, without particles.

    python examples/lagrangian_filtering.py [--nodes NODES] [--steps STEPS] [--output DIRECTORY]

Writes one figure and a report. Under a minute on 2 cores.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from tqdm import tqdm

import meanfluid as mf
from meanfluid.files import replacing
from meanfluid.means.lagrangian_pde import Grid, Spectral, mean_on_grid, remapped
from meanfluid.reporting.figures import COLOURS, STYLE, save
from meanfluid.reporting.provenance import made_with
from meanfluid.reporting.tables import markdown_table

# ---------------------------------------------------------------- Parameters
TURN = 2 * np.pi
WINDOW = 9.0  # its length; Hann's weight
FREQUENCIES = {"lee wave, w = 0": 0.0, "w = 0.7": 0.7, "with the fluid, w = 3": 3.0}

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--nodes", type=int, default=64, help="of the grid along each axis")
parser.add_argument("--steps", type=int, default=320, help="over the window")
parser.add_argument("--output", type=Path, default=Path("results/lagrangian_filtering"))
arguments = parser.parse_args()
if arguments.nodes < 32:
    parser.error(f"--nodes must be at least 32, got {arguments.nodes}")
if arguments.steps < 100:
    parser.error(f"--steps must be at least 100, got {arguments.steps}")
began = time.perf_counter()
output = arguments.output
output.mkdir(parents=True, exist_ok=True)


# ---------------------------------------------------------------- Field
class LeeWave(NamedTuple):
    """A jet over waves: speed and jet, wavenumber, height and frequency of the wave."""

    speed: float = 1.0
    jet: float = 0.25
    wavenumber: float = 3.0
    height: float = 0.25
    frequency: float = 0.0
    part: float = 0.5  # of the wave in the scalar


def lee_wave(m, p, t, x, z):
    """Velocity of fluid that keeps its height of rest z - a sin(k x - w t); no divergence."""
    phase = p.wavenumber * x - p.frequency * t
    u = p.speed + p.jet * m.cos(z - p.height * m.sin(phase))
    return u, p.height * (p.wavenumber * u - p.frequency) * m.cos(phase)


def scalar(m, p, t, x, z):
    """The flow's part cos(height of rest), which the fluid keeps, and the wave's."""
    phase = p.wavenumber * x - p.frequency * t
    return m.cos(z - p.height * m.sin(phase)) + p.part * m.sin(phase)


def hann(age):
    """Hann's weight over the window that ends at time 0."""
    return (1 - np.cos(TURN * age / WINDOW)) / WINDOW


def response(frequency):
    """What the weight leaves of exp(i frequency t) at time 0."""
    half = np.asarray(frequency) * WINDOW / 2
    real = np.sinc(half / np.pi) + 0.5 * (np.sinc(half / np.pi - 1) + np.sinc(half / np.pi + 1))
    return np.exp(-1j * half) * real


# ---------------------------------------------------------------- Means
square = (mf.Axis(0.0, TURN, "periodic"), mf.Axis(0.0, TURN, "periodic"))
grid = Grid(square, arguments.nodes)
transport = Spectral(grid)
x, z = grid.mesh
share, weights = np.polynomial.legendre.leggauss(100)
times = 0.5 * WINDOW * (share - 1)
rms = lambda values: float(np.sqrt(np.mean(np.square(values))))  # noqa: E731
rows, shown, measured = [], {}, []
bar = tqdm(total=2 * len(FREQUENCIES) * arguments.steps, unit=" steps", file=sys.stderr)
for name, omega in FREQUENCIES.items():
    p = LeeWave(frequency=omega)
    field = mf.VelocityField(body=lee_wave, parameters=p, dimension=2, domain=square)
    seen = [0]

    def update(done, total, seen=seen):
        """Count steps of both runs."""
        bar.update(done - seen[0])
        seen[0] = done

    options = {"steps": arguments.steps, "window": hann, "progress": update}
    observables = {"f": scalar, "v": "velocity"}
    final = mean_on_grid(field, observables, transport, -WINDOW, 0.0, **options)
    seen[0] = 0
    mean = mean_on_grid(
        field, observables, transport, -WINDOW, 0.0, label="mean", estimate_error=False, **options
    )
    detour = remapped(final)
    eulerian = sum(
        0.5 * WINDOW * w * hann(s) * scalar(np, p, s, x, z)
        for s, w in zip(times, weights, strict=True)
    )

    # What is known: the height of rest, the flow's part, the paths and so the filtered scalar.
    phase = p.wavenumber * x
    rest = z - p.height * np.sin(phase)
    u = p.speed + p.jet * np.cos(rest)
    closed = np.cos(rest) + p.part * np.imag(
        np.exp(1j * phase) * response(p.wavenumber * u - omega)
    )
    wave = rms(scalar(np, p, 0.0, x, z) - np.cos(z))  # what the wave did to f
    left = {
        "Eulerian": rms(eulerian - np.cos(z)),
        "final": rms(final.values["f"] - np.cos(rest)),
        "mean": rms(mean.values["f"] - np.cos(z)),
    }
    measured.append((omega, left["Eulerian"] / wave, left["mean"] / wave))
    rows.append(
        [
            name,
            *(f"{100 * part / wave:.2f} %" for part in left.values()),
            f"{100 * rms(mean.values['v'][0] - p.speed - p.jet * np.cos(z)) / p.jet:.2f} %",
            f"{np.abs(final.values['f'] - closed).max():.0e}",
            f"{final.time_error['f'].max():.0e}, {final.space_error['f']:.0e}",
            f"{np.abs(mean.values['f'] - detour.values['f']).max():.0e}",
        ]
    )
    if omega == 0.0:
        shown = {
            "f now": scalar(np, p, 0.0, x, z),
            "Eulerian filter": eulerian,
            "along paths, final label": final.values["f"],
            "along paths, mean label": mean.values["f"],
        }
bar.close()
table = markdown_table(
    [
        "wave",
        "left of it: Eulerian",
        "Lagrangian, final label",
        "mean label",
        "error of U, mean label",
        "final label: error",
        "estimated, time and grid",
        "mean label: two ways apart",
    ],
    rows,
)
print(table)

# ---------------------------------------------------------------- Figure
with plt.rc_context(STYLE):
    figure = plt.figure(figsize=(7.2, 4.3), layout="constrained")
    panels = figure.subplot_mosaic("abcd;eeee", height_ratios=(1.15, 1.0))
    limit = float(np.abs(shown["f now"]).max())
    for (title, values), key in zip(shown.items(), "abcd", strict=True):
        axes = panels[key]
        image = axes.pcolormesh(
            *grid.coordinates, values.T, cmap="RdBu_r", vmin=-limit, vmax=limit,
            shading="nearest", rasterized=True,
        )  # fmt: skip
        axes.set(title=title, xlabel="x", xticks=[0, 2, 4, 6], yticks=[0, 2, 4, 6], aspect="equal")
        axes.set_ylabel("z" if key == "a" else "")
    figure.colorbar(image, ax=[panels[key] for key in "abcd"], label="f, lee wave", shrink=0.8)
    axes = panels["e"]
    omega = np.linspace(-1.0, 5.0, 400)
    jet = 1.0 + 0.25 * np.cos(np.linspace(0, TURN, 64, endpoint=False))
    known = {
        "at fixed points": np.abs(response(omega)),
        "along paths": np.sqrt(np.mean(np.abs(response(3.0 * jet[:, None] - omega)) ** 2, axis=0)),
    }
    for (title, values), colour in zip(known.items(), COLOURS, strict=False):
        axes.plot(omega, values, color=colour, label=f"{title}: response of the filter")
    for k, (title, colour) in enumerate(zip(known, COLOURS, strict=False), start=1):
        axes.plot(
            [row[0] for row in measured], [row[k] for row in measured], "os"[k - 1], ms=4,
            color=colour, label=f"{title}: left of the wave",
        )  # fmt: skip
    axes.set(
        xlabel="frequency w of the wave at a fixed point", ylabel="part that is left",
        xlim=(-1.0, 5.0), ylim=(-0.04, 1.45), yticks=[0.0, 0.5, 1.0],
    )  # fmt: skip
    axes.legend(loc="upper center", frameon=False, ncols=2)
    save(figure, output / "filters.png")

# ---------------------------------------------------------------- Report
where = {
    "command": "examples/lagrangian_filtering.py " + " ".join(sys.argv[1:]),
    "grid": f"{arguments.nodes} x {arguments.nodes}, {transport.name}, {arguments.steps} steps",
    "weight": f"Hann's over {WINDOW:g}",
    **made_with(),
}
report = f"""# Waves and the flow that carries them

A jet over waves: what filters in time at fixed points and along paths leave of the wave in the
scalar f, in rms, relative to what the wave did to f.

![f and its filtered forms; what is left against frequency](filters.png)

{table}

The final label leaves the scalar where the wave has lifted it to now, cos(height of rest); the mean
label puts it back at its height of rest. "Error" is against the closed form, "two ways" are the
equations on mean positions and remapping from the final label. At fixed points something is left of
a fast wave, too: the mean of cos(z - a sin) is not cos z. A wave that travels with the fluid is
slow along its path, and no filter along paths can tell it from the flow.

## Provenance

{markdown_table(["", ""], [[name, value] for name, value in where.items()])}
"""
with replacing(output / "report.md") as file:
    file.write(report.encode())
print(f"\nreport: {output / 'report.md'}; {time.perf_counter() - began:.0f} s in all")
