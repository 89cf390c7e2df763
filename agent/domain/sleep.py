"""Decides whether an inverter that does not answer is asleep. No other module decides this. Pure.

Inverters that run on solar power do not answer at night. 0 W is then correct. An inverter whose cable is cut at noon
does not answer either, but 0 W would then make the total wrong. With `when_offline = "sleep"`, an inverter is asleep if
all of these conditions hold, and missing otherwise:

- Its last power was below `DIM_W`, so the error of the total is small.
- At most 24 h plus `LATE_S` have passed since the inverter last woke (`Night.woke`). An inverter that fails at night or
  at dawn is therefore missing from the morning on, in every season. An inverter that does not wake because of snow or
  fog is also missing.
- The time without an answer is at most `LONGEST_S`.

An answer without a power counts as no answer, because data loggers answer for an inverter that is switched off.

Times are monotonic. After a restart of the agent, the wall clock shows how much time has passed. If the wall clock is
not set yet, or is more than `_SLEW_S` earlier than the last answer before the restart, all times of the night are the
time of the restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from agent.domain.node import Node
from drivers.model import Kind, NodeType

DIM_W = 100.0
"""An inverter can be asleep if the absolute value of its last power is below this. The own consumption of an inverter
is a negative power. Inverters switch off at 5 to 50 W. Most of them report 0 W for some minutes before they stop
answering, so a poll once a minute reads 0 W."""
LATE_S = 2 * 3600.0
"""On a dark morning, an inverter may wake this many seconds later than on a bright one."""
LONGEST_S = 20 * 3600.0
"""Seconds of the longest night at 60 degrees north, with late waking."""

_DAY_S = 24 * 3600.0
# A gap of this many seconds or more between two answers is a night or a power cut. A restart of the inverter or of the
# agent takes less time, and every summer night takes more.
_OFF_S = 2 * 3600.0
# An inverter that is awake for this many seconds has begun its day. At dawn some inverters start and stop repeatedly.
_UP_S = 3600.0
# A stored night may be this many seconds in the future, because the clock may have been corrected slightly.
_SLEW_S = 60.0


class Night(NamedTuple):
    """The last answer of an inverter, and when it woke. Times are monotonic seconds, but Unix seconds on disk."""

    power_W: float
    at: float
    """The time of `power_W`."""
    up: float
    """Time of the first answer after the last gap of at least `_OFF_S`; without such a gap, of the first answer."""
    woke: float
    """`up` of the last day on which the inverter was awake for `_UP_S`; before such a day, time of the first answer."""


def after_reading(night: Night | None, power_W: float, at: float) -> Night:
    """Return `night` after a reading of the power at monotonic second `at`. Ignore a reading not newer than `night`."""
    if night is None:
        return Night(power_W, at, at, at)
    if at <= night.at:
        return night
    up = at if at - night.at >= _OFF_S else night.up
    return Night(power_W, at, up, up if at - up >= _UP_S else night.woke)


def may_sleep(node: Node, night: Night | None, at: float) -> bool:
    """Whether the node counts 0 W if its device does not answer at monotonic second `at`."""
    if node.when_offline == "sleep":
        return night is not None and why_awake(night, at) is None
    return node.when_offline == "zero"


def all_sleep(nodes: Iterable[Node], nights: Mapping[str, Night], at: float) -> bool:
    """Whether all these nodes count 0 W if their common device does not answer at monotonic second `at`."""
    return all(may_sleep(node, nights.get(node.node_id), at) for node in nodes)


def why_awake(night: Night | None, at: float) -> str | None:
    """Return as text why an inverter without an answer is not asleep at monotonic second `at`; None if it is asleep."""
    if night is None:
        return "its last power is not known"
    if abs(night.power_W) >= DIM_W:
        return f"its last power was {night.power_W:.0f} W"
    if at > min(night.at + LONGEST_S, night.woke + _DAY_S + LATE_S):
        return f"it has not answered for {(at - night.at) / 3600:.1f} h, and it should be awake by now"
    return None


def silence_in_words(node: Node) -> str | None:
    """Return as text how the node counts while it does not answer.

    None if the node is then missing and is no inverter. That needs no explanation.
    """
    if node.when_offline == "zero":
        return 'if it does not answer it counts 0 W, also by day (when_offline = "zero")'
    if node.when_offline == "sleep":
        return (
            f"if it does not answer at night it counts 0 W; if its last power was {DIM_W:g} W or more, or it does not "
            f"wake within {LATE_S / 3600:g} h of yesterday's time, it is missing"
        )
    inverter = node.type is NodeType.SOLAR and node.kind is not Kind.METER
    return "if it does not answer it is missing, also at night" if inverter else None


def in_unix_seconds(night: Night, offset: float) -> Night:
    """Return `night` in Unix seconds. `offset` is wall minus monotonic time."""
    return Night(night.power_W, night.at + offset, night.up + offset, night.woke + offset)


def in_monotonic_seconds(kept: Night, offset: float, at: float, started: float) -> Night:
    """Convert the night `kept` from Unix seconds to monotonic seconds.

    `offset` is wall minus monotonic time; minus infinity if it is unknown. `at` is the present monotonic time,
    `started` that of the restart. If `kept` is more than `_SLEW_S` in the future, the wall clock is unknown or was set
    back, and all times of the result are `started`.
    """
    if kept.at - offset > at + _SLEW_S:
        return Night(kept.power_W, started, started, started)
    return in_unix_seconds(kept, -offset)
