"""Fields on the torus seen through a map: pull-backs, push-forwards, and means of pull-backs.

What a map does to a field depends on what kind of thing the field is: see
`meanfluid.means.pull_back`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.means import boxes, cf
from meanfluid.means.geometric.datasets import dataset_of, map_of, maps_of, told_of
from meanfluid.means.geometric.torus import (
    TorusMap,
    average,
    checked_map,
    checked_maps,
    checked_weights,
)
from meanfluid.means.members import taken_as
from meanfluid.means.periodic import Interpolant, as_float
from meanfluid.means.pull_back import Kind, checked_kind, pulled_back

if TYPE_CHECKING:
    import xarray


def pull_back(
    field: "ArrayLike | xarray.Dataset", through: "TorusMap | xarray.Dataset", kind: Kind
) -> Any:
    """Return the pull-back of a field on the torus by a map.

    Parameters
    ----------
    field : (nx, ny), or (2, nx, ny) for a vector or one-form
        On a uniform grid of the torus, not necessarily that of the map. Or a Dataset of one
        variable, or of variables ``<name>_x`` and ``<name>_y``; of several the one called ``field``
        is meant.
    through : TorusMap
        Or a Dataset of `displacement_x` and `displacement_y`, on the coordinates of the field.
    kind : "scalar", "vector", "one_form" or "density"

    Returns
    -------
    (nx, ny) or (2, nx, ny)
        On the grid of the map. Of Datasets, a Dataset of the same names.

    Raises
    ------
    TypeError, ValueError
        If the field has another shape, is not finite, or a vector meets a map without inverse.
    """
    if cf.is_xarray(field) or cf.is_xarray(through):
        return _of_datasets(pull_back, field, through, kind)
    checked_map(through)
    values = _checked(field, kind)
    series = Interpolant(values.reshape(-1, *values.shape[-2:]), through.lengths)
    moved = series.at(through.points + through.displacement)
    moved = moved.reshape(*values.shape[:-2], *through.shape)
    moved, gradient = np.moveaxis(moved, 0, -1) if moved.ndim == 3 else moved, through.gradient
    result = pulled_back(moved, np.moveaxis(gradient, (0, 1), (-2, -1)), kind)
    return np.moveaxis(result, -1, 0) if result.ndim == 3 else result


def push_forward(
    field: "ArrayLike | xarray.Dataset", through: "TorusMap | xarray.Dataset", kind: Kind
) -> Any:
    """Return the push-forward of a field on the torus by a map: the pull-back by its inverse.

    Parameters and errors are those of `pull_back`; the map must be one to one.
    """
    if cf.is_xarray(field) or cf.is_xarray(through):
        return _of_datasets(push_forward, field, through, kind)
    return pull_back(field, checked_map(through).inverse(), kind)


def pull_back_mean(
    fields: "Sequence[ArrayLike] | xarray.Dataset",
    deviations: "Sequence[TorusMap] | xarray.Dataset",
    kind: Kind,
    *,
    weights: ArrayLike | None = None,
) -> Any:
    r"""Return the generalised Lagrangian mean :math:`\langle (\xi^\alpha)^* \tau^\alpha \rangle`.

    Parameters
    ----------
    fields : sequence of (nx, ny) or (2, nx, ny)
        One per member of the ensemble. Or a Dataset as in `pull_back`, on x, y and the dimension
        of the members; of several the one called ``fields`` is meant.
    deviations : sequence of TorusMap
        From the mean position of a particle to its position in each member: see `deviations`, which
        gives a Dataset, too.
    kind : "scalar", "vector", "one_form" or "density"
    weights : (members,), optional
        Equal by default; normalised.

    Returns
    -------
    (nx, ny) or (2, nx, ny)
        Of Datasets, a Dataset of the same names, without the members. There is no error and no
        status: nothing is integrated, and nothing can fail.

    References
    ----------
    Gilbert & Vanneste (2018), Geometric generalised Lagrangian-mean theories, J. Fluid Mech. 839,
    95-134.
    """
    if cf.is_xarray(fields) or cf.is_xarray(deviations):
        return _mean_of_datasets(fields, deviations, kind, weights)
    members = checked_maps(deviations)  # type: ignore[arg-type]
    if len(fields) != len(members):
        raise ValueError(f"expected one field per deviation, got {len(fields)} and {len(members)}")
    w = checked_weights(weights, len(members))
    values: Any = fields
    return average([pull_back(f, one, kind) for f, one in zip(values, members, strict=True)], w)


def _of_datasets(move: Any, field: Any, through: Any, kind: Kind) -> Any:
    """Return a field of a Dataset seen through a map, on its grid."""
    checked_kind(kind)
    one, box = map_of(through, "through")
    stem, values = box.of_kind(field, "field", kind)
    boxes.require_together(field, through)
    verb = "pulled back" if move is pull_back else "pushed forward"
    told = told_of(field, stem, f"{stem}, {verb} as a {kind.replace('_', '-')}")
    data = box.variables(stem, move(values, one, kind), told)
    return dataset_of(box, data, kind=kind)


def _mean_of_datasets(fields: Any, deviations: Any, kind: Kind, weights: Any) -> Any:
    """Return the mean of the pull-backs of a field of several members, on its grid."""
    checked_kind(kind)
    members, box = maps_of(deviations)
    stem, values = box.of_kind(fields, "fields", kind)
    boxes.require_together(fields, deviations)
    mean = pull_back_mean(values, members, kind, weights=weights)
    told = box.as_mean(told_of(fields, stem, f"mean of {stem}"), taken_as(kind))
    return dataset_of(box, box.variables(stem, mean, told), kind=kind)


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
