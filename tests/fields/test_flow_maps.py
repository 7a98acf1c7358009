"""Closed-form flow maps against published theory numbers, an independent integrator and mpmath."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from meanfluid import fields
from tests.catalogue import CASES, integrated

CLOSED = [name for name, case in CASES.items() if case.field.exact_flow_map is not None]
SMOOTH = [name for name in CLOSED if CASES[name].field.divergence_free and name != "rankine"]


def exact(field, position, start, end):
    """The closed form for many positions and one window, or several ends of one position."""
    position = np.atleast_2d(np.asarray(position, dtype=float))
    end = np.broadcast_to(
        np.asarray(end, dtype=float), np.broadcast_shapes(np.shape(end), (len(position),))
    )
    position = np.broadcast_to(position, (len(end), field.dimension))
    return field.exact_flow_map(field.parameters, position, np.full(len(end), float(start)), end)


TURN = 2 * math.pi
GAUSS = fields.gaussian_vortex(TURN, 0.5)
ROTATION = fields.rotation(1.3)
LINEAR = fields.linear_flow([[0.3, 1.2], [-0.7, -0.3]], [0.1, -0.2])
CELLS = fields.taylor_green()
WAVE = fields.plane_wave(amplitude_x=0.3, wavenumber_x=2.0, frequency=1.5)

# Section key of the theory reference: field, position, start, end, end point (correct to rounding).
END_POINTS = {
    "A.phi_r_to_t": (
        fields.taylor_green(1.0, 1.0, 0.05), (1, 0.5), 0.3, 2.3,
        (2.4093380770314012216, 0.64779697395426000304),
    ),
    "A.phi_t_to_r": (
        fields.taylor_green(1.0, 1.0, 0.05), (1, 0.5), 2.3, 0.3,
        (0.41635357514888273104, 1.6413286388213601174),
    ),
    "B2.phi": (LINEAR, (1, 0.5), 0.0, 1.5, (1.17590822859175, -1.04348125947348)),
    "B3.gauss_phi_h=2": (GAUSS, (0.6, 0.2), 0, 2, (-0.246360278507471, -0.582500311737017)),
    "B3.LambOseen_phi": (
        fields.lamb_oseen(TURN, 0.01), (0.6, 0.2), 1, 5, (-0.575458037684841, -0.262389113463026),
    ),
    "B3.Rankine_phi_h=2": (
        fields.rankine(TURN, 0.5), (0.6, 0.2), 0, 2, (0.361982166210563, -0.518622127705238),
    ),
    "B3.moving_vortex_phi_h=2": (
        fields.moving_vortex(TURN, 0.5, 0.3, 0.1), (0.6, 0.2), 0, 2,
        (0.353639721492529, -0.382500311737017),
    ),
    "B4.TG_inner_phi_tau=5.0": (
        CELLS, (1.2, 1.0), 0, 5, (1.111908851930888074, 2.0766030876535733675),
    ),
    "B4.TG_outer_phi_tau=5.0": (
        CELLS, (0.3, 0.2), 0, 5, (3.041716179728397942, 0.62958897536296303217),
    ),
    "B4.TG_cell(1,0)_phi_tau=3.0": (
        CELLS, (4, 1), 0, 3, (4.8896224813500366188, 2.4379993123580977188),
    ),
    "B4.TG_cell(-1,-1)_phi_tau=3.0": (
        CELLS, (-1, -2.5), 0, 3, (-1.0933152889555568472, -0.60287685571247747729),
    ),
    "B4.separatrix x(2) from (1,0)": (CELLS, (1, 0), 0, 2, (2.6559113476839, 0.0)),
    "B4.decaying_TG A=1.5,k=2,nu=.03,(1.2,1.0),0->4": (
        fields.taylor_green(1.5, 2.0, 0.03), (1.2, 1.0), 0, 4,
        (1.2218454548121779973, 0.93464124981119448988),
    ),
    "B7.travelling phi(0.7,0->10) a=.3 k=2 w=1.5": (
        WAVE, (0.7, 0), 0, 10, (1.4300435228726341476, 0.0),
    ),
    "B7.standing phi(0.2, .1->3)": (
        fields.standing_wave(0.3, 2.0, 1.5), (0.2, 0), 0.1, 3, (-0.01983133850881137518, 0.0),
    ),
    "B7.standing phi(1.4, .1->3)": (
        fields.standing_wave(0.3, 2.0, 1.5), (1.4, 0), 0.1, 3, (1.621882651650418114, 0.0),
    ),
    "B12.Kirchhoff phi(0.7,0.4;1->9)": (
        fields.kirchhoff_ellipse(2.0, 1.0, 1.0), (0.7, 0.4), 1, 9,
        (-0.0408813966327713125, -0.700704592790145732),
    ),
}  # fmt: skip

# The same for displacement over duration, (end, start) for the mean labelled by the final position.
AVERAGE_VELOCITIES = {
    "A.U_initial": (
        fields.taylor_green(1.0, 1.0, 0.05), (1, 0.5), 0.3, 2.3,
        (0.70466903851570061081, 0.073898486977130001521),
    ),
    "A.u_final": (
        fields.taylor_green(1.0, 1.0, 0.05), (1, 0.5), 2.3, 0.3,
        (0.29182321242555863448, -0.57066431941068005869),
    ),
    "B1.U": (ROTATION, (0.8, -0.4), 0.2, 1.7, (-0.483040519386321, 0.860826736362407)),
    "B1.u": (ROTATION, (0.8, -0.4), 1.7, 0.2, (0.978485700721718, 0.130063626308387)),
    "B2.U": (LINEAR, (1, 0.5), 0.0, 1.5, (0.117272152394498, -1.02898750631566)),
    "B2.u": (LINEAR, (1, 0.5), 1.5, 0.0, (1.36582588742591, -0.528265435495768)),
    "B5.inertial U=u": (
        fields.inertial_oscillation(0.4, 1.1, 0.3, 0.05, -0.02), (0.7, 0.1), 0.5, 3.2,
        (-0.135701579558193, -0.213744959933389),
    ),
    "B7.travelling U(0.7,0,10)": (WAVE, (0.7, 0), 0, 10, (0.0730043522872634148, 0.0)),
    "B7.travelling u(0.7,0,10)": (WAVE, (0.7, 0), 10, 0, (0.0781587705662265695, 0.0)),
}  # fmt: skip


@pytest.mark.parametrize("key", END_POINTS)
def test_exact_flow_map_gives_the_end_points_of_the_theory(key):
    field, position, start, end, expected = END_POINTS[key]
    np.testing.assert_allclose(exact(field, position, start, end)[0], expected, rtol=0, atol=5e-14)


@pytest.mark.parametrize("key", AVERAGE_VELOCITIES)
def test_displacement_over_duration_gives_the_mean_velocities_of_the_theory(key):
    field, position, start, end, expected = AVERAGE_VELOCITIES[key]
    mean = (exact(field, position, start, end)[0] - position) / (end - start)
    np.testing.assert_allclose(mean, expected, rtol=0, atol=5e-14)


def gauss_mean(integrand, start, end, nodes=60):
    node, weight = np.polynomial.legendre.leggauss(nodes)
    return weight @ integrand((start + end) / 2 + (end - start) / 2 * node) / 2


@pytest.mark.parametrize(
    "field, position, start, end, expected",
    [
        (ROTATION, (0.8, -0.4), 0.2, 1.7, (0.662174412586467, 0.37156963029717)),  # B1 Mx
        (LINEAR, (1, 0.5), 0, 1.5, (1.31947114914725, -0.315474326958065)),  # B2.mean_position
        (  # A.mean_position_of_initial_point
            fields.taylor_green(1.0, 1.0, 0.05), (1, 0.5), 0.3, 2.3,
            (1.76530266984769655, 0.475386159436631876),
        ),
    ],
)  # fmt: skip
def test_mean_positions_of_the_theory(field, position, start, end, expected):
    mean = gauss_mean(lambda t: exact(field, position, start, t), start, end)
    np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-13)


def test_mean_cosines_along_a_cellular_orbit():
    """B4.Lmean cos x, cos y over tau=5 from (1.2,1.0) [initial]."""
    mean = gauss_mean(lambda t: np.cos(exact(CELLS, (1.2, 1.0), 0, t)), 0, 5)
    expected = (-0.226689574510462444, -0.0192597534836496465)
    np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-13)


def test_mean_velocity_indexed_at_an_inner_time():
    """A.u_indexed_at_1.0: the trajectory through the point at s = 1.0 within 0.3 to 2.3."""
    field = fields.taylor_green(1.0, 1.0, 0.05)
    before, after = exact(field, (1, 0.5), 1.0, [0.3, 2.3])
    expected = (0.66771250969926764967, -0.15847711551465430058)
    np.testing.assert_allclose((after - before) / 2.0, expected, rtol=0, atol=1e-14)


def test_propagator_of_linear_flow():
    """B2.expm(A h): columns are the images of the unit vectors."""
    free = fields.linear_flow([[0.3, 1.2], [-0.7, -0.3]])
    expected = [[0.602122604839625, 1.33478823583836], [-0.778626470905712, -0.0652715130795569]]
    np.testing.assert_allclose(exact(free, np.eye(2), 0, 1.5).T, expected, rtol=0, atol=1e-14)


def test_rotating_strain_is_an_ordered_exponential():
    """B2.rotating_strain_Phi, and B2.mistake: the exponential of the integral is wrong."""
    rate, frequency, start, end = 0.8, 0.5, 0.3, 2.1
    found = exact(fields.rotating_strain(rate, frequency), np.eye(2), start, end).T
    expected = [[2.55945402298026, 0.995544086586539], [2.29084605317681, 1.28177267966715]]
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-14)
    along, across = (
        rate * (f(2 * frequency * end) - f(2 * frequency * start)) / (2 * frequency)
        for f in (np.sin, lambda angle: -np.cos(angle))
    )
    unordered = expm(np.array([[along, across], [across, -along]]))
    assert np.linalg.norm(found - unordered) == pytest.approx(0.942484, abs=1e-6)


@pytest.mark.parametrize("rate, frequency", [(0.8, 0.8), (-0.8, 0.8), (0.8, 0.8 + 1e-9)])
def test_rotating_strain_passes_smoothly_through_resonance(rate, frequency):
    field, x = fields.rotating_strain(rate, frequency), [[0.7, -0.3], [0.1, 0.9]]
    np.testing.assert_allclose(
        exact(field, x, 0.3, 3.3), integrated(field, x, 0.3, 3.3), rtol=0, atol=1e-10
    )


@pytest.mark.parametrize(
    "field, start, end, angle",
    [
        (GAUSS, 0, 1, 1.99525870501336),  # B3.gauss_Omega
        (fields.rankine(TURN, 0.5), 0, 1, 2.5),  # B3.Rankine_Omega
        (fields.lamb_oseen(TURN, 0.01), 1, 5, 9.53083130284503),  # B3.LambOseen_angle
    ],
)
def test_vortices_turn_by_the_angle_of_the_theory(field, start, end, angle):
    x, y = exact(field, (0.6, 0.2), start, end)[0]
    turn = math.remainder(math.atan2(y, x) - math.atan2(0.2, 0.6) - angle, TURN)
    assert turn == pytest.approx(0, abs=2e-14)


@pytest.mark.parametrize("radius", [0.0, 1e-200, 1e-9, 1e-3, 0.2, 3.0, 40.0])
@pytest.mark.parametrize("viscosity", [1e-2, 1e-4])
def test_lamb_oseen_angle_agrees_with_mpmath_at_every_radius(radius, viscosity):
    """B3: theta = Gamma/(2 pi rho^2) ((t-r) - (F(t)-F(r))), F(s) = s exp(-a/s) - a E1(a/s)."""
    start, end = 0.01, 3.7
    with mpmath.workdps(60):
        nu = mpmath.mpf(viscosity)
        a = mpmath.mpf(radius) ** 2 / (4 * nu)
        if radius < 1e-100:
            angle = mpmath.log(mpmath.mpf(end) / mpmath.mpf(start)) / (4 * nu)
        else:
            rest = [
                s * mpmath.exp(-a / s) - a * mpmath.e1(a / s) for s in map(mpmath.mpf, (end, start))
            ]
            angle = (mpmath.mpf(end) - start - rest[0] + rest[1]) / mpmath.mpf(radius) ** 2
        expected = [float(mpmath.cos(angle) * radius), float(mpmath.sin(angle) * radius)]
        rounding = 4e-15 * max(1.0, float(angle)) * radius
    found = exact(fields.lamb_oseen(TURN, viscosity), (radius, 0.0), start, end)[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=rounding)


def cellular_orbit(x, y, travel):
    """Theory B4 in mpmath, for amplitude and wavenumber 1."""
    i, j = mpmath.floor(x / mpmath.pi), mpmath.floor(y / mpmath.pi)
    inner_x, inner_y = x - i * mpmath.pi, y - j * mpmath.pi
    c = mpmath.sin(inner_x) * mpmath.sin(inner_y)
    m, kappa = 1 - c * c, mpmath.sqrt(1 - c * c)
    amplitude = mpmath.atan2(
        mpmath.cos(inner_x) / kappa, -mpmath.cos(inner_y) * mpmath.sin(inner_x) / kappa
    )
    w = mpmath.ellipf(amplitude, m) + (-1) ** int(i + j) * travel
    sn, cn, dn = (mpmath.ellipfun(kind, w, m=m) for kind in ("sn", "cn", "dn"))
    return [
        float(i * mpmath.pi + mpmath.atan2(dn, kappa * sn)),
        float(j * mpmath.pi + mpmath.atan2(c / dn, -kappa * cn / dn)),
    ]


@pytest.mark.parametrize(
    "position, tolerance",
    [
        ((2.9, 1e-3), 2e-14),  # near a wall
        ((1.0, 1e-8), 2e-14),
        ((-4.2, 5.0), 2e-14),
        ((1.5707, 1.5708), 1e-15),  # near a centre
        ((1e-3, 2e-3), 1e-12),  # near a corner, where errors grow like exp(travel)
    ],
)
@pytest.mark.parametrize("travel", [-11.0, 7.3])
def test_cellular_orbits_agree_with_mpmath_near_walls_corners_and_centres(
    position, tolerance, travel
):
    with mpmath.workdps(40):
        expected = cellular_orbit(*map(mpmath.mpf, position), mpmath.mpf(travel))
    found = exact(CELLS, position, 0, travel)[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def test_cellular_orbit_closes_after_its_period():
    """B4.period_4K(m) for (1.2,1.0), and 2 pi about the centre."""
    period = 7.0687578624711566053
    ends = exact(CELLS, (1.2, 1.0), 0, [period, -period, 50 * period])
    np.testing.assert_allclose(ends, [(1.2, 1.0)] * 3, rtol=0, atol=1e-12)
    near_centre = exact(CELLS, (math.pi / 2 + 1e-9, math.pi / 2), 0, TURN)[0]
    assert near_centre[0] - math.pi / 2 == pytest.approx(1e-9, abs=1e-15)


def test_cellular_corners_and_centres_do_not_move():
    still = np.array([[0.0, 0.0], [math.pi / 2, math.pi / 2]])
    np.testing.assert_allclose(exact(CELLS, still, 0, 9.0), still, rtol=0, atol=3e-16)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    x=st.floats(-9, 9),
    y=st.floats(-9, 9),
    amplitude=st.floats(-2, 2),
    viscosity=st.sampled_from([0.0, 0.02, 0.3]),
    end=st.floats(-6, 6),
)
def test_cellular_orbits_keep_their_streamline_and_their_cell(x, y, amplitude, viscosity, end):
    field = fields.taylor_green(amplitude, 1.0, viscosity)
    moved = exact(field, (x, y), 0.0, end)[0]
    assert np.prod(np.sin(moved)) == pytest.approx(math.sin(x) * math.sin(y), abs=1e-14)
    np.testing.assert_allclose(
        np.clip(moved, math.pi * np.floor(np.array([x, y]) / math.pi),
                math.pi * (np.floor(np.array([x, y]) / math.pi) + 1)),
        moved, rtol=0, atol=1e-14,
    )  # fmt: skip


@pytest.mark.parametrize(
    "amplitude, wavenumber, frequency, drift",
    [
        (0.3, 2.0, 1.5, 0.062613645756623999),  # B7.travelling drift (w-Lam)/k
        (0.4, 1.0, 1.0, 0.083484861008832),  # E3.1-D wave c=1
        (0.2, 1.0, 1.0, 0.02020410288672876),
        (0.1, 1.0, 1.0, 0.005012562893380045),
        (0.05, 1.0, 1.0, 0.001250782228091054),
    ],
)
def test_longitudinal_wave_drifts_over_a_lagrangian_period(amplitude, wavenumber, frequency, drift):
    field = fields.plane_wave(amplitude, 0.0, wavenumber, 0.0, frequency)
    period = TURN / math.sqrt(frequency**2 - (wavenumber * amplitude) ** 2)
    moved = exact(field, [[0.1, 0.0], [2.0, 0.0]], 0.4, 0.4 + period)
    np.testing.assert_allclose((moved[:, 0] - [0.1, 2.0]) / period, drift, rtol=0, atol=3e-15)


def up_to(size):
    """Zero, or a number whose square is far from underflow."""
    return st.just(0.0) | st.floats(1e-9, size) | st.floats(-size, -1e-9)


waves = st.fixed_dictionaries(
    {
        "amplitude_x": up_to(1),
        "amplitude_y": up_to(1),
        "wavenumber_x": up_to(2),
        "wavenumber_y": up_to(2),
        "frequency": up_to(2),
        "current_x": up_to(1),
        "current_y": st.sampled_from([0.0, 0.5]),
    }
)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(wave=waves, end=st.floats(-4, 4))
def test_plane_waves_of_every_kind_carry_particles_as_the_integrator_does(wave, end):
    field, x = fields.plane_wave(**wave), [[0.3, -0.8], [1.9, 0.2]]
    np.testing.assert_allclose(
        exact(field, x, 0.5, end), integrated(field, x, 0.5, end), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("tilt", [0.0, 1e-16, 1e-12, 1e-8, 1e-4])
def test_plane_wave_has_no_loss_of_digits_towards_transverse(tilt):
    """To first order in k.a the motion is an oscillation plus a second-order drift."""
    k, a, f, h = 2.0, 0.5, 1.5, 40.0
    field = fields.plane_wave(a * tilt, a, k, 0.0, f)
    y = exact(field, (0.7, 0.0), 0, h)[0, 1]
    q, theta = k * a * tilt, k * 0.7
    oscillation = (math.sin(theta) - math.sin(theta - f * h)) / f
    # theta' = q cos(theta) - f to first order in q: theta = theta0 - f t + q * oscillation(t)
    shift = gauss_mean(
        lambda t: -np.sin(theta - f * t) * (math.sin(theta) - np.sin(theta - f * t)) / f, 0, h, 200
    )
    assert y == pytest.approx(a * (oscillation + q * h * shift), abs=1e-13 + 1e3 * q * q)


@pytest.mark.parametrize("frequency", [0.6, 0.6 + 1e-12, 0.6 - 1e-12, -0.6])
def test_plane_wave_on_the_edge_of_trapping(frequency):
    """At k.a = omega the phase takes the form cot(theta/2) = cot(theta0/2) - omega t."""
    field = fields.plane_wave(0.3, 0.0, 2.0, 0.0, frequency)
    ends = exact(field, (0.7, 0.0), 0, [1.0, 9.0, -5.0])
    for end, found in zip((1.0, 9.0, -5.0), ends, strict=True):
        np.testing.assert_allclose(
            found, integrated(field, (0.7, 0.0), 0, end)[0], rtol=0, atol=1e-10
        )


def gerstner_orbit(alpha, beta, t, k=1.0, g=9.81):
    """Theory B8: position and velocity of the particle with labels alpha, beta."""
    omega, size = math.sqrt(g * k), np.exp(k * beta) / k
    phase = k * alpha - omega * t
    position = np.stack([alpha - size * np.sin(phase), beta + size * np.cos(phase)], axis=-1)
    velocity = omega * size[..., None] * np.stack([np.cos(phase), np.sin(phase)], axis=-1)
    return position, velocity


def test_gerstner_labels_of_the_theory():
    position, velocity = gerstner_orbit(np.array([0.4]), np.array([-0.5]), 0.7)
    # B8.Gerstner position (alpha=.4,beta=-.5,t=.7), B8.Gerstner velocity there
    np.testing.assert_allclose(
        position, [[0.991690113684550656, -0.633350105134588634]], rtol=1e-15
    )
    expected = [[-0.417664791180165569, -1.85322784354765128]]
    np.testing.assert_allclose(velocity, expected, rtol=1e-14)
    found = fields.gerstner_wave().velocity(0.7, position)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("wavenumber", [1.0, 3.0])
def test_gerstner_velocity_and_flow_map_hold_up_to_near_the_cusps(wavenumber):
    """k beta from -0.05 to -8; 0.095 is the Jacobian at -0.05, which rounding is divided by."""
    rng, k = np.random.default_rng(2), wavenumber
    alpha = rng.uniform(-4, 4, 4000)
    beta = -rng.choice(np.geomspace(0.05, 8, 100), 4000) / k
    field, start, end = fields.gerstner_wave(k), 0.7, 5.2
    (x_0, v_0), (x_1, _) = (gerstner_orbit(alpha, beta, t, k) for t in (start, end))
    np.testing.assert_allclose(field.velocity(start, x_0), v_0, rtol=0, atol=2e-13)
    np.testing.assert_allclose(exact(field, x_0, start, end), x_1, rtol=0, atol=5e-14)


@pytest.mark.parametrize("name", CLOSED)
def test_exact_flow_map_agrees_with_an_integrator_both_ways(name):
    """DOP853 at rtol 1e-13; its own error over these windows is up to about 2e-11."""
    case = CASES[name]
    x = case.position(6, seed=11)
    for start, end in ((case.start, case.end), (case.end, case.start)):
        np.testing.assert_allclose(
            exact(case.field, x, start, end), integrated(case.field, x, start, end),
            rtol=0, atol=1e-10,
        )  # fmt: skip


@pytest.mark.parametrize("name", CLOSED)
def test_exact_flow_maps_compose_return_and_start_at_the_identity(name):
    case = CASES[name]
    x, middle = case.position(50, seed=12), case.start + 0.37 * (case.end - case.start)
    half_way = exact(case.field, x, case.start, middle)
    whole = exact(case.field, x, case.start, case.end)
    tolerance = 1e-12 * max(1.0, abs(whole).max())
    composed = exact(case.field, half_way, middle, case.end)
    np.testing.assert_allclose(composed, whole, rtol=0, atol=tolerance)
    back = exact(case.field, whole, case.end, case.start)
    np.testing.assert_allclose(back, x, rtol=0, atol=tolerance)
    still = exact(case.field, x, case.start, case.start)
    np.testing.assert_allclose(still, x, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", CLOSED)
def test_exact_flow_maps_take_a_window_per_particle(name):
    case = CASES[name]
    x = case.position(3, seed=13)
    start = np.array([case.start, case.end, case.start])
    end = np.array([case.end, case.start, (case.start + case.end) / 2])
    together = case.field.exact_flow_map(case.field.parameters, x, start, end)
    apart = [exact(case.field, x[i], start[i], end[i])[0] for i in range(3)]
    assert together.shape == (3, case.field.dimension)
    np.testing.assert_allclose(together, apart, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", SMOOTH)
def test_exact_flow_maps_of_incompressible_fields_keep_areas(name):
    """Determinant of the gradient by fourth-order differences, h^4 and rounding below 1e-7."""
    case, h = CASES[name], 1e-4
    x, end = case.position(8, seed=14), case.start + 0.3 * (case.end - case.start)
    columns = [
        sum(
            w * (exact(case.field, x + s * h * e, case.start, end)
                 - exact(case.field, x - s * h * e, case.start, end))
            for s, w in ((1, 2 / 3), (2, -1 / 12))
        ) / h
        for e in np.eye(2)
    ]  # fmt: skip
    np.testing.assert_allclose(np.linalg.det(np.stack(columns, -1)), 1, rtol=0, atol=1e-7)
