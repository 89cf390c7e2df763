"""How many functions and files one value and one message pass, counted and not timed.

A daemon with one device and one endpoint runs until it delivers messages. Then the functions of `agent/` and `drivers/`
that run are recorded in all threads, from the tick of the scheduler until the queue has acknowledged the message. The
figures of the register word are the parts from the request of a poll, and from its reply, until the value is in its
window. Each function counts once, where it is called first. Device and endpoint are processes of their own.

`python -m benchmarks.hops` prints the figures; `--list` prints each function as well.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import Callable
from multiprocessing import Queue
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

from agent.app import App
from agent.config import parse
from agent.runtime import SystemClock
from agent.site import build
from benchmarks import daemon_load
from benchmarks._endpoint import Endpoint, Row, table

ROOT = Path(__file__).parents[1]
MEASURED = tuple(f"{ROOT / name}/" for name in ("agent", "drivers"))
QUEUE_FILE = str(ROOT / "agent/outbox/queue.py")
OUTBOX_FOLDER = str(ROOT / "agent/outbox") + "/"
TICKS_BEFORE = 3
"""The first ticks open connections and discover; the tick after them is counted."""
QUIET_S = 0.4
"""So long after the acknowledgement, calls to the queue still count: who looks at it once more is part of the cost."""

AT_THE_CALL = {"Transport.data_received": "socket", "Aggregator.close": "close"}
AT_THE_RETURN = {"Window.add": "window", "Outbox.put": "put", "Outbox.ack": "ack"}
"""Functions whose call or return marks a stage."""

Place = tuple[str, str]
"""File, relative to the repository, and qualified name of a function."""


class Trace:
    """A profile function for `sys.setprofile` that notes each function once, in the order of the first call."""

    def __init__(self) -> None:
        self.recording = False
        self.places: dict[Place, int] = {}
        self.marks: dict[str, int] = {}
        """Number of functions noted when something happened for the first time."""
        self.queue_calls: Counter[str] = Counter()
        self._acknowledged: Callable[[], object] | None = None

    def begin(self, acknowledged: Callable[[], object]) -> None:
        self.places.clear()
        self.marks.clear()
        self.queue_calls.clear()
        self._acknowledged = acknowledged
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
        if "ack" not in self.marks:
            place = (str(Path(code.co_filename).relative_to(ROOT)), code.co_qualname)
            self.places.setdefault(place, len(self.places))

    def _returned(self, name: str) -> None:
        mark = AT_THE_RETURN.get(name)
        if mark is not None and mark not in self.marks:
            self.marks[mark] = len(self.places)
            if mark == "ack" and self._acknowledged is not None:
                self._acknowledged()


def _called_by_the_queue(frame: FrameType) -> bool:
    caller = frame.f_back
    return caller is not None and caller.f_code.co_filename.startswith(OUTBOX_FOLDER)


def configuration(folder: Path, url: str, port: int) -> dict[str, Any]:
    """One meter, one message every two seconds, no polls between the ticks."""
    device = {"node_id": "meter-1", "type": "grid", "driver": "benchmark", "host": "127.0.0.1", "port": port}
    (folder / "benchmark.toml").write_text(daemon_load.profile())
    return {
        "site": {"node_id": "SITE_1"},
        "push": {"url": url, "token": "t", "interval_s": 2, "align": "clock", "wait_for_clock_s": 0.0},
        "poll": {"interval_s": 2.0},
        "outbox": {"path": str(folder / "outbox.sqlite3")},
        "drivers": {"profile_dirs": [str(folder)]},
        "device": [device],
    }


async def one_message(folder: Path, url: str, port: int, trace: Trace) -> None:
    """Run the daemon's App and record one tick of it."""
    loop = asyncio.get_running_loop()
    acknowledged = asyncio.Event()
    config = parse(configuration(folder, url, port), {}, "hops")
    app = App(config, build(config, "hops"), SystemClock(), {})
    schedule = app._schedule  # noqa: SLF001 - the tick comes from inside
    request, rounds = schedule._request, 0  # noqa: SLF001 - as above

    def counted() -> list[asyncio.Future[None]]:
        nonlocal rounds
        rounds += 1
        if rounds == TICKS_BEFORE + 1:
            trace.begin(lambda: loop.call_soon_threadsafe(acknowledged.set))
        return request()

    schedule._request = counted  # noqa: SLF001 - as above
    running = asyncio.create_task(app.run())
    await asyncio.wait_for(acknowledged.wait(), 60)
    await asyncio.sleep(QUIET_S)
    trace.recording = False
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def measure() -> Trace:
    """One traced tick of a daemon in this process."""
    ports: Queue[list[int]] = daemon_load._CONTEXT.Queue()  # noqa: SLF001 - the device of another benchmark
    counts: Queue[int] = daemon_load._CONTEXT.Queue()  # noqa: SLF001 - as above
    devices = daemon_load._CONTEXT.Process(target=daemon_load.serve_devices, args=(ports, counts), daemon=True)  # noqa: SLF001 - as above
    devices.start()
    trace = Trace()
    try:
        with TemporaryDirectory() as name, Endpoint() as endpoint:
            threading.setprofile(trace)
            sys.setprofile(trace)
            try:
                asyncio.run(one_message(Path(name), endpoint.url, ports.get()[0], trace))
            finally:
                sys.setprofile(None)
                threading.setprofile(None)
    finally:
        devices.terminate()
        devices.join()
    return trace


def main() -> None:
    trace = measure()
    names, at = list(trace.places), trace.marks
    parts = {
        "register word, request to window": names[: at["window"]],
        "register word, socket to window": names[at["socket"] : at["window"]],
        "message, tick to acknowledgement": names,
        "  of these in agent/": [place for place in names if place[0].startswith("agent/")],
        "message, closed interval to acknowledgement": names[at["close"] :],
        "message, stored bytes to acknowledgement": names[at["put"] :],
    }
    rows = []
    for what, places in parts.items():
        rows.append(Row(what, len(places), "", f"functions in {len({file for file, _ in places})} files"))
    rows.append(Row("calls to the queue for a delivered message", trace.queue_calls.total(), "", "<= 3"))
    print(table(rows))
    print("calls:", ", ".join(f"{count} {name}" for name, count in trace.queue_calls.items()))
    if "--list" in sys.argv:
        for number, (file, name) in enumerate(names):
            reached = ", ".join(mark for mark, at in trace.marks.items() if at == number)
            print(f"{number:4} {file:44} {name}" + (f"   <- after {reached}" if reached else ""))


if __name__ == "__main__":
    main()
