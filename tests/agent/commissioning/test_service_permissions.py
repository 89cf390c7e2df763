from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from agent.commissioning import config_review, service_permissions
from agent.commissioning.service_permissions import (
    ServiceUser,
    missing_credentials,
    unreadable_files,
    unreadable_tokens,
)
from agent.config import Config
from agent.config.loader import parse
from tests.agent.config.test_loader import changed
from tests.faults.certificates import Authority

STRANGER = ServiceUser(uid=4_000_000, groups=frozenset({4_000_001}))


def test_a_file_is_read_by_its_mode_and_by_the_way_to_it(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    file = folder / "ca.pem"
    file.touch()
    owner = ServiceUser(file.stat().st_uid, frozenset())
    member = ServiceUser(4_000_000, frozenset({file.stat().st_gid}))
    for mode, reads in ((0o600, (True, False, False)), (0o640, (True, True, False)), (0o044, (False, True, True))):
        file.chmod(mode)
        assert tuple(each.may_access(file, 4) for each in (owner, member, STRANGER)) == reads, oct(mode)
    file.chmod(0o644)
    folder.chmod(0o700)
    assert not STRANGER.reads(file)
    assert STRANGER.reads(Path("/etc/hostname"))
    assert STRANGER.may_access(folder / "none", 4), "that it is not there is said elsewhere"


def said(ca_file: Path, outbox: str = "/var/lib/telemetry-agent/outbox.sqlite3") -> list[str]:
    table = changed(push__ca_file=str(ca_file), outbox={"path": outbox}, drivers={"profile_dirs": []})
    return list(unreadable_files(parse(table, {}, "config.toml"), Path("/etc/hostname"), STRANGER))


def test_what_the_service_cannot_reach_is_told_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ca_file = Authority(tmp_path).ca_file
    assert said(ca_file) == [f"the service has no access to {ca_file}: move it to /etc/telemetry-agent"]
    monkeypatch.setattr(service_permissions, "_HIDDEN", ())
    ca_file.chmod(0o600)
    assert said(ca_file) == [
        f"the service cannot read {ca_file}: chown root:telemetry-agent {ca_file} && chmod 640 {ca_file}"
    ]
    assert said(ca_file, "/srv/outbox.sqlite3")[1:] == [
        "outbox.path: the service can only write below /var/lib/telemetry-agent (found /srv/outbox.sqlite3)"
    ]


@pytest.mark.parametrize(("euid", "told"), [(0, True), (1000, False)])
def test_only_root_at_the_service_s_own_file_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, euid: int, told: bool
) -> None:
    file = tmp_path / "config.toml"
    file.touch(mode=0o600)  # as root leaves it
    monkeypatch.setattr(service_permissions, "_HIDDEN", ())
    monkeypatch.setattr(config_review, "DEFAULT_CONFIG", file)
    monkeypatch.setattr(config_review, "service", lambda: STRANGER)
    monkeypatch.setattr("os.geteuid", lambda: euid)
    config = parse(changed(outbox={"path": "/srv/outbox.sqlite3"}), {}, "config.toml")
    assert any(str(file) in line for line in config_review.advice(config, file, {})) == told
    assert any("outbox.path" in line for line in config_review.advice(config, file, {})) == told
    assert not any("outbox.path" in line for line in config_review.advice(config, tmp_path / "other.toml", {}))


def credentials(folder: Path, unit: str, **drop_ins: str) -> list[str]:
    """Write the unit as a package installs it, and drop-ins with these lines. Return the warnings."""
    administrator, package = folder / "etc", folder / "lib"
    there = administrator / "telemetry-agent.service.d"
    for each in (there, package):
        each.mkdir(parents=True, exist_ok=True)
    (package / "telemetry-agent.service").write_text(f"[Service]\n{unit}")
    for path in there.iterdir():
        path.unlink()
    for name, lines in drop_ins.items():
        (there / f"{name}.conf").write_text(f"[Service]\n{lines}")
    return [line.replace(str(there), "…") for line in missing_credentials([administrator, package])]


def test_a_credential_whose_file_does_not_exist_stops_the_service(tmp_path: Path) -> None:
    there = tmp_path / "token"
    there.touch()
    lines = (
        f"LoadCredential=push_token.a:{there}\nLoadCredential=push_token.b:/none\n"
        "LoadCredential=push_token.c:/none\nSetCredential=push_token.c:x\nLoadCredential=push_token.d:inherited\n"
    )
    stops = (
        "…/a.conf: systemd does not start the service, because the file of the credential push_token.b does not exist:"
        " write the token into /none"
    )
    assert credentials(tmp_path, "", a=lines) == [stops]
    assert credentials(tmp_path, "", a=lines, b="SetCredential=push_token.b:x\n") == [], "of another drop-in"
    assert credentials(tmp_path, "", a=lines, b=f"LoadCredential = push_token.b:{there}\n") == [], "the last one counts"
    assert credentials(tmp_path, "", a=lines, b="LoadCredential=\n") == [], "an empty value resets the list"
    assert list(missing_credentials([tmp_path / "none"])) == []


def test_a_missing_credential_of_the_shipped_unit_is_empty(tmp_path: Path) -> None:
    unit = (Path(__file__).parents[3] / "systemd" / "telemetry-agent.service").read_text()
    load = "LoadCredential=push_token:/none\n"
    assert credentials(tmp_path, unit) == [], "the file of the unit itself is optional"
    (empty,) = credentials(tmp_path, unit, a=load)
    assert empty == (
        "…/a.conf: systemd gives the service an empty token, because the file of the credential push_token does not"
        " exist: write the token into /none"
    )
    assert credentials(tmp_path, unit, a=load, b="SetCredential=push_token:x\n") == []
    (stops,) = credentials(tmp_path, unit, a=load, b="SetCredential=\n")
    assert stops.startswith("…/a.conf: systemd does not start the service, ")


