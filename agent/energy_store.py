"""Where the days of the counters are kept, so that a restart loses nothing. A broken file never stops the agent."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path

import structlog

from agent.energy import Day

log = structlog.get_logger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS day (
    counter TEXT PRIMARY KEY, date TEXT NOT NULL, energy REAL NOT NULL, last REAL NOT NULL, at REAL NOT NULL,
    peak REAL NOT NULL, whole INTEGER NOT NULL
) STRICT
"""


class EnergyStore:
    """One row per counter. Thread-safe; `save` waits for the disk."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._lock = threading.Lock()
        self._failing = False

    @classmethod
    def open(cls, path: Path) -> EnergyStore:
        """Open or begin the store; in memory, and saying so, where the disk does not let us."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return cls(_connect(path))
        except (OSError, sqlite3.DatabaseError) as error:
            log.warning("energies_unreadable", path=str(path), reason=str(error))
        with contextlib.suppress(OSError, sqlite3.DatabaseError):
            path.rename(path.with_name(path.name + ".damaged"))
            return cls(_connect(path))
        return cls(_connect(Path(":memory:")))

    def load(self) -> dict[str, Day]:
        with self._lock:
            rows = self._db.execute("SELECT counter, date, energy, last, at, peak, whole FROM day")
            return {
                counter: Day(date, energy, last, at, peak, bool(whole))
                for counter, date, energy, last, at, peak, whole in rows
            }

    def save(self, days: Mapping[str, Day]) -> None:
        """Keep the days of these counters; a full or read-only disk is reported once."""
        rows = [
            (counter, day.date, day.energy, day.last, day.at, day.peak, int(day.whole)) for counter, day in days.items()
        ]
        try:
            with self._lock, self._db:
                self._db.executemany("INSERT OR REPLACE INTO day VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        except sqlite3.DatabaseError as error:
            (log.debug if self._failing else log.warning)("energies_not_saved", reason=str(error))
            self._failing = True
        else:
            self._failing = False

    def close(self) -> None:
        with self._lock:
            self._db.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        with connection:
            connection.execute(_SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection
