"""README.md is short, and its five commands do what it prints, with the laboratory in place of a site."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tests.docs.transcript import Person, blocks, free_network
from tests.support.lab import lab
from tests.support.site import TOKEN, Endpoint

PAGE = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
URL = "https://telemetry.example.com/v1/sites"


def test_it_has_at_most_150_lines() -> None:
    assert len(PAGE.splitlines()) <= 150


def test_five_commands_lead_from_a_device_to_delivered_messages(tmp_path: Path) -> None:
    (block,) = [text for language, text in blocks(PAGE) if language == "console" and "init" in text]
    assert block.count("\n$ ") + 1 == 5
    with free_network(1502) as network, Endpoint() as endpoint, lab(f"{network}20", 1502):
        names = {"192.168.1.": network, URL: endpoint.url}
        person = Person(tmp_path, names, {"Token": TOKEN}, {"run": ""})
        init, more = block[: block.index("\n$ ") + 1], block[block.index("\n$ ") + 1 :]
        with contextlib.closing(person):
            person.console(init)
            assert [verdict.problems for verdict, _ in endpoint.verdicts] == [()]
            assert person.effort + 1 <= 10, "with the installation"
            person.console(more)
            assert "stopped" in person.stop("run")
        assert [verdict.problems for verdict, _ in endpoint.verdicts] == [()] * 3, "init, push --once, run"
