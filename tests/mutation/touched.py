"""Which tests run which lines, and how long they take.

The record of a test file is kept in `.mutation`, and used as long as neither that file nor a file that its tests run
has changed.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import coverage
import pytest

from tests.mutation.children import PYTEST, ROOT, Ended, Job
from tests.mutation.plugin import Recorder

FOLDER = ROOT / ".mutation"
SOURCES = ("agent", "drivers")
COMMON = ("tests/conftest.py", "tests/steady_loop.py", "tests/support", "tests/faults")
LIMIT_S = 900.0
"""For one test file."""
OUTSIDE = ""
"""The context of coverage.py outside of the tests: an import, which may run lines of functions as well."""


@dataclass(frozen=True, slots=True)
class Record:
    """What the tests of one file touch."""

    seconds: dict[str, float]
    failed: list[str]
    lines: dict[str, dict[str, list[str]]]
    """The tests by path and line number. `OUTSIDE` stands for a line that runs outside of the tests."""
    digests: dict[str, str]

    def is_current(self) -> bool:
        return all(digest(ROOT / path) == known for path, known in self.digests.items())


@dataclass(frozen=True)
class Touched:
    """The records of all test files."""

    seconds: dict[str, float] = field(default_factory=dict)
    lines: dict[str, dict[int, set[str]]] = field(default_factory=dict)
    imported: set[tuple[str, int]] = field(default_factory=set)
    """Path and number of the lines that run outside of the tests."""
    failed: set[str] = field(default_factory=set)

    def add(self, record: Record) -> None:
        """Tests that fail or are skipped without a change notice nothing."""
        self.failed.update(record.failed)
        self.seconds.update(record.seconds)
        for path, lines in record.lines.items():
            for line, tests in lines.items():
                if OUTSIDE in tests:
                    self.imported.add((path, int(line)))
                passed = set(tests) - set(record.failed) - {OUTSIDE}
                self.lines.setdefault(path, {}).setdefault(int(line), set()).update(passed)

    def tests_of(self, path: str, line: int, statement: range, *, at_import: bool) -> set[str]:
        """The tests that run the line; else the statement.

        For a line that runs at import, those that run a line of a function of the module, and those whose file imports
        the module.
        """
        lines = self.lines.get(path, {})
        found = lines.get(line) or set().union(*(lines.get(each, set()) for each in statement))
        if at_import or (not found and (path, line) in self.imported):
            return self._of_module(path) | self.importing(path)
        return found

    def importing(self, path: str) -> set[str]:
        """The tests whose file imports the module."""
        files = self._importers.get(path, set())
        return {test for test in self.seconds if test.partition("::")[0] in files} - self.failed

    def _of_module(self, path: str) -> set[str]:
        """The tests that run a line of a function of the module; if it has none, of those that import the module.

        Other lines do not count: the first test that imports the module runs all of them.
        """
        seen, level = {path}, {path}
        while level:
            if found := set[str]().union(*map(self._of_functions, level)):
                return found
            level = set().union(*(self._importers.get(each, set()) for each in level)) - seen
            seen |= level
        return set()

    def _of_functions(self, path: str) -> set[str]:
        lines = self.lines.get(path, {})
        return set[str]().union(*(lines[line] for line in _lines_of_functions(path) & lines.keys())) if lines else set()

    @cached_property
    def _importers(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for source in _files(*SOURCES, "tests"):
            for name in _imported(ast.parse(source.read_bytes())):
                base = name.replace(".", "/")
                for path in (f"{base}.py", f"{base}/__init__.py"):
                    found.setdefault(path, set()).add(source.relative_to(ROOT).as_posix())
        return found


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def _lines_of_functions(path: str) -> frozenset[int]:
    """The numbers of the lines in the bodies of functions."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    bodies = (node.body for node in ast.walk(ast.parse((ROOT / path).read_bytes())) if isinstance(node, functions))
    return frozenset(line for body in bodies for line in range(body[0].lineno, (body[-1].end_lineno or 0) + 1))


