"""Means of arrays that are not NumPy's: they stay there, and are those of the same on the host.

Both are computed by the same formulas, so that what they differ by is rounding, and the order of
summation and of compiled arithmetic.
"""

import dataclasses

import numpy as np
import pytest

import meanfluid as mf
from meanfluid import windows
from meanfluid.means import filters, geometric, glm, transport
from meanfluid.means.lagrangian_pde import (
    Grid,
    RunningMean,
    RunningMeanLabel,
    Spectral,
    WindowKernel,
    butterworth,
    interpolated,
    remapped,
)
from tests import elsewhere

BOX = (2 * np.pi, 2 * np.pi)
X, Y = geometric.mesh((16, 16), BOX)
TURNS = np.pi * np.arange(4) / 2
XI = 0.1 * np.stack([[np.cos(Y + s), np.sin(X - s)] for s in TURNS])
MEAN = np.stack([np.cos(Y), np.sin(X)])
SOLENOIDAL = 0.05 * np.stack([2 * np.sin(2 * Y), -np.sin(X)])
WAVE = mf.fields.deep_water_wave(0.1, 1.0, 9.81)
SWELL = {"wavevector": [1.0, 0.0], "frequency": np.sqrt(9.81)}
PLACES = np.random.default_rng(1).uniform([0.0, -2.0], [6.0, -0.4], (50, 2))
RECORD = np.random.default_rng(2).standard_normal((48, 20))
LINE = Grid((mf.Axis(0.0, 2 * np.pi, "periodic"),), 64)
ON_HOST = {"space_error"}  # a number or two for all nodes
LEFT_OUT = ("provenance", "grid", "window")
KINDS = ("arithmetic", "soward_roberts", "optimal_transport", "geodesic")


@pytest.fixture(params=["stand-in", pytest.param("CuPy", marks=pytest.mark.gpu)])
def compared(request, monkeypatch):
    """Check that a function, told how to place its arrays, finds the same there as here."""

    def check(function, *, rtol=1e-10, atol=1e-11):
        here = parts(function(np.asarray))
        if request.param == "CuPy":
            cupy = pytest.importorskip("cupy")
            there, kind, home = parts(function(cupy.asarray)), cupy.ndarray, cupy.asnumpy
        else:
            with monkeypatch.context() as patch:
                elsewhere.stand_in(patch)
                there = parts(function(elsewhere.sent))
            kind, home = elsewhere.Elsewhere, elsewhere.unwrapped
        assert here.keys() == there.keys()
        assert any(isinstance(value, kind) for value in there.values())
        for name, value in here.items():
            if isinstance(value, np.ndarray) and not ON_HOST & set(name.split(".")):
                assert isinstance(there[name], kind), name
            found = home(there[name]) if isinstance(there[name], kind) else there[name]
            np.testing.assert_allclose(found, value, rtol=rtol, atol=atol, err_msg=name)

    return check


def parts(value, name="result"):
    """Every number in a result, by its name; arrays of the host that are meant to stay are left."""
    if value is None or isinstance(value, str):
        return {}
    if dataclasses.is_dataclass(value):
        fields = (f.name for f in dataclasses.fields(value) if f.name not in LEFT_OUT)
        value = {key: getattr(value, key) for key in fields}
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, list | tuple):
        value = {str(i): part for i, part in enumerate(value)}
    if not isinstance(value, dict):
        return {name: value}
    inside = [parts(part, f"{name}.{key}") for key, part in value.items()]
    return {key: part for found in inside for key, part in found.items()}


def tracer(m, p, t, x, z):
    return m.exp(z) * m.cos(x)


# ---- along trajectories


@pytest.mark.parametrize(
    ("label", "window"),
    [
        ("mean", None),
        pytest.param("initial", windows.hann(), marks=pytest.mark.slow),
        pytest.param("mean", windows.exponential(0.5), marks=pytest.mark.slow),
        ("final", windows.exponential(0.5)),
        (3.0, windows.exponential(0.5, two_sided=True)),
    ],
)
def test_weighted_means_in_every_label(label, window, compared):
    options = {"label": label, "window": window}
    compared(lambda put: mf.average_velocity(WAVE, put(PLACES), 0.0, 8.0, **options))


