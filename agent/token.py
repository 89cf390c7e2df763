"""Secrets that may be rotated while the agent runs: read again when their file changes, hidden in every repr."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import structlog
from pydantic import SecretStr

from agent.config import PushConfig, token_path

log = structlog.get_logger(__name__)

_NOTHING = SecretStr("")


class SecretFile:
    """The text of a file as it stands now; while it cannot be read, or is empty, the last one stays in force."""

    def __init__(self, path: Path, event: str) -> None:
        """`event` is logged when the secret was rotated."""
        self.path = path
        self._event = event
        self._seen: tuple[int, int, int] | None = None
        self._value = _NOTHING
        self._complained = False
        self._warn_if_open()

    def __repr__(self) -> str:
        return f"SecretFile({str(self.path)!r}, hidden)"

    def value(self) -> SecretStr:
        try:
            status = self.path.stat()
            seen = (status.st_mtime_ns, status.st_ino, status.st_size)
            if seen != self._seen:
                self._take(self.path.read_text(encoding="utf-8").strip())
                self._seen = seen
            self._complained = False
        except (OSError, UnicodeDecodeError) as error:
            self._complain("cannot be read", type(error).__name__)
        return self._value

    def reread(self) -> SecretStr:
        """Read the file even if it looks the same."""
        self._seen = None
        return self.value()

    def _take(self, text: str) -> None:
        if not text:
            self._complain("is empty", "")
        elif text != self._value.get_secret_value():
            if self._value is not _NOTHING:
                log.info(self._event, path=str(self.path))
            self._value = SecretStr(text)

    def _complain(self, problem: str, reason: str) -> None:
        (log.debug if self._complained else log.warning)(
            "secret_unusable", path=str(self.path), problem=problem, reason=reason
        )
        self._complained = True

    def _warn_if_open(self) -> None:
        try:
            readable = self.path.stat().st_mode & 0o004
        except OSError:
            return  # `value` says it when it matters
        if readable:
            log.warning("secret_world_readable", path=str(self.path), remedy=f"chmod o-r {self.path}")


class Token:
    """The bearer token: from the configuration, the service manager or a file."""

    def __init__(self, config: PushConfig, environ: Mapping[str, str]) -> None:
        self._fixed = SecretStr(config.token.get_secret_value().strip()) if config.token is not None else None
        path = token_path(config, environ)
        self._file = SecretFile(path, "token_rotated") if self._fixed is None and path is not None else None

    def __repr__(self) -> str:
        return "Token(hidden)"

    def value(self) -> SecretStr:
        """The token as it stands now; empty when there is none."""
        if self._file is not None:
            return self._file.value()
        return self._fixed or _NOTHING

    def reread(self) -> SecretStr:
        """The receiver did not accept it: read the file again even if it looks the same."""
        return self._file.reread() if self._file is not None else self.value()


def usable(token: SecretStr) -> bool:
    """Whether the token can stand in a header: visible ASCII without blanks."""
    text = token.get_secret_value()
    return bool(text) and text.isascii() and text.isprintable() and " " not in text
