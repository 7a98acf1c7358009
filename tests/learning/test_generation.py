"""Learning from pairs of data and noise, held against the exact path of a Gaussian."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from meanfluid.learning import (
    MLP,
    AverageVelocity,
    Curriculum,
    Features,
    Guidance,
    NoisePath,
    Queried,
    UniformTriangle,
    UniformWindow,
    fit,
    generative_loss,
    material_loss,
)
from tests.learning.closed_forms import LINE, PLANE, Wrapped

N = 20_000
LABELS = torch.arange(5).repeat_interleave(40)
ROWS = torch.arange(200, dtype=torch.float64)[:, None]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def gaussian_data(path, n, seed=0):
    root = path.axes * path.spread.sqrt()
    return path.mean + normal(n, len(path.mean), seed=seed) @ root.T


def always(t, s):
    """Sampler of one window."""
    return lambda n, generator: (torch.full((n,), t), torch.full((n,), s))


# ---------------------------------------------------------------- Batches
def test_points_lie_on_lines_between_the_data_and_standard_noise():
    data = gaussian_data(PLANE, N)
    batch = NoisePath(data, UniformTriangle())(N, seeded(1))
    t = batch["t"][:, None]
    ends, noise = batch["x"] - t * batch["observable"], batch["x"] + (1 - t) * batch["observable"]
    order, expected = ends[:, 0].argsort(), data[:, 0].argsort()
    torch.testing.assert_close(ends[order], data[expected], rtol=0, atol=1e-12)
    assert noise.mean(0).abs().max() < 4 / math.sqrt(N)
    assert (torch.cov(noise.T) - torch.eye(2)).abs().max() < 4 * math.sqrt(2 / N)
    centred = data[expected] - data.mean(0)
    assert (centred.T @ noise[order] / N).abs().max() < 4 / math.sqrt(N)  # independent of the data
    assert (batch["s"] <= batch["t"]).all()


@pytest.mark.parametrize("t", [0.2, 0.9])
def test_the_mean_of_noise_minus_data_at_a_point_is_the_velocity(t):
    """Linear in z for a Gaussian: the fitted line is v, within four standard errors."""
    batch = NoisePath(gaussian_data(PLANE, N), always(t, 0.1))(N, seeded(1))
    z, observable = batch["x"], batch["observable"]
    times = torch.full((3,), t, dtype=torch.float64)
    places = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    at = PLANE.velocity(places, times)
    expected = torch.stack([at[0], at[1] - at[0], at[2] - at[0]])
    inputs = torch.cat([torch.ones(N, 1), z], dim=1)
    inverse = torch.linalg.inv(inputs.T @ inputs)
    found = inverse @ inputs.T @ observable
    noise = (observable - inputs @ found).var(0)
    error = torch.sqrt(inverse.diagonal()[:, None] * noise)
    assert (found - expected).abs().div(error).max() < 4
    assert error.max() < 0.06 < expected.abs().max()


@pytest.mark.parametrize("n, counts", [(200, {1}), (600, {3}), (50, {0, 1}), (333, {1, 2, 3})])
def test_rows_are_drawn_evenly_from_all_of_the_data(n, counts):
    sampler = NoisePath(ROWS, always(0.0, 0.0), condition=torch.arange(200))
    batch = sampler(n, seeded())
    rows = batch["condition"]
    torch.testing.assert_close(batch["x"][:, 0], rows.double())  # at time 0 they are the data
    assert set(torch.bincount(rows, minlength=200).tolist()) <= counts
    assert (rows.diff() < 0).any()  # in random order


def test_every_row_is_equally_likely_however_small_the_batch():
    sampler, generator = NoisePath(ROWS, always(0.0, 0.0)), seeded()
    drawn = torch.cat([sampler(7, generator)["x"] for _ in range(4000)])
    count = torch.bincount(drawn[:, 0].long(), minlength=200).double()
    # 4000 batches hold a row 0 or 1 times, with the mean 7/200: the sum has less than this spread.
    assert (count - 140).abs().max() < 4.5 * math.sqrt(140)


def test_the_class_is_dropped_in_the_share_of_rows_asked_for_and_kept_in_the_others():
    data = LABELS.double()[:, None]
    sampler = NoisePath(data, always(0.0, 0.0), condition=LABELS, null=9, drop=0.3)
    batch = sampler(N, seeded())
    dropped = batch["condition"] == 9
    share = dropped.double().mean()
    assert share == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / N))
    torch.testing.assert_close(batch["x"][~dropped, 0], batch["condition"][~dropped].double())
    of_each = torch.bincount(batch["x"][dropped, 0].long(), minlength=5)
    assert of_each.double().sub(0.06 * N).abs().max() < 4 * math.sqrt(0.06 * N)


def test_conditions_may_be_of_any_shape_and_are_dropped_whole():
    condition = ROWS.expand(200, 3) + torch.tensor([0.0, 0.25, 0.5])
    batch = NoisePath(ROWS, UniformTriangle(), condition=condition, null=-1, drop=0.5)(
        200, seeded()
    )
    dropped = (batch["condition"] == -1).all(1)
    assert 60 < dropped.sum() < 140
    assert (batch["condition"][~dropped] >= 0).all()


def test_images_float32_and_the_seed_are_kept():
    images = torch.randn(6, 2, 3, 4, generator=seeded())
    sampler = NoisePath(images, UniformTriangle())
    one, same, other = (sampler(5, seeded(k)) for k in (1, 1, 2))
    assert one["x"].shape == one["observable"].shape == (5, 2, 3, 4)
    assert {v.dtype for v in one.values()} == {torch.float32}
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert not torch.equal(one["x"], other["x"])


def test_scheduled_times_follow_the_run_and_the_data_are_not_looked_at_again(monkeypatch):
    sampler = NoisePath(ROWS, Curriculum(UniformTriangle(), first=0.1, until=0.5))
    monkeypatch.setattr(NoisePath, "__post_init__", lambda self: pytest.fail("checked again"))
    lengths = {}
    for progress in (0.0, 0.25, 0.75):
        batch = sampler.at(progress)(4096, seeded())
        lengths[progress] = float((batch["t"] - batch["s"]).mean())
    assert lengths == pytest.approx({0.0: 1 / 30, 0.25: 0.55 / 3, 0.75: 1 / 3}, rel=0.03)
    plain = NoisePath.__new__(NoisePath)
    object.__setattr__(plain, "times", UniformTriangle())
    assert plain.at(0.5) is plain


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: NoisePath(torch.zeros(4), UniformTriangle()), r"of shape \(4,\)"),
        (lambda: NoisePath(torch.zeros(0, 2), UniformTriangle()), r"of shape \(0, 2\)"),
        (lambda: NoisePath(torch.zeros(4, 2).long(), UniformTriangle()), "got torch.int64"),
        (lambda: NoisePath(torch.tensor([[1.0], [math.nan]]), UniformTriangle()), "finite"),
        (lambda: NoisePath(ROWS, UniformTriangle(), condition=LABELS[:3]), "200, got 3"),
        (lambda: NoisePath(ROWS, UniformTriangle(), condition=LABELS, drop=0.1), "null="),
        (lambda: NoisePath(ROWS, UniformTriangle(), null=5, drop=0.1), "needs condition="),
        (lambda: NoisePath(ROWS, UniformTriangle(), drop=1.0), "below 1, got 1.0"),
        (lambda: NoisePath(ROWS, UniformTriangle(0.0, 2.0)), "between 0, data, and 1, noise"),
        (lambda: NoisePath(ROWS, Queried(UniformTriangle(), ((1.5, 0.0),))), "0, data, and 1"),
        (lambda: NoisePath(ROWS, UniformWindow(0.0, 1.0, 0.5, overhang=True)), "0, data, and 1"),
        (lambda: Guidance(0.0, null=3), "scale > 0 and 0 <= own < 1, got 0.0 and 0.0"),
        (lambda: Guidance(1.0, null=3, own=1.0), "got 1.0 and 1.0"),
        (lambda: Guidance(2.0, null=3, start=0.6, end=0.4), "start < end, got 0.6 and 0.4"),
    ],
)
def test_what_makes_no_sense_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


# ---------------------------------------------------------------- Loss
def exact(path):
    """The exact u of a Gaussian, its velocity on empty windows, without a velocity to ask for."""

    def average(x, t, s):
        empty = s == t
        u = path.average(x, t, torch.where(empty, t + 1, s))
        return torch.where(empty[:, None], path.velocity(x, t), u)

    return average


class Disturbed(nn.Module):
    """(1 + a) u + b + c x (s - t): any of a function u at zero, whose gradient can be taken."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.amounts = nn.Parameter(torch.zeros(3, dtype=torch.float64))

    def forward(self, x, t, s):
        a, b, c = self.amounts
        return (1 + a) * self.function(x, t, s) + b + c * x * (s - t)[:, None]


