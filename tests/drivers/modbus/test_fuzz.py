"""Mutated reply frames, through the function that asyncio calls: never a crash, never a wrong value taken as good.

For TCP the oracle is exact: content has no checksum, so only what surrounds it is mutated, and nothing but the
unchanged frame may be accepted. For RTU and ASCII everything is mutated; random damage passes a CRC-16 with
2^-16 and an LRC with 2^-8 per candidate, which bounds how many wrong values may pass.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator

import pytest

from drivers.errors import DriverError
from drivers.modbus.framer import Ascii, Framing, Mbap, Rtu
from drivers.modbus.pdu import ReadRequest
from drivers.modbus.transport import Transport
from drivers.model import Table
from tests.faults import framing as device

FRAMES = 35_000
"""Per framing: 105,000 in all."""
Mutate = Callable[[random.Random, bytes], list[bytes]]


class _Wire(asyncio.Transport):
    """A transport whose other end is the test."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent = bytes(data)

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted


def _chop(rng: random.Random, frame: bytes) -> list[bytes]:
    """In one piece, mostly, or in several."""
    if rng.random() < 0.7 or len(frame) < 2:
        return [frame]
    cut = rng.randrange(1, len(frame))
    return [frame[:cut], frame[cut:]]


def _damage(rng: random.Random, frame: bytes, end: int) -> bytes:
    """One to four changes among the first `end` bytes."""
    damaged = bytearray(frame)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(min(end, len(damaged)) or 1)
        match rng.randrange(5):
            case 0:
                damaged[place : place + 1] = bytes((rng.randrange(256),))
            case 1:
                damaged[place : place + 1] = bytes((damaged[place] ^ 1 << rng.randrange(8),)) if damaged else b""
            case 2:
                del damaged[place : place + rng.randint(1, 3)]
            case 3:
                damaged[place:place] = rng.randbytes(rng.randint(1, 3))
            case 4:
                damaged = damaged[: rng.randrange(len(damaged) + 1)] or bytearray(b"\x00")
    return bytes(damaged)


def _around_the_content(rng: random.Random, frame: bytes) -> list[bytes]:
    """Header, function code, byte count, length; the registers themselves stay."""
    match rng.randrange(4):
        case 0:
            return _chop(rng, frame + rng.randbytes(rng.randint(1, 20)))
        case 1:
            return _chop(rng, frame[: rng.randrange(len(frame))])
        case 2:
            place = rng.randrange(9)
            return _chop(rng, frame[:place] + bytes((rng.randrange(256),)) + frame[place + 1 :])
    header = bytearray(frame[:9])
    for place in rng.sample(range(9), rng.randint(2, 4)):
        header[place] = rng.randrange(256)
    return _chop(rng, bytes(header) + frame[9:])


def _anything(rng: random.Random, frame: bytes) -> list[bytes]:
    return _chop(rng, _damage(rng, frame, len(frame)))


def _cases(
    rng: random.Random, framing: device.Framing, mutate: Mutate
) -> Iterator[tuple[ReadRequest, bytes, list[bytes]]]:
    """A request, the whole frame of its true reply, and what arrives instead."""
    for number in range(FRAMES):
        count = rng.randint(1, 12)
        request = ReadRequest(rng.randrange(256), Table.HOLDING, rng.randrange(0xFF00), count, number % 0xFFFF + 1)
        pdu = bytes((3, 2 * count)) + rng.randbytes(2 * count)
        frame = framing.build(device.Query(request.unit_id, pdu, request.transaction))
        yield request, frame, mutate(rng, frame)


@pytest.mark.parametrize(
    ("framing", "other_side", "mutate", "may_pass"),
    [
        (Mbap(), device.Mbap(), _around_the_content, 0),
        # 35,000 / 2^16 = 0.5 and 35,000 / 2^8 = 137, had every damaged frame kept its header and end; most have not.
        (Rtu(), device.Rtu(), _anything, 1),
        (Ascii(), device.Ascii(), _anything, 20),
    ],
    ids=["mbap", "rtu", "ascii"],
)
async def test_mutated_replies(framing: Framing, other_side: device.Framing, mutate: Mutate, may_pass: int) -> None:
    rng = random.Random(20)
    accepted = refused = wrong = 0
    for request, frame, pieces in _cases(rng, other_side, mutate):
        channel = Transport(framing, "fuzz")
        channel.connection_made(wire := _Wire())
        exchange = channel.exchange(request, 60.0)
        waiting_for = exchange.send(None)  # as the event loop would: runs until it waits for the reply
        assert wire.sent
        for piece in pieces:
            channel.data_received(piece)
        if waiting_for is not None and not waiting_for.done():
            exchange.close()
            refused += 1
            continue
        try:
            exchange.send(None)
        except StopIteration as stop:
            accepted += 1
            unchanged = b"".join(pieces).startswith(frame)
            wrong += not unchanged if isinstance(framing, Mbap) else stop.value != framing.accept(request, frame)
        except DriverError:
            refused += 1
    assert accepted + refused == FRAMES
    assert refused > FRAMES * 0.8
    assert wrong <= may_pass
