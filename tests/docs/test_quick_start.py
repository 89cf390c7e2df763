"""docs/quick-start.md is true: a person who types what it prints sees what it prints, in ten commands and answers."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.transcript import Terminal, blocks

PAGE = (Path(__file__).parents[2] / "docs" / "quick-start.md").read_text(encoding="utf-8")
LOOPBACK = "127.0.0.1"
PORTS = (1502, 8080)
QUESTIONS = {
    "Site id": "",
    "URL of": "",
    "Token of": "secret",  # not shown
    "Number": "",
    "Power of": "",
    "Send one": "",
}
"""The beginning of each question, and the answer where the page does not show it."""
SERVERS = ("simulate", "receive")


@pytest.fixture(scope="module")
def host() -> str:
    """An address of this machine as long as 127.0.0.1, whose ports of the page are free."""
    for number in range(111, 1000):
        host = ".".join(("127", *str(number)))
        try:
            for port in PORTS:
                with socket.socket() as probe:
                    probe.bind((host, port))
        except OSError:
            continue
        return host
    raise RuntimeError("no free address on the loopback network")


@pytest.fixture
def terminals() -> Iterator[dict[str, Terminal]]:
    """The terminals of the person, by the command."""
    found: dict[str, Terminal] = {}
    yield found
    for terminal in found.values():
        terminal.kill()


def test_the_page_leads_to_the_first_message_in_ten_commands_and_answers(
    host: str, terminals: dict[str, Terminal], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    names = {LOOPBACK: host, "/home/me": str(home)}
    effort, at_first_message = 0, None
    for language, text in blocks(PAGE):
        if language == "text":
            terminals["receive"].follow(text, QUESTIONS)
            at_first_message = effort
            continue
        assert language == "console"
        command, _, printed = text.removeprefix("$ ").partition("\n")
        name = command.split()[1]
        here = f"{command} --host {LOOPBACK}" if name in SERVERS else command
        terminal = terminals[name] = Terminal(here, home, names)
        effort += 1 + terminal.follow(printed, QUESTIONS)
    assert at_first_message == 10
    terminals["run"].interrupt()
    rest, _ = terminals["run"].end()
    assert "stopped" in rest
    assert not re.search(r"\[(warning|error)", rest)
    terminals["receive"].interrupt()
    rest, _ = terminals["receive"].end()
    assert " 0 refused, 0 late" in rest
