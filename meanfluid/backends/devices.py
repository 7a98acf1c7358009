"""Which device an array lives on, and the way there and back.

On an NVIDIA GPU everything is computed on CuPy arrays. Arrays of other libraries there (torch,
Numba, JAX, whatever speaks ``__cuda_array_interface__`` or DLPack) share their memory with a CuPy
array, and results go back the same way, so that nothing is copied.
"""

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np

from meanfluid.errors import MissingExtraError, missing_extra

Value = TypeVar("Value")

_CUDA, _CUDA_MANAGED = 2, 13  # DLPack's names for memory of a GPU


def is_on_gpu(array: Any) -> bool:
    """Whether an array's memory is that of an NVIDIA GPU."""
    if isinstance(array, np.ndarray | np.generic | int | float | list | tuple):
        return False
    device = getattr(array, "__dlpack_device__", None)
    if device is not None:
        return int(device()[0]) in (_CUDA, _CUDA_MANAGED)
    return hasattr(array, "__cuda_array_interface__")


@dataclass(frozen=True)
class Home:
    """Where results are wanted: the library of an array on a GPU, its device and its stream.

    Parameters
    ----------
    device : int
    stream : int
        Address of the stream on which the library works; 0 is the default one.
    give : callable
        Turns a CuPy array into an array of that library, on the same memory.
    """

    device: int
    stream: int
    give: Callable[[Any], Any]

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Let CuPy work on this device and stream."""
        cupy = cupy_library()
        stream = cupy.cuda.ExternalStream(self.stream) if self.stream else nullcontext()
        with cupy.cuda.Device(self.device), stream:
            yield


def home_of(array: Any) -> Home:
    """Return where an array on a GPU lives.

    Raises
    ------
    MissingExtraError
        If CuPy is not installed.
    """
    cupy = cupy_library()
    if type(array).__module__.partition(".")[0] == "torch":
        torch = importlib.import_module("torch")
        stream = torch.cuda.current_stream(array.device).cuda_stream
        return Home(array.device.index, int(stream), torch.from_dlpack)
    shared = as_cupy(array)
    return Home(int(shared.device.id), int(cupy.cuda.get_current_stream().ptr), unchanged)


def as_cupy(array: Any) -> Any:
    """Return a CuPy array on the memory of an array on a GPU; what is on the host is copied there.

    Raises
    ------
    MissingExtraError
        If CuPy is not installed.
    """
    cupy = cupy_library()
    if not is_on_gpu(array):
        return cupy.asarray(np.asarray(array))
    if hasattr(array, "requires_grad"):  # torch refuses to share what it differentiates
        array = array.detach()
    if isinstance(array, cupy.ndarray) or not hasattr(array, "__dlpack__"):
        return cupy.asarray(array)
    return cupy.from_dlpack(array)  # waits for the stream on which the array is made


def to_host(array: Any) -> Any:
    """Return a NumPy array with the values of an array anywhere."""
    if is_on_gpu(array):
        return cupy_library().asnumpy(as_cupy(array))
    return np.asarray(array)


def cupy_library() -> Any:
    """Return CuPy.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        return importlib.import_module("cupy")
    except ImportError as error:
        raise missing_extra("CuPy", "cuda13") from error


def require_compiler() -> None:
    """Check that numba-cuda is there and works.

    Raises
    ------
    MissingExtraError
        If it is not installed, or too old for the NumPy beside it.
    """
    if importlib.util.find_spec("numba_cuda") is None:
        raise missing_extra("numba-cuda", "cuda13")
    try:
        importlib.import_module("numba.cuda.np.arrayobj")
    except AttributeError as error:  # numba-cuda 0.30 asks NumPy 2.5 for row_stack
        raise MissingExtraError(
            f"this numba-cuda does not work with NumPy {np.__version__} ({error}); run: "
            "pip install 'meanfluid[cuda13]'"
        ) from error


def contiguous(array: Any) -> Any:
    """Return a CuPy array as contiguous float64."""
    return cupy_library().ascontiguousarray(array, dtype=np.float64)


def beside(array: Any, other: Any) -> Any:
    """Return `other` where `array` is: on the GPU, or on the host."""
    return as_cupy(other) if is_on_gpu(array) else to_host(other)


def giver_of(array: Any) -> Callable[[Any], Any]:
    """Return what turns NumPy or CuPy results into arrays of the library that `array` is of."""
    return home_of(array).give if is_on_gpu(array) else unchanged


def at_home(value: Value, array: Any, *, but: Sequence[str] = ()) -> Value:
    """Return arrays, NumPy's or CuPy's, as those of the library of `array` if that is on a GPU.

    Parameters
    ----------
    value : array, or dict or dataclass of such
        Anything else in it stays what it is.
    array : array
    but : sequence of str
        Fields of a dataclass that stay.
    """
    if not is_on_gpu(array):
        return value
    give = giver_of(array)

    def moved(value: Any) -> Any:
        if isinstance(value, np.ndarray) or is_on_gpu(value):
            return give(as_cupy(value))
        if isinstance(value, dict):
            return {name: moved(part) for name, part in value.items()}
        return value

    if not is_dataclass(value):
        return moved(value)  # type: ignore[no-any-return]
    names = [field.name for field in fields(value) if field.name not in but]
    return replace(value, **{name: moved(getattr(value, name)) for name in names})  # type: ignore


def unchanged(array: Any) -> Any:
    """Return the array itself."""
    return array
