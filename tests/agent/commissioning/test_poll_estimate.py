"""Which links are said to be too slow for the poll intervals of their devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.commissioning.poll_estimate import estimates, slow_links
from agent.config import parse
from agent.site import Site, build


def site(folder: Path, connection: dict[str, Any], units: int, poll_s: float, **keys: Any) -> Site:
    devices = [
        {"node_id": f"m{unit}", "type": "grid", "driver": "eastron-sdm120", "connection": "c", "unit_id": unit} | keys
        for unit in range(1, units + 1)
    ]
    config = parse(
        {
            "site": {"node_id": "SITE"},
            "push": {"url": "http://127.0.0.1:9/", "token": "t"},
            "poll": {"interval_s": poll_s},
            "outbox": {"path": str(folder / "outbox.sqlite3")},
            "connection": {"c": connection},
            "device": devices,
        },
        {},
        "config.toml",
    )
    return build(config, "config.toml")


GATEWAY = {"transport": "rtu_over_tcp", "host": "192.168.1.5"}
SERIAL = {"transport": "rtu", "serial_port": "/dev/ttyUSB0"}


@pytest.mark.parametrize(
    ("connection", "units", "poll_s", "slow"),
    [
        (GATEWAY, 247, 1.0, True),
        (GATEWAY, 247, 60.0, False),
        (GATEWAY, 1, 0.001, False),
        (SERIAL, 30, 1.0, True),
        (SERIAL, 30, 30.0, False),
        (SERIAL | {"baudrate": 115_200}, 10, 1.0, False),
    ],
)
def test_the_estimate(tmp_path: Path, connection: dict[str, Any], units: int, poll_s: float, slow: bool) -> None:
    assert bool(list(slow_links(site(tmp_path, connection, units, poll_s).connections))) == slow


def test_a_slow_link_is_said_with_both_numbers(tmp_path: Path) -> None:
    connections = site(tmp_path, GATEWAY, 247, 1.0).connections
    poll_s = dict.fromkeys(connections[0].devices, 0.027)
    (sentence,) = slow_links(connections, measured_s=poll_s)
    assert sentence == (
        "192.168.1.5:502: one poll of 247 devices takes about 6.7 s (measured), but the shortest poll interval is 1 s:"
        " increase poll.interval_s, or poll_interval_s of the devices, so that each link has time for its polls"
    )
    assert list(slow_links(connections, measured_s=dict.fromkeys(connections[0].devices, 0.004))) == []


def test_longer_intervals_of_some_devices_count(tmp_path: Path) -> None:
    connections = site(tmp_path, GATEWAY, 100, 1.0, poll_interval_s=10.0).connections
    assert sum(estimates(connections[0]).values()) > 1.0
    assert list(slow_links(connections)) == []


def test_a_deadline_that_the_polls_cannot_hold_is_said(tmp_path: Path) -> None:
    connections = site(tmp_path, SERIAL, 10, 30.0).connections
    (sentence,) = slow_links(connections, 0.5)
    assert "but a push waits only 0.5 s for polls" in sentence
    assert list(slow_links(connections, 30.0)) == []
