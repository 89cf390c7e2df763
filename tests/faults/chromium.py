"""Controls a headless Chromium through its debugging pipe (Chrome DevTools Protocol), without other libraries."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LIMIT_S = 60
_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --disable-dev-shm-usage --no-first-run --hide-scrollbars"
    " --disable-background-networking --disable-component-update --disable-sync --remote-debugging-pipe"
)


class Tab:
    """One page. `complaints` has the messages of its console: exceptions, and requests that a policy blocks."""

    def __init__(self, reader: asyncio.StreamReader, writer: int) -> None:
        self.complaints: list[str] = []
        self._reader = reader
        self._writer = writer
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._session: str | None = None

    async def attach(self) -> None:
        target = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")

    async def call(self, method: str, **params: object) -> Any:
        number = next(self._ids)
        message: dict[str, object] = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        self._answers[number] = asyncio.get_running_loop().create_future()
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        return await asyncio.wait_for(self._answers[number], LIMIT_S)

    async def eval(self, expression: str) -> Any:
        answer = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until the JavaScript expression is true."""
        async with asyncio.timeout(LIMIT_S):
            while not await self.eval(expression):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)

    async def listen(self) -> None:
        while True:
            message = json.loads((await self._reader.readuntil(b"\0"))[:-1])
            if "id" in message:
                answer = self._answers.pop(message["id"])
                if "error" in message:
                    answer.set_exception(RuntimeError(str(message["error"])))
                else:
                    answer.set_result(message["result"])
            elif message["method"] == "Log.entryAdded":
                self.complaints.append(message["params"]["entry"]["text"])
            elif message["method"] == "Runtime.exceptionThrown":
                self.complaints.append(str(message["params"]["exceptionDetails"]))


@contextlib.asynccontextmanager
async def browsing(profile: Path) -> AsyncIterator[Tab]:
    """Start a new browser with its profile in the folder `profile`, and yield a tab."""
    assert PROGRAM is not None
    commands, writer = os.pipe()
    events, told = os.pipe()
    script = f'exec "$0" {_FLAGS} --user-data-dir="$1" 3<&{commands} 4>&{told}'
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        script,
        PROGRAM,
        str(profile),
        pass_fds=(commands, told),
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(commands)
    os.close(told)
    reader = asyncio.StreamReader(limit=1 << 26)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(events, "rb")
    )
    tab = Tab(reader, writer)
    listening = asyncio.create_task(tab.listen())
    try:
        await tab.attach()
        yield tab
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        transport.close()
        os.close(writer)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
