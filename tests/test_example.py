"""The main example runs to its end on both of its fields, however short the training."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import xarray

SCRIPT = Path(__file__).parents[1] / "examples" / "vortex_meanflow.py"


def run(*options):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *options],
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
