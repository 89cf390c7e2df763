"""A silent inverter in the totals: asleep, missing, and what a restart makes of it."""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from agent.aggregation.aggregator import Aggregator, SummarySettings
from agent.domain.node import Node
from agent.domain.sleep import Night, all_sleep
from agent.energy.store import EnergyStore
from drivers.errors import exception_reply
from drivers.model import Kind, NodeType
from drivers.profile.register_driver import SELECT_EVERY_S
from tests.agent.aggregation.test_aggregator import NOON, body, scan, settings
from tests.drivers.profile.test_format import device, point

PV = Node("pv-1", NodeType.SOLAR, Kind.INVERTER, when_offline="sleep")
AWAKE = Node("pv-2", NodeType.SOLAR, Kind.INVERTER)
HOUR = 3600


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EnergyStore]:
    opened = EnergyStore.open(tmp_path / "energy.sqlite3")
    yield opened
    opened.close()


def told(totals: Aggregator, at: float, power: float | None, wall: float | None = None, node: Node = PV) -> None:
    """One answer of an inverter that has counted 5 kWh at all."""
    totals.observe([node], scan(at, active_power=power, produced_energy=5000.0), wall)


def solar(totals: Aggregator, at: float, wall: int) -> Any:
    totals.missed([PV])
    return body(totals, at, wall)["solar"]


def test_the_nights_are_those_of_the_inverters_that_have_answered(store: EnergyStore) -> None:
    totals = Aggregator([PV, AWAKE, Node("m", NodeType.GRID, Kind.METER)], settings(), store)
    told(totals, 1000.0, 40.0, NOON)
    assert dict(totals.nights) == {"pv-1": Night(40.0, 1000.0, 1000.0, 1000.0)}
    assert (len(totals.nights), "pv-2" in totals.nights) == (1, False)
    told(totals, 1100.0, 70.0, NOON + 100, AWAKE)
    assert (list(totals.nights), len(totals.nights)) == (["pv-1", "pv-2"], 2)


def test_asleep_at_dusk_it_counts_zero_and_holds_its_day(store: EnergyStore) -> None:
    totals = Aggregator([PV, AWAKE], settings(), store)
    told(totals, 1000.0, 40.0, NOON)
    told(totals, 1100.0, 70.0, NOON + 100, AWAKE)
    assert solar(totals, 1100.0, NOON + 100) == {"active_power_W": 70, "today_energy_Wh": 0}


VARIANTS = """
[mark.new]
table = "holding"
address = 15
type = "uint16"
equals = [2]
[[variant]]
name = "new"
mark = "new"
[[variant.point]]
quantity = "active_power"
table = "holding"
address = 0
type = "uint16"
invalid = [0xFFFF]
"""


async def test_a_device_that_may_be_another_variant_is_not_asleep(store: EnergyStore, tmp_path: Path) -> None:
    """Its power was not read, so it counts neither as 0 W nor as without power."""
    totals = Aggregator([PV, AWAKE], settings(stale_after_s=300.0), store)
    text = VARIANTS + point("active_power", 0, "uint16", invalid="[0xFFFF]")
    async with device(tmp_path, text, {0: 70, 15: 1}, "inverter") as inverter:
        for words, sent in (({0: 70, 15: 1}, 110), ({0: 70, 15: 2}, None), ({0: 0xFFFF, 15: 1}, 40)):
            await inverter.poll(words, SELECT_EVERY_S)
            assert inverter.scan is not None
            totals.observe([PV], inverter.scan, NOON)
            told(totals, inverter.at, 40.0, NOON, AWAKE)
            assert body(totals, inverter.at, NOON).get("solar", {}).get("active_power_W") == sent


def test_cut_off_at_noon_the_sum_is_not_known_and_that_is_told_once(store: EnergyStore) -> None:
    totals = Aggregator([PV, AWAKE], settings(), store)
    with capture_logs() as events:
        for minute in range(4):
            told(totals, 1000.0, 3400.0, NOON)
            told(totals, 1060.0 + 60 * minute, 3000.0, NOON + 60, AWAKE)
            assert solar(totals, 1060.0 + 60 * minute, NOON + 60) == {}
    assert events == [
        {
            "event": "sleeper_missing",
            "log_level": "warning",
            "node": "pv-1",
            "reason": "its last power was 3400 W: it counts as missing",
        }
    ]


