"""Whether the wall clock may date messages: controllers without a battery-backed clock start anywhere in the past.

The clock is trusted, from then on for good, as soon as one of these holds:

- the kernel says that it is synchronised, whoever did it (chrony, ntpd, timesyncd, PTP): the estimated error is below
  16 s, as `timedatectl` decides it; or systemd-timesyncd has left its mark in /run;
- `push.wait_for_clock_s` have passed since boot and the date is one that can be. Hosts without time service, and
  containers, never hear of a synchronisation; they are held back this long after a boot, no longer.

A date before this agent was written is never trusted: then everything waits, said aloud, until the clock is set.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from pathlib import Path

from agent.clock import Clock

# 2023-11-14. No message is older than the agent.
PLAUSIBLE_FROM = 1_700_000_000
_TIMESYNCD = Path("/run/systemd/timesync/synchronized")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_UNSYNCHRONISED_US = 16_000_000
# modes, offset, freq, maxerror: how struct timex begins
_TIMEX = "@Illl"


class ClockTrust:
    """Asked before a message gets its date. Thread-safe: it only ever turns from no to yes."""

    def __init__(
        self,
        clock: Clock,
        wait_s: float,
        synchronised: Callable[[], bool] | None = None,
        boot: str | None = None,
    ) -> None:
        """`wait_s` 0 trusts any clock at once. `synchronised` and `boot` stand in for the kernel's word in tests."""
        self.boot = boot or boot_id()
        self._clock = clock
        self._wait_s = wait_s
        self._synchronised = synchronised or kernel_synchronised
        self._trusted = wait_s == 0

    def __call__(self) -> bool:
        if not self._trusted and plausible(self._clock.time()):
            self._trusted = self._synchronised() or self._clock.monotonic() >= self._wait_s
        return self._trusted


def plausible(at: float) -> bool:
    """Whether this can be the Unix time of a message."""
    return at >= PLAUSIBLE_FROM


def boot_id() -> str:
    """The same for all processes of one boot, where monotonic times can be compared."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return f"process-{uuid.uuid4().hex}"


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
