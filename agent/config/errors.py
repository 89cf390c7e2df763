"""What is said about a configuration that cannot be used."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drivers.catalogue import Catalogue

# What other software for the same job calls it → what it is called here.
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
    """The configuration cannot be used; `lines` holds one message per mistake."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def did_you_mean(name: str, known: Iterable[object]) -> str:
    """The known names that were probably meant, as the end of a message; empty when none is close."""
    names = [str(key) for key in known]
    plain = name.lower().replace("-", "_")
    elsewhere = [key for key in _ELSEWHERE.get(plain, ()) if key in names]
    same = [key for key in names if key.lower() == plain]
    meant = same or elsewhere or get_close_matches(name, names, 1) or get_close_matches(plain, names, 1)
    return f"; did you mean {' or '.join(map(repr, meant))}?" if meant else ""


def path_shown(path: Path) -> str:
    """A path for messages, unless it may be the secret that should stand in the file."""
    if path.is_absolute() or os.path.exists(path):  # noqa: PTH110 - Path.exists raises for what is too long to be a name
        return repr(str(path))
    return "a name that is no path, and not shown because it may be the secret itself"


def name_devices(lines: Iterable[str], names: Sequence[str]) -> list[str]:
    """`device[3].driver` → `device[3].driver (pv-1)`: nobody counts tables. `names` are in the order of the file."""

    def with_name(place: re.Match[str]) -> str:
        index = int(place[1])
        return f"{place[0]} ({names[index]})" if index < len(names) and names[index] else place[0]

    return [re.sub(r"\bdevice\[(\d+)\](?:\.\w+|\[\w+\])*", with_name, line) for line in lines]


def no_such_driver(name: str, catalogue: Catalogue) -> str:
    """What is said about a driver that nobody knows."""
    meant = catalogue.alike(name)
    hint = f"did you mean {' or '.join(map(repr, meant))}?" if meant else "`telemetry-agent drivers` lists them"
    return f"no such driver {name!r}; {hint}"
