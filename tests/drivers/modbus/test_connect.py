"""Links that cannot be opened say where, and why, in words."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from drivers.errors import LinkError
from drivers.modbus.connect import NAMES_AT_ONCE
from drivers.modbus.link import Link
from drivers.modbus.os_errors import in_words
from drivers.modbus.resolver import Resolver
from drivers.modbus.settings import LinkSettings
from drivers.model import Table
from tests.faults.certificates import Authority
from tests.faults.modbus import FaultServer

REGISTERS = {(1, Table.HOLDING): {0: 17}}


async def why(settings: LinkSettings) -> str:
    link = Link(settings)
    with pytest.raises(LinkError) as caught:
        await link.read(1, Table.HOLDING, 0, 1)
    await link.close()
    return str(caught.value)


async def test_refused_and_back() -> None:
    async with FaultServer(REGISTERS) as server:
        await server.refuse()
        expected = f"127.0.0.1:{server.port}: connection refused; nothing listens on that port"
        assert await why(server.link()) == expected
        link = Link(server.link())
        with pytest.raises(LinkError, match="refused"):
            await link.read(1, Table.HOLDING, 0, 1)
        await server.listen()
        assert list(await link.read(1, Table.HOLDING, 0, 1)) == [17]
        await server.refuse()
        with pytest.raises(LinkError, match="refused"):
            await link.read(1, Table.HOLDING, 0, 1)
        await link.close()


async def test_refused_under_every_address_of_a_name() -> None:
    async with FaultServer(REGISTERS) as server:
        await server.refuse()
        assert "localhost" in (reason := await why(server.link(host="localhost")))
        assert "connection refused; nothing listens on that port" in reason


async def test_a_datagram_that_nobody_takes_is_refused_at_once() -> None:
    async with FaultServer(REGISTERS, transport="udp") as server:
        settings = server.link(timeout_s=60)
        await server.refuse()
        assert "connection refused" in await why(settings)


async def test_a_name_that_does_not_exist() -> None:
    assert (await why(LinkSettings(host="meter.invalid", timeout_s=30))).startswith("meter.invalid:502: name not found")


async def test_a_name_that_cannot_exist() -> None:
    assert await why(LinkSettings(host="meter..local")) == "meter..local:502: not a valid host name"


@pytest.fixture
def hanging_resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A resolver that does not come back; gives what it was asked."""
    asked: list[str] = []
    back = threading.Event()

    def hang(host: str, *_: object, **__: object) -> list[object]:
        asked.append(host)
        back.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    yield asked
    back.set()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - another thread has no event
            await asyncio.sleep(0.001)


async def test_a_resolver_that_hangs_holds_up_nothing_else(hanging_resolver: list[str]) -> None:
    names = [f"m{n}.local" for n in range(40)]
    for _ in range(2):
        reasons = await asyncio.gather(*(why(LinkSettings(host=name, timeout_s=0.1)) for name in names))
        assert reasons == [f"{name}:502: no connection within 0.1 s" for name in names]
    assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 60) == "free"
    await until(lambda: len(hanging_resolver) >= 16)
    # One thread a name, however often it is asked for, and 16 of the 64 that the unit allows the service.
    assert sorted(hanging_resolver, key=names.index) == names[:16]


async def test_names_of_devices_that_hang_do_not_hold_up_another_user(hanging_resolver: list[object]) -> None:
    names = [f"m{n}.local" for n in range(2 * NAMES_AT_ONCE)]
    await asyncio.gather(*(why(LinkSettings(host=name, timeout_s=0.1)) for name in names))
    await until(lambda: len(hanging_resolver) >= NAMES_AT_ONCE)
    other = asyncio.create_task(Resolver(1).addresses("collector.example"))
    await until(lambda: len(hanging_resolver) > NAMES_AT_ONCE)
    assert not other.done()
    other.cancel()
    assert hanging_resolver[NAMES_AT_ONCE:] == ["collector.example"]


async def test_a_name_is_looked_up_again_after_there_was_no_thread_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with FaultServer(REGISTERS) as server:
        link = Link(server.link(host="localhost"))
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(LinkError, match="another thread"):
                await link.read(1, Table.HOLDING, 0, 1)
        assert list(await link.read(1, Table.HOLDING, 0, 1)) == [17]
        await link.close()


