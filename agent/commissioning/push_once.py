"""Sends each message once for `push --once`, without the queue, and describes the result."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from agent.config import PushConfig, token_of
from agent.contract.envelope import compressed
from agent.delivery import Delivered, Endpoint, Misconfigured, Outcome, Refused, Retry
from agent.outbox import Record, new_id
from agent.runtime import Clock, plausible

_REMEDIES = {
    401: "the endpoint does not accept the token; see push.token_file",
    403: "the endpoint does not accept the token for this site; see push.token_file and site.node_id",
    407: 'the proxy requires a password: push.proxy_url = "http://USER:PASSWORD@HOST:PORT"',
}
_WRONG_URL = "this URL does not accept messages; see push.url"
_REDIRECT = "the agent never follows redirects; set push.url to the URL that accepts messages"
_PAGE = "but the answer is a web page: is push.url the endpoint, or does a portal answer instead?"
_PERHAPS_TLS = "should push.url begin with https?"
_SCHEMA = "the endpoint refuses this message; compare `telemetry-agent read --json` with the endpoint's schema"


@dataclass(frozen=True, slots=True)
class PushResult:
    """Whether a message was delivered, and the line to print."""

    delivered: bool
    line: str


async def push_each(
    config: PushConfig, bodies: Sequence[bytes], clock: Clock, environ: Mapping[str, str], user_agent: str
) -> AsyncIterator[PushResult]:
    """Send each message once and yield its result. Stop at the first message that is not delivered.

    If the clock is not set and `wait_for_clock_s` is not 0, nothing is sent. The only result says why.
    """
    if config.wait_for_clock_s and not plausible(clock.time()):
        now = datetime.fromtimestamp(clock.time(), UTC).isoformat(timespec="seconds")
        yield PushResult(False, f"not sent: the clock shows {now}, and the message would have this time; set the clock")
        return
    endpoint = Endpoint(config, token_of(config, environ), clock, user_agent)
    try:
        for number, body in enumerate(bodies, 1):
            record = Record(number, new_id(), compressed(body) if config.gzip else body, clock.time())
            began = clock.monotonic()
            outcome = await endpoint.post(record, 0)
            line = in_words(outcome, _route(config), len(record.body), clock.monotonic() - began)
            yield PushResult(isinstance(outcome, Delivered), line)
            if not isinstance(outcome, Delivered):
                return
    finally:
        await endpoint.close()


def _route(config: PushConfig) -> str:
    return config.shown_url + (f" through the proxy {config.shown_proxy}" if config.proxy_url else "")


def in_words(outcome: Outcome, url: str, size: int, took_s: float) -> str:
    """Return the outcome as one line. `size`: bytes of the body."""
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
        return f"not delivered: {outcome.reason}; the daemon would try again"
    perhaps_tls = outcome.kind == "broken" and url.startswith("http://") and _PERHAPS_TLS not in outcome.reason
    return f"unreachable: {outcome.reason} ({url})" + (f"; {_PERHAPS_TLS}" if perhaps_tls else "")