@pytest.mark.parametrize("when_offline", ["missing", "zero"])
def test_the_silence_of_a_node_that_does_not_sleep_is_not_told(store: EnergyStore, when_offline: Any) -> None:
    node = replace(PV, when_offline=when_offline)
    totals = Aggregator([node], settings(), store)
    told(totals, 1000.0, 3400.0, NOON, node)
    with capture_logs() as events:
        for at in (1000.0, 1060.0):
            totals.close(at, NOON)
            assert totals.save_due(at) is (at == 1000.0)
            totals.save(at)
            totals.missed([node])
    assert events == []


def test_a_push_of_another_endpoint_that_ends_late_does_not_wake_it(store: EnergyStore) -> None:
    endpoints = {"slow": SummarySettings(), "fast": SummarySettings()}
    totals = Aggregator([PV], settings(endpoints=endpoints), store)
    told(totals, 1000.0, 3400.0, NOON)
    totals.missed([PV])
    with capture_logs() as events:
        for at, endpoint in ((1031.0, "fast"), (1029.0, "slow"), (1036.0, "fast")):
            totals.close(at, NOON + 30, endpoint)
            totals.missed([PV])
    assert [each["event"] for each in events] == ["sleeper_missing"]


def test_a_push_of_another_endpoint_that_ends_late_is_not_worth_a_save(store: EnergyStore) -> None:
    endpoints = {"slow": SummarySettings(), "fast": SummarySettings()}
    totals = Aggregator([PV], settings(endpoints=endpoints), store)
    told(totals, 1000.0, 40.0, NOON)
    totals.missed([PV])
    totals.close(1031.0, NOON + 30, "fast")
    totals.save(1031.0)
    totals.close(1029.0, NOON + 30, "slow")
    assert not totals.save_due(1031.0)


def test_an_answer_between_two_pushes_of_a_moment_is_the_newer_state(store: EnergyStore) -> None:
    """The answer ends the silence, so the next silence is reported as well."""
    endpoints = {"first": SummarySettings(), "second": SummarySettings()}
    totals = Aggregator([PV], settings(endpoints=endpoints), store)
    told(totals, 1000.0, 3400.0, NOON)
    with capture_logs() as events:
        for at in (1031.0, 1062.0):
            totals.missed([PV])
            totals.close(at, NOON + 62, "first")
            told(totals, at, 3400.0, NOON + 62)
            totals.close(at, NOON + 62, "second")
    assert [each["event"] for each in events] == ["sleeper_missing"] * 2


def test_a_new_endpoint_sees_an_inverter_awake_before_it_is_asked_again(store: EnergyStore) -> None:
    totals = Aggregator([PV], settings(), store)
    with capture_logs() as events:
        for at in (1000.0, 1100.0):
            totals.missed([PV])
            totals.close(at, NOON)
            told(totals, at + 1, 3400.0, NOON)
            endpoints = {"default": SummarySettings(), f"new {at}": SummarySettings()}
            totals.reconfigure([PV], settings(endpoints=endpoints))
            totals.close(at + 2, NOON, f"new {at}")
    assert [each["event"] for each in events] == ["sleeper_missing"] * 2


def test_a_sleeper_that_does_not_wake_is_told_when_its_time_is_over(store: EnergyStore) -> None:
    totals = Aggregator([PV], settings(), store)
    told(totals, 1000.0, 0.0, NOON)
    with capture_logs() as events:
        assert solar(totals, 1000.0 + 19 * HOUR, NOON + 19 * HOUR) == {"active_power_W": 0, "today_energy_Wh": 0}
        assert solar(totals, 1000.0 + 21 * HOUR, NOON + 21 * HOUR) == {}
        told(totals, 1000.0 + 22 * HOUR, 0.0, NOON + 22 * HOUR)
        body(totals, 1000.0 + 22 * HOUR, NOON + 22 * HOUR)
    assert [event["reason"] for event in events] == [
        "it has not answered for 21.0 h, and it should be awake by now: it counts as missing"
    ]


