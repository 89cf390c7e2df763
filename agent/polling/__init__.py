"""Makes the ticks of the pushes, and polls the devices. Decides when a device is polled and what a failed poll means.

The poller owns the health of each device. It reports scans, failures and skipped polls to a listener.
"""

from agent.polling.device import Connection, Device
from agent.polling.poller import Poller, done_within
from agent.polling.push_clock import PushClock
from agent.polling.scheduler import PollFutures, Rhythm, Scheduler
from agent.polling.ticks import Tick, phase_s

__all__ = [
    "Connection",
    "Device",
    "PollFutures",
    "Poller",
    "PushClock",
    "Rhythm",
    "Scheduler",
    "Tick",
    "done_within",
    "phase_s",
]
