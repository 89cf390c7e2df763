"""[connection.NAME] and [[device]]: defaults, as the wire has them, and what is refused."""

from __future__ import annotations

import os
import termios
from typing import Any

import pytest

from agent.config.loader import parse
from agent.site.builder import build
from drivers.modbus import Link
from drivers.model import Table
from tests.agent.config.test_loader import changed, mistakes
from tests.faults.modbus import FaultServer, registers_from


async def test_a_serial_line_has_9600_baud_and_8n1_by_default() -> None:
    async with FaultServer({(1, Table.HOLDING): registers_from(0, [7])}, transport="rtu") as server:
        path = str(server.link().serial_port)
        table = changed(connection__RS485__serial_port=path)
        table["device"] = [
            {"node_id": "m", "type": "grid", "driver": "eastron-sdm630", "connection": "RS485", "unit_id": 1}
        ]
        (line,) = build(parse(table, {}, "site.toml"), "site.toml").connections
        assert isinstance(line.link, Link)
        assert list(await line.link.read(1, Table.HOLDING, 0, 1)) == [7]
        assert line.link.settings.parity == "N", "Linux ignores the parity of a pseudo-terminal"
        port = os.open(path, os.O_RDONLY | os.O_NOCTTY)
        try:
            _, _, control, _, speed_in, speed_out, _ = termios.tcgetattr(port)
        finally:
            os.close(port)
            await line.link.close()
    assert (speed_in, speed_out) == (termios.B9600, termios.B9600)
    assert not control & (termios.PARENB | termios.CSTOPB)


@pytest.mark.parametrize("key", ["node_id", "type"])
def test_a_device_without_node_or_type_is_refused(key: str) -> None:
    table = changed()
    del table["device"][0][key]
    (line,) = mistakes(table)
    assert f".{key}" in line
    assert "missing; a device has node_id and type, or nodes" in line


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"connection__RS485__port": 502}, "transport rtu is a serial line; set serial_port instead"),
        ({"device__1__port": 502}, "belongs to the [connection.NAME], not to the device"),
        ({"device__1__nodes": {}}, "must name at least one node"),
        ({"device__1__type": "solar"}, "replaces node_id and type"),
        ({"device__1__node_id": "x"}, "replaces node_id and type"),
        ({"device__1__host": "h"}, "give either host, or connection"),
        ({"connection__RS485": {"transport": "rtu"}}, "transport rtu needs one, such as /dev/ttyUSB0"),
        ({"connection__RS485": {"transport": "udp"}}, "transport udp needs one"),
        ({"connection__RS485": {"host": "h", "server_name": "x"}}, "server_name: needs transport tls, not tcp"),
        (
            {"connection__RS485": {"transport": "tls", "host": "h", "client_key_file": "/dev/null"}},
            "client_key_file: needs client_cert_file as well",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], words: str) -> None:
    assert any(words in line for line in mistakes(changed(**changes)))
