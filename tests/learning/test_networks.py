"""Features and initial weights."""

import pytest
import torch

from meanfluid.fields import double_gyre, rotation
from meanfluid.learning import MLP, Features
from tests.learning.closed_forms import anchors

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
X, T, S = anchors(16)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_features_are_of_order_one_and_repeat_on_periodic_axes():
    features = Features(
        [(-2.0, 2.0), (0.0, 3.0)], periodic=[False, True], time_range=(5.0, 9.0),
        windows=(-4.0, 4.0), dtype=torch.float64,
    )  # fmt: skip
    x = torch.tensor([[-2.0, 0.4], [2.0, 3.4]], dtype=torch.float64)
    t, s = torch.tensor([5.0, 9.0]).double(), torch.tensor([9.0, 5.0]).double()
    first, second = features(x, t, s)
    assert first[:3].tolist() == [-1.0, -1.0, 1.0]
    assert second[:3].tolist() == [1.0, 1.0, -1.0]
    torch.testing.assert_close(first[3:], second[3:])
    assert features.size == 5


def test_a_time_period_makes_the_network_periodic_in_the_anchor_at_fixed_duration():
    network = MLP(Features([(0, 1), (0, 1)], time_period=0.7, windows=(-2, 2)), generator=seeded())
    x, t, s = X.float(), T.float(), S.float()
    torch.testing.assert_close(network(x, t, s), network(x, t + 0.7, s + 0.7), atol=1e-5, rtol=0)


def test_a_frame_that_turns_with_the_particle_sees_it_at_rest():
    features = Features([(-2.0, 2.0)] * 2, rotation=1.5, time_range=None, dtype=torch.float64)
    angle = 1.5 * T
    x = torch.stack([torch.cos(angle), torch.sin(angle)], 1)
    seen = features(x, T, S)
    assert features.size == 5
    torch.testing.assert_close(seen[:, [1, 3]], torch.tensor([0.5, 0.0]).double().expand(16, 2))


def test_half_waves_of_a_box_reach_from_wall_to_wall():
    features = Features([(1.0, 3.0)], half_waves=2, time_range=None, dtype=torch.float64)
    ends = features(torch.tensor([[1.0], [3.0]]).double(), T[:2], S[:2])
    torch.testing.assert_close(ends[:, 2:4], torch.zeros(2, 2).double())  # sines
    torch.testing.assert_close(ends[:, 4:], torch.tensor([[1.0, 1.0], [-1.0, 1.0]]).double())


def test_a_steady_field_leaves_the_anchor_time_out():
    steady = MLP.for_field(rotation(), windows=(-1, 0), generator=seeded())
    unsteady = MLP.for_field(double_gyre(), windows=(-1, 0), time_range=(0, 10), generator=seeded())
    assert (steady.features.size, unsteady.features.size) == (3, 4)


def test_initial_weights_come_from_the_generator_alone():
    state = torch.random.get_rng_state()
    one, same, other = (
        MLP(Features([(0, 1)]), generator=seeded(k)).layers[1].weight for k in (3, 3, 4)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"box": [(1.0, 0.0)]}, r"lower < upper, got \[\(1.0, 0.0\)\]"),
        ({"box": [(0, 1)], "periodic": [True, False]}, "one bool per coordinate, 1, got 2"),
        ({"box": [(0, 1)], "time_range": (1.0, 1.0)}, "time_range must increase"),
        ({"box": [(0, 1)], "time_range": (0.0, 1.0), "time_period": 2.0}, "not both, got"),
        ({"box": [(0, 1)], "time_period": -1.0}, "time_period must be positive, got -1.0"),
        ({"box": [(0, 1)], "windows": (0.0, -1.0)}, r"highest\) of s - t, got \(0.0, -1.0\)"),
        ({"box": [(0, 1)], "harmonics": 0}, "harmonics must be at least 1, got 0"),
        ({"box": [(0, 1)], "half_waves": -1}, "half_waves must not be negative, got -1"),
        ({"box": [(0, 1)], "rotation": 1.0}, "rotation needs an open plane, got 1 coordinates"),
    ],
)
def test_features_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Features(**options)


def test_an_unsteady_field_needs_a_range_of_times():
    with pytest.raises(ValueError, match="double_gyre is unsteady: give time_range"):
        MLP.for_field(double_gyre(), windows=(-1, 0), generator=seeded())
