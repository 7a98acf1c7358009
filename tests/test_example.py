"""The examples run to their ends, however small they are made, and report what is true."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import xarray

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(*options, script="vortex_meanflow"):
    return subprocess.run(
        [sys.executable, str(EXAMPLES / f"{script}.py"), *options],
        env=dict(os.environ, MPLBACKEND="Agg", OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "field", ["lamb_oseen_pair", pytest.param("double_gyre", marks=pytest.mark.slow)]
)
def test_it_writes_report_figures_and_comparison(tmp_path, field):
    done = run("--field", field, "--steps", "200", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        "comparison.nc",
        "error_by_window.png",
        "learned.png",
        "report.md",
        "training_identity.csv",
        "training_supervised.csv",
        "trajectories.png",
        "weights_identity.pt",
        "weights_supervised.pt",
    }
    report = (tmp_path / "report.md").read_text()
    assert all(f"]({name})" in report for name in ("trajectories.png", "learned.png"))
    with xarray.open_dataset(tmp_path / "comparison.nc") as data:
        assert list(data.arm.values) == ["identity", "supervised"]
        eulerian = data.eulerian_relative_error.values
        assert (data.training_steps.values == 200).all()
        assert (data.total_relative_error.values < 0.3).all()
        assert (data.path_relative_error.values <= data.path_bound.values).all()
        assert (eulerian > data.relative_error.max("arm").values).all()


def test_a_budget_that_cannot_be_met_is_refused():
    done = run("--budget", "5")
    assert done.returncode == 2 and "at least 60 seconds" in done.stderr


@pytest.mark.parametrize(
    "field", ["double_gyre", pytest.param("bickley_jet", marks=pytest.mark.slow)]
)
def test_coherent_structures_reproduce_known_exponents_and_keep_area(tmp_path, field):
    done = run(
        "--field", field, "--resolution", "24", "--output", str(tmp_path),
        script="coherent_structures",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {f"{field}.png", "report.md"}
    report = (tmp_path / "report.md").read_text()
    assert f"]({field}.png)" in report
    known = rows_of(report, r"\(")
    assert len(known) == 4
    assert all(float(row[-2]) < 1e-11 for row in known)  # computed less known
    (checks,) = rows_of(report, field)
    assert float(checks[-1]) < 1e-9  # det F - 1, over the square of the norm of F


def test_gridded_flow_tells_its_errors_apart(tmp_path):
    done = run(
        "--resolution", "24", "--days", "1", "--output", str(tmp_path), script="gridded_flow"
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"jet.nc", "errors.png", "report.md"}
    with xarray.open_dataset(tmp_path / "jet.nc") as data:
        assert data.time.dtype.kind == "M" and data.u.attrs["units"] == "m s-1"
    rows = rows_of((tmp_path / "report.md").read_text(), r"\d+ x \d+, every")
    integration, interpolation, true = (
        [float(row[k].rstrip(" %")) for row in rows] for k in (2, 3, 4)
    )
    assert len(rows) == 3
    assert max(integration) < 1e-6  # far below the others
    for estimate, error in zip(interpolation, true, strict=True):
        assert 0.2 * error < estimate < 10 * error, rows
    assert true[0] / true[1] > 8 and true[1] / true[2] > 8, rows  # fourth order gives 16


def test_lagrangian_filtering_removes_the_lee_wave_and_the_eulerian_filter_does_not(tmp_path):
    done = run(
        "--nodes", "32", "--steps", "160", "--output", str(tmp_path), script="lagrangian_filtering"
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"filters.png", "report.md"}
    (row,) = rows_of((tmp_path / "report.md").read_text(), "lee wave")
    assert float(row[1].rstrip(" %")) > 99 and float(row[3].rstrip(" %")) < 1


def test_geometric_means_keep_area_and_the_arithmetic_one_does_not(tmp_path):
    done = run("--output", str(tmp_path), script="geometric_means")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"means.png", "report.md"}


@pytest.mark.slow
def test_stokes_drift_is_that_of_lambert(tmp_path):
    done = run("--output", str(tmp_path), script="stokes_drift")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"stokes_drift.png", "report.md"}
    rows = rows_of((tmp_path / "report.md").read_text(), r"0\.\d+ ")[:4]
    assert all(float(row[3]) < 1e-12 for row in rows), rows


@pytest.mark.slow
def test_five_averages_of_one_flow_are_the_known_numbers(tmp_path):
    """Computed apart from this library, in extended precision."""
    done = run("--output", str(tmp_path), script="which_average")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        "averages.png", "windows.png", "report.md",
    }  # fmt: skip
    report = (tmp_path / "report.md").read_text()
    known = {
        "label initial": "(+0.7046690385, +0.0738984870)",
        "label at mid-time": "(+0.5986991027, -0.2578789011)",
        "label mean": "(+0.6023238030, -0.2503582361)",
        "label final": "(+0.2918232124, -0.5706643194)",
        "Eulerian": "(+0.6495198540, -0.2278364925)",
    }
    assert {name: rows_of(report, name)[0][1] for name in known} == known


@pytest.mark.slow
def test_dye_goes_with_the_lagrangian_mean_flow(tmp_path):
    done = run("--periods", "20", "--output", str(tmp_path), script="tracer_transport")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"dye.png", "report.md"}
    rows = rows_of((tmp_path / "report.md").read_text(), "carried by")
    assert float(rows[0][2]) < 0.01 and float(rows[1][2]) > 0.3, rows


@pytest.mark.parametrize(
    ("script", "options", "message"),
    [
        ("gridded_flow", ("--days", "9"), "between 0 and 8"),
        ("coherent_structures", ("--window", "-1"), "--window must be positive"),
        ("which_average", ("--start", "3"), "--start must be before --end"),
        ("tracer_transport", ("--steepness", "2"), "--steepness must lie between"),
        ("geometric_means", ("--members", "2"), "at least 3"),
    ],
)
def test_the_other_examples_refuse_what_they_cannot_do(script, options, message):
    done = run(*options, script=script)
    assert done.returncode == 2 and message in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "options", "files"),
    [
        ("exact_generation", (), {"generation.png", "report.md"}),
        ("images/digits_one_step", (), {"images.png", "scores.png", "scores.nc", "report.md"}),
        (
            "images/turbulence_one_step",
            ("--snapshots", "64", "--compared", "64"),
            {"snapshots.png", "spectra.png", "report.md"},
        ),
    ],
)
def test_examples_of_generation_run_to_their_reports(tmp_path, script, options, files):
    done = run("--steps", "20", *options, "--output", str(tmp_path), script=script)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == files


def rows_of(report, start):
    """Cells of the rows of tables whose first cell starts with a pattern."""
    rows = re.findall(rf"^\| ({start}.*) \|$", report, re.M)
    return [[cell.strip() for cell in row.split(" | ")] for row in rows]
