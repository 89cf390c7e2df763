"""Warnings of `check` about files that the hardened service cannot read or write, and about missing credentials."""

from __future__ import annotations

import os
import pwd
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent import CONFIG_DIRECTORY, STATE_DIRECTORY
from agent.config import Config, credential_of

USER = "telemetry-agent"
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - places that the service cannot use
"""ProtectHome= and PrivateTmp= of the unit hide these directories from the service."""
_UNIT = "telemetry-agent.service"
_UNIT_DIRECTORIES = tuple(Path(place, "systemd/system") for place in ("/etc", "/run", "/usr/local/lib", "/usr/lib"))
"""The directories of systemd units. A file replaces the files of the same name in later directories."""
_CREDENTIAL = re.compile(r"\s*(Load|Set)Credential(?:Encrypted)?\s*=\s*(?:([^:]+?)(?::(.+?))?)?\s*")
"""The groups: the word Load or Set, the name of the credential, and its file (Load) or its value (Set).

A line such as `LoadCredential=` has neither a name nor a file: systemd then resets the list. A line such as
`LoadCredential=push_token` has no file: systemd then searches for a file with the name of the credential. A group that
the line lacks is None."""
_BLANK = re.compile(r"(\s|\\[nrt])*")
"""A value of SetCredential= that is no token. The unit has such a value."""


@dataclass(frozen=True, slots=True)
class ServiceUser:
    """The user of the service and its groups."""

    uid: int
    groups: frozenset[int]
    gid: int | None = None
    """The main group of the user."""

    def may_access(self, path: Path, bit: int) -> bool:
        """Whether the mode of `path` allows access. True if the mode cannot be read.

        `bit`: 4 to read a file, 1 to enter a directory.
        """
        try:
            status = path.stat()
        except OSError:
            return True  # another check reports a missing file
        if status.st_uid == self.uid:
            return bool(stat.S_IMODE(status.st_mode) >> 6 & bit)
        shift = 3 if status.st_gid in self.groups else 0
        return bool(stat.S_IMODE(status.st_mode) >> shift & bit)

    def reads(self, path: Path) -> bool:
        return self.may_access(path, 4) and all(self.may_access(parent, 1) for parent in path.absolute().parents)


def service() -> ServiceUser | None:
    """Return the user of the service; None if it does not exist."""
    try:
        user = pwd.getpwnam(USER)
    except KeyError:
        return None
    return ServiceUser(user.pw_uid, frozenset(os.getgrouplist(USER, user.pw_gid)), user.pw_gid)


def unreadable_files(config: Config, file: Path, reader: ServiceUser) -> Iterator[str]:
    """Yield a sentence for each file that the service needs and cannot read.

    The files are the configuration `file`, the files that it names, and the site's own profiles. The token files of
    endpoints are omitted, because `unreadable_tokens` checks them. The files of disabled endpoints are omitted, because
    the service does not use them.

    Yield another sentence if the queue is outside the directory that the service can write to.
    """
    for path in dict.fromkeys((file, *_files(config))):
        if (found := _unreadable(path, reader)) is not None:
            yield f"{found.fault}: {found.remedy}"
    if not config.outbox.path.is_relative_to(STATE_DIRECTORY):
        yield f"outbox.path: the service can only write below {STATE_DIRECTORY} (found {config.outbox.path})"


def unreadable_tokens(
    config: Config, reader: ServiceUser, directories: Sequence[Path] = _UNIT_DIRECTORIES
) -> Iterator[str]:
    """Yield a sentence for each endpoint whose token file the service cannot read and that has no credential.

    Yield nothing if there is a file of the unit that this user cannot read, because it may have the credential.
    """
    credentials = _credentials(directories)
    if credentials is None:
        return
    for push in config.endpoints:
        name = credential_of(push)
        if push.token_file is None or credentials.has_token(name):
            continue
        if (found := _unreadable(push.token_file, reader)) is not None:
            yield (
                f"{found.fault}, and has no credential {name}: {found.remedy}; or add the line"
                f" LoadCredential={name}:{push.token_file.absolute()} below [Service] with"
                f" `systemctl edit {USER}`, then `systemctl restart {USER}`"
            )


