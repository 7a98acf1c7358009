"""Figures of the study: errors of all arms, by window and stretching, bounds, jumps, controls."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from meanfluid.reporting.figures import COLOURS, STYLE, save
from study.arms import ARMS, BASE
from study.findings import title
from study.flows import flow
from study.records import DIVERGED, Results
from study.scores import FIFTHS, JUMPS, QUARTERS

MARKERS = "osDdh^vPX*<>p8"
PALETTE = (
    *COLOURS, "#12b3a8", "#c98a1b", "0.45", "#56b4e9", "#8c564b", "#e377c2", "#9aa61b", "#f08a5d",
    "black", "0.6",
)  # fmt: skip
SHOWN = ("material", "material_stop", "endpoint", "picard", "bootstrap", "supervised")


def draw(results: Results, folder: Path) -> dict[str, str]:
    """Write all figures that there are runs for; return their names and what they show."""
    import matplotlib.pyplot as plt

    makers = {
        "losses_errors": (_errors, "Relative L2 error of every arm on every flow; dots are seeds."),
        "losses_by_window": (
            _by_window, "Error by fifth of the longest window, medians over seeds."
        ),
        "losses_by_stretching": (
            _by_stretching,
            "Error by quarter of the stretching ln(sigma) of the window, medians over seeds; "
            "dotted: growth in proportion to sigma.",
        ),
        "losses_certificates": (
            _certificates,
            "Bound by the residual against the error, every run of the main arms; lines: equal, "
            "and ten times.",
        ),
        "losses_jumps": (_jumps, "Distance from the end point in k equal jumps, over that in one."),
        "losses_controls": (_controls, "Double gyre: errors of the controls; dots are seeds."),
    }  # fmt: skip
    written = {}
    for name, (make, caption) in makers.items():
        with plt.rc_context(STYLE | {"savefig.dpi": 160}):
            figure = make(results)
            if figure is not None:
                save(figure, folder / f"{name}.png")
                written[name] = caption
    return written


def _panels(flows: Sequence[str], **options: Any) -> tuple[Any, Any]:
    import matplotlib.pyplot as plt

    columns = min(3, len(flows))
    rows = -(-len(flows) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(max(5.0, 2.4 * columns + 0.2), 1.9 * rows + 0.7), squeeze=False,
        layout="constrained", **options,
    )  # fmt: skip
    for spare in axes.flat[len(flows) :]:
        spare.set_visible(False)
    for panel, name in zip(axes.flat, flows, strict=False):
        panel.set_title(flow(name).title)
        panel.grid(True, which="major", color="0.92")
    return figure, list(axes.flat)[: len(flows)]


def _look(arm: str) -> dict[str, Any]:
    """Colour and marker of an arm, the same in all figures."""
    place = list(BASE).index(arm)
    return {
        "color": PALETTE[place % len(PALETTE)],
        "marker": MARKERS[place],
        "ms": 4,
        "label": title(arm),
    }


def _legend(figure: Any, panels: Any) -> None:
    named = {}
    for panel in panels:
        handles, labels = panel.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
    figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=3, frameon=False)


def _errors(results: Results) -> Any:
    flows, arms = results.flows(), results.arms(BASE)
    if not flows or not arms:
        return None
    return _dots(
        results, [(arm, title(arm)) for arm in arms], flows,
        {name: flow(name).title for name in flows},
    )  # fmt: skip


def _dots(
    results: Results, arms: Sequence[tuple[str, str]], flows: Sequence[str], names: dict[str, str]
) -> Any:
    """Errors of all seeds, one line per arm, one panel per flow."""
    import matplotlib.pyplot as plt

    columns = min(3, len(flows))
    rows = -(-len(flows) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(max(6.0, 2.2 * columns + 1.4), rows * (0.15 * len(arms) + 0.55)),
        sharey=True, squeeze=False, layout="constrained",
    )  # fmt: skip
    for spare in axes.flat[len(flows) :]:
        spare.set_visible(False)
    for panel, name in zip(axes.flat, flows, strict=False):
        for place, (arm, _) in enumerate(arms):
            values = [v for v in results.all(name, arm, "error") if np.isfinite(v)]
            colour = COLOURS[0] if arm in BASE else COLOURS[1]
            within = [v for v in values if v <= DIVERGED]
            panel.plot(within, [place] * len(within), "o", ms=3, color=colour, alpha=0.7)
            if len(within) < len(results.all(name, arm, "error")):
                panel.plot([DIVERGED], [place], ">", ms=5, color=colour)
        _log_ticks(panel)
        panel.set_title(names[name])
        panel.grid(True, which="major", color="0.92")
        panel.set_yticks(range(len(arms)), [label for _, label in arms])
    axes.flat[0].set_ylim(len(arms) - 0.4, -0.6)
    figure.supxlabel("relative $L^2$ error (arrow: a seed diverged)", fontsize=8)
    return figure


def _log_ticks(panel: Any) -> None:
    """A logarithmic axis of x whose labels do not run into each other."""
    from matplotlib.ticker import LogLocator, NullFormatter

    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_formatter(NullFormatter())


def _by_window(results: Results) -> Any:
    flows, arms = results.flows(), results.arms(SHOWN)
    if not flows or not arms:
        return None
    figure, panels = _panels(flows)
    for panel, name in zip(panels, flows, strict=False):
        longest = flow(name).windows.longest
        places = (np.arange(FIFTHS) + 0.5) * longest / FIFTHS
        for arm in arms:
            values = [results(name, arm, "error_by_fifth", k) for k in range(FIFTHS)]
            panel.plot(places, values, lw=1, **_look(arm))
        panel.set_yscale("log")
        panel.set_xlim(0, longest)
    figure.supxlabel("length of the window", fontsize=8)
    figure.supylabel("relative $L^2$ error", fontsize=8)
    _legend(figure, panels)
    return figure


def _by_stretching(results: Results) -> Any:
    flows, arms = results.flows(), results.arms(SHOWN)
    if not flows or not arms:
        return None
    figure, panels = _panels(flows)
    for panel, name in zip(panels, flows, strict=False):
        lowest = np.inf
        for arm in (a for a in arms if results.has(name, a)):
            exact, error = (
                np.array([results(name, arm, key, k) for k in range(QUARTERS)])
                for key in ("stretch_by_quarter", "error_by_stretch")
            )
            panel.plot(exact, error, lw=1, **_look(arm))
            lowest = min(lowest, error[0])
        panel.plot(exact, lowest * np.exp(exact - exact[0]), ":", color="0.5", lw=1)
        panel.set_yscale("log")
    figure.supxlabel("mean ln(sigma) of the quarter", fontsize=8)
    figure.supylabel("relative $L^2$ error", fontsize=8)
    _legend(figure, panels)
    return figure


def _certificates(results: Results) -> Any:
    import matplotlib.pyplot as plt

    arms = results.arms(BASE)
    if not arms:
        return None
    figure, panel = plt.subplots(figsize=(4.8, 3.0), layout="constrained")
    seen: list[float] = []
    for arm in arms:
        pairs = np.array([
            (e, b) for name in results.flows() if results.settled(name, arm)
            for e, b in zip(results.all(name, arm, "path_error"),
                            results.all(name, arm, "path_bound"), strict=True)
            if np.isfinite(b)
        ]).reshape(-1, 2)  # fmt: skip
        panel.plot(*pairs.T, lw=0, alpha=0.8, **_look(arm))
        seen += pairs[:, 0].tolist()
    if seen:
        ends = np.array([min(seen), max(seen)])
        for factor, line in ((1, "-"), (10, ":")):
            panel.plot(ends, factor * ends, line, color="0.5", lw=0.8)
    panel.set(
        xscale="log", yscale="log", xlabel="error along trajectories (rms)",
        ylabel="bound by the residual (rms)",
    )  # fmt: skip
    panel.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _jumps(results: Results) -> Any:
    flows, arms = results.flows(), results.arms(SHOWN)
    if not flows or not arms:
        return None
    figure, panels = _panels(flows, sharex=True)
    for panel, name in zip(panels, flows, strict=False):
        for arm in arms:
            values = np.array([results(name, arm, "endpoint", k) for k in range(len(JUMPS))])
            panel.plot(JUMPS, values / values[0], lw=1, **_look(arm))
        panel.axhline(1, color="0.5", lw=0.7)
        panel.set_xscale("log", base=2)
        panel.set_xticks(JUMPS, [str(k) for k in JUMPS])
    figure.supxlabel("jumps", fontsize=8)
    figure.supylabel("over the distance in one jump", fontsize=8)
    _legend(figure, panels)
    return figure


def _controls(results: Results) -> Any:
    name = "double_gyre"
    arms = [a for a in ARMS if results.has(name, a)]
    if not any(a not in BASE for a in arms):
        return None
    arms.sort(key=lambda a: (list(BASE).index(a.partition("-")[0]), a))
    return _dots(results, [(a, ARMS[a].title) for a in arms], [name], {name: flow(name).title})
