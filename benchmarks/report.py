"""Makes ``README.md`` and the figures from the reports in ``results/``.

python benchmarks/report.py            both
python benchmarks/report.py --text     the README alone
"""

import argparse
import json
from pathlib import Path

from analysis import best_time, time_to

from meanfluid.reporting.tables import markdown_table

HERE = Path(__file__).parent
OURS = "meanfluid"
DEFAULT = "dop853"
MEASURES = (("median_error", "median"), ("p99_error", "99th percentile"))
# Measured time of a peer over the best time of ours, at every target of error.
NEEDED = (
    ("numbacs", None, 20.0),
    ("heyoka", None, 3.0),
    ("diffrax", "Dopri8, vmapped", 60.0),  # error control for each particle, like ours
    ("diffrax", None, 60.0),
    ("torchdiffeq", None, 60.0),
    ("scipy", "DOP853, one system", 15.0),
    ("scipy", "DOP853, per particle", 3000.0),
)
CPP_NEEDED, SCALAR_NEEDED = 0.9, 10.0
LINEAR_WITHIN, COMPILE_WITHIN = 0.05, 5.0
GIANT = 100_000_000  # averages: see scaling.py
NAMES = {"numbacs": "NumbaCS", "scipy": "SciPy"}

INTRODUCTION = """\
# Benchmarks

One script per question. Contestants run in turn on the same machine in the same run; medians of
alternated repeats are reported, compilation and first calls stand apart, and beside every time
stands an error that was measured against Taylor integration (heyoka, tolerance 1e-18), since a
tolerance is not an error. Absolute times on a shared machine mean little, ratios from one run
more. `results/` holds the raw numbers with the versions and the processor that gave them.

```console
python benchmarks/work_precision.py --install   # the peers' environments, once
make bench                                      # all scripts, then this page
python benchmarks/kernels.py --quick            # does a script run at all?
```

This page is made by `python benchmarks/report.py` and not edited by hand."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--text", action="store_true", help="no figures")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--readme", type=Path, default=HERE / "README.md")
    arguments = parser.parse_args()
    reports = read(arguments.results)
    arguments.readme.write_text(readme(reports))
    if not arguments.text:
        from figures import draw

        draw(reports, arguments.readme.parent / "figures")


def read(folder):
    """Return the reports of a folder by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def readme(reports):
    """Return the whole page."""
    known = {
        "heyoka_profile": any_report, "kernels": kernels, "work_precision": work_precision,
        "schemes": schemes, "scaling": scaling, "compile_time": compile_time,
    }  # fmt: skip
    parts = [INTRODUCTION, targets(reports)]
    parts += [section(reports[name], name, known[name]) for name in known if name in reports]
    missing = [f"`{name}.py`" for name in known if name not in reports]
    if missing:
        parts.append(f"Not measured yet: {', '.join(missing)}.")
    others = (name for name in reports if name not in known)
    parts += [section(reports[name], name, any_report) for name in others]
    return "\n\n".join(parts) + "\n"


def section(report, name, body):
    """Return heading, provenance and body of one report."""
    heading = f"## `{name}.py`: {report.get('question', name)}"
    return "\n\n".join([heading, provenance(report), body(report)])


def provenance(report):
    """Return one paragraph: when, where, with what."""
    machine = report.get("machine", {})
    where = [report.get("date"), machine.get("processor")]
    if "vector_bits" in machine:
        where.append(f"{machine['vector_bits']}-bit vectors")
    if "threads" in report:
        where.append(f"{report['threads']} threads on {machine.get('cores', '?')} cores")
    if "repeats" in report:
        where.append(f"{report['repeats']} repeats")
    if "script_seconds" in report:
        where.append(f"the script took {report['script_seconds']:.0f} s")
    text = "; ".join(str(part) for part in where if part)
    text += ". " + ", ".join(f"{k} {v}" for k, v in report.get("versions", {}).items()) + "."
    if report.get("quick"):
        text = "**A quick run: it says that the script works, not how fast anything is.** " + text
    return text


# ---------------------------------------------------------------- Targets


