"""The questions of `init` about the site and its endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.cli.common import fail, say
from agent.commissioning import local_places
from agent.commissioning.new_site import SiteAnswers, wrong_answer
from agent.config import USABLE, usable

if TYPE_CHECKING:
    from agent.cli.questions import Questions

_INTERVAL = "60"
"""The default answer for push.interval_s, in seconds."""


@dataclass(frozen=True, slots=True)
class SiteOptions:
    """The options of `init` about the site. A value is None if its option was not given."""

    node_id: str | None
    url: str | None
    token_file: Path | None
    interval_s: int | None
    insecure_http: bool

    @property
    def given(self) -> bool:
        return self.insecure_http or any(
            option is not None for option in (self.node_id, self.url, self.token_file, self.interval_s)
        )


def answers(ask: Questions, options: SiteOptions, config: Path) -> tuple[SiteAnswers, str | None]:
    """Return the settings, and the token to write. The token is None if the token file has one already.

    A wrong option is a usage error.
    """
    if options.node_id is not None:
        _require("--site-id", _rule("site", "node_id", options.node_id))
    if options.interval_s is not None:
        _require("--interval", _rule("push", "interval_s", options.interval_s))
    node_id = options.node_id or ask.text("Site id", "--site-id", check=lambda text: _rule("site", "node_id", text))
    url, insecure = _url(ask, options)
    path = (options.token_file or config.with_name("token")).absolute()
    token = _token(ask, path)
    interval = options.interval_s or int(
        ask.text("Seconds between two messages", "--interval", _INTERVAL, _interval_rule)
    )
    return SiteAnswers(node_id, url, path, interval, local_places.timezone(), insecure), token


def _require(option: str, mistake: str | None) -> None:
    if mistake is not None:
        fail(f"{option}: {mistake}", 2)


def _rule(table: str, key: str, value: Any, **others: Any) -> str | None:
    """Return what is wrong with the value of a key; None if it can be used. `others` are further keys of the table."""
    mistake = wrong_answer({table: {key: value, **others}})
    return mistake.removeprefix(f"{table}.{key}: ") if mistake is not None else None


def _interval_rule(text: str) -> str | None:
    try:
        seconds = int(text)
    except ValueError:  # int() also refuses thousands of digits
        return "must be a whole number of seconds"
    return _rule("push", "interval_s", seconds)


def _url(ask: Questions, options: SiteOptions) -> tuple[str, bool]:
    """Return the URL of the endpoint, and whether it needs `allow_insecure_http`."""

    def insecure(url: str) -> bool:
        return _rule("push", "url", url) is not None

    def rule(url: str) -> str | None:
        return _rule("push", "url", url, allow_insecure_http=True)

    if options.url is not None:
        _require("--url", rule(options.url))
        if insecure(options.url) and not options.insecure_http:
            fail("--url: http sends the token unencrypted; use https, or give --allow-insecure-http", 2)
        return options.url, insecure(options.url)
    while True:
        url = ask.text("URL of the integrator's endpoint", "--url", check=rule)
        if not insecure(url) or options.insecure_http:
            return url, insecure(url)
        if ask.agree("http sends the token unencrypted. Use it nevertheless?", default=False):
            return url, True


def _token(ask: Questions, path: Path) -> str | None:
    """Return the token to write to `path`; None if the file has one already.

    End the command if the file cannot be read, or if its text is no token. With `--yes`, the user is not asked for a
    token, so the command also ends if the file does not exist or is empty.
    """
    try:
        there = path.read_text(encoding="utf-8-sig").strip()
    except FileNotFoundError:
        there = ""
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'it is not text'})")
    if there:
        if mistake := _token_rule(there):
            fail(f"{path}: {mistake}; correct or remove the file")
        say(f"The token is in {path} already.")
        return None
    if not ask.asks:
        fail(f"--token-file: {path} has no token; write it there first", 2)
    return ask.secret("Token of the integrator", _token_rule)


def _token_rule(text: str) -> str | None:
    return None if usable(text) else f"must be the token alone: {USABLE}"
