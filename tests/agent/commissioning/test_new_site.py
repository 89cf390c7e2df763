"""The files of `init`: where they are, who can read them, and what a second run adds."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from agent import DEFAULT_CONFIG
from agent.commissioning import config_snippets, new_files, new_site
from agent.commissioning.new_files import Access
from agent.commissioning.proposals import Names, propose, without_configured
from agent.commissioning.release_files import example
from agent.commissioning.service_permissions import ServiceUser
from agent.config import ConfigError
from drivers.modbus.settings import LinkSettings
from drivers.model import Kind
from drivers.scan.identify import Identity, Match
from drivers.scan.unit_search import FoundUnit, SearchLocation

SERVICE = ServiceUser(uid=4_000_000, groups=frozenset(), gid=4_000_001)
METER = Match("eastron-sdm630", Kind.METER, frozenset(), "Eastron SDM630", "by holding 64514")
LINE = LinkSettings(transport="rtu", serial_port="/dev/ttyUSB0")


def answers(**changes: object) -> new_site.SiteAnswers:
    usual = new_site.SiteAnswers("S", "https://receiver.test/", Path("/t/token"), 60, "Europe/Brussels")
    return replace(usual, **changes)  # type: ignore[arg-type]


def place(link: LinkSettings, *units: int) -> SearchLocation:
    return SearchLocation(link, [FoundUnit(unit, Identity([METER])) for unit in units])


def test_the_service_reads_the_files_of_root() -> None:
    assert new_site.access(DEFAULT_CONFIG, SERVICE, root=True) == Access(0o640, 0, SERVICE.gid)
    assert new_site.token_access(DEFAULT_CONFIG, SERVICE, root=True) == Access(0o600, SERVICE.uid, SERVICE.gid)
    for config, root in ((DEFAULT_CONFIG, False), (Path("/etc/telemetry-agent/site/config.toml"), True)):
        assert new_site.access(config, SERVICE, root=root) == Access(0o644)
        assert new_site.token_access(config, SERVICE, root=root) == Access(0o600)


def test_the_queue_is_where_the_service_can_write() -> None:
    assert new_site.outbox_path(DEFAULT_CONFIG) is None
    site = new_site.outbox_path(DEFAULT_CONFIG.parent / "north" / "config.toml")
    assert site == Path("/var/lib/telemetry-agent-north/outbox.sqlite3")
    assert new_site.outbox_path(Path("/home/me/site.toml")) == Path("/home/me/state/outbox.sqlite3")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_gets_its_owner_before_its_name(tmp_path: Path) -> None:
    path = tmp_path / "token"
    new_files.create(path, "secret\n", Access(0o600, SERVICE.uid, SERVICE.gid))
    status = path.stat()
    assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o600, SERVICE.uid, SERVICE.gid)
    new_files.replace(path, "secret\n", "other\n")
    assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (SERVICE.uid, 0o600), "an addition keeps the owner"


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    path = tmp_path / "site.toml"
    new_files.create(path, "text", Access(0o644))
    assert path.read_text() == "text"
    with pytest.raises(FileExistsError):
        new_files.create(path, "other", Access(0o644))
    assert [each.read_text() for each in tmp_path.iterdir()] == ["text"]


@pytest.mark.parametrize("theirs", [b"theirs\n", b"\xff\xfe"])
@pytest.mark.parametrize("blank", [None, "", "\ufeff \n"], ids=["no token file", "an empty token file", "a blank one"])
def test_a_configuration_that_appears_during_the_questions_is_kept(
    tmp_path: Path, blank: str | None, theirs: bytes
) -> None:
    path, token = tmp_path / "site.toml", tmp_path / "token"
    path.write_bytes(theirs)
    if blank is not None:
        token.write_text(blank)
    with pytest.raises(FileExistsError):
        new_site.write(path, "ours\n", token, "secret")
    assert path.read_bytes() == theirs
    assert (token.read_text() if token.exists() else None) == blank


def test_no_token_is_left_if_the_configuration_cannot_be_read(tmp_path: Path) -> None:
    path, token = tmp_path / "site.toml", tmp_path / "token"
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        new_site.write(path, "ours\n", token, "secret")
    assert list(tmp_path.iterdir()) == [path]


def test_a_token_file_that_is_no_text_is_kept(tmp_path: Path) -> None:
    path, token = tmp_path / "site.toml", tmp_path / "token"
    token.write_bytes(b"\xff")
    with pytest.raises(FileExistsError):
        new_site.write(path, "ours\n", token, "secret")
    assert token.read_bytes() == b"\xff"
    assert list(tmp_path.iterdir()) == [token]


@pytest.mark.parametrize("before", ["", "�"])
def test_a_file_that_is_no_text_any_more_is_not_replaced(tmp_path: Path, before: str) -> None:
    path = tmp_path / "site.toml"
    path.write_bytes(b"\xff")
    with pytest.raises(FileExistsError):
        new_files.replace(path, before, "ours\n")
    assert path.read_bytes() == b"\xff"
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    master, slave = os.openpty()
    path = tmp_path / "site.toml"
    path.symlink_to(os.ttyname(slave))
    with pytest.raises(FileExistsError, match="is no regular file"):
        new_files.replace(path, "", "ours\n")
    os.close(master)
    os.close(slave)


def test_the_unchanged_example_is_replaced(tmp_path: Path) -> None:
    path, token = tmp_path / "site.toml", tmp_path / "token"
    path.write_text(example())
    new_site.write(path, "ours\n", token, "secret")
    assert (path.read_text(), token.read_text()) == ("ours\n", "secret\n")


def test_a_second_run_uses_the_connection_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    first = place(LINE, 1)
    tables = config_snippets.tables([first], propose([first], Names()))
    text = new_site.config_text(answers(), tables.replace("ttyUSB0]", "bus]").replace('"ttyUSB0"', '"bus"'), path)
    path.write_text(text.replace('token_file = "/t/token"', 'token = "t"'))
    before = new_site.existing(path)
    assert before is not None
    assert before.has_grid
    assert before.units == {"/dev/ttyUSB0 unit 1"}
    rest = without_configured([place(LINE, 1, 2)], before.units)
    found = propose(rest, Names(before.names), has_grid=before.has_grid)
    more = config_snippets.tables(rest, found, before.connections)
    assert "[connection." not in more
    assert 'connection = "bus"' in more
    assert 'node_id = "meter-2"' in more
    assert "enabled = false" in more, "the grid has a meter"
    assert new_site.with_devices(before, more, path).startswith(before.text.rstrip("\n"))


@pytest.mark.parametrize("second", ['driver = "no-such-driver"', 'driver = "sunspec"\nrequest_gap_s = 5.0'])
def test_a_disabled_device_that_would_not_be_accepted_does_not_stop_init(tmp_path: Path, second: str) -> None:
    path = tmp_path / "site.toml"
    (tmp_path / "token").write_text("t" * 20)
    device = 'type = "grid"\nhost = "192.0.2.1"\n'
    path.write_text(
        f'[site]\nnode_id = "S"\n[push]\nurl = "https://x.example.org/"\ntoken_file = "{tmp_path}/token"\n'
        f'[[device]]\nnode_id = "a"\ndriver = "eastron-sdm630"\n{device}'
        f'[[device]]\nnode_id = "b"\nenabled = false\n{second}\n{device}'
        f'[[device]]\nnode_id = "c"\nenabled = false\ndriver = "sunspec"\nunit_id = 3\n{device}'
    )
    before = new_site.existing(path)
    assert before is not None
    assert {"192.0.2.1:502 unit 1", "192.0.2.1:502 unit 3"} <= before.units
    assert before.names == {"a", "b", "c"}


def test_a_device_that_ignores_the_unit_id_is_not_found_twice() -> None:
    link = LinkSettings(host="192.0.2.1")
    here = replace(place(link, 1), any_unit=True)
    assert without_configured([here], {"192.0.2.1:502 unit 7"}) == []
    (kept,) = without_configured([here], {"192.0.2.11:502 unit 7"})
    assert kept.units == here.units


def test_devices_that_do_not_fit_are_not_added(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    link = LinkSettings(host="192.0.2.1")
    found = place(link, 1)
    tables = config_snippets.tables([found], propose([found], Names()))
    path.write_text(new_site.config_text(answers(), tables, path).replace('token_file = "/t/token"', 'token = "t"'))
    before = new_site.existing(path)
    assert before is not None
    with pytest.raises(ConfigError, match="must be unique"):
        new_site.with_devices(before, tables, path)


def test_the_time_zone_may_be_unknown_and_http_be_accepted(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    text = new_site.config_text(answers(timezone=None, url="http://192.0.2.9/", insecure_http=True), "", path)
    assert '# timezone = "Europe/Brussels"' in text
    assert "\nallow_insecure_http = true " in text
    path.write_text(text.replace('token_file = "/t/token"', 'token = "t"'))
    before = new_site.existing(path)
    assert before is not None
    assert not before.units


def test_the_own_profiles_of_the_scan_are_those_of_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    text = new_site.config_text(answers(profile_dirs=(tmp_path, Path("/b"))), "", path)
    path.write_text(text.replace('token_file = "/t/token"', 'token = "t"'))
    before = new_site.existing(path)
    assert before is not None
    assert before.config.drivers.profile_dirs == (tmp_path, Path("/b"))
