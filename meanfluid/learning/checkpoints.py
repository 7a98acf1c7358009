"""Checkpoints of a training run: written atomically, read without running code, checked.

A checkpoint is one file with the state of every part of a run and a fingerprint, the settings
that must agree for the run to go on as if it had never stopped.
"""

import contextlib
import dataclasses
import functools
import hashlib
import inspect
import os
import pickle
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from meanfluid.errors import CheckpointError

FORMAT = "meanfluid training checkpoint, version 1"


def save_checkpoint(
    path: str | Path, state: Mapping[str, Any], fingerprint: dict[str, str]
) -> None:
    """Write a checkpoint; a crash at any moment leaves the old file or the new one, whole."""
    content = {"format": FORMAT, "fingerprint": fingerprint, "state": dict(state)}
    with replacing(path) as temporary:
        torch.save(content, temporary)


def load_checkpoint(path: str | Path, fingerprint: dict[str, str]) -> dict[str, Any]:
    """Read the state from a checkpoint of the run that `fingerprint` describes.

    Raises
    ------
    CheckpointError
        If the file is not a whole checkpoint, or belongs to another run.
    """
    advice = "delete it, name another file, or start over with resume=False"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint ({_first_line(error)}): it is damaged or "
            f"something else; {advice}"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a {FORMAT}; {advice}")
    found = content["fingerprint"]
    if found != fingerprint:
        names = sorted(found.keys() | fingerprint.keys())
        different = [
            f"{name} was {found.get(name)}, is {fingerprint.get(name)}"
            for name in names
            if found.get(name) != fingerprint.get(name)
        ]
        raise CheckpointError(f"{path} belongs to another run: {'; '.join(different)}; {advice}")
    state: dict[str, Any] = content["state"]
    return state


@contextlib.contextmanager
def replacing(path: str | Path) -> Any:
    """Open a temporary binary file that takes the place of `path` when it is complete."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as temporary:
            yield temporary
            temporary.flush()
            os.fsync(temporary.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
    _sync_folder(path.parent)


def describe(thing: Any) -> str:
    """Describe a setting by its content, the same in every process."""
    if isinstance(thing, functools.partial):
        options: dict[Any, Any] = {**dict(enumerate(thing.args)), **thing.keywords}
        return f"{describe(thing.func)}({_pairs(options)})"
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        parts = {f.name: getattr(thing, f.name) for f in dataclasses.fields(thing)}
        return f"{type(thing).__name__}({_pairs(parts)})"
    if isinstance(thing, Tensor):
        raw = thing.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return f"tensor{tuple(thing.shape)} {hashlib.sha256(raw).hexdigest()[:12]}"
    if isinstance(thing, nn.Module):
        sizes = [(name, tuple(p.shape), str(p.dtype)) for name, p in thing.state_dict().items()]
        text = f"{_without_addresses(repr(thing))} {sizes}"
        return f"{type(thing).__name__} {hashlib.sha256(text.encode()).hexdigest()[:12]}"
    if isinstance(thing, dict):
        return f"{{{_pairs(thing)}}}"
    if isinstance(thing, list | tuple):
        return f"({', '.join(map(describe, thing))})"
    if inspect.isroutine(thing) or inspect.isclass(thing):
        return thing.__qualname__
    return _without_addresses(repr(thing))


def _pairs(items: Mapping[Any, Any]) -> str:
    return ", ".join(f"{key}={describe(value)}" for key, value in items.items())


def _without_addresses(text: str) -> str:
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power failure, where the system can open folders."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
