"""Average velocities of a flow known on a grid only, and the errors of interpolation apart.

A meandering jet (the Bickley jet, in SI units) is written to a NetCDF file as an analysis might
be: dates, CF attributes, axes in another order. It is read back with `from_xarray`; the average
velocities of the interpolated flow are held against those of the exact one. Three errors are told
apart: of integration and of interpolation, both estimated without the exact flow, and the true
one.

    python examples/gridded_flow.py [--days LENGTH] [--resolution COLUMNS] [--output DIRECTORY]

Writes the data, one figure and a report. Under half a minute on 2 cores.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import xarray
from tqdm import tqdm

import meanfluid as mf
from meanfluid.files import replacing, standing_in_for
from meanfluid.reporting.figures import Map, grid, plot_maps, save
from meanfluid.reporting.provenance import made_with, stamp
from meanfluid.reporting.tables import markdown_table, percent

# ---------------------------------------------------------------- Parameters
DAY, MM = 86400.0, 1e6  # seconds, metres
RADIUS = 6.371 * MM  # of the Earth; the jet repeats after pi times that
EXTENT = (0.0, 20.0 * MM, -3.0 * MM, 3.0 * MM)
COARSER = (4, 2, 1)  # every so many-th node of the data, in space and time

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--days", type=float, default=4.0, help="length of the window, at most 8")
parser.add_argument("--resolution", type=int, default=160, help="particles along x")
parser.add_argument("--output", type=Path, default=Path("results/gridded_flow"))
arguments = parser.parse_args()
if not 0 < arguments.days <= 8:
    parser.error(f"--days must lie between 0 and 8, where the data end, got {arguments.days}")
if arguments.resolution < 16:
    parser.error(f"--resolution must be at least 16, got {arguments.resolution}")
began = time.perf_counter()
output, window = arguments.output, arguments.days * DAY
output.mkdir(parents=True, exist_ok=True)

# ---------------------------------------------------------------- Data
exact = mf.fields.bickley_jet(jet_speed=62.66, jet_width=1.77 * MM, radius=RADIUS)
x = np.pi * RADIUS * np.arange(128) / 128  # one period, its end left out
y = np.linspace(-5 * MM, 5 * MM, 65)
times = np.arange(0.0, 8 * DAY + 1, DAY / 8)
t, y_there, x_there = np.meshgrid(times, y, x, indexing="ij")
velocity = exact.velocity(t.ravel(), np.stack([x_there.ravel(), y_there.ravel()], axis=-1))
u, v = velocity.T.reshape(2, *t.shape)
dates = np.datetime64("2026-01-01", "ns") + (times * 1e9).astype("timedelta64[ns]")
data = xarray.Dataset(
    {
        "u": (("time", "y", "x"), u, {"units": "m s-1", "standard_name": "eastward_wind"}),
        "v": (("time", "y", "x"), v, {"units": "m s-1", "standard_name": "northward_wind"}),
    },
    {
        "time": ("time", dates, {"standard_name": "time", "axis": "T"}),
        "y": ("y", y, {"units": "m", "axis": "Y"}),
        "x": ("x", x, {"units": "m", "axis": "X"}),
    },
    {"title": "Bickley jet", "Conventions": "CF-1.11", "history": f"{stamp()}: gridded_flow.py"},
)
path = output / "jet.nc"
with standing_in_for(path) as part:
    data.to_netcdf(part)

# ---------------------------------------------------------------- Averages
columns, lines, points = grid(EXTENT, arguments.resolution)
truth, truth_error = mf.average_velocity(
    exact, points, 0.0, window, label="initial", return_error=True
)
scale = np.sqrt((truth**2).sum(axis=1).mean())


def rms(error):
    """Root mean square over that of the average velocity, in percent."""
    return percent(np.sqrt(np.mean(error**2)) / scale)


rows = []
with xarray.open_dataset(path) as stored:
    for stride in tqdm(COARSER, desc="grids", file=sys.stderr):
        every = slice(None, None, stride)
        part = stored.isel(time=every, y=every, x=every)
        field = mf.fields.from_xarray(part, boundary={"x": "periodic"})
        result = mf.trajectories(field, points, 0.0, window, interpolation_error=True)
        interpolation = result.interpolation_error / window
        away = np.linalg.norm(result.average_velocity - truth, axis=1)
        size = dict(part.sizes)
        rows.append(
            [
                f"{size['x']} x {size['y']}, every {stride * 3} h",
                percent(field.samples.interpolation_error().rms.max() / 62.66),
                rms(result.average_velocity_error),
                rms(interpolation),
                rms(away),
                f"{np.median(interpolation / away):.1f}",
            ]
        )
table = markdown_table(
    [
        "grid",
        "interpolated velocity / jet speed",
        "integration",
        "interpolation",
        "true error",
        "median of estimate / true",
    ],
    rows,
)
print(table)

# ---------------------------------------------------------------- Figure
speed = np.linalg.norm(result.average_velocity, axis=1)
top = float(np.percentile(away / scale, 99.5))
maps = [
    Map(f"average speed over {arguments.days:g} days, from the data", speed, "speed (m/s)"),
    Map("true error", away / scale, "error / rms speed", (top / 1e4, top), True, "magma"),
    Map("error of interpolation, estimated from the data", interpolation / scale,
        "error / rms speed", (top / 1e4, top), True, "magma"),
]  # fmt: skip
figure = plot_maps(
    maps, extent=tuple(end / MM for end in EXTENT), shape=(len(lines), len(columns)),
    names=("x (Mm)", "y (Mm)"),
)  # fmt: skip
save(figure, output / "errors.png")

# ---------------------------------------------------------------- Report
where = {
    "command": "examples/gridded_flow.py " + " ".join(sys.argv[1:]),
    "integration": "dop853, rtol 1e-11, atol 0; steps end on knots",
    "interpolation": "cubic splines in space and time",
    "error of the exact averages (estimate)": rms(truth_error),
    **made_with(),
}
report = f"""# Average velocities of a flow on a grid

{len(points)} particles, {arguments.days:g} days, labelled by their first position. Errors of the
average velocity are root mean squares over the root mean square average velocity, {scale:.1f} m/s;
*integration* and *interpolation* are estimated without the exact flow.

{table}

![average speed, true error, estimated error](errors.png)

The figure is of the finest grid.

## Provenance

{markdown_table(["", ""], [[name, value] for name, value in where.items()])}
"""
with replacing(output / "report.md") as file:
    file.write(report.encode())
print(f"\nreport: {output / 'report.md'}; {time.perf_counter() - began:.0f} s in all")
