"""The log of a training run: a CSV that a resumed run continues without double rows."""

from pathlib import Path

from meanfluid.files import replacing

COLUMNS = "step,seconds,lr,loss,residual"


def start_log(path: str | Path, step: int) -> None:
    """Keep the rows of a log up to a step, drop the rest, or begin one."""
    path = Path(path)
    rows = path.read_text().splitlines() if step and path.exists() else []
    width = COLUMNS.count(",") + 1
    cells = [row.split(",") for row in rows]
    kept = [c for c in cells if len(c) == width and c[0].isdigit() and int(c[0]) <= step]
    with replacing(path) as file:
        file.write("".join(f"{','.join(c)}\n" for c in [COLUMNS.split(","), *kept]).encode())


def append_row(path: str | Path, row: tuple[int, float, float, float, float]) -> None:
    """Add a row to a log; it is on its way to the disk when this returns."""
    step, seconds, *rest = row
    with open(path, "a") as file:
        file.write(f"{step},{seconds:.3f},{','.join(f'{value:.6g}' for value in rest)}\n")