@pytest.mark.parametrize("last_parts", [(2, 1), (1, 2), (2, 1, 3)])
async def test_each_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch, last_parts: Sequence[int]) -> None:
    """The device is at 127.0.0.1."""
    async with FaultServer(REGISTERS) as server:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{part}", 0)) for part in last_parts]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        link = Link(server.link(host="meter.local"))
        assert list(await link.read(1, Table.HOLDING, 0, 1)) == [17]
        await link.close()


async def test_a_name_is_looked_up_once_for_all_who_wait_for_it(hanging_resolver: list[str]) -> None:
    """Also if no other name can be looked up now. The thread does not hold up the end of the process."""
    resolver = Resolver(1)
    waiting = [asyncio.ensure_future(resolver.addresses("collector.example")) for _ in range(3)]
    await until(lambda: len(hanging_resolver) == 1)
    look_ups = [thread for thread in threading.enumerate() if thread.name == "look up collector.example"]
    assert [thread.daemon for thread in look_ups] == [True]
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_name_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])
    assert "no address for meter.local" in await why(LinkSettings(host="meter.local", port=1))


@contextmanager
def silent(host: str, port: int = 0) -> Iterator[int]:
    """A port that does not answer a connect: Linux drops what does not fit into the queue of a listener."""
    with ExitStack() as stack:
        listener, *fillers = [stack.enter_context(socket.socket()) for _ in range(4)]
        listener.bind((host, port))
        listener.listen(0)
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def test_no_answer_to_a_connect() -> None:
    with silent("127.0.0.1") as port:
        assert await why(LinkSettings(host="127.0.0.1", port=port, timeout_s=0.1)) == (
            f"127.0.0.1:{port}: no connection within 0.1 s"
        )


async def test_an_address_that_does_not_answer_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FaultServer(REGISTERS) as server:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in ("127.0.0.2", "127.0.0.1")]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        settings = server.link(host="meter.local", timeout_s=2.0)
        with silent("127.0.0.2", settings.port):
            link = Link(settings)
            assert list(await link.read(1, Table.HOLDING, 0, 1)) == [17]
            await link.close()


@pytest.mark.simulated_time
async def test_a_connect_that_was_in_time_leaves_no_timer() -> None:
    async with FaultServer({(1, Table.HOLDING): {0: 7}}) as server:
        link = Link(server.link(timeout_s=1.0))
        mistakes: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: mistakes.append(context))
        assert list(await link.read(1, Table.HOLDING, 0, 1)) == [7]
        await asyncio.sleep(2.0)
        assert mistakes == []
        await link.close()


@pytest.mark.parametrize(("blocked_s", "connected"), [([6000] * 9, True), ([61] * 10, False), ([40] * 10, True)])
async def test_a_connect_does_not_time_out_because_the_loop_is_busy(
    monkeypatch: pytest.MonkeyPatch, blocked_s: list[int], connected: bool
) -> None:
    """Each time the loop is blocked, a tenth of the timeout is counted."""
    loop = asyncio.get_running_loop()
    now, ahead_s = loop.time, 0.0

    async def block(seconds: float) -> None:
        nonlocal ahead_s
        ahead_s += seconds
        for _ in range(3):  # the timers that are due run
            await asyncio.sleep(0)

    def look_up(*_: object, **__: object) -> list[object]:
        for seconds in blocked_s:
            asyncio.run_coroutine_threadsafe(block(seconds), loop).result(60)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(loop, "time", lambda: now() + ahead_s)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    async with FaultServer(REGISTERS) as server:
        settings = server.link(host="meter.local", timeout_s=600)
        if not connected:
            assert await why(settings) == f"meter.local:{server.port}: no connection within 600 s"
            return
        link = Link(settings)
        assert list(await link.read(1, Table.HOLDING, 0, 1)) == [17]
        await link.close()


