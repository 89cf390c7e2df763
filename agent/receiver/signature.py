"""Checks Standard Webhooks signatures in a receiver. Pure.

Source: the Standard Webhooks specification, 1.0. This module and `agent.security.signing` of the sender share no code,
so that each of them tests the other.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping

# Largest difference in seconds between `webhook-timestamp` and the clock of the receiver, as in the official libraries.
# An attacker can repeat a signed message only within this time. The clock of a site is rarely off by more.
TOLERANCE_S = 300.0
_SECONDS = re.compile("[0-9]{1,11}")


def problem(secrets: str, headers: Mapping[str, str], body: bytes, now: float) -> str | None:
    """Return the problem with the signature of a POST; None if it is valid.

    `secrets` contains one or more `whsec_<base64>`, separated by white space; the prefix may be absent. A signature
    with any of them is accepted, so that a secret can be rotated. `headers` have lower-case names. `body` is the
    decompressed JSON. `now` is in Unix seconds. Raises ValueError if a secret is not base64.
    """
    given = headers.get("webhook-signature", "")
    at = headers.get("webhook-timestamp", "")
    if not given or not at:
        return "webhook-timestamp or webhook-signature is missing; is push.signing_secret_file set?"
    if not _SECONDS.fullmatch(at):
        return "webhook-timestamp must be whole Unix seconds"
    signed = f"{headers.get('webhook-id', '')}.{at}.".encode() + body
    expected = [_signature(secret, signed) for secret in secrets.split()]
    # Every pair is compared, even after a match, so that the duration reveals nothing.
    matches = [hmac.compare_digest(one, other) for one in expected for other in _v1(given)]
    if not any(matches):
        return "webhook-signature does not match; the signing secrets differ, or the body was changed in transit"
    off = int(at) - now
    if abs(off) > TOLERANCE_S:
        return f"webhook-timestamp is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} this clock"
    return None


def _v1(header: str) -> list[bytes]:
    """Return the signatures of version 1 in the header `webhook-signature`, which can also have other versions."""
    pairs = (part.partition(",") for part in header.split())
    return [signature.encode() for version, _, signature in pairs if version == "v1"]


def _signature(secret: str, signed: bytes) -> bytes:
    key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
