"""Arrays that are not NumPy's, where there is no GPU: they refuse what CuPy's refuse.

`Elsewhere` holds a NumPy array that NumPy's functions reach by dispatching only, and `Foreign` one
that they do not reach, as that of a tensor. `stand_in` makes the package take such arrays for those
of a GPU; trajectories are then integrated on the host.
"""

import importlib

import numpy as np

from meanfluid.backends import devices

# In the package a function has this name.
flow_map = importlib.import_module("meanfluid.trajectories.flow_map")
PLAIN = (bool, int, float, complex)


class Elsewhere(np.lib.mixins.NDArrayOperatorsMixin):
    """An array of a library that NumPy functions dispatch to, and that is not NumPy's.

    As CuPy's, it does not become a NumPy array by itself, nor can it be mixed with one, and of
    numbers it takes plain ones and NumPy's only, no `enum.IntEnum`.
    """

    def __init__(self, array):
        self.array = array

    def __array__(self, *args, **kwargs):
        raise TypeError("implicit conversion to a NumPy array is not allowed")

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        for value in inputs:
            number = type(value) in PLAIN or isinstance(value, np.generic)
            if not (number or isinstance(value, Elsewhere)):
                raise TypeError(f"unsupported type {type(value)} in {ufunc}")
        return carried_out(getattr(ufunc, method), inputs, kwargs)

    def __array_function__(self, function, types, args, kwargs):
        refuse_host(function, [*args, *kwargs.values()])
        if function in (np.max, np.min, np.amax, np.amin) and {"initial", "where"} & set(kwargs):
            raise TypeError(f"{function} takes neither initial= nor where= there")
        if function is np.eye:
            raise TypeError("eye() got an unexpected keyword argument 'device'")
        return carried_out(function, args, kwargs)

    def __getattr__(self, name):
        if name.startswith("__"):  # such as __array_interface__
            raise AttributeError(name)
        value = getattr(self.array, name)
        if not callable(value):
            return wrapped(value)

        def method(*args, **kwargs):
            refuse_host(name, [*args, *kwargs.values()])
            return carried_out(value, args, kwargs)

        return method

    def __getitem__(self, key):
        return wrapped(self.array[unwrapped(key)])

    def __setitem__(self, key, value):
        if isinstance(value, np.ndarray):
            raise TypeError("unsupported type numpy.ndarray")
        self.array[unwrapped(key)] = unwrapped(value)

    def __len__(self):
        return len(self.array)

    def __iter__(self):
        return map(wrapped, self.array)

    def __bool__(self):
        return bool(self.array)

    def __float__(self):
        return float(self.array)

    def __int__(self):
        return int(self.array)

    def __index__(self):
        return self.array.__index__()


class Foreign:
    """An array of a library that shares memory with the one elsewhere, and dispatches nothing."""

    def __init__(self, shared):
        self.shared = shared
        self.array = unwrapped(shared)
        self.ndim = self.array.ndim

    def __array__(self, *args, **kwargs):
        raise TypeError("implicit conversion to a NumPy array is not allowed")

    def __getitem__(self, key):
        return Foreign(self.shared[key])

    def __len__(self):
        return len(self.array)


def refuse_host(function, given):
    """Refuse NumPy arrays beside those from elsewhere, in lists too."""
    for value in given:
        if isinstance(value, np.ndarray):
            raise TypeError(f"unsupported type numpy.ndarray in {function}")
        if isinstance(value, list | tuple):
            refuse_host(function, value)


def wrapped(value):
    return Elsewhere(value) if isinstance(value, np.ndarray | np.generic) else value


def unwrapped(value):
    if isinstance(value, Elsewhere | Foreign):
        return value.array
    if isinstance(value, tuple | list):
        return type(value)(unwrapped(part) for part in value)
    return value


def carried_out(function, args, kwargs):
    found = function(*unwrapped(args), **{key: unwrapped(part) for key, part in kwargs.items()})
    if isinstance(found, tuple):
        parts = map(wrapped, found)
        return found._make(parts) if hasattr(found, "_make") else tuple(parts)
    return [wrapped(part) for part in found] if isinstance(found, list) else wrapped(found)


def is_elsewhere(array):
    return isinstance(array, Elsewhere)


def sent(array):
    """Return an array elsewhere, as `cupy.asarray` does."""
    if isinstance(array, Foreign):
        return array.shared
    return array if is_elsewhere(array) else Elsewhere(np.array(array))


def foreign(array):
    """Return an array of the other library."""
    return Foreign(sent(array))


def stand_in(monkeypatch):
    """Take arrays that are elsewhere for those of a GPU."""

    def home_of(array):
        give = Foreign if isinstance(array, Foreign) else devices.unchanged
        return devices.Home(0, 0, give)

    monkeypatch.setattr(devices, "is_on_gpu", lambda a: isinstance(a, Elsewhere | Foreign))
    monkeypatch.setattr(devices, "as_cupy", sent)
    monkeypatch.setattr(devices, "to_host", lambda array: np.asarray(unwrapped(array)))
    monkeypatch.setattr(devices, "home_of", home_of)
    monkeypatch.setattr(
        devices, "contiguous", lambda a: Elsewhere(np.ascontiguousarray(a.array, dtype=float))
    )
    integrated = flow_map._integrated

    def there(field, observables, carry, settings, particles, device, threads, progress):
        layout, output = integrated(
            field, observables, carry, settings, tuple(map(unwrapped, particles)), "cpu", threads,
            progress,
        )  # fmt: skip
        here = not is_elsewhere(particles[0])
        return layout, output if here else output._make(map(wrapped, output))

    monkeypatch.setattr(flow_map, "_integrated", there)
