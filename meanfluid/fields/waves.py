"""Plane, standing and water waves, with closed-form flow maps where they exist.

A field is one scalar formula ``body(m, p, t, x, y)``; an exact flow map is a NumPy function
``(p, position, start, end)`` of arrays. For water waves the second coordinate is the height z
above the mean surface. Lengths and times are nondimensional unless a field says otherwise.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from meanfluid.fields.closed_forms import require_positive, stretched_angle
from meanfluid.fields.elementary import numpy_functions
from meanfluid.fields.velocity_field import Array, Axis, VelocityField

# Newton's labels of Gerstner's wave: 8 steps reach rounding for k beta <= -0.05, 9 for -0.01.
_NEWTON_STEPS = 10


def _axis(wavenumber: float) -> Axis:
    if abs(wavenumber) < 1e-300:  # no period that float64 holds
        return Axis(-1.0, 1.0)
    return Axis(0.0, 2 * math.pi / abs(wavenumber), "periodic")


class PlaneWave(NamedTuple):
    """Velocity amplitude, wavevector, angular frequency, and a uniform current."""

    amplitude_x: float = 0.3
    amplitude_y: float = 0.0
    wavenumber_x: float = 2.0
    wavenumber_y: float = 0.0
    frequency: float = 1.5
    current_x: float = 0.0
    current_y: float = 0.0


def _plane_wave(m: Any, p: PlaneWave, t: Any, x: Any, y: Any) -> tuple[Any, ...]:
    wave = m.cos(p.wavenumber_x * x + p.wavenumber_y * y - p.frequency * t)
    return p.current_x + p.amplitude_x * wave, p.current_y + p.amplitude_y * wave


def _plane_wave_map(p: PlaneWave, position: Array, start: Array, end: Array) -> Array:
    amplitude = np.array([p.amplitude_x, p.amplitude_y])
    wavevector = np.array([p.wavenumber_x, p.wavenumber_y])
    current = np.array([p.current_x, p.current_y])
    phase = position @ wavevector - p.frequency * start
    steepening, frequency = wavevector @ amplitude, p.frequency - wavevector @ current
    integral = _swept if abs(steepening) < abs(frequency) else _trapped
    travel = integral(phase, end - start, float(steepening), float(frequency))
    return np.asarray(position + (end - start)[:, None] * current + travel[:, None] * amplitude)


def _swept(phase: Array, duration: Array, q: float, f: float) -> Array:
    """Integral of cos(theta) where theta' = q cos(theta) - f with |q| < |f|: waves pass.

    With tan(theta/2) = g tan(b) the angle b runs uniformly, and theta = 2 b + 2 d(b) needs no
    unwrapping; d is q times a bounded function, so that q = 0 is no special case.
    """
    g = math.sqrt((f - q) / (f + q))
    rate = math.copysign(math.sqrt((f - q) * (f + q)), f)
    s, c = np.sin(phase / 2), np.cos(phase / 2)
    first = phase / 2 + np.arctan2((1 - g) * s * c, g * c * c + s * s)

    def lean(b: Array) -> Array:
        s, c = np.sin(b), np.cos(b)
        slope = -2 / ((f + q) * (g + 1)) * s * c / (c * c + g * s * s)
        z = np.where(q * slope == 0, 1.0, q * slope)
        return np.where(q * slope == 0, slope, slope * np.arctan(z) / z)

    return np.asarray(
        q * duration / (f + rate) + 2 * (lean(first - rate * duration / 2) - lean(first))
    )


def _trapped(phase: Array, duration: Array, q: float, f: float) -> Array:
    """The same where |q| >= |f|: the phase tends to a fixed point, particles ride the wave."""
    if q == 0:
        return np.asarray(np.cos(phase) * duration)
    s, c = np.sin(phase / 2), np.cos(phase / 2)
    rate = math.sqrt((q - f) * (q + f)) / 2
    reach = np.tanh(rate * duration) / rate if rate > 0 else duration
    turned_s, turned_c = s + reach * (q - f) / 2 * c, c + reach * (q + f) / 2 * s
    turn = 2 * np.arctan2(turned_s * c - turned_c * s, turned_s * s + turned_c * c)
    return np.asarray((turn + f * duration) / q)


def plane_wave(
    amplitude_x: float = 0.3,
    amplitude_y: float = 0.0,
    wavenumber_x: float = 2.0,
    wavenumber_y: float = 0.0,
    frequency: float = 1.5,
    current_x: float = 0.0,
    current_y: float = 0.0,
) -> VelocityField:
    r"""Plane travelling wave :math:`v = V + a \cos(k \cdot x - \omega t)` on a uniform current.

    The phase seen by a particle obeys :math:`\dot\theta = k \cdot a \cos\theta + k \cdot V -
    \omega`, which integrates in closed form: longitudinal waves (:math:`k \parallel a`) drift,
    transverse ones do not.

    Parameters
    ----------
    amplitude_x, amplitude_y : float, length / time
        a.
    wavenumber_x, wavenumber_y : float, 1 / length
        k.
    frequency : float, 1 / time
        Angular frequency, relative to the frame at rest.
    current_x, current_y : float, length / time
        V.
    """
    along = wavenumber_x * amplitude_x + wavenumber_y * amplitude_y
    return VelocityField(
        body=_plane_wave,
        parameters=PlaneWave(
            amplitude_x, amplitude_y, wavenumber_x, wavenumber_y, frequency, current_x, current_y
        ),
        dimension=2,
        name="plane_wave",
        domain=(_axis(wavenumber_x), _axis(wavenumber_y)),
        source="closed form",
        steady=frequency == 0 or amplitude_x == amplitude_y == 0,
        divergence_free=along == 0,
        exact_flow_map=_plane_wave_map,
    )


class StandingWave(NamedTuple):
    """Velocity amplitude, wavenumber and angular frequency."""

    amplitude: float = 0.3
    wavenumber: float = 2.0
    frequency: float = 1.5


def _standing_wave(m: Any, p: StandingWave, t: Any, x: Any, y: Any) -> tuple[Any, ...]:
    return p.amplitude * m.cos(p.wavenumber * x) * m.cos(p.frequency * t), 0.0 * y


def _standing_wave_map(p: StandingWave, position: Array, start: Array, end: Array) -> Array:
    duration, middle = end - start, (start + end) / 2
    swing = duration * np.sinc(p.frequency * duration / (2 * np.pi)) * np.cos(p.frequency * middle)
    phase = p.wavenumber * position[:, 0] + np.pi / 2  # from a node, where sin(phase) = 0
    node = np.floor(phase / np.pi)
    growth = (1 - 2 * np.mod(node, 2)) * p.wavenumber * p.amplitude * swing
    phase = stretched_angle(phase - np.pi * node, growth) + np.pi * node
    return np.stack([(phase - np.pi / 2) / p.wavenumber, position[:, 1]], axis=-1)


def standing_wave(
    amplitude: float = 0.3, wavenumber: float = 2.0, frequency: float = 1.5
) -> VelocityField:
    """Longitudinal standing wave v = (amplitude cos(k x) cos(omega t), 0).

    Particles stay between two nodes and do not drift.

    Parameters
    ----------
    amplitude : float, length / time
        Largest velocity.
    wavenumber : float, 1 / length
        k.
    frequency : float, 1 / time
        Angular frequency omega.
    """
    require_positive(wavenumber=wavenumber)
    return VelocityField(
        body=_standing_wave,
        parameters=StandingWave(amplitude, wavenumber, frequency),
        dimension=2,
        name="standing_wave",
        domain=(_axis(wavenumber), Axis(-1.0, 1.0)),
        source="closed form",
        steady=amplitude == 0 or frequency == 0,
        divergence_free=amplitude == 0,
        exact_flow_map=_standing_wave_map,
    )


class DeepWaterWave(NamedTuple):
    """Amplitude of the surface, wavenumber and gravity."""

    amplitude: float = 0.1
    wavenumber: float = 1.0
    gravity: float = 9.81


def _deep_water_wave(m: Any, p: DeepWaterWave, t: Any, x: Any, z: Any) -> tuple[Any, ...]:
    frequency = (p.gravity * p.wavenumber) ** 0.5
    phase = p.wavenumber * x - frequency * t
    speed = p.amplitude * frequency * m.exp(p.wavenumber * z)
    return speed * m.cos(phase), speed * m.sin(phase)


def deep_water_wave(
    amplitude: float = 0.1, wavenumber: float = 1.0, gravity: float = 9.81
) -> VelocityField:
    r"""Kinematics of a linear wave on deep water, moving to the right; coordinates x and height z.

    :math:`v = a \omega e^{kz} (\cos(kx - \omega t), \sin(kx - \omega t))`,
    :math:`\omega^2 = gk`. The surface is not a boundary.

    Parameters
    ----------
    amplitude : float, length
        a, of the surface elevation.
    wavenumber : float, 1 / length
        k.
    gravity : float, length / time^2
        g.

    References
    ----------
    Stokes (1847), Trans. Camb. Phil. Soc. 8.
    """
    require_positive(wavenumber=wavenumber, gravity=gravity)
    return VelocityField(
        body=_deep_water_wave,
        parameters=DeepWaterWave(amplitude, wavenumber, gravity),
        dimension=2,
        name="deep_water_wave",
        domain=(_axis(wavenumber), Axis(-math.pi / wavenumber, 0.0)),
        source="Stokes (1847), Trans. Camb. Phil. Soc. 8",
        steady=amplitude == 0,
        divergence_free=True,
    )


class GerstnerWave(NamedTuple):
    """Wavenumber and gravity."""

    wavenumber: float = 1.0
    gravity: float = 9.81


def _gerstner_wave(m: Any, p: GerstnerWave, t: Any, x: Any, z: Any) -> tuple[Any, ...]:
    # Labels as depth = k beta and lead = k alpha - k x, by Newton's iteration on
    # lead = e^depth sin(phase), depth = k z - e^depth cos(phase), phase = k x - omega t + lead.
    frequency = (p.gravity * p.wavenumber) ** 0.5
    height, seen = p.wavenumber * z, p.wavenumber * x - frequency * t
    depth = (height - m.log(1 + m.exp(height))) / 2
    swell = m.exp(depth)
    lead = m.atan2(swell * m.sin(seen), 1 - swell * m.cos(seen))
    for _ in range(_NEWTON_STEPS):
        swell = m.exp(depth)
        across, up = swell * m.sin(seen + lead), swell * m.cos(seen + lead)
        miss_x, miss_z = lead - across, depth + up - height
        jacobian = 1 - swell * swell
        lead = lead - ((1 + up) * miss_x + across * miss_z) / jacobian
        depth = depth - (across * miss_x + (1 - up) * miss_z) / jacobian
    speed = frequency / p.wavenumber * m.exp(depth)
    return speed * m.cos(seen + lead), speed * m.sin(seen + lead)


def _gerstner_wave_map(p: GerstnerWave, position: Array, start: Array, end: Array) -> Array:
    frequency = math.sqrt(p.gravity * p.wavenumber)
    u, v = _gerstner_wave(numpy_functions, p, start, *position.T)
    c, s = np.cos(frequency * (end - start)), np.sin(frequency * (end - start))
    turned_u, turned_v = c * u + s * v, c * v - s * u  # each particle turns about its label
    return position + np.stack([v - turned_v, turned_u - u], axis=-1) / frequency


def gerstner_wave(wavenumber: float = 1.0, gravity: float = 9.81) -> VelocityField:
    r"""Gerstner's rotational wave on deep water, moving to the right; coordinates x and height z.

    An exact solution of Euler in which particles go round circles about their labels
    :math:`(\alpha, \beta)`, :math:`\beta < 0`: :math:`x = \alpha - e^{k\beta} \sin\theta / k`,
    :math:`z = \beta + e^{k\beta} \cos\theta / k`, :math:`\theta = k\alpha - \omega t`,
    :math:`\omega^2 = gk`. Any line of constant :math:`\beta` may be the surface. The body finds the
    labels by Newton's iteration, to rounding for :math:`\beta \le -0.05/k`; above the cusped
    surface :math:`\beta = 0` there is no fluid and its result means nothing. Points with
    :math:`z < -1/k` are always in the fluid.

    Parameters
    ----------
    wavenumber : float, 1 / length
        k.
    gravity : float, length / time^2
        g.
    """
    require_positive(wavenumber=wavenumber, gravity=gravity)
    return VelocityField(
        body=_gerstner_wave,
        parameters=GerstnerWave(wavenumber, gravity),
        dimension=2,
        name="gerstner_wave",
        domain=(_axis(wavenumber), Axis(-3.0 / wavenumber, -1.0 / wavenumber)),
        source="Gerstner's trochoidal wave, an exact solution of Euler",
        steady=False,
        divergence_free=True,
        exact_flow_map=_gerstner_wave_map,
        iterative=True,
    )
