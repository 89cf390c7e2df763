from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from agent.config.environment import inside, model_in
from agent.config.errors import ConfigError
from agent.config.loader import load, parse
from agent.config.model import Config
from agent.config.push import PushConfig
from agent.config.push_token import token_path
from drivers.dump.file import DumpError
from drivers.dump.file import load as load_dump
from drivers.errors import ProfileError
from drivers.profile.loader import load as load_profile
from tests.faults.certificates import Authority

DEVICES = """
[connection.RS485]
transport = "rtu"
serial_port = "/dev/ttyUSB0"
[[device]]
node_id = "meter-1"
type = "grid"
driver = "eastron-sdm630"
host = "127.0.0.1"
[[device]]
driver = "sunspec"
connection = "RS485"
nodes = { solar = "pv-1", storage = "bat-1" }
"""
"""The tables of two devices, the last one without limits."""
TABLE = f"""
[site]
node_id = "S"
[push]
url = "https://telemetry.example.com/v1"
token = "do-not-show-me"
{DEVICES}"""


def changed(**changes: Any) -> dict[str, Any]:
    """The table with `push__interval_s=5` meaning push.interval_s = 5; list items by number."""
    table = copy.deepcopy(tomllib.loads(TABLE))
    for path, value in changes.items():
        place: Any = table
        *steps, last = path.split("__")
        for step in steps:
            place = place[int(step)] if step.isdigit() else place.setdefault(step, {})
        place[last] = value
    return table


def mistakes(table: dict[str, Any], environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(table, environ or {}, "site.toml")
    assert all("\n" not in line for line in caught.value.lines)
    assert "do-not-show-me" not in str(caught.value)
    return caught.value.lines


def test_defaults_are_those_of_the_documentation() -> None:
    config = parse(changed(), {}, "site.toml")
    assert config.push[0].interval_s == 60
    assert config.push[0].levels == ("device_type",)
    assert config.push[0].effective_deadline_s == 5
    assert config.status is None
    assert config.device[1].node_ids == {"solar": "pv-1", "storage": "bat-1"}


def test_the_deadline_is_never_more_than_half_of_the_interval() -> None:
    assert parse(changed(push__interval_s=4), {}, "site.toml").push[0].effective_deadline_s == 2


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"push__intervall_s": 5}, "site.toml: push.intervall_s: unknown key; did you mean 'interval_s'?"),
        ({"puhs": {}}, "site.toml: puhs: unknown key; did you mean 'push'?"),
        ({"device__0__nodeid": "x"}, "site.toml: device[0].nodeid (meter-1): unknown key; did you mean 'node_id'?"),
        ({"push__interval_s": "60"}, "site.toml: push.interval_s: must be a whole number (found '60')"),
        ({"push__quality": 1}, "site.toml: push.quality: must be true or false (found 1)"),
        ({"push__levels": "device"}, "site.toml: push.levels: must be a list (found 'device'); write [\"device\"]"),
        ({"push__levels": ["x"]}, "site.toml: push.levels[0]: should be 'device_type' or 'device' (found 'x')"),
        ({"push__token": " "}, "site.toml: push.token: must not be empty"),
        (
            {"push__token": "Bearer abc"},
            (
                "site.toml: push.token: must be the token alone: visible ASCII characters without blanks, and no"
                " 'Bearer' before it"
            ),
        ),
        ({"push__token": 5}, "site.toml: push.token: must be text, in quotes (found a secret)"),
        (
            {"push__url": "http://192.0.2.1/"},
            (
                "site.toml: push.url: http sends the token unencrypted; use https, or set"
                " allow_insecure_http = true (found 'http://192.0.2.1/')"
            ),
        ),
        (
            {"outbox__path": "/var/lib/agent/energy.sqlite3"},
            (
                "site.toml: outbox.path: must not be energy.sqlite3, because the energies are in this file"
                " (found '/var/lib/agent/energy.sqlite3')"
            ),
        ),
        (
            {"outbox__path": "/var/lib/agent/queue.endpoint"},
            (
                "site.toml: outbox.path: must not end with .endpoint, because the agent has a file of its own with"
                " this name (found '/var/lib/agent/queue.endpoint')"
            ),
        ),
        (
            {"device__0__node_id": "pv-1"},
            "site.toml: device[1].nodes.solar (pv-1 + bat-1): must be unique; device[0] (pv-1) has 'pv-1' already",
        ),
        (
            {
                "device__0__node_id": "pv-1",
                "device__1__nodes": None,
                "device__1__node_id": "pv-1",
                "device__1__type": "solar",
            },
            "site.toml: device[1].node_id (pv-1): must be unique; device[0] (pv-1) has 'pv-1' already",
        ),
        (
            {"device__0__connection": "gateway"},
            (
                "site.toml: device[0].host (meter-1): give either host, or connection with the NAME of a"
                " [connection.NAME]"
            ),
        ),
        (
            {"device__0__limits": {"active_power": 5.0}},
            (
                "site.toml: device[0].limits.active_power (meter-1): must be a quantity with its unit, such as"
                " active_power_W; did you mean 'active_power_W'? (found 'active_power')"
            ),
        ),
        (
            {"device__0__limits": {"soc_perc": [9.0, 2.0]}},
            "site.toml: device[0].limits.soc_perc (meter-1): must be [lowest, highest] (found [9.0, 2.0])",
        ),
        (
            {"device__0__limits": {"soc_perc": "all"}},
            "site.toml: device[0].limits.soc_perc (meter-1): must be a number, or [lowest, highest] (found 'all')",
        ),
        (
            {"device__0__limits": {"active_power_W": -5}},
            "site.toml: device[0].limits.active_power_W (meter-1): must not be negative (found -5)",
        ),
        ({"device": []}, "site.toml: device: needs at least one enabled [[device]]"),
        (
            {"connection__RS485__host": "h"},
            "site.toml: connection.RS485.host: transport rtu is a serial line; set serial_port instead",
        ),
        (
            {"site__timezone": "Europe/Brussel"},
            (
                "site.toml: site.timezone: must be a name of the IANA time zone database, such as Europe/Brussels"
                " (found 'Europe/Brussel')"
            ),
        ),
    ],
)
def test_a_mistake_is_one_line_with_file_key_rule_and_value(changes: dict[str, Any], line: str) -> None:
    assert mistakes(changed(**changes)) == [line]


def test_a_missing_token_says_where_it_may_stand(tmp_path: Path) -> None:
    table = changed()
    del table["push"]["token"]
    expected = "push.token_file: missing; give token_file, token or the systemd credential push_token"
    assert mistakes(table) == [f"site.toml: {expected}"]
    (tmp_path / "push_token").write_text("from-systemd\n")
    assert isinstance(parse(table, {"CREDENTIALS_DIRECTORY": str(tmp_path)}, "site.toml"), Config)


def test_a_token_file_must_be_readable_and_not_empty(tmp_path: Path) -> None:
    table = changed(push__token_file=str(tmp_path / "token"))
    del table["push"]["token"]
    assert "must be a readable file (No such file or directory" in mistakes(table)[0]
    (tmp_path / "token").write_text("\n")
    assert "must hold the token" in mistakes(table)[0]
    (tmp_path / "token").write_text("old\nnew\n")
    (line,) = mistakes(table)
    assert "must be the token alone" in line
    assert "old" not in line


def test_certificates_and_secrets_are_looked_at_before_the_start(tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    theirs, ours = Authority(tmp_path / "theirs"), Authority(tmp_path / "ours")
    client, other = ours.issue("client"), theirs.issue("client")
    junk = tmp_path / "junk"
    junk.write_text("whsec_no!")
    keys = {"ca_file": ours.ca_file, "client_cert_file": client.cert_file, "client_key_file": client.key_file}
    link = {"transport": "tls", "host": "192.0.2.1"}

    def wrong(table: str = "push", **files: Path) -> list[str]:
        paths = {key: str(path) for key, path in files.items()}
        if table == "push":
            return mistakes(changed(**{f"push__{key}": path for key, path in paths.items()}))
        return mistakes(changed(connection__gateway=link | paths))

    for table in ("push", "connection.gateway"):
        assert "no such file" in wrong(table, ca_file=tmp_path / "none")[0].lower()
        assert f"{table}.ca_file: must be a PEM file" in wrong(table, **keys | {"ca_file": junk})[0]
        mixed = wrong(table, **keys | {"client_key_file": other.key_file})
        assert f"{table}.client_cert_file: must be a PEM file of certificates, with a key that fits" in mixed[0]
        assert f"{table}.client_key_file: must be a readable" in wrong(table, **keys | {"client_key_file": tmp_path})[0]
        locked = ours.issue("locked", passphrase="x")
        files = {"client_cert_file": locked.cert_file, "client_key_file": locked.key_file}
        assert "has a passphrase" in wrong(table, **files)[0]
    empty = tmp_path / "empty"
    empty.write_text("whsec_\n")
    for path in (junk, empty):
        assert wrong(signing_secret_file=path) == [
            f"site.toml: push.signing_secret_file: a signing secret must be whsec_<base64> (found {str(path)!r})"
        ]
    parse(changed(**{f"push__{key}": str(path) for key, path in keys.items()}), {}, "site.toml")


def test_a_token_file_that_can_be_read_wins_over_the_older_copy_of_the_service_manager(tmp_path: Path) -> None:
    file, credential = tmp_path / "token", tmp_path / "credentials" / "push_token"
    credential.parent.mkdir()
    push = PushConfig(url="https://telemetry.example.com", token_file=file)
    environ = {"CREDENTIALS_DIRECTORY": str(credential.parent)}
    assert token_path(push, {}) == file
    assert token_path(push, environ) == file, "no such credential"
    credential.write_text("copy")
    assert token_path(push, environ) == credential, "no such file"
    file.touch()
    assert token_path(push, environ) == credential, "as the installation leaves it"
    file.write_text("rotated")
    assert token_path(push, environ) == file


def test_a_limit_can_be_set_from_the_environment_and_one_underscore_is_a_mistake() -> None:
    limit = "TELEMETRY_AGENT__DEVICE__0__LIMITS__ACTIVE_POWER_W"
    assert parse(changed(), {limit: "9"}, "site.toml").device[0].limits == {"active_power_W": (-9.0, 9.0)}
    with pytest.raises(ConfigError, match="environment TELEMETRY_AGENT_PUSH__URL: no such key; write two underscores"):
        parse(changed(), {"TELEMETRY_AGENT_PUSH__URL": "https://telemetry.example.com"}, "site.toml")


def test_every_key_can_be_overridden_from_the_environment() -> None:
    environ = {
        "TELEMETRY_AGENT__PUSH__INTERVAL_S": "5",
        "TELEMETRY_AGENT__PUSH__TOKEN": "123",
        "TELEMETRY_AGENT__PUSH__LEVELS": '["device"]',
        "TELEMETRY_AGENT__PUSH__SIGN__STORAGE": "-1",
        "TELEMETRY_AGENT__SITE__IMPORT_LIMIT_W": "17250",
        "TELEMETRY_AGENT__CONNECTION__RS485__BAUDRATE": "19200",
        "TELEMETRY_AGENT__DEVICE__0__HOST": "127.0.0.2",
        "TELEMETRY_AGENT__STATUS__LISTEN": "127.0.0.1:0",
    }
    config = parse(changed(), environ, "site.toml")
    assert config.push[0].interval_s == 5
    assert config.push[0].token is not None
    assert config.push[0].token.get_secret_value() == "123"
    assert config.push[0].levels == ("device",)
    assert config.push[0].sign.storage == -1
    assert config.site.import_limit_W == 17250
    assert config.connection["RS485"].baudrate == 19200
    assert config.device[0].host == "127.0.0.2"
    assert config.status is not None


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("PUSH__ULR", "x", "environment TELEMETRY_AGENT__PUSH__ULR: no such key 'ULR'; did you mean 'url'?"),
        ("PUHS__URL", "x", "environment TELEMETRY_AGENT__PUHS__URL: no such key 'PUHS'; did you mean 'push'?"),
        (
            "DEVICE__7__HOST",
            "x",
            "environment TELEMETRY_AGENT__DEVICE__7__HOST: must be the index of an item, 0..1 (found '7')",
        ),
        (
            "PUSH__INTERVAL_S",
            "often",
            "environment TELEMETRY_AGENT__PUSH__INTERVAL_S: push.interval_s: must be a whole number (found 'often')",
        ),
        (
            "POLL__STATISTIC__ALL",
            "mean",
            "environment TELEMETRY_AGENT__POLL__STATISTIC__ALL: POLL.STATISTIC is a value, not a table",
        ),
        (
            "PUSH__LEVELS__0",
            "device",
            "environment TELEMETRY_AGENT__PUSH__LEVELS__0: the list of the file has no items (found '0')",
        ),
    ],
)
def test_a_wrong_override_names_its_variable(name: str, value: str, line: str) -> None:
    assert mistakes(changed(), {f"TELEMETRY_AGENT__{name}": value}) == [line]


