"""`push --once` and `outbox` as a user calls them."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from asyncio import to_thread
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from agent.cli.main import app
from agent.commissioning.push_once import PushResult, in_words, push_each
from agent.config.push import PushConfig
from agent.contract.envelope import compressed
from agent.delivery.outcome import Delivered, Misconfigured, Outcome, Refused, Retry
from agent.outbox.queue import Outbox
from agent.runtime.clock import SystemClock
from drivers.model import Table
from tests.faults.certificates import Authority
from tests.faults.http import HttpFaults, answer
from tests.faults.modbus import FaultServer
from tests.support.in_process import call_inside
from tests.support.outbox import ids_of
from tests.support.simulated_clock import DrivenClock
from tests.support.site import TOKEN, Endpoint, configuration, device, sdm630

DEVICE = '[[device]]\nnode_id = "m"\ntype = "grid"\ndriver = "eastron-sdm630"\nhost = "127.0.0.1"\n'


def here(*arguments: str | Path) -> Result:
    """The same without a process of its own."""
    return CliRunner().invoke(app, [str(each) for each in arguments])


async def test_push_once_delivers_what_the_devices_say_now(tmp_path: Path) -> None:
    with Endpoint() as endpoint:
        async with FaultServer({(1, Table.INPUT): sdm630(1234.5, 1, 2)}) as meter:
            config = configuration(tmp_path, endpoint.url, device("meter-1", "grid", meter))
            result = await to_thread(call_inside, "push", "--once", "--config", config)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"delivered: HTTP 200 from {endpoint.url}, ")
    assert endpoint.messages[0]["grid"]["active_power_W"] == 1234.5
    assert not (tmp_path / "state" / "outbox.sqlite3").exists(), "the queue is the daemon's"


@pytest.mark.parametrize(
    ("url", "token", "verdict"),
    [
        ("http://127.0.0.1:1/v1", TOKEN, "unreachable: no connection: Connection refused (http://127.0.0.1:1/v1)"),
        ("http://does-not-exist.invalid/v1", TOKEN, "unreachable: cannot look up does-not-exist.invalid"),
        ("{endpoint}", "another", "misconfigured: HTTP 401"),
    ],
)
def test_push_once_says_why_not(tmp_path: Path, url: str, token: str, verdict: str) -> None:
    with Endpoint() as endpoint:
        address = url.format(endpoint=endpoint.url)
        more = "allow_insecure_http = true\n[push.retry]\n"
        config = configuration(tmp_path, address, DEVICE + "port = 1\n", more, token)
        result = call_inside("push", "--once", "--config", config)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith(verdict)
    assert TOKEN not in result.stderr


def test_a_secret_in_a_url_is_not_printed(tmp_path: Path) -> None:
    with Endpoint() as endpoint:
        config = configuration(tmp_path, f"{endpoint.url}?key=do-not-show", DEVICE + "port = 1\n")
        told = [call_inside(*command, "--config", config) for command in (("push", "--once"), ("check",))]
        closed = configuration(
            tmp_path,
            "http://receiver.test/?key=do-not-show",
            DEVICE + "port = 1\n",
            'allow_insecure_http = true\nproxy_url = "http://me:do-not-show@127.0.0.1:1"\n',
        )
        unreached = call_inside("push", "--once", "--config", closed)
    assert told[0].stdout.startswith(f"delivered: HTTP 200 from {endpoint.url}, ")
    assert "(http://receiver.test/ through the proxy 127.0.0.1:1)" in unreached.stderr
    for result in (*told, unreached):
        assert "do-not-show" not in result.stdout + result.stderr


def test_push_without_once_is_a_usage_error() -> None:
    result = call_inside("push")
    assert (result.returncode, "push --once" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (Delivered(204), "delivered: HTTP 204 from U, 7 bytes in 0.50 s"),
        (
            Delivered(200, page=True),
            "delivered: HTTP 200 from U, 7 bytes in 0.50 s; but the answer is a web page",
        ),
        (Refused(422, "HTTP 422: no such field"), "refused: HTTP 422: no such field; the endpoint refuses this"),
        (
            Misconfigured(403, "HTTP 403"),
            "misconfigured: HTTP 403; the endpoint does not accept the token for this site",
        ),
        (Misconfigured(404, "HTTP 404"), "misconfigured: HTTP 404; this URL does not accept messages"),
        (
            Misconfigured(301, "HTTP 301: redirect to V"),
            "misconfigured: HTTP 301: redirect to V; the agent never follows redirects",
        ),
        (Retry("HTTP 503", "http_503"), "not delivered: HTTP 503; the daemon would try again"),
        (Retry("cannot look up x", "dns"), "unreachable: cannot look up x (U)"),
        (Retry("push.ca_file: no", "local"), "not sent: push.ca_file: no"),
    ],
)
def test_each_outcome_in_words(outcome: Outcome, line: str) -> None:
    assert in_words(outcome, "U", 7, 0.5).startswith(line)


async def test_http_to_a_port_for_https_is_told_once(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = authority.server_context(authority.issue("server"))
    async with HttpFaults(answer(200), context) as server:
        url = server.url().replace("https:", "http:")
        (verdict,) = await verdicts(PushConfig(url=url, token="x"), SystemClock())
    assert verdict.line.startswith("unreachable: ")
    assert verdict.line.count("should push.url begin with https?") == 1


async def verdicts(config: PushConfig, clock: DrivenClock | SystemClock) -> list[PushResult]:
    return [each async for each in push_each(config, [b"{}"], clock, {}, "agent/0")]


async def test_a_clock_that_cannot_be_right_sends_nothing() -> None:
    config = PushConfig(url="http://127.0.0.1:1/", token="x")
    (verdict,) = await verdicts(config, DrivenClock(wall=40.0))
    assert verdict == PushResult(
        False,
        "not sent: the clock shows 1970-01-01T00:00:40+00:00, and the message would have this time; set the clock",
    )


def queue(path: Path) -> tuple[list[str], list[str]]:
    """Two dead letters and two that wait; their ids."""
    outbox = Outbox.open(path, max_age_s=1e9, max_size_mb=8)
    ids = ids_of(outbox.put([b'{"number":1}', b'{"number":2}', b'{"number":3}']))
    for record in outbox.live()[:2]:
        outbox.update(replace(record, attempts=5, refusals=5, parked="HTTP 422: no"))
    more = ids_of(outbox.put([b'{"number":4}']))
    outbox.close()
    return list(ids[:2]), [ids[2], *more]


def test_outbox_lists_retries_and_drops(tmp_path: Path) -> None:
    config = configuration(tmp_path, "http://127.0.0.1:1/", DEVICE)
    path = tmp_path / "state" / "outbox.sqlite3"
    dead, waiting = queue(path)
    found = json.loads(here("outbox", "--config", config).stdout)
    assert (found["waiting"], found["undated"]) == (2, 0)
    assert datetime.now(UTC) - datetime.fromisoformat(found["oldest"]) < timedelta(minutes=1)
    assert [(each["id"], each["reason"], each["attempts"], each["body"]) for each in found["dead_letters"]] == [
        (dead[0], "HTTP 422: no", 5, '{"number":1}'),
        (dead[1], "HTTP 422: no", 5, '{"number":2}'),
    ]
    assert here("outbox", "retry", dead[0], "--config", config).stdout == "1 will be sent again\n"
    assert here("outbox", "--config", config, "drop", "--all").stdout == "1 dropped\n"
    found = json.loads(here("outbox", "--config", config).stdout)
    assert (found["waiting"], found["dead_letters"]) == (3, [])
    wrong = here("outbox", "retry", "msg_unknown", "--config", config)
    assert (wrong.exit_code, "no message has the id" in wrong.stderr) == (1, True)
    assert here("outbox", "drop", "--config", config).exit_code == 2
    assert here("outbox", "drop", "--waiting", "--config", config).stdout == "3 dropped\n"
    assert json.loads(here("outbox", "--config", config).stdout)["waiting"] == 0
    assert len(waiting) == 2


def test_the_body_of_a_compressed_dead_letter_is_printed_as_json(tmp_path: Path) -> None:
    config = configuration(tmp_path, "http://127.0.0.1:1/", DEVICE, "gzip = true\n")
    outbox = Outbox.open(tmp_path / "state" / "outbox.sqlite3", max_age_s=1e9, max_size_mb=8)
    outbox.put([compressed(b'{"number":1}')])
    outbox.update(replace(outbox.live()[0], parked="HTTP 422: no"))
    outbox.close()
    found = json.loads(here("outbox", "--json", "--config", config).stdout)
    assert [each["body"] for each in found["dead_letters"]] == ['{"number":1}']


def test_outbox_without_a_queue_says_so(tmp_path: Path) -> None:
    config = configuration(tmp_path, "http://127.0.0.1:1/", DEVICE)
    result = here("outbox", "--config", config)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the queue does not exist" in result.stderr
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (1, "an earlier version of the agent wrote it; start the agent once, so that it migrates the queue"),
        (99, "schema 99 is newer than this agent's 2; use the version of the agent that wrote it"),
    ],
)
def test_outbox_says_what_to_do_with_the_queue_of_another_version(tmp_path: Path, schema: int, reason: str) -> None:
    config = configuration(tmp_path, "http://127.0.0.1:1/", DEVICE)
    path = tmp_path / "state" / "outbox.sqlite3"
    queue(path)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {schema}")
    result = here("outbox", "--config", config)
    assert (result.exit_code, result.stderr) == (1, f"telemetry-agent: {path}: {reason}\n")


def test_what_is_done_beside_it_is_seen_by_a_running_agent(tmp_path: Path) -> None:
    from agent.commissioning import outbox_admin

    path = tmp_path / "o.sqlite3"
    outbox = Outbox.open(path, max_age_s=1e9, max_size_mb=8)
    outbox.put([b"1", b"2"])
    for record in outbox.live():
        outbox.update(replace(record, parked="HTTP 422"))
    assert outbox.counts().parked == 2
    first = outbox.parked()[0]
    assert outbox_admin.retry(path, [first.id]) == 1
    assert (outbox.counts().waiting, outbox.counts().parked) == (1, 1)
    assert outbox_admin.drop(outbox_admin.Queue("default", path, configured=True), [], waiting=False) == 1
    assert outbox_admin.contents(path).dead_letters == ()
    assert (outbox.counts().waiting, outbox.counts().parked) == (1, 0)
    outbox.update(replace(outbox.live()[0], attempts=1))
    outbox.close()


async def test_a_certificate_that_is_not_yet_valid_names_the_clock(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = authority.server_context(authority.issue("server", not_yet=True))
    async with HttpFaults(answer(200), tls) as server:
        config = PushConfig(url=server.url(), token="x", ca_file=authority.ca_file)
        (verdict,) = await verdicts(config, SystemClock())
    today = datetime.now(UTC).date().isoformat()
    assert verdict.line.startswith(
        f"unreachable: the server's certificate is not yet valid; the clock here is at {today}T"
    )
