"""The daemon as a process under systemd: signals, readiness, STATUS, watchdog, reload.

Change here how the process starts, reloads and stops. This package runs `agent.app.App` and adds no data of its own.
"""

from agent.service.daemon import Daemon
from agent.service.start import run

__all__ = [
    "Daemon",
    "run",
]
