"""What pytest loads in a child: it chooses and orders the tests, and records what they do."""

from __future__ import annotations

import time
from collections.abc import Generator

import coverage
import pytest
from hypothesis import Phase, settings
from hypothesis.internal.conjecture import engine


class Chosen:
    """Runs these tests, in this order."""

    def __init__(self, tests: list[str]) -> None:
        self._places = {test: place for place, test in enumerate(tests)}

    def pytest_sessionstart(self) -> None:
        # A failure is enough here; its smallest example is not needed.
        engine.MAX_SHRINKING_SECONDS = 0
        settings.register_profile("mutation", settings.get_profile("steady"), phases=(Phase.explicit, Phase.generate))
        settings.load_profile("mutation")

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self._places), key=lambda item: self._places[item.nodeid]
        )


class Recorder:
    """Measures each test under its name."""

    def __init__(self, measured: coverage.Coverage, environ: dict[str, str]) -> None:
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()
        self._measured = measured
        self._environ = environ

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        # The processes that the test starts have the same context.
        self._environ["MUTATION_TEST"] = item.nodeid
        self._measured.switch_context(item.nodeid)
        began = time.monotonic()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.monotonic() - began
            self._measured.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed or report.skipped:
            self.failed.add(report.nodeid)
