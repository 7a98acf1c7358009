"""How accurate both learners of the main example get in 60, 180 and 600 seconds of training.

Runs ``examples/vortex_meanflow.py`` on both of its fields for each time, one after the other, and
writes a table beside this file. Not a unit test: it takes an hour, and the result depends on the
machine, which is named in it.

    python validation/accuracy_against_time.py [--seconds 60 180 600] [--threads N]
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import xarray

from meanfluid.reporting.provenance import hardware, stamp, versions
from meanfluid.reporting.tables import markdown_table, percent

here = Path(__file__).resolve().parent

# ---------------------------------------------------------------- Parameters
parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--fields", nargs="+", default=["lamb_oseen_pair", "double_gyre"])
parser.add_argument("--seconds", type=float, nargs="+", default=[60.0, 180.0, 600.0])
parser.add_argument("--threads", type=int, help="of torch; as many as there are cores by default")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--output", type=Path, default=here / "accuracy_against_time.md")
parser.add_argument("--keep", type=Path, default=Path("results/accuracy_against_time"))
arguments = parser.parse_args()

# ---------------------------------------------------------------- Runs
environment = dict(os.environ, MPLBACKEND="Agg")
if arguments.threads:
    environment["OMP_NUM_THREADS"] = str(arguments.threads)
rows = []
for field in arguments.fields:
    for seconds in arguments.seconds:
        folder = arguments.keep / f"{field}_{seconds:g}s"
        command = [sys.executable, str(here.parent / "examples" / "vortex_meanflow.py")]
        command += ["--field", field, "--training", str(seconds), "--output", str(folder)]
        command += ["--seed", str(arguments.seed)]
        subprocess.run(command, check=True, env=environment)
        with xarray.open_dataset(folder / "comparison.nc") as data:
            for arm in data.arm.values:
                one = data.sel(arm=arm)
                bins = " ".join(percent(v) for v in one.relative_error.values)
                rows.append(
                    [
                        f"{field}, {arm}",
                        f"{seconds:g}",
                        str(int(one.training_steps)),
                        percent(float(one.total_relative_error)),
                        bins,
                        percent(float(one.path_bound)),
                    ]
                )

# ---------------------------------------------------------------- Table
table = markdown_table(
    ["learner", "seconds", "steps", "relative L2 error", "by fifth of the window", "certificate"],
    rows,
)
where = {**hardware(), "threads": str(arguments.threads or "all"), **versions(), "made": stamp()}
arguments.output.write_text(
    "# Accuracy against training time\n\n"
    f"Seed {arguments.seed}. Made by `{Path(__file__).name}`.\n\n{table}\n\n"
    + markdown_table(["", ""], [[key, value] for key, value in where.items()])
    + "\n"
)
print(table)
