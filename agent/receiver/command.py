"""`telemetry-agent receive`: runs the reference endpoint until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.receiver.report import Journal, json_line, summary, text_line
from agent.receiver.server import serving
from agent.receiver.validator import Validator, Verdict
from agent.security import server_context, signing_keys
from drivers.errors import unreadable


class SetupError(Exception):
    """The options cannot be used. The message says why."""


@dataclass(frozen=True, slots=True)
class ReceiveOptions:
    """The options of the command. Files are read once, at the start."""

    host: str
    port: int
    site: str | None = None
    token: str | None = None
    token_file: Path | None = None
    signing_secret_file: Path | None = None
    interval_s: float | None = None
    cert: Path | None = None
    key: Path | None = None
    save: Path | None = None


def open_validator(options: ReceiveOptions) -> tuple[Validator, Journal | None]:
    """Return a validator, and the journal of `--save`; without `--save`, None instead of the journal.

    The validator knows the messages in the journal.

    Raises SetupError if the options cannot be used, or a file cannot be read.
    """
    if (options.token is None) == (options.token_file is None):
        raise SetupError("give the token by exactly one of --token-file, --token and TELEMETRY_RECEIVER_TOKEN")
    token = options.token or _text(options.token_file)
    if not token.split():
        raise SetupError("the token is empty")
    secrets = _text(options.signing_secret_file) if options.signing_secret_file else None
    if secrets is not None:
        try:
            signing_keys(secrets)
        except ValueError as error:
            raise SetupError(f"--signing-secret-file {options.signing_secret_file}: {error}") from None
    validator = Validator(token, options.site, secrets, options.interval_s)
    if options.save is None:
        return validator, None
    try:
        journal = Journal(options.save)
    except OSError as error:
        raise SetupError(f"--save: {options.save}: {error.strerror}") from None
    for identity, message in journal.replay():
        validator.restore(identity, message)
    validator.keep = journal.keep
    return validator, journal


async def receive(options: ReceiveOptions, ready: Callable[[], None]) -> None:
    """Serve until cancelled. Raises SetupError.

    For each answered POST, one line is printed on standard output: JSON, or words if standard output is a terminal. All
    other lines go to standard error.
    """
    validator, journal = open_validator(options)
    with contextlib.ExitStack() as stack:
        if journal is not None:
            stack.callback(journal.close)
        line = text_line if sys.stdout.isatty() else json_line
        address = stack.enter_context(_listening(options, validator, line))
        _say(f"listening on {address}")
        ready()
        try:
            await asyncio.Event().wait()
        finally:
            for text in summary(validator):
                _say(text)


@contextlib.contextmanager
def _listening(
    options: ReceiveOptions, validator: Validator, line: Callable[[Verdict, Mapping[str, str], float], str]
) -> Iterator[str]:
    def report(verdict: Verdict, headers: Mapping[str, str]) -> None:
        print(line(verdict, headers, time.time()), flush=True)  # noqa: T201 - the output of the command

    with contextlib.ExitStack() as stack:
        tls = _tls(options)
        try:
            server = stack.enter_context(serving(validator, options.host, options.port, report, tls))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise SetupError(f"cannot listen on {options.host}:{options.port}: {reason}") from None
        host, port = server.server_address[:2]
        yield f"{'https' if tls else 'http'}://{host!s}:{port}/"


def _tls(options: ReceiveOptions) -> ssl.SSLContext | None:
    if options.cert is None and options.key is None:
        return None
    if options.cert is None or options.key is None:
        raise SetupError("give both --cert and --key, or none of them")
    try:
        return server_context(options.cert, options.key)
    except OSError as error:
        raise SetupError(f"--cert {options.cert}, --key {options.key}: {error.strerror or error}") from None


def _text(path: Path | None) -> str:
    try:
        return path.read_text(encoding="utf-8-sig") if path else ""
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"{path}: cannot be read ({unreadable(error)})") from None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the output of the command
