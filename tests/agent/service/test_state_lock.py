"""One agent per state directory, also after the directory was moved or replaced: two real processes."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import sys
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from agent.energy import EnergyStore
from agent.outbox import Store
from agent.storage import NotAloneError, alone, check_locks, open_for_writing
from drivers.model import Table
from tests.faults.modbus import FaultServer
from tests.support.outbox import bodies_of, opened
from tests.support.site import TOKEN, WAIT_S, Endpoint, configuration, daemon, device, sdm630


@asynccontextmanager
async def first(config: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """An agent whose end the test awaits."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent", "run", "--config", str(config)), stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    said = (await asyncio.wait_for(process.communicate(), WAIT_S))[1].decode()
    assert TOKEN not in said
    return process.returncode, said


def ids_by_tick(endpoint: Endpoint) -> dict[int, set[str]]:
    ids = defaultdict(set)
    for verdict, headers in endpoint.verdicts:
        if verdict.message is not None:
            ids[verdict.message["time"]].add(headers["webhook-id"])
    return ids


def stored(path: Path) -> list[int]:
    store = Store.open_beside(path)
    try:
        return [json.loads(record.body)["time"] for record in store.everything()]
    finally:
        store.close()


async def test_an_agent_whose_directory_was_moved_locks_the_new_one_and_goes_on(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with Endpoint() as endpoint:
        async with FaultServer({(1, Table.INPUT): sdm630(1.0, 2.0, 3.0)}) as meter:
            config = configuration(tmp_path, endpoint.url, device("meter-1", "grid", meter))
            async with daemon(config):
                await endpoint.wait_for(2)
                for number in range(2):
                    state.rename(tmp_path / f"moved-{number}")
                    count = len(endpoint.verdicts)
                    await endpoint.wait_for(count + 3)  # the queue is in a new directory
                    with pytest.raises(NotAloneError), alone(state):
                        pass
                async with first(config) as second:
                    status, said = await ended(second)
                assert status == 1
                assert "another agent is running" in said
                assert "Traceback" not in said
                count = len(endpoint.verdicts)
                await endpoint.wait_for(count + 2)
    assert all(len(ids) == 1 for ids in ids_by_tick(endpoint).values())


async def test_an_agent_stops_with_1_if_another_one_has_the_directory_that_replaced_its_own(tmp_path: Path) -> None:
    state, moved = tmp_path / "state", tmp_path / "moved"
    with Endpoint() as endpoint:
        async with FaultServer({(1, Table.INPUT): sdm630(1.0, 2.0, 3.0)}) as meter:
            config = configuration(tmp_path, endpoint.url, device("meter-1", "grid", meter))
            async with first(config) as displaced:
                await endpoint.wait_for(2)
                # Stopped, so that the second agent is the first one in the new directory.
                displaced.send_signal(signal.SIGSTOP)
                await asyncio.to_thread(os.waitid, os.P_PID, displaced.pid, os.WSTOPPED | os.WNOWAIT)
                state.rename(moved)
                async with daemon(config):
                    count = len(endpoint.verdicts)
                    await endpoint.wait_for(count + 2)
                    displaced.send_signal(signal.SIGCONT)
                    status, said = await ended(displaced)
                    assert status == 1
                    assert "another agent is running" in said
                    assert "Traceback" not in said
                    count = len(endpoint.verdicts)
                    await endpoint.wait_for(count + 2)
    # No tick was sent by both, and none of the displaced agent is in the queue of the other.
    assert all(len(ids) == 1 for ids in ids_by_tick(endpoint).values())
    assert stored(state / "outbox.sqlite3") == []


def test_a_lock_belongs_to_the_directory_that_the_path_names(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with alone(folder):
        check_locks()
        folder.rename(tmp_path / "moved")
        check_locks()  # there is no directory to lock
        assert not folder.exists(), "it is not created: somebody may be about to move another one there"
        folder.mkdir()
        check_locks()
        for name in ("state", "moved"):
            with pytest.raises(NotAloneError), alone(tmp_path / name):
                pass
        check_locks()
    with alone(folder):
        pass


def test_threads_that_find_a_new_directory_at_once_do_not_lock_each_other_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting = threading.Barrier(2)
    real = fcntl.flock

    def flock(handle: int, operation: int) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            meeting.wait(0.1)
        real(handle, operation)

    folder = tmp_path / "state"
    with alone(folder), ThreadPoolExecutor(2) as threads:
        folder.rename(tmp_path / "moved")
        folder.mkdir()
        monkeypatch.setattr(fcntl, "flock", flock)
        for check in [threads.submit(check_locks) for _ in range(2)]:
            check.result()


@pytest.mark.parametrize("there", [(), ("o.sqlite3", "o.sqlite3-wal", "o.sqlite3.note")])
def test_no_file_is_opened_for_writing_in_a_directory_of_another_agent(tmp_path: Path, there: tuple[str, ...]) -> None:
    folder, theirs = tmp_path / "state", dict.fromkeys(there, b"theirs")
    with alone(folder):
        store = EnergyStore.open(folder / "energy.sqlite3")
        outbox = opened(folder / "o.sqlite3")
        folder.rename(tmp_path / "moved")
        with locked_by_another(folder):
            for name, content in theirs.items():
                (folder / name).write_bytes(content)
            with pytest.raises(NotAloneError):
                outbox.put([b"1"])
            outbox.set_note(b"ours")
            store.save({})
            with pytest.raises(NotAloneError):
                open_for_writing(folder / "o.sqlite3", synchronous="FULL")
            outbox.close()
            store.close()
        assert {each.name: each.read_bytes() for each in folder.iterdir()} == theirs
    outbox = opened(tmp_path / "moved" / "o.sqlite3")
    assert bodies_of(outbox) == [b"1"]
    outbox.close()


def test_a_queue_that_is_opened_in_a_directory_of_another_agent_begins_in_memory(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with alone(folder):
        folder.rename(tmp_path / "moved")
        with locked_by_another(folder):
            outbox = opened(folder / "o.sqlite3")
            assert outbox.in_memory
            with pytest.raises(NotAloneError):
                outbox.put([b"1"])
            assert list(folder.iterdir()) == []
        outbox.put([b"2"])
        assert not outbox.in_memory
        assert bodies_of(outbox) == [b"1", b"2"]
        outbox.close()


@contextmanager
def locked_by_another(folder: Path) -> Iterator[None]:
    folder.mkdir()
    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(handle)
