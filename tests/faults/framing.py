"""Modbus framing in the device. It shares no code with the code under test."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Query(NamedTuple):
    """A request, or a reply, without its framing."""

    unit_id: int
    pdu: bytes
    transaction: int = 0


class Framing(Protocol):
    def split(self, received: bytes) -> tuple[list[Query], bytes]:
        """Return the complete requests and the remaining bytes."""
        ...

    def build(self, reply: Query, protocol: int = 0) -> bytes: ...


class Mbap:
    def split(self, received: bytes) -> tuple[list[Query], bytes]:
        queries = []
        while len(received) >= 6 and len(received) >= (end := 6 + int.from_bytes(received[4:6], "big")):
            if end > 7:
                queries.append(Query(received[6], received[7:end], int.from_bytes(received[:2], "big")))
            received = received[end:]
        return queries, received

    def build(self, reply: Query, protocol: int = 0) -> bytes:
        header = (reply.transaction, protocol, len(reply.pdu) + 1)
        return b"".join(word.to_bytes(2, "big") for word in header) + bytes((reply.unit_id,)) + reply.pdu


class Rtu:
    """A read request has eight bytes. A request for the device identification has seven bytes."""

    def split(self, received: bytes) -> tuple[list[Query], bytes]:
        queries = []
        while len(received) >= (size := 7 if received[1:2] == b"\x2b" else 8):
            frame, received = received[:size], received[size:]
            if crc(frame[:-2]) == frame[-2:]:
                queries.append(Query(frame[0], frame[1:-2]))
        return queries, received

    def build(self, reply: Query, protocol: int = 0) -> bytes:
        frame = bytes((reply.unit_id,)) + reply.pdu
        return frame + crc(frame)


class Ascii:
    def split(self, received: bytes) -> tuple[list[Query], bytes]:
        *lines, rest = received.split(b"\r\n")
        frames = [bytes.fromhex(line.decode().removeprefix(":")) for line in lines]
        return [Query(frame[0], frame[1:-1]) for frame in frames if sum(frame) % 256 == 0], rest

    def build(self, reply: Query, protocol: int = 0) -> bytes:
        frame = bytes((reply.unit_id,)) + reply.pdu
        return f":{frame.hex().upper()}{-sum(frame) % 256:02X}\r\n".encode()


def crc(frame: bytes) -> bytes:
    """Return the CRC-16 of Modbus, low byte first."""
    register = 0xFFFF
    for byte in frame:
        register = register >> 8 ^ _SHIFTED[(register ^ byte) & 0xFF]
    return register.to_bytes(2, "little")


def _shifted(register: int) -> int:
    """Shift the register by eight bits, as in the specification."""
    for _ in range(8):
        register = register >> 1 ^ (0xA001 if register & 1 else 0)
    return register


_SHIFTED = [_shifted(byte) for byte in range(256)]


FRAMINGS: dict[str, type[Framing]] = {
    "tcp": Mbap,
    "udp": Mbap,
    "tls": Mbap,
    "rtu": Rtu,
    "rtu_over_tcp": Rtu,
    "ascii": Ascii,
    "ascii_over_tcp": Ascii,
}
