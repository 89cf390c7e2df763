"""The simulated site on real Modbus TCP sockets.

    async with SimulatedSite(SimulatedPlant(seed=1, speed=60.0)) as running:
        running.devices  # with their ports

The time of the plant passes `speed` times as fast as real time. If `speed` is 0, it passes only in
`running.site.advance`, for tests that need exact numbers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from drivers.simulator.devices import SimulatedDevice, demo_devices
from drivers.simulator.modbus_server import ModbusServer
from drivers.simulator.physics import SimulatedPlant

__all__ = ["SimulatedDevice", "SimulatedPlant", "SimulatedSite"]

_ADVANCE_S = 0.2
"""Real seconds from one step of the simulated time to the next."""


class SimulatedSite:
    """Serves each device of a site on its own port, or with `gateway` all devices on one port, with unit ids from 1.

    `base_port` is the first of consecutive ports; 0 selects free ports. The default of `devices` is `demo_devices`.
    """

    def __init__(
        self,
        site: SimulatedPlant,
        host: str = "127.0.0.1",
        base_port: int = 0,
        devices: Sequence[SimulatedDevice] | None = None,
        *,
        gateway: bool = False,
    ) -> None:
        self.site = site
        self.devices = tuple(demo_devices(site) if devices is None else devices)
        if gateway:
            for unit_id, device in enumerate(self.devices, 1):
                device.unit.unit_id = unit_id
        ports = [self.devices] if gateway else [(device,) for device in self.devices]
        self._servers = [
            (ModbusServer([device.unit for device in served], host, base_port and base_port + number), served)
            for number, served in enumerate(ports)
        ]
        self._physics: asyncio.Task[None] | None = None

    def device(self, node_id: str) -> SimulatedDevice:
        """Return the device with this node id. Raises KeyError for an unknown id."""
        return {device.node_id: device for device in self.devices}[node_id]

    async def disconnect(self, device: SimulatedDevice) -> None:
        """Close the port of `device`, for all devices on it: disconnect the clients and refuse new connections."""
        await self._server(device).stop()

    async def reconnect(self, device: SimulatedDevice) -> None:
        """Open the same port again, for all devices on it."""
        await self._server(device).start()

    async def __aenter__(self) -> Self:
        """Raises OSError if a port is in use."""
        try:
            for server, devices in self._servers:
                await server.start()
                for device in devices:
                    device.host, device.port = server.host, server.port
        except BaseException:
            await self._stop()
            raise
        if self.site.speed:
            self._physics = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._physics is not None:
            self._physics.cancel()
            with suppress(asyncio.CancelledError):
                await self._physics
        await self._stop()

    def _server(self, device: SimulatedDevice) -> ModbusServer:
        return next(server for server, devices in self._servers if device in devices)

    async def _stop(self) -> None:
        for server, _ in self._servers:
            await server.stop()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            await asyncio.sleep(_ADVANCE_S)
            now = loop.time()
            self.site.advance((now - last) * self.site.speed)
            last = now