def gradient(model, value):
    return torch.cat([g.reshape(-1) for g in torch.autograd.grad(value, list(model.parameters()))])


def mean_gradient_over_its_error(function, along, batches=25):
    """Expected gradient of the loss, in standard errors; every batch has data of its own."""
    model = AverageVelocity(None, Disturbed(function), tangent="free")
    loss, found = partial(generative_loss, along=along, power=0.0), []
    for k in range(batches):
        sampler = NoisePath(gaussian_data(LINE, 1000, seed=k), UniformTriangle(diagonal=0.2))
        batch = sampler(1000, seeded(k + 1000))
        found.append(gradient(model, loss(model, **batch).loss))
    found = torch.stack(found)
    return (found.mean(0) / (found.std(0) / math.sqrt(batches))).abs()


@pytest.mark.parametrize("along", [None, "self"])
def test_at_the_exact_average_the_expected_gradient_is_zero(along):
    """The conditional target is affine in noise minus data, so that its mean is u, not v."""
    assert mean_gradient_over_its_error(exact(LINE), along).max() < 3.5
    off = mean_gradient_over_its_error(lambda x, t, s: exact(LINE)(x, t, s) + 0.05, along)
    assert off.max() > 10  # so that the statement above has power


@pytest.mark.parametrize("along, variance", [(None, 0.075739644970414), ("self", 0.30769230769231)])
def test_the_floor_of_the_loss_is_the_variance_of_the_target(along, variance):
    """At z = 0.3, t = 0.9, r = 0.2, with data N(2, 1/4) and noise minus data given z.

    Its variance is 0.25 / 0.8125. Along itself, the target has that times the square of the slope
    of the flow map, 0.2 / 0.8125.
    """
    n, t, r = 200_000, 0.9, 0.2
    z, times = torch.full((n, 1), 0.3, dtype=torch.float64), torch.full((n,), t).double()
    v = LINE.velocity(z, times)
    observable = v + math.sqrt(0.25 / 0.8125) * normal(n, 1)
    model = AverageVelocity(None, Wrapped(exact(LINE)), tangent="free")
    value = generative_loss(model, z, t=times, s=r, observable=observable, along=along)
    found = value.rows.mean() * observable.square().mean()
    assert found == pytest.approx(variance, rel=4 * math.sqrt(2 / n))


