"""Whether an endpoint is said to be too far away for the messages of each push."""

from __future__ import annotations

from typing import Any

import pytest

from agent.commissioning.endpoint_pace import messages_of, why_too_slow
from agent.config.push import PushConfig
from agent.domain import Node
from drivers.model import Kind, NodeType

NODES = [Node(f"m{number}", NodeType.GRID, Kind.METER) for number in range(200)]


def endpoint(**keys: Any) -> PushConfig:
    return PushConfig.model_validate({"url": "http://127.0.0.1:9/", "token": "t", "levels": ["device"]} | keys)


@pytest.mark.parametrize(
    ("keys", "messages"),
    [
        ({}, 200),
        ({"levels": ["device_type"]}, 1),
        ({"levels": ["device_type", "device"]}, 201),
        ({"levels": ["device_type", "device"], "device_format": "snapshot"}, 2),
        ({"nodes": ["m1*"], "exclude_nodes": ["m1"]}, 110),
    ],
)
def test_messages_of_a_push(keys: dict[str, Any], messages: int) -> None:
    assert messages_of(endpoint(**keys), NODES) == messages


def test_nodes_that_are_not_pushed_make_no_message() -> None:
    assert messages_of(endpoint(), [Node("m", NodeType.GRID, Kind.METER, push=False)]) == 0


@pytest.mark.parametrize(
    ("keys", "round_trip_s", "slow"),
    [
        ({"interval_s": 5}, 0.1, False),
        ({"interval_s": 5, "connections": 4}, 0.1, False),
        ({"interval_s": 5, "connections": 3}, 0.1, True),
        ({"interval_s": 60, "connections": 1}, 0.31, True),
        ({"interval_s": 60}, 0.3, False),
        ({"interval_s": 1, "device_format": "snapshot"}, 0.9, False),
    ],
)
def test_an_interval_that_cannot_hold(keys: dict[str, Any], round_trip_s: float, slow: bool) -> None:
    assert bool(why_too_slow(endpoint(**keys), NODES, round_trip_s)) == slow


def test_the_sentence_has_the_figures_and_the_remedies() -> None:
    assert why_too_slow(endpoint(interval_s=5, connections=2), NODES, 0.1) == (
        "the site makes 200 messages every 5 s, but with a round trip of 100 ms, push.connections = 2 delivers at most"
        ' 100 of them: set push.device_format = "snapshot", so that one message has all devices, or increase'
        " push.interval_s or push.connections"
    )


@pytest.mark.parametrize(
    ("keys", "remedies"),
    [
        ({"levels": ["device_type"]}, "increase push.interval_s"),
        ({"device_format": "snapshot", "levels": ["device_type", "device"]}, "increase push.interval_s"),
        (
            {"device_format": "snapshot", "levels": ["device_type", "device"], "connections": 1},
            "increase push.interval_s or push.connections",
        ),
        (
            {"nodes": ["m1", "m2"]},
            'set push.device_format = "snapshot", so that one message has all devices, or increase push.interval_s',
        ),
    ],
)
def test_only_what_helps_is_suggested(keys: dict[str, Any], remedies: str) -> None:
    assert why_too_slow(endpoint(interval_s=1, **keys), NODES, 1.5).partition(" of them: ")[2] == remedies
