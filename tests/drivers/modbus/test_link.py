from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from drivers.errors import DriverError, GatewayError, LinkError, RefusedError, SilentError, exception_reply
from drivers.modbus.link import Link
from drivers.modbus.settings import LinkSettings
from drivers.model import Table
from drivers.protocol import TransportName
from tests.faults.modbus import Faults, FaultServer, Seen, registers_from

REGISTERS = {
    (1, Table.HOLDING): registers_from(0, range(1000, 1200)),
    (1, Table.INPUT): registers_from(0, range(2000, 2200)),
    (1, Table.COIL): registers_from(0, [1, 0, 1, 1, 0, 0, 0, 1, 1, 0] * 201),
    (1, Table.DISCRETE): registers_from(0, [0, 1] * 10),
    (2, Table.HOLDING): registers_from(0, range(5000, 5010)),
    (0, Table.HOLDING): {0: 17},
    (255, Table.HOLDING): {0xFFFF: 3},
}
ALL = ["tcp", "udp", "rtu_over_tcp", "ascii_over_tcp", "rtu", "ascii"]
STREAMS = ["tcp", "rtu_over_tcp", "ascii_over_tcp"]
NO_PTY = ["udp", *STREAMS]
"""For simulated time, which does not wait for the kernel's worker between the two ends of a pty."""


@pytest.fixture(params=ALL)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_reads_every_table_on_every_transport(transport: str) -> None:
    async with FaultServer(REGISTERS, transport=transport) as server:
        link = Link(server.link())
        assert list(await link.read(1, Table.HOLDING, 3, 2)) == [1003, 1004]
        assert list(await link.read(1, Table.INPUT, 0, 125)) == list(range(2000, 2125))
        assert list(await link.read(1, Table.COIL, 0, 9)) == [1, 0, 1, 1, 0, 0, 0, 1, 1]
        assert list(await link.read(1, Table.COIL, 1, 2000)) == ([0, 1, 1, 0, 0, 0, 1, 1, 0, 1] * 200)
        assert list(await link.read(1, Table.DISCRETE, 1, 1)) == [1]
        assert list(await link.unit(255).read(Table.HOLDING, 0xFFFF, 1)) == [3]
        await link.close()
    assert server.requests[0] == Seen(unit_id=1, function=3, address=3, count=2)
    assert server.functions == {1, 2, 3, 4}
    assert server.total_connections == 1


async def test_unit_id_zero_is_an_address(transport: str) -> None:
    async with FaultServer(REGISTERS, transport=transport) as server:
        link = Link(server.link())
        assert list(await link.read(0, Table.HOLDING, 0, 1)) == [17]
        await link.close()


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 8, 10, 11, 99])
async def test_an_exception_is_an_answer_and_keeps_the_connection(code: int) -> None:
    async with FaultServer(REGISTERS) as server:
        link = Link(server.link())
        server.faults.exception = code
        with pytest.raises(
            (RefusedError, GatewayError), match=f"unit 1, holding 0-1: Modbus exception {code} "
        ) as caught:
            await link.read(1, Table.HOLDING, 0, 2)
        assert type(caught.value) is type(exception_reply(code, ""))
        server.heal()
        await link.read(1, Table.HOLDING, 0, 2)
        await link.close()
    assert server.total_connections == 1


async def test_exceptions_on_every_transport(transport: str) -> None:
    async with FaultServer(REGISTERS, transport=transport) as server:
        link = Link(server.link())
        with pytest.raises(RefusedError, match="exception 2"):
            await link.read(1, Table.HOLDING, 199, 2)
        server.faults.max_registers = 10
        with pytest.raises(RefusedError, match="exception 3"):
            await link.read(1, Table.HOLDING, 0, 11)
        await link.close()


