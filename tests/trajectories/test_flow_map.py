"""Flow maps and average velocities: published numbers, closed forms, shapes."""

import math

import numpy as np
import pytest

from meanfluid import average_velocity, dop853, flow_map, trajectories, vern7
from meanfluid.fields import (
    abc_flow,
    bickley_jet,
    deep_water_wave,
    double_gyre,
    gaussian_vortex,
    gerstner_wave,
    inertial_oscillation,
    kirchhoff_ellipse,
    lamb_oseen,
    linear_flow,
    moving_vortex,
    plane_wave,
    rankine,
    rotating_strain,
    rotation,
    shear,
    standing_wave,
    strain,
    stuart_vortices,
    taylor_green,
    vortex_dipole,
)
from tests.catalogue import CASES
from tests.trajectories.own_fields import (
    TIGHT,
    flow_of,
    mean_position,
    place,
    turned,
    unsteady_rotation,
)

CLOSED = [name for name in CASES if CASES[name].field.exact_flow_map is not None]
TURN = 2 * math.pi

GYRE, CELLS, DECAYING = double_gyre(), taylor_green(), taylor_green(1.0, 1.0, 0.05)
ABC, JET, EYES, DIPOLE = abc_flow(), bickley_jet(), stuart_vortices(), vortex_dipole()
LINEAR = linear_flow([[0.3, 1.2], [-0.7, -0.3]], [0.1, -0.2])
WAVE = plane_wave(amplitude_x=0.3, wavenumber_x=2.0, frequency=1.5)

# Section of the theory reference: field, start, end, from, to; correct to the digits given.
END_POINTS = {
    "A9 forwards": (DECAYING, 0.3, 2.3, (1, 0.5), (2.4093380770314012216, 0.64779697395426000304)),
    "A9 backwards": (DECAYING, 2.3, 0.3, (1, 0.5), (0.41635357514888273104, 1.6413286388213601174)),
    "B2 linear": (LINEAR, 0, 1.5, (1, 0.5), (1.17590822859175, -1.04348125947348)),
    "B2 rotating strain, first column": (
        rotating_strain(0.8, 0.5), 0.3, 2.1, (1, 0), (2.55945402298026, 2.29084605317681),
    ),
    "B2 rotating strain, second column": (
        rotating_strain(0.8, 0.5), 0.3, 2.1, (0, 1), (0.995544086586539, 1.28177267966715),
    ),
    "B3 Gaussian": (
        gaussian_vortex(TURN, 0.5), 0, 2, (0.6, 0.2), (-0.246360278507471, -0.582500311737017),
    ),
    "B3 Lamb-Oseen": (
        lamb_oseen(TURN, 0.01), 1, 5, (0.6, 0.2), (-0.575458037684841, -0.262389113463026),
    ),
    "B3 Rankine": (rankine(TURN, 0.5), 0, 2, (0.6, 0.2), (0.361982166210563, -0.518622127705238)),
    "B3 moving": (
        moving_vortex(TURN, 0.5, 0.3, 0.1), 0, 2, (0.6, 0.2),
        (0.353639721492529, -0.382500311737017),
    ),
    "B4 inner": (CELLS, 0, 5, (1.2, 1.0), (1.111908851930888074, 2.0766030876535733675)),
    "B4 outer": (CELLS, 0, 5, (0.3, 0.2), (3.041716179728397942, 0.62958897536296303217)),
    "B4 cell (1,0)": (CELLS, 0, 3, (4, 1), (4.8896224813500366188, 2.4379993123580977188)),
    "B4 cell (-1,-1)": (
        CELLS, 0, 3, (-1, -2.5), (-1.0933152889555568472, -0.60287685571247747729),
    ),
    "B4 separatrix": (CELLS, 0, 2, (1, 0), (2.6559113476839, 0.0)),
    "B4 period": (CELLS, 0, 7.0687578624711566053, (1.2, 1.0), (1.2, 1.0)),
    "B4 decaying": (
        taylor_green(1.5, 2.0, 0.03), 0, 4, (1.2, 1.0),
        (1.2218454548121779973, 0.93464124981119448988),
    ),
    "B7 travelling": (WAVE, 0, 10, (0.7, 0), (1.4300435228726341476, 0.0)),
    "B7 standing 0.2": (standing_wave(), 0.1, 3, (0.2, 0), (-0.01983133850881137518, 0.0)),
    "B7 standing 1.4": (standing_wave(), 0.1, 3, (1.4, 0), (1.621882651650418114, 0.0)),
    "B9 T=5 (0.5,0.5)": (GYRE, 0, 5, (0.5, 0.5), (0.840893647781605429, 0.33769612064713241)),
    "B9 T=20 (0.5,0.5)": (GYRE, 0, 20, (0.5, 0.5), (0.84219089612588277, 0.679084215199541742)),
    "B9 T=5 (1,0.25)": (GYRE, 0, 5, (1.0, 0.25), (0.14014753239340675, 0.401541987042118265)),
    "B9 T=20 (1,0.25)": (GYRE, 0, 20, (1.0, 0.25), (1.70600517650125844, 0.0841036115930426597)),
    "B9 T=5 (1.3,0.8)": (GYRE, 0, 5, (1.3, 0.8), (0.986650001470003653, 0.0141870484299425288)),
    "B9 T=20 (1.3,0.8)": (GYRE, 0, 20, (1.3, 0.8), (1.01011334749404534, 0.988220440235210016)),
    "B10 (1,2,3)": (
        ABC, 0, 10, (1, 2, 3), (-0.478969823209552153, 1.02773769126098239, 23.5954402690551891),
    ),
    "B10 (0.1,0.2,0.3)": (
        ABC, 0, 10, (0.1, 0.2, 0.3),
        (-4.10013156353462141, 1.16131207341493416, -2.92264543855428356),
    ),
    "B11 (0,0.5)": (JET, 0, 10, (0.0, 0.5), (27.4949798113456356, -2.38318915610309892)),
    "B11 (5,-2)": (JET, 0, 10, (5.0, -2.0), (34.442960291222643, -2.06354885824349044)),
    "B12": (
        kirchhoff_ellipse(2.0, 1.0, 1.0), 1, 9, (0.7, 0.4),
        (-0.0408813966327713125, -0.700704592790145732),
    ),
    "B13 (2.5,0.2)": (EYES, 0, 10, (2.5, 0.2), (3.25723166436804947, 0.563997492546401839)),
    "B13 (1,1.5)": (EYES, 0, 10, (1.0, 1.5), (10.3417042816778703, 1.83373000945960672)),
    "B14 axis": (DIPOLE, 0, 0.6, (0.2, 0.0), (1.32428434599254439, 0.0)),
    "B14 tracer": (DIPOLE, 0, 2, (0.4, 0.3), (1.74894010841783957, 0.177897696078207323)),
}  # fmt: skip

