r"""Transport on a periodic box: Fourier series in space, Runge-Kutta of order four in time.

Products are computed on the grid and kept for wave numbers below a third of the number of nodes
(Orszag's rule), along each axis. A velocity with few waves hardly aliases: then more can be kept,
up to all, for sharper fields on the same grid. Errors fall faster than any power of the spacing as
long as the fields are smooth; a flow that stretches makes their gradients grow, which resolution
has to follow.
"""

from functools import cached_property
from typing import Any

import numpy as np

from meanfluid.backends import devices
from meanfluid.fields.velocity_field import Array
from meanfluid.means import periodic
from meanfluid.means.lagrangian_pde.grids import Grid
from meanfluid.means.lagrangian_pde.interpolants import FourierSeries
from meanfluid.means.lagrangian_pde.transport import runge_kutta

# On the imaginary axis Runge-Kutta of order four is stable up to 2 sqrt 2.
_STABLE = 2.0 * np.sqrt(2.0)
_TAIL = 0.8  # of the largest wave number: where the tail of a spectrum begins


class Spectral:
    """Fourier series on a periodic grid. Runs on the library of its arrays, NumPy or CuPy.

    Parameters
    ----------
    grid : Grid
        Periodic along all axes.
    kept : float
        Part of the wave numbers, along each axis, that is kept.

    Raises
    ------
    ValueError
        If an axis is not periodic, or `kept` is not above 0 and at most 1.
    """

    def __init__(self, grid: Grid, kept: float = 2 / 3) -> None:
        if not all(grid.periodic):
            raise ValueError(
                f"Spectral needs periodic axes, got {grid.axes}; SemiLagrangian takes any"
            )
        if not 0 < kept <= 1:
            raise ValueError(f"kept must be above 0 and at most 1, got {kept!r}")
        self.grid, self.kept = grid, kept
        self._axes = tuple(range(-grid.dimension, 0))
        self._placed: tuple[Any, ...] | None = None

    @property
    def name(self) -> str:
        """What to write into a report."""
        return f"Fourier series, {self.kept:.3g} of the wave numbers, RK4"

    @cached_property
    def _host_waves(self) -> tuple[list[Array], Array]:
        """Wave numbers of each axis, to be broadcast, and which modes are kept."""
        shape = self.grid.shape
        waves = periodic.wave_numbers(shape, self.grid.length)
        kept = np.ones((1,) * self.grid.dimension, dtype=bool)
        for mode, n in zip(periodic.modes(shape), shape, strict=True):
            kept = kept & (np.abs(mode) < self.kept * n / 2)
        return waves, kept

    def _waves(self, like: Any) -> tuple[list[Any], Any]:
        """Return the same on the device of an array."""
        if self._placed is None or devices.is_on_gpu(self._placed[1]) != devices.is_on_gpu(like):
            waves, kept = self._host_waves
            placed = [devices.beside(like, wave) for wave in waves]
            self._placed = (placed, devices.beside(like, kept))
        return self._placed

    @cached_property
    def _largest(self) -> Array:
        """Largest wave number kept along each axis, (dimension,)."""
        count = np.ceil(self.kept * np.array(self.grid.shape) / 2) - 1
        return np.asarray(2 * np.pi / self.grid.length * count, dtype=np.float64)

    def forward(self, fields: Any) -> Any:
        """Return the coefficients that are kept; others are zero."""
        return np.fft.rfftn(fields, axes=self._axes) * self._waves(fields)[1]

    def backward(self, hat: Any) -> Any:
        """Return fields from their coefficients."""
        return np.fft.irfftn(hat, s=self.grid.shape, axes=self._axes)

    def advection(self, velocity: Any, hat: Any) -> Any:
        """Return the coefficients of (velocity . grad) g, given those of g, (..., *modes)."""
        waves, _ = self._waves(hat)
        product: Any = 0.0
        for v, wave in zip(velocity, waves, strict=True):
            product = product + v * self.backward(1j * wave * hat)
        return self.forward(product)

    def checked_step(self, velocity: Any, step: float) -> None:
        """Refuse a step that is not stable.

        Raises
        ------
        ValueError
        """
        fastest = np.tensordot(devices.beside(velocity, self._largest), np.abs(velocity), axes=1)
        rate = float(fastest.max())
        if not abs(step) * rate <= _STABLE:
            raise ValueError(
                f"a step of {abs(step):.3g} is too long for velocities that cross the smallest "
                f"scale of the grid at {rate:.3g} radians per time, or velocity is not finite; "
                f"take steps of at most {_STABLE / rate:.3g}"
            )

    def step(
        self, state: Any, outside: Any, velocity: Any, source: Any, matrix: Array, step: float
    ) -> tuple[Any, Any]:
        """Advance fields by one step of Runge-Kutta; see `Transport`."""
        self.checked_step(velocity[0], step)
        hat = self.forward(state)
        sources = [self.forward(part) for part in source]
        own = None if not matrix.any() else devices.beside(state, matrix)

        def rate(g: Any, k: int) -> Any:
            total = sources[k] - self.advection(velocity[k], g)
            return total if own is None else total + np.tensordot(own, g, axes=1)

        return self.backward(runge_kutta(rate, hat, step)), outside

    def space_error(self, state: Any) -> Any:
        """Return the sum of the amplitudes in the outermost fifth of the kept modes, (..., k)."""
        hat = np.abs(self.forward(state)) / np.prod(self.grid.shape)
        tail: Any = np.zeros((1,) * self.grid.dimension, dtype=bool)
        for wave, largest in zip(self._host_waves[0], self._largest, strict=True):
            tail = tail | (np.abs(wave) > _TAIL * largest)
        weight = np.where(tail, 2.0, 0.0)  # the conjugate half counts too
        return (hat * devices.beside(hat, weight)).sum(axis=self._axes)

    def interpolant(self, fields: Any) -> FourierSeries:
        """Return fields (k, *shape) as Fourier series."""
        return FourierSeries(self.grid, fields)

    def coarser(self) -> None:
        """Return None: the tail of the spectrum tells the error in space."""
        return None
