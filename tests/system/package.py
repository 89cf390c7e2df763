"""Builds Debian packages of several versions for the tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.system import debian
from tests.system.debian import REPO

PYTHONS = "3.11 3.13"
"""Of Debian 12 and 13."""
BREAKS = ("agent/service/daemon.py", "raise SystemExit('dies')")
REFUSES = ("agent/config/loader.py", "raise SystemExit(78)")


def build(directory: Path, version: str, breakage: tuple[str, str] | None = None) -> Path:
    """Build the package of a version, with a line put in front of a module."""
    tree = directory / version
    shutil.copytree(REPO, tree, ignore=shutil.ignore_patterns(".*", "tests", "__pycache__", "build", "dist"))
    project = tree / "pyproject.toml"
    project.write_text(re.sub(r'(?m)^version = ".*"$', f'version = "{version}"', project.read_text()))
    init = tree / "agent/__init__.py"
    init.write_text(re.sub(r'__version__ = ".*"', f'__version__ = "{version}"', init.read_text()))
    if breakage is not None:
        module = tree / breakage[0]
        module.write_text(module.read_text().replace("\n\nimport ", f"\n\n{breakage[1]}\nimport ", 1))
    architecture = debian.call("dpkg", "--print-architecture").strip()
    environ = os.environ | {
        "BIN": str(Path(sys.executable).parent),
        "PYTHONS": PYTHONS,
        "SOURCE_DATE_EPOCH": "1795000000",
        "DPKG_DEB_COMPRESSOR_TYPE": "none",
        "PYTHONPATH": str(tree),
    }
    subprocess.run([tree / "debian/release", "--deb", architecture], env=environ, check=True, capture_output=True)
    return tree / f"dist/telemetry-agent_{version}_{architecture}.deb"