@pytest.mark.parametrize(
    ("unit_id", "table", "address", "count"),
    [
        (-1, Table.HOLDING, 0, 1),
        (256, Table.HOLDING, 0, 1),
        (1, Table.HOLDING, -1, 1),
        (1, Table.HOLDING, 0, 0),
        (1, Table.INPUT, 0, 126),
        (1, Table.COIL, 0, 2001),
        (1, Table.HOLDING, 0xFFFF, 2),
    ],
)
async def test_what_modbus_cannot_express_is_refused(unit_id: int, table: Table, address: int, count: int) -> None:
    link = Link(LinkSettings(host="127.0.0.1", port=1))
    with pytest.raises(ValueError, match="no Modbus request"):
        await link.read(unit_id, table, address, count)


async def test_silence_costs_one_timeout_and_the_link_goes_on(transport: str) -> None:
    async with FaultServer(REGISTERS, transport=transport) as server:
        link = Link(server.link(timeout_s=0.5))
        server.unit_faults[1] = Faults(silent=True)
        with pytest.raises(SilentError, match=r"unit 1, holding 0-1: no answer within 0.5 s"):
            await link.read(1, Table.HOLDING, 0, 2)
        assert list(await link.read(2, Table.HOLDING, 0, 1)) == [5000]
        server.heal()
        assert list(await link.read(1, Table.HOLDING, 0, 1)) == [1000]
        await link.close()
    assert server.max_connections <= (2 if transport == "udp" else 1)


@pytest.mark.parametrize("transport", ["tcp", "udp"], indirect=True)
async def test_a_device_slower_than_the_timeout_never_answers_another_request(transport: str) -> None:
    async with FaultServer(REGISTERS, transport=transport) as server:
        link = Link(server.link(timeout_s=0.5))
        server.faults.latency_s = 0.75
        for address in range(3):
            with pytest.raises(SilentError):
                await link.read(1, Table.HOLDING, address, 1)
        server.heal()
        for address in range(10, 20):
            assert list(await link.read(1, Table.HOLDING, address, 1, timeout_s=5)) == [1000 + address]
        await link.close()


@pytest.mark.parametrize("transport", ["rtu_over_tcp", "ascii_over_tcp", "rtu", "ascii"], indirect=True)
async def test_a_late_reply_without_a_transaction_is_waited_for(transport: str) -> None:
    async with FaultServer(REGISTERS, transport=transport) as server:
        link = Link(server.link(timeout_s=0.25))
        server.faults.latency_s = 0.27
        with pytest.raises(SilentError):
            await link.read(1, Table.HOLDING, 0, 1)
        server.heal()
        for address in range(10, 20):
            assert list(await link.read(1, Table.HOLDING, address, 1, timeout_s=5)) == [1000 + address]
        await link.close()


async def test_a_late_reply_does_not_disturb_another_unit_of_the_line() -> None:
    async with FaultServer(REGISTERS, transport="rtu") as server:
        link = Link(server.link(timeout_s=0.5))
        server.unit_faults[1] = Faults(latency_s=0.75)
        server.unit_faults[2] = Faults(latency_s=0.25)
        with pytest.raises(SilentError):
            await link.read(1, Table.HOLDING, 0, 5)
        # The late reply of unit 1 arrives while unit 2 is being asked.
        assert list(await link.read(2, Table.HOLDING, 0, 5, timeout_s=2)) == list(range(5000, 5005))
        await link.close()


@pytest.mark.parametrize("transport", STREAMS, indirect=True)
async def test_a_lost_connection_ends_a_read_at_once(transport: str) -> None:
    async with FaultServer(REGISTERS, transport=transport) as server:
        link = Link(server.link(timeout_s=60))
        server.faults.close_instead = True
        closed = rf"127.0.0.1:{server.port}: the connection was closed instead of a reply( \(the device reset .*\))?$"
        with pytest.raises(LinkError, match=closed):
            await link.read(1, Table.HOLDING, 0, 1)
        server.faults = Faults(reset_mid_frame=True)
        with pytest.raises(LinkError, match="in the middle of a reply"):
            await link.read(1, Table.HOLDING, 0, 1)
        server.heal()
        assert list(await link.read(1, Table.HOLDING, 0, 1)) == [1000]
        await link.close()
    assert server.max_connections == 1