def missing_credentials(directories: Sequence[Path] = _UNIT_DIRECTORIES) -> Iterator[str]:
    """Yield a sentence for each credential that a drop-in loads from a file that does not exist.

    A credential is omitted if SetCredential= in the unit or in a drop-in gives it a value that is not blank. The files
    of credentials that the unit itself loads are optional. Yield nothing if there is a file of the unit that this user
    cannot read, because it may give the value.
    """
    credentials = _credentials(directories)
    if credentials is None:
        return
    for name, (source, file) in credentials.files.items():
        if source.name == _UNIT or credentials.has_token(name):
            continue
        if name in credentials.values:
            effect = "systemd gives the service an empty token"
        else:
            effect = "systemd does not start the service"
        yield (
            f"{source}: {effect}, because the file of the credential {name} does not exist: write the token into {file}"
        )


@dataclass(frozen=True, slots=True)
class _Unreadable:
    fault: str
    remedy: str


def _unreadable(path: Path, reader: ServiceUser) -> _Unreadable | None:
    if any(path.is_relative_to(place) for place in _HIDDEN):
        return _Unreadable(f"the service has no access to {path}", f"move it to {CONFIG_DIRECTORY}")
    if not reader.reads(path):
        return _Unreadable(f"the service cannot read {path}", f"chown root:{USER} {path} && chmod 640 {path}")
    return None


@dataclass(frozen=True, slots=True)
class _Credentials:
    """The credentials of the unit and its drop-ins, by name."""

    files: dict[str, tuple[Path, str]]
    """Name → (the unit or drop-in with the LoadCredential= line, the file of the credential)."""
    values: dict[str, str]
    """Name → value in SetCredential=. systemd uses the value if the file of the credential does not exist."""

    def has_token(self, name: str) -> bool:
        if name in self.files and not _is_missing(self.files[name][1]):
            return True
        return not _BLANK.fullmatch(self.values.get(name, ""))


def _credentials(directories: Sequence[Path]) -> _Credentials | None:
    """Read the credentials from the unit and its drop-ins. Return None if this user cannot read one of these files."""
    try:
        texts = [(path, path.read_text(encoding="utf-8", errors="replace")) for path in _unit_files(directories)]
    except OSError:
        return None
    credentials = _Credentials({}, {})
    for source, text in texts:
        for found in filter(None, map(_CREDENTIAL.fullmatch, text.splitlines())):
            word, name, assigned = found.groups()
            if name is None:
                (credentials.files if word == "Load" else credentials.values).clear()
            elif word == "Load":
                credentials.files[name] = source, assigned or name
            elif assigned is not None:
                credentials.values[name] = assigned
    return credentials


def _unit_files(directories: Sequence[Path]) -> Iterator[Path]:
    """Yield the unit, then its drop-ins, in the order in which systemd applies them."""
    yield from [path for directory in directories if (path := directory / _UNIT).is_file()][:1]
    drop_ins = {path.name: path for each in reversed(directories) for path in (each / f"{_UNIT}.d").glob("*.conf")}
    yield from (drop_ins[name] for name in sorted(drop_ins))


def _is_missing(file: str) -> bool:
    """Whether the file of a credential does not exist.

    False if this user is not permitted to check. False for a path that is not absolute: systemd then starts the service
    without the file.
    """
    try:
        Path(file).stat()
    except FileNotFoundError:
        return Path(file).is_absolute()
    except OSError:
        return False
    return False


def _files(config: Config) -> Iterator[Path]:
    tables = (*config.endpoints, *config.connection.values())
    files = [getattr(table, key) for table in tables for key in ("ca_file", "client_cert_file", "client_key_file")]
    files += [push.signing_secret_file for push in config.endpoints]
    files += [config.status.token_file if config.status is not None else None]
    yield from (path for path in files if path is not None)
    for folder in config.drivers.profile_dirs:
        yield from sorted(folder.glob("*.toml"))
