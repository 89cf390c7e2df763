"""The simulated site on real Modbus TCP sockets, its physics driven by the clock.

    async with SimulatedSite(Site(seed=1, speed=60.0)) as running:
        running.devices  # with the ports that were free

With `speed` 0 time stands still until someone calls `site.advance`: whoever needs exact numbers drives it by hand.
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

_TICK_S = 0.2


class SimulatedSite:
    """Serves devices of a site, each on a port of its own, or with `gateway` all on one with unit ids from 1 up.

    `base_port` is the first of consecutive ports; 0 takes free ones. `devices` replaces those of the demo.
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
        """The device of that name. Raises KeyError when there is none."""
        return {device.node_id: device for device in self.devices}[node_id]

    async def disconnect(self, device: SimulatedDevice) -> None:
        """Drop the clients of the device's port and refuse new ones, for all devices behind it."""
        await self._server(device).stop()

    async def reconnect(self, device: SimulatedDevice) -> None:
        """Undo `disconnect`, on the same port."""
        await self._server(device).start()

    async def __aenter__(self) -> Self:
        """Raises OSError when a port is taken."""
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
            await asyncio.sleep(_TICK_S)
            now = loop.time()
            self.site.advance((now - last) * self.site.speed)
            last = now
