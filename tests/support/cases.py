"""Tests that check every row of a table.

An item of pytest costs about 5 ms: each worker of xdist collects it, and its reports go to the controller. If a check
takes less, the rows of its table share an item. `subtests` reports each row that fails, with name and assertion. It is
not used for a row that passes, because it would send a report of it too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import pytest

Test = Callable[..., Any]


def for_each(
    names: str | tuple[str, ...], rows: Iterable[Any], name_of: Callable[[Any], str] = str
) -> Callable[[Test], Test]:
    """Call the test with each row, and report every row that fails. All rows have the same fixtures.

    `names` and `rows` are those of `pytest.mark.parametrize`. `name_of` returns the name of a row for the report.

    `rows` are read when the test runs, so that collection does not compute them. A test without rows fails.
    """
    arguments = (names,) if isinstance(names, str) else names

    def table() -> Iterator[tuple[str, dict[str, Any]]]:
        empty = True
        for row in rows:
            empty = False
            yield name_of(row), dict(zip(arguments, (row,) if isinstance(names, str) else row, strict=True))
        if empty:
            pytest.fail(f"there is no row of {names}")

    def decorated(test: Test) -> Test:
        @wraps(test)
        def run(subtests: pytest.Subtests, **fixtures: Any) -> None:
            for name, row in table():
                with _reported(subtests, name):
                    test(**row, **fixtures)

        @wraps(test)
        async def run_async(subtests: pytest.Subtests, **fixtures: Any) -> None:
            for name, row in table():
                with _reported(subtests, name):
                    await test(**row, **fixtures)

        chosen: Any = run_async if inspect.iscoroutinefunction(test) else run
        # pytest reads the names of the fixtures from the signature.
        signature = inspect.signature(test)
        fixtures = [each for name, each in signature.parameters.items() if name not in arguments]
        subtests = inspect.Parameter("subtests", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        chosen.__signature__ = signature.replace(parameters=[subtests, *fixtures])
        return chosen  # type: ignore[no-any-return]

    return decorated


@contextmanager
def _reported(subtests: pytest.Subtests, name: str) -> Iterator[None]:
    try:
        yield
    except BaseException:  # pytest.fail raises no Exception
        with subtests.test(name):
            raise
