"""The commands of docs/operations.md and docs/troubleshooting.md on a clean Debian: what is printed is what happens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from tests.support.site import TOKEN
from tests.system.conftest import ETC, STATE, Site
from tests.system.debian import REPO
from tests.system.machine import eventually

pytestmark = pytest.mark.system

DOCS = REPO / "docs"


def commands(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """Section, command and the lines that it prints, of every console block; `…` stands for anything."""
    section, command, inside = "", "", False
    printed: list[str] = []
    for line in [*text.splitlines(), "```"]:
        if line.startswith("## "):
            section = line[3:]
        elif inside and (line.startswith("# ") or line == "```"):
            if command:
                yield section, command, printed
            command, printed = line[2:] if line != "```" else "", []
        elif inside:
            printed.append(line)
        if line.startswith("```"):
            inside = line == "```console"


def operations() -> str:
    """The page, with the repair of devices before its last section, which removes the service."""
    page = (DOCS / "operations.md").read_text(encoding="utf-8")
    before, last, after = page.rpartition("\n## Remove\n")
    return before + (DOCS / "troubleshooting.md").read_text(encoding="utf-8") + last + after


def test_everything_printed_is_true(site: Site) -> None:
    def another_controller() -> None:
        """As an installation leaves it."""
        site.machine.shell(f"rm -r {ETC} {STATE}; systemd-tmpfiles --create telemetry-agent.conf")

    # Where the reader edits a file or changes the machine.
    before: dict[str, Callable[[], object]] = {
        "telemetry-agent check": site.configure,
        "systemctl status --no-pager telemetry-agent": lambda: eventually(
            lambda: "last push" in site.property("StatusText"), "the status line"
        ),
        "tar -C / -xzf /root/site.tar.gz": another_controller,
    }
    sections = set()
    for section, command, printed in commands(operations()):
        sections.add(section)
        if prepare := before.get(command):
            prepare()
        output = site.machine.shell(command, typed=f"{TOKEN}\n")
        for line in printed:
            pattern = ".*".join(re.escape(part) for part in line.split("…"))
            assert re.search(f"(?m)^{pattern}$", output), f"{section}: {command}: no line {line!r} in\n{output}"
        if command.startswith("systemctl enable"):
            site.await_pushes()
    assert {
        "Install",
        "Rotate a token",
        "Move a site to another controller",
        "A device does not answer",
        "Remove",
    } <= sections
