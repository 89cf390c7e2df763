"""Shows progress on standard error, if this is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from agent.runtime import printable, terminal_columns


@contextmanager
def counter(what: str) -> Iterator[Callable[[], None]]:
    """Yield a function. Each call adds one to the number that is shown before `what`."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    text = TextColumn(f"{{task.completed}} {what}")
    console = Console(stderr=True, width=terminal_columns(sys.stderr))
    bar = Progress(SpinnerColumn(), text, TimeElapsedColumn(), console=console, transient=True)
    task = bar.add_task(what, total=None)
    with bar:
        yield lambda: bar.advance(task)


@contextmanager
def steps(total: int) -> Iterator[Callable[[str], None]]:
    """Yield a function. Call it at the end of each of `total` steps, with the name of the step."""
    if not sys.stderr.isatty() or not total:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True, width=terminal_columns(sys.stderr)), transient=True)
    task = bar.add_task(f"0 of {total}", total=total)
    count = 0

    def step(done: str) -> None:
        nonlocal count
        count += 1
        bar.update(task, advance=1, description=f"{count} of {total}: {printable(done)}")

    with bar:
        yield step
