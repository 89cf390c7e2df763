"""A device's raw registers in a file: to report a device, to try a profile on it without the device, to test with it.

The format is JSON, addresses and words in decimal:

    {"device": "…", "type": "grid", "source": "…", "unit_id": 1,
     "holding": {"40000": 21365, …}, "input": {…}, "coil": {…}, "discrete": {…},
     "refused": ["holding 40200-40201"], "redacted": ["holding 40052-40067"],
     "driver": "eastron-sdm630", "expected": {"active_power_l1_W": 230.5, …}}

`expected` is what `driver` made of the words when they were read; only the tables and `unit_id` are required.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drivers.errors import exception_reply
from drivers.model import Reading, Table, Value
from drivers.plan import BITS

_ILLEGAL_ADDRESS = 2


class DumpError(ValueError):
    """A file that is no dump; the message names it and says what is wrong."""


@dataclass(slots=True)
class Dump:
    """The words of one device."""

    tables: dict[Table, dict[int, int]] = field(default_factory=dict)
    """Table → zero-based address → word or bit."""
    unit_id: int = 1
    about: dict[str, Any] = field(default_factory=dict)
    """Everything else that stands in the file."""

    @property
    def count(self) -> int:
        return sum(len(words) for words in self.tables.values())

    async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
        """The dump as a `drivers.base.Reader`: exception 2 for what it does not hold."""
        words = self.tables.get(table, {})
        try:
            return [words[place] for place in range(address, address + count)]
        except KeyError:
            raise exception_reply(_ILLEGAL_ADDRESS, f"{table} {address}-{address + count - 1}") from None


def load(path: Path) -> Dump:
    """Raises DumpError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DumpError(f"{path}: cannot be read: {error}") from None
    except json.JSONDecodeError as error:
        raise DumpError(f"{path}: is not JSON: {error}") from None
    if not isinstance(content, dict) or not any(table in content for table in Table):
        raise DumpError(f"{path}: must be an object with {', '.join(Table)}")
    unit_id = content.pop("unit_id", 1)
    if type(unit_id) is not int or not 0 <= unit_id <= 255:
        raise DumpError(f"{path}: unit_id: must be 0..255 (found {unit_id!r})")
    tables = {table: _words(content.pop(table.value, {}), f"{path}: {table}", table) for table in Table}
    return Dump({table: words for table, words in tables.items() if words}, unit_id, content)


def _words(content: Any, where: str, table: Table) -> dict[int, int]:
    most = 1 if table in BITS else 0xFFFF
    if not isinstance(content, dict):
        raise DumpError(f"{where}: must map addresses to words (found {content!r})")
    words: dict[int, int] = {}
    for address, word in content.items():
        if not address.isdecimal() or int(address) > 0xFFFF or type(word) is not int or not 0 <= word <= most:
            raise DumpError(f"{where}: must map addresses 0..65535 to words 0..{most} (found {address!r}: {word!r})")
        words[int(address)] = word
    return words


def to_json(dump: Dump) -> str:
    """One line per table and key, so that a file can be read and compared."""
    content: dict[str, Any] = {**dump.about, "unit_id": dump.unit_id}
    for table in Table:
        if table in dump.tables:
            content[table.value] = {str(address): word for address, word in sorted(dump.tables[table].items())}
    lines = (f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in content.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def value_names(readings: Iterable[Reading]) -> dict[str, Value]:
    """Values by name as `expected` has them: quantity, phase and unit; in a hybrid the node stands in front."""
    names = {}
    for reading in readings:
        if reading.value is not None:
            value = reading.value
            names[value_name(reading)] = round(value, 6) if isinstance(value, float) else value
    return names


def value_name(reading: Reading) -> str:
    """`active_power_l1_W`, `solar.active_power_W`."""
    unit = reading.quantity.unit.value
    parts = (reading.quantity.value, reading.phase.value if reading.phase else "", unit)
    node = f"{reading.node.value}." if reading.node else ""
    return node + "_".join(part for part in parts if part)