def test_an_answer_without_power_is_silence(store: EnergyStore) -> None:
    """A data logger answers at noon for an inverter that is cut off as it does for one that sleeps."""
    for power, expected in ((3400.0, None), (40.0, 0)):
        totals = Aggregator([PV], settings(), store)
        told(totals, 1000.0, power, NOON)
        told(totals, 1010.0, None, NOON + 10)
        assert body(totals, 1010.0, NOON + 10)["solar"].get("active_power_W") == expected


@pytest.mark.parametrize("power", [40.0, 3400.0])
def test_a_power_after_an_answer_without_one_is_an_answer(store: EnergyStore, power: float) -> None:
    totals = Aggregator([PV], settings(), store)
    told(totals, 1000.0, power, NOON)
    body(totals, 1000.0, NOON)
    totals.save(1000.0)
    told(totals, 1005.0, None, NOON + 5)
    told(totals, 1010.0, power, NOON + 10)
    with capture_logs() as events:
        assert body(totals, 1010.0, NOON + 10)["solar"]["active_power_W"] == power
    assert events == []
    assert not totals.save_due(1010.0)


def test_one_that_never_told_a_power_but_answers_is_asleep(store: EnergyStore) -> None:
    totals = Aggregator([PV], settings(), store)
    told(totals, 1000.0, None, NOON)
    assert body(totals, 1000.0, NOON)["solar"] == {"active_power_W": 0, "today_energy_Wh": 0}
    assert totals.nights["pv-1"] == Night(0.0, 1000.0, 1000.0, 1000.0)


def test_a_first_answer_with_a_hole_where_the_power_is_begins_no_night(store: EnergyStore) -> None:
    totals = Aggregator([PV], settings(), store)
    holes = scan(1000.0, active_power=None, temperature=12.0)
    totals.observe([PV], holes._replace(errors=(exception_reply(4, "holding 7"),)), NOON)
    assert "pv-1" not in totals.nights
    told(totals, 1010.0, None, NOON + 10)
    assert totals.nights["pv-1"].at == 1010


def test_an_answer_without_a_power_is_silence_until_it_is_stale(store: EnergyStore) -> None:
    totals = Aggregator([PV], settings(), store)
    told(totals, 1000.0, None, NOON)
    holes = scan(1010.0, active_power=None, temperature=12.0)
    totals.observe([PV], holes._replace(errors=(exception_reply(4, "holding 7"),)), NOON + 10)
    assert body(totals, 1030.0, NOON + 30)["solar"]["active_power_W"] == 0
    assert "active_power_W" not in body(totals, 1030.1, NOON + 30)["solar"]


def test_powers_that_no_inverter_has_are_no_sleep(store: EnergyStore) -> None:
    """A value that cannot be true was answered, so the device is not silent."""
    totals = Aggregator([PV], settings(), store)
    told(totals, 1000.0, 40.0, NOON)
    with capture_logs():
        for second in (31, 32):
            told(totals, 1000.0 + second, 1e12, NOON + second)
            assert "active_power_W" not in body(totals, 1000.0 + second, NOON + second)["solar"]


def test_a_hole_in_an_answer_is_no_sleep(store: EnergyStore) -> None:
    totals = Aggregator([PV], settings(), store)
    told(totals, 1000.0, 40.0, NOON)
    holes = scan(1010.0, active_power=None, temperature=12.0)
    totals.observe([PV], holes._replace(errors=(exception_reply(4, "holding 7"),)), NOON + 10)
    assert "active_power_W" not in body(totals, 1010.0, NOON + 10)["solar"]


def test_a_power_ends_the_silence_of_an_answer_without_one(store: EnergyStore) -> None:
    totals = Aggregator([PV], settings(), store)
    told(totals, 1000.0, None, NOON)
    told(totals, 1010.0, 50.0, NOON + 10)
    holes = scan(1020.0, active_power=None, temperature=12.0)
    totals.observe([PV], holes._replace(errors=(exception_reply(4, "holding 7"),)), NOON + 20)
    assert "active_power_W" not in body(totals, 1020.0, NOON + 20)["solar"]


