"""The processes that the oracle test kills.

One process loads all modules and forks the others, so that a new process starts fast. Each forked process is one life.

    python -m tests.support.oracle_victim REPORT_FD OUTBOX CA_FILE

Each line on standard input starts one life: `LIFE FIRST_TICK URL TICKS SECONDS`. The process measures and delivers from
FIRST_TICK on. SIGKILL ends it SECONDS after TICKS ticks were stored. If TICKS is -1, the process measures nothing and
ends when everything is delivered.

Each event is one line on REPORT_FD, in one write:

- `opened LIFE`: the queue is open.
- `began TICK` before `submit`, and after it `stored TICK`, or `kept TICK` if the messages are only in memory.
- `acked ID`: the acknowledgement is on the disk.
- `dropping COUNT` and `dropped COUNT`: before and after messages are lost.
- `dead LIFE`: the process has ended.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Collection
from functools import partial
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import NoReturn

import structlog

from agent.config.push import PushConfig
from agent.delivery.outcome import Delivered, Outcome
from agent.delivery.sender import Sender
from agent.outbox.queue import Outbox
from agent.outbox.record import Record
from agent.outbox.store import Store
from agent.runtime.clock import SystemClock

# The agent loads these with the first message; here, each life would load them again.
for module in ("anyio._backends._asyncio", "anyio.streams.tls", "ctypes"):
    import_module(module)

PAUSE_S = 0.004
PARTS = (b"site", b"pv-1")


def body_of(tick: int, part: bytes) -> bytes:
    """Return the message of a tick. The message of every eleventh tick is large."""
    return b"%d/%s" % (tick, part) + b" " * (20_000 if tick % 11 == 0 else 200)


class Victim:
    """The agent of one life."""

    def __init__(self, report: int, stored: int, path: Path, ca_file: Path, life: int, url: str) -> None:
        self._report = report
        self._stored = stored
        self._outbox = Outbox.open(path, max_age_s=1e9, max_size_mb=64)
        self.say(f"opened {life}")
        self._sender = Sender(
            # A small store of authorities, because loading the system's store takes longer than the rest of a life.
            PushConfig.model_validate(
                {
                    "url": url,
                    "token": "t",
                    "ca_file": ca_file,
                    "interval_s": 1,  # without a live message, the sender waits two intervals
                    "retry": {"initial_s": 0.005, "max_s": 0.05},
                }
            ),
            self._outbox,
            backlog_rate_per_s=1e4,
            clock=SystemClock(),
            environ={},
            user_agent=f"life/{life}",
            on_outcome=self._outcome,
        )

    async def measure(self, first_tick: int) -> None:
        running = asyncio.create_task(self._sender.run())
        for tick in count(first_tick):
            self.say(f"began {tick}")
            await self._sender.submit([body_of(tick, part) for part in PARTS])
            self.say(f"{'kept' if self._outbox.in_memory else 'stored'} {tick}")
            os.write(self._stored, b"1")
            await asyncio.sleep(PAUSE_S)
            if running.done():
                running.result()

    async def drain(self) -> None:
        running = asyncio.create_task(self._sender.run())
        while self._outbox.counts().waiting and not running.done():  # noqa: ASYNC110 - the queue has no event
            await asyncio.sleep(0.01)
        await self._sender.stop(1.0)
        await running
        await self._sender.close()
        self._outbox.close()

    def say(self, line: str) -> None:
        os.write(self._report, f"{line}\n".encode())

    def _outcome(self, record: Record, outcome: Outcome) -> None:
        if isinstance(outcome, Delivered) and not self._outbox.in_memory:
            self.say(f"acked {record.id}")


def live(report: int, path: Path, ca_file: Path, line: str) -> None:
    """Fork a process, kill it after the ticks of `line`, and wait for its end."""
    life, first_tick, url, ticks, seconds = line.split()
    drains = int(ticks) < 0
    reading, stored = os.pipe()
    child = os.fork()
    if child == 0:
        make = partial(Victim, report, stored, path, ca_file, int(life), url)
        _be_victim(make, int(first_tick), drains=drains)
    os.close(stored)
    if not drains:
        for _ in range(int(ticks)):
            os.read(reading, 1)
        time.sleep(float(seconds))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(reading)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or (drains and status == 0), f"life {life} ended by itself with {status}"
    os.write(report, f"dead {life}\n".encode())


def _be_victim(make: Callable[[], Victim], first_tick: int, *, drains: bool) -> NoReturn:
    status = 1
    try:
        victim = make()
        asyncio.run(victim.drain() if drains else victim.measure(first_tick))
        status = 0
    finally:
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    report, path, ca_file = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    structlog.configure(
        processors=[partial(_report_drops, report), structlog.processors.KeyValueRenderer()], logger_factory=_to_stderr
    )
    _report_victims(report)
    gc.freeze()
    for line in sys.stdin:
        live(report, path, ca_file, line)


def _report_drops(report: int, _: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if event["event"] == "message_dropped":
        os.write(report, f"dropped {event['count']}\n".encode())
    return event


def _report_victims(report: int) -> None:
    choose = Store.victims

    def victims(self: Store, size: int, spared: Collection[int]) -> list[int]:
        chosen = choose(self, size, spared)
        os.write(report, f"dropping {len(chosen)}\n".encode())
        return chosen

    Store.victims = victims  # type: ignore[method-assign]


def _to_stderr(*_: object) -> structlog.PrintLogger:
    return structlog.PrintLogger(sys.stderr)


if __name__ == "__main__":
    main()
