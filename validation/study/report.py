"""The page of the study: tables and sentences from the runs, and nothing else."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from meanfluid.files import replacing
from meanfluid.reporting import tables
from meanfluid.reporting.tables import markdown_table
from study import findings
from study.arms import (
    ARMS,
    BASE,
    GYRES,
    OPTIMISERS,
    SIZES,
    TARGETS,
    TEACHERS,
    WINDOWS,
    Arm,
)
from study.arms import (
    JUMPS as JUMP_LENGTHS,
)
from study.figures import draw
from study.flows import flow
from study.records import DIVERGED, Results, read_compact, read_runs, write_compact
from study.scores import FIFTHS, JUMPS, QUARTERS

PAGE, NUMBERS = "losses_against_truth.md", Path("results") / "losses_against_truth.json"
MACHINE = ("processor", "cores", "system", "python", "meanfluid", "numpy", "torch", "runs")


def percent(error: float) -> str:
    """Return an error in percent, unless the run diverged."""
    return tables.percent(error) if error <= DIVERGED else "diverged"


def write(folders: Sequence[Path], truth: Path, output: Path, seconds: float | None = None) -> Path:
    """Read the runs, keep their numbers in one file, and write page and figures from that file."""
    runs, where = read_runs(folders, truth)
    if not runs:
        raise SystemExit(f"no runs in {', '.join(map(str, folders))}; make them with `all`")
    write_compact(output / NUMBERS, runs, where)
    return rewrite(output, seconds)


def rewrite(output: Path, seconds: float | None = None) -> Path:
    """Write page and figures from the numbers that are kept beside them."""
    results = Results(*read_compact(output / NUMBERS), seconds)
    captions = draw(results, output / "figures")
    with replacing(output / PAGE) as file:
        file.write(page(results, captions).encode())
    return output / PAGE


def page(results: Results, captions: dict[str, str]) -> str:
    """The whole page."""
    parts = [_head(results), _errors(results, captions), _windows(results, captions)]
    parts += [
        _certificates(results, captions),
        _chaos(results, captions),
        _jumps(results, captions),
    ]
    parts += [_cost(results), _controls(results, captions), _longer(results), _claims(results)]
    parts += [_setting(results), _where(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(results: Results) -> str:
    seeds = ", ".join(map(str, results.seeds()))
    return (
        "# Losses for average velocities, against the exact ones\n\n"
        f"{len(results.runs)} runs, most of {results.seconds:g} seconds of one thread; seeds "
        f"{seeds}; numbers are medians over seeds. Errors are relative L2 errors of u(x, t, s) "
        "over windows drawn as in training, at points that no learner has seen. Made by "
        "`losses_against_truth.py`; the sentences below are decided by the numbers."
    )


def _errors(results: Results, captions: dict[str, str]) -> str:
    table = _by_flow(results, lambda name, arm: percent(results(name, arm, "error")))
    return _section("Error in the same time", table, findings.about_errors(results),
                    _figure("losses_errors", captions))  # fmt: skip


def _windows(results: Results, captions: dict[str, str]) -> str:
    parts = []
    for name in results.flows():
        arms = [a for a in results.arms(BASE) if results.has(name, a)]
        header = [flow(name).title, *(f"{k + 1}/{FIFTHS}" for k in range(FIFTHS))]
        header += [f"FTLE {k + 1}/{QUARTERS}" for k in range(QUARTERS)]
        keys: list[tuple[str, int]] = [("error_by_fifth", k) for k in range(FIFTHS)]
        keys += [("error_by_ftle", k) for k in range(QUARTERS)]
        rows = [[findings.title(a), *(percent(results(name, a, *key)) for key in keys)]
                for a in arms]  # fmt: skip
        if rows:
            parts.append(markdown_table(header, rows))
    text = (
        "Fifths are of the length of the window, from short to long; quarters of its FTLE, from "
        "calm to chaotic. Errors are over the exact averages of the same class."
    )
    return _section("By length of window and by FTLE", text, *parts,
                    _figure("losses_by_window", captions))  # fmt: skip


def _certificates(results: Results, captions: dict[str, str]) -> str:
    table = _by_flow(results, lambda name, arm: (
        f"{results(name, arm, 'path_bound') / results(name, arm, 'path_error'):.2g}"
        f" ({percent(results(name, arm, 'residual'))})"
    ))  # fmt: skip
    text = (
        "On exact trajectories: the root mean square of the residual over that of the error, which "
        "it bounds. In parentheses the residual at the sampled anchors, over the exact average."
    )
    return _section("The residual as a certificate", text, table,
                    findings.about_certificates(results),
                    _figure("losses_certificates", captions))  # fmt: skip


def _chaos(results: Results, captions: dict[str, str]) -> str:
    table = _by_flow(results, lambda name, arm: (
        "diverged" if not results.settled(name, arm) else
        f"{results(name, arm, 'slope'):.2f} / {results(name, arm, 'slope_beside_duration'):.2f} / "
        f"{results(name, arm, 'steepest_learned') / results(name, arm, 'steepest_exact'):.2f}"
    ))  # fmt: skip
    text = (
        "Slope of ln(error) against the stretching ln(sigma) = FTLE |h| of the window, alone / "
        "beside ln |h|; then the steepest gradient of the learned average over that of the exact."
    )
    return _section("Growth with chaos", text, table, findings.about_chaos(results),
                    _figure("losses_by_stretching", captions))  # fmt: skip


def _jumps(results: Results, captions: dict[str, str]) -> str:
    def cell(name: str, arm: str) -> str:
        first, *others = (results(name, arm, "endpoint", k) for k in range(len(JUMPS)))
        if not first <= DIVERGED:
            return "diverged"
        return " ".join([percent(first), *(f"{other / first:.2f}" for other in others)])

    text = (
        "Distance from the exact end point over the displacement in one jump, then that in "
        f"{', '.join(map(str, JUMPS[1:]))} equal jumps as multiples of it."
    )
    return _section("One jump and several", text, _by_flow(results, cell),
                    findings.about_jumps(results), _figure("losses_jumps", captions))  # fmt: skip


def _cost(results: Results) -> str:
    table = _by_flow(results, lambda name, arm: (
        f"{results(name, arm, 'ms_per_step'):.2g} ({results(name, arm, 'steps'):.0f})"
    ))  # fmt: skip
    noise = _by_flow(results, lambda name, arm: (
        f"{results(name, arm, 'gradient_noise'):.2g} / {results(name, arm, 'gradient_cosine'):.2f}"
    ))  # fmt: skip
    text = (
        "At half time: rms deviation of the gradient of a batch over the size of its mean / cosine "
        "of the mean with that of supervision, of the same network."
    )
    return _section("Steps and their gradients", "Milliseconds per step (steps in all).", table,
                    text, noise)  # fmt: skip


def _controls(results: Results, captions: dict[str, str]) -> str:
    groups = {
        "Optimiser": OPTIMISERS,
        "Size of the network": SIZES,
        "Teacher": TEACHERS,
        "Length of the exact step": JUMP_LENGTHS,
        "Target and weights": TARGETS,
    }
    parts: list[Any] = []
    for heading, group in groups.items():
        table = _control_table(results, group)
        if table:
            parts += [f"### {heading}", table]
    parts.append(_longest_windows(results))
    if not any(parts):
        return ""
    return _section("Controls on the double gyre", *parts, _figure("losses_controls", captions))


def _control_table(results: Results, group: Sequence[Arm]) -> str:
    """The arms of a group, each below the one that it is a variant of."""
    name = "double_gyre"
    there = [arm.name for arm in group if results.has(name, arm.name)]
    bases = dict.fromkeys(arm.partition("-")[0] for arm in there)
    rows = []
    for base in bases:
        for arm in [base, *(a for a in there if a.partition("-")[0] == base)]:
            if results.has(name, arm):
                rows.append(_control_row(results, name, arm, base))
    if not rows:
        return ""
    header = ["arm", "optimiser", "error", "over the base", "1/5", "5/5", "residual", "steps"]
    return markdown_table(header, rows)


def _control_row(results: Results, name: str, arm: str, base: str) -> list[str]:
    error = results(name, arm, "error")
    return [
        ARMS[arm].title,
        ARMS[arm].optimiser.label,
        percent(error),
        ""
        if max(error, results(name, base, "error")) > DIVERGED
        else f"{error / results(name, base, 'error'):.2f}",
        *(percent(results(name, arm, "error_by_fifth", k)) for k in (0, FIFTHS - 1)),
        percent(results(name, arm, "residual")),
        f"{results(name, arm, 'steps'):.0f}",
    ]


def _longest_windows(results: Results) -> str:
    """Errors against the length of the longest window."""
    names = sorted((n for n in GYRES if any(results.has(n, a) for a in WINDOWS)),
                   key=lambda n: flow(n).windows.longest)  # fmt: skip
    if len(names) < 2:
        return ""
    header = ["arm", *(f"to {flow(n).windows.longest:g}" for n in names)]
    rows = [[findings.title(a), *(percent(results(n, a, "error")) for n in names)]
            for a in WINDOWS if any(results.has(n, a) for n in names)]  # fmt: skip
    return "### Longest window\n\n" + markdown_table(header, rows)


def _longer(results: Results) -> str:
    """Errors of what was run for several times."""
    times = sorted({run["seconds"] for run in results.runs})
    pairs = dict.fromkeys((run["flow"], run["arm"]) for run in results.runs)
    rows = []
    for name, arm in pairs:
        values = [results(name, arm, "error", seconds=t) if results.has(name, arm, t) else None
                  for t in times]  # fmt: skip
        if sum(v is not None for v in values) > 1:
            rows.append([f"{name}, {ARMS[arm].title}",
                         *("" if v is None else percent(v) for v in values)])  # fmt: skip
    if not rows:
        return ""
    table = markdown_table(["seconds", *(f"{t:g}" for t in times)], rows)
    return _section("More and less time", table, findings.about_longest(results))


def _claims(results: Results) -> str:
    rows = [list(claim) for claim in findings.claims(results)]
    if not rows:
        return ""
    text = (
        "Believed after a study of the double gyre with one seed, smaller networks and Adam; or "
        f"left open by it. Quotients up to {findings.CLOSE:g} count as no difference."
    )
    table = markdown_table(["believed", "measured here", "holds?"], rows, words=True)
    return _section("Earlier beliefs", text, table)


def _setting(results: Results) -> str:
    truths = results.where["truth"]
    rows = []
    for name in dict.fromkeys(run["flow"] for run in results.runs):
        one, header = flow(name), truths.get(name)
        made = ["", "", "", ""] if header is None else [
            " ".join(f"{value:.2g}" for value in header["stretch"]),
            f"{header['exact_error']:.0e}",
            str(header["pool"]),
            f"{header['pool_cpu_seconds']:.2g} s",
        ]  # fmt: skip
        rows.append([one.title, str(one.field.dimension), f"{one.windows.longest:g}", *made])
    header = ["flow", "dimensions", "windows to", "ln(sigma): 1/2, 95 %, most", "error of exact",
              "pool", "time for the pool"]  # fmt: skip
    arms = [
        [ARMS[a].title, findings.told(ARMS[a]), ARMS[a].optimiser.label,
         f"{ARMS[a].batch}", "" if ARMS[a].teacher is None else f"{ARMS[a].teacher:g}"]
        for a in results.arms(BASE)
    ]  # fmt: skip
    text = (
        "The pool of exact averages is for supervision only, and its time is not in the seconds of "
        "a run (process time, compilation not counted). All arms: 6 hidden layers of 128, the same "
        "initial weights per seed, float32, the losses with their defaults unless named, a cosine "
        "over the time."
    )
    return _section("Setting", markdown_table(header, rows), text,
                    markdown_table(["arm", "is told", "optimiser", "windows per step", "teacher"],
                                   arms, words=True))  # fmt: skip


def _where(results: Results) -> str:
    machines = results.where["machines"]
    rows = [[name, *(str(machine.get(name, "")) for machine in machines)] for name in MACHINE]
    rows.append(["last run", *[str(results.where["made"])] * len(machines)])
    return _section("Provenance", markdown_table(["", *([""] * len(machines))], rows))


def _by_flow(results: Results, cell: Callable[[str, str], str]) -> str:
    """A table of the main arms on all flows."""
    flows = results.flows()
    rows = [
        [findings.title(arm), *(cell(f, arm) if results.has(f, arm) else "" for f in flows)]
        for arm in results.arms(BASE)
    ]
    return markdown_table(["arm", *flows], rows) if rows and flows else ""


def _figure(name: str, captions: dict[str, str]) -> str:
    return f"![{captions[name]}](figures/{name}.png)" if name in captions else ""


def _section(heading: str, *parts: Any) -> str:
    """A heading and what is below it: text, tables, and lists of findings."""
    texts = [
        "\n".join(f"- {item}" for item in part) if isinstance(part, list) else part
        for part in parts
    ]
    return "\n\n".join([f"## {heading}", *(text for text in texts if text)])
