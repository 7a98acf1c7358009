"""The comparison of learned with exact averages: on an exact model and on planted errors."""

import json

import numpy as np
import pytest
import torch

from meanfluid.fields import double_gyre, rotation
from meanfluid.learning import MLP, AverageVelocity, Disc
from meanfluid.reporting.compare import MEANING, compare

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
RATE = 1.3
FIELD = rotation(RATE)
WINDOWS = {"start": 0.0, "end": 2.0, "samples": 500, "bins": 4, "paths": 50}


def turned(x, t, s):
    """Exact average velocity of solid rotation (theory B1), of torch tensors."""
    angle = RATE * (s - t)
    c, d = torch.cos(angle) - 1, torch.sin(angle)
    return torch.stack([c * x[:, 0] - d * x[:, 1], d * x[:, 0] + c * x[:, 1]], 1) / (s - t)[:, None]


def off_by(factor):
    return lambda x, *, t, s: (1 + factor * (s - t)[:, None]) * turned(x, t, s)


@pytest.mark.parametrize("direction", ["backward", "forward", "both"])
def test_an_exact_model_has_no_error_beyond_the_integrator(direction):
    data = compare(off_by(0.0), FIELD, direction=direction, **WINDOWS)
    for name in ("relative_error", "residual", "semigroup_defect"):
        assert float(data[f"total_{name}"]) < 1e-8, name
        assert (data[name] < 1e-8).all(), name
    assert (data.relative_endpoint_error < 1e-8).all()
    assert float(data.path_bound) < 1e-8
    assert int(data["count"].sum()) == 500


def test_a_planted_error_is_found_where_it_was_planted():
    """u (1 + 0.1 (s - t)): relative error 0.1 |s - t|, so up to the ends of each class."""
    data = compare(off_by(0.1), FIELD, **WINDOWS)
    assert (data.relative_error > 0.1 * data.window_lower).all()
    assert (data.relative_error < 0.1 * data.window_upper).all()
    assert float(data.total_max_error) == pytest.approx(float(data.max_error.max()))
    assert float(data.max_error.max()) <= 0.1 * 2.0 * RATE * np.sqrt(2) + 1e-9


def test_more_jumps_of_an_error_that_grows_with_the_window_miss_by_less():
    """Its error per jump is of second order, so twice the jumps halve the miss."""
    data = compare(off_by(0.1), FIELD, **WINDOWS, jumps=(4, 8, 16))
    miss = data.endpoint_error.values
    assert miss[0] / miss[1] == pytest.approx(2, abs=0.3)
    assert miss[1] / miss[2] == pytest.approx(2, abs=0.15)


def test_the_residual_along_a_path_bounds_its_error_and_averages_to_it():
    """Theory I1, to the accuracy of quadrature."""
    data = compare(off_by(0.1), FIELD, **WINDOWS)
    assert 0 < float(data.path_relative_error) <= float(data.path_bound)
    assert float(data.path_closure) < 1e-9


def test_the_error_is_at_most_twice_the_residual_where_the_flow_keeps_the_region():
    """Hardy's inequality, for a flow without divergence in a disc that it turns."""
    disc = Disc(radius=1.0)
    for direction in ("backward", "forward", "both"):
        data = compare(off_by(0.1), FIELD, positions=disc, direction=direction, **WINDOWS)
        assert 0.01 < float(data.total_relative_error) < 2 * float(data.total_residual)


def test_the_residual_is_taken_with_the_true_velocity_not_that_of_the_model():
    """A model exact for another rate has no residual of its own."""
    other = AverageVelocity(rotation(2.0), torch.nn.Module(), tangent="free")
    other.network.forward = lambda x, t, s: 2 / RATE * turned(x, 2 / RATE * t, 2 / RATE * s)
    assert float(compare(other, FIELD, **WINDOWS).total_residual) > 0.1


def test_float32_models_see_the_anchors_that_the_truth_sees():
    generator = torch.Generator().manual_seed(0)
    gyre = double_gyre()
    network = MLP.for_field(gyre, windows=(-1, 0), time_range=(0, 4), width=8, generator=generator)
    model = AverageVelocity(gyre, network, scale=1e9)  # the network switched off: v itself
    data = compare(model, gyre, start=0.0, end=4.0, longest=1e-5, samples=64, paths=8, bins=1)
    assert data.attrs["precision"] == "float32"
    assert float(data.total_relative_error) < 1e-4


def test_the_dataset_describes_itself_and_reproduces_itself():
    data, again = (compare(off_by(0.1), FIELD, **WINDOWS, seed=3, rtol=1e-8) for _ in range(2))
    assert data.identical(again)
    assert not data.equals(compare(off_by(0.1), FIELD, **WINDOWS, seed=4))
    assert all({"long_name", "units"} <= data[name].attrs.keys() for name in data)
    assert {n.removeprefix("total_") for n in data} == set(MEANING)
    assert json.loads(data.attrs["parameters"]) == {"rate": RATE}
    assert json.loads(data.attrs["versions"])["torch"] == torch.__version__
    assert json.loads(data.attrs["tolerances"]) == {"rtol": 1e-8}
    assert "UniformWindow(start=0.0, end=2.0" in data.attrs["windows"]


def test_the_truth_may_be_given():
    def exact(field, position, start, end, *, label):
        assert label == "initial"
        return turned(*(torch.from_numpy(a) for a in (position, start, end))).numpy()

    data = compare(off_by(0.0), FIELD, **WINDOWS, exact=exact)
    assert float(data.total_relative_error) < 1e-15


@pytest.mark.parametrize("wrong", [{"bins": 0}, {"jumps": ()}, {"paths": 501}, {"nodes": 0}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="paths between 1 and samples, got"):
        compare(off_by(0.0), FIELD, **(WINDOWS | wrong))
