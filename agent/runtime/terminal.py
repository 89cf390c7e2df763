"""The width of a terminal, and line breaks between words for this width."""

from __future__ import annotations

import os
import re
from typing import TextIO

_IN_QUOTES = re.compile("`[^`]*`")
_QUOTED_SPACE = "\0"
"""Replaces a space in backquotes while a line is wrapped, so that there is no break at this space."""


def wrapped(line: str, stream: TextIO | None) -> str:
    """Return `line` with breaks between words so that it fits the terminal `stream`.

    If the width is not known, the line is not changed. There is no break inside a word or inside a text in backquotes,
    such as a command to copy. So a line can stay longer than the width.
    """
    width = terminal_columns(stream)
    if not width or len(line) <= width:
        return line
    import textwrap

    kept = _IN_QUOTES.sub(lambda quoted: quoted[0].replace(" ", _QUOTED_SPACE), line)
    parts = textwrap.wrap(kept, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(parts).replace(_QUOTED_SPACE, " ")


def terminal_columns(stream: TextIO | None) -> int | None:
    """Return the width of a terminal in characters; None if it is not known, or if `stream` is no terminal.

    The variable COLUMNS of the environment is not used, because it can be the width of another terminal.
    """
    try:
        if stream is not None and stream.isatty():
            return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        pass
    return None
