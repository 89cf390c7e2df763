"""The processes that the oracle test kills.

One process loads all modules and forks the others, so that a new process starts fast. Each forked process is one life.

    python -m tests.support.oracle_victim REPORT_FD OUTBOX CA_FILE

Each line on standard input starts one life: `LIFE FIRST_TICK TICKS SECONDS NAME=URL [NAME=URL ...]`. The process
measures from FIRST_TICK on, and delivers to each endpoint with a queue and a sender of its own. SIGKILL ends it SECONDS
after TICKS ticks per endpoint were stored. If TICKS is -1, the process measures nothing and ends when everything is
delivered.

Each event is one line on REPORT_FD, in one write. All but the last end with the NAME of the endpoint:

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
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import NoReturn

import structlog
from structlog.contextvars import bound_contextvars, get_contextvars

from agent.config.push import PushConfig
from agent.delivery.outcome import Delivered, Outcome
from agent.delivery.queue_files import queue_files
from agent.delivery.sender import Sender
from agent.outbox.queue import Outbox
from agent.outbox.record import PendingWrites, Record
from agent.outbox.store import Store
from agent.runtime.clock import SystemClock

# The agent loads these with the first message; here, each life would load them again.
for module in ("anyio._backends._asyncio", "anyio.streams.tls", "ctypes"):
    import_module(module)

PAUSE_S = 0.004
PARTS = (b"site", b"pv-1")


def bodies_of(endpoint: str, tick: int) -> list[bytes]:
    """Return the messages of a tick for an endpoint. The messages of every eleventh tick are large."""
    padding = b" " * (20_000 if tick % 11 == 0 else 200)
    return [b"%d/%s/%s" % (tick, endpoint.encode(), part) + padding for part in PARTS]


def say(report: int, event: str) -> None:
    """Report an event of the endpoint of the present task or thread."""
    os.write(report, f"{event} {get_contextvars()['endpoint']}\n".encode())


class Victim:
    """The delivery to one endpoint in one life."""

    def __init__(self, report: int, stored: int, path: Path, push: PushConfig, life: int) -> None:
        self._report = report
        self._stored = stored
        self._name = push.name
        with bound_contextvars(endpoint=push.name):
            self._outbox = Outbox.open(path, max_age_s=1e9, max_size_mb=64)
            self._say(f"opened {life}")
        self._sender = Sender(
            push,
            self._outbox,
            backlog_rate_per_s=1e4,
            clock=SystemClock(),
            environ={},
            user_agent=f"life/{life}",
            on_outcome=self._outcome,
        )

    async def measure(self, first_tick: int) -> None:
        with bound_contextvars(endpoint=self._name):
            running = asyncio.create_task(self._sender.run())
            for tick in count(first_tick):
                self._say(f"began {tick}")
                await self._sender.submit(bodies_of(self._name, tick))
                self._say(f"{'kept' if self._outbox.in_memory else 'stored'} {tick}")
                os.write(self._stored, b"1")
                await asyncio.sleep(PAUSE_S)
                if running.done():
                    running.result()

    async def drain(self) -> None:
        with bound_contextvars(endpoint=self._name):
            running = asyncio.create_task(self._sender.run())
            while self._outbox.counts().waiting and not running.done():  # noqa: ASYNC110 - the queue has no event
                await asyncio.sleep(0.01)
            await self._sender.stop(1.0)
            await running
            await self._sender.close()
            self._outbox.close()

    def _say(self, event: str) -> None:
        say(self._report, event)

    def _outcome(self, record: Record, outcome: Outcome) -> None:
        if isinstance(outcome, Delivered) and not self._outbox.in_memory:
            self._say(f"acked {record.id}")


def open_victims(
    report: int, stored: int, path: Path, ca_file: Path, life: int, endpoints: Sequence[str]
) -> list[Victim]:
    """Open the queues as the daemon does. `endpoints` are NAME=URL."""
    pushes = [
        # A small store of authorities, because loading the system's store takes longer than the rest of a life.
        PushConfig.model_validate(
            {
                "name": name,
                "url": url,
                "token": "t",
                "ca_file": ca_file,
                "interval_s": 1,  # without a live message, the sender waits two intervals
                "retry": {"initial_s": 0.005, "max_s": 0.05},
            }
        )
        for name, _, url in (each.partition("=") for each in endpoints)
    ]
    files = queue_files(path, pushes)
    files.save_owner()
    return [Victim(report, stored, files.of[push.name].path, push, life) for push in pushes]


def live(report: int, path: Path, ca_file: Path, line: str) -> None:
    """Fork a process, kill it after the ticks of `line`, and wait for its end."""
    life, first_tick, ticks, seconds, *endpoints = line.split()
    drains = int(ticks) < 0
    reading, stored = os.pipe()
    child = os.fork()
    if child == 0:
        make = partial(open_victims, report, stored, path, ca_file, int(life), endpoints)
        _be_victim(make, int(first_tick), drains=drains)
    os.close(stored)
    if not drains:
        for _ in range(int(ticks) * len(endpoints)):
            os.read(reading, 1)
        time.sleep(float(seconds))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(reading)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or (drains and status == 0), f"life {life} ended by itself with {status}"
    os.write(report, f"dead {life}\n".encode())


def _be_victim(make: Callable[[], list[Victim]], first_tick: int, *, drains: bool) -> NoReturn:
    async def deliver(all_: list[Victim]) -> None:
        await asyncio.gather(*(each.drain() if drains else each.measure(first_tick) for each in all_))

    status = 1
    try:
        asyncio.run(deliver(make()))
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
        say(report, f"dropped {event['count']}")
    return event


def _report_victims(report: int) -> None:
    choose = Store.oldest_of_size

    def oldest_of_size(self: Store, size: int, spared: PendingWrites) -> list[int]:
        chosen = choose(self, size, spared)
        say(report, f"dropping {len(chosen)}")
        return chosen

    Store.oldest_of_size = oldest_of_size  # type: ignore[method-assign]


def _to_stderr(*_: object) -> structlog.PrintLogger:
    return structlog.PrintLogger(sys.stderr)


if __name__ == "__main__":
    main()
