"""Inverse of a map of positions by Newton iteration, for many points at once.

Mean-position maps (of one trajectory over time, or of an ensemble at one time) are known forwards,
with their gradients; a mean labelled by mean position needs them backwards.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from meanfluid.fields.velocity_field import Array
from meanfluid.trajectories.results import vector_norm

# Value (k, d) and gradient (k, d, d) of the map at positions (k, d) of the points named `which`.
MapWithGradient = Callable[[Any, Any], tuple[Any, Any]]

_SINGULAR = 1e-8  # smallest singular value at which a gradient near the unit matrix has no inverse
_HALVINGS = 6  # of a Newton step that does not come closer


@dataclass(frozen=True, eq=False)
class Inverse:
    """Where a map takes which values.

    Attributes
    ----------
    position : (n, dimension)
        NaN where no inverse was found.
    gradient : (n, dimension, dimension)
        Of the map there; its inverse carries errors of the map over to `position`.
    distance : (n,)
        Between the value of the map and the target.
    found : (n,) bool
    """

    position: Any
    gradient: Any
    distance: Any
    found: Any


def inverted(
    function: MapWithGradient, target: Array, guess: Array, tolerance: Any, *, enough: Any = None,
    iterations: int = 40,
) -> Inverse:  # fmt: skip
    """Solve ``function(x) = target`` for every point, by Newton steps that must come closer.

    Parameters
    ----------
    function : callable ``(position (k, d), which (k,)) -> value (k, d), gradient (k, d, d)``
        Called for the points that are not done; `which` are their numbers.
    target, guess : (n, d)
        NumPy arrays.
    tolerance : float or (n,)
        Distance at which a point is done, in the unit of `target`.
    enough : float or (n,), optional
        Distance at which a point is done as well if a Newton step does not come closer: what
        noise the map may have. Defaults to `tolerance`.
    iterations : int
        Newton steps after which a point is given up.

    Returns
    -------
    Inverse
    """
    count = len(target)
    tolerance = np.full_like(target, tolerance, shape=(count,))
    enough = tolerance if enough is None else np.full_like(target, enough, shape=(count,))
    x = np.array(guess, dtype=float)
    every = np.arange(count)
    value, gradient = function(x, every)
    distance = vector_norm(value - target)
    offset = value - target
    open_ = np.isfinite(distance) & (distance > tolerance)
    for _ in range(iterations):
        which = every[open_]
        which = which[_regular(gradient[which])]
        if which.size == 0:
            break
        open_[:] = False
        step = np.linalg.solve(gradient[which], offset[which][..., None])[..., 0]
        for _ in range(_HALVINGS):
            trial = x[which] - step
            value, slope = function(trial, which)
            off = value - target[which]
            closer = vector_norm(off) < distance[which]
            taken = which[closer]
            x[taken], gradient[taken], offset[taken] = trial[closer], slope[closer], off[closer]
            distance[taken] = vector_norm(off[closer])
            open_[taken] = distance[taken] > tolerance[taken]
            again = ~closer & (distance[which] > enough[which])
            which, step = which[again], step[again] / 2
            if which.size == 0:
                break
    found = (distance <= np.maximum(tolerance, enough)) & _regular(gradient)
    x[~found] = np.nan
    return Inverse(x, gradient, distance, found)


def _regular(gradient: Array) -> Any:
    """Return whether each gradient can be inverted."""
    finite: Any = np.isfinite(gradient).all(axis=(-2, -1))
    usable = np.where(finite[:, None, None], gradient, np.eye(gradient.shape[-1]))
    return finite & (np.linalg.svd(usable, compute_uv=False)[..., -1] > _SINGULAR)
