"""One round of polls without the daemon, for `read` and `push --once`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from agent.aggregation import Aggregator
from agent.app import aggregation_settings, payload_options
from agent.commissioning.progress import steps
from agent.config import Config
from agent.contract import bodies
from agent.energy import EnergyStore
from agent.polling import Device, Poller
from agent.runtime import Clock, SystemClock
from agent.site import Site
from drivers.model import Scan


@dataclass(slots=True)
class SiteReading:
    """The results of one round: scans and failures by device, and the messages that a push would send."""

    at: float
    """The end of the round, in monotonic seconds."""
    scans: list[tuple[Device, Scan]] = field(default_factory=list)
    failed: list[tuple[Device, Exception]] = field(default_factory=list)
    bodies: dict[str, list[bytes]] = field(default_factory=dict)
    """Name of an enabled endpoint → its messages."""


class _Collector:
    """The `PollListener` of the round. Passes each result to the aggregator, and stores it in `result`."""

    def __init__(self, aggregator: Aggregator, clock: Clock, result: SiteReading, step: Callable[[str], None]) -> None:
        self._aggregator = aggregator
        self._clock = clock
        self._result = result
        self._step = step

    def observe(self, device: Device, scan: Scan) -> None:
        self._result.scans.append((device, scan))
        self._aggregator.observe(device.nodes, scan, self._clock.time())
        self._step(f"polled {device.address}")

    def missed(self, device: Device, error: Exception, at: float) -> None:
        self._result.failed.append((device, error))
        self._aggregator.missed(device.nodes)
        self._step(f"polled {device.address}")

    def skipped(self, device: Device, count: int) -> None:
        self._aggregator.skipped(device.nodes, count)


async def read_site(config: Config, site: Site) -> SiteReading:
    """Poll every device once, and make the messages of a push at the end of the round.

    The energies continue from a copy of the daemon's file of energies. The file itself is not changed.
    """
    clock = SystemClock()
    result = SiteReading(at=clock.monotonic())
    with TemporaryDirectory() as scratch, steps(len(site.devices)) as step:
        store = EnergyStore.open(_copy(config.outbox.energies, Path(scratch)))
        aggregator = Aggregator(site.nodes, aggregation_settings(config), store)
        aggregator.restore_nights(result.at)
        poller = Poller(site.connections, clock, _Collector(aggregator, clock, result, step), nights=aggregator.nights)
        polling = asyncio.create_task(poller.run())
        try:
            await asyncio.gather(*poller.request())
        finally:
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)
        order = {id(device): number for number, device in enumerate(site.devices)}
        result.scans.sort(key=lambda item: order[id(item[0])])
        result.failed.sort(key=lambda item: order[id(item[0])])
        result.at = clock.monotonic()
        aggregator.follow_clock(clock.time() - result.at)
        now = int(clock.time())
        result.bodies = {
            push.name: bodies(aggregator.close(result.at, now, push.name), payload_options(config, push))
            for push in config.endpoints
        }
        store.close()
    return result


def _copy(state: Path, scratch: Path) -> Path:
    """Copy the daemon's file of energies and its write-ahead log into `scratch`. Return the path of the copy.

    The copy does not exist if there is no such file, or if this user cannot read it.
    """
    for suffix in ("", "-wal"):
        source = state.with_name(state.name + suffix)
        try:
            scratch.joinpath(source.name).write_bytes(source.read_bytes())
        except OSError:
            continue
    return scratch / state.name
