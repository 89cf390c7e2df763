"""Clocks, clock synchronisation, watchdog, logging, printable text and the width of the terminal."""

from agent.runtime.clock import Clock, SystemClock, WakeEvent, sleep_unless, steady
from agent.runtime.clock_trust import ClockTrust, kernel_synchronised, plausible, time_service_runs
from agent.runtime.printable import MOST_OUTPUT, complaints, escaped, printable
from agent.runtime.terminal import terminal_columns, wrapped
from agent.runtime.watchdog import STUCK_S, Watchdog

__all__ = [
    "MOST_OUTPUT",
    "STUCK_S",
    "Clock",
    "ClockTrust",
    "SystemClock",
    "WakeEvent",
    "Watchdog",
    "complaints",
    "escaped",
    "kernel_synchronised",
    "plausible",
    "printable",
    "sleep_unless",
    "steady",
    "terminal_columns",
    "time_service_runs",
    "wrapped",
]
