"""The catalogue: formulas, conventions, known facts, refusals, end points without closed form."""

import math
import pickle

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from meanfluid import fields
from tests.catalogue import CASES, integrated

TURN = 2 * math.pi
OPEN = [name for name, case in CASES.items() if case.field.exact_flow_map is None]


def gradient(field, t, x, h=1e-3):
    """Velocity gradient (n, i, j) by central differences of eighth order, exact to about 1e-11."""
    weights = (4 / 5, -1 / 5, 4 / 105, -1 / 280)
    columns = [
        sum(
            w * (field.velocity(t, x + s * h * e) - field.velocity(t, x - s * h * e))
            for s, w in enumerate(weights, start=1)
        )
        / h
        for e in np.eye(field.dimension)
    ]
    return np.stack(columns, axis=-1)


def times_and_positions(name, n=12):
    case = CASES[name]
    times = np.random.default_rng(21).uniform(case.start, case.end, n)
    return case.field, times, case.position(n, seed=22)


@pytest.mark.parametrize("name", CASES)
def test_divergence_is_what_the_field_says(name):
    field, t, x = times_and_positions(name)
    jacobian = gradient(field, t, x)
    divergence = np.trace(jacobian, axis1=1, axis2=2)
    scale = abs(jacobian).max()
    if field.divergence_free:
        np.testing.assert_allclose(divergence, 0, atol=1e-9 * scale)
    else:
        assert abs(divergence).max() > 1e-2 * scale


@pytest.mark.parametrize("name", CASES)
def test_field_is_steady_exactly_if_it_says_so(name):
    field, t, x = times_and_positions(name)
    change = abs(field.velocity(t, x) - field.velocity(t[::-1], x)).max()
    assert (change == 0) if field.steady else (change > 1e-3), change


@pytest.mark.parametrize("name", CASES)
def test_velocity_repeats_itself_on_periodic_axes(name):
    field, t, x = times_and_positions(name)
    v = field.velocity(t, x)
    for k, axis in enumerate(field.domain):
        if axis.boundary == "periodic":
            shift = 3 * (axis.upper - axis.lower) * np.eye(field.dimension)[k]
            difference = abs(field.velocity(t, x + shift) - v).max()
            assert difference < 1e-12 * max(1.0, abs(v).max())


@pytest.mark.parametrize("name", CASES)
def test_velocity_is_finite_in_the_domain_and_in_the_box(name):
    field, t, x = times_and_positions(name, 200)
    lower, upper = np.array([(axis.lower, axis.upper) for axis in field.domain]).T
    inside = np.random.default_rng(23).uniform(lower, upper, (200, field.dimension))
    assert np.isfinite(field.velocity(t, x)).all()
    assert np.isfinite(field.velocity(t, inside)).all()


@pytest.mark.parametrize("name", CASES)
def test_every_field_is_documented_named_and_can_be_sent_to_another_process(name):
    field = CASES[name].field
    maker = getattr(fields, field.name)
    assert field.source and "Parameters\n    ----------" in maker.__doc__
    assert type(field.parameters).__doc__
    again = pickle.loads(pickle.dumps(field))
    x = CASES[name].position(3, seed=1)
    np.testing.assert_array_equal(again.velocity(1.0, x), field.velocity(1.0, x))


@pytest.mark.parametrize(
    "field, steady, divergence_free",
    [
        (fields.taylor_green(viscosity=0.1), False, True),
        (fields.moving_vortex(velocity_x=0.0, velocity_y=0.0), True, True),
        (fields.double_gyre(perturbation=0.0), True, True),
        (fields.plane_wave(frequency=0.0), True, False),
        (fields.plane_wave(0.2, -0.1, 1.0, 2.0), False, True),
        (fields.linear_flow([[1.0, 2.0], [0.5, -1.0]]), True, True),
        (fields.linear_flow([[1.0, 2.0], [0.5, 0.0]]), True, False),
        (fields.rotating_strain(frequency=0.0), True, True),
        (fields.kirchhoff_ellipse(1.0, 1.0), True, True),
        (fields.bickley_jet(phase_speeds=(0.0, 0.0, 0.0)), True, True),
        (fields.inertial_oscillation(frequency=0.0), True, True),
    ],
)
def test_known_facts_follow_the_parameters(field, steady, divergence_free):
    assert (field.steady, field.divergence_free) == (steady, divergence_free)


