"""What was learned of an endpoint survives a restart, and nothing else does."""

from __future__ import annotations

import asyncio
import json
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config.apart import plain
from agent.config.push import PushConfig
from agent.delivery.learned import AskedPause, Learned, encoded, fingerprint, parsed
from agent.delivery.stats import State
from agent.outbox.drops import MAX_DEAD_LETTERS
from agent.outbox.files import delete_queue, note_of, rename_queue
from agent.outbox.queue import Outbox
from tests.faults.disk import fill, small_disk
from tests.faults.http import Behaviour, Exchange, HttpFaults, answer
from tests.support.delivery import FastClock, Sending, sending

pytestmark = pytest.mark.simulated_time

INTERVAL_S = 60
RETRY = {"initial_s": 1, "max_s": 300, "dead_letter_after": 1}


class Lives:
    """Each `start` is one life of the agent, on the same queue, clock and endpoint."""

    def __init__(self, folder: Path) -> None:
        self.server = HttpFaults(answer(200))
        self._folder = folder
        self._clock: FastClock | None = None

    def start(self, *, run: bool = True, **changes: Any) -> AbstractAsyncContextManager[Sending]:
        self._clock = self._clock or FastClock(1.0)
        settings = {"retry": RETRY, "interval_s": INTERVAL_S} | changes
        return sending(self._folder, self.server.url(), clock=self._clock, run=run, push=settings)


@pytest.fixture
def lives(tmp_path: Path) -> Lives:
    return Lives(tmp_path)


async def answered(made: Sending, body: bytes) -> None:
    """Submit a live message and wait for its first answer."""
    before = len(made.outcomes)
    await made.submit(body)
    while len(made.outcomes) == before:  # noqa: ASYNC110 - attempts have no event
        await asyncio.sleep(0.1)


async def test_the_refusals_before_a_restart_count_for_the_verdict_on_the_schema(lives: Lives) -> None:
    async with lives.server as server:
        server.behaviour = answer(422)
        for body in (b"1", b"2"):
            async with lives.start() as made:
                await answered(made, body)
                assert made.sender.stats.parked == 1
        async with lives.start() as made:
            await answered(made, b"3")
            assert made.sender.stats.state is State.MISCONFIGURED
            assert made.outbox.counts().parked == 0, "the dead letters before the restarts wait again"
            assert made.sender.stats.parked == 0
            assert made.waiting == 3
        server.behaviour = answer(200)
        async with lives.start() as made:
            await made.submit(b"4")
            await made.all_delivered(3600)
        assert {each.body for each in server.accepted if each.answered == 200} == {b"1", b"2", b"3", b"4"}


async def test_a_delivery_before_the_restart_ends_the_count(lives: Lives) -> None:
    async with lives.server as server:
        server.behaviour = answer(422)
        async with lives.start() as made:
            await answered(made, b"1")
            await answered(made, b"2")
            server.behaviour = answer(200)
            await answered(made, b"3")
            assert made.kinds[-1] == "Delivered"
        server.behaviour = answer(422)
        async with lives.start() as made:
            await answered(made, b"4")
            assert made.sender.stats.state is State.WELL
            assert made.outbox.counts().parked == 3, "these messages were refused, not the schema"


async def test_a_dead_letter_that_a_command_settled_is_left_alone(lives: Lives) -> None:
    async with lives.server as server:
        server.behaviour = answer(422)
        async with lives.start() as made:
            await answered(made, b"1")
            await answered(made, b"2")
            one, two = made.outbox.parked()
            made.outbox.update(replace(one, parked=None, attempts=0))
            made.outbox.ack(two)
        async with lives.start() as made:
            await answered(made, b"3")
            assert made.sender.stats.state is State.MISCONFIGURED
            assert [each.body for each in made.outbox.backlog(1e12, limit=9)] == [b"1"]


async def test_a_pause_asked_of_a_live_message_continues(lives: Lives) -> None:
    async with lives.server as server:
        server.behaviour = answer(429, retry_after="1800")
        async with lives.start() as made:
            await answered(made, b"1")
        server.behaviour = answer(200)
        for _ in range(2):
            async with lives.start() as made:
                await made.submit(b"2")
                await asyncio.sleep(600)
                assert len(server.requests) == 1, "no attempt in the pause"
                assert made.sender.stats.last_failure == "the endpoint asked for a pause before the restart or reload"
                assert made.sender.stats.state is State.FAILING
                (event,) = (each for each in made.logs if each["event"] == "pause_continues")
                assert 0 < event["again_s"] <= 1980
        async with lives.start() as made:
            await made.submit(b"3")
            await asyncio.sleep(1000)
            assert made.sender.stats.state is State.WELL
            assert b"3" in {each.body for each in server.accepted}
        async with lives.start() as made:
            await asyncio.sleep(1)
            assert "pause_continues" not in {each["event"] for each in made.logs}


