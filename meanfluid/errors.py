"""Exceptions that a caller may want to catch by name.

Everything else that goes wrong at a public door is a `ValueError` or `TypeError` saying what was
expected, what came and what to do.
"""


class TrajectoryError(RuntimeError):
    """Some trajectories could not be integrated: out of domain, not finite, out of steps."""


class CheckpointError(RuntimeError):
    """A checkpoint is corrupt, incomplete, or belongs to another model or run."""


class TrainingError(RuntimeError):
    """Training stopped because its loss or its gradient was no longer finite."""


class MissingExtraError(ImportError):
    """An optional package is needed; the message names the extra that installs it."""


def missing_extra(package: str, extra: str) -> MissingExtraError:
    """Return the error to raise when `package`, part of ``meanfluid[extra]``, is absent."""
    return MissingExtraError(
        f"this needs {package}, which is not installed; run: pip install 'meanfluid[{extra}]'"
    )