# Section: field, position, start, end, label, mean velocity.
AVERAGE_VELOCITIES = {
    "A9 initial": (
        DECAYING, (1, 0.5), 0.3, 2.3, "initial", (0.70466903851570061081, 0.073898486977130001521),
    ),
    "A9 final": (
        DECAYING, (1, 0.5), 0.3, 2.3, "final", (0.29182321242555863448, -0.57066431941068005869),
    ),
    "A9 indexed at 1.0": (
        DECAYING, (1, 0.5), 0.3, 2.3, 1.0, (0.66771250969926764967, -0.15847711551465430058),
    ),
    "A9 indexed at mid time 1.3": (
        DECAYING, (1, 0.5), 0.3, 2.3, 1.3, (0.5986991027117099, -0.2578789010595215),
    ),
    "B1 initial": (
        rotation(1.3), (0.8, -0.4), 0.2, 1.7, "initial", (-0.483040519386321, 0.860826736362407),
    ),
    "B1 final": (
        rotation(1.3), (0.8, -0.4), 0.2, 1.7, "final", (0.978485700721718, 0.130063626308387),
    ),
    "B2 initial": (LINEAR, (1, 0.5), 0, 1.5, "initial", (0.117272152394498, -1.02898750631566)),
    "B2 final": (LINEAR, (1, 0.5), 0, 1.5, "final", (1.36582588742591, -0.528265435495768)),
    "B5": (
        inertial_oscillation(0.4, 1.1, 0.3, 0.05, -0.02), (0.7, 0.1), 0.5, 3.2, "final",
        (-0.135701579558193, -0.213744959933389),
    ),
    "B7 initial": (WAVE, (0.7, 0), 0, 10, "initial", (0.0730043522872634148, 0.0)),
    "B7 final": (WAVE, (0.7, 0), 0, 10, "final", (0.0781587705662265695, 0.0)),
}  # fmt: skip


@pytest.mark.parametrize("key", END_POINTS)
def test_published_end_points_are_reached(key):
    """To the tolerance; in chaotic flows small errors have grown, as the estimate says."""
    field, start, end, position, expected = END_POINTS[key]
    path = trajectories(field, [position], start, end, **TIGHT)
    error = np.linalg.norm(path.position[0] - expected)
    assert error < 2e-11, error
    assert error < 10 * path.error[0] + 1e-15 * (10 + np.linalg.norm(expected)), path.error


