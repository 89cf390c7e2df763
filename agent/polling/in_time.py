"""Decides which devices of a link can answer before a deadline. Pure."""

from __future__ import annotations

from collections.abc import Collection
from itertools import groupby

from agent.polling.device import Device


def in_time(devices: Collection[Device], within_s: float) -> Collection[Device]:
    """Return those of the due `devices` of a link whose polls are probably complete within `within_s`.

    The devices that are not lost are checked in the order of `Device.rank`, the slow ones last. Devices of the same
    rank are included together or not at all, because their order in a round is not known. If all ranks fit, the lost
    devices are included too. Otherwise the first rank that does not fit, all later ranks and the lost devices are left
    out.
    """
    round_s = sum(device.health.took_s for device in devices)
    if 2 * round_s <= within_s:  # no sum below is larger than 2 * round_s
        return devices
    found: list[Device] = []
    polls_s = again_s = 0.0
    well = sorted((device for device in devices if not device.health.failures), key=_order)
    for _, group in groupby(well, key=_order):
        same = list(group)
        polls_s += sum(device.health.took_s for device in same)
        # The ranks up to this one need `polls_s`. The link alternates between the devices of its round and those of an
        # earlier rank that become due meanwhile. So the polls of later ranks that come in between take at most
        # `polls_s` in total. The repeated polls of earlier ranks also take at most `polls_s` in total.
        if polls_s + min(polls_s, round_s - polls_s) + min(polls_s, again_s) > within_s:
            return found
        again_s += sum(within_s // device.interval_s * device.health.took_s for device in same)
        found += same
    return devices


def _order(device: Device) -> tuple[bool, tuple[bool, float]]:
    return device.health.slow, device.rank
