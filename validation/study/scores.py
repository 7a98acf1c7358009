"""How good a learned average is: by window, by stretching, by its own residual, in jumps.

Errors are relative to the root mean square exact average, over the same rows. Stretching of a
window is ln of the largest singular value of the gradient of its flow map, FTLE times duration.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from meanfluid.learning import material_residual
from meanfluid.learning.average_velocity import carry
from study.truth import Truth

FIFTHS, QUARTERS = 5, 4
JUMPS = (1, 2, 4, 8)


def relative_error(model: nn.Module, truth: Truth) -> float:
    """Relative L2 error over all windows."""
    with torch.no_grad():
        u = model(truth.x, t=truth.t, s=truth.s)
    return ratio(_norm(u - truth.u), _norm(truth.u))


def scores(model: nn.Module, truth: Truth, longest: float) -> dict[str, Any]:
    """All scores of a model, as numbers and lists that JSON holds."""
    x, t, s = truth.x, truth.t, truth.s
    with torch.no_grad():
        u = model(x, t=t, s=s)
    error, size = _norm(u - truth.u), _norm(truth.u)
    residual = _residual(model, x, t, s)
    duration = (s - t).abs().double().numpy()
    stretch = log_stretch(truth.gradient)
    fifth = np.clip((duration / longest * FIFTHS).astype(int), 0, FIFTHS - 1)
    ftle = _quarters(stretch / np.maximum(duration, 1e-6))
    chaos = _quarters(stretch)
    found = {
        "error": ratio(error, size),
        "error_by_fifth": by_class(error, size, fifth, FIFTHS),
        "error_by_ftle": by_class(error, size, ftle, QUARTERS),
        "error_by_stretch": by_class(error, size, chaos, QUARTERS),
        "max_error": float(error.max()) / rms(size),
        "residual": ratio(residual, size),
        "residual_by_fifth": by_class(residual, size, fifth, FIFTHS),
        "max_residual": float(residual.max()) / rms(size),
    }
    found |= along_paths(model, truth)
    found |= in_jumps(model, truth, chaos)
    found |= growth(error / rms(size), stretch, duration)
    found |= stretching(model, truth, stretch, duration, chaos)
    found |= representable(model, truth)
    return found


def along_paths(model: nn.Module, truth: Truth) -> dict[str, float]:
    """Error of the trajectories followed, and the bound on it by the residual along them."""
    paths, nodes, dimension = truth.path_place.shape
    x, t, s, u = (a[:paths] for a in (truth.x, truth.t, truth.s, truth.u))
    place, time = truth.path_place.reshape(-1, dimension), truth.path_time.reshape(-1)
    rho = _residual_vectors(model, place, time, s.repeat_interleave(nodes))
    rho = rho.reshape(paths, nodes, dimension).double()
    weight = truth.path_weight.double()
    mean = torch.einsum("pnd,n->pd", rho, weight)
    square = torch.einsum("pnd,n->p", rho.square(), weight)
    with torch.no_grad():
        error = (model(x, t=t, s=s) - u).double()
    size = rms(_norm(u))
    return {
        "path_error": rms(_norm(error)) / size,
        "path_bound": rms(square.sqrt().numpy()) / size,
        "path_closure": rms(_norm(error - mean)) / size,
    }


def in_jumps(model: nn.Module, truth: Truth, chaos: Any) -> dict[str, Any]:
    """Distance from the exact end point over the displacement, in so many equal jumps."""
    x, t, s = truth.x, truth.t, truth.s
    displacement = (s - t)[:, None] * truth.u
    size = _norm(displacement)
    found: dict[str, Any] = {"jumps": list(JUMPS), "endpoint": [], "endpoint_by_stretch": []}
    for count in JUMPS:
        with torch.no_grad():
            miss = _norm(carry(model, x, t=t, s=s, jumps=count) - x - displacement)
        found["endpoint"].append(ratio(miss, size))
        found["endpoint_by_stretch"].append(by_class(miss, size, chaos, QUARTERS))
    return found


def growth(error: Any, stretch: Any, duration: Any) -> dict[str, float]:
    """Slope of ln(error) against stretching: alone, and beside the logarithm of the duration."""
    kept = (error > 0) & (duration > 1e-3 * duration.max())
    if kept.sum() < 4:
        return dict.fromkeys(("slope", "slope_beside_duration", "correlation"), math.nan)
    target, one = np.log(error[kept]), np.ones(int(kept.sum()))
    vary = target.std() > 0 and stretch[kept].std() > 0
    alone = np.linalg.lstsq(np.stack([one, stretch[kept]], axis=1), target)[0]
    both = np.stack([one, stretch[kept], np.log(duration[kept])], axis=1)
    beside = np.linalg.lstsq(both, target)[0]
    return {
        "slope": float(alone[1]),
        "slope_beside_duration": float(beside[1]),
        "correlation": float(np.corrcoef(stretch[kept], target)[0, 1]) if vary else math.nan,
    }


def stretching(
    model: nn.Module, truth: Truth, stretch: Any, duration: Any, chaos: Any
) -> dict[str, Any]:
    """Learned stretching of the flow map against the exact one, and the steepest averages."""
    window = (truth.s - truth.t)[:, None, None]
    learned = _gradient(model, truth.x, truth.t, truth.s)
    unit = torch.eye(truth.x.shape[1])
    mine = log_stretch(unit + window * learned)
    long = duration > 0.05 * duration.max()
    slope = (truth.gradient - unit)[long] / window[long]
    exact, own = (np.linalg.norm(g.numpy(), 2, axis=(1, 2)) for g in (slope, learned[long]))
    needed = np.expm1(stretch[long]) / duration[long]
    return {
        "stretch_by_quarter": [float(stretch[chaos == k].mean()) for k in range(QUARTERS)],
        "learned_stretch_by_quarter": [float(mine[chaos == k].mean()) for k in range(QUARTERS)],
        "stretch_error_by_quarter": [rms((mine - stretch)[chaos == k]) for k in range(QUARTERS)],
        "steepest_exact": float(exact.max()),
        "steepest_learned": float(own.max()),
        "steepest_needed": float(needed.max()),
    }


def representable(model: nn.Module, truth: Truth) -> dict[str, Any]:
    """Error that a model as steep as the learned one must make where the flow stretches most.

    If L bounds its gradient between two points, its error at one of them is at least
    (|difference of the exact averages| - L distance) / 2.
    """
    shape, window = truth.pair_place.shape, truth.pair_window
    place = truth.pair_place.reshape(-1, shape[-1])
    t, s = (a[window].repeat_interleave(len(place) // len(window)) for a in (truth.t, truth.s))
    with torch.no_grad():
        error = _norm(model(place, t=t, s=s) - truth.pair_mean.reshape(place.shape))
    gradient = _gradient(model, place, t, s).double().numpy()
    steep = np.linalg.norm(gradient, 2, axis=(1, 2)).reshape(shape[:-1]).max(axis=2)
    steep = np.maximum.accumulate(steep, axis=1)
    apart, differ = (
        torch.linalg.vector_norm((a[:, :, 1] - a[:, :, 0]).double(), dim=-1).numpy()
        for a in (truth.pair_place, truth.pair_mean)
    )
    least = ((differ - steep * apart) / 2).max(axis=1).clip(min=0)
    worst = error.reshape(len(window), -1).max(axis=1)
    return {
        "error_where_steep": rms(error) / rms(_norm(truth.u)),
        "least_error_where_steep": rms(least) / rms(_norm(truth.u)),
        "least_over_error": float(np.median(least / np.maximum(worst, 1e-30))),
    }


def log_stretch(gradient: Tensor) -> Any:
    """Natural logarithm of the largest singular value of matrices (n, d, d)."""
    return np.log(np.linalg.svd(gradient.double().numpy(), compute_uv=False)[:, 0])


def by_class(value: Any, size: Any, place: Any, classes: int) -> list[float]:
    """Relative value in each class; None where it is empty."""
    return [
        ratio(value[place == k], size[place == k]) if (place == k).any() else None
        for k in range(classes)
    ]


def ratio(value: Any, size: Any) -> float:
    """Root mean square of values over that of sizes."""
    return rms(value) / rms(size)


def rms(value: Any) -> float:
    return float(np.sqrt(np.mean(np.square(value, dtype=float))))


def finite(found: dict[str, Any]) -> bool:
    """Whether a model gave numbers at all."""
    return math.isfinite(found["error"]) and math.isfinite(found["residual"])


def _quarters(value: Any) -> Any:
    """Quarter of each value by its rank; of equal values the earlier ones count as smaller."""
    order = np.argsort(value, kind="stable")
    return np.argsort(order) * QUARTERS // len(value)


def _norm(value: Tensor) -> Any:
    return torch.linalg.vector_norm(value.double(), dim=1).numpy()


def _residual(model: nn.Module, x: Tensor, t: Tensor, s: Tensor) -> Any:
    return _norm(_residual_vectors(model, x, t, s))


def _residual_vectors(model: Any, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
    with torch.no_grad():
        v = model.velocity(x, t)
        return material_residual(model, x, t=t, s=s, observable=v, advection=v)


def _gradient(model: nn.Module, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """Gradient (n, d, d) of the learned average in the anchor's position."""
    x = x.clone().requires_grad_()
    u = model(x, t=t, s=s)
    rows = [torch.autograd.grad(c.sum(), x, retain_graph=True)[0] for c in u.unbind(1)]
    return torch.stack(rows, dim=1).detach()
