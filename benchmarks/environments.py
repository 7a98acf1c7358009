"""Peers in environments of their own, and the conversation with their scripts.

Versions are pinned in ``peers/pins.toml``. A peer that is not installed is skipped with a message.
"""

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
PEERS = HERE / "peers"
ENVIRONMENTS = HERE / ".envs"


def pins():
    """Return what ``pins.toml`` says of every peer."""
    return tomllib.loads((PEERS / "pins.toml").read_text())


def interpreter(peer):
    """Return the Python that runs a peer, or None if it is not installed."""
    if "requirements" not in pins()[peer]:
        return Path(sys.executable)
    python = ENVIRONMENTS / peer / "bin" / "python"
    return python if (ENVIRONMENTS / peer / "installed").exists() else None


def install():
    """Make the environments that are missing; return the peers for which pip failed."""
    failed = []
    for peer, given in pins().items():
        if interpreter(peer) is not None:
            continue
        folder = ENVIRONMENTS / peer
        print(f"installing {peer} into {folder}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q"]
        environment = {"FC": "gfortran", **os.environ}
        done = subprocess.run(pip + given["requirements"], env=environment, check=False)
        if done.returncode:
            failed.append(peer)
            print(f"{peer} could not be installed; see pins.toml for what it needs")
        else:
            (folder / "installed").touch()
    return failed


class Peer:
    """A running script of a peer; a context manager.

    Parameters
    ----------
    name : str
        In ``pins.toml``.
    position : (n, 2)
    start, end : float
    threads : int
    checked : int
        How many final positions come back.

    Raises
    ------
    RuntimeError
        If the script ends early.
    """

    def __init__(self, name, position, start, end, threads, checked):
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        np.save(folder / "position.npy", position)
        task = {"start": start, "end": end, "threads": threads, "checked": checked}
        (folder / "task.json").write_text(json.dumps(task))
        self._name, self._final = name, folder / "final.npy"
        self._errors = (folder / "errors.txt").open("w+")
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        # Threads that spin while they wait would slow down whoever runs next.
        environment |= {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
        self._process = subprocess.Popen(
            [str(interpreter(name)), str(PEERS / pins()[name]["script"]), str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
            env=environment,
        )  # fmt: skip
        self.versions = self._answer()

    def run(self, method, rtol, count):
        """Return the seconds for the first `count` particles, and the first final positions."""
        asked = {"method": method, "rtol": rtol, "count": count}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return self._answer()["seconds"], np.load(self._final)

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            last = self._errors.read().strip().splitlines()[-1:]
            raise RuntimeError(f"the script of {self._name} ended: {' '.join(last)}")
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait()
        self._errors.close()
        self._folder.cleanup()
