"""How long does it take to reach a measured error? Flow maps of the double gyre, against peers.

250 000 trajectories, 707 x 354 of them on [0, 2] x [0, 1], from t = 0 to 20. Each contestant runs
with several tolerances; the error is measured on the same 2 000 particles against Taylor
integration by heyoka. Slow contestants run fewer particles, taken at random from the same grid, and
their times are scaled to the number above. Peers live in environments of their own:

    python benchmarks/work_precision.py --install      once, some minutes
    python benchmarks/work_precision.py [--quick] [--threads N] [--repeats N]
"""

import statistics
import time
from contextlib import ExitStack
from typing import NamedTuple

import environments
import numpy as np
from common import errors, gyre_grid, oracle, parsed_arguments, timed, write_report
from tqdm import tqdm

import meanfluid as mf

START, END = 0.0, 20.0
CHECKED = 2_000
TARGETS = (1e-6, 1e-9, 1e-12)
LOOSE_TO_TIGHT = (1e-4, 1e-6, 1e-8, 1e-10, 1e-12, 1e-13)
ALONE = "DOP853, per particle"


class Entry(NamedTuple):
    """A tool with one method, its settings, and how many particles it is given."""

    tool: str
    method: str
    settings: tuple[float, ...]
    count: int
    kind: str = "rtol"  # what a setting is: rtol or steps


# Counts are chosen so that one run takes a few seconds at most on two cores.
PEERS = (
    Entry("heyoka", "batch", (1e-4, 1e-6, 1e-8, 1e-10, 1e-12, 1e-15), 250_000),
    Entry("numbacs", "dop853", LOOSE_TO_TIGHT, 50_000),
    Entry("numbalsoda", "dop853", LOOSE_TO_TIGHT, 50_000),
    Entry("scipy", "DOP853, one system", LOOSE_TO_TIGHT, 20_000),
    Entry("scipy", ALONE, LOOSE_TO_TIGHT, 100),
    Entry("diffrax", "Tsit5, vmapped", (1e-4, 1e-6, 1e-8, 1e-10, 1e-12), 2_000),
    Entry("diffrax", "Dopri8, vmapped", LOOSE_TO_TIGHT, 2_000),
    Entry("diffrax", "Dopri8, one step for all", LOOSE_TO_TIGHT, 20_000),
    Entry("torchdiffeq", "dopri5", (1e-4, 1e-6, 1e-8, 1e-10), 20_000),
    Entry("torchdiffeq", "dopri8", LOOSE_TO_TIGHT, 20_000),
)
TOLERANCES = (1e-5, 1e-7, 1e-9, 1e-11, 1e-13)
OURS = (
    Entry("meanfluid", "dop853", TOLERANCES, 250_000),
    Entry("meanfluid", "dop853, error estimated", TOLERANCES, 250_000),
    Entry("meanfluid", "dop853, equal steps", (20, 30, 50, 80, 120, 200, 300), 250_000, "steps"),
    Entry("meanfluid", "vern7", TOLERANCES, 50_000),
    Entry("meanfluid", "vern7, equal steps", (30, 50, 100, 200, 400, 800), 50_000, "steps"),
    Entry("meanfluid", "tsit5", TOLERANCES, 50_000),
    Entry("meanfluid", "tsit5, equal steps", (50, 100, 200, 400, 800, 1600), 50_000, "steps"),
    Entry("meanfluid", "rk4, equal steps", (50, 100, 200, 400, 800, 1600, 3200), 50_000, "steps"),
)


