"""Benchmarks run and say what they should; the page of results is that of the committed numbers."""

import importlib.util
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

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
        pytest.param("ftle", 3, marks=pytest.mark.slow),
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
