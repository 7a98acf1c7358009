"""Finished runs: read from their files, kept in one, and asked for medians over seeds."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from meanfluid.files import replacing
from study.arms import ARMS
from study.flows import MAIN

DIGITS = 4
DIVERGED = 2.0  # relative error above which a run says no more than that it diverged
LEFT_OUT = ("machine", "made", "curve", "cpu_seconds")
SAID = ("flow", "pool", "pool_cpu_seconds", "exact_error", "left", "processor", "made")


class Results:
    """All runs, and which seconds the main tables are about.

    Parameters
    ----------
    runs : list of dict
        As `study.runs.run` writes them.
    where : dict
        Machines and versions, and how the truth was made.
    seconds : float, optional
        By default those of most runs.
    """

    def __init__(
        self, runs: list[dict[str, Any]], where: dict[str, Any], seconds: float | None = None
    ) -> None:
        if not runs:
            raise ValueError("there are no finished runs; make them with the subcommand all")
        self.runs, self.where = runs, where
        counted = Counter(run["seconds"] for run in runs)
        self.seconds = counted.most_common(1)[0][0] if seconds is None else seconds
        if self.seconds not in counted:
            raise ValueError(f"no run took {self.seconds:g} s; runs took {sorted(counted)}")
        self._of: dict[tuple[str, str, float], list[dict[str, Any]]] = {}
        for run in runs:
            self._of.setdefault((run["flow"], run["arm"], run["seconds"]), []).append(run)

    def flows(self, *names: str) -> list[str]:
        """Those of the flows that every one of these arms was run on; any arm if none is named."""
        found = {flow for flow, _, seconds in self._of if seconds == self.seconds}
        return [f for f in MAIN if f in found and all(self.has(f, name) for name in names)]

    def arms(self, names: Iterable[str]) -> list[str]:
        """Those of these arms that were run somewhere."""
        found = {arm for _, arm, seconds in self._of if seconds == self.seconds}
        return [name for name in names if name in found]

    def seeds(self) -> list[int]:
        return sorted({run["seed"] for run in self.runs})

    def settled(self, flow: str, arm: str) -> bool:
        """Whether there are runs, and they did not diverge."""
        return self.has(flow, arm) and self(flow, arm, "error") <= DIVERGED

    def has(self, flow: str, arm: str, seconds: float | None = None) -> bool:
        return (flow, arm, self.seconds if seconds is None else seconds) in self._of

    def all(
        self, flow: str, arm: str, *key: str | int, seconds: float | None = None
    ) -> list[float]:
        """A number of each seed; infinite if the run diverged."""
        runs = self._of.get((flow, arm, self.seconds if seconds is None else seconds), [])
        return [_number(run, key) for run in runs]

    def __call__(self, flow: str, arm: str, *key: str | int, seconds: float | None = None) -> float:
        """Median over seeds; NaN if there is no run."""
        values = [v for v in self.all(flow, arm, *key, seconds=seconds) if not math.isnan(v)]
        return float(np.median(values)) if values else math.nan

    def ratios(self, arm: str, other: str, *key: str | int) -> dict[str, float]:
        """Number of an arm over that of another, on every flow that has both."""
        return {
            flow: self(flow, arm, *key) / self(flow, other, *key)
            for flow in self.flows(arm, other)
        }  # fmt: skip

    def spread(self) -> tuple[float, float]:
        """Median and largest quotient of the errors of two seeds of the same arm and flow."""
        quotients = []
        for runs in self._of.values():
            errors = [_number(run, ("error",)) for run in runs]
            if len(errors) > 1 and all(map(math.isfinite, errors)):
                quotients.append(max(errors) / min(errors))
        if not quotients:
            return math.nan, math.nan
        return float(np.median(quotients)), max(quotients)


def read_runs(folders: Sequence[Path], truth: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Runs of all folders, and where they come from; of one run that is there twice, the first."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.json")):
            found.setdefault(path.name, path)
    runs = [json.loads(path.read_text()) for _, path in sorted(found.items())]
    runs = [run for run in runs if run["arm"] in ARMS]
    machines = Counter(json.dumps(run["machine"], sort_keys=True) for run in runs)
    return [_rounded(_kept(run)) for run in runs], {
        "machines": [json.loads(m) | {"runs": n} for m, n in machines.most_common()],
        "made": max((run["made"] for run in runs), default=""),
        "truth": _rounded(_truths(truth)),
    }


def write_compact(path: Path, runs: list[dict[str, Any]], where: dict[str, Any]) -> None:
    """One line per run, below the names of the columns."""
    flat = [dict(_flattened(run)) for run in runs]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    lines = [json.dumps([row.get(name) for name in columns]) for row in flat]
    text = "{\n" + f'"where": {json.dumps(where, indent=1)},\n"columns": {json.dumps(columns)},\n'
    with replacing(path) as file:
        file.write((text + '"runs": [\n' + ",\n".join(lines) + "\n]\n}\n").encode())


def read_compact(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What `write_compact` was given."""
    whole = json.loads(path.read_text())
    return [_folded(whole["columns"], row) for row in whole["runs"]], whole["where"]


def _number(run: dict[str, Any], key: Sequence[str | int]) -> float:
    if not run["finite"] and key[0] not in run:
        return math.inf
    value: Any = run if key[0] in run else run["scores"]
    for part in key:
        try:
            value = value[part]
        except (KeyError, IndexError):
            return math.nan
    return math.nan if value is None else float(value)


def _kept(run: dict[str, Any]) -> dict[str, Any]:
    """A run without what tables and figures do not show."""
    return {name: value for name, value in run.items() if name not in LEFT_OUT}


def _truths(folder: Path) -> dict[str, Any]:
    """Headers of the files of exact averages, and how much the flows stretch."""
    from study.scores import log_stretch
    from study.truth import header_and_gradient

    found = {}
    for path in sorted(folder.glob("*.npz")):
        whole, gradient = header_and_gradient(path)
        header = {name: whole[name] for name in SAID}
        stretch = np.quantile(log_stretch(gradient), [0.5, 0.95, 1.0]).tolist()
        found[header["flow"]] = header | {"stretch": stretch}
    return found


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _flattened(value: Any, name: str = "") -> Iterable[tuple[str, Any]]:
    parts: Any = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in parts:
        label = f"{name}.{key}" if name else str(key)
        if isinstance(part, dict | list):
            yield from _flattened(part, label)
        else:
            yield label, part


def _folded(columns: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    """A run from a row of the table: numbers in a name are places in a list."""
    run: dict[str, Any] = {"scores": {}}
    for name, value in zip(columns, row, strict=True):
        *path, last = name.split(".")
        inside: Any = run
        for part in path:
            inside = inside.setdefault(part, {})
        inside[last] = value
    run["scores"] = {name: _listed(part) for name, part in run["scores"].items()}
    return run


def _listed(value: Any) -> Any:
    if isinstance(value, dict) and "0" in value:
        return [_listed(part) for part in value.values()]
    return value
