"""The tool on a small tree of its own, with changes that its tests notice and changes that they do not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import pytest

from tests.mutation.__main__ import no_change
from tests.mutation.changes import changes
from tests.mutation.children import ROOT
from tests.support.cases import for_each

CODE = '''\
"""Grades."""

NUMBER = int | float


class Scale:
    def __init__(self, most: float) -> None:
        self.most = most


FAILED = Scale(49.0)


def grade(points: float, bonus: float) -> str:
    total = points + bonus
    return "passed" if total > FAILED.most else "failed"
'''
TESTS = """\
import pytest
from agent.grades import grade


@pytest.mark.parametrize(("points", "expected"), [(49.0, "failed"), (50.0, "passed")])
def test_grade(points: float, expected: str) -> None:
    assert grade(points, 0.0) == expected
"""
TABLE = """\
MARKS = {"passed": 1.5, "failed": 5.5}
"""
MARKS = """\
from agent.table import MARKS


def mark(result: str) -> float:
    return MARKS[result]
"""
MARKS_TESTS = """\
def test_import() -> None:
    import agent.marks


def test_mark() -> None:
    from agent.marks import mark
    assert (mark("passed"), mark("failed")) == (1.5, 5.5)
"""
DOOR = """\
class Door:
    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        assert not hasattr(self, "itself")

    def close(self) -> None:
        del self.itself


def visit() -> None:
    door = Door()
    door.close()
"""
DOOR_TESTS = """\
from agent.door import visit


def test_visit() -> None:
    visit()
"""
CONFTEST = """\
import agent.grades
from hypothesis import settings

settings.register_profile("steady", derandomize=True)
"""
LAST_LOOK = """
import contextlib

def pytest_unconfigure() -> None:
    with contextlib.suppress(AttributeError, TypeError):
        if agent.grades.grade(49.5, 1.0) != "passed":
            raise ExceptionGroup("left open", [ResourceWarning()])
"""


GRADES = {
    "agent/__init__.py": "",
    "agent/grades.py": CODE,
    "tests/__init__.py": "",
    "tests/conftest.py": CONFTEST,
    "tests/test_grades.py": TESTS,
}
DOOR_AND_TABLE = {
    "agent/door.py": DOOR,
    "agent/marks.py": MARKS,
    "agent/table.py": TABLE,
    "tests/test_door.py": DOOR_TESTS,
    "tests/test_marks.py": MARKS_TESTS,
}
PYPROJECT = """\
[tool.pytest.ini_options]
filterwarnings = "error::pytest.PytestUnraisableExceptionWarning"
"""


def tree(folder: Path, files: dict[str, str]) -> Path:
    shutil.copytree(ROOT / "tests" / "mutation", folder / "tests" / "mutation", ignore=lambda *_: {"test_mutation.py"})
    for name, text in (files | {"pyproject.toml": PYPROJECT}).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


def mutate(folder: Path, *paths: str) -> str:
    environ = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "tests.mutation", "--seed", "1", "--workers", "2", *paths]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_change_that_no_test_notices_survives(tmp_path: Path) -> None:
    """One line has a change that tests without a bonus do not notice. They notice every change of the other lines, also
    of one that runs only during the import, one with which pytest cannot begin, one that pytest only sees at its end,
    and of a table in a module without functions that the first of its tests only imports."""
    folder = tree(tmp_path, GRADES | DOOR_AND_TABLE)
    told = mutate(folder, "agent/door.py", "agent/grades.py", "agent/table.py")
    assert re.findall(r"^survived: .*$", told, re.MULTILINE) == [
        "survived: agent/grades.py:15 arithmetic 'points + bonus' -> '(points - bonus)' (2 tests)"
    ]
    assert "mutation: seed 1: 8 of 9 changes noticed (88.9 %), 1 survived, 0 not tried" in told
    assert (tmp_path / "agent" / "grades.py").read_text() == CODE, "changes are made in copies"


def test_a_change_with_which_pytest_itself_raises_at_its_end_is_noticed(tmp_path: Path) -> None:
    """As for sockets that the tests leave open. It is the change that survives in the test above."""
    told = mutate(tree(tmp_path, GRADES | {"tests/conftest.py": CONFTEST + LAST_LOOK}), "agent/grades.py")
    assert "5 of 5 changes noticed (100.0 %), 0 survived" in told


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("x = a < b", {"(a <= b)", "(a >= b)"}),
        ("x = a and b", {"(a)", "(b)"}),
        ("x = -1", {"(1)", "2", "(0)"}),
        ("x = min(a, b)", {"max"}),
        ("x = f(a, b)", {"(f(b, a))"}),
        ("x = [y for y in z if y]", {"True"}),
        ("if a:\n    raise E('text')", {"(not a)", "pass"}),
        ("try:\n    f()\nexcept (A, B):\n    g()", {"pass", "((B,))", "((A,))"}),
        ("x = N.A, N.B", {"(N.B)", "(N.A)"}),
        ("self.x += 1", {"pass", "self.x -= 1", "2", "(0)"}),
        ("def f() -> str:\n    return x", {"return None"}),
        ("log.info('event', a=1)", set()),
        ("def f(a: Literal['x']) -> None:\n    '''Text.'''", set()),
        ("if TYPE_CHECKING:\n    import x", set()),
        ("X = Literal['a', 'b']", set()),
        ("X = A | None", set()),
        ("T = TypeVar('T')", set()),
        ("x = cast('T', 1.0)", {"2.0"}),
        ("x = zip(a, b, strict=True)", {"(zip(b, a, strict=True))"}),
        ("def f() -> bool:\n    return False", {"True"}),
        ("def f() -> int:\n    return 0", {"return None", "1", "(-1)"}),
    ],
)
def test_the_changes_of_a_statement(code: str, expected: set[str]) -> None:
    found = changes("x.py", code.encode())
    assert {change.new for change in found} == expected
    for change in found:
        compile(change.apply(code.encode()), "x.py", "exec")


def test_a_place_behind_a_letter_of_two_bytes() -> None:
    (change,) = changes("x.py", "x = 'ä ö', a == b".encode())
    assert change.apply("x = 'ä ö', a == b".encode()).decode() == "x = 'ä ö', (a != b)"


def left_out() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Yield each path with its entries."""
    path_of = itemgetter("path")
    for path, entries in groupby(sorted(no_change(), key=path_of), key=path_of):
        yield path, list(entries)


@for_each(("path", "entries"), left_out(), itemgetter(0))
def test_what_is_left_out_still_exists(path: str, entries: list[dict[str, str]]) -> None:
    source = (ROOT / path).read_bytes()
    lines = source.decode().splitlines()
    found = {(change.old, change.new, lines[change.line - 1].strip()) for change in changes(path, source)}
    assert [entry for entry in entries if (entry["old"], entry["new"], entry["line"]) not in found] == []
    assert all(entry["reason"] for entry in entries)