@pytest.mark.parametrize(
    "field, time, peak",
    [
        (fields.gaussian_vortex(TURN, 0.5), 0.0, 1 / 0.5**2),
        (fields.moving_vortex(TURN, 0.5, 0.0, 0.0), 3.0, 1 / 0.5**2),
        (fields.rankine(TURN, 0.5), 0.0, 1 / 0.5**2),
        (fields.lamb_oseen(TURN, 0.01), 4.0, 1 / (4 * 0.01 * 4)),
    ],
)
@pytest.mark.parametrize("radius", [1e-200, 1e-12, 1e-8])
def test_vortex_centres_are_exact(field, time, peak, radius):
    """At r -> 0 the fluid turns at Gamma/(2 pi r_c^2), with no epsilon; B3."""
    v = field.velocity(time, [[0.0, 0.0], [radius, 0.0]])
    np.testing.assert_array_equal(v[0], 0)
    assert v[1, 1] == pytest.approx(peak * radius, rel=1e-14)


def test_lamb_oseen_vorticity_is_the_heat_kernel():
    field, t, x = times_and_positions("lamb_oseen")
    found = gradient(field, t, x)
    nu_t = 0.01 * t
    expected = TURN / (4 * math.pi * nu_t) * np.exp(-(x**2).sum(axis=1) / (4 * nu_t))
    np.testing.assert_allclose(found[:, 1, 0] - found[:, 0, 1], expected, rtol=0, atol=2e-7)


def test_lamb_oseen_pair_turns_as_point_vortices_while_its_cores_are_small():
    """Each centre moves at Gamma/(2 pi d), the velocity that the other induces there."""
    circulation, d, t = 1.7, 2.0, 3.0
    field = fields.lamb_oseen_pair(circulation, 1e-3, d, age=1.0)
    angle = circulation / (math.pi * d**2) * t
    along = np.array([math.cos(angle), math.sin(angle)])
    v = field.velocity(t, [d / 2 * along, -d / 2 * along])
    expected = circulation / (TURN * d) * np.array([-along[1], along[0]])
    np.testing.assert_allclose(v, [expected, -expected], rtol=0, atol=1e-14)


def test_lamb_oseen_pair_is_two_lamb_oseen_vortices():
    pair, one = fields.lamb_oseen_pair(1.0, 0.02, 1.5), fields.lamb_oseen(1.0, 0.02)
    t, x = 2.0, np.random.default_rng(3).uniform(-2, 2, (9, 2))
    angle = t / (math.pi * 1.5**2)
    centre = 0.75 * np.array([math.cos(angle), math.sin(angle)])
    expected = one.velocity(t, x - centre) + one.velocity(t, x + centre)
    np.testing.assert_allclose(pair.velocity(t, x), expected, rtol=1e-13, atol=1e-15)


def test_time_ranges_exclude_the_birth_of_viscous_vortices():
    assert 0 < fields.lamb_oseen().time_range[0] < 1e-300
    assert 0 < fields.lamb_oseen_pair().time_range[0] < 1e-300
    start, end = fields.lamb_oseen_pair(age=2.0).time_range
    assert -2 < start < -2 + 1e-15 and end == math.inf


def test_dipole_has_a_jet_on_its_axis_between_two_stagnation_points():
    """B14: on the axis between them both vortices push along x; stagnation at +-sqrt(3) d/2."""
    d, circulation, t = 1.3, 2.1, 0.9
    field, speed = fields.vortex_dipole(circulation, d), circulation / (TURN * d)
    stagnation = speed * t + math.sqrt(3) / 2 * d
    v = field.velocity(t, [[speed * t, 0.0], [stagnation, 0.0]])
    np.testing.assert_allclose(v, [[4 * speed, 0], [speed, 0]], rtol=0, atol=1e-15)


