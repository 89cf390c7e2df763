"""Whether a silent inverter may be taken for asleep: the one place that decides it. Pure.

Inverters that live on the sun are silent at night, and 0 W is right then. One whose cable is cut at noon is silent too,
and 0 W would be a wrong total. With `when_offline = "sleep"` silence is sleep while all of this holds, and a missing
device else:

- The last power that it told was below `DIM_W`: nothing that is noticed was lost with it.
- The hour at which it woke the day before is not past by more than `LATE_S`. So one that dies in the night, or at dawn,
  is missing from the morning on, in every season. Snow and fog have it missing as well, which is the truth.
- It was silent for no longer than `LONGEST_S`.

An inverter that answers, but has no power to tell, is as good as silent: a data logger answers for one that is cut off.

All of it is measured by monotonic time. Across a restart the wall clock tells how long it was; where that is not set
yet, or stands before what it was, the silence begins with the restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from agent.domain.node import Node
from drivers.model import Kind, NodeType

DIM_W = 100.0
"""Inverters stop at 5 to 50 W and mostly show 0 W for some minutes before they go, which polls a minute apart see. Own
consumption is negative."""
LATE_S = 2 * 3600.0
"""A dark morning may come so much later than a bright one."""
LONGEST_S = 20 * 3600.0
"""The longest night in which the sun comes back: at 60 degrees north, with late waking."""

_DAY_S = 24 * 3600.0
# What is silent for so long was off, not restarting; the nights of summer are longer.
_OFF_S = 2 * 3600.0
# What has been awake for so long is up for the day; at dawn some come and go.
_UP_S = 3600.0
# The clock before and after a restart may differ by this.
_SLEW_S = 60.0


class Night(NamedTuple):
    """What is known of an inverter's days; monotonic seconds, Unix seconds on disk."""

    power_W: float
    """The last that it told."""
    at: float
    """When that was."""
    up: float
    """When it began to answer after the last long silence."""
    woke: float
    """The same for the last day that it really began; the first sight of it until then."""


def heard(night: Night | None, power_W: float, at: float) -> Night:
    """`night` after one more reading of the power."""
    if night is None:
        return Night(power_W, at, at, at)
    if at <= night.at:
        return night
    up = at if at - night.at >= _OFF_S else night.up
    return Night(power_W, at, up, up if at - up >= _UP_S else night.woke)


def may_sleep(node: Node, night: Night | None, at: float) -> bool:
    """Whether the silence of `node` counts as 0 W at monotonic `at`."""
    if node.when_offline == "sleep":
        return night is not None and why_awake(night, at) is None
    return node.when_offline == "zero"


def all_sleep(nodes: Iterable[Node], nights: Mapping[str, Night], at: float) -> bool:
    """Whether a silent device with these nodes is asleep, rather than lost."""
    return all(may_sleep(node, nights.get(node.node_id), at) for node in nodes)


def why_awake(night: Night | None, at: float) -> str | None:
    """Why silence is no sleep at monotonic `at`, in words; None where it may be."""
    if night is None:
        return "nothing is known of its power before"
    if abs(night.power_W) >= DIM_W:
        return f"it went silent at {night.power_W:.0f} W"
    if at > min(night.at + LONGEST_S, night.woke + _DAY_S + LATE_S):
        return f"it has been silent for {(at - night.at) / 3600:.1f} h, and it should be day"
    return None


def silence_in_words(node: Node) -> str | None:
    """What the silence of `node` means, for people; None where it goes without saying."""
    if node.when_offline == "zero":
        return 'silent it counts 0 W, by day too (when_offline = "zero")'
    if node.when_offline == "sleep":
        return (
            f"silent at night it counts 0 W; if it goes silent at {DIM_W:g} W or more, or does not wake within "
            f"{LATE_S / 3600:g} h of yesterday's time, it is missing"
        )
    inverter = node.type is NodeType.SOLAR and node.kind is not Kind.METER
    return "silent it is missing, at night too" if inverter else None


def on_disk(night: Night, offset: float) -> Night:
    """`night` in Unix seconds; `offset` is wall minus monotonic time."""
    return Night(night.power_W, night.at + offset, night.up + offset, night.woke + offset)


def restored(kept: Night, offset: float, at: float) -> Night:
    """The night that was kept `on_disk`, as it stands at monotonic `at`; an unknown `offset` is minus infinity."""
    if kept.at - offset > at + _SLEW_S:
        return Night(kept.power_W, at, at, at)
    return on_disk(kept, -offset)
