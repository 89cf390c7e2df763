"""Prints the manual page of the command, made from its own help: `python debian/manual.py SECONDS`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import typer

from agent import __version__
from agent.cli import app


def main() -> None:
    """Print the page in roff."""
    root = typer.main.get_command(app)
    date = datetime.fromtimestamp(int(sys.argv[1]), UTC)
    print(f'.TH TELEMETRY-AGENT 1 "{date:%Y-%m-%d}" "telemetry-agent {__version__}" "User Commands"')
    print(".SH NAME\ntelemetry\\-agent \\- push agent for the telemetry of an energy site")
    print(".SH SYNOPSIS\n.B telemetry\\-agent\n\\fICOMMAND\\fR [\\fIOPTION\\fR]...")
    print(f".SH DESCRIPTION\n{_escaped(root.help)}\n.SH COMMANDS")
    _commands(root, "telemetry-agent")
    print(".SH EXIT STATUS\n0 success, 1 failure or Ctrl\\-C, 2 usage error, 78 configuration error.")
    print(".SH FILES\n.I /etc/telemetry\\-agent/config.toml\n.br\n.I /var/lib/telemetry\\-agent")


def _commands(group: Any, path: str) -> None:
    for name, command in group.commands.items():
        if hasattr(command, "commands") and command.commands:
            _commands(command, f"{path} {name}")
        arguments = [each for each in command.params if each.param_type_name == "argument"]
        shown = " ".join([f"{path} {name}", *map(_argument, arguments)])
        print(f".SS {_escaped(shown)}\n{_escaped(command.help)}")
        for option in command.params:
            if option.param_type_name == "option" and not option.hidden and option.name != "help":
                names = _escaped(", ".join([*option.opts, *option.secondary_opts]))
                value = "" if option.is_flag else f" \\fI{_escaped(option.metavar)}\\fR"
                print(f".TP\n.B {names}{value}\n{_escaped(option.help)}")


def _argument(argument: Any) -> str:
    word = argument.metavar or argument.name.upper()
    return (word if argument.required else f"[{word}]") + ("..." if argument.nargs == -1 else "")


def _escaped(text: str | None) -> str:
    lines = (text or "").replace("\\", "\\\\").replace("-", "\\-").splitlines()
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in lines)


if __name__ == "__main__":
    main()
