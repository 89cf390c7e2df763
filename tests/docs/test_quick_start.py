"""docs/quick-start.md is true: a person who types what it prints sees what it prints, in ten commands and answers."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from tests.docs.transcript import Person, blocks, free_host

PAGE = (Path(__file__).parents[2] / "docs" / "quick-start.md").read_text(encoding="utf-8")
LOOPBACK = "127.0.0.1"


def test_the_page_leads_to_the_first_message_in_ten_commands_and_answers(tmp_path: Path) -> None:
    host = free_host(1502, 8080)
    here = f"--host {host}"
    person = Person(tmp_path, {LOOPBACK: host}, {"Token": "secret"}, {"simulate": here, "receive": here, "run": ""})
    at_first_message = None
    with contextlib.closing(person):
        for language, text in blocks(PAGE):
            if language == "console":
                person.console(text)
            else:
                person.text("receive", text)
                at_first_message = person.effort
        assert at_first_message == 10
        log = person.stop("run")
        assert "stopped" in log
        assert not re.search(r"\[(warning|error)", log)
        assert " 0 refused, 0 late" in person.stop("receive")
