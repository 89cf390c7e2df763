"""What an attempt came to, and what that means for the message. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER_S = 3600.0


@dataclass(frozen=True, slots=True)
class Delivered:
    """2xx: the receiver has it."""

    status: int
    kind: str = "delivered"
    page: bool = False
    """The answer is a page for people: perhaps a portal took the message."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The receiver does not want this message; the next may go."""

    status: int
    reason: str

    @property
    def kind(self) -> str:
        return f"http_{self.status}"


@dataclass(frozen=True, slots=True)
class Retry:
    """Not now: the same bytes again, `after_s` at the earliest if the receiver said so."""

    reason: str
    kind: str
    """One word for counters: `http_503`, `timeout`, `dns`, `tls`, `connect`, `broken`, `local`."""
    after_s: float | None = None

    @property
    def answered(self) -> bool:
        """With a status."""
        return self.kind.startswith("http_")

    @property
    def reached(self) -> bool:
        """The receiver saw the message, so that the message itself may be what it chokes on."""
        return self.kind not in ("dns", "tls", "connect", "local")


@dataclass(frozen=True, slots=True)
class Misconfigured:
    """Nothing will be taken until somebody mends the address, the token or the schema: keep all, probe slowly."""

    status: int
    reason: str

    @property
    def kind(self) -> str:
        return f"http_{self.status}"


@dataclass(frozen=True, slots=True)
class Stopped:
    """The agent ends; the message stays in the queue."""

    kind: str = "stopped"


Outcome = Delivered | Refused | Retry | Misconfigured | Stopped

_RETRY = frozenset({408, 409, 425, 429})
_MISCONFIGURED = frozenset({401, 403, 404, 405, 407, 410, 501})


def classify(status: int, reply: str, retry_after: str | None, now: float) -> Outcome:
    """The outcome of an answered attempt; `reply` is the beginning of the body, `now` Unix seconds."""
    reason = f"HTTP {status}" + (f": {reply}" if reply else "")
    if 200 <= status < 300:
        return Delivered(status)
    if status in _MISCONFIGURED or status < 400:
        return Misconfigured(status, reason)
    if status in _RETRY or status >= 500:
        return Retry(reason, f"http_{status}", parse_retry_after(retry_after, now))
    # Any other 4xx is about this message too, and parking one message is the smaller mistake.
    return Refused(status, reason)


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds until the moment that Retry-After names (seconds or HTTP-date), clamped; None when it names none."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        date = parse_date(value)
        if date is None:
            return None
        seconds = date - now
    return min(MAX_RETRY_AFTER_S, max(0.0, seconds)) if seconds == seconds else None


def parse_date(value: str) -> float | None:
    """The Unix seconds of an HTTP-date; None when it is none."""
    try:
        when = parsedate_to_datetime(value)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
