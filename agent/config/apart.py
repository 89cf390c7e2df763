"""Reads the configuration in a process of its own, so that pydantic does not stay in the memory of the daemon.

The process returns plain tables (`agent.config.tables`), or the mistakes. At a start, the daemon waits for the process
before the first poll. During a reload, the daemon continues to poll.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from agent.config.errors import ConfigError
from agent.config.tables import BaseTable

if TYPE_CHECKING:
    from agent.config.model import Config

_CODE = """
import sys
sys.path[:] = sys.argv[2:]
sys.modules["rich"] = None  # otherwise structlog loads rich, which is not used
from agent.config.apart import answer
answer(sys.argv[1])
"""


class Loading:
    """A configuration that is being read."""

    def __init__(self, path: Path, environ: Mapping[str, str] | None = None) -> None:
        """Start the process. `environ` is its environment; None: that of the caller. Raises OSError."""
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and code of this module
            [sys.executable, "-I", "-c", _CODE, str(path), *sys.path],
            env=None if environ is None else dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches only the caller, and `result` then ends the process
        )

    def result(self) -> Config:
        """Wait for the configuration and return it as plain tables, with the values and properties of a `Config`.

        Raises ConfigError if the configuration has mistakes. Raises RuntimeError if the process failed. If an exception
        ended the process, the exception is on standard error.
        """
        with self._process:
            try:
                written, _ = self._process.communicate()
            finally:
                self._process.kill()
        if self._process.returncode:
            raise RuntimeError(f"the process that reads the configuration ended with {self._process.returncode}")
        found = pickle.loads(written)  # noqa: S301 - written by this program
        if isinstance(found, list):
            raise ConfigError(found)
        return cast("Config", found)


def load_apart(path: Path, environ: Mapping[str, str] | None = None) -> Config:
    """Read and check `path` like `load`, in a process of its own. Raises as `Loading` does."""
    return Loading(path, environ).result()


def answer(path: str) -> None:
    """Write the pickled configuration, or the list of its mistakes, to standard output.

    Runs in the process of `Loading`. All other output of that process goes to standard error.
    """
    from agent.config.loader import load

    output = os.dup(1)
    os.dup2(2, 1)
    try:
        found = plain(load(Path(path)))
    except ConfigError as error:
        found = error.lines
    with contextlib.suppress(BrokenPipeError), os.fdopen(output, "wb") as file:  # the caller may have ended
        pickle.dump(found, file)


def plain(value: Any) -> Any:
    """Return a copy of `value` in which each model is an object of its base class in `agent.config.tables`."""
    if isinstance(value, BaseTable):
        kind = next(each for each in type(value).__mro__ if each.__module__ == BaseTable.__module__)
        table: BaseTable = object.__new__(kind)
        table.__dict__.update({key: plain(each) for key, each in value.__dict__.items()})
        return table
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return tuple(map(plain, value)) if isinstance(value, tuple) else value
