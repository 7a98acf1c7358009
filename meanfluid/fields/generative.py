r"""Exact flows between data and noise, ground truth for generative models.

MeanFlow's clock: :math:`z_t = (1 - t) x + t \epsilon` with data x at time 0, independent noise
at time 1, and the conditional velocity :math:`\epsilon - x`. The velocity of these fields is its
mean given the position, :math:`v(z, t) = E[\epsilon - x \mid z_t = z]`, whose flow carries the
distribution of :math:`z_t`. `meanfluid.average_velocity(field, z, r, t, label="final")` is then
MeanFlow's u(z, r, t), and ``z - u(z, 0, 1)`` turns noise into data in one step. Positions,
and so velocities, are nondimensional.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.fields.closed_forms import require_positive
from meanfluid.fields.mixtures import mixture, mixture_map, rank_kept
from meanfluid.fields.velocity_field import Array, Axis, VelocityField

_SOURCE = "linear path of flow matching, closed form"
_SMALLEST = 1e-100  # a deviation whose square, and the inverse of it, are far from the limits
_REACH = 4  # deviations of data or of noise that the domain holds


class GaussianLine(NamedTuple):
    """Mean of the data, and variance of the data over that of the noise."""

    mean_x: float
    ratio_1: float


def _gaussian_line(m: Any, p: GaussianLine, t: Any, x: Any) -> tuple[Any, ...]:
    keep = 1 - t
    pull = (t - keep * p.ratio_1) / (keep * keep * p.ratio_1 + t * t)
    return (pull * (x - keep * p.mean_x) - p.mean_x,)


class GaussianPlane(NamedTuple):
    """Mean; variance of data over noise along two axes; the axes, and the coordinates along them.

    Noise has unit variance along both axes, which are orthogonal if it is isotropic.
    """

    mean_x: float
    mean_y: float
    ratio_1: float
    ratio_2: float
    axis_1_x: float
    axis_1_y: float
    axis_2_x: float
    axis_2_y: float
    along_1_x: float
    along_1_y: float
    along_2_x: float
    along_2_y: float


def _gaussian_plane(m: Any, p: GaussianPlane, t: Any, x: Any, y: Any) -> tuple[Any, ...]:
    keep = 1 - t
    from_x, from_y = x - keep * p.mean_x, y - keep * p.mean_y
    pull_1 = (t - keep * p.ratio_1) / (keep * keep * p.ratio_1 + t * t)
    pull_2 = (t - keep * p.ratio_2) / (keep * keep * p.ratio_2 + t * t)
    rate_1 = pull_1 * (p.along_1_x * from_x + p.along_1_y * from_y)
    rate_2 = pull_2 * (p.along_2_x * from_x + p.along_2_y * from_y)
    return (
        p.axis_1_x * rate_1 + p.axis_2_x * rate_2 - p.mean_x,
        p.axis_1_y * rate_1 + p.axis_2_y * rate_2 - p.mean_y,
    )


class GaussianSpace(NamedTuple):
    """The same in space: mean, ratios of variance, three axes, the coordinates along them."""

    mean_x: float
    mean_y: float
    mean_z: float
    ratio_1: float
    ratio_2: float
    ratio_3: float
    axis_1_x: float
    axis_1_y: float
    axis_1_z: float
    axis_2_x: float
    axis_2_y: float
    axis_2_z: float
    axis_3_x: float
    axis_3_y: float
    axis_3_z: float
    along_1_x: float
    along_1_y: float
    along_1_z: float
    along_2_x: float
    along_2_y: float
    along_2_z: float
    along_3_x: float
    along_3_y: float
    along_3_z: float


def _gaussian_space(m: Any, p: GaussianSpace, t: Any, x: Any, y: Any, z: Any) -> tuple[Any, ...]:
    keep = 1 - t
    from_x, from_y, from_z = x - keep * p.mean_x, y - keep * p.mean_y, z - keep * p.mean_z
    pull_1 = (t - keep * p.ratio_1) / (keep * keep * p.ratio_1 + t * t)
    pull_2 = (t - keep * p.ratio_2) / (keep * keep * p.ratio_2 + t * t)
    pull_3 = (t - keep * p.ratio_3) / (keep * keep * p.ratio_3 + t * t)
    rate_1 = pull_1 * (p.along_1_x * from_x + p.along_1_y * from_y + p.along_1_z * from_z)
    rate_2 = pull_2 * (p.along_2_x * from_x + p.along_2_y * from_y + p.along_2_z * from_z)
    rate_3 = pull_3 * (p.along_3_x * from_x + p.along_3_y * from_y + p.along_3_z * from_z)
    return (
        p.axis_1_x * rate_1 + p.axis_2_x * rate_2 + p.axis_3_x * rate_3 - p.mean_x,
        p.axis_1_y * rate_1 + p.axis_2_y * rate_2 + p.axis_3_y * rate_3 - p.mean_y,
        p.axis_1_z * rate_1 + p.axis_2_z * rate_2 + p.axis_3_z * rate_3 - p.mean_z,
    )


_GAUSSIAN: dict[int, tuple[Any, Any]] = {
    1: (GaussianLine, _gaussian_line),
    2: (GaussianPlane, _gaussian_plane),
    3: (GaussianSpace, _gaussian_space),
}


def _gaussian_average(p: Any, position: Array, anchor: Array, free: Array) -> Array:
    """Average velocity (n, d) between two times, anchored at one of them; nothing cancels.

    The deviation along an axis is s = sqrt((1 - t)**2 ratio + t**2), and particles keep
    (z - mean)/s. The quotient (s(t) - s(r))/(t - r) is that of the squares over s(t) + s(r).
    """
    d = position.shape[1]
    values = np.array(p, dtype=float)
    mean, ratio = values[:d], values[d : 2 * d]
    axes, along = (values[2 * d :].reshape(2, d, d)) if d > 1 else np.ones((2, 1, 1))
    a, b = anchor[:, None], free[:, None]
    here, there = (np.hypot((1 - t) * np.sqrt(ratio), t) for t in (a, b))
    rate = ((a + b) - (2 - a - b) * ratio) / (here * (here + there))
    return np.asarray((rate * ((position - (1 - a) * mean) @ along.T)) @ axes - mean)


def _gaussian_map(p: Any, position: Array, start: Array, end: Array) -> Array:
    return position + (end - start)[:, None] * _gaussian_average(p, position, start, end)


def gaussian_path(
    mean: ArrayLike, covariance: ArrayLike, noise_covariance: ArrayLike | None = None
) -> VelocityField:
    r"""Gaussian data carried to Gaussian noise, in one, two or three dimensions.

    With :math:`m = (1 - t) \mu` and :math:`S = (1 - t)^2 \Sigma + t^2 C`,
    :math:`v = -\mu + (t C - (1 - t) \Sigma) S^{-1} (z - m)`. A linear map W turns noise into the
    unit matrix and data into a diagonal one at once, :math:`C = W W^T, \Sigma = W D W^T`, and in
    these coordinates the flow map is a factor along each axis. If C and Sigma commute it is
    :math:`m(r) + S(r)^{1/2} S(t)^{-1/2} (z - m(t))`, otherwise it is not.

    Parameters
    ----------
    mean : float or (d,)
        :math:`\mu`, of the data.
    covariance : float or (d, d)
        :math:`\Sigma`, symmetric and positive definite; in one dimension the variance.
    noise_covariance : float or (d, d), optional
        C, likewise; the unit matrix by default. The noise has zero mean.

    Raises
    ------
    ValueError
        If a shape does not fit, or a covariance is not symmetric and positive definite.

    References
    ----------
    Lipman, Chen, Ben-Hamu, Nickel & Le (2023), arXiv:2210.02747 (the path); Geng, Deng, Bai,
    Kolter & He (2025), arXiv:2505.13447 (the average velocity).
    """
    centre = np.atleast_1d(np.asarray(mean, dtype=float))
    d = centre.size
    if centre.shape != (d,) or d not in _GAUSSIAN:
        raise ValueError(f"mean must be a number or have 1 to 3 entries, got shape {centre.shape}")
    data = _checked_covariance("covariance", covariance, d)
    noise = np.eye(d)
    if noise_covariance is not None:
        noise = _checked_covariance("noise_covariance", noise_covariance, d)
    root, inverse_root = _roots(noise)
    ratio, turn = np.linalg.eigh(inverse_root @ data @ inverse_root)
    record, body = _GAUSSIAN[d]
    frames = [] if d == 1 else [*(root @ turn).T.ravel(), *(turn.T @ inverse_root).ravel()]
    reach = _REACH * np.sqrt(np.maximum(np.diag(data), np.diag(noise)))
    return VelocityField(
        body=body,
        parameters=record(*map(float, [*centre, *ratio, *frames])),
        dimension=d,
        name="gaussian_path",
        domain=_box(np.minimum(centre, 0) - reach, np.maximum(centre, 0) + reach),
        time_range=(0.0, 1.0),
        source=_SOURCE,
        steady=False,
        divergence_free=False,
        exact_flow_map=_gaussian_map,
    )


def gaussian_average_velocity(
    field: VelocityField, position: ArrayLike, start: ArrayLike, end: ArrayLike
) -> Array:
    r"""MeanFlow's u(z, r, t) of a `gaussian_path` in closed form, exact also as r tends to t.

    Parameters
    ----------
    field : VelocityField
        Made by `gaussian_path`.
    position : (n, d)
        z, where the particle is at `end` (label "final").
    start, end : float or (n,)
        r and t. With the two exchanged the mean is labelled by the initial position.

    Returns
    -------
    (n, d)

    Raises
    ------
    ValueError
        If the field is not a `gaussian_path` or the position does not fit it.
    """
    if field.exact_flow_map is not _gaussian_map:
        raise ValueError(f"field must be made by gaussian_path, got {field.name}")
    z = np.asarray(position, dtype=float)
    if z.ndim != 2 or z.shape[1] != field.dimension:
        raise ValueError(f"position must have shape (n, {field.dimension}), got {z.shape}")
    r, t = (np.broadcast_to(np.asarray(s, dtype=float), z.shape[:1]) for s in (start, end))
    return _gaussian_average(field.parameters, z, t, r)


def mixture_path(weights: ArrayLike, means: ArrayLike, deviations: ArrayLike) -> VelocityField:
    r"""Mixture of isotropic Gaussians carried to standard normal noise.

    The velocity is the mean of the components' :math:`v_i`, see `gaussian_path`, weighted by
    :math:`w_i N(z; (1 - t) \mu_i, (1 - t)^2 \sigma_i^2 + t^2)`. On a line particles keep their
    rank, so that the flow map is :math:`F_r^{-1} \circ F_t` with the distribution functions of
    the mixture: exact up to a scalar root. In more dimensions there is no closed form.

    Parameters
    ----------
    weights : (k,)
        Positive; they are divided by their sum.
    means : (k,) or (k, d)
        One number, or a point in up to three dimensions, for each component.
    deviations : float or (k,)
        Standard deviations of the components.

    Raises
    ------
    ValueError
        If shapes do not fit, or a weight or deviation is not positive.

    References
    ----------
    Lipman, Chen, Ben-Hamu, Nickel & Le (2023), arXiv:2210.02747.
    """
    weight = np.asarray(weights, dtype=float)
    centre = np.asarray(means, dtype=float)
    centre = centre[:, None] if centre.ndim == 1 else centre
    shapes = [(weight.size, d) for d in _GAUSSIAN]
    if weight.ndim != 1 or weight.size == 0 or centre.shape not in shapes:
        raise ValueError(
            "weights must have shape (k,) and means (k,) or (k, d) with d = 1, 2 or 3, got "
            f"{weight.shape} and {np.shape(means)}"
        )
    if np.shape(deviations) not in ((), weight.shape):
        raise ValueError(
            f"deviations must be a number or have shape {weight.shape}, got {np.shape(deviations)}"
        )
    deviation = np.broadcast_to(np.asarray(deviations, dtype=float), weight.shape)
    if not (np.isfinite(weight).all() and (weight > 0).all()):
        raise ValueError(f"weights must be positive, got {weight.tolist()}")
    if not (np.isfinite(deviation).all() and (deviation >= _SMALLEST).all()):
        raise ValueError(f"deviations must be at least {_SMALLEST}, got {deviation.tolist()}")
    d = centre.shape[1]
    record, body = mixture(d, weight.size)
    table = np.column_stack([np.log(weight / weight.sum()), centre, deviation])
    reach = _REACH * deviation[:, None]
    return VelocityField(
        body=body,
        parameters=record(*map(float, table.ravel())),
        dimension=d,
        name="mixture_path",
        domain=_box(
            np.minimum((centre - reach).min(axis=0), -_REACH),
            np.maximum((centre + reach).max(axis=0), _REACH),
        ),
        time_range=(0.0, 1.0),
        source=_SOURCE,
        steady=False,
        divergence_free=False,
        exact_flow_map=mixture_map if d == 1 else None,
    )


class TwoPoints(NamedTuple):
    """Distance of both points from the origin."""

    distance: float = 1.0


def _two_points(m: Any, p: TwoPoints, t: Any, x: Any) -> tuple[Any, ...]:
    return ((x - p.distance * m.tanh(p.distance * (1 - t) * x / (t * t))) / t,)


def _two_points_map(p: TwoPoints, position: Array, start: Array, end: Array) -> Array:
    points = p.distance * np.array([-1.0, 1.0])
    return rank_kept(np.full(2, -math.log(2)), points, np.zeros(2), position, start, end)


def two_point_path(distance: float = 1.0) -> VelocityField:
    r"""Data at two points of a line, equally likely, carried to standard normal noise.

    :math:`v = (z - a \tanh(a (1 - t) z/t^2))/t`. As r tends to 0, the average velocity tends to
    :math:`u(z, 0, 1) = z - a\,\mathrm{sign}\,z`, which is discontinuous: a continuous model of
    it is wrong by at least a somewhere. Times start just after 0, where the velocity is singular.

    Parameters
    ----------
    distance : float
        a: the points are at -a and a.
    """
    require_positive(distance=distance)
    return VelocityField(
        body=_two_points,
        parameters=TwoPoints(distance),
        dimension=1,
        name="two_point_path",
        domain=(Axis(-max(_REACH, distance), max(_REACH, distance)),),
        time_range=(_SMALLEST, 1.0),
        source=_SOURCE,
        steady=False,
        divergence_free=False,
        exact_flow_map=_two_points_map,
    )


def _box(lower: Array, upper: Array) -> tuple[Axis, ...]:
    return tuple(Axis(float(low), float(high)) for low, high in zip(lower, upper, strict=True))


def _checked_covariance(name: str, value: ArrayLike, d: int) -> Array:
    matrix = np.asarray(value, dtype=float)
    if d == 1 and matrix.ndim < 2:
        matrix = matrix.reshape(-1, 1)
    if matrix.shape != (d, d):
        raise ValueError(f"{name} must have shape {(d, d)}, got {np.shape(value)}")
    if not np.isfinite(matrix).all() or not np.allclose(matrix, matrix.T, rtol=1e-12, atol=0):
        raise ValueError(f"{name} must be finite and symmetric, got {matrix.tolist()}")
    size = np.linalg.eigvalsh(matrix)
    if not size[0] > max(_SMALLEST, 1e-14 * size[-1]):
        raise ValueError(f"{name} must be positive definite, got eigenvalues {size.tolist()}")
    return np.asarray((matrix + matrix.T) / 2)


def _roots(matrix: Array) -> tuple[Array, Array]:
    """Symmetric square root and its inverse."""
    size, turn = np.linalg.eigh(matrix)
    return (turn * np.sqrt(size)) @ turn.T, (turn / np.sqrt(size)) @ turn.T
