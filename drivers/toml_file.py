"""Reads TOML files that people edit. For common mistakes, the message says how to correct them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

_MAX_BYTES = 1 << 20
_MAX_DEPTH = 32
_INTEGER_LIMIT = 1 << 128
"""The absolute value of each integer in a file must be less than this. A register value never needs more."""
_TOO_LARGE = "a number has too many digits"
_TOO_DEEP = f"it is nested more than {_MAX_DEPTH} levels deep"
# One part of a dotted key, with the dot after it. The part may be quoted.
_STEP = r"""(?>(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*)"""
# A long key (the group `key`). Texts and comments match too, without the group, so that no key is found inside them.
_LONG_KEY = re.compile(
    rf"""(?P<key>(?<![\w-]){_STEP}{{{_MAX_DEPTH + 1}}})"""
    r"""|\"{3}(?:\\.|[^\\])*?\"{3}|'{3}.*?'{3}|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|\#[^\n]*""",
    re.DOTALL,
)


class TomlError(Exception):
    """The file is not TOML, or exceeds a limit of this module.

    The message of a syntax error says where the error is: line and column, or the end of the file. For common mistakes,
    it also has a hint. It never contains a value of the file, because a value may be a secret.
    """

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(f"{problem}; {hint}" if hint else problem)
        self.problem = problem
        """The message, without the hint."""


def read(path: Path) -> dict[str, Any]:
    """Return the table of the file. Raises TomlError, OSError, UnicodeDecodeError."""
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise TomlError(f"it is larger than {_MAX_BYTES >> 20} MiB")
    return parse(content.decode("utf-8-sig"))  # some editors write a byte order mark


def parse(text: str) -> dict[str, Any]:
    """Return the table of a TOML text.

    Raises TomlError if the text is not TOML, if tables and lists are nested more than `_MAX_DEPTH` levels deep, or if
    an integer reaches `_INTEGER_LIMIT`.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    # tomllib needs hours for a dotted key with a million parts. To count the dots first is faster than the search.
    dots = max(line.count(".") for line in text.split("\n"))
    if dots > _MAX_DEPTH and any(found["key"] for found in _LONG_KEY.finditer(text)):
        raise TomlError(_TOO_DEEP)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _explained(str(error), text.split("\n")) from None
    except RecursionError:
        raise TomlError(_TOO_DEEP) from None
    except ValueError:  # Python limits the digits of an integer
        raise TomlError(_TOO_LARGE) from None
    _require_bounds(table)
    return table


def _require_bounds(table: dict[str, Any]) -> None:
    """Raise TomlError if the table exceeds `_MAX_DEPTH`, or an integer reaches `_INTEGER_LIMIT`."""
    level: list[Any] = [table]
    for _ in range(_MAX_DEPTH):
        items = [item for each in level for item in (each.values() if isinstance(each, dict) else each)]
        if any(isinstance(item, int) and abs(item) >= _INTEGER_LIMIT for item in items):
            raise TomlError(_TOO_LARGE)
        level = [item for item in items if isinstance(item, dict | list)]
    if level:
        raise TomlError(_TOO_DEEP)


def _explained(message: str, lines: list[str]) -> TomlError:
    place = re.search(r"at line (\d+)", message)
    number = int(place[1]) if place else len(lines)
    line = lines[number - 1] if 0 < number <= len(lines) else ""
    named = _key(line) if place and _is_toml("\n".join(lines[: number - 1])) else ""
    return TomlError(f"{message}{named}", _hint(message, line))


def _is_toml(text: str) -> bool:
    """Whether `text` is TOML. If so, the line after it begins with a key or a heading, and is not inside a value."""
    try:
        tomllib.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _key(line: str) -> str:
    """Return the key or heading of the line, but not the value, which may be a secret.

    A key must have a value after its equals sign, so a line of base64 that ends with equals signs is not returned.
    """
    found = re.match(r"\s*(\[\[?[\w. \t-]+\]\]?|[\w.-]+(?=\s*=\s*[^=\s]))", line)
    return f", {found[1]}" if found else ""


def _hint(message: str, line: str) -> str:
    if re.search("[\u2018-\u201e]", line):
        return 'quotes must be straight, as in "text"'
    if re.match(r"\s*[\w-]+\s*:", line):
        return 'this is YAML; TOML has [table] and key = "value"'
    return next((hint for words, hint in _HINTS.items() if words in message), "")


# Part of a message of tomllib → hint.
_HINTS = {
    "Invalid value": "a text needs quotes; true and false are lower case",
    "Cannot overwrite a value": "this key or table is defined twice",
    "twice": "this table is defined twice; put its keys under one heading",
    "Expected '='": 'a line is key = "value", [table] or a # comment',
    "Unterminated string": "a quote is missing at the end of a text",
    r"Illegal character '\n'": "a quote is missing at the end of a text",
    "Unescaped '\\'": r"in double quotes write \\ for a backslash; in single quotes write \ ",
    "Invalid hex value": r"in double quotes write \\ for a backslash; in single quotes write \ ",
    "Expected newline": "after a value only a # comment may follow; a text needs quotes, a number has no unit",
    "Expected ']": "a heading is [table] or [[device]]",
    "Unclosed array": "a ] is missing",
    "Unclosed inline table": "a } is missing",
}
