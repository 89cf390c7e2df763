"""Changes the code at random, and reports the changes that no test notices.

    python -m tests.mutation [--seed N] [--count N] [--minutes N] [--workers N] [PATH ...]

A change is one operator, constant, condition, argument or statement of a line. The sample is the same for a seed. Each
change runs in a copy of the tree, against the tests that run its line; the nearest and quickest first, until one fails.
The first run measures which test runs which line, which takes as long as two runs of the suite.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.mutation import touched
from tests.mutation.changes import Change, changes
from tests.mutation.children import PYTEST, ROOT, TIME_IS_UP, Job, copies, preload, run_all
from tests.mutation.plugin import Chosen

PACKAGES = [
    *(f"agent/{name}" for name in ("energy", "aggregation", "contract", "delivery", "outbox", "polling", "domain")),
    *(f"drivers/{name}" for name in ("registers", "modbus", "profile", "sunspec")),
]
NO_CHANGE = Path(__file__).with_name("no_change.toml")
TESTS_S = 120.0
"""Tests of one change, as long as they take without it."""
NO_TESTS = int(pytest.ExitCode.NO_TESTS_COLLECTED)
"""The tests of a change are known, so exit statuses from here on are a mistake of this tool."""


@dataclass(frozen=True, slots=True)
class Trial:
    change: Change
    tests: list[str]
    job: Job


def main() -> int:
    options = _options()
    until = time.monotonic() + 60 * options.minutes
    preload()
    known = touched.Touched()
    with copies(options.workers) as folders:
        for record in _records(folders, until):
            known.add(record)
        print(f"mutation: {len(known.seconds)} tests, {len(known.failed)} of them not used: they fail or are skipped")
        sample = _sample(options.paths or PACKAGES, options.seed, options.count)
        trials = {str(change): _trial(change, known) for change in sample}
        return _report(trials, folders, options.seed, until)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mutation", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--count", type=int, default=200, help="changes, at most one on a line")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("paths", nargs="*", help="files or folders to change instead of the decisive packages")
    return parser.parse_args()


def _records(folders: list[Path], until: float) -> Iterator[touched.Record]:
    missing = []
    for test_file in touched.test_files():
        record = touched.load(test_file)
        if record and record.is_current():
            yield record
        else:
            missing.append(test_file)
    if missing:
        print(f"mutation: measures what {len(missing)} test files run", flush=True)
    done = 0
    for ended in run_all(map(touched.job, missing), folders, until):
        done += 1
        yield touched.keep(ended)
    if done < len(missing):
        raise SystemExit("mutation: the time was up while it measured; the next run goes on from here")


def _sample(paths: list[str], seed: int, count: int) -> list[Change]:
    """At most one change of a line, so that tables of constants do not outweigh the rest."""
    without_effect = {(each["path"], each["old"], each["new"], each["line"]) for each in no_change()}
    by_line: dict[tuple[str, int], list[Change]] = {}
    for path in paths:
        for file in sorted((ROOT / path).rglob("*.py")) if (ROOT / path).is_dir() else [ROOT / path]:
            name, source = file.relative_to(ROOT).as_posix(), file.read_bytes()
            text = source.decode().splitlines()
            for change in changes(name, source):
                if (name, change.old, change.new, text[change.line - 1].strip()) not in without_effect:
                    by_line.setdefault((name, change.line), []).append(change)
    dice = random.Random(seed)
    lines = dice.sample(sorted(by_line), min(count, len(by_line)))
    return [dice.choice(by_line[line]) for line in lines]


def no_change() -> list[dict[str, str]]:
    """Changes that cannot be noticed, with the reason: `path`, `line` (its text), `old`, `new`, `reason`."""
    found: list[dict[str, str]] = tomllib.loads(NO_CHANGE.read_text())["change"]
    return found


def _trial(change: Change, known: touched.Touched) -> Trial:
    found = known.tests_of(change.path, change.line, change.statement, at_import=change.at_import)
    folder, importing = f"tests/{Path(change.path).parent.as_posix()}/", known.importing(change.path)
    near, far, seconds = list[str](), list[str](), 0.0
    for test in sorted(found, key=lambda test: (test not in importing, known.seconds[test])):
        seconds += known.seconds[test]
        if near and seconds > TESTS_S:
            break
        (near if test in importing or test.startswith(folder) or not near else far).append(test)
    job = Job(str(change), partial(_run, near, far), 3 * min(seconds, 1.5 * TESTS_S) + 30.0, partial(_prepare, change))
    return Trial(change, near + far, job)


def _prepare(change: Change, copy: Path) -> partial[None]:
    path = copy / change.path
    source, status = path.read_bytes(), path.stat()
    path.write_bytes(change.apply(source))
    return partial(_undo, path, source, (status.st_atime_ns, status.st_mtime_ns))


def _undo(path: Path, source: bytes, times: tuple[int, int]) -> None:
    path.write_bytes(source)
    os.utime(path, ns=times)


def _run(near: list[str], far: list[str], copy: Path) -> int:
    """Runs in a child. Most changes are noticed nearby, where few test files have to be collected."""
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    if not far:
        return _pytest(near, copy)
    pid = os.fork()
    if pid == 0:
        os._exit(_pytest(near, copy))
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return _pytest(far, copy) if code == 0 else max(code, 1)  # negative: ended by a signal


def _pytest(tests: list[str], copy: Path) -> int:
    files = dict.fromkeys(test.partition("::")[0] for test in tests)
    basetemp = copy.with_name("tmp") / "pytest"
    arguments = [*PYTEST, "-x", "--tb=line", f"--basetemp={basetemp}", *files]
    try:
        return int(pytest.main(arguments, plugins=[Chosen(tests)]))
    except (pytest.PytestUnraisableExceptionWarning, ExceptionGroup):  # what was left open and is found at the end
        return int(pytest.ExitCode.TESTS_FAILED)


def _report(trials: dict[str, Trial], folders: list[Path], seed: int, until: float) -> int:
    """Prints the survivors and the score. Lines that no test runs count among the changes that had their turn."""
    turns = {name: turn for turn, name in enumerate(trials)}
    last, noticed, survived = -1, 0, 0
    for ended in run_all((trial.job for trial in trials.values() if trial.tests), folders, until):
        name = ended.job.name
        last = max(last, turns[name])
        if isinstance(ended.status, int) and ended.status >= NO_TESTS:
            raise RuntimeError(f"{name}: pytest did not run them: {ended.status}\n{ended.output[-2000:]}")
        if ended.status == 0:
            survived += 1
            print(f"survived: {name} ({len(trials[name].tests)} tests)", flush=True)
        else:
            noticed += 1
            if ended.status == TIME_IS_UP:
                print(f"noticed, because the tests did not end: {name}", flush=True)
    if noticed + survived == sum(bool(trial.tests) for trial in trials.values()):
        last = len(trials)
    for name, trial in trials.items():
        if not trial.tests and turns[name] <= last:
            survived += 1
            print(f"survived: {name} (no test runs the line)")
    tried = noticed + survived
    share = 100 * noticed / tried if tried else 0.0
    print(
        f"mutation: seed {seed}: {noticed} of {tried} changes noticed ({share:.1f} %), {survived} survived, "
        f"{len(trials) - tried} not tried before the time was up"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
