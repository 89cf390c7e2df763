"""Reads a TOML table key by key. A mistake raises ProfileError with file, table, key and rule, and with the value if
the key is there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from drivers.errors import ProfileError

_WORDS = {str: "text", int: "a whole number", bool: "true or false", list: "a list", dict: "a table"}


@dataclass(slots=True)
class TomlTable:
    """One table. Call `done` after the last key."""

    content: dict[str, Any]
    where: str
    """The file and the table in it, for messages."""
    _taken: set[str] = field(default_factory=set)
    """The keys that the caller asked for, whether the table has them or not. The message about an unknown key lists
    them."""

    def wrong(self, key: str, rule: str, found: object) -> ProfileError:
        """Return the error for `key`, whose value `found` breaks `rule`."""
        return ProfileError(f"{self.where}: {key}: {rule} (found {_shown(found)})")

    def has(self, key: str) -> bool:
        return key in self.content

    def take(self, key: str, kind: type, default: Any = ...) -> Any:
        """Return the value of `key`, or `default` without this key. Without `default`, the key is required."""
        self._taken.add(key)
        if key not in self.content:
            if default is ...:
                raise ProfileError(f"{self.where}: {key}: is missing")
            return default
        value = self.content[key]
        if type(value) is not kind:  # not isinstance: for Python, true is also a whole number
            raise self.wrong(key, f"must be {_WORDS[kind]}", value)
        return value

    def text(self, key: str) -> str:
        value: str = self.take(key, str)
        if not value.strip():
            raise self.wrong(key, "must not be empty", value)
        return value

    def choice(self, key: str, allowed: Iterable[str], default: Any = ...) -> Any:
        value = self.take(key, str, default)
        if key in self.content and value not in (known := list(allowed)):
            raise self.wrong(key, f"must be one of {', '.join(known)}", value)
        return value

    def whole(self, key: str, low: int, high: int, default: Any = ...) -> Any:
        value = self.take(key, int, default)
        if key in self.content and not low <= value <= high:
            raise self.wrong(key, f"must be {low}..{high}", value)
        return value

    def number(self, key: str, default: float | None) -> Any:
        """Return a finite number as a float, or `default` without this key."""
        self._taken.add(key)
        if key not in self.content:
            return default
        value = self.content[key]
        if type(value) not in (int, float) or not isfinite(value):
            raise self.wrong(key, "must be a number", value)
        return float(value)

    def seconds(self, key: str) -> float | None:
        value: float | None = self.number(key, None)
        if value is not None and not 0 <= value <= 3600:
            raise self.wrong(key, "must be 0..3600 seconds", value)
        return value

    def some(self, key: str, kinds: tuple[type, ...], what: str, default: Any = ...) -> Any:
        """Return a list of at least one item; `default` without this key. Each item has one of the types `kinds`."""
        items = self.take(key, list, default)
        if key in self.content and (not items or any(type(item) not in kinds for item in items)):
            raise self.wrong(key, f"must be a list of {what}, not empty", items)
        return items

    def done(self) -> None:
        """Raise ProfileError for a key that was not read."""
        for key in self.content:
            if key in ("unit", "sign"):
                raise self.wrong(key, "is fixed by the quantity; a profile cannot set it", self.content[key])
            if key not in self._taken:
                raise self.wrong(key, f"unknown key; there are {', '.join(sorted(self._taken))}", self.content[key])


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