def test_weights_that_depend_on_a_noisy_residual_move_the_solution_from_mean_to_median():
    """Three rows of -1 and one of 1: the mean is -1/2, the median -1."""
    level = nn.Parameter(torch.full((1, 1), -0.5, dtype=torch.float64))
    network = Wrapped(lambda x, t, s: level.expand(len(x), 1))
    network.level = level
    model = AverageVelocity(None, network, tangent="free")
    f = torch.tensor([[-1.0], [-1.0], [-1.0], [1.0]], dtype=torch.float64)
    options = {"t": 0.5, "s": 0.5, "observable": f}

    def slope(at, power):
        with torch.no_grad():
            level.fill_(at)
        loss = generative_loss(model, 0 * f, power=power, offset=1e-9, **options).loss
        return float(gradient(model, loss))

    assert slope(-0.5, 0.0) == pytest.approx(0.0, abs=1e-12)
    assert slope(-0.5, 0.5) == pytest.approx(1.0, rel=1e-6)  # half the sum of signs, 3 - 1
    assert slope(-0.99, 0.5) > 0.5 and slope(-1.01, 0.5) < -0.5


def learner(seed=3):
    features = Features([(-3.0, 3.0)] * 2, windows=(-1.0, 0.0), dtype=torch.float64)
    network = MLP(features, width=8, depth=2, generator=seeded(seed))
    return AverageVelocity(None, network, tangent="free")


