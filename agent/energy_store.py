"""Where the days of the counters are kept, so that a restart loses nothing. A broken file never stops the agent."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from agent.energy import Ledger
from agent.energy_day import Basis, Day
from drivers.model import Quantity

log = structlog.get_logger(__name__)

_QUANTITIES = {quantity.value: quantity for quantity in Quantity}

_SCHEMA = """
CREATE TABLE IF NOT EXISTS ledger (node_id TEXT NOT NULL, quantity TEXT NOT NULL, ledger TEXT NOT NULL,
                                   PRIMARY KEY (node_id, quantity)) STRICT, WITHOUT ROWID
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

    def load(self) -> dict[tuple[str, Quantity], Ledger]:
        """The ledgers by node id and quantity; a row that makes no sense is left out and reported."""
        ledgers = {}
        with self._lock:
            rows = self._db.execute("SELECT node_id, quantity, ledger FROM ledger").fetchall()
        for node_id, quantity, row in rows:
            try:
                ledgers[node_id, _QUANTITIES[quantity]] = _ledger(row)
            except (ValueError, TypeError, KeyError) as error:
                log.warning("energy_unreadable", node=node_id, quantity=quantity, reason=str(error))
        return ledgers

    def save(self, ledgers: Mapping[tuple[str, Quantity], Ledger]) -> None:
        """Keep these ledgers; a full or read-only disk is reported once."""
        rows = [(node_id, quantity.value, _row(ledger)) for (node_id, quantity), ledger in ledgers.items()]
        try:
            with self._lock, self._db:
                self._db.executemany("INSERT OR REPLACE INTO ledger VALUES (?, ?, ?)", rows)
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


def _row(ledger: Ledger) -> str:
    """All but what is not worth keeping."""
    return json.dumps(ledger._replace(doubt=None, prior=None), allow_nan=False)


def _ledger(row: str) -> Ledger:
    value, at, changed, total, day, before, *_ = json.loads(row)
    yesterday = None if before is None else _day(before)
    return Ledger(float(value), float(at), float(changed), float(total), _day(day), yesterday)


def _day(row: list[Any]) -> Day:
    date, start, end, base, basis, believed = row
    return Day(str(date), float(start), float(end), float(base), Basis(basis), float(believed))
