"""Where secrets come from, how they change, and who else may read them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from agent.config.push import PushConfig
from agent.config.push_token import mistakes, token_of, token_path, usable
from agent.security.secrets import Secret, SecretFile, Token, warn_if_open

URL = "https://telemetry.example.com"


def secret(path: Path, text: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def value(token: Token) -> str:
    return token.value().get_secret_value()


@pytest.fixture
def credential(tmp_path: Path) -> Path:
    return secret(tmp_path / "credentials" / "push_token", "of-the-service\n")


def environ(credential: Path) -> dict[str, str]:
    return {"CREDENTIALS_DIRECTORY": str(credential.parent)}


def test_a_file_before_the_credential_before_the_key(tmp_path: Path, credential: Path) -> None:
    file = secret(tmp_path / "token", "of-the-file\n")
    assert value(token_of(PushConfig(url=URL, token_file=file), environ(credential))) == "of-the-file"
    assert value(token_of(PushConfig(url=URL, token_file=tmp_path / "none"), environ(credential))) == "of-the-service"
    assert value(token_of(PushConfig(url=URL, token="of-the-key"), environ(credential))) == "of-the-service"
    assert value(token_of(PushConfig(url=URL, token="of-the-key"), {})) == "of-the-key"
    assert value(token_of(PushConfig(url=URL), {})) == ""


def test_a_rotation_is_seen_and_a_file_in_between_is_not(tmp_path: Path) -> None:
    file = secret(tmp_path / "token", "first")
    token = token_of(PushConfig(url=URL, token_file=file), {})
    assert value(token) == "first"
    with capture_logs() as logs:
        file.write_text("")
        assert value(token) == "first", "a file that is being written"
        file.unlink()
        assert value(token) == "first", "a file that is being replaced"
        secret(file, "second\n")
        assert value(token) == "second"
    assert [entry["event"] for entry in logs if entry["log_level"] != "debug"] == ["secret_unusable", "token_rotated"]
    assert "second" not in repr(logs)


def test_a_rotation_to_what_is_no_token_keeps_the_last_one(tmp_path: Path) -> None:
    file = secret(tmp_path / "token", "first")
    token = token_of(PushConfig(url=URL, token_file=file), {})
    assert value(token) == "first"
    with capture_logs() as logs:
        secret(file, "Bearer second\n")
        assert value(token) == "first"
        secret(file, "second-or-third\n")
        assert value(token) == "second-or-third"
    assert [entry["event"] for entry in logs] == ["secret_unusable", "token_rotated"]
    assert "must be the token alone" in logs[0]["problem"]


def test_after_a_401_even_what_looks_the_same_is_read_again(tmp_path: Path) -> None:
    file = secret(tmp_path / "token", "first1")
    token = token_of(PushConfig(url=URL, token_file=file), {})
    used = token.value()
    status = file.stat()
    file.write_text("second")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert value(token) == "first1"
    assert token.refused(used).get_secret_value() == "second"


def test_after_a_401_the_other_one_is_tried(tmp_path: Path, credential: Path) -> None:
    file = secret(tmp_path / "token", "stale")
    token = token_of(PushConfig(url=URL, token_file=file), environ(credential))
    assert token.refused(token.value()).get_secret_value() == "of-the-service"
    assert value(token) == "of-the-service"
    assert token.refused(token.value()).get_secret_value() == "stale", "both are wrong, or it was the receiver's fault"
    secret(file, "mended")
    assert value(token) == "mended"


def test_a_secret_that_everybody_may_read_is_told(tmp_path: Path) -> None:
    file = secret(tmp_path / "token", "x", 0o644)
    with capture_logs() as logs:
        SecretFile(file, "token_rotated").value()
        warn_if_open(secret(tmp_path / "config.toml", "x", 0o640))
    assert [(entry["event"], entry["path"], entry["remedy"]) for entry in logs] == [
        ("secret_world_readable", str(file), f"chmod o-r {file}")
    ]


def test_no_repr_shows_a_secret(tmp_path: Path) -> None:
    file = secret(tmp_path / "token", "nobody-may-read")
    config = PushConfig(url=URL, token="nobody-may-read")
    token, held = token_of(config, {}), SecretFile(file, "token_rotated")
    held.value()
    assert "nobody-may-read" not in f"{config!r} {config} {token!r} {held!r} {token.value()!r} {token.value()}"


@pytest.mark.parametrize("text", ["", "two words", "line\nbreak", "tab\tx", "ümlaut", "nul\0"])
def test_what_cannot_stand_in_a_header_is_not_used(text: str) -> None:
    assert not usable(text)
    assert usable("eyJhbGciOi.J9-_~+/==")


def unusable(token: Token) -> list[tuple[str, str, str]]:
    """What is logged while the token is read twice: level, file name and problem."""
    with capture_logs() as logs:
        for _ in range(2):
            token.value()
    return [(entry["log_level"], Path(entry["path"]).name, entry["problem"]) for entry in logs]


def test_a_single_file_that_cannot_be_read_is_told_once(tmp_path: Path) -> None:
    told = unusable(Token([tmp_path / "none"]))
    assert told == [("warning", "none", "cannot be read"), ("debug", "none", "cannot be read")]
    file = secret(tmp_path / "binary", "")
    file.write_bytes(b"\xff\xfe\xfd")
    assert unusable(Token([file]))[0] == ("warning", "binary", "cannot be read")


def test_a_key_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with capture_logs() as logs:
        SecretFile(tmp_path / "none", "signing_key_rotated").value()
    assert [(entry["log_level"], entry["event"]) for entry in logs] == [("warning", "secret_unusable")]


def test_equal_texts_are_equal_secrets() -> None:
    assert len({Secret("t"), Secret("t"), Secret("u")}) == 2
    assert Secret("t") != "t"


def test_of_two_files_one_may_be_missing(tmp_path: Path) -> None:
    told = unusable(Token([tmp_path / "none", secret(tmp_path / "token", "t")]))
    assert {level for level, _, _ in told} == {"debug"}


def test_a_text_in_the_configuration_is_used_without_the_blanks_around_it() -> None:
    assert value(Token([], Secret(" t\n"))) == "t"


def test_a_problem_is_told_again_after_the_file_was_well(tmp_path: Path) -> None:
    file = secret(tmp_path / "token", "")
    token = Token([file])
    assert unusable(token) == [("warning", "token", "is empty")]
    secret(file, "t")
    assert unusable(token) == []
    file.write_text("")
    assert unusable(token) == [("warning", "token", "is empty")]


def test_a_second_outage_is_told_if_the_file_comes_back_unchanged(tmp_path: Path) -> None:
    file, away = secret(tmp_path / "token", "t"), tmp_path / "away"
    token = Token([file])
    assert unusable(token) == []
    for _ in range(2):
        file.rename(away)
        assert unusable(token) == [("warning", "token", "cannot be read"), ("debug", "token", "cannot be read")]
        away.rename(file)
        assert unusable(token) == []
        assert value(token) == "t"


def test_a_file_that_stays_unusable_is_told_once(tmp_path: Path) -> None:
    file, away = secret(tmp_path / "token", "two words"), tmp_path / "away"
    token = token_of(PushConfig(url=URL, token_file=file), {})
    assert [level for level, _, _ in unusable(token)] == ["warning"]
    file.rename(away)
    assert {level for level, _, _ in unusable(token)} == {"debug"}
    away.rename(file)
    assert {level for level, _, _ in unusable(token)} <= {"debug"}


@contextmanager
def without_permissions() -> Iterator[None]:
    """As a user who is not root: root may read everything."""
    root = os.getuid() == 0
    if root:
        os.setresuid(65_534, 65_534, 0)
    try:
        yield
    finally:
        if root:
            os.setresuid(0, 0, 0)


def test_a_command_may_not_read_the_credential_of_the_service(tmp_path: Path, credential: Path) -> None:
    file = secret(tmp_path / "token", "t", 0)
    credential.chmod(0)
    by_credential, by_file = PushConfig(url=URL), PushConfig(url=URL, token_file=file)
    with without_permissions():
        assert list(mistakes([by_credential], environ(credential))) == []
        assert list(mistakes([by_file], environ(credential))) == []
        (told,) = mistakes([by_file], {})
    assert told.startswith("push.token_file: must be a readable file (Permission denied: ")
    assert told.endswith(")")
    credential.chmod(0o600)
    credential.write_bytes(b"\xff")
    (told,) = mistakes([by_credential], environ(credential))
    assert told.startswith("push.token_file: must be a readable file (is not text: ")


def test_the_credential_takes_the_place_of_a_file_that_the_service_cannot_read() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        push = PushConfig(url=URL, token_file=secret(folder / "token", "t", 0))
        found = environ(secret(folder / "push_token", "of-the-service", 0o644))
        with without_permissions():
            assert list(mistakes([push], found)) == []
        missing = PushConfig(url=URL, token_file=folder / "none")
        assert list(mistakes([missing], found)) == []


def test_the_file_to_edit_is_the_one_of_the_configuration(tmp_path: Path, credential: Path) -> None:
    """If the original of the credential is missing, the unit gives an empty credential."""
    credential.write_text("\n")
    file = tmp_path / "token"
    push = PushConfig(url=URL, token_file=file)
    (told,) = mistakes([push], environ(credential))
    assert str(file) in told
    assert told.endswith("; write the token of the integrator into it")
    secret(file, "")
    (told,) = mistakes([push], environ(credential))
    assert told == f"push.token_file: must hold the token (found {str(file)!r} empty)"


@pytest.mark.parametrize("text", [b"\n", b" \r\n", b"\xef\xbb\xbf", b"Bearer t\n", b"old\nnew\n", b"\xff"])
def test_the_credential_takes_the_place_of_a_file_without_a_usable_token(
    tmp_path: Path, credential: Path, text: bytes
) -> None:
    """As in the running agent."""
    file = secret(tmp_path / "token", "")
    file.write_bytes(text)
    push = PushConfig(url=URL, token_file=file)
    found = environ(credential)
    assert value(token_of(push, found)) == "of-the-service"
    assert list(mistakes([push], found)) == []
    assert token_path(push, found) == credential
    credential.write_bytes(text if text != b"\xff" else b"")
    (told,) = mistakes([push], found)
    assert str(file) in told, "a person edits this file and not the credential"
    secret(file, "t")
    assert token_path(push, found) == file


def test_a_token_in_place_of_its_file_is_not_logged(credential: Path) -> None:
    """The configuration is valid, because the service has a credential."""
    push = PushConfig(url=URL, token_file="do-not-show-me")
    assert list(mistakes([push], environ(credential))) == []
    with capture_logs() as logs:
        assert value(token_of(push, environ(credential))) == "of-the-service"
    assert [entry["event"] for entry in logs] == ["secret_unusable"]
    assert "do-not-show-me" not in repr(logs)
