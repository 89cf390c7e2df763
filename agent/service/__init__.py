"""The daemon as a process under systemd: start, reload, stop, status line and watchdog. It runs `agent.app.App`."""

from agent.service.daemon import Daemon
from agent.service.start import run

__all__ = [
    "Daemon",
    "run",
]
