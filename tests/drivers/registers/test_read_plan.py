"""The planner against every other way to cut the same points into requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.model import Table
from drivers.registers.read_plan import Block, Limits, Span, outermost, plan, together

INPUT, COIL = Table.INPUT, Table.COIL


def partitions(spans: Sequence[Span]) -> Iterator[list[list[Span]]]:
    """Every way to share `spans` out among requests."""
    if not spans:
        yield []
        return
    for rest in partitions(spans[1:]):
        yield [[spans[0]], *rest]
        for index, group in enumerate(rest):
            yield [*rest[:index], [spans[0], *group], *rest[index + 1 :]]


def cheapest(spans: Sequence[Span], limits: Limits) -> tuple[int, int]:
    """The least (requests, registers), by trying them all."""
    found = []
    for groups in partitions(spans):
        ends = [(min(span.address for span in group), max(span.end for span in group)) for group in groups]
        if all(allowed(start, end, spans, limits) for start, end in ends):
            found.append((len(ends), sum(end - start for start, end in ends)))
    return min(found)


def allowed(start: int, end: int, spans: Sequence[Span], limits: Limits) -> bool:
    """Whether one request may read start..end-1."""
    table = spans[0].table
    asked = {place for span in spans for place in range(span.address, span.end)}
    for span in spans:
        nested = any(span.lies_in(other) and other.address < span.address for other in spans)
        wall = not nested and (span.barrier or (table, span.address) in limits.cuts)
        if wall and start < span.address and span.end <= end:
            return False
    gap = 0
    for place in range(start, end):
        gap = 0 if place in asked else gap + 1
        if gap > limits.max_gap * (16 if table is COIL else 1) or (gap and (table, place) in limits.holes):
            return False
    return end - start <= limits.most(table)


spans = st.lists(
    st.builds(Span, st.just(INPUT), st.integers(0, 24), st.integers(1, 4), st.booleans()), min_size=1, max_size=5
)
places = st.frozensets(st.tuples(st.just(INPUT), st.integers(0, 27)), max_size=4)
limits = st.builds(Limits, st.integers(4, 12), st.integers(0, 8), places, st.just(2000), places)


@given(spans, limits)
def test_no_plan_has_fewer_requests_or_fewer_registers(drawn: list[Span], limits: Limits) -> None:
    walls = {span.address for span in drawn if span.barrier}
    drawn = [Span(span.table, span.address, span.count, span.address in walls) for span in drawn]
    blocks = plan(drawn, limits)
    assert (len(blocks), sum(block.count for block in blocks)) == cheapest(list(dict.fromkeys(drawn)), limits)
    assert all(any(block.holds(span) for block in blocks) for span in drawn)


@given(
    st.lists(st.tuples(st.integers(0, 100), st.integers(1, 3)), min_size=1, max_size=4),
    st.integers(4, 60),
    st.integers(0, 2),
)
def test_bits_have_limits_of_their_own(drawn: list[tuple[int, int]], most: int, gap: int) -> None:
    spans = [Span(COIL, address, count) for address, count in drawn]
    limits = Limits(max_registers=1, max_gap=gap, max_bits=most)
    blocks = plan(spans, limits)
    assert (len(blocks), sum(block.count for block in blocks)) == cheapest(list(dict.fromkeys(spans)), limits)


def test_tables_never_share_a_request() -> None:
    spans = [Span(table, 5, 1) for table in Table]
    assert {block.table for block in plan(spans, Limits())} == set(Table)


def test_adjacent_values_are_one_request() -> None:
    twenty = [Span(INPUT, 2 * number, 2) for number in range(20)]
    assert plan(twenty, Limits()) == (Block(INPUT, 0, 40),)


@pytest.mark.parametrize(("most", "blocks"), [(125, 1), (90, 2), (1000, 1)])
def test_a_request_has_at_most_what_the_protocol_and_the_device_allow(most: int, blocks: int) -> None:
    assert len(plan([Span(INPUT, 0, 60), Span(INPUT, 60, 60)], Limits(max_registers=most))) == blocks
    assert len(plan([Span(INPUT, 0, 125), Span(INPUT, 125, 1)], Limits(max_registers=most + 100))) == 2


def test_a_value_larger_than_any_request_is_refused() -> None:
    with pytest.raises(ValueError, match="input 7: 8 do not fit a request of 4"):
        plan([Span(INPUT, 7, 8)], Limits(max_registers=4))


def test_what_belongs_together_is_one_span_unless_something_stands_between() -> None:
    pair = [Span(INPUT, 0, 2), Span(INPUT, 90, 2)]
    assert together(pair, Limits(max_gap=0)) == [Span(INPUT, 0, 92)]
    assert together(pair, Limits(max_registers=91)) == pair
    assert together(pair, Limits(holes=frozenset({(INPUT, 50)}))) == pair
    assert together(pair, Limits(cuts=frozenset({(INPUT, 90)}))) == pair
    three = [Span(INPUT, 0, 2), Span(INPUT, 5, 2), Span(INPUT, 90, 2)]
    assert together(three, Limits(cuts=frozenset({(INPUT, 5)}))) == three
    assert together([Span(INPUT, 0, 2), Span(COIL, 2, 1)], Limits()) == [Span(COIL, 2, 1), Span(INPUT, 0, 2)]


@given(spans)
def test_what_lies_within_another_needs_no_request(drawn: list[Span]) -> None:
    kept = outermost(drawn)
    assert all(any(span.lies_in(other) for other in kept) for span in drawn)
    assert [span.end for span in kept] == sorted({span.end for span in kept})
    assert [span.address for span in kept] == sorted({span.address for span in kept})


def test_a_barrier_before_a_group_does_not_divide_it() -> None:
    walled = Span(INPUT, 5, 2, barrier=True)
    merged = Span(INPUT, 5, 10, barrier=True)
    assert together([walled, Span(INPUT, 12, 3)], Limits()) == [merged]
    assert together([Span(INPUT, 5, 1), walled, Span(INPUT, 12, 3)], Limits()) == [merged], "one of those at its start"
    apart = [Span(INPUT, 0, 1), walled]
    assert together(apart, Limits()) == apart


def test_a_barrier_of_a_span_within_another_at_the_same_start_holds() -> None:
    before, outer, inner = Span(INPUT, 0, 5), Span(INPUT, 5, 4), Span(INPUT, 5, 2, barrier=True)
    assert outermost([outer, inner]) == [Span(INPUT, 5, 4, barrier=True)]
    assert plan([before, outer, inner], Limits()) == (Block(INPUT, 0, 5), Block(INPUT, 5, 4))
    assert plan([before, outer], Limits()) == (Block(INPUT, 0, 9),)
    assert outermost([outer, Span(INPUT, 6, 2, barrier=True), Span(INPUT, 5, 2)]) == [outer], (
        "at another start, or none"
    )


def test_a_span_lies_only_in_its_own_table() -> None:
    assert Span(INPUT, 5, 2).lies_in(Span(INPUT, 0, 9))
    assert not Span(INPUT, 5, 2).lies_in(Span(COIL, 0, 9))
    assert Block(INPUT, 0, 9).holds(Span(INPUT, 5, 2))
    assert not Block(INPUT, 0, 9).holds(Span(COIL, 5, 2))
    assert not Limits(holes=frozenset({(COIL, 5)})).hole_within(INPUT, 0, 9)


@pytest.mark.parametrize(("table", "gap"), [(INPUT, 3), (COIL, 48)])
def test_sixteen_unused_bits_count_as_one_register(table: Table, gap: int) -> None:
    limits = Limits(max_gap=3)
    assert limits.can_join(Span(table, 0, 1), Span(table, 1 + gap, 1))
    assert not limits.can_join(Span(table, 0, 1), Span(table, 2 + gap, 1))


def test_the_limit_of_bits_is_that_of_the_device_or_of_the_protocol_whichever_is_smaller() -> None:
    bits = [Span(COIL, address, 1) for address in range(16)]
    assert len(plan(bits, Limits(max_bits=4))) == 4
    assert Limits(max_bits=5000).most(COIL) == 2000
    assert Limits(max_registers=500).most(INPUT) == 125
