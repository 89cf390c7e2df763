"""Finds what a scan can search: the networks and the serial ports of this machine."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from pathlib import Path

from agent.config import is_time_zone

_ROUTES = Path("/proc/net/route")
_LEAST_PREFIX = 22
"""The prefix length of the largest network that is proposed. The scan of a larger network would take long."""
_MOST_NETWORKS = 3
_VIRTUAL = ("lo", "docker", "br-", "veth", "virbr", "tun", "tap", "wg", "tailscale", "zt")
"""Interfaces whose names begin with one of these are not scanned: loopback, containers, virtual machines, tunnels."""
_SERIAL = ("ttyUSB*", "ttyACM*")


def places(routes: Path = _ROUTES, devices: Path = Path("/dev")) -> list[str]:
    """Return the targets to propose for a scan: networks, such as 192.168.1.0/24, then serial ports."""
    ports = sorted(str(path) for pattern in _SERIAL for path in devices.glob(pattern))
    return [*list(dict.fromkeys(_networks(routes)))[:_MOST_NETWORKS], *ports]


def _networks(routes: Path) -> Iterator[str]:
    """Yield the IPv4 networks that are connected directly, except virtual, very large and very small ones."""
    try:
        lines = routes.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return
    for line in lines:
        name, destination, gateway, *rest = line.split()
        mask = rest[4]
        if int(gateway, 16) or not int(mask, 16) or name.startswith(_VIRTUAL):
            continue
        address, bits = (
            ipaddress.ip_address(int.from_bytes(bytes.fromhex(each), "little")) for each in (destination, mask)
        )
        network = ipaddress.ip_network(f"{address}/{bits}")
        if _LEAST_PREFIX <= network.prefixlen <= 30:
            yield str(network)


def timezone(localtime: Path = Path("/etc/localtime")) -> str | None:
    """Return the IANA name of this machine's time zone, such as Europe/Brussels.

    The variable TZ has a name or the path of a file. Without TZ, the file is `localtime`. None if the name is not
    known, or has no region, such as UTC.
    """
    name = os.environ.get("TZ", "").lstrip(":") or str(localtime)
    if name.startswith("/"):
        name = str(Path(name).resolve()).partition("/zoneinfo/")[2]
    return name if "/" in name and is_time_zone(name) else None
