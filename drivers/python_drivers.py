"""The drivers that are Python classes instead of profiles. Data only: a class is imported when a site uses it."""

from __future__ import annotations

from drivers.errors import ProfileError

# Driver name -> "module:class".
PYTHON_DRIVERS = {
    "sunspec": "drivers.sunspec.driver:SunSpec",
    "sunspec-meter": "drivers.sunspec.driver:SunSpecMeter",
    "solaredge": "drivers.sunspec.solaredge:SolarEdge",
}
# Drivers with channels (`NAME:2` is the second like part of a device) -> number of channels.
PYTHON_CHANNELS = {"sunspec-meter": 9}


def channel_number(family: str, channel: str, count: int) -> int:
    """Which of the `count` channels of a family `channel` means, 1 being the first. Raises ProfileError."""
    if not count:
        raise ProfileError(f"{family} has no channels (found {f'{family}:{channel}'!r})")
    if not (channel.isascii() and channel.isdecimal() and 1 <= int(channel) <= count):
        raise ProfileError(f"{family}: the channel must be 1..{count} (found {f'{family}:{channel}'!r})")
    return int(channel)
