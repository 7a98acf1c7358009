"""What a step may consist of: parts of a batch, schedules, teachers, learnt losses, precision."""

import math
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import nn

from meanfluid.learning import (
    AverageVelocity,
    LossValue,
    fit,
    material_loss,
    semigroup_loss,
    steps_within,
    supervised_loss,
)
from tests.learning.training_run import Taught, parts, velocity


def plain(model, x, *, t, s):
    """A plain mean over rows."""
    square = (model(x, t=t, s=s) - x).square().sum(1).mean()
    return LossValue(square, square.detach().sqrt())


class Layers(nn.Module):
    """A network that forward mode passes layer by layer; may note the precision of each call."""

    def __init__(self, dtype=torch.float32, seen=None):
        super().__init__()
        self.inner, self.outer = nn.Linear(4, 16, dtype=dtype), nn.Linear(16, 2, dtype=dtype)
        generator = torch.Generator().manual_seed(3)
        for p in self.parameters():
            nn.init.normal_(p, std=0.4, generator=generator)
        self.seen = seen

    def forward(self, x, t, s):
        hidden = self.inner(torch.cat([x, t[:, None], s[:, None]], dim=1))
        if self.seen is not None:
            self.seen.append((hidden.dtype, torch.is_grad_enabled()))
        return self.outer(torch.tanh(hidden))


def trained(loss, steps=3, model=None, **options):
    """Descend a little, alike for every loss; return the weights and how the run ended."""
    fresh, sampler, generator = parts()
    model = fresh if model is None else model
    sampler = options.pop("sampler", sampler)
    options.setdefault("optimiser", torch.optim.SGD(model.parameters(), lr=0.1))
    result = fit(
        model, loss, sampler, steps=steps, batch=12, generator=generator,
        schedule=lambda step, steps: 1.0, **options,
    )  # fmt: skip
    return [p.detach().clone() for p in model.parameters()], result


def differences(one, other):
    return max((a - b).abs().max().item() for a, b in zip(one, other, strict=True))


# ---------------------------------------------------------------- Parts of a batch


@pytest.mark.parametrize("count", [2, 3, 12])
def test_a_batch_in_parts_has_the_gradient_of_the_whole_for_a_plain_mean(count):
    whole, result = trained(plain)
    in_parts, result_in_parts = trained(plain, accumulate=count)
    assert differences(whole, trained(plain, steps=1)[0]) > 1e-3
    assert differences(whole, in_parts) < 1e-6
    assert result_in_parts.loss == pytest.approx(result.loss, rel=1e-5)
    assert result_in_parts.residual == pytest.approx(result.residual, rel=1e-5)


def test_weights_taken_from_each_part_change_the_gradient():
    """As the documentation warns."""
    whole, in_parts = trained(material_loss)[0], trained(material_loss, accumulate=3)[0]
    assert 1e-6 < differences(whole, in_parts) < 0.05


def test_parts_are_seen_by_the_loss_one_after_another_in_the_order_of_their_rows():
    seen = []

    def loss(model, x, **times):
        seen.append(x)
        return plain(model, x, **times)

    trained(loss, steps=1)
    trained(loss, steps=1, accumulate=3)
    assert [len(x) for x in seen] == [12, 4, 4, 4]
    assert torch.equal(seen[0], torch.cat(seen[1:]))


def test_what_has_no_rows_goes_to_each_part():
    seen = []

    def loss(model, *, nodes, scale, **batch):
        seen.append((nodes, scale, len(batch["x"])))
        return plain(model, **batch)

    nodes, scale = torch.arange(5.0), torch.tensor(2.0)

    def sampler(n, generator):
        return parts()[1](n, generator) | {"nodes": nodes, "scale": scale}

    trained(loss, steps=1, accumulate=3, sampler=sampler)
    assert seen == [(nodes, scale, 4)] * 3


# ---------------------------------------------------------------- Schedules


@dataclass(frozen=True)
class Noted:
    """A schedule that notes when it is asked."""

    asked: list

    def at(self, progress):
        self.asked.append(progress)
        return partial(self.scaled, 1 - progress)

    @staticmethod
    def scaled(factor, model, **batch):
        value = plain(model, **batch)
        return LossValue(factor * value.loss, value.residual)


def test_a_scheduled_loss_is_asked_at_each_step_for_the_share_of_the_run():
    schedule, plain_losses = Noted([]), []

    def report(step, values):
        plain_losses.append(values["loss"] / values["residual"] ** 2)

    trained(schedule, steps=4, every=1, report=report)
    assert schedule.asked == [0.0, 0.25, 0.5, 0.75]
    assert plain_losses == pytest.approx([1.0, 0.75, 0.5, 0.25], rel=1e-5)


