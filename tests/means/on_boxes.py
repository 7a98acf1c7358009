"""Two members of an ensemble on a periodic grid, as arrays and as a Dataset."""

import numpy as np
import xarray as xr

SIDE, HEIGHT = 12, 10
X = 3.0 + np.arange(SIDE) * 2 * np.pi / SIDE  # which need not start at zero
Y = np.arange(HEIGHT) * 4.0 / HEIGHT
A, B = np.meshgrid(X, Y * np.pi / 2, indexing="ij")
MOVED = 0.2 * np.stack([np.sin(B), np.cos(A)])
MOVED = np.stack([MOVED, -MOVED])
SPEED = np.stack([MOVED[:, 1] + np.cos(A + B), np.sin(A) - MOVED[:, 0]], axis=1)
LENGTHS = (2 * np.pi, 4.0)


def vectors(**named):
    """A Dataset of vectors (members, 2, x, y) on (y, x) and the members, y first."""
    data = {
        f"{name}_{end}": (("y", "run", "x"), values[:, k].transpose(2, 0, 1), {"units": unit})
        for name, (values, unit) in named.items()
        for k, end in ((1, "y"), (0, "x"))
    }
    return xr.Dataset(
        data,
        {"y": ("y", Y, {"units": "m"}), "x": ("x", X, {"units": "m"}), "run": ["a", "b"], "day": 3},
    )
