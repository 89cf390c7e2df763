"""[push] and [[push]]: one endpoint or several."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest

from agent.config.errors import ConfigError
from agent.config.loader import load, parse
from agent.config.push_token import token_path
from tests.agent.config.test_loader import TABLE, changed, mistakes

PORTAL = {"name": "portal", "url": "https://portal.example.org/", "token": "do-not-show-me"}
TRADER = {"name": "trader", "url": "https://trader.example.org/", "token": "do-not-show-me"}


def several(*changes: dict[str, Any]) -> dict[str, Any]:
    """The table with the endpoints `portal` and `trader`, changed."""
    table = changed()
    table["push"] = [
        copy.deepcopy(push) | change for push, change in zip((PORTAL, TRADER), (*changes, {}, {}), strict=False)
    ]
    return table


def test_a_single_table_is_the_endpoint_default() -> None:
    (push,) = parse(changed(), {}, "site.toml").endpoints
    assert push.name == "default"
    assert push.chooses("meter-1")
    assert parse(changed(push__name="portal"), {}, "site.toml").endpoints[0].name == "portal"


def test_each_table_has_its_own_sub_tables(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    single = '[push]\nurl = "https://telemetry.example.com/v1"\ntoken = "do-not-show-me"\n'
    file.write_text(
        TABLE.replace(
            single,
            '[[push]]\nname = "portal"\nurl = "https://a.example.org"\ntoken = "1"\n[push.sign]\nstorage = -1\n'
            '[[push]]\nname = "trader"\nurl = "https://b.example.org"\ntoken = "2"\n[push.retry]\nmax_s = 60\n',
        )
    )
    portal, trader = load(file, {}).endpoints
    assert (portal.sign.storage, portal.retry.max_s) == (-1, 300)
    assert (trader.sign.storage, trader.retry.max_s) == (1, 60)


@pytest.mark.parametrize("second", ["[push]", "[[push]]", " [ push ]"])
def test_push_written_twice_says_how_several_are_written(tmp_path: Path, second: str) -> None:
    file = tmp_path / "site.toml"
    file.write_text(f'{TABLE}\n{second}\nurl = "https://x.test"\n')
    with pytest.raises(ConfigError, match=r"several endpoints are written as \[\[push\]\], each with a name$"):
        load(file, {})


def test_an_empty_list_is_told_beside_another_mistake() -> None:
    assert mistakes(several({}, {"nodes": [], "intervall_s": 5})) == [
        "site.toml: push[1].nodes (trader): must not be empty (found [])",
        "site.toml: push[1].intervall_s (trader): unknown key; did you mean 'interval_s'?",
    ]


@pytest.mark.parametrize(
    ("first", "second", "line"),
    [
        ({}, {"name": "portal"}, "push[1].name (portal): must be unique; push[0] (portal) has 'portal' already"),
        (
            {"name": "über"},
            {},
            (
                "push[0].name (über): must be letters, digits and dashes, at most 64, with no dash at either end"
                " (found 'über')"
            ),
        ),
        (
            {"formerly": "trader"},
            {},
            "push[0].formerly (portal): must be a name that no endpoint has now (found 'trader')",
        ),
        (
            {"formerly": "old"},
            {"formerly": "old"},
            "push[1].formerly (trader): push[0] (portal) takes over the queue of 'old' already",
        ),
        ({}, {"nodes": ["pv-l"]}, "push[1].nodes (trader): no device has the node 'pv-l'; did you mean 'pv-1'?"),
        (
            {"exclude_nodes": ["bat1"]},
            {},
            "push[0].exclude_nodes (portal): no device has the node 'bat1'; did you mean 'bat-1'?",
        ),
        ({}, {"node_ids": {"pv": "x"}}, "push[1].node_ids (trader): no device has the node 'pv'; did you mean 'pv-1'?"),
        (
            {},
            {"node_ids": {"pv-1": "bat-1"}},
            "push[1].node_ids (trader): 'bat-1' and 'pv-1' would both be sent as 'bat-1'",
        ),
        ({}, {"nodes": []}, "push[1].nodes (trader): must not be empty (found [])"),
        ({"enabled": False}, {"enabled": False}, "push[0].enabled (portal): at least one endpoint must be enabled"),
        ({}, {"intervall_s": 5}, "push[1].intervall_s (trader): unknown key; did you mean 'interval_s'?"),
        ({}, {"token": " "}, "push[1].token (trader): must not be empty"),
        (
            {},
            {"ca_file": "/nowhere"},
            "push[1].ca_file (trader): must be a readable file (No such file or directory: '/nowhere')",
        ),
        (
            {},
            {"retry": {"initial_s": 9.0, "max_s": 1.0}},
            "push[1].retry.initial_s (trader): must not be larger than push[1].retry.max_s (trader)",
        ),
    ],
)
def test_mistakes_name_the_endpoint(first: dict[str, Any], second: dict[str, Any], line: str) -> None:
    assert mistakes(several(first, second)) == [f"site.toml: {line}"]


def test_each_of_several_needs_a_name() -> None:
    table = several()
    del table["push"][1]["name"]
    assert mistakes(table) == ["site.toml: push[1].name: missing; each of several endpoints needs a name"]


def test_nodes_are_chosen_by_id_or_pattern() -> None:
    portal, trader = parse(
        several({"nodes": ["pv-*", "meter-1"], "exclude_nodes": ["pv-1"]}, {"exclude_nodes": ["[bm]*"]}),
        {},
        "site.toml",
    ).endpoints
    nodes = ("meter-1", "pv-1", "pv-2", "bat-1")
    assert [node for node in nodes if portal.chooses(node)] == ["meter-1", "pv-2"]
    assert [node for node in nodes if trader.chooses(node)] == ["pv-1", "pv-2"]


def test_a_disabled_endpoint_needs_no_token_and_is_left_out() -> None:
    config = parse(several({"enabled": False, "token": None}), {}, "site.toml")
    assert [push.name for push in config.push] == ["portal", "trader"]
    assert [push.name for push in config.endpoints] == ["trader"]


def test_variables_for_several_endpoints_have_an_index() -> None:
    environ = {
        "TELEMETRY_AGENT__PUSH__0__URL": "https://other.example.org/",
        "TELEMETRY_AGENT__PUSH__1__INTERVAL_S": "5",
        "TELEMETRY_AGENT__PUSH__1__SIGN__STORAGE": "-1",
        "TELEMETRY_AGENT__PUSH__1__NODES": '["pv-1"]',
        "TELEMETRY_AGENT__PUSH__1__NODE_IDS__PV-1": "007",
    }
    portal, trader = parse(several(), environ, "site.toml").endpoints
    assert portal.url == "https://other.example.org/"
    assert (trader.interval_s, trader.sign.storage, trader.nodes) == (5, -1, ("pv-1",))
    assert trader.node_ids == {"pv-1": "007"}


def test_variables_without_an_index_are_for_a_single_endpoint() -> None:
    table = changed()
    del table["push"]
    environ = {
        "TELEMETRY_AGENT__PUSH__URL": "https://other.example.org/",
        "TELEMETRY_AGENT__PUSH__TOKEN": "1",
        "TELEMETRY_AGENT__PUSH__RETRY__MAX_S": "9",
    }
    (push,) = parse(table, environ, "site.toml").endpoints
    assert (push.name, push.url, push.retry.max_s) == ("default", "https://other.example.org/", 9)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("PUSH__URL", "must be the index of an item, 0..1 (found 'URL')"),
        ("PUSH__2__URL", "must be the index of an item, 0..1 (found '2')"),
    ],
)
def test_a_variable_that_names_no_endpoint_is_a_mistake(name: str, line: str) -> None:
    name = f"TELEMETRY_AGENT__{name}"
    assert mistakes(several(), {name: "x"}) == [f"environment {name}: {line}"]


def test_all_endpoints_in_one_variable() -> None:
    text = (
        '[{"name": "a", "url": "https://x.test", "token": "1"}, {"name": "b", "url": "https://y.test", "token": "2"}]'
    )
    config = parse(changed(), {"TELEMETRY_AGENT__PUSH": text}, "site.toml")
    assert [push.name for push in config.endpoints] == ["a", "b"]


def test_a_mistake_of_a_variable_names_the_variable() -> None:
    name = "TELEMETRY_AGENT__PUSH__1__INTERVAL_S"
    assert mistakes(several(), {name: "0"}) == [
        f"environment {name}: push[1].interval_s (trader): should be greater than or equal to 1 (found 0)"
    ]


def test_each_endpoint_has_its_own_credential(tmp_path: Path) -> None:
    for name in ("push_token", "push_token.trader"):
        (tmp_path / name).write_text(name)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    table = several({"name": "default", "token": None}, {"token": None})
    default, trader = parse(table, environ, "site.toml").endpoints
    assert token_path(default, environ) == tmp_path / "push_token"
    assert token_path(trader, environ) == tmp_path / "push_token.trader"
    (tmp_path / "push_token.trader").unlink()
    assert mistakes(table, environ) == [
        (
            "site.toml: push[1].token_file (trader): missing; give token_file, token or the systemd credential"
            " push_token.trader"
        )
    ], "the token of another endpoint is never used"


def test_the_example_of_several_endpoints_is_right() -> None:
    example = (Path(__file__).parents[3] / "config.example.toml").read_text()
    block = example.partition("# [[push]]")[2].partition("\n\n")[0]
    text = "[[push]]" + "\n".join(line.removeprefix("# ") for line in block.split("\n"))
    (push,) = tomllib.loads(text)["push"]
    config = parse(changed() | {"push": [PORTAL, push | {"token_file": None, "token": "t"}]}, {}, "site.toml")
    assert config.endpoints[1].nodes == ("pv-*",)


def test_a_device_takes_the_id_of_one_that_is_disabled() -> None:
    table = several({}, {"node_ids": {"load-2": "load-1"}})
    table["device"] += [
        {"node_id": node_id, "type": "variable_power_load", "driver": "keba-p30", "host": "192.0.2.9"}
        for node_id in ("load-1", "load-2")
    ]
    old = table["device"][-2]
    assert mistakes(table) == [
        "site.toml: push[1].node_ids (trader): 'load-1' and 'load-2' would both be sent as 'load-1'"
    ]
    old["enabled"] = False
    assert parse(table, {}, "site.toml").endpoints[1].node_ids == {"load-2": "load-1"}


def test_devices_are_polled_for_the_fastest_endpoint() -> None:
    table = several({"interval_s": 7}, {"interval_s": 5})
    assert parse(table | {"poll": {"interval_s": 60.0}}, {}, "site.toml").poll_interval_s == 5
    assert parse(table | {"poll": {"interval_s": 1.0}}, {}, "site.toml").poll_interval_s == 1
