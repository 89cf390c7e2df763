"""Reads the registers of a dump: ranges, the points of profiles, or a chain of SunSpec models.

- A refused request is sent again in parts. A range is divided in halves, down to single registers. A request for a
  profile is divided into its points.
- If the device is busy, the whole request is sent once more, before it is divided.
- If the device does not have a table, no further request for this table is sent.
- A request without a reply is not repeated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from drivers.driver import Reader, ReadOptions
from drivers.errors import BusyError, IllegalFunctionError, RefusedError, SilentError
from drivers.model import Table
from drivers.profile import Profile
from drivers.protocol import ADDRESSES, MAX_REGISTERS, max_count
from drivers.registers import Block, Limits, Span, plan
from drivers.sunspec import HEADER, KNOWN, MARKER, ModelDiscovery

_MAX_TIMEOUTS = 10
_MAX_TIMEOUTS_AT_FIRST = 3
"""The capture fails if this many requests in a row have no reply: `_MAX_TIMEOUTS_AT_FIRST` while no register has been
read, then `_MAX_TIMEOUTS`. It also fails if no request at all has a reply.

A single request without a reply among others does not end the capture, because some devices do not reply if they do
not have the address.
"""


@dataclass(slots=True)
class Capture:
    """The registers that were read so far."""

    tables: dict[Table, dict[int, int]] = field(default_factory=dict)
    """Table → address → word or bit."""
    refused: list[Block] = field(default_factory=list)
    """Refused requests that cannot be divided, and requests without a reply. If the device does not have a table, the
    first request for this table is here, and its other requests are not sent."""
    requests: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """The requests of a capture."""

    blocks: tuple[Block, ...]
    parts: Callable[[Block], Sequence[Block]]
    """Returns the smaller parts of a refused request; none if it cannot be divided."""


def of_ranges(ranges: Iterable[Span]) -> Wanted:
    """Return the requests for all registers in `ranges`."""
    return Wanted(tuple(block for span in ranges for block in _sized(span)), _halves)


def of_profiles(profiles: Iterable[Profile], options: ReadOptions) -> Wanted:
    """Return the fewest requests for the points of `profiles` and the registers of their `[identify]`."""
    spans: set[Span] = set()
    for profile in profiles:
        spans |= profile.spans
        if profile.identify is not None:
            spans |= {replace(span, barrier=True) for span in profile.identify.spans}
    gap = options.default_max_gap if options.max_gap is None else options.max_gap
    limits = Limits(options.max_registers or MAX_REGISTERS, gap)
    return Wanted(plan(spans, limits), lambda block: _spans_in(block, spans))


async def of_sunspec(reader: Reader) -> Wanted:
    """Return the requests for the whole chain of SunSpec models. Read the headers of the models to find it.

    Raises UnsupportedError if there is no chain, and the errors of `Reader.read`.
    """
    discovery = ModelDiscovery(KNOWN)
    base = await discovery.base(reader)
    models = await discovery.models(reader, base)
    end = models[-1].end + HEADER if models else base + len(MARKER)
    # No request includes two models, because many devices refuse such a request.
    spans = [Span(Table.HOLDING, base, len(MARKER))]
    spans += [Span(Table.HOLDING, model.address, model.end - model.address) for model in models]
    spans.append(Span(Table.HOLDING, end - HEADER, HEADER))
    return of_ranges(spans)


async def take(reader: Reader, wanted: Wanted, taken: Capture, step: Callable[[], None] = lambda: None) -> None:
    """Read `wanted` into `taken`. After an error or a cancellation, `taken` has what was read before.

    `step` is called before each request, but not before one that is repeated because the device is busy.

    Raises UnreachableError in these cases:

    - The link fails.
    - A reply is not valid, or a gateway replies that it cannot reach the device (exceptions 10 and 11).
    - Too many requests have no reply (see `_MAX_TIMEOUTS`).
    """
    absent: set[Table] = set()
    pending = list(wanted.blocks)[::-1]
    timeouts = 0
    while pending:
        block = pending.pop()
        if block.table in absent:
            continue
        taken.requests += 1
        step()
        try:
            words = await _read(reader, block)
        except IllegalFunctionError:
            absent.add(block.table)
            taken.refused.append(block)
        except RefusedError:
            parts = wanted.parts(block)
            pending += reversed(parts)
            if not parts:
                taken.refused.append(block)
        except SilentError:
            timeouts += 1
            taken.refused.append(block)
            no_replies = not pending and timeouts == taken.requests
            if no_replies or timeouts == (_MAX_TIMEOUTS if taken.tables else _MAX_TIMEOUTS_AT_FIRST):
                raise
            continue
        else:
            taken.tables.setdefault(block.table, {}).update(enumerate(words, block.address))
        timeouts = 0


async def _read(reader: Reader, block: Block) -> Sequence[int]:
    try:
        return await reader.read(block.table, block.address, block.count)
    except BusyError:
        return await reader.read(block.table, block.address, block.count)


def _sized(span: Span) -> Iterator[Block]:
    most = max_count(span.table)
    for start in range(span.address, span.end, most):
        yield Block(span.table, start, min(most, span.end - start))


def _halves(block: Block) -> Sequence[Block]:
    if block.count == 1:
        return ()
    half = block.count // 2
    return (
        Block(block.table, block.address, half),
        Block(block.table, block.address + half, block.count - half),
    )


def _spans_in(block: Block, spans: Iterable[Span]) -> Sequence[Block]:
    """Return one request for each of the `spans` in `block`; none if `block` itself is one of the `spans`."""
    inside = sorted({(span.address, span.count) for span in spans if block.holds(span)})
    parts = [Block(block.table, address, count) for address, count in inside]
    return () if parts == [block] or (block.address, block.count) in inside else parts


def parse_range(text: str) -> Span:
    """Parse a range such as `holding:40000-40099`, `input:0` or `holding:0x9C40-0x9C4F`. Raises ValueError."""
    table, colon, numbers = text.partition(":")
    first, dash, last = numbers.partition("-")
    number = re.compile(r"\d+|0[xX][0-9a-fA-F]+").fullmatch
    if not colon or table not in list(Table) or not number(first) or (dash and not number(last)):
        raise ValueError(f"must be like holding:40000-40099; tables are {', '.join(Table)} (found {text!r})")
    low, high = (int(each, 16 if each[1:2] in "xX" and len(each) > 2 else 10) for each in (first, last or first))
    if not low <= high < ADDRESSES:
        raise ValueError(f"must be addresses 0..{ADDRESSES - 1}, lower address first (found {text!r})")
    return Span(Table(table), low, high - low + 1)
