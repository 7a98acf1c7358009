"""Maps show the values they are given, and say where colours end."""

import numpy as np
from matplotlib.colors import LogNorm

from meanfluid import windows
from meanfluid.reporting.figures import Map, grid, plot_maps, plot_windows

EXTENT = (0.0, 2.0, 0.0, 1.0)


def test_every_map_has_its_values_title_and_colour_bar():
    x, y, points = grid(EXTENT, 9)
    maps = [Map("first", points[:, 0], "x (m)"), Map("second", points[:, 1], "y (m)")]
    figure = plot_maps(maps, extent=EXTENT, shape=(len(y), len(x)), names=("x (m)", "y (m)"))
    panels, bars = figure.axes[:2], figure.axes[2:]
    assert [panel.get_title() for panel in panels] == ["first", "second"]
    for panel, values in zip(panels, points.T, strict=True):
        np.testing.assert_array_equal(np.ravel(panel.collections[0].get_array()), values)
    assert [bar.get_xlabel() for bar in bars] == ["x (m)", "y (m)"]
    assert panels[0].get_ylabel() == "y (m)"


def test_values_beyond_the_limits_are_announced_by_an_arrow_of_the_colour_bar():
    x, y, points = grid(EXTENT, 9)
    values = np.exp(points[:, 0])  # from 1 to 7.4
    limits = [(1.0, 8.0), (2.0, 8.0), (1.0, 5.0), (2.0, 5.0)]
    maps = [Map("", values, "", limit, logarithmic=True) for limit in limits]
    figure = plot_maps(maps, extent=EXTENT, shape=(len(y), len(x)))
    images = [panel.collections[0] for panel in figure.axes[:4]]
    assert all(isinstance(image.norm, LogNorm) for image in images)
    assert [image.colorbar.extend for image in images] == ["neither", "min", "max", "both"]


def test_places_without_a_value_are_left_out():
    x, y, points = grid(EXTENT, 9)
    values = np.where(points[:, 0] < 1.0, np.nan, points[:, 1])
    figure = plot_maps([Map("", values, "")], extent=EXTENT, shape=(len(y), len(x)))
    drawn = figure.axes[0].collections[0].get_array()
    np.testing.assert_array_equal(np.ravel(drawn.mask), np.isnan(values))


def test_a_wide_grid_is_drawn_in_rows():
    wide = (0.0, 9.0, 0.0, 1.0)
    x, y, points = grid(wide, 27)
    maps = [Map(str(k), points[:, 0], "") for k in range(3)]
    figure = plot_maps(maps, extent=wide, shape=(len(y), len(x)))
    bottoms = [panel.get_subplotspec().rowspan.start for panel in figure.axes[:3]]
    assert bottoms == [0, 1, 2]


def test_windows_are_drawn_by_weight_and_by_what_they_keep():
    figure = plot_windows({"top hat": windows.top_hat(), "Hann": windows.hann()}, 4.0)
    weights, kept = figure.axes
    assert [text.get_text() for text in weights.get_legend().get_texts()] == ["top hat", "Hann"]
    top_hat, hann = (line.get_ydata() for line in weights.lines)
    np.testing.assert_allclose(top_hat, 1.0, rtol=1e-14)
    assert abs(hann.max() - 2.0) < 1e-12  # 1 - cos, in the middle
    cycles, factor = kept.lines[0].get_data()
    np.testing.assert_allclose(factor, np.abs(np.sinc(cycles)), rtol=0, atol=1e-13)