def test_a_list_in_place_of_a_table_is_told_from_an_override() -> None:
    table = changed()
    table["site"], table["device"] = [1], {"node_id": "meter-1"}
    assert mistakes(table, {"TELEMETRY_AGENT__SITE__0": "S"}) == [
        "environment TELEMETRY_AGENT__SITE__0: SITE is a value, not a table"
    ]
    assert mistakes(table, {"TELEMETRY_AGENT__DEVICE__0__HOST": "x"}) == [
        "environment TELEMETRY_AGENT__DEVICE__0__HOST: DEVICE is not a list in the file"
    ]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file; `telemetry-agent init` writes one"):
        load(tmp_path / "missing.toml", {})
    broken = tmp_path / "broken.toml"
    broken.write_text("[push\n")
    with pytest.raises(ConfigError, match=r"broken\.toml: not valid TOML: .*line 1"):
        load(broken, {})


def test_the_secret_is_hidden() -> None:
    assert "do-not-show-me" not in repr(parse(changed(), {}, "site.toml"))


EXAMPLE = Path(__file__).parents[3] / "config.example.toml"


def test_the_example_loads(tmp_path: Path) -> None:
    (tmp_path / "push_token").write_text("from-systemd\n")
    assert load(EXAMPLE, {"CREDENTIALS_DIRECTORY": str(tmp_path)})


