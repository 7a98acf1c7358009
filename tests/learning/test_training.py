"""The training loop: resumption to the bit, log, interruption, budgets, refusals."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from meanfluid.errors import CheckpointError, TrainingError
from meanfluid.learning import (
    AverageVelocity,
    Cosine,
    LossValue,
    fit,
    generative_loss,
    material_loss,
    steps_within,
    supervised_loss,
)
from meanfluid.learning.steps import Stepper
from tests.learning.training_run import STEPS, parts, run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, *run(folder)


def rows(folder):
    return [line.split(",") for line in (folder / "log.csv").read_text().splitlines()]


def assert_same_run(one, other):
    (model, result, generator), (model2, result2, generator2) = one, other
    for name, value in model.state_dict().items():
        assert torch.equal(value, model2.state_dict()[name]), name
    for mean, mean2 in zip(result.averages, result2.averages, strict=True):
        for name, value in mean.state_dict().items():
            assert torch.equal(value, mean2.state_dict()[name]), name
    assert torch.equal(generator.get_state(), generator2.get_state())
    assert (result.step, result.loss, result.residual) == (
        result2.step, result2.loss, result2.residual
    )  # fmt: skip


def assert_same_log(folder, other):
    """All but the seconds, which increase."""
    mine, theirs = rows(folder), rows(other)
    assert [r[:1] + r[2:] for r in mine] == [r[:1] + r[2:] for r in theirs]
    seconds = [float(r[1]) for r in mine[1:]]
    assert seconds == sorted(seconds)


def test_a_killed_run_resumes_to_the_same_bits(whole, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.learning.training_run", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if (tmp_path / "log.csv").exists() and len(rows(tmp_path)) > 8:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the run was over before it could be killed"
    assert 8 < len(rows(tmp_path)) < STEPS // 10 + 1
    folder, *expected = whole
    assert_same_run(run(tmp_path), expected)
    assert_same_log(tmp_path, folder)


def test_ctrl_c_writes_a_checkpoint_and_is_raised(whole, tmp_path, monkeypatch):
    original = Stepper.step

    def interrupting(self, batch, *, number, **options):
        if number == 137:
            signal.raise_signal(signal.SIGINT)
        return original(self, batch, number=number, **options)

    monkeypatch.setattr(Stepper, "step", interrupting)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert rows(tmp_path)[-1][0] == "130"
    monkeypatch.setattr(Stepper, "step", original)
    folder, *expected = whole
    assert_same_run(run(tmp_path), expected)
    assert_same_log(tmp_path, folder)


def test_ctrl_c_that_is_ignored_stays_ignored(tmp_path):
    """As in a process started in the background of a script."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        model, sampler, generator = parts()

        def loss(model, **batch):
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            signal.raise_signal(signal.SIGINT)
            return material_loss(model, **batch)

        assert fit(model, loss, sampler, steps=3, generator=generator).step == 3
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, previous)


@pytest.mark.parametrize(
    "part",
    ["model", "loss", "optimiser", "averages", "teacher", "generator", "base", "sums", "last"],
)
def test_a_checkpoint_that_lacks_part_of_the_state_is_refused(tmp_path, part):
    run(tmp_path, steps=20)
    path = tmp_path / "run.ckpt"
    content = torch.load(path, weights_only=True)
    del content["state"][part]
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=rf"not hold what .*'{part}'.*resume=False"):
        run(tmp_path, steps=20)


def test_the_average_of_the_weights_is_the_recursion_written_out():
    """First the weights after one step; n steps later (1 + n) / (10 + n) is kept, at most 0.2."""
    model, sampler, generator = parts()
    seen = []

    def loss(model, **batch):
        seen.append([p.detach().clone() for p in model.parameters()])
        return material_loss(model, **batch)

    result = fit(model, loss, sampler, steps=3, generator=generator, ema=0.2)
    _, first, second = seen
    third = [p.detach() for p in model.parameters()]
    kept = 2 / 11  # then 3 / 12, which is more than 0.2
    expected = [
        0.2 * (kept * a + (1 - kept) * b) + 0.8 * c
        for a, b, c in zip(first, second, third, strict=True)
    ]
    assert all((a - c).abs().max() > 1e-6 for a, c in zip(first, third, strict=True))
    for mean, value in zip(result.averages[0].parameters(), expected, strict=True):
        torch.testing.assert_close(mean, value, rtol=1e-6, atol=1e-8)


