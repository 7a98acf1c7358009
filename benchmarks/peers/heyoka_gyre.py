"""The double gyre as heyoka takes it, for the peer's script and for its profile."""

import heyoka
import numpy as np


def system(amplitude, perturbation, frequency):
    x, y = heyoka.make_vars("x", "y")
    lean = perturbation * heyoka.sin(frequency * heyoka.time)
    fold, slope = lean * x * x + (1 - 2 * lean) * x, 2 * lean * x + (1 - 2 * lean)
    across, up = heyoka.pi * fold, heyoka.pi * y
    scale = np.pi * amplitude
    return [
        (x, -scale * heyoka.sin(across) * heyoka.cos(up)),
        (y, scale * heyoka.cos(across) * heyoka.sin(up) * slope),
    ]
