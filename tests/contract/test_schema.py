"""The published schemas and the examples of the documentation are what the code says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from agent.aggregation.energy_tracker import TODAY
from agent.contract.schema import MESSAGES, json_schema, message_name, problems
from drivers.model import NodeType

DOCS = Path(__file__).parents[2] / "docs"
GROUPS: dict[str, dict[str, float]] = {type_.value: {} for type_ in NodeType}
HEAD = {"time": 1, "siteNodeId": "S"}


@pytest.mark.parametrize("name", MESSAGES)
def test_the_published_schema_is_that_of_the_code(name: str) -> None:
    published = (DOCS / "schema" / f"{name}.schema.json").read_text(encoding="utf-8")
    assert json.loads(published) == json_schema(name), "run make schema"


def test_every_message_of_the_documentation_is_valid() -> None:
    text = (DOCS / "contract.md").read_text(encoding="utf-8")
    messages = [
        json.loads(line) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL) for line in joined(block)
    ]
    assert {message_name(message) for message in messages} == set(MESSAGES)
    for message in messages:
        assert problems(message) == []


def joined(block: str) -> list[str]:
    """The messages of a block: one begins where a line opens a brace."""
    return ["{" + part for part in re.split(r"^\{", block, flags=re.MULTILINE) if part.strip()]


def test_the_table_of_fields_is_that_of_the_schema() -> None:
    text = (DOCS / "contract.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("|")]
    documented = {
        (group.strip(), field)
        for groups, fields in rows
        for group in groups.split(",")
        for field in re.findall(r"`(\w+)`", fields)
        if group.strip() in GROUPS
    }
    schema = json_schema("device-type")
    named = {
        (group.value, field)
        for group in NodeType
        for field in schema["$defs"][schema["properties"][group]["$ref"].rpartition("/")[2]]["properties"]
    }
    assert documented == named
    assert {(group.value, field) for group, fields in TODAY.items() for field in fields} <= named


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (GROUPS | {"siteNodeId": "S"}, "time: Field required"),
        (HEAD | {k: v for k, v in GROUPS.items() if k != "solar"}, "solar: Field required"),
        (HEAD | GROUPS | {"solar": {"active_power_w": 1}}, "solar.active_power_w: Extra inputs are not permitted"),
        (HEAD | GROUPS | {"grid": {"active_power_W": None}}, "grid.active_power_W: Input should be a valid number"),
        (HEAD | GROUPS | {"storage": {"mean_soc_perc": 100.5}}, "storage.mean_soc_perc: Input should be less than"),
        (HEAD | GROUPS | {"solar": {"today_energy_Wh": -1}}, "solar.today_energy_Wh: Input should be greater than"),
        (HEAD | GROUPS | {"heat_pump": {"operation_modes": ["eco"]}}, "heat_pump.operation_modes.0: Input should be"),
        (HEAD | {"nodeId": "a", "solar": {"voltage_V": None}}, "solar.voltage_V: must not be null"),
        (HEAD | {"nodes": {"a": {"wind": {}}}}, "nodes.a.wind: Extra inputs are not permitted"),
        ([], "the message is not a JSON object"),
    ],
)
def test_what_is_wrong_is_named(message: Any, problem: str) -> None:
    found = problems(message)
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_time_may_be_text_and_nodes_may_carry_more() -> None:
    assert problems(GROUPS | {"siteNodeId": "S", "time": "1714652040"}) == []
    assert problems(HEAD | {"nodeId": "a", "grid": {"voltage_l1_V": 231.5, "on": True}}) == []
