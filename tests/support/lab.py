"""The laboratory of `telemetry-agent simulate --lab`, in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from drivers.simulator import ModbusServer, lab_devices


@contextlib.contextmanager
def lab(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """Serve the laboratory and yield its port. Commands of the same process can use it: it runs in a thread."""
    started = threading.Event()
    ports: list[int] = []
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        server = ModbusServer([device.unit for device in lab_devices()], host, port, answers_for_absent=True)
        await server.start()
        ports.append(server.port)
        started.set()
        await stop.wait()
        await server.stop()

    stop = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert started.wait(30)
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
