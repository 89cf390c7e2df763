from __future__ import annotations

from pathlib import Path

import pytest

from agent.commissioning import config_review, service_permissions
from agent.commissioning.service_permissions import ServiceUser, missing_credentials, unreadable_files
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


def test_a_credential_whose_file_does_not_exist_stops_the_service(tmp_path: Path) -> None:
    there = tmp_path / "token"
    there.touch()
    (tmp_path / "a.conf").write_text(
        f"[Service]\nLoadCredential=push_token.a:{there}\nLoadCredential=push_token.b:{tmp_path}/none\n"
        f"LoadCredential=push_token.c:{tmp_path}/none\nSetCredential=push_token.c:x\n"
    )
    (line,) = missing_credentials(tmp_path)
    assert line == (
        f"{tmp_path}/a.conf: systemd does not start the service, because the file of the credential push_token.b does"
        f" not exist: write the token into {tmp_path}/none"
    )
    assert list(missing_credentials(tmp_path / "none")) == []
