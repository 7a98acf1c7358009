"""The conversation of a peer's script with `work_precision.py`; needs NumPy alone.

The script is started with a folder that holds ``task.json`` and ``position.npy``. It reads one JSON
object a line, {"method": name, "rtol": number, "count": n}, integrates the first n positions, and
answers with one: {"seconds": ...}. The final positions of the first ``task["checked"]`` particles
are then in ``final.npy``. Before the first request it says which versions it runs.
"""

import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

# The double gyre, as every peer writes it in its own way.
AMPLITUDE, PERTURBATION, FREQUENCY = 0.1, 0.25, 2 * np.pi / 10


def task():
    """Return the task: start, end, threads, checked; and the positions (n, 2)."""
    folder = Path(sys.argv[1])
    return json.loads((folder / "task.json").read_text()), np.load(folder / "position.npy")


def serve(methods, packages):
    """Answer requests until the input ends.

    `methods` maps a name to ``(position, rtol) -> final``.
    """
    folder = Path(sys.argv[1])
    given, position = task()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints is not an answer
    answers.write(json.dumps({name: version(name) for name in packages}) + "\n")
    for line in sys.stdin:
        asked = json.loads(line)
        chosen = np.ascontiguousarray(position[: asked["count"]])
        began = time.perf_counter()
        final = methods[asked["method"]](chosen, asked["rtol"])
        seconds = time.perf_counter() - began
        np.save(folder / "final.npy", final[: given["checked"]])
        answers.write(json.dumps({"seconds": seconds}) + "\n")
