"""One run, written whole or not at all, and many runs side by side."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple

from meanfluid.files import replacing
from meanfluid.reporting.provenance import hardware, stamp, versions

START = 12.0  # seconds that a process may need besides its training, on a busy machine


class Job(NamedTuple):
    """What a run is."""

    flow: str
    arm: str
    seed: int
    seconds: float

    @property
    def file(self) -> str:
        return f"{self.flow}--{self.arm}--seed{self.seed}--{self.seconds:g}s.json"


def run(job: Job, truth_folder: Path, results: Path) -> Path:
    """Train one arm on one flow, score it, and write the scores."""
    import torch

    from study import truth as truths
    from study.arms import ARMS
    from study.flows import flow
    from study.scores import finite, scores
    from study.training import train

    torch.set_num_threads(1)
    if job.arm not in ARMS:
        raise ValueError(f"arm must be one of {', '.join(ARMS)}, got {job.arm!r}")
    where, arm = flow(job.flow), ARMS[job.arm]
    truth = truths.load(where, truth_folder)
    model = arm.model(where, job.seed)
    sampler = arm.sampler(where, truth.pool)
    trained = train(model, arm, truth, sampler, job.seconds, job.seed + 1)
    found = scores(model, truth, where.windows.longest) if trained.finite else {}
    report: dict[str, Any] = {
        **job._asdict(),
        "finite": bool(found) and finite(found),
        "steps": trained.steps,
        "cpu_seconds": trained.seconds,
        "ms_per_step": 1e3 * trained.seconds / max(1, trained.steps),
        "weights": sum(p.numel() for p in model.parameters()),
        "curve": trained.curve,
        **{f"gradient_{name}": value for name, value in trained.noise.items()},
        "scores": found,
        "made": stamp(),
        "machine": hardware() | versions(),
    }
    path = results / job.file
    with replacing(path) as file:
        file.write(json.dumps(_plain(report), indent=1).encode())
    return path


def run_all(
    jobs: Sequence[Job], script: Path, options: Sequence[str], workers: int, within: float | None
) -> tuple[int, list[str]]:
    """Run jobs in processes of one thread each; return how many finished, and what failed.

    With `within`, no job is begun that would not be over in so many seconds from now. On Ctrl-C
    the processes are ended, and what they had not finished leaves no file.
    """
    began, living, failed = time.perf_counter(), _Living(), []
    waiting, finished, running = list(jobs), 0, set()

    def left() -> bool:
        if not waiting:
            return False
        spent = time.perf_counter() - began
        return within is None or spent + waiting[0].seconds + START < within

    with ThreadPoolExecutor(workers) as pool:
        try:
            while running or left():
                while left() and len(running) < workers:
                    running.add(pool.submit(living.launch, script, waiting.pop(0), options))
                done, running = wait(running, return_when=FIRST_COMPLETED)
                finished += _collect(done, failed)
                spent = time.perf_counter() - began
                print(
                    f"\r{finished} of {len(jobs)} runs, {len(failed)} failed, {spent:.0f} s ",
                    end="", file=sys.stderr, flush=True,
                )  # fmt: skip
        except KeyboardInterrupt:
            living.end()
            raise
    print(file=sys.stderr)
    return finished, failed


class _Living:
    """The processes that are running, so that they can be ended."""

    def __init__(self) -> None:
        self.processes: set[subprocess.Popen[str]] = set()
        self.lock = threading.Lock()
        self.ended = False

    def launch(self, script: Path, job: Job, options: Sequence[str]) -> str:
        """Run a job; return what it complained of, nothing if it did not fail."""
        command = [sys.executable, str(script), "run", "--flow", job.flow, "--arm", job.arm]
        command += ["--seed", str(job.seed), "--seconds", f"{job.seconds:g}", *options]
        one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
        with self.lock:
            if self.ended:
                return "interrupted"
            process = subprocess.Popen(
                command, env=os.environ | one, text=True,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )  # fmt: skip
            self.processes.add(process)
        complaint = process.communicate()[1]
        with self.lock:
            self.processes.discard(process)
        if not process.returncode:
            return ""
        return f"{job.file}: {complaint.strip().splitlines()[-1:]}"

    def end(self) -> None:
        with self.lock:
            self.ended = True
            for process in self.processes:
                process.terminate()


def _collect(done: set[Future[str]], failed: list[str]) -> int:
    complaints = [future.result() for future in done]
    failed += [complaint for complaint in complaints if complaint]
    return sum(not complaint for complaint in complaints)


def _plain(value: Any) -> Any:
    """The same for JSON: numbers to five digits, and None for those that are not finite."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if abs(value) < float("inf") else None
    return value
