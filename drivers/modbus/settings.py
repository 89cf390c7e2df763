"""Where a link leads and how patient it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from os.path import realpath
from pathlib import Path

from drivers.protocol import TRANSPORTS, TransportKind, TransportName

_PATIENCE = frozenset({"timeout_s", "connect_delay_s", "request_gap_s"})


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """One endpoint. `agent.config.loader` checks what belongs together."""

    transport: TransportName = "tcp"
    host: str | None = None
    port: int = 502
    serial_port: str | None = None
    baudrate: int = 9600
    parity: str = "N"
    stop_bits: int = 1
    timeout_s: float = 1.0
    """For one reply, and for opening the connection."""
    connect_delay_s: float = 0.0
    """Silence after a connect, for devices that swallow what comes too early."""
    request_gap_s: float = 0.0
    """Silence between a reply and the next request."""
    ca_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None
    server_name: str | None = None
    """The name in the certificate of a TLS device, where that is not the host."""

    @property
    def kind(self) -> TransportKind:
        """Medium and framing."""
        return TRANSPORTS[self.transport]

    @property
    def serial(self) -> bool:
        return self.kind.serial

    @property
    def address(self) -> str:
        """Host and port, or the serial port, as messages name it."""
        if self.serial:
            return str(self.serial_port)
        return f"[{self.host}]:{self.port}" if ":" in str(self.host) else f"{self.host}:{self.port}"

    @property
    def endpoint(self) -> tuple[object, ...]:
        """Equal where two settings lead to the same place, whatever name it is called by."""
        if self.serial_port is not None:
            return "serial", realpath(self.serial_port)
        return str(self.host).lower(), self.port

    def conflicts(self, other: LinkSettings) -> Iterator[tuple[str, object, object]]:
        """What makes it impossible to share one link: key, our value, theirs."""
        for field in fields(self):
            ours, theirs = getattr(self, field.name), getattr(other, field.name)
            if ours != theirs and field.name not in _PATIENCE and field.name not in ("host", "serial_port"):
                yield field.name, ours, theirs

    @property
    def line_silence_s(self) -> float:
        """Frames on an RTU line are told apart by silence: 3.5 characters, 1.75 ms from 19200 baud up."""
        return max(3.5 * 11 / self.baudrate, 0.00175) if self.serial and self.kind.framing == "rtu" else 0.0
