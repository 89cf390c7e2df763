"""Standard Webhooks signatures, as a receiver checks them. Pure.

Source: the Standard Webhooks specification, 1.0. Written apart from the sender's half, so that each tests the other.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping

# What the specification proposes; a replayed message is older, a site's clock is rarely worse.
TOLERANCE_S = 300.0
_SECONDS = re.compile("[0-9]{1,11}")


def problem(secrets: str, headers: Mapping[str, str], body: bytes, now: float) -> str | None:
    """What is wrong with the signature of a POST; None when it is good.

    `secrets` holds one or more `whsec_<base64>`, divided by blanks or lines: all are accepted, so that keys can be
    rotated. `headers` by lower-case name, `body` is the JSON, inflated where it came
    compressed, `now` is in Unix seconds.
    """
    given = headers.get("webhook-signature", "")
    at = headers.get("webhook-timestamp", "")
    if not given or not at:
        return "webhook-timestamp or webhook-signature is missing; is push.signing_secret_file set?"
    if not _SECONDS.fullmatch(at):
        return "webhook-timestamp must be whole Unix seconds"
    signed = f"{headers.get('webhook-id', '')}.{at}.".encode() + body
    expected = [_signature(secret, signed) for secret in secrets.split()]
    # Every pair is compared, however many match: the time it takes says nothing.
    matches = [hmac.compare_digest(one, other) for one in expected for other in _v1(given)]
    if not any(matches):
        return "webhook-signature does not match; the signing secrets differ, or the body was changed on its way"
    off = int(at) - now
    if abs(off) > TOLERANCE_S:
        return f"webhook-timestamp is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} this clock"
    return None


def _v1(header: str) -> list[bytes]:
    """The signatures of version 1; others may stand beside them."""
    pairs = (part.partition(",") for part in header.split())
    return [signature.encode() for version, _, signature in pairs if version == "v1"]


def _signature(secret: str, signed: bytes) -> bytes:
    key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
