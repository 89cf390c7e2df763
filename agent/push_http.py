"""One attempt over HTTP: a record and the token in, an Outcome out. Knows httpx, knows no queue."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import hmac
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from agent.clock import Clock
from agent.config import PushConfig
from agent.outbox import Record
from agent.push_outcome import Outcome, Retry, classify
from agent.token import Token

MAX_REPLY_BYTES = 64 * 1024
_SHOWN_REPLY = 200


@dataclass(slots=True)
class Endpoint:
    """The integrator's URL. One client, kept alive between pushes; nothing from the environment, no redirects."""

    config: PushConfig
    token: Token
    clock: Clock
    user_agent: str
    _client: httpx.AsyncClient | None = None

    async def post(self, record: Record, backlog: int) -> Outcome:
        """POST one message; every failure is an Outcome, only cancellation is raised."""
        try:
            async with asyncio.timeout(self.config.timeout_s):
                return await self._post(record, backlog)
        except TimeoutError:
            return Retry(f"no answer within {self.config.timeout_s:g} s")
        except httpx.HTTPError as error:
            return Retry(_in_words(error))
        except OSError as error:
            return Retry(str(error))

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _post(self, record: Record, backlog: int) -> Outcome:
        client = self._client or self._open()
        body = gzip.compress(record.body, mtime=0) if self.config.gzip else record.body
        headers = self._headers(record, body, backlog)
        async with client.stream("POST", self.config.url, content=body, headers=headers) as response:
            reply = await _beginning(response)
            return classify(
                response.status_code, _printable(reply), response.headers.get("retry-after"), self.clock.time()
            )

    def _headers(self, record: Record, body: bytes, backlog: int) -> Mapping[str, str]:
        headers = {
            "Authorization": f"Bearer {self.token.value()}",
            "Content-Type": "application/json",
            "User-Agent": self.user_agent,
            "Accept-Encoding": "identity",
            "Idempotency-Key": f'"{record.id}"',
            "webhook-id": record.id,
            "X-Telemetry-Attempt": str(record.attempts),
            "X-Telemetry-Backlog": str(backlog),
        }
        if self.config.gzip:
            headers["Content-Encoding"] = "gzip"
        if self.config.signing_secret_file is not None:
            at = int(self.clock.time())
            headers["webhook-timestamp"] = str(at)
            secrets = self.config.signing_secret_file.read_text(encoding="utf-8").split()
            headers["webhook-signature"] = " ".join(signature(secret, record.id, at, body) for secret in secrets)
        return headers

    def _open(self) -> httpx.AsyncClient:
        config = self.config
        self._client = httpx.AsyncClient(
            verify=_tls(config),
            trust_env=False,
            follow_redirects=False,
            proxy=config.proxy_url,
            timeout=httpx.Timeout(config.timeout_s, connect=config.connect_timeout_s),
            # The default of 5 s would make every push of a minute's rhythm a new TLS handshake.
            limits=httpx.Limits(max_connections=4, keepalive_expiry=2.5 * config.interval_s + 10),
        )
        return self._client


def signature(secret: str, identity: str, at: int, body: bytes) -> str:
    """Standard Webhooks: `v1,` and the HMAC-SHA256 of `id.timestamp.body`; the secret as `whsec_<base64>`."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.digest(key, f"{identity}.{at}.".encode() + body, hashlib.sha256)).decode(
        "ascii"
    )


async def _beginning(response: httpx.Response) -> bytes:
    """As much of the reply as anyone may make us read; the status has been said already."""
    reply = b""
    async for chunk in response.aiter_raw():
        reply += chunk
        if len(reply) >= MAX_REPLY_BYTES:
            break
    return reply


def _printable(reply: bytes) -> str:
    text = reply[:_SHOWN_REPLY].decode("utf-8", "replace")
    return "".join(character if character.isprintable() else " " for character in text).strip()


def _tls(config: PushConfig) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=config.ca_file)  # the system's store, not certifi's
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if config.client_cert_file is not None:
        context.load_cert_chain(config.client_cert_file, config.client_key_file)
    return context


def _in_words(error: httpx.HTTPError) -> str:
    kind = type(error).__name__
    return f"{kind}: {error}" if str(error) else kind
