"""Two processes train as one would with their batches joined; what happens to one, happens to all.

The processes are real ones, connected by gloo; they run once, for all tests of this file.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from meanfluid.errors import CheckpointError
from meanfluid.learning import fit
from meanfluid.learning.ranks import draw_base, seed
from tests.learning.two_processes import BATCH, RATE, SAMPLER, SIZE, STEPS, Plain, model

ROOT = Path(__file__).parents[2]
PATIENCE = 100.0  # seconds; on a quiet machine they need seven


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """The folder in which the processes wrote, and what each of them found."""
    folder = tmp_path_factory.mktemp("processes")
    command = [sys.executable, "-W", "ignore", "-m", "tests.learning.two_processes"]
    running = [
        subprocess.Popen(
            [*command, str(rank), str(folder)], cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(SIZE)
    ]  # fmt: skip
    deadline, told = time.monotonic() + PATIENCE, []
    try:
        for process in running:
            told.append(process.communicate(timeout=max(1.0, deadline - time.monotonic()))[0])
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0] * SIZE, "\n".join(told)
    return folder, [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(SIZE)]


def kept(step, decay):
    """Share of itself that an average keeps after so many steps."""
    return min(decay, (1 + step) / (10 + step))


def joined(kind):
    """Train alone, by descent written out, on the batches of all ranks; return a list per step."""
    learner, loss, steps = model(kind), Plain(), []
    teacher = model(kind).requires_grad_(False)
    base = draw_base(torch.Generator().manual_seed(9))
    trained = [*learner.parameters(), *loss.parameters()]
    for step in range(STEPS):
        drawn = [
            SAMPLER(BATCH, torch.Generator().manual_seed(seed(base, step, rank)))
            for rank in range(SIZE)
        ]
        batch = {name: torch.cat([one[name] for one in drawn]) for name in drawn[0]}
        value = loss.at(step / STEPS)(learner, **batch, teacher=teacher)
        gradients = torch.autograd.grad(value.loss, trained)
        with torch.no_grad():
            for p, gradient in zip(trained, gradients, strict=True):
                p -= RATE * gradient
            for p, q in zip(teacher.parameters(), learner.parameters(), strict=True):
                p.copy_(torch.lerp(q, p, kept(step, 0.9)) if step else q)
        weights = [p.detach().clone() for p in trained]
        steps.append((value.loss.item(), weights))
    return steps


@pytest.mark.parametrize("kind", ["layers", "whole"])
def test_weights_are_those_of_one_process_with_the_batches_joined(processes, kind):
    """The gradient passes through the derivative, and into parameters of the loss."""
    steps = joined(kind)
    start = [p.detach() for p in (*model(kind).parameters(), *Plain().parameters())]
    for found in processes[1]:
        weights = found["weights"][kind][0]
        for ours, theirs, first in zip(steps[-1][1], weights, start, strict=True):
            torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-12)
            assert (ours - first).abs().max() > 1e-4


@pytest.mark.parametrize("kind", ["layers", "whole"])
def test_averages_of_the_weights_are_the_same_everywhere(processes, kind):
    weights = [step[1] for step in joined(kind)]
    expected = weights[0]
    for step, later in enumerate(weights[1:], start=1):
        share = kept(step, 0.5)
        expected = [share * a + (1 - share) * b for a, b in zip(expected, later, strict=True)]
    for found in processes[1]:
        for ours, theirs in zip(expected, found["weights"][kind][1], strict=False):
            torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-12)


def test_the_log_is_written_once_with_means_over_the_processes(processes):
    folder, (first, second) = processes
    losses = [step[0] for step in joined("layers")]
    rows = [line.split(",") for line in (folder / "layers/log.csv").read_text().splitlines()]
    assert [row[0] for row in rows] == ["step", "2", "4", "6"]
    means = [(a + b) / 2 for a, b in zip(losses[::2], losses[1::2], strict=True)]
    assert [float(row[3]) for row in rows[1:]] == pytest.approx(means, rel=1e-5)
    assert first["found"]["layers"]["loss"] == pytest.approx(means[-1], rel=1e-12)
    assert second["found"]["layers"]["loss"] == first["found"]["layers"]["loss"]
    assert second["found"]["layers"]["residual"] == first["found"]["layers"]["residual"]
    assert first["found"]["layers"]["reports"] == [2, 4, 6]
    assert second["found"]["layers"]["reports"] == []


def test_ctrl_c_in_one_process_stops_all_after_the_step_and_they_resume_to_the_same_bits(processes):
    folder, both = processes
    for found in both:
        assert found["found"]["interrupted"].startswith("KeyboardInterrupt")
        assert found["found"]["saved"] == 3
        for name in ("loss", "residual"):
            assert found["found"]["resumed"][name] == found["found"]["layers"][name]
        for one, other in zip(*(found["weights"][k] for k in ("resumed", "layers")), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    logs = [(folder / kind / "log.csv").read_text() for kind in ("resumed", "layers")]
    one, other = ([row.split(",") for row in log.splitlines()] for log in logs)
    assert [row[:1] + row[2:] for row in one] == [row[:1] + row[2:] for row in other]


def test_a_checkpoint_of_two_processes_is_refused_by_one(processes):
    generator = torch.Generator().manual_seed(9)
    with pytest.raises(CheckpointError, match=r"processes was 2, is 'not distributed'"):
        fit(
            model("layers"), Plain(), SAMPLER, steps=STEPS, generator=generator,
            checkpoint=processes[0] / "run.ckpt",
        )  # fmt: skip


def test_a_budget_is_the_same_number_of_steps_everywhere(processes):
    budgets = {found["found"]["budget"] for found in processes[1]}
    assert len(budgets) == 1 and budgets.pop() > 1


@pytest.mark.parametrize(
    "case, message",
    [
        ("damaged", "CheckpointError: .*damaged.ckpt cannot be read as a checkpoint"),
        (
            "different",
            "ValueError: steps must be the same .* got 6 in the first and 7 in .* rank 1",
        ),
        ("not finite", "TrainingError: training is no longer finite at step 4: loss nan"),
        (
            "not wrapped",
            "ValueError: 2 processes run, .* wrap the model in DistributedDataParallel",
        ),
    ],
)
def test_what_goes_wrong_in_one_process_is_raised_in_all(processes, case, message):
    for found in processes[1]:
        assert re.match(message, found["found"][case]), found["found"][case]


def test_batches_depend_on_base_step_and_rank_and_on_nothing_else():
    seeds = {seed(base, step, rank) for base in (1, 2) for step in range(50) for rank in range(4)}
    assert len(seeds) == 2 * 50 * 4 and all(0 <= s < 2**63 for s in seeds)
    digest = 0x163A1142BA881300  # printf '1, 2, 3' | b2sum -l 64
    assert seed(1, 2, 3) == digest >> 1
