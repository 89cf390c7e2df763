"""Estimates whether an endpoint can accept the messages of each push within the push interval. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from agent.domain import Node

if TYPE_CHECKING:
    from agent.config import PushConfig


def messages_of(push: PushConfig, nodes: Sequence[Node]) -> int:
    """Return the number of messages of one push."""
    chosen = sum(node.push and push.chooses(node.node_id) for node in nodes)
    devices = 0 if "device" not in push.levels else 1 if push.device_format == "snapshot" else chosen
    return devices + ("device_type" in push.levels)


def why_too_slow(push: PushConfig, nodes: Sequence[Node], round_trip_s: float) -> str:
    """Return a sentence if the delivery of a push takes longer than the push interval; else an empty text."""
    messages = messages_of(push, nodes)
    side_by_side = min(messages, push.connections)
    if messages * round_trip_s <= push.interval_s * side_by_side:
        return ""
    snapshot = ""
    if messages_of(push.model_copy(update={"device_format": "snapshot"}), nodes) < messages:
        snapshot = 'set push.device_format = "snapshot", so that one message has all devices, or '
    connections = " or push.connections" if messages > push.connections else ""
    return (
        f"the site makes {messages} messages every {push.interval_s} s, but with a round trip of"
        f" {1000 * round_trip_s:.0f} ms, push.connections = {push.connections} delivers at most"
        f" {side_by_side / round_trip_s * push.interval_s:.0f} of them: {snapshot}increase push.interval_s{connections}"
    )
