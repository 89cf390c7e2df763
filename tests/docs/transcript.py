"""Plays the console blocks of a page: types what the page types, and compares what the page prints.

On a page, `$ ` is a command, an answer follows its question on the same line, `…` is any text, and a line `…` is any
number of lines. A command without a printed line can print anything.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

WAIT_S = 60.0
_LOCK_PORT = 1501
ANYTHING = "…"

_QUESTIONS = (
    *("Site id", "URL of", "Seconds between", "Scan these", "What does", "Number", "Power of", "Name of", "Driver"),
    *("Send one", "Use ", "Add these"),
)
"""The beginnings of the questions of `init`."""

_BLOCK = re.compile(r"^( *)(```|~~~)(\w*)\n(.*?)^\1\2$", re.DOTALL | re.MULTILINE)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Yield the language and the text of each fenced block of a page."""
    for match in _BLOCK.finditer(text):
        yield match[3], "".join(line.removeprefix(match[1]) for line in match[4].splitlines(keepends=True))


class Terminal:
    """A shell command at a terminal with 80 columns, and the lines that a page prints of it."""

    def __init__(self, command: str, folder: Path, names: Mapping[str, str]) -> None:
        """`names`: what stands on the page for a name of this test, such as an address."""
        self._master, slave = os.openpty()
        self._unread = ""
        self._asked = False
        """Whether the question at the end of the output is answered, although the terminal does not show that yet."""
        self._command = command
        self._names = dict(names)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._process = subprocess.Popen(
            self._typed(command),
            shell=True,
            cwd=folder,
            env={**os.environ, "TERM": "dumb", "COLUMNS": "80", "NO_COLOR": "1", "PATH": path},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - one system call
            start_new_session=True,
        )
        os.close(slave)

    def follow(self, page: str, answers: Mapping[str, str]) -> int:
        """Compare the output with the lines of the page. Return the number of answers.

        `answers`: the beginning of each question, and the answer; an empty answer is the rest of the line on the page.
        """
        page = page.rstrip("\n")
        given = 0
        skip = False
        for line in page.splitlines():
            if line == ANYTHING:
                skip = True
                continue
            pattern = _pattern(line.rstrip())
            while True:
                said, whole = self._line(answers)
                said = self._shown(said)
                if not whole:
                    hidden = next(answer for question, answer in answers.items() if said.startswith(question))
                    question, _, answer = line.rpartition(": ") if ": " in line else (line.rstrip(":"), "", "")
                    assert _pattern(question).fullmatch(said.removesuffix(": ")), f"{self._command}: {said!r}, {line!r}"
                    self.type(f"{self._typed(hidden or answer)}\n")
                    given += 1
                elif pattern.fullmatch(said.rstrip()):
                    break
                elif said.strip():  # where a progress bar was, this terminal has an empty line
                    assert skip, f"{self._command}: {said!r} instead of {line!r}"
            skip = False
        return given

    def _typed(self, text: str) -> str:
        for of_page, here in self._names.items():
            text = text.replace(of_page, here)
        return text

    def _shown(self, text: str) -> str:
        for of_page, here in self._names.items():
            text = text.replace(here, of_page)
        return text

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def interrupt(self) -> None:
        """End a server as Ctrl-C does."""
        os.killpg(self._process.pid, signal.SIGINT)

    def end(self) -> tuple[str, int]:
        """Read to the end. Return the output that is left, and the exit status."""
        while self._read():
            pass
        os.close(self._master)
        return _ESCAPES.sub("", self._unread), self._process.wait(WAIT_S)

    def kill(self) -> None:
        """End the processes, also after a failure."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(WAIT_S)

    def _line(self, questions: Mapping[str, str]) -> tuple[str, bool]:
        """Return the next line of the output, and whether it is complete; else it is a question."""
        while True:
            line, newline, rest = self._unread.partition("\n")
            if newline:
                self._unread = rest
                self._asked = False
                return _ESCAPES.sub("", line), True
            if not self._asked and line.endswith(": ") and any(line.startswith(each) for each in questions):
                self._asked = True
                return line, False
            assert self._read(), f"{self._command}: ended after {line!r}"

    def _read(self) -> bool:
        deadline = time.monotonic() + WAIT_S
        while not select.select([self._master], [], [], 1.0)[0]:
            assert time.monotonic() < deadline, f"{self._command}: nothing for {WAIT_S} s after {self._unread!r}"
        try:
            data = os.read(self._master, 4096)
        except OSError:  # the program has ended
            return False
        self._unread += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)


class Person:
    """A person who types the commands of a page, each server in a terminal of its own."""

    def __init__(
        self, home: Path, names: Mapping[str, str], hidden: Mapping[str, str], options: Mapping[str, str]
    ) -> None:
        """`hidden`: answers that the page does not show, by the beginning of the question.

        `options`: commands that stay in a terminal of their own, and options that only this test needs.
        """
        self._home = home
        self._names = {**names, "/home/me": str(home)}
        self._answers = {**dict.fromkeys(_QUESTIONS, ""), **hidden}
        self._options = options
        self.servers: dict[str, Terminal] = {}
        """The programs that run, by their command."""
        self.effort = 0
        """The number of commands and answers until now."""

    def console(self, block: str, status: int = 0) -> None:
        """Type the commands of a block and compare what they print. The last one ends with `status`."""
        commands = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
        for number, each in enumerate(commands, 1):
            command, _, printed = each.replace("\\\n", "").partition("\n")
            self.effort += 1
            name = " ".join(command.split()[1:2])
            terminal = Terminal(f"{command} {self._options.get(name, '')}", self._home, self._names)
            if name in self._options:
                self.servers[name] = terminal
            try:
                self.effort += terminal.follow(printed, self._answers)
                if name not in self._options:
                    rest, ended = terminal.end()
                    assert ended == (status if number == len(commands) else 0), f"{command}: status {ended}, {rest}"
                    whole = printed.strip() and not printed.rstrip().endswith(f"\n{ANYTHING}")
                    assert not (whole and rest.strip()), f"{command}: also {rest}"
            finally:
                if name not in self._options:
                    terminal.kill()

    def text(self, server: str, block: str) -> None:
        """Compare what a server printed since the last block."""
        self.servers[server].follow(block, {})

    def stop(self, server: str) -> str:
        """End a server as Ctrl-C does. Return what it printed since the last block."""
        terminal = self.servers.pop(server)
        terminal.interrupt()
        rest, _ = terminal.end()
        return rest

    def close(self) -> None:
        """End everything that still runs."""
        for terminal in self.servers.values():
            terminal.kill()


@contextlib.contextmanager
def free_host(*ports: int) -> Iterator[str]:
    """Reserve an address of this machine as long as 127.0.0.1, on which these ports are free."""
    hosts = (".".join(("127", *str(number))) for number in range(111, 1000))
    with _reserved(hosts, ("",), ports) as host:
        yield host


@contextlib.contextmanager
def free_network(*ports: int) -> Iterator[str]:
    """Reserve the beginning of addresses of this machine, as long as 192.168.1., on which these ports are free."""
    networks = (f"127.{second}.{third}." for second in range(100, 256) for third in range(1, 10))
    with _reserved(networks, ("20", "40", "50", "60"), ports) as network:
        yield network


@contextlib.contextmanager
def _reserved(beginnings: Iterator[str], ends: tuple[str, ...], ports: tuple[int, ...]) -> Iterator[str]:
    """Yield the first beginning that no other test uses. A port of it is bound until the end, as a lock."""
    for beginning in beginnings:
        with socket.socket() as lock:
            try:
                lock.bind((beginning + ends[0], _LOCK_PORT))
                for host in (beginning + end for end in ends):
                    for port in ports:
                        with socket.socket() as probe:
                            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                            probe.bind((host, port))
            except OSError:
                continue
            yield beginning
            return
    raise RuntimeError("no free address on the loopback network")


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, text.split(ANYTHING))))


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # for questions with a hidden answer, and for Ctrl-C
