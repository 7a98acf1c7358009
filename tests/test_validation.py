"""The study of losses: truth is true, scores of known models are known, a report is made."""

import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import meanfluid as mf
from meanfluid.reporting.tables import percent

VALIDATION = Path(__file__).parents[1] / "validation"
FEW = ["--pool", "1024", "--samples", "256"]


@pytest.fixture(scope="module")
def study():
    """The script; its folder is no package."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(VALIDATION))
        import losses_against_truth

        yield losses_against_truth
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def truth_folder(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth")
    study.main(["truth", "--flows", "affine", "--truth", str(folder), *FEW])
    return folder


@pytest.fixture(scope="module")
def made(study, truth_folder, tmp_path_factory):
    """Two short runs and the report on them: the folders of both."""
    runs, output = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("report")
    where = ["--truth", str(truth_folder), "--results", str(runs)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("study.training.NOISE_BATCHES", 3)
        for arm in ("material", "supervised"):
            study.main(["run", "--flow", "affine", "--arm", arm, "--seconds", "0.3", *where])
    study.main(["report", *where, "--output", str(output)])
    return runs, output


class Known(nn.Module):
    """Exact average velocity of steady rotation, of particles that pass x at time t, plus c."""

    def __init__(self, field, rate, offset=(0.0, 0.0)):
        super().__init__()
        self.velocity = mf.learning.AverageVelocity(field, nn.Identity()).velocity
        self.rate = rate
        self.register_buffer("offset", torch.tensor(offset, dtype=torch.float64))

    def forward(self, x, *, t, s):
        angle = self.rate * (s - t)
        along, across = torch.sin(angle) / (s - t), -2 * torch.sin(angle / 2) ** 2 / (s - t)
        turned = torch.stack([-x[:, 1], x[:, 0]], dim=1)
        return across[:, None] * x + along[:, None] * turned + self.offset


def rotation_truth(rate, n=64, nodes=8):
    """Closed-form truth of steady rotation."""
    from study.truth import Truth

    field = mf.fields.rotation(rate)
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.uniform(-1, 1, (n, 2)))
    t, s = (torch.from_numpy(rng.uniform(low, low + 1, n)) for low in (1.5, 0.0))
    model = Known(field, rate)
    node, weight = np.polynomial.legendre.leggauss(nodes)
    times = t[:, None] + torch.from_numpy((node + 1) / 2) * (s - t)[:, None]

    def turned(angle, x):
        c, s = torch.cos(angle), torch.sin(angle)
        return torch.stack([c * x[..., 0] - s * x[..., 1], s * x[..., 0] + c * x[..., 1]], dim=-1)

    places = turned(rate * (times - t[:, None]), x[:, None, :])
    gradient = turned(rate * (s - t)[:, None], torch.eye(2, dtype=torch.float64)).mT
    weight = torch.from_numpy(weight / 2)
    half = torch.tensor([0.01, 0.1, 0.4], dtype=torch.float64)[:, None, None]
    pair = x[:1, None, None] + half * torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    row = torch.zeros(6, dtype=torch.long)
    return field, Truth(
        x, t, s, model(x, t=t, s=s), gradient, places, times, weight, pair_place=pair,
        pair_mean=model(pair.reshape(-1, 2), t=t[row], s=s[row]).reshape(pair.shape),
        pair_window=torch.tensor([0]), pool=None, header={},
    )  # fmt: skip


def test_the_truth_is_that_of_the_closed_form_and_the_pool_belongs_to_its_anchors(
    study, truth_folder
):
    from study import truth
    from study.flows import flow

    where = flow("affine")
    loaded = truth.load(where, truth_folder)
    closed = where.field.exact_flow_map

    def average(x, t, s):
        x, t, s = (a.double().numpy() for a in (x, t, s))
        return (closed(where.field.parameters, x, t, s) - x) / (s - t)[:, None]

    pool = loaded.pool
    np.testing.assert_allclose(average(loaded.x, loaded.t, loaded.s), loaded.u, atol=2e-6)
    np.testing.assert_allclose(average(pool.x, pool.t, pool.s), pool.mean, atol=2e-6)
    few = len(loaded.path_place)
    there = closed(
        where.field.parameters, loaded.x[:few].double().numpy(), loaded.t[:few].double().numpy(),
        loaded.path_time[:, 3].double().numpy(),
    )  # fmt: skip
    np.testing.assert_allclose(there, loaded.path_place[:, 3], atol=2e-6)
    np.testing.assert_allclose(torch.linalg.det(loaded.gradient.double()), 1.0, atol=1e-5)
    assert loaded.header["left"] == 0.0


def test_a_pool_of_other_anchors_is_refused(study, truth_folder, tmp_path):
    from study import truth
    from study.flows import flow

    with np.load(truth_folder / "affine.npz") as file:
        arrays = {name: file[name] for name in file.files}
    header = json.loads(str(arrays["header"]))
    arrays["header"] = json.dumps(header | {"anchor_sum": header["anchor_sum"] + 1.0})
    np.savez(tmp_path / "affine.npz", **arrays)
    with pytest.raises(ValueError, match="other anchors"):
        truth.load(flow("affine"), tmp_path)
    with pytest.raises(FileNotFoundError, match="subcommand truth"):
        truth.load(flow("abc"), tmp_path)


def test_the_exact_average_has_no_error_residual_or_jump(study):
    from study.scores import scores

    field, truth = rotation_truth(1.3)
    found = scores(Known(field, 1.3), truth, 2.5)
    for name in ("error", "residual", "path_error", "path_bound", "path_closure"):
        assert found[name] < 1e-13
    assert max(found["endpoint"]) < 1e-13
    np.testing.assert_allclose(found["learned_stretch_by_quarter"], 0.0, atol=1e-13)


def test_a_constant_error_is_its_own_residual_and_its_bound_is_sharp(study):
    from study.scores import scores

    field, truth = rotation_truth(1.3)
    found = scores(Known(field, 1.3, (0.03, 0.04)), truth, 2.5)
    size = float(truth.u.square().sum(1).mean().sqrt())
    for name in ("error", "residual", "path_error", "path_bound", "max_error", "max_residual"):
        assert found[name] == pytest.approx(0.05 / size, rel=1e-12)
    assert found["path_closure"] < 1e-13
    window = float((truth.s - truth.t).square().mean().sqrt())
    moved = float(((truth.s - truth.t)[:, None] * truth.u).square().sum(1).mean().sqrt())
    assert found["endpoint"][0] == pytest.approx(0.05 * window / moved, rel=1e-12)


def test_a_flat_model_makes_the_least_error_that_its_gradient_allows(study):
    from study.scores import representable

    class Flat(nn.Module):
        def forward(self, x, *, t, s):
            return 0 * x + truth.u[0]

    _, truth = rotation_truth(1.3)
    found = representable(Flat(), truth)
    # The exact average is linear: at both ends it is as far from its value in the middle.
    assert found["least_over_error"] == pytest.approx(1.0, rel=1e-12)
    assert found["least_error_where_steep"] > 0
    field, truth = rotation_truth(1.3)
    assert representable(Known(field, 1.3, (0.1, 0.0)), truth)["least_over_error"] < 1e-12


def test_the_slope_is_that_of_an_error_that_grows_with_stretching(study):
    from study.scores import growth

    rng = np.random.default_rng(1)
    stretch, duration = rng.uniform(0, 3, 200), rng.uniform(0.1, 2, 200)
    found = growth(0.01 * duration**2 * np.exp(0.7 * stretch), stretch, duration)
    assert found["slope_beside_duration"] == pytest.approx(0.7, abs=1e-12)


def test_noise_of_a_gradient_without_any_is_zero_and_supervision_agrees_with_itself(study):
    from study.training import _mean_gradient

    model, rng = nn.Linear(2, 1, bias=False), torch.Generator().manual_seed(0)
    x = torch.tensor([[1.0, 2.0]])
    mean, spread, size = _mean_gradient(model, lambda: model(x).sum())
    torch.testing.assert_close(mean, x[0])
    assert spread == 0.0 and size == pytest.approx(math.sqrt(5))
    _, spread, size = _mean_gradient(
        model, lambda: (model(x) * (1 + torch.randn(1, generator=rng))).sum()
    )
    assert spread / size == pytest.approx(1.0, abs=0.5)


def test_every_arm_of_the_plan_has_a_finite_loss_and_gradient_at_all_times(study):
    from study.arms import ARMS, plan
    from study.flows import FLOWS, flow
    from study.training import objective

    from meanfluid.learning import Pool

    assert {name for name, _ in plan()} == set(FLOWS) and {arm for _, arm in plan()} == set(ARMS)
    rng = torch.Generator().manual_seed(0)
    for arm in ARMS.values():
        where = flow(arm.flows[0])
        columns = torch.rand(64, 4, generator=rng)
        pool = Pool(columns[:, :2], 1 + columns[:, 2], columns[:, 3], columns[:, :2])
        small = dataclasses.replace(arm, batch=8, width=8, depth=2)
        model = small.model(where, seed=0)
        teacher = None if arm.teacher is None else torch.optim.swa_utils.AveragedModel(model)
        for progress in (0.0, 0.5, 0.99):
            batch = small.sampler(where, pool)(small.batch, rng)
            value = objective(model, small, batch, progress, teacher)
            value.backward()
            assert value.isfinite(), arm.name
        assert all(p.grad.isfinite().all() for p in model.parameters()), arm.name


def test_runs_keep_to_their_time_and_say_what_they_are(made):
    runs, _ = made
    found = [json.loads(path.read_text()) for path in sorted(runs.iterdir())]
    assert [run["arm"] for run in found] == ["material", "supervised"]
    for run in found:
        assert 0.3 <= run["cpu_seconds"] < 0.3 + 10 * run["ms_per_step"] / 1000 + 0.1
        assert run["finite"] and run["steps"] > 1
        assert run["ms_per_step"] * run["steps"] == pytest.approx(
            1e3 * run["cpu_seconds"], rel=1e-3
        )
        assert 0 < run["scores"]["path_error"] <= run["scores"]["path_bound"]
        assert {"torch", "processor"} <= set(run["machine"])
        assert len(run["curve"]) == 3


def test_the_report_shows_the_numbers_of_the_runs(made, study):
    runs, output = made
    page = (output / "losses_against_truth.md").read_text()
    for path in runs.iterdir():
        run = json.loads(path.read_text())
        kept = float(f"{run['scores']['error']:.4g}")
        assert percent(kept) in page
    assert "The bound holds in 2 of 2 runs" in page
    figures = {path.name for path in (output / "figures").iterdir()}
    for name in figures:
        assert f"(figures/{name})" in page
    assert "losses_errors.png" in figures and "losses_controls.png" not in figures


def test_the_page_follows_from_the_numbers_that_are_kept_beside_it(made, study):
    from study.records import Results, read_compact
    from study.report import NUMBERS, page

    _, output = made
    results = Results(*read_compact(output / NUMBERS))
    written = set((output / "losses_against_truth.md").read_text().splitlines())
    again = page(results, {}).splitlines()
    assert len(again) > 40 and set(again) <= written
    with pytest.raises(ValueError, match="no run took 60 s"):
        Results(results.runs, results.where, seconds=60.0)


def test_finished_runs_are_skipped_and_none_is_begun_without_time(made, study, capsys):
    from study.runs import run_all

    runs, _ = made
    options = ["all", "--flows", "affine", "--arms", "material", "supervised", "--seeds", "0", "1"]
    options += ["--seconds", "0.3", "--results", str(runs)]
    left = study.left_to_run(study.parsed(options))
    assert [(job.arm, job.seed) for job in left] == [("material", 1), ("supervised", 1)]
    assert run_all(left, Path("never run"), [], 2, within=1.0) == (0, [])
    with pytest.raises(SystemExit, match="unknown: nothing"):
        study.left_to_run(study.parsed([*options, "--arms", "nothing"]))


def test_a_run_that_fails_is_named_and_leaves_no_file(study, tmp_path):
    from study.runs import Job, run_all

    script = tmp_path / "script.py"
    script.write_text("import sys; sys.exit('no luck')")
    finished, failed = run_all([Job("abc", "material", 0, 0.1)], script, [], 1, None)
    assert finished == 0 and len(failed) == 1
    assert "abc--material--seed0--0.1s.json" in failed[0] and "no luck" in failed[0]


def imagined(made, factors):
    """Runs of the whole plan, all like one that was made but for factors of their errors."""
    from study.arms import plan
    from study.records import Results

    runs, _ = made
    like = json.loads((runs / "affine--material--seed0--0.3s.json").read_text())
    found = []
    for flow, arm in plan():
        for seed in (0, 1):
            scores = like["scores"] | {"error": 0.01 * factors.get(arm, 1.0) * (1 + seed / 10)}
            found.append(like | {"flow": flow, "arm": arm, "seed": seed, "scores": scores})
    return Results(found, {"machines": [like["machine"]], "made": "", "truth": {}})


def test_beliefs_are_judged_by_the_numbers(made, study):
    from study.findings import claims

    factors = {
        "material_stop-adam0.9": 3.0, "material_stop-soap0.95": 1.5, "supervised": 0.8,
        "endpoint": 0.5, "bootstrap-alone": 1.5, "picard": 1.3, "supervised-4x64": 0.5,
        "supervised-then_stop": 2.0,
    }  # fmt: skip
    judged = {claim.believed: claim for claim in claims(imagined(made, factors))}
    assert len(judged) == 14

    def claim(start):
        return next(claim for text, claim in judged.items() if text.startswith(start))

    assert claim("The stopped gradient rotates").holds == "holds"
    assert "Adam: 3; SOAP 0.95 over 0.5: 1.5" in claim("The stopped gradient rotates").measured
    assert claim("Momentum does not matter").holds == "holds on 1 of 2"
    assert claim("The endpoint identity is worse").holds == "does not hold"
    assert claim("The derivative of a teacher").holds == "does not hold"
    assert claim("A teacher helps").holds == "holds"
    assert claim("The stopped gradient has no bias").holds == "does not hold"
    assert claim("(open) another size").holds == "supervised 4 x 64 is better"


def test_identity_and_supervision_are_compared_where_the_training_was_longest(made, study):
    from study.findings import about_longest
    from study.records import Results

    short = imagined(made, {"material_full": 1.2, "supervised": 1.05, "supervised_fast": 0.6})
    alike, *rest = about_longest(short)
    assert "with SOAP 0.95 for both" in alike and "at most 1 on 6 of 6 flows" in alike
    assert "rate 0.012 for both" in rest[0] and "at most 1 on 0 of 6 flows" in rest[0]
    assert "best of all such arms" in rest[1] and "half gradient, 1.7" in rest[1]
    longer = [
        run | {"seconds": 9.0, "scores": run["scores"] | {"error": 0.001}}
        for run in short.runs
        if (run["flow"], run["arm"]) in {("abc", "material"), ("abc", "supervised")}
    ]
    (told,) = about_longest(Results(short.runs + longer, short.where))
    assert told.startswith("After 9 s") and told.endswith("(abc: material, half gradient, 1).")


def test_the_page_of_the_whole_plan_shows_every_arm_and_a_divergence(made, study):
    from study.arms import ARMS
    from study.findings import about_errors
    from study.report import page

    results = imagined(made, {"material_stop-teacher": math.inf})
    for run in results.runs:
        run["finite"] = run["arm"] != "material_stop-teacher"
    text = page(results, {})
    assert all(arm.title in text for arm in ARMS.values())
    assert not re.search(r"\bnan\b", text)
    assert "material_stop-teacher on double_gyre" in about_errors(results)[-1]
    assert "1.10 times the smallest in the median" in text
