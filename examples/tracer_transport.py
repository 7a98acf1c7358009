"""Move a patch of dye under water waves by the Eulerian and by the Lagrangian mean flow.

Below the troughs of waves on deep water the mean velocity at every fixed point vanishes, and yet
dye drifts and is sheared: the velocity that carries mean positions is that of the generalised
Lagrangian mean, the Stokes drift. The truth is the dye itself, followed back by the flow map, and
averaged over a window of several waves at its mean position.

    python examples/tracer_transport.py [--steepness KA] [--periods NUMBER] [--output DIRECTORY]

Writes one figure and a report. Under a minute on 2 cores.
"""

import argparse
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from tqdm import tqdm

import meanfluid as mf
from meanfluid.files import replacing
from meanfluid.reporting.figures import STYLE, save
from meanfluid.reporting.provenance import made_with
from meanfluid.reporting.tables import markdown_table

# ---------------------------------------------------------------- Parameters
WAVES_IN_WINDOW = 8
WINDOW = mf.windows.hann()
EXTENT = (0.0, 2 * np.pi, -1.45, -0.35)
SHAPE = (45, 96)

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--steepness", type=float, default=0.12, help="of the waves, k a")
parser.add_argument("--periods", type=float, default=40.0, help="for which the dye drifts")
parser.add_argument("--output", type=Path, default=Path("results/tracer_transport"))
arguments = parser.parse_args()
if not 0 < arguments.steepness < 0.3:
    parser.error(f"--steepness must lie between 0 and 0.3, got {arguments.steepness}")
if not arguments.periods >= 0:
    parser.error(f"--periods must not be negative, got {arguments.periods}")
began = time.perf_counter()
output = arguments.output
output.mkdir(parents=True, exist_ok=True)

waves = mf.fields.deep_water_wave(amplitude=arguments.steepness, wavenumber=1.0)
frequency = np.sqrt(waves.parameters.gravity)
period = 2 * np.pi / frequency
duration = WAVES_IN_WINDOW * period
first, last = duration, duration + arguments.periods * period  # ends of two windows


def dye(position):
    """Return the dye at time 0: a patch that repeats itself with the wavelength."""
    x, z = position.T
    return np.exp(6.0 * (np.cos(x - 1.6) - 1.0) - ((z + 0.8) / 0.16) ** 2)


def mean_of_dye(position, end):
    """Return the Lagrangian mean of the dye over the window that ends at `end`."""
    origin = mf.relabel(
        waves, position, end - duration, end, given="mean", wanted="initial", window=WINDOW
    )
    return dye(mf.flow_map(waves, origin, end - duration, 0.0))


# ---------------------------------------------------------------- Mean flows
nodes = [np.linspace(0, 2 * np.pi, 24, endpoint=False), np.linspace(-1.7, -0.15, 20)]
flows = {}
steps = tqdm(total=5, desc="means", file=sys.stderr)
for kind in ("lagrangian", "eulerian"):
    flows[kind] = mf.transport.mean_flow(
        waves, nodes, None, duration, kind=kind, window=WINDOW, boundary=["periodic", "open"]
    )
    steps.update()

# ---------------------------------------------------------------- Dye, truly and by the means
x, z = np.linspace(*EXTENT[:2], SHAPE[1]), np.linspace(*EXTENT[2:], SHAPE[0])
places = np.stack([part.ravel() for part in np.meshgrid(x, z)], axis=1)
before = mean_of_dye(places, first)
steps.update()
truth = mean_of_dye(places, last)
steps.update()
predicted = {}
for kind, flow in flows.items():
    origin = mf.flow_map(flow, places, last, first, rtol=1e-9)
    predicted[kind] = mean_of_dye(origin, first)
steps.update()
steps.close()

# ---------------------------------------------------------------- Numbers
depth = np.stack([np.full(5, 1.0), np.linspace(-1.2, -0.4, 5)], axis=1)
drift, error = mf.stokes_drift(waves, depth, 0.0, duration, window=WINDOW, return_error=True)
second_order = arguments.steepness**2 * frequency * np.exp(2 * depth[:, 1])
drifts = markdown_table(
    ["mean height", "Stokes drift", "error", "a² ω k exp(2 k z)", "Eulerian mean"],
    [
        [f"{place:.2f}", f"{u:.8f}", f"{doubt:.0e}", f"{known:.8f}", f"{euler:.0e}"]
        for place, u, doubt, known, euler in zip(
            depth[:, 1], drift[:, 0], error, second_order,
            flows["eulerian"].velocity(0.0, depth)[:, 0], strict=True,
        )
    ],
)  # fmt: skip


def centre(values):
    """Return the centre of dye along x, an angle, as a length."""
    angle = np.angle((values * np.exp(1j * places[:, 0])).reshape(SHAPE)[:, :-1].sum())
    return angle % (2 * np.pi)


def missed(values):
    """Return the relative distance from the true mean, in the mean square."""
    return np.sqrt(((values - truth) ** 2).mean() / (truth**2).mean())


rows = [["truth", f"{centre(truth):.4f}", "0"]]
rows += [
    [f"carried by the {kind.capitalize()} mean", f"{centre(c):.4f}", f"{missed(c):.1e}"]
    for kind, c in predicted.items()
]
table = markdown_table(["mean of the dye", "centre in x", "relative distance from truth"], rows)
print(f"centre at first: {centre(before):.4f}\n\n{table}\n\n{drifts}")

# ---------------------------------------------------------------- Figure
panels = {
    "mean of the dye at first": before,
    f"after {arguments.periods:g} periods": truth,
    "carried by the Lagrangian mean": predicted["lagrangian"],
    "carried by the Eulerian mean": predicted["eulerian"],
}
with plt.rc_context(STYLE):
    figure, axes = plt.subplots(
        2, 2, figsize=(7.2, 3.4), layout="constrained", sharex=True, sharey=True
    )
    for panel, (title, values) in zip(axes.flat, panels.items(), strict=True):
        image = panel.pcolormesh(
            x, z, values.reshape(SHAPE), vmin=0, vmax=1, cmap="viridis", rasterized=True
        )
        if panel is not axes.flat[0]:
            panel.contour(x, z, truth.reshape(SHAPE), [0.5], colors="white", linewidths=0.9)
        panel.set_title(title)
    for panel in axes[-1]:
        panel.set_xlabel("x k")
    for panel in axes[:, 0]:
        panel.set_ylabel("mean height z k")
    figure.colorbar(image, ax=axes, label="dye", pad=0.02)
save(figure, output / "dye.png")

# ---------------------------------------------------------------- Report
where = {
    "waves": f"deep water, k a = {arguments.steepness}",
    "window": f"{WAVES_IN_WINDOW} periods, Hann",
    **made_with(),
}
report = f"""# Dye under waves

Mean of a patch of dye over {WAVES_IN_WINDOW} waves, at its mean position, before and after
{arguments.periods:g} periods; and what the two mean flows make of the first. White: where the true
mean is one half.

![dye](dye.png)

{table}

## Drift

{drifts}

## Provenance

{markdown_table(["", ""], [[name, value] for name, value in where.items()])}
"""
with replacing(output / "report.md") as file:
    file.write(report.encode())
print(f"\nreport: {output / 'report.md'}; {time.perf_counter() - began:.0f} s in all")
