"""Writes the texts of the status, such as durations and the reason why nothing is delivered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.config import DEFAULT_NAME
from agent.delivery import RecordedAttempt
from agent.status.model import EndpointStatus

# An endpoint is not ready if its last delivery is more than two push intervals plus these seconds ago. The seconds
# leave time for the deadline of a push and for some retries.
_LATE_S = 30.0
WAITS_FOR_CLOCK = "the clock is not set yet; pushes wait for it"


def why_not_ready(
    *,
    interval_s: int,
    failing_s: float | None,
    delivered_s: float | None,
    last: RecordedAttempt | None,
    waits_for_clock: bool,
    up_s: float,
    behind: str | None,
    timed: bool = True,
) -> str | None:
    """Return why nothing is delivered to an endpoint, or why live messages are late. None if the endpoint is ready.

    - `last`: the newest attempt; None before the first one.
    - `waits_for_clock`: whether messages wait for the clock.
    - `up_s`: seconds since the delivery to the endpoint began.
    - `timed`: whether the text says how long nothing was delivered. A text about failed attempts always says this.
    - The other parameters are as in `EndpointStatus`.
    """
    if waits_for_clock:
        return WAITS_FOR_CLOCK
    if failing_s is not None and last is not None:
        return f"no delivery for {in_words(failing_s)}: {last.reason}"
    if delivered_s is None:
        ago = f" {in_words(up_s)} ago" if timed else ""
        return f"nothing delivered since the start{ago}" + (f": {last.reason}" if last else "")
    if delivered_s > 2 * interval_s + _LATE_S:
        why = f": {last.reason}" if last is not None and last.reason else ""
        return f"nothing delivered for {in_words(delivered_s) if timed else 'long'}{why}"
    if behind is not None:
        return f"live messages are late: {behind}"
    return None


def clock_in_words(state: str, *, possible: bool, service: bool, wait_s: float) -> str | None:
    """Return why the clock is not synchronised and what follows from this; None if it is synchronised.

    `state`: as in `Snapshot.clock`. `possible`: whether the date can be right. `service`: whether a time service runs.
    `wait_s`: the longest `push.wait_for_clock_s` of all endpoints.
    """
    if state == "synchronised":
        return None
    if not possible:
        why = "the date is too old to be right: the clock was not set after the boot"
    elif service:
        why = "a time service runs, but it has not set the clock; perhaps it does not reach its server"
    else:
        why = "no time service runs on this machine"
    if state == "unsynchronised":
        return f"{why}. Messages have the time of this clock, which may be wrong; see `timedatectl`"
    until = "when the clock is set" + (f", or {in_words(wait_s)} after the boot" if possible else "")
    return f"{why}. Messages are stored; they are dated and sent {until}"


def not_on_disk(queues: Mapping[str, bool], *, energies: bool) -> str | None:
    """Return which data are only in memory because the disk accepts no writes; None if all are on the disk.

    `queues`: name of the endpoint → whether its new messages are only in memory. `energies`: the same for the energies.
    """
    names = [name for name, in_memory in queues.items() if in_memory]
    whose = "" if len(names) == len(queues) else f" to {' and '.join(names)}"
    what = [words for words, true in ((f"new messages{whose}", names), ("energies", energies)) if true]
    return f"the disk accepts no writes: {' and '.join(what)} are only in memory" if what else None


def reason_of_all(endpoints: Sequence[EndpointStatus]) -> str | None:
    """Return why the daemon is not ready: the names of the endpoints with their reasons. None if the daemon is ready.

    The names are omitted if the only endpoint has the default name, or if all endpoints that are not ready wait for
    the clock.
    """
    found = [(each.name, each.reason) for each in endpoints if each.reason is not None]
    if not found:
        return None
    if [each.name for each in endpoints] == [DEFAULT_NAME] or {reason for _, reason in found} == {WAITS_FOR_CLOCK}:
        return found[0][1]
    return "; ".join(f"{name}: {reason}" for name, reason in found)


def in_words(seconds: float) -> str:
    """Return a duration in words, with at most two units: `12 s`, `3 min 5 s`, `2 h 10 min`, `4 d 3 h`."""
    whole = max(0, round(seconds))
    for size, unit, smaller, small_unit in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {small_unit}" if rest else "")
    return f"{whole} s"
