"""An endpoint for a fleet: workers without state in front of PostgreSQL. docs/receivers.md describes it.

DATABASE_URL=postgresql://… uvicorn endpoint:app --workers 2 --timeout-keep-alive 120 --no-access-log
"""

import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
from fastapi import FastAPI, Request, Response

MAX_BODY = 1 << 20
MAX_ID = 64
MAX_PENDING = int(os.environ.get("MAX_PENDING", "1000"))
"""Requests that one worker handles at a time. More are refused at once, and the agents send them again later."""
CONNECTIONS = int(os.environ.get("DATABASE_CONNECTIONS", "16"))
"""Connections of one worker to the database. PostgreSQL syncs the commits of several connections together."""

SITE = "SELECT site FROM token WHERE digest = $1"

# One round trip and one commit. If the id is known, `stored` is empty and nothing changes.
STORE = """
WITH stored AS (
    INSERT INTO message (id, time, site, node, body) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (site, id, time) DO NOTHING RETURNING site, node, time, body
)
INSERT INTO latest SELECT site, node, time, body FROM stored
ON CONFLICT (site, node) DO UPDATE SET time = excluded.time, body = excluded.body WHERE latest.time <= excluded.time
"""


class Refusal(Exception):
    """The status to answer, and why. The log of the controller shows the reason to the installer."""

    def __init__(self, status: int, reason: str, **headers: str) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = headers


BUSY = {"Retry-After": "30"}
NO_DATABASE = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""The database fails or does not answer. InternalClientError: it ended the connection just before a statement."""


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(
        os.environ["DATABASE_URL"], min_size=1, max_size=CONNECTIONS, command_timeout=10
    ) as pool:
        app.state.pool = pool
        app.state.pending = 0
        yield


app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)


@app.post("/v1/telemetry")
async def receive(request: Request) -> Response:
    state = request.app.state
    if state.pending >= MAX_PENDING:
        return answer(Refusal(503, "overloaded", **BUSY))
    state.pending += 1
    try:
        await store(request, state.pool)
    except Refusal as refusal:
        return answer(refusal)
    except asyncpg.DataError:  # text that is no JSON of PostgreSQL, such as NaN or \u0000
        return answer(Refusal(422, "the body has values that JSON or PostgreSQL does not have"))
    except NO_DATABASE:
        return answer(Refusal(503, "cannot be stored now", **BUSY))
    finally:
        state.pending -= 1
    return Response(status_code=204)


@app.get("/healthz")
async def healthz(request: Request) -> Response:
    """For a load balancer: whether this worker reaches the database."""
    try:
        await request.app.state.pool.fetchval("SELECT 1")
    except NO_DATABASE:
        return Response(status_code=503)
    return Response(status_code=204)


def answer(refusal: Refusal) -> Response:
    return Response(str(refusal), refusal.status, refusal.headers, "text/plain")


async def store(request: Request, pool: asyncpg.Pool) -> None:
    """Store one message. Raises Refusal. The token is checked before the body is read."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    site = await pool.fetchval(SITE, hashlib.sha256(token.encode()).digest()) if scheme.lower() == "bearer" else None
    if site is None:
        raise Refusal(401, "unknown token", **{"WWW-Authenticate": "Bearer"})
    identity = request.headers.get("webhook-id", "")
    if not 0 < len(identity) <= MAX_ID:
        raise Refusal(400, "webhook-id is missing, or too long")
    text, message = parsed(unzipped(request.headers.get("content-encoding", ""), await body_of(request)))
    if message.get("siteNodeId") != site:
        raise Refusal(403, f"this token belongs to {site}")
    await pool.execute(STORE, identity, time_of(message), site, node_of(message), text)


async def body_of(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise Refusal(413, "too large", Connection="close")
    return body


def unzipped(encoding: str, body: bytes) -> bytes:
    if encoding != "gzip":
        return body
    try:
        body = zlib.decompressobj(wbits=31).decompress(body, MAX_BODY + 1)
    except zlib.error:
        raise Refusal(400, "not gzip") from None
    if len(body) > MAX_BODY:
        raise Refusal(413, "too large")
    return body


def parsed(body: bytes) -> tuple[str, dict[str, Any]]:
    """The text of the message, and the message. Fields that this endpoint does not know stay in the text."""
    try:
        text = body.decode()
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise Refusal(422, "not JSON") from None
    if not isinstance(message, dict):
        raise Refusal(422, "not a JSON object")
    return text, message


def time_of(message: dict[str, Any]) -> datetime:
    given = message.get("time")
    if isinstance(given, int | str) and str(given).isdecimal() and len(str(given)) <= 11:
        return datetime.fromtimestamp(int(given), UTC)
    raise Refusal(422, "time must be Unix seconds")


def node_of(message: dict[str, Any]) -> str:
    """Which stream of the site the message belongs to: a node, the totals per type, or the snapshots."""
    node = message.get("nodeId", "*" if "nodes" in message else "")
    if not isinstance(node, str):
        raise Refusal(422, "nodeId must be text")
    return node
