from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.model import NodeType, Phase, Quality, Quantity, Reading, ReadingColumns

READINGS = st.lists(
    st.builds(
        Reading,
        st.sampled_from([Quantity.ACTIVE_POWER, Quantity.VOLTAGE, Quantity.ON]),
        st.sampled_from([None, *Phase]),
        st.sampled_from([None, 0.0, 230.0, True, "on"]),
        st.sampled_from(Quality),
        st.floats(0, 1000),
        st.sampled_from([None, NodeType.SOLAR]),
    )
)


@given(READINGS)
def test_columns_are_the_sequence_of_their_readings(readings: list[Reading]) -> None:
    columns = ReadingColumns.of(iter(readings))
    assert list(columns) == readings
    assert len(columns) == len(readings)
    assert bool(columns) == bool(readings)
    assert [columns[index] for index in range(-len(readings), 0)] == readings
    assert columns[1:3] == tuple(readings[1:3])
    assert all(type(reading) is Reading for reading in columns)
    assert repr(columns) == repr(tuple(readings))


def test_an_index_behind_the_last_reading_is_an_index_error() -> None:
    columns = ReadingColumns([(None, Quantity.ON, None)], [True], [Quality.GOOD], [1.0])
    assert columns[0] == Reading(Quantity.ON, None, True, Quality.GOOD, 1.0)
    with pytest.raises(IndexError):
        columns[1]
