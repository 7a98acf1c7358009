"""The same source, bound to other globals."""

from numba import njit

from meanfluid.backends.rebinding import Rebinding

SIZE = 3


@njit
def inner(x):
    return SIZE * x


@njit
def outer(x):
    return inner(x) + SIZE


def made_with(function):
    @njit
    def closure(x):
        return function(x) - SIZE

    return closure


def test_everything_that_is_called_sees_the_new_names():
    bound = Rebinding(njit, {"SIZE": 10})(outer)
    assert (bound(2.0), outer(2.0)) == (30.0, 9.0)


def test_functions_in_closures_are_bound_too():
    closure = made_with(outer)
    assert Rebinding(njit, {"SIZE": 10})(closure)(2.0) == 20.0
    assert closure(2.0) == 6.0


def test_a_function_can_be_replaced_by_its_name():
    replacement = njit(lambda x: 100.0 * x)
    assert Rebinding(njit, {"inner": replacement})(outer)(2.0) == 203.0


def test_a_function_is_compiled_once():
    bind = Rebinding(njit, {"SIZE": 10})
    assert bind(outer) is bind(outer)
