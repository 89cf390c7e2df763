"""Energies on disks that are full, read-only, damaged, or swept by somebody."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from agent.aggregation import AggregationSettings, Aggregator
from agent.domain import Night
from agent.energy import store as energy_store
from agent.energy.ledger import Ledger
from agent.energy.published import Published
from agent.energy.readings import advance
from agent.energy.store import EnergyStore
from agent.storage import checksum, open_for_writing
from drivers.model import Quantity
from tests.faults.disk import fill, mount, small_disk

Ledgers = dict[tuple[str, Quantity], Ledger]


def ledgers(count: int = 300, value: float = 1000.0) -> Ledgers:
    return {
        (f"pv-{number}", Quantity.PRODUCED_ENERGY): advance(None, value + number, 1.75e9, None)
        for number in range(count)
    }


def kept(path: Path) -> Ledgers:
    store = EnergyStore.open(path)
    try:
        return store.load()
    finally:
        store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """With energies in it."""
    path = tmp_path / "energy.sqlite3"
    keep(path)
    return path


def keep(path: Path) -> None:
    store = EnergyStore.open(path)
    store.save(ledgers())
    store.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as folder:
        yield folder


@pytest.mark.parametrize("damage", [b"not a database" * 1000, b"\xff" * 4096, None])
def test_a_damaged_file_is_set_aside_at_the_start(path: Path, damage: bytes | None) -> None:
    content = path.read_bytes()
    page = 4096
    path.write_bytes(damage or content[:page] + b"\xa5" * page + content[2 * page :])
    with capture_logs() as logs:
        store = EnergyStore.open(path)
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("energies_unreadable", "warning")]
    assert store.load() == {}
    store.save(ledgers())
    store.close()
    assert kept(path) == ledgers()
    assert path.with_name("energy.sqlite3.damaged").exists()


def test_a_database_of_another_program_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[sqlite3.Connection] = []

    def opened(*args: Any, **options: Any) -> sqlite3.Connection:
        made.append(open_for_writing(*args, **options))
        return made[-1]

    monkeypatch.setattr(energy_store, "open_for_writing", opened)
    path = tmp_path / "energy.sqlite3"
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE account (owner TEXT)")
        other.execute("CREATE INDEX ledger ON account (owner)")
    keep(path)
    with pytest.raises(sqlite3.ProgrammingError):
        made[0].execute("SELECT 1")
    assert kept(path) == ledgers()
    assert path.with_name("energy.sqlite3.damaged").exists()


@pytest.mark.parametrize("byte", [b"9", b"\xff"])
def test_a_row_that_is_not_what_was_stored_is_left_out(path: Path, byte: bytes) -> None:
    content = path.read_bytes()
    assert content.count(b"[1007.0,") == 1
    path.write_bytes(content.replace(b"[1007.0,", b"[100" + byte + b".0,"))
    with capture_logs() as logs:
        found = kept(path)
    assert found == {key: ledger for key, ledger in ledgers().items() if key[0] != "pv-7"}
    assert [(entry["event"], entry["node"]) for entry in logs] == [("energy_unreadable", "pv-7")]


def changed_row(path: Path, column: str, text: str, of_node: str) -> None:
    """Store `text` with a right checksum, as a later release could."""
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        row = f"{checksum(text.encode()):08x} {text}"
        where = "" if column == "time" else f"WHERE node_id = '{of_node}'"
        db.execute(f"UPDATE {'push' if column == 'time' else column} SET {column} = ? {where}", (row,))


@pytest.mark.parametrize(
    ("column", "text"),
    [
        *(("ledger", text) for text in ("5", "[]", "[null, 1]", '["x", 1, 1, 1, 1, 1]')),
        *(("night", text) for text in ("5", "[1]", '["x", 1, 1, 1]')),
        *(("published", text) for text in ("5", "[1]", '["2026-06-01", [], false]')),
        *(("time", text) for text in ("5", "[]", '["x"]', "[null]")),
    ],
)
def test_a_row_of_another_shape_is_left_out_and_told(tmp_path: Path, column: str, text: str) -> None:
    path = tmp_path / "energy.sqlite3"
    counters = ledgers(2)
    nights = {node: Night(0.0, 1.75e9, 1.74e9, 1.73e9) for node, _ in counters}
    published = {(node, "today_energy_Wh"): Published("2026-06-01", 7000.0) for node, _ in counters}
    store = EnergyStore.open(path)
    store.save(counters, nights, published, 1_780_000_000)
    store.close()
    changed_row(path, column, text, "pv-1")
    again = EnergyStore.open(path)
    with capture_logs() as logs:
        found = [len(again.load()), len(again.load_nights()), len(again.load_published()), bool(again.load_time())]
    again.close()
    tables = ["ledger", "night", "published", "time"]
    assert found == [*(2 - (table == column) for table in tables[:3]), column != "time"]
    events = ["energy_unreadable", "night_unreadable", "published_unreadable", "push_time_unreadable"]
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [(events[tables.index(column)], "warning")]


def test_a_ledger_of_a_quantity_that_this_release_does_not_know_is_left_out_and_told(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE ledger SET quantity = 'unknown' WHERE node_id = 'pv-1'")
    with capture_logs() as logs:
        found = kept(path)
    assert found == {key: ledger for key, ledger in ledgers().items() if key[0] != "pv-1"}
    assert [(entry["event"], entry["quantity"]) for entry in logs] == [("energy_unreadable", "unknown")]


def test_the_folder_of_the_file_is_made_with_those_around_it(tmp_path: Path) -> None:
    keep(tmp_path / "state" / "of" / "energy.sqlite3")
    assert kept(tmp_path / "state" / "of" / "energy.sqlite3") == ledgers()


def test_no_other_process_uses_the_file_while_it_is_open(path: Path) -> None:
    store = EnergyStore.open(path)
    with (
        contextlib.closing(sqlite3.connect(path, timeout=0.0)) as other,
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        other.execute("SELECT * FROM ledger")
    store.close()


def test_what_is_removed_while_the_agent_runs_is_written_again(path: Path) -> None:
    store = EnergyStore.open(path)
    for file in path.parent.glob("energy.sqlite3*"):
        file.unlink()
    store.save(ledgers(value=5.0))
    store.close()
    assert kept(path) == ledgers(value=5.0)


def test_a_file_that_is_opened_again_leaves_no_other_connection_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[sqlite3.Connection] = []
    for name in ("_connect", "_in_memory"):
        opens = getattr(energy_store, name)

        def opened(path: Path, opens: Any = opens) -> Any:
            result = opens(path)
            made.append(result if isinstance(result, sqlite3.Connection) else result[0])
            return result

        monkeypatch.setattr(energy_store, name, opened)
    store = EnergyStore.open(path)
    path.unlink()
    store.save(ledgers())
    store.save(ledgers())
    assert len(made) == 3, "the first file, the memory while it is opened again, and the new file"
    assert made[2].execute("PRAGMA synchronous").fetchone() == (1,), "NORMAL"
    for number, db in enumerate(made):
        with pytest.raises(sqlite3.ProgrammingError) if number < 2 else contextlib.nullcontext():
            db.execute("SELECT 1")
    store.close()
    with pytest.raises(sqlite3.ProgrammingError):
        made[2].execute("SELECT 1")


def test_a_log_that_is_removed_before_a_kill_takes_no_energies_with_it(path: Path, tmp_path: Path) -> None:
    store = EnergyStore.open(path)
    for number in range(3):
        store.save(ledgers(value=float(number)))
        after_a_kill = tmp_path / f"{number}.sqlite3"
        shutil.copy(path, after_a_kill)
        assert kept(after_a_kill) == ledgers(value=float(number))
    store.close()


def test_what_is_damaged_while_the_agent_runs_is_written_again(path: Path) -> None:
    store = EnergyStore.open(path)
    store.load()
    with path.open("r+b") as file:
        file.truncate(5000)
    for _ in range(2):
        store.save(ledgers(600, value=5.0))
    store.close()
    assert kept(path) == ledgers(600, value=5.0)


def test_a_start_on_a_full_disk_goes_on_with_what_it_holds(disk: Path) -> None:
    path = disk / "energy.sqlite3"
    keep(path)
    filler = fill(disk)
    store = EnergyStore.open(path)
    assert store.load() == ledgers()
    with capture_logs() as logs:
        for _ in range(3):
            store.save(ledgers(value=5.0))
    assert [entry["log_level"] for entry in logs] == ["warning", "debug", "debug"]
    filler.unlink()
    store.save(ledgers(value=5.0))
    store.close()
    assert kept(path) == ledgers(value=5.0)
    assert not path.with_name("energy.sqlite3.damaged").exists()


def test_a_disk_that_fills_up_is_told_once_and_energies_are_saved_when_it_has_room(disk: Path) -> None:
    store = EnergyStore.open(disk / "energy.sqlite3")
    with capture_logs() as logs:
        for count in (2000, 4000):  # the second time the file has to grow again
            many = ledgers(count)
            assert not store.in_memory
            filler = fill(disk)
            for _ in range(3):
                store.save(many)
                assert store.in_memory
            filler.unlink()
            for _ in range(2):
                store.save(many)
                assert not store.in_memory
            assert store.load() == many
    store.close()
    told = [entry["event"] for entry in logs if entry["log_level"] != "debug"]
    assert told == ["energies_not_saved", "energies_recovered"] * 2


def test_a_save_on_a_full_disk_succeeds_if_the_space_of_the_log_is_enough(disk: Path, tmp_path: Path) -> None:
    """The file cannot grow, so the energies are in the log until the disk has room."""
    path = disk / "energy.sqlite3"
    store = EnergyStore.open(path)
    store.save(ledgers(20))
    filler = fill(disk)
    size = path.stat().st_size
    with capture_logs() as logs:
        store.save(ledgers(60))
    assert not logs
    assert not store.in_memory
    after_a_kill = tmp_path / "energy.sqlite3"
    for file in (path, path.with_name("energy.sqlite3-wal")):
        shutil.copy(file, tmp_path)
    assert kept(after_a_kill) == ledgers(60)
    filler.unlink()
    store.save(ledgers(60))
    assert path.stat().st_size > size
    store.close()


def test_energies_are_saved_again_at_the_next_push_after_a_save_that_failed(path: Path) -> None:
    store = EnergyStore.open(path)
    aggregator = Aggregator([], AggregationSettings(), store)
    aggregator.save(0.0)
    assert not aggregator.save_due(60.0)
    path.unlink()
    path.mkdir()
    aggregator.save(900.0)
    assert store.in_memory
    assert aggregator.save_due(960.0)
    path.rmdir()
    aggregator.save(960.0)
    assert not store.in_memory
    assert not aggregator.save_due(1020.0)
    store.close()


def test_a_start_on_a_read_only_disk_goes_on_with_what_it_holds(disk: Path) -> None:
    path = disk / "energy.sqlite3"
    keep(path)
    mount("-o", "remount,ro", disk)
    with capture_logs() as logs:
        store = EnergyStore.open(path)
        assert store.load() == ledgers()
        store.save(ledgers(value=5.0))
        mount("-o", "remount,rw", disk)
        store.save(ledgers(value=6.0))
    assert [entry["event"] for entry in logs] == ["energies_in_memory", "energies_not_saved", "energies_recovered"]
    store.close()
    assert kept(path) == ledgers(value=6.0)


def test_a_damaged_file_on_a_read_only_disk_is_not_used(disk: Path) -> None:
    path = disk / "energy.sqlite3"
    keep(path)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xa5" * 4096 + content[8192:])
    mount("-o", "remount,ro", disk)
    store = EnergyStore.open(path)
    assert store.in_memory
    assert store.load() == {}
    store.close()


def test_a_read_only_disk_after_a_kill(disk: Path) -> None:
    """The newest part stands in the log, and nothing can be written beside it."""
    path = disk / "energy.sqlite3"
    keep(path)
    store = EnergyStore.open(path)
    store.save(ledgers(value=5.0))
    copies = {file: file.read_bytes() for file in disk.iterdir()}
    store.close()
    for file, content in copies.items():
        file.write_bytes(content)
    mount("-o", "remount,ro", disk)
    assert kept(path) == ledgers(value=5.0)


def test_a_file_that_somebody_else_holds_is_left_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy_store, "BUSY_S", 0.01)
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        store = EnergyStore.open(path)
        store.save(ledgers(value=5.0))
        other.execute("ROLLBACK")
    store.save(ledgers(value=6.0))
    store.close()
    assert kept(path) == ledgers(value=6.0)


def test_a_number_that_json_does_not_have_is_not_written(tmp_path: Path) -> None:
    store = EnergyStore.open(tmp_path / "energy.sqlite3")
    with contextlib.closing(store):
        store.save(ledgers(1))
        with pytest.raises(ValueError, match="JSON compliant"):
            store.save({}, published={("pv-0", "today_energy_Wh"): Published("2026-06-01", inf)})
        assert (store.load(), store.load_published()) == (ledgers(1), {})


def test_the_time_of_the_last_push_is_kept(tmp_path: Path) -> None:
    store = EnergyStore.open(tmp_path / "energy.sqlite3")
    assert store.load_time() == 0
    store.save({}, time=1_780_000_000)
    store.save({})
    store.close()
    again = EnergyStore.open(tmp_path / "energy.sqlite3")
    assert again.load_time() == 1_780_000_000
    again.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "energy.sqlite3")) as db:
        db.execute("UPDATE push SET time = 'damaged'")
        db.commit()
    damaged = EnergyStore.open(tmp_path / "energy.sqlite3")
    with capture_logs() as logs:
        assert damaged.load_time() == 0
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("push_time_unreadable", "warning")]
    damaged.close()


def test_a_published_energy_that_is_not_what_was_stored_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "energy.sqlite3"
    published = {("pv-1", "today_energy_Wh"): Published("2026-06-01", 7000.0, fell=True)}
    store = EnergyStore.open(path)
    store.save({}, published=published | {("pv-2", "today_energy_Wh"): Published("2026-06-01", 5000.0, fell=False)})
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE published SET published = replace(published, '5000', '9000')")
    again = EnergyStore.open(path)
    with capture_logs() as logs:
        assert again.load_published() == published
    told = [(entry["event"], entry["node"], entry["field"], entry["log_level"]) for entry in logs]
    assert told == [("published_unreadable", "pv-2", "today_energy_Wh", "warning")]
    again.close()
