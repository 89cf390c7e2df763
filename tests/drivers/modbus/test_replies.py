"""Replies that are not the answer: always an error, within the timeout, and the link goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from drivers.errors import (
    BadReplyError,
    BusyError,
    GatewayError,
    IllegalAddressError,
    RtuFrameError,
    SilentError,
    WrongTransactionError,
)
from drivers.modbus.framer import Mbap
from drivers.modbus.link import Link
from drivers.modbus.pdu import ReadRequest
from drivers.model import Table
from tests.faults.modbus import Faults, FaultServer, registers_from

REGISTERS = {
    (1, Table.HOLDING): registers_from(0, range(1000, 1200)),
    (2, Table.HOLDING): registers_from(0, range(1000, 1200)),
    (1, Table.COIL): registers_from(0, [1, 0, 1] * 10),
}
TIMEOUT_S = 0.1

# Never a valid reply, whatever the framing.
BROKEN = {
    "other unit": Faults(unit_offset=1),
    "other function": Faults(function_offset=1),
    "fewer registers": Faults(fewer=1),
    "no registers": Faults(fewer=10),
    "more registers": Faults(more=1),
    "garbage": Faults(garbage=b"\x00\x15\xff\x80 login: "),
    "zeros": Faults(garbage=bytes(300)),
    "too much": Faults(garbage=b"\x2a" * 5000),
    "nothing but an end": Faults(garbage=b"\r\n\r\n"),
    "dribbled too slowly": Faults(dribble_s=TIMEOUT_S / 4),
}
# What only a header with transaction and length can show.
BROKEN_HEADERS = {
    "foreign transaction": Faults(transaction_offset=1),
    "foreign transaction far away": Faults(transaction_offset=0x8000),
    "other protocol": Faults(protocol=1),
    "bytes behind": Faults(trailing=b"\x00"),
}


@pytest.fixture(params=["tcp", "udp", "rtu_over_tcp", "ascii_over_tcp", "rtu", "ascii"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[FaultServer]:
    async with FaultServer(REGISTERS, transport=request.param) as server:
        yield server


async def is_refused(server: FaultServer, faults: Faults, *, warm: bool) -> None:
    """A read fails for `faults` within the timeout; the next read, of other registers, succeeds."""
    link = Link(server.link())
    loop = asyncio.get_running_loop()
    if warm:
        await link.read(1, Table.HOLDING, 50, 10)
    server.faults = faults
    started = loop.time()
    with pytest.raises((BadReplyError, SilentError)):
        await link.read(1, Table.HOLDING, 0, 10, timeout_s=TIMEOUT_S)
    assert loop.time() - started < TIMEOUT_S + 2
    server.heal()
    assert list(await link.read(2, Table.HOLDING, 20, 10)) == list(range(1020, 1030))
    await link.close()


@pytest.mark.parametrize("fault", BROKEN)
async def test_is_an_error_on_every_transport(server: FaultServer, fault: str) -> None:
    await is_refused(server, BROKEN[fault], warm=True)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("fault", BROKEN_HEADERS)
async def test_is_an_error_with_a_header(transport: str, fault: str) -> None:
    async with FaultServer(REGISTERS, transport=transport) as server:
        await is_refused(server, BROKEN_HEADERS[fault], warm=False)


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        (Faults(unit_offset=1), "unit 1, holding 0-9: the reply is from unit 2"),
        (Faults(function_offset=1), "another function code"),
        (Faults(fewer=1), "wrong length"),
        (Faults(more=1), "wrong length"),
        (Faults(protocol=9), "not Modbus"),
        (Faults(garbage=bytes.fromhex("0001 0000 0001 01 03 02")), "not Modbus"),
        (Faults(garbage=bytes.fromhex("0001 0000 00FF 01 03 02")), "not Modbus"),
        (Faults(garbage=b"HTTP/1.1 400 Bad Request\r\n"), "not Modbus"),
        (Faults(garbage=b"HTTP/1.1"), "not Modbus"),
        (Faults(garbage=bytes.fromhex("0103 04 12345678 8108")), "not Modbus"),  # a wrong checksum
        (Faults(garbage=bytes.fromhex("0117 80 12345678 8107")), "not Modbus"),  # a function that was never requested
        (Faults(garbage=bytes.fromhex("0103 04 12345678 8107")), "the replies are RTU frames"),
        (Faults(garbage=bytes.fromhex("1103 04 12345678 90C6")), "the replies are RTU frames"),
    ],
)
async def test_says_at_once_what_is_wrong(faults: Faults, message: str) -> None:
    async with FaultServer(REGISTERS) as server:
        server.faults = faults
        link = Link(server.link(timeout_s=60))
        with pytest.raises(BadReplyError, match=message):
            await link.read(1, Table.HOLDING, 0, 10)
        await link.close()


@pytest.mark.parametrize(
    ("faults", "error", "message"),
    [
        (
            Faults(transaction_offset=1),
            WrongTransactionError,
            "the reply has the transaction number of another",
        ),
        (Faults(garbage=bytes.fromhex("0103 02 12")), BadReplyError, "no valid reply within 0.3 s, only other bytes"),
        (Faults(garbage=bytes.fromhex("0103 0000 000A C5CD")), RtuFrameError, "the replies are RTU frames"),
        (Faults(garbage=bytes.fromhex("018302 C0F1")), RtuFrameError, "the replies are RTU frames"),
        (Faults(dribble_s=0.1), BadReplyError, "no valid reply within 0.3 s, only other bytes"),
        (Faults(garbage=b""), SilentError, "no answer within 0.3 s"),
    ],
)
async def test_says_after_the_timeout_what_came(faults: Faults, error: type[Exception], message: str) -> None:
    async with FaultServer(REGISTERS) as server:
        server.faults = faults
        link = Link(server.link(timeout_s=0.3))
        with pytest.raises(error, match=message):
            await link.read(1, Table.HOLDING, 0, 10)
        await link.close()


@pytest.mark.simulated_time
@pytest.mark.parametrize(
    ("count", "message"),
    [(2048, "no valid reply within 1 s, only other bytes"), (2049, "the received bytes are not Modbus")],
)
async def test_more_than_2048_bytes_are_not_waited_for(count: int, message: str) -> None:
    async with FaultServer(REGISTERS, transport="rtu_over_tcp") as server:
        server.faults.garbage = b"\x2a" * count
        link = Link(server.link(timeout_s=1.0))
        with pytest.raises(BadReplyError, match=message):
            await link.read(1, Table.HOLDING, 0, 10)
        await link.close()


@pytest.mark.simulated_time
async def test_a_reply_that_ends_behind_2048_bytes_is_read() -> None:
    async with FaultServer(REGISTERS, transport="rtu_over_tcp") as server:
        server.faults.noise = bytes(2040)
        link = Link(server.link())
        assert list(await link.read(1, Table.HOLDING, 20, 10)) == list(range(1020, 1030))
        await link.close()


async def test_a_part_of_a_frame_in_a_datagram_is_not_the_beginning_of_the_next() -> None:
    async with FaultServer(REGISTERS, transport="udp") as server:
        server.faults.noise = bytes.fromhex("0001 0000 0017 01 03 14 03")
        link = Link(server.link())
        assert list(await link.read(1, Table.HOLDING, 20, 10)) == list(range(1020, 1030))
        await link.close()


async def test_a_reply_that_is_sent_twice_is_read_once(server: FaultServer) -> None:
    """Both copies come in one segment, in two datagrams, or at once on a line."""
    server.faults.duplicate = True
    link = Link(server.link())
    for address in range(5):
        assert list(await link.read(1, Table.HOLDING, address, 10)) == list(range(1000 + address, 1010 + address))
    with pytest.raises(IllegalAddressError):
        await link.read(1, Table.HOLDING, 1000, 10)
    assert list(await link.read(1, Table.COIL, 0, 10)) == [1, 0, 1, 1, 0, 1, 1, 0, 1, 1]
    await link.close()
    assert server.total_connections == 1


async def test_a_copy_in_its_own_segment_is_dropped() -> None:
    async with FaultServer(REGISTERS) as server:
        link = Link(server.link())
        for number in range(1, 4):
            assert list(await link.read(1, Table.HOLDING, number, 1)) == [1000 + number]
            server.inject(number.to_bytes(2) + bytes.fromhex("0000 0005 01 03 02") + (1000 + number).to_bytes(2))
            await asyncio.sleep(0.02)  # the copy arrives
        await link.close()
    assert server.total_connections == 1


@pytest.mark.parametrize(("code", "error"), [(2, IllegalAddressError), (6, BusyError), (11, GatewayError)])
async def test_a_copy_of_an_exception_in_its_own_segment_is_dropped(code: int, error: type[Exception]) -> None:
    async with FaultServer(REGISTERS) as server:
        link = Link(server.link())
        for transaction in (1, 3):
            server.faults.exception = code
            with pytest.raises(error):
                await link.read(1, Table.HOLDING, 0, 1)
            server.heal()
            server.inject(transaction.to_bytes(2) + bytes.fromhex("0000 0003 01 83") + bytes((code,)))
            await asyncio.sleep(0.02)  # the copy arrives
            assert list(await link.read(1, Table.HOLDING, 5, 1)) == [1005]
        await link.close()
    assert server.total_connections == 1


@pytest.mark.parametrize(
    "received",
    [
        "{n} 0000 0005 01 03",  # an incomplete copy
        "{n} 0000 0005 01 03 02 03E8 {n} 0000 0005 02 03 02 03E8",  # a copy, and a reply of another unit
        "{n} 0001 0005 01 03 02 03E8",  # another protocol
        "{n} 0000 0005 02 03 02 03E8",  # another unit
    ],
)
async def test_what_arrives_in_its_own_segment_and_is_no_copy_ends_the_connection(received: str) -> None:
    async with FaultServer(REGISTERS) as server:
        link = Link(server.link())
        for number in range(1, 4):
            assert list(await link.read(1, Table.HOLDING, 0, 1)) == [1000]
            assert server.total_connections == number
            server.inject(bytes.fromhex(received.format(n=f"{number:04X}")))
            await server.wait(lambda: not server.connections)
        await link.close()


LINES = ["rtu", "rtu_over_tcp", "ascii_over_tcp"]


@pytest.mark.parametrize("transport", LINES)
@pytest.mark.parametrize(("copy_after_s", "latency_s"), [(0.03, 0.06), (0.03, 0.0), (0.15, 0.02)])
async def test_a_copy_that_arrives_after_the_next_request_is_dropped(
    transport: str, copy_after_s: float, latency_s: float
) -> None:
    """The copy has the unit, the function code and the length of the next reply."""
    async with FaultServer(REGISTERS, transport=transport) as server:
        server.faults = Faults(copy_after_s=copy_after_s, latency_s=latency_s)
        link = Link(server.link(timeout_s=3))
        for address in range(8):
            assert list(await link.read(1, Table.HOLDING, address, 4)) == list(range(1000 + address, 1004 + address))
        # Other lengths, and exceptions.
        assert list(await link.read(1, Table.HOLDING, 9, 2)) == [1009, 1010]
        assert list(await link.read(1, Table.HOLDING, 7, 5)) == [1007, 1008, 1009, 1010, 1011]
        for address in (1000, 1010):
            with pytest.raises(IllegalAddressError):
                await link.read(1, Table.HOLDING, address, 2)
            assert list(await link.read(1, Table.HOLDING, 9, 2)) == [1009, 1010]
        await link.close()
    assert server.total_connections == 1


@pytest.mark.parametrize("transport", LINES)
async def test_equal_replies_of_different_registers_are_read(transport: str) -> None:
    """The first equal reply is requested twice. Then the line is known to send no copies."""
    async with FaultServer({(1, Table.HOLDING): dict.fromkeys(range(40), 0)}, transport=transport) as server:
        link = Link(server.link(timeout_s=0.5))
        for address in range(0, 20, 2):
            assert list(await link.read(1, Table.HOLDING, address, 2)) == [0, 0]
        await link.close()
    assert [seen.address for seen in server.requests] == [0, 2, 2, *range(4, 20, 2)]
    assert server.total_connections == 1


@pytest.mark.parametrize("transport", LINES)
async def test_equal_replies_and_their_late_copies(transport: str) -> None:
    async with FaultServer(
        {(1, Table.HOLDING): dict.fromkeys(range(6), 0) | {6: 7, 7: 8}}, transport=transport
    ) as server:
        server.faults = Faults(copy_after_s=0.03, latency_s=0.05)
        link = Link(server.link(timeout_s=3))
        for _ in range(3):
            for address in range(0, 6, 2):
                assert list(await link.read(1, Table.HOLDING, address, 2)) == [0, 0]
            assert list(await link.read(1, Table.HOLDING, 6, 2)) == [7, 8]
        await link.close()
    assert server.total_connections == 1


async def test_noise_after_the_replies_does_not_bring_the_doubt_back() -> None:
    async with FaultServer({(1, Table.HOLDING): dict.fromkeys(range(40), 0)}, transport="rtu") as server:
        link = Link(server.link(timeout_s=0.5))
        for address in range(0, 12, 2):
            assert list(await link.read(1, Table.HOLDING, address, 2)) == [0, 0]
            server.inject(b"\x00")
            await asyncio.sleep(0.01)  # the byte arrives
        await link.close()
    assert [seen.address for seen in server.requests] == [0, 2, 2, 4, 6, 8, 10]


async def test_a_new_connection_does_not_bring_the_doubt_back() -> None:
    """Some converters close the connection after each poll."""
    async with FaultServer({(1, Table.HOLDING): dict.fromkeys(range(40), 0)}, transport="rtu_over_tcp") as server:
        link = Link(server.link(timeout_s=0.5))
        for _ in range(3):
            for address in range(0, 6, 2):
                assert list(await link.read(1, Table.HOLDING, address, 2)) == [0, 0]
            await server.drop()
        await link.close()
    assert [seen.address for seen in server.requests] == [0, 2, 2, 4, 0, 2, 4, 0, 2, 4]


async def test_a_copy_alone_is_not_the_reply() -> None:
    """The device does not reply to the second request. Its only reply is the copy."""
    async with FaultServer(REGISTERS, transport="rtu") as server:
        server.faults.copy_after_s = 0.05
        link = Link(server.link(timeout_s=0.5))
        assert list(await link.read(1, Table.HOLDING, 0, 2)) == [1000, 1001]
        server.faults.silent = True
        with pytest.raises(SilentError):
            await link.read(1, Table.HOLDING, 2, 2)
        server.heal()
        assert list(await link.read(1, Table.HOLDING, 2, 2)) == [1002, 1003]
        await link.close()


async def test_the_case_of_a_gateway_that_sends_each_reply_twice() -> None:
    """Both frames of `gateway_reply_twice` in the collected cases."""
    copy = bytes.fromhex("0001 0000 0007 03 04 04 449A5000")
    request = ReadRequest(3, Table.INPUT, 0x34, 2, 1)
    assert Mbap().accept(request, copy + copy) == (0x449A, 0x5000)
    for end in range(len(copy) + 1, 2 * len(copy)):
        assert Mbap().accept(request, (copy + copy)[:end]) is None
    with pytest.raises(BadReplyError, match="wrong length"):
        Mbap().accept(request, copy + b"\x02")


@pytest.mark.parametrize(
    ("unit_id", "received", "wrong_number"),
    [
        (3, "0009 0000 0007 03 04 04 449A5000", True),
        (3, "0009 0000 0003 03 84 02", True),
        (3, "0009 0000 0007 04 04 04 449A5000", False),  # another unit
        (3, "0009 0000 0007 03 03 04 449A5000", False),  # another function
        (3, "0001 0000 0007 03 04 04 449A5000 0001", False),  # the right number, and an incomplete copy
        (0, "0001 0000 0007 00 04 04", False),  # an incomplete reply
    ],
)
def test_what_came_within_the_timeout_is_a_wrong_number_only_if_all_else_is_right(
    unit_id: int, received: str, wrong_number: bool
) -> None:
    request = ReadRequest(unit_id, Table.INPUT, 0x34, 2, 1)
    error = Mbap().rejected(request, bytes.fromhex(received), 1.0)
    assert isinstance(error, WrongTransactionError) == wrong_number


def test_two_replies_with_different_values_are_the_first() -> None:
    """A gateway that reads the device twice."""
    request = ReadRequest(3, Table.INPUT, 0x34, 2, 1)
    first, second = bytes.fromhex("0001 0000 0007 03 04 04 449A5000"), bytes.fromhex("0001 0000 0007 03 04 04 559A5000")
    assert Mbap().accept(request, first + second) == (0x449A, 0x5000)
    with pytest.raises(BadReplyError, match="wrong length"):
        Mbap().accept(request, first + bytes.fromhex("0001 0000 0007 03 04 05"))


async def test_a_gateway_with_a_wrong_number_in_the_first_reply_is_read_by_the_second() -> None:
    async with FaultServer(REGISTERS) as server:
        server.faults.first_transaction_offset = 7
        link = Link(server.link(timeout_s=0.5))
        for address in range(3):
            assert list(await link.read(1, Table.HOLDING, address, 1)) == [1000 + address]
            assert [seen.address for seen in server.requests] == [0, 0, *range(1, address + 1)]
        await link.close()
    assert (link.wrong_transactions, server.total_connections) == (1, 1)


async def test_a_later_reply_with_a_wrong_number_ends_the_connection() -> None:
    """It may be a late reply of this connection."""
    async with FaultServer(REGISTERS) as server:
        link = Link(server.link())
        await link.read(1, Table.HOLDING, 0, 1)
        server.faults.transaction_offset = 7
        with pytest.raises(WrongTransactionError):
            await link.read(1, Table.HOLDING, 0, 1, timeout_s=0.2)
        server.heal()
        assert list(await link.read(1, Table.HOLDING, 6, 1)) == [1006]
        await link.close()
    assert server.total_connections == 2


async def test_a_reply_in_pieces_is_read(server: FaultServer) -> None:
    if server.link().transport == "udp":
        server.faults.latency_s = 0.01  # datagrams have no pieces
    else:
        server.faults.dribble_s = 0.001
    link = Link(server.link(timeout_s=10))
    assert list(await link.read(1, Table.HOLDING, 20, 10)) == list(range(1020, 1030))
    assert list(await link.read(1, Table.COIL, 0, 10)) == [1, 0, 1, 1, 0, 1, 1, 0, 1, 1]
    await link.close()


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_what_a_gateway_still_had_for_an_earlier_request_is_skipped(transport: str) -> None:
    async with FaultServer(REGISTERS, transport=transport) as server:
        link = Link(server.link())
        await link.read(1, Table.HOLDING, 0, 10)
        server.faults.stale = True
        for address in range(1, 5):
            assert list(await link.read(1, Table.HOLDING, address, 10)) == list(range(1000 + address, 1010 + address))
        await link.close()
    assert server.total_connections == 1


@pytest.mark.parametrize(
    "noise", [b"\x00", b"\xff\xff", b"\x01\x03", b"\x01\x03\x14", b"\x01\x83\x02", b":", b":01\r\n"]
)
@pytest.mark.parametrize("transport", ["rtu", "rtu_over_tcp", "ascii"])
async def test_noise_on_a_line_before_the_reply_is_skipped(transport: str, noise: bytes) -> None:
    async with FaultServer(REGISTERS, transport=transport) as server:
        server.faults.noise = noise
        link = Link(server.link())
        assert list(await link.read(1, Table.HOLDING, 20, 10)) == list(range(1020, 1030))
        await link.close()


async def test_an_adapter_that_echoes_the_request() -> None:
    async with FaultServer(REGISTERS, transport="rtu") as server:
        server.faults.noise = bytes.fromhex("01 03 0000 000A C5CD")
        link = Link(server.link())
        assert list(await link.read(1, Table.HOLDING, 0, 10)) == list(range(1000, 1010))
        await link.close()