BETWEEN = """What stands between. Towards *C++*, *Numba, scalar* and *NumbaCS* it is what our step
costs beside the formula, by the profile in `stepper_profile.py` below; the C++ loops, compiled for
one field and one scheme, keep stages in registers. *heyoka* raises its order with the tolerance
where a scheme of order eight takes more steps, so that its time grows more slowly with accuracy:
`heyoka_profile.py` counts both. *diffrax* comes close only with one step for all trajectories. The
*first call ever* compiles the stepping, once for all fields and schemes, and keeps it on disk. Few
*modes* do not outweigh the fixed costs of a step."""


def targets(reports):
    """Return the table of what was aimed at and what was measured."""
    rows = []
    if "kernels" in reports:
        rows += kernel_targets(reports["kernels"])
    if "work_precision" in reports:
        rows += peer_targets(reports["work_precision"])
    if "scaling" in reports:
        rows += scaling_targets(reports["scaling"])
    if "compile_time" in reports:
        rows += compile_targets(reports["compile_time"])
    for name, report in reports.items():
        rows += [own_target(name, target) for target in report.get("targets", ())]
    if not rows:
        return "## Targets\n\nNothing measured yet."
    table = markdown_table(["target", "aim", "measured", "met"], rows)
    return f"## Targets\n\n{table}\n\n{BETWEEN}"


def verdict(met):
    return "yes" if met else "**no**"


def kernel_targets(report):
    rows = []
    for case in report["cases"]:
        if case["scheme"] != "rk4":
            continue
        ratios = {row["name"]: row["time_over_ours"] for row in case["contestants"]}
        for name, ratio in ratios.items():
            aim = CPP_NEEDED if name.startswith("C++") else SCALAR_NEEDED
            if name.startswith(("C++", "Numba")):
                title = f"RK4 steps/s over {name}: {case['case']}"
                rows.append([title, f"≥ {aim:g}", f"{ratio:.2f}", verdict(ratio >= aim)])
    return rows


def peer_targets(report):
    """One row per peer and measure, with the ratios at all targets of error."""
    ours = [entry for entry in report["entries"] if entry["tool"] == OURS]
    rows = []
    for tool, method, aim in NEEDED:
        theirs = [
            entry for entry in report["entries"]
            if entry["tool"] == tool and method in (None, entry["method"])
        ]  # fmt: skip
        title = f"{NAMES.get(tool, tool)}{', ' + method if method else ''}"
        for measure, told in MEASURES if theirs else ():
            cells, met = [], True  # what neither reaches, rounding in float64 forbids
            for target in report["targets_of_error"]:
                mine, other = best_time(ours, target, measure), best_time(theirs, target, measure)
                if mine is None:
                    cells.append("neither" if other is None else "only they")
                    met &= other is None
                elif other is None:
                    cells.append("only we")
                else:
                    cells.append(f"{significant(other[0] / mine[0])}")
                    met &= other[0] >= aim * mine[0]
            title_of_row = f"time over ours at {exponents(report)}, {told}: {title}"
            told_met = "–" if set(cells) == {"neither"} else verdict(met)
            rows.append([title_of_row, f"≥ {aim:g}", ", ".join(cells), told_met])
    return rows


def scaling_targets(report):
    rows = []
    for part, name in (("particles", "particles"), ("step_length", "1/h"), ("modes", "modes")):
        slope = report[part]["exponent"]
        rows.append(
            [
                f"time grows with {name}: exponent", f"1 ± {LINEAR_WITHIN:g}", f"{slope:.3f}",
                verdict(abs(slope - 1) <= LINEAR_WITHIN),
            ]
        )  # fmt: skip
    memory = report["memory"]
    measured = [row["peak_bytes"] for row in memory["rows"] if row["particles"] == GIANT]
    if measured:
        rows.append(
            [
                "peak memory of 1e8 averages", f"< {memory['giant_aim'] / 1e9:g} GB",
                gigabytes(measured[0]), verdict(measured[0] < memory["giant_aim"]),
            ]
        )  # fmt: skip
    return rows


