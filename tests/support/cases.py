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

    Raises ValueError if there is no row: the test would always pass.
    """
    table = [
        (name_of(row), {names: row} if isinstance(names, str) else dict(zip(names, row, strict=True))) for row in rows
    ]
    if not table:
        raise ValueError(f"no row has {names}")

    def decorated(test: Test) -> Test:
        @wraps(test)
        def run(subtests: pytest.Subtests, **fixtures: Any) -> None:
            for name, row in table:
                with _reported(subtests, name):
                    test(**row, **fixtures)

        @wraps(test)
        async def run_async(subtests: pytest.Subtests, **fixtures: Any) -> None:
            for name, row in table:
                with _reported(subtests, name):
                    await test(**row, **fixtures)

        chosen: Any = run_async if inspect.iscoroutinefunction(test) else run
        # pytest reads the names of the fixtures from the signature.
        signature = inspect.signature(test)
        fixtures = [each for name, each in signature.parameters.items() if name not in table[0][1]]
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