def test_with_empty_windows_only_it_is_flow_matching():
    model = learner()
    batch = NoisePath(gaussian_data(PLANE, 64), UniformTriangle(diagonal=1.0))(64, seeded())
    assert torch.equal(batch["t"], batch["s"])
    value = generative_loss(model, **batch, power=0.0)
    miss = model(batch["x"], t=batch["t"], s=batch["t"]) - batch["observable"]
    by_hand = miss.square().sum(1).mean() / batch["observable"].square().sum(1).mean()
    torch.testing.assert_close(value.loss, by_hand)
    torch.testing.assert_close(gradient(model, value.loss), gradient(model, by_hand))


@pytest.mark.parametrize("along", [None, "self"])
def test_the_target_is_that_of_the_identity_with_its_gradient_stopped(along):
    """By a difference quotient along the tangent instead of forward mode."""
    model = learner()
    batch = NoisePath(gaussian_data(PLANE, 64), UniformTriangle())(64, seeded())
    x, t, s, f = (batch[name] for name in ("x", "t", "s", "observable"))
    with torch.no_grad():
        w, h = f if along is None else model(x, t=t, s=t), 1e-5
        slope = (model(x + h * w, t=t + h, s=s) - model(x - h * w, t=t - h, s=s)) / (2 * h)
        target = f + (s - t)[:, None] * slope
    by_hand = (model(x, t=t, s=s) - target).square().sum(1).mean() / f.square().sum(1).mean()
    value = generative_loss(model, **batch, along=along, power=0.0)
    torch.testing.assert_close(value.loss, by_hand, rtol=1e-8, atol=0)
    torch.testing.assert_close(
        gradient(model, value.loss), gradient(model, by_hand), rtol=1e-6, atol=1e-9
    )


def test_six_hundred_steps_bring_one_jump_near_the_exact_one():
    features = Features([(-3.0, 3.0)] * 2, windows=(-1.0, 0.0))
    network = MLP(features, width=32, depth=2, generator=seeded(3))
    model = AverageVelocity(None, network, tangent="free")
    sampler = NoisePath(gaussian_data(PLANE, 4096).float(), UniformTriangle(diagonal=0.25))
    (average,) = fit(
        model, partial(generative_loss, power=0.0), sampler, steps=600, batch=256, ema=0.98,
        generator=seeded(), progress=False,
    ).averages  # fmt: skip
    z = normal(2000, 2, seed=9).float()
    one = torch.ones(2000)
    with torch.no_grad():
        miss = average(z, t=1.0, s=0.0) - PLANE.average(z, one, 0 * one)
    assert miss.norm() < 0.15 * PLANE.average(z, one, 0 * one).norm()
    # The velocity, which is what flow matching learns, is nearly as far away as nothing at all.
    assert (PLANE.velocity(z, one) - PLANE.average(z, one, 0 * one)).norm() > 5 * miss.norm()


def test_a_run_of_generation_resumes_to_the_same_bits(tmp_path):
    labels = torch.arange(200) % 2
    data = gaussian_data(PLANE, 200).float()

    def run(steps, name, resume=True):
        torch.manual_seed(0)
        model = AverageVelocity(None, Wrapped2(), tangent="free")
        times = UniformTriangle(diagonal=0.5)
        sampler = NoisePath(data, times, condition=labels, null=2, drop=0.2)
        loss = partial(generative_loss, guidance=Guidance(1.5, null=2, own=0.2))
        stop = Stopping(steps)
        try:
            fit(
                model, loss, sampler, steps=8, batch=32, generator=seeded(), progress=False,
                checkpoint=tmp_path / name, checkpoint_every=4, report=stop, every=1,
                resume=resume,
            )  # fmt: skip
        except KeyboardInterrupt:
            return None
        return torch.cat([p.detach().reshape(-1) for p in model.parameters()])

    whole = run(8, "whole")
    assert run(4, "cut") is None
    assert torch.equal(run(8, "cut"), whole)


class Stopping:
    """A report that interrupts a run after so many steps."""

    def __init__(self, steps):
        self.steps = steps

    def __call__(self, step, values):
        if step > self.steps:
            raise KeyboardInterrupt


