"""Secrets that may be rotated while the agent runs. When a file changes, its secret is read again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from stat import S_IROTH, S_ISREG
from typing import Any


class Secret:
    """A text that `repr` and `str` do not show."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def get_secret_value(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(hidden)"


_NOTHING = Secret("")


class SecretFile:
    """The text of a file. If the file cannot be read, is empty or breaks a rule, the last usable text stays in use."""

    def __init__(
        self, path: Path, event: str, mistake: Callable[[str], str | None] = lambda _: None, *, quiet: bool = False
    ) -> None:
        """`event` is logged when the secret changes. `mistake` returns the rule that a text breaks, or None.

        The first problem with the file is a warning. Later problems are logged at level debug until the file is usable
        again. With `quiet`, all problems are logged at level debug until the file is usable for the first time.
        """
        self.path = path
        self._event = event
        self._mistake = mistake
        self._seen: tuple[int, int, int] | None = None
        self._value = _NOTHING
        self._complained = quiet

    def __repr__(self) -> str:
        return f"SecretFile({str(self.path)!r}, hidden)"

    def value(self) -> Secret:
        """Return the last usable text of the file; an empty secret if there was none."""
        try:
            status = self.path.stat()
            seen = (status.st_mtime_ns, status.st_ino, status.st_size)
            if seen != self._seen:
                self._take(self.path.read_text(encoding="utf-8-sig").strip())
                self._seen = seen
        except (OSError, UnicodeDecodeError) as error:
            self.forget()  # so that the file counts as usable again even if it comes back unchanged
            self._complain("cannot be read", type(error).__name__)
        return self._value

    def forget(self) -> None:
        """Let the next call of `value` read the file, even if its size, time and inode are the same."""
        self._seen = None

    def _take(self, text: str) -> None:
        if not text:
            self._complain("is empty", "")
            return
        if (mistake := self._mistake(text)) is not None:
            self._complain(mistake, "")
            return
        self._complained = False
        warn_if_open(self.path)
        if text != self._value.get_secret_value():
            if self._value is not _NOTHING:
                log = _log()
                log.info(self._event, path=str(self.path))
            self._value = Secret(text)

    def _complain(self, problem: str, reason: str) -> None:
        path = "[not shown: it may be the secret itself]" if may_be_secret(self.path) else str(self.path)
        log = _log()
        (log.debug if self._complained else log.warning)("secret_unusable", path=path, problem=problem, reason=reason)
        self._complained = True


class Token:
    """The bearer token: that of the first file that has one, otherwise the fixed text.

    After a 401 (`refused`), all files are read again. If one of them has another token, that token is used.
    """

    def __init__(
        self,
        files: Iterable[Path],
        fixed: Secret | None = None,
        mistake: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        """`mistake` is as in `SecretFile`."""
        paths = list(files)
        self._files = [SecretFile(path, "token_rotated", mistake, quiet=len(paths) > 1) for path in paths]
        self._fixed = Secret(fixed.get_secret_value().strip()) if fixed is not None else _NOTHING
        self._refused = _NOTHING

    def __repr__(self) -> str:
        return "Token(hidden)"

    def value(self) -> Secret:
        """Return the current token; empty if there is none."""
        values = [value for file in self._files if (value := file.value()) is not _NOTHING] or [self._fixed]
        if self._refused is _NOTHING:
            return values[0]
        return next((value for value in values if value != self._refused), self._refused)

    def refused(self, token: Secret) -> Secret:
        """Report that the endpoint rejects `token`. Return the token to use next: another one, or `token` again."""
        for file in self._files:
            file.forget()
        self._refused = token
        other = self.value()
        if other == token:
            self._refused = _NOTHING
        return other


def may_be_secret(path: Path) -> bool:
    """Whether `path` may be the secret itself, written in place of its file: it is relative and does not exist."""
    return not path.is_absolute() and not os.path.exists(path)  # noqa: PTH110 - Path.exists fails for a long name


def open_to_all(path: Path) -> bool:
    """Whether every user of this machine can read the file. False for a special file such as /dev/null, and if the
    mode cannot be read."""
    try:
        mode = path.stat().st_mode
        return S_ISREG(mode) and bool(mode & S_IROTH)
    except OSError:
        return False  # the code that reads the file reports the error


def warn_if_open(path: Path) -> None:
    """Log a warning if every user of this machine can read the file."""
    if open_to_all(path):
        log = _log()
        log.warning("secret_world_readable", path=str(path), remedy=f"chmod o-r {path}")


def _log() -> Any:
    """Return the logger. The process that reads the configuration logs nothing, so it does not import structlog."""
    import structlog

    return structlog.get_logger(__name__)
