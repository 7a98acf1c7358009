"""Checkpoints of a training run: written atomically, read without running code, checked.

A checkpoint is one file with the state of every part of a run and a fingerprint, the settings
that must agree for the run to go on as if it had never stopped; see `fingerprints`.
"""

import contextlib
import itertools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from meanfluid.errors import CheckpointError
from meanfluid.files import replacing

FORMAT = "meanfluid training checkpoint, version 3"
ADVICE = "delete it, name another file, or start over with resume=False"
SHOWN = 80  # characters of a setting in a message


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
    with refusing(path, "cannot be read as a checkpoint"):
        with zipfile.ZipFile(path) as archive:  # torch itself does not check the sums
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")
        content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a {FORMAT}; {ADVICE}")
    with refusing(path, "cannot be read as a checkpoint"):
        found, state = dict(content["fingerprint"]), dict(content["state"])
    different = [
        f"{name} was {was}, is {now}"
        for name in sorted(found.keys() | fingerprint.keys())
        if found.get(name) != fingerprint.get(name)
        for was, now in [_excerpts(str(found.get(name)), str(fingerprint.get(name)))]
    ]
    if different:
        raise CheckpointError(f"{path} belongs to another run: {'; '.join(different)}; {ADVICE}")
    return state


@contextlib.contextmanager
def refusing(path: str | Path, verdict: str) -> Iterator[None]:
    """Turn whatever goes wrong with the content of a checkpoint into a `CheckpointError`."""
    try:
        yield
    except Exception as error:
        line = (str(error).strip().splitlines() or [""])[0][:200]
        raise CheckpointError(
            f"{path} {verdict} ({type(error).__name__}: {line}): it is damaged or something "
            f"else; {ADVICE}"
        ) from error


def _excerpts(one: str, other: str) -> tuple[str, str]:
    """Two texts, or the surroundings of where they begin to differ."""
    if max(len(one), len(other)) <= SHOWN:
        return one, other
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    first = max(0, len(list(same)) - SHOWN // 2)
    cut = slice(first, first + SHOWN)
    return f"...{one[cut]}...", f"...{other[cut]}..."
