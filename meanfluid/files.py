"""Files that appear whole or not at all, also when a run is killed while it writes them."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def standing_in_for(path: str | Path) -> Iterator[Path]:
    """Give the path of a file to write, which takes the place of `path` when it is complete.

    Folders are made as needed. If writing fails nothing is left behind, and `path` is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        yield part
        _sync(part, os.O_RDWR)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    if hasattr(os, "O_DIRECTORY"):  # a rename survives a power failure where folders can be opened
        _sync(path.parent, os.O_RDONLY)


@contextmanager
def replacing(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a temporary binary file that takes the place of `path` when it is complete."""
    # Unlike tempfile, with the usual permissions.
    with standing_in_for(path) as part, open(part, "xb") as temporary:
        yield temporary


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