async def test_a_connection_closed_while_idle_is_reopened_silently() -> None:
    async with FaultServer(REGISTERS) as server:
        link = Link(server.link())
        for expected in range(1, 4):
            assert list(await link.read(1, Table.HOLDING, 0, 1)) == [1000]
            assert server.total_connections == expected
            await server.drop()
        await link.close()
    assert server.max_connections == 1


async def test_a_connection_closed_as_the_request_arrives_is_reopened_once() -> None:
    async with FaultServer(REGISTERS) as server:
        link = Link(server.link())
        await link.read(1, Table.HOLDING, 0, 1)
        server.faults.close_instead = True
        with pytest.raises(LinkError):
            await link.read(1, Table.HOLDING, 7, 1)
        await link.close()
    assert server.total_connections == 2
    assert [seen.address for seen in server.requests] == [0, 7, 7]


@pytest.mark.simulated_time
async def test_the_first_request_waits_for_no_gap() -> None:
    """Not even if the machine has run for less time than the gap."""
    loop = asyncio.get_running_loop()
    async with FaultServer(REGISTERS) as server:
        link = Link(server.link(request_gap_s=loop.time() + 100.0))
        began = loop.time()
        assert list(await link.read(1, Table.HOLDING, 0, 1)) == [1000]
        assert loop.time() - began < 1.0
        await link.close()


@pytest.mark.simulated_time
async def test_a_connection_closed_while_idle_costs_no_pause_and_no_mistake() -> None:
    async with FaultServer(REGISTERS) as server:
        link = Link(server.link(request_gap_s=2.0))
        loop = asyncio.get_running_loop()
        mistakes: list[object] = []
        loop.set_exception_handler(lambda _, context: mistakes.append(context))
        await link.read(1, Table.HOLDING, 0, 1)
        await server.drop()
        await asyncio.sleep(5.0)
        began = loop.time()
        assert list(await link.read(1, Table.HOLDING, 0, 1)) == [1000]
        assert loop.time() - began < 1.0
        await link.close()
    assert mistakes == []


@pytest.mark.simulated_time
@pytest.mark.parametrize("transport", STREAMS, indirect=True)
async def test_a_connection_closed_before_the_first_request_is_an_error_without_a_wait(transport: str) -> None:
    async with FaultServer(REGISTERS, transport=transport) as server:
        link = Link(server.link(connect_delay_s=1.0, timeout_s=10.0))
        loop = asyncio.get_running_loop()
        read = asyncio.ensure_future(link.read(1, Table.HOLDING, 0, 1))
        await server.wait(lambda: server.connections == 1)
        await server.drop()
        with pytest.raises(LinkError, match=f"^127.0.0.1:{server.port}: the device closes the connection at once$"):
            await read
        began = loop.time()
        assert list(await link.read(1, Table.HOLDING, 0, 1)) == [1000]
        assert loop.time() - began < 2.0
        await link.close()


@pytest.mark.simulated_time
async def test_a_device_that_greets_ends_the_connection_and_nothing_else() -> None:
    async with FaultServer(REGISTERS) as server:
        mistakes: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: mistakes.append(context))
        link = Link(server.link(connect_delay_s=1.0))
        read = asyncio.ensure_future(link.read(1, Table.HOLDING, 0, 1))
        await server.wait(lambda: server.connections == 1)
        server.inject(b"220 ready\r\n")
        with pytest.raises(LinkError, match="the device closes the connection at once"):
            await read
        await link.close()
    assert mistakes == []


@pytest.mark.simulated_time
async def test_the_timeout_of_a_request_ends_with_its_reply() -> None:
    async with FaultServer(REGISTERS) as server:
        link = Link(server.link(timeout_s=1.0))
        await link.read(1, Table.HOLDING, 0, 1)
        await asyncio.sleep(0.8)
        server.faults.latency_s = 0.5
        assert list(await link.read(1, Table.HOLDING, 1, 1)) == [1001]
        await link.close()


