"""The official libraries of Standard Webhooks verify what is sent, compressed or not, and while a secret is rotated."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from agent.runtime.clock import SystemClock
from tests.faults.http import HttpFaults, answer
from tests.support.delivery import sending

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
OTHER = "whsec_" + base64.b64encode(b"fedcba9876543210fedcba9876543210").decode()
BODY = '{"time":1795488582,"siteNodeId":"Zähler","grid":{"active_power_W":-1.5}}'.encode()
NODE_MODULES = Path(sys.prefix, "node", "node_modules")
SCRIPT = """
const { Webhook } = require("standardwebhooks");
const { secret, body, headers } = JSON.parse(require("fs").readFileSync(0, "utf8"));
try {
  process.stdout.write(JSON.stringify(new Webhook(secret).verify(body, headers)));
} catch (error) {
  process.stdout.write(error.constructor.name);
}
"""

Verify = Callable[[str, bytes, Mapping[str, str]], object]
"""The content of a message from secret, body and headers; None where the signature is not good."""


def by_python(secret: str, body: bytes, headers: Mapping[str, str]) -> object:
    try:
        return Webhook(secret).verify(body, dict(headers))
    except WebhookVerificationError:
        return None


def by_node(secret: str, body: bytes, headers: Mapping[str, str]) -> object:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node here")
    if not (NODE_MODULES / "standardwebhooks").is_dir():
        pytest.skip(
            f"npm could not install standardwebhooks into {NODE_MODULES}; make tries it anew in a new environment"
        )
    given = json.dumps({"secret": secret, "body": body.decode(), "headers": dict(headers)})
    done = subprocess.run(
        [node, "--eval", SCRIPT],
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"NODE_PATH": str(NODE_MODULES)},
    )
    return None if done.stdout == "WebhookVerificationError" else json.loads(done.stdout)


@pytest.mark.parametrize("verify", [by_python, by_node])
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
async def test_the_official_library_verifies_what_is_sent(tmp_path: Path, verify: Verify, compressed: bool) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{OTHER}\n{SECRET}\n")
    secret.chmod(0o600)
    async with (
        HttpFaults(answer(204)) as server,
        sending(
            tmp_path, server.url(), clock=SystemClock(), run=False, gzip=compressed, signing_secret_file=secret
        ) as made,
    ):
        await made.attempt(BODY)
    (request,) = server.accepted
    assert (request.headers.get("content-encoding") == "gzip") is compressed
    body = gzip.decompress(request.body) if compressed else request.body
    stranger = "whsec_" + base64.b64encode(b"x" * 32).decode()
    found = [
        await asyncio.to_thread(verify, given, content, request.headers)
        for given, content in ((SECRET, body), (OTHER, body), (stranger, body), (SECRET, body.replace(b"-1.5", b"1.5")))
    ]
    assert found == [json.loads(BODY), json.loads(BODY), None, None]
