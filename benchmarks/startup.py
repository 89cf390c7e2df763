"""From the start of the process to the first push, and what an idle daemon with its status page needs of memory.

The simulated site stands behind the daemon, an endpoint in this process before it. The first push belongs to a tick,
here a whole second; what counts is how long the daemon takes until it waits for one, and how long after the tick the
message arrives. The memory is taken after the page, the metrics and the JSON have been asked for.
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

from benchmarks._endpoint import Row, table
from benchmarks.daemon_load import cpu_s, pss_mb
from tests.support.ports import free_port

STARTS = 5
IDLE_S = 20.0
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
    """Seconds from the start until it is ready, of these on a processor, and from the tick to the arrival."""
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
        ready_s, busy_s = time.monotonic() - started, cpu_s(daemon.pid)
        arrived, tick = arrivals.get(timeout=10)
    daemon.terminate()
    daemon.wait()
    return ready_s, busy_s, arrived - tick


def idle_memory_mb(config: Path, port: int) -> float:
    daemon = subprocess.Popen([*AGENT, "run", "--config", str(config)], stderr=subprocess.DEVNULL)
    time.sleep(IDLE_S / 2)
    for path in ("", "metrics", "status.json"):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}") as reply:
            reply.read()
    time.sleep(IDLE_S / 2)
    memory = pss_mb(daemon.pid)
    daemon.terminate()
    daemon.wait()
    return memory


def main() -> None:
    with TemporaryDirectory() as name, endpoint() as (url, arrivals), simulated_site() as devices:
        folder, port = Path(name), free_port()
        config = folder / "config.toml"
        config.write_text(
            f'[site]\nnode_id = "B"\n[push]\nurl = "{url}"\ntoken = "t"\ninterval_s = 1\nalign = "clock"\n'
            f'[outbox]\npath = "{folder}/outbox.sqlite3"\n[status]\nlisten = "127.0.0.1:{port}"\n{devices}'
        )
        starts = [first_push(config, arrivals, folder) for _ in range(STARTS)]
        config.write_text(config.read_text().replace("interval_s = 1\n", "interval_s = 60\n"))
        memory = idle_memory_mb(config, port)
    ready_s, busy_s, push_s = (statistics.median(each) for each in zip(*starts, strict=True))
    print(
        table(
            [
                Row("start to ready", ready_s, "s", ""),
                Row("of that on a processor", busy_s, "s", "the rest is what else this machine does"),
                Row("tick to arrival of the first push", push_s, "s", ""),
                Row("start to first push beyond the tick", ready_s + push_s, "s", "at most 2"),
                Row(f"idle, {devices.count('[[device]]')} devices, status page on", memory, "MB", "PSS, at most 60"),
            ]
        )
    )


if __name__ == "__main__":
    main()
