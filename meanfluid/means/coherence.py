r"""How a flow stretches and turns: finite-time Lyapunov exponents and vorticity deviations.

With F the gradient of the flow map from `start` to `end` and sigma its largest singular value,

.. math:: \mathrm{FTLE} = \frac{\ln \sigma_{\max}(F)}{|end - start|},

and with w the vorticity and :math:`\bar w(\tau)` its mean over a domain at time tau,

.. math:: \mathrm{LAVD} = \left| \int_{start}^{end} |w(X(\tau), \tau) - \bar w(\tau)| \, d\tau
          \right| .

Both are functions of the position at `start`.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numba.extending import register_jitable
from numpy.typing import ArrayLike

from meanfluid.backends import devices
from meanfluid.backends.bodies import Observable
from meanfluid.fields.velocity_field import VelocityField
from meanfluid.means.circulation import Box, mean_vorticity_over
from meanfluid.trajectories.checks import refuse_options_of_trajectories
from meanfluid.trajectories.doors import Arguments, Found, Quantity, on_labels
from meanfluid.trajectories.flow_map import trajectories


def _of_lavd(arguments: Arguments) -> Quantity:
    if arguments["normalise"]:
        return Quantity("lavd", "Lagrangian-averaged vorticity deviation", "rate")
    return Quantity(
        "lavd", "Lagrangian-averaged vorticity deviation", "1", mean=False,
        comment="integral over the window, labelled by the position at its start",
    )  # fmt: skip


@on_labels(
    Quantity(
        "ftle",
        "finite-time Lyapunov exponent",
        "rate",
        mean=False,
        comment="over the window, labelled by the position at its start",
    )
)
def ftle(
    field: VelocityField,
    position: ArrayLike,
    start: ArrayLike,
    end: ArrayLike,
    *,
    return_error: bool = False,
    **options: Any,
) -> Found:
    """Finite-time Lyapunov exponent, from the exact gradient of the flow map.

    Parameters
    ----------
    field : VelocityField
    position : (n, dimension), length
        At `start`.
    start, end : float or (n,), time
        ``end > start`` shows what repels, ``end < start`` what attracts.
    return_error : bool
        Whether to return its estimated global error, (n,), too.
    **options
        Of `meanfluid.trajectories`.

    Returns
    -------
    (n,), 1 / time
        And the error, if asked for. NaN where a trajectory failed and was marked.
        xarray in gives xarray out, with error and status: see `trajectories.doors.on_labels`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range, or a window is empty.
    TrajectoryError
        If a trajectory fails, unless ``on_failure="mark"``.

    Notes
    -----
    The gradient comes from the variational equation; there are no finite differences, and no
    auxiliary grid. The singular value is that of the gradient itself: squaring it, as in the
    Cauchy-Green tensor, would double its condition number.
    """
    refuse_options_of_trajectories(options)
    window = np.abs(np.subtract(devices.to_host(end), devices.to_host(start), dtype=float))
    if not (window > 0).all():
        raise ValueError(
            "ftle needs windows of some length, got start == end; its limit there is the largest "
            "rate of strain"
        )
    give = devices.giver_of(position)
    x = devices.as_cupy(position) if devices.is_on_gpu(position) else position
    path = trajectories(field, x, start, end, gradient=True, **options)
    stretch = np.full_like(path.gradient, np.nan, shape=(len(path.gradient),))
    whole = np.isfinite(path.gradient).all(axis=(1, 2))
    stretch[whole] = np.linalg.svd(path.gradient[whole], compute_uv=False)[:, 0]
    window = devices.beside(stretch, window)
    error = path.gradient_error / (stretch * window)
    return Found(give(np.log(stretch) / window), give(error), path.status)


@on_labels(_of_lavd, comment="along trajectories, label=initial")
def lavd(
    field: VelocityField,
    position: ArrayLike,
    start: float,
    end: float,
    *,
    domain: Box | None = None,
    mean_vorticity: float | Sequence[float] | None = None,
    normalise: bool = False,
    rtol: float = 1e-8,
    return_error: bool = False,
    **options: Any,
) -> Found:
    """Lagrangian-averaged vorticity deviation.

    Parameters
    ----------
    field : VelocityField
        In two or three dimensions; in three, vorticity and its deviation are vectors.
    position : (n, dimension), length
        At `start`.
    start, end : float, time
    domain : sequence of (lower, upper), optional
        Over which vorticity is averaged at every time; defaults to the field's own domain.
    mean_vorticity : float or (3,), optional
        Use this number at all times in place of the mean over a domain.
    normalise : bool
        Whether to divide by the length of the window.
    rtol : float
        As in `meanfluid.trajectories`; looser here, since the modulus has kinks.
    return_error : bool
        Whether to return the estimated global error, (n,), too.
    **options
        Of `meanfluid.trajectories`.

    Returns
    -------
    (n,)
        Without unit, or 1 / time if normalised. NaN where a trajectory failed and was marked.
        xarray in gives xarray out, with error and status: see `trajectories.doors.on_labels`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range, or no bounded domain is known.
    TrajectoryError
        If a trajectory fails, unless ``on_failure="mark"``.

    References
    ----------
    Haller, Hadjighasem, Farazmand & Huhn (2016), Defining coherent vortices objectively from the
    vorticity, J. Fluid Mech. 795, 136-173.
    """
    refuse_options_of_trajectories(options)
    if field.dimension not in (2, 3):
        raise ValueError(f"vorticity needs 2 or 3 dimensions, got {field.dimension}")
    if np.ndim(start) or np.ndim(end):
        raise ValueError("lavd needs one window for all particles: start and end must be numbers")
    if mean_vorticity is None:
        series = mean_vorticity_over(field, domain, float(start), float(end))
    else:
        size = 1 if field.dimension == 2 else 3
        series = np.asarray(mean_vorticity, dtype=float).reshape(-1, 1)
        if domain is not None or series.shape[0] != size or not np.isfinite(series).all():
            raise ValueError(
                f"mean_vorticity must be {size} finite number(s) and excludes domain, got "
                f"{mean_vorticity!r} and {domain!r}"
            )
    middle, half = 0.5 * (float(start) + float(end)), 0.5 * (float(end) - float(start))
    coefficients = tuple(tuple(row) for row in series.tolist())
    steady = series.shape[1] == 1
    observable = _deviation(coefficients, *((0.0, 1.0) if steady else (middle, half)))
    path = trajectories(
        field, position, start, end, observables={"deviation": observable}, rtol=rtol, **options
    )
    scale = 1.0 if normalise else abs(float(end) - float(start))
    value, error = path.means["deviation"] * scale, path.mean_errors["deviation"] * scale
    return Found(value, error, path.status)


@lru_cache(maxsize=64)
def _deviation(
    coefficients: tuple[tuple[float, ...], ...], middle: float, half: float
) -> Observable:
    """Modulus of vorticity less its mean, a Chebyshev series in (t - middle) / half."""
    means = tuple(np.array(row) for row in coefficients)

    if len(means) == 1:
        mean = means[0]

        def deviation(m: Any, p: Any, t: Any, x: Any, y: Any, gradient: Any) -> Any:
            away = gradient[1][0] - gradient[0][1] - _series(mean, (t - middle) / half)
            return m.maximum(away, -away)

        return deviation

    first, second, third = means

    def deviation_3d(m: Any, p: Any, t: Any, x: Any, y: Any, z: Any, gradient: Any) -> Any:
        s = (t - middle) / half
        a = gradient[2][1] - gradient[1][2] - _series(first, s)
        b = gradient[0][2] - gradient[2][0] - _series(second, s)
        c = gradient[1][0] - gradient[0][1] - _series(third, s)
        return m.sqrt(a * a + b * b + c * c)

    return deviation_3d


@register_jitable  # type: ignore[untyped-decorator, unused-ignore]
def _series(coefficients: Any, s: Any) -> Any:
    """Sum a Chebyshev series by Clenshaw's recurrence."""
    here, before = 0.0 * s, 0.0 * s
    for k in range(len(coefficients) - 1, 0, -1):
        here, before = coefficients[k] + 2.0 * s * here - before, here
    return coefficients[0] + s * here - before
