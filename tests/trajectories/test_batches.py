"""Doors that need one number per particle work in batches, which nobody notices."""

import importlib
import math

import numpy as np
import pytest

from meanfluid import TrajectoryError, average_velocity, flow_map, trajectories
from meanfluid.trajectories.control import Status
from tests.trajectories.own_fields import BOX, unsteady_rotation

DOORS = importlib.import_module("meanfluid.trajectories.flow_map")  # hidden by its function
FIELD = unsteady_rotation()
COUNT = 250
RNG = np.random.default_rng(151)
POSITION = RNG.uniform(-1, 1, (COUNT, 2))
OWN = {"start": RNG.uniform(0, 1, COUNT), "end": RNG.uniform(2, 3, COUNT)}
WINDOWS = {
    "common": {"start": 0.25, "end": 3.0},
    "own": OWN,
    "own ends": {"start": 0.25, "end": OWN["end"]},
}


@pytest.fixture
def small_batches(monkeypatch):
    """Seven batches of at most 40."""
    monkeypatch.setattr(DOORS, "_BATCH", 40)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("label", ["initial", "final", 1.5, "own"])
def test_batches_give_the_same_bits(window, label, monkeypatch):
    label = RNG.uniform(1.2, 1.8, COUNT) if label == "own" else label
    arguments = {"label": label, "return_error": True, **WINDOWS[window]}
    whole = average_velocity(FIELD, POSITION, **arguments)
    there = flow_map(FIELD, POSITION, **WINDOWS[window])
    monkeypatch.setattr(DOORS, "_BATCH", 40)
    parts = average_velocity(FIELD, POSITION, **arguments)
    np.testing.assert_array_equal(parts[0], whole[0])
    np.testing.assert_array_equal(parts[1], whole[1])
    np.testing.assert_array_equal(flow_map(FIELD, POSITION, **WINDOWS[window]), there)


@pytest.mark.usefixtures("small_batches")
def test_progress_counts_all_batches():
    seen = []
    flow_map(FIELD, POSITION, 0.0, 1.0, progress=lambda done, total: seen.append((done, total)))
    done = [d for d, _ in seen]
    assert {total for _, total in seen} == {COUNT} and done[-1] == COUNT
    assert done == sorted(set(done)) and len(done) >= 7


@pytest.mark.usefixtures("small_batches")
def test_failures_are_counted_over_all_batches():
    """Every tenth particle leaves the box; the first of them is in the second batch."""
    x = np.full((COUNT, 2), 0.2)
    x[45::10, 0] = 0.9
    failed = np.arange(45, COUNT, 10)
    message = (
        rf"{len(failed)} of 250 trajectories failed \({len(failed)} x OUT_OF_DOMAIN\); the first, "
        r"particle 45 at \[0.9, 0.2\], left the domain"
    )
    for options in ({}, {"on_failure": "mark", "out_of_domain": "raise"}):
        with pytest.raises(TrajectoryError, match=message):
            flow_map(BOX, x, 0.0, 0.5, **options)
        with pytest.raises(TrajectoryError, match=message):
            average_velocity(BOX, x, 0.0, 0.5, label="initial", **options)
    for options in ({"on_failure": "mark"}, {"out_of_domain": "mark"}):
        value, error = average_velocity(
            BOX, x, 0.0, 0.5, label="initial", return_error=True, **options
        )
        lost = np.isnan(value).all(axis=1)
        np.testing.assert_array_equal(np.flatnonzero(lost), failed)
        np.testing.assert_array_equal(np.isnan(error), lost)
    clamped = flow_map(BOX, x, 0.0, 0.5, out_of_domain="clamp")
    np.testing.assert_allclose(clamped, np.add(x, (0.5, 0)), rtol=1e-14)


@pytest.mark.usefixtures("small_batches")
def test_failures_before_and_after_a_label_in_the_window_are_found():
    """From the label at 0.3 either way: to the left of 0.3 they come from outside."""
    x = np.full((COUNT, 2), 0.5)
    x[7::50, 0] = 0.1
    x[100, 0] = 0.95
    value = average_velocity(BOX, x, 0.0, 0.5, label=0.3, on_failure="mark")
    expected = np.zeros(COUNT, dtype=bool)
    expected[7::50] = expected[100] = True
    np.testing.assert_array_equal(np.isnan(value).any(axis=1), expected)


@pytest.mark.usefixtures("small_batches")
def test_arguments_of_batches_are_checked_as_a_whole():
    ends = np.full(COUNT, 1.0)
    with pytest.raises(ValueError, match=r"end must be a number or have shape \(250,\)"):
        flow_map(FIELD, POSITION, 0.0, ends[:-1])
    with pytest.raises(ValueError, match=r"on_failure must be .*, got 'ignore'"):
        flow_map(FIELD, POSITION, 0.0, 1.0, on_failure="ignore")
    with pytest.raises(ValueError, match='out_of_domain must be "raise"'):
        flow_map(FIELD, POSITION, 0.0, 1.0, out_of_domain="ignore")
    with pytest.raises(ValueError, match="times= belongs to"):
        flow_map(FIELD, POSITION, 0.0, 1.0, times=[0.5])
    bad = POSITION.copy()
    bad[111, 1] = math.nan
    with pytest.raises(ValueError, match="for particle 111"):
        flow_map(FIELD, bad, 0.0, 1.0)


def test_trajectories_themselves_are_one_batch(monkeypatch):
    monkeypatch.setattr(DOORS, "_BATCH", 40)
    path = trajectories(BOX, [(0.9, 0.0)] * 50, 0.0, 0.5, on_failure="mark")
    assert (path.status == Status.OUT_OF_DOMAIN).all() and path.status.shape == (50,)
