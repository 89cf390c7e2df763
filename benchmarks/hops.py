"""How many functions and files one value and one message pass, counted and not timed.

A daemon with one device and one endpoint runs until it delivers messages. Then the functions of `agent/` and `drivers/`
that run are recorded in all threads: of a poll between two ticks, from its due time, and from its reply, until the
value is in its window; and of a tick, from the due time of its poll until the queue has acknowledged its message. Each
function counts once, where it is called first. Device and endpoint are processes of their own.

`python -m benchmarks.hops` prints the figures; `--list` prints each function as well.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing import Queue
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

from agent.app import App
from agent.config import parse
from agent.runtime import SystemClock
from agent.site import build
from benchmarks import _daemon
from benchmarks._endpoint import Endpoint
from benchmarks._figures import Figure, table

ROOT = Path(__file__).parents[1]
MEASURED = tuple(f"{ROOT / name}/" for name in ("agent", "drivers"))
QUEUE_FILE = str(ROOT / "agent/outbox/queue.py")
OUTBOX_FOLDER = str(ROOT / "agent/outbox") + "/"
ROUNDS_BEFORE = 5
"""The first rounds open connections and discover; the round after them is counted. Every second round is at a tick."""
QUIET_S = 0.4
"""So long after the acknowledgement, calls to the queue still count: who looks at it once more is part of the cost."""

AT_THE_CALL = {"Transport.buffer_updated": "socket", "Aggregator.close": "close"}
AT_THE_RETURN = {"Window.add": "window", "Outbox.put": "put", "Outbox.ack": "ack"}
"""Functions whose call or return marks a stage."""

Place = tuple[str, str]
"""File, relative to the repository, and qualified name of a function."""


class Trace:
    """A profile function for `sys.setprofile` that notes each function once, in the order of the first call."""

    def __init__(self, end: str) -> None:
        """`end` is the mark at which the record is complete."""
        self.end = end
        self.recording = False
        self.places: dict[Place, int] = {}
        self.marks: dict[str, int] = {}
        """Number of functions noted when something happened for the first time."""
        self.queue_calls: Counter[str] = Counter()
        self._complete: Callable[[], object] | None = None

    def begin(self, complete: Callable[[], object]) -> None:
        self.places.clear()
        self.marks.clear()
        self.queue_calls.clear()
        self._complete = complete
        self.recording = True

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        if not self.recording or event not in ("call", "return"):
            return
        code = frame.f_code
        if not code.co_filename.startswith(MEASURED) or code.co_name.startswith("<"):
            return
        if event == "return":
            self._returned(code.co_qualname)
            return
        if code.co_filename == QUEUE_FILE and not _called_by_the_queue(frame):
            self.queue_calls[code.co_name] += 1
        if (mark := AT_THE_CALL.get(code.co_qualname)) is not None:
            self.marks.setdefault(mark, len(self.places))
        if self.end not in self.marks:
            place = (str(Path(code.co_filename).relative_to(ROOT)), code.co_qualname)
            self.places.setdefault(place, len(self.places))

    def _returned(self, name: str) -> None:
        mark = AT_THE_RETURN.get(name)
        if mark is not None and mark not in self.marks:
            self.marks[mark] = len(self.places)
            if mark == self.end and self._complete is not None:
                self._complete()


def _called_by_the_queue(frame: FrameType) -> bool:
    caller = frame.f_back
    return caller is not None and caller.f_code.co_filename.startswith(OUTBOX_FOLDER)


def configuration(folder: Path, url: str, port: int) -> dict[str, Any]:
    """One meter, one message every two seconds, one poll between two ticks."""
    device = {"node_id": "meter-1", "type": "grid", "driver": "benchmark", "host": "127.0.0.1", "port": port}
    (folder / "benchmark.toml").write_text(_daemon.profile())
    return {
        "site": {"node_id": "SITE_1"},
        "push": {"url": url, "token": "t", "interval_s": 2, "align": "clock", "wait_for_clock_s": 0.0},
        "poll": {"interval_s": 1.0},
        "outbox": {"path": str(folder / "outbox.sqlite3")},
        "drivers": {"profile_dirs": [str(folder)]},
        "device": [device],
    }


async def record(folder: Path, url: str, port: int, trace: Trace) -> None:
    """Run the daemon's App and record one poll, or one tick with its message."""
    loop = asyncio.get_running_loop()
    complete = asyncio.Event()
    config = parse(configuration(folder, url, port), {}, "hops")
    app = App(config, build(config, "hops"), SystemClock(), {})
    schedule = app.poller._schedule  # noqa: SLF001 - the due times come from inside
    release, rounds = schedule.release, 0

    def counted() -> None:
        nonlocal rounds
        if schedule.next_due <= time.monotonic():
            rounds += 1
            at_tick = abs((time.time() + 0.5) % 2 - 0.5) < 0.4
            if rounds > ROUNDS_BEFORE and at_tick == (trace.end == "ack") and not trace.recording:
                trace.begin(lambda: loop.call_soon_threadsafe(complete.set))
        release()

    schedule.release = counted  # type: ignore[method-assign]
    running = asyncio.create_task(app.run())
    await asyncio.wait_for(complete.wait(), 60)
    await asyncio.sleep(QUIET_S)
    trace.recording = False
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def measure(end: str) -> Trace:
    """One traced poll or tick of a daemon in this process."""
    ports: Queue[list[int]] = _daemon.CONTEXT.Queue()
    counts: Queue[int] = _daemon.CONTEXT.Queue()
    devices = _daemon.CONTEXT.Process(target=_daemon.serve_devices, args=(ports, counts), daemon=True)
    devices.start()
    trace = Trace(end)
    try:
        with TemporaryDirectory() as name, Endpoint() as endpoint:
            threading.setprofile(trace)
            sys.setprofile(trace)
            try:
                asyncio.run(record(Path(name), endpoint.url, ports.get()[0], trace))
            finally:
                sys.setprofile(None)
                threading.setprofile(None)
    finally:
        devices.terminate()
        devices.join()
    return trace


def figures() -> Iterator[Figure]:
    word, message = measure("window"), measure("ack")
    if "--list" in sys.argv:
        show(word, message)
    polled, names, at = list(word.places), list(message.places), message.marks
    parts = {
        "register word, due time to window": polled,
        "  from the socket to the window": polled[word.marks["socket"] :],
        "message, tick to acknowledgement": names,
        "  from the closed interval": names[at["close"] :],
        "  from the stored bytes": names[at["put"] :],
    }
    for what, places in parts.items():
        yield Figure(what, len(places), "functions", note=f"in {len({file for file, _ in places})} files")
    yield Figure("calls to the queue for a delivered message", message.queue_calls.total(), "", 3)


def show(*traces: Trace) -> None:
    """Print every function."""
    for trace in traces:
        print()
        for number, (file, name) in enumerate(trace.places):
            reached = ", ".join(mark for mark, at in trace.marks.items() if at == number)
            print(f"{number:4} {file:44} {name}" + (f"   <- after {reached}" if reached else ""))


def main() -> None:
    print(table(list(figures())))


if __name__ == "__main__":
    main()
