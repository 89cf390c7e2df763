"""The endpoint for a fleet of docs/examples/fleet-endpoint: PostgreSQL and the workers, on loopback."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tests.receivers.programs import EXAMPLES, PYTHON, Database, needed, postgres, running
from tests.support.ports import free_port

FOLDER = EXAMPLES / "fleet-endpoint"
STATEMENT = "INSERT INTO token SELECT sha256(convert_to('token-' || n, 'UTF8')), 'site-' || n FROM generate_series"


@dataclass(frozen=True, slots=True)
class Fleet:
    """The running endpoint. The token of `site-7` is `token-7`."""

    url: str
    database: Database
    process: int
    """Id of the parent of the workers."""


@contextlib.contextmanager
def fleet(
    folder: Path,
    sites: int,
    workers: int = 1,
    environ: Mapping[str, str] = MappingProxyType({}),
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Fleet]:
    """Serve the endpoint with the tokens of `site-0` … until the block ends. `settings` are those of PostgreSQL."""
    needed("python", "bin/python")
    with postgres(folder / "postgres.log", **settings) as database:
        database.load(FOLDER / "schema.sql")
        database.run(f"{STATEMENT}(0, {sites - 1}) AS n")
        port = free_port()
        command: list[str | Path] = [PYTHON, "-m", "uvicorn", "endpoint:app", "--app-dir", FOLDER, "--port", str(port)]
        command += ["--workers", str(workers), "--timeout-keep-alive", "120", "--no-access-log", "--backlog", "4096"]
        variables = {**os.environ, "DATABASE_URL": database.url, **environ}
        with running(command, port, folder / "uvicorn.log", variables) as process:
            yield Fleet(f"http://127.0.0.1:{port}/v1/telemetry", database, process.pid)
