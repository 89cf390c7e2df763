"""Makes the text of a peer safe for logs and status: printable, short, and without secrets. Pure.

A peer may quote what the agent sent: the token, the query of the URL, the password of a proxy. The quote may be
escaped, in base64, in hex digits or in pieces. If the text contains a fragment of a secret, no part of the text is
shown. Each of these is a fragment:

- the whole secret,
- `RUN` letters and digits of the secret in a row, or all of them if there are fewer,
- the base64 or the hex digits of `RUN` bytes of the secret in a row, or of all bytes if there are fewer.

A fragment of fewer than 4 characters does not count.

The comparison ignores case and resolves escapes, in the text and in the secret. It uses two forms of each: one with
letters and digits only, and one without white space, backslashes and NUL.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from agent.runtime import printable

RUN = 6
MOST_SHOWN = 200
WITHHELD = "[not shown: it contains a secret]"

# A text with fewer characters is not treated as a secret, because many texts contain it by chance.
_SHORTEST = 4
# Only this many characters (or bytes) of a peer's text are searched for secrets. The rest is never shown.
_READ = 4096
# Maximum number of secrets that `learn` remembers.
_KEPT_SECRETS = 16
# Maximum rounds that resolve escapes. Escapes may be nested, as in \u0025\u0032\u0046.
_ROUNDS = 4
_NUMBERED = re.compile(r"(?:\\+|%)u\{?([0-9a-fA-F]{4,6})\}?|\\+x([0-9a-fA-F]{2})")
_BETWEEN = re.compile(r"[\\\s\0]+")
_NOT_KEPT = re.compile(r"[^a-z0-9]+")


class Secrets:
    """The secrets that a peer knows. `quoted` makes a text of the peer safe."""

    def __init__(self) -> None:
        self._kept: list[frozenset[str]] = []
        """The fragments of each secret that is not rotated."""
        self._fragments: dict[str | bytes, frozenset[str]] = {}
        """Secret that may be rotated → its fragments. The secret that was learned last is the last."""

    def __repr__(self) -> str:
        return "Secrets(hidden)"

    def keep(self, secret: str) -> None:
        """Add a secret that is not rotated and is never forgotten. A text of fewer than 4 characters is ignored."""
        if len(secret) >= _SHORTEST:
            self._kept.append(frozenset(_fragments(secret)))

    def learn(self, *secrets: str | bytes) -> None:
        """Add secrets that may be rotated. Texts of fewer than 4 characters or bytes are ignored.

        Only the 16 secrets that were learned last are remembered. A secret that is learned again becomes the last.
        """
        for secret in secrets:
            if len(secret) >= _SHORTEST:
                self._fragments[secret] = self._fragments.pop(secret, frozenset()) or frozenset(_fragments(secret))
        while len(self._fragments) > _KEPT_SECRETS:
            del self._fragments[next(iter(self._fragments))]

    def keep_query(self, url: str) -> None:
        """Add the values in the query of a URL to the secrets, except values of fewer than `RUN` characters.

        Such short values are options, such as json. A part without `=` is a value.
        """
        for part in urlsplit(url).query.split("&"):
            name, equals, value = part.partition("=")
            if len(text := value if equals else name) >= RUN:
                self.keep(text)

    def quoted(self, text: str | bytes) -> str:
        """Return the beginning of `text` on one line, or `WITHHELD` if `text` contains a secret."""
        read = text[:_READ].decode("utf-8", "replace") if isinstance(text, bytes) else text[:_READ]
        if self._appear_in(read):
            return WITHHELD
        return printable(read[:MOST_SHOWN].strip(), MOST_SHOWN)

    def _appear_in(self, text: str) -> bool:
        forms = {form for each in _resolved(text) for form in (_joined(each), _reduced(each))}
        known = (*self._kept, *self._fragments.values())
        return any(fragment in form for fragments in known for fragment in fragments for form in forms)


def _fragments(secret: str | bytes) -> Iterator[str]:
    """Yield the fragments of a secret.

    The whole secret is one of them, because a secret with few letters and digits has no run.
    """
    data = secret.encode() if isinstance(secret, str) else secret
    for each in _resolved(data.decode("utf-8", "replace")):
        if len(joined := _joined(each)) >= _SHORTEST:
            yield joined
        yield from _runs(_reduced(each), RUN)
    for offset in range(3):
        yield from _runs(_reduced(_base64_core(data, offset)), RUN * 4 // 3)
    yield from _runs(data.hex(), RUN * 2)


def _runs(text: str, length: int) -> Iterator[str]:
    """Yield all substrings of this length. A shorter text is yielded whole, unless it has fewer than 4 characters."""
    if len(text) >= _SHORTEST:
        yield from (text[at : at + length] for at in range(max(1, len(text) - length + 1)))


def _base64_core(data: bytes, offset: int) -> str:
    """Return the base64 characters that depend only on `data`, if `offset` other bytes precede `data`."""
    text = b64encode(bytes(offset) + data).decode("ascii")
    return text[(offset * 8 + 5) // 6 : (offset + len(data)) * 8 // 6]


def _resolved(text: str) -> list[str]:
    """Return the text, then the text after each round that resolved its percent, HTML, JSON and C escapes."""
    forms = [text]
    for _ in range(_ROUNDS):
        plain = unquote(_NUMBERED.sub(_numbered, forms[-1]))
        if "&" in plain:
            import html  # only here, because it takes 0.5 MB of memory and most peers quote no HTML

            plain = html.unescape(plain)
        if plain == forms[-1]:
            break
        forms.append(plain)
    return forms


def _numbered(match: re.Match[str]) -> str:
    number = int(match[1] or match[2], 16)
    return chr(number) if number <= 0x10FFFF else match[0]


def _joined(text: str) -> str:
    """Return the text in lower case, without white space, backslashes and NUL."""
    return _BETWEEN.sub("", text.lower())


def _reduced(text: str) -> str:
    return _NOT_KEPT.sub("", text.lower())
