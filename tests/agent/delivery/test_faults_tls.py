"""Who may not see the token: servers with the wrong certificate, and resolvers that fail or hang."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.config import PushConfig
from agent.delivery import http_client, tls_context
from agent.delivery.outcome import Delivered, Misconfigured, Refused, Retry
from tests.drivers.modbus.test_connect import silent
from tests.faults.certificates import Authority
from tests.faults.http import HttpFaults, Mute, answer, hang_before_headers, raw
from tests.support.delivery import sending

BODY = b'{"time":1}'


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"))


def old_tls(context: ssl.SSLContext) -> ssl.SSLContext:
    """Speaks TLS 1.1 and nothing newer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "wrong host": ({"hosts": ("telemetry.example.com",)}, "the server's certificate is not trusted: "),
    "expired": ({"expired": True}, "the server's certificate is expired; the clock here is at 20"),
    "not yet valid": ({"not_yet": True}, "the server's certificate is not yet valid; the clock here is at 20"),
}


@pytest.mark.parametrize(("issue", "words"), CASES.values(), ids=CASES)
async def test_a_wrong_certificate_sees_nothing_until_it_is_mended(
    tmp_path: Path, authority: Authority, issue: dict[str, Any], words: str
) -> None:
    wrong = authority.server_context(authority.issue("wrong", **issue))
    right = authority.server_context(authority.issue("right"))
    options = {"ca_file": authority.ca_file}
    async with HttpFaults(answer(200), wrong) as server, sending(tmp_path, server.url(), push=options) as made:
        await made.submit(BODY)
        await server.until(lambda: len(made.outcomes) >= 2)
        assert not server.requests
        outcome = made.outcomes[0][1]
        assert isinstance(outcome, Retry)
        assert outcome.kind == "tls"
        assert outcome.reason.startswith(words)
        await server.down()
        server.tls = right
        await server.up()
        await made.all_delivered()
    assert len(server.accepted) == 1


async def test_an_unknown_authority_is_not_trusted(tmp_path: Path, authority: Authority, stranger: Authority) -> None:
    unknown = stranger.server_context(stranger.issue("unknown"))
    async with HttpFaults(answer(200), unknown) as server:
        # Neither the system's store nor the configured file knows who issued it.
        for number, ca_file in enumerate((None, authority.ca_file)):
            folder = tmp_path / str(number)
            folder.mkdir()
            async with sending(folder, server.url(), run=False, ca_file=ca_file) as made:
                outcome = await made.attempt(BODY)
                assert isinstance(outcome, Retry)
                assert outcome.kind == "tls"
    assert not server.requests


async def test_certificates_that_are_renewed_on_the_disk_are_used_for_the_next_attempt(
    tmp_path: Path, authority: Authority, stranger: Authority
) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(stranger.ca_file.read_bytes())
    context = authority.server_context(authority.issue("server"))
    async with (
        HttpFaults(answer(200), context) as server,
        sending(tmp_path, server.url(), run=False, ca_file=ca_file) as made,
    ):
        assert getattr(await made.attempt(BODY), "kind", "") == "tls"
        ca_file.write_bytes(authority.ca_file.read_bytes())
        assert await made.attempt(BODY) == Delivered(200)


async def test_a_failed_handshake_beside_an_attempt_that_waits_is_the_reason_of_both(
    tmp_path: Path, authority: Authority, stranger: Authority
) -> None:
    """All connections are closed, so the attempt that waits makes a new one."""
    context = authority.server_context(authority.issue("server"))
    wrong = stranger.issue("server")
    async with (
        HttpFaults(answer(200), context) as server,
        sending(tmp_path, server.url(), run=False, ca_file=authority.ca_file) as made,
    ):
        await made.submit(b"waits", b"fails")
        waits, fails = made.outbox.live()
        post = made.sender._endpoint.post
        assert await post(waits, 0) == Delivered(200)
        server.behaviour = hang_before_headers()
        attempt = asyncio.create_task(post(waits, 0))
        await server.until(lambda: len(server.accepted) == 2)
        context.load_cert_chain(wrong.cert_file, wrong.key_file)
        for outcome in (await post(fails, 0), await attempt):
            assert isinstance(outcome, Retry)
            assert outcome.kind == "tls"


