"""Fields and observables of the tests of windows and labels, shared so that each compiles once."""

import math
from typing import NamedTuple

import numpy as np

from meanfluid.fields import VelocityField, linear_flow, plane_wave

STRETCH, H = 0.7, 1.2  # v = (0.7 x, 0)
STRAINED = linear_flow(((STRETCH, 0.0), (0.0, 0.0)))
SPIN = 1.3
TURNED = linear_flow(((0.0, -SPIN), (SPIN, 0.0)))
AFFINE = linear_flow(((0.3, 1.2), (-0.7, -0.3)), (0.1, -0.2))
WAVE = plane_wave(0.3, 0.0, 1.0, 0.0, 1.0)


def seen(m, p, t, x, y):
    return x, y, x * x


def cosine(m, p, t, x, y):
    return m.cos(x)


class Sheared(NamedTuple):
    swing: float = 0.6
    frequency: float = 1.7


def sheared(m, p, t, x, z):
    """A steady shear, and a uniform oscillation across it."""
    return m.sin(z), p.swing * m.cos(p.frequency * t)


SHEARED = VelocityField(body=sheared, parameters=Sheared(), dimension=2)


class Rolling(NamedTuple):
    strength: float = 0.2


def rolling(m, p, t, x, y):
    """Of the stream function B sin(y) sin(x - t)."""
    return (
        -p.strength * m.cos(y) * m.sin(x - t),
        p.strength * m.sin(y) * m.cos(x - t),
    )


ROLLING = VelocityField(body=rolling, parameters=Rolling(), dimension=2)


def decaying(t, x, viscosity=0.05):
    """Velocity of decaying Taylor-Green cells, its two material rates, and (a . grad) v."""
    a, (x, y) = math.exp(-2 * viscosity * t), x.T
    v = a * np.stack([np.sin(x) * np.cos(y), -np.cos(x) * np.sin(y)], axis=-1)
    double = np.stack([np.sin(2 * x), np.sin(2 * y)], axis=-1)
    cosines = np.stack([np.cos(2 * x), np.cos(2 * y)], axis=-1)
    first = -2 * viscosity * v + a * a / 2 * double
    second = -2 * viscosity * first - 2 * viscosity * a * a * double + a * a * cosines * v
    by_x = a * np.stack([np.cos(x) * np.cos(y), np.sin(x) * np.sin(y)], axis=-1)
    by_y = -a * np.stack([np.sin(x) * np.sin(y), np.cos(x) * np.cos(y)], axis=-1)
    return v, first, second, first[:, :1] * by_x + first[:, 1:] * by_y
