"""Breaks long lines at words for a terminal."""

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
    width = _columns(stream)
    if not width or len(line) <= width:
        return line
    import textwrap

    kept = _IN_QUOTES.sub(lambda quoted: quoted[0].replace(" ", _KEPT), line)
    parts = textwrap.wrap(kept, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(parts).replace(_KEPT, " ")


def _columns(stream: TextIO | None) -> int:
    """Return the width of a terminal; 0 if it is not known, or if `stream` is no terminal.

    COLUMNS of the environment is not used, because it can be that of another terminal.
    """
    try:
        return os.get_terminal_size(stream.fileno()).columns if stream is not None and stream.isatty() else 0
    except (OSError, ValueError):
        return 0
