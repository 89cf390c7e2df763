"""Serial lines over pseudo-terminals; what all transports share is in test_bus.py and test_bus_replies.py."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import select
import termios
import threading
import time
import tty
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from serial.serialposix import TCSETS2

from drivers.errors import ConnectError, LinkError, SilentError
from drivers.modbus.link import Link
from drivers.modbus.serial_port import data_bits
from drivers.modbus.settings import LinkSettings
from drivers.model import Table
from drivers.protocol import TransportName
from tests.faults.framing import FRAMINGS, Query
from tests.faults.modbus import Faults, FaultServer, registers_from

REGISTERS = {
    (unit_id, Table.HOLDING): registers_from(0, range(100 * unit_id, 100 * unit_id + 50)) for unit_id in (1, 2)
}


async def test_a_silent_unit_costs_its_neighbours_neither_poll_nor_connection() -> None:
    async with FaultServer(REGISTERS, transport="rtu") as server:
        server.unit_faults[1] = Faults(silent=True)
        link = Link(server.link(timeout_s=0.1))
        for _ in range(2):
            with pytest.raises(SilentError):
                await link.read(1, Table.HOLDING, 0, 2)
            assert list(await link.read(2, Table.HOLDING, 0, 2, timeout_s=5)) == [200, 201]
        await link.close()


@pytest.mark.parametrize("transport", ["rtu", "ascii"])
async def test_an_adapter_that_is_pulled_out(transport: TransportName) -> None:
    async with FaultServer(REGISTERS, transport=transport) as server:
        link = Link(server.link(timeout_s=60))
        assert list(await link.read(1, Table.HOLDING, 0, 2)) == [100, 101]
        server.faults.silent = True
        read = asyncio.ensure_future(link.read(1, Table.HOLDING, 0, 2))
        await server.wait(lambda: len(server.requests) == 2)
        server.hang_up()
        with pytest.raises(LinkError, match=f"^{server.link().serial_port}: "):
            await read
        with pytest.raises(LinkError, match=r"no such serial port; is the adapter plugged in\?"):
            await link.read(1, Table.HOLDING, 0, 2)
        await link.close()


@pytest.mark.parametrize("call", ["read", "write"])
async def test_an_adapter_that_fails(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    async with FaultServer(REGISTERS, transport="rtu") as server:
        settings = server.link(timeout_s=60)
        link = Link(settings)
        assert list(await link.read(1, Table.HOLDING, 0, 2)) == [100, 101]
        real: Callable[..., object] = getattr(os, call)

        def fail(fd: int, *arguments: object) -> object:
            if os.isatty(fd) and os.ttyname(fd) == settings.serial_port:
                raise OSError(errno.EIO, "Input/output error")
            return real(fd, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            with pytest.raises(LinkError, match=f"^{settings.serial_port}: .*Input/output error"):
                await link.read(1, Table.HOLDING, 0, 2)
        assert list(await link.read(1, Table.HOLDING, 0, 2)) == [100, 101]
        await link.close()


async def test_a_port_that_had_no_bytes_after_all(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FaultServer(REGISTERS, transport="rtu") as server:
        settings = server.link(timeout_s=60)
        link = Link(settings)
        real, empty = os.read, [True]

        def read(fd: int, count: int) -> bytes:
            if empty and os.isatty(fd) and os.ttyname(fd) == settings.serial_port:
                empty.clear()
                raise BlockingIOError
            return real(fd, count)

        monkeypatch.setattr(os, "read", read)
        mistakes: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: mistakes.append(context))
        assert list(await link.read(1, Table.HOLDING, 0, 2)) == [100, 101]
        await link.close()
    assert (empty, mistakes) == ([], [])


async def test_a_port_that_another_program_has() -> None:
    async with FaultServer(REGISTERS, transport="rtu") as server:
        first, second = Link(server.link()), Link(server.link())
        await first.read(1, Table.HOLDING, 0, 2)
        with pytest.raises(LinkError, match="the serial port is in use by another program"):
            await second.read(1, Table.HOLDING, 0, 2)
        await first.close()
        assert list(await second.read(1, Table.HOLDING, 0, 2)) == [100, 101]
        await second.close()


@pytest.mark.parametrize(
    ("port", "words"),
    [
        ("/dev/no-such-port", "no such serial port"),
        ("/dev/null", "it is not a serial port"),
        ("/", "it is not a serial port"),
    ],
)
async def test_a_port_that_is_none(port: str, words: str) -> None:
    link = Link(LinkSettings(transport="rtu", serial_port=port))
    with pytest.raises(LinkError, match=f"^{port}: {words}"):
        await link.read(1, Table.HOLDING, 0, 1)
    await link.close()


@pytest.mark.parametrize("baudrate", [1 << 31, 4_000_000_000, 1 << 70])
async def test_a_baud_rate_that_the_system_cannot_set(baudrate: int) -> None:
    async with FaultServer(REGISTERS, transport="rtu") as server:
        settings = server.link(timeout_s=60)
        link = Link(replace(settings, baudrate=baudrate))
        for _ in range(2):
            with pytest.raises(ConnectError, match=f"^{settings.serial_port}: {baudrate} baud is too fast for this"):
                await link.read(1, Table.HOLDING, 0, 2)
        link = Link(settings)
        assert list(await link.read(1, Table.HOLDING, 0, 2)) == [100, 101], "nothing keeps the port open"
        await link.close()


async def test_a_baud_rate_that_the_port_rejects(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FaultServer(REGISTERS, transport="rtu") as server:
        settings = server.link(timeout_s=60)
        real = fcntl.ioctl

        def ioctl(fd: int, request: int, *arguments: Any) -> object:
            if request == TCSETS2:
                raise OSError(errno.EINVAL, "Invalid argument")
            return real(fd, request, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(fcntl, "ioctl", ioctl)
            link = Link(replace(settings, baudrate=12_345))
            with pytest.raises(ConnectError, match=f"^{settings.serial_port}: .*baud rate.*12345.*Invalid argument"):
                await link.read(1, Table.HOLDING, 0, 2)
        link = Link(settings)
        assert list(await link.read(1, Table.HOLDING, 0, 2)) == [100, 101], "nothing keeps the port open"
        await link.close()


async def test_a_port_whose_name_has_a_nul() -> None:
    link = Link(LinkSettings(transport="rtu", serial_port="/dev/tty\0S1"))
    with pytest.raises(ConnectError, match="embedded null"):
        await link.read(1, Table.HOLDING, 0, 1)
    await link.close()


@pytest.mark.parametrize("transport", ["rtu", "ascii"])
def test_a_stall_of_the_agent_lets_no_earlier_reply_answer(transport: TransportName) -> None:
    """Nothing runs in the agent for longer than a late reply is waited for; the device, in a thread, answers at once.

    asyncio's own loop, as time passes in a stall.
    """
    master, slave = os.openpty()
    tty.setraw(slave)
    framing, stalled, answered = FRAMINGS[transport](), threading.Event(), threading.Event()
    stalled.set()

    def device() -> None:
        received = b""
        with suppress(OSError):
            while True:
                queries, received = framing.split(received + os.read(master, 256))
                for query in queries:
                    stalled.wait()
                    register = 1000 + int.from_bytes(query.pdu[1:3], "big")
                    os.write(master, framing.build(Query(query.unit_id, b"\x03\x02" + register.to_bytes(2, "big"))))
                    answered.set()

    thread = threading.Thread(target=device, daemon=True)
    thread.start()

    async def agent() -> None:
        link = Link(LinkSettings(transport=transport, serial_port=os.ttyname(slave), baudrate=115_200, timeout_s=10))
        assert list(await link.read(1, Table.HOLDING, 1, 1)) == [1001]
        await asyncio.sleep(0.02)  # longer than the silence between two frames
        stalled.clear()
        answered.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                await link.read(1, Table.HOLDING, 2, 1, timeout_s=0.01)
        stalled.set()
        assert answered.wait(5), "the request waits for the event loop"
        assert select.select([slave], [], [], 5)[0], "the kernel passes the reply on in a thread of its own"
        time.sleep(0.05)  # noqa: ASYNC251 - the stall
        assert list(await link.read(1, Table.HOLDING, 3, 1)) == [1003]
        await link.close()

    asyncio.run(agent())
    os.close(slave)
    os.close(master)
    thread.join()


async def test_frames_are_set_apart_by_silence() -> None:
    async with FaultServer(REGISTERS, transport="rtu") as server:
        link = Link(server.link(baudrate=300))
        loop = asyncio.get_running_loop()
        await link.read(1, Table.HOLDING, 0, 2)
        answered = loop.time()
        await link.unit(1, request_gap_s=0.0).read(Table.HOLDING, 0, 2)
        assert loop.time() - answered >= 3.5 * 11 / 300 - 0.001
        await link.close()


@pytest.mark.parametrize(
    ("transport", "parity", "stop_bits", "bits"),
    [("rtu", "N", 1, 8), ("rtu", "E", 1, 8), ("ascii", "N", 1, 8), ("ascii", "E", 1, 7), ("ascii", "N", 2, 7)],
)
def test_data_bits(transport: TransportName, parity: str, stop_bits: int, bits: int) -> None:
    assert data_bits(LinkSettings(transport=transport, parity=parity, stop_bits=stop_bits)) == bits


async def test_a_line_that_is_held_up_is_an_error_and_stops_nothing() -> None:
    """Hardware flow control can block a line for ever: the port then accepts no bytes."""
    master, slave = os.openpty()
    try:
        tty.setraw(slave)
        termios.tcflow(slave, termios.TCOOFF)
        link = Link(LinkSettings(transport="rtu", serial_port=os.ttyname(slave), timeout_s=60))
        with pytest.raises(LinkError, match="the serial port accepts no bytes"):
            await link.read(1, Table.HOLDING, 0, 1)
        await link.close()
    finally:
        os.close(master)
        os.close(slave)
