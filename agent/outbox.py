"""The durable queue: bytes in, the same bytes out, until somebody else has them.

Invariants:

1. What `put` returned an id for is on disk (WAL, synchronous=FULL) and stays until `ack`, `park` or a drop by bound.
2. One message has one id and one body for ever; both survive restarts.
3. A record is in exactly one state: waiting or parked (dead letter).
4. Every record that leaves unacknowledged is counted with its reason in `drops`.
5. Opening never fails for what lies on the disk: a damaged file is set aside with a date and a new one begun; where
   nothing can be written the queue lives in memory and says so.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    body BLOB NOT NULL,
    created REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    refusals INTEGER NOT NULL DEFAULT 0,
    next_try REAL NOT NULL DEFAULT 0,
    parked TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS waiting ON message (seq) WHERE parked IS NULL;
"""
_COLUMNS = "seq, id, body, created, attempts, refusals, next_try, parked"


@dataclass(frozen=True, slots=True)
class Record:
    """One message; times in Unix seconds. `parked` is the reason of a dead letter."""

    seq: int
    id: str
    body: bytes
    created: float
    attempts: int
    refusals: int
    next_try: float
    parked: str | None


class Outbox:
    """Thread-safe; every call may wait for the disk, so that the event loop calls it in a worker thread."""

    def __init__(self, connection: sqlite3.Connection, max_age_s: float, now: Callable[[], float]) -> None:
        self._db = connection
        self._lock = threading.Lock()
        self._max_age_s = max_age_s
        self._now = now
        self.drops: Counter[str] = Counter()

    @classmethod
    def open(cls, path: Path, *, max_age_s: float, max_size_mb: int, now: Callable[[], float] = time.time) -> Outbox:
        """Open or begin the queue at `path`. Never refuses to start."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = _connect(path, max_size_mb)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                return cls._in_memory(path, error, max_age_s, max_size_mb, now)
            aside = _set_aside(path)
            log.warning("outbox_damaged", path=str(path), set_aside=str(aside), reason=str(error))
            connection = _connect(path, max_size_mb)
        except OSError as error:
            return cls._in_memory(path, error, max_age_s, max_size_mb, now)
        return cls(connection, max_age_s, now)

    @classmethod
    def _in_memory(
        cls, path: Path, error: Exception, max_age_s: float, max_size_mb: int, now: Callable[[], float]
    ) -> Outbox:
        log.error("outbox_in_memory", path=str(path), reason=str(error), lost="what waits when the agent stops")
        return cls(_connect(Path(":memory:"), max_size_mb), max_age_s, now)

    def put(self, bodies: Sequence[bytes]) -> tuple[str, ...]:
        """Store messages, newest last; durable on return. The oldest make room when the bound is reached."""
        rows = [(f"msg_{uuid.uuid4().hex}", body, self._now()) for body in bodies]
        with self._lock:
            self._expire()
            while True:
                try:
                    with self._db:
                        self._db.executemany("INSERT INTO message (id, body, created) VALUES (?, ?, ?)", rows)
                    break
                except sqlite3.OperationalError:
                    if not self._drop_oldest(len(rows)):
                        raise
        return tuple(row[0] for row in rows)

    def get(self, seq: int) -> Record | None:
        """The record as it stands now, if it is still there."""
        return self._one("WHERE seq = ?", seq)

    def oldest(self, before: int, now: float) -> Record | None:
        """The next of the backlog: the oldest that waits, is due and stands before the record with seq `before`."""
        return self._one("WHERE parked IS NULL AND seq < ? AND next_try <= ? ORDER BY seq LIMIT 1", before, now)

    def live(self, after: int) -> list[Record]:
        """What waits and is newer than the record with seq `after`, oldest first."""
        return self._many("WHERE parked IS NULL AND seq > ? ORDER BY seq", after)

    def ack(self, record: Record) -> None:
        """Somebody else has it."""
        self._write("DELETE FROM message WHERE seq = ?", record.seq)

    def tried(self, record: Record, next_try: float, refused: bool) -> None:
        """An attempt that did not deliver; not before `next_try` again."""
        self._write(
            "UPDATE message SET attempts = attempts + 1, refusals = refusals + ?, next_try = ? WHERE seq = ?",
            int(refused),
            next_try,
            record.seq,
        )

    def park(self, record: Record, reason: str) -> None:
        """Make it a dead letter."""
        self.drops["parked"] += 1
        self._write("UPDATE message SET parked = ? WHERE seq = ?", reason, record.seq)

    def waiting(self) -> int:
        return int(self._scalar("SELECT count(*) FROM message WHERE parked IS NULL"))

    def parked(self) -> list[Record]:
        return self._many("WHERE parked IS NOT NULL ORDER BY seq")

    def last_seq(self) -> int:
        """The seq of the newest record ever put: what is newer is live."""
        return int(self._scalar("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'message'"))

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _expire(self) -> None:
        with contextlib.suppress(sqlite3.OperationalError), self._db:
            old = self._db.execute("DELETE FROM message WHERE created < ?", (self._now() - self._max_age_s,)).rowcount
            if old > 0:
                self.drops["age"] += old
                log.warning("messages_dropped", count=old, reason="older than outbox.max_age_s")

    def _drop_oldest(self, at_least: int) -> bool:
        count = max(at_least, 16)
        with self._db:
            gone = self._db.execute(
                "DELETE FROM message WHERE seq IN (SELECT seq FROM message ORDER BY parked IS NULL, seq LIMIT ?)",
                (count,),
            ).rowcount
        if gone > 0:
            self.drops["size"] += gone
            log.warning("messages_dropped", count=gone, reason="the outbox is full (outbox.max_size_mb)")
        return gone > 0

    def _write(self, statement: str, *arguments: object) -> None:
        with self._lock, self._db:
            self._db.execute(statement, arguments)

    def _scalar(self, statement: str) -> int:
        with self._lock:
            return int(self._db.execute(statement).fetchone()[0])

    def _many(self, clause: str, *arguments: object) -> list[Record]:
        with self._lock:
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM message {clause}", arguments)  # noqa: S608 - our own text
            return [Record(*row) for row in rows]

    def _one(self, clause: str, *arguments: object) -> Record | None:
        return next(iter(self._many(clause, *arguments)), None)


def _connect(path: Path, max_size_mb: int) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, timeout=5.0)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 64")
        page = connection.execute("PRAGMA page_size").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {max_size_mb * 1024 * 1024 // page}")
        _require_sound(connection)
        with connection:
            connection.executescript(_SCHEMA)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    except BaseException:
        connection.close()
        raise
    return connection


def _require_sound(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
        raise sqlite3.DatabaseError("the file is damaged")


def _set_aside(path: Path) -> Path:
    """Keep the damaged file for whoever wants to look, out of the way."""
    aside = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return aside
