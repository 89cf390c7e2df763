"""Node-RED with docs/examples/node-red-flow.json."""

from __future__ import annotations

import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.cli.demo import SITE_ID
from tests.receivers.programs import EXAMPLES, needed, running, until
from tests.receivers.site import TOKEN, pushing
from tests.support.ports import free_port

SETTINGS = """
module.exports = {
    uiHost: "127.0.0.1", uiPort: process.env.PORT, httpAdminRoot: false, flowFile: "flow.json",
    credentialSecret: false, logging: {console: {level: "info"}},
};
"""


@pytest.fixture
async def node_red(tmp_path: Path) -> AsyncIterator[str]:
    """The URL of the flow."""
    program = needed("node-red", "node-red/node_modules/node-red/red.js")
    node = shutil.which("node") or pytest.skip("node is not installed")
    (tmp_path / "settings.js").write_text(SETTINGS)
    shutil.copy(EXAMPLES / "node-red-flow.json", tmp_path / "flow.json")
    port = free_port()
    environ = {
        **os.environ,
        "PORT": str(port),
        "TELEMETRY_TOKEN": TOKEN,
        "TELEMETRY_SITE": SITE_ID,
        "TELEMETRY_FILE": str(tmp_path / "messages.jsonl"),
        "NODE_RED_HOME": str(tmp_path),
    }
    log = tmp_path / "log"
    with running([node, program, "--userDir", tmp_path], port, log, environ):
        await until(lambda: "Started flows" in log.read_text())  # it answers 404 before
        yield f"http://127.0.0.1:{port}/telemetry"


def kept(folder: Path) -> list[dict[str, Any]]:
    file = folder / "messages.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [json.loads(line) for line in lines if line]


def post(url: str, message: Any, identity: str = "msg_1", token: str = TOKEN) -> int:
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "webhook-id": identity,
    }
    request = urllib.request.Request(url, json.dumps(message).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


async def test_the_flow_keeps_the_messages_of_the_agent(node_red: str, tmp_path: Path) -> None:
    pushes: dict[str, dict[str, Any]] = {
        "types": {"url": node_red},
        "nodes": {"url": node_red, "levels": ["device"], "gzip": True},
    }
    async with pushing(tmp_path, pushes):
        await until(lambda: len({message["time"] for message in kept(tmp_path) if "grid" in message}) >= 2)
        await until(lambda: any(message.get("nodeId") == "battery-1" for message in kept(tmp_path)))
    ids = [message["id"] for message in kept(tmp_path)]
    assert len(ids) == len(set(ids))
    print(json.dumps(next(message for message in kept(tmp_path) if "nodeId" not in message)))  # noqa: T201 - for docs


async def test_the_flow_answers_as_the_guide_says(node_red: str, tmp_path: Path) -> None:
    message = {"time": 1, "siteNodeId": SITE_ID, "nodeId": "a", "solar": {}}
    (tmp_path / "messages.jsonl").mkdir()  # the file cannot be written
    assert post(node_red, message) == 503
    (tmp_path / "messages.jsonl").rmdir()
    assert post(node_red, message) == 204
    assert post(node_red, message) == 204  # a duplicate
    assert post(node_red, message, token="another") == 401
    assert post(node_red, message | {"siteNodeId": "OTHER"}, "msg_2") == 403
    assert post(node_red, [1], "msg_3") == 422
    assert kept(tmp_path) == [{"id": "msg_1", **message}]
