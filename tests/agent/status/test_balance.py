"""Why the energies of the day have no balance: the words, and the same words of a running daemon."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.aggregation import Fields
from agent.config.loader import parse
from agent.status.balance import CountedNode, why_no_balance
from drivers.model import NodeType, Quantity
from drivers.simulator import ModbusServer
from drivers.simulator.sunspec_units import battery_model, inverter_model, sunspec_unit
from tests.agent.cli.test_status_view import written
from tests.agent.status.test_listener import running, until
from tests.support.lab import lab
from tests.support.site import TOKEN, Endpoint

GRID: Fields = {"today_imported_energy_Wh": 1.0, "today_exported_energy_Wh": 2.0}
STORAGE: Fields = {"today_charged_Wh": 1.0, "today_discharged_Wh": 2.0}


def node(type_: str, fields: Fields, state: str = "ok", *reported: Quantity) -> CountedNode:
    return CountedNode(f"{type_}-1", NodeType(type_), fields, state, reported)


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([], None),
        ([node("heat_pump", {})], None),
        ([node("grid", GRID), node("storage", STORAGE)], None),
        ([node("storage", STORAGE)], "no device measures the grid"),
        ([node("grid", GRID), node("solar", {}, "lost")], "solar-1 does not answer"),
        ([node("grid", GRID), node("solar", {}, "waiting")], "solar-1 is not polled yet"),
        ([node("grid", GRID), node("storage", {})], "storage-1 reports no counter of charge and discharge"),
        (
            [node("grid", GRID), node("storage", {"today_charged_Wh": 1.0}, "ok", Quantity.CHARGED_ENERGY)],
            "storage-1 reports no counter of discharge",
        ),
        (
            [node("grid", {}, "ok", Quantity.IMPORTED_ENERGY, Quantity.TODAY_EXPORTED_ENERGY), node("solar", {})],
            "the last message has no import and export of grid-1; solar-1 reports no counter of production",
        ),
    ],
)
def test_the_words(nodes: list[CountedNode], words: str | None) -> None:
    flow = {each.type.value: each.fields for each in nodes}
    assert why_no_balance(flow, nodes, pushed=True) == words


def test_before_the_first_message_and_without_a_counted_node() -> None:
    nodes = [node("grid", GRID)]
    flow: dict[str, Fields] = {"grid": GRID, "solar": {}}
    assert why_no_balance(flow, nodes, pushed=False) == "no message was made since the start"
    assert why_no_balance(flow, nodes, pushed=True) == "no solar node is counted"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as receiver:
        yield receiver


def laboratory(folder: Path, url: str, port: int, *devices: dict[str, object]) -> Any:
    link = {"host": "127.0.0.1", "port": port, "timeout_s": 5.0}
    return parse(
        {
            "site": {"node_id": "SITE_1"},
            "push": {"url": url, "token": TOKEN, "interval_s": 1, "align": "clock"},
            "poll": {"interval_s": 0.5, "stale_after_s": 30.0},
            "outbox": {"path": f"{folder}/outbox.sqlite3"},
            "status": {"listen": "127.0.0.1:0"},
            "device": [link | each for each in devices],
        },
        {},
        "test",
    )


METER: dict[str, object] = {"node_id": "meter-1", "type": "grid", "driver": "eastron-sdm630", "unit_id": 1}
HYBRID: dict[str, object] = {"nodes": {"solar": "pv-2", "storage": "battery-1"}, "driver": "sunspec", "unit_id": 3}


async def test_the_hybrid_of_the_laboratory_has_a_balance(tmp_path: Path, endpoint: Endpoint) -> None:
    with lab() as port:
        async with running(laboratory(tmp_path, endpoint.url, port, METER, HYBRID)) as app:
            status = await until(app, lambda status: status["flow"] and status["no_balance"] is None)
    text = written(status)
    shown = r"energy today: grid import \d+ Wh, export \d+ Wh · solar production \d+ Wh · storage charge \d+ Wh"
    assert re.search(shown, text)
    assert "no energy balance" not in text


async def test_a_site_without_a_balance_says_why(tmp_path: Path, endpoint: Endpoint) -> None:
    """A battery with a power and a state of charge, without a counter."""

    def models() -> list[list[int]]:
        return [inverter_model(2500.0, 4e6, 230.0), battery_model(500.0, 61.0, 10_000.0)]

    server = ModbusServer([sunspec_unit("hybrid", models, 3)], "127.0.0.1")
    await server.start()
    try:
        with lab() as port:
            devices = METER | {"port": port}, HYBRID
            async with running(laboratory(tmp_path, endpoint.url, server.port, *devices)) as app:
                status = await until(app, lambda status: "battery" in (status["no_balance"] or ""))
    finally:
        await server.stop()
    # The inverter's counter includes the energy from and to its battery.
    assert status["no_balance"] == (
        "pv-2 reports no counter of production; battery-1 reports no counter of charge and discharge"
    )
    assert f"no energy balance: {status['no_balance']}" in written(status)
