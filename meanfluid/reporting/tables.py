"""Small tables in Markdown, which also read well on a terminal."""

from collections.abc import Sequence


def markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, words: bool = False
) -> str:
    """Return a Markdown table.

    The first column is flush left, and the others right unless they hold `words`.

    Raises
    ------
    ValueError
        If a row has not as many cells as the header.
    """
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"a row must have {len(header)} cells like the header, got {row!r}")
    widths = [max(len(line[k]) for line in (header, *rows)) for k in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first, *others = cells
        padded = [first.ljust(widths[0])]
        padded += [
            cell.ljust(width) if words else cell.rjust(width)
            for cell, width in zip(others, widths[1:], strict=True)
        ]
        return "| " + " | ".join(padded) + " |"

    left = [":" + "-" * (width - 1) for width in widths]
    rule = left if words else left[:1] + [edge[::-1] for edge in left[1:]]
    return "\n".join([line(header), "| " + " | ".join(rule) + " |", *map(line, rows)])


def percent(value: float) -> str:
    """Return a ratio in percent with three significant digits."""
    return f"{100 * value:.3g} %"