def compile_targets(report):
    def row(title, seconds):
        return [title, f"< {COMPILE_WITHIN:g} s", f"{seconds:.1f} s", verdict(seconds < 5.0)]

    slowest = max(report["next_field"], key=lambda entry: entry["first_call"])
    return [
        row("first call ever, empty cache", report["cold"]["first_call"]),
        row(f"first call with another field ({slowest['field']})", slowest["first_call"]),
    ]


def own_target(name, target):
    """One row for a report that names its own targets."""
    least, most, measured = target.get("at_least"), target.get("at_most"), target["measured"]
    met = measured >= least if least is not None else measured <= most
    aim = f"≥ {least:g}" if least is not None else f"≤ {most:g}"
    return [f"{target['target']} (`{name}.py`)", aim, significant(measured), verdict(met)]


# ---------------------------------------------------------------- One section per script


def kernels(report):
    rows = []
    for case in report["cases"]:
        for row in case["contestants"]:
            name = row["name"] + (f" ({row['variant']})" if row["variant"] else "")
            rows.append(
                [
                    f"{case['case']}, t = {case['window']:g}",
                    f"{case['scheme']}, {case['steps']}",
                    name,
                    significant(row["particle_steps_per_second"] / 1e6),
                    f"{row['time_over_ours']:.2f}",
                    f"{row['first_call']:.2f}",
                    f"{row['median_error']:.1e}",
                    f"{row['p99_error']:.1e}",
                ]
            )
    header = [
        "field", "scheme, steps", "kernel", "M particle-steps/s", "time / ours",
        "first call, s", "median error", "99th percentile",
    ]  # fmt: skip
    text = (
        "![Particle-steps per second](figures/kernels.png)\n\n"
        "Equal steps, all threads busy. *meanfluid* is `flow_map` as users call it, without the "
        "error estimate: it integrates displacement with compensated summation and checks every "
        "step. *C++* is written by hand for each field ([cpp/](cpp/)): explicit vectors, a "
        "group of particles in registers over all steps, weights as constants, its own sine, "
        "cosine and exponential; *one clock for all* computes what depends on time alone once "
        "for all particles, which needs a common start. *Numba, scalar, libm* is a plain compiled "
        "loop over particles with the functions of the C library, *NumPy* the loop over steps on "
        "arrays. All share the tableau and the steps, so their errors agree until rounding shows."
    )
    return "\n\n".join([text, markdown_table(header, rows), variants(report)]).strip()


def variants(report):
    """Return the table of the ways in which the C++ was compiled."""
    if not report["variants"]:
        return "C++ took no part: no compiler was found."
    rows = [
        [
            one["name"],
            f"{one['compile_seconds']:.1f}",
            *(significant(one["ulp"][name]) for name in ("sin", "cos", "tanh", "sech2")),
            "yes" if one["accurate"] else "no: takes no part",
        ]
        for one in report["variants"]
    ]
    header = ["variant", "compiled in, s", "sin, ulp", "cos", "tanh", "1/cosh²", "accurate"]
    return (
        f"C++ by {report['compiler']}, `{report['variants'][0]['flags'].partition(' -D')[0]}`, in "
        "these variants; the fastest accurate one was taken for each row above. Full "
        "`-ffast-math` lets the compiler cancel the steps of the argument reduction.\n\n"
        + markdown_table(header, rows)
    )


