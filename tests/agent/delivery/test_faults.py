"""Delivery against a real server that misbehaves: nothing lost, nothing leaked, time and memory bounded."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import sys
import tracemalloc
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from agent.delivery import http_client
from agent.delivery.circuit_breaker import COMMISSIONING_S
from agent.delivery.http_stream import BoundedStream
from agent.delivery.outcome import Delivered, Misconfigured, Outcome, Retry
from tests.faults import http
from tests.faults.http import Behaviour, ClosedError, Exchange, HttpFaults, answer
from tests.support.delivery import FAST, TOKEN, FastClock, Sending, sending
from tests.support.simulated_clock import DrivenClock

BODY = b'{"time":1}'

RETRIED = {408, 409, 425, 429} | (set(range(500, 600)) - {501})
MISCONFIGURED = {401, 403, 404, 405, 407, 410, 501} | set(range(300, 400))
STATUSES = (
    *(200, 201, 202, 203, 204, 205, 206, 207, 226, 299),
    *(300, 301, 302, 303, 304, 305, 306, 307, 308, 399),
    *(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 417, 418, 421, 422, 423, 424),
    *(425, 426, 428, 429, 431, 451, 499, 500, 501, 502, 503, 504, 505, 507, 508, 511, 520, 599),
)


def meaning(status: int) -> str:
    """The contract's table, written down once more."""
    if status < 300:
        return "Delivered"
    if status in RETRIED:
        return "Retry"
    return "Misconfigured" if status in MISCONFIGURED else "Refused"


@pytest.mark.parametrize("host", ["\u2603.net", "xn--zzzzzz"])
async def test_a_host_that_no_resolver_accepts_is_named(tmp_path: Path, host: str) -> None:
    """Names of hosts have more rules than the configuration checks."""
    async with sending(tmp_path, f"https://{host}/v1?code=hidden", run=False) as made:
        await made.submit(BODY)
        (record,) = made.outbox.live()
        outcome = await made.sender._endpoint.post(record, 0)
    assert isinstance(outcome, Retry)
    assert outcome.kind == "local"
    assert outcome.reason.startswith("push.url cannot be used: ")
    assert "hidden" not in outcome.reason


async def test_every_status_means_what_the_contract_says(tmp_path: Path) -> None:
    async with HttpFaults(answer(200)) as server, sending(tmp_path, server.url(), run=False) as made:
        await made.submit(BODY)
        (record,) = made.outbox.live()
        for status in STATUSES:
            server.behaviour = answer(status)
            outcome = await made.sender._endpoint.post(record, 0)
            assert type(outcome).__name__ == meaning(status), status


