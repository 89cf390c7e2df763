"""What the scripts of the service refuse before they touch anything; what they do is tried in tests/system."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("uninstall", ("--help",)),
        ("uninstall", ("--purg",)),
        ("uninstall", ("--purge", "now")),
        ("install", ("--help",)),
        ("install", ("--seriall",)),
        ("install", ("--serial", "--help")),
        ("install", ("a.whl", "b.whl")),
    ],
)
def test_an_option_that_a_script_does_not_have_changes_nothing(script: str, arguments: tuple[str, ...]) -> None:
    # Nothing to run, so that a script that goes on fails instead of uninstalling.
    result = subprocess.run(
        ["/bin/bash", SYSTEMD / script, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/nonexistent"},
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert f"usage: systemd/{script} [" in result.stderr


@pytest.mark.parametrize("arguments", [("/nowhere.whl",), ("--serial", "/nowhere.whl")])
def test_what_is_given_to_install_has_to_be_there(arguments: tuple[str, ...]) -> None:
    result = subprocess.run(
        ["/bin/bash", SYSTEMD / "install", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 1
    assert "install: " in result.stderr
