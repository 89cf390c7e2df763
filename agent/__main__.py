"""`python -m agent` and the command `telemetry-agent`: whatever ends a command early is one line and an exit status."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any

_INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    _open_the_standard_descriptors()
    _import_structlog_without_rich()
    _let_every_name_be_written()
    sys.exit(_run())


def _run() -> int:
    import typer

    from agent.cli import app

    usage_error: type[Exception] = typer.BadParameter.__mro__[1]  # typer does not export it by its name
    try:
        status = app(standalone_mode=False) or 0
        if sys.stdout is not None:  # the caller may have closed it
            sys.stdout.flush()
    except usage_error as error:
        return _usage(error)
    except typer.Abort:
        status = _INTERRUPTED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise
        return _failed(f"the output cannot be written: {error.strerror}")
    return _failed("interrupted") if status == _INTERRUPTED else int(status)


def _usage(error: Any) -> int:
    message = error.format_message()
    path = error.ctx.command_path if error.ctx is not None else "telemetry-agent"
    if "\n" in message:  # the whole help, to a command without any argument
        sys.stderr.write(f"{message}\n")
    else:
        hint = next((words for beginning, words in _INSTEAD.items() if message.startswith(beginning)), "")
        _failed(f"{message.rstrip('.')}{hint}; see `{path} --help`")
    return 2


# What click says → what a person meant.
_INSTEAD = {
    "Got unexpected extra argument": ": a file goes after its option, as in --config FILE",
    "No such option: --config": " here: it goes after the command",
}


def _open_the_standard_descriptors() -> None:
    """Where the caller closed 0, 1 or 2, put the null device.

    Otherwise the next file or socket gets the number, and what the interpreter writes to its standard error in a crash
    goes into it.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gives the lowest free number: this one
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - open until the process ends


def _let_every_name_be_written() -> None:
    """Names of a site may hold any letter, and the locale of a controller may know none of them."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")


def _failed(line: str) -> int:
    from agent.runtime import printable

    sys.stderr.write(printable(f"telemetry-agent: {line}") + "\n")
    return 1


def _import_structlog_without_rich() -> None:
    """Where rich is installed, structlog imports it for tracebacks: 3 MB and 0.1 s of a daemon that draws none."""
    if "rich" not in sys.modules:
        sys.modules["rich"] = None  # type: ignore[assignment]  # makes an import fail
        import structlog  # noqa: F401 - for its side effect

        del sys.modules["rich"]


if __name__ == "__main__":
    main()