LOST_BEFORE_THE_VERDICT: dict[str, Behaviour] = {
    "hang before the headers": http.hang_before_headers(),
    "hang before the body is read": http.hang_unread(),
    "reset before the body is read": http.reset_before_body(),
    "reset after the body was taken": http.reset_after_body(),
    "closed after the body was taken": http.close_after_body(),
    "half a status line": http.reset_in_headers(),
    "headers byte by byte": http.drip(head_first=False),
    "headers without end": http.endless_headers(),
    "another protocol": http.raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "binary": http.raw(bytes(range(256)) * 10),
    "a status that is none": http.raw(b"HTTP/1.1 2 OK\r\n\r\n"),
    "503 before the body is read": http.answer_unread(503),
    "100 without end": http.endless_interim(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "103 without end": http.endless_interim(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"),
    "100 and nothing more": http.raw(b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("fault", LOST_BEFORE_THE_VERDICT.values(), ids=LOST_BEFORE_THE_VERDICT)
async def test_without_a_verdict_the_same_message_goes_again(tmp_path: Path, fault: Behaviour) -> None:
    async with HttpFaults(answer(200)) as server:
        server.script += [fault, fault]
        async with sending(tmp_path, server.url(), timeout_s=0.5) as made:
            await made.submit(BODY)
            await made.all_delivered()
            assert made.kinds[:2] == ["Retry", "Retry"]
            assert made.kinds.index("Delivered") == len(made.kinds) - 1
    assert len({request.headers["webhook-id"] for request in server.requests}) == 1
    assert {request.body for request in server.accepted} == {BODY}
    attempts = [int(request.headers["x-telemetry-attempt"]) for request in server.requests]
    assert attempts == sorted(set(attempts))
    assert server.sent_bytes < 16 << 20


FAULTS_AFTER_THE_VERDICT: dict[str, Behaviour] = {
    "hang in the body": http.hang_in_body(),
    "body byte by byte": http.drip(),
    "a gigabyte": http.huge(),
    "gzip bomb": http.gzip_bomb(),
    "gzip bomb without end": http.huge(content_encoding="gzip", content_type="application/json"),
    "body cut off": http.raw(http.head(200, content_length="100") + b"x"),
    "broken chunks": http.raw(http.head(200, transfer_encoding="chunked") + b"zz\r\nx"),
    "one-byte chunks without end": http.endless_chunks(b"1\r\nx\r\n"),
    "chunk extensions without end": http.endless_chunks(b"1;" + b"x" * 5000 + b"\r\nx\r\n"),
    "100 first": http.interim(100),
    "103 first": http.interim(103),
    "201 before the body is read": http.answer_unread(201),
}


@pytest.mark.parametrize("fault", FAULTS_AFTER_THE_VERDICT.values(), ids=FAULTS_AFTER_THE_VERDICT)
async def test_a_2xx_is_delivered_whatever_follows_it(
    tmp_path: Path, fault: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "_REPLY_S", 0.2)
    async with HttpFaults(fault) as server, sending(tmp_path, server.url()) as made:
        tracemalloc.start()
        try:
            await made.submit(BODY)
            await made.all_delivered()
            await made.submit(BODY)  # and the connection does not suffer from it
            await made.all_delivered()
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()
        assert made.kinds == ["Delivered", "Delivered"]
        assert len(server.requests) == 2
        assert server.sent_bytes < 32 << 20


@pytest.mark.parametrize(
    "beginning",
    [
        http.head(200, content_length="1000000") + b"x" * 64 * 1024,
        http.head(200, transfer_encoding="chunked") + b"1\r\nx\r\n" * 1024,
    ],
    ids=["64 KiB", "1024 chunks"],
)
async def test_an_answer_is_read_up_to_its_bound_and_not_waited_for(
    tmp_path: Path, beginning: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "_REPLY_S", 3600.0)

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await exchange.send(beginning)
        await asyncio.Event().wait()

    async with HttpFaults(behave) as server, sending(tmp_path, server.url(), run=False, timeout_s=300) as made:
        async with asyncio.timeout(60):
            assert isinstance(await made.attempt(BODY), Delivered)


LAST = b"speaking plain HTTP to an SSL"
"""As the end of an answer 400, these words change the outcome."""


@pytest.mark.parametrize(("more", "kind"), [(0, "Misconfigured"), (1, "Refused")])
@pytest.mark.parametrize("chunked", [False, True], ids=["64 KiB", "1024 chunks"])
async def test_all_of_an_answer_within_its_bound_is_read_and_no_more(
    tmp_path: Path, chunked: bool, more: int, kind: str
) -> None:
    body = b"x" * ((1024 if chunked else 64 * 1024) - len(LAST) + more) + LAST
    data = http.head(400, content_length=str(len(body))) + body
    if chunked:
        data = http.head(400, transfer_encoding="chunked") + b"".join(b"1\r\n%c\r\n" % each for each in body)
    async with HttpFaults(http.raw(data)) as server, sending(tmp_path, server.url(), run=False) as made:
        assert type(await made.attempt(BODY)).__name__ == kind


@pytest.mark.simulated_time
async def test_a_body_without_end_is_read_for_five_seconds_though_the_time_of_the_attempt_is_over(
    tmp_path: Path,
) -> None:
    loop = asyncio.get_running_loop()
    async with (
        HttpFaults(http.drip(every_s=1.0)) as server,
        sending(tmp_path, server.url(), run=False, timeout_s=2) as made,
    ):
        began = loop.time()
        assert await made.attempt(BODY) == Delivered(200)
        assert loop.time() - began == pytest.approx(5.0, abs=0.5)


@pytest.mark.parametrize(("more", "connections"), [(0, 1), (1, 3)])
async def test_an_answer_of_more_than_256_kib_ends_its_connection(tmp_path: Path, more: int, connections: int) -> None:
    """Its body is short: nearly all of the bytes are chunk extensions."""
    data = http.head(200, transfer_encoding="chunked") + (b"1;" + b"x" * 20_000 + b"\r\nx\r\n") * 13
    begin, end = b"1;", b"\r\nx\r\n0\r\n\r\n"
    data += begin + b"x" * (256 * 1024 + more - len(data) - len(begin) - len(end)) + end

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await exchange.send(data)

    async with HttpFaults(behave) as server, sending(tmp_path, server.url(), run=False) as made:
        for _ in range(3):
            assert isinstance(await made.attempt(BODY), Delivered)
        assert server.connections == connections


INTERIM = {
    "100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "bare line ends": b"HTTP/1.1 100 Continue\n\n",
    "headers": b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\nX-More: 1\r\n\r\n",
    "another version": b"HTTP/2.0 100 Continue\r\n\r\n",
    "a status below 100": b"HTTP/1.1 099 No\r\n\r\n",
    "a page": b"HTTP/1.1 199 No\r\nX: " + b"x" * 3000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("kind", INTERIM)
async def test_interim_answers_without_end_are_bounded(tmp_path: Path, kind: str) -> None:
    endless = http.endless_interim(INTERIM[kind])
    async with HttpFaults(endless) as server, sending(tmp_path, server.url(), run=False, timeout_s=300) as made:
        outcome = await made.attempt(BODY)
        assert isinstance(outcome, Retry)
        what = "the interim answers are too long" if kind == "a page" else "too many interim answers"
        assert outcome.reason == f"no valid HTTP answer: {what}"
    assert server.sent_bytes < 16 << 20


@pytest.mark.parametrize(("number", "delivered"), [(1, True), (16, True), (17, False)])
@pytest.mark.parametrize("at_once", [True, False])
async def test_some_interim_answers_are_none_too_many(
    tmp_path: Path, number: int, delivered: bool, at_once: bool
) -> None:
    """And a body that looks like them is none of them."""
    last = http.head(200, content_length=str(40 * 25)) + INTERIM["100"] * 40
    long = INTERIM["headers"][:-2] + b"X-Long: " + b"x" * 900 + b"\r\n\r\n"

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        if at_once:
            await exchange.send(INTERIM["100"] * number + last)
            return
        for each in [*[long] * number, last]:
            for part in (each[:9], each[9:500], each[500:]):
                await exchange.send(part)
                await asyncio.sleep(0.001)

    async with HttpFaults(behave) as server, sending(tmp_path, server.url(), run=False) as made:
        for _ in range(2):  # on the same connection
            assert isinstance(await made.attempt(BODY), Delivered) is delivered
        if delivered:
            assert server.connections == 1


@pytest.mark.simulated_time
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize(("size", "delivered"), [(16 * 1024, True), (16 * 1024 + 1, False)])
async def test_interim_answers_of_16_kib_are_none_too_long(
    tmp_path: Path, size: int, delivered: bool, parts: int
) -> None:
    """Whether the last of them arrives whole or in two parts."""
    first, second, end = INTERIM["headers"], b"HTTP/1.1 103 Early Hints\r\nX: ", b"\r\n\r\n"
    second += b"x" * (size - len(first) - len(second) - len(end)) + end

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await exchange.send(first)
        await asyncio.sleep(1.0)
        for part in (second[:9000], second[9000:]) if parts == 2 else (second,):
            await exchange.send(part)
            await asyncio.sleep(1.0)
        await exchange.send(http.head(200, content_length="0"))

    async with HttpFaults(behave) as server, sending(tmp_path, server.url(), run=False) as made:
        for _ in range(2):
            assert isinstance(await made.attempt(BODY), Delivered) is delivered


@pytest.mark.simulated_time
async def test_a_body_that_looks_like_interim_answers_is_none(tmp_path: Path) -> None:
    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await exchange.send(http.head(200, content_length=str(40 * len(INTERIM["100"]))))
        await asyncio.sleep(1.0)
        await exchange.send(INTERIM["100"] * 40)

    async with HttpFaults(behave) as server, sending(tmp_path, server.url(), run=False) as made:
        for _ in range(2):
            assert await made.attempt(BODY) == Delivered(200)
    assert server.connections == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed(tmp_path: Path, status: int) -> None:
    async with (
        HttpFaults(answer(200)) as elsewhere,
        HttpFaults(http.redirect(status, elsewhere.url())) as server,
        sending(tmp_path, server.url()) as made,
    ):
        await made.submit(BODY)
        await server.until(lambda: len(server.requests) >= 3)
        server.script.append(http.redirect(status, "/v2"))
        await server.until(lambda: not server.script)
        assert made.waiting == 1
        assert set(made.kinds) == {"Misconfigured"}
        server.behaviour = answer(200)
        await made.all_delivered()
    assert elsewhere.connections == 0
    assert {(request.method, request.path) for request in server.requests} == {("POST", "/v1")}


@pytest.mark.parametrize(
    "content_type",
    ["text/html; charset=utf-8", "Text/HTML", "application/xhtml+xml", "APPLICATION/XHTML+XML;charset=x"],
)
async def test_a_page_for_people_is_doubted(tmp_path: Path, content_type: str) -> None:
    """Any 2xx counts as delivered, but over plain http the one who answers may be a portal."""
    page = answer(200, b"<html>Log in</html>", content_type=content_type)
    async with HttpFaults(page) as server, sending(tmp_path, server.url(), run=False) as made:
        assert getattr(await made.attempt(BODY), "page", None) is True
        server.behaviour = answer(200, b"{}", content_type="application/json")
        assert getattr(await made.attempt(BODY), "page", None) is False


async def test_pages_for_people_are_told_when_they_begin(tmp_path: Path) -> None:
    page, plain = answer(200, b"<html>Log in</html>", content_type="text/html"), answer(200)
    async with HttpFaults(page) as server, sending(tmp_path, server.url()) as made:
        for behaviour, said in ((page, 1), (page, 1), (plain, 1), (page, 2)):
            server.behaviour = behaviour
            await made.submit(BODY)
            await made.all_delivered()
            doubts = [event for event in made.logs if event["event"] == "endpoint_answers_with_a_page"]
            assert [(event["log_level"], event["url"]) for event in doubts] == [("warning", server.url())] * said


class LeapingClock(FastClock):
    """Leaps ahead when told to."""

    ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


@pytest.mark.parametrize(("first", "said"), [("page", [1, 1, 1, 1]), ("plain", [0, 1, 1, 2])])
async def test_pages_where_none_were_before_are_told_each_day(tmp_path: Path, first: str, said: list[int]) -> None:
    """An endpoint that always answers with a page is told once."""
    page, plain = answer(200, b"<html>Log in</html>", content_type="text/html"), answer(200)
    clock = LeapingClock(1.0)
    counts = []
    async with HttpFaults(page) as server, sending(tmp_path, server.url(), clock=clock) as made:
        for behaviour, ahead_s in (
            ({"page": page, "plain": plain}[first], 0),
            (page, 0),
            (page, 80_000),
            (page, 90_000),
        ):
            server.behaviour = behaviour
            clock.ahead_s = ahead_s
            await made.submit(BODY)
            await made.all_delivered()
            counts.append(sum(event["event"] == "endpoint_answers_with_a_page" for event in made.logs))
    assert counts == said


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (302, ": redirect to https://login.test/hotspot"),
        (399, ": redirect to https://login.test/hotspot"),
        (400, ""),
    ],
)
@pytest.mark.parametrize("user", ["", "guest:do-not-show@", "guest:do@not-show@"])
async def test_a_redirect_is_told_without_secrets(tmp_path: Path, status: int, told: str, user: str) -> None:
    """A refusal is none, whatever headers it has."""
    location = f"https://{user}login.test/hotspot?session=do-not-show"
    told = told.replace("//", "//…@") if user else told
    async with (
        HttpFaults(http.redirect(status, location)) as server,
        sending(tmp_path, server.url(), run=False) as made,
    ):
        outcome = await made.attempt(BODY)
    assert getattr(outcome, "reason", "") == f"HTTP {status}{told}"


@pytest.mark.parametrize(
    ("headers", "after_s"),
    [
        ({"date": "Tue, 14 Nov 2023 22:00:00 GMT", "retry_after": "Tue, 14 Nov 2023 22:01:30 GMT"}, 90.0),
        ({"retry_after": "Tue, 14 Nov 2023 22:14:20 GMT"}, 60.0),
        ({"date": "now", "retry_after": "Tue, 14 Nov 2023 22:14:20 GMT"}, 60.0),
    ],
)
async def test_a_date_in_retry_after_is_a_time_of_the_endpoint(
    tmp_path: Path, headers: dict[str, str], after_s: float
) -> None:
    """Or of this clock, if the endpoint does not tell its own."""
    clock = DrivenClock(wall=1_700_000_000.0)  # 22:13:20
    async with (
        HttpFaults(answer(503, b"", **headers)) as server,
        sending(tmp_path, server.url(), run=False, clock=clock) as made,
    ):
        assert await made.attempt(BODY) == Retry("HTTP 503", "http_503", after_s)


async def test_nothing_of_an_answer_is_taken_into_the_next_request(tmp_path: Path) -> None:
    cookie = answer(200, set_cookie="track=1; Path=/")
    async with HttpFaults(cookie) as server, sending(tmp_path, server.url()) as made:
        for _ in range(2):
            await made.submit(BODY)
            await made.all_delivered()
    assert set(server.requests[0].headers) == set(server.requests[1].headers)


async def test_the_environment_names_no_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with HttpFaults(answer(200)) as proxy, HttpFaults(answer(200)) as server:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with sending(tmp_path, server.url()) as made:
            await made.submit(BODY)
            await made.all_delivered()
    assert proxy.connections == 0


@pytest.mark.parametrize(("status", "kind"), [(407, "Misconfigured"), (502, "Retry")])
async def test_what_a_proxy_says_is_not_about_the_message(tmp_path: Path, status: int, kind: str) -> None:
    async with HttpFaults(answer(status)) as proxy:
        url = "https://telemetry.example.com/v1"
        async with sending(tmp_path, url, run=False, proxy_url=f"http://127.0.0.1:{proxy.port}") as made:
            outcome = await made.attempt(BODY)
            assert type(outcome).__name__ == kind
    assert [request.method for request in proxy.requests] == ["CONNECT"]
    assert TOKEN not in repr(proxy.requests)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("403 No", Misconfigured(403, "HTTP 403: the proxy says 403 No")),
        ("40 No", Retry("HTTP 502: the proxy says 40 No", "http_502")),
        ("4070 No", Retry("HTTP 502: the proxy says 407 No", "http_502")),
        ("out of order", Retry("HTTP 502: the proxy says out of order", "http_502")),
    ],
)
async def test_a_proxy_that_names_no_status_is_out_of_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, outcome: Outcome
) -> None:
    async def refused(*_: object, **__: object) -> None:
        raise httpx.ProxyError(text)

    monkeypatch.setattr("httpx.AsyncClient.send", refused)
    async with sending(tmp_path, "https://telemetry.example.com/v1", run=False) as made:
        assert await made.attempt(BODY) == outcome


