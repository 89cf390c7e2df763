"""The bearer token: from the configuration, a file or the service manager; never in a repr."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import structlog

from agent.config import PushConfig, credential_file

log = structlog.get_logger(__name__)


class Token:
    """Reads the token again whenever its file has changed, so that a rotation needs no restart."""

    def __init__(self, config: PushConfig, environ: Mapping[str, str]) -> None:
        self._fixed = config.token.get_secret_value().strip() if config.token is not None else None
        self._file: Path | None = None
        if self._fixed is None:
            self._file = credential_file(environ) or config.token_file
        self._seen: tuple[int, int] | None = None
        self._value = self._fixed or ""
        if self._file is not None and self._file == config.token_file:
            self._warn_if_open(self._file)

    def __repr__(self) -> str:
        return "Token(hidden)"

    def value(self) -> str:
        """The token as it stands now. A file that cannot be read leaves the last one in force."""
        if self._file is None:
            return self._value
        try:
            status = self._file.stat()
            seen = (status.st_mtime_ns, status.st_ino)
            if seen != self._seen:
                self._take(self._file.read_text(encoding="utf-8").strip())
                self._seen = seen
        except (OSError, UnicodeDecodeError) as error:
            log.warning("token_unreadable", path=str(self._file), reason=type(error).__name__)
        return self._value

    def forget(self) -> None:
        """The receiver did not accept it: read the file again even if it looks the same."""
        self._seen = None

    def _take(self, value: str) -> None:
        if value and value != self._value:
            if self._value:
                log.info("token_rotated", path=str(self._file))
            self._value = value

    @staticmethod
    def _warn_if_open(path: Path) -> None:
        try:
            if path.stat().st_mode & 0o004:
                log.warning("token_file_world_readable", path=str(path), remedy=f"chmod o-r {path}")
        except OSError:
            pass  # `value` says it when it matters
