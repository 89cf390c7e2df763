"""The width of a terminal, and lines that are broken at words for it."""

from __future__ import annotations

import os
import re
from typing import TextIO

_IN_QUOTES = re.compile("`[^`]*`")
_KEPT = "\0"


def wrapped(line: str, stream: TextIO | None) -> str:
    """Return `line` with breaks between words if `stream` is a terminal that tells its width; else unchanged.

    A text in backquotes, such as a command to copy, is not broken, nor is a word that is longer than the terminal.
    """
    width = terminal_columns(stream)
    if not width or len(line) <= width:
        return line
    import textwrap

    kept = _IN_QUOTES.sub(lambda quoted: quoted[0].replace(" ", _KEPT), line)
    parts = textwrap.wrap(kept, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(parts).replace(_KEPT, " ")


def terminal_columns(stream: TextIO | None) -> int | None:
    """Return the width of a terminal; None if it is not known, or if `stream` is no terminal.

    COLUMNS of the environment is not used, because it can be that of another terminal.
    """
    try:
        if stream is not None and stream.isatty():
            return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        pass
    return None
