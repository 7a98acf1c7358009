"""Figures of paper quality: maps, trajectories, learned beside exact, error by window.

Each function makes a figure and returns it. Nothing is shown, and matplotlib is imported on first
use.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from meanfluid.fields.velocity_field import Array, VelocityField
from meanfluid.files import replacing
from meanfluid.means.windows import Window

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "figure.dpi": 150,
    "savefig.dpi": 300,
    "axes.grid": False,
    "lines.linewidth": 1.2,
}
COLOURS = ("#0b6fa4", "#d1495b", "#3b8b5a", "#7d5ba6")  # distinct in print and to the colour-blind


class Map(NamedTuple):
    """One panel of `plot_maps`.

    Parameters
    ----------
    title : str
    values : (points,)
        On the points of `grid`; not drawn where they are NaN.
    label : str
        Of the colour bar: quantity and unit.
    limits : (low, high), optional
        Of the colours; by default smallest and largest value.
    logarithmic : bool
        Whether colours follow the logarithm. Smaller values than the lower limit get its colour.
    colours : str
        Name of a colour map.
    """

    title: str
    values: Array
    label: str
    limits: tuple[float, float] | None = None
    logarithmic: bool = False
    colours: str = "viridis"


def plot_maps(
    maps: Sequence[Map],
    *,
    extent: tuple[float, float, float, float],
    shape: tuple[int, int],
    names: tuple[str, str] = ("x", "y"),
) -> "Figure":
    """Draw scalars on one grid side by side, or below each other if the grid is wide.

    Parameters
    ----------
    maps : sequence of Map
    extent : (left, right, bottom, top), length
    shape : (rows, columns)
        Of the grid.
    names : (str, str)
        Labels of the axes, with unit.
    """
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    wide = extent[1] - extent[0] > 2.5 * (extent[3] - extent[2])
    rows, columns = (len(maps), 1) if wide else (1, len(maps))
    width, height = (5.6, 0.3) if wide else (6.4 / columns, 1.1)
    bar: Any = {"aspect": 12} if wide else {"orientation": "horizontal", "aspect": 28}
    height += width * (extent[3] - extent[2]) / (extent[1] - extent[0])
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            rows, columns, figsize=(7.2, rows * height + (0.3 if wide else 0.0)),
            layout="constrained", squeeze=False, sharex=True, sharey=True,
        )  # fmt: skip
        x, y = np.linspace(*extent[:2], shape[1]), np.linspace(*extent[2:], shape[0])
        for panel, one in zip(axes.flat, maps, strict=True):
            norm, beyond = _colours_of(one)
            image = panel.pcolormesh(
                x, y, np.ma.masked_invalid(one.values).reshape(shape), cmap=one.colours,
                norm=norm, shading="nearest", rasterized=True,
            )  # fmt: skip
            figure.colorbar(image, ax=panel, label=one.label, extend=beyond, pad=0.02, **bar)
            _frame(panel, extent, labels=False)
            panel.set_title(one.title)
            panel.xaxis.set_major_locator(MaxNLocator(5 if wide else 4))
        for panel in axes[-1]:
            panel.set_xlabel(names[0])
        for panel in axes[:, 0]:
            panel.set_ylabel(names[1])
    return figure


def _colours_of(one: Map) -> tuple[Any, str]:
    """Return matplotlib's norm, and at which ends of the colour bar values go on beyond it."""
    from matplotlib.colors import LogNorm, Normalize

    low, high = one.limits or (np.nanmin(one.values), np.nanmax(one.values))
    below, above = bool(np.nanmin(one.values) < low), bool(np.nanmax(one.values) > high)
    beyond = (("neither", "max"), ("min", "both"))[below][above]
    return (LogNorm if one.logarithmic else Normalize)(low, high), beyond


