"""The published schemas and the examples of the documentation are what the code says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

from agent.aggregation.energy_tracker import TODAY
from agent.contract import openapi
from agent.contract.schema import MAJOR, MESSAGES, MINOR, json_schema, message_name, problems, unknown_fields
from drivers.model import NodeType

DOCS = Path(__file__).parents[2] / "docs"
GROUPS: dict[str, dict[str, float]] = {type_.value: {} for type_ in NodeType}
HEAD = {"time": 1, "siteNodeId": "S"}
QUALITY = {"devices": 1, "fresh": 1, "expected": 1, "got": 1}


@pytest.mark.parametrize("name", MESSAGES)
def test_the_published_schema_is_that_of_the_code(name: str) -> None:
    published = (DOCS / "schema" / f"{name}.schema.json").read_text(encoding="utf-8")
    assert json.loads(published) == json_schema(name), "run make schema"


def test_the_published_openapi_document_is_that_of_the_code() -> None:
    published = (DOCS / "schema/openapi.json").read_text(encoding="utf-8")
    assert json.loads(published) == openapi.document(), "run make schema"


def test_make_schema_writes_what_is_published(tmp_path: Path) -> None:
    recipe = (DOCS.parent / "Makefile").read_text(encoding="utf-8")
    commands = re.findall(r"^\t\$\(BIN\)/python -m (agent\.\S+) docs/(\S+)$", recipe, re.MULTILINE)
    assert len(commands) == 3
    (tmp_path / "schema").mkdir()
    for module, target in commands:
        subprocess.run([sys.executable, "-m", module, tmp_path / target], cwd=DOCS.parent, check=True)
    published = [DOCS / "configuration.md", *(DOCS / "schema").iterdir()]
    assert {each.relative_to(tmp_path): each.read_bytes() for each in tmp_path.rglob("*.*")} == {
        each.relative_to(DOCS): each.read_bytes() for each in published
    }


def test_the_openapi_document_has_the_same_types_as_the_schemas() -> None:
    document = openapi.document()
    components = document["components"]["schemas"]
    for name, type_ in MESSAGES.items():
        published = json.loads(json.dumps(json_schema(name)).replace("#/$defs/", "#/components/schemas/"))
        inline = {key: value for key, value in published.items() if not key.startswith("$")}
        assert components[type_.__name__] == inline
        assert published["$defs"].items() <= components.items()
    assert document["info"]["version"] == f"{MAJOR}.{MINOR}"


def test_the_examples_of_the_openapi_document_are_messages() -> None:
    (path,) = openapi.document()["paths"].values()
    examples = path["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert examples.keys() == MESSAGES.keys()
    for name, example in examples.items():
        assert message_name(example["value"]) == name
        assert problems(example["value"]) == unknown_fields(example["value"]) == []


def test_every_message_of_the_documentation_is_valid() -> None:
    text = (DOCS / "contract.md").read_text(encoding="utf-8")
    messages = [
        json.loads(line) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL) for line in joined(block)
    ]
    assert {message_name(message) for message in messages} == set(MESSAGES)
    for message in messages:
        assert problems(message) == unknown_fields(message) == []


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
        (HEAD | GROUPS | {"grid": {"active_power_W": None}}, "grid.active_power_W: Input should be a valid number"),
        (HEAD | GROUPS | {"storage": {"mean_soc_perc": 100.5}}, "storage.mean_soc_perc: Input should be less than"),
        (HEAD | GROUPS | {"solar": {"today_energy_Wh": -1}}, "solar.today_energy_Wh: Input should be greater than"),
        (HEAD | GROUPS | {"heat_pump": {"operation_modes": ["eco"]}}, "heat_pump.operation_modes.0: Input should be"),
        (HEAD | {"nodeId": "a", "solar": {"voltage_V": None}}, "solar.voltage_V: must not be null"),
        (HEAD | {"nodes": {"a": {"wind": None}}}, "nodes.a.wind: must not be null"),
        ([], "the message is not a JSON object"),
        (HEAD | GROUPS | {"grid": {"active_power_W": "5"}}, "grid.active_power_W: Input should be a valid number"),
        (HEAD | GROUPS | {"solar": {"today_energy_Wh": "5"}}, "solar.today_energy_Wh: Input should be a valid number"),
        (HEAD | GROUPS | {"storage": {"mean_soc_perc": "5"}}, "storage.mean_soc_perc: Input should be a valid number"),
        (HEAD | GROUPS | {"grid": {"active_power_W": inf}}, "grid.active_power_W: Input should be a finite number"),
        (HEAD | GROUPS | {"solar": {"today_energy_Wh": inf}}, "solar.today_energy_Wh: Input should be a finite number"),
        (HEAD | GROUPS | {"storage": {"mean_soc_perc": nan}}, "storage.mean_soc_perc: Input should be a finite number"),
        (
            HEAD | GROUPS | {"quality": {"solar": QUALITY | {"fresh": "1"}}},
            "quality.solar.fresh: Input should be a valid integer",
        ),
        (HEAD | GROUPS | {"siteNodeId": 5}, "siteNodeId: Input should be a valid string"),
    ],
)
def test_what_is_wrong_is_named(message: Any, problem: str) -> None:
    found = problems(message)
    assert len(found) == 1
    assert found[0].startswith(problem)


@pytest.mark.parametrize("time", [1.0, True, None, "", "soon", -1])
def test_a_time_is_whole_seconds(time: Any) -> None:
    assert problems(GROUPS | HEAD | {"time": time})


def test_time_may_be_text_and_nodes_may_carry_more() -> None:
    assert problems(GROUPS | {"siteNodeId": "S", "time": "1714652040"}) == []
    assert problems(HEAD | {"nodeId": "a", "grid": {"voltage_l1_V": 231.5, "on": True}}) == []


@pytest.mark.parametrize(
    ("message", "place"),
    [
        (HEAD | GROUPS | {"gas": {}}, "gas"),
        (HEAD | GROUPS | {"solar": {"active_power_w": 1}}, "solar.active_power_w"),
        (HEAD | {"nodes": {"a": {"wind": {}}}}, "nodes.a.wind"),
        (HEAD | {"nodeId": "a", "quality": {"solar": QUALITY | {"best": 1}}}, "quality.solar.best"),
    ],
)
def test_an_unknown_field_is_found_but_is_no_mistake(message: dict[str, Any], place: str) -> None:
    assert problems(message) == []
    assert unknown_fields(message) == [place]


@pytest.mark.parametrize("name", MESSAGES)
def test_a_published_schema_is_open_and_has_an_id_and_a_version(name: str) -> None:
    schema = json_schema(name)
    assert '"additionalProperties": false' not in json.dumps(schema)
    assert schema["$id"] == f"urn:telemetry-push-agent:{name}:{MAJOR}"
    assert f"Version {MAJOR}.{MINOR} " in schema["$comment"]
    assert f"version {MAJOR}.{MINOR}" in (DOCS / "contract.md").read_text(encoding="utf-8")
