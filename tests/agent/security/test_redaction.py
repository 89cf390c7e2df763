"""A peer that quotes what it was sent, escaped, encoded and in pieces: nothing of it is shown."""

from __future__ import annotations

import asyncio
import base64
import html
import json
from collections.abc import Callable
from io import StringIO
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
import structlog
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from agent.commissioning.endpoint_probe import probe
from agent.config.push import PushConfig
from agent.config.push_token import token_of
from agent.delivery.http_client import Endpoint
from agent.delivery.outcome import Refused
from agent.outbox.record import Record
from agent.runtime import logging_setup
from agent.runtime.clock import SystemClock
from agent.security.redaction import MOST_SHOWN, RUN, WITHHELD, Secrets
from tests.faults.http import Behaviour, Exchange, HttpFaults, answer, raw
from tests.support.cases import for_each

TOKEN = "aB3/x+Yz9%41~token&=.Q"
KEY = "bXktc2lnbmluZy1zZWNyZXQtb2YtMzItYnl0ZXMh"
QUERY = "q-u%2Fe+ry-s3cret"
PASSWORD = "pa/ss+w0rd&<of>proxy"
SECRETS = (TOKEN, f"whsec_{KEY}", base64.b64decode(KEY).decode(), QUERY, unquote(QUERY), PASSWORD)


def each_character(encode: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: "".join(map(encode, text))


ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper case": str.upper,
    "percent": lambda text: quote(text, safe=""),
    "percent twice": lambda text: quote(quote(text, safe=""), safe=""),
    "every byte percent": each_character(lambda one: f"%{ord(one):02x}"),
    "HTML": html.escape,
    "HTML decimal": each_character(lambda one: f"&#{ord(one)};"),
    "HTML hexadecimal": each_character(lambda one: f"&#x{ord(one):X};"),
    "JSON": json.dumps,
    "JSON with slashes": lambda text: json.dumps(text).replace("/", "\\/"),
    "JSON unicode": each_character(lambda one: f"\\u{ord(one):04x}"),
    "C": each_character(lambda one: f"\\x{ord(one):02x}"),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 behind a user": lambda text: base64.b64encode(f"user:{text}".encode()).decode(),
    "base64 in a header": lambda text: base64.urlsafe_b64encode(f"Bearer {text}; x".encode()).decode(),
    "hexadecimal": lambda text: text.encode().hex(),
    "UTF-16": lambda text: text.encode("utf-16-le").decode("latin-1"),
    "spaced": " ".join,
}


@for_each(("secret", "name"), product([TOKEN, PASSWORD, "hunter2", "!$%/&()="], ENCODINGS))
def test_no_usual_encoding_is_shown(secret: str, name: str) -> None:
    secrets = Secrets()
    secrets.learn(secret)
    assert secrets.quoted(f"you sent {ENCODINGS[name](secret)}, which is wrong") == WITHHELD
    assert secrets.quoted(f"you sent {ENCODINGS[name](secret)}".encode()) == WITHHELD


@pytest.mark.parametrize("text", ["no such field", '{"error":"invalid json","line":4}', "token expired", "é" * 9])
def test_a_text_without_a_secret_is_shown(text: str) -> None:
    secrets = Secrets()
    secrets.learn(TOKEN, PASSWORD, base64.b64decode(KEY))
    secrets.keep_query(f"https://example.com/v1?format=json&key={QUERY}&v=1")
    assert secrets.quoted(text) == secrets.quoted(text.encode()) == text


def test_a_long_text_is_cut_and_escaped() -> None:
    shown = Secrets().quoted(b"a\x1b[31m" + b"x" * 60_000)
    assert shown.startswith("a\\u001b[31m")
    assert len(shown) <= MOST_SHOWN


def test_secrets_are_bounded_and_not_in_repr() -> None:
    secrets = Secrets()
    for number in range(1000):
        secrets.learn(f"secret-number-{number}")
    assert len(secrets._fragments) < 20
    assert "secret-number" not in repr(secrets)
    assert secrets.quoted("secret-number-999") == WITHHELD


def runs(text: str, length: int = RUN + 2) -> set[str]:
    return {text[at : at + length] for at in range(len(text) - length + 1)}


async def attempted(behaviour: Behaviour, folder: Path, *, proxy: bool = False) -> str:
    """What one attempt with all four secrets shows: its outcome, and the log at its most talkative."""
    written = StringIO()
    before = structlog.get_config()
    (folder / "signing").write_text(f"whsec_{KEY}")
    (folder / "signing").chmod(0o600)
    async with HttpFaults(behaviour) as server:
        there = f"127.0.0.1:{server.port}/v1?key={QUERY}"
        push: dict[str, Any] = {
            "url": f"https://telemetry.example.com/v1?key={QUERY}" if proxy else f"http://{there}",
            "token": TOKEN,
            "signing_secret_file": folder / "signing",
            "proxy_url": f"http://user:{quote(PASSWORD, safe='')}@127.0.0.1:{server.port}" if proxy else None,
        }
        config = PushConfig.model_validate(push)
        endpoint = Endpoint(config, token_of(config, {}), SystemClock(), "agent/0")
        try:
            logging_setup.configure("debug", "json", written)
            outcome = await endpoint.post(Record(1, "msg_1", b"{}", 0.0), 0)
        finally:
            structlog.configure(**before)
            await endpoint.close()
    assert server.requests
    return f"{outcome!r}\n{written.getvalue()}"


