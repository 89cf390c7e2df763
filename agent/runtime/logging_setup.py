"""Sets up structlog: priorities for journald, colours on a terminal, JSON on request. Limits the logs of libraries."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from agent.runtime.log_dedup import RepeatLimiter
from agent.runtime.printable import MOST, printable, shortened

Format = Literal["auto", "console", "json"]

# <priority> as journald reads it from standard error (sd-daemon(3)).
_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}

# The code that calls these libraries reports the same errors itself. So without `level = "debug"`, only their critical
# records are shown.
_NOISY = ("httpcore.connection", "asyncio")
# These libraries log whole URLs and headers of replies, which may contain a secret. Only their critical records are
# shown. `httpcore.connection` logs neither, so it is in `_NOISY`.
_INDISCREET = ("httpx", "httpcore")


def configure(level: str, format: Format = "auto", stream: TextIO | None = None) -> None:  # noqa: A002 - the key's name
    """Write events of `level` and above to `stream`; None means standard error.

    Warnings and errors of libraries become events. `_NOISY` and `_INDISCREET` are libraries with other levels.
    """
    out = stream if stream is not None else sys.stderr
    number = getattr(logging, level.upper())
    # A reload keeps the RepeatLimiter, because a new one would log repeated events again.
    limiters = [each for each in structlog.get_config()["processors"] if isinstance(each, RepeatLimiter)]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        limiters[0] if limiters else RepeatLimiter(),
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        _bounded,
    ]
    structlog.configure(
        processors=[*shared, *_renderers(format, out)],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _LossyStream(out))),
        cache_logger_on_first_use=False,
    )
    handler = _LibraryHandler()
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in _INDISCREET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.DEBUG if number <= logging.DEBUG else logging.CRITICAL)


def _renderers(format: Format, out: TextIO) -> list[Processor]:  # noqa: A002 - as above
    if format == "json":
        return [structlog.processors.TimeStamper(fmt="iso", utc=True), structlog.processors.JSONRenderer()]
    if format == "auto" and "JOURNAL_STREAM" in os.environ:
        return [structlog.processors.KeyValueRenderer(key_order=["event"], drop_missing=True), _PriorityPrefix()]
    return [
        _escaped,
        structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S%z", utc=False),
        # The first argument is given by position, because its name differs between versions of structlog.
        # `format_exc_info` has already formatted the tracebacks. With a formatter other than `plain_traceback`,
        # structlog would warn about this.
        structlog.dev.ConsoleRenderer(24, colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback),
    ]


_TRACES = ("exception", "where")
"""The fields with a traceback."""
_MOST_TRACE = 20_000
"""Largest number of characters of a traceback."""


def _bounded(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Shorten long texts, so that texts of devices, peers and files cannot fill the log."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = shortened(value, _MOST_TRACE if key in _TRACES else MOST)
    return event


def _escaped(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape the values for the terminal. The renderers for JSON and journald escape values themselves."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            lines = value.split("\n") if key in _TRACES else [value]
            event[key] = "\n".join(map(printable, lines))
    return event


class _LossyStream:
    """A stream that ignores errors. If the disk is full or the stream is closed, the text is not written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


class _PriorityPrefix:
    """Adds the priority for journald to each line. journald itself adds the time."""

    def __call__(self, _logger: WrappedLogger, method: str, rendered: Any) -> str:
        prefix = f"<{_PRIORITY.get(method, 6)}>"
        return "\n".join(prefix + line for line in str(rendered).splitlines())


class _LibraryHandler(logging.Handler):
    """Turns log records of libraries into events."""

    def emit(self, record: logging.LogRecord) -> None:
        event: EventDict = {"library": record.name, "message": record.getMessage()}
        method = "error" if record.levelno >= logging.ERROR else record.levelname.lower()
        getattr(structlog.get_logger(), method, structlog.get_logger().info)("library_log", **event)
