r"""Learned against exact average velocities, by length of window.

With ρ = u_θ - v - (s - t)(∂_t + v·∇)u_θ the residual of the material identity, taken with the
true v, the error of a model is exactly the mean of ρ along the trajectory,

.. math:: u_\theta - u = \frac{1}{s - t} \int_t^s \rho(X(\tau), \tau, s) \, d\tau .

So |error| is at most the supremum of |ρ| along the trajectory, with no factor for the stretching
of the flow, and at most the root mean square of ρ along it.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from meanfluid.fields.velocity_field import Array, VelocityField

if TYPE_CHECKING:
    import xarray

CHUNK = 8192  # rows through the network at once

MEANING = {
    "count": ("number of windows sampled", "1"),
    "relative_error": ("root mean square of learned minus exact, over that of exact", "1"),
    "exact_error": (
        "estimated error of the exact averages themselves over exact (rms); NaN if the truth was "
        "given as a function",
        "1",
    ),
    "max_error": ("largest norm of learned minus exact among the samples", "length / time"),
    "semigroup_defect": ("one jump minus two, split at random, over exact (rms)", "1"),
    "residual": ("residual of the material identity over exact (rms)", "1"),
    "max_residual": (
        "largest norm of the residual among the samples; an estimate from below of the supremum "
        "that bounds the error everywhere",
        "length / time",
    ),
    "endpoint_error": ("distance from the exact end point after so many jumps (rms)", "length"),
    "relative_endpoint_error": ("the same over the exact displacement (rms)", "1"),
    "path_relative_error": (
        "root mean square of learned minus exact at the anchors of the trajectories followed, over "
        "that of exact",
        "1",
    ),
    "path_bound": (
        "root mean square of the residual along the trajectories followed, over exact: bounds "
        "path_relative_error, an rms over these trajectories, not the error of each of them nor of "
        "others; up to the error of the quadrature in time",
        "1",
    ),
    "path_closure": (
        "largest difference between the error and the mean residual along a trajectory, zero but "
        "for quadrature and rounding",
        "length / time",
    ),
}


def compare(
    model: Any,
    field: VelocityField,
    *,
    start: float,
    end: float,
    longest: float | None = None,
    direction: Literal["backward", "forward", "both"] = "backward",
    overhang: bool = False,
    positions: Any = None,
    samples: int = 4096,
    bins: int = 5,
    jumps: Sequence[int] = (1, 2, 4, 8),
    paths: int = 256,
    nodes: int = 16,
    seed: int = 0,
    exact: Any = None,
    **tolerances: Any,
) -> "xarray.Dataset":
    """Errors of a learned average velocity, and what its own residual says about them.

    Parameters
    ----------
    model : AverageVelocity
        Or anything called ``model(x, t=, s=)``. A module is put into evaluation mode meanwhile.
    field : VelocityField
        The truth.
    start, end, longest, direction, overhang
        Windows, as for `learning.UniformWindow`; `longest` is the whole interval by default.
    positions : callable, optional
        Sampler of anchors; the box of the field's domain by default.
    samples, bins : int
        Windows drawn, and equal classes of ``|s - t|`` up to `longest` to report them in. A class
        in which none fell has count 0 and NaN elsewhere; without `overhang` the longest are rare.
    jumps : sequence of int
        Numbers of equal jumps in which the end point is reached.
    paths, nodes : int
        Trajectories along which the residual is integrated, and Gauss nodes on each.
    seed : int
    exact : callable, optional
        Replaces `trajectories.average_velocity`.
    **tolerances
        Passed on to it: rtol, atol and the like.

    Returns
    -------
    xarray.Dataset
        Per class of window and, prefixed ``total_``, over all; every variable says what it is
        in ``long_name``, and the attributes what is bounded and what only sampled.

    Raises
    ------
    TypeError, ValueError
        If a setting has the wrong type or range.
    """
    import xarray

    from meanfluid.learning.anchors import Box, UniformWindow

    jumps = _checked(jumps, bins=bins, samples=samples, paths=paths, nodes=nodes)
    longest = end - start if longest is None else longest
    windows = UniformWindow(start, end, longest, direction, overhang=overhang)
    positions = Box.of(field) if positions is None else positions
    edges = np.linspace(0, longest, bins + 1)
    with _evaluating(model):
        trial = _draw(_Learned(model, field), positions, windows, samples, seed, exact, tolerances)
        data = _by_window(trial, edges)
        data |= _end_points(trial, jumps) | _along_paths(trial, paths, nodes)
    return xarray.Dataset(
        {name: _described(name, *value) for name, value in data.items()},
        coords={
            "window": ("window", (edges[1:] + edges[:-1]) / 2, {"long_name": "|s - t|"}),
            "window_lower": ("window", edges[:-1]),
            "window_upper": ("window", edges[1:]),
            "jumps": ("jumps", np.array(jumps), {"long_name": "equal jumps per window"}),
        },
        attrs=_provenance(trial, windows, positions, seed, paths, nodes, tolerances),
    )


def _checked(jumps: Any, **numbers: Any) -> tuple[int, ...]:
    """Refuse settings that are not whole numbers or out of range; return `jumps` as a tuple."""
    if not isinstance(jumps, Iterable):
        raise TypeError(
            f"jumps must be a sequence of whole numbers, got {jumps!r}; try ({jumps!r},)"
        )
    jumps = tuple(jumps)
    for name, value in [*numbers.items(), *(("jumps", jump) for jump in jumps)]:
        if not isinstance(value, int | np.integer):
            several = "whole numbers" if name == "jumps" else "a whole number"
            raise TypeError(f"{name} must be {several}, got {value!r}")
    bins, samples, paths, nodes = (numbers[name] for name in ("bins", "samples", "paths", "nodes"))
    if bins < 1 or not jumps or min(jumps) < 1 or not 1 <= paths <= samples or nodes < 1:
        raise ValueError(
            f"bins, jumps and nodes must be at least 1, and paths between 1 and samples, got "
            f"bins={bins}, jumps={jumps}, nodes={nodes}, paths={paths}, samples={samples}"
        )
    return tuple(int(jump) for jump in jumps)


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Put a module into evaluation mode, and every part of it back into its own."""
    import torch

    parts = list(model.modules()) if isinstance(model, torch.nn.Module) else []
    modes = [part.training for part in parts]
    if parts:
        model.eval()
    try:
        yield
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode


