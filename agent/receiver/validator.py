"""Checks one POST at a time: token, type, ids, size, signature, JSON, duplicates, schema, site, order.

This module uses no sockets. Integrators can copy the order of its steps: the sender is authenticated before the message
is parsed, and the message is stored before it is acknowledged.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agent.receiver import signature
from agent.receiver.sequence import Sequence

MAX_BODY = 1 << 20
"""Maximum size of a body in bytes. The server checks the size before decompression, `inflated` the size after it."""
# Enough for a week of messages from nine nodes, one message a minute from each.
_REMEMBERED_IDS = 100_000
_MAX_STREAMS = 1000
"""Maximum number of `Validator.streams`. If there are more, the one that was added first is forgotten."""
_MAX_ID = 256
"""Maximum characters of a `webhook-id`."""
_MAX_DEPTH = 8
"""Maximum nesting levels of a message. A valid message without unknown fields has at most five: message, `nodes`,
node, group, `operation_modes`."""
_CLOCK_OFF_S = 120.0
"""The verdict has a note if the receiver's clock and the time of a message that is not late differ by more than this
many seconds."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one POST: the status of the answer, and what to report."""

    status: int
    problems: tuple[str, ...] = ()
    message: dict[str, Any] | None = None
    duplicate: bool = False
    late: bool = False
    missing: int = 0
    """`late` and `missing` are those of `sequence.Arrival`."""
    notes: tuple[str, ...] = ()
    """Unusual facts. They are no reason to refuse the message."""

    @property
    def name(self) -> str:
        if self.status >= 300:
            return "refused"
        return "duplicate" if self.duplicate else "late" if self.late else "valid"


class RefusedPostError(Exception):
    """The POST is refused. The error has the status of the answer, and the problems to report to the sender."""

    def __init__(self, status: int, *problems: str, message: Any = None) -> None:
        super().__init__(*problems)
        self.status = status
        self.message = message if isinstance(message, dict) else None


