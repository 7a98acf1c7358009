"""Figures of generated images: what they look like, how good they are, and their spectra."""

from collections.abc import Mapping
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from meanfluid.reporting.figures import COLOURS, STYLE

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

    from meanfluid.fields.velocity_field import Array

GAP = 1  # pixels between images
NARROWEST = 0.3  # of the ratio of spectra, to either side of one


def plot_images(
    rows: Mapping[str, Any], *, limits: tuple[float, float] = (-1.0, 1.0), colours: str = "gray_r"
) -> "Figure":
    """Draw one row of images for each name.

    Parameters
    ----------
    rows : mapping of name to (n, 1, height, width)
        Arrays or tensors on the CPU, as many in each row.
    limits : (float, float)
        Values at the ends of the scale of colours.
    colours : str
        Matplotlib's name of that scale.

    Raises
    ------
    ValueError
        If rows are not of the same number of images of one channel.
    """
    import matplotlib.pyplot as plt

    strips = {name: np.asarray(images, dtype=float) for name, images in rows.items()}
    shapes = {images.shape for images in strips.values()}
    shape = shapes.pop() if len(shapes) == 1 else ()
    if len(shape) != 4 or shape[1] != 1 or 0 in shape:
        raise ValueError(
            "rows must hold the same number of images of one channel, (n, 1, height, width), got "
            + (", ".join(f"{name}: {images.shape}" for name, images in strips.items()) or "no row")
        )
    number, _, height, width = shape
    tall = 7.2 * height / (width * number) + 0.04
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(strips), 1, figsize=(8.6, tall * len(strips)), layout="compressed", squeeze=False
        )
        for panel, (name, images) in zip(axes[:, 0], strips.items(), strict=True):
            framed = np.pad(
                images[:, 0], ((0, 0), (0, 0), (0, GAP)), constant_values=np.nan
            ).transpose(1, 0, 2)
            strip = framed.reshape(height, -1)[:, :-GAP]
            panel.imshow(strip, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="equal")
            panel.set(xticks=[], yticks=[])
            panel.spines[:].set_visible(False)
            panel.set_ylabel(name, rotation=0, ha="right", va="center")
    return figure


def plot_scores_by_steps(table: "xarray.Dataset", score: str) -> "Figure":
    """Draw a score against the number of steps, one line per model, with the noise floor.

    The axis of the score is logarithmic if all of it is positive.

    Parameters
    ----------
    table : Dataset
        Over ``trial`` with coordinates ``model`` and ``steps``, and over ``images``, which is
        "generated" or "test": tables that an `ImageComparison` returns, put together.
    score : str
        Name of a variable of the table.
    """
    import matplotlib.pyplot as plt

    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(4.4, 2.8), layout="constrained")
        models = list(dict.fromkeys(table.model.values.tolist()))
        for name, colour in zip(models, cycle(COLOURS), strict=False):
            one = table.sel(images="generated").isel(trial=np.flatnonzero(table.model == name))
            one = one.sortby("steps")
            axes.plot(one.steps, one[score], "o-", ms=4, color=colour, label=name)
        floor = float(table[score].sel(images="test").mean())
        axes.axhline(floor, color="0.45", ls="--", lw=1, label="real, held back")
        scale = "log" if bool((table[score] > 0).all()) else "linear"
        axes.set(xscale="log", yscale=scale, xlabel="steps", ylabel=score)
        steps = sorted(set(table.steps.values.tolist()))
        axes.set_xticks(steps, [str(k) for k in steps], minor=False)
        axes.xaxis.minorticks_off()
        axes.grid(True, which="major", color="0.9")
        axes.legend(frameon=False)
    return figure


def plot_spectra(
    wavenumber: "Array",
    spectra: Mapping[str, "Array"],
    *,
    shaded: tuple[float, float],
    tolerance: float,
) -> "Figure":
    """Draw spectra by shell, and their ratio to the first; of that at most from 0 to 2 is shown.

    Parameters
    ----------
    wavenumber : (shells,)
    spectra : mapping of name to (shells,)
        The first is the reference.
    shaded : (float, float)
        First and last wavenumber of the range that counts.
    tolerance : float
        Relative difference that is marked there.
    """
    import matplotlib.pyplot as plt

    reference = next(iter(spectra.values()))
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 2.8), layout="constrained")
        reach = NARROWEST
        for k, (name, density) in enumerate(spectra.items()):
            colour = COLOURS[(k - 1) % len(COLOURS)]
            style = {"color": colour, "lw": 1.3} if k else {"color": "black", "lw": 2.2}
            left.loglog(wavenumber, density, "-", label=name, **style)
            if k:
                ratio = density / reference
                right.plot(wavenumber, ratio, "o-", ms=3, **style)
                reach = max(reach, 1.1 * float(np.abs(ratio - 1).max()))
        for panel in (left, right):
            panel.axvspan(*shaded, color="0.94")
            panel.set_xlabel("wavenumber")
            panel.grid(True, which="major", color="0.9")
        right.axhspan(1 - tolerance, 1 + tolerance, color="0.85")
        right.axhline(1.0, color="black", lw=0.8)
        reach = min(reach, 1.0)
        right.set(xscale="log", ylim=(1 - reach, 1 + reach), ylabel="ratio to the data")
        left.set_ylabel("spectrum")
        left.legend(frameon=False)
    return figure
