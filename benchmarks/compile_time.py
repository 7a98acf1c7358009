"""How long does one wait before the first number? Import, compilation, and what caches save.

Every number is of a fresh process. *Cold* starts with an empty cache of compiled code, *warm* with
the cache that a cold one left; *next field* is another field in a process that has run one.

    python benchmarks/compile_time.py [--quick] [--threads N] [--repeats N]
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FIELDS = ("double_gyre", "bickley_jet", "abc_flow", "kinematic_simulation", "lamb_oseen_pair")
SCHEMES = ("rk4", "tsit5", "vern7")


def main():
    if len(sys.argv) == 2:
        print(json.dumps(seconds_of(*json.loads(sys.argv[1]))))
        return
    from common import parsed_arguments, write_report

    began = time.perf_counter()
    arguments = parsed_arguments(__doc__)
    pairs = [(field, "dop853") for field in FIELDS] + [("double_gyre", s) for s in SCHEMES]
    pairs = pairs[:1] if arguments.quick else pairs
    fields = sorted({field for field, _ in pairs})
    repeats = 1 if arguments.quick else arguments.repeats
    with tempfile.TemporaryDirectory() as folder:
        warm_cache = Path(folder) / "warm"
        cold = [fresh([["double_gyre", "dop853"]], Path(folder) / str(k)) for k in range(repeats)]
        fresh([[field, "dop853"] for field in fields], warm_cache)
        rows = []
        for field, scheme in pairs:
            runs = [fresh([[field, scheme]], warm_cache) for _ in range(repeats)]
            rows.append({"field": field, "scheme": scheme, **middle(runs)})
        after = [fresh([["rotation", "dop853"], [f, "dop853"]], warm_cache) for f in fields]
    write_report(
        "compile_time", "How long does one wait before the first number?", arguments, began,
        cold={"field": "double_gyre", "scheme": "dop853", **middle(cold)},
        warm=rows,
        next_field=[
            {"field": field, "first_call": run["calls"][1]}
            for field, run in zip(fields, after, strict=True)
        ],
    )  # fmt: skip


def fresh(pairs, cache):
    """Run pairs of field and scheme in a new process with its own cache."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, str(Path(__file__).resolve()), json.dumps(pairs)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout)


def middle(runs):
    """Return the medians over runs of one pair."""
    return {
        "import": statistics.median(run["import"] for run in runs),
        "first_call": statistics.median(run["calls"][0] for run in runs),
        "second_call": statistics.median(run["again"][0] for run in runs),
    }


def seconds_of(*pairs):
    """Return the seconds of the import, and of the first and the second call of each pair."""
    began = time.perf_counter()
    import meanfluid as mf

    imported = time.perf_counter() - began
    calls, again = [], []
    for name, scheme in pairs:
        field = made(mf, name)
        for seconds in (calls, again):
            began = time.perf_counter()
            mf.flow_map(
                field, [[0.5] * field.dimension] * 64, 1.0, 2.0,
                scheme=getattr(mf, scheme), steps=10,
            )  # fmt: skip
            seconds.append(time.perf_counter() - began)
    return {"import": imported, "calls": calls, "again": again}


def made(mf, name):
    """Return a field of this name with its usual parameters."""
    if name == "kinematic_simulation":
        return mf.fields.kinematic_simulation(mf.fields.von_karman_pao(dimension=2), seed=0)
    return mf.fields.rotation(1.0) if name == "rotation" else getattr(mf.fields, name)()


if __name__ == "__main__":
    main()
