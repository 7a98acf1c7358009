"""Settings described by their content, so that a checkpoint of another run is recognised.

Tensors and arrays count by their values. A module counts by its class, its attributes, the values
of its buffers (so a layer whose buffers training moves, such as batch normalisation, resumes only
in a model built anew) and the shapes of its parameters, whose values the checkpoint holds.
Functions, and the methods of a class, count by qualified name and compiled code; functions also
by defaults, closure, and the numbers and arrays that they read from their module by name. What
they call by name is not followed. Anything else is described by its class and attributes; what
keeps its content out of Python's reach is refused.
"""

import enum
import functools
import hashlib
from collections.abc import Mapping
from pathlib import PurePath
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from meanfluid.fields.velocity_field import VelocityField

PLAIN = (
    type(None), bool, int, float, complex, str, bytes, range, slice, enum.Enum, PurePath,
    np.generic, torch.dtype, torch.device,
)  # fmt: skip
MADE_BY_PYTHON = 1 << 9  # Py_TPFLAGS_HEAPTYPE
OF_EVERY_MODULE = frozenset(vars(nn.Module())) - {"training"}


def fingerprint(settings: Mapping[str, Any]) -> dict[str, str]:
    """Describe each setting of a run.

    Raises
    ------
    ValueError
        If something in a setting cannot be described by its content.
    """
    described = {}
    for name, setting in settings.items():
        try:
            described[name] = describe(setting)
        except _OutOfReach as error:
            raise ValueError(
                f"a checkpoint must tell its {name} from another one, but the content of "
                f"{error} is out of reach; use functions, dataclasses, modules and tensors, or "
                "train without checkpoint="
            ) from error
    return described


def describe(thing: Any) -> str:
    """Describe a setting by its content, the same in every process."""
    return _describe(thing, ())


class _OutOfReach(Exception):
    pass


def _describe(thing: Any, outer: tuple[int, ...]) -> str:
    """Describe what is inside of the things with these ids."""
    if isinstance(thing, PLAIN):
        return repr(thing)
    if id(thing) in outer:
        return "itself"
    outer = *outer, id(thing)
    if isinstance(thing, Tensor):
        thing = thing.detach().cpu()
        raw = thing.contiguous().reshape(-1).view(torch.uint8).numpy()
        return f"{thing.dtype}{tuple(thing.shape)} {_digest(raw)}"
    if isinstance(thing, np.ndarray) and thing.dtype != object:
        return f"{thing.dtype}{thing.shape} {_digest(np.ascontiguousarray(thing).tobytes())}"
    if isinstance(thing, Mapping):
        return f"{{{_pairs(thing, outer)}}}"
    if isinstance(thing, tuple) and hasattr(thing, "_fields"):
        record = dict(zip(thing._fields, thing, strict=True))
        return f"{type(thing).__name__}({_pairs(record, outer)})"
    if isinstance(thing, list | tuple):
        return f"({', '.join(_describe(part, outer) for part in thing)})"
    if isinstance(thing, set | frozenset):
        return f"{{{', '.join(sorted(_describe(part, outer) for part in thing))}}}"
    if isinstance(thing, ModuleType):
        return thing.__name__
    return _describe_code_or_object(thing, outer)


