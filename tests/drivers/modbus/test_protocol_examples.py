"""The specification's own example frames, and frames that real devices answered, through our framing and our links.

Source of each in `tests/fixtures/frames.json`.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from drivers.errors import IllegalAddressError
from drivers.modbus.framer import Mbap
from drivers.modbus.link import Link
from drivers.modbus.pdu import ReadRequest
from drivers.modbus.settings import LinkSettings
from drivers.model import Table
from drivers.simulator.modbus_server import SimulatedUnit

FRAMES = json.loads((Path(__file__).parents[2] / "fixtures" / "frames.json").read_text(encoding="utf-8"))
TABLES = {1: Table.COIL, 2: Table.DISCRETE, 3: Table.HOLDING, 4: Table.INPUT}

EXAMPLES = [
    (frame["what"], bytes.fromhex(frame["request_pdu"]), bytes.fromhex(frame["response_pdu"]))
    for frame in FRAMES["spec_examples"]["frames"]
]
READS = [example for example in EXAMPLES if example[1][0] in TABLES and example[2][0] in TABLES]
ids = "{0}".format


def asked(pdu: bytes) -> tuple[Table, int, int]:
    function, address, count = struct.unpack(">BHH", pdu)
    return TABLES[function], address, count


def contents(table: Table, data: bytes, count: int) -> list[int]:
    if table in (Table.COIL, Table.DISCRETE):
        return [data[bit // 8] >> bit % 8 & 1 for bit in range(count)]
    return list(struct.unpack(f">{count}H", data))


@pytest.mark.parametrize(("what", "request_pdu", "response_pdu"), READS, ids=ids)
def test_reads_of_the_specification(what: str, request_pdu: bytes, response_pdu: bytes) -> None:
    table, address, count = asked(request_pdu)
    request = ReadRequest(1, table, address, count)
    assert Mbap().encode(request)[7:] == request.pdu == request_pdu
    values = contents(table, response_pdu[2:], count)
    assert list(request.decode(response_pdu)) == values
    words = dict(enumerate(values, address))
    assert SimulatedUnit(1, lambda: {table: words}).answer(request_pdu) == response_pdu


def test_the_exception_of_the_specification() -> None:
    (example,) = [each for each in EXAMPLES if each[2][0] & 0x80]
    table, address, count = asked(example[1])
    with pytest.raises(IllegalAddressError):
        ReadRequest(1, table, address, count).decode(example[2])
    assert SimulatedUnit(1, lambda: {table: {}}).answer(example[1]) == example[2]


@pytest.mark.parametrize("frame", FRAMES["rtu_real"], ids=lambda frame: frame["source"].rpartition("/")[2])
async def test_frames_of_real_devices_over_a_link(frame: dict[str, str]) -> None:
    sent, answer = bytes.fromhex(frame["request"]), bytes.fromhex(frame["response"])
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readexactly(len(sent)))
        writer.write(answer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    link = Link(LinkSettings(transport="rtu_over_tcp", host="127.0.0.1", port=port, timeout_s=5.0))
    unit_id, table, address, count = sent[0], *asked(sent[1:6])
    try:
        words: Sequence[int] = await link.unit(unit_id).read(table, address, count)
    finally:
        await link.close()
        server.close()
        await server.wait_closed()
    assert received == [sent]
    assert list(words) == contents(table, answer[3:-2], count)
