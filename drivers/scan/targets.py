"""Parses the targets of a scan. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from drivers.protocol import is_ip_address, zone_mistake

_MOST_HOSTS = 65_536
_NAME = re.compile(r"(?!-)[\w.-]{1,253}")
_LAST_OCTETS = re.compile(r"(\d+\.\d+\.\d+\.)(\d+)-(\d+)")


class TargetError(ValueError):
    """A target, or a list of numbers, is not valid. The message says what is valid."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Hosts (names or addresses) and serial ports, each once, in the given order."""

    hosts: tuple[str, ...] = ()
    serial_ports: tuple[str, ...] = ()


def parse_targets(texts: Iterable[str]) -> Targets:
    """Parse each text: a host, a network such as 192.168.1.0/24, a range, or a serial port such as /dev/ttyUSB0.

    A range is 192.168.1.20-40 or 192.168.1.20-192.168.1.40. Raises TargetError.
    """
    hosts: dict[str, None] = {}
    serial_ports: dict[str, None] = {}
    for text in texts:
        if text.startswith("/"):
            serial_ports[text] = None
        else:
            hosts |= dict.fromkeys(_hosts(text))
        if len(hosts) > _MOST_HOSTS:
            raise TargetError(f"more than {_MOST_HOSTS} hosts; scan smaller ranges (found {text!r})")
    return Targets(tuple(hosts), tuple(serial_ports))


def _hosts(text: str) -> Iterator[str]:
    if mistake := zone_mistake(text.partition("/")[0]):
        raise TargetError(f"{mistake} (found {text!r})")
    if "/" in text:
        yield from _network(text)
        return
    if match := _LAST_OCTETS.fullmatch(text):
        yield from _range(text, match[1] + match[2], match[1] + match[3])
        return
    first, dash, last = text.partition("-")
    if dash and is_ip_address(first) and is_ip_address(last):
        yield from _range(text, first, last)
        return
    if not is_ip_address(text) and (not _NAME.fullmatch(text) or re.fullmatch(r"[\d.-]+", text)):
        hint = "; set the port with --port" if re.fullmatch(r"[\w.-]+:\d+", text) else ""
        raise TargetError(
            f"must be a host, a network such as 192.168.1.0/24, a range such as 192.168.1.20-40,"
            f" or a serial port such as /dev/ttyUSB0 (found {text!r}){hint}"
        )
    yield text


def _network(text: str) -> Iterator[str]:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise TargetError(f"must be a network such as 192.168.1.0/24 (found {text!r})") from None
    if network.num_addresses > _MOST_HOSTS:
        raise TargetError(f"more than {_MOST_HOSTS} hosts; scan smaller networks (found {text!r})")
    yield from map(str, network.hosts())


def _range(text: str, first: str, last: str) -> Iterator[str]:
    try:
        low, high = ipaddress.ip_address(first), ipaddress.ip_address(last)
    except ValueError:
        raise TargetError(f"must be a range such as 192.168.1.20-40 (found {text!r})") from None
    if low.version != high.version or not 0 <= int(high) - int(low) < _MOST_HOSTS:
        raise TargetError(f"must be a range from low to high of at most {_MOST_HOSTS} hosts (found {text!r})")
    yield from (str(type(low)(number)) for number in range(int(low), int(high) + 1))


def parse_numbers(text: str, low: int, high: int) -> tuple[int, ...]:
    """Parse numbers from `low` to `high`, such as `1,3,10-20`: each once, in the given order. Raises TargetError."""
    numbers: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        first = int(match[1]) if match else -1
        last = int(match[2] or match[1]) if match else -1
        if not low <= first <= last <= high:
            raise TargetError(f"must be numbers {low}..{high} such as 1,3,10-20 (found {text!r})")
        numbers |= dict.fromkeys(range(first, last + 1))
    return tuple(numbers)
