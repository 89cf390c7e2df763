"""Environment variables over the file: one key, one item of a list, or a whole table as JSON."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config.errors import ConfigError
from agent.config.loader import load_profile_dirs, load_status, parse
from agent.config.model import Config
from tests.agent.config.test_loader import changed, mistakes

PREFIX = "TELEMETRY_AGENT__"

# Every type that a key can have.
TABLE: dict[str, Any] = {
    "site": {"node_id": "S", "timezone": "Europe/Brussels", "import_limit_W": 17250.5},
    "push": {
        "url": "https://telemetry.example.com/v1",
        "token": "123",
        "interval_s": 5,
        "levels": ["device", "device_type"],
        "quality": True,
        "deadline_s": 1,
        "sign": {"storage": -1, "grid": 1},
        "retry": {"max_s": 60.0, "dead_letter_after": 9},
    },
    "outbox": {"path": "/tmp/outbox.sqlite3", "backlog_rate_per_s": 0.5},
    "poll": {"statistic": "mean"},
    "drivers": {"profile_dirs": ["/etc/profiles", "/srv/profiles"]},
    "status": {"listen": "127.0.0.1:0"},
    "log": {"level": "debug"},
    "connection": {"rs485": {"transport": "rtu", "serial_port": "/dev/ttyUSB0", "stop_bits": 2, "baudrate": 19200}},
    "device": [
        {
            "node_id": "007",
            "type": "grid",
            "driver": "eastron-sdm630",
            "host": "127.0.0.1",
            "limits": {"active_power_W": 5000, "soc_perc": [0, 100]},
            "max_gap": 3,
        },
        {
            "nodes": {"solar": "pv-1", "storage": "bat-1"},
            "driver": "sunspec",
            "connection": "rs485",
            "unit_id": 7,
            "invert": True,
        },
    ],
}


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """A variable for each key, lists of tables by index."""
    pairs: Iterator[tuple[Any, Any]] | None = None
    if isinstance(value, dict):
        pairs = iter(value.items())
    elif isinstance(value, list) and isinstance(value[0], dict):
        pairs = iter(enumerate(value))
    if pairs is None:
        yield PREFIX + name.upper(), value
        return
    for key, item in pairs:
        yield from leaves(item, f"{name}__{key}" if name else str(key))


def written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def test_a_site_can_be_described_by_variables_alone() -> None:
    environ = {name: written(value) for name, value in leaves(TABLE)}
    assert "TELEMETRY_AGENT__DEVICE__1__UNIT_ID" in environ
    assert parse({"device": [{}, {}]}, environ, "site.toml") == parse(TABLE, {}, "site.toml")


def test_a_site_can_be_described_by_one_json_value_for_each_table() -> None:
    environ = {PREFIX + name.upper(): json.dumps(value) for name, value in TABLE.items()}
    assert parse({}, environ, "site.toml") == parse(TABLE, {}, "site.toml")


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_variable_of_one_key_precedes_that_of_its_table_which_precedes_the_file(order: tuple[int, ...]) -> None:
    variables = [
        ("PUSH", '{"interval_s": 7, "timeout_s": 8.0, "retry": {"initial_s": 2.0, "max_s": 3.0}}'),
        ("PUSH__TIMEOUT_S", "9"),
        ("PUSH__RETRY__MAX_S", "4"),
    ]
    environ = {PREFIX + variables[number][0]: variables[number][1] for number in order}
    push = parse(changed(push__interval_s=6, push__deadline_s=0.5), environ, "site.toml").push[0]
    assert (push.deadline_s, push.interval_s, push.timeout_s) == (0.5, 7, 9.0)
    assert (push.retry.initial_s, push.retry.max_s, push.retry.dead_letter_after) == (2.0, 4.0, 5)


def test_an_item_of_a_list_keeps_the_rest_of_the_file() -> None:
    environ = {
        "TELEMETRY_AGENT__DEVICE__0": '{"unit_id": 9, "limits": {"soc_perc": 5}}',
        "TELEMETRY_AGENT__DEVICE__0__LIMITS__ACTIVE_POWER_W": "[-1, 2]",
        "TELEMETRY_AGENT__DEVICE__1__UNIT_ID": "3",
    }
    first, second = parse(changed(device__0__limits={"reactive_power_var": 1.0}), environ, "site.toml").device
    assert (first.node_id, first.unit_id, second.unit_id) == ("meter-1", 9, 3)
    assert first.limits == {"reactive_power_var": (-1.0, 1.0), "soc_perc": (-5.0, 5.0), "active_power_W": (-1.0, 2.0)}
    assert second.node_ids == {"solar": "pv-1", "storage": "bat-1"}


def test_a_name_is_read_in_any_case_and_a_connection_in_that_of_the_file() -> None:
    environ = {
        "telemetry_agent__site__Import_Limit_w": "5",
        "TELEMETRY_AGENT__CONNECTION__rs485__BAUDRATE": "19200",
        "TELEMETRY_AGENT__CONNECTION": '{"Gateway": {"host": "192.0.2.1"}}',
        "TELEMETRY_AGENT__CONNECTION__GATEWAY__PORT": "1502",
    }
    config = parse(changed(), environ, "site.toml")
    assert config.site.import_limit_W == 5
    assert {name: (link.baudrate, link.port) for name, link in config.connection.items()} == {
        "RS485": (19200, None),
        "Gateway": (9600, 1502),
    }


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("PUSH", '{"interval_s": 0}', "push.interval_s: should be greater than or equal to 1 (found 0)"),
        ("PUSH", '{"intervall_s": 5}', "push.intervall_s: unknown key; did you mean 'interval_s'?"),
        ("PUSH__LEVELS", '["x"]', "push.levels[0]: should be 'device_type' or 'device' (found 'x')"),
        ("PUSH__LEVELS", "device", "push.levels: must be a list (found 'device'); write [\"device\"]"),
        (
            "DEVICE__1__UNIT_ID",
            "300",
            "device[1].unit_id (pv-1 + bat-1): should be less than or equal to 255 (found 300)",
        ),
        ("DEVICE__1", '{"unit_id": "7"}', "device[1].unit_id (pv-1 + bat-1): must be a whole number (found '7')"),
        ("DEVICE", "[]", "device: needs at least one enabled [[device]]"),
        ("DEVICE", '[{"node_id": "new"}]', "device[0].driver (new): missing"),
        (
            "DEVICE",
            '{"node_id": "x"}',
            "device: must be a list (found a table); write [[device]], in two pairs of brackets",
        ),
        ("DEVICE", '{"7": {}}', "device: must be a list (found a table); write [[device]], in two pairs of brackets"),
        ("STATUS", "null", "status: must be a table (found a text)"),
        ("OUTBOX", "[" * 100_000, "outbox: must be a table (found a text)"),
    ],
)
def test_a_mistake_in_a_json_value_names_its_variable(name: str, value: str, line: str) -> None:
    assert mistakes(changed(), {PREFIX + name: value}) == [f"environment {PREFIX}{name}: {line}"]


def test_a_mistake_of_the_file_is_not_blamed_on_the_variable_of_its_table() -> None:
    environ = {"TELEMETRY_AGENT__PUSH": '{"quality": true}'}
    assert mistakes(changed(push__interval_s=0), environ) == [
        "site.toml: push.interval_s: should be greater than or equal to 1 (found 0)"
    ]


def test_an_item_cannot_be_set_where_another_variable_replaces_the_list() -> None:
    environ = {"TELEMETRY_AGENT__DEVICE": "[]", "TELEMETRY_AGENT__DEVICE__0__HOST": "192.0.2.1"}
    assert mistakes(changed(), environ) == [
        "environment TELEMETRY_AGENT__DEVICE__0__HOST: not possible, because another variable sets all of DEVICE"
    ]


def test_a_part_of_the_file_is_overridden_too_and_read_whatever_is_wrong_with_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text('[push]\nurl = 5\n[status]\nlisten = "nowhere"\n[drivers]\nprofile_dirs = ["/a"]\n')
    assert load_profile_dirs(file, {}) == (Path("/a"),)
    environ = {
        "TELEMETRY_AGENT__STATUS": '{"listen": "127.0.0.1:1"}',
        "TELEMETRY_AGENT__DRIVERS__PROFILE_DIRS": '["/b"]',
    }
    status = load_status(file, environ)
    assert status is not None
    assert status.port == 1
    assert load_profile_dirs(file, environ) == (Path("/b"),)
    with pytest.raises(ConfigError, match="no such key 'LISTN'; did you mean 'listen'"):
        load_profile_dirs(file, environ | {"TELEMETRY_AGENT__STATUS__LISTN": "x"})


def test_a_key_of_the_file_is_no_option_of_the_library() -> None:
    assert mistakes(changed(_env_file="/etc/passwd", table={}))[0].startswith("site.toml: _env_file: unknown key")


def test_other_variables_are_none_of_its_business(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PUSH", "SITE__NODE_ID", "TELEMETRY_AGENT__PUSH__URL"):
        monkeypatch.setenv(name, "x")
    assert parse(changed(), {"PUSH": "x", "LOG__LEVEL": "x"}, "site.toml") == parse(changed(), {}, "site.toml")
    assert isinstance(parse(changed(), {}, "site.toml"), Config)


STEPS = st.sampled_from(
    [
        "PUSH",
        "push",
        "DEVICE",
        "CONNECTION",
        "RS485",
        "STATUS",
        "LIMITS",
        "NODES",
        "solar",
        "ACTIVE_POWER_W",
        "LEVELS",
        "SIGN",
        "GRID",
        "RETRY",
        "MAX_S",
        "HOST",
        "UNIT_ID",
        "TOKEN",
        "0",
        "1",
        "2",
        "00",
        "²",
        "x",
    ]
)
VALUES = st.sampled_from(
    [
        "5",
        "true",
        "null",
        "text",
        "[]",
        "{}",
        "[1,2]",
        '{"0":{}}',
        '{"host":"h"}',
        '[{"driver":"sunspec"}]',
        "[[",
        "{",
        "NaN",
        "1e999",
        '{"sign":{"grid":-1}}',
        '{"RS485":{"baudrate":300}}',
        '{"limits":{"soc_perc":[1,2]}}',
    ]
)


@given(st.dictionaries(st.lists(STEPS, max_size=5).map("__".join), VALUES, max_size=5), st.randoms())
def test_no_variable_does_worse_than_a_mistake_and_order_does_not_matter(variables: dict[str, str], dice: Any) -> None:
    def outcome(items: list[tuple[str, str]]) -> object:
        try:
            return parse(changed(), {PREFIX + name: value for name, value in items}, "site.toml")
        except ConfigError as error:
            return error.lines

    shuffled = list(variables.items())
    dice.shuffle(shuffled)
    assert outcome(list(variables.items())) == outcome(shuffled)
