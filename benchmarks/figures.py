"""The figures of the README, from the reports in ``results/``."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# Okabe & Ito's colours, told apart by colour-blind readers too.
BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#C7B70B", "#777777",
)  # fmt: skip
TOOLS = {
    "meanfluid": BLUE, "heyoka": GREEN, "numbacs": ORANGE, "numbalsoda": YELLOW,
    "scipy": GREY, "diffrax": PINK, "torchdiffeq": RED,
}  # fmt: skip
SCHEMES = {"rk4": GREY, "tsit5": ORANGE, "vern7": GREEN, "dop853": BLUE}
MARKERS = "osD^vP*X"
STYLE = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.color": "#e4e4e4", "grid.linewidth": 0.6, "axes.axisbelow": True,
    "legend.frameon": False, "savefig.dpi": 150, "figure.constrained_layout.use": True,
    "lines.linewidth": 1.4, "lines.markersize": 4.5,
}  # fmt: skip


def draw(reports, folder):
    """Draw what can be drawn of the reports, a dict of name to report."""
    folder.mkdir(exist_ok=True)
    drawings = {
        "kernels": kernels, "work_precision": work_precision, "schemes": schemes,
        "scaling": scaling,
    }  # fmt: skip
    with plt.rc_context(STYLE):
        for name, drawing in drawings.items():
            if name in reports:
                figure = drawing(reports[name])
                figure.savefig(folder / f"{name}.png", metadata={"Software": None})
                plt.close(figure)


def kernels(report):
    """Bars: particle-steps per second of every contestant, relative to ours."""
    cases = report["cases"]
    rows = -(-len(cases) // 2)
    figure, axes = plt.subplots(rows, 2, figsize=(8.6, 0.5 + 1.45 * rows), squeeze=False)
    colours = {"meanfluid": BLUE, "Numba, scalar, libm": ORANGE, "NumPy": GREY}
    for axis, case in zip(axes.flat, cases, strict=False):
        listed = case["contestants"][::-1]
        rates = [row["particle_steps_per_second"] / 1e6 for row in listed]
        names = [row["name"] for row in listed]
        bars = axis.barh(names, rates, color=[colours.get(name, GREEN) for name in names])
        axis.bar_label(bars, [f"{rate:.3g}" for rate in rates], padding=3, fontsize=8)
        axis.set_title(f"{case['case']}, {case['scheme']}", fontsize=9, loc="left")
        axis.margins(x=0.16)
        axis.grid(False, axis="y")
        axis.tick_params(axis="y", length=0)
    for axis in list(axes.flat)[len(cases) :]:
        axis.set_visible(False)
    figure.supxlabel("million particle-steps per second", fontsize=9)
    return figure


def work_precision(report):
    """Time for all particles over the measured error; median on the left, percentile right."""
    figure, axes = plt.subplots(1, 2, figsize=(10.5, 5.4), sharey=True)
    panels = zip(axes, ("median_error", "p99_error"), ("median", "99th percentile"), strict=True)
    for axis, measure, title in panels:
        seen = {}
        for entry in report["entries"]:
            tool, points = entry["tool"], entry["points"]
            ours = tool == "meanfluid"
            if ours and not entry["method"].startswith("dop853"):
                continue  # too many lines: they stand in the tables
            number = seen[tool] = seen.get(tool, -1) + 1
            axis.loglog(
                [p[measure] for p in points], [p["seconds_for_all"] for p in points],
                color=TOOLS.get(tool, "black"), marker=MARKERS[number % len(MARKERS)],
                linestyle=("--" if entry["kind"] == "steps" else "-"),
                linewidth=2.2 if ours else 1.2, label=f"{tool}, {entry['method']}",
                zorder=3 if ours else 2,
            )  # fmt: skip
        for target in report["targets_of_error"]:
            axis.axvline(target, color="#bbbbbb", linewidth=0.8, zorder=1)
        axis.set_xlabel(f"measured error, {title} over particles")
        axis.invert_xaxis()
    axes[0].set_ylabel(f"seconds for {report['particles']:,} trajectories".replace(",", " "))
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8,
        handlelength=2.6,
    )  # fmt: skip
    return figure


def schemes(report):
    """Evaluations over the median error, for every field and scheme."""
    cases = report["cases"]
    columns = min(3, len(cases))
    rows = -(-len(cases) // columns)
    size = (3.3 * columns + 0.4, 2.9 * rows + 0.5)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for axis, case in zip(axes.flat, cases, strict=False):
        for entry in case["entries"]:
            points = [p for p in entry["points"] if p["median_error"] < 1.0]
            adaptive = entry["kind"] == "rtol"
            axis.loglog(
                [p["median_error"] for p in points], [p["evaluations"] for p in points],
                color=SCHEMES[entry["scheme"]], linestyle="-" if adaptive else "--",
                marker="o" if adaptive else "D", markersize=3.5, label=entry["method"],
            )  # fmt: skip
        axis.set_title(case["case"], fontsize=9, loc="left")
        axis.invert_xaxis()
    for axis in list(axes.flat)[len(cases) :]:
        axis.set_visible(False)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    place = "outside lower center" if columns > 1 else "outside right center"
    figure.legend(handles, labels, loc=place, ncols=4 if columns > 1 else 1, fontsize=8)
    figure.supxlabel("measured error, median over particles", fontsize=9)
    figure.supylabel("evaluations per particle", fontsize=9)
    return figure


def scaling(report):
    """Time over particles, steps, modes and threads, and the peak of memory."""
    figure, axes = plt.subplots(1, 4, figsize=(11.5, 2.9))
    parts = (("particles", "particles"), ("step_length", "steps"), ("modes", "modes"))
    for axis, (part, name) in zip(axes, parts, strict=False):
        rows, slope = report[part]["rows"], report[part]["exponent"]
        sizes, seconds = [r[name] for r in rows], [r["seconds"] for r in rows]
        line = [seconds[-1] * size / sizes[-1] for size in sizes]
        axis.loglog(sizes, line, color="#bbbbbb", linewidth=1.0, zorder=1, label="proportional")
        axis.loglog(sizes, seconds, "o-", color=BLUE, label=f"measured, exponent {slope:.2f}")
        axis.set_xlabel({"steps": "steps, 1/h"}.get(name, name))
        axis.legend(fontsize=7.5, handlelength=1.5)
    axes[0].set_ylabel("seconds")
    rows = report["memory"]["rows"]
    sizes = [r["particles"] for r in rows]
    aim = report["memory"]["giant_aim"] / 1e9
    axes[3].axhline(aim, color="#bbbbbb", linewidth=1.0, zorder=1, label="aim at 1e8")
    axes[3].plot(sizes, [r["peak_bytes"] / 1e9 for r in rows], "o-", color=GREEN, label="measured")
    axes[3].set_ylim(bottom=0)
    axes[3].set_xlabel("particles")
    axes[3].set_ylabel("peak memory, GB")
    axes[3].legend(fontsize=7.5, handlelength=1.5, loc="center left")
    return figure
