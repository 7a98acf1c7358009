"""What makes no sense is refused with a message; what can be promoted is promoted."""

import functools
import math

import numpy as np
import pytest

from meanfluid import (
    VelocityField,
    average_velocity,
    flow_map,
    rk4,
    trajectories,
)
from meanfluid.fields import lamb_oseen, rotation
from tests.catalogue import CASES
from tests.trajectories.own_fields import (
    LOGISTIC,
    current,
)

ROTATION = rotation(1.3)
HERE = [[1.0, 0.5]]


def test_integers_lists_and_single_precision_are_promoted():
    expected = flow_map(ROTATION, np.array([[1.0, 2.0], [3.0, -1.0]]), 0.0, 1.0)
    integers = [[1, 2], [3, -1]]
    for given in (integers, tuple(map(tuple, integers)), np.array(integers, dtype=np.int32),
                  np.array(integers, dtype=np.int8),
                  np.array(integers, dtype=np.float32), np.array(integers, np.float64, order="F"),
                  np.array([[1, 2, 0], [3, -1, 0]], dtype=float)[:, :2]):  # fmt: skip
        found = flow_map(ROTATION, given, 0, np.float32(1))
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, expected)


def test_arguments_are_left_alone():
    x = np.array(HERE)
    path = trajectories(ROTATION, x, 0.0, 1.0)
    np.testing.assert_array_equal(x, HERE)
    path.position[:] = 7.0
    np.testing.assert_array_equal(x, HERE)


class Tracked:
    """What a torch tensor says of itself while gradients are recorded."""

    requires_grad = True


