"""The requests of a poll to a device that is busy, and requests that are divided."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from drivers.errors import BusyError
from drivers.model import Table
from drivers.registers import Block, Limits, PollSession, RefusalMemory, Span, SplitReader


class Busy:
    """Replies to the first `times` requests that it is busy; then the value of a register is its address."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.asked: list[tuple[Table, int, int, float]] = []

    async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
        self.asked.append((table, address, count, round(asyncio.get_running_loop().time() - self.began, 3)))
        if len(self.asked) <= self.times:
            raise BusyError(6, "busy")
        return list(range(address, address + count))

    began = 0.0


@pytest.mark.simulated_time
async def test_a_busy_device_is_asked_again_after_a_moment() -> None:
    device = Busy(times=1)
    device.began = asyncio.get_running_loop().time()
    session = PollSession(device, lambda: 7.0)
    assert await session.read(Table.INPUT, 5, 2) == [5, 6]
    assert device.asked == [(Table.INPUT, 5, 2, 0.0), (Table.INPUT, 5, 2, 0.3)]
    assert (session.requests, session.started) == (2, 7.0)
    assert await session.read(Table.INPUT, 9, 1) == [9]
    assert session.requests == 3


@pytest.mark.simulated_time
async def test_a_device_that_is_still_busy_is_not_asked_a_third_time() -> None:
    device = Busy(times=2)
    session = PollSession(device, lambda: 7.0)
    with pytest.raises(BusyError):
        await session.read(Table.INPUT, 5, 2)
    assert session.requests == len(device.asked) == 2


@pytest.mark.simulated_time
async def test_a_block_of_a_busy_device_is_read_again_and_the_next_one_as_usual() -> None:
    device = Busy(times=1)
    session = PollSession(device, lambda: 7.0)
    memory = RefusalMemory([[Span(Table.INPUT, 5, 2)], [Span(Table.INPUT, 900, 1)]], Limits())
    found: list[tuple[Block, list[int], float]] = []
    assert await session.read_blocks(
        memory, memory.blocks, lambda *reply: found.append((reply[0], [*reply[1]], reply[2]))
    )
    assert found == [(Block(Table.INPUT, 5, 2), [5, 6], 7.0), (Block(Table.INPUT, 900, 1), [900], 7.0)]
    assert (session.requests, session.errors) == (3, [])


async def test_large_requests_of_registers_are_divided_and_those_of_bits_are_not() -> None:
    device = Busy(times=0)
    reader = SplitReader(device, 4)
    assert await reader.read(Table.HOLDING, 10, 9) == list(range(10, 19))
    assert await reader.read(Table.COIL, 10, 9) == list(range(10, 19))
    assert [each[:3] for each in device.asked] == [
        (Table.HOLDING, 10, 4),
        (Table.HOLDING, 14, 4),
        (Table.HOLDING, 18, 1),
        (Table.COIL, 10, 9),
    ]