@pytest.mark.simulated_time
async def test_few_connects_run_at_the_same_time_and_hosts_that_do_not_answer_delay_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running = most = 0

    async def hang(*_: object) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.Event().wait()

    for first_port in (1, 101):
        running = most = 0
        monkeypatch.setattr("drivers.modbus.connect._open_at", hang)
        ports = range(first_port, first_port + 100)
        links = [Link(LinkSettings(host="127.0.0.1", port=port, timeout_s=60)) for port in ports]
        reads = [asyncio.create_task(link.read(1, Table.HOLDING, 0, 1)) for link in links]
        for _ in range(20):
            await asyncio.sleep(0)
        assert most == 32, "as docs/architecture.md says"
        monkeypatch.undo()
        async with FaultServer(REGISTERS) as server, asyncio.timeout(30):
            link = Link(server.link())
            began = asyncio.get_running_loop().time()
            assert list(await link.read(1, Table.HOLDING, 0, 1)) == [17]
            waited_s = asyncio.get_running_loop().time() - began
            assert waited_s == pytest.approx(0.25, abs=0.01), "the turns end, the connects do not"
            await link.close()
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)


async def test_a_connect_that_is_cancelled_leaves_nothing_open() -> None:
    async with FaultServer(REGISTERS) as server:
        link = Link(server.link(connect_delay_s=60))
        read = asyncio.ensure_future(link.read(1, Table.HOLDING, 0, 1))
        await server.wait(lambda: server.connections == 1)
        read.cancel()
        await asyncio.gather(read, return_exceptions=True)
        await link.close()
        await server.wait(lambda: not server.connections)


async def test_tls_with_client_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = authority.server_context(authority.issue("device"), require_client=True)
    client = authority.issue("agent")
    async with FaultServer(REGISTERS, transport="tls", tls=tls) as server:
        settings = server.link(
            ca_file=authority.ca_file, client_cert_file=client.cert_file, client_key_file=client.key_file
        )
        link = Link(settings)
        for _ in range(3):
            assert list(await link.read(1, Table.HOLDING, 0, 1)) == [17]
            await server.drop()
        await link.close()
        assert server.max_connections == 1
        assert "closed instead of a reply" in await why(server.link(ca_file=authority.ca_file))
        assert len(server.requests) == 3


async def test_tls_records_that_arrive_together_are_one_reply(tmp_path: Path) -> None:
    """Some devices send the header and the rest of a reply as two records. One segment may have both."""
    authority = Authority(tmp_path)
    tls = authority.server_context(authority.issue("device"))
    values = iter((1, 2, 3))

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
            peer = tls.wrap_bio(received, sent, server_side=True)
            while True:
                try:
                    try:
                        peer.do_handshake()
                        request = peer.read(1024)
                    finally:
                        connection.sendall(sent.read())
                except ssl.SSLWantReadError:
                    if not (data := connection.recv(4096)):
                        return
                    received.write(data)
                    continue
                peer.write(request[:4] + b"\0\5" + request[6:7])
                peer.write(bytes((request[7], 2, 0, next(values))))
                connection.sendall(sent.read())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        port = listener.getsockname()[1]
        link = Link(LinkSettings(transport="tls", host="127.0.0.1", port=port, ca_file=authority.ca_file))
        for value in (1, 2, 3):
            assert list(await link.read(1, Table.HOLDING, 0, 1)) == [value]
        await link.close()
        thread.join()


@pytest.mark.parametrize(
    ("hosts", "expired", "trusted", "reason"),
    [
        (("127.0.0.1",), True, True, "certificate has expired"),
        (("192.0.2.1",), False, True, "IP address mismatch"),
        (("127.0.0.1",), False, False, "self-signed certificate in certificate chain|unable to get local issuer"),
    ],
)
async def test_tls_certificates_that_are_not_accepted(
    tmp_path: Path, hosts: tuple[str, ...], expired: bool, trusted: bool, reason: str
) -> None:
    authority = Authority(tmp_path)
    tls = authority.server_context(authority.issue("device", hosts=hosts, expired=expired))
    async with FaultServer(REGISTERS, transport="tls", tls=tls) as server:
        settings = server.link(ca_file=authority.ca_file if trusted else None)
        link = Link(settings)
        with pytest.raises(
            LinkError, match=rf"{server.port}: the device's TLS certificate is not accepted: .*({reason})"
        ):
            await link.read(1, Table.HOLDING, 0, 1)
        await link.close()
    assert not server.requests


