"""Bodies that are written down: order of operations, constants, kept source, refusals."""

import inspect
import math
import traceback

import numba
import numpy as np
import pytest

from meanfluid.backends.derivatives import differentiated, gradient_body
from meanfluid.fields import double_gyre
from meanfluid.fields.elementary import numpy_functions


def test_constants_keep_their_kind_and_names_do_not_clash():
    def body(m, s1, nan, m_, inf):
        return -0.0 * m_ + 1 * inf - math.inf, (-2.0) ** 2 + 0 * nan

    found = gradient_body(body, None, 2)(numpy_functions, None, 1.0, 2.0, 3.0)
    assert found == (-math.inf, 4.0, -0.0, 1.0, 0.0, 0.0)
    body = lambda m, p, t, x, y: (x / 0.0, y * True)  # noqa: E731
    with np.errstate(divide="ignore"):
        found = gradient_body(body, None, 2)(numpy_functions, None, 0.0, np.float64(1.0), 2.0)
    assert found == (math.inf, 2.0, math.inf, 0.0, 0.0, 1.0)


def test_the_order_of_operations_is_kept():
    """Sums and products of numbers whose result depends on the order, to the bit."""

    def body(m, p, t, x, y):
        return (
            x - (y - (t - (x + (y + t)))) + (x * (y * t)) / (t / (x / y)) - (-x) * (y + t) * -t,
            (x * y) * t - -((x**2) ** 2) + x ** (2 * y) ** 2 + 1 / (x + y) / (t / y) + -(x - y),
        )

    rng = np.random.default_rng(31)
    for t, x, y in rng.uniform(0.1, 2, (200, 3)):
        assert differentiated(body, None, 2, by=())(None, None, t, x, y) == body(
            None, None, t, x, y
        )


def test_the_source_is_kept_and_shown_in_tracebacks():
    field = double_gyre()
    derived = gradient_body(field.body, type(field.parameters), 2)
    assert derived is gradient_body(field.body, type(field.parameters), 2)
    text = inspect.getsource(derived)
    assert text.startswith("def derivatives_of_double_gyre(m, p, t, x, y):")
    assert "their derivatives in x, y" in derived.__doc__
    with pytest.raises(AttributeError) as caught:
        derived(numpy_functions, None, 0.0, 0.0, 0.0)
    assert "p.perturbation" in "".join(traceback.format_exception(caught.value))


@numba.njit
def halved(x):
    return x / 2


CONSTANTS = np.ones(2)
REFUSED = [
    (lambda m, p, t, x: x if x > 0 else -x, "a comparison.*m.where_greater"),
    (lambda m, p, t, x: max(x, 0.0), "a comparison.*m.maximum"),
    (lambda m, p, t, x: (x == t) * x, "a comparison"),
    (lambda m, p, t, x: x and t, "if, and, or, not"),
    (lambda m, p, t, x: abs(x), r"abs\(x\).*m.maximum\(x, -x\)"),
    (lambda m, p, t, x: math.sin(x), r"conversion to a number.*m.sin\(x\), not math.sin"),
    (lambda m, p, t, x: np.sin(x), r"numpy.sin cannot be followed.*m.sin\(x\)"),
    (lambda m, p, t, x: CONSTANTS * x, "numpy.multiply cannot be followed"),
    (lambda m, p, t, x: float(x), "conversion to a number"),
    (lambda m, p, t, x: sum(x for _ in range(x)), "an integer.*fixed number"),
    (lambda m, p, t, x: x % 1.0, "% and //.*m.sin and m.cos"),
    (lambda m, p, t, x: x // 1.0, "% and //"),
    (lambda m, p, t, x: math.floor(x), "rounding"),
    (lambda m, p, t, x: x[0], "arguments are scalars"),
    (lambda m, p, t, x: m.erf(x), "m.erf does not exist; m has pi, sin, cos"),
    (lambda m, p, t, x: m.sin("x"), "not a function of numbers"),
    (lambda m, p, t, x: halved(x), "register_jitable instead of njit"),
    (lambda m, p, t, x: m.exprel_derivative(x), "take that of m.exprel"),
    (lambda m, p, t, x: [x], "must return a real number or a tuple of them"),
    (lambda m, p, t, x: (), "must return a real number or a tuple of them"),
    (lambda m, p, t, x: x + 1j if False else 1j, "must return a real number"),
]


@pytest.mark.parametrize("function, message", REFUSED)
def test_what_cannot_be_followed_is_refused_in_words(function, message):
    with pytest.raises(ValueError, match=message):
        differentiated(function, None, 1, by=("x",))
