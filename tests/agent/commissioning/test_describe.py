from __future__ import annotations

import re
from io import StringIO
from typing import Any

import pytest

from agent.commissioning.describe import describe, print_review, table
from agent.config import Config, parse
from agent.site import Site, build


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_table_on_a_terminal_leaves_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", "40")
    reason = "HTTP 401: [token] is not known to " + "x" * 60
    table("Dead letters", ("id", "reason"), [("msg_[bold]1", reason)])
    shown = "".join(terminal.getvalue().split())
    assert "msg_[bold]1" in shown
    assert "[token]" in shown
    assert shown.count("x") == 60


@pytest.mark.parametrize("columns", [32, 40, 50])
def test_a_table_on_a_narrow_terminal_breaks_no_word(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setattr("agent.commissioning.describe.terminal_columns", lambda _: columns)
    rows = [
        (
            "battery-1",
            "storage",
            "sunspec at 127.0.0.1:1502 unit 3",
            "charge is sent as positive, discharge as negative",
        ),
        ("charger-1", "variable_power_load", "peblar at 127.0.0.1:1502 unit 5", ""),
    ]
    table("Nodes", ("node", "type", "device", "meaning"), rows)
    shown = terminal.getvalue()
    assert max(map(len, shown.splitlines())) <= columns
    assert {word for row in rows for cell in row for word in cell.split()} <= set(shown.split())


@pytest.mark.parametrize(("capacity", "warned"), [({}, True), ({"energy_capacity_Wh": 10_000}, False)])
def test_a_battery_without_a_capacity_is_told(capacity: dict[str, float], *, warned: bool) -> None:
    device = {"driver": "deye-hybrid-1p", "host": "192.0.2.1", "nodes": {"storage": "battery-1"}, **capacity}
    table = {"site": {"node_id": "S"}, "push": {"url": "https://example.com", "token": "t"}, "device": [device]}
    config = parse(table, {}, "test")
    lines = [line for line in describe(config, build(config, "test")) if "reports its charge but no capacity" in line]
    assert len(lines) == warned
    assert all(line.startswith("warning: battery-1 ") for line in lines)


def site(*devices: dict[str, Any]) -> tuple[Config, Site]:
    table = {"site": {"node_id": "S"}, "push": {"url": "https://example.com", "token": "t"}, "device": list(devices)}
    config = parse(table, {}, "test")
    return config, build(config, "test")


METER = {"node_id": "meter-1", "type": "grid", "driver": "eastron-sdm630", "host": "192.0.2.1"}
RELAY = {"node_id": "relay-1", "type": "switched_load", "driver": "relay", "host": "192.0.2.2"}


def warnings(*devices: dict[str, Any]) -> list[str]:
    return [line for line in describe(*site(*devices)) if line.startswith("warning: ")]


def test_one_meter_as_two_types_is_told() -> None:
    twice = METER | {"node_id": "pv-1", "type": "solar"}
    (line,) = warnings(METER, twice)
    assert line == (
        "warning: meter-1 (grid) and pv-1 (solar) both read the meter 192.0.2.1:502 unit 1, but a meter measures only"
        " one of them"
    )
    assert warnings(METER, twice | {"unit_id": 2}) == []
    lines = warnings(METER, twice, twice | {"node_id": "heat-1", "type": "heat_pump"})
    assert [line.partition(" read ")[0] for line in lines] == [
        "warning: meter-1 (grid) and pv-1 (solar) and heat-1 (heat_pump) all"
    ]


def test_a_nominal_power_without_a_state_is_told() -> None:
    assert warnings(METER, RELAY | {"nominal_power_W": 2000}) == []
    (line,) = warnings(METER | {"nominal_power_W": 2000})
    assert line.startswith("warning: nominal_power_W of meter-1 has no effect")


def test_check_fits_80_columns_wraps_at_words_and_names_what_is_not_enabled(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    print_review(*site(METER, RELAY | {"enabled": False}), ["a doubt " + "of many words " * 9])
    shown = re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue()).splitlines()
    assert max(map(len, shown)) <= 80
    words = " ".join(shown).split()
    for whole in ("meter-1", "eastron-sdm630", "192.0.2.1:502", "positive,", "negative"):
        assert whole in words
    assert "relay-1: not enabled, not polled (relay at 192.0.2.2)" in shown
    assert shown[-2].startswith("warning: a doubt of many words")
    assert shown[-1].startswith("  ")
