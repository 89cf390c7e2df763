"""Every kind of trouble in random order, on real sockets and serial lines: what is read is right, or an error."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from drivers.errors import DriverError
from drivers.modbus.link import Link
from drivers.model import Table
from tests.faults.modbus import Faults, FaultServer, registers_from

TIMEOUT_S = 0.1
UNITS = (0, 1, 2)
ON_EVERY_TRANSPORT: list[Callable[[random.Random], Faults]] = [
    *[lambda _: Faults()] * 4,
    lambda _: Faults(silent=True),
    # Late, but not by another timeout: without a transaction that could not be told from a reply in time.
    lambda rng: Faults(latency_s=rng.choice([0.01, 0.12])),
    lambda rng: Faults(garbage=rng.randbytes(rng.randint(1, 40))),
    lambda rng: Faults(unit_offset=rng.choice([1, 2, 255])),
    lambda _: Faults(function_offset=1),
    lambda rng: Faults(fewer=rng.randint(1, 2)),
    lambda rng: Faults(more=rng.randint(1, 2)),
    lambda rng: Faults(exception=rng.choice([1, 2, 3, 4, 5, 6, 10, 11])),
    lambda _: Faults(max_registers=1),
    lambda _: Faults(dribble_s=0.002),
]
ON_A_NETWORK: list[Callable[[random.Random], Faults]] = [
    lambda _: Faults(close_instead=True),
    lambda _: Faults(reset_mid_frame=True),
]
WITH_A_HEADER: list[Callable[[random.Random], Faults]] = [
    lambda _: Faults(stale=True),
    lambda _: Faults(duplicate=True),
    lambda rng: Faults(transaction_offset=rng.choice([1, 0xFFFF])),
    lambda rng: Faults(trailing=rng.randbytes(rng.randint(1, 10))),
    lambda rng: Faults(protocol=rng.randint(1, 9)),
]


@pytest.mark.seeds(1)
@pytest.mark.parametrize("transport", ["tcp", "udp", "rtu_over_tcp", "ascii_over_tcp", "rtu", "ascii"])
async def test_what_is_read_is_right_or_an_error(transport: str, seed: int) -> None:
    rng = random.Random(f"{transport} {seed}")
    kinds = list(ON_EVERY_TRANSPORT)
    kinds += [] if transport in ("rtu", "ascii") else ON_A_NETWORK
    kinds += WITH_A_HEADER if transport in ("tcp", "udp") else []
    tables = {(unit, Table.HOLDING): registers_from(0, range(1000 * unit, 1000 * unit + 50)) for unit in UNITS}
    rounds = 30 if transport in ("tcp", "udp") else 8
    right = wrong = 0
    async with FaultServer(tables, transport=transport) as server:
        link = Link(server.link())

        async def read(unit: int, address: int, count: int) -> None:
            nonlocal right, wrong
            try:
                words = await link.read(unit, Table.HOLDING, address, count, timeout_s=TIMEOUT_S)
            except DriverError:
                return
            good = list(words) == list(range(1000 * unit + address, 1000 * unit + address + count))
            right, wrong = right + good, wrong + (not good)

        for _ in range(rounds):
            server.unit_faults = {unit: rng.choice(kinds)(rng) for unit in UNITS}
            reads = [
                asyncio.ensure_future(read(rng.choice(UNITS), rng.randrange(40), rng.randint(1, 4))) for _ in range(4)
            ]
            if rng.random() < 0.2:
                await asyncio.sleep(rng.random() * TIMEOUT_S)
                reads[0].cancel()
            await asyncio.gather(*reads, return_exceptions=True)
        server.heal()
        for unit in UNITS:
            assert list(await link.read(unit, Table.HOLDING, 7, 2)) == [1000 * unit + 7, 1000 * unit + 8]
        await link.close()
    assert wrong == 0
    assert right >= rounds // 2
    assert transport == "udp" or server.max_connections == 1
