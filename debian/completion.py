"""Prints the completion of the command, made from its own options: `python debian/completion.py bash|zsh|fish`.

The script is static: a TAB does not start Python, which takes a second on a small controller. It proposes the built-in
drivers, and the nodes of the configuration, which awk reads. It does not open what is no file, such as a pipe.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer

from agent import DEFAULT_CONFIG
from agent.cli import app
from drivers.catalogue import Catalogue

_NODES_AWK = r"""
/^[ \t]*\[/ { device = /^[ \t]*\[\[[ \t]*device[ \t]*\]\]/; nodes = /^[ \t]*\[[ \t]*device\.nodes[ \t]*\]/ }
(device && /^[ \t]*(node_id|nodes)[ \t]*=/) || (nodes && /=/) {
    sub(/^[^=]*=/, ""); sub(/[ \t]#.*/, "")
    while (match($0, /"[^"]*"/)) {
        print substr($0, RSTART + 1, RLENGTH - 2)
        $0 = substr($0, RSTART + RLENGTH)
    }
}
"""
_NODES = f"""_telemetry_agent_nodes() {{
    if [ -f "$1" ] && [ -r "$1" ]; then head -c 1000000 "$1" | awk '{_NODES_AWK}'; fi
}}"""
"""A function of the shell that prints the nodes of a configuration, one a line."""
_OF_DRIVERS = " drivers show"
"""The command whose argument is a driver."""


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
    print(_NODES)
    print(f"_telemetry_agent() {{\n    local at= before= word found= values= file={DEFAULT_CONFIG}")
    print('    local now="${COMP_WORDS[COMP_CWORD]}"\n    [ "$now" = = ] && now=')
    print('    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do\n        [ "$word" = = ] && continue')
    print('        [ "$before" = --config ] && file="${word/#\\~/$HOME}"')
    print(f'        case "$at $word" in {patterns}) at="$at $word" ;; esac\n        before="$word"\n    done')
    print('    case "$before" in\n    --node) values="$(_telemetry_agent_nodes "$file")" ;;')
    print(f"    --driver) values={_drivers()} ;;\n    esac")
    print(f'    [ "$at" = {shlex.quote(_OF_DRIVERS)} ] && values={_drivers()}')
    # Not `compgen -W`: it would execute a command in the name of a node.
    print("    COMPREPLY=()\n    while IFS= read -r word; do")
    print('        if [[ -n "$word" && "$word" == "$now"* ]]; then COMPREPLY+=("$(printf %q "$word")"); fi')
    print('    done <<<"$values"\n    [ -n "$values" ] && [[ "$now" != -* ]] && return\n    case "$at" in')
    for each in commands:
        print(f"    {shlex.quote(each.path)}) found={shlex.quote(' '.join(each.words))} ;;")
    print('    esac\n    mapfile -t COMPREPLY < <(compgen -W "$found" -- "$now")\n}')
    print("complete -o default -F _telemetry_agent telemetry-agent")


def _zsh(commands: list[Command]) -> None:
    patterns = " | ".join(_paths(commands))
    print(f"#compdef telemetry-agent\n{_NODES}")
    print(f"local at= word before= file={DEFAULT_CONFIG}\nlocal -a found values")
    print('for word in "${(@)words[2,CURRENT-1]}"; do\n    [ "$before" = --config ] && file="${word/#\\~/$HOME}"')
    print(f'    case "$at $word" in ({patterns}) at="$at $word" ;; esac\n    before="$word"\ndone')
    print('case "$before" in\n(--node) values=("${(@f)$(_telemetry_agent_nodes "$file")}") ;;')
    print(f'(--driver) values=("${{(@f)$(printf %s {_drivers()})}}") ;;\nesac')
    print(f'[ "$at" = {shlex.quote(_OF_DRIVERS)} ] && values=("${{(@f)$(printf %s {_drivers()})}}")')
    print('if [ -n "${values[1]-}" ] && [[ "$PREFIX" != -* ]]; then compadd -a values; return; fi\ncase "$at" in')
    for each in commands:
        found = " ".join(shlex.quote(f"{word}:{text}") for word, text in each.words.items())
        print(f"({shlex.quote(each.path)}) found=({found}) ;;")
    print("esac\n_describe -o telemetry-agent found || _files")


def _fish(commands: list[Command]) -> None:
    print("function __telemetry_agent_at\n    set -l at ''\n    for word in (commandline -opc)[2..]")
    print(f'        if contains -- "$at $word" {" ".join(_paths(commands))}\n            set at "$at $word"')
    print('        end\n    end\n    test "$at" = "$argv[1]"\nend')
    print(f"function __telemetry_agent_nodes\n    set -l file {DEFAULT_CONFIG}\n    set -l before ''")
    print('    for word in (commandline -opc)\n        test "$before" = --config; and set file $word')
    print('        set before $word\n    end\n    if test -f "$file" -a -r "$file"')
    print(f"        head -c 1000000 \"$file\" | awk '{_NODES_AWK}'\n    end\nend")
    values = {"--node": "-x -a '(__telemetry_agent_nodes)'", "--driver": f"-x -a {_drivers()}"}
    for each in commands:
        condition = shlex.quote(f"__telemetry_agent_at {shlex.quote(each.path)}")
        for word, text in each.words.items():
            kind = f"-l {word[2:]} {values.get(word, '')}" if word.startswith("--") else f"-f -a {word}"
            print(f"complete -c telemetry-agent -n {condition} {kind} -d {shlex.quote(text)}")
        if each.path == _OF_DRIVERS:
            print(f"complete -c telemetry-agent -n {condition} -f -a {_drivers()}")


def _drivers() -> str:
    """Return the built-in drivers as one quoted word, one name a line."""
    return shlex.quote("\n".join(Catalogue().names()))


if __name__ == "__main__":
    main()
