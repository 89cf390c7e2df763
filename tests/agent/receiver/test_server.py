"""The reference endpoint on real sockets, and the command as a process."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.receiver.command import ReceiveOptions, SetupError, open_validator, receive
from agent.receiver.report import summary
from agent.receiver.server import MAX_BODY, MAX_CONNECTIONS, Validator, Verdict, serving
from agent.security import server_context
from tests.agent.receiver.test_validator import MESSAGE, NOW, body, headers
from tests.faults.certificates import Authority

WAIT_S = 60
Arrivals = list[Verdict]


@pytest.fixture
def arrivals() -> Arrivals:
    return []


@pytest.fixture
def address(arrivals: Arrivals) -> Iterator[tuple[str, int]]:
    def report(verdict: Verdict, _headers: Mapping[str, str]) -> None:
        arrivals.append(verdict)

    with serving(Validator("t", "S"), "127.0.0.1", 0, report) as server:
        yield "127.0.0.1", server.server_address[1]


def connect(address: tuple[str, int], tls: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
    if tls is not None:
        return http.client.HTTPSConnection(*address, timeout=60, context=tls)
    return http.client.HTTPConnection(*address, timeout=60)


def post(connection: http.client.HTTPConnection, content: bytes, **more: str) -> tuple[int, dict[str, Any]]:
    connection.request("POST", "/", content, headers(**more))
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def test_one_connection_for_many_posts(address: tuple[str, int], arrivals: Arrivals) -> None:
    connection = connect(address)
    assert post(connection, body()) == (200, {"status": "ok"})
    assert post(connection, body()) == (200, {"status": "duplicate"})
    status, reply = post(connection, body(), token="x")
    assert (status, reply) == (401, {"problems": ["wrong or missing bearer token"]})
    connection.close()
    assert [verdict.status for verdict in arrivals] == [200, 200, 401]


def test_a_length_may_begin_with_zeros(address: tuple[str, int]) -> None:
    connection = connect(address)
    content = body()
    connection.request("POST", "/", content, headers() | {"Content-Length": f"{len(content):020}"})
    assert connection.getresponse().status == 200
    connection.close()


def test_a_browser_is_told_what_this_is(address: tuple[str, int]) -> None:
    connection = connect(address)
    connection.request("GET", "/")
    response = connection.getresponse()
    response.read()
    connection.close()
    assert (response.status, response.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (f"Content-Length: {MAX_BODY + 1}", 413),
        ("Content-Length: -1", 411),
        ("Content-Length: 1e3", 411),
        ("Transfer-Encoding: chunked", 411),
        ("X-Nothing: 1", 411),
    ],
)
def test_a_body_that_is_not_worth_reading(address: tuple[str, int], arrivals: Arrivals, head: str, status: int) -> None:
    with socket.create_connection(address, WAIT_S) as connection:
        connection.sendall(f"POST / HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode())
        reply = b"".join(iter(lambda: connection.recv(4096), b""))
    assert reply.startswith(f"HTTP/1.1 {status} ".encode())
    assert [verdict.status for verdict in arrivals] == [status]


def test_half_a_body_is_no_message(address: tuple[str, int], arrivals: Arrivals) -> None:
    with socket.create_connection(address, WAIT_S) as connection:
        connection.sendall(HEAD.format(token="t").encode() + b"Content-Length: 100\r\n\r\n{")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""
    assert not arrivals


def test_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    served = server_context(*authority.issue("server"))
    with serving(Validator("t"), "127.0.0.1", 0, lambda _verdict, _headers: None, served) as server:
        at = "127.0.0.1", server.server_address[1]
        with socket.create_connection(at, 10):  # one that never says hello holds up nobody
            connection = connect(at, ssl.create_default_context(cafile=authority.ca_file))
            assert post(connection, body())[0] == 200
            connection.close()


def test_a_key_with_a_passphrase_is_an_error_not_a_question(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="private key has a passphrase"):
        server_context(*Authority(tmp_path).issue("server", passphrase="secret"))


async def run(*arguments: str | Path, token: str | None = None) -> asyncio.subprocess.Process:
    environ = {"TELEMETRY_RECEIVER_TOKEN": token} if token else {}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "agent", "receive", "--port", "0", *map(str, arguments)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environ,
    )


async def listening(process: asyncio.subprocess.Process) -> tuple[str, int]:
    assert process.stderr is not None
    line = (await asyncio.wait_for(process.stderr.readline(), 60)).decode()
    assert line.startswith("listening on https://127.0.0.1:"), line
    return "127.0.0.1", int(line.rpartition(":")[2].strip("/\n"))


async def test_the_command_serves_tls_keeps_what_it_took_and_sums_up(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue("server")
    token, kept = tmp_path / "token", tmp_path / "kept.jsonl"
    token.write_text("t\n")
    options = ("--token-file", token, "--cert", issued.cert_file, "--key", issued.key_file, "--save", kept)
    trust = ssl.create_default_context(cafile=authority.ca_file)
    outputs = []
    for _ in range(2):
        process = await run(*options)
        connection = connect(await listening(process), trust)
        outputs.append(await asyncio.to_thread(post, connection, body()))
        connection.close()
        process.send_signal(signal.SIGTERM)
        printed, said = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0
        assert json.loads(printed)["message"] == MESSAGE
    assert outputs == [(200, {"status": "ok"}), (200, {"status": "duplicate"})]
    assert said.decode().splitlines() == ["0 accepted, 1 duplicate, 0 refused, 0 late"]
    assert json.loads(kept.read_text()) == {"id": "msg_1", "message": MESSAGE}


NULL = Path("/dev/null")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "give the token by exactly one of --token-file"),
        ({"token": "t", "token_file": NULL}, "exactly one of"),
        ({"token_file": NULL}, "the token is empty"),
        ({"token_file": Path("/nowhere")}, "/nowhere: cannot be read (No such file or directory)"),
        ({"token": "t", "signing_secret_file": NULL}, "--signing-secret-file /dev/null: holds no signing secret"),
        ({"token_file": Path(sys.executable)}, "cannot be read (is not UTF-8 text; save it as UTF-8)"),
        ({"token": "t", "cert": NULL}, "give both --cert and --key, or none of them"),
        ({"token": "t", "cert": NULL, "key": NULL}, "--cert /dev/null, --key /dev/null: "),
        ({"token": "t", "save": Path("/nowhere/file")}, "--save: /nowhere/file: No such file or directory"),
        ({"token": "t", "host": "192.0.2.1"}, "cannot listen on 192.0.2.1:0: "),
    ],
)
async def test_what_cannot_be_done_is_said(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SetupError, match=re.escape(complaint)):
        await receive(replace(ReceiveOptions("127.0.0.1", 0), **options), lambda: None)


async def test_a_wrong_call_is_one_line() -> None:
    process = await run("--token", "t", "--cert", "/dev/null")
    printed, said = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, printed, said) == (
        2,
        b"",
        b"telemetry-agent: give both --cert and --key, or none of them\n",
    )


def raw(address: tuple[str, int], head: bytes, body: bytes = b"") -> bytes:
    """What is answered to a request that is sent as it stands, until the server closes."""
    with socket.create_connection(address, WAIT_S) as connection:
        connection.sendall(head + body)
        return b"".join(iter(lambda: connection.recv(4096), b""))


HEAD = "POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("Content-Length: " + "9" * 5000, 413),
        ("Content-Length: \u00b2", 411),
        ("Content-Length: 5\r\nContent-Length: 6", 400),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", 411),
        ("X: " + "x" * 60_000, 431),
        ("X: x\r\n" * 5000, 431),
    ],
)
def test_a_hostile_head_is_answered_and_the_next_sender_is_served(
    address: tuple[str, int], capfd: pytest.CaptureFixture[str], head: str, status: int
) -> None:
    reply = raw(address, HEAD.format(token="t").encode() + head.encode("latin-1") + b"\r\n\r\n12345")
    assert reply.startswith(f"HTTP/1.1 {status} ".encode())
    connection = connect(address)
    assert post(connection, body())[0] == 200
    connection.close()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("expect", ["", "Expect: 100-continue\r\n", "Expect: something\r\n"])
def test_no_byte_of_a_body_is_read_from_a_stranger(address: tuple[str, int], arrivals: Arrivals, expect: str) -> None:
    head = HEAD.format(token="wrong") + f"{expect}Content-Length: 1000\r\n\r\n"
    reply = raw(address, head.encode())  # the body never comes
    assert reply.startswith(b"HTTP/1.1 401 ")
    assert [verdict.status for verdict in arrivals] == [401]


def test_the_answer_to_a_stranger_arrives_though_his_body_is_not_wanted(address: tuple[str, int]) -> None:
    head = HEAD.format(token="wrong") + "Content-Length: 500000\r\n\r\n"
    for _ in range(20):
        assert raw(address, head.encode(), b"x" * 500_000).startswith(b"HTTP/1.1 401 ")


def test_an_expected_body_is_asked_for(address: tuple[str, int]) -> None:
    given = "".join(f"{name}: {value}\r\n" for name, value in headers().items())
    head = (
        f"POST / HTTP/1.1\r\n{given}Expect: 100-continue\r\nConnection: close\r\nContent-Length: {len(body())}\r\n\r\n"
    )
    reply = raw(address, head.encode(), body())
    assert reply.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")


def is_cut_off(connection: socket.socket) -> bool:
    """Send a byte from time to time until the server closes; False if it has not in half of its usual time limit."""
    connection.settimeout(0.05)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            connection.sendall(b"x")
            if connection.recv(4096) == b"":
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


@pytest.mark.parametrize(
    "start",
    [b"", b"POST / HTTP/1.1\r\nX: ", HEAD.format(token="t").encode() + b"Content-Length: 1000000\r\n\r\n"],
    ids=["nothing yet", "head", "body"],
)
def test_a_sender_that_drips_is_cut_off(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch, start: bytes
) -> None:
    monkeypatch.setattr("agent.receiver.server._REQUEST_S", 0.5)
    with socket.create_connection(address, WAIT_S) as connection:
        connection.sendall(start)
        assert is_cut_off(connection)


def test_a_tls_handshake_that_drips_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.receiver.server._REQUEST_S", 0.5)
    served = server_context(*Authority(tmp_path).issue("server"))
    with (
        serving(Validator("t"), "127.0.0.1", 0, lambda _verdict, _headers: None, served) as server,
        socket.create_connection(("127.0.0.1", server.server_address[1]), WAIT_S) as connection,
    ):
        connection.sendall(b"\x16\x03\x01\x40\x00")  # a hello of 16 KiB is on its way
        assert is_cut_off(connection)


def is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_connections_are_bounded_and_the_one_that_waits_longest_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    # The kernel shall not make a sender wait because others have not been accepted yet.
    monkeypatch.setattr("agent.receiver.server._Server.request_queue_size", 4 * MAX_CONNECTIONS)
    with serving(Validator("t", "S"), "127.0.0.1", 0, lambda _verdict, _headers: None) as server:
        address = "127.0.0.1", server.server_address[1]
        with contextlib.ExitStack() as stack:
            held = [stack.enter_context(socket.create_connection(address, WAIT_S)) for _ in range(3 * MAX_CONNECTIONS)]
            for connection in held:
                with contextlib.suppress(OSError):  # of those that have given way
                    connection.sendall(b"POST / HTTP/1.1\r\n")
            served = connect(address)
            assert post(served, body())[0] == 200
            expected = 2 * MAX_CONNECTIONS + 1
            until(lambda: sum(map(is_closed, held)) >= expected and threading.active_count() < 2 * MAX_CONNECTIONS)
            assert sum(map(is_closed, held)) == expected
            assert post(served, body())[1] == {"status": "duplicate"}
            served.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait for what the threads of the server do."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


async def test_it_starts_again_whatever_was_sent_to_it(tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    old = json.dumps({"id": "msg_0", "message": MESSAGE | {"time": 10**400}})  # as an earlier version kept it
    kept.write_text(f"{old}\n[1]\n{'[' * 100_000}\n" + json.dumps({"id": "msg_1", "message": MESSAGE}) + "\n")
    desk, journal = open_validator(ReceiveOptions("127.0.0.1", 0, token="t", save=kept))
    assert journal is not None
    before = kept.read_bytes()
    for time_ in (10**400, "9" * 400, -1, "\u0663", 10**11):
        assert desk.judge(headers("msg_2"), body(time=time_)).status == 422
    deep = f'{{"time": 1, "siteNodeId": "S", "nodes": {{"pv": {{"solar": {{"x": {"[" * 200 + "]" * 200}}}}}}}}}'
    assert desk.judge(headers("msg_2"), deep.encode()).problems == ("not a message: nested more than 8 levels deep",)
    assert kept.read_bytes() == before
    assert desk.judge(headers("msg_1"), body()).duplicate
    journal.close()


@pytest.mark.parametrize(("site", "restored"), [("S", ["a", "d"]), ("T", ["b", "c"]), (None, ["a", "d"])])
def test_a_saved_message_of_another_site_is_not_restored(tmp_path: Path, site: str | None, restored: list[str]) -> None:
    kept = tmp_path / "kept.jsonl"
    sent = [("a", "S", NOW), ("b", "T", NOW - 3600), ("c", "T", NOW), ("d", "S", NOW + 60)]
    lines = [{"id": name, "message": MESSAGE | {"siteNodeId": of, "time": at}} for name, of, at in sent]
    kept.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    options = ReceiveOptions("127.0.0.1", 0, site=site, token="t", interval_s=60, save=kept)
    desk, journal = open_validator(options)
    assert journal is not None
    journal.close()
    assert any("missing" in line for line in summary(desk)) == (site == "T")
    verdicts = {name: desk.judge(headers(name), body(siteNodeId=of, time=at)) for name, of, at in sent}
    assert [name for name, verdict in verdicts.items() if verdict.duplicate] == restored
    assert {verdict.status for name, verdict in verdicts.items() if name not in restored} == {403}
