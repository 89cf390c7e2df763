"""Calls a command in this process. This is fast. Use it for commands that need no signals and no separate log."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import structlog
import typer.main

from agent.__main__ import main

_built_once = cache(typer.main.get_command)
"""typer builds the tree of all commands for each call. This takes most of the time of a call, so it is cached."""


@dataclass(frozen=True, slots=True)
class Done:
    """The result of a command, with the fields of `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


@contextmanager
def _own_log() -> Iterator[None]:
    """Restore the logging configuration after a command."""
    root = logging.getLogger()
    structlog_was, handlers, level = structlog.get_config(), root.handlers[:], root.level
    try:
        yield
    finally:
        structlog.configure(**structlog_was)
        root.handlers[:] = handlers
        root.setLevel(level)


def call_inside(*arguments: str | Path) -> Done:
    """Run `telemetry-agent` with these arguments in this process and return the result."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with _own_log(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["telemetry-agent", *map(str, arguments)])
        # Usage errors name the installed command, not pytest's `python -m pytest`.
        patch.setattr(sys.modules["__main__"], "__package__", None, raising=False)
        patch.setattr("typer.main.get_command", _built_once)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
    return Done(int(ended.value.code or 0), *(_text(stream) for stream in (out, err)))


def _text(stream: io.TextIOWrapper) -> str:
    content = stream.buffer
    assert isinstance(content, io.BytesIO)
    return content.getvalue().decode("utf-8")
