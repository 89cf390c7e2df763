"""docs/adding-a-device.md is true: its commands run, and what it shows is what they print.

`python -m tests.docs.test_adding_a_device` writes the present output into the page.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from drivers.dump.file import load
from drivers.model import Table
from tests.faults.device import Faults
from tests.faults.modbus import FaultServer
from tests.support.terminal import written_to

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "adding-a-device.md"
PROFILE = DOCS / "examples" / "goodwe-meter.toml"
DUMP = Path(__file__).parents[1] / "fixtures" / "dumps" / "grid_goodwe_gw20k-et.json"
HOST = "192.168.1.50"
UNIT = 247

_BLOCK = re.compile(r"```(console|toml)\n(.*?)```", re.DOTALL)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")

# The installed command, which finds the device and the profiles of the page where the test has them.
COMMAND = """#!{python}
import sys
sys.path.insert(0, {root!r})
from agent.__main__ import main
from tests.support.terminal import written_to
places = {places!r}
sys.argv[1:] = [part for each in sys.argv[1:] for part in places.get(each, [each])]
main()
"""
PROFILES = "/etc/telemetry-agent/profiles"

SITE = """
[site]
node_id = "S"
[push]
url = "http://127.0.0.1/"
token = "t"
[outbox]
path = "outbox.sqlite3"
[drivers]
profile_dirs = ["etc"]
"""


async def rendered(text: str, folder: Path) -> str:
    """The page with each command's output of now."""
    words = load(DUMP).tables[Table.HOLDING]
    async with FaultServer({(UNIT, Table.HOLDING): words}) as device:
        device.unit_faults = {unit_id: Faults(exception=11) for unit_id in range(256) if unit_id != UNIT}
        shell = _Shell(folder, device.port)
        parts, end = [], 0
        for block in _BLOCK.finditer(text):
            parts += [text[end : block.start()], f"```{block[1]}\n"]
            parts.append(PROFILE.read_text() if block[1] == "toml" else await shell.session(block[2]))
            parts.append("```")
            end = block.end()
        return "".join([*parts, text[end:]])


class _Shell:
    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port
        (folder / PROFILE.name).write_text(PROFILE.read_text())
        command = folder / "bin" / "telemetry-agent"
        command.parent.mkdir()
        (folder / "etc").mkdir()
        places = {HOST: ["127.0.0.1", "--port", str(port)], "scan": ["scan", "--profile-dir", "etc"]}
        root = str(Path(__file__).parents[2])
        command.write_text(COMMAND.format(python=sys.executable, root=root, places=places))
        command.chmod(stat.S_IRWXU)

    async def session(self, block: str) -> str:
        prompt = block[:2]
        shown = []
        for line in block.splitlines():
            if not line.startswith(prompt):
                continue
            output, errors = await self._run(line[2:].replace(PROFILES, "etc"))
            if "[[device]]" in output:
                (self._folder / "site.toml").write_text(SITE + output)
            shown.append(f"{line}\n{self._as_on_the_page(output + errors)}")
        return "".join(shown)

    def _as_on_the_page(self, output: str) -> str:
        output = output.replace(f"127.0.0.1 --port {self._port}", HOST).replace(
            f"127.0.0.1:{self._port}", f"{HOST}:502"
        )
        output = output.replace('host = "127.0.0.1"', f'host = "{HOST}"').replace(f"port = {self._port}", "port = 502")
        output = re.sub(r"\b\d+\.\d s", "0.0 s", output)
        lines = [line.rstrip() for line in output.splitlines()]
        return "".join(f"{line}\n" for line in lines).rstrip("\n") + "\n" if any(lines) else ""

    async def _run(self, command: str) -> tuple[str, str]:
        """What a terminal shows: standard output on a pseudo-terminal, and standard error beside it."""
        master, slave = os.openpty()
        environ = {
            "PATH": f"{self._folder / 'bin'}:{os.environ['PATH']}",
            "TERM": "xterm",
            "COLUMNS": "100",
            "NO_COLOR": "1",
            "HOME": str(self._folder),
        }
        process = await asyncio.create_subprocess_shell(
            command, stdout=slave, stderr=asyncio.subprocess.PIPE, cwd=self._folder, env=environ
        )
        os.close(slave)
        out = asyncio.create_task(asyncio.to_thread(written_to, master))
        _, errors = await asyncio.wait_for(process.communicate(), 60)
        text = (await out).decode().replace("\r\n", "\n")
        return _ESCAPES.sub("", text), errors.decode()


async def test_the_page_shows_what_happens(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert await rendered(text, tmp_path) == text


def test_the_profile_is_about_forty_lines() -> None:
    assert len(PROFILE.read_text().splitlines()) <= 40


def main() -> None:
    with TemporaryDirectory() as folder:
        text = asyncio.run(rendered(PAGE.read_text(encoding="utf-8"), Path(folder)))
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