async def test_a_connection_closed_while_it_was_idle_costs_no_attempt(tmp_path: Path) -> None:
    async with HttpFaults(http.answer_then_close()) as server, sending(tmp_path, server.url()) as made:
        for number in range(3):
            await made.submit(BODY)
            await made.all_delivered()
            await server.until(lambda number=number: len(server.accepted) == number + 1)  # type: ignore[misc]
        assert made.kinds == ["Delivered"] * 3
    assert [request.headers["x-telemetry-attempt"] for request in server.accepted] == ["0"] * 3


async def test_a_connection_that_the_endpoint_has_ended_gets_no_message(tmp_path: Path) -> None:
    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await exchange.answer(200)
        exchange.writer.write_eof()

    async with HttpFaults(behave) as server, sending(tmp_path, server.url(), run=False) as made:
        for _ in range(2):
            assert await made.attempt(BODY) == Delivered(200)
    assert [request.connection for request in server.requests] == [1, 2]


@pytest.mark.parametrize("fault", [http.reset_before_body(), http.reset_after_body(), http.close_after_body()])
async def test_a_connection_closed_in_the_moment_of_use_costs_no_attempt(tmp_path: Path, fault: Behaviour) -> None:
    async with HttpFaults(answer(200)) as server, sending(tmp_path, server.url()) as made:
        server.script += [answer(200), fault, answer(200)]
        for _ in range(2):
            await made.submit(BODY)
            await made.all_delivered()
        assert made.kinds == ["Delivered", "Delivered"]
    assert [request.connection for request in server.requests] == [1, 1, 2]
    assert len({request.headers["webhook-id"] for request in server.requests}) == 2


