"""The steps of the Containerfile, each in a clean Debian 13 under chroot; no container engine is needed."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.system import debian
from tests.system.debian import REPO
from tests.system.machine import eventually

pytestmark = pytest.mark.system


def instructions() -> Iterator[tuple[str, str]]:
    text = (REPO / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if match := re.match(r"([A-Z]+) +(.*)", line):
            yield match[1], match[2]


class Stage:
    """The file system of one build stage."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels"}
        self.user = "0"

    @contextlib.contextmanager
    def started(self, command: list[str], environ: dict[str, str], output: Path) -> Iterator[None]:
        """The command as a process that writes to `output`; ends it with SIGTERM."""
        chroot = ["chroot", f"--userspec={self.user}", str(self.root), *command]
        with output.open("wb") as stream:
            process = subprocess.Popen(chroot, env=self.environ | environ, stdout=stream)
        try:
            yield
        finally:
            process.terminate()
            process.wait(10)

    def run(self, script: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = ["chroot", f"--userspec={self.user}", str(self.root), "sh", "-ec", script]
        done = subprocess.run(command, env=self.environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, f"{script}: {done.stdout}{done.stderr}"
        return done

    def apply(self, word: str, rest: str, stages: dict[str, Stage]) -> None:
        if word == "RUN":
            # The clean Debian has the packages already, and no package index.
            steps = [
                step for step in rest.split("&&") if not step.strip().startswith(("apt-get", "rm -rf /var/lib/apt"))
            ]
            if steps:
                self.run(" && ".join(steps))
        elif word == "COPY":
            *sources, target = rest.split()
            base = REPO
            if sources[0].startswith("--from="):
                base = stages[sources.pop(0).removeprefix("--from=")].root
            for source in sources:
                found = base / source.lstrip("/")
                place = self.root / target.lstrip("/")
                if found.is_dir():
                    shutil.copytree(found, place, symlinks=True, dirs_exist_ok=True)
                else:
                    place.mkdir(parents=True, exist_ok=True)
                    shutil.copy(found, place)
        elif word == "ENV":
            for key, value in re.findall(r"(\w+)=(\S+)", rest):
                self.environ[key] = value.replace("$PATH", self.environ["PATH"])
        elif word == "USER":
            self.user = rest


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("container")
    try:
        clean = debian.root("trixie")
    except debian.UnableError as reason:
        pytest.skip(f"the system tests cannot run here: {reason}")
    wheels = directory / "wheels"
    pip = (sys.executable, "-m", "pip", "--quiet", "download", "--only-binary=:all:", "--python-version=3.13", "--dest")
    debian.call(*pip, wheels, "--no-deps", "--require-hashes", "--requirement", REPO / "requirements.lock")
    debian.call(*pip, wheels, "hatchling==1.33.0")
    stages: dict[str, Stage] = {}
    stage = None
    for word, rest in instructions():
        if word == "FROM":
            name = rest.partition(" AS ")[2] or "image"
            root = directory / name
            debian.call("cp", "--archive", "--reflink=auto", clean, root)
            shutil.copytree(wheels, root / "wheels")
            stage = stages[name] = Stage(root)
        elif stage is not None:
            stage.apply(word, rest, stages)
    yield stages["image"]
    debian.call("rm", "--recursive", "--force", directory)


def test_it_runs_as_its_own_user_and_ends_soon_after_sigterm(image: Stage) -> None:
    image.environ |= {
        "TELEMETRY_AGENT__SITE__NODE_ID": "SITE_1",
        "TELEMETRY_AGENT__PUSH__URL": "https://127.0.0.1:9/",
        "TELEMETRY_AGENT__PUSH__TOKEN": "a-token",
        "TELEMETRY_AGENT__DEVICE": '[{"node_id":"m","type":"grid","driver":"eastron-sdm630","host":"127.0.0.1"}]',
    }
    assert image.run("id -u").stdout == "10001\n"
    assert image.run("telemetry-agent check --config /dev/null").stdout.endswith("/dev/null: ok\n")
    script = """
    telemetry-agent run --config /dev/null & agent=$!
    for i in $(seq 100); do telemetry-agent status --config /dev/null >/dev/null 2>&1 && break; sleep 0.2; done
    telemetry-agent status --config /dev/null >/dev/null
    kill -TERM $agent; wait $agent
    """
    image.run(script)
    assert (image.root / "var/lib/telemetry-agent/outbox.sqlite3").exists()
    assert (image.root / "opt/telemetry-agent").stat().st_uid == 0


def services() -> dict[str, tuple[list[str], dict[str, str]]]:
    """Name → arguments and variables of each service of the compose file, with ports that are free here."""
    text = (REPO / "docs/examples/compose.yaml").read_text(encoding="utf-8").partition("\nvolumes:")[0]
    text = text.replace(">-\n", "")
    for port in ("8080", "15020"):  # the site takes further ports behind its first one
        text = text.replace(port, str(free_port()))
    found = {}
    for block in re.split(r"(?m)^  (?=\w+:$)", text)[1:]:
        command = re.search(r"command: \[(.*)\]", block)
        assert command is not None, block
        variables = re.findall(r"(TELEMETRY_\w+): *(\[.*\]|[^\s},]+)", block)
        found[block.partition(":")[0]] = (
            [word.strip(' "') for word in command[1].split(",")],
            {name: value.strip('"') if value[0] == '"' else value for name, value in variables},
        )
    return found


def test_the_services_of_the_compose_file_find_each_other(image: Stage, tmp_path: Path) -> None:
    (image.root / "etc/hosts").write_text("127.0.0.1 localhost site endpoint\n")

    def arrived() -> bool:
        lines = (tmp_path / "endpoint").read_text().splitlines(keepends=True)
        verdicts = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]
        return any(each["status"] == 200 and each["message"]["grid"] for each in verdicts)

    with contextlib.ExitStack() as stack:
        for name, (command, environ) in services().items():
            stack.enter_context(image.started(["telemetry-agent", *command], environ, tmp_path / name))
        eventually(arrived, "a message with the values of the site", 60)
