"""Makes the text of a peer safe for logs and status: printable, short, and without secrets. Pure.

A peer may quote what the agent sent: the token, the query of the URL, the password of a proxy. The quote may be
escaped, in base64 or in pieces. So the text and the secrets are converted to the same form: escapes are resolved, and
only lower-case letters and digits are kept. If the text then has `RUN` characters of a secret in a row, no part of it
is shown.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from agent.runtime import printable

RUN = 6
"""A text that contains this many characters of a secret in a row is not shown."""
MOST_SHOWN = 200
"""Characters of a peer's text that are shown."""
WITHHELD = "[not shown: it contains a secret]"

_SHORTEST = 4
# Characters of a peer's text that are searched for secrets. If one of them belongs to a secret, no text is shown.
_READ = 4096
_KEPT_SECRETS = 16
# Escapes may be nested, as in \u0025\u0032\u0046.
_ROUNDS = 4
_NUMBERED = re.compile(r"(?:\\+|%)u\{?([0-9a-fA-F]{4,6})\}?|\\+x([0-9a-fA-F]{2})")
_BETWEEN = re.compile(r"[\\\s\0]+")
_NOT_KEPT = re.compile(r"[^a-z0-9]+")


class Secrets:
    """The secrets that a peer knows. `quoted` returns a text of the peer without them."""

    def __init__(self) -> None:
        self._kept: list[frozenset[str]] = []
        self._marks: dict[str | bytes, frozenset[str]] = {}
        """The secrets that may be rotated, the newest last."""

    def __repr__(self) -> str:
        return "Secrets(hidden)"

    def keep(self, secret: str) -> None:
        """Add a secret that is not rotated, and is never forgotten. A text of less than 4 characters is ignored."""
        if len(secret) >= _SHORTEST:
            self._kept.append(frozenset(_marks(secret)))

    def learn(self, *secrets: str | bytes) -> None:
        """Add secrets that may be rotated. Texts of less than 4 characters are ignored.

        Of more than 16, those are forgotten that were not learned for the longest time.
        """
        for secret in secrets:
            if len(secret) >= _SHORTEST:
                self._marks[secret] = self._marks.pop(secret, frozenset()) or frozenset(_marks(secret))
        while len(self._marks) > _KEPT_SECRETS:
            del self._marks[next(iter(self._marks))]

    def keep_query(self, url: str) -> None:
        """Keep the values in the query of a URL. Values of less than `RUN` characters are options, such as json."""
        for part in urlsplit(url).query.split("&"):
            name, equals, value = part.partition("=")
            if len(text := value if equals else name) >= RUN:
                self.keep(text)

    def quoted(self, text: str | bytes) -> str:
        """Return the beginning of `text` on one line, or `WITHHELD` if a secret is in it."""
        read = text[:_READ].decode("utf-8", "replace") if isinstance(text, bytes) else text[:_READ]
        if self._appear_in(read):
            return WITHHELD
        return printable(read[:MOST_SHOWN].strip(), MOST_SHOWN)

    def _appear_in(self, text: str) -> bool:
        forms = {form for each in _resolved(text) for form in (_joined(each), _reduced(each))}
        known = (*self._kept, *self._marks.values())
        return any(mark in form for marks in known for mark in marks for form in forms)


def _marks(secret: str | bytes) -> Iterator[str]:
    """Yield the texts that reveal the secret: all runs of its forms, and the whole secret, which may have no letter."""
    data = secret.encode() if isinstance(secret, str) else secret
    for each in _resolved(data.decode("utf-8", "replace")):
        if len(joined := _joined(each)) >= _SHORTEST:
            yield joined
        yield from _runs(_reduced(each), RUN)
    for offset in range(3):
        yield from _runs(_reduced(_base64_core(data, offset)), RUN * 4 // 3)
    yield from _runs(data.hex(), RUN * 2)


def _runs(text: str, length: int) -> Iterator[str]:
    """Yield all runs of this length. A shorter text is one run."""
    if len(text) >= _SHORTEST:
        yield from (text[at : at + length] for at in range(max(1, len(text) - length + 1)))


def _base64_core(data: bytes, offset: int) -> str:
    """Return the base64 characters that depend only on `data`, if `offset` other bytes precede it."""
    text = b64encode(bytes(offset) + data).decode("ascii")
    return text[(offset * 8 + 5) // 6 : (offset + len(data)) * 8 // 6]


def _resolved(text: str) -> list[str]:
    """Return the text, then the text after each round of resolving its percent, HTML, JSON and C escapes."""
    forms = [text]
    for _ in range(_ROUNDS):
        plain = unquote(_NUMBERED.sub(_numbered, forms[-1]))
        if "&" in plain:
            import html  # 0.5 MB: most peers quote no HTML

            plain = html.unescape(plain)
        if plain == forms[-1]:
            break
        forms.append(plain)
    return forms


def _numbered(match: re.Match[str]) -> str:
    number = int(match[1] or match[2], 16)
    return chr(number) if number <= 0x10FFFF else match[0]


def _joined(text: str) -> str:
    """Return the text in lower case, without white space and backslashes. For secrets with few letters."""
    return _BETWEEN.sub("", text.lower())


def _reduced(text: str) -> str:
    return _NOT_KEPT.sub("", text.lower())