async def test_two_connections_closed_in_the_moment_of_use_cost_no_attempt(tmp_path: Path) -> None:
    at_once = asyncio.Barrier(2)

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        number = exchange.request.connection
        if number <= 2 and [each.connection for each in server.requests].count(number) == 1:
            await at_once.wait()
        elif number <= 2:
            if number == 2:
                await server.until(lambda: server.connections > 2)  # the other attempt has a new connection
            raise ClosedError
        await exchange.answer(200)

    async with HttpFaults(behave) as server, sending(tmp_path, server.url(), run=False) as made:
        for _ in range(2):
            await made.submit(BODY, BODY)
            outcomes = await asyncio.gather(*(made.sender._endpoint.post(each, 0) for each in made.outbox.live()))
            assert outcomes == [Delivered(200), Delivered(200)]


async def test_no_connection_closed_in_the_moment_of_use_costs_an_attempt(tmp_path: Path) -> None:
    at_once = asyncio.Barrier(3)

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        number = exchange.request.connection
        if number <= 3:
            if [each.connection for each in server.requests].count(number) > 1:
                raise ClosedError
            await at_once.wait()
        await exchange.answer(200)

    async with HttpFaults(behave) as server, sending(tmp_path, server.url(), run=False) as made:
        await made.submit(BODY, BODY, BODY)
        await asyncio.gather(*(made.sender._endpoint.post(each, 0) for each in made.outbox.live()))
        assert await made.attempt(BODY) == Delivered(200)
    assert server.connections == 4


