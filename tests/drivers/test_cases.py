"""Sites at which a device was read wrongly, each with the value that is true: `tests/fixtures/cases`.

A case has the registers of a device (first address → words) and polls: what changes before each poll, and what the
poll must read; null is a value that must be missing. A case without polls is one for `scan`. The sources are the
threads in which owners compared values with the truth.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from drivers.catalogue import Catalogue
from drivers.driver import ReadOptions
from drivers.modbus.link import Link
from drivers.modbus.settings import LinkSettings
from drivers.model import Reading, Table
from drivers.simulator.modbus_server import ModbusServer, SimulatedUnit

CASES = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parents[1] / "fixtures" / "cases").glob("*.json"))
}


def words_of(runs: Mapping[str, list[int]]) -> dict[int, int]:
    return {int(first) + offset: word for first, words in runs.items() for offset, word in enumerate(words)}


def name_of(reading: Reading) -> str:
    return ".".join(part for part in (reading.node, reading.quantity.value, reading.phase) if part is not None)


READ_BY = [
    (name, driver)
    for name, case in CASES.items()
    if "polls" in case
    for driver in (case["driver"], *case.get("other_drivers", ()))
]


@pytest.mark.parametrize(("name", "driver_name"), READ_BY)
async def test_the_value_is_true(name: str, driver_name: str) -> None:
    case: dict[str, Any] = CASES[name]
    image = {Table(table): words_of(runs) for table, runs in case["registers"].items()}
    server = ModbusServer([SimulatedUnit(case["unit_id"], lambda: image)], "127.0.0.1")
    await server.start()
    link = Link(LinkSettings(host=server.host, port=server.port, timeout_s=5.0))
    driver = Catalogue().create(driver_name, ReadOptions())
    at = 1000.0
    try:
        for number, poll in enumerate(case["polls"]):
            for table, runs in poll.get("registers", {}).items():
                image[Table(table)].update(words_of(runs))
            at += poll.get("after_s", 10.0)
            scan = await driver.poll(link.unit(case["unit_id"]), lambda at=at: at)  # type: ignore[misc]
            found = {name_of(reading): reading.value for reading in scan.readings}
            assert {key: found[key] for key in poll["expected"]} == poll["expected"], f"poll {number}"
    finally:
        await link.close()
        await server.stop()


@pytest.mark.parametrize("name", CASES)
def test_a_case_names_its_source(name: str) -> None:
    assert re.search(r"[\w.-]+/[\w.-]+ (issues?|PR|pull request) \d+|made from the models", CASES[name]["source"])
