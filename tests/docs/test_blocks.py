"""Every block of every page is run, loaded or parsed, or is listed here with the reason why it cannot be."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import typer.main

from agent.cli.main import app
from agent.config import Config, parse
from agent.contract.schema import problems
from agent.site import build
from drivers.profile import load
from tests.docs.transcript import blocks
from tests.faults.certificates import Authority
from tests.support.cases import Test, for_each

ROOT = Path(__file__).parents[2]
RUN = {
    # The pages whose console blocks a test types, and whose output it compares.
    "README.md": "tests/docs/test_readme.py",
    "docs/adding-a-device.md": "tests/docs/test_adding_a_device.py",
    "docs/commands.md": "tests/docs/test_commands.py",
    "docs/operations.md": "tests/system/test_operations.py",
    "docs/quick-start.md": "tests/docs/test_quick_start.py",
    "docs/troubleshooting.md": "tests/system/test_operations.py",
    "docs/tutorial.md": "tests/docs/test_tutorial.py",
    # Their Python runs.
    "docs/writing-an-endpoint.md": "tests/docs/test_endpoint_guide.py",
}
NOT_RUN = {
    # The page and the beginning of a block: why it is not run.
    ("README.md", "Read over Modbus TCP"): "a moment of the demo; tests/agent/cli/test_demo.py runs it",
    ("docs/architecture.md", "    "): "a diagram",
    ("docs/benchmarks.md", "$ CGO_ENABLED=0 go install"): "downloads the source of Telegraf",
    ("docs/container.md", "podman run --name"): "needs an image; tests/system/test_container.py runs it",
    ("docs/container.md", "podman run --read-only"): "tests/docs/test_container.py loads its variables",
    ("docs/fleet.md", "printf"): "asks for a password",
    ("docs/fleet.md", "ansible-playbook"): "tests/system/test_fleet.py runs the role",
    ("docs/fleet.md", "cloud-init"): "tests/system/test_fleet.py checks the file",
    ("docs/receivers.md", "telemetry,nodeId="): "a line that Telegraf wrote; tests/receivers/test_telegraf.py",
    ("docs/receivers.md", "template:"): "Home Assistant is not installed here; the page says that it is not tested",
    ("docs/receivers.md", "10000 connections"): "the output of make load-test",
    ("docs/receivers.md", "$ pip install -r requirements.txt"): "tests/receivers/fleet.py does it",
    ("docs/operations.md", "apt install"): "a file name to complete; tests/system installs the package",
}


@dataclass(frozen=True, slots=True)
class Block:
    page: str
    language: str
    text: str

    @property
    def first_line(self) -> str:
        return self.text.partition("\n")[0]


def pages() -> list[Path]:
    return [*(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")), *(ROOT / "docs").rglob("*.md")]


ALL = [
    Block(page.relative_to(ROOT).as_posix(), language, text)
    for page in sorted(pages())
    for language, text in blocks(page.read_text(encoding="utf-8"))
]


def of(*languages: str) -> Callable[[Test], Test]:
    found = [block for block in ALL if block.language in languages]
    return for_each("block", found, lambda block: f"{block.page}: {block.first_line[:40]}")


@of(*({block.language for block in ALL} - {"toml", "json", "ini"}))
def test_a_block_is_run_or_its_reason_is_known(block: Block) -> None:
    if any(block.page == page and block.text.startswith(beginning) for page, beginning in NOT_RUN):
        return
    assert block.page in RUN, f"no test runs it: {block.text}"
    assert block.page.rpartition("/")[2] in (ROOT / RUN[block.page]).read_text(encoding="utf-8")


def test_no_reason_is_left_over() -> None:
    for page, beginning in NOT_RUN:
        assert any(block.page == page and block.text.startswith(beginning) for block in ALL), (page, beginning)


@of("toml")
def test_a_configuration_or_a_part_of_a_profile_loads(block: Block, tmp_path: Path) -> None:
    table = tomllib.loads(block.text)
    if set(table) <= set(Config.model_fields):
        build(parse(_completed(table, tmp_path), {}, block.page), block.page)
        return
    whole = "point" in table
    path = tmp_path / "a-profile.toml"
    path.write_text(block.text if whole else _HYBRID + block.text, encoding="utf-8")
    load(path)


_HYBRID = """
manufacturer = "Manufacturer"
models = ["Model"]
kind = "hybrid"
source = "the page"

[[point]]
node = "grid"
quantity = "active_power"
table = "holding"
address = 100
type = "int16"

"""
"""What the parts of a profile on a page belong to."""


def _completed(table: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Add what a part of a configuration lacks: site, endpoint, device, and the files of its secrets."""
    token = folder / "token"
    token.write_text("a-token-of-sixteen-characters", encoding="utf-8")
    token.chmod(0o600)
    meter = {"node_id": "another-meter", "type": "grid", "driver": "eastron-sdm630", "host": "192.168.1.99"}
    table = {
        "site": {"node_id": "SITE_1"},
        "push": {"url": "https://telemetry.example.com/v1/sites", "token_file": ""},
        "outbox": {"path": str(folder / "outbox.sqlite3")},
        "device": [meter],
        **table,
    }
    several = table["push"] if isinstance(table["push"], list) else [table["push"]]
    nodes = {node for push in several for node in push.get("node_ids", ())}
    table["device"] += [{**meter, "node_id": node, "type": "solar", "unit_id": 7} for node in nodes]
    for owner in (*several, table.get("status", {})):
        if "token_file" in owner:
            owner["token_file"] = str(token)
        if "client_cert_file" in owner:
            client = Authority(folder).issue("client")
            owner |= {"client_cert_file": str(client.cert_file), "client_key_file": str(client.key_file)}
    return table


@of("json")
def test_json_is_json_and_a_message_is_one_of_the_contract(block: Block) -> None:
    decoder, text, found = json.JSONDecoder(), block.text.strip(), []
    while text:
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:].lstrip()
    for value in found:
        if "siteNodeId" in value:
            assert list(problems(value)) == []


@of("ini")
def test_a_unit_file_is_one(block: Block) -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(block.text)
    assert parser.sections()


@cache
def command() -> Any:
    return typer.main.get_command(app)


def calls() -> Iterator[tuple[str, str]]:
    """Yield each call of the command on a page, in blocks and in the text: the page, and the arguments."""
    for page in sorted(pages()):
        text = page.read_text(encoding="utf-8")
        lines = [line for _, block in blocks(text) for line in block.replace("\\\n", " ").splitlines()]
        typed = [line[2:] for line in lines if line.startswith(("$ ", "# telemetry-agent"))]
        inline = re.findall(r"`([^`\n]*telemetry-agent [^`\n]*)`", re.sub(r"(?ms)^ *(```|~~~).*?^ *\1", "", text))
        for line in (*typed, *inline):
            for call in re.findall(r"(?:^|\| |do |watch )telemetry-agent((?: [^|;>&#]+)?)", line):
                yield page.name, call.strip()


@for_each(("page", "call"), sorted(set(calls())))
def test_a_printed_command_has_these_options(page: str, call: str) -> None:
    here = command()
    known: set[str] = set()
    for word in shlex.split(call.replace("…", "")):
        known |= {option for each in here.params for option in (*each.opts, *each.secondary_opts)}
        if word.startswith("-"):
            assert word.partition("=")[0] in known | {"--help"}, f"{page}: {call}"
        elif word in getattr(here, "commands", ()):
            here = here.commands[word]
        else:
            assert here is not command() or word.isupper(), f"{page}: {call}: no such command"