@pytest.mark.parametrize("connections", [1, 2])
async def test_connections_closed_in_the_moment_of_use_are_tried_only_so_often(
    tmp_path: Path, connections: int
) -> None:
    """Another attempt leaves a new one each time."""
    async with (
        HttpFaults(answer(200)) as server,
        sending(tmp_path, server.url(), run=False, connections=connections) as made,
    ):
        await made.submit(b"broken", b"whole")
        broken, whole = made.outbox.live()

        async def behave(exchange: Exchange) -> None:
            await exchange.accept()
            if exchange.request.body == b"broken" and server.connections < 20:
                await made.sender._endpoint.post(whole, 0)
                raise ClosedError
            await exchange.answer(200)

        await made.sender._endpoint.post(whole, 0)
        server.behaviour = behave
        assert isinstance(await made.sender._endpoint.post(broken, 0), Retry)
    most = 2 * connections + 1
    assert [each.body for each in server.requests].count(b"broken") == 1 + most


@pytest.mark.simulated_time
@pytest.mark.parametrize("connections", [1, 3])
async def test_the_attempts_of_two_ticks_and_one_of_the_backlog_each_have_a_connection(
    tmp_path: Path, connections: int
) -> None:
    async with (
        HttpFaults(http.hang_before_headers()) as server,
        sending(tmp_path, server.url(), run=False, connections=connections) as made,
    ):
        await made.submit(*[BODY] * 12)
        await asyncio.gather(*(made.sender._endpoint.post(each, 0) for each in made.outbox.live()))
    assert server.connections == 2 * connections + 1


@pytest.mark.parametrize(("idle_s", "connections"), [(159.5, 1), (160.5, 2)])
async def test_a_connection_is_kept_for_two_pushes_and_a_half_and_ten_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, idle_s: float, connections: int
) -> None:
    now = 1000.0
    monkeypatch.setattr("httpcore._async.http11.time", SimpleNamespace(monotonic=lambda: now))
    async with HttpFaults(answer(200)) as server, sending(tmp_path, server.url(), run=False, interval_s=60) as made:
        for _ in range(2):
            assert await made.attempt(BODY) == Delivered(200)
            now += idle_s
    assert server.connections == connections


async def test_a_request_searches_no_folder_for_a_library_that_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = []

    class Finder:
        def find_spec(self, name: str, *_: object) -> None:
            searched.append(name)

    async with HttpFaults(answer(200)) as server, sending(tmp_path, server.url(), run=False) as made:
        await made.attempt(BODY)
        monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
        await made.attempt(BODY)
    assert searched == []


