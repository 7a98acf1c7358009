"""Fields that are sums: kinematic simulation of turbulence, and pairs of vortices.

The parameters are 1-D arrays with one entry per Fourier mode or per vortex; the body is the
velocity of one of them, and the field is their sum. A new turbulent flow is then data, not code.
Lengths and times are nondimensional unless a field says otherwise.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from meanfluid.fields.closed_forms import require_positive
from meanfluid.fields.unsteady import _AFTER_ZERO
from meanfluid.fields.velocity_field import Array, Axis, VelocityField

_PANELS, _NODES = 64, 16  # Gauss-Legendre rule for integrals over log k; exact to rounding


@dataclass(frozen=True)
class Spectrum:
    """Energy spectrum E(k), called like a function; its integral is half the mean square speed.

    Parameters
    ----------
    density : callable
        E(k), length^3 / time^2, of an array of wavenumbers.
    lower, upper : float, 1 / length
        The range of wavenumbers worth resolving: it holds all but about 1e-5 of the energy.
    """

    density: Callable[[Array], Array]
    lower: float
    upper: float

    def __call__(self, wavenumber: Any) -> Array:
        """E at wavenumbers of any shape."""
        return np.asarray(self.density(np.asarray(wavenumber, dtype=float)), dtype=float)


def von_karman_pao(
    rms_velocity: float = 1.0, k_energy: float = 1.0, k_eta: float = 50.0, dimension: int = 3
) -> Spectrum:
    r"""Von Karman's spectrum with Pao's cut-off, normalised to the velocity asked for.

    :math:`E \propto (k/k_e)^4\,(1 + (k/k_e)^2)^{-17/6}\,\exp(-2 (k/k_\eta)^2)`: fourth power at
    large scales, -5/3 in between. Pao's factor removes energy, so that the classical constant
    would not give `rms_velocity`; here the integral is renormalised.

    Parameters
    ----------
    rms_velocity : float, length / time
        Of one velocity component.
    k_energy : float, 1 / length
        Wavenumber of the energetic scales.
    k_eta : float, 1 / length
        Wavenumber of the dissipative scales.
    dimension : 2 or 3
        The integral of E is dimension / 2 times rms_velocity squared.
    """
    require_positive(rms_velocity=rms_velocity, k_energy=k_energy, k_eta=k_eta)

    def shape(k: Array) -> Array:
        ratio = k / k_energy
        drop = ratio**4 / (1 + ratio * ratio) ** (17 / 6)
        return np.asarray(drop * np.exp(-2 * (k / k_eta) ** 2))

    smallest = min(k_energy, k_eta)
    return _normalised(
        shape, rms_velocity, dimension, (smallest / 1000, 5 * k_eta), (smallest / 8, 2.5 * k_eta)
    )


def gaussian_spectrum(
    rms_velocity: float = 1.0, k_energy: float = 1.0, dimension: int = 2
) -> Spectrum:
    r"""Smooth spectrum of one scale, :math:`E \propto k^{d+1} \exp(-k^2/k_e^2)`.

    In two dimensions the longitudinal correlation is :math:`\exp(-r^2 k_e^2/4)` and the integral
    scale :math:`\sqrt\pi / k_e`.

    Parameters
    ----------
    rms_velocity : float, length / time
        Of one velocity component.
    k_energy : float, 1 / length
        Wavenumber of the energetic scales.
    dimension : 2 or 3
        The integral of E is dimension / 2 times rms_velocity squared.
    """
    require_positive(rms_velocity=rms_velocity, k_energy=k_energy)

    def shape(k: Array) -> Array:
        ratio = k / k_energy
        return np.asarray(ratio ** (dimension + 1) * np.exp(-ratio * ratio))

    return _normalised(
        shape,
        rms_velocity,
        dimension,
        (k_energy / 10000, 7 * k_energy),
        (k_energy / 15, 4 * k_energy),
    )


def power_law(
    rms_velocity: float = 1.0,
    lower: float = 1.0,
    upper: float = 50.0,
    exponent: float = 5 / 3,
    dimension: int = 3,
) -> Spectrum:
    r"""Inertial range :math:`E \propto k^{-p}` between two wavenumbers, zero outside.

    Parameters
    ----------
    rms_velocity : float, length / time
        Of one velocity component.
    lower, upper : float, 1 / length
        Where the range begins and ends.
    exponent : float
        p.
    dimension : 2 or 3
        The integral of E is dimension / 2 times rms_velocity squared.
    """
    require_positive(rms_velocity=rms_velocity, lower=lower)

    def shape(k: Array) -> Array:
        inside = (k >= lower) & (k <= upper)
        return np.where(inside, (np.maximum(k, lower) / lower) ** -exponent, 0.0)

    return _normalised(shape, rms_velocity, dimension, (lower, upper), (lower, upper))


def _normalised(
    shape: Callable[[Array], Array],
    rms_velocity: float,
    dimension: int,
    support: tuple[float, float],
    resolved: tuple[float, float],
) -> Spectrum:
    _require_plane_or_space(dimension)
    edges = _geometric_edges(*support, _PANELS)
    scale = dimension / 2 * rms_velocity**2 / _bin_energies(shape, edges).sum()
    return Spectrum(lambda k: scale * shape(k), *resolved)


def _require_plane_or_space(dimension: int) -> None:
    if dimension not in (2, 3):
        raise ValueError(f"dimension must be 2 or 3, got {dimension!r}")


def _geometric_edges(lower: float, upper: float, bins: int) -> Array:
    if not 0 < lower < upper < math.inf:
        raise ValueError(
            f"wavenumbers must be two positive numbers (smallest, largest), got {lower}, {upper}"
        )
    edges = np.geomspace(lower, upper, bins + 1)
    edges[-1] = upper
    return edges


def _bin_energies(spectrum: Callable[[Array], Array], edges: Array) -> Array:
    """Integral of the spectrum over each bin, by Gauss-Legendre quadrature in log k."""
    node, weight = np.polynomial.legendre.leggauss(_NODES)
    log_edge = np.log(edges)
    middle, half = (log_edge[1:] + log_edge[:-1]) / 2, np.diff(log_edge) / 2
    k = np.clip(np.exp(middle[:, None] + half[:, None] * node), edges[0], edges[-1])
    return np.asarray(half * ((np.asarray(spectrum(k)) * k) @ weight))


class PlaneModes(NamedTuple):
    """Wavevectors, angular frequencies and the two amplitudes of modes in the plane."""

    wavenumber_x: Array
    wavenumber_y: Array
    frequency: Array
    cosine_x: Array
    cosine_y: Array
    sine_x: Array
    sine_y: Array


def _plane_mode(m: Any, p: PlaneModes, t: Any, x: Any, y: Any) -> tuple[Any, ...]:
    phase = p.wavenumber_x * x + p.wavenumber_y * y + p.frequency * t
    c, s = m.cos(phase), m.sin(phase)
    return p.cosine_x * c + p.sine_x * s, p.cosine_y * c + p.sine_y * s


class SpaceModes(NamedTuple):
    """Wavevectors, angular frequencies and the two amplitudes of modes in space."""

    wavenumber_x: Array
    wavenumber_y: Array
    wavenumber_z: Array
    frequency: Array
    cosine_x: Array
    cosine_y: Array
    cosine_z: Array
    sine_x: Array
    sine_y: Array
    sine_z: Array


def _space_mode(m: Any, p: SpaceModes, t: Any, x: Any, y: Any, z: Any) -> tuple[Any, ...]:
    phase = p.wavenumber_x * x + p.wavenumber_y * y + p.wavenumber_z * z + p.frequency * t
    c, s = m.cos(phase), m.sin(phase)
    return (
        p.cosine_x * c + p.sine_x * s,
        p.cosine_y * c + p.sine_y * s,
        p.cosine_z * c + p.sine_z * s,
    )


def kinematic_simulation(
    spectrum: Callable[[Array], Array],
    *,
    seed: int | np.random.Generator,
    modes: int = 64,
    dimension: int = 2,
    wavenumbers: tuple[float, float] | None = None,
    unsteadiness: float = 0.5,
) -> VelocityField:
    r"""Turbulence-like random flow: a sum of incompressible Fourier modes with a given spectrum.

    :math:`v = \sum_n A_n \cos(k_n \cdot x + \omega_n t) + B_n \sin(k_n \cdot x + \omega_n t)`
    with geometric wavenumbers, isotropic directions, :math:`A_n, B_n \perp k_n`, and
    :math:`\omega_n = \lambda \sqrt{k_n^3 E(k_n)}`. Each mode has exactly the energy of the
    spectrum in its bin of wavenumbers, :math:`(|A_n|^2 + |B_n|^2)/4 = \int E\,dk`, so that only
    directions and phases are random. Smooth in space and time.

    Parameters
    ----------
    spectrum : callable
        E(k), length^3 / time^2, of an array of wavenumbers; its integral is half the mean square
        speed. `von_karman_pao`, `gaussian_spectrum` and `power_law` are ready.
    seed : int or numpy.random.Generator
        Of the directions and phases.
    modes : int
        Number of modes.
    dimension : 2 or 3
        In the plane the modes are those of a streamfunction with uniform random phases; in space
        A and B are equally long and independent.
    wavenumbers : (float, float), 1 / length, optional
        Smallest and largest; by default the range of a `Spectrum`.
    unsteadiness : float
        The factor lambda; 0 for a steady flow.

    Raises
    ------
    ValueError
        If the spectrum is negative, or no range of wavenumbers is known.

    References
    ----------
    Fung, Hunt, Malik & Perkins (1992), J. Fluid Mech. 236, 281.
    """
    _require_plane_or_space(dimension)
    if not modes >= 1:
        raise ValueError(f"modes must be at least 1, got {modes}")
    edges = _geometric_edges(*_range_of(spectrum, wavenumbers), modes)
    k = np.sqrt(edges[1:] * edges[:-1])
    energy, density = _bin_energies(spectrum, edges), np.asarray(spectrum(k), dtype=float)
    if not (np.isfinite(energy).all() and (energy >= 0).all() and (density >= 0).all()):
        raise ValueError(
            f"spectrum must be finite and not negative for k from {edges[0]} to {edges[-1]}, "
            f"got energies {energy}"
        )
    rng = np.random.default_rng(seed)
    direction = _unit_vectors(rng, modes, dimension)
    cosine, sine = _amplitudes(rng, direction, np.sqrt(2 * energy))
    frequency = unsteadiness * np.sqrt(k**3 * density)
    kind: Any = PlaneModes if dimension == 2 else SpaceModes
    return VelocityField(
        body=_plane_mode if dimension == 2 else _space_mode,
        parameters=kind(*(k[:, None] * direction).T, frequency, *cosine.T, *sine.T),
        dimension=dimension,
        name="kinematic_simulation",
        domain=(Axis(0.0, 2 * math.pi / float(k[0])),) * dimension,
        source="Fung, Hunt, Malik & Perkins (1992), J. Fluid Mech. 236, 281",
        steady=unsteadiness == 0,
        divergence_free=True,
    )


def _range_of(spectrum: Any, wavenumbers: tuple[float, float] | None) -> tuple[float, float]:
    if wavenumbers is not None:
        lower, upper = wavenumbers
        return float(lower), float(upper)
    if not isinstance(spectrum, Spectrum):
        raise ValueError(
            "wavenumbers=(smallest, largest) must be given with a spectrum that is a plain function"
        )
    return spectrum.lower, spectrum.upper


def _unit_vectors(rng: np.random.Generator, count: int, dimension: int) -> Array:
    if dimension == 2:
        angle = rng.uniform(0, 2 * np.pi, count)
        return np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    vector = rng.standard_normal((count, 3))
    return np.asarray(vector / np.linalg.norm(vector, axis=-1, keepdims=True))


def _amplitudes(rng: np.random.Generator, direction: Array, size: Array) -> tuple[Array, Array]:
    """Vectors A and B normal to the directions, with |A|^2 + |B|^2 = 2 size^2."""
    if direction.shape[1] == 2:  # one normal only: its random phase makes the flow homogeneous
        normal = np.stack([-direction[:, 1], direction[:, 0]], axis=-1)
        phase = rng.uniform(0, 2 * np.pi, len(size))
        reach = math.sqrt(2) * size[:, None] * normal
        return reach * np.cos(phase)[:, None], reach * np.sin(phase)[:, None]
    cosine, sine = (size[:, None] * _transverse(rng, direction) for _ in range(2))
    return cosine, sine


def _transverse(rng: np.random.Generator, direction: Array) -> Array:
    """Unit vectors normal to the directions, uniform over the circle."""
    vector = np.cross(direction, rng.standard_normal(direction.shape))
    return np.asarray(vector / np.linalg.norm(vector, axis=-1, keepdims=True))


class VortexDipole(NamedTuple):
    """Of each vortex: circulation, length^2 / time, its constant y, and its speed along x."""

    circulation: Array
    height: Array
    speed: Array


def _dipole_vortex(m: Any, p: VortexDipole, t: Any, x: Any, y: Any) -> tuple[Any, ...]:
    from_x, from_y = x - p.speed * t, y - p.height
    turning = p.circulation / (2 * m.pi * (from_x * from_x + from_y * from_y))
    return -turning * from_y, turning * from_x


def vortex_dipole(circulation: float = 2 * math.pi, separation: float = 1.0) -> VelocityField:
    r"""Two opposite point vortices that carry each other along x; at (0, +-d/2) at time 0.

    The upper one has circulation :math:`+\Gamma`; both move at :math:`\Gamma/(2\pi d)`. The
    velocity is singular at the vortices.

    Parameters
    ----------
    circulation : float, length^2 / time
        Of the upper vortex; anticlockwise, and the pair moves to the right, if positive.
    separation : float, length
        The distance d.
    """
    require_positive(separation=separation)
    side = np.array([1.0, -1.0])
    speed = circulation / (2 * math.pi * separation)
    reach = 2 * separation
    return VelocityField(
        body=_dipole_vortex,
        parameters=VortexDipole(
            circulation * side, separation / 2 * side, np.array([speed, speed])
        ),
        dimension=2,
        name="vortex_dipole",
        domain=(Axis(-reach, reach), Axis(-reach, reach)),
        source="point vortices in mutual advection",
        steady=circulation == 0,
        divergence_free=True,
    )


class LambOseenPair(NamedTuple):
    """Of each vortex: circulation, viscosity, distance of the two, side (+1, -1), and age at 0."""

    circulation: Array
    viscosity: Array
    separation: Array
    side: Array
    age: Array


def _pair_vortex(m: Any, p: LambOseenPair, t: Any, x: Any, y: Any) -> tuple[Any, ...]:
    angle = p.circulation / (m.pi * p.separation * p.separation) * t
    from_x = x - p.side * p.separation / 2 * m.cos(angle)
    from_y = y - p.side * p.separation / 2 * m.sin(angle)
    core = 4 * p.viscosity * (t + p.age)
    turning = p.circulation / (2 * m.pi * core)
    turning = turning * m.exprel(-(from_x * from_x + from_y * from_y) / core)
    return -turning * from_y, turning * from_x


def lamb_oseen_pair(
    circulation: float = 2 * math.pi,
    viscosity: float = 0.01,
    separation: float = 2.0,
    age: float = 0.0,
) -> VelocityField:
    r"""Two equal viscous vortices that turn about each other; at (+-d/2, 0) at time 0.

    A kinematic model: each is a Lamb-Oseen vortex about its own centre, and the centres turn about
    the origin at :math:`\Gamma/(\pi d^2)`, as point vortices do. It stands for the real pair while
    the cores, :math:`\sqrt{4\nu(t + age)}` wide, are small against d and have not merged.

    Parameters
    ----------
    circulation : float, length^2 / time
        Of each vortex; anticlockwise if positive.
    viscosity : float, length^2 / time
        Kinematic viscosity.
    separation : float, length
        The distance d of the centres.
    age : float, time
        How long before time 0 the vortices were points; the field holds after that time.
    """
    require_positive(viscosity=viscosity, separation=separation)
    if not age >= 0:
        raise ValueError(f"age must not be negative, got {age}")
    both = np.ones(2)
    return VelocityField(
        body=_pair_vortex,
        parameters=LambOseenPair(
            circulation * both,
            viscosity * both,
            separation * both,
            np.array([1.0, -1.0]),
            age * both,
        ),
        dimension=2,
        name="lamb_oseen_pair",
        domain=(Axis(-1.5 * separation, 1.5 * separation),) * 2,
        time_range=(float(np.nextafter(-age, 1.0)) if age else _AFTER_ZERO, math.inf),
        source="two Lamb-Oseen vortices, kinematic model",
        steady=circulation == 0,
        divergence_free=True,
    )
