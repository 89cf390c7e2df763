"""`simulate --dump`: serves dumps as Modbus devices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from agent.runtime import printable
from drivers.dump import Dump
from drivers.protocol import host_and_port, unit_address
from drivers.simulator import ModbusServer, dump_unit


async def serve(dumps: Sequence[tuple[str, Dump]], host: str, base_port: int, ready: Callable[[], None]) -> None:
    """Serve each dump on its own port until cancelled, and print the addresses. Raises OSError if a port is not free.

    `dumps` are pairs of a name and a dump. The first dump has port `base_port`, each further one the next port. If
    `base_port` is 0, the system chooses free ports. `ready` is called when all dumps are served.
    """
    async with AsyncExitStack() as stack:
        for number, (name, dump) in enumerate(dumps):
            server = ModbusServer([dump_unit(dump.tables, dump.unit_id)], host, base_port and base_port + number)
            await server.start()
            stack.push_async_callback(server.stop)
            line = f"{name}: {unit_address(host_and_port(server.host, server.port), dump.unit_id)}"
            print(printable(line), flush=True)  # noqa: T201 - the output of the command
        ready()
        await asyncio.Event().wait()
