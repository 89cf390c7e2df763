"""Words that real devices answered, through the line as it is used: simulated device, socket, link, profile.

A dump in `tests/fixtures/dumps` is `type_vendor_model.json`: the registers (first address → words) and, in the
contract's units and signs, what they stand for; null is a value that the device does not have. `asserted_by_source` is
false where the source shows the words alone.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from drivers.catalogue import Catalogue
from drivers.driver import ReadOptions
from drivers.modbus.link import Link
from drivers.modbus.settings import LinkSettings
from drivers.model import NodeType, Reading, Table
from drivers.simulator.modbus_server import Image, ModbusServer
from drivers.simulator.register_image import dump_unit
from tests.support.cases import for_each
from tests.support.profiles import PROFILES

FIXTURES = Path(__file__).parents[2] / "fixtures"
DUMPS = {
    path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted((FIXTURES / "dumps").glob("*.json"))
}


def image_of(dump: Mapping[str, Any]) -> Image:
    return {
        Table(table): {int(first) + offset: word for first, words in runs.items() for offset, word in enumerate(words)}
        for table, runs in dump["registers"].items()
    }


def name_of(reading: Reading) -> str:
    return ".".join(part for part in (reading.node, reading.quantity.value, reading.phase) if part is not None)


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


@for_each("name", DUMPS)
async def test_a_dump_reads_as_its_source_says(name: str) -> None:
    dump = DUMPS[name]
    server = ModbusServer([dump_unit(image_of(dump), dump["unit_id"])], "127.0.0.1")
    await server.start()
    link = Link(LinkSettings(host=server.host, port=server.port, timeout_s=5.0))
    try:
        driver = Catalogue().create(dump["driver"], ReadOptions())
        assert driver.defaults.unit_id in (None, dump["unit_id"])
        scan = await driver.poll(link.unit(dump["unit_id"]), time.monotonic)
    finally:
        await link.close()
        await server.stop()
    found = {name_of(reading): reading.value for reading in scan.readings}
    assert {key: found[key] for key in dump["expected"]} == pytest.approx(dump["expected"])


@for_each("name", DUMPS)
def test_a_dump_is_what_its_name_says_and_names_its_source(name: str) -> None:
    dump = DUMPS[name]
    assert name == f"{dump['type']}_{slug(dump['vendor'])}_{slug(dump['model'])}.json"
    assert dump["type"] in set(NodeType)
    assert dump["driver"] in PROFILES
    assert re.match(r"[\w.-]+/[\w.-]+(@[0-9a-f]{40}:\S| issue \d+ )", dump["source"])
    words = [word for runs in dump["registers"].values() for run in runs.values() for word in run]
    assert all(isinstance(word, int) and 0 <= word <= 0xFFFF for word in words)


def test_there_are_many_dumps_of_many_vendors() -> None:
    assert len(DUMPS) >= 47
    assert len({dump["vendor"] for dump in DUMPS.values()}) >= 20
