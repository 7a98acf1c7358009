"""Average an ensemble of flow maps in every way that geometry offers, and compare.

Crossing waves on a doubly periodic box, the same in all members but for their phase, carry
particles back and forth. The ensemble has one arithmetic mean map, which does not keep area, and
three different ones that do. Its mean velocity is not the mean of the pulled-back velocities, which
is twice as large.

    python examples/geometric_means.py [--steepness NUMBER] [--members NUMBER] [--points NUMBER]
        [--output DIRECTORY]

Writes a figure and a report. Under a minute on 2 cores.
"""

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from tqdm import tqdm

import meanfluid as mf
from meanfluid.files import replacing
from meanfluid.means import geometric
from meanfluid.reporting.figures import COLOURS, STYLE, save
from meanfluid.reporting.provenance import made_with
from meanfluid.reporting.tables import markdown_table

# ---------------------------------------------------------------- Parameters
FREQUENCY = 1.0
KINDS = ("arithmetic", "soward_roberts", "optimal_transport", "geodesic")
STEP = 0.05  # between mean maps, of which three give the mean velocity
ARROWS = 16  # along each side
ENLARGED = 60  # times arrows are drawn longer than they are

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--steepness", type=float, default=0.08, help="displacement times wave number")
parser.add_argument("--members", type=int, default=4, help="phases of the waves")
parser.add_argument("--points", type=int, default=32, help="of the grid, along each side")
parser.add_argument("--output", type=Path, default=Path("results/geometric_means"))
arguments = parser.parse_args()
if not 0 < arguments.steepness <= 0.12:
    parser.error(f"--steepness must be above 0 and at most 0.12, got {arguments.steepness}")
if arguments.members < 3:
    parser.error(f"--members must be at least 3, got {arguments.members}")
if arguments.points < 2 * ARROWS or arguments.points % ARROWS:
    parser.error(f"--points must be a multiple of {ARROWS}, two at least, got {arguments.points}")
began = time.perf_counter()
output = arguments.output
output.mkdir(parents=True, exist_ok=True)


# ---------------------------------------------------------------- Field
class Waves(NamedTuple):
    """Speed, frequency and phase of two crossing waves."""

    speed: float
    frequency: float
    phase: float


def waves(m, p, t, x, y):
    """Stream function speed (cos(x - phase) + cos(2 y - phase)), the phase growing with time."""
    now = p.frequency * t - p.phase
    return 2.0 * p.speed * m.sin(2.0 * y - now), -p.speed * m.sin(x - now)


side = mf.Axis(0.0, 2.0 * np.pi, "periodic")
speed = arguments.steepness * FREQUENCY
phases = 2.0 * np.pi * np.arange(arguments.members) / arguments.members
fields = [
    mf.VelocityField(
        body=waves, parameters=Waves(speed, FREQUENCY, float(phase)), dimension=2,
        domain=(side, side), divergence_free=True,
    )
    for phase in phases
]  # fmt: skip
shape, box = (arguments.points, arguments.points), (2.0 * np.pi, 2.0 * np.pi)
x, y = geometric.mesh(shape, box)

# ---------------------------------------------------------------- Flow maps
# At time 0 each particle is where its wave has taken it from the middle of its path.
displaced = [
    geometric.exp(
        arguments.steepness * np.stack([2.0 * np.cos(2.0 * y + phase), -np.cos(x + phase)]), box
    )
    for phase in phases
]
middle = 2.0 * np.pi / FREQUENCY
times = (middle - STEP, middle, middle + STEP)
ensembles = [
    [
        geometric.TorusMap.from_flow(field, shape, 0.0, end).after(first)
        for field, first in zip(fields, displaced, strict=True)
    ]
    for end in times
]

# ---------------------------------------------------------------- Means
means = {
    kind: [geometric.mean_map(ensemble, kind) for ensemble in ensembles]
    for kind in tqdm(KINDS, desc="mean maps")
}
velocities = {
    kind: geometric.mean_velocity([mean.map for mean in three], STEP)
    for kind, three in means.items()
}
arithmetic = means["arithmetic"][1].map
away = geometric.deviations(ensembles[1], arithmetic)
at_grid = np.stack([x.ravel(), y.ravel()], axis=-1)
member_velocities = [field.velocity(middle, at_grid).T.reshape(2, *shape) for field in fields]
as_vector = geometric.pull_back_mean(member_velocities, away, "vector")
as_form = geometric.pull_back_mean(member_velocities, away, "one_form")

# ---------------------------------------------------------------- Table
mean_velocity = velocities["arithmetic"]
rows = []
for kind in KINDS:
    mean = means[kind][1]
    apart = np.abs(mean.map.displacement - arithmetic.displacement).max()
    slope = (as_vector * velocities[kind]).sum() / (velocities[kind] ** 2).sum()
    rows.append(
        [
            kind,
            f"{mean.area_error:.1e}",
            f"{apart:.5f}",
            f"{mean.iterations}",
            f"{mean.residual:.0e}",
            f"{np.abs(velocities[kind] - mean_velocity).max() / np.abs(mean_velocity).max():.1e}",
            f"{slope:.3f}",
        ]
    )
