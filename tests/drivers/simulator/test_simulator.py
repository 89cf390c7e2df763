"""The simulated site over real sockets, read by a Modbus TCP client written here and checked against its physics."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import pytest

from drivers.catalogue import Catalogue
from drivers.driver import ReadOptions
from drivers.modbus.link import Link
from drivers.modbus.settings import LinkSettings
from drivers.model import NodeType, Quantity, Table
from drivers.simulator.modbus_server import ModbusServer, SimulatedUnit
from drivers.simulator.physics import SimulatedPlant
from drivers.simulator.register_image import dump_unit
from drivers.simulator.site_server import SimulatedDevice, SimulatedSite

PATIENCE_S = 60


class Client:
    """One connection; numbers its requests, and checks that each reply belongs to its request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._transaction = 0

    def frame(self, pdu: bytes, unit_id: int = 1) -> bytes:
        self._transaction += 1
        return struct.pack(">HHHB", self._transaction, 0, len(pdu) + 1, unit_id) + pdu

    async def reply(self) -> tuple[int, int, bytes]:
        """Transaction, unit id and PDU of the next frame."""
        async with asyncio.timeout(PATIENCE_S):
            transaction, protocol, length, unit_id = struct.unpack(">HHHB", await self.reader.readexactly(7))
            assert protocol == 0
            return transaction, unit_id, await self.reader.readexactly(length - 1)

    async def ask(self, pdu: bytes, unit_id: int = 1) -> bytes:
        self.writer.write(self.frame(pdu, unit_id))
        transaction, from_unit, reply = await self.reply()
        assert (transaction, from_unit) == (self._transaction, unit_id)
        return reply

    async def registers(self, function: int, address: int, count: int) -> bytes:
        reply = await self.ask(read(function, address, count))
        assert reply[:2] == bytes((function, 2 * count))
        return reply[2:]

    async def float32(self, address: int) -> float:
        value: float = struct.unpack(">f", await self.registers(4, address, 2))[0]
        return value

    async def integer(self, address: int, form: str) -> int:
        value: int = struct.unpack(f">{form}", await self.registers(3, address, struct.calcsize(form) // 2))[0]
        return value


def read(function: int, address: int, count: int) -> bytes:
    return struct.pack(">BHH", function, address, count)


@asynccontextmanager
async def client_of(port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def served(*units: SimulatedUnit) -> AsyncIterator[Client]:
    server = ModbusServer(units, "127.0.0.1")
    await server.start()
    try:
        async with client_of(server.port) as client:
            yield client
    finally:
        await server.stop()


@asynccontextmanager
async def device(running: SimulatedSite, node_id: str) -> AsyncIterator[Client]:
    async with client_of(running.device(node_id).port) as client:
        yield client


def holding(words: dict[int, int], unit_id: int = 1) -> SimulatedUnit:
    return dump_unit({Table.HOLDING: words}, unit_id)


# What a request gets.


async def test_every_device_shows_the_physics_of_the_moment() -> None:
    site = SimulatedPlant(seed=3, start_s=11 * 3600.0, speed=0)
    async with SimulatedSite(site) as running:
        for _ in range(3):
            site.advance(2400)
            async with device(running, "meter-1") as meter:
                assert await meter.float32(0x0034) == pytest.approx(site.grid.power_W, rel=1e-6)
                phases = [await meter.float32(address) for address in (0x000C, 0x000E, 0x0010)]
                assert sum(phases) == pytest.approx(site.grid.power_W, rel=1e-6, abs=1e-3)
                assert 1000 * await meter.float32(0x0048) == pytest.approx(site.grid.positive_Wh, abs=1)
                assert 1000 * await meter.float32(0x004A) == pytest.approx(site.grid.negative_Wh, abs=1)
                assert 220 < await meter.float32(0x0000) < 240
                assert await meter.float32(0x0046) == 50
            async with device(running, "pv-west") as west:
                assert await west.integer(0, "i") == round(site.pv_west.power_W)
                assert await west.integer(2, "Q") == round(site.pv_west.positive_Wh)
            async with device(running, "battery-1") as battery:
                assert await battery.integer(0, "i") == round(site.storage.power_W)
                assert await battery.integer(2, "H") / 10 == pytest.approx(site.soc, abs=0.051)
                assert await battery.integer(3, "I") == site.battery.capacity_Wh
                assert await battery.integer(5, "Q") == round(site.storage.positive_Wh)
                assert await battery.integer(9, "Q") == round(site.storage.negative_Wh)
            async with device(running, "heat-pump-1") as heat_pump:
                assert await heat_pump.integer(0, "i") == site.heat_pump.power_W
                assert await heat_pump.integer(2, "H") == (site.heat_pump.power_W > 0)
                assert await heat_pump.integer(3, "Q") == round(site.heat_pump.positive_Wh)
            async with device(running, "boiler-1") as boiler:
                assert await boiler.ask(read(1, 0, 1)) == bytes((1, 1, site.boiler.power_W > 0))
            async with device(running, "charger-1") as charger:
                assert await charger.integer(0, "i") == site.charger.power_W
                assert await charger.integer(2, "Q") == round(site.charger.positive_Wh)
            async with device(running, "pv-south") as south:
                assert await south.registers(3, 40_000, 2) == b"SunS"
                inverter = 40_002 + 68
                assert await south.registers(3, inverter, 2) == struct.pack(">HH", 103, 50)
                assert await south.integer(inverter + 14, "h") == round(site.pv_south.power_W)
                assert await south.integer(inverter + 24, "I") == int(site.pv_south.positive_Wh)


async def test_the_demo_fills_every_group_of_the_contract() -> None:
    async with SimulatedSite(SimulatedPlant(speed=0)) as running:
        assert {each.type for each in running.devices} == set(NodeType)
        assert len({each.port for each in running.devices}) == len(running.devices) == 7
        assert all(each.port and each.unit_id == 1 and each.online for each in running.devices)
        assert running.device("boiler-1").options == {"nominal_power_W": 2000}


NOT_READS = {
    "write coil": "05 0000 FF00",
    "write register": "06 0000 0001",
    "diagnostics": "08 0000 0000",
    "write coils": "0F 0000 0001 01 01",
    "write registers": "10 0000 0001 02 ABCD",
    "mask write": "16 0000 0001 0001",
    "read and write": "17 0000 0001 0000 0001 02 ABCD",
    "device identification": "2B 0E 01 00",
    "unknown": "64",
}


@pytest.mark.usefixtures("off_the_record")
@pytest.mark.parametrize("pdu", [pytest.param(bytes.fromhex(pdu), id=name) for name, pdu in NOT_READS.items()])
async def test_it_can_only_be_read(pdu: bytes) -> None:
    words = {0: 17}
    async with served(holding(words)) as client:
        assert await client.ask(pdu) == bytes((pdu[0] | 0x80, 1))
        assert await client.registers(3, 0, 1) == b"\x00\x11"
    assert words == {0: 17}


@pytest.mark.parametrize(
    ("pdu", "code"),
    [
        (read(3, 3, 1), 2),
        (read(3, 1, 3), 2),
        (read(3, 0xFFFF, 2), 2),
        (read(4, 0, 1), 2),
        (read(1, 1, 1), 2),
        (read(3, 0, 0), 3),
        (read(3, 0, 126), 3),
        (read(1, 0, 2001), 3),
        (b"\x03\x00\x00", 3),
    ],
)
async def test_what_is_not_there_is_refused(pdu: bytes, code: int) -> None:
    unit = dump_unit({Table.HOLDING: {0: 10, 1: 11, 2: 12, 4: 14}, Table.COIL: {0: 1}})
    async with served(unit) as client:
        assert await client.ask(pdu) == bytes((pdu[0] | 0x80, code))
        assert await client.registers(3, 0, 3) == bytes.fromhex("000a000b000c")


async def test_a_device_can_allow_fewer_registers() -> None:
    unit = SimulatedUnit(1, lambda: {Table.HOLDING: dict.fromkeys(range(200), 7)}, max_registers=80)
    async with served(unit) as client:
        assert await client.ask(read(3, 0, 81)) == b"\x83\x03"
        assert await client.registers(3, 120, 80) == b"\x00\x07" * 80


async def test_bits_and_the_four_tables_are_apart() -> None:
    bits = {place: int(place % 3 == 0) for place in range(10)}
    unit = dump_unit({Table.COIL: bits, Table.DISCRETE: {0: 1}, Table.HOLDING: {0: 0xFFFF}, Table.INPUT: {0: 1}})
    async with served(unit) as client:
        assert await client.ask(read(1, 0, 10)) == bytes((1, 2, 0b0100_1001, 0b10))
        assert await client.ask(read(2, 0, 1)) == bytes((2, 1, 1))
        assert await client.registers(3, 0, 1) == b"\xff\xff"
        assert await client.registers(4, 0, 1) == b"\x00\x01"


async def test_one_reply_shows_one_moment() -> None:
    moments: Iterator[int] = iter(range(100))

    def image() -> dict[Table, dict[int, int]]:
        return {Table.HOLDING: dict.fromkeys(range(50), next(moments))}

    async with served(SimulatedUnit(1, image)) as client:
        assert await client.registers(3, 0, 50) == b"\x00\x00" * 50
        assert await client.registers(3, 0, 50) == b"\x00\x01" * 50


async def test_requests_that_arrive_together_or_in_pieces_are_all_answered() -> None:
    async with served(holding({0: 1, 1: 2})) as client:
        client.writer.write(client.frame(read(3, 0, 1)) + client.frame(read(3, 1, 1)))
        assert await client.reply() == (1, 1, b"\x03\x02\x00\x01")
        assert await client.reply() == (2, 1, b"\x03\x02\x00\x02")
        frame = client.frame(read(3, 0, 2))
        for position in range(len(frame)):
            client.writer.write(frame[position : position + 1])
            await client.writer.drain()
            await asyncio.sleep(0)
        assert await client.reply() == (3, 1, b"\x03\x04\x00\x01\x00\x02")


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack(">HHHB", 1, 0, 1, 1) + b"\x03",
        struct.pack(">HHHB", 1, 0, 999, 1) + b"\x03",
    ],
    ids=["http", "too short", "too long"],
)
async def test_what_is_not_modbus_ends_the_connection(garbage: bytes) -> None:
    async with served(holding({0: 1})) as client:
        client.writer.write(garbage)
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await client.reader.readexactly(1)


# Units and devices that are not there. That a request stays without an answer shows in the answer to the next one.


async def test_a_foreign_unit_is_silent() -> None:
    async with served(holding({0: 5}, unit_id=5), holding({0: 6}, unit_id=6)) as client:
        client.writer.write(client.frame(read(3, 0, 1), unit_id=9))
        assert await client.ask(read(3, 0, 1), unit_id=5) == b"\x03\x02\x00\x05"
        assert await client.ask(read(3, 0, 1), unit_id=6) == b"\x03\x02\x00\x06"


async def test_a_gateway_can_answer_for_a_foreign_unit() -> None:
    server = ModbusServer([holding({0: 5}, unit_id=5)], "127.0.0.1", answers_for_absent=True)
    await server.start()
    try:
        async with client_of(server.port) as client:
            assert await client.ask(read(3, 0, 1), unit_id=9) == b"\x83\x0b"
            assert await client.ask(read(3, 0, 1), unit_id=5) == b"\x03\x02\x00\x05"
    finally:
        await server.stop()


def test_unit_ids_on_one_port_differ() -> None:
    with pytest.raises(ValueError, match=r"unit ids on one port must differ \(found \[1, 1\]\)"):
        ModbusServer([holding({0: 1}), holding({0: 2})], "127.0.0.1")


async def test_behind_a_gateway_one_device_can_be_silent() -> None:
    site = SimulatedPlant(seed=2, speed=0)
    async with SimulatedSite(site, gateway=True) as running:
        assert [each.unit_id for each in running.devices] == [1, 2, 3, 4, 5, 6, 7]
        assert len({each.port for each in running.devices}) == 1
        west, battery = running.device("pv-west"), running.device("battery-1")
        async with client_of(west.port) as client:
            west.online = False
            client.writer.write(client.frame(read(3, 0, 2), west.unit_id))
            power = await client.ask(read(3, 0, 2), battery.unit_id)
            assert struct.unpack(">i", power[2:])[0] == round(site.storage.power_W)
            west.online = True
            power = await client.ask(read(3, 0, 2), west.unit_id)
            assert struct.unpack(">i", power[2:])[0] == round(site.pv_west.power_W)


async def test_a_device_can_leave_the_network_and_come_back() -> None:
    async with SimulatedSite(SimulatedPlant(speed=0)) as running:
        meter = running.device("meter-1")
        port = meter.port
        async with client_of(port) as client:
            await client.float32(0)
            await running.disconnect(meter)
            async with asyncio.timeout(PATIENCE_S):
                with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                    await client.reader.readexactly(1)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        async with device(running, "pv-west") as west:
            await west.integer(0, "i")
        await running.reconnect(meter)
        assert meter.port == port
        async with client_of(port) as client:
            assert 220 < await client.float32(0) < 240


# Read by our drivers.


async def poll_all(running: SimulatedSite) -> dict[tuple[str, Quantity], float]:
    """Every device once through its driver and a link: numbers without phase, by node and quantity."""
    values: dict[tuple[str, Quantity], float] = {}
    for each in running.devices:
        link = Link(LinkSettings(host=each.host, port=each.port, timeout_s=PATIENCE_S))
        scan = await Catalogue().create(each.driver, ReadOptions()).poll(link.unit(each.unit_id), time.monotonic)
        await link.close()
        for reading in scan.readings:
            if isinstance(reading.value, float | bool) and reading.phase is None:
                values[each.node_id, reading.quantity] = reading.value
    return values


COUNTERS = {
    ("meter-1", Quantity.IMPORTED_ENERGY): ("grid", 0, 1.0),  # float32 in kWh
    ("meter-1", Quantity.EXPORTED_ENERGY): ("grid", 1, 1.0),
    ("pv-south", Quantity.PRODUCED_ENERGY): ("pv_south", 0, 1.0),
    ("pv-west", Quantity.PRODUCED_ENERGY): ("pv_west", 0, 1.0),
    ("battery-1", Quantity.CHARGED_ENERGY): ("storage", 0, 1.0),
    ("battery-1", Quantity.DISCHARGED_ENERGY): ("storage", 1, 1.0),
    ("heat-pump-1", Quantity.CONSUMED_ENERGY): ("heat_pump", 0, 1.0),
    ("charger-1", Quantity.CONSUMED_ENERGY): ("charger", 0, 1.0),
}
"""Counter of a device → its flow, the sign, and the resolution of its registers in Wh."""


async def test_a_day_read_by_the_drivers_adds_up() -> None:
    site = SimulatedPlant(seed=4, start_s=0, speed=0)
    async with SimulatedSite(site) as running:
        morning = await poll_all(running)
        for _ in range(4):
            site.advance(6 * 3600)
            now = await poll_all(running)
            power = {key[0]: value for key, value in now.items() if key[1] is Quantity.ACTIVE_POWER}
            loads = site.household.power_W + power["heat-pump-1"] + power["charger-1"]
            loads += 2000 if now["boiler-1", Quantity.ON] else 0
            solar = power["pv-south"] + power["pv-west"]
            assert power["meter-1"] == pytest.approx(loads + power["battery-1"] - solar, abs=2)
    for key, (flow, sign, resolution_Wh) in COUNTERS.items():
        read = now[key] - morning[key]
        assert read == pytest.approx(site.days[0][flow][sign], abs=resolution_Wh), key


# Ports and time.


def free_with_a_taken_one_behind() -> tuple[int, socket.socket]:
    """A free port, and the listener on the next one."""
    while True:
        taken = socket.create_server(("127.0.0.1", 0))
        port = taken.getsockname()[1] - 1
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port, taken
        taken.close()


async def test_a_taken_port_is_reported_and_the_others_are_released() -> None:
    port, taken = free_with_a_taken_one_behind()
    with taken:
        devices = [SimulatedDevice(name, NodeType.GRID, "none", holding({0: 1})) for name in "ab"]
        with pytest.raises(OSError, match="in use"):
            async with SimulatedSite(SimulatedPlant(), base_port=port, devices=devices):
                pass
        assert devices[0].port == port  # it was served
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_ports_follow_the_base_port() -> None:
    devices = [SimulatedDevice(name, NodeType.GRID, "none", holding({0: 1})) for name in "abc"]
    for base_port in range(21_000, 32_000, 500):  # somewhere there are three free ones in a row
        try:
            async with SimulatedSite(SimulatedPlant(), base_port=base_port, devices=devices) as running:
                assert [each.port for each in running.devices] == [base_port, base_port + 1, base_port + 2]
                async with device(running, "c") as client:
                    assert await client.registers(3, 0, 1) == b"\x00\x01"
                return
        except OSError:
            continue
    pytest.fail("no three free ports in a row")


async def test_physics_follow_the_clock_times_speed() -> None:
    site = SimulatedPlant(seed=1, start_s=12 * 3600.0, speed=600.0)
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with SimulatedSite(site) as running, device(running, "pv-south") as south:
        counter = 40_002 + 68 + 24
        first = await south.integer(counter, "I")
        async with asyncio.timeout(PATIENCE_S):
            while await south.integer(counter, "I") == first:  # noqa: ASYNC110 - it is asked over the wire
                await asyncio.sleep(0.01)
        passed = site.now_s - 12 * 3600.0
        assert 0 < passed <= (loop.time() - began) * 600
    stopped = site.now_s
    await asyncio.sleep(0)
    assert site.now_s == stopped
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_with_speed_0_time_is_driven_by_hand() -> None:
    site = SimulatedPlant(seed=1, start_s=12 * 3600.0, speed=0)
    async with SimulatedSite(site) as running, device(running, "pv-west") as west:
        assert asyncio.all_tasks() == {asyncio.current_task()}
        before = await west.integer(2, "Q")
        site.advance(3600)
        grown = await west.integer(2, "Q") - before
        assert grown == pytest.approx(site.today["pv_west"].positive_Wh, abs=1)
        assert grown > 100
