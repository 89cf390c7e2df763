"""Finds the links that are too slow for the poll intervals of their devices or for the deadline of a push. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf

from agent.polling import Connection, Device
from drivers.modbus import Link, LinkSettings
from drivers.profile import RegisterDriver

GATEWAY_S = 0.02
"""Assumed time of one request over the network. A gateway with a slow serial line needs longer."""
SERIAL_ANSWER_S = 0.01
"""Assumed time from a request to the reply of a device on a serial line."""
_BITS_PER_BYTE = 11
"""8 data bits, start bit, parity bit and stop bit."""
_REQUEST_BYTES = 8
_REPLY_BYTES = 5
"""An RTU reply without its registers."""
_UNKNOWN_REQUESTS = 3
"""Assumed number of requests of a device whose registers are known only after its first poll."""


def estimates(connection: Connection) -> dict[Device, float]:
    """Return the estimated seconds of one poll of each device.

    Empty if the link is not a Modbus link. Also empty for a network link with only one device: `GATEWAY_S` is an
    estimate for the devices behind a gateway.
    """
    link = connection.link
    if not isinstance(link, Link) or (not link.settings.serial and len(connection.devices) == 1):
        return {}
    return {device: _estimate(device, link.settings) for device in connection.devices}


def _estimate(device: Device, link: LinkSettings) -> float:
    driver = device.driver
    counts = [block.count for block in driver.blocks] if isinstance(driver, RegisterDriver) else [0] * _UNKNOWN_REQUESTS
    gap_s = max(link.request_gap_s, link.line_silence_s)
    if not link.serial:
        return len(counts) * max(GATEWAY_S, gap_s)
    size = sum(_REQUEST_BYTES + _REPLY_BYTES + 2 * count for count in counts)
    return size * _BITS_PER_BYTE / link.baudrate + len(counts) * (SERIAL_ANSWER_S + gap_s)


def slow_links(
    connections: Sequence[Connection], deadline_s: float = inf, measured_s: Mapping[Device, float] | None = None
) -> Iterator[str]:
    """Yield one sentence for each link that is too slow for the poll intervals of its devices or for `deadline_s`.

    `deadline_s` is the shortest deadline of the endpoints. `measured_s`: polled device → seconds of one poll. If it is
    None, the seconds are estimated.
    """
    for connection in connections:
        poll_s, how = estimates(connection), "estimated; check --online measures it"
        if measured_s is not None:
            poll_s, how = {each: measured_s[each] for each in connection.devices if each in measured_s}, "measured"
        if sentence := _too_slow(connection, poll_s, how) or _late(connection, poll_s, how, deadline_s):
            yield sentence


def _too_slow(connection: Connection, poll_s: Mapping[Device, float], how: str) -> str | None:
    if sum(seconds / device.interval_s for device, seconds in poll_s.items()) <= 1:
        return None
    shortest_s = min(device.interval_s for device in poll_s)
    return (
        f"{connection.address}: one poll of {_devices(tuple(poll_s))} takes about {sum(poll_s.values()):.1f} s ({how}),"
        f" but the shortest poll interval is {shortest_s:g} s: increase poll.interval_s, or poll_interval_s of the"
        " devices, so that each link has time for its polls"
    )


def _late(connection: Connection, poll_s: Mapping[Device, float], how: str, deadline_s: float) -> str | None:
    if (round_s := sum(poll_s.values())) <= deadline_s:
        return None
    return (
        f"{connection.address}: one poll of {_devices(tuple(poll_s))} takes about {round_s:.1f} s ({how}), but a push"
        f" waits only {deadline_s:g} s for polls, so the push sends values of the previous poll: increase"
        " push.deadline_s or push.interval_s"
    )


def _devices(devices: Sequence[Device]) -> str:
    return f"{len(devices)} devices" if len(devices) > 1 else devices[0].name
