"""Function 43/14: replies of any length, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadReplyError, IllegalFunctionError
from drivers.modbus.framer import Mbap, Rtu
from drivers.modbus.link import Link
from drivers.modbus.pdu import Identification
from drivers.model import Table
from tests.faults import framing as device
from tests.faults.modbus import FaultServer

LABELS = st.lists(st.binary(max_size=40), max_size=5)


def reply(labels: list[bytes]) -> bytes:
    objects = b"".join(bytes((number, len(text))) + text for number, text in enumerate(labels))
    return bytes((43, 14, 1, 1, 0, 0, len(labels))) + objects


@given(LABELS)
def test_a_reply_is_taken_when_it_is_complete_and_not_before(labels: list[bytes]) -> None:
    request = Identification(9, 5)
    pdu = reply(labels)
    tcp = bytes((0, 5, 0, 0, 0, len(pdu) + 1, 9)) + pdu
    rtu = device.Rtu().build(device.Query(9, pdu))
    for framing, frame in ((Mbap(), tcp), (Rtu(), rtu)):
        for end in range(len(frame)):
            assert framing.accept(request, frame[:end]) is None
        texts = framing.accept(request, frame)
        assert texts == tuple(label.decode("utf-8", "replace").strip("\0 ") for label in labels)


def test_texts_are_shown_without_what_fills_them_up() -> None:
    assert Identification(9).decode(reply([b"Acme\0\0", b" X1 ", b"\xff"])) == ("Acme", "X1", "\ufffd")


def test_an_object_that_comes_twice_is_shown_twice() -> None:
    pdu = bytes((43, 14, 1, 1, 0, 0, 2)) + 2 * bytes((0, 1, 65))
    assert Identification(9).decode(pdu) == ("A", "A")


@pytest.mark.parametrize(
    "pdu",
    [
        bytes((43, 13, 1, 1, 0, 0, 0)),
        bytes((43, 14, 1, 1, 0, 0, 2, 0, 1, 65)),
        bytes((43, 14, 1, 1, 0, 0, 0, 9)),
        bytes((3, 2, 0, 0, 0, 0, 0)),
    ],
)
def test_what_is_no_identification_is_refused(pdu: bytes) -> None:
    with pytest.raises(BadReplyError):
        Mbap().accept(Identification(9, 5), bytes((0, 5, 0, 0, 0, len(pdu) + 1, 9)) + pdu)


async def test_a_device_without_one_says_so_and_stays_usable() -> None:
    async with FaultServer({(1, Table.HOLDING): {0: 7}}) as server:
        link = Link(server.link())
        with pytest.raises(IllegalFunctionError):
            await link.identification(1, 5)
        assert list(await link.unit(1).read(Table.HOLDING, 0, 1)) == [7]
        await link.close()
    assert server.total_connections == 1