def _describe_code_or_object(thing: Any, outer: tuple[int, ...]) -> str:
    if isinstance(thing, functools.partial):
        options: dict[Any, Any] = {**dict(enumerate(thing.args)), **thing.keywords}
        return f"{_describe(thing.func, outer)}({_pairs(options, outer)})"
    if isinstance(thing, FunctionType):
        compiled_from = getattr(thing, "_torchdynamo_orig_callable", None)
        return _describe_function(compiled_from or thing, outer)
    if isinstance(thing, MethodType):
        return f"{_describe(thing.__func__, outer)} of {_describe(thing.__self__, outer)}"
    if isinstance(thing, BuiltinFunctionType):
        return f"{thing.__qualname__} of {_describe(thing.__self__, outer)}"
    if isinstance(thing, type):
        return _describe_class(thing)
    kind = _describe_class(type(thing))
    if isinstance(thing, VelocityField):
        parts = {"parameters": thing.parameters, "body": thing.body}
        return f"{thing.name}({_pairs(parts, outer)})"
    if isinstance(thing, DistributedDataParallel):
        return _describe(thing.module, outer)
    if isinstance(thing, nn.Module) and hasattr(thing, "_orig_mod"):  # torch.compile's wrapper
        return _describe(thing._orig_mod, outer)
    if isinstance(thing, nn.Module):
        return f"{kind}({_pairs(_content(thing), outer)})"
    if _holds_hidden_content(thing):
        raise _OutOfReach(f"{type(thing).__name__} {thing!r}"[:200])
    return f"{kind}({_pairs(_attributes(thing), outer)})"


def _describe_function(function: FunctionType, outer: tuple[int, ...]) -> str:
    code = function.__code__
    cells = function.__closure__ or ()
    inside: dict[str, Any] = {
        name: _cell(cell) for name, cell in zip(code.co_freevars, cells, strict=True)
    }
    for name in code.co_names:
        value = function.__globals__.get(name)
        if isinstance(value, int | float | complex | str | Tensor | np.ndarray):
            inside[name] = value
    inside |= {"defaults": function.__defaults__} if function.__defaults__ else {}
    inside |= function.__kwdefaults__ or {}
    name = f"{function.__qualname__} {_digest(_text(code).encode())}"
    return f"{name}({_pairs(inside, outer)})" if inside else name


def _describe_class(kind: type) -> str:
    codes = [
        _text(method.__code__)
        for base in kind.__mro__
        if base.__module__.partition(".")[0] not in ("torch", "builtins")
        for method in vars(base).values()
        if isinstance(method, FunctionType)
    ]
    return f"{kind.__qualname__} {_digest(''.join(codes).encode())}" if codes else kind.__qualname__


def _attributes(thing: Any) -> dict[str, Any]:
    slots = [
        name
        for base in type(thing).__mro__
        for name, member in vars(base).items()
        if isinstance(member, MemberDescriptorType)
    ]
    return {name: getattr(thing, name, None) for name in slots} | getattr(thing, "__dict__", {})


def _holds_hidden_content(thing: Any) -> bool:
    """Whether a class that Python did not make may keep something beside the attributes."""
    bases = [base for base in type(thing).__mro__ if base is not object]
    return not bases or not all(base.__flags__ & MADE_BY_PYTHON for base in bases)


def _content(module: nn.Module) -> dict[str, Any]:
    """Return all of a module but the values of its parameters, and its caches."""
    caches = getattr(module, "caches", ())
    attributes = {
        name: value
        for name, value in vars(module).items()
        if name not in OF_EVERY_MODULE and name not in caches
    }
    parameters = {
        name: (tuple(p.shape), p.dtype, p.requires_grad) if p is not None else None
        for name, p in module._parameters.items()
    }
    return attributes | parameters | dict(module._buffers) | dict(module._modules)


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _text(code: CodeType) -> str:
    """Write out compiled code, without the names of files and the numbers of lines."""
    constants = [
        _text(constant)
        if isinstance(constant, CodeType)
        else f"{sorted(map(repr, constant))}"
        if isinstance(constant, frozenset)
        else repr(constant)
        for constant in code.co_consts
    ]
    return f"{code.co_code.hex()} {constants} {code.co_names} {code.co_varnames}"


def _pairs(items: Mapping[Any, Any], outer: tuple[int, ...]) -> str:
    return ", ".join(f"{key}={_describe(value, outer)}" for key, value in items.items())


def _digest(raw: Any) -> str:
    return hashlib.sha256(raw).hexdigest()[:12]