def test_several_means_from_one_integration(compared):
    window = {"start": 0.0, "end": 8.0}
    compared(lambda put: mf.lagrangian_means(WAVE, {"f": tracer}, put(PLACES), **window))
    compared(lambda put: mf.lagrangian_mean(WAVE, tracer, put(PLACES), label="mean", **window))


def test_drifts_labels_and_positions(compared):
    hann = windows.hann()
    compared(lambda put: mf.stokes_drift(WAVE, put(PLACES), 0.0, 8.0))
    compared(lambda put: mf.eulerian_mean(WAVE, tracer, put(PLACES), 0.0, 8.0, window=hann))
    compared(lambda put: mf.mean_position(WAVE, put(PLACES), 0.0, 8.0, window=hann))
    for given, wanted in (("initial", "mean"), ("mean", "final")):
        compared(
            lambda put, given=given, wanted=wanted: mf.relabel(
                WAVE, put(PLACES), 0.0, 8.0, given=given, wanted=wanted
            )
        )


def test_spread_of_particles(compared):
    compared(lambda put: mf.dispersion(WAVE, put(PLACES), 0.0, [2.0, 8.0]))
    compared(lambda put: mf.ftle(WAVE, put(PLACES), 0.0, 8.0))
    compared(lambda put: mf.lavd(WAVE, put(PLACES), 0.0, 8.0, mean_vorticity=0.0))
    compared(lambda put: mf.observed(WAVE, tracer, put(PLACES), 2.0))


def test_tracers(compared):
    def stripes(position):
        return np.cos(position[:, 0])

    compared(lambda put: transport.advected(WAVE, stripes, put(PLACES), 0.0, 8.0))
    for label in ("initial", "final", "mean"):
        compared(
            lambda put, label=label: transport.tracer_mean(
                WAVE, stripes, put(PLACES), 0.0, 8.0, label=label
            )
        )
    compared(
        lambda put: transport.tracer_mean(WAVE, stripes, put(PLACES), 0.0, 8.0, kind="eulerian")
    )
    compared(lambda put: transport.effective_velocity(WAVE, stripes, put(PLACES), 0.0, 8.0))


def test_arrays_of_another_library_get_such_back(monkeypatch):
    """As tensors on a GPU do, whose memory CuPy shares."""

    def stripes(position):
        return np.cos(position[:, 0])

    window, turns = {"start": 0.0, "end": 8.0}, np.stack([np.eye(2)] * 2)
    with monkeypatch.context() as patch:
        elsewhere.stand_in(patch)
        put = elsewhere.foreign
        found = [
            mf.average_velocity(WAVE, put(PLACES), label="mean", **window),
            mf.trajectories(WAVE, put(PLACES), **window),
            mf.dispersion(WAVE, put(PLACES), 0.0, [2.0, 8.0]),
            transport.advected(WAVE, stripes, put(PLACES), **window),
            transport.tracer_mean(WAVE, stripes, put(PLACES), return_error=True, **window),
            transport.tracer_mean(WAVE, stripes, put(PLACES), kind="eulerian", **window),
            transport.effective_velocity(WAVE, stripes, put(PLACES), return_error=True, **window),
            glm.lagrangian_period(WAVE, put(PLACES[:2]), 0.0, **SWELL),
            geometric.rotation_mean(put(turns)),
        ]
    for number, value in parts(found).items():
        plain = isinstance(value, elsewhere.PLAIN) or number.endswith((".start", ".times"))
        assert plain or isinstance(value, elsewhere.Foreign), number


# ---- of records


def test_eulerian_means_of_samples(compared):
    times = np.linspace(0.0, 1.0, len(RECORD)) ** 1.5
    compared(lambda put: mf.time_mean(put(RECORD), times, axis=0))
    compared(lambda put: mf.time_mean(put(RECORD), times, axis=0, return_error=True))
    compared(lambda put: mf.ensemble_mean(put(RECORD), axis=0, return_error=True))
    compared(lambda put: mf.phase_mean(put(RECORD), axis=0))
    compared(lambda put: mf.zonal_mean(put(RECORD), axis=1))
    compared(lambda put: mf.triple_decomposition(put(RECORD), 12, axis=0))

    def lost(put):
        return put(np.where(RECORD > 1.5, np.nan, RECORD))

    compared(lambda put: mf.time_mean(lost(put), times, axis=0, skip_missing=True))
    compared(lambda put: mf.ensemble_mean(lost(put), axis=0, skip_missing=True))


