"""Scanning a network of 254 silent addresses with default settings, and one gateway with 20 units.

The network is a namespace of its own with a cable at whose other end nobody is: no address answers, not even with a
refusal. Needs Linux and the right to make one (root, or user namespaces); says so where it cannot.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable

from agent.commissioning import scan
from drivers.catalogue import Catalogue
from drivers.model import Table
from drivers.profile.loader import Profile
from drivers.simulator.modbus_server import ModbusServer, SimulatedUnit

INSIDE = "TELEMETRY_BENCHMARK_NAMESPACE"
SILENT = "10.77.0.1-254"
GATEWAY = "10.77.0.255"
SET_UP = (
    "ip link set lo up",
    "ip link add silent0 type veth peer name silent1",
    "ip link set silent0 up",
    "ip link set silent1 up",
    f"ip addr add {GATEWAY}/23 dev silent0",
)


def measure() -> None:
    profiles, _ = Catalogue().profiles()
    silent, settings = scan.request([SILENT], None, "", 1.0, None, None, "tcp", profiles)
    started = time.monotonic()
    scanner, _ = scan.scan(silent, settings, profiles)
    took_s = time.monotonic() - started
    one_by_one_s = len(silent.hosts) * len(settings.ports) * settings.connect_timeout_s
    print(f"{len(silent.hosts)} silent addresses, {len(settings.ports)} ports each: {took_s:.1f} s", end=" ")
    print(f"({took_s / one_by_one_s:.1%} of one by one), {len(scanner.places)} places found; floor: 30 s")
    asyncio.run(gateway())


async def gateway() -> None:
    registers = {Table.INPUT: {0: 0, 1: 0}, Table.HOLDING: {0xFC02: 0x70}}
    server = ModbusServer([SimulatedUnit(unit_id, lambda: registers) for unit_id in range(1, 21)], GATEWAY, 502)
    await server.start()
    profiles, _ = Catalogue().profiles()
    targets, settings = scan.request([GATEWAY], None, "", 1.0, None, None, "tcp", profiles)
    started = time.monotonic()
    scanner, _ = await asyncio.to_thread(scan.scan, targets, settings, profiles)
    found = [unit for place in scanner.places for unit in place.units]
    named = sum(bool(unit.identity and unit.identity.matches) for unit in found)
    print(f"one gateway with 20 units, the others silent: {len(found)} found, {named} identified", end=" ")
    print(f"in {time.monotonic() - started:.1f} s, {marks(profiles)} marks asked of each")
    await server.stop()


def marks(profiles: Iterable[Profile]) -> int:
    """Reads that tell the families apart; each is a time-out on a device that is silent where it has nothing."""
    return len({profile.identify.span for profile in profiles if profile.identify is not None})


def main() -> None:
    if os.environ.get(INSIDE):
        for line in SET_UP:
            subprocess.run(line.split(), check=True)
        measure()
        return
    unshare = shutil.which("unshare")
    if unshare is None or shutil.which("ip") is None:
        print("not measured: needs unshare (util-linux) and ip (iproute2) for a network of silent addresses")
        return
    own = () if os.geteuid() == 0 else ("--map-root-user",)
    command = [unshare, *own, "--net", sys.executable, "-m", "benchmarks", "scan"]
    if subprocess.run(command, env={**os.environ, INSIDE: "1"}, check=False).returncode:
        print("not measured: no network namespace could be made; run it as root")


if __name__ == "__main__":
    main()
