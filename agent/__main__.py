"""The command `telemetry-agent`, also `python -m agent`. A failed command prints why and exits with 1, 2 or 78."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent import DEFAULT_CONFIG

_INTERRUPTED = 130
"""Typer returns this status after Ctrl-C. The process then exits with 1."""


def main() -> None:
    """Run the command line."""
    _open_the_standard_descriptors()
    _import_structlog_without_rich()
    _allow_every_character()
    sys.exit(_run())


def _run() -> int:
    """Run the command. Return the exit status of the process."""
    options = _options_of_run(sys.argv[1:])
    if options is not None:
        try:
            return _run_daemon(*options)
        except KeyboardInterrupt:
            return _failed("interrupted")
        except OSError as error:
            return _no_output(error)
    import typer

    from agent.cli import app

    usage_error: type[Exception] = typer.BadParameter.__mro__[1]  # UsageError, which typer does not export
    try:
        status = app(standalone_mode=False) or 0
        if sys.stdout is not None:  # the caller may have closed it
            sys.stdout.flush()
    except usage_error as error:
        return _usage(error)
    except typer.Abort:
        status = _INTERRUPTED
    except OSError as error:
        return _no_output(error)
    return _failed("interrupted") if status == _INTERRUPTED else int(status)


def _run_daemon(config: Path, log_format: str) -> int:
    """Run the daemon and return its exit status. A second process reads `config` while this one imports modules."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # ignore a reload during the start
    from agent.config import Loading

    loading = Loading(config)
    from agent.service import run

    return run(config, loading, log_format)


def _options_of_run(arguments: Sequence[str]) -> tuple[Path, str] | None:
    """Return the values of `--config` and `--log-format` of `run`; None if typer must handle the arguments.

    Typer must handle another command, an empty `--config`, an option without its value, and any other argument, such as
    `--help`. A daemon without typer needs 2 MB less. The log format is empty if it is not given.
    """
    if arguments[:1] != ["run"]:
        return None
    found = {"--config": str(DEFAULT_CONFIG), "--log-format": ""}
    rest = list(arguments[1:])
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name not in found or not (equals or rest):
            return None
        found[name] = value if equals else rest.pop(0)
    return (Path(found["--config"]), found["--log-format"]) if found["--config"] else None


def _no_output(error: OSError) -> int:
    """Print that the output cannot be written: a full disk, a limit on the size of files, or a disk quota.

    Return exit status 1. Any other error is raised again.
    """
    if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        raise error
    return _failed(f"cannot write the output: {error.strerror}")


def _usage(error: Any) -> int:
    """Print a usage error of typer, with a hint if there is one. Return exit status 2."""
    message = _plain(error.format_message())
    path = error.ctx.command_path if error.ctx is not None else "telemetry-agent"
    if "\n" in message:  # the help text of a command without arguments
        sys.stderr.write(f"{message}\n")
    else:
        plain = message.replace("'", "").replace(": ", " ")  # quotes and colons differ between versions of typer
        hints = _HINTS if path == "telemetry-agent" else _HINTS | _COMMAND_HINTS
        hint = next((words for beginning, words in hints.items() if plain.startswith(beginning)), "")
        _failed(f"{message.rstrip('.')}{hint}; see `{path} --help`")
    return 2


def _plain(message: str) -> str:
    """Shorten a message of typer about a value that is not a number or is out of range."""
    short = message.partition(", unable to parse")[0].replace("a valid integer", "a whole number")
    return short.replace("Input should be a valid", "must be a").replace("Input should be", "must be")


# Beginning of a usage error of typer → hint.
_HINTS = {
    "Got unexpected extra argument": ": put a file after its option, as in --config FILE",
    "No such option --config": " here: put it after the command",
}
# If the error is in a command, a hint here replaces the hint of `_HINTS` with the same beginning.
_COMMAND_HINTS = {"No such option --config": "; this command needs no configuration"}


def _open_the_standard_descriptors() -> None:
    """Open the null device for each of the descriptors 0, 1 and 2 that the caller closed.

    Otherwise the next file or socket gets this number, and Python writes its report of a crash into it.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is `descriptor`
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - stays open


def _allow_every_character() -> None:
    """Let standard output and standard error accept every character that a name can contain.

    A file or a pipe gets UTF-8. A terminal keeps its encoding; characters that this encoding lacks are escaped.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")


def _failed(line: str) -> int:
    """Print a line on standard error. Return the exit status 1."""
    from agent.runtime import printable, wrapped

    sys.stderr.write(wrapped(printable(f"telemetry-agent: {line}"), sys.stderr) + "\n")
    return 1


def _import_structlog_without_rich() -> None:
    """Import structlog without rich, which costs 3 MB and 0.1 s. structlog would use rich only for tracebacks."""
    if "rich" not in sys.modules:
        sys.modules["rich"] = None  # type: ignore[assignment]  # an import of rich fails
        import structlog  # noqa: F401 - imported while rich is not available

        del sys.modules["rich"]


if __name__ == "__main__":
    main()