def test_a_scheduled_sampler_is_asked_likewise():
    model, sampler, generator = parts()
    asked, sizes = [], []

    class Doubling:
        def at(self, progress):
            asked.append(progress)
            return lambda n, generator: sampler(n * (1 + (progress >= 0.5)), generator)

    def loss(model, x, **times):
        sizes.append(len(x))
        return plain(model, x, **times)

    fit(model, loss, Doubling(), steps=4, batch=8, generator=generator)
    assert asked == [0.0, 0.25, 0.5, 0.75] and sizes == [8, 8, 16, 16]


# ---------------------------------------------------------------- Averages and teachers


def test_the_teacher_is_the_model_at_first_then_the_average_written_out():
    seen, weights = [], []

    def loss(model, x, *, t, s, teacher):
        assert not any(p.requires_grad for p in teacher.parameters())
        seen.append([p.clone() for p in teacher.parameters()])
        weights.append([p.detach().clone() for p in model.parameters()])
        return plain(model, x, t=t, s=s)

    trained(loss, steps=4, teacher=0.2)
    expected = [weights[0], weights[1]]
    for kept, later in zip((2 / 11, 0.2), weights[2:], strict=True):  # 3 / 12 is more than 0.2
        pairs = zip(expected[-1], later, strict=True)
        expected.append([kept * mean + (1 - kept) * new for mean, new in pairs])
    for one, other in zip(seen, expected, strict=True):
        assert differences(one, other) < 1e-6
    assert differences(seen[-1], weights[-1]) > 1e-3


def test_several_averages_are_those_of_their_decays():
    alone = [list(trained(plain, ema=decay)[1].averages[0].parameters()) for decay in (0.9, 0.2)]
    together = trained(plain, ema=[0.9, 0.2])[1].averages
    assert len(together) == 2 and trained(plain)[1].averages == ()
    for one, other in zip(alone, together, strict=True):
        assert differences(one, list(other.parameters())) == 0.0
    assert differences(*alone) > 1e-3


# ---------------------------------------------------------------- Losses with parameters


class Learnt(nn.Module):
    """The weight exp(-level) of a loss, learnt: the best level is the logarithm of the loss."""

    def __init__(self):
        super().__init__()
        self.level = nn.Parameter(torch.zeros(()))

    def forward(self, model, **batch):
        value = plain(model, **batch)
        return LossValue(torch.exp(-self.level) * value.loss + self.level, value.residual)


def test_the_parameters_of_a_loss_are_trained():
    loss, model = Learnt(), parts()[0]
    before = [p.detach().clone() for p in model.parameters()]
    groups = [{"params": model.parameters(), "lr": 0.0}, {"params": loss.parameters(), "lr": 0.05}]
    after, result = trained(
        partial(loss), steps=100, model=model, optimiser=torch.optim.Adam(groups), every=100
    )
    assert differences(before, after) == 0.0
    assert loss.level.item() == pytest.approx(2 * math.log(result.residual), abs=0.1)
    assert abs(loss.level.item()) > 0.5


def test_the_optimiser_used_by_default_holds_the_parameters_of_a_loss():
    loss, model = Learnt(), parts()[0]
    after = trained(loss, steps=3, model=model, optimiser=None)[0]
    assert 1e-3 < abs(loss.level.item()) < 0.02
    assert differences(after, parts()[0].parameters()) > 1e-3


def test_parameters_of_a_loss_that_the_optimiser_lacks_are_refused():
    loss = Learnt()
    with pytest.raises(ValueError, match=r"does not hold: level; make it with .*loss.parameters"):
        trained(loss)
    schedule = type("Late", (), {"at": lambda self, progress: loss})()
    with pytest.raises(ValueError, match=r"does not hold: level; .*register them in the loss"):
        trained(schedule)
    loss.requires_grad_(False)
    trained(loss, steps=1)


def test_a_loss_with_parameters_on_another_device_than_the_model_is_refused():
    with pytest.raises(ValueError, match=r"on cpu and .* on meta; move them with loss.to\(.cpu.\)"):
        trained(Learnt().to("meta"), optimiser=None)


# ---------------------------------------------------------------- Precision


def free(network):
    return AverageVelocity(velocity, network, tangent="free")


@pytest.mark.parametrize("loss", [plain, partial(material_loss, grad_through_jvp=0)])
def test_in_bfloat16_gradients_are_near_those_of_float32(loss):
    """Its numbers have three digits; residuals are about as large as what they are made of."""
    start = [p.detach().clone() for p in free(Layers()).parameters()]
    exact = trained(loss, steps=1, model=free(Layers()))[0]
    rough = trained(loss, steps=1, model=free(Layers()), precision="bfloat16")[0]
    for first, one, other in zip(start, exact, rough, strict=True):
        assert one.dtype == other.dtype == torch.float32
        size = (one - first).norm()
        assert 1e-5 * size < (one - other).norm() < 0.05 * size


