"""Stores what `agent.aggregation` needs after a restart. A disk failure never stops the agent.

The file has the ledgers of counters, the nights of inverters, the published energies, and the time of the last push.

- A damaged file is set aside, and a new file is created. Each `save` writes all data, so nothing is lost if the file is
  damaged or removed while the agent runs.
- If the disk is full, read-only or missing, the readable data are used. New data are written as soon as possible.
- Each row has a checksum.
- After its transaction, each save writes the write-ahead log back into the file, so that the log may be removed or
  damaged without harm. If this fails, the next save tries again.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from agent.domain import Night
from agent.energy.ledger import Ledger
from agent.energy.published import Published
from agent.energy.state import from_json, to_json
from agent.storage import (
    BUSY_S,
    NotAloneError,
    check_locks,
    checksum,
    in_place,
    keep_log_space,
    means_damage,
    open_for_writing,
    open_in_memory,
    open_read_only,
    require_sound,
    set_aside,
    transaction,
)
from drivers.model import Quantity

log = structlog.get_logger(__name__)

# Bytes that are allocated for the write-ahead log in advance, so that the next save succeeds on a full disk.
_LOG_BYTES = 64 * 1024

_QUANTITIES = {quantity.value: quantity for quantity in Quantity}

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS ledger (node_id TEXT NOT NULL, quantity TEXT NOT NULL, ledger TEXT NOT NULL,
                                          PRIMARY KEY (node_id, quantity)) STRICT, WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS night (node_id TEXT NOT NULL PRIMARY KEY, night TEXT NOT NULL)
                                         STRICT, WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS published (node_id TEXT NOT NULL, field TEXT NOT NULL, published TEXT NOT NULL,
                                             PRIMARY KEY (node_id, field)) STRICT, WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS push (id INTEGER PRIMARY KEY, time TEXT NOT NULL) STRICT",
)

_INSERT = {
    "ledger": "INSERT OR REPLACE INTO ledger VALUES (?, ?, ?)",
    "night": "INSERT OR REPLACE INTO night VALUES (?, ?)",
    "published": "INSERT OR REPLACE INTO published VALUES (?, ?, ?)",
    "push": "INSERT OR REPLACE INTO push VALUES (0, ?)",
}


class EnergyStore:
    """The open file, or a database in memory if the file cannot be opened. Thread-safe.

    Rows that cannot be read are left out and logged. `save` waits for the disk.
    """

    def __init__(self, path: Path, db: sqlite3.Connection, file: os.stat_result | None) -> None:
        """`file` is the file of `db`, or None if `db` is in memory."""
        self._path = path
        self._db = db
        self._file = file
        self._lock = threading.Lock()
        self._failing = False

    @classmethod
    def open(cls, path: Path) -> EnergyStore:
        """Open or create the file. If the disk fails, log a warning and use memory.

        Raises NotAloneError if another agent has locked the directory.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return cls(path, *_open(path))
        except (OSError, sqlite3.Error) as error:
            log.warning("energies_in_memory", path=str(path), reason=str(error))
        return cls(path, _in_memory(path), None)

    @property
    def in_memory(self) -> bool:
        """Whether the newest data are only in memory: the last save failed, or the file could not be opened."""
        return self._failing or self._file is None

    def load(self) -> dict[tuple[str, Quantity], Ledger]:
        """Return the ledgers by node id and quantity."""
        ledgers = {}
        with self._lock:
            rows = self._db.execute("SELECT node_id, quantity, ledger FROM ledger").fetchall()
        for node_id, quantity, row in rows:
            try:
                ledgers[node_id, _QUANTITIES[quantity]] = from_json(_unsealed(row))
            except (ValueError, TypeError, KeyError, IndexError) as error:
                log.warning("energy_unreadable", node=node_id, quantity=quantity, reason=str(error))
        return ledgers

    def load_nights(self) -> dict[str, Night]:
        """Return the nights by node id, with times in Unix seconds."""
        nights = {}
        with self._lock:
            rows = self._db.execute("SELECT node_id, night FROM night").fetchall()
        for node_id, row in rows:
            try:
                nights[node_id] = Night(*map(float, _unsealed(row)))
            except (ValueError, TypeError) as error:
                log.warning("night_unreadable", node=node_id, reason=str(error))
        return nights

    def load_published(self) -> dict[tuple[str, str], Published]:
        """Return the published energies by node id and field."""
        published = {}
        with self._lock:
            rows = self._db.execute("SELECT node_id, field, published FROM published").fetchall()
        for node_id, field, row in rows:
            try:
                date, energy, fell = _unsealed(row)
                published[node_id, field] = Published(str(date), float(energy), bool(fell))
            except (ValueError, TypeError) as error:
                log.warning("published_unreadable", node=node_id, field=field, reason=str(error))
        return published

    def load_time(self) -> int:
        """Return the Unix second of the last push that was saved; 0 if there is none that can be read."""
        with self._lock:
            rows = self._db.execute("SELECT time FROM push").fetchall()
        for (row,) in rows:
            try:
                return int(_unsealed(row)[0])
            except (ValueError, TypeError, IndexError) as error:
                log.warning("push_time_unreadable", reason=str(error))
        return 0

    def save(
        self,
        ledgers: Mapping[tuple[str, Quantity], Ledger],
        nights: Mapping[str, Night] | None = None,
        published: Mapping[tuple[str, str], Published] | None = None,
        time: int = 0,
    ) -> None:
        """Write all data. `time` is the Unix second of the last push, 0 if unknown.

        If the data cannot be written, no error is raised. The log shows the first of several failed saves in a row, and
        the first successful save after a failed save or a failed `open`.
        """
        rows: dict[str, Sequence[tuple[str, ...]]] = {
            "ledger": [(node, quantity.value, _sealed(to_json(each))) for (node, quantity), each in ledgers.items()],
            "night": [(node_id, _sealed(night)) for node_id, night in (nights or {}).items()],
            "published": [(*key, _sealed(each)) for key, each in (published or {}).items()],
            "push": [(_sealed([time]),)] if time else [],
        }
        try:
            with self._lock:
                before = self.in_memory
                if self._file is None or (not in_place(self._file, self._path) and _is_alone()):
                    self._reopen()
                try:
                    self._write(rows)
                except sqlite3.Error as error:
                    if not means_damage(error):
                        raise
                    self._reopen()
                    self._write(rows)
        except (OSError, sqlite3.Error, NotAloneError) as error:
            (log.debug if self._failing else log.warning)("energies_not_saved", reason=str(error))
            self._failing = True
        else:
            self._failing = False
            if before:
                log.info("energies_recovered", path=str(self._path))

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _write(self, rows: Mapping[str, Sequence[tuple[str, ...]]]) -> None:
        with transaction(self._db):
            for table, values in rows.items():
                self._db.executemany(_INSERT[table], values)
        with contextlib.suppress(sqlite3.Error):  # the next save tries again
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            keep_log_space(self._path, _LOG_BYTES)

    def _reopen(self) -> None:
        """Open the file at the path again. If that fails, use a copy in memory, and raise the error."""
        self._db.close()
        self._db, self._file = _in_memory(self._path), None
        db, file = _open(self._path)
        self._db.close()
        self._db, self._file = db, file


