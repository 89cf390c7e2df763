"""Hides the secrets of a URL for logs and error texts. Pure."""

from __future__ import annotations

import re


def without_secrets(url: str) -> str:
    """Return `url` with `…` instead of user, password, query and fragment. `url` can be any text.

    A wrong URL can have any character in its password, such as `/` or a blank. So everything before the last `@` is
    hidden. If an `@` follows a `?` or `#`, it can belong to the password or to the query: only the scheme is shown.
    """
    scheme, slashes, after = url.partition("://")
    if not scheme.isalnum():
        scheme, slashes, after = "", "", url
    place = re.split("[?#]", after, maxsplit=1)[0]
    rest = after[len(place) :]
    if "@" in rest:
        return f"{scheme}{slashes}…"
    _, at, host_and_path = place.rpartition("@")
    return f"{scheme}{slashes}{'…@' if at else ''}{host_and_path}{f'{rest[0]}…' if rest else ''}"
