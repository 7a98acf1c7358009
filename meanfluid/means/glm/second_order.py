r"""Formulas for waves of small amplitude a, right to second order, on periodic grids.

With :math:`\langle\cdot\rangle` the mean over members, a prime for what is left of it, and
:math:`\bar D = \partial_t + \bar u \cdot \nabla`, displacement and velocity are O(a) and related by
:math:`\bar D \xi_i = u'_i + \xi_j \bar u_{i,j}`. What is left out is O(a^3), for one
monochromatic wave O(a^4).

Each takes arrays, NumPy or CuPy, and returns one. Or it takes Datasets, as `grid_mean` does:
displacements ``displacement_x`` and so on and fluctuations on a dimension of the members and those
of the grid, means on the grid. It then returns a Dataset on the grid, without the members. There is
no error, no status and no window: nothing is integrated, and nothing can fail. Periods are then
points times spacing, or a full circle where the unit is one of angle.

References
----------
Andrews & McIntyre (1978), J. Fluid Mech. 89, 609-646. Buehler (2014), Waves and Mean Flows,
2nd ed., chapter 10.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from meanfluid.means import boxes, cf, periodic
from meanfluid.means.glm.algebra import checked_rotation, half_turned
from meanfluid.means.glm.checks import checked_members, require_shape, require_zero_mean
from meanfluid.means.glm.labelled import AT_DISPLACED, on_box

_HOW = f"{AT_DISPLACED}, to second order"


def stokes_correction_second_order(
    displacement: Any, fluctuation: Any, mean: Any, lengths: Sequence[float] | None = None
) -> Any:
    r"""Lagrangian mean less Eulerian mean of some quantity f, to second order.

    :math:`\langle \xi_j f'_{,j} \rangle + \langle \xi_j \xi_k \rangle \bar f_{,jk} / 2`; with
    f = u, Stokes drift.

    Parameters
    ----------
    displacement : (members, dimension, *grid), length
        Of zero mean over the members.
    fluctuation : (members[, size], *grid)
        f', of zero mean. Of a Dataset, its only variable, or the only vector in it; of several the
        one called ``fluctuation``.
    mean : ([size,] *grid)
        Eulerian mean of f. Of a Dataset, its only variable, or the only vector in it; of several
        the one called ``mean``.
    lengths : (dimension,), length
        Periods of the axes.

    Returns
    -------
    ([size,] *grid)
        Of Datasets, a Dataset of ``<name of the mean>_stokes_correction``, with ``_x`` and so on.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range.
    """
    if any(map(cf.is_xarray, (displacement, fluctuation, mean))):
        return _correction_of_datasets(displacement, fluctuation, mean, lengths)
    periods = _checked(displacement, lengths)
    axes, grid = len(periods), displacement.shape[2:]
    shape = getattr(fluctuation, "shape", ())
    if shape[-axes:] != grid or len(shape) not in (axes + 1, axes + 2):
        raise ValueError(
            f"fluctuation must have shape (members[, size], *grid) on the grid {grid}, got {shape}"
        )
    require_shape("fluctuation", fluctuation, (len(displacement), *shape[1:]))
    require_shape("mean", mean, shape[1:])
    slope = periodic.gradient(fluctuation, periods)  # (members[, size], axes, *grid)
    curvature = periodic.gradient(periodic.gradient(mean, periods), periods)
    xi = displacement if fluctuation.ndim == axes + 1 else displacement[:, None]
    first = (xi * slope).sum(axis=-axes - 1).mean(axis=0)
    second = _pairs(displacement) * curvature
    return first + second.sum(axis=(-axes - 2, -axes - 1)) / 2


def density_second_order(displacement: Any, lengths: Sequence[float] | None = None) -> Any:
    r"""Density of mean volume in an incompressible flow, to second order.

    :math:`1 - \langle \xi_j \xi_k \rangle_{,jk} / 2`.

    Parameters
    ----------
    displacement : (members, dimension, *grid), length
    lengths : (dimension,), length

    Returns
    -------
    (*grid)
        Of Datasets, a Dataset of `density`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range.
    """
    if cf.is_xarray(displacement):
        _, xi, box = boxes.grid_of(displacement, "displacement", lengths)
        return on_box({"density": density_second_order(xi, box.lengths)}, box, None, _HOW)
    periods = _checked(displacement, lengths)
    return 1 - _twice(_pairs(displacement), periods) / 2


def divergence_second_order(
    displacement: Any, fluctuation: Any, mean: Any, lengths: Sequence[float] | None = None
) -> Any:
    r"""Divergence of the Lagrangian mean velocity of an incompressible flow, to second order.

    :math:`\bar D \langle \xi_j \xi_k \rangle_{,jk} / 2`, which is zero for steady wave amplitudes
    that do not vary along the mean flow.

    Parameters
    ----------
    displacement : (members, dimension, *grid), length
    fluctuation : (members, dimension, *grid), length / time
        u'.
    mean : (dimension, *grid), length / time
        Eulerian mean of velocity.
    lengths : (dimension,), length

    Returns
    -------
    (*grid), 1 / time
        Of Datasets, a Dataset of `divergence`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range.
    """
    if any(map(cf.is_xarray, (displacement, fluctuation, mean))):
        waves, box, unit = _waves_of(displacement, fluctuation, mean, lengths)
        return on_box({"divergence": divergence_second_order(*waves)}, box, unit, _HOW)
    periods = _checked(displacement, lengths)
    following = _rate(displacement, fluctuation, mean, periods)
    slope = periodic.gradient(displacement, periods)
    rate = following - (mean[None, None] * slope).sum(axis=2)  # at fixed mean position
    change = (displacement[:, :, None] * rate[:, None, :]).mean(axis=0)
    local = 2 * _twice(change, periods)
    advected = (mean * periodic.gradient(_twice(_pairs(displacement), periods), periods)).sum(
        axis=0
    )
    return (local + advected) / 2


def pseudomomentum_second_order(
    displacement: Any,
    fluctuation: Any,
    mean: Any,
    lengths: Sequence[float] | None = None,
    *,
    rotation: Any = None,
) -> Any:
    r"""Pseudomomentum :math:`-\langle \xi_{j,i} (\bar D \xi_j + (f \times \xi)_j / 2) \rangle`.

    Parameters
    ----------
    displacement : (members, dimension, *grid), length
    fluctuation : (members, dimension, *grid), length / time
        u'.
    mean : (dimension, *grid), length / time
        Eulerian mean of velocity.
    lengths : (dimension,), length
    rotation : float or (3,), optional, 1 / time
        Twice the angular velocity of the frame.

    Returns
    -------
    (dimension, *grid), length / time
        Of Datasets, a Dataset of `pseudomomentum_x` and so on.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range.
    """
    if any(map(cf.is_xarray, (displacement, fluctuation, mean))):
        waves, box, unit = _waves_of(displacement, fluctuation, mean, lengths)
        p = pseudomomentum_second_order(*waves, rotation=rotation)
        return on_box({"pseudomomentum": p}, box, unit, _HOW, rotation)
    periods = _checked(displacement, lengths)
    f = checked_rotation(rotation, len(periods))
    wave = _rate(displacement, fluctuation, mean, periods)
    if f is not None:
        wave = wave + np.moveaxis(half_turned(f, np.moveaxis(displacement, 1, -1)), -1, 1)
    slope = periodic.gradient(displacement, periods)
    return -(slope * wave[:, :, None]).sum(axis=1).mean(axis=0)


def _waves_of(
    displacement: Any, fluctuation: Any, mean: Any, lengths: Any
) -> tuple[Any, boxes.Box, str | None]:
    """Return what Datasets hold as the arguments of a formula, the grid, and unit of velocity."""
    _, xi, box = boxes.grid_of(displacement, "displacement", lengths)
    stem, waves = box.vector_called(fluctuation, "fluctuation")
    other, steady = box.alone.vector_called(mean, "mean")
    boxes.require_together(displacement, fluctuation, mean)
    unit = boxes.units_of(fluctuation, stem, box.dims)
    boxes.require_unit("fluctuation", unit, "mean", boxes.units_of(mean, other, box.dims))
    return (xi, waves, steady, box.lengths), box, unit


def _correction_of_datasets(displacement: Any, fluctuation: Any, mean: Any, lengths: Any) -> Any:
    """Return `stokes_correction_second_order` of Datasets as a Dataset."""
    _, xi, box = boxes.grid_of(displacement, "displacement", lengths)
    kind = "scalar" if _is_scalar(mean, "mean") else "vector"
    ends = [""] if kind == "scalar" else [f"_{end}" for end in box.dims]
    other, waves = box.of_kind(fluctuation, "fluctuation", kind)
    stem, steady = box.alone.of_kind(mean, "mean", kind)
    boxes.require_together(displacement, fluctuation, mean)
    correction = stokes_correction_second_order(xi, waves, steady, box.lengths)
    unit, of_waves = (
        boxes.told_alike(data, [f"{name}{end}" for end in ends]).get("units")
        for data, name in ((mean, stem), (fluctuation, other))
    )
    boxes.require_unit("fluctuation", of_waves, "mean", unit)
    told = {"long_name": f"Stokes correction of {stem}"} | ({} if unit is None else {"units": unit})
    data = box.variables(f"{stem}_stokes_correction", correction, box.as_mean(told, _HOW))
    attributes = cf.with_provenance({"Conventions": cf.CONVENTIONS})
    return box.template.assign(data).assign_attrs(attributes)


def _is_scalar(data: Any, wanted: str) -> bool:
    """Whether a Dataset holds a scalar: one variable, or one that is called like it."""
    names = list(getattr(data, "data_vars", ()))
    return len(names) == 1 or wanted in names


def _checked(displacement: Any, lengths: Any) -> tuple[float, ...]:
    periods = checked_members("displacement", displacement, lengths)
    require_zero_mean(displacement)
    return periods


def _rate(displacement: Any, fluctuation: Any, mean: Any, periods: tuple[float, ...]) -> Any:
    """Return the rate of displacement following the mean flow: u' + xi . grad of the mean."""
    require_shape("fluctuation", fluctuation, displacement.shape)
    require_shape("mean", mean, displacement.shape[1:])
    shear = periodic.gradient(mean, periods)  # [i, j]: of component i along j
    return fluctuation + (displacement[:, None] * shear[None]).sum(axis=2)


def _pairs(displacement: Any) -> Any:
    """Mean products of components, (dimension, dimension, *grid)."""
    return (displacement[:, :, None] * displacement[:, None, :]).mean(axis=0)


def _twice(tensor: Any, periods: tuple[float, ...]) -> Any:
    """Sum of second derivatives of a tensor (dimension, dimension, *grid), each along its axes."""
    return periodic.divergence(periodic.divergence(tensor, periods), periods)
