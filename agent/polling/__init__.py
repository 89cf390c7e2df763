"""Devices, links and the schedule: who is polled when, and what a failed poll means.

The poller owns each device's health. It reports scans and failures to a listener and asks nobody above it.
"""

from agent.polling.device import Connection, Device
from agent.polling.poller import Poller, within
from agent.polling.scheduler import Rhythm, Scheduler
from agent.polling.ticks import Tick, phase_s

__all__ = [
    "Connection",
    "Device",
    "Poller",
    "Rhythm",
    "Scheduler",
    "Tick",
    "phase_s",
    "within",
]
