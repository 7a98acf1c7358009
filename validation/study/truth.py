"""Exact averages, stretching and trajectories, integrated once and kept in small files.

A file holds float32 arrays and a JSON header. The anchors of the pool are not kept: they follow
from numbers that are the same on every machine, and a sum in the header holds them to that. So
`run` integrates nothing, and compiles nothing.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from meanfluid.files import replacing
from meanfluid.learning import Pool
from meanfluid.learning.anchors import DIGITS
from meanfluid.reporting.provenance import hardware, stamp, versions
from study.flows import Flow

SEED = 20261126
SAMPLES, PATHS, NODES = 4096, 256, 32
PAIRS, DISTANCES = 64, 2.0 ** np.arange(-9, -1)  # of two points, over the width of the domain
POOL = {"rtol": 1e-8, "atol": 1e-10, "estimate_error": False}


@dataclass(frozen=True, eq=False)
class Truth:
    """What `run` needs of a flow.

    Attributes
    ----------
    x, t, s, u : (n, d), (n,), (n,), (n, d)
        Windows drawn as in training, and their exact averages.
    gradient : (n, d, d)
        Of the flow map from t to s.
    path_place, path_time, path_weight : (paths, nodes, d), (paths, nodes), (nodes,)
        Exact trajectories of the first windows at Gauss nodes from t to s.
    pair_place, pair_mean : (pairs, distances, 2, d)
        Two points at growing distances along the direction that stretches most, about the anchors
        of the windows `pair_window` that stretch most; and the exact averages there.
    pair_window : (pairs,)
        Numbers of those windows.
    pool : Pool
    header : dict
        How long the pool took, estimated errors, versions and hardware.
    """

    x: torch.Tensor
    t: torch.Tensor
    s: torch.Tensor
    u: torch.Tensor
    gradient: torch.Tensor
    path_place: torch.Tensor
    path_time: torch.Tensor
    path_weight: torch.Tensor
    pair_place: torch.Tensor
    pair_mean: torch.Tensor
    pair_window: torch.Tensor
    pool: Pool
    header: dict[str, Any]


def anchors(
    flow: Flow, n: int, seed: int, *, measured: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Anchors and free ends (float64) that fill the domain evenly, the same on every machine."""
    where = flow.measured_in if measured else flow.trained_in
    columns = where.columns + flow.windows.columns
    points = torch.quasirandom.SobolEngine(columns).draw(n, dtype=torch.float64)
    rng = np.random.default_rng(seed)
    flips = torch.from_numpy(rng.integers(2**DIGITS, size=(1, columns)))
    cells = (points * float(2**DIGITS)).long() ^ flips
    numbers = (cells + torch.from_numpy(rng.random((n, columns)))) / float(2**DIGITS)
    x = where.place(numbers[:, : where.columns])
    t, s = flow.windows.place(numbers[:, where.columns :])
    return x.float().double(), t.float().double(), s.float().double()


def make(flow: Flow, path: Path, *, pool: int | None = None, samples: int = SAMPLES) -> dict:
    """Integrate, and write the file of a flow; return its header."""
    import meanfluid as mf
    from meanfluid.trajectories.flow_map import trajectories

    field = flow.field
    x, t, s = (a.numpy() for a in anchors(flow, samples, SEED, measured=True))
    exact = trajectories(field, x, t, s, gradient=True)
    size = float(np.sqrt((exact.average_velocity**2).sum(axis=1).mean()))
    few = min(PATHS, samples)
    node, weight = np.polynomial.legendre.leggauss(NODES)
    share = (node + 1) / 2
    times = t[:few, None] + share * (s - t)[:few, None]
    places = [
        x[:few] + (moment - t[:few])[:, None] * mf.average_velocity(
            field, x[:few], t[:few], moment, label="initial"
        )
        for moment in times.T
    ]  # fmt: skip
    window, pair = _pairs(flow, x, exact.gradient)
    flat, often = pair.reshape(-1, x.shape[1]), pair[0].size // x.shape[1]
    across = mf.average_velocity(
        field, flat, *(a[window].repeat(often) for a in (t, s)), label="initial"
    )
    count = pool or flow.pool
    px, pt, ps = (a.numpy() for a in anchors(flow, count, SEED + 1, measured=False))
    mf.average_velocity(field, px[:64], pt[:64], ps[:64], label="initial", **POOL)  # compiles
    began = time.process_time()
    mean = mf.average_velocity(field, px, pt, ps, label="initial", **POOL)
    seconds = time.process_time() - began
    header = {
        "flow": flow.name,
        "pool": count,
        "pool_cpu_seconds": seconds,
        "anchor_sum": _sum(px, pt, ps),
        "exact_error": float(np.sqrt((exact.average_velocity_error**2).mean())) / size,
        "left": float(_outside(flow, np.stack(places, axis=1)).mean()),
        "made": stamp(),
        **hardware(),
        **versions(),
    }
    arrays = {
        "x": x, "t": t, "s": s, "u": exact.average_velocity, "gradient": exact.gradient,
        "path_place": np.stack(places, axis=1), "path_time": times, "path_weight": weight / 2,
        "pair_window": window, "pair_place": pair, "pair_mean": across.reshape(pair.shape),
        "pool_mean": mean,
    }  # fmt: skip
    with replacing(path) as file:
        np.savez(
            file, header=json.dumps(header), **{k: v.astype(np.float32) for k, v in arrays.items()}
        )
    return header


