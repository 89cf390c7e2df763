"""Decides whether the wall clock may date messages. A controller without a battery-backed clock starts in the past.

With `push.wait_for_clock_s = 0`, the clock is always trusted. Otherwise it is trusted while its date is plausible, from
the moment when one of these conditions holds:

- The kernel reports a maximum error of the clock below 16 s (the rule of `timedatectl`). This shows that a service
  (chrony, ntpd, timesyncd, PTP) has set the clock.
- systemd-timesyncd has written its file in /run, which also shows a synchronised clock.
- 30 s or more after boot, no time service runs, as in containers and many virtual machines. Nothing will set the
  clock.
- `push.wait_for_clock_s` seconds have passed since boot. The time service probably does not reach its server.

A date is plausible from 2023-11-14 on, because no message is older than the agent. While the clock is not trusted,
messages wait in the queue, and the log says so.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from pathlib import Path

from agent.runtime.clock import Clock

# Unix seconds of 2023-11-14.
PLAUSIBLE_FROM = 1_700_000_000
_TIMESYNCD = Path("/run/systemd/timesync/synchronized")
# Files of timesyncd, chrony, ntpd (NTPsec, busybox) and OpenNTPD while they run.
_TIME_SERVICES = tuple(
    Path("/run", name)
    for name in ("systemd/timesync", "chrony", "chronyd.pid", "ntpd.pid", "openntpd.pid", "ntpd.sock")
)
# Seconds after boot within which an installed time service has started.
_STARTED_S = 30.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# If the kernel reports a maximum error of this many microseconds or more, the clock is not synchronised.
_UNSYNCHRONISED_US = 16_000_000
# The first fields of struct timex: modes, offset, freq, maxerror.
_TIMEX = "@Illl"


class ClockTrust:
    """Decides whether the wall clock may date messages. Thread-safe."""

    def __init__(
        self,
        clock: Clock,
        wait_s: float,
        synchronised: Callable[[], bool] | None = None,
        boot: str | None = None,
        serviced: Callable[[], bool] | None = None,
    ) -> None:
        """`wait_s` is `push.wait_for_clock_s`; 0 trusts any date at once.

        Tests pass `synchronised`, `boot` and `serviced`. If they are None, this machine is examined.
        """
        self.boot = boot or boot_id()
        self._clock = clock
        self._wait_s = wait_s
        self._synchronised = synchronised or kernel_synchronised
        self._serviced = serviced or time_service_runs
        self._trusted = False

    def is_trusted(self) -> bool:
        if self._wait_s == 0:
            return True
        if not plausible(self._clock.time()):
            return False
        if not self._trusted:
            self._trusted = self._synchronised() or self._waited_long_enough()
        return self._trusted

    def _waited_long_enough(self) -> bool:
        since_boot = self._clock.monotonic()
        return since_boot >= self._wait_s or (since_boot >= _STARTED_S and not self._serviced())


def plausible(at: float) -> bool:
    """Whether `at` can be the Unix time of a message."""
    return at >= PLAUSIBLE_FROM


def boot_id() -> str:
    """Return the id of this boot. Only monotonic times of one boot can be compared.

    If the kernel does not give the id, return a random one, so that times of different processes are never compared.
    """
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return f"process-{uuid.uuid4().hex}"


def time_service_runs() -> bool:
    """Whether a time service runs, which may still set the clock."""
    return any(path.exists() for path in _TIME_SERVICES)


def kernel_synchronised() -> bool:
    """Whether the kernel or systemd-timesyncd reports a synchronised clock. False if neither is available."""
    return _TIMESYNCD.exists() or _max_error_us() < _UNSYNCHRONISED_US


def _max_error_us() -> int:
    """Return the maximum error of the clock; `_UNSYNCHRONISED_US` if the kernel does not report it."""
    timex = bytearray(512)  # with zeros, adjtimex(2) changes nothing and needs no privilege
    try:
        import ctypes  # old versions of ctypes need executable memory, which the service manager may forbid

        area = (ctypes.c_char * len(timex)).from_buffer(timex)
        if ctypes.CDLL(None).adjtimex(area) < 0:
            return _UNSYNCHRONISED_US
    except (ImportError, MemoryError, OSError, AttributeError):
        return _UNSYNCHRONISED_US
    *_, max_error = struct.unpack_from(_TIMEX, timex)
    return int(max_error)
