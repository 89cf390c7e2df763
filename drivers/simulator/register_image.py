"""What stands in the registers of a simulated device: the values of a profile, or the words of a dump. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

from drivers.model import NodeType, Phase, Quantity, Table, Value
from drivers.profile import Point, Profile
from drivers.protocol import MAX_REGISTERS
from drivers.registers import Encoding, bits_of, encode
from drivers.simulator.modbus_server import Image, SimulatedUnit

Key = tuple[NodeType | None, Quantity, Phase | None]
Values = Mapping[Key, Value]


def profile_unit(profile: Profile, values: Callable[[], Values], unit_id: int = 1) -> SimulatedUnit:
    """A device of that family with `values` of the moment, to the resolution of its registers.

    A quantity without a value reads as the device says "not available"; where it has no words for that, its registers
    do not exist. The mark by which the family is recognised is there. Raises ValueError, at the request, for a value
    that no register of the device can hold.
    """
    marks = _marks(profile)
    groups: dict[Key, list[Point]] = defaultdict(list)
    for point in sorted(profile.points, key=lambda each: abs(each.encoding.scale)):
        groups[point.node, point.quantity, point.phase].append(point)

    def image() -> Image:
        now = values()
        tables: dict[Table, dict[int, int]] = {table: dict(marks[table]) for table in Table}
        for key, points in groups.items():
            for point, words in _written(points, now.get(key)):
                for address, word in enumerate(words, point.address):
                    # Several points can be bits of one register.
                    shared = tables[point.table].get(address, 0) if point.encoding.bit is not None else 0
                    tables[point.table][address] = shared | word
        return tables

    return SimulatedUnit(unit_id, image, max_registers=profile.max_registers or MAX_REGISTERS)


def _marks(profile: Profile) -> Image:
    tables: dict[Table, dict[int, int]] = {table: {} for table in Table}
    if (first := profile.identify) is not None:
        for mark in (first, *first.also):
            tables[mark.table].update(enumerate(encode(mark.encoding, mark.example), mark.address))
    return tables


def dump_unit(dump: Image, unit_id: int = 1) -> SimulatedUnit:
    """A device that holds exactly the words of `dump`, for ever."""
    return SimulatedUnit(unit_id, lambda: dump)


def _written(points: Sequence[Point], value: Value | None) -> Iterator[tuple[Point, list[int]]]:
    """The words of each point. Points of one quantity add up: the finest that can hold the value has it, the rest 0."""
    if value is None:
        yield from ((point, _not_available(point.encoding)) for point in points)
        return
    for holder in points:
        try:
            yield holder, encode(holder.encoding, value)
        except ValueError:
            continue
        yield from ((point, encode(point.encoding, 0.0)) for point in points if point is not holder)
        return
    raise ValueError(f"{points[0].quantity.value}: no register can hold {value!r}")


def _not_available(encoding: Encoding) -> list[int]:
    """No words at all where the device has no way to say it."""
    if encoding.invalid and encoding.type == "bits":
        return bits_of(encoding.invalid[0], encoding.length)
    if encoding.invalid:
        bits = Encoding(f"uint{16 * encoding.width}", word_order=encoding.word_order)
        return encode(bits, encoding.invalid[0])
    return encode(encoding, float("nan")) if encoding.is_float else []