def test_in_bfloat16_gradients_reach_all_weights_after_a_pass_without_any():
    """Weights cast for the first pass would carry no gradient in the second."""
    start = [p.detach().clone() for p in free(Layers()).parameters()]
    end = trained(semigroup_loss, steps=1, model=free(Layers()), precision="bfloat16")[0]
    assert all((a - b).abs().max() > 1e-4 for a, b in zip(start, end, strict=True))


def test_the_derivative_along_the_flow_stays_in_float32():
    network, weights = Layers(seen=[]), []

    def loss(model, **batch):
        value = material_loss(model, **batch, grad_through_jvp=0)
        weights.append((value.loss.dtype, model(**batch).dtype))
        return value

    trained(loss, steps=1, model=free(network), precision="bfloat16")
    assert weights == [(torch.float32, torch.float32)]
    derivative, *with_gradients = network.seen
    assert derivative == (torch.float32, False)
    assert with_gradients == [(torch.bfloat16, True)] * 2
    network.seen.clear()
    trained(plain, steps=1, model=free(network))
    assert network.seen == [(torch.float32, True)]


def test_the_model_is_left_without_hooks():
    model = free(Layers())
    trained(plain, steps=1, model=model, precision="bfloat16")
    assert not model._forward_hooks


# ---------------------------------------------------------------- Compilation


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch's own
def test_a_compiled_loss_gives_the_same_weights_and_the_checkpoint_serves_both_ways(
    tmp_path, monkeypatch
):
    """With a back end that needs no compiler."""
    original, compiled = torch.compile, []

    def quick(function, **options):
        compiled.append(options)
        return original(function, backend="aot_eager", **options)

    monkeypatch.setattr(torch, "compile", quick)
    loss = partial(material_loss, grad_through_jvp=0)
    eager = trained(loss, model=free(Layers()))[0]
    fast = trained(loss, model=free(Layers()), compile=True, checkpoint=tmp_path / "run.ckpt")[0]
    # Without the first, torch 2.13 refuses gradients through the derivative.
    assert compiled == [{"options": {"allow_buffer_reuse": False}, "dynamic": False}]
    assert differences(eager, fast) < 1e-5
    again = trained(loss, model=free(Layers()), checkpoint=tmp_path / "run.ckpt")[0]
    assert differences(again, fast) == 0.0


# ---------------------------------------------------------------- Reports and budgets


def test_reports_hold_the_numbers_of_the_log(tmp_path):
    told = []
    trained(
        plain, steps=5, every=2, log=tmp_path / "log.csv",
        report=lambda step, values: told.append((step, values)),
    )  # fmt: skip
    rows = [line.split(",") for line in (tmp_path / "log.csv").read_text().splitlines()]
    assert [step for step, _ in told] == [2, 4, 5]
    assert [["step", *values] for _, values in told] == [rows[0]] * 3
    for row, (_, values) in zip(rows[1:], told, strict=True):
        assert [float(cell) for cell in row[2:]] == pytest.approx(
            [values[name] for name in rows[0][2:]], rel=1e-5
        )


def test_a_budget_counts_steps_of_every_kind_and_leaves_no_trace():
    model, _, generator = parts()
    loss, state = Taught(), generator.get_state()
    schedule = type("Late", (), {"at": lambda self, progress: parts()[1]})()
    few = steps_within(
        0.2,
        model,
        loss,
        schedule,
        generator=generator,
        batch=32,
        accumulate=2,
        teacher=0.9,
        trial=4,
    )
    assert few >= 1 and loss.level.item() == 0.0 and torch.equal(state, generator.get_state())


# ---------------------------------------------------------------- Refusals


@pytest.mark.parametrize(
    "options, message",
    [
        ({"accumulate": 5}, "batch of 12 rows does not divide into accumulate=5 equal parts"),
        ({"accumulate": 0}, "accumulate must be a whole number of at least 1, got 0"),
        ({"precision": "float16"}, 'precision must be "float32" or "bfloat16", got \'float16\''),
        ({"teacher": 1.0}, "teacher must be a decay between 0 and 1, got 1.0"),
        ({"ema": (0.9, 0)}, "ema must be a decay between 0 and 1, or several, got 0"),
        ({"clip": 0.0}, "clip must be a positive norm, got 0.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        trained(plain, **options)


def test_bfloat16_wants_weights_in_float32():
    model = AverageVelocity(velocity, Layers(torch.float64))
    with pytest.raises(ValueError, match=r"needs weights in float32, got \['torch.float64'\]"):
        trained(supervised_loss, model=model, precision="bfloat16")