def work_precision(report):
    goals, entries = report["targets_of_error"], report["entries"]
    ours = [entry for entry in entries if entry["tool"] == OURS]
    tables = []
    for measure, told in MEASURES:
        best = [best_time(ours, goal, measure) for goal in goals]
        rows = []
        for entry in entries:
            cells = []
            for goal, mine in zip(goals, best, strict=True):
                seconds = time_to(entry["points"], goal, measure)
                ratio = f" ({significant(seconds / mine[0])})" if seconds and mine else ""
                cells.append(significant(seconds) + ratio if seconds else "not reached")
            name = f"{NAMES.get(entry['tool'], entry['tool'])}, {entry['method']}"
            rows.append([name, f"{entry['particles']}", f"{entry['first_call']:.2f}", *cells])
        header = ["tool", "particles run", "first call, s", *(f"{told} {g:.0e}" for g in goals)]
        tables.append(markdown_table(header, rows))
    versions = "; ".join(
        ", ".join(f"{k} {v}" for k, v in listed.items())
        for listed in report["peer_versions"].values()
    )
    missing = ", ".join(report["missing"])
    text = (
        f"![Time over measured error](figures/work_precision.png)\n\n{report['particles']} "
        "trajectories of the double gyre (A = 0.1, ε = 0.25, ω = 2π/10), 707 × 354 on "
        f"[0, 2] × [0, 1], t from {report['window'][0]:g} to {report['window'][1]:g}; errors over "
        f"{report['checked']} of them. Seconds until the measured error is reached, interpolated "
        "in log-log between tolerances, never extrapolated; in brackets the ratio to the fastest "
        "setting of meanfluid. The figure leaves out our other schemes, which stand in the tables. "
        "Times of those that ran fewer particles are scaled; *per particle* "
        "is one thread's time divided by the threads, as if processes shared the work without "
        "loss. Peers run with "
        f"atol = rtol: {versions}."
        + (f" Not installed, so without a part: {missing}." if missing else "")
    )
    return "\n\n".join([text, *tables])


def schemes(report):
    goals, rows, wins = report["targets_of_error"], [], {}
    for case in report["cases"]:
        for cost, told in (("evaluations", "evaluations"), ("seconds", "ms")):
            scale = 1.0 if cost == "evaluations" else 1e3
            for goal in goals:
                costs = {
                    entry["method"]: time_to(entry["points"], goal, "median_error", cost)
                    for entry in case["entries"]
                }
                reached = {k: v for k, v in costs.items() if v is not None}
                adaptive = {k: v for k, v in reached.items() if "equal" not in k}
                if cost == "seconds" and adaptive:
                    winner = min(adaptive, key=adaptive.get)
                    wins[winner] = wins.get(winner, 0) + 1
                cells = [
                    "–" if value is None else mark(value * scale, value == min(reached.values()))
                    for value in costs.values()
                ]
                rows.append([f"{case['case']}, {told} to {goal:.0e}", *cells])
    methods = [entry["method"] for entry in report["cases"][0]["entries"]]
    return "\n\n".join([study(report, wins), markdown_table(["", *methods], rows)])


def study(report, wins):
    """Return the paragraph that says which scheme is the default, and what it costs."""
    losses = []
    for case in report["cases"]:
        for goal in report["targets_of_error"]:
            times = {
                entry["method"]: time_to(entry["points"], goal, "median_error", "seconds")
                for entry in case["entries"] if entry["kind"] == "rtol"
            }  # fmt: skip
            reached = [t for t in times.values() if t is not None]
            if times.get(DEFAULT) is not None:
                losses.append((times[DEFAULT] / min(reached), f"{case['case']} at {goal:.0e}"))
    count = sum(wins.values())
    won = ", ".join(f"{name} {n}" for name, n in sorted(wins.items(), key=lambda i: -i[1]))
    worst = max(losses, default=(1.0, "none"))
    return (
        "![Evaluations over measured error](figures/schemes.png)\n\n"
        f"With steps chosen by the error, over {len(report['cases'])} fields and the median errors "
        f"{exponents(report)}, the fastest scheme was, of {count} cases: {won}. The default, "
        f"{DEFAULT}, reaches the error in {len(losses)} of them, and in the worst ({worst[1]}) "
        f"takes {worst[0]:.2f} times as long as the fastest. Equal steps save the bookkeeping of "
        "step control where the flow is smooth, but somebody has to find their number; tolerances "
        "are the default since they need no trial. Bold is the least in a row; a dash says that no "
        "setting tried reached the error."
    )


def mark(value, best):
    text = significant(value)
    return f"**{text}**" if best else text


