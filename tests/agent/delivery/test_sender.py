"""Delivery through respx, which stands where the network begins."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import hmac
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
from structlog.testing import capture_logs

from agent.config.push import PushConfig
from agent.delivery.http_reply import classify, parse_retry_after
from agent.delivery.outcome import Delivered, Misconfigured, Refused, Retry
from agent.delivery.sender import Sender
from agent.outbox.queue import Outbox
from agent.runtime.clock import SystemClock
from tests.support.delivery import at_work

URL = "https://telemetry.example.com/v1"


@asynccontextmanager
async def sender(tmp_path: Path, **changes: Any) -> AsyncIterator[tuple[Sender, Outbox]]:
    outbox = Outbox.open(tmp_path / "o.sqlite3", max_age_s=1e9, max_size_mb=8)
    fast = {"initial_s": 0.01, "max_s": 0.02}
    config = PushConfig(**{"url": URL, "token": "secret-token", "retry": fast} | changes)
    made = Sender(
        config, outbox, backlog_rate_per_s=1000, clock=SystemClock(), environ={}, user_agent="telemetry-push-agent/0"
    )
    async with at_work(made, outbox):
        yield made, outbox


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - respx has no event to wait for
            await asyncio.sleep(0.005)


async def test_headers_and_body(tmp_path: Path, respx_mock: respx.MockRouter) -> None:
    route = respx_mock.post(URL).respond(204)
    async with sender(tmp_path) as (made, outbox):
        await made.submit([b'{"time":1}'])
        await until(lambda: outbox.counts().waiting == 0)
    request = route.calls[0].request
    assert request.content == b'{"time":1}'
    assert request.headers["authorization"] == "Bearer secret-token"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == "telemetry-push-agent/0"
    assert request.headers["idempotency-key"] == f'"{request.headers["webhook-id"]}"'
    assert request.headers["x-telemetry-attempt"] == "0"
    assert request.headers["x-telemetry-backlog"] == "0"
    assert request.headers["accept-encoding"] == "identity"


async def test_the_same_bytes_and_id_until_delivered(tmp_path: Path, respx_mock: respx.MockRouter) -> None:
    answers: list[httpx.Response | Exception] = [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        *map(httpx.Response, (500, 429, 408, 200)),
    ]
    route = respx_mock.post(URL).mock(side_effect=answers)
    async with sender(tmp_path) as (made, outbox):
        await made.submit([b"x"])
        await until(lambda: outbox.counts().waiting == 0)
    requests = [call.request for call in route.calls]
    assert len(requests) == 6
    assert len({(request.headers["webhook-id"], request.content) for request in requests}) == 1
    assert [request.headers["x-telemetry-attempt"] for request in requests] == list("012345")


async def test_live_first_then_the_backlog_oldest_first(tmp_path: Path, respx_mock: respx.MockRouter) -> None:
    up = False
    seen: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal up
        up = up or request.content == b"live"
        if up:
            seen.append(request.content)
        return httpx.Response(200 if up else 503)

    respx_mock.post(URL).mock(side_effect=answer)
    async with sender(tmp_path, retry={"initial_s": 0.2, "max_s": 0.5}) as (made, outbox):
        for number in range(5):
            await made.submit([str(number).encode()])
        await made.submit([b"live"])
        await until(lambda: outbox.counts().waiting == 0)
    assert seen[0] == b"live"
    assert sorted(seen) == [b"0", b"1", b"2", b"3", b"4", b"live"]


async def test_a_poison_message_is_parked_and_the_next_goes_on(tmp_path: Path, respx_mock: respx.MockRouter) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(422 if request.content == b"poison" else 200)

    respx_mock.post(URL).mock(side_effect=answer)
    retry = {"initial_s": 0.01, "max_s": 0.02, "dead_letter_after": 2}
    with capture_logs() as logs:
        async with sender(tmp_path, retry=retry) as (made, outbox):
            await made.submit([b"poison"])
            await until(lambda: made.stats.attempts >= 1)
            await made.submit([b"good"])
            await until(lambda: outbox.counts().waiting == 0 and made.stats.parked == 1)  # counted after it is stored
            (parked,) = outbox.parked()
            assert parked.body == b"poison"
            assert (made.stats.parked, made.stats.refused) == (1, 2)
    told = [entry for entry in logs if entry["event"].startswith("message_") and entry["log_level"] == "warning"]
    assert [(entry["event"], entry["id"], entry["reason"]) for entry in told] == [
        ("message_refused", parked.id, "HTTP 422"),
        ("message_parked", parked.id, "HTTP 422"),
    ]


@pytest.mark.parametrize("status", [401, 403, 404, 301])
async def test_a_misconfigured_endpoint_loses_nothing(
    tmp_path: Path, respx_mock: respx.MockRouter, status: int
) -> None:
    route = respx_mock.post(URL).respond(status, headers={"location": "https://elsewhere.example.com/"})
    async with sender(tmp_path) as (made, outbox):
        await made.submit([b"1"])
        await until(lambda: made.stats.attempts >= 1)
        assert outbox.counts().waiting == 1
        assert not outbox.parked()
    assert all(str(call.request.url) == URL for call in route.calls)


async def test_the_next_attempt_is_at_the_latest_that_of_the_next_push(
    tmp_path: Path, respx_mock: respx.MockRouter
) -> None:
    respx_mock.post(URL).mock(side_effect=httpx.ConnectError("refused"))
    async with sender(tmp_path, interval_s=10, retry={"initial_s": 3600, "max_s": 3600}) as (made, _):
        assert made.next_attempt_at is None
        began = SystemClock().monotonic()
        await made.submit([b"x"])
        await until(lambda: made.next_attempt_at is not None)
        assert made.next_attempt_at is not None
        assert began <= made.next_attempt_at <= SystemClock().monotonic() + 10
    respx_mock.post(URL).mock(return_value=httpx.Response(503, headers={"Retry-After": "300"}))
    (tmp_path / "paused").mkdir()
    async with sender(tmp_path / "paused", interval_s=10) as (made, _):
        began = SystemClock().monotonic()
        await made.submit([b"x"])
        await until(lambda: made.next_attempt_at is not None)
        assert made.next_attempt_at is not None
        assert made.next_attempt_at >= began + 300


async def test_a_reload_tries_a_misconfigured_endpoint_again(
    tmp_path: Path, respx_mock: respx.MockRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.delivery.circuit_breaker.COMMISSIONING_S", 0.0)
    monkeypatch.setattr("agent.delivery.retry.TOKEN_S", 0.05)
    route = respx_mock.post(URL).respond(401)
    async with sender(tmp_path, retry={}) as (made, outbox):
        await made.submit([b"1"])
        await until(lambda: made.stats.attempts == 1)
        route.respond(200)
        made.reloaded()  # else the next attempt is after 150 s
        await until(lambda: outbox.counts().waiting == 0)


async def test_a_rotated_token_is_picked_up(tmp_path: Path, respx_mock: respx.MockRouter) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    token.chmod(0o600)
    route = respx_mock.post(URL).respond(200)
    async with sender(tmp_path, token=None, token_file=token) as (made, outbox):
        await made.submit([b"1"])
        await until(lambda: outbox.counts().waiting == 0)
        token.write_text("second-one\n")
        await made.submit([b"2"])
        await until(lambda: outbox.counts().waiting == 0)
    assert [call.request.headers["authorization"] for call in route.calls] == ["Bearer first", "Bearer second-one"]


async def test_a_token_file_is_read_again_after_a_401(tmp_path: Path, respx_mock: respx.MockRouter) -> None:
    """Its time and its size may be those of the old one. No attempt is lost."""
    token = tmp_path / "token"
    token.write_text("token-1")
    token.chmod(0o600)
    times = token.stat().st_atime_ns, token.stat().st_mtime_ns

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200 if request.headers["authorization"] == f"Bearer {expected}" else 401)

    expected = "token-1"
    respx_mock.post(URL).mock(side_effect=answer)
    async with sender(tmp_path, token=None, token_file=token) as (made, outbox):
        for expected in ("token-1", "token-2"):
            token.write_text(expected)
            os.utime(token, ns=times)
            await made.submit([b"x"])
            await until(lambda: outbox.counts().waiting == 0)
        await until(lambda: made.stats.delivered == 2)  # counted after the acknowledgement
        assert made.stats.attempts == 2
    assert len(respx_mock.calls) == 3


async def test_gzip_and_signature(tmp_path: Path, respx_mock: respx.MockRouter) -> None:
    key = b"a-signing-key-of-thirty-two-byte"
    secret = tmp_path / "signing"
    secret.write_text("whsec_" + base64.b64encode(key).decode())
    route = respx_mock.post(URL).respond(200)
    async with sender(tmp_path, gzip=True, signing_secret_file=secret) as (made, outbox):
        await made.submit([b"body"])
        await until(lambda: outbox.counts().waiting == 0)
    request = route.calls[0].request
    assert gzip.decompress(request.content) == b"body"
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + b"body"
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{expected}"


def test_classification() -> None:
    def kind(status: int) -> type:
        return type(classify(status, "", None, 0.0))

    assert {status for status in range(100, 600) if kind(status) is Delivered} == set(range(200, 300))
    assert {status for status in range(200, 600) if kind(status) is Retry} == {408, 409, 425, 429} | (
        set(range(500, 600)) - {501}
    )
    assert {401, 403, 404, 405, 407, 410, 501, 301, 302, 308} <= {
        status for status in range(200, 600) if kind(status) is Misconfigured
    }
    assert {400, 413, 415, 422} <= {status for status in range(200, 600) if kind(status) is Refused}


def test_retry_after() -> None:
    assert parse_retry_after("120", 0.0) == 120
    assert parse_retry_after("1e9", 0.0) == 3600
    assert parse_retry_after("-5", 0.0) == 0
    assert parse_retry_after("Wed, 21 Oct 2026 07:28:00 GMT", 1_792_567_650.0) == 30
    assert parse_retry_after("Wed, 21 Oct 2026 09:28:00 +0200", 1_792_567_650.0) == 30
    assert parse_retry_after("soon", 0.0) is None
    assert parse_retry_after("nan", 0.0) is None
    assert parse_retry_after("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", 0.0) is None
    assert parse_retry_after(None, 0.0) is None
