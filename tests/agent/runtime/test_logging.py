"""The log as journald, programs and people get it, and whether it alone answers what an operator asks."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import pytest
import structlog
from structlog.testing import capture_logs

from agent.delivery.stats import RecordedAttempt
from agent.outbox.backlog import Backlog
from agent.runtime import logging_setup
from agent.runtime.log_dedup import BURST, CROWD, WINDOW_S, RepeatLimiter
from agent.runtime.printable import MOST, printable
from agent.status.hourly_report import EVERY_S, HourlyReport
from agent.status.model import DeviceStatus, EndpointStatus, Snapshot
from drivers.model import Table
from tests.agent.status.test_listener import configuration, running, until
from tests.faults.http import HttpFaults, answer
from tests.faults.modbus import FaultServer
from tests.support.delivery import sending
from tests.support.site import Endpoint, sdm630


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_journald_gets_a_priority_before_each_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:12345")
    stream = StringIO()
    logging_setup.configure("info", "auto", stream)
    logger = structlog.get_logger()
    logger.debug("not_shown")
    logger.info("device_found", device="pv-1")
    logger.warning("device_lost", device="pv-1", reason="no answer\nwithin 1 s")
    logger.error("endpoint_misconfigured", reason="HTTP 401")
    assert stream.getvalue().splitlines() == [
        "<6>event='device_found' device='pv-1' level='info'",
        "<4>event='device_lost' device='pv-1' reason='no answer\\nwithin 1 s' level='warning'",
        "<3>event='endpoint_misconfigured' reason='HTTP 401' level='error'",
    ]


def test_json_has_one_object_a_line() -> None:
    stream = StringIO()
    logging_setup.configure("info", "json", stream)
    structlog.get_logger().warning("device_lost", device="pv-1", reason="no answer")
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert event.pop("timestamp").endswith("Z")
    assert event == {"event": "device_lost", "level": "warning", "device": "pv-1", "reason": "no answer"}


def test_repeats_are_counted_and_told() -> None:
    now = 0.0
    stream = StringIO()
    logging_setup.configure("info", "json", stream)
    structlog.configure(processors=[RepeatLimiter(lambda: now), structlog.processors.JSONRenderer()])
    logger = structlog.get_logger()
    for second in range(20):
        now = float(second)
        logger.warning("token_unreadable", path="/etc/token", reason=f"try {second}")
        logger.warning("device_lost", device=f"m{second}")
    now = WINDOW_S + 1
    logger.info("started")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    unreadable = [line for line in lines if line["event"] == "token_unreadable"]
    assert [line["reason"] for line in unreadable] == [f"try {second}" for second in range(BURST)]
    assert sum(line["event"] == "device_lost" for line in lines) == 20, "each is about another device"
    assert lines[-2] == {
        "event": "event_repeated",
        "what": "token_unreadable",
        "times": 20 - BURST,
        "in_s": 3601,
        "path": "/etc/token",
    }
    assert lines[-1] == {"event": "started"}


@pytest.mark.parametrize("about", [True, False])
def test_each_of_many_counts_is_told(about: bool) -> None:
    now, many = 0.0, 1000
    stream = StringIO()
    logging_setup.configure("info", "json", stream)
    structlog.configure(processors=[RepeatLimiter(lambda: now), structlog.processors.JSONRenderer()])
    logger = structlog.get_logger()
    for number in range(many):
        name, fields = ("device_lost", {"device": f"m{number}"}) if about else (f"event_{number}", {})
        for _ in range(BURST + 2):
            logger.warning(name, **fields)
    now = WINDOW_S + 1
    logger.info("started")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    counts = [line for line in lines if line["event"] == "event_repeated"]
    assert len({(line["what"], line.get("device")) for line in counts}) == len(counts) == many
    assert {line["times"] for line in counts} == {2}
    assert lines[-1] == {"event": "started"}


def test_the_limits_survive_a_reload() -> None:
    stream = StringIO()
    for _ in range(3 * BURST):
        logging_setup.configure("info", "json", stream)
        structlog.get_logger().warning("reload_refused", reason="the same")
    assert len(stream.getvalue().splitlines()) == BURST


def test_a_backlog_that_is_refused_does_not_fill_the_log() -> None:
    now = 0.0
    stream = StringIO()
    logging_setup.configure("info", "json", stream)
    structlog.configure(processors=[RepeatLimiter(lambda: now), structlog.processors.JSONRenderer()])
    logger = structlog.get_logger()
    for number in range(10_000):
        logger.warning("message_refused", id=f"msg_{number}")
    now = WINDOW_S + 1
    logger.info("started")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    refused = [line["id"] for line in lines if line["event"] == "message_refused"]
    assert refused == [f"msg_{number}" for number in range(CROWD)]
    assert lines[-2:] == [
        {"event": "event_repeated", "what": "message_refused", "times": 10_000 - CROWD, "in_s": 3601},
        {"event": "started"},
    ]


def test_one_message_leaves_the_others_their_events() -> None:
    now = 0.0
    stream = StringIO()
    logging_setup.configure("info", "json", stream)
    structlog.configure(processors=[RepeatLimiter(lambda: now), structlog.processors.JSONRenderer()])
    logger = structlog.get_logger()
    for _ in range(CROWD + 10):
        logger.warning("message_refused", id="msg_a")
    for number in range(CROWD):
        logger.warning("message_refused", id=f"msg_{number}")
    now = WINDOW_S + 1
    logger.info("started")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    refused = [line["id"] for line in lines if line["event"] == "message_refused"]
    assert refused == ["msg_a"] * BURST + [f"msg_{number}" for number in range(CROWD - BURST)]
    repeated = [(line.get("id"), line["times"]) for line in lines if line["event"] == "event_repeated"]
    assert repeated == [(None, BURST), ("msg_a", CROWD + 10 - BURST)]


async def test_an_endpoint_that_comes_and_goes_does_not_fill_the_log(tmp_path: Path) -> None:
    """Each time with another message."""
    stream = StringIO()
    async with (
        HttpFaults(answer(200)) as server,
        sending(tmp_path, server.url(), retry={"initial_s": 0.001, "max_s": 0.002}) as made,
    ):
        logging_setup.configure("info", "json", stream)  # instead of the capture of all
        for number in range(4 * BURST):
            server.behaviour = answer(503)
            await made.submit(b"%d" % number)
            await server.until(lambda: made.sender.stats.state == "failing")
            server.behaviour = answer(200)
            await made.all_delivered()
    events = Counter(json.loads(line)["event"] for line in stream.getvalue().splitlines())
    assert events == {"first_delivery": 1, "push_failed": BURST, "push_recovered": BURST}


def device(name: str, state: str, reason: str | None = None, lost_s: float | None = None) -> DeviceStatus:
    return DeviceStatus(name, "sunspec", "x", state, reason, lost_s, None, 9, 0, {}, None, 0, 0.0, ())


def snapshot(devices: tuple[DeviceStatus, ...], reason: str | None = None, **outcomes: int) -> Snapshot:
    return Snapshot(
        "1",
        "S",
        0.0,
        1.0,
        reason is None,
        reason,
        "synchronised",
        {},
        devices,
        (endpoint("default", reason, **outcomes),),
    )


def endpoint(name: str, reason: str | None, **outcomes: int) -> EndpointStatus:
    counts = {"delivered": 0, "retry": 0} | outcomes
    return EndpointStatus(name, "https://e", 60, reason, None, 1.0, counts, (), Backlog(3, 60.0, 1, False, {}))


def test_the_hourly_report() -> None:
    report = HourlyReport(0.0)
    assert not report.begin(EVERY_S - 1)
    assert report.begin(EVERY_S)
    assert not report.begin(EVERY_S), "another endpoint pushes while the snapshot for this report is taken"
    with capture_logs() as events:
        report.write(snapshot((device("m", "ok"), device("pv", "asleep")), delivered=60, retry=1))
        lost = device("bat", "lost", "no answer within 1 s", 7200.0)
        partly = device("m", "partial", "holding 1-2: Modbus exception 2")
        report.write(snapshot((partly, lost), "no delivery for 5 min: HTTP 503", delivered=100, retry=8))
    assert report.begin(2 * EVERY_S)
    assert events == [
        {
            "event": "report",
            "log_level": "info",
            "answering": "1 of 2",
            "delivered": 60,
            "failed": 1,
            "refused": 0,
            "waiting": 3,
            "parked": 1,
        },
        {
            "event": "report",
            "log_level": "warning",
            "answering": "1 of 2",
            "lost": "bat for 2 h: no answer within 1 s",
            "partial": "m: holding 1-2: Modbus exception 2",
            "delivered": 40,
            "failed": 7,
            "refused": 0,
            "waiting": 3,
            "parked": 1,
            "not_pushing": "no delivery for 5 min: HTTP 503",
        },
    ]


def told(events: list[Any], name: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == name]


async def test_which_device_failed_and_which_message_was_refused(tmp_path: Path) -> None:
    with Endpoint() as endpoint, capture_logs() as events:
        endpoint.desk.site = "ANOTHER_SITE"
        async with FaultServer({(1, Table.INPUT): sdm630(1, 1, 1)}) as meter:
            address = f"127.0.0.1:{meter.link().port} unit 1"
            config = configuration(tmp_path, endpoint.url, [("meter-1", "grid", meter.link().port)])
            async with running(config) as app:
                status = await until(app, lambda each: each["endpoints"][0]["recent"] and each["devices"][0]["polls"])
                meter.faults.silent = True
                await until(app, lambda each: each["devices"][0]["state"] == "lost")
                meter.faults.silent = False
                await until(app, lambda each: each["devices"][0]["state"] == "ok")
    (lost,) = told(events, "device_lost")
    assert lost.pop("retry_in_s") > 0
    assert lost == {
        "event": "device_lost",
        "log_level": "warning",
        "device": "meter-1",
        "address": address,
        "reason": "unit 1, input 0-17: no answer within 0.2 s",
    }
    (back,) = told(events, "device_back")
    assert back.pop("after_s") > 0
    assert back.pop("failed_polls") >= 1
    assert back == {"event": "device_back", "log_level": "info", "device": "meter-1", "address": address}
    first: RecordedAttempt = RecordedAttempt(**status["endpoints"][0]["recent"][-1])
    refusals = [
        event
        for event in events
        if first.id in (event.get("id"), event.get("message")) and event["log_level"] != "debug"
    ]
    assert refusals, "the first message is named"
    assert "siteNodeId is 'SITE_1', but the token is bound to 'ANOTHER_SITE'" in refusals[0]["reason"]
    assert refusals[0]["log_level"] in ("warning", "error")


async def test_the_query_of_the_url_is_not_logged(tmp_path: Path) -> None:
    with capture_logs() as events:
        config = configuration(tmp_path, "http://127.0.0.1:1/v1?code=a-secret", [("m", "grid", 1)])
        async with running(config) as app:
            await until(app, lambda each: each["endpoints"][0]["failing_s"] is not None)
    assert told(events, "push_failed")[0]["url"] == "http://127.0.0.1:1/v1"
    assert "a-secret" not in str(events)


async def test_the_report_is_written_by_the_running_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.status.hourly_report.EVERY_S", 0.5)
    with Endpoint() as endpoint, capture_logs() as events:
        async with (
            FaultServer({(1, Table.INPUT): sdm630(1, 1, 1)}) as meter,
            running(configuration(tmp_path, endpoint.url, [("m", "grid", meter.link().port)])),
            asyncio.timeout(60),
        ):
            while not told(events, "report"):  # noqa: ASYNC110 - seen from outside
                await asyncio.sleep(0.05)
    assert told(events, "report")[0]["answering"] == "1 of 1"


@pytest.mark.parametrize("form", ["console", "json", "auto"])
def test_what_a_device_says_cannot_speak_to_the_terminal_or_fill_the_log(
    form: Literal["console", "json", "auto"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:12345")
    stream = StringIO()
    logging_setup.configure("info", form, stream)
    evil = "\x1b[2J\x1b]0;title\x07\x9b31m\u202e\u2066\nforged"
    structlog.get_logger().info(
        "sunspec_discovered", manufacturer=evil, model=evil.replace("\n", ""), serial="9" * 10**6
    )
    try:
        float(evil)
    except ValueError:
        structlog.get_logger().exception("defect")
    logging.getLogger("library").warning(evil)
    written = stream.getvalue()
    assert all(line.isprintable() for line in written.split("\n"))
    assert len(written) < 10_000
    assert "ValueError" in written


def test_what_is_printable() -> None:
    assert printable("Zähler 1 - grid, 電力計") == "Zähler 1 - grid, 電力計"
    assert printable("a\x1b[2J\r\n\t\x7f\x9b\u202e\udc80\U000e0041") == (
        r"a\u001b[2J\u000d\u000a\u0009\u007f\u009b\u202e\udc80\U000e0041"
    )
    assert len(printable("\x00" * 10**7)) == MOST
    assert printable("file: " + "x" * 1000 + ": unknown key").startswith("file: x")
    assert printable("file: " + "x" * 1000 + ": unknown key").endswith("x: unknown key")
    assert printable("x" * MOST) == "x" * MOST


def test_the_hourly_report_has_a_line_for_each_of_several_endpoints() -> None:
    report = HourlyReport(0.0)
    both = (endpoint("portal", None, delivered=60), endpoint("trader", "no delivery for 5 min", retry=9))
    with capture_logs() as events:
        report.write(replace(snapshot((device("m", "ok"),)), endpoints=both, ready=False, reason="x"))
        report.write(replace(snapshot((device("m", "ok"),)), endpoints=both[1:] + both[:1]))
    assert [(each["event"], each["log_level"], each.get("endpoint"), each.get("delivered")) for each in events] == [
        ("report", "info", None, None),
        ("endpoint_report", "info", "portal", 60),
        ("endpoint_report", "warning", "trader", 0),
        ("report", "info", None, None),
        ("endpoint_report", "warning", "trader", 0),
        ("endpoint_report", "info", "portal", 0),
    ]
    assert events[2]["failed"] == 9
    assert events[2]["not_pushing"] == "no delivery for 5 min"


def test_a_flood_about_one_endpoint_does_not_silence_another() -> None:
    stream = StringIO()
    logging_setup.configure("info", "json", stream)
    for name in ("portal",) * (2 * BURST) + ("trader",):
        with structlog.contextvars.bound_contextvars(endpoint=name):
            structlog.get_logger().warning("push_failed")
    counted = Counter(json.loads(line)["endpoint"] for line in stream.getvalue().splitlines())
    assert counted == {"portal": BURST, "trader": 1}


def test_the_console_has_date_and_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    stream = StringIO()
    logging_setup.configure("info", "console", stream)
    structlog.get_logger().info("started")
    assert re.match(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d\d\d ", stream.getvalue())
