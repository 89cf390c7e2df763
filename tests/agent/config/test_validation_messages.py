"""What a person at a site writes wrong, and whether the line that comes back says what to write instead."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from agent.config.errors import ConfigError
from agent.config.loader import load, parse
from tests.agent.config.test_loader import TABLE, changed, mistakes
from tests.support.cases import for_each


def only(**changes: Any) -> str:
    (line,) = mistakes(changed(**changes))
    return line.removeprefix("site.toml: ")


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("slave_id", "'unit_id'"),
        ("unit", "'unit_id'"),
        ("ip", "'host'"),
        ("address", "'host' or 'unit_id'"),
        ("id", "'node_id' or 'unit_id'"),
        ("name", "'node_id'"),
        ("model", "'driver'"),
        ("reverse", "'invert'"),
        ("Unit_ID", "'unit_id'"),
        ("nominal_power_kW", "'nominal_power_W'"),
        ("timeout_ms", "'timeout_s'"),
    ],
)
def test_a_key_of_other_software_is_translated(key: str, meant: str) -> None:
    assert only(**{f"device__0__{key}": 1}) == f"device[0].{key} (meter-1): unknown key; did you mean {meant}?"


@pytest.mark.parametrize("key", ["serial_port", "baudrate", "parity"])
def test_a_key_of_a_serial_line_in_a_device_names_its_table(key: str) -> None:
    assert only(**{f"device__0__{key}": 1}) == (
        f'device[0].{key} (meter-1): unknown key; write it in [connection.NAME], and connection = "NAME" in [[device]]'
    )


@pytest.mark.parametrize(
    ("place", "value", "meant"),
    [
        ("device__0__type", "pv", "'solar'"),
        ("device__0__type", "Grid", "'grid'"),
        ("device__0__type", "heat-pump", "'heat_pump'"),
        ("device__0__type", "wallbox", "'variable_power_load'"),
        ("device__0__word_order", "CDAB", "'little'"),
        ("device__0__when_offline", "zeros", "'zero'"),
        ("connection__RS485__parity", "even", "'E'"),
        ("connection__RS485__parity", "n", "'N'"),
        ("connection__RS485__transport", "rtu-over-tcp", "'rtu_over_tcp'"),
        ("log__level", "INFO", "'info'"),
        ("push__levels", ["devices"], "'device'"),
    ],
)
def test_a_word_that_is_not_among_the_choices_gets_the_nearest(place: str, value: Any, meant: str) -> None:
    assert only(**{place: value}).endswith(f"; did you mean {meant}?")


@pytest.mark.parametrize(
    ("place", "value", "rule"),
    [
        ("device__0__limits", {"active_power_W": 1.5e308}, ".active_power_W (meter-1): must be from -1e+15 to 1e+15"),
        ("device__0__limits", {"soc_perc": [-(10**400), 0]}, ".soc_perc (meter-1): must be from -1e+15 to 1e+15"),
        ("device__0__nominal_power_W", 1e16, " (meter-1): should be less than or equal to 1000000000000000"),
        ("device__1__energy_capacity_Wh", 1e308, " (pv-1 + bat-1): should be less than or equal to 1000000000000000"),
        ("site__export_limit_W", 1e308, ": should be less than or equal to 1000000000000000"),
        ("poll__interval_s", 1e308, ": should be less than or equal to 1000000000"),
        ("poll__interval_s", 10**400, ": must be a number"),
        ("poll__interval_s", 1e-320, ": should be greater than or equal to 0.001"),
        ("outbox__max_age_s", 1e10, ": should be less than or equal to 1000000000"),
        ("outbox__max_size_mb", 10**400, ": should be less than or equal to 1000000"),
    ],
)
def test_a_number_whose_arithmetic_would_overflow_is_refused(place: str, value: Any, rule: str) -> None:
    key = place.replace("device__0", "device[0]").replace("device__1", "device[1]").replace("__", ".")
    assert only(**{place: value}).startswith(f"{key}{rule} (found ")


def test_the_largest_numbers_are_accepted() -> None:
    config = parse(changed(device__0__limits={"active_power_W": 10**15}, poll__interval_s=1e9), {}, "site.toml")
    assert config.device[0].limits == {"active_power_W": (-1e15, 1e15)}
    assert config.poll.stale_after_s == 1e9


def test_where_nothing_is_close_the_few_keys_are_listed() -> None:
    assert only(push__sign__xyz=-1) == (
        "push.sign.xyz: unknown key; there are grid, solar, storage, heat_pump, switched_load, variable_power_load"
    )
    assert only(telemetry={}).startswith("telemetry: unknown key; there are site, push, outbox, poll, drivers,")


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        "192.0.2.1:502",
        "tcp://192.0.2.1",
        "192.0.2.1/24",
        " 192.0.2.1",
        "192.168.1.300",
        "192.168.1",
        "[fe80::1]",
    ],
)
def test_a_host_is_a_name_or_an_address_and_nothing_else(host: str) -> None:
    line = only(device__0__host=host)
    assert line.startswith("device[0].host (meter-1): must be ")
    assert line.endswith(f"(found {host!r})")
    assert only(connection__RS485={"host": host}).startswith("connection.RS485.host: must be ")


@pytest.mark.parametrize("host", ["192.0.2.1", "fe80::1%eth0", "::1", "meter.local", "zähler.fritz.box", "wago_750"])
def test_a_host_that_is_one_is_taken(host: str) -> None:
    assert parse(changed(device__0__host=host), {}, "site.toml").device[0].host == host


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("https://1.2.3.256/", "must have four numbers up to 255"),
        ("https://[v1.a]/", "must have four numbers up to 255 as its IPv4 address, or an IPv6 address in brackets"),
        (
            f"https://x.example.org/{'a' * 8000}",
            "must have at most 8000 characters; servers may refuse more (it has 8022)",
        ),
    ],
)
def test_a_url_that_cannot_be_sent_is_one_clear_line(url: str, rule: str) -> None:
    line = only(push__url=url)
    assert line.startswith(f"push.url: {rule}")
    assert len(line) < 400


@pytest.mark.parametrize("key", ["push__token_file", "push__ca_file", "outbox__path", "drivers__profile_dirs__0"])
def test_an_empty_path_is_not_the_working_directory(key: str) -> None:
    table = {"drivers": {"profile_dirs": [""]}} if key.startswith("drivers") else {key: ""}
    assert only(**table).endswith(": must be a path, not an empty text (found '')")


def test_a_device_without_a_name_gets_none() -> None:
    table = changed()
    table["device"][0]["name"] = table["device"][0].pop("node_id")
    assert mistakes(table) == ["site.toml: device[0].name: unknown key; did you mean 'node_id'?"]


def test_a_serial_port_is_no_host() -> None:
    assert "goes into serial_port of a [connection.NAME]" in only(device__0__host="/dev/ttyUSB0")


def test_the_port_has_its_own_key() -> None:
    assert "write the port into the key port" in only(device__0__host="192.0.2.1:502")


@pytest.mark.parametrize(
    "url",
    [
        "https://t.example.com /v1",
        "https://t.example.com:99999/",
        "https://",
        "t.example.com",
        "https://t.example.com\n",
        "https://t..example.com/",
        f"https://{'t' * 64}.example.com/",
    ],
)
def test_a_url_that_no_request_can_go_to_is_refused(url: str) -> None:
    assert only(push__url=url).startswith("push.url: must be an http:// or https:// URL with a valid host")


def test_a_url_may_hold_any_letters() -> None:
    url = "https://münchen.test/zähler"
    assert parse(changed(push__url=url), {}, "site.toml").push[0].url == url


def test_a_password_in_a_url_is_not_shown() -> None:
    line = only(push__url="https://user:do-not-show-me@t.example.com/v1?key=do-not-show-me")
    assert line == (
        "push.url: must not carry a user or password; use push.token_file (found 'https://…@t.example.com/v1?…')"
    )
    assert "do-not-show-me" not in only(push__url="http://192.0.2.1/?key=do-not-show-me")


SECRET_PLACES = ["push__url", "push__proxy_url", "device__0__host", "status__listen", "poll"]
SECRET_URLS = [
    "https://u:p@h/x?token=SECRET SECRET",
    "https://u:p@h/x?token='SECRET' \"SECRET\"",
    "https://h /x?token='SECRET",
    "https://h/x?token=\\SECRET\n\t\u2028SECRET",
    "https://h/x?\n\nSECRET",
    "https://h/x y?mail=a@b&token=SECRET",
    "https://h /x#access_token=SECRET",
    "https://user:SECRET SECRET@h/",
    "https://user:SECRET/SECRET@h/",
    "https://user:SECRET?SECRET@h/",
    "https://user:SECRET#SECRET@h/",
    "https://user:SECRET@SECRET@h h/",
    "https://user:SECRET\nSECRET@h/",
    "https://user:SECRET\\'\"SECRET@h h/",
    "https://user:SECRET//SECRET@h/",
    "https:/user:SECRET@h/x?token=SECRET",
    "https:\\\\user:SECRET@h\\x?token=SECRET",
    "user:SECRET@h/x?token=SECRET",
    "user://SECRET@h SECRET@h//?SECRET",
    "see https://user:SECRET@h/ or https://h/x?token=SECRET",
]


@for_each(("place", "url"), product(SECRET_PLACES, SECRET_URLS))
def test_no_secret_in_a_url_is_shown(place: str, url: str) -> None:
    for value in (url, [url], ["x", url], [[url]], {"x": url}, [{"x": url}], [[{"x": url}]]):
        line = "".join(mistakes(changed(**{place: value})))
        assert "(found " in line or value == {"x": url}
        assert "SECRET" not in line


@pytest.mark.parametrize("key", ["push__levels", "push__exclude_nodes", "device"])
def test_no_secret_in_a_url_is_shown_as_an_item_of_a_list(key: str) -> None:
    for value in ("https://u:SECRET@h/?SECRET SECRET", [[["SECRET"]]], [[{"token": "SECRET"}]]):
        (line, *_) = mistakes(changed(**{key: value}))
        assert "SECRET" not in line


@pytest.mark.parametrize("password", ["12/34", "12?34", "12#34", "do/not", "/"])
def test_a_password_of_a_proxy_with_a_separator_is_refused(password: str) -> None:
    """Otherwise `12` would be the port of the host `user`, and would be shown."""
    assert only(push__proxy_url=f"http://user:{password}@proxy.example.com:3128").startswith(
        "push.proxy_url: must have %2F, %3F or %23 instead of /, ? or # in its user and password (found 'http://…"
    )
    for url in ("http://user:12%2F34@proxy.example.com:3128/", "http://us@r:p@ss@proxy.example.com/"):
        assert parse(changed(push__proxy_url=url), {}, "site.toml").push[0].shown_proxy.startswith("proxy.example.com")


def test_the_harmless_parts_of_a_url_are_shown() -> None:
    shown = "push.url: must be an http:// or https:// URL with a valid host and port, and without blanks (found {})"
    assert only(push__url="https://u:p@h/x?token=abc def") == shown.format("'https://…@h/x?…'")
    assert only(push__url="https://h /x#part") == shown.format("'https://h /x#…'")
    assert only(push__url="ftp://h/it's") == shown.format('"ftp://h/it\'s"')
    assert only(push__url="u:p@h/x?token=abc") == shown.format("'…@h/x?…'")
    # Either the password has a question mark, or the query has an at sign.
    assert only(push__url="https://h /x?mail=me@example.com") == shown.format("'https://…'")


def test_a_table_with_a_token_in_the_wrong_brackets_does_not_show_it() -> None:
    table = changed()
    table["status"] = [{"token": "do-not-show-me"}]
    assert mistakes(table) == [
        "site.toml: status: must be a table (found a list of tables); write [status], in one pair of brackets"
    ]


def test_brackets_are_put_right() -> None:
    table = changed()
    table["device"] = table["device"][0]
    (line,) = mistakes(table)
    assert line == "site.toml: device: must be a list (found a table); write [[device]], in two pairs of brackets"
    table = changed()
    table["connection"] = table["connection"]["RS485"]
    assert all("write [connection.NAME], and its keys below" in line for line in mistakes(table)[:2])
    table["connection"] = [table["connection"]]
    assert "write [connection.NAME]" in mistakes(table)[0]


def test_a_connection_with_a_hyphen_in_its_name_is_named() -> None:
    link = {"transport": "rtu", "serial_port": "/dev/ttyUSB0", "baudrate": "9600"}
    assert only(connection={"RS485": link | {"baudrate": 9600}, "my-bus": link}) == (
        "connection.my-bus.baudrate: must be a whole number (found '9600')"
    )


def test_a_serial_port_without_a_transport_says_which() -> None:
    assert 'transport = "rtu"' in only(connection__RS485={"serial_port": "/dev/ttyUSB0"})


def test_a_file_saved_by_an_editor_of_windows_is_read(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_bytes(b"\xef\xbb\xbf" + TABLE.replace("\n", "\r\n").encode())
    assert load(file, {}).site.node_id == "S"
    file.write_text(TABLE.replace('"do-not-show-me"', "do-not-show-me"))
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert "token; a text needs quotes" in str(caught.value)
    assert "do-not-show-me" not in str(caught.value)


def test_a_variable_is_named_wherever_it_is_what_is_wrong() -> None:
    environ = {"TELEMETRY_AGENT__PUSH__TOKEN_FILE": "/nowhere"}
    table = changed()
    del table["push"]["token"]
    assert mistakes(table, environ)[0].startswith(
        "environment TELEMETRY_AGENT__PUSH__TOKEN_FILE: push.token_file: must be a readable file"
    )
    environ = {"TELEMETRY_AGENT__PUSH__TOKEN": "do-not-show-me"}
    table["push"]["token_file"] = "/nowhere"
    assert mistakes(table, environ) == [
        "environment TELEMETRY_AGENT__PUSH__TOKEN: push.token: give either token or token_file, not both"
    ]
    environ = {"TELEMETRY_AGENT__PUSH__CA_FILE": "/nowhere"}
    assert mistakes(changed(), environ)[0].startswith("environment TELEMETRY_AGENT__PUSH__CA_FILE: push.ca_file: must")


def test_a_table_in_a_variable_is_not_shown() -> None:
    environ = {"TELEMETRY_AGENT__PUSH": '{"url": "https://x.test", "token": "do-not-show-me"'}
    assert mistakes(changed(), environ) == ["environment TELEMETRY_AGENT__PUSH: push: must be a table (found a text)"]
    environ = {"TELEMETRY_AGENT__PUSH": '["token", "do-not-show-me"]'}
    assert "push[0]: must be a table (found a text)" in mistakes(changed(), environ)[0]


@pytest.mark.parametrize("key", ["push__token_file", "push__signing_secret_file", "push__client_key_file", "status"])
@pytest.mark.parametrize("secret", ["do-not-show-me-0123456789", "do-not-show-me/+=", "do-not-show-me" * 50])
def test_a_secret_in_place_of_its_file_is_not_shown(key: str, secret: str) -> None:
    table = changed(**{key: {"token_file": secret} if key == "status" else secret})
    if key == "push__token_file":
        del table["push"]["token"]
    if key == "push__client_key_file":
        table["push"]["client_cert_file"] = "/nowhere"
    assert "it may be the secret itself" in mistakes(table)[0]


@pytest.mark.parametrize("key", ["push__token_file", "push__signing_secret_file", "push__client_key_file", "status"])
@pytest.mark.parametrize("secret", [5271, ["do-not-5271-show-me"], [["5271"]], {"x": "5271"}])
def test_a_secret_that_is_no_text_in_place_of_its_file_is_not_shown(key: str, secret: Any) -> None:
    table = changed(**{key: {"token_file": secret} if key == "status" else secret})
    lines = "".join(mistakes(table))
    assert "must be a file name" in lines
    assert "5271" not in lines


def test_a_level_is_named_once() -> None:
    assert only(push__levels=["device", "device"]).startswith("push.levels: must not name a level twice")


def test_a_token_file_saved_by_such_an_editor_is_read(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_bytes(b"\xef\xbb\xbfabc\r\n")
    table = changed(push__token_file=str(token))
    del table["push"]["token"]
    parse(table, {}, "site.toml")