class _Learned:
    """A model and the true velocity as NumPy functions of float64, run in the model's precision."""

    def __init__(self, model: Any, field: VelocityField) -> None:
        import torch

        from meanfluid.backends.tensors import torch_velocity

        first = next(iter(model.parameters()), None) if isinstance(model, torch.nn.Module) else None
        self.dtype = torch.float64 if first is None else first.dtype
        self.device = torch.device("cpu") if first is None else first.device
        self.model, self.field = model, field
        self.velocity = torch_velocity(field, dtype=self.dtype, device=self.device)

    def round(self, values: Array) -> Array:
        """Numbers that the model's precision holds, so that both sides see the same anchor."""
        return np.asarray(self._in(values).double().cpu())

    def average(self, x: Array, t: Array, s: Array) -> Array:
        return self._chunked(lambda x, t, s: self.model(x, t=t, s=s), x, t, s)

    def residual(self, x: Array, t: Array, s: Array) -> Array:
        from meanfluid.learning.identity import material_residual

        def rho(x: Any, t: Any, s: Any) -> Any:
            v = self.velocity(x, t)
            return material_residual(self.model, x, t=t, s=s, observable=v, advection=v)

        return self._chunked(rho, x, t, s)

    def carry(self, x: Array, t: Array, s: Array, jumps: int) -> Array:
        from meanfluid.learning.average_velocity import carry

        return self._chunked(lambda x, t, s: carry(self.model, x, t=t, s=s, jumps=jumps), x, t, s)

    def _in(self, values: Array) -> Any:
        import torch

        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device, self.dtype)

    def _chunked(self, function: Any, *arrays: Array) -> Array:
        import torch

        with torch.no_grad():
            parts = [
                function(*(self._in(a[k : k + CHUNK]) for a in arrays)).double().cpu().numpy()
                for k in range(0, len(arrays[0]), CHUNK)
            ]
        return np.concatenate(parts)


@dataclass
class _Trial:
    """What was drawn, the truth there, and how to get more of both."""

    learned: _Learned
    exact: Any  # u(x, t, s) in NumPy
    x: Array
    t: Array
    s: Array
    split: Array
    truth: Array
    doubt: Array  # estimated norm of the error of the truth


def _draw(
    learned: _Learned,
    positions: Any,
    windows: Any,
    samples: int,
    seed: int,
    exact: Any,
    tolerances: dict[str, Any],
) -> _Trial:
    import torch

    from meanfluid.learning.pool import averages
    from meanfluid.means import average_velocity

    generator = torch.Generator().manual_seed(seed)
    x = learned.round(positions(samples, generator).numpy())
    t, s = (learned.round(time.numpy()) for time in windows(samples, generator))
    split = torch.rand(samples, generator=generator, dtype=torch.float64).numpy()

    def truth(x: Array, t: Array, s: Array) -> Array:
        return averages(exact, learned.field, x, t, s, **tolerances)

    if exact is not None:
        return _Trial(learned, truth, x, t, s, split, truth(x, t, s), np.full(samples, np.nan))
    value, error = average_velocity(
        learned.field, x, t, s, label="initial", return_error=True, **tolerances
    )
    return _Trial(learned, truth, x, t, s, split, value, error)


