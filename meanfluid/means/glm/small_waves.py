r"""Stokes drift and its kin for a progressive wave of small amplitude, at points, by a formula.

Over the phase, velocity is a mean :math:`\bar u` and a rest u'. Displacements obey
:math:`(k \cdot \bar u - \omega) \partial_\theta \xi = u' + \xi \cdot \nabla \bar u`, which is
solved mode by mode; derivatives in space are those of the body. No particle is followed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.backends import devices
from meanfluid.backends.bodies import Observable, observable_shape
from meanfluid.backends.derivatives import differentiated
from meanfluid.fields.elementary import numpy_functions
from meanfluid.fields.velocity_field import Array, VelocityField
from meanfluid.means.glm.algebra import checked_rotation, matrix_norm, pseudomomentum
from meanfluid.means.glm.ensembles import PHASES, checked_phases
from meanfluid.means.glm.labelled import AT_DISPLACED, found_in, quantities_of
from meanfluid.means.glm.periods import Wave, checked_wave, on_host
from meanfluid.trajectories.doors import Found, on_labels_or
from meanfluid.trajectories.results import described

_DIVERGENCE_FREE = 1e-10  # of displacement, relative to its gradient


@dataclass(frozen=True, eq=False)
class SmallAmplitudeMean:
    """Means of a progressive wave at mean positions, to second order in its amplitude.

    What is left out is smaller by about the square of `steepness`.

    Attributes
    ----------
    position : (n, dimension), length
    displacement : (phases, n, dimension), length
        To first order.
    displacement_gradient : (phases, n, dimension, dimension)
    mean_velocity : (n, dimension), length / time
        Lagrangian: `eulerian_velocity` plus `stokes_drift`.
    eulerian_velocity : (n, dimension), length / time
    stokes_drift : (n, dimension), length / time
    pseudomomentum : (n, dimension), length / time
    density : (n,)
        Mean of det(I + grad xi); NaN where the flow is not incompressible.
    eulerian_means, stokes_corrections : dict of (n[, size])
        Of observables.
    steepness : (n,)
        Largest norm of the gradient of displacement.
    """

    position: Any
    displacement: Any
    displacement_gradient: Any
    mean_velocity: Any
    eulerian_velocity: Any
    stokes_drift: Any
    pseudomomentum: Any
    density: Any
    eulerian_means: dict[str, Any]
    stokes_corrections: dict[str, Any]
    steepness: Any


@on_labels_or(
    SmallAmplitudeMean, quantities_of(SmallAmplitudeMean), comment=AT_DISPLACED, by_chunks=False
)
def small_amplitude_mean(
    field: VelocityField,
    position: ArrayLike,
    start: ArrayLike,
    *,
    wavevector: ArrayLike,
    frequency: float,
    phases: int = PHASES,
    observables: Mapping[str, Observable] | None = None,
    rotation: Any = None,
    tolerance: float = 1e-8,
) -> Found:
    r"""Generalised Lagrangian mean of a progressive wave, to second order in its amplitude.

    Stokes drift is :math:`\langle \xi_j u'_{i,j} \rangle + \langle \xi_j \xi_k \rangle
    \bar u_{i,jk} / 2`, at the mean position.

    Parameters
    ----------
    field : VelocityField
        A formula, which depends on time through the phase k.x - omega t only. Its mean flow may
        not carry the wave to where it is another one.
    position : (n, dimension), length
        Mean positions.
    start : float or (n,), time
    wavevector : (dimension,), 1 / length
        Zero if all of the fluid oscillates together.
    frequency : float, 1 / time
    phases : int
        Even.
    observables : mapping of str to callable, optional
        Each ``g(m, p, t, x, y[, z])``, of the coordinates alone.
    rotation : float or (3,), optional, 1 / time
        Twice the angular velocity of the frame, in pseudomomentum.
    tolerance : float
        As in `lagrangian_period`.

    Returns
    -------
    SmallAmplitudeMean
        Computed on the host. xarray in gives xarray out: a Dataset of all that is one number or
        vector at a mean position; see `trajectories.doors.on_labels`. The mean over the phase is
        called one over time, at `start`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range, the field is no such wave, or its mean
        flow moves with the phase (a critical layer).

    References
    ----------
    Stokes (1847), Trans. Camb. Phil. Soc. 8. Andrews & McIntyre (1978), J. Fluid Mech. 89,
    609-646.
    """
    x, time, _ = on_host(field, position, start, {})
    if field.samples is not None:
        raise ValueError(
            f"{field.name} is a sampled field, which has no second derivatives; use orbit_mean"
        )
    wave = checked_wave(field, wavevector, frequency, tolerance, x, time)
    count, f = checked_phases(phases), checked_rotation(rotation, field.dimension)
    functions = dict(observables or {})
    jets = _jets(wave, field.body, field.dimension, x, time, count)
    xi, slope, rate = _first_order(wave, jets, x)
    corrections, means = {}, {}
    for name, function in functions.items():
        shape = observable_shape(field, function)
        size = shape[0] if shape else 1
        jet = _jets(wave, function, size, x, time, count)
        first = (slice(None), 0) if size == 1 else (slice(None),)
        means[name], corrections[name] = jet.value.mean(axis=0)[first], _stokes(xi, jet)[first]
    drift, eulerian = _stokes(xi, jets), jets.value.mean(axis=0)
    size_of = matrix_norm(slope).max(axis=0)
    solenoidal = np.abs(np.trace(slope, axis1=-2, axis2=-1)).max(axis=0)
    squares = np.einsum("mnjk,mnkj->n", slope, slope) / count
    # The velocity relative to the mean is, to first order, the rate of displacement.
    p = pseudomomentum(slope, rate, xi, f)
    mean = SmallAmplitudeMean(
        position=x,
        displacement=xi,
        displacement_gradient=slope,
        mean_velocity=eulerian + drift,
        eulerian_velocity=eulerian,
        stokes_drift=drift,
        pseudomomentum=p,
        density=np.where(solenoidal <= _DIVERGENCE_FREE * size_of, 1 - squares / 2, np.nan),
        eulerian_means=means,
        stokes_corrections=corrections,
        steepness=size_of,
    )
    mean = devices.at_home(mean, position)
    return found_in(mean, {"field": field.name, **described(field)}, end=time)


@dataclass(frozen=True, eq=False)
class _Jets:
    """A function over the phases, (phases, n, size), with derivatives along the last axes."""

    value: Array
    slope: Array
    curvature: Array


def _jets(wave: Wave, function: Any, size: int, x: Array, time: Array, phases: int) -> _Jets:
    """Evaluate a body or an observable with first and second derivatives at all phases."""
    field, d = wave.field, wave.field.dimension
    p: Any = field.parameters
    record: Any = type(p)
    modal = field.modal and function is field.body
    if modal:
        p = record(*field.table.T[:, :, None])
    elif field.modal:  # an observable sees no parameters there
        p = record = None
    by = ("x", "y", "z")[:d]
    second = differentiated(differentiated(function, record, d, by=by), record, d, by=by)
    shape = (len(field.table) if modal else 1, len(x))
    rows = []
    for j in range(phases):
        there, now = wave.at_phase(x, time, 2 * math.pi * j / phases)
        with np.errstate(all="ignore"):
            parts = second(numpy_functions, p, now, *there.T)
        columns = [np.broadcast_to(part, shape).sum(axis=0) for part in parts]
        rows.append(np.stack(columns, axis=-1))
    flat = np.stack(rows)  # values, slopes, then the derivatives of both, row by row
    known = size * (1 + d)
    derived = flat[..., known:].reshape(*flat.shape[:2], known, d)
    return _Jets(
        flat[..., :size],
        flat[..., size:known].reshape(*flat.shape[:2], size, d),
        derived[..., size:, :].reshape(*flat.shape[:2], size, d, d),
    )


def _first_order(wave: Wave, u: _Jets, x: Array) -> tuple[Array, Array, Array]:
    """Displacement, its gradient, and its rate following the mean flow, over the phases."""
    mean, shear, curvature = (part.mean(axis=0) for part in (u.value, u.slope, u.curvature))
    intrinsic = mean @ wave.wavevector - wave.frequency
    speed = float(np.abs(u.value).max())
    _require_waves(wave, u, mean, intrinsic, speed, x)
    phases, d = len(u.value), u.value.shape[-1]
    modes = np.arange(1, phases // 2)  # the mean and the highest wave have no displacement
    value = np.fft.rfft(u.value, axis=0)[1 : phases // 2]
    slope = np.fft.rfft(u.slope, axis=0)[1 : phases // 2]
    turning = 1j * modes[:, None, None, None] * intrinsic[:, None, None] * np.eye(d)
    operator = turning - shear
    xi = np.linalg.solve(operator, value[..., None])[..., 0]
    # d/dx_i of (i n c - A) xi = u', with c = k.mean - omega and A the gradient of the mean.
    of_intrinsic = np.einsum("j,nji->ni", wave.wavevector, shear)
    source = slope + np.einsum("njki,mnk->mnji", curvature, xi)
    source = source - 1j * modes[:, None, None, None] * np.einsum("mnj,ni->mnji", xi, of_intrinsic)
    gradient = np.linalg.solve(operator, source)
    rate = 1j * modes[:, None, None] * intrinsic[:, None] * xi
    return _over_phases(xi, phases), _over_phases(gradient, phases), _over_phases(rate, phases)


def _over_phases(modes: Any, phases: int) -> Array:
    """Return real values over the phases from modes 1, 2, ..., below the highest."""
    padding = np.zeros((1, *modes.shape[1:]), dtype=complex)
    return np.fft.irfft(np.concatenate([padding, modes, padding]), n=phases, axis=0)


def _require_waves(
    wave: Wave, u: _Jets, mean: Array, intrinsic: Array, speed: float, x: Array
) -> None:
    """Refuse points where the displacement has no such solution."""
    k = wave.wavevector
    scale = abs(wave.frequency) + speed * math.sqrt(k @ k)
    critical = np.abs(intrinsic) <= wave.tolerance * scale
    if critical.any():
        first = int(np.flatnonzero(critical)[0])
        raise ValueError(
            f"the mean flow moves with the phase of {wave.field.name} at {x[first].tolist()} (a "
            "critical layer): displacements are not small there"
        )
    across = mean - np.outer(mean @ k, k) / (k @ k) if wave.progressive else mean
    carried = np.abs(np.einsum("mnij,nj->mni", u.slope, across)).max(axis=(0, 2))
    allowed = wave.tolerance * np.abs(u.slope).max(axis=(0, 2, 3)) * speed
    if not (carried <= allowed).all():
        first = int(np.flatnonzero(~(carried <= allowed))[0])
        raise ValueError(
            f"the mean flow of {wave.field.name} carries the wave at {x[first].tolist()} to where "
            "it is another one, and its displacement is no local formula; use ensemble_mean"
        )


def _stokes(xi: Array, jet: _Jets) -> Array:
    """Stokes correction (n, size) of a function to second order."""
    fluctuation = jet.slope - jet.slope.mean(axis=0)
    pairs = np.einsum("mnj,mnk->njk", xi, xi) / len(xi)
    first = np.einsum("mnj,mnsj->ns", xi, fluctuation) / len(xi)
    second = np.einsum("njk,nsjk->ns", pairs, jet.curvature.mean(axis=0)) / 2
    return np.asarray(first + second)
