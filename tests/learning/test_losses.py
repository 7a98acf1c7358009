"""Losses: zero at the truth, gradients of the frozen target, weights, raw residual."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from meanfluid.learning import (
    MLP,
    AverageVelocity,
    Features,
    at_rest,
    endpoint_loss,
    material_loss,
    semigroup_loss,
    supervised_loss,
)
from meanfluid.learning.identity import free_end_derivative, material_derivative
from tests.learning.closed_forms import AffineAverage, Wrapped, affine_velocity, anchors

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
ROOT = Path(__file__).parents[2]
X, T, S = anchors(48)
BATCH = {"x": X, "t": T, "s": S}
WINDOW = (S - T)[:, None]
V = affine_velocity(X, T)
EXACT = AverageVelocity(affine_velocity, AffineAverage(), tangent="free")
LOSSES = {
    "material": partial(material_loss, grad_through_jvp=0.0, window_power=0.0),
    "through": material_loss,
    "endpoint": endpoint_loss,
    "semigroup": partial(semigroup_loss, split=0.3),
    "supervised": partial(supervised_loss, mean=AffineAverage()(X, T, S)),
}


def learner(by_hand=True):
    generator = torch.Generator().manual_seed(5)
    features = Features([(-2.0, 2.0)] * 2, dtype=torch.float64)
    network = MLP(features, width=12, depth=2, generator=generator)
    return AverageVelocity(affine_velocity, network if by_hand else Wrapped(network.forward))


def gradient(model, value):
    inputs = [p for p in learner().parameters()]
    parameters = list(model.parameters()) or list(model.network.function.__self__.parameters())
    assert len(inputs) == len(parameters)
    return torch.cat([g.reshape(-1) for g in torch.autograd.grad(value, parameters)])


@pytest.mark.parametrize("name", LOSSES)
def test_the_exact_average_has_no_residual(name):
    value = LOSSES[name](EXACT, **BATCH)
    assert value.residual < 1e-13
    assert value.loss < 1e-20


@pytest.mark.parametrize("name", LOSSES)
def test_anything_else_has_one(name):
    assert LOSSES[name](learner(), **BATCH).residual > 0.02


@pytest.mark.parametrize("by_hand", [True, False])
@pytest.mark.parametrize("name", ["material", "endpoint", "semigroup"])
def test_the_gradient_is_that_of_a_target_frozen_by_hand(name, by_hand):
    model = learner(by_hand)
    with torch.no_grad():
        u = model(X, t=T, s=S)
        middle = T + 0.3 * (S - T)
        first = model(X, t=T, s=middle)
        second = model(X + (middle - T)[:, None] * first, t=middle, s=S)
        end = affine_velocity(X + WINDOW * u, S)
        target, scale = {
            "material": lambda: (
                V + WINDOW * material_derivative(model, X, t=T, s=S, advection=V)[1], V
            ),
            "endpoint": lambda: (
                end - WINDOW * free_end_derivative(model, X, t=T, s=S)[1], end
            ),
            "semigroup": lambda: (0.3 * first + 0.7 * second,) * 2,
        }[name]()  # fmt: skip
    value = LOSSES[name](model, **BATCH, power=0.0)
    square = (model(X, t=T, s=S) - target).square().sum(1).mean()
    by_target = square / scale.square().sum(1).mean()
    torch.testing.assert_close(value.loss, by_target, rtol=1e-12, atol=0)
    torch.testing.assert_close(
        gradient(model, value.loss), gradient(model, by_target), rtol=1e-10, atol=1e-13
    )


def test_the_gradient_through_the_derivative_is_that_of_the_whole_residual():
    model = learner()
    u, derivative = material_derivative(model, X, t=T, s=S, advection=V)
    rho = u - V - WINDOW * derivative
    whole = gradient(model, rho.square().sum(1).mean() / V.square().sum(1).mean())

    def by_share(share):
        options = {"power": 0.0, "window_power": 0.0, "grad_through_jvp": share}
        return gradient(model, material_loss(model, **BATCH, **options).loss)

    torch.testing.assert_close(by_share(True), whole, rtol=1e-10, atol=1e-13)
    assert (by_share(0) - whole).norm() > 0.1 * whole.norm()
    torch.testing.assert_close(by_share(0.5), (by_share(0) + whole) / 2, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_weights_are_the_power_given_and_the_residual_stays_raw(power):
    model, offset = learner(), 1e-3
    e = (model(X, t=T, s=S) - 2 * V).square().sum(1) / (2 * V).square().sum(1).mean()
    value = supervised_loss(model, **BATCH, mean=2 * V, power=power, offset=offset)
    torch.testing.assert_close(value.loss, (e / (e + offset) ** power).mean())
    torch.testing.assert_close(value.residual, e.mean().sqrt())
    assert not value.residual.requires_grad


@pytest.mark.parametrize("tangent, power", [("exact", 1.0), ("free", 0.0)])
def test_short_windows_weigh_more_where_the_network_is_multiplied_by_the_window(tangent, power):
    model = learner()
    model.tangent = tangent
    u, derivative = material_derivative(model, X, t=T, s=S, advection=V)
    e = (u - V - WINDOW * derivative).square().sum(1) / V.square().sum(1).mean()
    typical = (S - T).square().mean().sqrt()
    expected = (e**0.75 * ((S - T).abs() / typical) ** -power).mean()
    torch.testing.assert_close(material_loss(model, **BATCH).loss, expected, rtol=1e-6, atol=0)


def test_losses_do_not_depend_on_the_unit_of_velocity():
    """Averaging 1000 v over times 1000 times shorter gives 1000 u."""
    fast = AverageVelocity(
        lambda x, t: 1e3 * affine_velocity(x, 1e3 * t),
        Wrapped(lambda x, t, s: 1.3e3 * AffineAverage()(x, 1e3 * t, 1e3 * s)),
        tangent="free",
    )
    slow = AverageVelocity(
        affine_velocity, Wrapped(lambda x, t, s: 1.3 * AffineAverage()(x, t, s)), tangent="free"
    )
    one = material_loss(fast, X, t=T / 1e3, s=S / 1e3)
    other = material_loss(slow, **BATCH)
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("by_hand", [True, False])
@pytest.mark.parametrize("through", [True, False])
def test_empty_windows_are_plain_regression_on_the_velocity(by_hand, through):
    model = learner(by_hand)
    model.tangent = "free"
    half = torch.arange(48) % 2 == 0
    s = torch.where(half, T, S)
    value = material_loss(model, X, t=T, s=s, power=0.0, grad_through_jvp=float(through))
    u, derivative = material_derivative(model, X, t=T, s=S, advection=V)
    residual = torch.where(half[:, None], model(X, t=T, s=T) - V, u - V - WINDOW * derivative)
    expected = residual.square().sum(1).mean() / V.square().sum(1).mean()
    torch.testing.assert_close(value.loss, expected)
    value.loss.backward()


def test_gradients_at_the_default_settings_are_those_of_the_formula():
    """Half through the derivative, weights e^(-1/4) and the inverse window, both frozen."""
    model = learner()
    u, derivative = material_derivative(model, X, t=T, s=S, advection=V)
    target = V + WINDOW * (derivative / 2 + derivative.detach() / 2)
    e = (u - target).square().sum(1) / V.square().sum(1).mean()
    window = (S - T).abs()
    weight = (e.detach() + 1e-10) ** -0.25 / (window / window.square().mean().sqrt())
    expected = gradient(model, (weight * e).mean())
    actual = gradient(model, material_loss(model, **BATCH).loss)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("power", [0.25, 0.5, 1.0, 3.0])
def test_without_an_offset_a_row_without_residual_has_a_finite_weight(power, dtype):
    model = learner().to(dtype)
    batch = {name: value.to(dtype) for name, value in BATCH.items()}
    mean = model(**batch).detach()
    loss = supervised_loss(model, **batch, mean=mean, power=power, offset=0.0).loss
    assert loss == 0
    assert gradient(model, loss).abs().max() == 0
    model = AverageVelocity(lambda x, t: torch.ones_like(x), Wrapped(lambda x, t, s: 0 * x))
    short = {"x": batch["x"], "t": batch["t"], "s": batch["t"]}
    assert material_loss(model, **short, power=power, offset=0.0).loss == 0


def test_a_scalar_is_carried_along_the_velocity_of_the_model_unless_told_otherwise():
    """v = 1, g = x^2, mean of (x + h')^2 over h' from 0 to h: x^2 + x h + h^2 / 3."""

    def height(x, t):
        return x**2

    def mean(x, t, s):
        return x**2 + x * (s - t)[:, None] + (s - t)[:, None] ** 2 / 3

    batch = BATCH | {"x": X[:, :1]}
    uniform = AverageVelocity(lambda x, t: torch.ones_like(x), Wrapped(mean), tangent="free")
    assert material_loss(uniform, **batch, observable=height).residual < 1e-13
    assert material_loss(uniform, **batch, observable=height, along=height).residual > 0.1
    unknown = AverageVelocity(None, Wrapped(mean), tangent="free")
    carried_by_itself = material_loss(unknown, **batch, observable=height)
    told = material_loss(uniform, **batch, observable=height, along=height)
    assert carried_by_itself[:2] == told[:2]


def test_the_eulerian_mean_is_the_same_loss_carried_along_nothing():
    eulerian = Wrapped(lambda x, t, s: affine_velocity(x, (t + s) / 2))
    model = AverageVelocity(affine_velocity, eulerian, tangent="free")
    assert material_loss(model, **BATCH, along=at_rest).residual < 1e-13
    assert material_loss(model, **BATCH).residual > 0.1


def test_observable_and_carrier_may_be_values_instead_of_functions():
    """As in generative training, where only samples of the velocity are known."""
    nameless = AverageVelocity(None, AffineAverage(), tangent="free")
    assert material_loss(nameless, **BATCH, observable=V).residual < 1e-13
    with pytest.raises(ValueError, match="built without a velocity"):
        material_loss(nameless, **BATCH)


def test_an_average_of_a_scalar_needs_as_many_outputs():
    def height(x, t):
        return x[:, :1]

    with pytest.raises(ValueError, match=r"returns shape \(48, 2\) .* \(48, 1\) is wanted"):
        material_loss(EXACT, **BATCH, observable=height)
    empty = BATCH | {"s": torch.where(torch.arange(48) % 2 == 0, T, BATCH["s"])}
    with pytest.raises(ValueError, match=r"returns shape \(48, 2\) .* \(48, 1\) is wanted"):
        material_loss(EXACT, **empty, observable=height)


@pytest.mark.parametrize("name", ["observable", "along"])
@pytest.mark.parametrize("some_empty", [False, True])
def test_values_of_another_number_of_rows_are_refused(name, some_empty):
    s = torch.where(torch.arange(48) % 2 == 0, T, BATCH["s"]) if some_empty else BATCH["s"]
    with pytest.raises(ValueError, match=r"one row per row of x, 48, got shape \(7, 2\)"):
        material_loss(EXACT, **(BATCH | {"s": s}), **{name: V[:7]})


@pytest.mark.parametrize("split", [0.0, 1.0, 1.5])
def test_a_split_outside_the_window_is_refused(split):
    with pytest.raises(ValueError, match=f"strictly between 0 and 1, got {split}"):
        semigroup_loss(EXACT, **BATCH, split=split)


def test_means_of_another_dtype_are_refused():
    with pytest.raises(ValueError, match=r"mean must be torch.float64 .* got torch.float32"):
        supervised_loss(EXACT, **BATCH, mean=V.float())


def test_distributed_models_get_the_same_loss_and_gradient():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.learning.distributed_run"],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["loss"] > 1e-3 and found["gradient"] > 1e-3
    assert found["loss_away"] == found["residual_away"] == 0
    assert found["gradient_away"] < 1e-12


@pytest.mark.parametrize("through", [0.0, 0.5])
def test_saying_how_many_windows_are_not_empty_changes_nothing(through):
    x, t, s = anchors(32)
    s = torch.where(torch.arange(32) % 4 == 0, s, t)
    found = []
    for moving in (None, 8, 20):
        model = learner()
        value = material_loss(model, x, t=t, s=s, grad_through_jvp=through, moving=moving)
        gradient = torch.autograd.grad(value.loss, list(model.parameters()))
        found.append([value.loss, *gradient])
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-12, atol=1e-14)


def test_more_windows_than_said_are_an_error():
    x, t, s = anchors(32)
    with pytest.raises(ValueError, match="moving=8, but 32 windows"):
        material_loss(learner(), x, t=t, s=s, moving=8)
    with pytest.raises(ValueError, match="from 0 to the 32 rows"):
        material_loss(learner(), x, t=t, s=s, moving=33)
