"""What docs/contract.md promises to receivers under "What a receiver can rely on", and what the agent does."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from agent.aggregation.aggregator import Aggregator
from agent.config.loader import parse
from agent.contract import openapi
from agent.contract.payload import PayloadOptions, bodies
from agent.domain import MAX_ID, WIDEST
from agent.domain.node import Node
from agent.energy.store import EnergyStore
from agent.outbox.record import new_id
from drivers.model import Kind, Nature, NodeType, Phase, Quality, Quantity, Reading, Scan
from tests.agent.aggregation.test_aggregator import WALL, NoStore, settings
from tests.agent.config.test_loader import changed, mistakes
from tests.faults.certificates import Authority
from tests.faults.http import HttpFaults, answer
from tests.support.delivery import sending
from tests.support.simulated_clock import DrivenClock

CONTRACT = (Path(__file__).parents[2] / "docs/contract.md").read_text(encoding="utf-8")
PROMISES = CONTRACT.partition("## What a receiver can rely on")[2].partition("\n## ")[0]


def promised(row: str) -> str:
    """The cell beside `row` in the table of sizes."""
    found = re.search(rf"^\| {re.escape(row)} \| (.*) \|$", PROMISES, re.MULTILINE)
    assert found is not None
    return found[1]


def kib(row: str) -> list[int]:
    return [int(number) * 1024 for number in re.findall(r"(\d+) KiB", promised(row))]


def extremes(quantity: Quantity) -> Iterator[float | bool | str]:
    """The readings of this quantity that are longest as text."""
    if quantity.nature is Nature.STATE:
        yield True if quantity is Quantity.ON else "off"
        return
    low, high = WIDEST[quantity]
    yield from (0.9 * high + 0.123, 0.9 * low - 0.123) if quantity.nature is Nature.GAUGE else (0.9 * high + 0.123,)


def largest(*types: NodeType, **options: Any) -> list[bytes]:
    """The messages of one node of each type that has every quantity on every phase."""
    nodes = [Node(type_, type_, Kind.METER, energy_capacity_Wh=0.9e9) for type_ in types]
    totals = Aggregator(nodes, settings(), cast("EnergyStore", NoStore()))
    with capture_logs():
        for second in range(2):
            at = 1000.0 + second
            readings = [
                Reading(quantity, phase, max(extremes(quantity), key=lambda value: len(str(value))), Quality.GOOD, at)
                for quantity in Quantity
                for phase in (None, *Phase)
            ]
            for node in nodes:
                totals.observe([node], Scan(tuple(readings), at, at), WALL + second)
    limits = {"import_limit_W": 9_999_999.123, "export_limit_W": 9_999_999.123}
    everything: dict[str, Any] = {"quality": True, "time_format": "string", **limits, **options}
    return bodies(totals.close(1001.0, WALL + 1), PayloadOptions("S", **everything))


def test_the_sizes() -> None:
    (types,) = largest(*NodeType)
    assert len(types) < kib("device-type message")[0]
    of_contract, of_all = kib("node message")
    for type_ in NodeType:
        assert len(largest(type_, levels=("device",))[0]) < of_contract
        (node,) = largest(type_, levels=("device",), device_fields="all")
        assert of_contract < len(node) < of_all, type_
        assert all(abs(number) <= 1e12 for number in numbers(json.loads(node)))
    # A character has at most four bytes.
    assert 100 * (of_all + 4 * MAX_ID) + 4 * MAX_ID < 1 << 20
    assert "1 MiB is enough for 100 nodes" in promised("snapshot")


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for each in value.values():
            yield from numbers(each)
    elif isinstance(value, int | float):
        yield value


def test_the_ids() -> None:
    assert re.fullmatch("msg_[0-9a-f]{32}", new_id())
    assert len(new_id()) == int(promised("`webhook-id`").split()[0])
    assert promised("`siteNodeId`, `nodeId`").startswith(f"{MAX_ID} characters")
    for key in ("site__node_id", "push__site_node_id", "device__0__node_id"):
        parse(changed(**{key: "x" * MAX_ID}), {}, "site.toml")
        assert any(f"must have at most {MAX_ID} characters" in line for line in mistakes(changed(**{key: "x" * 1001})))


@pytest.mark.parametrize("quality", [False, True])
def test_the_kinds_are_told_apart_by_their_keys(quality: bool) -> None:
    both: Any = {"levels": ("device_type", "device"), "quality": quality}
    types, *nodes = map(json.loads, largest(*NodeType, **both))
    types_again, snapshot = map(json.loads, largest(*NodeType, **both, device_format="snapshot"))
    groups = {*NodeType, "time", "siteNodeId"} | ({"quality"} if quality else set())
    assert types.keys() == types_again.keys() == groups
    assert snapshot.keys() == {"time", "siteNodeId", "nodes"}
    assert len(nodes) == len(NodeType)
    for node in nodes:
        assert node.keys() == {"time", "siteNodeId", "nodeId", node["nodeId"]} | ({"quality"} if quality else set())


async def test_a_retry_has_the_same_id_and_body_and_a_new_timestamp(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
    secret.chmod(0o600)
    clock = DrivenClock()
    async with (
        HttpFaults(answer(503)) as server,
        sending(tmp_path, server.url(), clock=clock, run=False, push={"signing_secret_file": secret}) as made,
    ):
        await made.submit(b'{"time":1}')
        for _ in range(3):
            (record,) = made.outbox.live()
            await made.sender._attempts.send(record, live=True)
            clock.jump(60.0)
    sent = [(request.headers["webhook-id"], request.body) for request in server.accepted]
    assert sent == [sent[0]] * 3
    first, *others = [int(request.headers["webhook-timestamp"]) for request in server.accepted]
    assert others == [first + 60, first + 120]
    assert len({request.headers["webhook-signature"] for request in server.accepted}) == 3
    assert [request.headers["x-telemetry-attempt"] for request in server.accepted] == ["0", "1", "2"]


@pytest.mark.parametrize("compressed", [False, True])
async def test_a_request_is_http_1_1_with_a_length_and_never_chunked(tmp_path: Path, compressed: bool) -> None:
    """Read from the socket byte by byte: a large message over TLS, to a server that would prefer HTTP/2."""
    authority = Authority(tmp_path)
    tls = authority.server_context(authority.issue("server"))
    tls.set_alpn_protocols(["h2", "http/1.1"])
    body = json.dumps({"time": 1, "siteNodeId": "S", "nodes": {str(n): {} for n in range(50_000)}}).encode()
    body = gzip.compress(body, mtime=0) if compressed else body
    seen: list[tuple[bytes, bytes, str | None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tls_object: ssl.SSLObject = writer.get_extra_info("ssl_object")
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)\r\n", head)
        assert length is not None
        seen.append((head, await reader.readexactly(int(length[1])), tls_object.selected_alpn_protocol()))
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server, sending(tmp_path, url, push={"ca_file": authority.ca_file}) as made:
        await made.submit(body)
        await made.all_delivered()
    ((head, received, protocol),) = seen
    assert received == body
    assert protocol == "http/1.1"
    assert head.startswith(b"POST /v1 HTTP/1.1\r\n")
    names = {line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:] if line}
    assert not names & {b"transfer-encoding", b"expect", b"cookie"}
    assert b"\r\naccept-encoding: identity\r\n" in head.lower()


async def test_the_headers_are_those_of_the_openapi_document(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
    secret.chmod(0o600)
    body = gzip.compress(b'{"time":1}', mtime=0)
    async with (
        HttpFaults(answer(200)) as server,
        sending(tmp_path, server.url(), push={"signing_secret_file": secret}) as made,
    ):
        await made.submit(body)
        await made.all_delivered()
    (path,) = openapi.document()["paths"].values()
    documented = {header["name"].lower(): header for header in path["post"]["parameters"]}
    of_http = {"host", "accept", "accept-encoding", "connection", "user-agent", "content-length", "content-type"}
    sent = server.accepted[0].headers
    assert sent.keys() - of_http - {"authorization"} == documented.keys()
    for name, header in documented.items():
        schema = header["schema"]
        assert len(sent[name]) <= schema.get("maxLength", 1000)
        assert sent[name] in schema.get("enum", [sent[name]])