@pytest.mark.parametrize("key", END_POINTS)
def test_published_end_points_lead_back(key):
    field, start, end, position, expected = END_POINTS[key]
    found = flow_map(field, [expected], end, start, **TIGHT)
    np.testing.assert_allclose(found, [position], rtol=0, atol=5e-11)


@pytest.mark.parametrize("key", AVERAGE_VELOCITIES)
def test_published_average_velocities(key):
    field, position, start, end, label, expected = AVERAGE_VELOCITIES[key]
    found = average_velocity(field, [position], start, end, label=label, **TIGHT)
    np.testing.assert_allclose(found, [expected], rtol=0, atol=3e-13)


def test_the_mean_labelled_by_mean_position():
    """A9: Xi of (1, 0.5), and the initial point whose mean position is (1, 0.5)."""
    starts = [(1, 0.5), (0.481089335268136, 0.8622360632485126)]
    path = trajectories(DECAYING, starts, 0.3, 2.3, observables=[place], **TIGHT)
    means = path.means["place"][:, :2]
    np.testing.assert_allclose(means[0], (1.76530266984769655, 0.475386159436631876), atol=1e-12)
    np.testing.assert_allclose(means[1], (1, 0.5), rtol=0, atol=2e-12)
    glm = (0.602323803016131, -0.2503582360746073)
    np.testing.assert_allclose(path.average_velocity[1], glm, rtol=0, atol=2e-12)


@pytest.mark.parametrize(
    "field, position, start, end, expected",
    [
        (rotation(1.3), (0.8, -0.4), 0.2, 1.7, (0.662174412586467, 0.37156963029717)),
        (LINEAR, (1, 0.5), 0, 1.5, (1.31947114914725, -0.315474326958065)),
    ],
    ids=["B1", "B2"],
)
def test_in_autonomous_affine_flow_the_mean_velocity_is_that_at_the_mean_position(
    field, position, start, end, expected
):
    mean = mean_position(field, [position], start, end)
    np.testing.assert_allclose(mean, [expected], rtol=0, atol=1e-12)
    found = average_velocity(field, [position], start, end, label="initial", **TIGHT)
    np.testing.assert_allclose(found, field.velocity(0, mean), rtol=0, atol=1e-12)


def test_deep_water_drift_is_exact_to_all_orders():
    """B8a: Lagrangian period, drift and mean height of the particle that starts at (0, -0.2)."""
    field, start, period = deep_water_wave(0.1, 1.0, 9.81), [(0, -0.2)], 2.01775026476093553
    found = average_velocity(field, start, 0.0, period, label="initial", **TIGHT)
    np.testing.assert_allclose(found, [(0.0181360697710643324, 0)], rtol=0, atol=1e-13)
    height = mean_position(field, start, 0.0, period)[0, 1]
    assert height == pytest.approx(-0.276082673862021464, abs=1e-12)


def test_waves_drift_over_a_lagrangian_period():
    """B7: (omega - Lambda)/k with Lambda^2 = omega^2 - k^2 a^2, from any phase."""
    period = TURN / math.sqrt(1.5**2 - 0.6**2)
    found = average_velocity(WAVE, [(0.1, 0), (2.0, 1.0)], 0.4, 0.4 + period, **TIGHT)
    np.testing.assert_allclose(found, [(0.062613645756623999, 0)] * 2, rtol=0, atol=1e-13)


def test_gerstner_particles_go_round_and_do_not_drift():
    """B8b: the particle with labels (0.4, -0.5) at t = 0.7, after one period."""
    found = average_velocity(
        gerstner_wave(), [(0.991690113684550656, -0.633350105134588634)], 0.7,
        0.7 + TURN / math.sqrt(9.81), **TIGHT,
    )  # fmt: skip
    np.testing.assert_allclose(found, 0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CLOSED)
def test_closed_form_flow_maps_are_reproduced_in_both_directions(name):
    """Within the calibrated estimate; 3e-14 is the rounding of the closed forms."""
    case = CASES[name]
    x = case.position(60, seed=21)
    for start, end in ((case.start, case.end), (case.end, case.start)):
        path = trajectories(case.field, x, start, end)
        exact = flow_of(case.field, x, start, end)
        error = np.linalg.norm(path.position - exact, axis=1)
        floor = 3e-14 * (1 + np.linalg.norm(exact, axis=1))
        assert (error <= 20 * path.error + floor).all(), (error / (path.error + floor)).max()
        assert np.median(error) < 1e-9