@dataclass(slots=True)
class Validator:
    """Checks the POSTs of a sender.

    - `token`: one bearer token, or several separated by spaces during a rotation. All belong to one site.
    - `site`: the id of this site. None: the site of the first message that is accepted or restored.
    - `secrets`: as in `receiver.signature`. None: no signature is required.
    - `interval_s`: the push interval in seconds. None: it is learned from the messages.
    - `keep`: stores an accepted message by its id. It is called after all checks and before the acknowledgement. It
      raises OSError if the message is not stored.
    """

    token: str
    site: str | None = None
    secrets: str | None = None
    interval_s: float | None = None
    keep: Callable[[str, dict[str, Any]], None] = lambda _identity, _message: None
    now: Callable[[], float] = time.time
    counts: dict[str, int] = field(default_factory=lambda: {"accepted": 0, "duplicate": 0, "refused": 0, "late": 0})
    """The numbers of verdicts. "accepted" includes "late"."""
    streams: OrderedDict[str, Sequence] = field(default_factory=OrderedDict)
    """The sequences by node id. "" is for messages with the totals of the device types, "nodes" for snapshots."""
    _seen: OrderedDict[str, bytes] = field(default_factory=OrderedDict)

    def judge(self, headers: Mapping[str, str], body: bytes) -> Verdict:
        """Return the verdict on one POST, and count it. `headers` have lower-case names."""
        try:
            verdict = self._judge(headers, body)
        except RefusedPostError as refusal:
            verdict = Verdict(refusal.status, refusal.args, refusal.message)
        if verdict.status >= 300:
            self.counts["refused"] += 1
        elif verdict.duplicate:
            self.counts["duplicate"] += 1
        else:
            self.counts["accepted"] += 1
            self.counts["late"] += verdict.late
        return verdict

    def restore(self, identity: str, message: Any) -> None:
        """Remember a message that an earlier run stored. An invalid message, or one of another site, is ignored."""
        if _deeper_than(_MAX_DEPTH, message):
            return
        with contextlib.suppress(RefusedPostError):
            self._require_contract(message)
            self.remember(identity, message)

    def authorize(self, headers: Mapping[str, str]) -> Verdict | None:
        """Return the verdict on a request without a valid token; None if the token is valid. Needs no body."""
        try:
            self._require_token(headers.get("authorization", ""))
        except RefusedPostError as refusal:
            return Verdict(refusal.status, refusal.args)
        return None

    def remember(self, identity: str, message: dict[str, Any]) -> Verdict:
        """Remember the id, content and time of a valid message. Return its verdict."""
        self._seen[identity] = _digest(message)
        if len(self._seen) > _REMEMBERED_IDS:
            self._seen.popitem(last=False)
        self.site = self.site or message["siteNodeId"]
        at = int(message["time"])
        arrival = self._stream(message).arrived(at)
        notes = [f"{arrival.missing} missing before it"] if arrival.missing else []
        if arrival.surplus:
            notes.append("its time fills no gap; usually another message with the same time came before")
        if not arrival.late and abs(ahead := at - self.now()) > _CLOCK_OFF_S:
            notes.append(f"its time is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this clock")
        return Verdict(200, message=message, late=arrival.late, missing=arrival.missing, notes=tuple(notes))

    def _judge(self, headers: Mapping[str, str], body: bytes) -> Verdict:
        self._require_token(headers.get("authorization", ""))
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise RefusedPostError(415, f"Content-Type is {headers.get('content-type')!r}, not application/json")
        identity = headers.get("webhook-id", "")
        if not identity or headers.get("idempotency-key") != f'"{identity}"':
            raise RefusedPostError(400, "Idempotency-Key and webhook-id must carry the same id")
        if len(identity) > _MAX_ID:
            raise RefusedPostError(400, f"webhook-id is longer than {_MAX_ID} characters")
        plain = inflated(headers.get("content-encoding", ""), body)
        self._require_signature(headers, plain)
        message = _parsed(plain)
        if (digest := self._seen.get(identity)) is not None:
            if digest != _digest(message):
                raise RefusedPostError(422, f"{identity} was already used for another message", message=message)
            return Verdict(200, message=message, duplicate=True)
        unknown = self._require_contract(message)
        try:
            self.keep(identity, message)
        except OSError as error:
            raise RefusedPostError(503, f"the message cannot be stored: {error.strerror or error}") from None
        verdict = self.remember(identity, message)
        notes = [f"unknown fields, accepted: {', '.join(unknown)}"] if unknown else []
        return replace(verdict, notes=(*verdict.notes, *notes))

    def _require_token(self, authorization: str) -> None:
        scheme, _, given = authorization.partition(" ")
        matches = [hmac.compare_digest(given.strip().encode(), token.encode()) for token in self.token.split()]
        if scheme.lower() != "bearer" or not any(matches):
            raise RefusedPostError(401, "wrong or missing bearer token")

    def _require_signature(self, headers: Mapping[str, str], body: bytes) -> None:
        if self.secrets is None:
            return
        if problem := signature.problem(self.secrets, headers, body, self.now()):
            raise RefusedPostError(401, problem)

    def _require_contract(self, message: Any) -> list[str]:
        """Return the paths of unknown fields, which a later release of the agent may send. Raises RefusedPostError."""
        from agent.contract.schema import problems, unknown_fields

        if found := problems(message):
            raise RefusedPostError(422, *found, message=message)
        if self.site is not None and message["siteNodeId"] != self.site:
            text = f"siteNodeId is {message['siteNodeId']!r}, but the token is bound to {self.site!r}"
            raise RefusedPostError(403, text, message=message)
        return unknown_fields(message)

    def _stream(self, message: dict[str, Any]) -> Sequence:
        key = str(message.get("nodeId", "nodes" if "nodes" in message else ""))
        stream = self.streams.get(key)
        if stream is None:
            if len(self.streams) >= _MAX_STREAMS:
                self.streams.popitem(last=False)
            stream = self.streams[key] = Sequence(self.interval_s)
        return stream


def inflated(encoding: str, body: bytes) -> bytes:
    """Return the decompressed body. Decompression stops after MAX_BODY bytes.

    A body that is not compressed is returned as it is, because the server has checked its size.

    Raises RefusedPostError if the decompressed body is larger, if the body is not sound gzip, or if `encoding` is
    neither gzip nor identity.
    """
    if encoding.strip().lower() in ("", "identity"):
        return body
    if encoding.strip().lower() != "gzip":
        raise RefusedPostError(415, f"Content-Encoding is {encoding!r}, not gzip")
    stream = zlib.decompressobj(wbits=31)
    try:
        plain = stream.decompress(body, MAX_BODY + 1)
    except zlib.error as error:
        raise RefusedPostError(400, f"not gzip: {error}") from None
    if len(plain) > MAX_BODY:
        raise RefusedPostError(413, f"the decompressed body has more than {MAX_BODY} bytes")
    if not stream.eof or stream.unused_data:
        raise RefusedPostError(400, "the body is not exactly one complete gzip member")
    return plain


def _parsed(body: bytes) -> Any:
    try:
        message = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RefusedPostError(400, f"not JSON: {error}") from None
    if _deeper_than(_MAX_DEPTH, message):
        raise RefusedPostError(400, f"not a message: nested more than {_MAX_DEPTH} levels deep")
    return message


def _deeper_than(depth: int, value: Any) -> bool:
    """Whether `value` has more than `depth` levels. Does not recurse, so that no message can exhaust the stack."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(depth):
        items = (item for each in level for item in (each.values() if isinstance(each, dict) else each))
        level = [item for item in items if isinstance(item, dict | list)]
    return bool(level)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number in JSON")


def _digest(message: dict[str, Any]) -> bytes:
    return hashlib.blake2b(json.dumps(message).encode(), digest_size=16).digest()