def main():
    began = time.perf_counter()
    arguments = parsed_arguments(__doc__, install="make the peers' environments, and stop")
    if arguments.install:
        raise SystemExit(1 if environments.install() else 0)
    grid, checked = gyre_grid(), 200 if arguments.quick else CHECKED
    # The first particles are a uniform sample of the grid, whatever the count.
    position = np.random.default_rng(0).permutation(grid)
    truth = oracle(mf.fields.double_gyre(), position[:CHECKED], START, END)[:checked]
    entries = [smaller(entry, arguments.quick) for entry in (*OURS, *PEERS)]
    missing = sorted({e.tool for e in entries} - {"meanfluid"} - set(found()))
    for peer in missing:
        print(f"{peer} is not installed and takes no part: see work_precision.py --install")
    entries = [entry for entry in entries if entry.tool not in missing]
    with ExitStack() as stack:
        tools = {
            name: stack.enter_context(
                environments.Peer(name, position, START, END, arguments.threads, checked)
            )
            for name in dict.fromkeys(entry.tool for entry in entries if entry.tool != "meanfluid")
        }
        runners = [runner(entry, tools, position, arguments.threads, checked) for entry in entries]
        measured = rounds(entries, runners, arguments, truth)
        peer_versions = {name: tool.versions for name, tool in tools.items()}
    write_report(
        "work_precision", "How long does it take to reach a measured error?", arguments, began,
        particles=len(grid), checked=checked, window=[START, END], targets_of_error=TARGETS,
        missing=missing, peer_versions=peer_versions, entries=measured,
    )  # fmt: skip


def found():
    """Return the peers that are installed."""
    return [name for name in environments.pins() if environments.interpreter(name) is not None]


def smaller(entry, quick):
    """Return an entry for a trial of the script: two settings and few particles."""
    if not quick:
        return entry
    return entry._replace(settings=entry.settings[:2], count=min(entry.count, 200))


def runner(entry, tools, position, threads, checked):
    """Return ``setting -> (seconds, final positions of the first particles)``."""
    if entry.tool != "meanfluid":
        return lambda setting: tools[entry.tool].run(entry.method, setting, entry.count)
    field = mf.fields.double_gyre()
    scheme = getattr(mf, entry.method.partition(",")[0])
    chosen = np.ascontiguousarray(position[: entry.count])

    def run(setting):
        option = {"steps": int(setting)} if entry.kind == "steps" else {"rtol": setting}
        seconds, final = timed(
            lambda: mf.flow_map(
                field, chosen, START, END, scheme=scheme, threads=threads,
                estimate_error="estimated" in entry.method, **option,
            )
        )  # fmt: skip
        return seconds, final[:checked]

    return run


def rounds(entries, runners, arguments, truth):
    """Run all entries in turn, one round per repeat, after a first call that compiles."""
    first = [
        sum(run(s)[0] for s in compiled_for(e)) for e, run in zip(entries, runners, strict=True)
    ]
    points = [[{"setting": s, "seconds": []} for s in entry.settings] for entry in entries]
    total = arguments.repeats * sum(len(entry.settings) for entry in entries)
    with tqdm(total=total, unit="run", disable=None) as bar:
        for repeat in range(arguments.repeats):
            for run, row in zip(runners, points, strict=True):
                for point in row:
                    bar.update()
                    if repeat and point["seconds"][0] > 10.0:  # its noise is small
                        continue
                    seconds, final = run(point["setting"])
                    point["seconds"].append(float(f"{seconds:.4g}"))
                    point.update(errors(final, truth[: len(final)]))
                    point["checked"] = len(final)
    return [
        {
            "tool": entry.tool,
            "method": entry.method,
            "kind": entry.kind,
            "particles": entry.count,
            "first_call": round(seconds, 3),
            "points": [point | scaled(entry, point, arguments.threads) for point in row],
        }
        for entry, seconds, row in zip(entries, first, points, strict=True)
    ]


def compiled_for(entry):
    """Return the settings that need a call to be compiled: heyoka's code is for one tolerance."""
    return entry.settings if entry.tool == "heyoka" else entry.settings[:1]


def scaled(entry, point, threads):
    """Return the time for all particles.

    One particle after the other keeps one thread busy; its time is divided by the threads, as if
    as many processes shared the work without loss.
    """
    seconds = statistics.median(point["seconds"]) * len(gyre_grid()) / entry.count
    return {"seconds_for_all": seconds / (threads if entry.method == ALONE else 1)}


if __name__ == "__main__":
    main()
