"""The examples of docs/commands.md for scripts, with the laboratory in place of the site."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from tests.docs.transcript import Person, blocks, free_network
from tests.support.lab import lab
from tests.support.site import TOKEN, Endpoint

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
URL = "https://telemetry.example.com/v1/sites"
SITE = """
[site]
node_id = "SITE_1"
timezone = "Europe/Brussels"
import_limit_W = 17.25
[push]
url = "{url}"
token_file = "{home}/token"
[outbox]
path = "{home}/state/outbox.sqlite3"
[[device]]
node_id = "meter-1"
type = "grid"
driver = "eastron-sdm630"
host = "192.168.1.20"
"""


def test_the_scripts_do_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", TOKEN)
    in_a_script, in_a_pipeline = [text for language, text in blocks(PAGE) if language == "console"]
    with free_network(1502) as network, Endpoint() as endpoint, lab(f"{network}20", 1502):
        person = Person(tmp_path, {"192.168.1.": network, f"--url {URL}": f"--url {endpoint.url}"}, {}, {})
        with contextlib.closing(person):
            person.console(in_a_script)
            assert [verdict.problems for verdict, _ in endpoint.verdicts] == [()]
            (tmp_path / "sites").mkdir()
            (tmp_path / "state").mkdir(exist_ok=True)
            (tmp_path / "sites" / "a.toml").write_text(SITE.format(home=tmp_path, url=endpoint.url))
            person.console(in_a_pipeline)
