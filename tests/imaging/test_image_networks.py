"""Image networks: forward mode, symmetries, weights, conditions and refusals."""

import pytest
import torch

from meanfluid.imaging.networks import ResidualMLP
from meanfluid.imaging.transformer import DiT
from meanfluid.imaging.unet import UNet
from meanfluid.learning import AverageVelocity, check_jvp

CLASSES = 3
SMALL = {
    "mlp": lambda **o: ResidualMLP((2, 8, 8), width=16, depth=2, **o),
    "unet": lambda **o: UNet((2, 8, 8), widths=(8, 16), **o),
    "periodic unet": lambda **o: UNet((2, 8, 8), widths=(8, 16), heads=2, periodic=True, **o),
    "dit": lambda **o: DiT((2, 8, 8), width=8, depth=2, heads=2, **o),
    "periodic dit": lambda **o: DiT((2, 8, 8), width=8, depth=2, heads=2, periodic=True, **o),
}
every_network = pytest.mark.parametrize("kind", SMALL)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(kind, *, seed=0, dtype=torch.float64, **options):
    """A network whose weights are all away from zero, as after some training."""
    generator = seeded(seed)
    network = SMALL[kind](generator=generator, dtype=dtype, **{"classes": CLASSES, **options})
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.2 * torch.randn(weight.shape, generator=generator, dtype=dtype)
    return network


def inputs(n=4, *, shape=(2, 8, 8), dtype=torch.float64, seed=1):
    generator = seeded(seed)
    x = torch.randn(n, *shape, generator=generator, dtype=dtype)
    t, s = torch.rand(2, n, generator=generator, dtype=dtype)
    return x, t, s, torch.randint(0, CLASSES + 1, (n,), generator=generator)


def derivative(network, x, t, s, condition):
    """Value and derivative along (x / 2 + 1, 1, -1/3)."""
    along = x / 2 + 1, torch.ones_like(t), torch.full_like(s, -1 / 3)
    return torch.func.jvp(lambda x, t, s: network(x, t, s, condition), (x, t, s), along)


@every_network
def test_forward_mode_equals_a_central_difference_of_fourth_order(kind):
    network, (x, t, s, condition) = drawn(kind), inputs()
    _, found = derivative(network, x, t, s, condition)

    def beside(k):
        return network(x + k * (x / 2 + 1), t + k, s - k / 3, condition).detach()

    h = 5e-5
    expected = (8 * (beside(h) - beside(-h)) - (beside(2 * h) - beside(-2 * h))) / (12 * h)
    assert (found - expected).norm() < 1e-8 * expected.norm()


@every_network
def test_the_doctor_of_forward_mode_finds_nothing(kind):
    network = SMALL[kind](generator=seeded(), classes=CLASSES)
    x, _, _, condition = inputs()
    check = check_jvp(network, x=x, condition=condition, generator=seeded())
    assert check.safe and check.error < 1e-8
    assert not check.findings


