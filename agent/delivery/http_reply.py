"""Converts an HTTP reply to an outcome, from its status code and Retry-After. Pure."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

from agent.delivery.outcome import Delivered, Misconfigured, Outcome, Refused, Retry

MAX_RETRY_AFTER_S = 3600.0
"""A longer Retry-After is shortened to this."""

_RETRY = frozenset({408, 409, 425, 429})
_MISCONFIGURED = frozenset({401, 403, 404, 405, 407, 410, 501})


def classify(status: int, reply: str, retry_after: str | None, now: float) -> Outcome:
    """Return the outcome of an answered attempt.

    `reply` is a text about the answer, such as the beginning of its body; it may be empty. `now` is the Unix second
    with which a date in `retry_after` is compared: by the endpoint's clock if the answer has a Date header, otherwise
    by the agent's clock.
    """
    if 200 <= status < 300:
        return Delivered(status)
    reason = f"HTTP {status}" + (f": {reply}" if reply else "")
    if status in _MISCONFIGURED or status < 400:
        return Misconfigured(status, reason)
    if status in _RETRY or status >= 500:
        return Retry(reason, f"http_{status}", parse_retry_after(retry_after, now))
    # Any other 4xx. After several refused live messages, `OutcomeHandler` changes the outcome to `Misconfigured`.
    return Refused(status, reason)


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Return the pause that Retry-After asks for, in seconds: 0..MAX_RETRY_AFTER_S.

    Return None if `value` is neither a number of seconds nor an HTTP-date. `now` is as in `classify`.
    """
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
    """Return the Unix seconds of an HTTP-date; None if `value` is not a date."""
    try:
        when = parsedate_to_datetime(value)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
