"""The error of a configuration that cannot be used, and the parts of its text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agent.security import may_be_secret

if TYPE_CHECKING:
    from drivers.catalogue import Catalogue

# A word that other software uses → the keys or values of this agent with that meaning.
_ELSEWHERE = {
    "abcd": ("big",),
    "address": ("host", "unit_id"),
    "battery": ("storage",),
    "badc": ("big_swapped",),
    "baud": ("baudrate",),
    "cdab": ("little",),
    "charger": ("variable_power_load",),
    "comset": ("parity",),
    "consumer": ("switched_load", "variable_power_load"),
    "dcba": ("little_swapped",),
    "destination": ("url",),
    "device": ("serial_port", "driver"),
    "endpoint": ("url",),
    "ess": ("storage",),
    "even": ("E",),
    "evse": ("variable_power_load",),
    "id": ("node_id", "unit_id"),
    "inverter": ("solar",),
    "ip": ("host",),
    "ip_address": ("host",),
    "load": ("switched_load", "variable_power_load"),
    "manufacturer": ("driver",),
    "meter": ("grid",),
    "modbus_id": ("unit_id",),
    "model": ("driver",),
    "name": ("node_id",),
    "none": ("N", "missing"),
    "odd": ("O",),
    "period_s": ("interval_s",),
    "photovoltaic": ("solar",),
    "profile": ("driver",),
    "pv": ("solar",),
    "relay": ("switched_load",),
    "reverse": ("invert",),
    "role": ("type",),
    "rs485": ("rtu",),
    "serial": ("rtu",),
    "site_id": ("node_id",),
    "slave": ("unit_id",),
    "slave_id": ("unit_id",),
    "switch": ("switched_load",),
    "template": ("driver",),
    "tty": ("serial_port",),
    "tz": ("timezone",),
    "uri": ("url", "host"),
    "usage": ("type",),
    "wallbox": ("variable_power_load",),
}


class ConfigError(Exception):
    """The configuration cannot be used. `lines` has one line per mistake."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def did_you_mean(name: str, known: Iterable[object]) -> str:
    """Return the end of an error text: the known names that `name` may mean; empty if there is none."""
    from difflib import get_close_matches  # the daemon needs it only for a mistake

    names = [str(key) for key in known]
    plain = name.lower().replace("-", "_")
    elsewhere = [key for key in _ELSEWHERE.get(plain, ()) if key in names]
    same = [key for key in names if key.lower() == plain]
    meant = same or elsewhere or get_close_matches(name, names, 1) or get_close_matches(plain, names, 1)
    return f"; did you mean {' or '.join(map(repr, meant))}?" if meant else ""


def path_shown(path: Path) -> str:
    """Return the path for an error text, or words that do not show it if it may be a secret."""
    if may_be_secret(path):
        return "a relative path; it is not shown because it may be the secret itself"
    return repr(str(path))


def name_devices(lines: Iterable[str], names: Sequence[str]) -> list[str]:
    """Add the name of the device to each key such as `device[3].driver`. See `name_items`."""
    return name_items(lines, "device", names)


def name_items(lines: Iterable[str], key: str, names: Sequence[str]) -> list[str]:
    """Return `lines` with the name of the item after each key such as `push[3].url`.

    `key` is the beginning of these keys, here `push`. `names` has the name of each item, in the order of the file. If
    the item has no name there, or an empty one, nothing is added.
    """

    def with_name(place: re.Match[str]) -> str:
        index = int(place[1])
        return f"{place[0]} ({names[index]})" if index < len(names) and names[index] else place[0]

    return [re.sub(rf"\b{key}\[(\d+)\](?:\.\w+|\[\w+\])*", with_name, line) for line in lines]


def no_such_driver(name: str, catalogue: Catalogue) -> str:
    """Return the error text for a driver that does not exist, with a suggestion."""
    meant = catalogue.alike(name)
    hint = f"did you mean {' or '.join(map(repr, meant))}?" if meant else "`telemetry-agent drivers` lists them"
    return f"no such driver {name!r}; {hint}"
