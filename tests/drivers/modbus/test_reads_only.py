"""Function codes 1 to 4 and 43/14 are all that can be sent.

Each test with a FaultServer proves it again for what it does, and `tests.conftest` for the whole run.
"""

from __future__ import annotations

import asyncio

import pytest

from drivers.modbus.framer import Ascii, Mbap, Rtu
from drivers.modbus.pdu import Identification, ReadRequest
from drivers.model import Table
from tests.faults import wire
from tests.faults.modbus import FaultServer


def test_a_request_can_only_be_a_read() -> None:
    functions = {table: Mbap().encode(ReadRequest(1, table, 0, 1))[7] for table in Table}
    assert functions == {Table.COIL: 1, Table.DISCRETE: 2, Table.HOLDING: 3, Table.INPUT: 4}
    assert Mbap().encode(Identification(1))[7:] == bytes((43, 14, 1, 0))
    request = ReadRequest(1, Table.HOLDING, 0, 1, 7)
    assert Mbap().encode(request)[7] == Rtu().encode(request)[1] == int(Ascii().encode(request)[3:5], 16) == 3


def test_the_record_of_the_run_knows_a_write() -> None:
    before = wire.seen()
    with wire.off_the_record():
        wire.record(bytes((6, 0, 0, 0, 1)))
    assert wire.seen() == before
    assert not {"5", "6", "15", "16", "22", "23", "43/13"} & wire.READS


@pytest.mark.usefixtures("off_the_record")
@pytest.mark.parametrize("function", [5, 6, 15, 16, 22, 23])
async def test_a_write_on_the_wire_does_not_stay_unseen(function: int) -> None:
    server = await FaultServer({(1, Table.HOLDING): {0: 1}}).__aenter__()
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(bytes((0, 1, 0, 0, 0, 6, 1, function, 0, 0, 0, 1)))
    assert await reader.readexactly(9) == bytes((0, 1, 0, 0, 0, 3, 1, function | 0x80, 1))
    writer.close()
    await writer.wait_closed()
    with pytest.raises(AssertionError, match=rf"not only reads on the wire: function codes \{{{function}\}}"):
        await server.__aexit__()