def _files(*names: str) -> Iterator[Path]:
    for name in names:
        yield from (
            sorted((ROOT / name).rglob("*.py")) if (ROOT / name).is_dir() else filter(Path.is_file, [ROOT / name])
        )


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def test_files() -> list[str]:
    """All but those of the machine and of this tool; the longest ones first, as far as is known."""
    found = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "tests").rglob("test_*.py"))]
    chosen = [path for path in found if not path.startswith(("tests/system/", "tests/mutation/"))]
    return sorted(chosen, key=lambda path: -sum(record.seconds.values()) if (record := load(path)) else 0.0)


def _kept(test_file: str) -> Path:
    return FOLDER / f"{test_file.replace('/', '+')}.json"


def load(test_file: str) -> Record | None:
    try:
        return Record(**json.loads(_kept(test_file).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def job(test_file: str) -> Job:
    return Job(test_file, partial(_measure, test_file), LIMIT_S)


def keep(ended: Ended) -> Record:
    """The record of a job that has ended.

    Raises:
        RuntimeError: The tests could not be run.
    """
    result = ended.copy.with_name("tmp") / "record"
    if not result.is_file():
        raise RuntimeError(f"{ended.job.name}: {ended.status}\n{ended.output[-2000:]}")
    found: dict[str, Any] = json.loads(result.read_text())
    common = (path.relative_to(ROOT).as_posix() for path in _files(*COMMON))
    run = (path for path, lines in found["lines"].items() if any(tests != [OUTSIDE] for tests in lines.values()))
    found["digests"] = {path: digest(ended.copy / path) for path in (ended.job.name, *common, *run)}
    FOLDER.mkdir(exist_ok=True)
    _kept(ended.job.name).write_text(json.dumps(found))
    return Record(**found)


def _measure(test_file: str, copy: Path) -> int:
    """Runs in a child."""
    temporary = copy.with_name("tmp")
    _measure_processes(copy, temporary)
    measured = coverage.Coverage(data_file=None, source=[str(copy / name) for name in SOURCES], config_file=False)
    measured.set_option("run:core", "ctrace")  # the others do not tell the tests apart
    measured.set_option("run:disable_warnings", ["no-data-collected", "module-not-measured"])
    recorder = Recorder(measured, os.environ)  # type: ignore[arg-type]
    measured.start()
    arguments = [*PYTEST, f"--basetemp={temporary / 'pytest'}", test_file]
    status = pytest.main(arguments, plugins=[recorder])
    measured.stop()
    lines: dict[str, dict[str, list[str]]] = {}
    for data in (measured.get_data(), *_data_of_processes(temporary)):
        _merge(lines, data, copy, recorder.seconds.keys())
    record = {"seconds": recorder.seconds, "failed": sorted(recorder.failed), "lines": lines}
    (temporary / "record").write_text(json.dumps(record))
    return int(status)


def _measure_processes(copy: Path, temporary: Path) -> None:
    """Has coverage started in each Python process that a test starts."""
    site = temporary / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import coverage\ncoverage.process_startup()\n")
    (site / "coveragerc").write_text(
        f"[run]\nparallel = true\ndata_file = {temporary}/coverage\ncontext = ${{MUTATION_TEST}}\ncore = ctrace\n"
        f"source =\n" + "".join(f"    {copy / name}\n" for name in SOURCES)
    )
    os.environ["PYTHONPATH"] += os.pathsep + str(site)
    os.environ["COVERAGE_PROCESS_START"] = str(site / "coveragerc")


def _data_of_processes(temporary: Path) -> Iterator[coverage.CoverageData]:
    for path in sorted(temporary.glob("coverage.*")):
        data = coverage.CoverageData(basename=str(path))
        try:
            data.read()
        except coverage.CoverageException:
            continue  # the process was killed while it wrote
        yield data


def _merge(lines: dict[str, dict[str, list[str]]], data: Any, copy: Path, tests: Any) -> None:
    for name in data.measured_files():
        path = Path(name)
        if not path.is_relative_to(copy):
            continue
        of_file = lines.setdefault(path.relative_to(copy).as_posix(), {})
        for line, contexts in data.contexts_by_lineno(name).items():
            found = set(contexts) & {*tests, OUTSIDE}
            if found:
                of_file[str(line)] = sorted(found.union(of_file.get(str(line), [])))
    for path_name in [path_name for path_name, of_file in lines.items() if not of_file]:
        del lines[path_name]
