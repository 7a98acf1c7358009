"""Weighted sums of losses, and weights that are learned."""

import copy
import math
from functools import partial

import pytest
import torch

from meanfluid.learning import MLP, SOAP, AverageVelocity, Features, material_loss, semigroup_loss
from meanfluid.learning.anchors import Anchors, Box
from meanfluid.learning.families import back_trace_loss
from meanfluid.learning.fingerprints import fingerprint
from meanfluid.learning.losses import LossValue, endpoint_loss, supervised_loss
from meanfluid.learning.mixtures import LearnedWeights, Mixture, Part
from meanfluid.learning.schedules import Ramp, Scheduled, Sigmoid
from meanfluid.learning.times import Curriculum, Queried, UniformTriangle
from meanfluid.learning.training import fit
from tests.learning.closed_forms import AffineAverage, affine_velocity, anchors

X, T, S = anchors(40)
BATCH = {"x": X, "t": T, "s": S}
MEAN = AffineAverage()(X, T, S)
EXACT = AverageVelocity(affine_velocity, AffineAverage(), tangent="free")


def learner(seed=5):
    generator = torch.Generator().manual_seed(seed)
    features = Features([(-2.0, 2.0)] * 2, dtype=torch.float64)
    network = MLP(features, width=12, depth=2, generator=generator)
    return AverageVelocity(affine_velocity, network)


def cut(first, last):
    return {name: value[first:last] for name, value in (BATCH | {"mean": MEAN}).items()}


def test_a_mixture_is_the_weighted_sum_and_tells_each_residual():
    model = learner()
    mixture = Mixture(
        material=material_loss,
        exact=Part(supervised_loss, 0.5, rows=(0.0, 0.25)),
        split=Part(partial(semigroup_loss, split=0.3), 2.0, rows=(0.25, 1.0)),
        nothing=Part(endpoint_loss, 0.0),
    )
    value = mixture(model, **BATCH, mean=MEAN)
    jumps = {name: rows for name, rows in cut(10, 40).items() if name != "mean"}
    parts = {
        "material": material_loss(model, **BATCH),
        "exact": supervised_loss(model, **cut(0, 10)),
        "split": semigroup_loss(model, **jumps, split=0.3),
    }
    weights = {"material": 1.0, "exact": 0.5, "split": 2.0}
    torch.testing.assert_close(value.loss, sum(w * parts[k].loss for k, w in weights.items()))
    assert value.parts == {name: part.residual for name, part in parts.items()}
    squares = [part.residual**2 for part in parts.values()]
    torch.testing.assert_close(value.residual, (sum(squares) / 3).sqrt())
    assert not value.residual.requires_grad
    expected = sum(
        w
        * torch.cat([g.reshape(-1) for g in torch.autograd.grad(parts[k].loss, model.parameters())])
        for k, w in weights.items()
    )
    actual = torch.cat([g.reshape(-1) for g in torch.autograd.grad(value.loss, model.parameters())])
    torch.testing.assert_close(actual, expected)


def test_a_mixture_of_right_equations_has_no_residual_at_the_truth():
    mixture = Mixture(material=material_loss, end=Part(endpoint_loss, 0.3), split=semigroup_loss)
    assert mixture(EXACT, **BATCH).residual < 1e-13


def test_weights_and_options_follow_the_run():
    model = learner()
    mixture = Mixture(
        trace=Scheduled(back_trace_loss, alpha=Sigmoid()),
        split=Part(semigroup_loss, Ramp(0.0, 1.0, start=0.5)),
    )
    early, late = mixture.at(0.4), mixture.at(0.75)
    trace = back_trace_loss(model, **BATCH, alpha=Sigmoid()(0.4))
    found = early(model, **BATCH)
    assert found.loss == trace.loss and set(found.parts) == {"trace"}
    expected = back_trace_loss(model, **BATCH, alpha=Sigmoid()(0.75)).loss
    expected = expected + 0.5 * semigroup_loss(model, **BATCH).loss
    torch.testing.assert_close(late(model, **BATCH).loss, expected)
    assert late.at(0.1) is late
    with pytest.raises(ValueError, match=r"Mixture changes along a run .* \.at\(progress\)"):
        mixture(model, **BATCH)
    with pytest.raises(ValueError, match="all weights of the mixture are 0"):
        Mixture(split=Part(semigroup_loss, Ramp(0.0, 1.0))).at(0.0)(model, **BATCH)


