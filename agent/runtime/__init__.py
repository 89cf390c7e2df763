"""Clocks, watchdog and logging, for all other packages."""

from agent.runtime.clock import Clock, SystemClock, sleep_unless, steady
from agent.runtime.clock_trust import ClockTrust, kernel_synchronised, plausible
from agent.runtime.watchdog import STUCK_S, Watchdog

__all__ = [
    "STUCK_S",
    "Clock",
    "ClockTrust",
    "SystemClock",
    "Watchdog",
    "kernel_synchronised",
    "plausible",
    "sleep_unless",
    "steady",
]
