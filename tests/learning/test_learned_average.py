"""The model around a network: limit, tangents, shapes, dtypes, refusals."""

import copy

import pytest
import torch
from torch import nn

from meanfluid.fields import double_gyre, rotation
from meanfluid.learning import MLP, AverageVelocity, Features, material_derivative
from meanfluid.learning.tangent_pass import value_and_tangent
from tests.learning.closed_forms import AffineAverage, Wrapped, affine_velocity, anchors

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
X, T, S = anchors(32)


def network(dtype=torch.float64, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    features = Features([(-1.0, 1.0), (0.0, 2.0)], dtype=dtype, **options)
    return MLP(features, width=16, depth=2, generator=generator)


@pytest.mark.parametrize("tangent", ["exact", "free"])
def test_an_empty_window_gives_the_velocity_only_if_hard_wired(tangent):
    model = AverageVelocity(affine_velocity, network(), tangent=tangent)
    error = (model(X, t=T, s=T) - affine_velocity(X, T)).abs().max()
    assert (error == 0) == (tangent == "exact")


@pytest.mark.parametrize("tangent", ["exact", "free"])
@pytest.mark.parametrize(
    "features",
    [
        {"periodic": [True, False], "time_period": 2.0, "harmonics": 2, "windows": (-0.7, 0)},
        {"half_waves": 3, "rotation": 1.7},
        {"time_range": None},
    ],
)
def test_the_tangent_written_by_hand_equals_forward_mode(tangent, features):
    by_hand = network(**features)
    generic = Wrapped(by_hand.forward)
    v = affine_velocity(X, T)
    results = [
        material_derivative(
            AverageVelocity(affine_velocity, net, tangent=tangent, scale=0.7),
            X, t=T, s=S, advection=v, differentiable=differentiable,
        )
        for net in (by_hand, generic)
        for differentiable in (True, False)
    ]  # fmt: skip
    for u, du in results[1:]:
        torch.testing.assert_close(u, results[0][0], rtol=0, atol=1e-14)
        torch.testing.assert_close(du, results[0][1], rtol=0, atol=1e-13)


@pytest.mark.parametrize("differentiable", [True, False])
def test_gradients_with_the_tangent_by_hand_equal_those_of_autograd(differentiable):
    by_hand = network()
    weight = torch.linspace(0.5, 1.5, 2 * len(X), dtype=torch.float64).reshape(-1, 2)
    gradients = []
    for net in (by_hand, Wrapped(by_hand.forward)):
        by_hand.zero_grad()
        model = AverageVelocity(affine_velocity, net)
        u, du = material_derivative(
            model, X, t=T, s=S, advection=affine_velocity(X, T), differentiable=differentiable
        )
        assert du.requires_grad == differentiable
        (u * weight).sum().backward() if not differentiable else (u * du).sum().backward()
        gradients.append([p.grad.clone() for p in by_hand.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)


def test_flow_in_jumps_follows_an_exact_average_whatever_their_number():
    model = AverageVelocity(affine_velocity, AffineAverage(), tangent="free")
    ends = [model.flow(X, t=T, s=S, jumps=k) for k in (1, 3, 8)]
    torch.testing.assert_close(ends[1], ends[0], rtol=0, atol=1e-14)
    torch.testing.assert_close(ends[2], ends[0], rtol=0, atol=1e-14)
    torch.testing.assert_close(X + model.displacement(X, t=T, s=S), ends[0])


def test_times_may_be_numbers_or_one_per_particle():
    model = AverageVelocity(affine_velocity, network())
    scalar = model(X, t=0.5, s=0.25)
    torch.testing.assert_close(scalar, model(X, t=torch.full((32,), 0.5).double(), s=0.25))


def test_a_field_follows_the_dtype_of_the_model_and_survives_copying():
    model = AverageVelocity(double_gyre(), network(torch.float32))
    assert model(X.float(), t=0.1, s=0.2).dtype == torch.float32
    assert copy.deepcopy(model).double()(X, t=0.1, s=0.2).dtype == torch.float64


def test_a_module_given_as_velocity_is_not_trained():
    velocity = nn.Linear(2, 2)
    model = AverageVelocity(lambda x, t: velocity(x), network(torch.float32))
    other = AverageVelocity(Wrapped(lambda x, t, s: x), network(torch.float32))
    assert len(list(model.parameters())) == len(list(other.parameters())) == 6


def test_a_velocity_that_cannot_be_differentiated_needs_the_free_tangent():
    def sampled(x, t):
        return torch.from_numpy(x.detach().numpy()[:, ::-1].copy())

    hard = AverageVelocity(sampled, network())
    with pytest.raises(ValueError, match='use tangent="free"'):
        material_derivative(hard, X, t=T, s=S, advection=sampled(X, T))
    free = AverageVelocity(sampled, network(), tangent="free")
    material_derivative(free, X, t=T, s=S, advection=sampled(X, T))


@pytest.mark.parametrize("by_hand", [True, False])
def test_outputs_that_would_be_broadcast_against_the_velocity_are_refused(by_hand):
    generator = torch.Generator().manual_seed(0)
    features = Features([(-1.0, 1.0)] * 2, dtype=torch.float64)
    single = MLP(features, outputs=1, width=4, depth=1, generator=generator)
    model = AverageVelocity(affine_velocity, single if by_hand else Wrapped(single.forward))
    message = r"network returns shape \(32, 1\) and the velocity \(32, 2\)"
    with pytest.raises(ValueError, match=message):
        model(X, t=T, s=S)
    with pytest.raises(ValueError, match=message):
        material_derivative(model, X, t=T, s=S, advection=affine_velocity(X, T))
    model.tangent = "free"
    assert model(X, t=T, s=S).shape == (32, 1)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda m: m(X[0], t=T, s=S),
            r"shape \(particles, dimension\) or \(images, ...\), got \(2,\)",
        ),
        (lambda m: m(X.float(), t=0.0, s=1.0), r"must be torch.float64 .* got torch.float32"),
        (lambda m: m(X, t=T[:5], s=S), r"shape \(32,\), got \(5,\)"),
        (lambda m: m.flow(X, t=T, s=S, jumps=0), "jumps must be at least 1, got 0"),
        (lambda m: AverageVelocity(None, m.network), "needs a velocity"),
        (lambda m: AverageVelocity(3.0, m.network), "VelocityField or a function .* got 3.0"),
        (lambda m: AverageVelocity(rotation(), m.network, tangent="hard"), "got 'hard'"),
        (lambda m: AverageVelocity(rotation(), m.network, scale=0.0), "positive .* got 0.0"),
        (lambda m: AverageVelocity(None, m.network, tangent="free").velocity(X, T), "without a"),
    ],
)
def test_misuse_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(AverageVelocity(affine_velocity, network()))


def test_the_pass_written_by_hand_has_the_derivatives_of_its_formulas():
    """In parameters and inputs, against finite differences."""
    generator = torch.Generator().manual_seed(3)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    weights, biases = [draw(4, 3), draw(4, 4), draw(2, 4)], [draw(4), draw(4), draw(2)]

    def by_hand(h, dh, *parameters):
        return value_and_tangent(h, dh, parameters[:3], parameters[3:], differentiable=True)

    assert torch.autograd.gradcheck(by_hand, (draw(5, 3), draw(5, 3), *weights, *biases))