def test_what_a_batch_holds_goes_to_the_losses_that_name_it():
    seen = {}

    def record(name):
        def named(model, x, *, t, s, condition=None, teacher=None):
            seen[name] = {"condition": condition, "teacher": teacher}
            return LossValue(x.sum(), x.norm())

        def anything(model, x, *, t, s, **options):
            seen[name] = options
            return LossValue(x.sum(), x.norm())

        return named if name == "named" else anything

    mixture = Mixture(named=record("named"), anything=Part(record("anything"), rows=(0.5, 1.0)))
    condition, values = torch.arange(40), torch.arange(40.0)
    mixture("model", **BATCH, condition=condition, teacher="averaged", extra=values, number=3)
    assert torch.equal(seen["named"]["condition"], condition)
    assert seen["named"]["teacher"] == "averaged"
    assert set(seen["anything"]) == {"extra", "number"}
    assert torch.equal(seen["anything"]["extra"], values[20:]) and seen["anything"]["number"] == 3
    inner = Mixture(
        a=LearnedWeights(material_loss), b=Scheduled(semigroup_loss, split=Ramp(0.3, 0.4))
    )
    with pytest.raises(ValueError, match="no loss of the mixture takes mean; they take along, "):
        inner.at(0.5)(learner(), **BATCH, mean=MEAN)
    assert inner.at(0.5)(EXACT, **BATCH, teacher=EXACT).residual < 1e-13


def test_parameters_of_losses_inside_are_those_of_the_mixture():
    weights = LearnedWeights(material_loss)
    mixture = Mixture(a=Scheduled(weights, power=Ramp(0.0, 1.0)), b=semigroup_loss)
    assert list(mixture.parameters()) == [weights.coefficients]
    now = mixture.at(0.5)
    assert list(now.parameters()) == [weights.coefficients]
    now(learner(), **BATCH).loss.backward()
    assert weights.coefficients.grad.abs().max() > 0


def test_mixtures_are_told_apart_by_what_is_in_them():
    def of(weight):
        return fingerprint({"loss": Mixture(a=Part(material_loss, weight), b=Part(semigroup_loss))})

    assert of(1.0) == of(1.0) and of(1.0) != of(2.0)
    assert of(Ramp(0.0, 1.0)) != of(Ramp(0.0, 2.0))
    used = Mixture(a=LearnedWeights(material_loss), b=Part(semigroup_loss, Ramp(0.0, 1.0)))
    before = fingerprint({"loss": used})
    used.at(0.5)(learner(), **BATCH)
    with torch.no_grad():
        next(used.parameters()).add_(1.0)
    assert fingerprint({"loss": used}) == before


class Stopping:
    """A sampler that fails after so many draws; how many is no part of what it is."""

    def __init__(self, sampler, draws):
        self.sampler = sampler
        LEFT[0] = draws

    def at(self, progress):
        return Stopped(self.sampler.at(progress))


class Stopped:
    def __init__(self, sampler):
        self.sampler = sampler

    def __call__(self, n, generator):
        if LEFT[0] == 0:
            raise InterruptedError
        LEFT[0] -= 1
        return self.sampler(n, generator)


LEFT = [0]


def known_error(t, s):
    """Logarithm of a squared residual that w can take on."""
    h = s - t
    return (
        -3.0 + 0.8 * torch.cos(math.pi * t) - 0.5 * torch.cos(math.pi * (h + 1) / 2)
        + 0.7 * torch.log(h**2 + 1e-6)
    )  # fmt: skip


def test_learned_weights_are_least_at_the_logarithm_of_the_expected_error():
    """With errors e^w0 (0.5 or 1.5) the best w is w0, and the loss 1 + mean w0."""

    def loss(model, x, *, t, s):
        e = torch.exp(known_error(t, s)) * (0.5 + torch.arange(len(t)) % 2)
        return LossValue(e.sum(), e.mean().sqrt(), e)

    generator = torch.Generator().manual_seed(0)
    t, s = torch.rand(2, 400, generator=generator, dtype=torch.float64).repeat_interleave(2, dim=1)
    weights = LearnedWeights(loss, degree=2, offset=1e-12).double()
    optimiser = torch.optim.LBFGS(
        weights.parameters(), max_iter=2000, history_size=50, line_search_fn="strong_wolfe",
        tolerance_grad=1e-12, tolerance_change=1e-15,
    )  # fmt: skip

    def closure():
        optimiser.zero_grad()
        value = weights(None, t[:, None], t=t, s=s).loss
        value.backward()
        return value

    optimiser.step(closure)
    value = weights(None, t[:, None], t=t, s=s)
    torch.testing.assert_close(weights.log_weight(t, s), known_error(t, s), rtol=0, atol=1e-4)
    assert value.loss.item() == pytest.approx(1 + float(known_error(t, s).mean()), abs=1e-7)
    assert value.residual == loss(None, t, t=t, s=s).residual


