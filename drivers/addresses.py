"""Addresses as text: of a link (host and port), and of a unit on a link, such as `192.168.1.20:502 unit 1`. Pure."""

from __future__ import annotations

import ipaddress
import re

MAX_PORT = 65_535

_LINK_LOCAL = re.compile(r"fe[89ab][0-9a-f]:", re.IGNORECASE)
_UNIT = " unit "


def host_and_port(host: str, port: int) -> str:
    """Return `host:port`; an IPv6 address is in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def unit_address(link_address: str, unit_id: int) -> str:
    """Return the address of a unit on the link with the address `link_address`."""
    return f"{link_address}{_UNIT}{unit_id}"


def link_address(address: str) -> str:
    """Return the address of the link from `address`, the result of `unit_address`. Empty if `address` has no unit."""
    return address.rpartition(_UNIT)[0]


def is_ip_address(text: str) -> bool:
    """Whether the text is an IPv4 or IPv6 address, without brackets and port."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def zone_mistake(host: str) -> str | None:
    """Return the rule that a link-local IPv6 address without a zone breaks; None for all other hosts.

    The zone is the name of a network interface. The same link-local address can exist on each interface of the machine,
    so the zone must say which interface is meant.
    """
    if _LINK_LOCAL.match(host) and "%" not in host:
        return f"must have a zone (its interface), such as {host}%eth0, because it is a link-local address"
    return None
