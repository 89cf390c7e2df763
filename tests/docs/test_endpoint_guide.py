"""docs/writing-an-endpoint.md keeps its word: its code runs, and its table is what the sender does."""

from __future__ import annotations

import base64
import gzip
import json
import re
import socket
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.delivery.http_reply import classify
from agent.delivery.outcome import Delivered, Misconfigured, Outcome, Refused, Retry
from agent.runtime import SystemClock
from agent.security.signing import signatures
from tests.support.delivery import TOKEN, sending

GUIDE = (Path(__file__).parents[2] / "docs" / "writing-an-endpoint.md").read_text(encoding="utf-8")
SITE = "M1S0000000000000000D_site_0"


@pytest.fixture
def guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The names that the page's Python defines."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL):
        exec(compile(block, "writing-an-endpoint.md", "exec"), names)
    yield names
    names["database"].close()


def message(**changes: Any) -> bytes:
    return json.dumps({"time": 1_700_000_000, "siteNodeId": SITE} | changes).encode()


async def test_the_example_takes_what_the_sender_sends(guide: dict[str, Any], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(guide["SECRETS"][0])
    secret.chmod(0o600)
    server = guide["serve"](0)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        options = {"gzip": True, "signing_secret_file": secret, "timeout_s": 10, "connections": 1}
        async with sending(tmp_path, url, clock=SystemClock(), push=options) as made:
            for number in range(3):
                await made.submit(message(time=number), message(time=number, nodeId="pv-1"))
                await made.all_delivered()
            assert made.kinds == ["Delivered"] * 6
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    rows = sqlite3.connect(tmp_path / "telemetry.sqlite3")
    kept = rows.execute("SELECT time, node FROM message ORDER BY rowid").fetchall()
    rows.close()
    assert kept == [(number, node) for number in range(3) for node in (None, "pv-1")]


def headers(guide: dict[str, Any], body: bytes, **changes: str) -> dict[str, str]:
    at = int(guide["time"].time())
    return {
        "authorization": f"Bearer {TOKEN}",
        "webhook-id": "msg_1",
        "webhook-timestamp": str(at),
        "webhook-signature": signatures(guide["SECRETS"][0], "msg_1", at, body),
    } | {name.replace("_", "-"): value for name, value in changes.items()}


def test_the_example_answers_what_the_page_says(guide: dict[str, Any]) -> None:
    def status(body: bytes, **changes: str) -> int:
        return int(guide["take"](headers(guide, body, **changes), body)[0])

    good = message()
    assert status(good) == 204
    assert status(good) == 204
    assert guide["database"].execute("SELECT count(*) FROM message").fetchone() == (1,)
    assert status(good, authorization="Bearer other") == 401
    assert status(good, webhook_timestamp="0") == 401
    stranger = base64.b64encode(b"x" * 32).decode()
    assert status(good, webhook_signature=f"v1,{stranger}") == 401
    assert status(good, webhook_signature=f"v1,{stranger} {headers(guide, good)['webhook-signature']}") == 204
    assert status(good, webhook_timestamp="9" * 5000) == 401
    assert status(good, webhook_id="m" * 5000) == 400
    for odd in (b"[1]", b"[" * 100_000, b"\xff", message(time=10**400), message(time=1e999), message(nodeId={})):
        assert status(odd) == 422
    assert status(good, content_encoding="gzip") == 400
    assert status(message(siteNodeId="OTHER")) == 403
    bomb = gzip.compress(b" " * (guide["MAX_BODY"] + 1))
    assert status(bomb, content_encoding="gzip") == 413
    assert status(b"no gzip", content_encoding="gzip") == 400
    guide["database"].execute("DROP TABLE message")
    assert status(good) == 503


@pytest.mark.parametrize(
    ("length", "token", "status"),
    [
        ("9" * 5000, TOKEN, 413),
        ("-1", TOKEN, 411),
        ("", TOKEN, 411),
        ("1000", "another", 401),
        ("1000000000", TOKEN, 413),
    ],
)
def test_the_example_reads_no_body_that_is_not_wanted(
    guide: dict[str, Any], length: str, token: str, status: int
) -> None:
    server = guide["serve"](0)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        with socket.create_connection(server.server_address, 10) as connection:
            head = f"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n"
            connection.sendall(head.encode())
            reply = b"".join(iter(lambda: connection.recv(4096), b""))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert reply.startswith(f"HTTP/1.1 {status} ".encode())


def rows_of_the_table() -> Iterator[tuple[str, int]]:
    for line in GUIDE.partition("## What each answer does")[2].partition("\n## ")[0].splitlines():
        if match := re.match(r"\| ([\d, -]+) \| (.*) \|$", line):
            for part in match[1].split(", "):
                first, _, last = part.partition("-")
                for status in range(int(first), int(last or first) + 1):
                    yield match[2], status


def test_the_page_s_table_is_what_the_sender_does() -> None:
    words: dict[str, type[Outcome]] = {
        "The message is delivered": Delivered,
        "It sends the same bytes": Retry,
        "The URL or the token is wrong": Misconfigured,
        "This message is wrong": Refused,
    }
    said = {
        status: next(kind for start, kind in words.items() if text.startswith(start))
        for text, status in rows_of_the_table()
    }
    done = {status: type(classify(status, "", None, 0.0)) for status in said}
    assert said == done
    assert set(said) >= {*range(200, 400), *range(500, 600), 400, 401, 403, 404, 408, 409, 413, 415, 422, 425, 429}