table = markdown_table(
    [
        "mean map",
        "largest abs(det - 1)",
        "distance from arithmetic",
        "iterations",
        "residual",
        "its velocity, off arithmetic's",
        "pull-back mean over its velocity",
    ],
    rows,
)
print(table)

# ---------------------------------------------------------------- Figure
change = 100.0 * np.abs(means["arithmetic"][1].map.determinant - 1.0).max()
fastest = np.abs(as_vector[0]).max()
some = (slice(None, None, arguments.points // ARROWS),) * 2
edges = [np.append(np.arange(n) * length / n, length) for n, length in zip(shape, box, strict=True)]
marks = {"xticks": [0, np.pi, 2 * np.pi], "xticklabels": ["0", "π", "2π"]}
marks |= {name.replace("x", "y", 1): value for name, value in marks.items()}
with plt.rc_context(STYLE):
    figure = plt.figure(figsize=(7.2, 4.1), layout="constrained")
    above, below = figure.subfigures(2, 1)
    top, bottom = above.subplots(1, 4, sharey=True), below.subplots(1, 4)
    for panel, kind in zip(top, KINDS, strict=True):
        mean = means[kind][1].map
        percent = np.pad(100.0 * (mean.determinant - 1.0), (0, 1), mode="wrap")
        image = panel.pcolormesh(
            *edges, percent.T, cmap="RdBu_r", vmin=-change, vmax=change, shading="gouraud",
            rasterized=True,
        )  # fmt: skip
        dx, dy = mean.displacement - arithmetic.displacement
        if kind != "arithmetic":
            panel.quiver(x[some], y[some], dx[some], dy[some], angles="xy", scale_units="xy",
                         scale=1.0 / ENLARGED, width=0.008)  # fmt: skip
        panel.set(title=kind.replace("_", " "), aspect="equal", xlabel="x", **marks)
    above.colorbar(image, ax=top, label="change of area (%)", pad=0.02, aspect=15, shrink=0.85)
    top[0].set_ylabel("y")
    maps = {"mean velocity": mean_velocity, "mean as a vector": as_vector, "as a one-form": as_form}
    for panel, (title, field) in zip(bottom, maps.items(), strict=False):
        image = panel.pcolormesh(
            *edges, np.pad(field[0], (0, 1), mode="wrap").T, cmap="PuOr", vmin=-fastest,
            vmax=fastest, shading="gouraud", rasterized=True,
        )  # fmt: skip
        panel.set(title=title, aspect="equal", xlabel="x", **marks)
    below.colorbar(
        image, ax=bottom[:3], label="component along x", pad=0.02, aspect=15, shrink=0.85
    )
    bottom[0].set_ylabel("y")
    panel = bottom[3]
    ends = np.array([-1.0, 1.0]) * np.abs(mean_velocity[0]).max()
    panel.plot(ends, 2 * ends, "-", color="0.6", lw=0.8, zorder=0)
    panel.plot(ends, ends, "--", color="0.6", lw=0.8, zorder=0)
    panel.text(0.55 * ends[1], 1.5 * ends[1], "2 : 1", ha="right", color="0.4")
    panel.text(0.75 * ends[1], 0.3 * ends[1], "1 : 1", ha="center", va="top", color="0.4")
    for kind, colour, size in (
        ("arithmetic", COLOURS[0], 4.0),
        ("soward_roberts", COLOURS[1], 1.5),
    ):
        panel.plot(velocities[kind][0].ravel(), as_vector[0].ravel(), "o", ms=size, mew=0,
                   color=colour, label=kind.replace("_", " "))  # fmt: skip
    panel.set(xlabel="mean velocity, x", title="at all points", box_aspect=1)
    panel.set_ylabel("mean as a vector, x", labelpad=0)
    panel.legend(frameon=False, fontsize=5.5, loc="lower right", handletextpad=0)
save(figure, output / "means.png")

# ---------------------------------------------------------------- Report
where = {
    "members": f"{arguments.members} phases, steepness {arguments.steepness:g}",
    "grid": f"{arguments.points} x {arguments.points}",
    "window": "one period of the waves",
    "integration": "dop853, rtol 1e-11, atol 0",
    **made_with(),
}
report = f"""# Means of an ensemble of flow maps

Crossing waves that differ by their phase. Above: change of area by each mean map over one
period (colour), and where it leads from where the arithmetic one does (arrows, {ENLARGED} times as
long). Below: velocity of the arithmetic mean map, and means of the velocities pulled back as
vectors and as one-forms.

![means](means.png)

{table}

The last column is the slope of the least-squares line through the origin; 2 for small waves.

## Provenance

{markdown_table(["", ""], [[name, value] for name, value in where.items()])}
"""
with replacing(output / "report.md") as file:
    file.write(report.encode())
print(f"\nreport: {output / 'report.md'}; {time.perf_counter() - began:.0f} s in all")