REFUSED_POSITIONS = {
    "no batch axis": ([1.0, 0.5], ValueError, r"shape \(particles, 2\), got \(2,\); for one "
                      r"particle pass \[\[x, y\]\]"),
    "three columns": (np.zeros((4, 3)), ValueError, r"shape \(particles, 2\), got \(4, 3\)"),
    "transposed": (np.zeros((2, 5)), ValueError, r"shape \(particles, 2\), got \(2, 5\)"),
    "three axes": (np.zeros((1, 1, 2)), ValueError, r"shape \(particles, 2\), got \(1, 1, 2\)"),
    "a number": (1.0, ValueError, r"shape \(particles, 2\), got \(\)"),
    "empty": (np.zeros((0, 2)), ValueError, r"holds no particles: shape \(0, 2\)"),
    "complex": (np.zeros((1, 2), complex), TypeError, "real numbers, got dtype complex128; conv"),
    "object": (np.array([[1.0, None]]), TypeError, "real numbers, got dtype object; convert it"),
    "text": ([["1", "2"]], TypeError, "real numbers, got dtype <U1"),
    "truth values": ([[True, False]], TypeError, "real numbers, got dtype bool"),
    "NaN": ([(0, 0), (1, math.nan)], ValueError, r"finite, got \[1.0, nan\] for particle 1"),
    "infinity": ([(-math.inf, 0)], ValueError, r"finite, got \[-inf, 0.0\] for particle 0"),
    "masked": (np.ma.array([[1.0, 2.0]]), TypeError, "position is a masked array; pass"),
    "tracked by torch": (Tracked(), TypeError, "tensor that requires grad; pass position.detach"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED_POSITIONS)
def test_positions_that_make_no_sense_are_refused(what):
    position, error, message = REFUSED_POSITIONS[what]
    for door in (flow_map, average_velocity, trajectories):
        with pytest.raises(error, match=message):
            door(ROTATION, position, 0.0, 1.0)
    with pytest.raises(error, match=message):
        average_velocity(ROTATION, position, 0.0, 1.0, label=0.5)


def test_positions_in_space_and_on_a_line_say_what_one_particle_looks_like():
    for name, one in (("abc_flow", r"\[\[x, y, z\]\]"), (None, r"\[\[x\]\]")):
        field = CASES[name].field if name else LOGISTIC
        with pytest.raises(ValueError, match=f"for one particle pass {one}"):
            flow_map(field, [1.0], 0.0, 1.0)


REFUSED_TIMES = {
    "NaN start": ({"start": math.nan}, ValueError, "start must be finite, got nan"),
    "infinite end": ({"end": math.inf}, ValueError, "end must be finite, got inf"),
    "one start too many": (
        {"start": [0.0, 1.0]}, ValueError,
        r"start must be a number or have shape \(1,\), one per particle, got \(2,\)",
    ),
    "a column of ends": ({"end": [[1.0]]}, ValueError, r"end must be a number .* got \(1, 1\)"),
    "text": ({"start": "now"}, TypeError, "start must hold real numbers, got dtype <U3"),
    "complex end": ({"end": 1j}, TypeError, "end must hold real numbers, got dtype complex128"),
    "a window beyond float64": (
        {"start": -1e308, "end": 1e308}, ValueError, "window from -1e.308 to 1e.308 is too long",
    ),
    "complex times": ({"times": [1j]}, TypeError, "times must hold real numbers, got dtype compl"),
    "times backwards": (
        {"times": [0.5, 0.2]}, ValueError, r"from start towards end without repetition, got \[0.5",
    ),
    "times repeated": ({"times": [0.5, 0.5]}, ValueError, "without repetition"),
    "times before the start": ({"times": [-0.1, 0.5]}, ValueError, "from start towards end"),
    "times the other way": ({"end": -1.0, "times": [0.5]}, ValueError, "from start towards end"),
    "times after the end": (
        {"times": [0.5, 1.5]}, ValueError, "times must lie between start 0.0 and end 1.0, got 1.5",
    ),
    "no times": ({"times": []}, ValueError, r"times must be a sequence of numbers, got shape \(0"),
    "one bare time": ({"times": 0.5}, ValueError, r"times must be a sequence .* shape \(\)"),
    "NaN among times": ({"times": [0.5, math.nan]}, ValueError, "from start towards end"),
    "times with windows of their own": (
        {"start": [0.0], "times": [0.5]}, ValueError, "times= needs one start and one end",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED_TIMES)
def test_times_that_make_no_sense_are_refused(what):
    changes, error, message = REFUSED_TIMES[what]
    with pytest.raises(error, match=message):
        trajectories(ROTATION, HERE, **{"start": 0.0, "end": 1.0, **changes})


@pytest.mark.parametrize("name, window", [("start", (0.0, 1.0)), ("end", (1.0, -2.0))])
def test_windows_that_leave_the_time_range_of_the_field_are_refused(name, window):
    with pytest.raises(ValueError, match=rf"{name} must lie in the time range \[5e-324, inf\] of "
                       "lamb_oseen, got"):  # fmt: skip
        flow_map(lamb_oseen(), HERE, *window)
    ends = np.array([1.0, -3.0])
    with pytest.raises(ValueError, match=r"end must lie in the time range .* got -3\.0"):
        flow_map(lamb_oseen(), HERE * 2, 1.0, ends)


REFUSED_LABELS = {
    "unknown": (
        "middle",
        'label must be "initial", "final", "mean" or a time in the window, got .middle',
    ),
    "before the window": (-0.1, "label must lie between start 0.0 and end 1.0, got -0.1"),
    "after the window": (1.5, "label must lie between start 0.0 and end 1.0, got 1.5"),
    "one of two outside": ([0.5, 2.0], r"label must lie between .* got \[0.5, 2.0\]"),
    "three for two": ([0.5] * 3, r"label must be a number or have shape \(2,\)"),
    "NaN": (math.nan, "label must be finite, got nan"),
}


@pytest.mark.parametrize("what", REFUSED_LABELS)
def test_labels_that_make_no_sense_are_refused(what):
    label, message = REFUSED_LABELS[what]
    with pytest.raises(ValueError, match=message):
        average_velocity(ROTATION, HERE * 2, 0.0, 1.0, label=label)


def seven(m, p, t, x, y):
    return 7.0


REFUSED_OPTIONS = {
    "rk4 without steps": ({"scheme": rk4}, ValueError, "rk4 has no embedded error estimate: pass "
                          "steps= for equal steps, or choose dop853, vern7 or tsit5"),
    "a name for a scheme": ({"scheme": "dop853"}, TypeError, "must be a Tableau such as "
                            "meanfluid.dop853, got str"),
    "negative rtol": ({"rtol": -1e-9}, ValueError, "rtol must be a number of at least 0, got -1e"),
    "negative atol": ({"atol": -1e-9}, ValueError, "atol must be a number of at least 0, got -1e"),
    "no tolerance": ({"rtol": 0.0, "atol": 0.0}, ValueError, "rtol and atol must not both be zero"),
    "NaN rtol": ({"rtol": math.nan}, ValueError, "rtol must be a number of at least 0, got nan"),
    "infinite atol": ({"atol": math.inf}, ValueError, "atol must be a number .*, got inf"),
    "text for rtol": ({"rtol": "tight"}, ValueError, "rtol must be a number .*, got 'tight'"),
    "no steps": ({"steps": 0}, ValueError, "steps must be a positive integer, got 0"),
    "negative steps": ({"steps": -4}, ValueError, "steps must be a positive integer, got -4"),
    "half steps": ({"steps": 2.5}, ValueError, "steps must be a positive integer, got 2.5"),
    "no max_steps": ({"max_steps": 0}, ValueError, "max_steps must be a positive integer, got 0"),
    "true steps": ({"steps": True}, ValueError, "steps must be a positive integer, got True"),
    "half a max_steps": ({"max_steps": 0.5}, ValueError, "max_steps must be a positive integer"),
    "no threads": ({"threads": 0}, ValueError, "threads must be a positive integer, got 0"),
    "half threads": ({"threads": 1.5}, ValueError, "threads must be a positive integer, got 1.5"),
    "unknown on_failure": ({"on_failure": "ignore"}, ValueError, 'must be "raise" or "mark", got '
                           "'ignore'"),
    "an unknown option": ({"tolerance": 1e-9}, TypeError, "unexpected keyword argument"),
    "a bare observable": ({"observables": seven}, ValueError, r"sequence or mapping .* pass \[g\]"),
    "an observable twice": ({"observables": [seven, seven]}, ValueError, "different names, got "
                            r"\['seven', 'seven'\]; pass a mapping"),
    "nameless observables": (
        {"observables": [lambda m, p, t, x, y: x, lambda m, p, t, x, y: y]}, ValueError,
        r"different names, got \['<lambda>', '<lambda>'\]",
    ),
    "a coordinate too few": (
        {"observables": {"g": lambda m, p, t, x: x}}, ValueError,
        r"could not be called as <lambda>\(m, p, t, x, y\): .*takes 4 positional arguments but 5",
    ),
    "a parameter that is not there": (
        {"observables": {"g": lambda m, p, t, x, y: p.speed * x}}, ValueError,
        "could not be called as .*no attribute 'speed'",
    ),
    "a list of values": (
        {"observables": {"g": lambda m, p, t, x, y: [x, y]}}, ValueError,
        r"must return a real number or a tuple of them, got \[",
    ),
    "a complex value": (
        {"observables": {"g": lambda m, p, t, x, y: 1j * x}}, ValueError, "a real number or a tuple"
    ),
    "nothing": ({"observables": {"g": lambda m, p, t, x, y: ()}}, ValueError, r"of them, got \(\)"),
    "None": ({"observables": {"g": lambda m, p, t, x, y: None}}, ValueError, "tuple .*, got None"),
    "text": ({"observables": {"g": lambda m, p, t, x, y: "v"}}, ValueError, "tuple .*, got 'v'"),
    "not a function": (
        {"observables": ["velocity"]}, ValueError,
        "an observable must be a function written with def or lambda, got 'velocity'",
    ),
    "a partial function": (
        {"observables": {"g": functools.partial(seven)}}, ValueError,
        r"must be a function written with def or lambda, got functools\.partial",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED_OPTIONS)
def test_options_that_make_no_sense_are_refused(what):
    options, error, message = REFUSED_OPTIONS[what]
    with pytest.raises(error, match=message):
        trajectories(ROTATION, HERE, 0.0, 1.0, **options)


@pytest.mark.parametrize("field", [current, None, "rotation", rotation])
def test_what_is_not_a_field_is_refused(field):
    message = f"field must be a VelocityField, got {type(field).__name__}; wrap a body as"
    for door in (flow_map, average_velocity, trajectories):
        with pytest.raises(TypeError, match=message):
            door(field, HERE, 0.0, 1.0)
    with pytest.raises(TypeError, match=message):
        average_velocity(field, HERE, 0.0, 1.0, label=0.5)


def test_average_velocity_has_neither_times_nor_observables():
    for options in ({"times": [0.5]}, {"observables": [seven]}, {"carried": False}):
        (name,) = options
        with pytest.raises(ValueError, match=f"{name}= belongs to meanfluid.trajectories"):
            average_velocity(ROTATION, HERE, 0.0, 1.0, **options)


REFUSED_BODIES = {
    "a component too many": (lambda m, p, t, x, y: (x, y, x), "got \\("),
    "a component too few": (lambda m, p, t, x, y: (x,), "got \\("),
    "no tuple": (lambda m, p, t, x, y: x, "got np.float64"),
    "a list": (lambda m, p, t, x, y: [x, y], "got \\["),
    "None": (lambda m, p, t, x, y: None, "got None"),
    "complex": (lambda m, p, t, x, y: (x, 1j * y), "got \\("),
}


@pytest.mark.parametrize("what", REFUSED_BODIES)
def test_bodies_that_do_not_return_a_velocity_are_refused(what):
    """Rather than, of three components, ignoring the third."""
    body, got = REFUSED_BODIES[what]
    field = VelocityField(body=body, dimension=2, name="crowded")
    message = "body crowded must return a tuple of 2 real numbers, one velocity component per "
    with pytest.raises(ValueError, match=f"{message}coordinate, {got}"):
        flow_map(field, HERE, 0.0, 1.0)


def test_bodies_of_another_signature_are_refused():
    field = VelocityField(body=lambda m, p, t, x: (x, x), dimension=2)
    with pytest.raises(
        ValueError, match=r"body <lambda> could not be called as <lambda>\(m, p, t, x, y"
    ):
        flow_map(field, HERE, 0.0, 1.0)