def test_abc_flow_is_its_own_vorticity():
    field, t, x = times_and_positions("abc_flow")
    g = gradient(field, t, x)
    curl = np.stack(
        [g[:, 2, 1] - g[:, 1, 2], g[:, 0, 2] - g[:, 2, 0], g[:, 1, 0] - g[:, 0, 1]], axis=-1
    )
    np.testing.assert_allclose(curl, field.velocity(t, x), rtol=0, atol=1e-9)


def test_stuart_vortices_solve_euler():
    """B13: with v = (psi_y, -psi_x) the vorticity is -exp(-2 psi)."""
    field, t, x = times_and_positions("stuart_vortices")
    g = gradient(field, t, x)
    c = 1.5
    psi = np.log(c * np.cosh(x[:, 1]) + math.sqrt(c * c - 1) * np.cos(x[:, 0]))
    np.testing.assert_allclose(g[:, 1, 0] - g[:, 0, 1], -np.exp(-2 * psi), rtol=0, atol=1e-9)


def test_stuart_vortices_without_concentration_are_a_shear_layer():
    v = fields.stuart_vortices(1.0).velocity(0.0, [[0.3, -0.7], [2.0, 400.0]])
    np.testing.assert_allclose(v, [[math.tanh(-0.7), 0], [1, 0]], rtol=1e-15, atol=0)


def test_bickley_jet_has_the_parameters_of_the_theory():
    p = fields.bickley_jet().parameters
    assert p.jet_speed == pytest.approx(62.66 * 86400 / 1e6, rel=1e-15)  # B11.U0 Mm/day
    assert p.speed_1 / p.jet_speed == pytest.approx(0.144566597760054, rel=1e-14)  # B11.c1/U0
    axis = fields.bickley_jet().domain[0]
    assert axis.upper - axis.lower == pytest.approx(math.pi * 6.371)


def test_bickley_jet_is_the_curl_of_its_streamfunction():
    """B11: u = -psi_y, v = psi_x, differentiated by the same stencil in both directions."""
    field, t, x = times_and_positions("bickley_jet")
    p, h = field.parameters, 1e-3

    def psi(at):
        k = 2 * np.arange(1, 4)[:, None] / p.radius
        amplitude, speed = (np.array(p[i : i + 3])[:, None] for i in (3, 6))
        wave = (amplitude * np.cos(k * (at[:, 0] - speed * t))).sum(0)
        scaled = at[:, 1] / p.jet_width
        return p.jet_speed * p.jet_width * (wave / np.cosh(scaled) ** 2 - np.tanh(scaled))

    psi_x, psi_y = (
        sum(w * (psi(x + s * h * e) - psi(x - s * h * e)) for s, w in ((1, 2 / 3), (2, -1 / 12)))
        / h
        for e in np.eye(2)
    )
    np.testing.assert_allclose(field.velocity(t, x), np.stack([-psi_y, psi_x], -1), atol=1e-9)


def test_kirchhoff_ellipse_turns_at_its_rate_and_carries_its_boundary():
    """B12.Kirchhoff Omega; the normal velocity of fluid and boundary agree."""
    a, b, rate, t = 2.0, 1.0, 0.222222222222222222, 3.1
    field = fields.kirchhoff_ellipse(a, b, 1.0)
    g = gradient(field, t, np.array([[0.3, 0.2]]))[0]
    assert g[1, 0] - g[0, 1] == pytest.approx(1.0, abs=1e-10)
    angle = np.linspace(0, TURN, 9)
    c, s = math.cos(rate * t), math.sin(rate * t)
    turn = np.array([[c, -s], [s, c]])
    edge = np.stack([a * np.cos(angle), b * np.sin(angle)], -1) @ turn.T
    normal = np.stack([b * np.cos(angle), a * np.sin(angle)], -1) @ turn.T
    turning = rate * np.stack([-edge[:, 1], edge[:, 0]], -1)
    miss = ((field.velocity(t, edge) - turning) * normal).sum(axis=1)
    np.testing.assert_allclose(miss, 0, atol=1e-14)