async def test_the_configured_authority_is_trusted_for_a_proxy_too(tmp_path: Path, authority: Authority) -> None:
    context = authority.server_context(authority.issue("proxy"))
    async with HttpFaults(answer(403), context) as proxy:
        push = {"proxy_url": f"https://127.0.0.1:{proxy.port}", "ca_file": authority.ca_file}
        async with sending(tmp_path, "https://telemetry.example.com/v1", run=False, push=push) as made:
            assert isinstance(await made.attempt(BODY), Misconfigured)
    assert [request.method for request in proxy.requests] == ["CONNECT"]


async def test_old_tls_is_refused(tmp_path: Path, authority: Authority) -> None:
    context = old_tls(authority.server_context(authority.issue("old")))
    async with HttpFaults(answer(200), context) as server:
        async with sending(tmp_path, server.url(), run=False, ca_file=authority.ca_file) as made:
            outcome = await made.attempt(BODY)
            assert isinstance(outcome, Retry)
            assert outcome.kind == "tls"
        willing = ssl.create_default_context(cafile=authority.ca_file)
        old_tls(willing)
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=willing)  # it does speak it
        writer.close()
        await writer.wait_closed()
    assert not server.requests


SSH = b"SSH-2.0-OpenSSH_9.2\r\n"
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (BAD_REQUEST, "what listens there speaks no TLS: is the port in push.url right?"),
        (SSH, "what listens there speaks no TLS: is the port in push.url right?"),
        (b"", "unexpected eof while reading; does the port in push.url speak TLS?"),
        (None, "no answer to the handshake in time; does the port in push.url speak TLS?"),
    ],
    ids=["HTTP", "SSH", "closed", "silent"],
)
async def test_plain_http_behind_an_https_address(
    tmp_path: Path, authority: Authority, reply: bytes | None, words: str
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        if reply is None:
            await reader.read()
        writer.write(reply or b"")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        patience = 0.5 if reply is None else 20
        async with sending(tmp_path, url, run=False, ca_file=authority.ca_file, connect_timeout_s=patience) as made:
            outcome = await made.attempt(BODY)
    assert isinstance(outcome, Retry)
    assert outcome.kind == "tls"
    assert outcome.reason.startswith("TLS failed: ")
    assert outcome.reason.endswith(words)


async def test_an_http_address_of_a_port_that_speaks_tls(tmp_path: Path, authority: Authority) -> None:
    context = authority.server_context(authority.issue("server"))
    async with HttpFaults(answer(200), context) as server:
        url = server.url().replace("https:", "http:")
        async with sending(tmp_path, url, run=False) as made:
            outcome = await made.attempt(BODY)
    assert isinstance(outcome, Retry)
    closed = "the endpoint closed the connection without an answer; should push.url begin with https?"
    assert outcome.reason in (closed, TLS_ANSWER)
    assert not server.requests


async def test_an_https_address_that_closes_without_an_answer_needs_no_https(
    tmp_path: Path, authority: Authority
) -> None:
    context = authority.server_context(authority.issue("server"))
    async with (
        HttpFaults(raw(b""), context) as server,
        sending(tmp_path, server.url(), run=False, ca_file=authority.ca_file) as made,
    ):
        outcome = await made.attempt(BODY)
    assert isinstance(outcome, Retry)
    assert outcome.reason == "no valid HTTP answer: Server disconnected without sending a response."


TLS_ANSWER = "the answer is TLS; should push.url begin with https?"


async def test_a_tls_alert_in_answer_to_http(tmp_path: Path) -> None:
    """As by GnuTLS: alert "unexpected message"."""
    alert = raw(bytes.fromhex("1503010002020a"))
    async with HttpFaults(alert) as server, sending(tmp_path, server.url(), run=False) as made:
        outcome = await made.attempt(BODY)
    assert getattr(outcome, "reason", "") == TLS_ANSWER


@pytest.mark.parametrize(
    "page",
    [
        b"<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>",
        b"Client sent an HTTP request to an HTTPS server.\n",
        b"Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />",
    ],
    ids=["nginx", "Go", "Apache"],
)
async def test_a_web_server_that_wants_https_is_no_refusal_of_the_message(tmp_path: Path, page: bytes) -> None:
    async with HttpFaults(answer(400, page)) as server, sending(tmp_path, server.url(), run=False) as made:
        outcome = await made.attempt(BODY)
    assert isinstance(outcome, Misconfigured)
    assert outcome.reason.endswith("; should push.url begin with https?")


@pytest.mark.parametrize(("status", "tls"), [(400, True), (422, False)])
async def test_a_refusal_that_speaks_of_https_is_one(
    tmp_path: Path, authority: Authority, status: int, tls: bool
) -> None:
    page = b"The plain HTTP request was sent to HTTPS port"
    context = authority.server_context(authority.issue("server")) if tls else None
    async with (
        HttpFaults(answer(status, page), context) as server,
        sending(tmp_path, server.url(), run=False, ca_file=authority.ca_file) as made,
    ):
        assert await made.attempt(BODY) == Refused(status, f"HTTP {status}: {page.decode()}")


async def test_a_handshake_that_hangs(tmp_path: Path, authority: Authority) -> None:
    with Mute() as mute:
        url = f"https://127.0.0.1:{mute.port}/"
        patience: dict[str, Any] = {"connect_timeout_s": 0.3, "timeout_s": 60}
        async with sending(tmp_path, url, run=False, ca_file=authority.ca_file, **patience) as made:
            begun = asyncio.get_running_loop().time()
            outcome = await made.attempt(BODY)
            assert asyncio.get_running_loop().time() - begun < 10
            assert isinstance(outcome, Retry)


async def test_the_client_s_certificate(tmp_path: Path, authority: Authority, stranger: Authority) -> None:
    context = authority.server_context(authority.issue("server"), require_client=True)
    good, bad = authority.issue("client"), stranger.issue("client")
    async with HttpFaults(answer(200), context) as server:
        for name, shown, accepted in (("none", None, False), ("bad", bad, False), ("good", good, True)):
            folder = tmp_path / name
            folder.mkdir()
            files = {"client_cert_file": shown.cert_file, "client_key_file": shown.key_file} if shown else {}
            async with sending(folder, server.url(), run=False, ca_file=authority.ca_file, push=files) as made:
                outcome = await made.attempt(BODY)
                assert isinstance(outcome, Delivered if accepted else Retry)
    assert len(server.requests) == 1


async def test_the_certificate_may_be_asked_for_after_the_handshake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With TLS 1.3 the answer is this alert. httpx passes its error on as it is."""

    async def refused(*_: object, **__: object) -> None:
        error = ssl.SSLError(1, "")
        error.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
        raise error

    monkeypatch.setattr("httpx.AsyncClient.send", refused)
    async with sending(tmp_path, "https://127.0.0.1:1/", run=False) as made:
        reason = "TLS failed: tlsv13 alert certificate required; the endpoint asks for push.client_cert_file"
        assert await made.attempt(BODY) == Retry(reason, "tls")


async def test_a_key_with_a_passphrase_is_an_error_not_a_question(tmp_path: Path, authority: Authority) -> None:
    shown = authority.issue("client", passphrase="secret")
    files = {"client_cert_file": shown.cert_file, "client_key_file": shown.key_file}
    async with sending(tmp_path, "https://127.0.0.1:1/", run=False, ca_file=authority.ca_file, push=files) as made:
        outcome = await made.attempt(BODY)
    assert isinstance(outcome, Retry)
    assert outcome.kind == "local"
    why = f"push.client_cert_file: {shown.cert_file} cannot be used (its private key has a passphrase,"
    assert outcome.reason.startswith(why)


async def test_a_name_that_does_not_exist(tmp_path: Path) -> None:
    async with sending(tmp_path, "https://telemetry.invalid/v1", run=False, connect_timeout_s=20, timeout_s=30) as made:
        outcome = await made.attempt(BODY)
        assert isinstance(outcome, Retry)
        assert outcome.kind == "dns"
        assert "telemetry.invalid" in outcome.reason
        assert made.waiting == 1


@pytest.fixture
def hanging_resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """getaddrinfo as it is behind a firewall that swallows DNS; set the event to let it answer."""
    answers = threading.Event()
    real = socket.getaddrinfo

    def look_up(host: Any, *arguments: Any, **more: Any) -> Any:
        if host == "telemetry.test":
            answers.wait(60)
            host = "127.0.0.1"
        return real(host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield answers
    answers.set()


async def test_a_resolver_that_hangs(tmp_path: Path, hanging_resolver: threading.Event) -> None:
    async with HttpFaults(answer(200)) as server:
        url = server.url("telemetry.test")
        threads = threading.active_count()
        async with sending(tmp_path, url, allow_insecure_http=True, connect_timeout_s=0.05) as made:
            for number in range(5):
                await made.submit(b"%d" % number)
                await server.until(lambda number=number: len(made.outcomes) > 2 * number)  # type: ignore[misc]
            assert {getattr(outcome, "reason", "") for _, outcome in made.outcomes} == {
                "no connection in time: looking up telemetry.test takes too long"
            }
            assert set(made.kinds) == {"Retry"}
            assert threading.active_count() <= threads + 3, "look-ups do not pile up"
            hanging_resolver.set()
            await made.all_delivered()
    assert len(server.accepted) == 5


@pytest.mark.simulated_time
@pytest.mark.parametrize("last_parts", [(2, 1), (1, 2), (2, 1, 3)])
async def test_an_address_that_does_not_answer_leaves_time_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last_parts: tuple[int, ...]
) -> None:
    """The endpoint is at 127.0.0.1."""
    async with HttpFaults(answer(200)) as server:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{part}", 0)) for part in last_parts]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        with silent("127.0.0.2", server.port):
            url = f"http://telemetry.test:{server.port}/"
            async with sending(tmp_path, url, run=False, connect_timeout_s=4, allow_insecure_http=True) as made:
                assert await made.attempt(BODY) == Delivered(200)


@pytest.mark.simulated_time
async def test_no_answer_to_a_connect(tmp_path: Path) -> None:
    with silent("127.0.0.1") as port:
        async with sending(tmp_path, f"http://127.0.0.1:{port}/", run=False, connect_timeout_s=1) as made:
            outcome = await made.attempt(BODY)
    assert outcome == Retry("no connection in time", "connect")


async def test_a_name_is_looked_up_again_after_there_was_no_thread_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "look up localhost":
            raise RuntimeError("can't start new thread")
        start(thread)

    async with HttpFaults(answer(200)) as server, sending(tmp_path, server.url("localhost"), run=False) as made:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            outcome = await made.attempt(BODY)
        assert isinstance(outcome, Retry)
        assert outcome.reason == "no connection: cannot look up localhost: the system cannot start another thread"
        assert isinstance(await made.attempt(BODY), Delivered)


async def test_stopping_does_not_wait_for_the_resolver(tmp_path: Path, hanging_resolver: threading.Event) -> None:
    url = "http://telemetry.test:1/"
    begun = asyncio.get_running_loop().time()
    async with sending(tmp_path, url, allow_insecure_http=True, connect_timeout_s=30, timeout_s=60) as made:
        await made.submit(BODY)
        await asyncio.sleep(0.05)
        await made.sender.stop(0.1)
    assert asyncio.get_running_loop().time() - begun < 10


async def test_certificates_are_read_in_a_thread_once_for_all_attempts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading takes long. Messages to other endpoints are sent meanwhile."""
    readers = []

    def read(config: PushConfig) -> ssl.SSLContext:
        readers.append(threading.current_thread())
        return tls_context(config)

    monkeypatch.setattr(http_client, "tls_context", read)
    async with HttpFaults(answer(200)) as server, sending(tmp_path, server.url(), run=False) as made:
        await made.submit(b"1", b"2", b"3")
        await asyncio.gather(*(made.sender._endpoint.post(record, 0) for record in made.outbox.live()))
    assert len(server.accepted) == 3
    assert len(readers) == 1
    assert readers[0] is not threading.main_thread()


@pytest.mark.simulated_time
async def test_a_handshake_that_the_deadline_ends_leaves_no_connection(tmp_path: Path) -> None:
    """The deadline of the request comes before that of the connection, as a pause before the connect can make it."""
    closed = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the agent closes
        closed.set()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with sending(tmp_path, url, run=False, timeout_s=2.0, connect_timeout_s=2.0) as made:
            assert await made.attempt(BODY) == Retry("no answer within 2 s", "timeout")
            async with asyncio.timeout(30):
                await closed.wait()
