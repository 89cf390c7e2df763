"""From the start of the process to the first push, and what an idle daemon needs of memory, with and without its page.

The simulated site stands behind the daemon, an endpoint in this process before it. The first push belongs to a tick,
here a whole second; what counts is how long the daemon takes until it waits for one, and how long after the tick the
message arrives. The CPU time includes that of the process that reads the configuration. The memory with the page is
taken after the page, the metrics and the JSON have been asked for.
"""

from __future__ import annotations

import json
import os
import select
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from tempfile import TemporaryDirectory

from benchmarks._daemon import cpu_s, memory_mb
from benchmarks._figures import Figure, table
from tests.support.ports import free_port

STARTS = 5
IDLE_S = 14.0
AGENT = (sys.executable, "-m", "agent")


@contextmanager
def endpoint() -> Iterator[tuple[str, Queue[tuple[float, int]]]]:
    """Its URL, and arrival (Unix seconds) and `time` of each message."""
    arrivals: Queue[tuple[float, int]] = Queue()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["content-length"])))
            arrivals.put((time.time(), message["time"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/", arrivals
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def simulated_site() -> Iterator[str]:
    """The [[device]] tables of a site that is served."""
    process = subprocess.Popen([*AGENT, "simulate", "--base-port", "0"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    text = b""
    while select.select([process.stdout], [], [], 0.5 if text else 10.0)[0]:
        text += os.read(process.stdout.fileno(), 65536)
    try:
        yield text.decode()
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def first_push(config: Path, arrivals: Queue[tuple[float, int]], folder: Path) -> tuple[float, float, float]:
    """Seconds from the start until it is ready, of CPU time until the first push, and from its tick to its arrival."""
    while not arrivals.empty():
        arrivals.get()
    address = folder / "notify"
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(20)
        started = time.monotonic()
        daemon = subprocess.Popen(
            [*AGENT, "run", "--config", str(config)],
            env={**os.environ, "NOTIFY_SOCKET": str(address)},
            stderr=subprocess.DEVNULL,
        )
        while b"READY=1" not in manager.recv(4096):
            pass
        ready_s = time.monotonic() - started
        arrived, tick = arrivals.get(timeout=10)
        busy_s = cpu_s(daemon.pid, with_children=True)
    daemon.terminate()
    daemon.wait()
    return ready_s, busy_s, arrived - tick


def idle_memory_mb(config: Path, port: int = 0) -> float:
    """Resident memory. If there is a port, the status page there is read before."""
    daemon = subprocess.Popen([*AGENT, "run", "--config", str(config)], stderr=subprocess.DEVNULL)
    time.sleep(IDLE_S / 2)
    for path in ("", "metrics", "status.json") if port else ():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}") as reply:
            reply.read()
    time.sleep(IDLE_S / 2)
    memory = memory_mb(daemon.pid, "Rss")
    daemon.terminate()
    daemon.wait()
    return memory


def figures() -> Iterator[Figure]:
    with TemporaryDirectory() as name, endpoint() as (url, arrivals), simulated_site() as devices:
        folder, port = Path(name), free_port()
        config = folder / "config.toml"
        text = (
            f'[site]\nnode_id = "B"\n[push]\nurl = "{url}"\ntoken = "t"\ninterval_s = 1\nalign = "clock"\n'
            f'[outbox]\npath = "{folder}/outbox.sqlite3"\n{devices}'
        )
        config.write_text(text)
        starts = [first_push(config, arrivals, folder) for _ in range(STARTS)]
        config.write_text(text := text.replace("interval_s = 1\n", "interval_s = 60\n"))
        memory = idle_memory_mb(config)
        config.write_text(f'{text}\n[status]\nlisten = "127.0.0.1:{port}"\n')
        with_page = idle_memory_mb(config, port)
    ready_s, busy_s, push_s = (statistics.median(each) for each in zip(*starts, strict=True))
    yield Figure("start to first push, CPU time of all processes", busy_s, "s", 0.7)
    yield Figure("start to ready", ready_s, "s")
    yield Figure("start to first push, beyond the tick", ready_s + push_s, "s", 2)
    yield Figure(f"idle with one endpoint and {devices.count('[[device]]')} devices", memory, "MB RSS", 42)
    yield Figure("  with the status page", with_page, "MB RSS")


def main() -> None:
    print(table(list(figures())))


if __name__ == "__main__":
    main()
