"""The command `run`. It does not load typer, because typer would stay in the memory of the daemon."""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agent.config import ConfigError, Loading
from agent.runtime import complaints, logging_setup
from agent.security import warn_if_open
from agent.service import supervisor
from agent.service.daemon import Daemon
from agent.site import build
from agent.storage import NotAloneError, alone

if TYPE_CHECKING:
    from agent.config import LogConfig

FORMATS = ("", "auto", "console", "json")


def run(path: Path, loading: Loading, log_format: str) -> int:
    """Run the daemon until a signal ends it. Return the exit status.

    `loading` reads the configuration at `path`. If `log_format` is not empty, it overrides `log.format`.
    """
    try:
        config = loading.result()
        site = build(config, str(path))
    except ConfigError as error:
        return _failed(error.lines, os.EX_CONFIG)
    if log_format not in FORMATS:
        return _failed([f"--log-format: must be auto, console or json (found {log_format!r})"], 2)

    def set_log(table: LogConfig) -> None:
        logging_setup.configure(table.level, log_format or table.format)  # type: ignore[arg-type]  # checked above

    set_log(config.log)
    if config.holds_secrets:
        warn_if_open(path)
    faulthandler.enable()  # if systemd's watchdog ends the agent (SIGABRT), the log shows where it hung
    try:
        with alone(config.outbox.path.parent):
            supervisor.run(Daemon(path, config, site, os.environ, set_log).run)
    except NotAloneError as error:
        return _failed([str(error)], 1)
    return 0


def _failed(lines: Sequence[str], status: int) -> int:
    sys.stderr.write(complaints(lines))
    return status
