"""docs/examples/fleet-endpoint: FastAPI workers in front of PostgreSQL."""

from __future__ import annotations

import gzip
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agent.cli.demo import SITE_ID
from tests.receivers.fleet import Fleet, fleet
from tests.receivers.programs import until
from tests.receivers.site import FORMATS, TOKEN, pushing

DAY = 86_400


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("fleet"), sites=3, workers=2) as running:
        yield running


@pytest.fixture(autouse=True)
def empty(endpoint: Fleet) -> None:
    endpoint.database.run("TRUNCATE message, latest")


def post(
    endpoint: Fleet, body: bytes | dict[str, Any], identity: str = "msg_1", token: str = "token-1", **headers: str
) -> tuple[int, str]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "webhook-id": identity}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urllib.request.urlopen(urllib.request.Request(endpoint.url, data, named), timeout=60) as reply:
            return int(reply.status), reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def message(at: int, power_W: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"time": at, "siteNodeId": "site-1", "solar": {"active_power_W": power_W}} | more


def rows(endpoint: Fleet, sql: str) -> list[list[str]]:
    return endpoint.database.run(sql)


async def test_every_format_of_the_agent_is_stored_once(endpoint: Fleet, tmp_path: Path) -> None:
    endpoint.database.run(
        f"INSERT INTO token VALUES (sha256(convert_to('{TOKEN}', 'UTF8')), '{SITE_ID}') ON CONFLICT DO NOTHING"
    )
    count = "SELECT count(*) FROM message"
    async with pushing(tmp_path, {name: {"url": endpoint.url, **push} for name, push in FORMATS.items()}):
        await until(lambda: int(rows(endpoint, f"{count} WHERE node = ''")[0][0]) >= 6)
        await until(lambda: int(rows(endpoint, f"{count} WHERE node = '*'")[0][0]) >= 4)
        await until(lambda: int(rows(endpoint, f"{count} WHERE node = 'battery-1'")[0][0]) >= 6)
    assert rows(endpoint, f"{count} WHERE site <> '{SITE_ID}'") == [["0"]]
    charge = (
        "SELECT (body #>> '{storage,mean_soc_perc}')::numeric BETWEEN 0 AND 100 FROM latest WHERE node = 'battery-1'"
    )
    assert rows(endpoint, charge) == [["t"]]
    assert rows(endpoint, "SELECT count(*) FROM latest WHERE node NOT IN ('', '*')")[0][0] == "7"


def test_a_duplicate_is_stored_once_even_at_the_same_moment(endpoint: Fleet) -> None:
    now = int(time.time())
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(endpoint, message(now))[0], range(40)))
    assert answers == [204] * 40
    assert rows(endpoint, "SELECT count(*) FROM message") == [["1"]]


def test_the_backlog_does_not_replace_the_newest_message(endpoint: Fleet) -> None:
    now = int(time.time())
    for number, (ago, power) in enumerate(((0, 5.0), (2 * DAY, 1.0), (DAY, 2.0), (DAY, 2.0), (60, 3.0))):
        assert post(endpoint, message(now - ago, power), f"msg_{ago}" if number else "msg_live") == (204, "")
    assert rows(endpoint, "SELECT body #>> '{solar,active_power_W}' FROM latest") == [["5.0"]]
    days = "SELECT tableoid::regclass <> 'message_other'::regclass, count(*) FROM message GROUP BY tableoid ORDER BY 2"
    assert [found[0] for found in rows(endpoint, days)] == ["t", "t", "t"]
    in_order = "SELECT body #>> '{solar,active_power_W}' FROM message WHERE site = 'site-1' AND node = '' ORDER BY time"
    assert [found[0] for found in rows(endpoint, in_order)] == ["1.0", "2.0", "3.0", "5.0"]


