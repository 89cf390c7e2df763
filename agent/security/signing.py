"""Standard Webhooks signatures. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

_PREFIX = "whsec_"


def signatures(secrets: str, identity: str, at: int, body: bytes) -> str:
    """Return the value of the header `webhook-signature`: one signature per secret, so that secrets can be rotated.

    `secrets` holds one or more `whsec_<base64>`, separated by white space; the prefix may be absent. `identity` is the
    id of the message. `at` is in Unix seconds. Raises ValueError if there is no secret, or if a secret is empty or not
    base64. The error text has no secret.
    """
    keys = signing_keys(secrets)
    signed = f"{identity}.{at}.".encode() + body
    return " ".join("v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode("ascii") for key in keys)


def signing_keys(secrets: str) -> list[bytes]:
    """Return the decoded keys of `secrets`. Raises ValueError for the same reasons as `signatures`."""
    keys = [_key(secret) for secret in secrets.split()]
    if not keys:
        raise ValueError("holds no signing secret")
    return keys


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ValueError(f"a signing secret must be {_PREFIX}<base64>")
    return key
