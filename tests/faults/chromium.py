"""Controls a headless Chromium through its debugging pipe (Chrome DevTools Protocol), without other libraries."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LIMIT_S = 60
_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --disable-dev-shm-usage --no-first-run --hide-scrollbars"
    " --disable-background-networking --disable-component-update --disable-sync --remote-debugging-pipe"
)


class Browser:
    """A running browser with its profile in the folder `profile`. One tab at a time is used."""

    def __init__(self, profile: Path) -> None:
        assert PROGRAM is not None
        commands, self._writer = os.pipe()
        self._reader, events = os.pipe()
        os.set_blocking(self._reader, False)
        script = f'exec "$0" {_FLAGS} --user-data-dir="$1" 3<&{commands} 4>&{events}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, PROGRAM, str(profile)],
            pass_fds=(commands, events),
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(commands)
        os.close(events)
        self._unread = bytearray()
        self._ids = itertools.count(1)

    @contextlib.asynccontextmanager
    async def tab(self) -> AsyncIterator[Tab]:
        """Open a tab that shares no cookies, storage and cache with others."""
        loop = asyncio.get_running_loop()
        tab = Tab(self._writer, self._ids)
        loop.add_reader(self._reader, self._read, loop, tab)
        try:
            context = await tab.attach()
            try:
                yield tab
            finally:
                tab.detach()
                await tab.call("Target.disposeBrowserContext", browserContextId=context)
        finally:
            loop.remove_reader(self._reader)

    def _read(self, loop: asyncio.AbstractEventLoop, tab: Tab) -> None:
        if not (data := os.read(self._reader, 1 << 20)):
            loop.remove_reader(self._reader)
            tab.fail("the browser has ended")
        *messages, rest = (self._unread + data).split(b"\0")
        self._unread = rest
        for message in messages:
            tab.take(json.loads(message))

    def end(self) -> None:
        os.close(self._writer)
        os.close(self._reader)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Tab:
    """One page. `complaints` has the messages of its console: exceptions, and requests that a policy blocks."""

    def __init__(self, writer: int, ids: Iterator[int]) -> None:
        self.complaints: list[str] = []
        self._writer = writer
        self._ids = ids
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._session: str | None = None

    async def attach(self) -> str:
        """Open the page in a new browser context. Return the context."""
        context = await self.call("Target.createBrowserContext")
        target = await self.call("Target.createTarget", url="about:blank", **context)
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        return str(context["browserContextId"])

    def detach(self) -> None:
        """The next calls are for the browser."""
        self._session = None

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

    def take(self, message: dict[str, Any]) -> None:
        """Take an answer or an event of the browser. Those of earlier tabs are ignored."""
        if "id" in message:
            answer = self._answers.pop(message["id"], None)
            if answer is None or answer.done():
                return
            if "error" in message:
                answer.set_exception(RuntimeError(str(message["error"])))
            else:
                answer.set_result(message["result"])
        elif self._session is None or message.get("sessionId") != self._session:
            return
        elif message["method"] == "Log.entryAdded":
            self.complaints.append(message["params"]["entry"]["text"])
        elif message["method"] == "Runtime.exceptionThrown":
            self.complaints.append(str(message["params"]["exceptionDetails"]))

    def fail(self, why: str) -> None:
        """Let every call that waits for an answer fail."""
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ConnectionError(why))


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Start a new browser with its profile in the folder `profile`, and end it."""
    started = Browser(profile)
    try:
        yield started
    finally:
        started.end()


@contextlib.asynccontextmanager
async def browsing(profile: Path) -> AsyncIterator[Tab]:
    """Start a browser for one tab."""
    with browser(profile) as started:
        async with started.tab() as tab:
            yield tab
