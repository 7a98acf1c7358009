"""Benchmarks run and say what they should; the page of results is that of the committed numbers."""

import importlib.util
import json
import math
import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp
from scipy.optimize import brentq

import meanfluid as mf

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(script, *options):
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{script}.py"), *options],
        env=dict(os.environ, MPLBACKEND="Agg", OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def module(name, monkeypatch):
    """A module of the folder, which is no package; its scripts import each other by name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def rows_with(key, value):
    """Every object inside a report that has this key."""
    if isinstance(value, dict):
        if key in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from rows_with(key, part)


@pytest.mark.parametrize(
    "script, timed",
    [
        pytest.param("kernels", 6, marks=pytest.mark.slow),
        pytest.param("work_precision", 16, marks=pytest.mark.slow),
        ("schemes", 40),
        pytest.param("ftle", 5, marks=pytest.mark.slow),
        pytest.param("heyoka_profile", 6, marks=pytest.mark.slow),
        pytest.param("mean_equations", 12, marks=pytest.mark.slow),
        pytest.param("scaling", 9, marks=pytest.mark.slow),
        pytest.param("compile_time", 0, marks=pytest.mark.slow),
    ],
)
def test_a_script_reports_times_with_errors_and_where_they_come_from(tmp_path, script, timed):
    run(script, "--quick", "--repeats", "1", "--threads", "1", "--results", str(tmp_path))
    report = json.loads((tmp_path / f"{script}.json").read_text())
    assert report["quick"] and report["threads"] == 1
    assert {"processor", "cores", "vector_bits"} <= set(report["machine"])
    assert {"python", "meanfluid", "numba", "heyoka"} <= set(report["versions"])
    measured = list(rows_with("median_error", report))
    assert len(measured) >= timed
    for row in measured:
        assert 0.0 <= row["median_error"] <= row["p99_error"] < math.inf
        assert np.min(row["seconds"]) > 0.0
    run("report", "--results", str(tmp_path), "--readme", str(tmp_path / "README.md"))
    text = (tmp_path / "README.md").read_text()
    assert f"## `{script}.py`" in text and "A quick run" in text
    for name in ("kernels", "work_precision", "schemes", "scaling"):
        assert (tmp_path / "figures" / f"{name}.png").exists() == (name == script)


def test_the_page_is_the_one_that_the_committed_numbers_give(tmp_path):
    run("report", "--text", "--readme", str(tmp_path / "README.md"))
    assert (tmp_path / "README.md").read_text() == (BENCHMARKS / "README.md").read_text()


def test_committed_numbers_are_no_quick_ones():
    reports = [json.loads(path.read_text()) for path in (BENCHMARKS / "results").glob("*.json")]
    assert reports and not any(report.get("quick") for report in reports)


def test_a_page_shows_tables_and_targets_of_a_report_that_it_does_not_know(tmp_path):
    report = {
        "question": "How fast is a table?",
        "tables": [{"title": "Tables", "columns": ["legs", "s"], "rows": [["four", 0.25]]}],
        "targets": [
            {"target": "legs", "measured": 4.0, "at_least": 3.0},
            {"target": "wobble", "measured": 2.0, "at_most": 1.0},
        ],
        "notes": ["Tables stand."],
    }
    (tmp_path / "furniture.json").write_text(json.dumps(report))
    run("report", "--text", "--results", str(tmp_path), "--readme", str(tmp_path / "README.md"))
    lines = [" ".join(line.split()) for line in (tmp_path / "README.md").read_text().splitlines()]
    assert "| legs (`furniture.py`) | ≥ 3 | 4 | yes |" in lines
    assert "| wobble (`furniture.py`) | ≤ 1 | 2 | **no** |" in lines
    assert "| four | 0.25 |" in lines and "Tables stand." in lines


def test_time_to_an_error_is_exact_on_a_power_law(monkeypatch):
    """Time t = error**(-1/5) is a straight line in log-log, which interpolation reproduces."""
    analysis = module("analysis", monkeypatch)
    points = [{"e": 10.0**-k, "s": 10.0 ** (k / 5)} for k in (2, 5, 8, 11)]
    for target in (1e-3, 1e-6, 3e-10):
        found = analysis.time_to(points, target, "e", "s")
        assert found == pytest.approx(target ** (-1 / 5), rel=1e-12)


def test_time_to_an_error_is_never_extrapolated(monkeypatch):
    analysis = module("analysis", monkeypatch)
    points = [{"e": 1e-4, "s": 1.0}, {"e": 1e-8, "s": 3.0}, {"e": 1e-8, "s": 2.0}]
    assert analysis.time_to(points, 1e-9, "e", "s") is None
    assert analysis.time_to(points, 1e-2, "e", "s") == 1.0
    assert analysis.time_to(points, 1e-8, "e", "s") == 2.0
    assert analysis.time_to(points, 1e-6, "e", "s") == pytest.approx(math.sqrt(2.0))


def test_the_exponent_of_a_power_law_is_found(monkeypatch):
    analysis = module("analysis", monkeypatch)
    sizes = [1.0, 2.0, 7.0, 30.0]
    assert analysis.exponent(sizes, [5.0 * n**1.25 for n in sizes]) == pytest.approx(1.25)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.parametrize("together", [False, True])
def test_the_cpp_takes_the_same_steps_as_numpy(monkeypatch, together):
    """All fields and schemes; the functions are within a few units in the last place."""
    kernels = module("kernels", monkeypatch)
    variant = kernels.cpp_kernels.variants(256)[0]
    built = kernels.cpp_kernels.library(variant)
    assert max(built.ulp.values()) <= kernels.cpp_kernels.MOST_ULP, built.ulp
    for case in kernels.cases(quick=False):
        position = kernels.uniform(case.field, 37)  # no multiple of the width of vectors
        options = case.field, case.scheme, 10, case.end / 40
        by_cpp = kernels.cpp_kernels.contestant(built, *options, 2, together=together)(position)
        by_numpy = kernels.array_loop(*options, 1)(position)
        np.testing.assert_allclose(by_cpp, by_numpy, rtol=1e-13, atol=1e-13, err_msg=case.title)


def test_the_reference_of_lavd_is_what_scipy_integrates_between_the_zeros(monkeypatch):
    """Trajectories by DOP853, zeros by bisection, mean vorticity by quadrature over the area."""
    pytest.importorskip("heyoka")
    lavd = module("lavd", monkeypatch)
    places = np.array([[0.3, 0.4], [0.99, 0.3], [1.02, 0.7]])
    found = lavd.reference_lavd(mf.fields.double_gyre(), places, 0.0, 8.0)
    expected, zeros = zip(*(lavd_by_scipy(place, 8.0) for place in places), strict=True)
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    assert sum(zeros) > 1


def lavd_by_scipy(place, end):
    """LAVD of the double gyre from time 0, and how often the deviation changes sign."""
    nodes, weights = np.polynomial.legendre.leggauss(24)
    x, y = np.meshgrid(1 + nodes, 0.5 + 0.5 * nodes, indexing="ij")
    path = solve_ivp(
        lambda t, at: gyre(t, *at)[0], (0, end), place, "DOP853", rtol=1e-13, atol=1e-13,
        dense_output=True,
    )  # fmt: skip

    def deviation(t):
        return gyre(t, *path.sol(t))[1] - 0.25 * weights @ gyre(t, x, y)[1] @ weights

    times = np.linspace(0, end, 161)
    signs = np.sign([deviation(t) for t in times])
    zeros = [
        brentq(deviation, times[k], times[k + 1], xtol=1e-13)
        for k in np.flatnonzero(signs[1:] != signs[:-1])
    ]
    pieces = [quad(deviation, a, b, epsabs=1e-11)[0] for a, b in pairwise([0.0, *zeros, end])]
    return np.abs(pieces).sum(), len(zeros)


def gyre(t, x, y):
    """Velocity, (2, ...), and vorticity of the double gyre, written out."""
    lean = 0.25 * np.sin(0.2 * np.pi * t)
    fold, slope = lean * x * x + (1 - 2 * lean) * x, 2 * lean * (x - 1) + 1
    sine, cosine = np.sin(np.pi * fold), np.cos(np.pi * fold)
    scale = 0.1 * np.pi * np.sin(np.pi * y)
    velocity = np.array([-0.1 * np.pi * sine * np.cos(np.pi * y), scale * cosine * slope])
    return velocity, scale * (2 * lean * cosine - np.pi * (slope**2 + 1) * sine)


@pytest.mark.parametrize("times", [0, 16])
def test_the_rust_splines_are_those_of_scipy_on_periodic_axes(monkeypatch, times):
    """Also across the ends of the period; in time they have ends of their own, so not there."""
    interpolation = module("interpolation", monkeypatch)
    interpn = interpolation.rust_package()
    if interpn is None:
        pytest.skip("interpn with pydantic is not installed")
    for degree in (1, 3) if not times else (1,):
        case = interpolation.Case(2, 32, degree, times=times)
        flow = interpolation.Waves(2)
        field, points = flow.sampled(case), interpolation.placed(case, 512, "random")
        expected = interpolation.map_coordinates_of(case, field, points)()
        for name, (kind, width) in interpolation.RUST[degree].items():
            found = interpolation.rust_of(getattr(interpn, kind), width, field, points)()
            difference = np.abs(found - expected).max() / np.abs(expected).max()
            assert (difference < 1e-10) == ("Hermite" not in name), (name, difference)


def test_the_hermite_cubics_of_rust_converge_with_the_third_power(monkeypatch):
    interpolation = module("interpolation", monkeypatch)
    interpn = interpolation.rust_package()
    if interpn is None:
        pytest.skip("interpn with pydantic is not installed")
    kind, width = interpolation.RUST[3]["interpn, cubic Hermite"]
    errors = []
    for nodes in (128, 256):
        case, flow = interpolation.Case(2, nodes, 3), interpolation.Waves(2)
        field, points = flow.sampled(case), interpolation.placed(case, 4096, "random")
        found = interpolation.rust_of(getattr(interpn, kind), width, field, points)()
        errors.append(np.sqrt(np.mean((found - flow.velocity(*points)) ** 2)))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(3.0, abs=0.1)
