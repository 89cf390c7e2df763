"""The status in words: durations, and why nothing is delivered."""

from __future__ import annotations

from agent.status.model import PushStatus

# A push may be late by its deadline, the time-out of an attempt and one back-off.
_LATE_S = 30.0


def why_not_ready(push: PushStatus, clock_state: str, uptime_s: float) -> str | None:
    """Return why nothing is delivered to the endpoint; None while messages are."""
    last = push.recent[0] if push.recent else None
    if clock_state == "waiting":
        return "the clock is not set yet; pushes wait for it"
    if push.failing_s is not None and last is not None:
        return f"no delivery for {in_words(push.failing_s)}: {last.reason}"
    if push.delivered_s is None:
        return f"nothing delivered since the start {in_words(uptime_s)} ago" + (f": {last.reason}" if last else "")
    if push.delivered_s > 2 * push.interval_s + _LATE_S:
        why = f": {last.reason}" if last is not None and last.reason else ""
        return f"nothing delivered for {in_words(push.delivered_s)}{why}"
    if push.behind is not None:
        return f"live messages are late: {push.behind}"
    return None


def not_on_disk(*, queue: bool, energies: bool) -> str | None:
    """Return which of the two are only in memory because the disk accepts no writes; None if both are on the disk."""
    what = [name for name, true in (("new messages", queue), ("energies", energies)) if true]
    return f"the disk accepts no writes: {' and '.join(what)} are only in memory" if what else None


def in_words(seconds: float) -> str:
    """Return a duration in at most two units: `12 s`, `3 min 5 s`, `2 h 10 min`, `4 d 3 h`."""
    whole = max(0, round(seconds))
    for size, unit, smaller, small_unit in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {small_unit}" if rest else "")
    return f"{whole} s"
