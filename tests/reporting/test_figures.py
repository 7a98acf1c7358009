"""Figures show the numbers they are given; tables and provenance say what they should."""

import importlib.metadata

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray

from meanfluid.fields import double_gyre
from meanfluid.reporting.figures import (
    grid,
    plot_error_by_window,
    plot_learned,
    plot_trajectories,
    save,
)
from meanfluid.reporting.provenance import hardware, stamp, versions
from meanfluid.reporting.tables import markdown_table, percent

EXTENT = (0.0, 2.0, 0.0, 1.0)


def test_the_grid_has_square_cells_and_points_in_the_order_of_an_image():
    x, y, points = grid(EXTENT, 5)
    assert len(x) == 5 and points.shape == (len(x) * len(y), 2)
    np.testing.assert_allclose(points.reshape(len(y), len(x), 2)[1, 3], [x[3], y[1]])


def test_trajectories_are_drawn_where_they_go():
    paths = np.array([[[0.1, 0.2], [0.4, 0.6], [0.9, 0.8]]])
    figure = plot_trajectories(double_gyre(), 0.0, paths, extent=EXTENT)
    line = figure.axes[0].get_lines()[0]
    np.testing.assert_array_equal(np.transpose(line.get_data()), paths[0])
    background = figure.axes[0].collections[0].get_array()
    speed = np.linalg.norm(double_gyre().velocity(0.0, grid(EXTENT, 300)[2]), axis=1)
    np.testing.assert_allclose(np.ravel(background), speed)


def test_the_differences_shown_are_relative_to_the_rms_of_the_exact_average():
    x, y, points = grid(EXTENT, 21)
    exact = np.broadcast_to([3.0, 4.0], points.shape)
    figure = plot_learned(
        {"exact": exact, "learned": exact + np.array([0.0, 0.5])},
        "exact",
        extent=EXTENT,
        shape=(len(y), len(x)),
    )
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:4] == ["exact", "learned", "exact: direction", "difference, rms 0.1"]
    np.testing.assert_allclose(figure.axes[3].collections[0].get_array(), 0.1)


def test_points_outside_the_mask_are_not_drawn_nor_counted():
    x, y, points = grid(EXTENT, 21)
    inside = points[:, 0] < 1.0
    exact = np.ones_like(points)
    learned = np.where(inside[:, None], exact, 100.0)
    figure = plot_learned(
        {"exact": exact, "learned": learned},
        "exact",
        extent=EXTENT,
        shape=(len(y), len(x)),
        mask=inside,
    )
    assert figure.axes[3].get_title() == "difference, rms 0"
    assert figure.axes[3].collections[0].get_array().mask.sum() == np.count_nonzero(~inside)


def test_errors_stand_in_the_middle_of_their_class_of_windows():
    data = xarray.Dataset(
        {"relative_error": ("window", [0.1, 0.2]), "residual": ("window", [0.3, 0.4])},
        coords={
            "window": [0.5, 1.5],
            "window_lower": ("window", [0.0, 1.0]),
            "window_upper": ("window", [1.0, 2.0]),
        },
    )
    figure = plot_error_by_window({"arm": data}, baseline={"Eulerian": np.array([0.5, 0.6])})
    drawn = {line.get_label(): line.get_data() for line in figure.axes[0].get_lines()}
    np.testing.assert_array_equal(drawn["arm: error"], [[0.5, 1.5], [0.1, 0.2]])
    np.testing.assert_array_equal(drawn["arm: residual"], [[0.5, 1.5], [0.3, 0.4]])
    np.testing.assert_array_equal(drawn["Eulerian"], [[0.5, 1.5], [0.5, 0.6]])
    assert figure.axes[0].get_xlim() == (0.0, 2.0)


def test_a_figure_is_saved_whole_and_closed(tmp_path):
    figure, _ = plt.subplots()
    path = save(figure, tmp_path / "figure.png")
    assert [p.name for p in tmp_path.iterdir()] == ["figure.png"]
    assert path.read_bytes().startswith(b"\x89PNG") and not plt.get_fignums()


def test_a_table_is_aligned_and_refuses_a_row_of_the_wrong_length():
    table = markdown_table(["arm", "error"], [["identity", "0.1 %"], ["x", "12 %"]])
    assert table.splitlines() == [
        "| arm      | error |",
        "| :------- | ----: |",
        "| identity | 0.1 % |",
        "| x        |  12 % |",
    ]
    with pytest.raises(ValueError, match="2 cells like the header"):
        markdown_table(["a", "b"], [["1"]])


def test_percentages_have_three_digits():
    assert [percent(v) for v in (0.0012345, 0.56, 1.17)] == ["0.123 %", "56 %", "117 %"]


def test_provenance_names_versions_and_hardware():
    found = versions(("numpy", "no-such-package"))
    assert found["numpy"] == importlib.metadata.version("numpy")
    assert found["no-such-package"] == "not installed"
    assert int(hardware()["cores"]) >= 1 and stamp().endswith("UTC")
