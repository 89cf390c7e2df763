"""Formats `--help`: each command with its whole summary, each option with a word instead of the Python type of its
value, and each argument without its type."""

from __future__ import annotations

import re
from typing import Any

import typer.core

_WORDS = {
    "--base-port": "PORT",
    "--baudrate": "BAUD",
    "--driver": "NAME",
    "--host": "ADDRESS",
    "--interval": "SECONDS",
    "--log-format": "FORMAT",
    "--node": "NODE",
    "--parity": "LETTER",
    "--port": "PORT",
    "--pushes": "COUNT",
    "--range": "RANGE",
    "--search": "TEXT",
    "--seed": "NUMBER",
    "--site": "ID",
    "--speed": "FACTOR",
    "--timeout": "SECONDS",
    "--token": "TEXT",
    "--transport": "NAME",
    "--unit": "ID",
    "--units": "IDS",
}
"""Option → the word for its value. Any other option that has a value and no `metavar` gets the word FILE."""
_TYPE = re.compile(r" <[^>]*>(\.\.\.)?$")
"""The type after the name of an argument in its help."""


class FullHelp(typer.core.TyperGroup):
    """A group of commands whose help is formatted as this module says."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for command in (self, *self.commands.values()):
            for parameter in command.params:
                _name_value(parameter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        rows = [(name, _summary(each.help)) for name, each in self.commands.items() if not each.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _name_value(parameter: Any) -> None:
    if parameter.param_type_name == "option":
        if parameter.metavar is None and not parameter.is_flag:
            parameter.metavar = next((_WORDS[each] for each in parameter.opts if each in _WORDS), "FILE")
        return
    with_type = parameter.get_help_record

    def record(ctx: Any) -> tuple[str, str] | None:
        found = with_type(ctx)
        return None if found is None else (_TYPE.sub("", found[0]), found[1])

    parameter.get_help_record = record


def _summary(text: str | None) -> str:
    """Return the first paragraph of a help text as one line."""
    return " ".join((text or "").split("\n\n")[0].split())
