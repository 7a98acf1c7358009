r"""Means in closed form or nearly: of linear maps, of rotations, of points on a sphere.

They are what the means of maps become where the maps are linear, or rotations of the plane or the
sphere. Matrices are small, and all is done on the host; means are arrays like their members.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.backends import devices
from meanfluid.means import boxes, cf
from meanfluid.means.geometric.torus import checked_weights
from meanfluid.means.members import ends_of, matrices_of, members_of, require_no_dim

if TYPE_CHECKING:
    import xarray

_ITERATIONS = 100
_ROUNDING = 1e-14  # times the size of the logarithms, below which a mean is done
_MEMBER = 1e-9  # by which a matrix may miss the group that it is said to be in


def group_exponential_mean(
    matrices: "ArrayLike | xarray.Dataset",
    *,
    weights: ArrayLike | None = None,
    dim: str | None = None,
) -> Any:
    r"""Return the matrix M with :math:`\langle \log(A^\alpha M^{-1}) \rangle = 0`.

    Parameters
    ----------
    matrices : (members, d, d)
        With determinants above zero, near enough to each other for real logarithms. Or a Dataset
        of ``matrix_x_x``, ``matrix_x_y`` and so on, or of the only such matrix in it.
    weights : (members,), optional
        Equal by default; normalised.
    dim : str, optional
        Of a Dataset: the dimension of the members, if there are several.

    Returns
    -------
    (d, d)
        In every closed subgroup that the members are in: of determinant 1 if theirs is. The mean
        of inverses is the inverse, of products with a fixed matrix from either side the product.
        Of a Dataset, a Dataset of the same names: a mean at each point of its other dimensions.

    Raises
    ------
    TypeError, ValueError
        If a matrix has no real logarithm beside the others.
    RuntimeError
        If the iteration does not converge.

    References
    ----------
    Pennec & Arsigny (2013), exponential barycentres, in Matrix Information Geometry, 123-166.
    """
    if cf.is_xarray(matrices):
        return _of_datasets(group_exponential_mean, matrices, weights, dim)
    from scipy.linalg import expm

    a, w = _checked(matrices, weights, dim)
    mean = a[int(np.argmax(w))]
    for _ in range(_ITERATIONS):
        logarithms = np.stack([_logarithm(one) for one in np.linalg.solve(mean.T, a.mT).mT])
        shift = np.einsum("m,mij->ij", w, logarithms)
        scale = max(1.0, float(np.abs(logarithms).max()))
        if float(np.abs(shift).max()) <= _ROUNDING * scale * len(mean):
            return devices.at_home(mean, matrices)
        mean = expm(shift) @ mean
    raise RuntimeError(
        f"the group-exponential mean did not converge in {_ITERATIONS} iterations: mean logarithm "
        f"{np.abs(shift).max():.1e}; the matrices are too far apart"
    )


def unimodular_mean(
    matrices: "ArrayLike | xarray.Dataset",
    *,
    weights: ArrayLike | None = None,
    dim: str | None = None,
) -> Any:
    r"""Return the matrix of determinant 1 nearest to the arithmetic mean: optimal transport.

    Parameters
    ----------
    matrices : (members, d, d)
        Linear maps that keep volume: of determinant 1. Or a Dataset as in
        `group_exponential_mean`.
    weights : (members,), optional
        Equal by default; normalised.
    dim : str, optional
        Of a Dataset: the dimension of the members, if there are several.

    Returns
    -------
    (d, d)
        M, so that :math:`\langle A \rangle M^{-1}` is symmetric: the map is a gradient. Of a
        Dataset, a Dataset.

    Raises
    ------
    TypeError, ValueError
        If a determinant is not 1, or two matrices are equally near.

    Notes
    -----
    With :math:`\langle A \rangle = U \Sigma V^T` it is :math:`U \mathrm{diag}(m) V^T`,
    :math:`m_i (m_i - \sigma_i)` the same for all i. All mass counts alike in all directions: the
    mean over a disc, or a ball.
    """
    if cf.is_xarray(matrices):
        return _of_datasets(unimodular_mean, matrices, weights, dim)
    a, w = _checked(matrices, weights, dim)
    off = float(np.abs(np.linalg.det(a) - 1.0).max())
    if not off < _MEMBER:
        raise ValueError(f"expected matrices of determinant 1, got one off by {off:.1e}")
    left, sigma, right = np.linalg.svd(np.einsum("m,mij->ij", w, a))
    if np.linalg.det(left) * np.linalg.det(right) < 0:
        left[:, -1], sigma[-1] = -left[:, -1], -sigma[-1]
    return devices.at_home(left @ np.diag(_unimodular(sigma)) @ right, matrices)


def rotation_mean(
    rotations: "ArrayLike | xarray.Dataset",
    *,
    weights: ArrayLike | None = None,
    dim: str | None = None,
) -> Any:
    """Return the Karcher mean of rotations: the geodesic mean.

    Parameters
    ----------
    rotations : (members, d, d)
        Orthogonal, of determinant 1; of the plane or of space. Mean and members must be less than
        half a turn apart. Or a Dataset as in `group_exponential_mean`.
    weights : (members,), optional
        Equal by default; normalised.
    dim : str, optional
        Of a Dataset: the dimension of the members, if there are several.

    Returns
    -------
    (d, d)
        Of a Dataset, a Dataset.

    Raises
    ------
    TypeError, ValueError
        If a matrix is not a rotation, or half a turn from the mean.
    RuntimeError
        If the iteration does not converge.

    Notes
    -----
    On rotations the bi-invariant metric has the one-parameter groups as geodesics, so this is the
    group-exponential mean too.
    """
    if cf.is_xarray(rotations):
        return _of_datasets(rotation_mean, rotations, weights, dim)
    a, w = _checked(rotations, weights, dim)
    off = float(np.abs(a.mT @ a - np.eye(a.shape[-1])).max())
    if not off < _MEMBER or not (np.linalg.det(a) > 0).all():
        raise ValueError(
            f"expected rotations, got a matrix off orthogonality by {off:.1e} or a reflection"
        )
    left, _, right = np.linalg.svd(group_exponential_mean(a, weights=w))
    mean = left @ right  # orthogonal to rounding, however many products made it
    return devices.at_home(mean, rotations)


def sphere_mean(
    points: "ArrayLike | xarray.Dataset",
    *,
    weights: ArrayLike | None = None,
    dim: str | None = None,
) -> Any:
    """Return centres of mass on the unit sphere: the extended_glm mean of maps of a sphere.

    Parameters
    ----------
    points : (members, n, 3)
        Where each member takes each of n particles; of length 1. The members of a particle must
        lie within an open half sphere. Or a Dataset of ``point_x``, ``point_y`` and ``point_z``, or
        of the only such vector in it.
    weights : (members,), optional
        Equal by default; normalised.
    dim : str, optional
        Of a Dataset: the dimension of the members, if there are several.

    Returns
    -------
    (n, 3)
        The point from which the great circles to the members balance. Of a Dataset, a Dataset.

    Raises
    ------
    TypeError, ValueError
        If a point is not on the unit sphere, or members of a particle are opposite each other.
    RuntimeError
        If the iteration does not converge.
    """
    if cf.is_xarray(points):
        return _of_points(points, weights, dim)
    require_no_dim(dim)
    x = devices.to_host(points).astype(float)
    if x.ndim != 3 or x.shape[-1] != 3 or len(x) == 0:
        raise ValueError(f"points must have shape (members, n, 3), got {x.shape}")
    if not float(np.abs(np.linalg.norm(x, axis=-1) - 1.0).max(initial=0.0)) < _MEMBER:
        raise ValueError("points must be finite and of length 1, on the unit sphere")
    w = checked_weights(weights, len(x))
    centre = np.einsum("m,mni->ni", w, x)
    size = np.linalg.norm(centre, axis=-1, keepdims=True)
    if not (np.einsum("mni,ni->mn", x, centre) > 0).all():
        raise ValueError("members of a particle must lie within an open half sphere of their mean")
    centre /= size
    for _ in range(_ITERATIONS):
        cosine = np.einsum("mni,ni->mn", x, centre)[..., None]
        across = x - cosine * centre
        sine = np.linalg.norm(across, axis=-1, keepdims=True)
        angle = np.arctan2(sine, cosine)
        stretch = np.where(sine > 0.0, angle / np.where(sine > 0.0, sine, 1.0), 1.0)
        shift = np.einsum("m,mni->ni", w, stretch * across)
        turn = np.linalg.norm(shift, axis=-1, keepdims=True)
        if float(turn.max(initial=0.0)) <= _ROUNDING:
            return devices.at_home(centre, points)
        centre = np.cos(turn) * centre + np.sinc(turn / np.pi) * shift
        centre /= np.linalg.norm(centre, axis=-1, keepdims=True)
    raise RuntimeError(
        f"centres on the sphere did not converge in {_ITERATIONS} iterations: {turn.max():.1e} left"
    )


def _of_datasets(mean_of: Any, data: Any, weights: Any, dim: str | None) -> Any:
    """Return a mean of matrices at each point of a Dataset."""
    names, members, matrices = matrices_of(data, "matrix", dim)
    points, d = matrices.shape[1:-2], matrices.shape[-1]
    mean = np.empty((*points, d, d))
    for index in np.ndindex(*points):
        mean[index] = mean_of(matrices[(slice(None), *index)], weights=weights)
    flat, told = mean.reshape(*points, d * d), boxes.told_alike(data, names)
    how = str(mean_of.__name__).removesuffix("_mean")
    return members.dataset(names, flat, told, how, kind=how)


def _of_points(data: Any, weights: Any, dim: str | None) -> Any:
    """Return centres of mass of the points on the sphere that a Dataset holds."""
    stem, ends = boxes.vector_in(data, ends_of(data), "point")
    names = [f"{stem}_{end}" for end in ends]
    members, points = members_of([data[name] for name in names], dim)
    flat = points.reshape(len(points), -1, points.shape[-1])
    mean = sphere_mean(flat, weights=weights).reshape(points.shape[1:])
    return members.dataset(
        names, mean, boxes.told_alike(data, names), "extended_glm", kind="extended_glm"
    )


def _checked(matrices: Any, weights: ArrayLike | None, dim: str | None) -> tuple[Any, Any]:
    require_no_dim(dim)
    a = devices.to_host(matrices).astype(float)
    if a.ndim != 3 or a.shape[1] != a.shape[2] or len(a) == 0 or not np.isfinite(a).all():
        raise ValueError(f"matrices must be finite and of shape (members, d, d), got {a.shape}")
    if not (np.linalg.det(a) > 0).all():
        raise ValueError("matrices must have determinants above zero, to keep orientation")
    return a, checked_weights(weights, len(a))


def _logarithm(matrix: Any) -> Any:
    from scipy.linalg import logm

    values = np.linalg.eigvals(matrix)
    if (np.abs(values.imag) <= 1e-12 * np.abs(values)).any() and (values.real <= 0).any():
        raise ValueError(
            "the matrices are too far apart: one has no real logarithm relative to the mean (an "
            f"eigenvalue is {values[np.argmin(values.real)]:.3g})"
        )
    return np.real(logm(matrix))


def _unimodular(sigma: Any) -> Any:
    """Singular values nearest to `sigma` (the last may be negative) with product 1."""
    from scipy.optimize import brentq

    def values(level: float, last: float) -> Any:
        root = np.sqrt(np.maximum(sigma**2 + 4.0 * level, 0.0))
        return (sigma + np.append(root[:-1], last * root[-1])) / 2.0

    def excess(level: float, last: float = 1.0) -> float:
        return float(np.log(np.maximum(values(level, last), 1e-300)).sum())

    lowest = -min(sigma[-1] ** 2, sigma[-2] ** 2) / 4.0 if len(sigma) > 1 else 0.0
    if len(sigma) == 1:
        return np.ones(1)
    if sigma[-1] > 0.0 and excess(lowest) > 0.0:
        if np.isclose(sigma[-1], sigma[-2], rtol=1e-9):
            raise ValueError(
                f"two matrices are equally near: the mean has singular values {sigma.tolist()}, "
                "large and alike; the members are too far apart"
            )
        return values(brentq(excess, lowest, 0.0, args=(-1.0,), xtol=1e-300, rtol=1e-15), -1.0)
    highest = max(1.0, float(sigma[0] ** 2))
    while excess(highest) < 0.0:
        highest *= 4.0
    lower = lowest if sigma[-1] > 0.0 else 0.0
    return values(brentq(excess, lower, highest, xtol=1e-16, rtol=1e-15), 1.0)
