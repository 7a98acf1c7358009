"""Functions that are written out as text, since compiled code cannot loop over tuples."""

import itertools
import linecache
from collections.abc import Callable, Iterable
from typing import Any

_number = itertools.count()


def written(
    signature: str, lines: Iterable[str], names: dict[str, Any], *, title: str = "written out"
) -> Callable[..., Any]:
    """Return the function of some source text, and keep the text for tracebacks and `inspect`.

    Parameters
    ----------
    signature : str
        As "name(argument, ...)".
    lines : iterable of str
        The body, without its common indentation; nothing stands for ``pass``.
    names : dict
        What the body calls besides its arguments; it becomes the globals of the function.
    title : str
        What tracebacks call the file.
    """
    source = "\n    ".join([f"def {signature}:", *(list(lines) or ["pass"])]) + "\n"
    filename = f"<{title} {next(_number)}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    exec(compile(source, filename, "exec"), names)
    function: Callable[..., Any] = names[signature.partition("(")[0]]
    return function
