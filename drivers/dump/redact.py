"""Removes private data from a dump: serial numbers, names, addresses. Pure.

These registers are blanked:

- The serial number in SunSpec's common model.
- Text in four or more registers in a row. Serial numbers, site names and network names are stored as text.
- Numeric serial numbers at known addresses (`NUMBERS`).

But text and numeric serial numbers are kept in these registers:

- The registers that the caller needs, such as those of the points of the profile.
- Manufacturer, model, options and version in SunSpec's common model. They identify the device family.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

from drivers.model import Table
from drivers.registers.read_plan import Span
from drivers.sunspec.models import BASES, HEADER, MARKER

BLANK = 0x5858
"""The letters XX. Blanked text is still text."""

_LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 -_./:@+#")
_SHORTEST_REGISTERS = 4
"""Fewer registers in a row may be numbers that look like text."""
_END = 0xFFFF
"""The model id that ends a SunSpec chain."""

# Numeric serial numbers. `redact` blanks these spans in the dump of every device. A span that overlaps a kept register
# is not blanked at all: on this device, the registers have another meaning.
NUMBERS = (
    Span(Table.HOLDING, 0xFC00, 2),  # Eastron: its SDM protocols, openWB/core common/sdm.py
    Span(Table.HOLDING, 30057, 2),  # SMA: nymea/nymea-plugins-modbus sma
    Span(Table.INPUT, 30057, 2),
    Span(Table.HOLDING, 0x8900, 2),  # ABB B2x: victronenergy/dbus-modbus-client abb.py, openWB/core b23.py
    Span(Table.HOLDING, 0xC358, 5),  # Socomec: its communication tables
    Span(Table.HOLDING, 0x4000, 4),  # ABB Terra AC: evcc charger/abb.go; Inepro PRO380: its manual
    Span(Table.HOLDING, 1014, 2),  # KEBA: evcc charger/keba-modbus.go, OpenEMS edge.evse.chargepoint.keba
    Span(Table.INPUT, 0x030B, 2),  # Mennekes Amtron Xtra: evcc charger/mennekes-hcc3.go, nymea mennekes
)

# SunSpec common model: 16 registers manufacturer, 16 model, 8 options, 8 version, then 16 serial number.
_SUNSPEC_KEPT = 48
_SUNSPEC_SERIAL = 16


def redact(tables: Mapping[Table, dict[int, int]], keep: Iterable[Span] = ()) -> list[Span]:
    """Blank registers in `tables` and return the blanked spans.

    The registers in `keep` are not blanked, except the serial number of a SunSpec common model.
    """
    kept = {(span.table, address) for span in keep for address in range(span.address, span.end)}
    holding = tables.get(Table.HOLDING, {})
    serials = []
    for address in _common_models(holding):
        first = address + HEADER
        kept |= {(Table.HOLDING, place) for place in range(address, first + _SUNSPEC_KEPT)}
        serials.append(Span(Table.HOLDING, first + _SUNSPEC_KEPT, _SUNSPEC_SERIAL))
    serials += [span for span in NUMBERS if not any((span.table, at) in kept for at in range(span.address, span.end))]
    texts = [span for table in (Table.HOLDING, Table.INPUT) for span in _texts(table, tables.get(table, {}), kept)]
    return [span for span in sorted({*serials, *texts}) if _blank(tables.get(span.table, {}), span)]


def _blank(words: dict[int, int], span: Span) -> bool:
    """Blank the registers of `span` that are not 0. Return whether any were blanked."""
    found = [address for address in range(span.address, span.end) if words.get(address, 0) not in (0, BLANK)]
    for address in found:
        words[address] = BLANK
    return bool(found)


def _common_models(holding: Mapping[int, int]) -> Iterator[int]:
    """Yield the addresses of the common models in a SunSpec chain."""
    for base in BASES:
        if (holding.get(base), holding.get(base + 1)) != MARKER:
            continue
        address = base + len(MARKER)
        while (model := holding.get(address, _END)) != _END:
            if model == 1:
                yield address
            length = holding.get(address + 1, 0)
            if length == 0:
                return
            address += HEADER + length


def _texts(table: Table, words: Mapping[int, int], kept: set[tuple[Table, int]]) -> Iterator[Span]:
    """Yield the runs of at least `_SHORTEST_REGISTERS` registers that are text and not in `kept`.

    A register is text if it has two of the characters `_LETTERS`, or one of them before a NUL.
    """
    places = [address for address in sorted(words) if (table, address) not in kept and _is_text(words[address])]
    for _, run in groupby(enumerate(places), key=lambda pair: pair[1] - pair[0]):
        addresses = [address for _, address in run]
        if len(addresses) >= _SHORTEST_REGISTERS:
            yield Span(table, addresses[0], len(addresses))


def _is_text(word: int) -> bool:
    return word >> 8 in _LETTERS and (word & 0xFF in _LETTERS or word & 0xFF == 0)
