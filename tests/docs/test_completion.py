"""The completion of the Debian package, as the shell sees it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from agent.cli import app, completion
from tests.support.in_process import call_inside

REPO = Path(__file__).parents[2]


def script(shell: str) -> str:
    return subprocess.run(
        [sys.executable, REPO / "debian/completion.py", shell], capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture(scope="module")
def bash_script() -> str:
    return script("bash")


@pytest.mark.parametrize(
    ("typed", "proposed"),
    [
        (("chec",), ["check"]),
        (("check", "--onl"), ["--online"]),
        (("check", "--config", "site.toml", "--onl"), ["--online"]),
        (("outbox", "d"), ["drop"]),
        (("outbox", "drop", "--w"), ["--waiting"]),
        (("drivers", "check", "--"), ["--against", "--help"]),
        (("check", "site"), []),  # then bash proposes files
        (("dump", "--driver", "eastron-sdm6"), ["eastron-sdm630"]),
        (("dump", "--driver", "=", "eastron-sdm6"), ["eastron-sdm630"]),
        (("drivers", "show", "kmt"), ["kmtronic-relay"]),
        (("drivers", "show", "--conf"), ["--config"]),
        (("check", "--node", "x"), []),
    ],
)
def test_bash_proposes_commands_and_options(bash_script: str, typed: tuple[str, ...], proposed: list[str]) -> None:
    assert in_bash(bash_script, *typed) == proposed


def in_bash(bash_script: str, *typed: str) -> list[str]:
    ask = 'COMP_WORDS=(telemetry-agent "$@"); COMP_CWORD=$#; _telemetry_agent; printf "%s\\n" "${COMPREPLY[@]}"'
    command = ["bash", "-uc", f"{bash_script}\n{ask}", "bash", *typed]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    return done.stdout.split()


SITE = """
[site]
node_id = "pv-site"
[[push]]
name = "trader"
nodes = ["pv-*"]
[[push]]
name = "owner"
[[device]]
node_id = "pv-1" # not "pv-9"
# node_id = "pv-8"
driver = "pv-driver"
[[device]]
nodes = { solar = "pv-2", storage = "battery-1" }
[[device]]
unit_id = 3
[device.nodes]
grid = "meter-1"
solar = "pv-3"
[[device]]
node_id = "pv-$(touch made)"
[status]
listen = "127.0.0.1:9464"
"""
PV = ["pv-1", "pv-2", "pv-3"]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(SITE)
    monkeypatch.chdir(tmp_path)
    return path


@pytest.mark.parametrize("typed", [("check", "--config", "{}", "--node"), ("dump", "--config", "=", "{}", "--node")])
def test_bash_proposes_the_nodes_of_the_configuration(bash_script: str, site: Path, typed: tuple[str, ...]) -> None:
    words = [each.format(site) for each in typed]
    assert in_bash(bash_script, *words, "pv")[:3] == PV
    assert in_bash(bash_script, *words, "=", "pv-2") == ["pv-2"]
    assert in_bash(bash_script, *words, "")[3:4] == ["battery-1"] or "battery-1" in in_bash(bash_script, *words, "")
    assert not (site.parent / "made").exists(), "a name is no command"


@pytest.mark.parametrize("kind", ["pipe", "directory", "binary", "absent"])
def test_a_configuration_that_cannot_be_read_proposes_nothing(bash_script: str, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "site.toml"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "binary":
        path.write_bytes(bytes(range(256)) * 9000)
    assert in_bash(bash_script, "check", "--config", str(path), "--node", "p") == []
    propose = by_the_installed_command if kind == "pipe" else by_python  # to read a pipe would not end
    assert propose("check", "--config", str(path), "--node", "p") == []


def asked(*typed: str) -> dict[str, str]:
    """The environment in which the script of --install-completion calls the command."""
    return {
        "_TELEMETRY_AGENT_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["telemetry-agent", *typed]),
        "COMP_CWORD": str(len(typed)),
    }


def by_python(*typed: str) -> list[str]:
    """What the completion of --install-completion proposes, without a process of its own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in asked(*typed).items():
            patch.setenv(name, value)
        done = call_inside()
    assert done.stderr == ""
    return done.stdout.split()


def by_the_installed_command(*typed: str) -> list[str]:
    command = [Path(sys.executable).with_name("telemetry-agent")]
    environ = os.environ | asked(*typed)
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    return done.stdout.split()


def test_the_installed_command_proposes(site: Path) -> None:
    assert by_the_installed_command("check", "--config", "site.toml", "--node", "pv-2") == ["pv-2"]
    assert [path.name for path in site.parent.iterdir()] == ["site.toml"]


def test_the_installed_completion_proposes_drivers_nodes_and_endpoints(site: Path) -> None:
    own = site.parent / "profiles"
    own.mkdir()
    (own / "my-meter.toml").touch()
    before = sorted(site.parent.rglob("*"))
    assert by_python("dump", "--driver", "eastron-sdm6") == ["eastron-sdm630"]
    assert by_python("drivers", "show", "kmt") == ["kmtronic-relay"]
    assert by_python("dump", "--profile-dir", "profiles", "--driver", "my-m") == ["my-meter"]
    assert by_python("check", "--config", "site.toml", "--node", "pv-2") == ["pv-2"]
    assert by_python("push", "--config", "site.toml", "--endpoint", "o") == ["owner"]
    assert by_python("check", "--node", "p") == []
    assert sorted(site.parent.rglob("*")) == before


def test_without_profile_dirs_their_default_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my-meter.toml").touch()
    monkeypatch.setattr(completion, "PROFILE_DIRECTORY", tmp_path)
    context = typer.Context(typer.main.get_command(app))
    assert completion.drivers(context, "my-") == ["my-meter"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_can_read_their_script(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    path = tmp_path / "completion"
    path.write_text(script(shell))
    done = subprocess.run([shell, "-n", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_tables_that_are_wrong_or_have_a_name_are_no_error(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text('[push]\nname = "cloud"\n[[drivers]]\nprofile_dirs = []\n')
    assert by_python("push", "--config", str(site), "--endpoint", "") == ["cloud"]
    assert by_python("dump", "--config", str(site), "--driver", "eastron-sdm6") == ["eastron-sdm630"]