@pytest.mark.parametrize("behaviour", [answer(200), http.huge(times=100)], ids=["idle", "in the body"])
async def test_an_error_while_a_connection_is_closed_is_none_of_the_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour
) -> None:
    close = BoundedStream.aclose

    async def closed(stream: BoundedStream) -> None:
        await close(stream)
        raise OSError(errno.EIO, "")

    monkeypatch.setattr(BoundedStream, "aclose", closed)
    async with HttpFaults(behaviour) as server, sending(tmp_path, server.url(), run=False) as made:
        assert await made.attempt(BODY) == Delivered(200)


async def test_one_read_of_a_long_answer_has_at_most_16_kib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = BoundedStream.read
    sizes: list[int] = []

    async def counted(stream: BoundedStream, max_bytes: int, timeout: float | None = None) -> bytes:
        data = await read(stream, max_bytes, timeout)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(BoundedStream, "read", counted)
    async with (
        HttpFaults(answer(200, b"x" * 64 * 1024)) as server,
        sending(tmp_path, server.url(), run=False) as made,
    ):
        assert await made.attempt(BODY) == Delivered(200)
    assert max(sizes) == 16 * 1024


async def test_the_connection_is_kept_alive_between_pushes(tmp_path: Path) -> None:
    async with HttpFaults(answer(204)) as server, sending(tmp_path, server.url()) as made:
        for _ in range(5):
            await made.submit(BODY)
            await made.all_delivered()
    assert server.connections == 1


def connected_to(port: int) -> socket.socket:
    """A copy of the one socket of this process that is connected to that port of this host."""
    found = []
    for entry in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        with contextlib.suppress(OSError):
            copy = socket.socket(fileno=os.dup(entry))
            try:
                wanted = copy.getpeername() == ("127.0.0.1", port)
            except OSError:
                wanted = False
            if wanted:
                found.append(copy)
            else:
                copy.close()
    (one,) = found
    return one