def _is_alone() -> bool:
    """Return False if another agent has locked the directory. This agent then uses its open file until it stops."""
    try:
        check_locks()
    except NotAloneError:
        return False
    return True


def _open(path: Path) -> tuple[sqlite3.Connection, os.stat_result]:
    """Open or create the file. A damaged file is set aside first. Raises OSError, sqlite3.Error and NotAloneError."""
    try:
        return _connect(path)
    except sqlite3.Error as error:
        if not means_damage(error):
            raise
        log.warning("energies_unreadable", path=str(path), reason=str(error))
    set_aside(path, ".damaged")
    return _connect(path)


def _in_memory(path: Path) -> sqlite3.Connection:
    """Return a database in memory, with the data of the file if it is readable."""
    memory = open_in_memory()
    with contextlib.suppress(OSError, sqlite3.Error), contextlib.closing(open_read_only(path)) as disk:
        require_sound(disk)
        disk.backup(memory)
    _create_tables(memory)
    return memory


def _connect(path: Path) -> tuple[sqlite3.Connection, os.stat_result]:
    db = open_for_writing(path, synchronous="NORMAL", exclusive=True, busy_s=BUSY_S)
    try:
        _create_tables(db)
        return db, path.stat()
    except BaseException:
        db.close()
        raise


def _create_tables(db: sqlite3.Connection) -> None:
    for table in _SCHEMA:
        db.execute(table)


def _sealed(values: Sequence[object]) -> str:
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    return f"{_crc(text)} {text}"


def _unsealed(row: str) -> list[Any]:
    crc, _, text = row.partition(" ")
    if crc != _crc(text):
        raise ValueError("wrong checksum")
    return list(json.loads(text))


def _crc(text: str) -> str:
    return f"{checksum(text.encode()):08x}"
