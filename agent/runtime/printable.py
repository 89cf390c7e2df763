"""Makes foreign text safe to show on a terminal, in the log and in the status line of the service manager. Pure.

The text of a file, a device or a peer can have escape sequences that control a terminal, characters that change the
direction of the text, and any length. Code that shows such a text calls `printable`. The log escapes and shortens its
texts itself (`agent.runtime.logging_setup`).
"""

from __future__ import annotations

from collections.abc import Sequence

MOST = 500
"""Largest number of characters of one line."""
MOST_OUTPUT = 2000
"""As `MOST`, for the output of a command: one line can name many devices."""
_MOST_MISTAKES = 100


def printable(text: str, most: int = MOST) -> str:
    r"""Return `text` as one line of at most `most` characters. `most` must be at least 3.

    A character that is not printable (`str.isprintable`) becomes an escape as in TOML, such as `\u001b`. The middle of
    a longer text is removed, because an error text begins with the place and ends with the reason.
    """
    if len(text) > most:
        text = f"{text[:most]}…{text[-most:]}"  # the middle is not shown, and escaping megabytes is slow
    return shortened(escaped(text), most)


def complaints(lines: Sequence[str]) -> str:
    """Return the first hundred mistakes as text for standard error, one line each, and the number of the others."""
    shown = [*lines[:_MOST_MISTAKES]]
    if len(lines) > _MOST_MISTAKES:
        shown.append(f"and {len(lines) - _MOST_MISTAKES} more")
    return "".join(printable(f"telemetry-agent: {line}") + "\n" for line in shown)


def escaped(text: str) -> str:
    """Return the whole `text`, with escapes instead of characters that are not printable."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escape(each) for each in text)


def shortened(text: str, most: int = MOST) -> str:
    """Return `text`, without its middle if it is longer than `most` characters. `most` must be at least 3."""
    if len(text) <= most:
        return text
    tail = most // 3
    return f"{text[: most - tail - 1]}…{text[-tail:]}"


def _escape(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x1_0000 else f"\\U{number:08x}"
