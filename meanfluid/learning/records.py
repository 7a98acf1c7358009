"""Where a training run is written down: log, reports, checkpoints; by the first process only."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meanfluid.learning.checkpoints import load_checkpoint, refusing, save_checkpoint
from meanfluid.learning.run import Row, Run
from meanfluid.learning.run_log import COLUMNS, append_row, start_log

Report = Callable[[int, dict[str, float]], Any]


@dataclass
class Book:
    """Where a run is written down, and every how many steps."""

    log: str | Path | None
    every: int
    checkpoint: str | Path | None
    checkpoint_every: int
    report: Report | None = None
    fingerprint: dict[str, str] = field(default_factory=dict)

    def open(self, run: Run, resume: bool, describe: Callable[[], dict[str, str]]) -> None:
        """Continue from the checkpoint, if there is one and it is wanted, and begin the log.

        A file is read by the first process, and its content handed to the others.
        """

        def read() -> dict[str, Any] | None:
            if self.checkpoint is None:
                return None
            self.fingerprint = describe()
            if not resume or not Path(self.checkpoint).exists():
                return None
            return load_checkpoint(self.checkpoint, self.fingerprint)

        state = run.ranks.from_first(read)
        if state is not None:
            with refusing(str(self.checkpoint), "does not hold what this run needs"):
                run.load(state)
        run.ranks.from_first(lambda: self._start_log(run.step))

    def write(self, run: Run, row: Row) -> None:
        """Add a row to the log."""
        if not run.ranks.first:
            return
        if self.log is not None:
            append_row(self.log, row)
        if self.report is not None:
            step, *values = row
            self.report(step, dict(zip(COLUMNS.split(",")[1:], values, strict=True)))

    def save(self, run: Run) -> None:
        """Write the checkpoint, if one is wanted."""
        if self.checkpoint is not None:
            run.require_finite()
            if run.ranks.first:
                save_checkpoint(self.checkpoint, run.state(), self.fingerprint)

    def _start_log(self, step: int) -> None:
        if self.log is not None:
            start_log(self.log, step)
