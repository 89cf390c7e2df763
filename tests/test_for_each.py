"""A table of which rows fail: pytest names each of them, and fails."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLES = """\
import asyncio
from pathlib import Path
import pytest
from tests.support.cases import for_each

@for_each("number", [1, 2, 3, 4])
def test_numbers(tmp_path: Path, number: int) -> None:
    assert tmp_path.is_dir()
    if number == 4:
        pytest.fail("four")
    assert number + 1 != 3

@for_each(("number", "text"), [(5, "five"), (6, "six")], lambda row: row[1])
async def test_texts(number: int, text: str) -> None:
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match="five"):
        raise ValueError(text)

@for_each("number", [7])
def test_all_pass(number: int) -> None:
    assert number == 7

@for_each("number", [])
def test_no_row(number: int) -> None:
    pass
"""


def test_every_row_that_fails_is_named_with_its_assertion(tmp_path: Path) -> None:
    (tmp_path / "test_tables.py").write_text(TABLES)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        str(ROOT / "pyproject.toml"),
        "-p",
        "no:cacheprovider",
        str(tmp_path),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert ran.returncode == pytest.ExitCode.TESTS_FAILED
    assert re.findall(r"^(SUBFAILED\S+|FAILED) \S+::(\w+)", ran.stdout, re.MULTILINE) == [
        ("SUBFAILED[2]", "test_numbers"),
        ("SUBFAILED[4]", "test_numbers"),
        ("FAILED", "test_numbers"),
        ("SUBFAILED[six]", "test_texts"),
        ("FAILED", "test_texts"),
        ("FAILED", "test_no_row"),
    ]
    assert re.findall(r"^E +((?:assert|Failed).*)", ran.stdout, re.MULTILINE) == [
        "assert (2 + 1) != 3",
        "Failed: four",
        "Failed: there is no row of number",
    ]
    assert "1 passed" in ran.stdout
