"""The registers of a simulated device: the values of a profile, or the words of a dump. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from drivers.model import Key, Table, Unit, Value
from drivers.profile import Mark, Point, Profile
from drivers.protocol import MAX_REGISTERS
from drivers.registers import Encoding, bits_of, encode
from drivers.simulator.modbus_server import Image, SimulatedUnit

Values = Mapping[Key, Value]


def profile_unit(profile: Profile, values: Callable[[], Values], unit_id: int = 1) -> SimulatedUnit:
    """Return a device with this profile and the present `values`, which are rounded to the step of the registers.

    - A quantity without a value has the words for "not available". If the profile defines no such words, a float is
      NaN, and the registers of other types do not exist.
    - The `[identify]` mark of the profile holds, except its parts at other unit ids. The `valid` marks of points hold.
    - If the profile has a register with the number of repeated blocks, this number is 2.
    - A request raises ValueError if a value does not fit into any register of its quantity.
    """
    fixed = _fixed(profile)
    groups: dict[Key, list[Point]] = defaultdict(list)
    for point in sorted(profile.points, key=lambda each: abs(each.encoding.scale)):
        groups[point.key].append(point)

    def image() -> Image:
        now = values()
        written = _Words({table: dict(fixed[table]) for table in Table})
        for key, points in groups.items():
            for point, value, words in _words_of_points(points, now.get(key)):
                written.put(point.table, point.words, words, shared=_shares(point.encoding))
                if point.negative is not None:
                    _write_direction(written, point.negative, point.positive, value)
        return written.tables

    return SimulatedUnit(unit_id, image, max_registers=profile.max_registers or MAX_REGISTERS)


@dataclass(slots=True)
class _Words:
    tables: dict[Table, dict[int, int]]

    def put(self, table: Table, addresses: Sequence[int], words: Sequence[int], *, shared: bool = False) -> None:
        """Write words. `shared`: keep the other bits of the registers, because these bits may be other values."""
        registers = self.tables[table]
        for address, word in zip(addresses, words, strict=False):
            registers[address] = (registers.get(address, 0) if shared else 0) | word

    def mark(self, mark: Mark, words: Sequence[int]) -> None:
        addresses = range(mark.address, mark.address + len(words))
        self.put(mark.table, addresses, words, shared=_shares(mark.encoding))


def _fixed(profile: Profile) -> Image:
    """Return the registers that do not depend on the values: `[identify]`, `valid` marks, and the number of blocks."""
    written = _Words({table: {} for table in Table})
    marks = [mark for point in profile.points for mark in (point.valid,) if mark is not None]
    for first in dict.fromkeys(marks + ([profile.identify] if profile.identify else [])):
        for mark in first.all:
            if mark.unit_id is None:
                written.mark(mark, mark.example_words)
    for repeat in dict.fromkeys(point.repeat for point in profile.points if point.repeat is not None):
        if repeat.span is not None and repeat.encoding is not None:
            span = repeat.span
            written.put(span.table, range(span.address, span.end), encode(repeat.encoding, _BLOCKS))
    return written.tables


_BLOCKS = 2.0
"""The number of repeated blocks, if a register of the profile has this number."""


def _write_direction(written: _Words, negative: Mark, positive: Mark | None, value: Value | None) -> None:
    """Write the registers of both marks, so that `negative` holds if `value` is negative, and `positive` otherwise."""
    turned = isinstance(value, float) and value < 0
    # The mark that must hold is written last, because both marks may be in one register.
    for mark, holds in sorted(((negative, turned), (positive, not turned)), key=lambda pair: pair[1]):
        for each in mark.all if mark is not None else ():
            written.mark(each, each.example_words if holds else [0] * each.encoding.width)


def dump_unit(dump: Image, unit_id: int = 1) -> SimulatedUnit:
    """Return a device with the words of `dump`. They never change."""
    return SimulatedUnit(unit_id, lambda: dump)


def _words_of_points(points: Sequence[Point], value: Value | None) -> Iterator[tuple[Point, Value | None, list[int]]]:
    """Yield the value and the words of each point.

    A driver adds all points of a quantity. So the first point that can hold the value gets it, and the others get 0.
    The caller sorts the points, smallest step first. For a percentage, each point gets the value.
    """
    if value is None:
        yield from ((point, None, _not_available(point.encoding)) for point in points)
        return
    if points[0].quantity.unit is Unit.PERCENT:
        yield from ((point, value, encode(point.encoding, value)) for point in points)
        return
    for holder in points:
        shown = abs(value) if holder.negative is not None and isinstance(value, float) else value
        try:
            yield holder, value, encode(holder.encoding, shown)
        except ValueError:
            continue
        yield from ((point, 0.0, encode(point.encoding, 0.0)) for point in points if point is not holder)
        return
    raise ValueError(f"{points[0].quantity.value}: no register can hold {value!r}")


def _shares(encoding: Encoding) -> bool:
    """Whether other values may be in bits of the same register."""
    return encoding.bit is not None or encoding.is_byte


def _not_available(encoding: Encoding) -> list[int]:
    """Return the words for "not available". If the profile defines none: NaN for a float, otherwise no words."""
    if encoding.invalid and encoding.type == "bits":
        return bits_of(encoding.invalid[0], encoding.length)
    if encoding.invalid:
        type_ = encoding.type if encoding.is_byte else f"uint{16 * encoding.width}"
        return encode(Encoding(type_, word_order=encoding.word_order), encoding.invalid[0])
    return encode(encoding, float("nan")) if encoding.is_float else []
