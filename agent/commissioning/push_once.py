"""One attempt for `push --once`, outside the queue, and what it came to in words for the person at the keyboard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from agent.config import PushConfig, token_of
from agent.contract.envelope import encoded
from agent.delivery import Delivered, Endpoint, Misconfigured, Outcome, Refused, Retry
from agent.outbox import Record, new_id
from agent.runtime import Clock, plausible

_REMEDIES = {
    401: "the endpoint does not accept the token; see push.token_file",
    403: "the endpoint does not accept the token for this site; see push.token_file and site.node_id",
    407: 'the proxy wants a password: push.proxy_url = "http://USER:PASSWORD@HOST:PORT"',
}
_WRONG_URL = "this is not where messages are taken; see push.url"
_REDIRECT = "redirects are never followed; set push.url to where messages are taken"
_PAGE = "but the answer is a page for people: is push.url the endpoint, or does a portal answer in its place?"
_SCHEMA = "the endpoint does not want this message; compare `telemetry-agent read --json` with what it expects"


@dataclass(frozen=True, slots=True)
class PushResult:
    """Whether a message was delivered, and the line that says so."""

    delivered: bool
    line: str


async def push_each(
    config: PushConfig, bodies: Sequence[bytes], clock: Clock, environ: Mapping[str, str], user_agent: str
) -> AsyncIterator[PushResult]:
    """Try each message once, and stop at the first that is not delivered; the queue is left alone."""
    if config.wait_for_clock_s and not plausible(clock.time()):
        now = datetime.fromtimestamp(clock.time(), UTC).isoformat(timespec="seconds")
        yield PushResult(False, f"not sent: the clock is at {now}, and so would be the message; set the clock")
        return
    endpoint = Endpoint(config, token_of(config, environ), clock, user_agent)
    try:
        for number, body in enumerate(bodies, 1):
            record = Record(number, new_id(), encoded(body) if config.gzip else body, clock.time())
            began = clock.monotonic()
            outcome = await endpoint.post(record, 0)
            line = in_words(outcome, _way(config), len(record.body), clock.monotonic() - began)
            yield PushResult(isinstance(outcome, Delivered), line)
            if not isinstance(outcome, Delivered):
                return
    finally:
        await endpoint.close()


def _way(config: PushConfig) -> str:
    """Where messages go, for people; what may be a secret in a URL is left out."""
    return config.shown_url + (f" through the proxy {config.shown_proxy}" if config.proxy_url else "")


def in_words(outcome: Outcome, url: str, size: int, took_s: float) -> str:
    """One line; `size` in bytes."""
    if isinstance(outcome, Delivered):
        doubt = f"; {_PAGE}" if outcome.page else ""
        return f"delivered: HTTP {outcome.status} from {url}, {size} bytes in {took_s:.2f} s{doubt}"
    if isinstance(outcome, Refused):
        return f"refused: {outcome.reason}; {_SCHEMA}"
    if isinstance(outcome, Misconfigured):
        remedy = _REDIRECT if outcome.status < 400 else _REMEDIES.get(outcome.status, _WRONG_URL)
        return f"misconfigured: {outcome.reason}; {remedy}"
    if not isinstance(outcome, Retry):
        return "not sent: stopped"
    if outcome.kind == "local":
        return f"not sent: {outcome.reason}"
    if outcome.answered:
        return f"not now: {outcome.reason}; the agent would try again"
    return f"unreachable: {outcome.reason} ({url})"
