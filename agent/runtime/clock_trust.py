"""Whether the wall clock may date messages: controllers without a battery-backed clock start anywhere in the past.

The clock is trusted, from then on for good, as soon as one of these holds:

- the kernel says that it is synchronised, whoever did it (chrony, ntpd, timesyncd, PTP): the estimated error is below
  16 s, as `timedatectl` decides it; or systemd-timesyncd has left its mark in /run;
- no time service shows itself, as in containers and on many virtual machines, and the boot is long enough ago for one
  to have started: nobody is going to set the clock;
- `push.wait_for_clock_s` have passed since boot: the time service reaches nobody.

In all cases the date must be one that can be. One before this agent was written is never trusted, not even when the
clock has been right before: then everything waits, said aloud, until the clock is set.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from pathlib import Path

from agent.runtime.clock import Clock

# 2023-11-14. No message is older than the agent.
PLAUSIBLE_FROM = 1_700_000_000
_TIMESYNCD = Path("/run/systemd/timesync/synchronized")
# What timesyncd, chrony, ntpd (NTPsec, busybox) and OpenNTPD keep while they run.
_TIME_SERVICES = tuple(
    Path("/run", name)
    for name in ("systemd/timesync", "chrony", "chronyd.pid", "ntpd.pid", "openntpd.pid", "ntpd.sock")
)
# So long after a boot, a time service that is installed has started.
_STARTED_S = 30.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_UNSYNCHRONISED_US = 16_000_000
# modes, offset, freq, maxerror: how struct timex begins
_TIMEX = "@Illl"


class ClockTrust:
    """Asked before a message gets its date. Thread-safe."""

    def __init__(
        self,
        clock: Clock,
        wait_s: float,
        synchronised: Callable[[], bool] | None = None,
        boot: str | None = None,
        serviced: Callable[[], bool] | None = None,
    ) -> None:
        """`wait_s` 0 trusts any clock at once. `synchronised`, `boot` and `serviced` stand in for the host in tests."""
        self.boot = boot or boot_id()
        self._clock = clock
        self._wait_s = wait_s
        self._synchronised = synchronised or kernel_synchronised
        self._serviced = serviced or time_service_runs
        self._trusted = False

    def __call__(self) -> bool:
        if self._wait_s == 0:
            return True
        if not plausible(self._clock.time()):
            return False
        if not self._trusted:
            self._trusted = self._synchronised() or self._nobody_will_set_it()
        return self._trusted

    def _nobody_will_set_it(self) -> bool:
        since_boot = self._clock.monotonic()
        return since_boot >= self._wait_s or (since_boot >= _STARTED_S and not self._serviced())


def plausible(at: float) -> bool:
    """Whether this can be the Unix time of a message."""
    return at >= PLAUSIBLE_FROM


def boot_id() -> str:
    """The same for all processes of one boot, where monotonic times can be compared."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return f"process-{uuid.uuid4().hex}"


def time_service_runs() -> bool:
    """Whether somebody may still set the clock."""
    return any(path.exists() for path in _TIME_SERVICES)


def kernel_synchronised() -> bool:
    """What the kernel or systemd-timesyncd say; False where neither may be asked."""
    return _TIMESYNCD.exists() or _max_error_us() < _UNSYNCHRONISED_US


def _max_error_us() -> int:
    timex = bytearray(512)  # zeros: adjtimex(2) only answers, which takes no privilege
    try:
        import ctypes  # where the service manager forbids executable memory, old versions cannot be imported

        area = (ctypes.c_char * len(timex)).from_buffer(timex)
        if ctypes.CDLL(None).adjtimex(area) < 0:
            return _UNSYNCHRONISED_US
    except (ImportError, MemoryError, OSError, AttributeError):
        return _UNSYNCHRONISED_US
    *_, max_error = struct.unpack_from(_TIMEX, timex)
    return int(max_error)
