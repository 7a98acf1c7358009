"""Flows whose means on grids are known: the travelling wave, cells, a gyre between walls."""

import numpy as np

import meanfluid as mf
from meanfluid.means.lagrangian_pde import Grid

TURN = 2 * np.pi
LINE = Grid((mf.Axis(0.0, TURN, "periodic"),), 128)
NODES = [8, 40, 100]  # of LINE; at 2 pi i / 128

# Means of cos x in the wave below over [0, 5], at NODES. Computed apart from this library, by
# trajectories in extended precision.
KNOWN = {
    "final": (0.781273563650644, -0.295948727568838, -0.0152471731022635),
    "initial": (0.736380491241536, -0.678949913557708, -0.0617248230316894),
    2.0: (0.97133425850539, -0.420649723222398, 0.226444370978129),
    "mean": (0.91073474639487, -0.36974426226258, 0.19201304734884),
}
FINAL_VELOCITY = (0.0103732498403747, 0.113295418306009, -0.00875810050650129)
MEAN_VELOCITY = (-0.0045022847956815, 0.11953741075562, -0.017161988906194)
END_POSITION = (0.1313838331673, 2.0844520751966, 5.0550442181481)  # of the fluid on average there


def wave(time, position):
    """Velocity 0.3 cos(x - t)."""
    return 0.3 * np.cos(position - time)


def cosine(time, position):
    return np.cos(position[:, 0])


COSINE = {"f": cosine, "v": "velocity"}


def hann(time):
    """Hann's window over [0, 5], with integral one."""
    return (1 - np.cos(TURN * time / 5)) / 5


def swaying(m, p, t, x, y):
    """Cells that sway and breathe: unsteady, free of divergence, 2 pi periodic."""
    phase = x - 0.4 * m.sin(1.3 * t)
    strength = 0.5 + 0.2 * m.cos(2.1 * t)
    return strength * m.sin(phase) * m.cos(y) + 0.2, -strength * m.cos(phase) * m.sin(y)


SQUARE = (mf.Axis(0.0, TURN, "periodic"), mf.Axis(0.0, TURN, "periodic"))
SWAYING = mf.VelocityField(body=swaying, dimension=2, domain=SQUARE)


def wavy(m, p, t, x, y):
    return m.cos(x - y) + 0.5 * m.sin(y + 0.7 * t)


def bell(m, t):
    """A weight about the middle of [0, 2]."""
    return m.exp(-4.0 * (t - 1.0) * (t - 1.0))


WALLS = (mf.Axis(0.0, 2.0, "wall"), mf.Axis(0.0, 1.0, "wall"))
GYRE = mf.fields.double_gyre()


def height(m, p, t, x, y):
    return m.sin(2 * x + 0.3 * t) * m.cos(3 * y)