def test_deep_water_wave_is_irrotational_and_decays_with_depth():
    field, t, x = times_and_positions("deep_water_wave")
    g = gradient(field, t, x)
    np.testing.assert_allclose(g[:, 1, 0], g[:, 0, 1], rtol=0, atol=1e-9)
    speed = np.linalg.norm(field.velocity(t, x), axis=1)
    np.testing.assert_allclose(speed, 0.1 * math.sqrt(9.81) * np.exp(x[:, 1]), rtol=1e-13)


def test_gerstner_vorticity_and_eulerian_mean():
    """B8: vorticity at the labels (0.4, -0.5), t = 0.7; mean of u at z = -1.5 over a period."""
    field = fields.gerstner_wave(1.0, 9.81)
    x = np.array([[0.991690113684550656, -0.633350105134588634]])
    g = gradient(field, 0.7, x)[0]
    assert g[1, 0] - g[0, 1] == pytest.approx(3.6456091204573, abs=1e-8)
    t = np.arange(64) / 64 * TURN / math.sqrt(9.81)
    mean = field.velocity(t, np.full((64, 2), (0.0, -1.5)))[:, 0].mean()
    assert mean == pytest.approx(-0.17479753094157, abs=1e-13)
    leading = -math.sqrt(9.81) * math.exp(-3.0)
    assert leading == pytest.approx(-0.15593767618218, abs=1e-14)
    assert mean < leading


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: fields.gaussian_vortex(core_radius=0.0), "core_radius must be positive, got 0.0"),
        (lambda: fields.rankine(core_radius=-1.0), "core_radius must be positive, got -1.0"),
        (
            lambda: fields.moving_vortex(core_radius=math.nan),
            "core_radius must be positive, got nan",
        ),
        (lambda: fields.lamb_oseen(viscosity=0), "viscosity must be positive, got 0"),
        (lambda: fields.taylor_green(wavenumber=0), "wavenumber must be positive, got 0"),
        (lambda: fields.taylor_green(viscosity=-1), "viscosity must not be negative, got -1"),
        (lambda: fields.standing_wave(wavenumber=-2.0), "wavenumber must be positive, got -2.0"),
        (lambda: fields.deep_water_wave(gravity=0.0), "gravity must be positive, got 0.0"),
        (lambda: fields.gerstner_wave(wavenumber=0.0), "wavenumber must be positive, got 0.0"),
        (lambda: fields.stuart_vortices(0.9), "concentration must be at least 1, got 0.9"),
        (lambda: fields.vortex_dipole(separation=0.0), "separation must be positive, got 0.0"),
        (lambda: fields.lamb_oseen_pair(age=-1.0), r"age must not be negative, got -1.0"),
        (lambda: fields.kirchhoff_ellipse(1.0, 0.0), "semi_axis_y must be positive, got 0.0"),
        (
            lambda: fields.bickley_jet(amplitudes=(1.0, 2.0)),
            r"three entries each, got \(1.0, 2.0\)",
        ),
        (lambda: fields.linear_flow([1.0, 2.0]), r"matrix must have shape \(2, 2\).*got \(2,\)"),
        (lambda: fields.linear_flow(np.eye(2), [1.0]), r"offset \(2,\).*and \(1,\)"),
        (lambda: fields.rotation(math.inf), "parameters must be finite"),
    ],
)
def test_impossible_parameters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# Fields without a closed form: end points of the theory, sections B9 to B14.
REFERENCE = {
    "B9.double_gyre (0.5,0.5) 0->5": (
        fields.double_gyre(), (0.5, 0.5), 5, (0.840893647781605429, 0.33769612064713241),
    ),
    "B9.double_gyre (0.5,0.5) 0->20": (
        fields.double_gyre(), (0.5, 0.5), 20, (0.84219089612588277, 0.679084215199541742),
    ),
    "B9.double_gyre (1.0,0.25) 0->5": (
        fields.double_gyre(), (1.0, 0.25), 5, (0.14014753239340675, 0.401541987042118265),
    ),
    "B9.double_gyre (1.0,0.25) 0->20": (
        fields.double_gyre(), (1.0, 0.25), 20, (1.70600517650125844, 0.0841036115930426597),
    ),
    "B9.double_gyre (1.3,0.8) 0->5": (
        fields.double_gyre(), (1.3, 0.8), 5, (0.986650001470003653, 0.0141870484299425288),
    ),
    "B9.double_gyre (1.3,0.8) 0->20": (
        fields.double_gyre(), (1.3, 0.8), 20, (1.01011334749404534, 0.988220440235210016),
    ),
    "B10.ABC (1.0,2.0,3.0) 0->10": (
        fields.abc_flow(), (1, 2, 3), 10,
        (-0.478969823209552153, 1.02773769126098239, 23.5954402690551891),
    ),
    "B10.ABC (0.1,0.2,0.3) 0->10": (
        fields.abc_flow(), (0.1, 0.2, 0.3), 10,
        (-4.10013156353462141, 1.16131207341493416, -2.92264543855428356),
    ),
    "B11.Bickley (0.0,0.5) 0->10 day": (
        fields.bickley_jet(), (0, 0.5), 10, (27.4949798113456356, -2.38318915610309892),
    ),
    "B11.Bickley (5.0,-2.0) 0->10 day": (
        fields.bickley_jet(), (5, -2), 10, (34.442960291222643, -2.06354885824349044),
    ),
    "B13.Stuart (2.5,0.2) C=1.5 0->10": (
        fields.stuart_vortices(1.5), (2.5, 0.2), 10, (3.25723166436804947, 0.563997492546401839),
    ),
    "B13.Stuart (1.0,1.5) C=1.5 0->10": (
        fields.stuart_vortices(1.5), (1, 1.5), 10, (10.3417042816778703, 1.83373000945960672),
    ),
    "B14.dipole axis lab x(0.6) from 0.2": (
        fields.vortex_dipole(TURN, 1.0), (0.2, 0), 0.6, (1.32428434599254439, 0.0),
    ),
    "B14.dipole tracer (0.4,0.3) 0->2": (
        fields.vortex_dipole(TURN, 1.0), (0.4, 0.3), 2, (1.74894010841783957, 0.177897696078207323),
    ),
}  # fmt: skip


