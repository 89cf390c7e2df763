"""docs/quick-start.md is true: a person who types what it prints sees what it prints, in ten commands and answers."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tests.docs.transcript import Person, blocks, free_host

PAGE = (Path(__file__).parents[2] / "docs" / "quick-start.md").read_text(encoding="utf-8")
LOOPBACK = "127.0.0.1"


def test_the_page_leads_to_the_first_message_in_ten_commands_and_answers(tmp_path: Path) -> None:
    hidden = {"Token": "secret"}
    at_first_message = None
    with free_host(1502, 8080) as host:
        here = f"--host {host}"
        person = Person(tmp_path, {LOOPBACK: host}, hidden, {"simulate": here, "receive": here, "run": ""})
        with contextlib.closing(person):
            for language, text in blocks(PAGE):
                if language == "console":
                    person.console(text)
                else:
                    person.text("receive", text)
                    at_first_message = person.effort
            assert at_first_message == 10
            assert "stopped" in person.stop("run")
            assert " 0 refused, 0 late" in person.stop("receive")
