"""What a scan prints must be a configuration as it stands."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from agent.commissioning import config_snippets
from agent.config.loader import load
from agent.domain.node import Node
from agent.site.builder import build
from drivers.modbus.settings import LinkSettings
from drivers.model import Kind, NodeType
from drivers.scan.identify import Identity, Match
from drivers.scan.unit_search import FoundUnit, SearchLocation

METER = Match("eastron-sdm630", Kind.METER, frozenset(), "Eastron SDM630", "by holding 64514")
ONE_PHASE = Match("eastron-sdm120", Kind.METER, frozenset(), "Eastron SDM120", "by holding 64514")
RELAY = Match("relay", Kind.RELAY, frozenset(), "A relay", "by coil 0")
PV = Match("sunspec", Kind.INVERTER, frozenset({NodeType.SOLAR}), "Acme 5", "by its SunSpec models 1, 103")
HYBRID = Match(
    "sunspec",
    Kind.HYBRID,
    frozenset({NodeType.SOLAR, NodeType.STORAGE, NodeType.GRID}),
    "Acme hybrid",
    "by its SunSpec models 1, 103, 124, 203",
)


def place(host: str, *matches: Match, **changes: object) -> SearchLocation:
    units = [FoundUnit(unit_id, Identity(matches=[match])) for unit_id, match in enumerate(matches, 1)]
    return SearchLocation(LinkSettings(host=host, **changes), units)  # type: ignore[arg-type]


def nodes(folder: Path, text: str) -> dict[str, Node]:
    path = folder / "config.toml"
    path.write_text(
        f'[site]\nnode_id = "S"\n[push]\nurl = "http://127.0.0.1/"\ntoken = "t"\n'
        f'[drivers]\nprofile_dirs = []\n[outbox]\npath = "{folder}/outbox.sqlite3"\n{text}'
    )
    site = build(load(path, {}), str(path))
    return {node.node_id: node for node in site.nodes}


def test_tables_are_accepted_and_name_every_device_once(tmp_path: Path) -> None:
    text = config_snippets.device_tables([place("10.0.0.1", METER, RELAY), place("10.0.0.2", PV, PV, port=1502)])
    found = nodes(tmp_path, text)
    assert {name: node.type for name, node in found.items()} == {
        "meter-1": NodeType.GRID,
        "relay-1": NodeType.SWITCHED_LOAD,
        "pv-1": NodeType.SOLAR,
        "pv-2": NodeType.SOLAR,
    }
    assert found["pv-1"].when_offline == "sleep"
    assert text.count("port = 502") == text.count("port = 1502") == 2, "a profile may have another default"


def test_only_one_device_counts_for_the_grid(tmp_path: Path) -> None:
    meters = config_snippets.device_tables([place("10.0.0.1", METER, ONE_PHASE, METER)])
    assert list(nodes(tmp_path, meters)) == ["meter-1"]
    assert meters.count("enabled = false") == 2
    hybrid_behind_a_meter = config_snippets.device_tables([place("10.0.0.1", METER), place("10.0.0.2", HYBRID, HYBRID)])
    found = nodes(tmp_path, hybrid_behind_a_meter)
    assert [node.type for node in found.values()].count(NodeType.GRID) == 1
    assert [node.type for node in found.values()].count(NodeType.STORAGE) == 2
    assert "# Its meter (grid) is omitted" in hybrid_behind_a_meter


def test_a_hybrid_that_may_be_another_device_has_a_grid_node_if_nothing_else_has_one(tmp_path: Path) -> None:
    hybrids = place("10.0.0.2", HYBRID, HYBRID)
    for unit in hybrids.units:
        unit.doubt = "perhaps the same device as 10.0.0.1:502 unit 1 (the same unit id on another port)"
    text = config_snippets.device_tables([place("10.0.0.1", PV), hybrids])
    assert [node.type for node in nodes(tmp_path, text).values()] == [NodeType.SOLAR], "both are disabled"
    enabled = nodes(tmp_path, text.replace("enabled = false", "enabled = true"))
    assert [node.type for node in enabled.values()].count(NodeType.GRID) == 1
    assert text.count("# Its meter (grid) is omitted, because another device has the grid node.") == 1
    beside_a_meter = config_snippets.device_tables([place("10.0.0.1", METER), hybrids])
    assert beside_a_meter.count("# Its meter (grid) is omitted") == 2


def test_a_further_meter_of_a_device_waits_for_its_type(tmp_path: Path) -> None:
    text = config_snippets.device_tables(
        [place("10.0.0.1", replace(HYBRID, further=("sunspec-meter:2", "sunspec-meter:3")))]
    )
    assert text.count('driver = "sunspec-meter:2"') == text.count('driver = "sunspec-meter:3"') == 1
    assert list(nodes(tmp_path, text)) == ["meter-1", "pv-1", "battery-1"], "the others are disabled"
    enabled = nodes(tmp_path, text.replace("enabled = false", "enabled = true"))
    assert [node.type for node in enabled.values()].count(NodeType.GRID) == 3
    assert {"meter-2", "meter-3"} <= set(enabled)


def test_serial_devices_share_one_connection(tmp_path: Path) -> None:
    line = SearchLocation(LinkSettings(transport="rtu", serial_port="/dev/ttyUSB0", baudrate=19200, parity="E"))
    line.units = [FoundUnit(1, Identity([METER])), FoundUnit(2, Identity([RELAY])), FoundUnit(3, Identity())]
    text = config_snippets.device_tables([line])
    assert set(nodes(tmp_path, text)) == {"meter-1", "relay-1"}
    assert text.count("[connection.ttyUSB0]") == 1
    assert "baudrate = 19200" in text
    assert "telemetry-agent dump /dev/ttyUSB0 --baudrate 19200 --parity E --unit 3" in text


def test_what_is_not_known_is_a_comment_with_a_command(tmp_path: Path) -> None:
    unknown = SearchLocation(LinkSettings(host="10.0.0.9", port=1502), [FoundUnit(7, Identity(labels=("Acme", "X1")))])
    unasked = SearchLocation(LinkSettings(host="10.0.0.8"), [FoundUnit(1)])
    odd = SearchLocation(LinkSettings(host="10.0.0.7"), note="the port is open, but no unit answers")
    text = config_snippets.device_tables([unknown, unasked, odd])
    assert all(line.startswith("#") for line in text.splitlines() if line)
    assert "#   telemetry-agent dump 10.0.0.9 --port 1502 --unit 7" in text
    assert "its name is Acme X1" in text
    assert "10.0.0.8:502 unit 1: answers, but was not identified" in text
    assert "10.0.0.7:502: the port is open, but no unit answers" in text


def test_alternatives_and_odd_devices_are_told() -> None:
    found = place("10.0.0.1", METER)
    found.units[0].identity = Identity(matches=[METER, ONE_PHASE])
    found.any_unit = True
    text = config_snippets.device_tables([found])
    assert '# also possible: driver = "eastron-sdm120" (Eastron SDM120, by holding 64514)' in text
    assert "the device ignores the unit id" in text


@pytest.mark.parametrize("hostile", ['"]\n[push]\nurl = "x', "a\x00b", 'Acme"5'])
def test_what_a_device_says_of_itself_cannot_become_configuration(tmp_path: Path, hostile: str) -> None:
    match = Match("sunspec", Kind.INVERTER, frozenset({NodeType.SOLAR}), hostile, "by its SunSpec models")
    found = place("10.0.0.1", match)
    found.units[0].identity = Identity(matches=[match], labels=(hostile,))
    assert set(nodes(tmp_path, config_snippets.device_tables([found]))) == {"pv-1"}


def test_json_has_the_same_for_programs() -> None:
    (entry,) = json.loads(config_snippets.as_json([place("10.0.0.1", METER)]))
    assert (entry["host"], entry["port"], entry["any_unit"], entry["note"]) == ("10.0.0.1", 502, False, None)
    (unit,) = entry["units"]
    assert unit["unit_id"] == 1
    assert unit["identified"] is True
    assert unit["drivers"][0]["driver"] == "eastron-sdm630"


def test_a_family_that_may_be_another_one_is_not_certain() -> None:
    (found,) = (where := place("10.0.0.1", METER)).units
    assert found.identity is not None
    assert "not certain" not in config_snippets.device_tables([where])
    found.identity.unanswered = tuple(f"family-{number}" for number in range(10, 20))
    text = config_snippets.device_tables([where])
    assert "# This is not certain: there was no reply to the requests that recognise family-10, " in text
    assert "family-17 and 2 more.\n# Scan again" in text
    assert json.loads(config_snippets.as_json([where]))[0]["units"][0]["unanswered"][0] == "family-10"

    unknown = place("10.0.0.1")
    unknown.units.append(FoundUnit(1, Identity(unanswered=("family-1",))))
    text = config_snippets.device_tables([unknown])
    assert "# This is not certain: there was no reply to the requests that recognise family-1." in text
