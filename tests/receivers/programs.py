"""Programs that a test starts on loopback and ends again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.ports import free_port

REPO = Path(__file__).parents[2]
EXAMPLES = REPO / "docs/examples"
INSTALLED = REPO / ".venv-receivers"
PYTHON = INSTALLED / "bin/python"
START_S = 120.0


def needed(name: str, path: str) -> Path:
    """Return the path of an installed program. Skip the test with the reason if `tests/receivers/install` has none."""
    if not (INSTALLED / path).exists():
        reason = INSTALLED / f"{name}.missing"
        pytest.skip(reason.read_text(encoding="utf-8").strip() if reason.exists() else f"{name} is not installed")
    return INSTALLED / path


@contextlib.contextmanager
def running(
    command: list[str | Path], port: int, log: Path, environ: Mapping[str, str] = os.environ, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the block ends, from the moment in which it listens on `port`."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environ,
            start_new_session=True,
            **options,
        )
        try:
            _wait_for(port, process, log)
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)  # PostgreSQL: end all sessions and stop
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(30)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and children that did not end
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert process.poll() is None, log.read_text(encoding="utf-8", errors="replace")
        assert time.monotonic() < end, log.read_text(encoding="utf-8", errors="replace")
        time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Database:
    """A PostgreSQL server with a data directory of its own."""

    url: str
    port: int
    bin: Path
    process: int
    """Id of the server's first process."""

    def run(self, *sql: str) -> list[list[str]]:
        """Run statements and return the rows of the last one."""
        command: list[str | Path] = [self.bin / "psql", self.url, "-XAtq", "-v", "ON_ERROR_STOP=1", "-F", "\x1f"]
        for each in sql:
            command += ["-c", each]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [line.split("\x1f") for line in done.stdout.splitlines()]

    def load(self, file: Path) -> None:
        subprocess.run([self.bin / "psql", self.url, "-Xq", "-v", "ON_ERROR_STOP=1", "-f", file], check=True)


def postgres_programs() -> Path | None:
    """Return the directory with initdb, postgres and psql: Debian's newest version, else that of the PATH."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda place: int(place.parent.name), reverse=True)
    if found := shutil.which("postgres"):
        places.append(Path(found).resolve().parent)
    return next((place for place in places if all((place / name).exists() for name in ("initdb", "psql"))), None)


@contextlib.contextmanager
def postgres(log: Path, **settings: str) -> Iterator[Database]:
    """Serve PostgreSQL on a free port of 127.0.0.1. Skip the test if it is not installed.

    PostgreSQL does not run as root. Root runs it as the user `postgres`, or else `nobody`.
    """
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt install postgresql)")
    with tempfile.TemporaryDirectory(prefix="receivers-") as scratch:
        folder = Path(scratch)
        password = folder / "password"
        password.write_text("a-password")
        options: dict[str, Any] = {"cwd": scratch}
        if os.geteuid() == 0:
            user = _user()
            shutil.chown(folder, user)
            shutil.chown(password, user)
            options |= {"user": user, "extra_groups": []}
        initdb: list[str | Path] = [
            programs / "initdb",
            "-D",
            folder / "data",
            "-U",
            "telemetry",
            "--auth=scram-sha-256",
        ]
        initdb += ["--encoding=UTF8", "--locale=C.UTF-8", f"--pwfile={password}"]
        done = subprocess.run(initdb, check=False, capture_output=True, text=True, **options)
        assert done.returncode == 0, done.stderr
        port = free_port()
        keys = {"listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": "", **settings}
        command: list[str | Path] = [programs / "postgres", "-D", folder / "data"]
        for key, value in keys.items():
            command += ["-c", f"{key}={value}"]
        with running(command, port, log, **options) as process:
            url = f"postgresql://telemetry:a-password@127.0.0.1:{port}/postgres"
            database = Database(url, port, programs, process.pid)
            _wait_until_ready(database)
            yield database


def _user() -> str:
    import pwd

    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _wait_until_ready(database: Database) -> None:
    """The server listens before it accepts sessions."""
    end = time.monotonic() + START_S
    while subprocess.run(
        [database.bin / "pg_isready", "-q", "-d", database.url], check=False, capture_output=True
    ).returncode:
        assert time.monotonic() < end, "PostgreSQL does not accept connections"
        time.sleep(0.05)


async def until(condition: Any, within_s: float = START_S) -> None:
    """Wait until `condition()` is true."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - other processes change it
            await asyncio.sleep(0.05)
