"""A menu in the terminal: the arrow keys move the selection, Enter accepts it. No library is needed."""

from __future__ import annotations

import os
import re
import select
import shutil
import sys
import termios
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from agent.runtime import printable

_HINT = "Arrow keys or number, then Enter: "
_ESCAPE, _END_OF_INPUT = "\x1b", "\x04"
_ESCAPE_S = 0.05
"""Seconds to wait for each byte after Escape. An arrow key sends several bytes at once, the Escape key sends one."""
# The codes of keys, without the escape character.
_UP, _DOWN = ("[A", "OA", "k"), ("[B", "OB", "j")
_HOME, _END = ("[H", "OH", "[1~"), ("[F", "OF", "[4~")


class EndOfInputError(Exception):
    """Ctrl-D was pressed, or the terminal is gone."""


@dataclass(slots=True)
class Selection:
    """The rows of the menu, and which one is selected. Pure."""

    labels: Sequence[str]
    at: int = 0
    """Index of the selected row."""
    typed: str = ""
    """The digits of the row number that is being typed."""

    def press(self, key: str) -> None:
        """Apply a key: arrow up, k (up), arrow down, j (down), Home, End, a digit of a row number, or a first letter.

        A first letter selects the next row whose label begins with it. k and j never count as a first letter. Any other
        key keeps the selected row.
        """
        last = len(self.labels) - 1
        number = self.typed + key if key.isdecimal() and key.isascii() else ""
        self.typed = ""
        if number:
            # If no row has the longer number, the digit begins a new one.
            number = number if self._is_row(number) else key
            if self._is_row(number):
                self.typed, self.at = number, int(number) - 1
        elif key in _UP:
            self.at = self.at - 1 if self.at else last
        elif key in _DOWN:
            self.at = self.at + 1 if self.at < last else 0
        elif key in _HOME:
            self.at = 0
        elif key in _END:
            self.at = last
        elif key:
            order = [*range(self.at + 1, last + 1), *range(self.at + 1)]
            self.at = next((row for row in order if self.labels[row].lower().startswith(key.lower())), self.at)

    def _is_row(self, number: str) -> bool:
        return 1 <= int(number) <= len(self.labels)

    def lines(self, width: int) -> list[str]:
        """Return the rows and the hint below them, as lines of at most `width` characters."""
        rows = [f"{'>' if row == self.at else ' '} {row + 1}  {text}" for row, text in enumerate(self.labels)]
        return [printable(row)[:width] for row in [*rows, _HINT + str(self.at + 1)]]


def terminal_shows(count: int) -> bool:
    """Whether input and output are a terminal that can redraw a menu of `count` rows."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "dumb") == "dumb":
        return False
    return count + 2 <= _size().lines


def select_row(labels: Sequence[str], usual: int) -> int:
    """Return the index of the row that the person selects. Raises EndOfInputError.

    `usual` is the index of the row that is selected at first.
    """
    selection = Selection(labels, usual)
    fd = sys.stdin.fileno()
    with _single_keys(fd):
        _draw(selection, 0)
        while (key := _key(fd)) not in ("\n", "\r"):
            if key in ("", _END_OF_INPUT):
                _write("\n")
                raise EndOfInputError
            selection.press(key.removeprefix(_ESCAPE))
            _draw(selection, len(labels))
        _write("\n")
    return selection.at


def _draw(selection: Selection, up: int) -> None:
    """Draw the menu over the line of the cursor and the `up` lines above it."""
    lines = selection.lines(_size().columns - 1)
    _write((f"\x1b[{up}A" if up else "") + "\r" + "\n".join(f"{line}\x1b[K" for line in lines))


def _size() -> os.terminal_size:
    """Return the size that the terminal reports.

    LINES and COLUMNS can be those of another terminal. They are used only if the terminal reports no size.
    """
    size = os.get_terminal_size(sys.stdout.fileno())
    return size if all(size) else shutil.get_terminal_size()


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _key(fd: int) -> str:
    """Read one key. For a key such as an arrow or Home, return Escape and a code, such as "[A".

    Return "" if the terminal is gone.
    """
    try:
        key = os.read(fd, 1).decode(errors="replace")
        while key.startswith(_ESCAPE) and not re.fullmatch(r"\x1b([\[O][0-9;]*[A-Za-z~]|[^\[O])", key):
            if not select.select([fd], [], [], _ESCAPE_S)[0] or not (more := os.read(fd, 1)):
                break
            key += more.decode(errors="replace")
    except OSError:
        return ""
    return key


@contextmanager
def _single_keys(fd: int) -> Iterator[None]:
    """Read keys without Enter and without echo. Ctrl-C still ends the command."""
    before = termios.tcgetattr(fd)
    now = termios.tcgetattr(fd)
    now[3] &= ~(termios.ICANON | termios.ECHO)
    now[6][termios.VMIN], now[6][termios.VTIME] = 1, 0
    termios.tcsetattr(fd, termios.TCSADRAIN, now)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
