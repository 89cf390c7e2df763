"""`files`, `config example` and `config schema`, as a user calls them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.config import load
from tests.agent.cli.test_main import call
from tests.support.in_process import call_inside

REPO = Path(__file__).parents[3]


def test_the_files_of_a_release_are_written_and_never_over_others(tmp_path: Path) -> None:
    directory = tmp_path / "etc/new"
    written = call("files", str(directory))
    assert written.returncode == 0, written.stderr
    names = {str(Path(line).relative_to(directory)) for line in written.stdout.splitlines()}
    assert {"systemd/install", "systemd/telemetry-agent.service", "schema/device-type.schema.json"} <= names
    assert "schema/openapi.json" in names
    assert {"config.example.toml", "telemetry-agent.rules.yml", "grafana-dashboard.json", "requirements.lock"} <= names
    assert os.access(directory / "systemd/install", os.X_OK)
    assert (directory / "config.example.toml").read_bytes() == (REPO / "config.example.toml").read_bytes()

    again = call_inside("files", directory)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.startswith(f"telemetry-agent: {directory}/")
    assert "exists already" in again.stderr


@pytest.mark.parametrize(
    "command", [("files", ""), ("drivers", "--profile-dir", ""), ("scan", "10.0.0.1", "--profile-dir", "")]
)
def test_an_empty_path_is_not_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call_inside(*command)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "telemetry-agent: a path on the command line is empty; is a variable of the shell not set?\n"
    assert list(tmp_path.iterdir()) == []


def test_the_printed_example_is_a_configuration(tmp_path: Path) -> None:
    printed = call("config", "example")
    path = tmp_path / "site.toml"
    path.write_text(printed.stdout, encoding="utf-8")
    (tmp_path / "push_token").write_text("a-token")
    assert load(path, {"CREDENTIALS_DIRECTORY": str(tmp_path)}).device


def test_the_schema_names_every_table() -> None:
    schema = json.loads(call("config", "schema").stdout)
    assert {"site", "push", "device", "poll", "outbox"} <= schema["properties"].keys()


def test_a_wheel_carries_the_same_files(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=REPO, check=True)
    wheel = next(tmp_path.glob("*.whl"))
    subprocess.run([sys.executable, "-m", "zipfile", "-e", wheel, tmp_path / "unpacked"], check=True)
    script = "from agent.cli import app; app()"
    environ = os.environ | {"PYTHONPATH": str(tmp_path / "unpacked")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, "files", "out"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    packaged = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    call_inside("files", tmp_path / "checkout")
    assert packaged == {
        str(path.relative_to(tmp_path / "checkout")) for path in (tmp_path / "checkout").rglob("*") if path.is_file()
    }
