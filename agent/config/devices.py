"""[connection.NAME] and [[device]]: the devices to poll, and the links to them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, StrictInt, model_validator

from agent.config.tables import ConnectionTable, DeviceTable
from agent.config.types import FilePath, Host, Identifier, Limit, LimitedQuantity, Pause, Port, Seconds, Section, Watts
from agent.domain import WhenOffline
from drivers.model import NodeType, WordOrder
from drivers.protocol import MAX_REGISTERS, MAX_UNIT_ID, MIN_BAUDRATE, Parity, TransportName


class ConnectionConfig(Section, ConnectionTable):
    """[connection.NAME]: a link that several devices can share."""

    transport: TransportName = "tcp"
    """How frames are sent. `tcp`, `udp` and `tls`: Modbus TCP over TCP, UDP or TLS. `rtu` and `ascii`: a serial line.
    `rtu_over_tcp` and `ascii_over_tcp`: a converter that passes the frames of its serial line on unchanged."""
    host: Host | None = None
    """The name or the address of a device or gateway; not for `rtu` and `ascii`."""
    port: Port | None = None
    """The port. Default: 502, and 802 for `tls`."""
    serial_port: str | None = None
    """The path of a serial port, preferably a stable link below /dev/serial/by-id; only for `rtu` and `ascii`."""
    baudrate: Annotated[StrictInt, Field(ge=MIN_BAUDRATE)] = 9600
    """The baud rate of the serial line."""
    parity: Parity = "N"
    """The parity of the serial line: none, even or odd."""
    stop_bits: Literal[1, 2] = 1
    """The stop bits of the serial line."""
    timeout_s: Seconds = 1.0
    """The time-out of one request."""
    connect_delay_s: Pause = 0.0
    """The pause after connecting. Some devices ignore a request that comes earlier."""
    request_gap_s: Pause = 0.0
    """The pause between two requests."""
    ca_file: FilePath | None = None
    """The certificate of the authority that signed the device's certificate, for `tls`."""
    client_cert_file: FilePath | None = None
    """The certificate of the agent as a client, for `tls`."""
    client_key_file: FilePath | None = None
    """The key of `client_cert_file`, without a passphrase."""
    server_name: str | None = None
    """The name in the device's certificate, for `tls`. Default: `host`."""

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


class DeviceConfig(Section, DeviceTable):
    """[[device]]: the driver, the address and the nodes of one device."""

    node_id: Identifier | None = None
    """The id of the node at the integrator; needs `type`. A device with several nodes has `nodes` instead."""
    type: NodeType | None = None
    """What the device is or measures."""
    nodes: dict[NodeType, Identifier] | None = None
    """The id of each node of a hybrid device, by type."""
    driver: Identifier
    """The name of a profile, or `sunspec`, `sunspec-meter` or `solaredge`. `NAME:3` is the third output or meter of a
    device."""
    enabled: StrictBool = True
    """false: the device is not polled."""
    push: StrictBool = True
    """false: the device is polled, but not sent and not in the total."""
    within: Identifier | None = None
    """The node of the same type whose meter also measures this device. This device is sent, but not added to the
    total of an endpoint that gets that node."""
    host: Host | None = None
    """The name or the address; not together with `connection`. Devices with the same host and port share one link."""
    port: Port | None = None
    """The port. Default: that of the profile, else 502."""
    connection: str | None = None
    """The name of a `[connection.NAME]` table, instead of `host`."""
    unit_id: Annotated[StrictInt, Field(ge=0, le=MAX_UNIT_ID)] | None = None
    """The unit id. Default: that of the profile, else 1."""
    poll_interval_s: Seconds | None = None
    """The time between two polls of this device, instead of `poll.interval_s`. A value is stale after three such
    intervals."""
    invert: StrictBool = False
    """true: the meter is wired in the other direction. Import and export are exchanged."""
    when_offline: WhenOffline | None = None
    """What is sent if the device does not answer. `sleep`: 0 W at night, nothing by day. `zero`: 0 W. `missing`:
    nothing. Default: `sleep` for a solar node of `sunspec`, of `solaredge` or of a device family that is off at night,
    else `missing`."""
    nominal_power_W: Watts | None = None
    """The power while the device is on, if it reports only a state: relays and contacts."""
    energy_capacity_Wh: Watts | None = None
    """The capacity of a battery that does not report it."""
    limits: dict[LimitedQuantity, Limit] = Field(default_factory=dict)
    """The physical range of quantities, such as `{ active_power_W = 11000, soc_perc = [0, 100] }`. A reading outside
    its range is invalid."""
    timeout_s: Seconds | None = None
    """The time-out of one request. Default: that of the profile, else that of the connection."""
    max_registers: Annotated[StrictInt, Field(ge=1, le=MAX_REGISTERS)] | None = None
    """The largest number of registers in one request. Default: that of the profile, else 125."""
    max_gap: Annotated[StrictInt, Field(ge=0, le=MAX_REGISTERS - 1)] | None = None
    """The largest number of unused registers that a request reads between two used ones. Default: that of the profile,
    else that of the transport."""
    word_order: WordOrder | None = None
    """The order of the registers and bytes of a value. Default: that of the profile."""
    connect_delay_s: Pause | None = None
    """The pause after connecting. Default: that of the profile or that of the connection, whichever is longer."""
    request_gap_s: Pause | None = None
    """The pause between two requests. Default: that of the profile or that of the connection, whichever is longer."""

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
            raise ValueError("host: give either host, or connection with the NAME of a [connection.NAME]")
        if self.connection is not None and self.port is not None:
            raise ValueError("port: belongs to the [connection.NAME], not to the device")
        return self
