"""The comparison of learned with exact averages: on an exact model and on planted errors."""

import json
from importlib.metadata import version

import numpy as np
import pytest
import torch

from meanfluid.fields import double_gyre, rotation
from meanfluid.learning import MLP, AverageVelocity, Box, Disc, UniformWindow
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


def drawn(direction):
    """The anchors of the comparison as complex numbers, its windows and splits."""
    generator = torch.Generator().manual_seed(0)
    x = Box.of(FIELD)(WINDOWS["samples"], generator).numpy()
    t, s = UniformWindow(0.0, 2.0, 2.0, direction)(WINDOWS["samples"], generator)
    split = torch.rand(WINDOWS["samples"], generator=generator, dtype=torch.float64).numpy()
    return x[:, 0] + 1j * x[:, 1], (s - t).numpy(), split


def rms(values):
    return np.sqrt(np.mean(np.abs(values) ** 2))


@pytest.mark.parametrize("direction", ["backward", "forward", "both"])
def test_every_number_of_a_planted_error_is_that_of_its_formula(direction):
    """u (1 + a h), h = s - t, of a rotation: in complex numbers z' = i w z and turn = exp(i w h).

    The error is a h u; the residual a h (u + v), and along the path, where R = |z| is kept, its
    mean square is |a h u|^2 + (a w h R)^2 / 3; one jump multiplies z by 1 + (1 + a h) (turn - 1).
    """
    a = 0.1
    data = compare(off_by(a), FIELD, direction=direction, **WINDOWS)
    z, h, split = drawn(direction)

    def jump(h):
        return 1 + (1 + a * h) * (np.exp(1j * RATE * h) - 1)

    u = z * (np.exp(1j * RATE * h) - 1) / h
    of_sample = {
        "relative_error": a * h * u,
        "residual": a * h * (u + 1j * RATE * z),
        "semigroup_defect": z * (jump(h) - jump(split * h) * jump((1 - split) * h)) / h,
    }
    place = np.minimum(np.abs(h) // 0.5, 3)
    assert data["count"].values.tolist() == [(place == k).sum() for k in range(4)]
    for name, value in of_sample.items():
        assert float(data[f"total_{name}"]) == pytest.approx(rms(value) / rms(u), rel=1e-7), name
        in_class = [rms(value[place == k]) / rms(u[place == k]) for k in range(4)]
        assert data[name].values == pytest.approx(in_class, rel=1e-7), name
    for name, source in (("max_error", "relative_error"), ("max_residual", "residual")):
        size = np.abs(of_sample[source])
        assert float(data[f"total_{name}"]) == pytest.approx(size.max(), rel=1e-7), name
        largest = [size[place == k].max() for k in range(4)]
        assert data[name].values == pytest.approx(largest, rel=1e-7), name
    miss = [rms(z * (jump(h / k) ** k - np.exp(1j * RATE * h))) for k in (1, 2, 4, 8)]
    assert data.endpoint_error.values == pytest.approx(miss, rel=1e-7)
    assert data.relative_endpoint_error.values == pytest.approx(miss / rms(h * u), rel=1e-7)
    z, h, u = (value[: WINDOWS["paths"]] for value in (z, h, u))
    error = rms(a * h * u) / rms(u)
    bound = np.sqrt(rms(a * h * u) ** 2 + rms(a * RATE * h * z) ** 2 / 3) / rms(u)
    assert float(data.path_relative_error) == pytest.approx(error, rel=1e-7)
    assert float(data.path_bound) == pytest.approx(bound, rel=1e-7)


def test_the_error_of_the_truth_is_estimated_and_reported():
    """By the integrator's own estimate, which follows the tolerance; the true one is smaller."""
    rough, fine = (compare(off_by(0.0), FIELD, **WINDOWS, rtol=r, atol=r) for r in (1e-5, 1e-9))
    assert 0 < float(fine.total_exact_error) < 1e-2 * float(rough.total_exact_error) < 1e-5
    assert (rough.exact_error < 1e-3).all()
    for data in (rough, fine):  # the model is the closed form
        assert float(data.total_relative_error) < 10 * float(data.total_exact_error)


def test_a_class_without_samples_is_left_empty():
    data = compare(off_by(0.1), FIELD, start=0.0, end=2.0, samples=4, paths=2, bins=50)
    empty = data["count"].values == 0
    assert empty.sum() >= 46 and data["count"].sum() == 4
    for name in ("relative_error", "max_error", "residual", "max_residual"):
        assert (np.isnan(data[name].values) == empty).all(), name


def test_a_module_is_compared_in_evaluation_mode_and_left_in_its_own():
    class Noisy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.off = torch.nn.Dropout(0.5), torch.nn.Dropout(0.5).eval()

        def forward(self, x, *, t, s):
            return self.off(self.drop(turned(x, t, s)))

    model = Noisy()
    assert float(compare(model, FIELD, **WINDOWS).total_relative_error) < 1e-8
    assert (model.training, model.drop.training, model.off.training) == (True, True, False)
    with pytest.raises(ValueError, match="start < end"):
        compare(model, FIELD, start=1.0, end=0.0)
    assert model.training


def test_more_jumps_of_an_error_that_grows_with_the_window_miss_by_less():
    """Its error per jump is of second order, so twice the jumps halve the miss."""
    data = compare(off_by(0.1), FIELD, **WINDOWS, jumps=(4, 8, 16))
    miss = data.endpoint_error.values
    assert miss[0] / miss[1] == pytest.approx(2, abs=0.3)
    assert miss[1] / miss[2] == pytest.approx(2, abs=0.15)


def test_the_residual_along_a_path_bounds_its_error_and_averages_to_it():
    """Theory I1, to the accuracy of quadrature."""
    data = compare(off_by(0.1), FIELD, **WINDOWS)
    assert 0.01 < float(data.path_relative_error) <= float(data.path_bound)
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
    assert json.loads(data.attrs["versions"])["torch"] == version("torch")
    assert json.loads(data.attrs["tolerances"]) == {"rtol": 1e-8}
    assert "UniformWindow(start=0.0, end=2.0" in data.attrs["windows"]


def test_the_truth_may_be_given():
    def exact(field, position, start, end, *, label):
        assert label == "initial"
        return turned(*(torch.from_numpy(a) for a in (position, start, end))).numpy()

    data = compare(off_by(0.0), FIELD, **WINDOWS, exact=exact)
    assert float(data.total_relative_error) < 1e-15
    assert np.isnan(data.total_exact_error) and np.isnan(data.exact_error).all()


@pytest.mark.parametrize("wrong", [{"bins": 0}, {"jumps": ()}, {"paths": 501}, {"nodes": 0}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="paths between 1 and samples, got"):
        compare(off_by(0.0), FIELD, **(WINDOWS | wrong))


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"bins": 2.5}, "bins must be a whole number, got 2.5"),
        ({"bins": np.linspace(0, 1, 3)}, "bins must be a whole number, got array"),
        ({"jumps": 3}, r"jumps must be a sequence of whole numbers, got 3; try \(3,\)"),
        ({"jumps": (1, 1.5)}, "jumps must be whole numbers, got 1.5"),
        ({"samples": 1e3}, "samples must be a whole number, got 1000.0"),
    ],
)
def test_settings_of_the_wrong_type_are_refused(wrong, message):
    with pytest.raises(TypeError, match=message):
        compare(off_by(0.0), FIELD, **(WINDOWS | wrong))
