"""Dates for messages that were measured while nobody knew the time. Pure.

Within one boot the monotonic clock tells exactly how long ago a message was measured. Of an earlier boot nobody knows
how long ago it ended: its messages keep the date that the host had then, and where that cannot be (1970), they become
dead letters for a person to decide on, rather than false data or none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from agent.outbox.record import Record
from agent.runtime.clock_sync import plausible

NOBODY_KNOWS_WHEN = "measured in an earlier boot, before its clock was set: nobody knows when"


@dataclass(frozen=True, slots=True)
class Now:
    """The two clocks read together: in seconds of this boot, and in Unix seconds that are trusted."""

    boot: str
    mono: float
    wall: float


def dated(record: Record, now: Now, retimed: Callable[[bytes, int], bytes]) -> Record:
    """`record` as it can be sent, or as a dead letter; `retimed(body, time)` puts another `time` into a body."""
    if record.boot == now.boot:
        at = now.wall - (now.mono - record.mono)
        return replace(record, body=retimed(record.body, round(at)), created=at, boot=None)
    if plausible(record.created) and record.created <= now.wall:
        return replace(record, boot=None)
    return replace(record, boot=None, parked=NOBODY_KNOWS_WHEN)
