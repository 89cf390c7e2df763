"""The result of an attempt, and what to do with the message. Pure.

- `Delivered` acknowledges the message. The message leaves the queue.
- `Refused` is about this message alone. After `push.retry.dead_letter_after` refusals, the message becomes a dead
  letter.
- `Retry` and `Misconfigured` are about the endpoint, the network or the agent. The message stays in the queue with the
  same bytes.
- `Stopped` means that no attempt was made: the sender stops, or the message already has an attempt in progress.

`label` is the public name of an outcome in metrics, status and `DeliveryStats.recent`. `kind` is a more exact name for
the counters of failures, such as `http_503`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Delivered:
    """2xx: the endpoint has the message."""

    label: ClassVar[str] = "delivered"

    status: int
    page: bool = False
    """Whether the answer is a web page. It may come from a login portal instead of the endpoint."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The endpoint does not accept this message. It may accept other messages."""

    label: ClassVar[str] = "refused"

    status: int
    reason: str
    again_s: float | None = 0.0
    """Seconds until the next attempt of this message; None for a dead letter."""

    @property
    def kind(self) -> str:
        return f"http_{self.status}"


@dataclass(frozen=True, slots=True)
class Retry:
    """The message is sent again later.

    The endpoint did not answer or does not accept messages at the moment, or the agent cannot make the request.
    """

    label: ClassVar[str] = "retry"

    reason: str
    kind: str
    """One word for counters: `http_` and the status, `timeout`, `dns`, `tls`, `connect`, `broken` or `local`."""
    after_s: float | None = None
    """Pause in seconds that the endpoint asks for in Retry-After; None without a valid Retry-After."""
    again_s: float = 0.0
    """Seconds until the next attempt."""

    @property
    def cause(self) -> str:
        """A text that is equal for failures with the same cause, so that the log reports each cause once per outage.

        It does not contain the endpoint's text or the time of day, because these can be different each time.
        """
        return self.kind if self.answered or self.kind == "tls" else self.reason

    @property
    def answered(self) -> bool:
        """Whether the endpoint or a proxy sent a status."""
        return self.kind.startswith("http_")

    @property
    def reached(self) -> bool:
        """Whether the message may have reached the endpoint, so that it can be the cause of the failure."""
        return self.kind not in ("dns", "tls", "connect", "local")


@dataclass(frozen=True, slots=True)
class Misconfigured:
    """The endpoint accepts no message until the URL, the token, the proxy or the endpoint's schema is corrected.

    `OutcomeHandler` concludes that the schema is wrong if the endpoint refuses several different messages.
    """

    label: ClassVar[str] = "misconfigured"

    status: int
    reason: str
    again_s: float = 0.0

    @property
    def kind(self) -> str:
        return f"http_{self.status}"

    @property
    def cause(self) -> str:
        """See `Retry.cause`."""
        return self.kind


@dataclass(frozen=True, slots=True)
class Stopped:
    """No attempt was made."""

    label: ClassVar[str] = "stopped"


Outcome = Delivered | Refused | Retry | Misconfigured | Stopped

LABELS = (Delivered.label, Refused.label, Retry.label, Misconfigured.label)
"""The labels of attempts that were made."""
