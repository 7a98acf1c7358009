"""Steady analytic velocity fields, with their closed-form flow maps.

A field is one scalar formula ``body(m, p, t, x, y[, z])``; an exact flow map is a NumPy function
``(p, position, start, end)`` of arrays. Lengths and times are nondimensional unless said.
`taylor_green` is steady without viscosity only; it is here with the other cellular flows.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike

from meanfluid.fields.closed_forms import (
    agm_ratios,
    elliptic_argument,
    elliptic_sine,
    require_positive,
    rotated,
    stretched_angle,
)
from meanfluid.fields.velocity_field import Array, Axis, VelocityField

_UNIT_SQUARE = (Axis(-1.0, 1.0), Axis(-1.0, 1.0))


class Rotation(NamedTuple):
    """Angular velocity, 1 / time."""

    rate: float = 1.0


def _rotation(m: Any, p: Rotation, t: Any, x: Any, y: Any) -> tuple[Any, ...]:
    return -p.rate * y, p.rate * x


def _rotation_map(p: Rotation, position: Array, start: Array, end: Array) -> Array:
    return rotated(position, p.rate * (end - start))


def rotation(rate: float = 1.0) -> VelocityField:
    """Solid-body rotation v = rate (-y, x) about the origin.

    Parameters
    ----------
    rate : float, 1 / time
        Angular velocity, anticlockwise if positive.
    """
    return VelocityField(
        body=_rotation,
        parameters=Rotation(rate),
        dimension=2,
        name="rotation",
        domain=_UNIT_SQUARE,
        source="closed form",
        steady=True,
        divergence_free=True,
        exact_flow_map=_rotation_map,
    )


class Strain(NamedTuple):
    """Rate of strain, 1 / time."""

    rate: float = 1.0


def _strain(m: Any, p: Strain, t: Any, x: Any, y: Any) -> tuple[Any, ...]:
    return p.rate * x, -p.rate * y


def _strain_map(p: Strain, position: Array, start: Array, end: Array) -> Array:
    stretch = np.exp(p.rate * (end - start))
    return np.stack([stretch * position[:, 0], position[:, 1] / stretch], axis=-1)


def strain(rate: float = 1.0) -> VelocityField:
    """Pure strain v = rate (x, -y) about a stagnation point at the origin.

    Parameters
    ----------
    rate : float, 1 / time
        Growth rate along x.
    """
    return VelocityField(
        body=_strain,
        parameters=Strain(rate),
        dimension=2,
        name="strain",
        domain=_UNIT_SQUARE,
        source="closed form",
        steady=True,
        divergence_free=True,
        exact_flow_map=_strain_map,
    )


class Shear(NamedTuple):
    """Shear rate, 1 / time."""

    rate: float = 1.0


def _shear(m: Any, p: Shear, t: Any, x: Any, y: Any) -> tuple[Any, ...]:
    return p.rate * y, 0.0 * y


def _shear_map(p: Shear, position: Array, start: Array, end: Array) -> Array:
    x, y = position.T
    return np.stack([x + p.rate * (end - start) * y, y], axis=-1)


def shear(rate: float = 1.0) -> VelocityField:
    """Uniform shear v = (rate y, 0).

    Parameters
    ----------
    rate : float, 1 / time
        Velocity gradient across the flow.
    """
    return VelocityField(
        body=_shear,
        parameters=Shear(rate),
        dimension=2,
        name="shear",
        domain=_UNIT_SQUARE,
        source="closed form",
        steady=True,
        divergence_free=True,
        exact_flow_map=_shear_map,
    )


class LinearFlow(NamedTuple):
    """Velocity gradient, row by row, 1 / time, and the velocity at the origin."""

    du_dx: float = 0.0
    du_dy: float = 0.0
    dv_dx: float = 0.0
    dv_dy: float = 0.0
    offset_x: float = 0.0
    offset_y: float = 0.0


def _linear_flow(m: Any, p: LinearFlow, t: Any, x: Any, y: Any) -> tuple[Any, ...]:
    return p.du_dx * x + p.du_dy * y + p.offset_x, p.dv_dx * x + p.dv_dy * y + p.offset_y


def _linear_flow_map(p: LinearFlow, position: Array, start: Array, end: Array) -> Array:
    # The offset as a third column: no inverse of the gradient, which may be singular.
    generator = np.array(
        [[p.du_dx, p.du_dy, p.offset_x], [p.dv_dx, p.dv_dy, p.offset_y], [0.0, 0.0, 0.0]]
    )
    duration, which = np.unique(end - start, return_inverse=True)
    propagator = scipy.linalg.expm(duration[:, None, None] * generator)[which.ravel()]
    moved = np.einsum("nij,nj->ni", propagator[:, :2, :2], position)
    return np.asarray(moved + propagator[:, :2, 2])


def linear_flow(matrix: ArrayLike, offset: ArrayLike = (0.0, 0.0)) -> VelocityField:
    """Affine steady flow v = matrix x + offset in the plane.

    Parameters
    ----------
    matrix : (2, 2), 1 / time
        Velocity gradient; ``matrix[i][j]`` is the derivative of component i along axis j.
    offset : (2,), length / time
        Velocity at the origin.

    Raises
    ------
    ValueError
        If a shape is wrong.
    """
    gradient, origin = np.asarray(matrix, dtype=float), np.asarray(offset, dtype=float)
    if gradient.shape != (2, 2) or origin.shape != (2,):
        raise ValueError(
            f"matrix must have shape (2, 2) and offset (2,), got {gradient.shape} "
            f"and {origin.shape}"
        )
    return VelocityField(
        body=_linear_flow,
        parameters=LinearFlow(*gradient.ravel().tolist(), *origin.tolist()),
        dimension=2,
        name="linear_flow",
        domain=_UNIT_SQUARE,
        source="closed form",
        steady=True,
        divergence_free=bool(gradient.trace() == 0),
        exact_flow_map=_linear_flow_map,
    )


class GaussianVortex(NamedTuple):
    """Circulation at infinity, length^2 / time, and the radius of the Gaussian core."""

    circulation: float = 2 * math.pi
    core_radius: float = 0.5


def _gaussian_vortex(m: Any, p: GaussianVortex, t: Any, x: Any, y: Any) -> tuple[Any, ...]:
    core = p.core_radius * p.core_radius
    turning = p.circulation / (2 * m.pi * core) * m.exprel(-(x * x + y * y) / core)
    return -turning * y, turning * x


def _gaussian_vortex_map(p: GaussianVortex, position: Array, start: Array, end: Array) -> Array:
    core = p.core_radius**2
    turning = scipy.special.exprel(-(position**2).sum(axis=1) / core)
    return rotated(position, p.circulation / (2 * np.pi * core) * turning * (end - start))


def gaussian_vortex(circulation: float = 2 * math.pi, core_radius: float = 0.5) -> VelocityField:
    r"""Vortex at the origin with a Gaussian vorticity, a frozen Lamb-Oseen vortex.

    The fluid at radius r turns at
    :math:`\Omega = \Gamma/(2\pi r^2)\,(1 - \exp(-r^2/r_c^2))`.

    Parameters
    ----------
    circulation : float, length^2 / time
        At infinity; anticlockwise if positive.
    core_radius : float, length
        Where the vorticity is 1/e of its maximum.
    """
    require_positive(core_radius=core_radius)
    return VelocityField(
        body=_gaussian_vortex,
        parameters=GaussianVortex(circulation, core_radius),
        dimension=2,
        name="gaussian_vortex",
        domain=(Axis(-4 * core_radius, 4 * core_radius),) * 2,
        source="closed form",
        steady=True,
        divergence_free=True,
        exact_flow_map=_gaussian_vortex_map,
    )


class Rankine(NamedTuple):
    """Circulation, length^2 / time, and the radius of the core in solid rotation."""

    circulation: float = 2 * math.pi
    core_radius: float = 0.5


def _rankine(m: Any, p: Rankine, t: Any, x: Any, y: Any) -> tuple[Any, ...]:
    core = p.core_radius * p.core_radius
    turning = p.circulation / (2 * m.pi * m.maximum(x * x + y * y, core))
    return -turning * y, turning * x


def _rankine_map(p: Rankine, position: Array, start: Array, end: Array) -> Array:
    outside = np.maximum((position**2).sum(axis=1), p.core_radius**2)
    return rotated(position, p.circulation / (2 * np.pi * outside) * (end - start))


def rankine(circulation: float = 2 * math.pi, core_radius: float = 0.5) -> VelocityField:
    """Rankine's vortex at the origin: solid rotation inside the core, irrotational outside.

    The velocity is continuous, its gradient jumps at the edge of the core.

    Parameters
    ----------
    circulation : float, length^2 / time
        Around the core; anticlockwise if positive.
    core_radius : float, length
        Radius of the core.
    """
    require_positive(core_radius=core_radius)
    return VelocityField(
        body=_rankine,
        parameters=Rankine(circulation, core_radius),
        dimension=2,
        name="rankine",
        domain=(Axis(-4 * core_radius, 4 * core_radius),) * 2,
        source="closed form",
        steady=True,
        divergence_free=True,
        exact_flow_map=_rankine_map,
    )


class TaylorGreen(NamedTuple):
    """Velocity scale at time 0, wavenumber, and kinematic viscosity, length^2 / time."""

    amplitude: float = 1.0
    wavenumber: float = 1.0
    viscosity: float = 0.0


def _taylor_green(m: Any, p: TaylorGreen, t: Any, x: Any, y: Any) -> tuple[Any, ...]:
    k = p.wavenumber
    speed = p.amplitude * m.exp(-2 * p.viscosity * k * k * t)
    return speed * m.sin(k * x) * m.cos(k * y), -speed * m.cos(k * x) * m.sin(k * y)


def _taylor_green_map(p: TaylorGreen, position: Array, start: Array, end: Array) -> Array:
    decay, duration = 2 * p.viscosity * p.wavenumber**2, end - start
    travel = p.amplitude * p.wavenumber * duration * np.exp(-decay * start)
    travel = travel * scipy.special.exprel(-decay * duration)  # the integral of k times the speed
    phase = p.wavenumber * position
    cell = np.floor(phase / np.pi)
    inner = np.clip(phase - np.pi * cell, 0.0, np.pi)
    sense = 1 - 2 * np.mod(cell.sum(axis=1), 2)
    return np.asarray((np.pi * cell + _cell_orbit(inner, sense * travel)) / p.wavenumber)


def _cell_orbit(inner: Array, travel: Array) -> Array:
    """Orbit in the cell [0, pi]^2 of dx/ds = sin x cos y, dy/ds = -cos x sin y at s = travel."""
    (sin_x, sin_y), (cos_x, cos_y) = np.sin(inner).T, np.cos(inner).T
    invariant = sin_x * sin_y
    wall = invariant < 1e-150
    k_prime = np.where(wall, 1.0, invariant)
    k = np.hypot(cos_x, sin_x * cos_y)  # sqrt(1 - invariant**2), which would cancel at the centre
    quarter, ladder = agm_ratios(k_prime)
    w = elliptic_argument(np.arctan2(cos_x, -cos_y * sin_x), k_prime, quarter) + travel
    sn, dn = elliptic_sine(w, k_prime, quarter, ladder)
    cd, nd = elliptic_sine(w + quarter, k_prime, quarter, ladder)
    orbit = np.stack([np.arctan2(dn, k * sn), np.arctan2(nd, -k * cd)], axis=-1)
    along_wall = stretched_angle(inner, np.stack([travel * cos_y, -travel * cos_x], axis=-1))
    return np.where(wall[:, None], along_wall, orbit)


def taylor_green(
    amplitude: float = 1.0, wavenumber: float = 1.0, viscosity: float = 0.0
) -> VelocityField:
    r"""Square cells of counter-rotating vortices, an exact solution of Navier-Stokes.

    :math:`v = A e^{-2\nu k^2 t}\,(\sin kx \cos ky, -\cos kx \sin ky)`. Particles stay in their
    cell; the flow map is in Jacobi's elliptic functions.

    Parameters
    ----------
    amplitude : float, length / time
        Largest velocity component at time 0.
    wavenumber : float, 1 / length
        The cells are pi / wavenumber wide.
    viscosity : float, length^2 / time
        Kinematic viscosity; 0 for the steady flow.
    """
    require_positive(wavenumber=wavenumber)
    if not viscosity >= 0:
        raise ValueError(f"viscosity must not be negative, got {viscosity}")
    period = 2 * math.pi / wavenumber
    return VelocityField(
        body=_taylor_green,
        parameters=TaylorGreen(amplitude, wavenumber, viscosity),
        dimension=2,
        name="taylor_green",
        domain=(Axis(0.0, period, "periodic"), Axis(0.0, period, "periodic")),
        source="closed form",
        steady=viscosity == 0,
        divergence_free=True,
        exact_flow_map=_taylor_green_map,
    )


class ABCFlow(NamedTuple):
    """Amplitudes of the three Beltrami waves, along z, x and y."""

    a: float = math.sqrt(3)
    b: float = math.sqrt(2)
    c: float = 1.0


def _abc_flow(m: Any, p: ABCFlow, t: Any, x: Any, y: Any, z: Any) -> tuple[Any, ...]:
    return (
        p.a * m.sin(z) + p.c * m.cos(y),
        p.b * m.sin(x) + p.a * m.cos(z),
        p.c * m.sin(y) + p.b * m.cos(x),
    )


def abc_flow(a: float = math.sqrt(3), b: float = math.sqrt(2), c: float = 1.0) -> VelocityField:
    """Arnold-Beltrami-Childress flow, parallel to its own vorticity and chaotic.

    v = (a sin z + c cos y, b sin x + a cos z, c sin y + b cos x), with period 2 pi in each
    coordinate.

    Parameters
    ----------
    a, b, c : float, length / time
        Amplitudes.
    """
    return VelocityField(
        body=_abc_flow,
        parameters=ABCFlow(a, b, c),
        dimension=3,
        name="abc_flow",
        domain=(Axis(0.0, 2 * math.pi, "periodic"),) * 3,
        source="Arnold-Beltrami-Childress flow",
        steady=True,
        divergence_free=True,
    )


class StuartVortices(NamedTuple):
    """Stuart's constant C: 1 for parallel flow, large for nearly point vortices."""

    concentration: float = 1.5