@pytest.mark.parametrize(
    ("power", "away_s", "expected"),
    [
        (40.0, 3 * HOUR, {"active_power_W": 0, "today_energy_Wh": 0}),
        (3400.0, 60, {}),
        (40.0, 21 * HOUR, {}),
    ],
    ids=["at night", "at noon", "after a day"],
)
def test_a_restart_knows_what_was_known(tmp_path: Path, power: float, away_s: int, expected: object) -> None:
    wall = NOON - 6 * HOUR
    before = EnergyStore.open(tmp_path / "energy.sqlite3")
    totals = Aggregator([PV], settings(), before)
    told(totals, 500_000.0, power, wall)
    totals.save()
    before.close()
    store = EnergyStore.open(tmp_path / "energy.sqlite3")
    totals = Aggregator([PV], settings(), store)
    totals.follow_clock(wall + away_s - 60.0)  # another boot: 60 s ago
    assert solar(totals, 60.0, wall + away_s) == expected
    # Saving what nobody heard since changes nothing.
    totals.save()
    assert store.load_nights()["pv-1"][:2] == (power, wall)
    # What it says now goes before what it said then.
    for at, told_W, field in ((120.0, 3000.0, None), (900.0, 8.0, 0)):
        told(totals, at, told_W, wall + away_s + at)
        assert solar(totals, at + 90.0, round(wall + away_s + at + 90)).get("active_power_W") == field
    store.close()


@pytest.mark.parametrize(("power", "sent"), [(3400.0, None), (40.0, 0)])
def test_after_a_restart_an_answer_without_power_does_not_replace_the_night(
    store: EnergyStore, power: float, sent: float | None
) -> None:
    before = Aggregator([PV], settings(), store)
    told(before, 1000.0, power, NOON)
    before.save()
    totals = Aggregator([PV], settings(), store)
    told(totals, 10.0, None, NOON + 60)
    assert body(totals, 10.0, NOON + 60)["solar"].get("active_power_W") == sent
    assert totals.nights["pv-1"].power_W == power


def save_a_night(folder: Path) -> None:
    """As an agent does that ends after the last power of the day."""
    with contextlib.closing(EnergyStore.open(folder / "energy.sqlite3")) as store:
        totals = Aggregator([PV], settings(), store)
        told(totals, 500_000.0, 40.0, NOON)
        totals.save()


def test_before_the_clock_is_set_a_sleeper_sleeps_on(tmp_path: Path) -> None:
    save_a_night(tmp_path)
    store = EnergyStore.open(tmp_path / "energy.sqlite3")
    totals = Aggregator([PV], settings(), store)
    assert solar(totals, 60.0, 1000)["active_power_W"] == 0
    totals.save()
    assert store.load_nights()["pv-1"].at == NOON
    totals.follow_clock(NOON - 7 * HOUR - 120.0)  # the wall clock of the last start: before what was kept
    assert solar(totals, 120.0, NOON - 7 * HOUR)["active_power_W"] == 0
    totals.save()
    assert store.load_nights()["pv-1"].at == NOON
    totals.follow_clock(NOON + 25 * HOUR - 180.0)
    assert solar(totals, 180.0, NOON + 25 * HOUR) == {}
    store.close()


def test_while_the_clock_is_not_set_a_sleeper_sleeps_for_one_night_at_most(tmp_path: Path) -> None:
    save_a_night(tmp_path)
    with contextlib.closing(EnergyStore.open(tmp_path / "energy.sqlite3")) as store:
        totals = Aggregator([PV], settings(), store)
        totals.restore_nights(60.0)
        for hours in range(21):
            assert solar(totals, 60.0 + hours * HOUR, 1000)["active_power_W"] == 0
        assert solar(totals, 60.0 + 20 * HOUR + 1, 1000) == {}


@pytest.mark.parametrize("errors", [(), (exception_reply(4, "holding 7"),)])
def test_an_answer_without_a_power_before_the_clock_is_set_keeps_the_saved_night(
    store: EnergyStore, errors: tuple[Exception, ...]
) -> None:
    before = Aggregator([PV], settings(), store)
    told(before, 500_000.0, 40.0, NOON)
    before.save()
    totals = Aggregator([PV], settings(), store)
    for at in (60.0, 70.0):
        totals.observe([PV], scan(at, active_power=None)._replace(errors=errors), None)
        assert totals.nights["pv-1"] == Night(40.0, 60.0, 60.0, 60.0)
    totals.follow_clock(NOON + 25 * HOUR - 180.0)
    told(totals, 180.0, None, NOON + 25 * HOUR)
    assert totals.nights["pv-1"].at == 180.0 - 25 * HOUR
    totals.save()
    assert store.load_nights()["pv-1"].at == NOON
    told(totals, 190.0, 60.0, NOON + 25 * HOUR + 10)
    told(totals, 200.0, None, NOON + 25 * HOUR + 20)
    assert totals.nights["pv-1"].at == 190.0