@pytest.mark.parametrize("later", [answer(503, retry_after="10"), answer(403)])
async def test_the_pause_that_continues_is_the_longest_of_a_tick(lives: Lives, later: Behaviour) -> None:
    """Two messages are sent side by side. The answers come one after the other."""
    asked = asyncio.Event()

    async def answer_later(exchange: Exchange) -> None:
        await exchange.accept()
        await asked.wait()
        await later(exchange)

    async with lives.server as server:
        server.script += [answer_later, answer(429, retry_after="1800")]
        async with lives.start(run=False) as made:
            one, two = made.outbox.put([b"1", b"2"])
            async with asyncio.TaskGroup() as group:
                group.create_task(made.sender._attempts.send(one, live=True))
                await server.until(lambda: len(server.requests) == 1)
                await made.sender._attempts.send(two, live=True)
                asked.set()
        for _ in range(2):
            async with lives.start() as made:
                await asyncio.sleep(600)
                assert made.outcomes == []
                assert "pause_continues" in {each["event"] for each in made.logs}


async def test_only_what_the_endpoint_asked_for_continues(lives: Lives) -> None:
    """Not the longer pause after 403: the person who corrects the mistake may restart the agent."""
    async with lives.server as server:
        server.script += [answer(403), answer(429, retry_after="10")]
        async with lives.start(run=False) as made:
            made.sender._breaker.commission(-1000.0)
            for record in made.outbox.put([b"1", b"2"]):
                await made.sender._attempts.send(record, live=True)
        async with lives.start() as made:
            await made.submit(b"3")
            await asyncio.sleep(15)
            assert "pause_continues" in {each["event"] for each in made.logs}
            assert "Delivered" in made.kinds


async def test_a_pause_asked_of_an_old_message_leaves_probes(lives: Lives) -> None:
    async with lives.server as server:
        async with lives.start() as made:
            server.behaviour = answer(503)
            await answered(made, b"old")
        async with lives.start() as made:
            server.behaviour = answer(200)
            await answered(made, b"live")
            server.behaviour = answer(429, retry_after="1800")
            while made.kinds[-1] != "Retry":  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.1)
        server.behaviour = answer(200)
        async with lives.start() as made:
            begun = len(server.requests)
            await made.submit(b"probe")
            await asyncio.sleep(1)
            assert len(server.requests) == begun, "a live message is a probe, not earlier than in 45 s"
            await asyncio.sleep(100)
            assert [each.body for each in server.requests[begun:]] == [b"probe"]
            await asyncio.sleep(2100)
            assert server.requests[-1].body == b"old"
            await made.all_delivered()
            assert made.outbox.note() == b"", "the pause is over"


async def test_after_a_pause_of_a_live_message_the_backlog_needs_no_other_one(lives: Lives) -> None:
    async with lives.server as server:
        server.behaviour = answer(429, retry_after="1800")
        async with lives.start() as made:
            await answered(made, b"1")
        server.behaviour = answer(200)
        async with lives.start() as made:
            await asyncio.sleep(2400)
            assert made.kinds == ["Delivered"]


async def test_a_delivery_ends_the_pause_for_the_next_start_too(lives: Lives) -> None:
    """A message that was under way before the endpoint asked for the pause."""
    hangs = asyncio.Event()

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await hangs.wait()
        await exchange.answer(200)

    async with lives.server as server:
        server.script.extend([behave, answer(429, retry_after="1800")])
        async with lives.start() as made:
            await made.submit(b"1")
            await server.until(lambda: len(server.accepted) == 1)
            await answered(made, b"2")
            assert made.kinds == ["Retry"]
            hangs.set()
            await server.until(lambda: made.kinds == ["Retry", "Delivered"])
        async with lives.start() as made:
            await made.submit(b"3")
            await asyncio.sleep(5)
            assert made.kinds[:1] == ["Delivered"]


@pytest.mark.parametrize("changes", [{"gzip": True}, {"token": "another-token-of-this-site"}], ids=["format", "token"])
async def test_another_configuration_begins_anew(lives: Lives, changes: dict[str, Any]) -> None:
    async with lives.server as server:
        server.behaviour = answer(429, retry_after="1800")
        async with lives.start() as made:
            await answered(made, b"1")
        server.behaviour = answer(200)
        async with lives.start(**changes) as made:
            await made.submit(b"2")
            await asyncio.sleep(5)
        assert len(server.requests) == (1 if "token" in changes else 2), "another token is no other endpoint"
        async with lives.start() as made:
            await made.submit(b"3")
            await asyncio.sleep(5)
        assert len(server.requests) == (1 if "token" in changes else 3), "and the way back begins anew too"