@pytest.mark.simulated_time
@pytest.mark.parametrize("transport", ["rtu_over_tcp", "ascii_over_tcp"], indirect=True)
async def test_a_late_reply_is_expected_until_two_timeouts_after_its_request(transport: str) -> None:
    async with FaultServer(REGISTERS, transport=transport) as server:
        link = Link(server.link(timeout_s=0.5))
        loop = asyncio.get_running_loop()
        server.faults.silent = True
        began = loop.time()
        with pytest.raises(SilentError):
            await link.read(1, Table.HOLDING, 0, 1)
        server.heal()
        await link.read(1, Table.HOLDING, 0, 1)
        assert loop.time() - began == pytest.approx(1.0, abs=0.05)
        await link.close()


async def test_transaction_numbers_begin_again_after_the_last_one() -> None:
    async with FaultServer(REGISTERS) as server:
        link = Link(server.link())
        link._transaction = 0xFFFE  # as after so many requests
        for address in range(3):
            assert list(await link.read(1, Table.HOLDING, address, 1)) == [1000 + address]
        assert link._transaction == 2
        await link.close()


async def test_closing_during_the_look_up_of_the_host_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = threading.Event()

    def look_up(*_: object, **__: object) -> list[object]:
        looked_up.wait(60)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    async with FaultServer(REGISTERS) as server:
        link = Link(server.link(host="meter.local"))
        read = asyncio.ensure_future(link.read(1, Table.HOLDING, 0, 1))
        for _ in range(3):
            await asyncio.sleep(0)
        closing = asyncio.ensure_future(link.close())
        await asyncio.sleep(0)
        looked_up.set()
        with pytest.raises(LinkError, match="the link is closed"):
            await read
        await closing
    assert not server.requests


async def test_idle_close_by_the_device() -> None:
    async with FaultServer(REGISTERS) as server:
        server.idle_close_s = 0.02
        link = Link(server.link())
        for _ in range(3):
            await link.read(1, Table.HOLDING, 0, 1)
            await server.wait(lambda: not server.connections)
        await link.close()
    assert server.total_connections == 3


async def test_unasked_bytes_in_a_stream_cost_the_connection_not_the_data() -> None:
    async with FaultServer(REGISTERS) as server:
        link = Link(server.link())
        await link.read(1, Table.HOLDING, 0, 1)
        server.inject(bytes.fromhex("0002 0000 0005 01 03 02 DEAD"))  # what the next reply would begin with
        await server.wait(lambda: not server.connections)
        assert list(await link.read(1, Table.HOLDING, 0, 1)) == [1000]
        await link.close()


async def test_a_device_for_one_client_sees_one_connection_through_every_fault() -> None:
    async with FaultServer(REGISTERS) as server:
        server.one_client = True
        link = Link(server.link())
        broken = [
            Faults(silent=True),
            Faults(reset_mid_frame=True),
            Faults(garbage=b"Modbus? Never heard of it"),
            Faults(close_instead=True),
            Faults(unit_offset=1),
            Faults(latency_s=0.07),
        ]
        for faults in broken * 3:
            server.faults = faults
            await asyncio.gather(
                *(link.read(1, Table.HOLDING, address, 1, timeout_s=0.05) for address in range(3)),
                return_exceptions=True,
            )
        server.heal()
        assert list(await link.read(1, Table.HOLDING, 0, 1)) == [1000]
        await link.close()
    assert server.max_connections == 1


async def test_requests_of_one_link_never_overlap() -> None:
    async with FaultServer(REGISTERS) as server:
        server.faults.latency_s = 0.01
        link = Link(server.link())
        reads = [asyncio.ensure_future(link.read(1, Table.HOLDING, address, 1)) for address in range(5)]
        for position, read in enumerate(reads):
            assert list(await read) == [1000 + position]
            assert len(server.requests) <= position + 2
        await link.close()
    assert server.max_connections == 1