def quoting(where: str, text: bytes) -> Behaviour:
    """A peer that has `text` in this part of its answer."""
    line = text.replace(b"\r", b"").replace(b"\n", b"")
    return {
        "body": answer(422, text),
        "body of 401": answer(401, text),
        "redirect": raw(b"HTTP/1.1 302 Found\r\nLocation: https://x/" + line + b"\r\nContent-Length: 0\r\n\r\n"),
        "status line": raw(b"HTTP/1.1 nonsense " + line + b"\r\n\r\n"),
        "reason phrase": raw(b"HTTP/1.1 500 " + line + b"\r\nContent-Length: 0\r\n\r\n"),
        "header line": raw(b"HTTP/1.1 200 OK\r\n\x01" + line + b"\r\n\r\n"),
        "chunk": raw(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n" + line + b"\r\n"),
        "length": raw(b"HTTP/1.1 200 OK\r\nContent-Length: " + line + b"\r\n\r\n"),
        "retry-after": raw(b"HTTP/1.1 503 No\r\nRetry-After: " + line + b"\r\nContent-Length: 0\r\n\r\n"),
    }[where]


PLACES = ("body", "body of 401", "redirect", "status line", "reason phrase", "header line", "chunk", "length")


@given(
    secret=st.sampled_from(SECRETS),
    encoding=st.sampled_from(sorted(ENCODINGS)),
    where=st.sampled_from((*PLACES, "retry-after")),
    cuts=st.lists(st.tuples(st.integers(0, 200), st.sampled_from(["\n", "\0", " ", '","', "\\n", "…"])), max_size=4),
    before=st.text(st.characters(codec="utf-8"), max_size=250),
    through_proxy=st.booleans(),
)
@settings(
    max_examples=80,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),  # each example opens sockets: do not shrink
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@example(TOKEN, "plain", "body", [], "x" * 190, False)  # cut at the end of what is shown
@example(TOKEN, "plain", "status line", [], "", False)
@example(PASSWORD, "plain", "reason phrase", [], "x" * 190, True)
def test_a_peer_that_encodes_and_splits_secrets_is_not_quoted(
    tmp_path: Path,
    secret: str,
    encoding: str,
    where: str,
    cuts: list[tuple[int, str]],
    before: str,
    through_proxy: bool,
) -> None:
    through_proxy = through_proxy or secret == PASSWORD  # else no peer knows it
    encoded = ENCODINGS[encoding](secret)
    split = encoded
    for at, separator in cuts:
        split = split[:at] + separator + split[at:]
    text = f"{before}{split}".encode()
    shown = asyncio.run(attempted(quoting(where, text), tmp_path, proxy=through_proxy))
    plain = unquote(html.unescape(shown.replace("\\", "")))
    for form in (shown, plain):
        assert not [run for run in runs(secret) if run in form]
    assert not [run for run in runs(encoded, len(encoded) * 3 // 4) if len(encoded) > 2 * RUN and run in shown]


@pytest.mark.parametrize(
    "phrase", [f"got Basic {base64.b64encode(f'user:{PASSWORD}'.encode()).decode()}", "x" * 60_000]
)
async def test_the_reason_phrase_of_a_proxy_is_neither_long_nor_a_secret(tmp_path: Path, phrase: str) -> None:
    refusal = f"HTTP/1.1 407 {phrase}\r\nContent-Length: 0\r\n\r\n".encode()

    async def behave(exchange: Exchange) -> None:
        await exchange.send(refusal)

    shown = await attempted(behave, tmp_path, proxy=True)
    assert "the proxy says 407 " in shown
    assert len(shown) < 2000
    assert phrase not in shown
    async with HttpFaults(behave) as server:
        url = f"http://user:{quote(PASSWORD, safe='')}@127.0.0.1:{server.port}"
        reached = await probe(PushConfig(url="https://telemetry.example.com/", token=TOKEN, proxy_url=url), 0.0)
    assert reached.words.startswith("the proxy says ")
    assert len(reached.words) < 400
    assert phrase not in reached.words


async def test_what_is_no_http_is_named_and_not_quoted(tmp_path: Path) -> None:
    bearer = f"Bearer {TOKEN}".encode()
    shown = await attempted(quoting("header line", b"x: " + bearer), tmp_path)
    assert "no valid HTTP answer: illegal header line" in shown
    shown = await attempted(quoting("status line", bearer), tmp_path)
    assert "no valid HTTP answer: illegal status line" in shown


@pytest.mark.parametrize("quoted", [TOKEN, QUERY])
async def test_no_secret_in_use_is_forgotten_while_another_is_rotated(tmp_path: Path, quoted: str) -> None:
    signing = tmp_path / "signing"
    async with HttpFaults(answer(422, quoted.encode())) as server:
        signing.write_text(f"whsec_{KEY}")
        signing.chmod(0o600)
        url = f"http://127.0.0.1:{server.port}/v1?key={QUERY}"
        config = PushConfig.model_validate({"url": url, "token": TOKEN, "signing_secret_file": signing})
        endpoint = Endpoint(config, token_of(config, {}), SystemClock(), "agent/0")
        for number in range(20):
            key = base64.b64encode(f"{number:032}".encode()).decode()
            signing.with_suffix(".new").write_text(f"whsec_{key}")
            signing.with_suffix(".new").replace(signing)
            outcome = await endpoint.post(Record(1, "msg_1", b"{}", 0.0), 0)
            assert isinstance(outcome, Refused)
            assert outcome.reason == f"HTTP 422: {WITHHELD}", f"after {number} rotations"
        await endpoint.close()
