"""Figures of images show the pixels, scores and spectra that they are given."""

import numpy as np
import pytest
import torch
import xarray
from matplotlib.colors import to_hex

from meanfluid.reporting.figures import COLOURS
from meanfluid.reporting.image_figures import plot_images, plot_scores_by_steps, plot_spectra


def images(n=3, height=4, width=5, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, 1, height, width))


def scores(models=("MeanFlow", "flow matching"), values=None):
    """A table like those of `ImageComparison` put together; steps are not in order."""
    trials = [(model, steps) for model in models for steps in (4, 1)]
    found = np.arange(1.0, 1 + len(trials)) if values is None else np.asarray(values)
    return xarray.Dataset(
        {"score": (("trial", "images"), np.stack([found, np.full(len(found), 0.5)], axis=1))},
        coords={
            "images": ["generated", "test"],
            "model": ("trial", [model for model, _ in trials]),
            "steps": ("trial", [steps for _, steps in trials]),
        },
    )


def lines_of(panel):
    return {line.get_label(): np.array(line.get_data()) for line in panel.get_lines()}


def test_a_row_shows_its_images_side_by_side_with_a_gap():
    rows = {"real": images(), "made": torch.tensor(images(seed=1), dtype=torch.float32)}
    figure = plot_images(rows, limits=(-2.0, 2.0), colours="viridis")
    for panel, (name, given) in zip(figure.axes, rows.items(), strict=True):
        (shown,) = panel.get_images()
        strip = np.ma.filled(shown.get_array(), np.nan)
        assert strip.shape == (4, 3 * 5 + 2) and panel.get_ylabel() == name
        for k in range(3):
            np.testing.assert_array_equal(strip[:, 6 * k : 6 * k + 5], np.asarray(given)[k, 0])
        assert np.isnan(strip[:, [5, 11]]).all()
        assert shown.get_clim() == (-2.0, 2.0) and shown.get_cmap().name == "viridis"


@pytest.mark.parametrize("n, size", [(20, 8), (8, 32)])
def test_names_of_rows_are_not_cut_off(n, size):
    some = images(n, size, size)
    figure = plot_images({"real": some, "flow matching, 50 steps": some, "other": some})
    figure.canvas.draw()
    assert all(panel.yaxis.label.get_window_extent().x0 >= 0 for panel in figure.axes)


def test_images_of_bytes_are_shown_too():
    (shown,) = plot_images({"one": np.full((2, 1, 3, 3), 7, np.uint8)}).axes[0].get_images()
    assert np.nanmax(shown.get_array()) == np.nanmin(shown.get_array()) == 7


@pytest.mark.parametrize(
    "rows",
    [
        {"a": images(), "b": images(n=2)},
        {"a": images()[:, 0]},
        {"a": np.concatenate([images()] * 3, axis=1)},
        {"a": images(n=0)},
        {},
    ],
    ids=["unequal", "no channel", "three channels", "none", "no row"],
)
def test_rows_that_do_not_fit_are_refused(rows):
    with pytest.raises(ValueError, match="same number of images of one channel"):
        plot_images(rows)


def test_scores_are_drawn_by_steps_with_the_floor_of_real_images():
    panel = plot_scores_by_steps(scores(), "score").axes[0]
    drawn = lines_of(panel)
    np.testing.assert_array_equal(drawn["MeanFlow"], [[1, 4], [2, 1]])
    np.testing.assert_array_equal(drawn["flow matching"], [[1, 4], [4, 3]])
    assert set(drawn["real, held back"][1]) == {0.5}
    assert [label.get_text() for label in panel.get_xticklabels()] == ["1", "4"]
    assert panel.get_yscale() == "log"


def test_no_model_is_left_out_however_many_and_no_score_however_small():
    names = tuple("abcdef")
    panel = plot_scores_by_steps(scores(names, np.arange(-3.0, 9.0)), "score").axes[0]
    assert set(lines_of(panel)) == {*names, "real, held back"}
    assert panel.get_yscale() == "linear"  # a logarithm would hide the negative ones


def test_spectra_are_drawn_with_their_ratio_to_the_first():
    k = np.arange(1.0, 6.0)
    spectra = {"data": k**-2, "one": 1.1 * k**-2, "two": 0.95 * k**-2}
    figure = plot_spectra(k, spectra, shaded=(2.0, 4.0), tolerance=0.05)
    left, right = figure.axes
    for name, density in spectra.items():
        np.testing.assert_array_equal(lines_of(left)[name], [k, density])
    for line, ratio, colour in zip(right.get_lines(), (1.1, 0.95), COLOURS, strict=False):
        np.testing.assert_allclose(line.get_ydata(), ratio)
        assert to_hex(line.get_color()) == colour
    assert right.get_ylim() == (0.7, 1.3)


def test_ratios_beyond_the_usual_range_are_seen_and_colours_do_not_run_out():
    k = np.arange(1.0, 6.0)
    spectra = {"data": k**-2, **{f"{n}": (1 + n / 10) * k**-2 for n in range(1, 7)}}
    right = plot_spectra(k, spectra, shaded=(2.0, 4.0), tolerance=0.05).axes[1]
    assert right.get_ylim() == pytest.approx((0.34, 1.66))
    assert len(right.get_lines()) == 6 + 1  # and the line at one
