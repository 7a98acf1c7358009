"""What the benchmarks share: arguments, provenance, alternated repeats, oracle, error columns.

Every script writes ``results/<name>.json`` with `write_report`. A script that is written by
somebody else appears in the README, too, if its report has ``question`` and any of

    "tables": [{"title": str, "columns": [str, ...], "rows": [[number or str, ...], ...]}, ...]
    "targets": [{"target": str, "measured": float, "at_least": float (or "at_most")}, ...]
    "notes": [str, ...]          paragraphs
    "figures": [str, ...]        files in figures/
"""

import argparse
import hashlib
import json
import os
import statistics
import time
from datetime import date
from pathlib import Path

import numpy as np

from meanfluid.backends.reference import reference_flow_map, reference_gradient
from meanfluid.reporting.provenance import hardware, versions
from meanfluid.trajectories.launch import default_threads

HERE = Path(__file__).parent
RESULTS = HERE / "results"
CACHE = HERE / ".cache"
PACKAGES = ("meanfluid", "numpy", "scipy", "numba", "llvmlite", "heyoka")
ORACLE = "heyoka, adaptive Taylor series, tolerance 1e-18"


def parsed_arguments(document, **extra):
    """Return the arguments that every benchmark has, and switches of its own.

    `extra` maps the name of a switch to its help.
    """
    parser = argparse.ArgumentParser(description=document.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all?")
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--repeats", type=int, default=3, help="alternated; the median is reported")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the report")
    for name, told in extra.items():
        parser.add_argument(f"--{name}", action="store_true", help=told)
    arguments = parser.parse_args()
    if arguments.quick and arguments.results == RESULTS:
        arguments.results = HERE / ".cache" / "quick"  # never over the committed numbers
    return arguments


def write_report(name, question, arguments, began, **parts):
    """Write ``<name>.json`` with where it comes from, and how long the script took."""
    report = {
        "question": question,
        "date": date.today().isoformat(),
        "quick": arguments.quick,
        "threads": arguments.threads,
        "repeats": arguments.repeats,
        "script_seconds": round(time.perf_counter() - began, 1),
        "machine": {**hardware(), "vector_bits": vector_bits(), **cpu_limits()},
        "versions": versions(PACKAGES),
        "oracle": ORACLE,
        **parts,
    }
    arguments.results.mkdir(parents=True, exist_ok=True)
    path = arguments.results / f"{name}.json"
    path.write_text(json.dumps(report, indent=1, default=float) + "\n")
    print(f"{path}: {report['script_seconds']:.0f} s")
    return report


def vector_bits():
    """Return the width of the widest vector registers that Numba may use here."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 512
    return 256 if features.get("avx2") else 128


def cpu_limits():
    """Return the load of the machine when the report was written: was it quiet?"""
    return {"load": round(os.getloadavg()[0], 2)} if hasattr(os, "getloadavg") else {}


def alternated(contestants, repeats, least=0.0):
    """Time contestants in turn, after one call each that compiles and warms up.

    Parameters
    ----------
    contestants : dict of name to callable without arguments
    repeats : int
        One slower than ten seconds is timed once only.
    least : float, s
        A contestant that is faster is called several times for one timing.

    Returns
    -------
    dict of name to dict
        ``value`` of the first call, ``first_call`` in seconds, and ``seconds``, one per repeat.
    """
    measured = {}
    for name, run in contestants.items():
        first, value = timed(run)
        measured[name] = {"value": value, "first_call": first, "seconds": []}
    for repeat in range(repeats):
        for name, run in contestants.items():
            entry = measured[name]
            if repeat and entry["seconds"][0] > 10.0:
                continue
            calls = max(1, int(least / entry["seconds"][0])) if repeat and least else 1
            began = time.perf_counter()
            for _ in range(calls):
                run()
            entry["seconds"].append((time.perf_counter() - began) / calls)
    return measured


def timed(run):
    """Return the seconds that one call took, and its value."""
    began = time.perf_counter()
    value = run()
    return time.perf_counter() - began, value


def median(entry):
    """Return the median of the seconds of one contestant of `alternated`."""
    return statistics.median(entry["seconds"])


def oracle(field, position, start, end):
    """Final positions by Taylor integration, kept on disk for the next run."""
    return kept("oracle", reference_flow_map, field, position, start, end)


def oracle_gradient(field, position, start, end):
    """Gradients of the flow map by Taylor integration, kept on disk for the next run."""
    return kept("gradient", reference_gradient, field, position, start, end)


def kept(name, compute, field, position, start, end):
    """Return the result of an oracle from disk, or compute and keep it."""
    key = hashlib.sha256()
    for part in (field.name, field.table, position, np.array([start, end], dtype=float), ORACLE):
        key.update(part.encode() if isinstance(part, str) else np.ascontiguousarray(part).tobytes())
    path = CACHE / f"{name}_{key.hexdigest()[:24]}.npy"
    if path.exists():
        return np.load(path)
    truth = compute(field, position, start, end)
    CACHE.mkdir(exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.npy")
    np.save(unfinished, truth)
    unfinished.replace(path)
    return truth


def errors(final, truth):
    """Return the columns that stand beside every time: distances to the oracle."""
    distance = np.linalg.norm(final - truth, axis=1)
    return {
        "median_error": float(np.median(distance)),
        "p99_error": float(np.percentile(distance, 99)),
        "rms_error": float(np.sqrt(np.mean(distance**2))),
    }


def uniform(field, count, seed=0):
    """Return random positions in the domain of a field, (count, dimension)."""
    lower, upper = (np.array([getattr(a, side) for a in field.domain]) for side in SIDES)
    return np.random.default_rng(seed).uniform(lower, upper, (count, field.dimension))


SIDES = ("lower", "upper")


def gyre_grid(columns=707, rows=354):
    """Return the grid of the double gyre's benchmark on [0, 2] x [0, 1], (n, 2), x fastest."""
    x, y = np.meshgrid(np.linspace(0, 2, columns), np.linspace(0, 1, rows))
    return np.stack([x.ravel(), y.ravel()], axis=-1)