async def test_a_cancelled_read_leaves_the_link_usable(transport: str) -> None:
    async with FaultServer(REGISTERS, transport=transport) as server:
        link = Link(server.link(timeout_s=0.5))
        server.faults.silent = True
        read = asyncio.ensure_future(link.read(1, Table.HOLDING, 0, 1, timeout_s=0.5))
        await server.wait(lambda: len(server.requests) == 1)
        read.cancel()
        with pytest.raises(asyncio.CancelledError):
            await read
        server.heal()
        assert list(await link.read(1, Table.HOLDING, 5, 1)) == [1005]
        await link.close()


@pytest.mark.simulated_time
@pytest.mark.parametrize("transport", NO_PTY, indirect=True)
async def test_the_reply_to_a_cancelled_read_answers_no_later_one(transport: str) -> None:
    async with FaultServer(REGISTERS, transport=transport) as server:
        link = Link(server.link(timeout_s=1.0))
        server.faults.latency_s = 0.5
        read = asyncio.ensure_future(link.read(1, Table.HOLDING, 0, 1))
        await server.wait(lambda: len(server.requests) == 1)
        read.cancel()
        assert list(await link.read(1, Table.HOLDING, 5, 1)) == [1005]
        await link.close()


@pytest.mark.simulated_time
@pytest.mark.parametrize("transport", NO_PTY, indirect=True)
async def test_a_read_that_is_cancelled_before_its_request_costs_no_connection(transport: str) -> None:
    async with FaultServer(REGISTERS, transport=transport) as server:
        link = Link(server.link(connect_delay_s=1.0))
        read = asyncio.ensure_future(link.read(1, Table.HOLDING, 0, 1))
        await asyncio.sleep(0.5)
        read.cancel()
        assert list(await link.read(1, Table.HOLDING, 5, 1)) == [1005]
        await link.close()
    assert server.total_connections == 1


async def test_cancelled_at_any_moment(transport: str) -> None:
    """The oracle: whatever was cancelled before, a read gives its own registers."""

    async def cancelled_after(steps: int) -> None:
        """A line without transactions waits for twice the time-out: a device on a busy machine is not later."""
        async with FaultServer(REGISTERS, transport=transport) as server:
            link = Link(server.link())
            for again in (steps, steps % 7):  # the second while the connection of the first is being closed
                read = asyncio.ensure_future(link.read(1, Table.HOLDING, 2 * steps, 1, timeout_s=0.5))
                for _ in range(again):
                    await asyncio.sleep(0)
                read.cancel()
                with suppress(asyncio.CancelledError, DriverError):
                    await read
            assert list(await link.read(1, Table.HOLDING, 2 * steps + 1, 1)) == [1001 + 2 * steps]
            await link.close()
        assert transport == "udp" or server.max_connections == 1

    await asyncio.gather(*map(cancelled_after, range(20)))


async def test_closing_while_connecting() -> None:
    async with FaultServer(REGISTERS) as server:
        link = Link(server.link(connect_delay_s=0.2))
        read = asyncio.ensure_future(link.read(1, Table.HOLDING, 0, 1))
        await server.wait(lambda: server.connections == 1)
        await link.close()
        with pytest.raises(LinkError, match="the link is closed"):
            await read
        await server.wait(lambda: not server.connections)
    assert not server.requests


async def test_clients_that_evict_each_other_both_go_on() -> None:
    async with FaultServer(REGISTERS) as server:
        server.one_client = True
        links = [Link(server.link()), Link(server.link())]
        for _ in range(3):
            for link in links:
                assert list(await link.read(1, Table.HOLDING, 0, 1)) == [1000]
        for link in links:
            await link.close()
    assert server.total_connections == 6


async def test_waits_after_a_connect_for_devices_that_swallow_requests() -> None:
    async with FaultServer(REGISTERS) as server:
        server.faults.slow_after_connect_s = 1.0
        hasty = Link(server.link(timeout_s=0.5))
        with pytest.raises(SilentError):
            await hasty.read(1, Table.HOLDING, 0, 1)
        await hasty.close()
        patient = Link(server.link(connect_delay_s=1.1))
        assert list(await patient.read(1, Table.HOLDING, 0, 1)) == [1000]
        await patient.close()
    assert len(server.requests) == 2


