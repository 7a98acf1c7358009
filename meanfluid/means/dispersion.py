r"""Taylor's dispersion: how the variance of average velocities falls with the window.

Displacement is window times average velocity, X = h U, so how far particles spread and how much
average velocities differ is one statement,

.. math:: \langle U^2 \rangle(h) = \frac{\langle X^2 \rangle}{h^2}
          = \frac{2}{h^2} \int_0^h (h - s) R(s) \, ds ,

with R the correlation of velocity along trajectories: the variance of v for a short window, and
:math:`2 \kappa / h`, :math:`\kappa = \int_0^\infty R \, ds`, for one much longer than the memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.backends import devices
from meanfluid.fields.velocity_field import Array, VelocityField
from meanfluid.trajectories import attributes as cf
from meanfluid.trajectories.checks import checked_field
from meanfluid.trajectories.clocks import dated, encoded
from meanfluid.trajectories.datasets import Labels, labels_of, plain
from meanfluid.trajectories.doors import holds_labels
from meanfluid.trajectories.flow_map import trajectories
from meanfluid.trajectories.results import Trajectories


@dataclass(frozen=True, eq=False)
class Dispersion:
    """Statistics of an ensemble of particles released at one time.

    All are matrices of components (i, j), averages over the particles, fluctuations about the mean
    over all of them. Standard errors take particles for independent.

    Attributes
    ----------
    duration : (times,), time
        Length of the window, of either sign.
    displacement : (times, dimension, dimension), length^2
        Covariance of displacement.
    displacement_error : (times, dimension, dimension)
        Its standard error.
    velocity : (times, dimension, dimension), (length / time)^2
        Covariance of average velocity.
    correlation : (times, dimension, dimension), (length / time)^2
        Covariance of velocity at the start (i) and at the end of the window (j).
    correlation_error : (times, dimension, dimension)
        Its standard error.
    drift : (times, dimension), length / time
        Mean of the average velocity.
    """

    duration: Array
    displacement: Array
    displacement_error: Array
    velocity: Array
    correlation: Array
    correlation_error: Array
    drift: Array


def dispersion(
    field: VelocityField, position: ArrayLike, start: float, times: ArrayLike, **options: Any
) -> Any:
    """Spread of particles, spread of their average velocities, and correlation of velocity.

    Parameters
    ----------
    field : VelocityField
    position : (n, dimension), length
        At `start`; drawn from the distribution over which to average.
    start : float, time
    times : (times,), time
        Ends of the windows, in the order in which they are passed.
    **options
        Of `meanfluid.trajectories`.

    Returns
    -------
    Dispersion
        xarray in gives xarray out. Of a Dataset of positions (see `trajectories.doors.on_labels`)
        no label is left: the Dataset has the dimensions `time`, the ends of the windows, with
        `time_bnds` and `duration`, and `component` and `other_component`, the names of the
        coordinates. Variables are `displacement_covariance`, `velocity_covariance`,
        `velocity_correlation` and `drift`, with standard errors where they are known. It has no
        status, since all particles are needed, and chunks are computed at once. `start` and
        `times` may be dates.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range, or there are fewer than two particles.
    TrajectoryError
        If a trajectory fails.

    References
    ----------
    Taylor (1921), Diffusion by continuous movements, Proc. London Math. Soc. s2-20, 196.
    """
    if options.get("on_failure", "raise") != "raise":
        raise ValueError("statistics over particles need all of them; leave out on_failure")
    if not holds_labels(position, field):
        found = _statistics(field, position, start, times, options)[0]
        return devices.at_home(found, position)
    checked_field(field)
    labels = labels_of(position, field)
    begin, ends = labels.times(start), labels.instants(times)
    if np.ndim(begin):
        raise ValueError(f"start must be one time, got {begin.shape}: all particles start together")
    found, path = _statistics(field, labels.position, begin, ends, options)
    return _dataset(found, labels, float(begin), path.provenance)


def _statistics(
    field: VelocityField, position: Any, start: Any, times: Any, options: dict[str, Any]
) -> tuple[Dispersion, Trajectories]:
    ends = np.atleast_1d(np.asarray(times, dtype=float))
    if ends.ndim != 1 or ends.size == 0:
        raise ValueError(f"times must hold the ends of the windows, (k,), got {times!r}")
    path = trajectories(field, position, start, ends[-1], times=ends, **options)
    count = len(path.displacement)
    if count < 2:
        raise ValueError(f"statistics over particles need at least two, got {count}")
    here, there, moved, mean = map(
        devices.to_host, (position, path.position, path.displacement, path.average_velocity)
    )
    first = field.velocity(start, here)
    last = np.stack([field.velocity(end, there[:, k]) for k, end in enumerate(ends)], axis=1)
    displacement, displacement_error = _covariance(moved, moved)
    correlation, correlation_error = _covariance(np.broadcast_to(first[:, None], last.shape), last)
    found = Dispersion(
        duration=ends - start,
        displacement=displacement,
        displacement_error=displacement_error,
        velocity=_covariance(mean, mean)[0],
        correlation=correlation,
        correlation_error=correlation_error,
        drift=mean.mean(axis=0),
    )
    return found, path


# Name, of which pair of the record, what it is, and the unit that is squared.
_COVARIANCES = (
    ("displacement_covariance", "displacement", "covariance of displacement", "length"),
    ("velocity_covariance", "velocity", "covariance of average velocity", "velocity"),
    (
        "velocity_correlation", "correlation",
        "covariance of velocity at the start (component) and at the end (other_component)",
        "velocity",
    ),
)  # fmt: skip


def _dataset(found: Dispersion, labels: Labels, start: float, provenance: dict[str, Any]) -> Any:
    """Return statistics with their errors, windows and attributes."""
    import xarray

    pair = ("time", "component", "other_component")
    ends = start + found.duration
    bounds = np.sort(np.stack([np.full_like(ends, start), ends], axis=1), axis=1)
    own = {} if "time" not in labels.units else {"units": labels.units["time"]}
    clock = {} if labels.time_reference is not None else own
    data: dict[str, Any] = {"time_bnds": (("time", "bnds"), dated(labels, bounds))}
    for name, source, words, unit in _COVARIANCES:
        told = {"long_name": words} | _squared(labels.units.get(unit))
        told = cf.with_cell_method(told, "realization", "mean", "over all particles")
        error = getattr(found, f"{source}_error", None)
        if error is not None:
            data[f"{name}_error"] = pair, error, cf.error_attributes(told, name, "standard error")
            told["ancillary_variables"] = f"{name}_error"
        data[name] = pair, getattr(found, source), told
    told = {"long_name": "mean of average velocity"}
    told |= {"units": labels.units["velocity"]} if "velocity" in labels.units else {}
    told = cf.with_cell_method(told, "time", "mean", "along trajectories, label=initial")
    told = cf.with_cell_method(told, "realization", "mean", "over all particles")
    data["drift"] = pair[:2], found.drift, told
    names = list(labels.names)
    result = xarray.Dataset(data, {
        "time": ("time", dated(labels, ends), {
            "long_name": "end of the window", "bounds": "time_bnds", **clock}),
        "duration": ("time", found.duration, {"long_name": "length of the window", **own}),
        "component": names, "other_component": names,
    })  # fmt: skip
    given = {key: plain(value) for key, value in provenance.items() if key != "meanfluid"}
    result.attrs = cf.with_provenance(
        {"Conventions": cf.CONVENTIONS}, particles=len(labels.position), **given
    )
    return encoded(labels, result, "time")


def _squared(unit: str | None) -> dict[str, str]:
    return {} if unit is None else {"units": f"{unit} {unit}"}


def taylor_variance(
    correlation: Callable[[float], float], duration: ArrayLike, *, rtol: float = 1e-10
) -> Array:
    """Variance of displacement that a correlation of velocity along trajectories implies.

    Parameters
    ----------
    correlation : callable ``(lag) -> float``, (length / time)^2
        R, of one component, even in the lag.
    duration : float or (...), time
        Length of the window.
    rtol : float
        Of the quadrature.

    Returns
    -------
    (...), length^2
        Over the square of `duration` it is the variance of average velocity.

    Raises
    ------
    ValueError
        If a duration is not finite, or the quadrature does not reach `rtol`.
    """
    h = np.asarray(duration, dtype=float)
    if not np.isfinite(h).all():
        raise ValueError(f"duration must be finite, got {duration!r}")
    values = [_integral(correlation, abs(float(one)), rtol) for one in h.ravel()]
    return np.reshape(np.array(values), h.shape)


def _integral(correlation: Callable[[float], float], h: float, rtol: float) -> float:
    from scipy.integrate import quad  # slow to load

    value, error, *trouble = quad(
        lambda s: 2.0 * (h - s) * correlation(s), 0.0, h, epsrel=rtol, epsabs=0.0, limit=500,
        full_output=True,
    )  # fmt: skip
    if len(trouble) > 1 and error > rtol * abs(value):
        raise ValueError(
            f"the integral of the correlation up to {h} has an error of {error:.1e}, rtol is "
            f"{rtol:.1e}; is it smooth and finite there?"
        )
    return float(value)


def _covariance(a: Array, b: Array) -> tuple[Array, Array]:
    """Return covariance (times, i, j) of two vectors (n, times, i), and its standard error."""
    count = len(a)
    products = (a - a.mean(axis=0))[..., :, None] * (b - b.mean(axis=0))[..., None, :]
    return products.sum(axis=0) / (count - 1), products.std(axis=0, ddof=1) / np.sqrt(count)
