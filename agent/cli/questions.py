"""Asks the person at the terminal. Without a terminal, each line of standard input is one answer."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import typer

from agent.cli import menu
from agent.cli.common import complain, fail, say
from agent.runtime import wrapped

_NO_ANSWER = "no answer; nothing was written. For a script: --yes and options, see `telemetry-agent init --help`"

Value = TypeVar("Value")
Check = Callable[[str], str | None]
"""Returns what is wrong with an answer, or None."""


class Questions:
    """Asks questions. With `yes`, only `secret` asks; `text`, `choice` and `agree` return the default."""

    def __init__(self, *, yes: bool) -> None:
        self._yes = yes

    @property
    def asks(self) -> bool:
        """Whether `text`, `choice` and `agree` ask."""
        return not self._yes

    def text(self, question: str, option: str, default: str | None = None, check: Check = lambda _: None) -> str:
        """Return a text that `check` accepts. With `yes`, return the default without this check.

        `option` is the command-line option for the same answer. If `default` is None, an answer is necessary. With
        `yes`, the command then ends with the usage error that `option` is missing.
        """
        if self._yes:
            if default is None:
                fail(f"--yes: {option} is missing", 2)
            return default
        shown = f" [{default}]" if default else ""
        while True:
            answer = _line(f"{question}{shown}: ").strip() or default
            if answer is None:
                mistake: str | None = "an answer is necessary"
            else:
                mistake = check(answer)
            if answer is not None and mistake is None:
                return answer
            complain(str(mistake))

    def secret(self, question: str, check: Check) -> str:
        """Return a text that `check` accepts. A terminal does not show it. The person is asked even with `yes`."""
        while True:
            if sys.stdin.isatty():
                answer = _line(f"{question} (not shown): ", read=getpass.getpass).strip()
            else:
                answer = _line(f"{question}: ").strip()
            if (mistake := check(answer)) is None:
                return answer
            complain(mistake)

    def choice(self, question: str, choices: Sequence[tuple[Value, str]], default: Value) -> Value:
        """Return one of the values. `choices` are (value, text).

        If the terminal can show a menu, the person selects the value in it. Otherwise the person enters the number of
        the value or the beginning of its text.
        """
        if self._yes:
            return default
        say(question)
        usual = next(number for number, (value, _) in enumerate(choices, 1) if value == default)
        if menu.terminal_shows(len(choices)):
            try:
                return choices[menu.select_row([words for _, words in choices], usual - 1)][0]
            except menu.EndOfInputError:
                fail(_NO_ANSWER, 2)
        for number, (_, words) in enumerate(choices, 1):
            say(f"  {number}  {words}")
        while True:
            answer = _line(f"Number [{usual}]: ").strip().lower()
            if not answer:
                return default
            chosen = [
                value
                for number, (value, words) in enumerate(choices, 1)
                if answer == str(number) or (not answer.isdecimal() and words.lower().startswith(answer))
            ]
            if len(chosen) == 1:
                return chosen[0]
            complain(f"must be a number from 1 to {len(choices)}")

    def agree(self, question: str, *, default: bool, at_end: bool | None = None) -> bool:
        """Return the answer to a yes-or-no question: True for yes.

        If the input has ended, the answer is `at_end`. But if `at_end` is None, the end of the input ends the command,
        with the message that nothing was written. So use None only before a file is written.
        """
        if self._yes:
            return default
        while True:
            answer = _line(f"{question} [{'Y/n' if default else 'y/N'}]: ", None if at_end is None else "ny"[at_end])
            answer = answer.strip().lower()
            if not answer:
                return default
            if answer in ("y", "yes", "n", "no"):
                return answer[0] == "y"
            complain("must be y or n")


def _line(prompt: str, at_end: str | None = None, read: Callable[[str], str] = input) -> str:
    """Return a line of the input. At the end of the input, return `at_end`; if it is None, end the command."""
    *before, last = wrapped(prompt.rstrip(), sys.stdout).split("\n")
    for line in before:
        typer.echo(line)
    try:
        return read(f"{last} ")
    except EOFError:
        say("")  # so that the next output begins on a new line
        if at_end is not None:
            return at_end
        fail(_NO_ANSWER, 2)
    except KeyboardInterrupt:
        say("")
        raise