def plot_trajectories(
    field: VelocityField, time: float, paths: Array, *, extent: tuple[float, float, float, float]
) -> "Figure":
    """Draw the speed at one time with trajectories on it, from circles to dots.

    Parameters
    ----------
    field : VelocityField
        In two dimensions.
    time : float, time
        Of the speed in the background.
    paths : (n, times, 2), length
    extent : (left, right, bottom, top), length
    """
    import matplotlib.pyplot as plt

    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(3.6, _height(3.0, extent)), layout="constrained")
        x, y, points = grid(extent, 300)
        speed = np.linalg.norm(field.velocity(time, points), axis=1).reshape(len(y), len(x))
        image = axes.pcolormesh(x, y, speed, cmap="Greys", shading="auto", rasterized=True)
        figure.colorbar(image, ax=axes, label=f"speed at t = {time:g}", shrink=0.85)
        for k, path in enumerate(paths):
            colour = COLOURS[k % len(COLOURS)]
            axes.plot(*path.T, color=colour, alpha=0.9)
            axes.plot(*path[0], "o", ms=4, mfc="white", mec=colour)
            axes.plot(*path[-1], "o", ms=4, color=colour)
        _frame(axes, extent)
        axes.set_title("trajectories, from circle to dot")
    return figure


def plot_learned(
    averages: Mapping[str, Array],
    exact: str,
    *,
    extent: tuple[float, float, float, float],
    shape: tuple[int, int],
    mask: Any = None,
) -> "Figure":
    """Draw average velocities side by side, and below each its difference from the exact one.

    Parameters
    ----------
    averages : mapping of name to (points, 2), length / time
        On the points of `grid`; the exact one is called by its name.
    exact : str
    extent : (left, right, bottom, top), length
    shape : (rows, columns)
        Of the grid.
    mask : (points,) of bool, optional
        Where to draw.
    """
    import matplotlib.pyplot as plt
    from matplotlib.colors import LogNorm

    hidden: Any = np.zeros(shape[0] * shape[1], bool) if mask is None else ~mask

    def image_of(values: Array) -> Any:
        return np.ma.array(values, mask=hidden).reshape(shape)

    others = [name for name in averages if name != exact]
    speed = {name: np.linalg.norm(u, axis=1) for name, u in averages.items()}
    scale = np.sqrt(np.mean(speed[exact][~hidden] ** 2))
    away = {
        name: np.linalg.norm(averages[name] - averages[exact], axis=1) / scale for name in others
    }
    top = speed[exact][~hidden].max()
    with plt.rc_context(STYLE):
        columns = 1 + len(others)
        figure, axes = plt.subplots(
            2, columns, figsize=(1.9 * columns + 0.5, 2 * _height(1.75, extent)),
            layout="constrained", squeeze=False, sharex=True, sharey=True,
        )  # fmt: skip
        x, y = np.linspace(*extent[:2], shape[1]), np.linspace(*extent[2:], shape[0])
        for panel, name in zip(axes[0], (exact, *others), strict=True):
            shown = panel.pcolormesh(
                x, y, image_of(speed[name]), cmap="viridis", vmin=0, vmax=top, rasterized=True
            )
            panel.set_title(name)
        figure.colorbar(shown, ax=axes[0], label="average speed", extend="max")
        for panel, name in zip(axes[1, 1:], others, strict=True):
            lost = panel.pcolormesh(
                x, y, image_of(np.maximum(away[name], 1e-12)), cmap="magma",
                norm=LogNorm(1e-4, 1.0), rasterized=True,
            )  # fmt: skip
            panel.set_title(f"difference, rms {_rms(away[name][~hidden]):.2g}")
        figure.colorbar(lost, ax=axes[1], label="|difference| / rms exact", extend="both")
        arrows = axes[1, 0]
        step = max(1, shape[1] // 18)
        u, v = (image_of(c)[::step, ::step] for c in averages[exact].T)
        arrows.quiver(
            x[::step], y[::step], u, v, color="0.2", width=0.007, scale=22 * scale, pivot="mid"
        )
        arrows.set_title(f"{exact}: direction")
        for panel in axes.flat:
            _frame(panel, extent, labels=False)
        for panel in axes[-1]:
            panel.set_xlabel("x")
        for panel in axes[:, 0]:
            panel.set_ylabel("y")
    return figure


def plot_error_by_window(
    comparisons: Mapping[str, "xarray.Dataset"], *, baseline: Mapping[str, Array] | None = None
) -> "Figure":
    """Draw relative errors and residuals against the length of the window.

    A residual is of the identity at the sampled anchors; see `compare` for what it bounds.

    Parameters
    ----------
    comparisons : mapping of name to the Dataset of `compare`
    baseline : mapping of name to (windows,), optional
        Other relative errors in the same classes, such as that of the Eulerian mean.
    """
    import matplotlib.pyplot as plt

    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(5.2, 2.7), layout="constrained")
        for (name, data), colour in zip(comparisons.items(), COLOURS, strict=False):
            edges = np.append(data.window_lower.values, data.window_upper.values[-1])
            axes.stairs(data.relative_error.values, edges, color=colour, baseline=None, lw=1.6)
            axes.plot(
                data.window, data.relative_error, "o", ms=4, color=colour, label=f"{name}: error"
            )
            axes.plot(
                data.window, data.residual, "x", ms=4, color=colour, label=f"{name}: residual"
            )
        for name, values in (baseline or {}).items():
            axes.plot(data.window, values, "s-", ms=3, color="0.45", label=name)
        axes.set_yscale("log")
        axes.set_xlim(0, data.window_upper.values[-1])
        axes.set_xlabel("length of the window $|s - t|$")
        axes.set_ylabel("relative $L^2$ norm")
        axes.grid(True, which="major", color="0.9")
        axes.legend(frameon=False, ncols=1, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def plot_windows(windows: Mapping[str, Window], duration: float) -> "Figure":
    """Draw the weights of windows in time, and how much of each frequency they keep.

    Parameters
    ----------
    windows : mapping of name to Window
    duration : float, time
        Length of the window that they are cut off to.
    """
    import matplotlib.pyplot as plt

    time = np.linspace(0.0, duration, 401)
    frequency = np.linspace(0.0, 16 * np.pi / duration, 801)
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.6), layout="constrained")
        for name, window in windows.items():
            (line,) = left.plot(
                time - duration, duration * window.weight(time, 0.0, duration), label=name
            )
            kept = np.abs(window.transfer(frequency, duration))
            right.plot(frequency * duration / (2 * np.pi), kept, color=line.get_color())
        left.set(xlabel="time from the end of the window", ylabel="weight times duration")
        right.set(xlabel="cycles in the window", ylabel="part that is kept, |H|", yscale="log",
                  ylim=(1e-5, 2.0), xlim=(0.0, 8.0))  # fmt: skip
        left.legend(frameon=False)
    return figure


def save(figure: "Figure", path: Path) -> Path:
    """Write a figure as PNG, whole or not at all, close it, and return the path."""
    import matplotlib.pyplot as plt

    with replacing(path) as file:
        figure.savefig(file, format="png")
    plt.close(figure)
    return path


def grid(extent: tuple[float, float, float, float], columns: int) -> tuple[Array, Array, Array]:
    """Return x (columns,), y (rows,) and the points (rows * columns, 2), with square cells."""
    left, right, bottom, top = extent
    rows = max(2, round(columns * (top - bottom) / (right - left)))
    x, y = np.linspace(left, right, columns), np.linspace(bottom, top, rows)
    return x, y, np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def _height(width: float, extent: tuple[float, float, float, float]) -> float:
    left, right, bottom, top = extent
    return width * (top - bottom) / (right - left) + 0.35


def _frame(axes: Any, extent: tuple[float, float, float, float], *, labels: bool = True) -> None:
    axes.set_aspect("equal")
    axes.set_xlim(*extent[:2])
    axes.set_ylim(*extent[2:])
    if labels:
        axes.set_xlabel("x")
        axes.set_ylabel("y")


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))
