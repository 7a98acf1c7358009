"""Ctrl-C that waits until a step is finished."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def delayed_interrupt() -> Iterator[list[bool]]:
    """Note Ctrl-C in the list given, so that a step is finished first; a second one is obeyed."""
    noted: list[bool] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    previous = signal.getsignal(signal.SIGINT)
    if previous in (signal.SIG_IGN, None):  # as under nohup: Ctrl-C is not meant for this process
        yield noted
        return

    def note(number: int, frame: Any) -> None:
        noted.append(True)
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, previous)
