"""The whole agent between hand-written Modbus devices and the reference receiver."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.receiver.server import serve
from drivers.model import Table
from tests.faults.modbus import FaultServer
from tests.support.site import WAIT_S, Endpoint, agent, configuration, device, sdm630


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as receiver:
        yield receiver


async def test_payload_equals_the_registers_of_an_independent_device(tmp_path: Path, endpoint: Endpoint) -> None:
    async with (
        FaultServer({(1, Table.INPUT): sdm630(-1234.5, 12.25, 100.5)}) as meter,
        agent(configuration(tmp_path, endpoint.url, device("meter-1", "grid", meter))),
    ):
        await endpoint.wait_for(2)
    assert endpoint.desk.counts["refused"] == 0
    message = endpoint.messages[1]
    assert list(message) == [
        "time",
        "siteNodeId",
        "grid",
        "solar",
        "storage",
        "heat_pump",
        "switched_load",
        "variable_power_load",
    ]
    assert message["grid"] == {
        "active_power_W": -1234.5,
        "today_imported_energy_Wh": 0,
        "today_exported_energy_Wh": 0,
    }
    assert message["solar"] == {}
    assert message["time"] == endpoint.messages[0]["time"] + 1
    assert meter.functions == {4}
    assert endpoint.verdicts[0][1]["user-agent"].startswith("telemetry-push-agent/")


async def test_a_silent_device_does_not_delay_the_others(tmp_path: Path, endpoint: Endpoint) -> None:
    registers = sdm630(500.0, 1.0, 0.0)
    async with (
        FaultServer({(1, Table.INPUT): registers}) as grid,
        FaultServer({(1, Table.INPUT): registers}) as silent,
    ):
        silent.faults.silent = True
        devices = device("meter-1", "grid", grid) + device("charger-1", "variable_power_load", silent, timeout_s=1)
        async with agent(configuration(tmp_path, endpoint.url, devices)):
            await endpoint.wait_for(3)
    messages = endpoint.messages[1:]
    assert all(message["grid"]["active_power_W"] == 500 for message in messages)
    assert all(message["variable_power_load"] == {} for message in messages)
    times = sorted(message["time"] for message in endpoint.messages)
    assert times == list(range(times[0], times[0] + len(times)))


async def test_no_time_repeats_after_a_restart_with_a_clock_that_was_set_back(tmp_path: Path) -> None:
    async with FaultServer({(1, Table.INPUT): sdm630(500.0, 1.0, 0.0)}) as meter:
        with Endpoint() as endpoint:
            config = configuration(tmp_path, endpoint.url, device("meter-1", "grid", meter))
            async with agent(config):
                await endpoint.wait_for(3)
            before = len(endpoint.verdicts)
            async with agent(config, behind_s=3.0):
                await endpoint.wait_for(before + 2)
    times = [message["time"] for message in endpoint.messages]
    assert len(set(times)) == len(times)


async def kept(outbox: Path, messages: int) -> None:
    """Wait until the agent's queue holds so many more."""

    def count() -> int:
        return int(queue.execute("SELECT count(*) FROM message").fetchone()[0])

    async with asyncio.timeout(WAIT_S):
        with contextlib.closing(sqlite3.connect(f"file:{outbox}?mode=ro", uri=True)) as queue:
            wanted = count() + messages
            while count() < wanted:  # noqa: ASYNC110 - seen from outside
                await asyncio.sleep(0.05)


async def test_energies_and_messages_survive_a_restart_and_an_outage(tmp_path: Path) -> None:
    registers = sdm630(1000.0, 12.0, 0.0)
    async with FaultServer({(1, Table.INPUT): registers}) as meter:
        with Endpoint() as first:
            config = configuration(tmp_path, first.url, device("meter-1", "grid", meter))
            async with agent(config):
                await first.wait_for(2)
                registers.update(sdm630(1000.0, 12.5, 0.0))
                await first.wait_until(lambda message: message["grid"].get("today_imported_energy_Wh") == 500)
        # The endpoint is gone: what is measured meanwhile waits on the disk.
        async with agent(config):
            await kept(tmp_path / "state" / "outbox.sqlite3", 2)
        port = int(first.url.split(":")[2].split("/")[0])
        again = Endpoint.__new__(Endpoint)
        again.desk, again.verdicts, again.url = first.desk, [], first.url
        again._server = serve(
            again.desk, "127.0.0.1", port, lambda verdict, headers: again.verdicts.append((verdict, headers))
        )
        again._thread = threading.Thread(target=again._server.serve_forever, kwargs={"poll_interval": 0.05})
        with again:
            async with agent(config):
                await again.wait_for(4)
    newest = max(again.messages, key=lambda message: message["time"])
    assert newest["grid"]["today_imported_energy_Wh"] == 500
    identities = [headers["webhook-id"] for _, headers in first.verdicts + again.verdicts]
    times = [message["time"] for message in first.messages + again.messages]
    assert len(set(times)) == len(set(identities)), "one id for one message"
    assert min(message["time"] for message in again.messages) < newest["time"]


def _complete_tick(messages: list[dict[str, Any]], expected: int) -> list[dict[str, Any]] | None:
    """The `expected` messages of a tick after the first; their order depends on the connections."""
    ticks: dict[int, list[dict[str, Any]]] = {}
    for message in messages:
        ticks.setdefault(message["time"], []).append(message)
    return next((ticks[time] for time in sorted(ticks)[1:] if len(ticks[time]) == expected), None)


@pytest.mark.parametrize(("device_format", "expected"), [("node", 3), ("snapshot", 2)])
async def test_both_levels_and_both_formats(
    tmp_path: Path, endpoint: Endpoint, device_format: str, expected: int
) -> None:
    push = f'levels = ["device_type", "device"]\ndevice_format = "{device_format}"\ndevice_fields = "all"'
    async with (
        FaultServer({(1, Table.INPUT): sdm630(-700.0, 0.0, 5.0)}) as meter,
        FaultServer({(1, Table.INPUT): sdm630(-700.0, 0.0, 5.0)}) as feeder,
    ):
        devices = device("meter-1", "grid", meter) + device("pv-1", "solar", feeder)
        async with agent(configuration(tmp_path, endpoint.url, devices, push)):
            await endpoint.wait_until(lambda _: _complete_tick(endpoint.messages, expected) is not None)
    assert endpoint.desk.counts["refused"] == 0
    messages = _complete_tick(endpoint.messages, expected)
    assert messages is not None
    nodes = (
        next(message["nodes"] for message in messages if "nodes" in message)
        if device_format == "snapshot"
        else {message["nodeId"]: message for message in messages if "nodeId" in message}
    )
    assert nodes["meter-1"]["grid"]["active_power_W"] == -700
    assert nodes["meter-1"]["grid"]["voltage_l1_V"] == 231.5
    assert nodes["pv-1"]["solar"]["active_power_W"] == 700, "a meter on a solar feeder reports production"