def test_the_answers_are_those_of_the_guide(endpoint: Fleet) -> None:
    good = message(int(time.time()), unknown={"fields": [1]})
    assert post(endpoint, good, token="token-9") == (401, "unknown token")
    assert post(endpoint, good, Authorization="Basic x") == (401, "unknown token")
    assert post(endpoint, good, token="token-2") == (403, "this token belongs to site-2")
    assert post(endpoint, good, identity="m" * 65)[0] == 400
    for bad in (b"[1]", b"{", b"\xff", b"[" * 100_000, b'{"siteNodeId":"site-1","time":1,"x":NaN}'):
        assert post(endpoint, bad)[0] in {403, 422}, bad
    for field, value in (("time", 1.5), ("time", "x"), ("time", True), ("time", 10**12), ("nodeId", 1)):
        assert post(endpoint, good | {field: value})[0] == 422, (field, value)
    for text in ("\x00", "\ud800"):
        assert post(endpoint, good | {"nodeId": text})[0] == 422
        assert post(endpoint, good | {"text": text})[0] == 422
    assert post(endpoint, b"x" * ((1 << 20) + 1))[0] == 413
    assert post(endpoint, b"no gzip", Content_Encoding="gzip")[0] == 400
    assert post(endpoint, gzip.compress(b" " * (1 << 21)), Content_Encoding="gzip")[0] == 413
    assert rows(endpoint, "SELECT count(*) FROM message") == [["0"]]
    assert post(endpoint, gzip.compress(json.dumps(good).encode()), Content_Encoding="gzip") == (204, "")
    assert rows(endpoint, "SELECT body -> 'unknown' FROM message") == [['{"fields": [1]}']]


def test_a_wrong_clock_fills_no_partition_of_a_day_and_moves_when_its_day_comes(endpoint: Fleet) -> None:
    later = int(time.time()) + 20 * DAY
    assert post(endpoint, message(later))[0] == 204
    assert rows(endpoint, "SELECT count(*) FROM message_other") == [["1"]]
    endpoint.database.run("CALL make_partitions(0, 21)")
    assert rows(endpoint, "SELECT count(*) FROM message_other") == [["0"]]
    assert post(endpoint, message(later))[0] == 204
    assert rows(endpoint, "SELECT count(*) FROM message") == [["1"]]


def test_old_days_are_removed(endpoint: Fleet) -> None:
    now = int(time.time())
    for ago in (0, 2, 3):
        assert post(endpoint, message(now - ago * DAY), f"msg_{ago}")[0] == 204
    endpoint.database.run("CALL drop_partitions(2)")
    assert rows(endpoint, "SELECT count(*) FROM message") == [["2"]]
    endpoint.database.run("CALL make_partitions()")


async def test_an_overload_and_a_failing_database_are_answered_with_503(tmp_path: Path) -> None:
    with fleet(tmp_path, sites=2, environ={"MAX_PENDING": "1"}) as alone:
        assert post(alone, message(1))[0] == 204
        with socket.create_connection(("127.0.0.1", int(alone.url.split(":")[2].split("/")[0]))) as slow:
            head = "POST /v1/telemetry HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-1\r\nwebhook-id: a\r\n"
            slow.sendall(f"{head}Content-Length: 10\r\n\r\n".encode())
            await until(lambda: post(alone, message(2), "msg_2") == (503, "overloaded"))
        await until(lambda: post(alone, message(2), "msg_2")[0] == 204)
        alone.database.run("ALTER TABLE latest RENAME TO gone")
        assert post(alone, message(3), "msg_3") == (503, "cannot be stored now")
        assert rows(alone, "SELECT count(*) FROM message WHERE id = 'msg_3'") == [["0"]]
        alone.database.run("ALTER TABLE gone RENAME TO latest")
        assert post(alone, message(3), "msg_3")[0] == 204
        sessions = "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        answers: list[int] = []

        def stored() -> bool:
            answers.append(post(alone, message(4), f"msg_{len(answers) + 4}")[0])
            return answers[-1] == 204

        for _ in range(10):  # the statement can begin before, while or after the connection ends
            assert rows(alone, f"SELECT count(pg_terminate_backend(pid)) > 0 {sessions}") == [["t"]]
            await until(stored)
        assert set(answers) <= {204, 503}
