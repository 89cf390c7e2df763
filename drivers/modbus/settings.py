"""The settings of a link: address, serial parameters, timeouts, certificates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from os.path import realpath
from pathlib import Path

from drivers.protocol import TRANSPORTS, USUAL_PORTS, TransportKind, TransportName, host_and_port

_TIMING_KEYS = frozenset({"timeout_s", "connect_delay_s", "request_gap_s"})


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """The settings of one link. `agent.config.devices` checks that they fit together."""

    transport: TransportName = "tcp"
    host: str | None = None
    port: int = USUAL_PORTS[0]
    serial_port: str | None = None
    baudrate: int = 9600
    parity: str = "N"
    stop_bits: int = 1
    timeout_s: float = 1.0
    """Maximum seconds to wait for one reply, and to open the connection."""
    connect_delay_s: float = 0.0
    """Pause after a connect in seconds, for devices that ignore an early request."""
    request_gap_s: float = 0.0
    """Pause between a reply and the next request, in seconds."""
    ca_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None
    server_name: str | None = None
    """The name in the certificate of a TLS device, if it differs from `host`."""

    @property
    def kind(self) -> TransportKind:
        """Medium and framing."""
        return TRANSPORTS[self.transport]

    @property
    def serial(self) -> bool:
        return self.kind.serial

    @property
    def address(self) -> str:
        """Host and port, or the serial port, as a text."""
        if self.serial:
            return str(self.serial_port)
        return host_and_port(str(self.host), self.port)

    @property
    def link_key(self) -> tuple[object, ...]:
        """Equal for settings with the same host and port, or with the same serial port."""
        if self.serial_port is not None:
            return (realpath(self.serial_port),)
        return str(self.host).lower(), self.port

    def conflicts(self, other: LinkSettings) -> Iterator[tuple[str, object, object]]:
        """Yield (key, own value, other value) for each key that differs, but must be equal on one link."""
        for field in fields(self):
            ours, theirs = getattr(self, field.name), getattr(other, field.name)
            if ours != theirs and field.name not in _TIMING_KEYS and field.name not in ("host", "serial_port"):
                yield field.name, ours, theirs

    @property
    def line_silence_s(self) -> float:
        """Seconds of silence between two RTU frames on a serial port, 0 for all other links.

        It is the time of 3.5 characters of 11 bits, at least 1.75 ms (Modbus over Serial Line V1.02, section 2.5.1.1).
        """
        return max(3.5 * 11 / self.baudrate, 0.00175) if self.serial and self.kind.framing == "rtu" else 0.0
