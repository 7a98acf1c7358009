"""Fields on the torus seen through a map: pull-backs, push-forwards, and means of pull-backs.

What a map does to a field depends on what kind of thing the field is: see
`meanfluid.means.pull_back`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.means.geometric.torus import TorusMap, average, checked_maps, checked_weights
from meanfluid.means.periodic import Interpolant, as_float
from meanfluid.means.pull_back import Kind, checked_kind, pulled_back


def pull_back(field: ArrayLike, through: TorusMap, kind: Kind) -> Any:
    """Return the pull-back of a field on the torus by a map.

    Parameters
    ----------
    field : (nx, ny), or (2, nx, ny) for a vector or one-form
        On a uniform grid of the torus, not necessarily that of the map.
    through : TorusMap
    kind : "scalar", "vector", "one_form" or "density"

    Returns
    -------
    (nx, ny) or (2, nx, ny)
        On the grid of the map.

    Raises
    ------
    ValueError
        If the field has another shape, is not finite, or a vector meets a map without inverse.
    """
    values = _checked(field, kind)
    series = Interpolant(values.reshape(-1, *values.shape[-2:]), through.lengths)
    moved = series.at(through.points + through.displacement)
    moved = moved.reshape(*values.shape[:-2], *through.shape)
    moved, gradient = np.moveaxis(moved, 0, -1) if moved.ndim == 3 else moved, through.gradient
    result = pulled_back(moved, np.moveaxis(gradient, (0, 1), (-2, -1)), kind)
    return np.moveaxis(result, -1, 0) if result.ndim == 3 else result


def push_forward(field: ArrayLike, through: TorusMap, kind: Kind) -> Any:
    """Return the push-forward of a field on the torus by a map: the pull-back by its inverse.

    Parameters and errors are those of `pull_back`; the map must be one to one.
    """
    return pull_back(field, through.inverse(), kind)


def pull_back_mean(
    fields: Sequence[ArrayLike],
    deviations: Sequence[TorusMap],
    kind: Kind,
    *,
    weights: ArrayLike | None = None,
) -> Any:
    r"""Return the generalised Lagrangian mean :math:`\langle (\xi^\alpha)^* \tau^\alpha \rangle`.

    Parameters
    ----------
    fields : sequence of (nx, ny) or (2, nx, ny)
        One per member of the ensemble.
    deviations : sequence of TorusMap
        From the mean position of a particle to its position in each member: see `deviations`.
    kind : "scalar", "vector", "one_form" or "density"
    weights : (members,), optional
        Equal by default; normalised.

    Returns
    -------
    (nx, ny) or (2, nx, ny)

    References
    ----------
    Gilbert & Vanneste (2018), Geometric generalised Lagrangian-mean theories, J. Fluid Mech. 839,
    95-134.
    """
    members = checked_maps(deviations)
    if len(fields) != len(members):
        raise ValueError(f"expected one field per deviation, got {len(fields)} and {len(members)}")
    w = checked_weights(weights, len(members))
    return average([pull_back(f, one, kind) for f, one in zip(fields, members, strict=True)], w)


def _checked(field: ArrayLike, kind: Kind) -> Any:
    checked_kind(kind)
    values = as_float(field)
    leading = (2,) if kind in ("vector", "one_form") else ()
    if values.ndim != len(leading) + 2 or values.shape[:-2] != leading:
        expected = "(2, nx, ny)" if leading else "(nx, ny)"
        raise ValueError(f"a {kind} must have shape {expected}, got {values.shape}")
    if not bool(np.isfinite(values).all()):
        raise ValueError(f"a {kind} must be finite, got NaN or infinity")
    return values
