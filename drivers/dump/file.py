"""The file format of a dump: the raw registers of a device.

People attach a dump to a report about a device. A dump can test a profile without the device.

The file is JSON. Addresses and words are decimal. The word of a bit is 0 or 1. A list has consecutive words; its key is
the address of the first word. The agent writes short lists, and reads lists of any length. An example:

    {"type": "grid", "vendor": "…", "model": "…", "driver": "eastron-sdm630", "source": "…", "unit_id": 1,
     "registers": {"holding": {"40000": [21365, 28243, …]}, "input": {…}, "coil": {…}, "discrete": {…}},
     "expected": {"active_power.l1": 230.5, "frequency": null, …}}

Only `registers` is required. `expected` has the readings of the driver, in the units and with the signs of
`drivers.model`; null is a reading without a value. For a hybrid device, the name begins with the node type
(`solar.active_power`).
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from sys import float_info
from typing import Any

from drivers.errors import exception_reply, unreadable
from drivers.model import Reading, Table, Value
from drivers.protocol import ADDRESSES, BITS, MAX_UNIT_ID, MAX_WORD, ExceptionCode

_ROW = 16
"""Maximum number of words in one list, which is one line of the file."""
_MAX_BYTES = 4 << 20
"""Maximum size of the file. Four full tables need less than 2 MiB."""
_shown = reprlib.Repr().repr
"""Shortens a wrong value for an error text."""
_ADDRESS = re.compile(r"[0-9]{1,5}", re.ASCII)


class DumpError(ValueError):
    """The file is not a dump, or it cannot be read. The text has the path and the reason."""


@dataclass(slots=True)
class Dump:
    """The registers and bits of one device. A driver can read the dump instead of the device, as a `Reader`."""

    tables: dict[Table, dict[int, int]] = field(default_factory=dict)
    """Table → zero-based address → word or bit."""
    unit_id: int = 1
    about: dict[str, Any] = field(default_factory=dict)
    """The keys of the file other than `registers` and `unit_id`."""

    @property
    def count(self) -> int:
        """The number of registers and bits."""
        return sum(len(words) for words in self.tables.values())

    async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
        """See `drivers.driver.Reader`. Raises IllegalAddressError if the dump lacks a register."""
        words = self.tables.get(table, {})
        try:
            return [words[place] for place in range(address, address + count)]
        except KeyError:
            raise exception_reply(
                ExceptionCode.ILLEGAL_DATA_ADDRESS, f"{table} {address}-{address + count - 1}"
            ) from None


def load(path: Path) -> Dump:
    """Read a dump from a file. Raises DumpError."""
    content = _json(path)
    if not isinstance(content, dict) or not isinstance(content.get("registers"), dict):
        raise DumpError(f'{path}: must be an object with "registers"')
    registers = content.pop("registers")
    if unknown := sorted(set(registers) - set(Table)):
        raise DumpError(f"{path}: registers: must be {', '.join(Table)} (found {_shown(unknown[0])})")
    unit_id = content.pop("unit_id", 1)
    if type(unit_id) is not int or not 0 <= unit_id <= MAX_UNIT_ID:
        raise DumpError(f"{path}: unit_id: must be 0..{MAX_UNIT_ID} (found {_shown(unit_id)})")
    expected = content.get("expected", {})
    if not isinstance(expected, dict) or not all(map(_is_value, expected.values())):
        raise DumpError(f"{path}: expected: must map names to numbers, texts, true, false or null")
    tables = {Table(table): _words(runs, f"{path}: {table}", Table(table)) for table, runs in registers.items()}
    return Dump(tables, unit_id, content)


def _json(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DumpError(f"{path}: cannot be read: {unreadable(error)}") from None
    if len(content) > _MAX_BYTES:
        raise DumpError(f"{path}: is larger than {_MAX_BYTES >> 20} MiB")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DumpError(f"{path}: is not JSON: {error}") from None
    except RecursionError:
        raise DumpError(f"{path}: is nested too deeply") from None
    except ValueError:  # Python limits the digits of an integer
        raise DumpError(f"{path}: a number has too many digits") from None


def _is_value(value: object) -> bool:
    """Whether `value` is valid in `expected`. A number must be finite and fit a float."""
    if isinstance(value, int | float):
        return -float_info.max <= value <= float_info.max
    return value is None or isinstance(value, str)


def _words(runs: Any, where: str, table: Table) -> dict[int, int]:
    most = 1 if table in BITS else MAX_WORD
    if not isinstance(runs, dict):
        raise DumpError(f"{where}: must map first addresses to lists of words (found {_shown(runs)})")
    words: dict[int, int] = {}
    for first, run in runs.items():
        if not _ADDRESS.fullmatch(first) or not isinstance(run, list) or int(first) + len(run) > ADDRESSES:
            found = f"{_shown(first)}: {_shown(run)}"
            raise DumpError(f"{where}: must map addresses 0..{ADDRESSES - 1} to lists of words (found {found})")
        for address, word in enumerate(run, int(first)):
            if type(word) is not int or not 0 <= word <= most:
                raise DumpError(f"{where} {address}: must be a word 0..{most} (found {_shown(word)})")
            words[address] = word
    return words


def to_json(dump: Dump) -> str:
    """Return the text of a dump file. Its lines are short, so that people can read and compare dumps."""
    about = {key: json.dumps(value) for key, value in dump.about.items() if key != "expected"}
    about["unit_id"] = json.dumps(dump.unit_id)
    about["registers"] = _nested(
        (table.value, _nested(_rows(dump.tables[table]), "    ")) for table in Table if table in dump.tables
    )
    if "expected" in dump.about:
        about["expected"] = _nested((name, json.dumps(value)) for name, value in dump.about["expected"].items())
    return _nested(about.items(), "") + "\n"


def _nested(items: Iterable[tuple[str, str]], indent: str = "  ") -> str:
    lines = ",\n".join(f"{indent}  {json.dumps(key)}: {value}" for key, value in items)
    return f"{{\n{lines}\n{indent}}}" if lines else "{}"


def _rows(words: Mapping[int, int]) -> Iterator[tuple[str, str]]:
    """Yield rows of at most `_ROW` consecutive words: the address of the first word, and the words as JSON."""
    for _, run in groupby(enumerate(sorted(words)), key=lambda pair: pair[1] - pair[0]):
        addresses = [address for _, address in run]
        for start in range(0, len(addresses), _ROW):
            row = addresses[start : start + _ROW]
            yield str(row[0]), json.dumps([words[address] for address in row])


def expected_of(readings: Iterable[Reading]) -> dict[str, Value | None]:
    """Return the readings in the format of `expected`."""
    return {
        reading_name(reading): round(reading.value, 6) if isinstance(reading.value, float) else reading.value
        for reading in readings
    }


def reading_name(reading: Reading) -> str:
    """Return the name of a reading, such as `active_power.l1` or `solar.active_power`."""
    return ".".join(part for part in (reading.node, reading.quantity.value, reading.phase) if part is not None)