@pytest.mark.parametrize("key", REFERENCE)
def test_fields_without_a_closed_form_have_the_conventions_of_the_theory(key):
    field, position, end, expected = REFERENCE[key]
    found = integrated(field, position, 0, end)[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


def test_deep_water_drift_over_a_lagrangian_period():
    """B8.deepwater T_L, exact drift and Lagrangian-mean height; the mean height rides along."""
    field, period = fields.deep_water_wave(0.1, 1.0, 9.81), 2.01775026476093553

    def rate(t, state):
        return [*field.velocity(t, state[None, :2])[0], state[1]]

    path = solve_ivp(rate, (0, period), [0.0, -0.2, 0.0], method="DOP853", rtol=1e-13, atol=1e-15)
    x, z, area = path.y[:, -1]
    assert x / period == pytest.approx(0.0181360697710643324, abs=1e-11)
    assert z == pytest.approx(-0.2, abs=1e-11)
    assert area / period == pytest.approx(-0.276082673862021464, abs=1e-11)


@pytest.mark.parametrize("name", OPEN)
def test_fields_without_a_closed_form_can_be_traced_there_and_back(name):
    """The boxes and windows of the catalogue suit an integrator: no singularity, mild chaos."""
    case = CASES[name]
    x = case.position(4, seed=15)
    there = integrated(case.field, x, case.start, case.end)
    back = integrated(case.field, there, case.end, case.start)
    np.testing.assert_allclose(back, x, rtol=0, atol=1e-8)