def check_compiled(network, arguments):
    """Forward mode, traced as a whole but run by eager kernels, gives the eager result."""
    torch.compiler.reset()
    compiled = torch.compile(
        lambda *a: derivative(network, *a), backend="aot_eager", fullgraph=True
    )
    with torch.no_grad():
        for one, other in zip(compiled(*arguments), derivative(network, *arguments), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_forward_mode_compiles_through_convolutions_and_attention():
    network = UNet(
        (1, 4, 4), widths=(8,), heads=1, periodic=True, classes=CLASSES, generator=seeded(),
        dtype=torch.float64,
    )  # fmt: skip
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.2 * torch.randn(weight.shape, generator=seeded(1), dtype=torch.float64)
    check_compiled(network, inputs(shape=(1, 4, 4)))


@pytest.mark.slow
@every_network
def test_forward_mode_compiles_through_every_network(kind):
    check_compiled(drawn(kind), inputs())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # of torch's own compiler
@every_network
def test_a_compiled_material_loss_and_its_gradients_equal_the_eager_ones(kind):
    network, (x, t, s, condition) = drawn(kind, dtype=torch.float32), inputs(dtype=torch.float32)

    def loss():
        with torch.no_grad():
            _, change = derivative(network, x, t, s, condition)
        u = network(x, t, s, condition)
        return ((u - (s - t)[:, None, None, None] * change) ** 2).mean()

    torch.compiler.reset()
    values, gradients = [], []
    for function in (loss, torch.compile(loss, fullgraph=True)):
        network.zero_grad()
        value = function()
        value.backward()
        values.append(value.detach())
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    torch.testing.assert_close(*values, rtol=1e-5, atol=0)
    assert (gradients[1] - gradients[0]).norm() < 1e-4 * gradients[0].norm()


@every_network
def test_the_generator_alone_draws_the_weights(kind):
    state = torch.random.get_rng_state()
    one, same, other = (
        torch.cat([p.flatten() for p in SMALL[kind](generator=seeded(k)).parameters()])
        for k in (3, 3, 4)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.isfinite(one).all()


@every_network
def test_a_new_network_begins_near_zero(kind):
    x, t, s, condition = inputs(32)
    network = SMALL[kind](generator=seeded(), classes=CLASSES, dtype=torch.float64)
    assert 1e-3 < network(x, t, s, condition).square().mean().sqrt() < 0.1


@every_network
def test_gradients_reach_every_weight(kind):
    network, (x, t, s, condition) = drawn(kind), inputs(16)
    network(x, t, s, condition).square().sum().backward()
    for name, weight in network.named_parameters():
        gradient = weight.grad
        if name == "context.classes":
            gradient = gradient[condition.unique()]
        size = gradient.flatten(1).norm(dim=1) if gradient.ndim > 1 else gradient.norm()
        assert (size > 0).all(), name


@every_network
def test_every_weight_learns_from_the_second_step_on(kind):
    network = SMALL[kind](generator=seeded(), classes=CLASSES, dtype=torch.float64)
    before = [p.detach().clone() for p in network.parameters()]
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    x, t, s, condition = inputs(16)
    for _ in range(3):
        optimiser.zero_grad()
        (network(x, t, s, condition) - 1).square().mean().backward()
        optimiser.step()
    for old, (name, new) in zip(before, network.named_parameters(), strict=True):
        assert not torch.equal(old, new), name


@every_network
def test_the_class_changes_the_result_row_by_row_and_the_null_class_is_one_more(kind):
    network, (x, t, s, _) = drawn(kind), inputs(1)
    many = [a.expand(CLASSES + 1, *a.shape[1:]) for a in (x, t, s)]
    found = network(*many, torch.arange(CLASSES + 1)).flatten(1)
    assert (torch.pdist(found) > 1e-3).all()
    alone = network(x, t, s, torch.tensor([CLASSES]))
    torch.testing.assert_close(found[-1:], alone.flatten(1), rtol=1e-12, atol=1e-12)


@every_network
def test_both_times_change_the_result(kind):
    network, (x, t, s, condition) = drawn(kind), inputs()
    value = network(x, t, s, condition)
    for other in (network(x, t + 0.1, s, condition), network(x, t, s + 0.1, condition)):
        assert (other - value).norm() > 1e-3 * value.norm()


@pytest.mark.parametrize("kind", ["periodic unet", "periodic dit"])
@pytest.mark.parametrize("shift", [(2, 0), (-2, 4)])
def test_a_periodic_network_follows_shifts_by_whole_cells(kind, shift):
    network, (x, t, s, condition) = drawn(kind), inputs()
    moved = network(x.roll(shift, (2, 3)), t, s, condition)
    expected = network(x, t, s, condition).roll(shift, (2, 3))
    torch.testing.assert_close(moved, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kind", ["unet", "dit"])
def test_a_network_with_borders_does_not(kind):
    network, (x, t, s, condition) = drawn(kind), inputs()
    moved = network(x.roll(2, 2), t, s, condition)
    expected = network(x, t, s, condition).roll(2, 2)
    assert (moved - expected).norm() > 1e-3 * expected.norm()


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("wide", [False, True])
def test_larger_images_come_back_in_their_shape(size, periodic, wide):
    shape = (1, size, 2 * size if wide else size)
    options = {"periodic": periodic, "generator": seeded()}
    x, t, s, _ = inputs(1, shape=shape, dtype=torch.float32)
    for network in (
        UNet(shape, widths=(8, 8, 16), **options),
        DiT(shape, patch=8, width=8, depth=1, heads=2, **options),
        ResidualMLP(shape, width=8, depth=1, generator=seeded()),
    ):
        assert network(x, t, s).shape == x.shape


def test_a_unet_takes_images_of_other_sizes():
    network = drawn("periodic unet")
    x, t, s, condition = inputs()
    tiled = network(x.repeat(1, 1, 2, 3), t, s, condition)
    torch.testing.assert_close(tiled, network(x, t, s, condition).repeat(1, 1, 2, 3))


@every_network
def test_networks_serve_as_average_velocities(kind):
    x, t, s, condition = inputs()
    network, told = drawn(kind, classes=0), drawn(kind)
    model = AverageVelocity(None, network, tangent="free")
    torch.testing.assert_close(model(x, t=t, s=s), network(x, t, s))
    model = AverageVelocity(None, told, tangent="free")
    found = model(x, t=t, s=s, condition=condition)
    torch.testing.assert_close(found, told(x, t, s, condition))


def test_digits_have_sensible_defaults():
    for kind, least, most in ((ResidualMLP, 0.3e6, 1e6), (DiT, 0.3e6, 1e6), (UNet, 0.05e6, 1e6)):
        network = kind((1, 8, 8), classes=10, generator=seeded())
        assert least < sum(p.numel() for p in network.parameters()) < most


@pytest.mark.parametrize("kind", [UNet, DiT, ResidualMLP])
@pytest.mark.parametrize(
    "options, message",
    [
        ({"shape": (8, 8)}, r"shape must be \(channels, height, width\), got \(8, 8\)"),
        ({"classes": -1}, "classes must be how many there are, 0 for none, got -1"),
        ({"depth": 0}, "at least 1, got .*0"),
    ],
)
def test_networks_that_make_no_sense_are_refused(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**{"shape": (1, 8, 8), "generator": seeded(), **options})


@pytest.mark.parametrize(
    "kind, options, message",
    [
        (DiT, {"shape": (1, 9, 8)}, "multiples of patch=2, got 9 and 8"),
        (DiT, {"width": 10, "heads": 3}, "multiple of heads, got 10 and 3"),
        (UNet, {"shape": (1, 8, 6), "widths": (8, 8, 8)}, "multiples of 4, .* got 8 and 6"),
        (UNet, {"widths": (8, 12)}, r"multiples of 8.*got \(8, 12\)"),
        (UNet, {"widths": ()}, r"got \(\)"),
    ],
)
def test_sizes_that_do_not_divide_are_refused(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**{"shape": (1, 8, 8), "generator": seeded(), **options})


X, T, S, C = inputs(4)


@every_network
@pytest.mark.parametrize(
    "arguments, message",
    [
        ((X[:, :1], T, S, C), r"with 2 channels, got \(4, 1, 8, 8\)"),
        ((X[0], T, S, C), r"with 2 channels, got \(2, 8, 8\)"),
        ((X[..., :7], T, S, C), "got .*8.*7"),
        ((X.float(), T, S, C), "x must be torch.float64 like the network, got torch.float32"),
        ((X, T.float(), S, C), "t must be torch.float64 like the network"),
        ((X, T[:, None], S, C), r"one time per image, shape \(4,\), got \(4, 1\) and \(4,\)"),
        ((X, T, S[:1], C), r"one time per image, shape \(4,\), got \(4,\) and \(1,\)"),
        ((X, T, S), "has 3 classes and needs a condition; for none pass the null class, 3"),
        ((X, T, S, C.int()), "int64 of shape .4,., got torch.int32"),
        ((X, T, S, C[:1]), r"got torch.int64 of shape \(1,\)"),
        ((X, T, S, torch.tensor([0, 1, 4, 2])), "from 0 to 2, or 3 for none, got .* 0 to 4"),
        ((X, T, S, torch.tensor([0, 1, -1, 2])), "from 0 to 2, or 3 for none, got .* -1 to 2"),
    ],
)
def test_calls_that_make_no_sense_are_refused(kind, arguments, message):
    network = SMALL[kind](generator=seeded(), classes=CLASSES, dtype=torch.float64)
    with pytest.raises(ValueError, match=message):
        network(*arguments)


def test_a_condition_without_classes_is_refused():
    network = SMALL["mlp"](generator=seeded(), dtype=torch.float64)
    with pytest.raises(ValueError, match="no classes, so it takes no condition"):
        network(X, T, S, C)
