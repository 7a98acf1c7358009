"""Draw all averages of one flow side by side: five velocities at one place, none of them wrong.

A decaying row of vortices over one window. Eulerian and Lagrangian means with every label, as maps
of their speed, and as arrows at one point, each beside the trajectory that it is the average of.

    python examples/which_average.py [--start TIME] [--end TIME] [--point X Y] [--output DIRECTORY]

Writes two figures and a report. Under half a minute on 2 cores.
"""

import argparse
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import meanfluid as mf
from meanfluid.files import replacing
from meanfluid.reporting.figures import STYLE, grid, plot_windows, save
from meanfluid.reporting.provenance import made_with
from meanfluid.reporting.tables import markdown_table

# ---------------------------------------------------------------- Parameters
CELLS = mf.fields.taylor_green(amplitude=1.0, wavenumber=1.0, viscosity=0.05)
EXTENT = (0.0, np.pi, 0.0, np.pi)
RESOLUTION = 96
COLOURS = ["#0b6fa4", "#3b8b5a", "#b8860b", "#7d5ba6", "#d1495b"]

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--start", type=float, default=0.3)
parser.add_argument("--end", type=float, default=2.3)
parser.add_argument("--point", type=float, nargs=2, default=(1.0, 0.5), metavar=("X", "Y"))
parser.add_argument("--output", type=Path, default=Path("results/which_average"))
arguments = parser.parse_args()
start, end = arguments.start, arguments.end
if not start < end:
    parser.error(f"--start must be before --end, got {start} and {end}")
middle = (start + end) / 2
began = time.perf_counter()
output = arguments.output
output.mkdir(parents=True, exist_ok=True)

# ---------------------------------------------------------------- Averages
LAGRANGIAN = {
    "label initial": "initial",
    "label at mid-time": middle,
    "label mean": "mean",
    "label final": "final",
}


def averages(position):
    """Return velocity and estimated error of every mean at some positions."""
    found = {
        name: mf.average_velocity(
            CELLS, position, start, end, label=label, return_error=True, on_failure="mark"
        )
        for name, label in LAGRANGIAN.items()
    }
    found["Eulerian"] = mf.eulerian_mean(CELLS, "velocity", position, start, end, return_error=True)
    return found


point = np.array([arguments.point])
at_point = averages(point)
_, _, places = grid(EXTENT, RESOLUTION)
maps = averages(places)

rows = [
    [name, f"({u[0, 0]:+.10f}, {u[0, 1]:+.10f})", f"{error[0]:.0e}"]
    for name, (u, error) in at_point.items()
]
table = markdown_table([f"mean velocity at {tuple(arguments.point)}", "value", "error"], rows)
print(table)
lost = int(np.isnan(maps["label mean"][0]).any(axis=1).sum())
if lost:
    print(f"\n{lost} of {len(places)} points are the mean position of no trajectory")

# ---------------------------------------------------------------- Trajectories through the point
# The trajectory that each label names: from its start to its end.
TIMES = np.linspace(start, end, 81)


def trajectory_from(origin):
    """Return the positions at all times of the particle that is at `origin` at the start."""
    path = mf.trajectories(CELLS, origin, start, end, times=TIMES)
    return path.position[0]


origins = {
    "label initial": point,
    "label at mid-time": mf.flow_map(CELLS, point, middle, start),
    "label mean": mf.relabel(CELLS, point, start, end, given="mean", wanted="initial"),
    "label final": mf.flow_map(CELLS, point, end, start),
}
paths = {name: trajectory_from(origin) for name, origin in origins.items()}

# ---------------------------------------------------------------- Figure
speeds = {name: np.linalg.norm(u, axis=1) for name, (u, _) in maps.items()}
top = np.nanmax([np.nanmax(speed) for speed in speeds.values()])
shape = (RESOLUTION, RESOLUTION)
with plt.rc_context(STYLE):
    figure, panels = plt.subplots(2, 3, figsize=(7.2, 5.0), layout="constrained")
    x, y = np.linspace(*EXTENT[:2], RESOLUTION), np.linspace(*EXTENT[2:], RESOLUTION)
    for panel, (name, speed) in zip(panels.flat, speeds.items(), strict=False):
        image = panel.pcolormesh(
            x, y, np.ma.masked_invalid(speed).reshape(shape), vmin=0, vmax=top, rasterized=True
        )
        panel.plot(*point[0], "+", color="white", ms=7)
        panel.set_title(name)
        panel.set_aspect("equal")
    figure.colorbar(image, ax=panels[0, -1], label="speed of the mean velocity", pad=0.02)
    last = panels[1, 2]
    for colour, (name, (u, _)) in zip(COLOURS, at_point.items(), strict=True):
        if name in paths:
            last.plot(*paths[name].T, color=colour, lw=1.0, alpha=0.8)
            last.plot(*paths[name][0], "o", ms=3.5, mfc="white", mec=colour)
            last.plot(*paths[name][-1], "o", ms=3.5, color=colour)
        last.annotate(
            "", xytext=point[0], xy=point[0] + u[0],
            arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.6, "shrinkA": 0},
        )  # fmt: skip
        last.plot([], [], color=colour, label=name)
    last.plot(*point[0], "+", color="black", ms=7)
    last.legend(loc="upper right", frameon=False, handlelength=1.2)
    last.set_title("at +: arrows, and what they average")
    reached = np.concatenate([*paths.values(), *(point + u for u, _ in at_point.values())])
    centre = (reached.max(axis=0) + reached.min(axis=0)) / 2
    half = 0.6 * np.ptp(reached, axis=0).max()
    last.set(xlim=centre[0] + np.array([-half, half]), ylim=centre[1] + np.array([-half, half]))
    last.set_aspect("equal")
    for panel in panels[-1]:
        panel.set_xlabel("x")
    for panel in panels[:, 0]:
        panel.set_ylabel("y")
save(figure, output / "averages.png")

length = 10.0
windows = {
    "top hat": mf.windows.top_hat(),
    "Hann": mf.windows.hann(),
    "Gaussian, std 1.5": mf.windows.gaussian(1.5),
    "exponential, rate 1": mf.windows.exponential(1.0),
    "Butterworth 2, rate 1": mf.windows.butterworth(1.0),
}
save(plot_windows(windows, length), output / "windows.png")

# ---------------------------------------------------------------- Report
where = {
    "field": f"taylor_green{tuple(CELLS.parameters)}",
    "window": f"{start} to {end}",
    **made_with(),
}
report = f"""# All averages of one flow

Decaying Taylor-Green vortices. Maps show the speed of each mean velocity; the last panel shows all
of them at one point, as arrows, with the trajectories that they average, from circle to dot. The
Eulerian mean is that of the velocity which passes the point, along no trajectory.

![averages](averages.png)

{table}

{mf.which_average()}

## Windows

Weights over a window of length {length:g}, and the part of each frequency that they keep.
Exponential and Butterworth windows look back from the end; all are cut off at the start.

![windows](windows.png)

## Provenance

{markdown_table(["", ""], [[name, value] for name, value in where.items()])}
"""
with replacing(output / "report.md") as file:
    file.write(report.encode())
print(f"\nreport: {output / 'report.md'}; {time.perf_counter() - began:.0f} s in all")