def test_moments(compared):
    def mean(values):
        return mf.ensemble_mean(values, axis=0, keepdims=True)

    compared(lambda put: mf.central_moment(mean, put(RECORD), put(RECORD**2)))
    compared(lambda put: mf.central_moment(mean, put(RECORD), put(RECORD**2), put(np.cos(RECORD))))
    compared(lambda put: mf.favre(mean, put(1.0 + RECORD**2), put(RECORD)))


@pytest.mark.parametrize("kind", [filters.top_hat, filters.gaussian, filters.sharp_spectral])
def test_filters(kind, compared):
    one = kind(5.0)
    compared(lambda put: one(put(RECORD), spacing=1.0, axis=0))
    if one.kernel is not None:
        compared(lambda put: one(put(RECORD), spacing=1.0, axis=0, ends="bounded"))


# ---- generalised Lagrangian means


def test_waves(compared):
    compared(lambda put: glm.orbit_mean(WAVE, put(PLACES[:8]), 0.0, phases=8, **SWELL))
    compared(
        lambda put: glm.orbit_mean(WAVE, put(PLACES[:8]), 0.0, phases=8, label="initial", **SWELL)
    )
    compared(lambda put: glm.lagrangian_period(WAVE, put(PLACES[:8]), 0.0, **SWELL))
    compared(lambda put: glm.small_amplitude_mean(WAVE, put(PLACES[:8]), 0.0, phases=8, **SWELL))


@pytest.mark.parametrize("label", ["mean", "initial"])
def test_ensembles(label, compared):
    members = [mf.fields.taylor_green(amplitude=a) for a in (0.8, 1.0, 1.2)]
    points = np.random.default_rng(3).uniform(0.5, 2.5, (20, 2))
    compared(lambda put: glm.ensemble_mean(members, put(points), 0.0, 0.5, label=label))


def test_known_displacements_on_a_grid(compared):
    velocity = XI[::-1] + MEAN
    compared(lambda put: glm.grid_mean(put(XI), put(velocity), BOX, rotation=0.4))
    compared(lambda put: glm.density_second_order(put(XI), BOX))
    for formula in (
        glm.divergence_second_order,
        glm.pseudomomentum_second_order,
        glm.stokes_correction_second_order,
    ):
        compared(lambda put, formula=formula: formula(put(XI), put(velocity), put(MEAN), BOX))


def test_circulation_and_kelvin(compared):
    angle = 2 * np.pi * np.arange(32) / 32
    loop = np.stack([1.3 + 0.5 * np.cos(angle), 1.2 + 0.5 * np.sin(angle)], axis=1)
    loops = np.stack([loop, 2.0 * loop])
    compared(lambda put: glm.circulation(put(np.sin(loops)), put(loops), return_error=True))
    members = [mf.fields.taylor_green(amplitude=a) for a in (0.8, 1.2)]

    def both(put):
        mean = glm.ensemble_mean(members, put(loop), 0.0, 0.5, label="initial")
        return mean.position, glm.kelvin(mean)

    compared(both)


@pytest.mark.parametrize("kind", ["scalar", "vector", "one_form", "density"])
def test_pull_backs_of_members(kind, compared):
    gradient = 0.1 * np.random.default_rng(4).standard_normal((4, 5, 2, 2))
    vectors = kind in ("vector", "one_form")
    value = np.random.default_rng(5).standard_normal((4, 5, 2) if vectors else (4, 5))
    compared(lambda put: glm.pull_back_mean(put(value), put(gradient), kind))


# ---- mean maps


def test_calculus_on_the_torus(compared):
    compared(lambda put: geometric.gradient(put(MEAN), BOX))
    compared(lambda put: geometric.divergence(put(MEAN), BOX))
    compared(lambda put: geometric.curl(put(MEAN), BOX))
    compared(lambda put: geometric.leray(put(np.stack([np.sin(X), np.cos(X + Y)])), BOX))
    compared(lambda put: geometric.advection(put(MEAN), put(np.cos(X + 2 * Y)), BOX))
    compared(lambda put: geometric.mesh((8, 4), BOX, like=put(MEAN)))


