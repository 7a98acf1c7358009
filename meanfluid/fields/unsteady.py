"""Unsteady analytic velocity fields in the plane, with closed-form flow maps where they exist.

A field is one scalar formula ``body(m, p, t, x, y)``; an exact flow map is a NumPy function
``(p, position, start, end)`` of arrays. Lengths and times are nondimensional unless a field says
otherwise. Waves are in `waves`; sums of several vortices in `modal`.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import scipy

from meanfluid.fields.closed_forms import (
    logarithmic_integral,
    require_positive,
    rotated,
    traceless_exponential,
)
from meanfluid.fields.velocity_field import Array, Axis, VelocityField

_AFTER_ZERO = float(np.nextafter(0.0, 1.0))  # a time range that excludes t = 0


class DoubleGyre(NamedTuple):
    """Velocity scale, relative sway of the separatrix, and its angular frequency."""

    amplitude: float = 0.1
    perturbation: float = 0.25
    frequency: float = math.pi / 5


def _double_gyre(m: Any, p: DoubleGyre, t: Any, x: Any, y: Any) -> tuple[Any, ...]:
    lean = p.perturbation * m.sin(p.frequency * t)
    fold = lean * x * x + (1 - 2 * lean) * x
    dfold_dx = 2 * lean * x + (1 - 2 * lean)
    return (
        -m.pi * p.amplitude * m.sin(m.pi * fold) * m.cos(m.pi * y),
        m.pi * p.amplitude * m.cos(m.pi * fold) * m.sin(m.pi * y) * dfold_dx,
    )


def double_gyre(
    amplitude: float = 0.1, perturbation: float = 0.25, frequency: float = math.pi / 5
) -> VelocityField:
    """Two counter-rotating gyres whose separatrix sways; walls of [0, 2] x [0, 1] are streamlines.

    Parameters
    ----------
    amplitude : float, length / time
        Velocity scale; the largest speed is pi times it.
    perturbation : float
        Sway of the separatrix, relative to the width of a gyre.
    frequency : float, 1 / time
        Angular frequency of the sway.

    References
    ----------
    Shadden, Lekien & Marsden (2005), Physica D 212, 271-304.
    """
    return VelocityField(
        body=_double_gyre,
        parameters=DoubleGyre(amplitude, perturbation, frequency),
        dimension=2,
        name="double_gyre",
        domain=(Axis(0.0, 2.0), Axis(0.0, 1.0)),
        source="Shadden, Lekien & Marsden (2005), Physica D 212, 271-304",
        steady=perturbation == 0 or frequency == 0,
        divergence_free=True,
    )


class RotatingStrain(NamedTuple):
    """Rate of strain and angular velocity of its axes, 1 / time."""

    rate: float = 0.8
    frequency: float = 0.5


def _rotating_strain(m: Any, p: RotatingStrain, t: Any, x: Any, y: Any) -> tuple[Any, ...]:
    along, across = m.cos(2 * p.frequency * t), m.sin(2 * p.frequency * t)
    return p.rate * (along * x + across * y), p.rate * (across * x - along * y)


def _rotating_strain_map(p: RotatingStrain, position: Array, start: Array, end: Array) -> Array:
    square = (p.rate - p.frequency) * (p.rate + p.frequency)
    c, s = traceless_exponential(square, end - start)
    x, y = rotated(position, -p.frequency * start).T  # in the turning axes the flow is steady
    turned_x = c * x + s * (p.rate * x + p.frequency * y)
    turned_y = c * y - s * (p.frequency * x + p.rate * y)
    return rotated(np.stack([turned_x, turned_y], axis=-1), p.frequency * end)


def rotating_strain(rate: float = 0.8, frequency: float = 0.5) -> VelocityField:
    """Pure strain whose axes turn: a linear flow with gradients that do not commute in time.

    v = R(f t) diag(rate, -rate) R(-f t) x, with R the rotation of the plane and f = frequency.

    Parameters
    ----------
    rate : float, 1 / time
        Rate of strain.
    frequency : float, 1 / time
        Angular velocity of the axes. Particles stay near the origin if it exceeds the rate.
    """
    return VelocityField(
        body=_rotating_strain,
        parameters=RotatingStrain(rate, frequency),
        dimension=2,
        name="rotating_strain",
        domain=(Axis(-1.0, 1.0), Axis(-1.0, 1.0)),
        source="closed form",
        steady=rate == 0 or frequency == 0,
        divergence_free=True,
        exact_flow_map=_rotating_strain_map,
    )


class LambOseen(NamedTuple):
    """Circulation and kinematic viscosity, both length^2 / time."""

    circulation: float = 2 * math.pi
    viscosity: float = 0.01


def _lamb_oseen(m: Any, p: LambOseen, t: Any, x: Any, y: Any) -> tuple[Any, ...]:
    core = 4 * p.viscosity * t
    turning = p.circulation / (2 * m.pi * core) * m.exprel(-(x * x + y * y) / core)
    return -turning * y, turning * x


def _lamb_oseen_map(p: LambOseen, position: Array, start: Array, end: Array) -> Array:
    diffusion_time = (position**2).sum(axis=1) / (4 * p.viscosity)
    z_start, z_end = diffusion_time / start, diffusion_time / end
    # The turning integrates to exprel(-z) + E1(z). Near the centre E1 is a large logarithm, whose
    # part common to both ends is log(end / start); far away that split would cancel instead.
    far = np.minimum(z_start, z_end) >= 1
    at_ends = [
        scipy.special.exprel(-z)
        + np.where(far, scipy.special.exp1(np.maximum(z, 1.0)), logarithmic_integral(z))
        for z in (z_start, z_end)
    ]
    angle = at_ends[1] - at_ends[0] + np.where(far, 0.0, np.log(end / start))
    return rotated(position, p.circulation / (8 * np.pi * p.viscosity) * angle)


def lamb_oseen(circulation: float = 2 * math.pi, viscosity: float = 0.01) -> VelocityField:
    r"""Lamb-Oseen vortex: a point vortex at time 0 spreading by viscosity; exact Navier-Stokes.

    The fluid at radius r turns at
    :math:`\Omega = \Gamma/(2\pi r^2)\,(1 - \exp(-r^2/(4\nu t)))`, t > 0.

    Parameters
    ----------
    circulation : float, length^2 / time
        At infinity; anticlockwise if positive.
    viscosity : float, length^2 / time
        Kinematic viscosity.
    """
    require_positive(viscosity=viscosity)
    reach = 4 * math.sqrt(4 * viscosity)
    return VelocityField(
        body=_lamb_oseen,
        parameters=LambOseen(circulation, viscosity),
        dimension=2,
        name="lamb_oseen",
        domain=(Axis(-reach, reach), Axis(-reach, reach)),
        time_range=(_AFTER_ZERO, math.inf),
        source="Lamb-Oseen vortex, an exact solution of Navier-Stokes",
        steady=circulation == 0,
        divergence_free=True,
        exact_flow_map=_lamb_oseen_map,
    )


class MovingVortex(NamedTuple):
    """Circulation, core radius, and the velocity of the centre, which is at the origin at t = 0."""

    circulation: float = 2 * math.pi
    core_radius: float = 0.5
    velocity_x: float = 0.3
    velocity_y: float = 0.1


def _moving_vortex(m: Any, p: MovingVortex, t: Any, x: Any, y: Any) -> tuple[Any, ...]:
    core = p.core_radius * p.core_radius
    from_x, from_y = x - p.velocity_x * t, y - p.velocity_y * t
    distance = from_x * from_x + from_y * from_y
    turning = p.circulation / (2 * m.pi * core) * m.exprel(-distance / core)
    return p.velocity_x - turning * from_y, p.velocity_y + turning * from_x


def _moving_vortex_map(p: MovingVortex, position: Array, start: Array, end: Array) -> Array:
    core, velocity = p.core_radius**2, np.array([p.velocity_x, p.velocity_y])
    from_centre = position - start[:, None] * velocity
    turning = scipy.special.exprel(-(from_centre**2).sum(axis=1) / core)
    angle = p.circulation / (2 * np.pi * core) * turning * (end - start)
    return np.asarray(rotated(from_centre, angle) + end[:, None] * velocity)


def moving_vortex(
    circulation: float = 2 * math.pi,
    core_radius: float = 0.5,
    velocity_x: float = 0.3,
    velocity_y: float = 0.1,
) -> VelocityField:
    """Gaussian vortex carried by a uniform current; its centre is at the origin at time 0.

    Parameters
    ----------
    circulation : float, length^2 / time
        At infinity; anticlockwise if positive.
    core_radius : float, length
        Where the vorticity is 1/e of its maximum.
    velocity_x, velocity_y : float, length / time
        Velocity of the current, and so of the centre.
    """
    require_positive(core_radius=core_radius)
    return VelocityField(
        body=_moving_vortex,
        parameters=MovingVortex(circulation, core_radius, velocity_x, velocity_y),
        dimension=2,
        name="moving_vortex",
        domain=(Axis(-4 * core_radius, 4 * core_radius),) * 2,
        source="closed form",
        steady=circulation == 0 or velocity_x == velocity_y == 0,
        divergence_free=True,
        exact_flow_map=_moving_vortex_map,
    )


class InertialOscillation(NamedTuple):
    """Speed, frequency and phase of the oscillation, and the mean current."""

    amplitude: float = 0.4
    frequency: float = 1.1
    phase: float = 0.0
    current_x: float = 0.0
    current_y: float = 0.0


def _inertial_oscillation(
    m: Any, p: InertialOscillation, t: Any, x: Any, y: Any
) -> tuple[Any, ...]:
    angle = p.frequency * t + p.phase
    return p.current_x + p.amplitude * m.cos(angle), p.current_y - p.amplitude * m.sin(angle)


def _inertial_oscillation_map(
    p: InertialOscillation, position: Array, start: Array, end: Array
) -> Array:
    duration, middle = end - start, p.frequency * (start + end) / 2 + p.phase
    swing = p.amplitude * np.sinc(p.frequency * duration / (2 * np.pi))
    mean = np.stack(
        [p.current_x + swing * np.cos(middle), p.current_y - swing * np.sin(middle)], axis=-1
    )
    return position + duration[:, None] * mean


def inertial_oscillation(
    amplitude: float = 0.4,
    frequency: float = 1.1,
    phase: float = 0.0,
    current_x: float = 0.0,
    current_y: float = 0.0,
) -> VelocityField:
    """Uniform current and uniform clockwise oscillation, as of inertia on a rotating Earth.

    v = current + amplitude (cos(f t + phase), -sin(f t + phase)), the same everywhere.

    Parameters
    ----------
    amplitude : float, length / time
        Speed of the oscillation.
    frequency : float, 1 / time
        Coriolis parameter f.
    phase : float
        Of the oscillation at time 0, in radians.
    current_x, current_y : float, length / time
        Mean current.
    """
    return VelocityField(
        body=_inertial_oscillation,
        parameters=InertialOscillation(amplitude, frequency, phase, current_x, current_y),
        dimension=2,
        name="inertial_oscillation",
        domain=(Axis(-1.0, 1.0), Axis(-1.0, 1.0)),
        source="closed form",
        steady=amplitude == 0 or frequency == 0,
        divergence_free=True,
        exact_flow_map=_inertial_oscillation_map,
    )


class BickleyJet(NamedTuple):
    """Jet speed (Mm/day), its width and the radius (Mm), amplitudes and speeds of three waves."""

    jet_speed: float
    jet_width: float
    radius: float
    amplitude_1: float
    amplitude_2: float
    amplitude_3: float
    speed_1: float
    speed_2: float
    speed_3: float


def _bickley_jet(m: Any, p: BickleyJet, t: Any, x: Any, y: Any) -> tuple[Any, ...]:
    k_1, k_2, k_3 = 2 / p.radius, 4 / p.radius, 6 / p.radius
    phase_1, phase_2, phase_3 = (
        k_1 * (x - p.speed_1 * t),
        k_2 * (x - p.speed_2 * t),
        k_3 * (x - p.speed_3 * t),
    )
    wave = (
        p.amplitude_1 * m.cos(phase_1)
        + p.amplitude_2 * m.cos(phase_2)
        + p.amplitude_3 * m.cos(phase_3)
    )
    slope = (
        p.amplitude_1 * k_1 * m.sin(phase_1)
        + p.amplitude_2 * k_2 * m.sin(phase_2)
        + p.amplitude_3 * k_3 * m.sin(phase_3)
    )
    decay = 1 / m.cosh(y / p.jet_width)
    profile = p.jet_speed * decay * decay
    return profile * (1 + 2 * m.tanh(y / p.jet_width) * wave), -profile * p.jet_width * slope


def bickley_jet(
    jet_speed: float = 5.413824,
    jet_width: float = 1.77,
    radius: float = 6.371,
    amplitudes: tuple[float, float, float] = (0.0075, 0.15, 0.3),
    phase_speeds: tuple[float, float, float] = (
        0.461 + (math.sqrt(5) - 1) * (0.205 - 0.461),
        0.205,
        0.461,
    ),
) -> VelocityField:
    r"""Meandering zonal jet with three Rossby waves; lengths in Mm, times in days.

    :math:`v = (-\psi_y, \psi_x)`, :math:`\psi = U L\,(-\tanh(y/L) + \mathrm{sech}^2(y/L)
    \sum_n \epsilon_n \cos(k_n (x - c_n t)))`, :math:`k_n = 2n/r`; x has the period pi r. The
    default speed is 62.66 m/s.

    Parameters
    ----------
    jet_speed : float, Mm / day
        U.
    jet_width, radius : float, Mm
        L, and the radius r of the Earth.
    amplitudes : three floats
        Relative amplitudes of the waves n = 1, 2, 3.
    phase_speeds : three floats
        Their phase speeds, relative to the jet speed.

    References
    ----------
    Rypina et al. (2007), J. Atmos. Sci. 64; the parameter set is the example of
    CoherentStructures.jl (papers differ in the amplitudes).
    """
    require_positive(jet_width=jet_width, radius=radius)
    if len(amplitudes) != 3 or len(phase_speeds) != 3:
        raise ValueError(
            "amplitudes and phase_speeds must have three entries each, "
            f"got {amplitudes} and {phase_speeds}"
        )
    speeds = [jet_speed * ratio for ratio in phase_speeds]
    return VelocityField(
        body=_bickley_jet,
        parameters=BickleyJet(jet_speed, jet_width, radius, *amplitudes, *speeds),
        dimension=2,
        name="bickley_jet",
        domain=(Axis(0.0, math.pi * radius, "periodic"), Axis(-3.0, 3.0)),
        source="Rypina et al. (2007), J. Atmos. Sci. 64",
        steady=all(a * c == 0 for a, c in zip(amplitudes, speeds, strict=True)),
        divergence_free=True,
    )


class KirchhoffEllipse(NamedTuple):
    """Semi-axes along x and y at time 0, and the uniform vorticity, 1 / time."""

    semi_axis_x: float = 2.0
    semi_axis_y: float = 1.0
    vorticity: float = 1.0


def _kirchhoff_ellipse(m: Any, p: KirchhoffEllipse, t: Any, x: Any, y: Any) -> tuple[Any, ...]:
    a, b = p.semi_axis_x, p.semi_axis_y
    angle = p.vorticity * a * b / (a + b) ** 2 * t
    c, s = m.cos(angle), m.sin(angle)
    u = -p.vorticity * a / (a + b) * (c * y - s * x)  # along the axes of the ellipse
    v = p.vorticity * b / (a + b) * (c * x + s * y)
    return c * u - s * v, s * u + c * v


def _kirchhoff_ellipse_map(p: KirchhoffEllipse, position: Array, start: Array, end: Array) -> Array:
    a, b = p.semi_axis_x, p.semi_axis_y
    rate = p.vorticity * a * b / (a + b) ** 2
    x, y = rotated(position, -rate * start).T
    circle = rotated(np.stack([x / a, y / b], axis=-1), rate * (end - start))
    return rotated(circle * np.array([a, b]), rate * end)


def kirchhoff_ellipse(
    semi_axis_x: float = 2.0, semi_axis_y: float = 1.0, vorticity: float = 1.0
) -> VelocityField:
    """Interior of Kirchhoff's elliptic vortex patch, which turns without change of shape.

    The ellipse turns at vorticity a b / (a + b)^2; inside it the velocity is linear. The formula
    means the patch only inside the ellipse; particles never leave it.

    Parameters
    ----------
    semi_axis_x, semi_axis_y : float, length
        a and b, along x and y at time 0.
    vorticity : float, 1 / time
        Uniform in the ellipse.
    """
    require_positive(semi_axis_x=semi_axis_x, semi_axis_y=semi_axis_y)
    half = min(semi_axis_x, semi_axis_y) / math.sqrt(2)  # a square inside at every time
    return VelocityField(
        body=_kirchhoff_ellipse,
        parameters=KirchhoffEllipse(semi_axis_x, semi_axis_y, vorticity),
        dimension=2,
        name="kirchhoff_ellipse",
        domain=(Axis(-half, half), Axis(-half, half)),
        source="Kirchhoff's elliptic vortex, an exact solution of Euler",
        steady=semi_axis_x == semi_axis_y or vorticity == 0,
        divergence_free=True,
        exact_flow_map=_kirchhoff_ellipse_map,
    )
