"""[connection.NAME] and [[device]]: the devices to poll, and the links to them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, StrictInt, model_validator

from agent.config.types import Host, Identifier, Limit, Limited, Pause, Port, Seconds, Section, Watts
from agent.domain import WhenOffline
from drivers.model import NodeType, WordOrder
from drivers.protocol import MAX_REGISTERS, MAX_UNIT_ID, TRANSPORTS, TransportName


class ConnectionConfig(Section):
    """[connection.NAME]: a link that several devices can share."""

    transport: TransportName = "tcp"
    host: Host | None = None
    port: Port | None = None
    serial_port: str | None = None
    baudrate: Annotated[StrictInt, Field(ge=300)] = 9600
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1
    timeout_s: Seconds = 1.0
    connect_delay_s: Pause = 0.0
    request_gap_s: Pause = 0.0
    ca_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None
    server_name: str | None = None

    @property
    def serial(self) -> bool:
        return TRANSPORTS[self.transport].serial

    @model_validator(mode="after")
    def _address(self) -> Self:
        if self.serial:
            if not self.serial_port:
                raise ValueError(f"serial_port: transport {self.transport} needs one, such as /dev/ttyUSB0")
            if self.host is not None or self.port is not None:
                raise ValueError(f"host: transport {self.transport} is a serial line; set serial_port instead")
        else:
            if self.serial_port:
                raise ValueError(f'serial_port: transport {self.transport} has none; set host, or transport = "rtu"')
            if not self.host:
                raise ValueError(f"host: transport {self.transport} needs one")
        for key in ("ca_file", "client_cert_file", "client_key_file", "server_name"):
            if self.transport != "tls" and getattr(self, key) is not None:
                raise ValueError(f"{key}: needs transport tls, not {self.transport}")
        if self.client_key_file and not self.client_cert_file:
            raise ValueError("client_key_file: needs client_cert_file as well")
        return self


class DeviceConfig(Section):
    """[[device]]: the driver, the address and the nodes of one device."""

    node_id: Identifier | None = None
    type: NodeType | None = None
    nodes: dict[NodeType, Identifier] | None = None
    driver: Identifier
    enabled: StrictBool = True
    push: StrictBool = True
    within: Identifier | None = None
    host: Host | None = None
    port: Port | None = None
    connection: str | None = None
    unit_id: Annotated[StrictInt, Field(ge=0, le=MAX_UNIT_ID)] | None = None
    poll_interval_s: Seconds | None = None
    invert: StrictBool = False
    when_offline: WhenOffline | None = None
    nominal_power_W: Watts | None = None
    energy_capacity_Wh: Watts | None = None
    limits: dict[Limited, Limit] = Field(default_factory=dict)
    timeout_s: Seconds | None = None
    max_registers: Annotated[StrictInt, Field(ge=1, le=MAX_REGISTERS)] | None = None
    max_gap: Annotated[StrictInt, Field(ge=0, le=MAX_REGISTERS - 1)] | None = None
    word_order: WordOrder | None = None
    connect_delay_s: Pause | None = None
    request_gap_s: Pause | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.nodes is not None:
            if self.node_id is not None or self.type is not None:
                raise ValueError('nodes: replaces node_id and type; write only nodes = { solar = "pv-1", … }')
            if not self.nodes:
                raise ValueError("nodes: must name at least one node")
        elif self.node_id is None or self.type is None:
            missing = "node_id" if self.node_id is None else "type"
            raise ValueError(f"{missing}: missing; a device has node_id and type, or nodes")
        if self.when_offline == "sleep" and NodeType.SOLAR not in self.node_ids:
            raise ValueError('when_offline: only a solar node can sleep; use "missing" or "zero"')
        if (self.host is None) == (self.connection is None):
            raise ValueError(
                "host: give either host (its own TCP connection) or connection (NAME of [connection.NAME])"
            )
        if self.connection is not None and self.port is not None:
            raise ValueError("port: belongs to the [connection.NAME], not to the device")
        return self

    @property
    def node_ids(self) -> dict[NodeType, str]:
        """Node id by type: one entry, or several for a hybrid device."""
        if self.nodes is not None:
            return self.nodes
        if self.type is None or self.node_id is None:
            raise AssertionError("refused by _one_way")
        return {self.type: self.node_id}
