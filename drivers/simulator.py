"""Simulated devices on real Modbus TCP sockets: profiles filled from a site's physics, and a SunSpec inverter.

An own server of one screen rather than pymodbus': registers must be computed at the moment of the request, all of one
request from one moment of the physics, which its data stores do not offer. Reads only; a write is answered with
exception 1, an address that does not exist with exception 2.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Self

from drivers.codec import encode
from drivers.model import NodeType, Phase, Quantity, Table, Value
from drivers.physics import Site
from drivers.profile import Profile, load, profile_files

__all__ = ["SimulatedDevice", "SimulatedSite", "Site"]

_TABLES = {1: Table.COIL, 2: Table.DISCRETE, 3: Table.HOLDING, 4: Table.INPUT}

Values = Callable[[], Mapping[tuple[Quantity, Phase | None], Value]]
Registers = Callable[[], dict[tuple[Table, int], int]]


def of_profile(profile: Profile, values: Values) -> Registers:
    """Registers of a device of that family; points without a value read 0."""

    def registers() -> dict[tuple[Table, int], int]:
        now = values()
        words: dict[tuple[Table, int], int] = {}
        for point in profile.points:
            value = now.get((point.quantity, point.phase), 0.0)
            for offset, word in enumerate(encode(point.encoding, value)):
                words[point.table, point.address + offset] = word
        return words

    return registers


def sunspec_inverter(name: str, power: Callable[[], float], energy: Callable[[], float]) -> Registers:
    """A three-phase inverter with the models 1 and 103 at 40000."""

    def registers() -> dict[tuple[Table, int], int]:
        watts, lifetime = power(), energy()
        common = _text("Simulated", 16) + _text(name, 16) + _text("", 8) + _text("1", 8) + _text(name, 16) + [1, 0x8000]
        amps = round(watts / 3 / 230 * 100)
        inverter = [3 * amps, amps, amps, amps, _s16(-2), *[0xFFFF] * 3, 2300, 2300, 2300, _s16(-1)]
        inverter += [_s16(round(watts)), 0, 5000, _s16(-2), *[0x8000] * 6]
        inverter += [*struct.unpack(">HH", struct.pack(">I", round(lifetime) & 0xFFFFFFFF)), 0]
        inverter += [0xFFFF, 0x8000, 0xFFFF, 0x8000, 0x8000, 0x8000, 0x8000, 0x8000, 0x8000, 0x8000, 0x8000]
        inverter += [4, 0xFFFF, *[0] * 12]
        chain = [0x5375, 0x6E53, 1, 66, *common, 103, 50, *inverter[:50], 0xFFFF, 0]
        return {(Table.HOLDING, 40_000 + offset): word for offset, word in enumerate(chain)}

    return registers


def _text(text: str, registers: int) -> list[int]:
    return list(struct.unpack(f">{registers}H", text.encode().ljust(2 * registers, b"\0")))


def _s16(value: int) -> int:
    return value & 0xFFFF


@dataclass(slots=True)
class SimulatedDevice:
    """One device of the simulated site and how a configuration would name it."""

    node_id: str
    type: NodeType
    driver: str
    registers: Registers
    unit_id: int = 1
    options: dict[str, Any] = field(default_factory=dict)
    port: int = 0
    online: bool = True
    """Turn off to make it silent."""


class SimulatedSite:
    """Serves the devices of a site, each on a port of its own, and lets its physics run with the clock."""

    def __init__(self, site: Site, host: str = "127.0.0.1", base_port: int = 0) -> None:
        self.site = site
        self.devices = default_devices(site)
        self._host = host
        self._base_port = base_port
        self._servers: list[asyncio.Server] = []
        self._physics: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number, device in enumerate(self.devices):
            port = self._base_port + number if self._base_port else 0
            server = await loop.create_server(partial(_Connection, device), self._host, port)
            self._servers.append(server)
            device.port = server.sockets[0].getsockname()[1]
        self._physics = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._physics is not None:
            self._physics.cancel()
            await asyncio.gather(self._physics, return_exceptions=True)
        for server in self._servers:
            server.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            await asyncio.sleep(0.2)
            now = loop.time()
            self.site.advance((now - last) * self.site.speed)
            last = now


class _Connection(asyncio.Protocol):
    """One client of one device: MBAP framing, function codes 1 to 4."""

    def __init__(self, device: SimulatedDevice) -> None:
        self._device = device
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 8:
            end = 6 + int.from_bytes(self._buffer[4:6], "big")
            if len(self._buffer) < end:
                return
            frame, self._buffer = self._buffer[:end], self._buffer[end:]
            if self._device.online and frame[6] == self._device.unit_id:
                pdu = answer(self._device.registers(), frame[7:])
                head = frame[:4] + (len(pdu) + 1).to_bytes(2, "big") + frame[6:7]
                self._transport.write(head + pdu)  # type: ignore[attr-defined]  # asyncio gives a stream transport


def answer(registers: Mapping[tuple[Table, int], int], pdu: bytes) -> bytes:
    """The reply to one request PDU."""
    code = pdu[0]
    table = _TABLES.get(code)
    if table is None or len(pdu) != 5:
        return bytes([code | 0x80, 1])
    address, count = struct.unpack(">HH", pdu[1:])
    bits = table in (Table.COIL, Table.DISCRETE)
    if not 1 <= count <= (2000 if bits else 125):
        return bytes([code | 0x80, 3])
    try:
        words = [registers[table, place] for place in range(address, address + count)]
    except KeyError:
        return bytes([code | 0x80, 2])
    if bits:
        packed = sum(bool(word) << position for position, word in enumerate(words))
        data = packed.to_bytes((count + 7) // 8, "little")
    else:
        data = struct.pack(f">{count}H", *words)
    return bytes([code, len(data)]) + data


def default_devices(site: Site) -> tuple[SimulatedDevice, ...]:
    """A grid meter, two inverters, a battery, a heat pump, a relay and a charger: all six groups of the contract."""
    q = Quantity
    files = profile_files()

    def by_profile(name: str, values: Callable[[], dict[Quantity, Value]]) -> Registers:
        def keyed() -> dict[tuple[Quantity, Phase | None], Value]:
            return {(quantity, None): value for quantity, value in values().items()} | _mains

        return of_profile(load(files[name]), keyed)

    def device(
        node_id: str,
        type_: NodeType,
        driver: str,
        values: Callable[[], dict[Quantity, Value]],
        options: dict[str, Any] | None = None,
    ) -> SimulatedDevice:
        return SimulatedDevice(node_id, type_, driver, by_profile(driver, values), options=options or {})

    south = site.pv_south
    return (
        device(
            "meter-1",
            NodeType.GRID,
            "eastron-sdm630",
            lambda: {
                q.ACTIVE_POWER: site.grid.power,
                q.IMPORTED_ENERGY: site.grid.positive,
                q.EXPORTED_ENERGY: site.grid.negative,
            },
        ),
        SimulatedDevice(
            "pv-south",
            NodeType.SOLAR,
            "sunspec",
            sunspec_inverter("south", lambda: south.power, lambda: south.positive),
        ),
        device(
            "pv-west",
            NodeType.SOLAR,
            "simulated-inverter",
            lambda: {q.ACTIVE_POWER: site.pv_west.power, q.PRODUCED_ENERGY: site.pv_west.positive},
        ),
        device(
            "battery-1",
            NodeType.STORAGE,
            "simulated-battery",
            lambda: {
                q.ACTIVE_POWER: site.battery.power,
                q.SOC: site.soc,
                q.ENERGY_CAPACITY: site.capacity_Wh,
                q.CHARGED_ENERGY: site.battery.positive,
                q.DISCHARGED_ENERGY: site.battery.negative,
            },
        ),
        device(
            "heat-pump-1",
            NodeType.HEAT_PUMP,
            "simulated-heat-pump",
            lambda: {
                q.ACTIVE_POWER: site.heat_pump.power,
                q.OPERATION_MODE: "on" if site.heat_pump.power else "off",
                q.CONSUMED_ENERGY: site.heat_pump.positive,
            },
        ),
        device(
            "boiler-1",
            NodeType.SWITCHED_LOAD,
            "relay",
            lambda: {q.ON: site.boiler.power > 0},
            {"nominal_power_W": 2000},
        ),
        device(
            "charger-1",
            NodeType.VARIABLE_POWER_LOAD,
            "simulated-charger",
            lambda: {q.ACTIVE_POWER: site.charger.power, q.CONSUMED_ENERGY: site.charger.positive},
        ),
    )


_mains: dict[tuple[Quantity, Phase | None], Value] = {
    (Quantity.FREQUENCY, None): 50.0,
    **{(Quantity.VOLTAGE, phase): 230.0 for phase in Phase},
}
