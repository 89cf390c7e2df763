"""TOML files as people write them: whatever an editor put before the text, and mistakes with a hint at the remedy."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any


class TomlError(Exception):
    """The file is not TOML; the message says where and what to do, and quotes no value: it may be a secret."""


def read(path: Path) -> dict[str, Any]:
    """The table of the file. Raises TomlError, OSError, UnicodeDecodeError."""
    text = path.read_text(encoding="utf-8-sig")  # some editors mark UTF-8 with three bytes
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TomlError(_explained(str(error), text.splitlines())) from None


def _explained(message: str, lines: list[str]) -> str:
    place = re.search(r"at line (\d+)", message)
    number = int(place[1]) if place else len(lines)
    line = lines[number - 1] if 0 < number <= len(lines) else ""
    hint = _hint(message, line)
    return f"{message}{_key(line) if place else ''}{f'; {hint}' if hint else ''}"


def _key(line: str) -> str:
    """The beginning of the line, as far as it can be no secret."""
    found = re.match(r"\s*(\[\[?[^\[\]]+\]\]?|[\w.-]+(?=\s*=))", line)
    return f", {found[1]}" if found else ""


def _hint(message: str, line: str) -> str:
    if re.search("[\u2018-\u201e]", line):
        return 'quotes must be straight, as in "text"'
    if re.match(r"\s*[\w-]+\s*:", line):
        return 'this is YAML; TOML has [table] and key = "value"'
    return next((hint for words, hint in _HINTS.items() if words in message), "")


# What tomllib says → what a person does about it.
_HINTS = {
    "Invalid value": "texts stand in quotes; true and false are written small",
    "Cannot overwrite a value": "this key or table stands there twice",
    "twice": "this table stands there twice; put its keys under one heading",
    "Expected '='": 'a line is key = "value", [table] or a # comment',
    "Unterminated string": "a quote is missing at the end of a text",
    "Illegal character": "a quote is missing at the end of a text",
    "Unescaped '\\'": r"in double quotes a backslash is written \\; single quotes take it as it is",
    "Invalid hex value": r"in double quotes a backslash is written \\; single quotes take it as it is",
    "Expected newline": "after a value only a # comment may follow; a text stands in quotes, a number has no unit",
    "Expected ']": "a heading is [table] or [[device]]",
    "Unclosed array": "a ] is missing",
    "Unclosed inline table": "a } is missing",
}