@pytest.mark.parametrize("damage", [b"", b"\xff" * 99, b"[]", b"[" * 50_000, b'{"key": 1}'], ids=range(5))
async def test_a_damaged_note_is_no_note(lives: Lives, tmp_path: Path, damage: bytes) -> None:
    async with lives.server as server:
        server.behaviour = answer(429, retry_after="1800")
        async with lives.start() as made:
            await answered(made, b"1")
        note_of(tmp_path / "outbox.sqlite3").write_bytes(damage)
        server.behaviour = answer(200)
        async with lives.start() as made:
            await answered(made, b"2")
            assert made.kinds == ["Delivered"]


async def test_a_full_disk_keeps_no_note_that_is_not_true(lives: Lives, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        outbox = Outbox.open(disk / "o.sqlite3", max_age_s=1e9, max_size_mb=8)
        outbox.set_note(b"first")
        filler = fill(disk)
        outbox.set_note(b"x" * 60_000)
        assert outbox.note() == b"", "the disk took half of the new note"
        filler.unlink()
        outbox.set_note(b"second")
        fill(disk)
        outbox.set_note(b"")
        assert outbox.note() == b""
        outbox.close()


def test_the_note_goes_with_its_queue(tmp_path: Path) -> None:
    path, renamed = tmp_path / "a.sqlite3", tmp_path / "b.sqlite3"
    outbox = Outbox.open(path, max_age_s=1e9, max_size_mb=8)
    outbox.set_note(b"a note")
    outbox.close()
    assert note_of(path).stat().st_mode & 0o777 == 0o600
    rename_queue(path, renamed)
    outbox = Outbox.open(renamed, max_age_s=1e9, max_size_mb=8)
    assert outbox.note() == b"a note"
    outbox.close()
    delete_queue(renamed)
    assert not list(tmp_path.iterdir())


SEQS = st.integers(0, 2**53)
PAUSES = st.none() | st.builds(AskedPause, st.floats(0, 1e11), st.floats(0, 1e11))
LEARNED = st.builds(
    Learned,
    refused=st.frozensets(SEQS),
    parked=st.lists(SEQS).map(tuple),
    live_pause=PAUSES,
    backlog_pause=PAUSES,
)


@given(LEARNED)
def test_a_note_says_what_was_learned(learned: Learned) -> None:
    assert parsed(encoded(learned, "key"), "key") == learned
    assert parsed(encoded(learned, "key"), "another key") == Learned()


def test_a_note_has_the_newest_seqs_of_each_kind() -> None:
    """As many as the queue keeps dead letters, so that each of them can wait again."""
    seqs = tuple(range(MAX_DEAD_LETTERS + 1))
    found = parsed(encoded(Learned(refused=frozenset(seqs), parked=seqs), "key"), "key")
    assert found == Learned(refused=frozenset(seqs[1:]), parked=seqs[1:])


TREES = st.recursive(st.none() | st.integers() | st.text(), st.lists)


@given(st.binary(max_size=200) | TREES.map(lambda tree: json.dumps({"key": "key", "refused": tree}).encode()))
def test_no_content_of_a_note_raises(content: bytes) -> None:
    assert isinstance(parsed(content, "key"), Learned)


def test_the_key_of_a_note_contains_no_secret() -> None:
    def key(**changes: Any) -> str:
        return fingerprint(PushConfig(**{"url": "https://example.com/v1", "token": "t" * 20} | changes), "agent/1")

    assert key() == key(token="u" * 20) == key(token=None) == key(url="https://example.com/v1?key=secret")
    assert key() == key(name="desk") == key(formerly="trader") == key(proxy_url="http://user:secret@proxy.test")
    assert len({key(), key(url="https://example.org/v1"), key(interval_s=30)}) == 3
    config = PushConfig(url="https://example.com/v1", retry={"max_s": 60}, node_ids={"a": "b"})
    assert (
        fingerprint(plain(config), "agent/1") == fingerprint(plain(config), "agent/1") == fingerprint(config, "agent/1")
    )


@given(st.floats(0, 1e10), st.floats(0, 3600), st.floats(-1e6, 1e6))
def test_a_clock_that_steps_never_makes_a_pause_longer(asked: float, length: float, step: float) -> None:
    left = AskedPause(asked, asked + length).left_s(asked + step)
    assert 0 <= left <= length + 1e-6