def test_what_is_heard_before_the_clock_is_set_is_kept_once_it_is(store: EnergyStore) -> None:
    totals = Aggregator([PV], settings(), store)
    told(totals, 60.0, 40.0)
    totals.save()
    assert store.load_nights() == {}
    totals.follow_clock(NOON - 100.0)
    totals.save()
    assert store.load_nights()["pv-1"].at == NOON - 40


def test_one_that_was_not_asked_yet_is_not_told_missing(store: EnergyStore) -> None:
    totals = Aggregator([PV], settings(), store)
    with capture_logs() as events:
        for at in (1000.0, 1030.0):
            body(totals, at, NOON)
            assert totals.save_due(at) is (at == 1000.0)
            totals.save(at)
        assert events == []
        assert solar(totals, 1060.0, NOON + 60) == {}
    assert [event["reason"] for event in events] == ["its last power is not known: it counts as missing"]


def test_a_clock_that_is_set_while_it_sleeps_moves_nothing(store: EnergyStore) -> None:
    totals = Aggregator([PV], settings(), store)
    told(totals, 1000.0, 40.0, NOON)
    for step in (-30 * HOUR, 300 * HOUR):
        totals.follow_clock(NOON - 1000.0 + step)
        assert all_sleep([PV], totals.nights, 1000.0 + 19 * HOUR)
        assert not all_sleep([PV], totals.nights, 1000.0 + 21 * HOUR)
        totals.save()
        assert store.load_nights()["pv-1"].at == NOON + step


def test_falling_asleep_is_worth_a_save_and_the_night_is_not(store: EnergyStore) -> None:
    totals = Aggregator([PV], settings(), store)
    told(totals, 1000.0, 40.0, NOON)
    body(totals, 1000.0, NOON)
    totals.save(1000.0)
    for at, due in ((1060.0, True), (1120.0, False), (1180.0, False)):
        solar(totals, at, NOON)
        assert totals.save_due(at) is due
        if due:
            totals.save(at)


def test_a_reload_forgets_no_night(store: EnergyStore) -> None:
    """Somebody finds the group missing at night and mends the configuration."""
    never = replace(PV, when_offline="missing")
    totals = Aggregator([never], settings(), store)
    told(totals, 1000.0, 40.0, NOON, never)
    assert body(totals, 1100.0, NOON + 100)["solar"] == {}
    totals.reconfigure([PV], settings())
    assert solar(totals, 1160.0, NOON + 160) == {"active_power_W": 0, "today_energy_Wh": 0}


def test_a_night_that_makes_no_sense_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "energy.sqlite3"
    before = EnergyStore.open(path)
    before.save({}, {"e": Night(40.0, 3.0, 2.0, 1.0)})
    before.close()
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        for node_id, text in zip("abcd", ("[1, 2]", '["x", 1, 1, 1]', "7", "{"), strict=True):
            row = f"{zlib.crc32(text.encode()):08x} {text}"
            db.execute("INSERT INTO night VALUES (?, ?)", (node_id, row))
        db.execute("INSERT INTO night SELECT 'f', replace(night, '40', '90') FROM night WHERE node_id = 'e'")
    store = EnergyStore.open(path)
    with capture_logs() as events:
        assert store.load_nights() == {"e": Night(40.0, 3.0, 2.0, 1.0)}
    assert [(event["event"], event["node"]) for event in events] == [("night_unreadable", each) for each in "abcdf"]
    store.close()


def test_energies_of_a_version_without_nights_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "energy.sqlite3"
    store = EnergyStore.open(path)
    totals = Aggregator([PV], settings(), store)
    told(totals, 1000.0, 40.0, NOON)
    totals.save()
    kept = store.load()
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("DROP TABLE night")
    store = EnergyStore.open(path)
    assert (store.load(), store.load_nights()) == (kept, {})
    store.close()