async def test_a_connection_that_died_in_silence_is_noticed_between_pushes_or_halfway(tmp_path: Path) -> None:
    """What the kernel is asked for; to see it work takes a firewall in between."""
    async with (
        HttpFaults(answer(200)) as server,
        sending(tmp_path, server.url(), run=False, interval_s=60, timeout_s=30) as made,
    ):
        await made.attempt(BODY)
        with connected_to(server.port) as used:
            wanted = {"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 2}
            wanted["TCP_USER_TIMEOUT"] = 15_000
            levels = {"SO": socket.SOL_SOCKET, "TCP": socket.IPPROTO_TCP}
            assert wanted == {
                name: used.getsockopt(levels[name.split("_")[0]], getattr(socket, name)) for name in wanted
            }


async def test_a_backlog_that_hangs_does_not_hold_up_live_messages(tmp_path: Path) -> None:
    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        if exchange.request.body == b"old":
            await asyncio.Event().wait()
        await exchange.answer(200)

    async with HttpFaults(answer(503)) as server, sending(tmp_path, server.url(), timeout_s=30, rate_per_s=5) as made:
        await made.submit(b"old")
        await server.until(lambda: made.kinds[:1] == ["Retry"])
        server.behaviour = behave
        await made.submit(b"live")
        await server.until(lambda: made.waiting == 1)
        await server.until(lambda: [request.body for request in server.accepted].count(b"old") > 1)
        for number in range(3):
            await made.submit(b"next %d" % number)
            await server.until(lambda: made.waiting == 1)


async def test_stopping_does_not_wait_for_an_answer_and_keeps_the_message(tmp_path: Path) -> None:
    async with HttpFaults(http.hang_before_headers()) as server:
        async with sending(tmp_path, server.url(), timeout_s=300) as made:
            await made.submit(BODY)
            await server.until(lambda: bool(server.accepted))
            begun = asyncio.get_running_loop().time()
            await made.sender.stop(0.1)
            assert asyncio.get_running_loop().time() - begun < 5
            assert "attempt_left_in_queue" in {each["event"] for each in made.logs}
        server.behaviour = answer(200)
        async with sending(tmp_path, server.url()) as made:
            await made.all_delivered()
    assert len({request.headers["webhook-id"] for request in server.accepted}) == 1


async def test_stopping_lets_an_attempt_end_that_is_answered_in_time(tmp_path: Path) -> None:
    """Or each restart would send a message twice."""
    answers = asyncio.Event()

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await answers.wait()
        await exchange.answer(200)

    async with HttpFaults(behave) as server, sending(tmp_path, server.url(), timeout_s=30) as made:
        await made.submit(BODY)
        await server.until(lambda: len(server.accepted) == 1)
        stopping = asyncio.create_task(made.sender.stop(20))
        await asyncio.sleep(0)
        answers.set()
        await stopping
        assert made.waiting == 0


async def test_a_day_without_endpoint(tmp_path: Path) -> None:
    clock = FastClock(40_000)
    retry = {"initial_s": 1, "max_s": 300}
    ticks = 144
    async with HttpFaults(answer(200)) as server:
        await server.down()
        async with sending(
            tmp_path, server.url(), clock=clock, retry=retry, connect_timeout_s=10, timeout_s=30, rate_per_s=20
        ) as made:
            for tick in range(ticks):
                await made.submit(b"%03d" % tick)
                await clock.sleep(600)
            assert made.waiting == ticks
            assert made.sender.stats.attempts < 5 * ticks, "no hammering"
            await server.up()
            await made.submit(b"live")
            await made.all_delivered()
    bodies = [request.body for request in server.accepted]
    # Attempts of the last two ticks may have been under way when the endpoint came back.
    newest = {b"live", b"%03d" % (ticks - 2), b"%03d" % (ticks - 1)}
    assert {bodies[0], bodies[1]} & newest
    assert bodies.index(b"live") < 20
    backlog = [body for body in bodies if body not in newest]
    assert backlog == [b"%03d" % tick for tick in range(ticks - 2)]
    assert len({request.headers["webhook-id"] for request in server.accepted}) == len(bodies) == ticks + 1


def bound_to(token: list[str]) -> Behaviour:
    """Takes the message when it carries the token of now."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        good = exchange.request.headers["authorization"] == f"Bearer {token[0]}"
        await exchange.answer(200 if good else 401)

    return behave


@pytest.mark.simulated_time
async def test_a_token_rotated_in_the_middle(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("token-1")
    file.chmod(0o600)
    now = ["token-1"]
    clock = FastClock(100)
    options = {"token": None, "token_file": file, "retry": {"initial_s": 1, "max_s": 300}}
    async with HttpFaults(bound_to(now)) as server, sending(tmp_path, server.url(), clock=clock, push=options) as made:
        await made.submit(b"1")
        await made.all_delivered()
        file.write_text("token-2")  # the file first: never a 401
        now[0] = "token-2"
        await made.submit(b"2")
        await made.all_delivered()
        assert made.kinds == ["Delivered", "Delivered"]
        await clock.sleep(COMMISSIONING_S)
        now[0] = "token-3"  # the endpoint first: everything is kept, and goes as soon as the file has it
        for number in range(3, 8):
            await made.submit(b"%d" % number)
            await clock.sleep(60)
        assert made.waiting == 5
        assert made.sender.stats.attempts - 2 < 5, "probed slowly"
        file.write_text("token-3")
        changed = clock.monotonic()
        await server.until(lambda: made.sender.stats.delivered > 2)
        assert clock.monotonic() - changed < 60
        await made.all_delivered()
    delivered = [request.body for request in server.accepted if request.answered == 200]
    assert delivered == [b"1", b"2", b"7", b"3", b"4", b"5", b"6"]


@pytest.mark.simulated_time
async def test_a_message_that_is_sent_again_after_a_401_has_the_rest_of_its_time(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("token-1")
    token.chmod(0o600)
    loop = asyncio.get_running_loop()

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        token.write_text("token-2")
        await (answer(401) if len(server.requests) == 1 else http.hang_before_headers())(exchange)

    async with (
        HttpFaults(behave) as server,
        sending(tmp_path, server.url(), run=False, token=None, token_file=token, timeout_s=60) as made,
    ):
        began = loop.time()
        assert await made.attempt(BODY) == Retry("no answer within 60 s", "timeout")
        assert loop.time() - began == pytest.approx(60.0, abs=0.5)
    assert [each.headers["authorization"] for each in server.requests] == ["Bearer token-1", "Bearer token-2"]


async def test_a_new_token_is_no_answer_to_a_403(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("token-1")
    token.chmod(0o600)

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        token.write_text("token-2")
        await exchange.answer(403)

    async with (
        HttpFaults(behave) as server,
        sending(tmp_path, server.url(), run=False, token=None, token_file=token) as made,
    ):
        assert await made.attempt(BODY) == Misconfigured(403, "HTTP 403")
    assert len(server.requests) == 1


async def test_without_a_token_nothing_is_sent(tmp_path: Path) -> None:
    async with HttpFaults(answer(200)) as server, sending(tmp_path, server.url(), run=False, token=None) as made:
        reason = "there is no usable token: it must be visible ASCII characters without blanks"
        assert await made.attempt(BODY) == Retry(reason, "local")
    assert not server.requests


async def test_nothing_is_sent_until_there_is_a_secret_to_sign_it_and_a_wrong_one_replaces_none(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("whsec_no-base-64")
    secret.chmod(0o600)
    push = {"signing_secret_file": secret}
    async with HttpFaults(answer(200)) as server, sending(tmp_path, server.url(), run=False, push=push) as made:
        reason = "push.signing_secret_file: holds no signing secret"
        assert await made.attempt(BODY) == Retry(reason, "local")
        assert not server.requests
        secret.write_text("whsec_" + "QUJD" * 8)
        assert await made.attempt(BODY) == Delivered(200)
        secret.write_text("whsec_no base 64 either")
        assert await made.attempt(BODY) == Delivered(200)
        problems = [each["problem"] for each in made.logs if each["event"] == "secret_unusable"]
    assert problems == ["a signing secret must be whsec_<base64>"] * 2


@pytest.mark.simulated_time
async def test_retry_after_holds_everything_back(tmp_path: Path) -> None:
    clock = FastClock(200)
    async with HttpFaults(answer(200)) as server:
        server.script += [answer(503, retry_after="60"), answer(429, retry_after="60")]
        async with sending(tmp_path, server.url(), clock=clock, retry=FAST) as made:
            begun = clock.monotonic()
            await made.submit(b"1")
            await server.until(lambda: len(server.requests) == 1)
            await made.submit(b"2")
            await made.all_delivered()
            assert clock.monotonic() - begun >= 120
    assert len(server.requests) == 4


@pytest.mark.simulated_time
async def test_a_new_token_ends_no_pause_that_the_endpoint_asked_for(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("token-1")
    token.chmod(0o600)
    async with HttpFaults(answer(200)) as server:
        server.script.append(answer(429, retry_after="100"))
        async with sending(tmp_path, server.url(), token=None, token_file=token, interval_s=600) as made:
            await made.submit(b"1")
            await server.until(lambda: made.kinds == ["Retry"])
            token.write_text("token-2")
            await made.submit(b"2")
            await asyncio.sleep(95)
            assert len(server.accepted) == 1
            await asyncio.sleep(20)
            await made.all_delivered()


async def test_a_newer_tick_does_not_wait_for_an_attempt_of_an_older_one_that_hangs(tmp_path: Path) -> None:
    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        if exchange.request.body == b"hangs":
            await asyncio.Event().wait()
        await exchange.answer(200)

    async with HttpFaults(behave) as server, sending(tmp_path, server.url(), timeout_s=30) as made:
        await made.submit(b"hangs")
        await server.until(lambda: len(server.accepted) == 1)
        await made.submit(b"newer")
        await server.until(lambda: made.waiting == 1)


async def test_a_message_that_alone_makes_the_receiver_fail_holds_up_no_backlog(tmp_path: Path) -> None:
    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await exchange.answer(500 if exchange.request.body == b"0" else 200)

    retry = {"initial_s": 0.2, "max_s": 0.5}
    async with (
        HttpFaults(answer(503)) as server,
        sending(tmp_path, server.url(), retry=retry) as made,
    ):
        for number in range(10):
            await made.submit(b"%d" % number)
        server.behaviour = behave
        await server.until(lambda: made.waiting == 1)
        assert made.outbox.backlog(1e12)[0].body == b"0"
        assert not made.outbox.parked()


def refused_more_than(made: Sending, number: int) -> bool:
    return made.sender.stats.refused > number


async def test_when_it_is_the_schema_nothing_stays_parked(tmp_path: Path) -> None:
    """Different messages refused one after the other: those parked before it was clear wait again."""
    async with (
        HttpFaults(answer(422, b"no such field")) as server,
        sending(tmp_path, server.url(), retry={"initial_s": 0.01, "max_s": 0.02, "dead_letter_after": 1}) as made,
    ):
        for number in range(3):
            await made.submit(b"%d" % number)
            await server.until(partial(refused_more_than, made, number))
        await server.until(lambda: made.sender.stats.state == "misconfigured" and made.waiting == 3)
        seen = made.sender.stats.refused
        await server.until(partial(refused_more_than, made, seen + 3))
        assert not made.outbox.parked()
        assert made.sender.stats.parked == 0
        revived = [each["id"] for each in made.logs if each["event"] == "message_revived"]
        assert len(revived) == len(set(revived)) == 2


def refusing(what: bytes) -> Behaviour:
    """A receiver that does not want messages that begin so."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await exchange.answer(422 if exchange.request.body.startswith(what) else 200)

    return behave


POISON = {"initial_s": 0.001, "max_s": 1000.0, "dead_letter_after": 3}


async def test_refusals_of_a_backlog_do_not_hold_up_what_the_receiver_takes(tmp_path: Path) -> None:
    """As by a receiver that takes nothing that is older than a day."""
    async with HttpFaults(refusing(b"old")) as server, sending(tmp_path, server.url(), retry=POISON) as made:
        made.outbox.put([b"old %d" % number for number in range(10)])
        for number in range(5):
            await made.submit(b"new %d" % number)
            await server.until(lambda number=number: made.sender.stats.delivered > number)  # type: ignore[misc]
            await server.until(lambda number=number: made.sender.stats.refused > 4 * number)  # type: ignore[misc]
            assert made.sender.stats.state == "well"
        await server.until(lambda: made.waiting == 0)
        assert len(made.outbox.parked()) == 10


async def test_nodes_that_the_receiver_does_not_know_do_not_hold_up_the_others(tmp_path: Path) -> None:
    """With one message per node, several of each tick may be refused in a row."""
    async with HttpFaults(refusing(b"charger")) as server, sending(tmp_path, server.url(), retry=POISON) as made:
        for number in range(3):
            await made.submit(b"meter", b"charger 1", b"charger 2", b"charger 3", b"charger 4", b"panels")
            await server.until(lambda number=number: made.sender.stats.delivered == 2 * number + 2)  # type: ignore[misc]
        await server.until(lambda: made.waiting == 0)
        assert len(made.outbox.parked()) == 12