def keys_shown() -> dict[str, set[str]]:
    """The keys of each table of the example, those that are commented out too."""
    shown: dict[str, set[str]] = {}
    table = ""
    for line in EXAMPLE.read_text().splitlines():
        if header := re.match(r"(?:# )?\[+([\w.]+)\]", line):
            table = re.sub(r"^connection\..*", "connection", header[1])
        elif key := re.match(r"(?:# )?(\w+) = ", line):
            shown.setdefault(table, set()).add(key[1])
    return shown


def keys_known(root: type[BaseModel], path: str = "") -> dict[str, set[str]]:
    """The keys of each table that a model has, those that are tables themselves left out."""
    known: dict[str, set[str]] = {path: set()}
    for name, field in root.model_fields.items():
        table = model_in(field.annotation) or model_in(inside(field.annotation))
        if table is None:
            known[path].add(name)
        else:
            known |= keys_known(table, f"{path}.{name}".lstrip("."))
    return {table: keys for table, keys in known.items() if keys}


def test_the_example_shows_every_key_and_no_other() -> None:
    assert keys_shown() == keys_known(Config)


def test_a_replacement_may_have_the_id_of_a_device_that_is_disabled() -> None:
    config = parse(changed(device__0__enabled=False, device__1__nodes={"solar": "meter-1"}), {}, "site.toml")
    assert [list(device.node_ids.values()) for device in config.device] == [["meter-1"], ["meter-1"]]


@pytest.mark.parametrize("load_one", [load, load_profile, load_dump], ids=["configuration", "profile", "dump"])
def test_a_file_that_cannot_be_read_is_one_line_in_words(load_one: Callable[[Path], object], tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for path, why in ((tmp_path, "Is a directory"), (binary, "is not UTF-8 text")):
        with pytest.raises((ConfigError, ProfileError, DumpError), match=why) as caught:
            load_one(path)
        assert "Errno" not in str(caught.value)
        assert str(caught.value).count(str(path)) == 1


@pytest.mark.parametrize("second", ["[device]", "[[device]]"])
def test_a_device_in_one_pair_of_brackets_written_twice(tmp_path: Path, second: str) -> None:
    path = tmp_path / "site.toml"
    path.write_text(f'[device]\nnode_id = "a"\n{second}\nnode_id = "b"\n')
    with pytest.raises(ConfigError) as refused:
        load(path, {})
    (line,) = refused.value.lines
    assert line.endswith("; write [[device]], in two pairs of brackets, for each device")
    assert "one heading" not in line


def test_a_link_local_address_needs_a_zone() -> None:
    parse(changed(device__0__host="fe80::1%eth0", push__url="https://[fe80::1%25eth0]/"), {}, "site.toml")
    parse(changed(status={"listen": "[fe80::1%eth0]:9464", "token": "t" * 32}), {}, "site.toml")
    wrong = {"device__0__host": "fe80::1", "push__url": "https://[FE80::1]/", "status": {"listen": "[fe80::1]:9464"}}
    for key, value in wrong.items():
        with pytest.raises(ConfigError, match=r"must have a zone \(its interface\), such as (?i:fe80::1)%eth0"):
            parse(changed(**{key: value}), {}, "site.toml")
