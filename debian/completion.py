"""Prints the completion of the command, made from its own options: `python debian/completion.py bash|zsh|fish`.

The script is static: a TAB does not start Python, which takes a second on a small controller.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer

from agent.cli import app


@dataclass(frozen=True, slots=True)
class Command:
    """A command, or a group of commands with its own options."""

    path: str
    """The words after `telemetry-agent`, each with a space in front; empty for the command itself."""
    words: dict[str, str]
    """Sub-command or option → the first sentence of its help."""


def main() -> None:
    """Print the script."""
    commands = list(_commands(typer.main.get_command(app), ""))
    {"bash": _bash, "zsh": _zsh, "fish": _fish}[sys.argv[1]](commands)


def _commands(command: Any, path: str) -> Iterator[Command]:
    below = getattr(command, "commands", {})
    words = {name: _sentence(each.help) for name, each in below.items()}
    for parameter in command.params:
        if parameter.param_type_name == "option" and not parameter.hidden:
            words |= dict.fromkeys((*parameter.opts, *parameter.secondary_opts), _sentence(parameter.help))
    yield Command(path, words | {"--help": "Show the help."})
    for name, each in below.items():
        yield from _commands(each, f"{path} {name}")


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split()).partition(". ")[0].rstrip(".")


def _paths(commands: list[Command]) -> list[str]:
    return [shlex.quote(each.path) for each in commands if each.path]


def _bash(commands: list[Command]) -> None:
    patterns = " | ".join(_paths(commands))
    print("_telemetry_agent() {\n    local at= word found=")
    print('    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do')
    print(f'        case "$at $word" in {patterns}) at="$at $word" ;; esac\n    done')
    print('    case "$at" in')
    for each in commands:
        print(f"    {shlex.quote(each.path)}) found={shlex.quote(' '.join(each.words))} ;;")
    print('    esac\n    mapfile -t COMPREPLY < <(compgen -W "$found" -- "${COMP_WORDS[COMP_CWORD]}")\n}')
    print("complete -o default -F _telemetry_agent telemetry-agent")


def _zsh(commands: list[Command]) -> None:
    patterns = " | ".join(_paths(commands))
    print("#compdef telemetry-agent\nlocal at= word\nlocal -a found")
    print('for word in "${(@)words[2,CURRENT-1]}"; do')
    print(f'    case "$at $word" in ({patterns}) at="$at $word" ;; esac\ndone')
    print('case "$at" in')
    for each in commands:
        found = " ".join(shlex.quote(f"{word}:{text}") for word, text in each.words.items())
        print(f"({shlex.quote(each.path)}) found=({found}) ;;")
    print("esac\n_describe -o telemetry-agent found || _files")


def _fish(commands: list[Command]) -> None:
    print("function __telemetry_agent_at\n    set -l at ''\n    for word in (commandline -opc)[2..]")
    print(f'        if contains -- "$at $word" {" ".join(_paths(commands))}\n            set at "$at $word"')
    print('        end\n    end\n    test "$at" = "$argv[1]"\nend')
    for each in commands:
        condition = shlex.quote(f"__telemetry_agent_at {shlex.quote(each.path)}")
        for word, text in each.words.items():
            kind = f"-l {word[2:]}" if word.startswith("--") else f"-f -a {word}"
            print(f"complete -c telemetry-agent -n {condition} {kind} -d {shlex.quote(text)}")


if __name__ == "__main__":
    main()