def _by_window(trial: _Trial, edges: Array) -> dict[str, tuple[tuple[str, ...], Any]]:
    x, t, s, size = trial.x, trial.t, trial.s, np.linalg.norm(trial.truth, axis=1)
    u = trial.learned.average(x, t, s)
    middle = trial.learned.round(t + trial.split * (s - t))
    first = (middle - t)[:, None] * trial.learned.average(x, t, middle)
    second = (s - middle)[:, None] * trial.learned.average(x + first, middle, s)
    with np.errstate(invalid="ignore", divide="ignore"):
        composed = np.where((s != t)[:, None], (first + second) / (s - t)[:, None], u)
    of = {
        "relative_error": np.linalg.norm(u - trial.truth, axis=1),
        "exact_error": trial.doubt,
        "semigroup_defect": np.linalg.norm(u - composed, axis=1),
        "residual": np.linalg.norm(trial.learned.residual(x, t, s), axis=1),
    }
    place = np.clip(np.digitize(np.abs(s - t), edges) - 1, 0, len(edges) - 2)
    classes = [place == k for k in range(len(edges) - 1)]
    data: dict[str, tuple[tuple[str, ...], Any]] = {
        "count": (("window",), np.array([c.sum() for c in classes]))
    }
    for name, value in of.items():
        data[name] = ("window",), np.array([_ratio(value[c], size[c]) for c in classes])
        data[f"total_{name}"] = (), _ratio(value, size)
    for name, source in (("max_error", "relative_error"), ("max_residual", "residual")):
        largest = [of[source][c].max() if c.any() else np.nan for c in classes]
        data[name] = ("window",), np.array(largest)
        data[f"total_{name}"] = (), of[source].max()
    return data


def _end_points(trial: _Trial, jumps: Sequence[int]) -> dict[str, tuple[tuple[str, ...], Any]]:
    displacement = (trial.s - trial.t)[:, None] * trial.truth
    end = trial.x + displacement
    miss = [
        np.linalg.norm(trial.learned.carry(trial.x, trial.t, trial.s, k) - end, axis=1)
        for k in jumps
    ]
    size = np.linalg.norm(displacement, axis=1)
    return {
        "endpoint_error": (("jumps",), np.array([_rms(m) for m in miss])),
        "relative_endpoint_error": (("jumps",), np.array([_ratio(m, size) for m in miss])),
    }


def _along_paths(trial: _Trial, paths: int, nodes: int) -> dict[str, tuple[tuple[str, ...], Any]]:
    """Residual on the exact trajectories of the first `paths` samples, at Gauss nodes in time."""
    x, t, s, truth = (a[:paths] for a in (trial.x, trial.t, trial.s, trial.truth))
    points, weights = np.polynomial.legendre.leggauss(nodes)
    share, weights = (points + 1) / 2, weights / 2
    mean, square = np.zeros_like(truth), np.zeros(paths)
    for c, weight in zip(share, weights, strict=True):
        time = t + c * (s - t)
        place = x + (time - t)[:, None] * trial.exact(x, t, time)
        rho = trial.learned.residual(place, time, s)
        mean += weight * rho
        square += weight * (rho**2).sum(axis=1)
    error = trial.learned.average(x, t, s) - truth
    size = np.linalg.norm(truth, axis=1)
    return {
        "path_relative_error": ((), _ratio(np.linalg.norm(error, axis=1), size)),
        "path_bound": ((), _ratio(np.sqrt(square), size)),
        "path_closure": ((), np.linalg.norm(error - mean, axis=1).max()),
    }


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2))) if len(values) else float("nan")


def _ratio(values: Array, sizes: Array) -> float:
    scale = _rms(sizes)
    return _rms(values) / scale if scale else float("nan")


def _described(
    name: str, dims: tuple[str, ...], value: Any
) -> tuple[tuple[str, ...], Any, dict[str, str]]:
    long_name, units = MEANING[name.removeprefix("total_")]
    return dims, value, {"long_name": long_name, "units": units}


def _provenance(
    trial: _Trial,
    windows: Any,
    positions: Any,
    seed: int,
    paths: int,
    nodes: int,
    tolerances: dict[str, Any],
) -> dict[str, Any]:
    field, learned = trial.learned.field, trial.learned
    return {
        "title": "Learned against exact average velocity u(x, t, s)",
        "bound": (
            "The error at (x, t, s) is the mean of the residual along the trajectory from t to s, "
            "so its norm is at most the supremum of the residual there: max_residual only samples "
            "that supremum. path_bound bounds the L2 error of the trajectories followed, for any "
            "flow. Without integration: if the flow is divergence-free and maps the sampled "
            "region to itself, and durations are uniform for every free end, the L2 error is at "
            "most twice the L2 residual (Hardy's inequality), which total_residual samples."
        ),
        "field": field.name,
        "parameters": json.dumps(
            {k: np.asarray(v).tolist() for k, v in field.parameters._asdict().items()}
        ),
        "model": type(learned.model).__name__,
        "precision": str(learned.dtype).removeprefix("torch."),
        "device": str(learned.device),
        "windows": repr(windows),
        "positions": repr(positions),
        "samples": len(trial.x),
        "paths": paths,
        "nodes": nodes,
        "seed": seed,
        "tolerances": json.dumps(tolerances, default=str),
        "versions": json.dumps({p: version(p) for p in ("meanfluid", "numpy", "torch", "xarray")}),
    }
