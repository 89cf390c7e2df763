"""Runs pytest in forked processes, each with a copy of the tree of its own.

The parent has only imported what the tests import from outside the repository. So a child starts quickly, and imports
the changed file like any other.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
OURS = {"agent", "drivers", "tests", "benchmarks"}
PRELOADED = [
    "_pytest.assertion",
    "hypothesis.strategies",
    "httpx",
    "prometheus_client",
    "pydantic_settings",
    "pymodbus.server",
    "pytest_asyncio",
    "respx",
    "rich.console",
    "rich.live",
    "structlog",
    "sunspec2.mdef",
    "tenacity",
    "typer.testing",
    "cryptography.x509",
]
MEMORY = 4 << 30
"""Bytes that a child may allocate: a change can make a loop endless."""
TIME_IS_UP = "time is up"
PYTEST = ["-q", "--no-header", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
"""Arguments of each run; the warning would say that plugins are already imported."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run of pytest. `prepare` gets the copy of the tree before, and what it returns is called after."""

    name: str
    run: Callable[[Path], int]
    """Runs in the child; the working directory is the copy."""
    limit_s: float
    prepare: Callable[[Path], Callable[[], None]] = lambda _: lambda: None


@dataclass(frozen=True, slots=True)
class Ended:
    job: Job
    status: int | str
    """Exit status, "signal N" or `TIME_IS_UP`."""
    copy: Path
    took_s: float

    @property
    def output(self) -> str:
        return _output(self.copy).read_text(errors="replace")


@dataclass(frozen=True, slots=True)
class _Running:
    job: Job
    pid: int
    copy: Path
    undo: Callable[[], None]
    began: float


def preload() -> None:
    for name in PRELOADED:
        importlib.import_module(name)


@contextlib.contextmanager
def copies(count: int, root: Path = ROOT) -> Iterator[list[Path]]:
    """Copies of the files that git knows or would add, compiled, in a folder that is removed at the end.

    Raises:
        RuntimeError: The tests cannot be collected.
    """
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"mutation-{os.getpid()}"
    try:
        first, *others = found = [folder / str(number) / "tree" for number in range(count)]
        for name in filter(None, names):
            if (root / name).is_file():
                (first / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / name, first / name)
        _compile(first)
        for copy in others:
            shutil.copytree(first, copy)
        yield found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _compile(copy: Path) -> None:
    """Has pytest compile the copy, so that a child compiles nothing but the changed file."""

    def collect(_: Path) -> int:
        sys.dont_write_bytecode = False
        return int(pytest.main([*PYTEST, "--collect-only", "tests"]))

    job = Job("collect", collect, 300.0)
    for ended in run_all(iter([job]), [copy], time.monotonic() + job.limit_s):
        if ended.status != 0:
            raise RuntimeError(f"the tests cannot be collected: {ended.status}\n{ended.output[-2000:]}")


def run_all(jobs: Iterator[Job], folders: list[Path], until: float) -> Iterator[Ended]:
    """Runs one job in each folder at a time. No job starts after `until` (monotonic); then those that run are ended."""
    free, running = list(folders), dict[int, _Running]()
    try:
        while True:
            while free and time.monotonic() < until and (job := next(jobs, None)):
                started = _start(job, free.pop())
                running[os.pidfd_open(started.pid)] = started
            if not running:
                return
            deadline = min(until, *(each.began + each.job.limit_s for each in running.values()))
            ready, _, _ = select.select([*running], [], [], max(0.0, deadline - time.monotonic()))
            over = time.monotonic() >= until
            for fd, each in list(running.items()):
                late = over or time.monotonic() >= each.began + each.job.limit_s
                if fd in ready or late:
                    del running[fd]
                    status = _end(each, fd)
                    free.append(each.copy)
                    if fd in ready or not over:
                        yield Ended(each.job, status if fd in ready else TIME_IS_UP, each.copy, _since(each))
    finally:
        for fd, each in running.items():
            _end(each, fd)


def _since(each: _Running) -> float:
    return time.monotonic() - each.began


def _end(each: _Running, fd: int) -> int | str:
    """Ends the child and the processes of its tests, and undoes the change."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(each.pid, signal.SIGKILL)
    _, status = os.waitpid(each.pid, 0)
    os.close(fd)
    each.undo()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else f"signal {-code}"


def _start(job: Job, copy: Path) -> _Running:
    temporary = copy.with_name("tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(exist_ok=True)  # a process that a test left may still write there
    undo = job.prepare(copy)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _child(job, copy, temporary)
    # Both set the group: whichever comes first, killpg finds it.
    with contextlib.suppress(PermissionError):
        os.setpgid(pid, pid)
    return _Running(job, pid, copy, undo, time.monotonic())


def _output(copy: Path) -> Path:
    return copy.with_name("output")


def _child(job: Job, copy: Path, temporary: Path) -> None:
    """Never returns."""
    status: Any = 70
    try:
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        with _output(copy).open("wb") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        os.chdir(copy)
        paths = [str(copy), *(path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path)]
        os.environ |= {"PYTHONPATH": os.pathsep.join(paths), "TMPDIR": str(temporary)}
        for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
            del sys.modules[name]
        sys.path[:] = [str(copy), *(path for path in sys.path if path not in {"", str(ROOT)})]
        importlib.invalidate_caches()
        status = job.run(copy)
    except BaseException:  # noqa: BLE001 - os._exit would hide it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(status))
