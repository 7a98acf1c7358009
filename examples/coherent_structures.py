"""Draw what stretches and what turns: Lyapunov exponents and vorticity deviation on a fine grid.

FTLE forward in time shows what repels, backward what attracts, LAVD where fluid turns with a
vortex; all three as functions of the position at one time. The gradient of the flow map is exact:
it is integrated with the trajectories, without finite differences. A table holds the numbers
against known exponents and against det F = 1.

    python examples/coherent_structures.py [--field double_gyre bickley_jet] [--window LENGTH]
        [--resolution COLUMNS] [--output DIRECTORY]

Writes one figure for each field and a report. Under a minute on 2 cores.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

import meanfluid as mf
from meanfluid.files import replacing
from meanfluid.reporting.figures import Map, grid, plot_maps, save
from meanfluid.reporting.provenance import made_with
from meanfluid.reporting.tables import markdown_table

# ---------------------------------------------------------------- Parameters
FIELDS = {"double_gyre": mf.fields.double_gyre, "bickley_jet": mf.fields.bickley_jet}
EXTENTS = {"double_gyre": (0.0, 2.0, 0.0, 1.0), "bickley_jet": (0.0, 20.0, -3.0, 3.0)}
WINDOWS = {"double_gyre": 15.0, "bickley_jet": 10.0}
UNITS = {"double_gyre": ("", "", ""), "bickley_jet": (" (Mm)", " (1/d)", " d")}
# FTLE of the double gyre from time 0: position, end, exponent. Computed apart from this library,
# in extended precision, to ten digits at least.
KNOWN = [
    ((0.5, 0.5), 5.0, 0.03114704365779359),
    ((0.5, 0.5), 15.0, 0.1633023608704221),
    ((1.0, 0.25), 5.0, 0.2634313039285007),
    ((1.0, 0.25), 15.0, 0.07427402920830545),
]

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--field", nargs="+", default=list(FIELDS), choices=list(FIELDS))
parser.add_argument("--window", type=float, help="its length; default: 15, and 10 days")
parser.add_argument("--resolution", type=int, default=400, help="points along x")
parser.add_argument("--output", type=Path, default=Path("results/coherent_structures"))
arguments = parser.parse_args()
if arguments.resolution < 16:
    parser.error(f"--resolution must be at least 16, got {arguments.resolution}")
if arguments.window is not None and not 0 < arguments.window < np.inf:
    parser.error(f"--window must be positive, got {arguments.window}")
began = time.perf_counter()
output = arguments.output
output.mkdir(parents=True, exist_ok=True)


def bar(title):
    """Return a progress bar that a computation on many particles calls with (done, total)."""
    shown = tqdm(desc=title, unit=" particles", unit_scale=True, file=sys.stderr)

    def update(done, total):
        shown.total = total
        shown.update(done - shown.n)
        if done == total:
            shown.close()

    return update


# ---------------------------------------------------------------- Known exponents
gyre = mf.fields.double_gyre()
rows = []
for position, end, expected in KNOWN:
    value, error = mf.ftle(gyre, [position], 0.0, end, return_error=True)
    rows.append(
        [
            f"{position}, window {end:g}",
            f"{value[0]:.13f}",
            f"{expected:.13f}",
            f"{abs(value[0] - expected):.0e}",
            f"{error[0]:.0e}",
        ]
    )
known = markdown_table(
    ["FTLE of the double gyre at", "computed", "known", "difference", "estimated error"], rows
)
print(known)

# ---------------------------------------------------------------- Fields on a grid
rows = []
for name in arguments.field:
    field, extent = FIELDS[name](), EXTENTS[name]
    window = arguments.window or WINDOWS[name]
    x, y, points = grid(extent, arguments.resolution)
    forward, error = mf.ftle(
        field, points, 0.0, window, return_error=True, progress=bar(f"{name}: FTLE forward")
    )
    backward = mf.ftle(field, points, 0.0, -window, progress=bar(f"{name}: FTLE backward"))
    deviation, deviation_error = mf.lavd(
        field, points, 0.0, window, normalise=True, return_error=True,
        progress=bar(f"{name}: LAVD"),
    )  # fmt: skip

    # Both flows are free of divergence, so F keeps area. The rounding of its determinant grows
    # with the square of the stretching, hence the quotient.
    some = points[:: max(1, len(points) // 5000)]
    path = mf.trajectories(field, some, 0.0, window, gradient=True)
    away = np.abs(np.linalg.det(path.gradient) - 1.0)
    size = np.linalg.norm(path.gradient, axis=(1, 2))
    rows.append(
        [
            f"{name}, {len(x)} x {len(y)}, window {window:g}",
            f"{np.median(error):.0e}, {error.max():.0e}",
            f"{np.median(deviation_error):.0e}, {deviation_error.max():.0e}",
            f"{away.max():.0e}",
            f"{(away / size**2).max():.0e}",
        ]
    )

    length_unit, rate_unit, window_unit = UNITS[name]
    highest = np.percentile(np.concatenate([forward, backward]), 97.0)
    maps = [
        Map(f"forward: what repels, T = {window:g}{window_unit}", forward, f"FTLE{rate_unit}",
            (0.0, highest), colours="magma"),
        Map(f"backward: what attracts, T = −{window:g}{window_unit}", backward, f"FTLE{rate_unit}",
            (0.0, highest), colours="magma"),
        Map(f"vorticity deviation, T = {window:g}{window_unit}", deviation,
            f"LAVD / T{rate_unit}", (0.0, deviation.max())),
    ]  # fmt: skip
    figure = plot_maps(
        maps, extent=extent, shape=(len(y), len(x)),
        names=(f"x{length_unit}", f"y{length_unit}"),
    )  # fmt: skip
    save(figure, output / f"{name}.png")
checks = markdown_table(
    [
        "field",
        "error of FTLE: median, largest",
        "of LAVD / T",
        "largest abs(det F - 1)",
        "over norm(F)^2",
    ],
    rows,
)
print(f"\n{checks}")

# ---------------------------------------------------------------- Report
where = {
    "command": "examples/coherent_structures.py " + " ".join(sys.argv[1:]),
    "integration": "dop853; rtol 1e-11 for FTLE, 1e-8 for LAVD; atol 0",
    "vorticity is averaged over": "the domain of the field",
    **made_with(),
}
figures = "\n\n".join(f"![{name}]({name}.png)" for name in arguments.field)
report = f"""# What stretches and what turns

Finite-time Lyapunov exponents and Lagrangian-averaged vorticity deviation over the length of the
window, as functions of the position at time 0.

{figures}

## Known exponents

{known}

## Errors

Estimated global errors; and the determinant of the flow map's gradient F, which is 1 in a flow
free of divergence, at up to 10000 of the points.

{checks}

## Provenance

{markdown_table(["", ""], [[name, value] for name, value in where.items()])}
"""
with replacing(output / "report.md") as file:
    file.write(report.encode())
print(f"\nreport: {output / 'report.md'}; {time.perf_counter() - began:.0f} s in all")
