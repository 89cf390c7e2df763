"""The source distribution has every file that its README and its Makefile name."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

REPO = Path(__file__).parents[2]
ALWAYS = {"LICENSE", "README.md", "pyproject.toml"}
"""Hatchling adds these by itself."""


def test_the_files_that_are_named_are_included() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert {pattern[0] for pattern in patterns} == {"/"}, "without a slash, a pattern is also searched below .venv"
    included = ALWAYS | {pattern[1:] for pattern in patterns}
    readme = (REPO / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", readme))
    assert len(named) > 10
    assert {name for name in named if name.split("/")[0] not in included} == set()
    makefile = (REPO / "Makefile").read_text(encoding="utf-8")
    assert {name for name in (".importlinter", "debian", "benchmarks", ".ci") if name in makefile} <= included
