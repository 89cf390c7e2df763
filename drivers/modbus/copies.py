"""Recognises copies of replies on a line, where frames have no transaction number. Pure.

Some gateways send each reply twice, and the copy may arrive after the next request. If the copy has the unit, function
and length of the next reply, only its content shows that it is a copy: it is equal to an earlier reply. But a real
reply can also be equal to an earlier reply, for example if both contain only zeros.

So a frame that is equal to an earlier reply to another request is checked before it is used:

- If another frame follows within the timeout, that frame is the reply, and the first frame was a copy.
- If no other frame follows, the link waits until no copy can arrive any more, and sends the request again. If the new
  reply is equal to the first frame, that frame was no copy. Otherwise it was a copy.

A check costs time, so the checks end when they find no copies. Then equal replies are accepted at once:

- On a line without copies, one check is enough.
- On a line where a copy was seen, `_CHECKS_WITH_COPIES` checks in a row must find no copy.
- If at least `_SHORTEST` bytes arrive while no request waits for a reply, at least one more check is needed: they may
  be the reply, if a copy was accepted instead.

A frame that is equal to an earlier reply to the same request is checked only on a line where a copy was seen. On other
lines, it is used at once, because two reads of the same registers usually have equal replies.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from drivers.errors import BadReplyError, DriverError, RepeatedReplyError
from drivers.modbus.pdu import RequestPdu

_EARLIER = 32
"""Maximum number of earlier replies that a frame is compared with. Fewer replies than this arrive between a reply and
its copy."""
_CHECKS_WITH_COPIES = 3
_SHORTEST = 5
"""Bytes of the shortest reply: an exception reply in RTU."""


class Frame(NamedTuple):
    """A complete frame that may be a reply."""

    wire: bytes
    """The frame as it was received, with its checksum."""
    pdu: bytes
    """Function code and data."""


@dataclass(frozen=True, slots=True)
class _Earlier:
    wire: bytes
    request_key: tuple[int, bytes]
    """Unit id and request."""
    until: float
    """Loop time after which no copy of this reply can arrive."""


class Copies:
    """The earlier replies on one line, and what is known about copies on this line."""

    def __init__(self) -> None:
        self._earlier: deque[_Earlier] = deque(maxlen=_EARLIER)
        self._equal_replies_to_check = 1
        """How many equal replies must still be checked. At 0, equal replies are accepted at once."""
        self._seen = False
        """Whether a copy was seen on this line."""
        self._rejected: tuple[tuple[int, bytes], bytes] | None = None
        """The request that is sent again next, and the frame that was not used as its reply. None if no request is
        sent again."""
        self._in_doubt: bytes = b""
        """The frame that was not used, while its request is sent for the second time; otherwise empty."""

    def connected(self) -> None:
        """Forget the earlier replies, because their copies cannot arrive on a new connection."""
        self._earlier.clear()
        self._rejected = None
        self._in_doubt = b""

    def begin(self, request: RequestPdu[object]) -> None:
        """Call this before a request is sent. Only the next request can show whether a rejected frame was a copy."""
        rejected, self._rejected = self._rejected, None
        self._in_doubt = rejected[1] if rejected and rejected[0] == _request_key(request) else b""

    def reply(
        self, request: RequestPdu[object], frames: Iterable[Frame], received: bytes, at: float, until: float
    ) -> Frame | None:
        """Return the frame that is the reply; None if there is no frame, or if every frame may be a copy.

        `received` has the bytes that arrived until loop time `at`, and `frames` the frames in them. A copy of the reply
        can arrive until loop time `until`.
        """
        copies = [each for each in self._earlier if each.until > at]
        aside: list[_Earlier] = []
        for frame in frames:
            copy = next((each for each in copies if self._may_be_copy(each, request, frame)), None)
            if copy is None:
                self._remove(aside)
                self._settle_doubt(frame)
                if received.count(frame.wire) > 1 + sum(each.wire == frame.wire for each in aside):
                    self._saw_copy()  # the reply and its copy arrived together
                else:
                    self._earlier.append(_Earlier(frame.wire, _request_key(request), until))
                return frame
            copies.remove(copy)
            aside.append(copy)
        return None

    def unsolicited(self, received: bytes) -> None:
        """Handle bytes that arrived while no request waited for a reply.

        An earlier reply is forgotten if the bytes contain its copy, because no second copy is expected.
        """
        if len(received) >= _SHORTEST:
            self._equal_replies_to_check = max(self._equal_replies_to_check, 1)
        self._remove([each for each in self._earlier if each.wire in received])

    def rejected(self, request: RequestPdu[object], frames: Iterable[Frame]) -> BadReplyError | None:
        """Return an error if one of `frames` fits the request; otherwise None.

        Call this at the timeout, if every call of `reply` for this request returned None. A frame that fits is then
        equal to an earlier reply. At this error, the link waits and sends the request again.
        """
        doubtful = next((frame for frame in frames if _fits(request, frame)), None)
        if doubtful is None:
            return None
        self._rejected = _request_key(request), doubtful.wire
        self._earlier.clear()
        return RepeatedReplyError(f"{request}: the reply may be a copy: it is equal to an earlier reply")

    def _may_be_copy(self, earlier: _Earlier, request: RequestPdu[object], frame: Frame) -> bool:
        if earlier.wire != frame.wire:
            return False
        if not _fits(request, frame):
            return True
        return self._equal_replies_to_check > 0 and (self._seen or earlier.request_key != _request_key(request))

    def _settle_doubt(self, frame: Frame) -> None:
        """Compare the accepted `frame` with the frame in doubt. If they differ, the frame in doubt was a copy."""
        if frame.wire == self._in_doubt:
            self._equal_replies_to_check -= 1
        elif self._in_doubt:
            self._saw_copy()
        self._in_doubt = b""

    def _remove(self, copies: list[_Earlier]) -> None:
        """Forget the replies whose copy has arrived."""
        for each in copies:
            self._earlier.remove(each)
            self._saw_copy()

    def _saw_copy(self) -> None:
        self._seen = True
        self._equal_replies_to_check = _CHECKS_WITH_COPIES


def _request_key(request: RequestPdu[object]) -> tuple[int, bytes]:
    return request.unit_id, request.pdu


def _fits(request: RequestPdu[object], frame: Frame) -> bool:
    try:
        request.decode(frame.pdu)
    except BadReplyError:
        return False
    except DriverError:
        pass  # an exception reply with the function code of the request
    return True