def _stuart_vortices(m: Any, p: StuartVortices, t: Any, x: Any, y: Any) -> tuple[Any, ...]:
    sway = (p.concentration * p.concentration - 1) ** 0.5
    decay = 1 / m.cosh(y)
    weight = p.concentration + sway * decay * m.cos(x)
    return p.concentration * m.tanh(y) / weight, sway * decay * m.sin(x) / weight


def stuart_vortices(concentration: float = 1.5) -> VelocityField:
    r"""Stuart's cat's eyes, a row of vortices in a shear layer; exact solution of Euler.

    :math:`v = (\psi_y, -\psi_x)` with
    :math:`\psi = \log(C \cosh y + \sqrt{C^2 - 1} \cos x)`: unit velocity at infinity, period
    :math:`2\pi` along x, vortices at x = pi.

    Parameters
    ----------
    concentration : float
        C, at least 1; at 1 the flow is tanh y.

    References
    ----------
    Stuart (1967), J. Fluid Mech. 29.
    """
    if not concentration >= 1:
        raise ValueError(f"concentration must be at least 1, got {concentration}")
    return VelocityField(
        body=_stuart_vortices,
        parameters=StuartVortices(concentration),
        dimension=2,
        name="stuart_vortices",
        domain=(Axis(0.0, 2 * math.pi, "periodic"), Axis(-3.0, 3.0)),
        source="Stuart (1967), J. Fluid Mech. 29",
        steady=True,
        divergence_free=True,
    )