def test_maps(compared):
    def there(put, sign=1.0):
        return geometric.TorusMap(put(sign * XI[0]), BOX)

    compared(lambda put: there(put)(put([[1.0, 0.5], [3.0, 2.0]])))
    compared(lambda put: there(put).gradient_at(put([[1.0, 0.5], [3.0, 2.0]])))
    compared(lambda put: there(put).after(there(put, -1.0)))
    compared(lambda put: there(put).inverse())
    compared(lambda put: there(put).determinant)
    compared(lambda put: geometric.exp(put(SOLENOIDAL), BOX))
    compared(lambda put: geometric.log(geometric.exp(put(SOLENOIDAL), BOX)).field)
    compared(lambda put: geometric.euler_exp(put(SOLENOIDAL), BOX))
    compared(lambda put: geometric.euler_log(geometric.euler_exp(put(SOLENOIDAL), BOX)).field)


@pytest.mark.parametrize("kind", KINDS)
def test_mean_maps_and_what_is_seen_through_them(kind, compared):
    def ensemble(put):
        return [geometric.exp(put(a * SOLENOIDAL), BOX) for a in (-1.0, 0.3, 1.0)]

    compared(lambda put: geometric.mean_map(ensemble(put), kind).map)
    compared(lambda put: geometric.mean_map(ensemble(put), kind, order=2).map)
    compared(lambda put: geometric.second_order_shift(ensemble(put), kind))

    def away(put):
        maps = ensemble(put)
        return geometric.deviations(maps, geometric.mean_map(maps, kind).map)

    compared(away)
    for seen in ("vector", "one_form"):
        compared(lambda put, s=seen: geometric.pull_back(put(MEAN), ensemble(put)[0], s))
        compared(lambda put, s=seen: geometric.push_forward(put(MEAN), ensemble(put)[0], s))
        compared(lambda put, s=seen: geometric.pull_back_mean([put(MEAN)] * 3, away(put), s))


def test_velocities_of_mean_maps(compared):
    def path(put):
        times = 0.1 * np.arange(5)
        return [geometric.exp(put((1.0 + t) * SOLENOIDAL), BOX) for t in times]

    compared(lambda put: geometric.mean_velocity(path(put), 0.1))
    compared(lambda put: geometric.corrected_velocity(put(MEAN), put(XI[0]), put(XI[1]), BOX))
    compared(lambda put: geometric.corrected_scalar(put(MEAN[0]), put(XI[0]), put(X * 0 + 1), BOX))


def test_means_on_manifolds(compared):
    generator = np.random.default_rng(6)
    angles = generator.uniform(-0.5, 0.5, 5)
    turns = np.stack([[[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in angles])
    near = np.eye(2) + 0.1 * generator.standard_normal((5, 2, 2))
    unimodular = near / np.sqrt(np.linalg.det(near))[:, None, None]
    points = np.array([0.0, 0.0, 1.0]) + 0.2 * generator.standard_normal((5, 4, 3))
    points /= np.linalg.norm(points, axis=-1, keepdims=True)
    compared(lambda put: geometric.group_exponential_mean(put(near)))
    compared(lambda put: geometric.unimodular_mean(put(unimodular)))
    compared(lambda put: geometric.rotation_mean(put(turns)))
    compared(lambda put: geometric.sphere_mean(put(points)))


# ---- means by equations


@pytest.mark.parametrize(
    ("label", "kernel"),
    [
        ("final", WindowKernel(0.0, 5.0)),
        ("final", butterworth(2.0)),
        ("mean", WindowKernel(0.0, 5.0)),
    ],
)
def test_running_means(label, kernel, compared):
    def on_nodes(put, time):
        return put(0.3 * np.cos(LINE.mesh - time)), put(np.cos(LINE.mesh))

    def mean(put):
        kind = RunningMean if label == "final" else RunningMeanLabel
        running = kind(Spectral(LINE), kernel, {"f": None}, 0.0, on_nodes(put, 0.0)[1])
        for n in range(20):
            times = np.linspace(n, n + 1, 3) / 40
            samples = [on_nodes(put, time) for time in times]
            velocity, observed = (np.stack(part) for part in zip(*samples, strict=True))
            if label == "mean":
                running.step(interpolated(LINE, times, velocity, observed, exact=True), 1 / 40)
            else:
                running.step(velocity, observed, 1 / 40)
        found = running.mean()
        return (found, remapped(found).values) if label == "final" else found

    compared(mean)
