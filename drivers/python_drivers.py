"""The drivers that are Python classes instead of profiles. The catalogue imports a class when it creates its driver."""

from __future__ import annotations

from drivers.errors import ProfileError

# Driver name -> "module:class".
PYTHON_DRIVERS = {
    "sunspec": "drivers.sunspec.driver:SunSpec",
    "sunspec-meter": "drivers.sunspec.driver:SunSpecMeter",
    "solaredge": "drivers.sunspec.solaredge:SolarEdge",
}
# Driver name -> number of channels. `NAME:2` reads the second channel of a device.
PYTHON_CHANNELS = {"sunspec-meter": 9}


def channel_number(family: str, channel: str, count: int) -> int:
    """Convert the text `channel` to a number from 1 to `count`, the number of channels. Raises ProfileError."""
    if not count:
        raise ProfileError(f"{family} has no channels (found {f'{family}:{channel}'!r})")
    if not (channel.isascii() and channel.isdecimal() and 1 <= int(channel) <= count):
        raise ProfileError(f"{family}: the channel must be 1..{count} (found {f'{family}:{channel}'!r})")
    return int(channel)
