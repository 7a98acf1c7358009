"""Grid formulas run on arrays of another library, which stand in for those of a GPU."""

import numpy as np
import pytest

from meanfluid.means import glm

NODES = np.arange(8) * 2 * np.pi / 8
X, Y = np.meshgrid(NODES, NODES, indexing="ij")
LENGTHS = (2 * np.pi, 2 * np.pi)
XI = 0.1 * np.stack([[np.cos(Y + s), np.sin(X - s)] for s in np.pi * np.arange(4) / 2])
MEAN = np.stack([np.cos(Y), np.sin(X)])


class Elsewhere(np.lib.mixins.NDArrayOperatorsMixin):
    """An array that NumPy's functions dispatch on, and that NumPy cannot read."""

    def __init__(self, inside):
        self.inside = inside

    def __array__(self, *_, **__):
        raise TypeError("this array is not on the host")

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        return away(getattr(ufunc, method)(*home(inputs), **home(options)))

    def __array_function__(self, function, types, arguments, options):
        return away(function(*home(arguments), **home(options)))

    def __getitem__(self, key):
        return away(self.inside[key])

    def __setitem__(self, key, value):
        self.inside[key] = home(value)

    def __len__(self):
        return len(self.inside)

    def __bool__(self):
        return bool(self.inside)

    def __float__(self):
        return float(self.inside)

    def __getattr__(self, name):
        if name not in ("shape", "ndim", "dtype", "mean", "sum", "max", "all", "reshape"):
            raise AttributeError(name)
        found = getattr(self.inside, name)
        if not callable(found) or name == "dtype":
            return found
        return lambda *arguments, **options: away(found(*home(arguments), **home(options)))


def home(value):
    if isinstance(value, Elsewhere):
        return value.inside
    if isinstance(value, list | tuple):
        return type(value)(home(part) for part in value)
    if isinstance(value, dict):
        return {key: home(part) for key, part in value.items()}
    return value


def away(value):
    return Elsewhere(value) if isinstance(value, np.ndarray | np.generic) else value


def test_means_stay_where_the_displacements_are():
    velocity = XI[::-1] + MEAN
    there = glm.grid_mean(Elsewhere(XI), Elsewhere(velocity), LENGTHS, rotation=0.4)
    here = glm.grid_mean(XI, velocity, LENGTHS, rotation=0.4)
    for name in vars(here):
        found = getattr(there, name)
        assert isinstance(found, Elsewhere)
        np.testing.assert_array_equal(found.inside, getattr(here, name))


@pytest.mark.parametrize(
    ("function", "more"),
    [
        (glm.density_second_order, ()),
        (glm.divergence_second_order, (XI, MEAN)),
        (glm.pseudomomentum_second_order, (XI, MEAN)),
        (glm.stokes_correction_second_order, (XI, MEAN)),
    ],
)
def test_formulas_of_second_order_stay_there_too(function, more):
    found = function(Elsewhere(XI), *(Elsewhere(part) for part in more), LENGTHS)
    assert isinstance(found, Elsewhere)
    np.testing.assert_array_equal(found.inside, function(XI, *more, LENGTHS))


@pytest.mark.parametrize("kind", ["scalar", "vector", "one_form"])
def test_pulled_back_means_do(kind):
    gradient = 0.1 * np.random.default_rng(2).standard_normal((4, 5, 2, 2))
    value = np.random.default_rng(3).standard_normal((4, 5, 2))
    found = glm.pull_back_mean(Elsewhere(value), Elsewhere(gradient), kind)
    np.testing.assert_array_equal(found.inside, glm.pull_back_mean(value, gradient, kind))
