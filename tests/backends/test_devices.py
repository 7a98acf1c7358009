"""Which device an array lives on."""

import importlib
import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from meanfluid.backends import devices
from meanfluid.errors import MissingExtraError


class OnGpu:
    """An array that says it is on a GPU, in one of the two languages."""

    def __init__(self, **spoken):
        self.__dict__.update(spoken)


@pytest.mark.parametrize("array", [np.zeros(3), [1.0, 2.0], 3.0, np.float64(1.0), ()])
def test_what_is_on_the_host_is_not_on_a_gpu(array):
    assert not devices.is_on_gpu(array)


def test_a_tensor_on_the_host_is_not_on_a_gpu():
    torch = pytest.importorskip("torch")
    assert not devices.is_on_gpu(torch.zeros(3))


@pytest.mark.parametrize(
    "array", [OnGpu(__dlpack_device__=lambda: (2, 0)), OnGpu(__cuda_array_interface__={})]
)
def test_both_languages_of_arrays_on_a_gpu_are_understood(array):
    assert devices.is_on_gpu(array)


def test_memory_of_another_kind_of_device_is_not_ours():
    assert not devices.is_on_gpu(OnGpu(__dlpack_device__=lambda: (10, 0)))


def test_arrays_of_the_host_come_home_without_a_copy():
    array = np.arange(3.0)
    assert devices.to_host(array) is array


def test_a_missing_cupy_is_named_with_its_extra(monkeypatch):
    def without(name, *rest):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(MissingExtraError, match=r"CuPy.*pip install 'meanfluid\[cuda13\]'"):
        devices.cupy_library()


def test_a_missing_compiler_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"numba-cuda.*pip install 'meanfluid\[cuda13\]'"):
        devices.require_compiler()


def test_a_compiler_that_does_not_fit_numpy_is_named(monkeypatch):
    def broken(name, *rest):
        raise AttributeError("module 'numpy' has no attribute 'row_stack'")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(MissingExtraError, match=r"does not work with NumPy .*row_stack"):
        devices.require_compiler()


def test_the_public_package_loads_neither_cupy_nor_cuda():
    code = (
        "import sys, meanfluid; "
        "print([m for m in ('cupy', 'torch', 'numba_cuda.numba.cuda') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.gpu
@pytest.mark.parametrize("library", ["cupy", "torch", "numba"])
def test_arrays_on_a_gpu_share_their_memory(library):
    values = np.arange(6.0).reshape(3, 2)
    if library == "torch":
        torch = pytest.importorskip("torch")
        array = torch.tensor(values, device="cuda", requires_grad=True)
        address = array.data_ptr()
    elif library == "cupy":
        array = devices.cupy_library().asarray(values)
        address = array.data.ptr
    else:
        from numba import cuda

        array = cuda.to_device(values)
        address = array.device_ctypes_pointer.value
    shared = devices.as_cupy(array)
    assert shared.data.ptr == address
    np.testing.assert_array_equal(devices.to_host(array), values)
    home = devices.home_of(array)
    given = home.give(shared)
    assert type(given).__module__.partition(".")[0] == ("torch" if library == "torch" else "cupy")
    assert devices.as_cupy(given).data.ptr == address
