"""Warnings of `check` about files that the hardened service cannot read or write, and about missing credentials."""

from __future__ import annotations

import os
import pwd
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent import CONFIG_DIRECTORY, STATE_DIRECTORY
from agent.config import Config

USER = "telemetry-agent"
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - places that the service cannot use
"""ProtectHome= and PrivateTmp= of the unit hide these directories from the service."""
_DROP_INS = Path("/etc/systemd/system/telemetry-agent.service.d")
_CREDENTIAL = re.compile(r"\s*(Load|Set)Credential=([^:]+):(.*?)\s*")
"""The groups: the word Load or Set, the name of the credential, and its file (Load) or its value (Set)."""


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
        """Whether the user can read the file and enter every directory above it."""
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
    endpoints are not checked, because systemd gives the service a copy of each.

    Yield another sentence if the queue is outside the directory that the service can write to.
    """
    for path in dict.fromkeys((file, *_files(config))):
        if any(path.is_relative_to(place) for place in _HIDDEN):
            yield f"the service has no access to {path}: move it to {CONFIG_DIRECTORY}"
        elif not reader.reads(path):
            yield f"the service cannot read {path}: chown root:{USER} {path} && chmod 640 {path}"
    if not config.outbox.path.is_relative_to(STATE_DIRECTORY):
        yield f"outbox.path: the service can only write below {STATE_DIRECTORY} (found {config.outbox.path})"


def missing_credentials(folder: Path = _DROP_INS) -> Iterator[str]:
    """Yield a sentence for each credential whose file does not exist.

    Only the LoadCredential= lines in the drop-ins of the unit are checked. The file is not necessary if the same
    drop-in has a SetCredential= with that name.
    """
    for drop_in in sorted(folder.glob("*.conf")):
        try:
            lines = drop_in.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        replaced = {found[2] for line in lines if (found := _CREDENTIAL.fullmatch(line)) and found[1] == "Set"}
        for line in lines:
            found = _CREDENTIAL.fullmatch(line)
            if found is None or found[1] != "Load" or found[2] in replaced or Path(found[3]).exists():
                continue
            yield (
                f"{drop_in}: systemd does not start the service, because the file of the credential {found[2]} does not"
                f" exist: write the token into {found[3]}"
            )


def _files(config: Config) -> Iterator[Path]:
    tables = (*config.endpoints, *config.connection.values())
    files = [getattr(table, key) for table in tables for key in ("ca_file", "client_cert_file", "client_key_file")]
    files += [push.signing_secret_file for push in config.endpoints]
    files += [config.status.token_file if config.status is not None else None]
    yield from (path for path in files if path is not None)
    for folder in config.drivers.profile_dirs:
        yield from sorted(folder.glob("*.toml"))