def test_learned_weights_begin_as_the_plain_mean_square_and_keep_the_raw_residual():
    model = learner()
    raw = material_loss(model, **BATCH)
    value = LearnedWeights(material_loss, offset=1e-9)(model, **BATCH)
    torch.testing.assert_close(value.loss, raw.rows.mean() + 1e-9)
    assert value.residual == raw.residual and torch.equal(value.rows, raw.rows)
    zero = LearnedWeights(material_loss)
    with torch.no_grad():
        zero.coefficients[0] = 100.0
    heavy = zero(model, **BATCH)
    assert heavy.loss.item() == pytest.approx(100.0) and heavy.residual == raw.residual


def test_learned_weights_keep_their_digits_under_autocast():
    weights = LearnedWeights(material_loss)
    with torch.no_grad():
        weights.coefficients.uniform_(-3, 3, generator=torch.Generator().manual_seed(0))
    t, s = T.float(), S.float()
    with torch.autocast("cpu", torch.bfloat16):
        w = weights.log_weight(t, s)
    assert w.dtype == torch.float32 and torch.equal(w, weights.log_weight(t, s))


def test_learned_weights_and_the_model_train_together():
    model = learner()
    weights = LearnedWeights(Scheduled(back_trace_loss, alpha=Sigmoid()))
    optimiser = SOAP([*model.parameters(), *weights.parameters()])
    before = material_loss(model, **BATCH).residual
    for k in range(120):
        optimiser.param_groups[0]["lr"] = 0.03 * (1 - k / 120)
        optimiser.zero_grad()
        weights.at(k / 120)(model, **BATCH).loss.backward()
        optimiser.step()
    assert material_loss(model, **BATCH).residual < before / 1.7
    usual = weights.log_weight(T, S)
    assert usual.mean() < -1.0
    with pytest.raises(ValueError, match="LearnedWeights changes along a run"):
        weights(model, **BATCH)


def test_a_loss_without_rows_cannot_have_learned_weights():
    mixture = LearnedWeights(Mixture(a=material_loss, b=semigroup_loss))
    with pytest.raises(ValueError, match="put LearnedWeights around each part of a mixture"):
        mixture(learner(), **BATCH)


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: Mixture(), "at least one loss"),
        (lambda: Part(material_loss, -1.0), "not negative, got -1.0"),
        (lambda: Part(material_loss, math.nan), "not negative, got nan"),
        (lambda: Part(material_loss, Ramp(-1.0, 0.0)).at(0.0), "not negative, got -1.0"),
        (lambda: Part(material_loss, rows=(0.5, 0.5)), r"got \(0.5, 0.5\)"),
        (lambda: Mixture(a=Part(material_loss, rows=(0.0, 0.01)))(EXACT, **BATCH), "a has no rows"),
        (lambda: LearnedWeights(material_loss, start=1.0), "start < end, got 1.0 and 1.0"),
        (lambda: LearnedWeights(material_loss, degree=-1), "got -1 and"),
    ],
)
def test_mixtures_that_make_no_sense_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_run_with_all_of_it_resumes_to_the_same_bits(tmp_path):
    """Mixture, schedules, learned weights, a teacher, and a curriculum of times."""

    def run(steps_at_once, path):
        model = learner()
        loss = Mixture(
            trace=LearnedWeights(Scheduled(back_trace_loss, alpha=Sigmoid())),
            jumps=Part(semigroup_loss, Ramp(0.0, 1.0), rows=(0.0, 0.5)),
            material=Part(material_loss, 0.1),
        )
        times = Queried(Curriculum(UniformTriangle(direction="both")), ((1.0, 0.0),), 0.2)
        sampler = Anchors(Box((-1.0, -1.0), (1.0, 1.0)), times, torch.float64)
        stopped = Stopping(sampler, steps_at_once)
        options = {"steps": 8, "batch": 32, "teacher": 0.9, "progress": False, "checkpoint": path}
        options["checkpoint_every"] = 1
        try:
            fit(model, loss, stopped, generator=torch.Generator().manual_seed(1), **options)
        except InterruptedError:
            model, loss = learner(), copy.deepcopy(loss)
            torch.nn.init.zeros_(next(loss.parameters()))
            stopped = Stopping(sampler, 100)
            fit(model, loss, stopped, generator=torch.Generator().manual_seed(1), **options)
        return [*model.parameters(), *loss.parameters()]

    whole, resumed = run(100, tmp_path / "whole.pt"), run(5, tmp_path / "resumed.pt")
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))
    assert whole[-1].abs().max() > 0
    assert not torch.equal(whole[0], next(learner().parameters()))
