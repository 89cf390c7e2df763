"""What the agent learned from the answers of an endpoint, as an object and as a note. Pure.

The note is a small file beside the queue. Each new `Sender` reads it: at the start of the daemon, and at a reload that
replaces the sender.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.config import PushConfig

# Maximum number of seqs of each kind in the note. The newest are kept.
_MOST = 1000
_NOT_SETTINGS = frozenset({"name", "formerly", "url", "token", "proxy_url"})
"""Keys of [push] that may hold a secret, or that do not change what the endpoint accepts."""


@dataclass(frozen=True, slots=True)
class AskedPause:
    """A pause that the endpoint asked for at Unix second `asked`, and that ends at Unix second `until`."""

    asked: float
    until: float

    def left_s(self, now: float) -> float:
        """Return the seconds left at Unix second `now`: at most the whole pause, even if the clock was set back."""
        return max(0.0, min(self.until - now, self.until - self.asked))


@dataclass(frozen=True, slots=True)
class Learned:
    """What was learned of one endpoint. `bool(learned)` is False if nothing was learned."""

    refused: frozenset[int] = frozenset()
    """Seqs of live messages that were refused since the last delivery of a live message."""
    parked: tuple[int, ...] = ()
    """Seqs of messages that became dead letters since the last delivery of a live message. Messages that the agent put
    back into the queue are not in it."""
    live_pause: AskedPause | None = None
    """The pause that the answer to a live message asked for; None when it is over or ended by a delivery."""
    backlog_pause: AskedPause | None = None
    """The pause that the answer to a message of the backlog asked for; None when it is over."""

    def __bool__(self) -> bool:
        return self != Learned()


def fingerprint(config: PushConfig, agent: str) -> str:
    """Return a hash of the settings of the endpoint and of `agent`, the agent's name and version.

    The hash includes scheme, host, port and path of `url`. It includes nothing else of the keys in `_NOT_SETTINGS`, so
    it contains no secret.
    """
    settings = {key: value for key, value in config.as_dict().items() if key not in _NOT_SETTINGS}
    return hashlib.sha256(f"{agent} {config.shown_url} {json.dumps(settings, default=str)}".encode()).hexdigest()


def encoded(learned: Learned, key: str) -> bytes:
    """Return the content of the note; empty if nothing was learned. `key` is the result of `fingerprint`."""
    if not learned:
        return b""
    return json.dumps(
        {
            "key": key,
            "refused": sorted(learned.refused)[-_MOST:],
            "parked": learned.parked[-_MOST:],
            "live_pause": learned.live_pause and asdict(learned.live_pause),
            "backlog_pause": learned.backlog_pause and asdict(learned.backlog_pause),
        }
    ).encode()


def parsed(note: bytes, key: str) -> Learned:
    """Return what a note contains; empty if the note is damaged, or has another key than `key`."""
    try:
        found: dict[str, Any] = json.loads(note)
        if found["key"] != key:
            return Learned()
        return Learned(
            frozenset(map(int, found["refused"])),
            tuple(map(int, found["parked"])),
            _pause(found["live_pause"]),
            _pause(found["backlog_pause"]),
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return Learned()


def _pause(found: dict[str, float] | None) -> AskedPause | None:
    return None if found is None else AskedPause(float(found["asked"]), float(found["until"]))
