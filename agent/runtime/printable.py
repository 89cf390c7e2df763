"""Text from outside, safe to show: on a terminal, in the log, in the service manager's status line. Pure.

A file, a device or a peer can hold escape sequences that act on a terminal, marks that reorder what is read, and texts
of any length. Whatever shows such a text passes it through `printable`.
"""

from __future__ import annotations

MOST = 500
"""Characters of one line."""


def printable(text: str, most: int = MOST) -> str:
    r"""`text` on one line of at most `most` characters.

    A character that is not printable (control, format, surrogate, unassigned) becomes its escape, as in `\u001b`: JSON
    and TOML read it back. A longer text loses its middle, because a message says at its beginning where and at its end
    why.
    """
    if len(text) > most:
        text = f"{text[:most]}…{text[-most:]}"  # nothing else of it can be shown: do not escape megabytes
    if not text.isprintable():
        text = "".join(each if each.isprintable() else _escape(each) for each in text)
    return shortened(text, most)


def shortened(text: str, most: int = MOST) -> str:
    """`text` without its middle where it is longer than `most` characters."""
    if len(text) <= most:
        return text
    tail = most // 3
    return f"{text[: most - tail - 1]}…{text[-tail:]}"


def _escape(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x1_0000 else f"\\U{number:08x}"
