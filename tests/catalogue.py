"""One or more cases per field: a window of time and a box where it is valid; an integrator."""

from dataclasses import dataclass

import numpy as np
from scipy.integrate import solve_ivp

from meanfluid import fields
from meanfluid.fields import VelocityField


@dataclass(frozen=True)
class Case:
    field: VelocityField
    start: float
    end: float
    lower: tuple[float, ...]
    upper: tuple[float, ...]

    def position(self, n: int, seed: int) -> np.ndarray:
        """Uniform random positions (n, dimension) in the box."""
        return np.random.default_rng(seed).uniform(
            self.lower, self.upper, (n, self.field.dimension)
        )


def integrated(field, position, start, end, rtol=1e-13):
    """End points by scipy's DOP853: knows nothing of this library but the velocity."""
    position = np.atleast_2d(np.asarray(position, dtype=float))

    def rate(t, flat):
        return field.velocity(t, flat.reshape(position.shape)).ravel()

    with np.errstate(under="ignore"):
        path = solve_ivp(
            rate, (start, end), position.ravel(), method="DOP853", rtol=rtol, atol=rtol / 100
        )
    assert path.success, path.message
    return path.y[:, -1].reshape(position.shape)


def _square(field: VelocityField, start: float, end: float, half: float) -> Case:
    return Case(field, start, end, (-half, -half), (half, half))


_turbulence = fields.von_karman_pao(1.0, k_energy=1.5, k_eta=15.0)

CASES: dict[str, Case] = {
    "rotation": _square(fields.rotation(1.3), 0.2, 9.7, 1.0),
    "strain": _square(fields.strain(0.7), -1.0, 2.5, 1.0),
    "shear": _square(fields.shear(1.5), 0.0, 4.0, 1.0),
    "linear_flow": _square(
        fields.linear_flow([[0.3, 1.2], [-0.7, -0.3]], [0.1, -0.2]), 0.5, 8.0, 1.0
    ),
    "linear_flow_singular": _square(
        fields.linear_flow([[0.2, 0.4], [0.1, 0.2]], [0.3, -0.1]), -1.0, 3.0, 1.0
    ),
    "rotating_strain": _square(fields.rotating_strain(0.8, 0.5), 0.3, 4.3, 1.0),
    "rotating_strain_fast": _square(fields.rotating_strain(0.5, 1.7), 0.3, 9.3, 1.0),
    "gaussian_vortex": _square(fields.gaussian_vortex(), 0.0, 6.0, 1.0),
    "rankine": _square(fields.rankine(), 0.0, 6.0, 1.0),
    "lamb_oseen": _square(fields.lamb_oseen(), 0.5, 6.5, 1.0),
    "moving_vortex": _square(fields.moving_vortex(), -1.0, 5.0, 1.0),
    "taylor_green": Case(fields.taylor_green(), 0.0, 12.0, (-4.0, -4.0), (8.0, 8.0)),
    "taylor_green_decaying": Case(
        fields.taylor_green(1.5, 2.0, 0.03), 0.3, 6.3, (0.0, 0.0), (6.0, 6.0)
    ),
    "inertial_oscillation": _square(
        fields.inertial_oscillation(0.4, 1.1, 0.3, 0.05, -0.02), 0.5, 20.0, 1.0
    ),
    "plane_wave_longitudinal": _square(fields.plane_wave(), 0.0, 12.0, 3.0),
    "plane_wave_oblique": _square(
        fields.plane_wave(0.3, -0.2, 1.5, 0.8, 1.2, 0.2, -0.1), -2.0, 14.0, 3.0
    ),
    "plane_wave_transverse": _square(fields.plane_wave(0.0, 0.5, 2.0, 0.0, 1.5), 0.0, 12.0, 3.0),
    "plane_wave_trapping": _square(fields.plane_wave(0.8, 0.1, 2.0, 0.5, 1.1), 0.0, 4.0, 3.0),
    "standing_wave": _square(fields.standing_wave(), 0.1, 12.0, 3.0),
    "deep_water_wave": Case(fields.deep_water_wave(), 0.0, 8.0, (0.0, -2.0), (6.0, -0.2)),
    "gerstner_wave": Case(fields.gerstner_wave(), 0.0, 6.0, (0.0, -2.5), (6.0, -1.05)),
    "double_gyre": Case(fields.double_gyre(), 0.0, 15.0, (0.0, 0.0), (2.0, 1.0)),
    "abc_flow": Case(fields.abc_flow(), 0.0, 4.0, (0.0,) * 3, (6.2,) * 3),
    "bickley_jet": Case(fields.bickley_jet(), 0.0, 10.0, (0.0, -3.0), (20.0, 3.0)),
    "stuart_vortices": Case(fields.stuart_vortices(), 0.0, 10.0, (0.0, -2.0), (6.2, 2.0)),
    "vortex_dipole": Case(fields.vortex_dipole(), 0.0, 2.0, (-0.3, -0.2), (0.3, 0.2)),
    "kirchhoff_ellipse": _square(fields.kirchhoff_ellipse(), 1.0, 19.0, 0.7),
    "lamb_oseen_pair": _square(fields.lamb_oseen_pair(), 1.0, 9.0, 2.0),
    "kinematic_simulation_2d": _square(
        fields.kinematic_simulation(
            fields.von_karman_pao(1.0, k_energy=1.5, k_eta=15.0, dimension=2), modes=24, seed=3
        ),
        0.0,
        3.0,
        3.0,
    ),
    "kinematic_simulation_3d": Case(
        fields.kinematic_simulation(_turbulence, modes=16, dimension=3, seed=5),
        -1.0,
        2.0,
        (-3.0,) * 3,
        (3.0,) * 3,
    ),
    "gaussian_path": _square(
        fields.gaussian_path((1.0, -0.5), [[1.0, 0.6], [0.6, 0.5]], np.diag([0.5, 2.0])),
        0.0,
        1.0,
        2.0,
    ),
    # Of one component, since sympy simplifies for minutes at two: see test_generative.
    "mixture_path": Case(
        fields.mixture_path([0.3, 0.7], [-1.5, 1.0], [0.4, 0.6]), 0.1, 0.9, (-2.0,), (2.0,)
    ),
    "two_point_path": Case(fields.two_point_path(), 0.4, 0.9, (-1.5,), (1.5,)),
}
