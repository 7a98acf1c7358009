"""The generalised Lagrangian mean from displacements that are known on a periodic grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from meanfluid.means import boxes, cf, periodic
from meanfluid.means.glm.algebra import checked_rotation, densities, pseudomomentum
from meanfluid.means.glm.checks import checked_members, require_shape, require_zero_mean
from meanfluid.means.glm.labelled import AT_DISPLACED, QUANTITIES, on_box


@dataclass(frozen=True, eq=False)
class GridMean:
    """Means over members, at mean positions on a periodic grid.

    Attributes
    ----------
    displacement_gradient : (members, dimension, dimension, *grid)
        ``[m, i, j]`` is d xi_i / d x_j of member m.
    mean_velocity : (dimension, *grid), length / time
    divergence : (*grid), 1 / time
        Of `mean_velocity`.
    pseudomomentum, momentum : (dimension, *grid), length / time
        Momentum is `mean_velocity` less `pseudomomentum`.
    density : (*grid)
        Mean of det(I + grad xi).
    density_spread : (*grid)
        Largest distance of a member from it.
    """

    displacement_gradient: Any
    mean_velocity: Any
    divergence: Any
    pseudomomentum: Any
    momentum: Any
    density: Any
    density_spread: Any


def grid_mean(
    displacement: Any,
    velocity: Any,
    lengths: Sequence[float] | None = None,
    *,
    rotation: Any = None,
) -> Any:
    """Generalised Lagrangian mean from displacements and the velocities met there.

    Parameters
    ----------
    displacement : (members, dimension, *grid), length
        xi at mean positions on a grid of equal spacing, without the end points; of zero mean over
        the members. NumPy or CuPy. Or a Dataset with variables ``displacement_x`` and so on (or of
        any other name, if they are the only vector), on the dimensions x and so on and one more.
    velocity : (members, dimension, *grid), length / time
        At the displaced positions. Or a Dataset with ``velocity_x`` and so on; it may be the same.
    lengths : (dimension,), length
        Periods of the axes. Of a Dataset they are points times spacing, or a full circle where the
        unit is one of angle.
    rotation : float or (3,), optional, 1 / time
        Twice the angular velocity of the frame, in pseudomomentum.

    Returns
    -------
    GridMean
        Derivatives are spectral: as good as the grid resolves the displacement and its products.
        Of a Dataset, a Dataset on its grid of all but `displacement_gradient`, which belongs to the
        members; their dimension is gone. There is no error, no status and no window: nothing is
        integrated, and nothing can fail.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range, or displacement has a mean.
    """
    if cf.is_xarray(displacement) or cf.is_xarray(velocity):
        return _of_datasets(displacement, velocity, lengths, rotation)
    periods = checked_members("displacement", displacement, lengths)
    require_shape("velocity", velocity, displacement.shape)
    require_zero_mean(displacement)
    f = checked_rotation(rotation, len(periods))
    slope = periodic.gradient(displacement, periods)
    mean = velocity.mean(axis=0)
    inner = np.moveaxis(slope, (1, 2), (-2, -1))  # (members, *grid, dimension, dimension)
    p = pseudomomentum(inner, np.moveaxis(velocity, 1, -1), np.moveaxis(displacement, 1, -1), f)
    p = np.moveaxis(p, -1, 0)
    each = densities(inner)
    density = each.mean(axis=0)
    return GridMean(
        displacement_gradient=slope,
        mean_velocity=mean,
        divergence=periodic.divergence(mean, periods),
        pseudomomentum=p,
        momentum=mean - p,
        density=density,
        density_spread=abs(each - density).max(axis=0),
    )


def _of_datasets(displacement: Any, velocity: Any, lengths: Any, rotation: Any) -> Any:
    """Return `grid_mean` of Datasets as a Dataset."""
    _, xi, box = boxes.grid_of(displacement, "displacement", lengths)
    stem, speed = box.vector_called(velocity, "velocity")
    boxes.require_together(displacement, velocity)
    mean = grid_mean(xi, speed, box.lengths, rotation=rotation)
    result = on_box(
        {key: getattr(mean, key, None) for key in QUANTITIES}, box,
        boxes.units_of(velocity, stem, box.dims), AT_DISPLACED, rotation,
    )  # fmt: skip
    told = {"long_name": "largest distance of a member from the density of mean volume"}
    told = told | {"units": "1"}
    return result.assign(density_spread=box.on_grid(mean.density_spread, told))