class Wrapped2(nn.Module):
    """A small network with three classes."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(4, 8), nn.Linear(8, 2)
        self.classes = nn.Embedding(3, 8)

    def forward(self, x, t, s, condition):
        h = self.inner(torch.cat([x, t[:, None], s[:, None]], dim=1)) + self.classes(condition)
        return self.outer(torch.tanh(h))


# ---------------------------------------------------------------- Guidance
NULL = 3


def linear(x, *, t, s, condition):
    """A known linear model; its velocity depends on the class."""
    return (1.0 + condition.double())[:, None] * x + t[:, None]


def test_guidance_blends_row_by_row_and_leaves_rows_without_a_class_and_other_times():
    n, omega, kappa = 40, 1.7, 0.4
    x, f = normal(n, 2), normal(n, 2, seed=1)
    t = torch.linspace(0, 1, n, dtype=torch.float64)
    condition = torch.arange(n) % 4
    guided = Guidance(omega, null=NULL, own=kappa, start=0.25, end=0.75)(
        linear, x, t=t, observable=f, condition=condition
    )
    for row in range(n):
        expected = f[row]
        if condition[row] != NULL and 0.25 <= t[row] <= 0.75:
            own, free = ((1 + int(c)) * x[row] + t[row] for c in (condition[row], NULL))
            expected = omega * f[row] + kappa * own + (1 - omega - kappa) * free
        torch.testing.assert_close(guided[row], expected)
    assert (guided != f).any(1).sum() == 15  # 20 rows are inside, a quarter has no class


def test_guidance_asks_the_model_for_batches_of_one_size_whatever_the_classes():
    """In a compiled loss another size is compiled anew, and on a GPU it would be waited for."""
    seen = []

    def model(x, **given):
        seen.append(len(x))
        return linear(x, **given)

    x, t, guidance = normal(8, 2), torch.full((8,), 0.5).double(), Guidance(2.0, null=1, own=0.5)
    for condition in (torch.arange(8) % 2, torch.ones(8).long()):
        guidance(model, x, t=t, observable=x, condition=condition)
    assert seen == [8] * 4


def test_the_strength_of_guidance_at_its_fixed_point_is_scale_over_one_minus_own():
    """u = omega v + kappa u + (1 - omega - kappa) u_null, solved for u by iteration."""
    x, t = normal(8, 2), torch.full((8,), 0.5).double()
    v, free, own = normal(8, 2, seed=1), normal(8, 2, seed=2), torch.zeros(8, 2).double()
    guidance = Guidance(1.2, null=NULL, own=0.4)

    def model(x, *, t, s, condition):
        return torch.where((condition == NULL)[:, None], free, own)

    for _ in range(60):
        own = guidance(model, x, t=t, observable=v, condition=torch.ones(8).long())
    torch.testing.assert_close(own, 2.0 * v - 1.0 * free)


def test_no_guidance_is_a_scale_of_one():
    x, f, t = normal(8, 2), normal(8, 2, seed=1), torch.full((8,), 0.5).double()
    same = Guidance(1.0, null=NULL)(linear, x, t=t, observable=f, condition=torch.ones(8).long())
    torch.testing.assert_close(same, f)


def test_the_loss_averages_the_guided_velocity():
    model = AverageVelocity(
        None, Wrapped(lambda x, t, s, c: linear(x, t=t, s=s, condition=c)), tangent="free"
    )
    x, f, t = normal(8, 2), normal(8, 2, seed=1), torch.linspace(0.3, 1, 8).double()
    condition, guidance = torch.arange(8) % 4, Guidance(2.0, null=NULL, own=0.3)
    options = {"t": t, "s": torch.full_like(t, 0.1), "condition": condition, "power": 0.0}
    guided = guidance(model, x, t=t, observable=f, condition=condition)
    for along in (None, "self"):
        value = generative_loss(model, x, observable=f, guidance=guidance, along=along, **options)
        plain = material_loss(model, x, observable=guided, along=along, **options)
        torch.testing.assert_close(value.loss, plain.loss)
        assert value.loss != generative_loss(model, x, observable=f, along=along, **options).loss


def test_guidance_without_classes_is_refused():
    x, t = normal(4, 2), torch.full((4,), 0.5).double()
    guidance = Guidance(2.0, null=NULL)
    with pytest.raises(ValueError, match="guidance needs a condition"):
        generative_loss(learner(), x, t=t, s=0.0, observable=x, guidance=guidance)
    with pytest.raises(
        ValueError, match=r"for each row, \(4,\), got a condition of shape \(4, 2\)"
    ):
        guidance(linear, x, t=t, observable=x, condition=torch.zeros(4, 2).long())
    with pytest.raises(ValueError, match="observable must be"):
        generative_loss(learner(), x, t=t, s=0.0, observable=x[:, :1])
