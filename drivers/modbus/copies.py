"""Recognises the second copy of a reply on a line without transaction numbers. Pure.

Some gateways send each reply twice, and the second copy may arrive after the next request. If it has the right unit,
function and length, only its content shows what it is: it is equal to an earlier reply. But a reply to the next request
can be equal too, for example if both have only zeros. Such a frame is therefore put aside:

- If another frame follows within the timeout, this frame is the reply. The frame that was put aside was a copy.
- If none follows, the request is sent again when no copy can arrive any more. If its reply is equal too, the device
  has equal registers. On a line where no copy was ever seen, equal replies are then accepted at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from drivers.errors import BadReplyError, DriverError, RepeatedReplyError
from drivers.modbus.pdu import Question

_EARLIER = 32
"""Maximum number of earlier replies that a frame is compared with. A copy is late by fewer requests."""
_LONELY = 3
"""On a line with copies, equal replies are accepted after this number of equal replies without a copy."""
_SHORTEST = 5
"""Bytes of an exception reply in RTU."""


class Frame(NamedTuple):
    """A complete frame that may be a reply."""

    wire: bytes
    """As on the wire, with its checksum."""
    pdu: bytes


@dataclass(frozen=True, slots=True)
class _Earlier:
    """An earlier reply."""

    wire: bytes
    asked: tuple[int, bytes]
    """Unit id and request."""
    until: float
    """A copy cannot arrive after this loop time."""


class Copies:
    """The copies on one line."""

    def __init__(self) -> None:
        self._earlier: deque[_Earlier] = deque(maxlen=_EARLIER)
        self._patience = 1
        """Number of equal replies without a copy, after which equal replies are accepted at once."""
        self._seen = False
        """Whether a copy was seen on this line."""
        self._in_doubt: bytes = b""
        """The frame that was put aside, while its request is sent again."""

    def connected(self) -> None:
        """Expect no copies from the previous connection."""
        self._earlier.clear()
        self._in_doubt = b""

    def reply(
        self, request: Question[object], frames: Iterable[Frame], received: bytes, at: float, until: float
    ) -> Frame | None:
        """Return the frame that is the reply, or None if there is none in the bytes `received` at loop time `at`.

        A copy of the reply can arrive until loop time `until`.
        """
        copies = [each for each in self._earlier if each.until > at]
        aside: list[_Earlier] = []
        for frame in frames:
            copy = next((each for each in copies if self._may_be_copy(each, request, frame)), None)
            if copy is None:
                self._remove(aside)
                self._ends_doubt(frame)
                if received.count(frame.wire) > 1 + sum(each.wire == frame.wire for each in aside):
                    self._saw_copy()
                else:
                    self._earlier.append(_Earlier(frame.wire, _asked(request), until))
                return frame
            copies.remove(copy)
            aside.append(copy)
        return None

    def unasked(self, received: bytes) -> None:
        """Handle bytes that arrived without a request. The copies in them are no longer expected."""
        if len(received) >= _SHORTEST:  # not only noise: it may be a reply that a copy has replaced
            self._patience = max(self._patience, 1)
        self._remove([each for each in self._earlier if each.wire in received])

    def rejected(self, request: Question[object], frames: Iterable[Frame]) -> BadReplyError | None:
        """Return an error if, within the timeout, only frames arrived that are equal to earlier replies.

        The caller sends the request again when no copy can arrive any more.
        """
        doubtful = next((frame for frame in frames if _fits(request, frame)), None)
        if doubtful is None:
            return None
        self._in_doubt = doubtful.wire
        self._earlier.clear()
        return RepeatedReplyError(f"{request}: the reply is a copy of an earlier reply")

    def _may_be_copy(self, earlier: _Earlier, request: Question[object], frame: Frame) -> bool:
        if earlier.wire != frame.wire:
            return False
        if not _fits(request, frame):
            return True
        # The same registers again usually have the same values.
        return self._patience > 0 and (self._seen or earlier.asked != _asked(request))

    def _ends_doubt(self, frame: Frame) -> None:
        if frame.wire == self._in_doubt:
            self._patience -= 1
        elif self._in_doubt:
            self._saw_copy()
        self._in_doubt = b""

    def _remove(self, copies: list[_Earlier]) -> None:
        for each in copies:
            self._earlier.remove(each)
            self._saw_copy()

    def _saw_copy(self) -> None:
        self._seen = True
        self._patience = _LONELY


def _asked(request: Question[object]) -> tuple[int, bytes]:
    return request.unit_id, request.pdu


def _fits(request: Question[object], frame: Frame) -> bool:
    try:
        request.decode(frame.pdu)
    except BadReplyError:
        return False
    except DriverError:
        pass  # an exception reply fits every request
    return True
