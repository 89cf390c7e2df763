"""What is said about a configuration that cannot be used."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ConfigError(Exception):
    """The configuration cannot be used; `lines` holds one message per mistake."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def did_you_mean(name: str, known: Iterable[object]) -> str:
    """The known name that was probably meant, as the end of a message; empty when none is close."""
    close = get_close_matches(name, [str(key) for key in known], 1)
    return f"; did you mean {close[0]!r}?" if close else ""
