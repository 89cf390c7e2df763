"""Second copies of replies on a line without transaction numbers: what is read, and which requests it costs.

In simulated time: a doubt costs two timeouts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from drivers.errors import BadReplyError, IllegalAddressError, SilentError
from drivers.modbus import Link
from drivers.model import Table
from tests.faults.framing import Query, Rtu
from tests.faults.modbus import Faults, FaultServer

pytestmark = pytest.mark.simulated_time

TIMEOUT_S = 1.0
# Different words, then equal ones.
WORDS = dict(enumerate(range(1000, 1100))) | dict.fromkeys(range(100, 400), 0)


class Line:
    """A link to a device, and the addresses of the requests that it sent."""

    def __init__(self, server: FaultServer) -> None:
        self.server = server
        self.link = Link(server.link(timeout_s=TIMEOUT_S))

    async def reads(self, *addresses: int, count: int = 2) -> list[int]:
        """Read the registers one after the other. Returns the addresses of the requests on the wire."""
        before = len(self.server.requests)
        for address in addresses:
            expected = [WORDS[place] for place in range(address, address + count)]
            assert list(await self.link.read(1, Table.HOLDING, address, count)) == expected
        return self.asked(before)

    def asked(self, since: int) -> list[int]:
        return [seen.address for seen in self.server.requests[since:]]

    async def sends(self, data: bytes) -> None:
        """The device sends bytes without a request."""
        self.server.inject(data)
        await asyncio.sleep(0.001)

    async def replies_with_a_copy(self, address: int, copy_of: int) -> list[int]:
        """The reply to this request is lost, and a copy of an earlier reply arrives instead."""
        before = len(self.server.requests)
        self.server.faults = Faults(lost={(address, 2): 1})
        reading = asyncio.create_task(self.link.read(1, Table.HOLDING, address, 2))
        await self.server.wait(lambda: len(self.server.requests) == before + 1)
        self.server.inject(reply(copy_of))
        assert list(await reading) == [WORDS[address], WORDS[address + 1]]
        return self.asked(before)


def reply(address: int, count: int = 2) -> bytes:
    data = b"".join(WORDS[place].to_bytes(2, "big") for place in range(address, address + count))
    return Rtu().build(Query(1, bytes((3, len(data))) + data))


def doubled(first: int, times: int) -> list[int]:
    """Addresses of requests from `first` on, 2 apart, of which `times` are sent twice after the first one."""
    asked = [first]
    for number in range(1, times + 1):
        asked += [first + 2 * number] * 2
    return [*asked, first + 2 * times + 2]


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    async with FaultServer({(1, Table.HOLDING): WORDS}, transport="rtu_over_tcp") as server:
        line = Line(server)
        yield line
        await line.link.close()


EQUAL = range(100, 100 + 2 * 6, 2)
"""Addresses with equal replies."""


async def test_on_a_line_without_copies_the_first_equal_reply_is_requested_twice(line: Line) -> None:
    assert await line.reads(*EQUAL) == [100, 102, 102, 104, 106, 108, 110]


async def test_the_same_registers_may_be_equal_again(line: Line) -> None:
    assert await line.reads(100, 100, 100) == [100, 100, 100]


async def test_an_equal_reply_after_every_copy_must_have_arrived_is_no_copy(line: Line) -> None:
    await line.reads(100)
    await asyncio.sleep(1.01 * TIMEOUT_S)
    assert await line.reads(102) == [102]
    await asyncio.sleep(0.99 * TIMEOUT_S)
    assert await line.reads(104) == [104, 104]


@pytest.mark.parametrize(("between", "asked"), [(31, [100, 100]), (32, [100])])
async def test_a_copy_is_late_by_fewer_than_32_requests(line: Line, between: int, asked: list[int]) -> None:
    await line.reads(102)
    await line.reads(*range(between))
    assert await line.reads(100) == asked


async def test_a_new_connection_has_no_copies_of_the_one_before(line: Line) -> None:
    await line.reads(100)
    await line.server.drop()
    assert await line.reads(102) == [102]


async def test_a_connection_that_ends_in_doubt_decides_nothing(line: Line) -> None:
    """The reply of the new connection is equal, but a copy could not have arrived there."""
    await line.reads(100)
    reading = asyncio.create_task(line.link.read(1, Table.HOLDING, 102, 2))
    await line.server.wait(lambda: len(line.server.requests) == 2)
    line.server.faults.close_instead = True
    await line.server.wait(lambda: len(line.server.requests) == 3)
    line.server.heal()
    assert list(await reading) == [0, 0]
    assert line.server.total_connections == 2
    assert await line.reads(104, 106) == [104, 104, 106]


async def test_equal_exceptions_are_as_equal_replies(line: Line) -> None:
    for address in (1000, 1002, 1004, 1006):
        with pytest.raises(IllegalAddressError):
            await line.link.read(1, Table.HOLDING, address, 2)
    assert line.asked(0) == [1000, 1002, 1002, 1004, 1006]


@pytest.mark.parametrize(
    ("data", "asked"),
    [
        (bytes(4), [110, 112, 114]),  # noise
        (bytes(5), [110, 110, 112, 114]),  # as long as an exception: perhaps a late reply
    ],
)
async def test_bytes_without_a_request_bring_the_doubt_back_if_they_can_be_a_reply(
    line: Line, data: bytes, asked: list[int]
) -> None:
    await line.reads(*EQUAL[:-1])
    await line.sends(data)
    assert await line.reads(110, 112, 114) == asked


async def test_a_copy_before_the_reply_shows_that_the_line_has_copies(line: Line) -> None:
    """Three equal replies without a copy are then needed, until equal replies are accepted at once."""
    line.server.faults = Faults(copy_after_s=0.03, latency_s=0.06)
    await line.reads(0)
    line.server.faults = Faults(latency_s=0.06)
    assert await line.reads(2) == [2]
    assert await line.reads(*range(104, 114, 2)) == doubled(104, 3)


async def test_a_copy_without_a_request_shows_that_the_line_has_copies(line: Line) -> None:
    await line.reads(0)
    await line.sends(reply(0))
    assert await line.reads(*range(100, 110, 2)) == doubled(100, 3)


async def test_a_copy_in_the_segment_of_the_reply_shows_that_the_line_has_copies(line: Line) -> None:
    line.server.faults.duplicate = True
    await line.reads(0)
    line.server.heal()
    assert await line.reads(*range(100, 110, 2)) == doubled(100, 3)


async def test_an_equal_copy_and_reply_in_one_segment_are_one_copy(line: Line) -> None:
    """The copy of 100 arrives with the reply of 102. A copy of that reply follows, and is none of 0."""
    await line.reads(100)
    line.server.faults.duplicate = True
    await line.reads(102)
    line.server.heal()
    assert await line.replies_with_a_copy(0, copy_of=102) == [0, 0]


async def test_a_copy_instead_of_the_reply_shows_that_the_line_has_copies(line: Line) -> None:
    await line.reads(2)
    assert await line.replies_with_a_copy(0, copy_of=2) == [0, 0]
    assert await line.reads(*range(100, 110, 2)) == doubled(100, 3)


async def test_on_a_line_with_copies_the_same_registers_are_in_doubt_as_well(line: Line) -> None:
    await line.reads(0)
    await line.sends(reply(0))
    assert await line.reads(*[100] * 5) == [100, *[100] * 6, 100]


async def test_a_copy_of_another_length_is_never_the_reply(line: Line) -> None:
    """Also where equal replies are accepted at once."""
    await line.reads(*EQUAL)
    line.server.faults = Faults(copy_after_s=0.03, latency_s=0.06)
    await line.reads(0)
    assert await line.reads(2, count=3) == [2]
    await line.reads(4)


async def test_a_copy_of_another_length_alone_is_no_doubt(line: Line) -> None:
    await line.reads(0)
    line.server.faults = Faults(lost={(4, 3): 1})
    reading = asyncio.create_task(line.link.read(1, Table.HOLDING, 4, 3))
    await line.server.wait(lambda: len(line.server.requests) == 2)
    line.server.inject(reply(0))
    with pytest.raises(BadReplyError, match="no valid reply within 1 s, only other bytes"):
        await reading
    assert await line.reads(4, count=3) == [4]


async def test_a_doubt_ends_with_the_reply_to_the_second_request(line: Line) -> None:
    assert await line.reads(100, 102, 0, 104, 106) == [100, 102, 102, 0, 104, 106]


async def test_a_copy_that_has_arrived_is_not_expected_again(line: Line) -> None:
    await line.reads(100)
    await line.sends(reply(100))
    assert await line.reads(102) == [102]


async def test_a_late_reply_between_the_two_requests_of_a_doubt_is_no_copy(line: Line) -> None:
    await line.reads(100)
    line.server.faults = Faults(lost={(102, 2): 1})
    reading = asyncio.create_task(line.link.read(1, Table.HOLDING, 102, 2))
    await line.server.wait(lambda: len(line.server.requests) == 2)
    line.server.inject(reply(100))
    await asyncio.sleep(1.5 * TIMEOUT_S)
    await line.sends(reply(102))
    assert list(await reading) == [0, 0]
    assert await line.reads(104, 106) == [104, 106]


@pytest.mark.parametrize("after", [0, 102])
async def test_a_doubt_whose_second_request_gets_no_reply_decides_nothing(after: int) -> None:
    """A serial port stays open after a time-out. The next reply differs because it is of other or later values."""
    words = dict(WORDS)
    async with FaultServer({(1, Table.HOLDING): words}, transport="rtu") as server:
        line = Line(server)
        await line.reads(100)
        reading = asyncio.create_task(line.link.read(1, Table.HOLDING, 102, 2))
        await server.wait(lambda: len(server.requests) == 2)
        server.faults.silent = True
        with pytest.raises(SilentError):
            await reading
        server.heal()
        words[102] = 7
        await line.link.read(1, Table.HOLDING, after, 2)
        assert await line.reads(100, 104) == [100, 104, 104]
        assert await line.reads(106) == [106], "one check is enough on a line without copies"
        await line.link.close()