@pytest.mark.parametrize("per_device", [False, True])
async def test_waits_between_requests(per_device: bool) -> None:
    async with FaultServer(REGISTERS) as server:
        link = Link(server.link(request_gap_s=0.0 if per_device else 0.05))
        unit = link.unit(1, request_gap_s=0.05 if per_device else None)
        loop = asyncio.get_running_loop()
        await unit.read(Table.HOLDING, 0, 1)
        answered = loop.time()
        await unit.read(Table.HOLDING, 0, 1)
        assert loop.time() - answered >= 0.049
        await link.close()


async def test_a_device_may_have_its_own_timeout() -> None:
    async with FaultServer(REGISTERS) as server:
        server.faults.silent = True
        link = Link(server.link(timeout_s=60))
        with pytest.raises(SilentError, match=r"within 0\.05 s"):
            await link.unit(1, timeout_s=0.05).read(Table.HOLDING, 0, 1)
        await link.close()


async def test_closing_ends_a_read_that_waits_and_stays_closed() -> None:
    async with FaultServer(REGISTERS) as server:
        server.faults.silent = True
        link = Link(server.link(timeout_s=60))
        read = asyncio.ensure_future(link.read(1, Table.HOLDING, 0, 1))
        await server.wait(lambda: len(server.requests) == 1)
        await link.close()
        with pytest.raises(LinkError):
            await read
        await link.close()
        server.heal()
        with pytest.raises(LinkError, match="the link is closed"):
            await link.read(1, Table.HOLDING, 0, 1)
        await server.wait(lambda: not server.connections)
    assert server.total_connections == 1


async def test_closing_what_was_never_open() -> None:
    link = Link(LinkSettings(host="127.0.0.1"))
    await link.close()
    await link.close()


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        (LinkSettings(host="192.168.1.20"), "192.168.1.20:502"),
        (LinkSettings(host="fe80::1", port=1502), "[fe80::1]:1502"),
        (LinkSettings(transport="rtu", serial_port="/dev/ttyUSB0"), "/dev/ttyUSB0"),
    ],
)
def test_messages_name_a_link_by_its_address(settings: LinkSettings, address: str) -> None:
    assert settings.address == address


@pytest.mark.parametrize(
    ("transport", "baudrate", "silence_s"),
    [
        ("rtu", 300, 3.5 * 11 / 300),
        ("rtu", 9600, 3.5 * 11 / 9600),
        ("rtu", 115_200, 0.00175),
        ("ascii", 9600, 0.0),
        ("rtu_over_tcp", 9600, 0.0),
        ("tcp", 9600, 0.0),
    ],
)
def test_only_rtu_frames_on_a_serial_port_are_set_apart(
    transport: TransportName, baudrate: int, silence_s: float
) -> None:
    assert LinkSettings(transport=transport, baudrate=baudrate).line_silence_s == silence_s


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ({"timeout_s": 9.0, "connect_delay_s": 9.0, "request_gap_s": 9.0}, []),
        ({"host": "METER.local", "serial_port": "/dev/other"}, []),
        ({"transport": "udp", "port": 503, "server_name": "x"}, ["transport", "port", "server_name"]),
        ({"baudrate": 300, "parity": "E", "stop_bits": 2}, ["baudrate", "parity", "stop_bits"]),
    ],
)
def test_devices_of_one_link_differ_only_in_their_times(changes: dict[str, Any], keys: list[str]) -> None:
    settings = LinkSettings(host="meter.local")
    assert [key for key, *_ in settings.conflicts(replace(settings, **changes))] == keys


def test_a_link_without_settings_has_the_usual_ones() -> None:
    usual = LinkSettings()
    assert (usual.transport, usual.port, usual.timeout_s) == ("tcp", 502, 1.0)
    assert (usual.baudrate, usual.parity, usual.stop_bits) == (9600, "N", 1)
    assert (usual.connect_delay_s, usual.request_gap_s) == (0.0, 0.0)