@pytest.mark.parametrize("name", CASES)
def test_flow_maps_compose_and_return(name):
    case = CASES[name]
    x, middle = case.position(30, seed=22), case.start + 0.37 * (case.end - case.start)
    there = trajectories(case.field, x, case.start, case.end)
    first = trajectories(case.field, x, case.start, middle)
    second = trajectories(case.field, first.position, middle, case.end)
    back = trajectories(case.field, there.position, case.end, case.start)
    # An error made half-way has grown by the end like the gap between the composed and the direct
    # way; the median shows that this is rare.
    gap = np.linalg.norm(second.position - there.position, axis=1)
    lost = np.linalg.norm(back.position - x, axis=1)
    assert np.median(gap) < 1e-9 and gap.max() < 1e-6, gap
    assert np.median(lost) < 1e-9 and lost.max() < 1e-6, lost


def test_each_particle_may_be_labelled_at_its_own_time():
    x, start, end = [(1, 0.5)] * 4, 0.3, 2.3
    found, error = average_velocity(
        DECAYING, x, start, end, label=[0.3, 2.3, 1.0, 1.3], return_error=True, **TIGHT
    )
    expected = [AVERAGE_VELOCITIES[f"A9 {label}"][-1] for label in
                ("initial", "final", "indexed at 1.0", "indexed at mid time 1.3")]  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert ((error > 0) & (error < 1e-12)).all()


@pytest.mark.parametrize("name", ["taylor_green", "bickley_jet", "abc_flow", "stuart_vortices"])
def test_periodic_axes_are_unwrapped(name):
    """A particle moved by whole periods moves alike; `wrap` brings it back into the first."""
    case = CASES[name]
    shift = np.array([
        7 * (axis.upper - axis.lower) * (axis.boundary == "periodic") for axis in case.field.domain
    ])  # fmt: skip
    x, end = case.position(30, seed=27), case.start + 0.5 * (case.end - case.start)
    near = trajectories(case.field, x, case.start, end, **TIGHT)
    far = trajectories(case.field, x + shift, case.start, end, **TIGHT)
    np.testing.assert_allclose(far.displacement, near.displacement, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(far.position, x + shift + far.displacement)
    np.testing.assert_allclose(
        np.exp(1j * case.field.wrap(far.position)), np.exp(1j * case.field.wrap(near.position)),
        atol=1e-9,
    )  # fmt: skip


def test_a_jet_carries_particles_round_its_period():
    """B11: 27.5 Mm is more than the period of 20.0 Mm."""
    position = flow_map(JET, [(0.0, 0.5)], 0.0, 10.0)
    assert position[0, 0] > JET.domain[0].upper > JET.wrap(position)[0, 0] > 0


def test_a_users_unsteady_field_follows_its_closed_form():
    field, x = unsteady_rotation(), np.random.default_rng(31).uniform(-1, 1, (200, 2))
    for start, end in ((0.2, 9.7), (9.7, 0.2)):
        found = flow_map(field, x, start, end, **TIGHT)
        np.testing.assert_allclose(found, turned(field, x, start, end), rtol=0, atol=2e-12)


def test_still_particles_stay_exactly_and_uniform_motion_is_exact():
    still = flow_map(strain(0.7), np.zeros((3, 2)), 0.0, 2.0)
    np.testing.assert_array_equal(still, np.zeros((3, 2)))
    path = trajectories(shear(1.5), [(1.0, 2.0), (3.0, 0.0)], 0.0, 4.0)
    np.testing.assert_allclose(path.position, [(13.0, 2.0), (3.0, 0.0)], rtol=1e-15)
    np.testing.assert_array_equal(path.displacement[1], (0.0, 0.0))


def test_every_field_of_the_record_of_trajectories_has_its_shape():
    path = trajectories(GYRE, [(0.5, 0.5), (1.0, 0.25), (1.3, 0.8)], 1.0, 4.0, scheme=vern7)
    assert path.position.shape == path.displacement.shape == path.average_velocity.shape == (3, 2)
    assert path.error.shape == path.average_velocity_error.shape == path.status.shape == (3,)
    assert path.steps.shape == (3, 2) and (path.steps[:, 0] > 0).all()
    assert path.means == path.mean_errors == {}
    assert path.start == 1.0 and path.times == 4.0
    assert not path.status.any()
    np.testing.assert_allclose(path.average_velocity_error, path.error / 3.0)
    known = {"field": "double_gyre", "scheme": "vern7", "rtol": 1e-11, "steps": None}
    assert path.provenance.items() >= {**known, "knots": True, "estimate_error": True}.items()
    assert path.provenance["parameters"]["perturbation"] == 0.25
    assert dop853.name == trajectories(GYRE, [(0.5, 0.5)], 0, 1).provenance["scheme"]