async def test_a_certificate_may_have_another_name_than_the_host(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = authority.server_context(authority.issue("device", hosts=("gateway-7",)))
    async with FaultServer(REGISTERS, transport="tls", tls=tls) as server:
        reason = await why(server.link(ca_file=authority.ca_file))
        assert "mismatch" in reason
        assert reason.endswith("; set server_name to the name in the certificate")
        link = Link(server.link(ca_file=authority.ca_file, server_name="gateway-7"))
        assert list(await link.read(1, Table.HOLDING, 0, 1)) == [17]
        await link.close()


async def test_a_key_with_a_passphrase_is_an_error_not_a_question(tmp_path: Path) -> None:
    certificate = Authority(tmp_path).issue("client", passphrase="secret")
    reason = await why(
        LinkSettings(
            transport="tls",
            host="127.0.0.1",
            client_cert_file=certificate.cert_file,
            client_key_file=certificate.key_file,
        )
    )
    said = f"127.0.0.1:502: client_cert_file {certificate.cert_file} cannot be used (its private key has a passphrase,"
    assert reason.startswith(said)


async def test_tls_to_a_device_that_speaks_plain_modbus() -> None:
    async with FaultServer(REGISTERS) as server:
        reason = await why(server.link(transport="tls", timeout_s=0.3))
    assert "no connection within 0.3 s" in reason  # it waits for the rest of what looks like a long frame


async def test_tls_to_something_that_answers_otherwise() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        reason = await why(LinkSettings(transport="tls", host="127.0.0.1", port=port, timeout_s=30))
    assert reason.startswith(f"127.0.0.1:{port}: TLS failed: wrong version number")


async def test_a_tls_handshake_that_never_ends_is_bounded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # the kernel takes the connection, nobody answers
        port = server.getsockname()[1]
        reason = await why(LinkSettings(transport="tls", host="127.0.0.1", port=port, timeout_s=0.1))
    assert "no connection within 0.1 s" in reason


@pytest.mark.parametrize("key", ["ca_file", "client_cert_file"])
@pytest.mark.parametrize("content", [None, "not a certificate"])
async def test_certificate_files_that_cannot_be_used(tmp_path: Path, key: str, content: str | None) -> None:
    path = tmp_path / "wrong.pem"
    if content is not None:
        path.write_text(content)
    settings = LinkSettings(
        transport="tls",
        host="127.0.0.1",
        ca_file=path if key == "ca_file" else None,
        client_cert_file=path if key == "client_cert_file" else None,
    )
    assert (await why(settings)).startswith(f"127.0.0.1:502: {key} {path} cannot be used (")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EHOSTUNREACH, "No route to host"), "no route to the host"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "network unreachable"),
        (ConnectionResetError(), "the device reset the connection"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "the device reset the connection"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "name not found"),
        (OSError(errno.EPIPE, "Broken pipe"), "Broken pipe"),
        (OSError("Multiple exceptions: [Errno 113] Connect call failed, [Errno 101] …"), "no route to the host"),
        (OSError("something else"), "something else"),
        (OSError(errno.EPIPE, ""), "[Errno 32] "),
        (OSError("(13, 'Permission denied')"), "permission denied"),
        (ValueError("no OSError"), "no OSError"),
    ],
)
def test_reasons_in_words(error: Exception, words: str) -> None:
    assert in_words(error).startswith(words)


async def test_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """What went wrong is told by the errors, to whoever asked; never twice, never as a dump of bytes."""
    caplog.set_level(logging.DEBUG)
    async with FaultServer(REGISTERS) as server:
        link = Link(server.link(timeout_s=0.05))
        for name in ("silent", "close_instead", "reset_mid_frame"):
            server.heal()
            setattr(server.faults, name, True)
            await asyncio.gather(link.read(1, Table.HOLDING, 0, 1), return_exceptions=True)
        await link.close()
    assert [record for record in caplog.records if record.name != "asyncio"] == []