def load(flow: Flow, folder: Path) -> Truth:
    """Read the file of a flow."""
    path = folder / f"{flow.name}.npz"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; make it with the subcommand truth first")
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    header = json.loads(str(arrays.pop("header")))
    mean = torch.from_numpy(arrays.pop("pool_mean"))
    x, t, s = anchors(flow, len(mean), SEED + 1, measured=False)
    if not np.isclose(_sum(x, t, s), header["anchor_sum"], rtol=0, atol=1e-3 * len(mean) ** 0.5):
        raise ValueError(
            f"the pool in {path} has other anchors than this machine would draw; make it here with "
            "the subcommand truth"
        )
    pool = Pool(x.float(), t.float(), s.float(), mean)
    tensors = {name: torch.from_numpy(a) for name, a in arrays.items()}
    tensors["pair_window"] = tensors["pair_window"].long()
    return Truth(**tensors, pool=pool, header=header)


def header_and_gradient(path: Path) -> tuple[dict[str, Any], torch.Tensor]:
    """Header of a file, and the gradients of the flow map in it."""
    with np.load(path) as file:
        return json.loads(str(file["header"])), torch.from_numpy(file["gradient"])


def _sum(*arrays: Any) -> float:
    """One number that changes if anchors do: a sum with signs that alternate irregularly."""
    total = 0.0
    for a in arrays:
        flat = np.asarray(a, dtype=float).reshape(len(a), -1)
        sign = np.sin(np.arange(len(flat)) ** 1.5)
        total += float(np.abs((flat * sign[:, None]).sum(axis=0)).sum())
    return total


def _pairs(flow: Flow, x: Any, gradient: Any) -> tuple[Any, Any]:
    """Windows that stretch most, and pairs of points about their anchors, inside the region."""
    region = flow.trained_in
    round_ = hasattr(region, "radius")
    width = 2 * region.radius if round_ else min(np.subtract(region.upper, region.lower))
    _, stretch, directions = np.linalg.svd(gradient)
    half = DISTANCES[:, None, None] * width / 2 * np.array([[-1.0], [1.0]])
    places = x[:, None, None, :] + half * directions[:, None, None, 0, :]
    allowed = ~_outside(flow, places).any(axis=(1, 2))
    order = np.argsort(np.where(allowed, -stretch[:, 0], np.inf), kind="stable")
    window = order[: min(PAIRS, int(allowed.sum()))]
    return window, places[window].astype(np.float32).astype(float)


def _outside(flow: Flow, places: Any) -> Any:
    """Which places lie outside of where anchors are trained."""
    region = flow.trained_in
    if hasattr(region, "radius"):
        return np.hypot(*np.moveaxis(places, -1, 0)) > region.radius
    below, above = np.array(region.lower), np.array(region.upper)
    open_ = np.array([axis.boundary != "periodic" for axis in flow.field.domain or ()])
    slack = 1e-6 * (above - below)
    return (((places < below - slack) | (places > above + slack)) & open_).any(axis=-1)