def test_a_velocity_with_weights_is_neither_trained_nor_saved():
    known = torch.nn.Linear(2, 2)

    class Known(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = known

        def forward(self, x, t):
            return self.inside(x)

    model, sampler, generator = parts()
    model = AverageVelocity(Known(), model.network)
    before = [p.detach().clone() for p in (*known.parameters(), *model.parameters())]
    fit(model, material_loss, sampler, steps=2, generator=generator)
    after = [*known.parameters(), *model.parameters()]
    moved = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert moved == [False] * 2 + [True] * (len(moved) - 2)
    assert not any(p is q for p in model.parameters() for q in known.parameters())
    assert all(name.startswith("network.") for name in model.state_dict())


def test_a_generator_on_another_device_than_the_model_is_refused():
    """The device that holds no numbers stands for a GPU."""
    model, sampler, generator = parts()
    with pytest.raises(ValueError, match=r"on meta and its batch on cpu.*Generator\('meta'\)"):
        fit(model.to("meta"), material_loss, sampler, steps=1, generator=generator)


def test_logging_and_saving_do_not_change_the_run(whole):
    assert_same_run(run(None, every=7, checkpoint_every=1000)[:1] + whole[2:], whole[1:])


def test_a_finished_run_is_not_repeated(whole):
    folder, *expected = whole
    before = (folder / "log.csv").read_bytes()
    assert_same_run(run(folder), expected)
    assert (folder / "log.csv").read_bytes() == before


def test_the_log_has_one_row_per_interval_and_the_residual_falls(whole):
    header, *body = rows(whole[0])
    assert header == ["step", "seconds", "lr", "loss", "residual"]
    assert [int(r[0]) for r in body] == list(range(10, STEPS + 1, 10))
    assert float(body[-1][4]) < 0.2 * float(body[0][4])
    assert float(body[-1][2]) < 1e-6
    assert float(body[10][2]) == pytest.approx(5e-3 * Cosine()(109, STEPS), rel=1e-4)


def test_starting_over_replaces_checkpoint_and_log(whole, tmp_path):
    run(tmp_path, steps=30)
    run(tmp_path, steps=60, resume=False)
    assert [r[0] for r in rows(tmp_path)[1:]] == ["10", "20", "30", "40", "50", "60"]


def test_the_checkpoint_of_another_run_is_refused_by_what_differs(tmp_path):
    run(tmp_path, steps=20)
    with pytest.raises(CheckpointError, match=r"another run: batch was 32, is 64; delete it, name"):
        run(tmp_path, steps=20, batch=64)
    with pytest.raises(CheckpointError, match=r"ema was \(0.9, 0.5\), is \(\); steps was 20"):
        run(tmp_path, steps=30, ema=None)
    with pytest.raises(
        CheckpointError, match=r"accumulate was 2, is 1; .* teacher was 0.8, is 0.7"
    ):
        run(tmp_path, steps=20, accumulate=1, teacher=0.7, precision="bfloat16")


def test_a_loss_that_blows_up_stops_the_run_and_keeps_the_last_checkpoint(tmp_path):
    count = []

    def failing(model, **batch):
        count.append(1)
        value = material_loss(model, **batch)
        return LossValue(value.loss * (torch.nan if len(count) > 45 else 1), value.residual)

    model, sampler, generator = parts()
    path = tmp_path / "run.ckpt"
    with pytest.raises(
        TrainingError, match=r"at step 46: loss nan, .* lower the learning rate, clip"
    ):
        fit(
            model, failing, sampler, steps=100, batch=8, generator=generator, checkpoint=path,
            checkpoint_every=20,
        )  # fmt: skip
    assert torch.load(path, weights_only=True)["state"]["step"] == 40
    assert all(p.isfinite().all() for p in model.parameters())


def test_the_gradient_is_clipped_to_the_norm_given():
    model, sampler, generator = parts()
    before = [p.detach().clone() for p in model.parameters()]
    descent = torch.optim.SGD(model.parameters(), lr=1.0)
    fit(
        model, material_loss, sampler, steps=1, generator=generator, optimiser=descent, clip=1e-3,
        schedule=lambda step, steps: 1.0,
    )  # fmt: skip
    moved = [(a - b).square().sum() for a, b in zip(before, model.parameters(), strict=True)]
    assert sum(moved).sqrt().item() == pytest.approx(1e-3, rel=1e-3)


def test_the_cosine_rises_then_falls_to_its_floor():
    rate = Cosine(warmup=10, floor=0.1)
    assert rate(0, 1000) == pytest.approx(1 / 11)
    assert rate(500, 1000) == pytest.approx(0.1 + 0.9 * 0.5**1.5)
    assert rate(1000, 1000) == pytest.approx(0.1)


def test_a_budget_in_seconds_becomes_a_number_of_steps_and_leaves_no_trace():
    model, sampler, generator = parts()
    weights = [p.detach().clone() for p in model.parameters()]
    state = generator.get_state()
    few = steps_within(0.5, model, material_loss, sampler, generator=generator, batch=32)
    many = steps_within(50.0, model, material_loss, sampler, generator=generator, batch=32)
    assert few > 5 and many > 20 * few
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    assert torch.equal(state, generator.get_state())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"steps": 0}, "steps must be a whole number of at least 1, got 0"),
        ({"batch": 1.5}, "batch must be a whole number of at least 1, got 1.5"),
        ({"ema": 1.0}, "decay between 0 and 1, or several, got 1.0"),
        ({"teacher": 0.0}, "teacher must be a decay between 0 and 1, got 0.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        run(None, **options)


def test_a_teacher_is_refused_for_a_loss_that_takes_none():
    model, sampler, generator = parts()
    refused = pytest.raises(ValueError, match=r"for a loss that takes teacher=, .* takes .*power")
    for loss in (supervised_loss, generative_loss):
        with refused:
            fit(model, loss, sampler, steps=1, generator=generator, teacher=0.9)
        with refused:
            steps_within(1.0, model, loss, sampler, generator=generator, teacher=0.9)


def test_losses_that_return_something_else_and_models_without_weights_are_refused():
    model, sampler, generator = parts()
    with pytest.raises(ValueError, match="must return a LossValue, got float"):
        fit(model, lambda model, **batch: 1.0, sampler, steps=1, generator=generator)
    for p in model.parameters():
        p.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameters to train"):
        fit(model, partial(material_loss), sampler, steps=1, generator=generator)
