"""Secrets that may be rotated while the agent runs: read again when their file changes, hidden in every repr.

Where the token comes from: `token_file` where the agent may read it, else the systemd credential, else `token` in the
configuration. A credential is a copy that the service manager makes when the service starts; a rotation of the
original does not show in it, so that the original is better where it is readable. After a 401 all are read again, and
the next is tried if it differs. Where the service's user may not read the original (root's own file), a rotation takes
a restart of the service.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import structlog
from pydantic import SecretStr

from agent.config.credentials import credential_file
from agent.config.loader import PushConfig

log = structlog.get_logger(__name__)

_NOTHING = SecretStr("")


class SecretFile:
    """The text of a file as it stands now; while it cannot be read, or is empty, the last one stays in force."""

    def __init__(self, path: Path, event: str, *, quiet: bool = False) -> None:
        """`event` is logged when the secret was rotated; a `quiet` one need not be readable."""
        self.path = path
        self._event = event
        self._seen: tuple[int, int, int] | None = None
        self._value = _NOTHING
        self._complained = quiet

    def __repr__(self) -> str:
        return f"SecretFile({str(self.path)!r}, hidden)"

    def value(self) -> SecretStr:
        try:
            status = self.path.stat()
            seen = (status.st_mtime_ns, status.st_ino, status.st_size)
            if seen != self._seen:
                self._take(self.path.read_text(encoding="utf-8-sig").strip())
                self._seen = seen
        except (OSError, UnicodeDecodeError) as error:
            self._complain("cannot be read", type(error).__name__)
        return self._value

    def forget(self) -> None:
        """Read the file the next time even if it looks the same."""
        self._seen = None

    def _take(self, text: str) -> None:
        if not text:
            self._complain("is empty", "")
            return
        self._complained = False
        warn_if_open(self.path)
        if text != self._value.get_secret_value():
            if self._value is not _NOTHING:
                log.info(self._event, path=str(self.path))
            self._value = SecretStr(text)

    def _complain(self, problem: str, reason: str) -> None:
        (log.debug if self._complained else log.warning)(
            "secret_unusable", path=str(self.path), problem=problem, reason=reason
        )
        self._complained = True


class Token:
    """The bearer token: from the service manager, a file or the configuration."""

    def __init__(self, config: PushConfig, environ: Mapping[str, str]) -> None:
        paths = [path for path in (config.token_file, credential_file(environ)) if path is not None]
        self._files = [SecretFile(path, "token_rotated", quiet=len(paths) > 1) for path in paths]
        self._fixed = SecretStr(config.token.get_secret_value().strip()) if config.token is not None else _NOTHING
        self._refused = _NOTHING

    def __repr__(self) -> str:
        return "Token(hidden)"

    def value(self) -> SecretStr:
        """The token as it stands now; empty when there is none."""
        return next((value for value in self._values() if value != self._refused), self._refused)

    def refused(self, token: SecretStr) -> SecretStr:
        """The receiver did not take this one: what to use from now on, the same if there is no other."""
        for file in self._files:
            file.forget()
        others = [value for value in self._values() if value != token]
        self._refused = token if others else _NOTHING
        return others[0] if others else token

    def _values(self) -> list[SecretStr]:
        """All there are, the best first."""
        values = [file.value() for file in self._files]
        return [value for value in values if value != _NOTHING] or [self._fixed]


def open_to_all(path: Path) -> bool:
    """Whether everybody on this machine can read the file."""
    try:
        return bool(path.stat().st_mode & 0o004)
    except OSError:
        return False  # whoever reads the file says so


def warn_if_open(path: Path) -> None:
    """Say it when everybody on this machine can read what is secret."""
    if open_to_all(path):
        log.warning("secret_world_readable", path=str(path), remedy=f"chmod o-r {path}")
