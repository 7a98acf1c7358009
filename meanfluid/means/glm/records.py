"""What comes back: every quantity of the generalised Lagrangian mean under its name."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class GeneralisedLagrangianMean:
    """Means of an ensemble at mean positions, with estimated errors.

    A member is one field of the ensemble, one phase, or one time of an orbit. Errors are
    Euclidean norms per point; they hold what integration, the inversion for the mean position and
    the number of phases did. `errors` has the keys "position", "displacement",
    "displacement_gradient", "mean_velocity", "eulerian_velocity", "stokes_drift", "divergence",
    "pseudomomentum", "momentum" and "density".

    Attributes
    ----------
    position : (n, dimension), length
        Mean positions, unwrapped on periodic axes.
    initial_position : (n, dimension), length
        The common label of the members: their position at `start`.
    displacement : (members, n, dimension), length
        xi, of zero mean.
    displacement_gradient : (members, n, dimension, dimension)
        d xi_i / d x_j with respect to mean position.
    displaced_velocity : (members, n, dimension), length / time
        At position + displacement.
    mean_velocity : (n, dimension), length / time
        The Lagrangian mean of velocity, with which mean positions move.
    mean_velocity_gradient : (n, dimension, dimension), 1 / time
    divergence : (n,), 1 / time
        Of `mean_velocity`; not zero for an incompressible flow.
    eulerian_velocity : (n, dimension), length / time
        Mean over the members at the mean position itself.
    stokes_drift : (n, dimension), length / time
        `mean_velocity` less `eulerian_velocity`.
    pseudomomentum : (n, dimension), length / time
    momentum : (n, dimension), length / time
        `mean_velocity` less `pseudomomentum`: what Kelvin's theorem integrates.
    density : (n,)
        Mean of det(I + grad xi).
    density_spread : (n,)
        Largest distance of a member from it; zero but for errors in an incompressible flow.
    means, eulerian_means, stokes_corrections : dict of (n[, size])
        Of observables: at displaced positions, at the mean position, and their difference.
    errors : dict of (n,)
    mean_errors, eulerian_errors, stokes_errors : dict of (n,)
        Of the means of observables.
    status : (n,) int8
        See `meanfluid.Status`; where it is not 0 the arrays hold NaN.
    period : (n,), time, or None
        Of orbits.
    provenance : dict
    """

    position: Any
    initial_position: Any
    displacement: Any
    displacement_gradient: Any
    displaced_velocity: Any
    mean_velocity: Any
    mean_velocity_gradient: Any
    divergence: Any
    eulerian_velocity: Any
    stokes_drift: Any
    pseudomomentum: Any
    momentum: Any
    density: Any
    density_spread: Any
    means: dict[str, Any]
    eulerian_means: dict[str, Any]
    stokes_corrections: dict[str, Any]
    errors: dict[str, Any]
    mean_errors: dict[str, Any]
    eulerian_errors: dict[str, Any]
    stokes_errors: dict[str, Any]
    status: Any
    period: Any
    provenance: dict[str, Any]