def test_the_drop_in_of_the_administrator_replaces_one_of_the_same_name(tmp_path: Path) -> None:
    load = "LoadCredential=push_token.b:/none\n"
    credentials(tmp_path, "", a="")
    packaged = tmp_path / "lib" / "telemetry-agent.service.d"
    packaged.mkdir()
    (packaged / "z.conf").write_text(load)
    assert len(credentials(tmp_path, "", a="")) == 1
    assert credentials(tmp_path, "", z="") == []


def endpoints(folder: Path, **tables: Any) -> Config:
    """The configuration with an endpoint per name, each with a token file that only its owner can read."""
    pushes = []
    for name, keys in tables.items():
        token_file = folder / f"{name}.token"
        token_file.touch(mode=0o600)
        token_file.write_text(f"token-{name}")
        pushes.append({"name": name, "url": f"https://{name}.example.org", "token_file": str(token_file), **keys})
    return parse(changed(push=pushes), {}, "config.toml")


def tokens(folder: Path, config: Config, **drop_ins: str) -> list[str]:
    """Return the warnings about the tokens, with the shipped unit and these drop-ins."""
    unit = (Path(__file__).parents[3] / "systemd" / "telemetry-agent.service").read_text()
    credentials(folder, unit.replace("/etc/telemetry-agent/token", f"{folder}/token"), **drop_ins)
    return list(unreadable_tokens(config, STRANGER, [folder / "etc", folder / "lib"]))


def advised(path: Path, credential: str) -> str:
    return (
        f"the service cannot read {path}, and has no credential {credential}: chown root:telemetry-agent {path} &&"
        f" chmod 640 {path}; or add the line LoadCredential={credential}:{path} below [Service] with `systemctl edit"
        " telemetry-agent`, then `systemctl restart telemetry-agent`"
    )


def test_a_token_that_the_service_can_get_by_no_way_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = endpoints(tmp_path, portal={}, trader={}, off={"enabled": False})
    portal, trader = (tmp_path / f"{name}.token" for name in ("portal", "trader"))
    (hidden, _) = tokens(tmp_path, config)
    assert hidden.startswith(
        f"the service has no access to {portal}, and has no credential push_token.portal: move it to"
        f" /etc/telemetry-agent; or add the line LoadCredential=push_token.portal:{portal} below [Service] with "
    )
    monkeypatch.setattr(service_permissions, "_HIDDEN", ())
    load = f"LoadCredential=push_token.portal:{portal}\n"
    both = [advised(portal, "push_token.portal"), advised(trader, "push_token.trader")]
    assert tokens(tmp_path, config) == both
    assert tokens(tmp_path, config, a=load) == both[1:]
    assert tokens(tmp_path, config, a=load, b="LoadCredential=\n") == both, "an empty value resets the list"
    assert tokens(tmp_path, config, a=load, b="SetCredential=push_token.trader:x\n") == []
    assert tokens(tmp_path, config, a=load, b="LoadCredential=push_token.trader\n") == [], "systemd searches for it"
    assert tokens(tmp_path, config, a=load, b="SetCredential=push_token.trader\n") == both[1:], "systemd ignores it"
    monkeypatch.setattr(ServiceUser, "reads", lambda _, path: path != portal)
    assert tokens(tmp_path, config) == both[:1]


def test_the_credential_of_the_unit_counts_for_the_default_endpoint_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_permissions, "_HIDDEN", ())
    config = endpoints(tmp_path, default={}, trader={})
    default, trader = (tmp_path / f"{name}.token" for name in ("default", "trader"))
    assert tokens(tmp_path, config) == [advised(default, "push_token"), advised(trader, "push_token.trader")]
    assert tokens(tmp_path, config, a=f"LoadCredential=push_token:{default}\n") == [
        advised(trader, "push_token.trader")
    ]
    (tmp_path / "token").write_text("x")
    assert tokens(tmp_path, config) == [advised(trader, "push_token.trader")]


def test_check_as_root_tells_of_a_token_without_a_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.toml"
    file.touch()
    monkeypatch.setattr(config_review, "DEFAULT_CONFIG", file)
    monkeypatch.setattr(config_review, "service", lambda: STRANGER)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    config = endpoints(tmp_path, portal={}, trader={})
    assert any("no credential push_token.trader: " in line for line in config_review.advice(config, file, {}))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert not any("no credential" in line for line in config_review.advice(config, file, {}))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("secret", ["token", "drop-in"])
def test_a_credential_that_this_user_cannot_see_is_not_missing(secret: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        hidden = folder / "hidden"
        hidden.mkdir(0o700)
        load = f"LoadCredential=push_token.b:{hidden if secret == 'token' else folder}/none\n"
        assert len(credentials(folder, "", a=load)) == 1
        if secret == "drop-in":
            assert credentials(folder, "", a=load, b="SetCredential=push_token.b:x\n") == []
            (folder / "etc" / "telemetry-agent.service.d" / "b.conf").chmod(0o600)
        os.setresuid(65_534, 65_534, 0)
        try:
            assert list(missing_credentials([folder / "etc"])) == []
        finally:
            os.setresuid(0, 0, 0)
