"""The completion of the Debian package, as the shell sees it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
    ],
)
def test_bash_proposes_commands_and_options(bash_script: str, typed: tuple[str, ...], proposed: list[str]) -> None:
    ask = 'COMP_WORDS=(telemetry-agent "$@"); COMP_CWORD=$#; _telemetry_agent; printf "%s\\n" "${COMPREPLY[@]}"'
    command = ["bash", "-uc", f"{bash_script}\n{ask}", "bash", *typed]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.split() == proposed


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_can_read_their_script(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    path = tmp_path / "completion"
    path.write_text(script(shell))
    done = subprocess.run([shell, "-n", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
