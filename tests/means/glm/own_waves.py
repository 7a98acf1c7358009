"""One field that a user could have written, for many waves: it is compiled once.

Each of them travels along x with phase k x - omega t + shift: a wave whose velocity turns round and
decays with depth or is along x, cells of a streamfunction, and beside them a shear sin(y), an
oscillation along y, and a solid rotation.
"""

from typing import NamedTuple

from meanfluid import VelocityField


class Waves(NamedTuple):
    along: float = 0.0
    decay: float = 0.0
    turning: float = 0.0
    cells: float = 0.0
    shear: float = 0.0
    swing: float = 0.0
    rotation: float = 0.0
    wavenumber: float = 1.0
    frequency: float = 1.0
    shift: float = 0.0


def waves(m, p, t, x, y):
    beat = p.shift - p.frequency * t
    phase = p.wavenumber * x + beat
    wave = p.along * m.exp(p.decay * y)
    u = wave * m.cos(phase) - p.cells * m.cos(y) * m.sin(phase) + p.shear * m.sin(y)
    v = p.turning * wave * m.sin(phase) + p.cells * p.wavenumber * m.sin(y) * m.cos(phase)
    return u - p.rotation * y, v + p.swing * m.cos(beat) + p.rotation * x


def own(**parameters) -> VelocityField:
    return VelocityField(body=waves, parameters=Waves(**parameters), dimension=2)


def line(amplitude, wavenumber=1.0, frequency=1.0):
    """The longitudinal wave a cos(k x - omega t)."""
    return own(along=amplitude, wavenumber=wavenumber, frequency=frequency)


def deep_water(amplitude):
    """Linear kinematics of deep water for k = omega = 1: the velocity a e^z (cos, sin)."""
    return own(along=amplitude, decay=1.0, turning=1.0)


def cells(amplitude, **more):
    """Streamfunction B sin(y) sin(x - t)."""
    return own(cells=amplitude, **more)


def swung_shear(swing=0.6, frequency=1.7):
    """The shear sin(y), carried up and down by W cos(omega t)."""
    return own(shear=1.0, swing=swing, frequency=frequency)


def steep(m, p, t, x, y):
    """An observable of the coordinates."""
    return m.cos(2 * y)


def power(m, p, t, x, y, velocity, gradient):
    """An observable of velocity and its gradient: two numbers."""
    return velocity[0] * velocity[1], gradient[0][1] * x
