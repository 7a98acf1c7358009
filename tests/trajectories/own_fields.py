"""Fields that a user could have written, shared by the tests so that each is compiled once."""

import math
from typing import NamedTuple

import numpy as np
import sympy

from meanfluid import trajectories
from meanfluid.backends import symbolic
from meanfluid.fields import Axis, VelocityField

TIGHT = {"rtol": 1e-13, "atol": 1e-16}


class Turning(NamedTuple):
    rate: float = 1.0
    sway: float = 0.5
    beat: float = 1.0


def turning(m, p, t, x, y):
    """Solid rotation whose angular velocity pulsates."""
    angular_velocity = p.rate + p.sway * m.sin(p.beat * t)
    return -angular_velocity * y, angular_velocity * x


def unsteady_rotation(rate=1.0, sway=0.5, beat=1.0) -> VelocityField:
    return VelocityField(body=turning, parameters=Turning(rate, sway, beat), dimension=2)


def turned_angle(p: Turning, start, end):
    """Integral of the angular velocity from start to end, without cancellation."""
    h, middle = end - start, (start + end) / 2
    return p.rate * h + 2 * p.sway / p.beat * np.sin(p.beat * middle) * np.sin(p.beat * h / 2)


def turned(field: VelocityField, position, start, end):
    """Closed-form flow map of `unsteady_rotation`."""
    position = np.asarray(position, dtype=float)
    return position + displaced(field, position, start, end)


def displaced(field: VelocityField, position, start, end):
    """Closed-form displacement of `unsteady_rotation`, without cancellation."""
    x, y = np.asarray(position, dtype=float).T
    half = turned_angle(field.parameters, start, end) / 2
    c, s = np.cos(half), np.sin(half)
    return 2 * s[..., None] * np.stack([-s * x - c * y, c * x - s * y], axis=-1)


def whirling(m, p, t, x, y):
    """Vortex whose angular velocity falls with radius, exp(-r^2), and pulsates with time."""
    angular_velocity = (p.rate + p.sway * m.sin(p.beat * t)) * m.exp(-(x * x + y * y))
    return -angular_velocity * y, angular_velocity * x


def whirl(rate=2.0, sway=1.0, beat=1.3) -> VelocityField:
    """Unsteady and not linear, but circles stay circles: flow map and gradient in closed form."""
    return VelocityField(body=whirling, parameters=Turning(rate, sway, beat), dimension=2)


def whirled(field: VelocityField, position, start, end):
    """Closed-form flow map of `whirl`, and its gradient."""
    x = np.asarray(position, dtype=float)
    decay = np.exp(-(x * x).sum(axis=1))
    angle = turned_angle(field.parameters, start, end) * decay
    c, s = np.cos(angle), np.sin(angle)
    turn = np.stack([np.stack([c, -s], axis=-1), np.stack([s, c], axis=-1)], axis=-2)
    there = np.einsum("nij,nj->ni", turn, x)
    across = np.stack([-there[:, 1], there[:, 0]], axis=-1)  # the derivative in the angle
    return there, turn + across[:, :, None] * (-2 * x * angle[:, None])[:, None, :]


def torque(m, p, t, x, y):
    """Angular velocity times x y, whose integral is that of sin(2 a) da; and the square radius."""
    return (p.rate + p.sway * m.sin(p.beat * t)) * x * y, x * x + y * y


def mean_torque(field: VelocityField, position, start, end):
    """Closed form of the mean of the first component of `torque`, for the initial label."""
    x, y = np.asarray(position, dtype=float).T
    first, turn = np.arctan2(y, x), turned_angle(field.parameters, start, end)
    return (x * x + y * y) / 2 * np.sin(2 * first + turn) * np.sin(turn) / (end - start)


def flow_of(field: VelocityField, position, start, end):
    """Closed-form flow map of a field of the catalogue over one window for all particles."""
    position = np.asarray(position, dtype=float)
    n = len(position)
    return field.exact_flow_map(
        field.parameters, position, np.full(n, float(start)), np.full(n, float(end))
    )


def rms(difference) -> float:
    return math.sqrt(np.mean(np.square(difference)))


def current(m, p, t, x, y):
    """Constants, and integers at that."""
    return 1, 0


BOX = VelocityField(
    body=current, dimension=2, domain=(Axis(0.0, 1.0, "closed"), Axis(0.0, 1.0)), name="box"
)


class Growth(NamedTuple):
    rate: float = 1.0
    capacity: float = 2.0


def logistic(m, p, t, x):
    return (p.rate * x * (1 - x / p.capacity),)


LOGISTIC = VelocityField(body=logistic, parameters=Growth(), dimension=1)


def grown(position, duration):
    """Closed-form flow map of `LOGISTIC`; from -1 it is infinite after log 3."""
    return 2 / (1 + (2 / np.asarray(position) - 1) * math.exp(-duration))


def place(m, p, t, x, y):
    """Position, and the cosine of each coordinate."""
    return x, y, m.cos(x), m.cos(y)


def energy(m, p, t, x, y):
    """Kinetic energy of a solid rotation: a number, with a parameter in it."""
    return (x * x + y * y) * p.rate**2 / 2


def three(m, p, t, x, y):
    """A tuple of one integer."""
    return (3,)


def moments(m, p, t, x, y):
    """A tuple, with a parameter and time in it."""
    return x * x, p.rate * x * y + t, y * y


ON_ROTATION = (energy, three, moments)


def wide(m, p, t, x, y):
    """An observable without parameters, as it must be on a modal field."""
    return x * x, m.cos(y - t)


def time_mean(function, start: float, end: float, nodes: int = 60):
    """Mean over a window by Gauss's rule; the function takes increasing (or decreasing) times."""
    node, weight = np.polynomial.legendre.leggauss(nodes)
    times = (start + end) / 2 + (end - start) / 2 * node
    return np.tensordot(weight / 2, function(times), axes=1)


def material_derivatives(field: VelocityField, count: int):
    """Velocity and its first material derivatives v, Dv/Dt, ... as functions (t, x) -> (n, d)."""
    rate, symbols = symbolic.velocity(field)
    values = dict(zip(symbols.parameters, map(sympy.Float, field.parameters), strict=True))
    velocity = rate.subs(values)
    terms = [velocity]
    for _ in range(count):
        last = terms[-1]
        terms.append(last.diff(symbols.time) + last.jacobian(symbols.position) * velocity)
    compiled = [
        sympy.lambdify([symbols.time, *symbols.position], list(term), "numpy", cse=True)
        for term in terms
    ]

    def function_of(term):
        return lambda t, x: np.stack(np.broadcast_arrays(*term(t, *np.asarray(x).T)), axis=-1)

    return [function_of(term) for term in compiled]


def differences(function, at: float, h: float):
    """Derivative of a function of one number by central differences of fourth order."""
    return (
        8 * (function(at + h) - function(at - h)) - (function(at + 2 * h) - function(at - 2 * h))
    ) / (12 * h)


def gradient_of(function, position, h: float):
    """Matrices (n, i, j) of the derivatives of component i along coordinate j."""
    position = np.asarray(position, dtype=float)
    columns = [
        differences(lambda s, e=e: function(position + s * e), 0.0, h)
        for e in np.eye(position.shape[1])
    ]
    return np.stack(columns, axis=-1)


def path_at(field, x, start, end):
    """Positions (times, n, dimension) at increasing times, by one run."""
    return lambda times: trajectories(field, x, start, end, times=times, **TIGHT).position.swapaxes(
        0, 1
    )


def mean_position(field, x, start, end):
    return time_mean(path_at(field, x, start, end), start, end)
