"""How do time and memory grow? With particles, steps, threads and modes.

Time should be proportional to particles, to 1/h and to modes; the exponents of the fits say how
well that holds. Memory is the peak of a process of its own that computes average velocities of the
double gyre: up to 1e8 of them, which takes minutes; on a machine with less than 8 GB the last are
extrapolated. With --memory only this part is measured, and put into the report that is there.

    python benchmarks/scaling.py [--quick] [--threads N] [--repeats N] [--memory]
"""

import json
import os
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

from analysis import exponent
from common import (
    alternated,
    errors,
    median,
    oracle,
    parsed_arguments,
    uniform,
    write_report,
)

import meanfluid as mf

CHECKED = 256
END = 20.0
STEPS = 50  # dop853: a median error of 1e-9
SHOWN = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
LINEAR_FROM = 30_000  # particles: below, threads have too little to do
GIANT = 100_000_000
GIANT_BYTES = 8e9  # that they should fit in


def main():
    began = time.perf_counter()
    if len(sys.argv) == 3 and sys.argv[1] == "--memory-of":
        print(json.dumps(peak(int(sys.argv[2]))))
        return
    arguments = parsed_arguments(__doc__, memory="measure memory alone, into the last report")
    if arguments.memory:
        path = arguments.results / "scaling.json"
        report = json.loads(path.read_text()) | {"memory": over_memory(arguments)}
        path.write_text(json.dumps(report, indent=1) + "\n")
        return
    write_report(
        "scaling", "How do time and memory grow?", arguments, began,
        scheme="dop853", steps=STEPS, window=END,
        particles=over_particles(arguments),
        step_length=over_steps(arguments),
        threads_used=over_threads(arguments),
        modes=over_modes(arguments),
        memory=over_memory(arguments),
    )  # fmt: skip


def series(name, runs, repeats, truth):
    """Time the runs in turn and return their rows; `runs` maps sizes to functions."""
    rows = []
    for size, entry in alternated(runs, repeats, least=0.05).items():
        final = entry["value"][: len(truth)]
        rows.append({name: size, "seconds": median(entry), **errors(final, truth[: len(final)])})
    return rows


def mapped(field, position, *, steps, threads, end=END):
    return lambda: mf.flow_map(
        field, position, 0.0, end, steps=steps, estimate_error=False, threads=threads
    )


def over_particles(arguments):
    field = mf.fields.double_gyre()
    sizes = SHOWN[:3] if arguments.quick else SHOWN
    position = uniform(field, sizes[-1])
    truth = oracle(field, position[:CHECKED], 0.0, END)
    runs = {n: mapped(field, position[:n], steps=STEPS, threads=arguments.threads) for n in sizes}
    rows = series("particles", runs, arguments.repeats, truth)
    large = [row for row in rows if row["particles"] >= LINEAR_FROM] or rows
    return {"rows": rows, "linear_from": LINEAR_FROM} | slope(large, "particles")


def over_steps(arguments):
    field = mf.fields.double_gyre()
    counts = (20, 40, 80) if arguments.quick else (20, 40, 80, 160, 320, 640, 1280)
    position = uniform(field, 512 if arguments.quick else 65_536)
    truth = oracle(field, position[:CHECKED], 0.0, END)
    runs = {n: mapped(field, position, steps=n, threads=arguments.threads) for n in counts}
    rows = series("steps", runs, arguments.repeats, truth)
    return {"rows": rows} | slope(rows, "steps")


def over_threads(arguments):
    field = mf.fields.double_gyre()
    position = uniform(field, 2_048 if arguments.quick else 262_144)
    truth = oracle(field, position[:CHECKED], 0.0, END)
    counts = sorted({1, arguments.threads} | {2**k for k in range(arguments.threads.bit_length())})
    counts = [n for n in counts if n <= arguments.threads]
    runs = {n: mapped(field, position, steps=STEPS, threads=n) for n in counts}
    rows = series("threads", runs, arguments.repeats, truth)
    for row in rows:
        row["speed_up"] = rows[0]["seconds"] / row["seconds"]
    return {"rows": rows}


def over_modes(arguments):
    counts = (8, 32) if arguments.quick else (8, 16, 32, 64, 128, 256, 512)
    spectrum = mf.fields.von_karman_pao(1.0, k_energy=1.5, k_eta=15.0, dimension=2)
    rows = []
    for modes in counts:
        field = mf.fields.kinematic_simulation(spectrum, modes=modes, seed=0)
        position = uniform(field, 256 if arguments.quick else 16_384)
        truth = oracle(field, position[:CHECKED], 0.0, 1.0)
        run = mapped(field, position, steps=20, threads=arguments.threads, end=1.0)
        rows += series("modes", {modes: run}, arguments.repeats, truth)
    return {"rows": rows} | slope(rows, "modes")


def slope(rows, name):
    """Return the exponent of time over size."""
    return {"exponent": exponent([r[name] for r in rows], [r["seconds"] for r in rows])}


def over_memory(arguments):
    sizes = (10_000, 100_000) if arguments.quick else (10_000_000, 30_000_000)
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    sizes += (GIANT,) if physical > GIANT_BYTES and not arguments.quick else ()
    rows = []
    for size in sizes:
        command = [sys.executable, str(Path(__file__).resolve()), "--memory-of", str(size)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append({"particles": size, **json.loads(done.stdout)})
    last, before = rows[-1], rows[-2]
    per_particle = (last["peak_bytes"] - before["peak_bytes"]) / (
        last["particles"] - before["particles"]
    )
    giant = last["peak_bytes"] + per_particle * (GIANT - last["particles"])
    return {
        "date": date.today().isoformat(), "rows": rows,
        "bytes_per_particle": per_particle, "giant_bytes": giant, "giant_aim": GIANT_BYTES,
    }  # fmt: skip


def peak(count):
    """Peak memory of this process after so many average velocities, and how long they took."""
    import resource

    field = mf.fields.double_gyre()
    position = uniform(field, count)
    mf.average_velocity(field, position[:100], 0.0, END, steps=STEPS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    began = time.perf_counter()
    mean = mf.average_velocity(field, position, 0.0, END, steps=STEPS)
    return {
        "seconds": time.perf_counter() - began,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "bytes_before": before,
        "result_bytes": mean.nbytes,
    }


if __name__ == "__main__":
    main()