def scaling(report):
    memory = report["memory"]
    giant = [row for row in memory["rows"] if row["particles"] == GIANT]
    told = (
        f"1e8 averages were computed, with a peak of {gigabytes(giant[0]['peak_bytes'])}"
        if giant
        else f"extrapolated, not run: 1e8 averages need {gigabytes(memory['giant_bytes'])}"
    )
    speeds = ", ".join(
        f"{row['threads']} threads {row['speed_up']:.2f}" for row in report["threads_used"]["rows"]
    )
    text = (
        f"![Growth of time and memory](figures/scaling.png)\n\nDouble gyre, {report['scheme']} "
        f"with {report['steps']} equal steps unless steps are varied; modes: kinematic "
        f"simulation. Exponent of time over particles (from {report['particles']['linear_from']} "
        f"on) {report['particles']['exponent']:.3f}, over steps "
        f"{report['step_length']['exponent']:.3f}, over modes {report['modes']['exponent']:.3f}. "
        f"Speed-up with threads: {speeds}. The peak of memory of a process that calls "
        f"`average_velocity` grows by {memory['bytes_per_particle']:.0f} bytes per particle, "
        f"positions and results included; {told} (on {memory['date']})."
    )
    rows = []
    for part, name in (("particles", "particles"), ("step_length", "steps"), ("modes", "modes")):
        for row in report[part]["rows"]:
            rows.append(
                [
                    f"{row[name]} {name}", significant(row["seconds"]),
                    f"{row['median_error']:.1e}", f"{row['p99_error']:.1e}",
                ]
            )  # fmt: skip
    table = markdown_table(["size", "seconds", "median error", "99th percentile"], rows)
    peaks = [
        [f"{row['particles']} particles", gigabytes(row["peak_bytes"])] for row in memory["rows"]
    ]
    return "\n\n".join([text, table, markdown_table(["memory", "peak"], peaks)])


def compile_time(report):
    cold = report["cold"]
    text = (
        "Fresh processes; 64 particles, so that the call itself takes no time. With an empty "
        f"cache, the import takes {cold['import']:.1f} s and the first call "
        f"{cold['first_call']:.1f} s, most of it for the stepping that all fields and schemes "
        "share and that stays in Numba's cache on disk. After that:"
    )
    later = {entry["field"]: entry["first_call"] for entry in report["next_field"]}
    rows = [
        [
            f"{row['field']}, {row['scheme']}", f"{row['import']:.2f}", f"{row['first_call']:.2f}",
            f"{row['second_call']:.4f}",
            f"{later[row['field']]:.2f}" if row["scheme"] == DEFAULT else "",
        ]
        for row in report["warm"]
    ]  # fmt: skip
    header = ["warm cache", "import, s", "first call", "second call", "as a next field"]
    return text + "\n\n" + markdown_table(header, rows)


def any_report(report):
    """Show a report of another script, by the convention in `common`."""
    parts = [f"![{name}](figures/{name})" for name in report.get("figures", ())]
    parts += report.get("notes", [])
    for table in report.get("tables", ()):
        rows = [[cell(value) for value in row] for row in table["rows"]]
        parts.append(
            f"{table.get('title', '')}\n\n{markdown_table(table['columns'], rows)}".strip()
        )
    if not report.get("tables") and report.get("cases"):
        parts.append(flat_table(report["cases"]))
    return "\n\n".join(parts)


def flat_table(cases):
    """Return a table of the plain values of a list of objects."""
    columns = [k for k, v in cases[0].items() if not isinstance(v, (list, dict))]
    return markdown_table(columns, [[cell(case.get(k, "")) for k in columns] for case in cases])


# ---------------------------------------------------------------- Numbers


def cell(value):
    return significant(value) if isinstance(value, float) else str(value)


def significant(value):
    """Return a number with three significant digits, without an exponent where it reads well."""
    if value == 0 or not 1e-3 <= abs(value) < 1e6:
        return f"{value:.2e}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def exponents(report):
    return ", ".join(f"{goal:.0e}" for goal in report["targets_of_error"])


def gigabytes(count):
    return f"{count / 1e9:.2f} GB"


if __name__ == "__main__":
    main()
