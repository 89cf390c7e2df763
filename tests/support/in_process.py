"""Calls a command within this process: quick, for what needs neither signals nor a log of its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from typer.testing import CliRunner

from agent.cli.main import app


@dataclass(frozen=True, slots=True)
class Done:
    """As `subprocess.CompletedProcess` has it."""

    returncode: int
    stdout: str
    stderr: str


@contextmanager
def _own_log() -> Iterator[None]:
    """What a command sets up for its log is undone."""
    root = logging.getLogger()
    structlog_was, handlers, level = structlog.get_config(), root.handlers[:], root.level
    try:
        yield
    finally:
        structlog.configure(**structlog_was)
        root.handlers[:] = handlers
        root.setLevel(level)


def call_inside(*arguments: str | Path) -> Done:
    with _own_log():
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)
