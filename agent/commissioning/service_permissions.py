"""What the hardened service cannot reach although root can: for `check`, before the first start says so."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.config import Config

USER = "telemetry-agent"
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - named because they cannot be used
"""ProtectHome= and PrivateTmp= of the unit."""
_STATE = Path("/var/lib/telemetry-agent")


@dataclass(frozen=True, slots=True)
class ServiceUser:
    """Who reads: a user and its groups."""

    uid: int
    groups: frozenset[int]

    def may(self, path: Path, read: int) -> bool:
        """Whether the mode of `path` lets it; `read` is the bit for others, 4 to read and 1 to pass."""
        try:
            status = path.stat()
        except OSError:
            return True  # whoever needs the file says that it is not there
        if status.st_uid == self.uid:
            return bool(stat.S_IMODE(status.st_mode) >> 6 & read)
        shift = 3 if status.st_gid in self.groups else 0
        return bool(stat.S_IMODE(status.st_mode) >> shift & read)

    def reads(self, path: Path) -> bool:
        """The file, and every directory on the way to it."""
        return self.may(path, 4) and all(self.may(parent, 1) for parent in path.absolute().parents)


def service() -> ServiceUser | None:
    """The user of the service; None where there is none."""
    try:
        user = pwd.getpwnam(USER)
    except KeyError:
        return None
    return ServiceUser(user.pw_uid, frozenset(os.getgrouplist(USER, user.pw_gid)))


def out_of_reach(config: Config, file: Path, reader: ServiceUser) -> Iterator[str]:
    """A sentence for each file that the service needs and cannot reach: `file`, which is the configuration, and what it
    names. The token it gets from systemd at the worst.
    """
    for path in dict.fromkeys((file, *_files(config))):
        if any(path.is_relative_to(place) for place in _HIDDEN):
            yield f"the service does not see {path}: keep it in /etc/telemetry-agent"
        elif not reader.reads(path):
            yield f"the service may not read {path}: chown root:{USER} {path} && chmod 640 {path}"
    if not config.outbox.path.is_relative_to(_STATE):
        yield f"outbox.path: the service may write below {_STATE} alone (found {config.outbox.path})"


def _files(config: Config) -> Iterator[Path]:
    tables = (config.push, *config.connection.values())
    files = [getattr(table, key) for table in tables for key in ("ca_file", "client_cert_file", "client_key_file")]
    files += [config.push.signing_secret_file, config.status.token_file if config.status is not None else None]
    yield from (path for path in files if path is not None)
    for folder in config.drivers.profile_dirs:
        yield from sorted(folder.glob("*.toml"))
