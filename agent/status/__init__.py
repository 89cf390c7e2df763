"""The state of the daemon, for people and programs: page, /readyz, /metrics, /status.json, hourly line.

The modules listener, http_server, history and metrics are loaded only with a `[status]` table, to save memory.
"""

from agent.status.balance import ENERGIES
from agent.status.hourly_report import HourlyReport
from agent.status.model import Snapshot
from agent.status.snapshot import endpoint_reason, endpoint_status, snapshot
from agent.status.words import clock_in_words, in_words, not_on_disk

__all__ = [
    "ENERGIES",
    "HourlyReport",
    "Snapshot",
    "clock_in_words",
    "endpoint_reason",
    "endpoint_status",
    "in_words",
    "not_on_disk",
    "snapshot",
]
