r"""The exact formulas of the generalised Lagrangian mean, for members along the first axis.

A mean position :math:`\bar x` and a displacement :math:`\xi` of zero mean say where each member of
an ensemble is, :math:`\bar x + \xi`. All formulas are algebra in xi, its gradient and the velocity
met there; they hold at any amplitude.

Arrays are (members, ..., dimension), gradients (members, ..., dimension, dimension) with the
direction of the derivative last; NumPy or CuPy.

References
----------
Andrews & McIntyre (1978), An exact theory of nonlinear waves on a Lagrangian-mean flow, J. Fluid
Mech. 89, 609-646. Buehler (2014), Waves and Mean Flows, 2nd ed., chapter 10.
"""

from typing import Any

import numpy as np

from meanfluid.backends import devices
from meanfluid.fields.velocity_field import Array
from meanfluid.means import boxes, cf
from meanfluid.means.members import (
    ends_of,
    matrix_in,
    members_of,
    names_of_matrix,
    require_no_dim,
    taken_as,
)
from meanfluid.means.pull_back import Kind, checked_kind, pulled_back


def matrix_norm(matrix: Any) -> Array:
    """Frobenius norm (...) of matrices (..., dimension, dimension)."""
    norm: Array = np.sqrt((matrix**2).sum(axis=(-2, -1)))
    return norm


def lifting(gradient: Any) -> Any:
    """Return the unit matrix plus the gradient of displacement, (..., dimension, dimension)."""
    return gradient + devices.beside(gradient, np.eye(gradient.shape[-1]))


def pseudomomentum(gradient: Any, velocity: Any, displacement: Any, rotation: Any = None) -> Any:
    r"""Pseudomomentum :math:`p_i = -\langle \xi_{j,i} (u^\ell_j + (f \times \xi)_j / 2) \rangle`.

    Parameters
    ----------
    gradient : (members, ..., dimension, dimension)
        Of displacement.
    velocity, displacement : (members, ..., dimension)
        The velocity is that at the displaced positions.
    rotation : float, (3,) or None, 1 / time
        Twice the angular velocity of the frame, f.

    Returns
    -------
    (..., dimension), length / time

    References
    ----------
    Andrews & McIntyre (1978), section 3.
    """
    wave = velocity - velocity.mean(axis=0)
    if rotation is not None:
        wave = wave + half_turned(rotation, displacement)
    return -np.einsum("m...ji,m...j->m...i", gradient, wave).mean(axis=0)


def half_turned(rotation: Any, vector: Any) -> Any:
    """Return f x vector / 2 for a number f in the plane, or f of three components in space."""
    if vector.shape[-1] == 2:
        return 0.5 * rotation * np.stack([-vector[..., 1], vector[..., 0]], axis=-1)
    f = [float(part) for part in rotation]
    x, y, z = (vector[..., k] for k in range(3))
    cross = [f[1] * z - f[2] * y, f[2] * x - f[0] * z, f[0] * y - f[1] * x]
    return 0.5 * np.stack(cross, axis=-1)


def densities(gradient: Any) -> Any:
    """Return det(I + grad xi) of every member, (members, ...).

    In an incompressible flow that starts from common labels it is the same for all members: the
    density of mean volume.
    """
    return np.linalg.det(lifting(gradient))


def pull_back_mean(value: Any, gradient: Any, kind: Kind, *, dim: str | None = None) -> Any:
    r"""Ensemble mean of a tensor field pulled back to the mean position.

    Which of them is "the" mean depends on what the tensor is; those of velocity as a vector and as
    a one-form differ at the order of Stokes drift. None of "vector" is the velocity of the mean
    position, which is the mean of kind "scalar" of each component. The same for fields and maps on
    a periodic grid is `meanfluid.means.geometric.pull_back_mean`.

    Parameters
    ----------
    value : (members, ...) or (members, ..., dimension)
        At the displaced positions. Or a Dataset of one variable, or of a vector ``<name>_x`` and so
        on; of several the one called ``value`` is meant: select the variables.
    gradient : (members, ..., dimension, dimension)
        Of displacement. Or a Dataset of ``gradient_x_x``, ``gradient_x_y`` and so on (the direction
        of the derivative last), or of the only such matrix in it.
    kind : "scalar", "vector", "one_form" or "density"
        The mean of f, of :math:`J^{-1} u`, of :math:`J^T u`, or of :math:`\det(J) f`, with
        :math:`J = I + \nabla\xi`.
    dim : str, optional
        Of Datasets: the dimension of the members, if there are several.

    Returns
    -------
    (...) or (..., dimension)
        Of Datasets, a Dataset of the names of `value` on the dimensions that are left. There is no
        error and no status: nothing is integrated, and nothing can fail.

    Raises
    ------
    TypeError, ValueError
        If the kind is unknown, the shapes do not fit, or a vector meets a J without inverse.

    References
    ----------
    Gilbert & Vanneste (2018), Geometric generalised Lagrangian-mean theories, J. Fluid Mech. 839,
    95-134.
    """
    if cf.is_xarray(value) or cf.is_xarray(gradient):
        return _of_datasets(value, gradient, kind, dim)
    require_no_dim(dim)
    return pulled_back(value, lifting(gradient), kind).mean(axis=0)


def _of_datasets(value: Any, gradient: Any, kind: Kind, dim: str | None) -> Any:
    """Return `pull_back_mean` of Datasets as a Dataset."""
    checked_kind(kind)
    matrix, rows = matrix_in(gradient, "gradient")
    vector = kind in ("vector", "one_form")
    if vector:
        stem, ends = boxes.vector_in(value, ends_of(value), "value")
        if set(ends) != set(rows):
            raise ValueError(f"value must have the components {rows} of the gradient, got {ends}")
        names = [f"{stem}_{end}" for end in rows]
    else:
        names = [boxes.scalar_in(value, "value")]
    slopes = [gradient[name] for name in names_of_matrix(matrix, rows)]
    members, both = members_of([*(value[name] for name in names), *slopes], dim)
    here, slope = both[..., : len(names)], both[..., len(names) :]
    slope = slope.reshape(*slope.shape[:-1], len(rows), len(rows))
    mean = pull_back_mean(here if vector else here[..., 0], slope, kind)
    told = boxes.told_alike(value, names)
    return members.dataset(
        names, mean if vector else mean[..., None], told, taken_as(kind), kind=kind
    )


def checked_rotation(rotation: Any, dimension: int) -> Any:
    """Return f as a number in the plane, as (3,) in space, or None.

    Raises
    ------
    ValueError
        If it has the wrong shape or is not finite.
    """
    if rotation is None:
        return None
    f = np.asarray(rotation, dtype=float)
    shape = {2: (), 3: (3,)}.get(dimension)
    if f.shape != shape or not np.isfinite(f).all():
        raise ValueError(
            "rotation (twice the angular velocity of the frame) must be a finite number in two "
            f"dimensions and three in three, got {rotation!r} in {dimension}"
        )
    return float(f) if dimension == 2 else f
