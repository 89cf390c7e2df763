"""The stub of a server that a code generator makes from docs/schema/openapi.json accepts every message of the agent."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.faults.http import HttpFaults, answer
from tests.receivers.programs import INSTALLED, PYTHON, REPO, needed, running, until
from tests.receivers.site import FORMATS, pushing
from tests.support.ports import free_port

# FastAPI does not decompress the bodies of requests.
SERVED = """
import gzip
from stub.main import app

async def unzipping(scope, receive, send):
    if scope["type"] != "http" or (b"content-encoding", b"gzip") not in scope["headers"]:
        return await app(scope, receive, send)
    body, more = b"", True
    while more:
        part = await receive()
        body, more = body + part["body"], part.get("more_body", False)
    async def unzipped():
        return {"type": "http.request", "body": gzip.decompress(body), "more_body": False}
    return await app(scope, unzipped, send)
"""

KINDS = """
import sys
from stub.models import V1TelemetryPostRequest as Message
for line in sys.stdin:
    print(type(Message.model_validate_json(line).root).__name__)
"""


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    """The folder with the package `stub`."""
    needed("python", "bin/python")
    document = REPO / "docs/schema/openapi.json"
    subprocess.run([INSTALLED / "bin/openapi-spec-validator", document], check=True)
    command: list[str | Path] = [INSTALLED / "bin/fastapi-codegen", "--output-model-type", "pydantic_v2.BaseModel"]
    subprocess.run([*command, "--input", document, "--output", tmp_path / "stub"], check=True)
    (tmp_path / "served.py").write_text(SERVED, encoding="utf-8")
    return tmp_path


def kinds(stub: Path, messages: list[dict[str, Any]]) -> list[str]:
    """The class of the stub for each message."""
    lines = "".join(json.dumps(message) + "\n" for message in messages)
    command: list[str | Path] = [PYTHON, "-c", KINDS]
    return subprocess.run(command, input=lines, cwd=stub, stdout=subprocess.PIPE, text=True, check=True).stdout.split()


async def test_the_stub_answers_204_to_the_agent_in_every_format(stub: Path) -> None:
    port, log = free_port(), stub / "uvicorn.log"
    command: list[str | Path] = [PYTHON, "-m", "uvicorn", "served:unzipping", "--port", str(port)]
    url = f"http://127.0.0.1:{port}/v1/telemetry"
    signed = {"signing_secret_file": str(stub / "signing_secret")}
    pushes = {name: {"url": f"{url}?format={name}", **signed, **push} for name, push in FORMATS.items()}

    def answers() -> Counter[tuple[str, str]]:
        return Counter(re.findall(r'"POST /v1/telemetry\?format=(\S+) HTTP/1.1" (\d+)', log.read_text()))

    with running(command, port, log, cwd=stub):
        async with pushing(stub, pushes):
            await until(lambda: all(answers()[name, "204"] >= 2 for name in FORMATS))
    assert {status for _, status in answers()} == {"204"}, log.read_text()


async def test_the_stub_tells_the_kinds_apart(stub: Path) -> None:
    async with HttpFaults(answer(204)) as server:
        pushes = {name: {"url": f"{server.url()}?format={name}", **push} for name, push in FORMATS.items()}
        async with pushing(stub, pushes):
            await until(lambda: {request.path.partition("=")[2] for request in server.accepted} == set(FORMATS))
    zipped = {request.body: request.headers.get("content-encoding") == "gzip" for request in server.accepted}
    messages = [json.loads(gzip.decompress(body) if packed else body) for body, packed in zipped.items()]
    messages += [message | {"added": {"later": 1}} for message in messages]
    expected = [
        "DeviceSnapshot" if "nodes" in message else "DeviceNode" if "nodeId" in message else "DeviceTypes"
        for message in messages
    ]
    assert kinds(stub, messages) == expected
    assert set(expected) == {"DeviceSnapshot", "DeviceNode", "DeviceTypes"}
