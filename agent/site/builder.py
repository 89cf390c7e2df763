"""Builds the site from its configuration: connections, their devices, and the driver and nodes of each device.

No connection is opened: a link connects at its first read. These mistakes raise ConfigError:

- an unknown driver, or a wrong profile or channel,
- a node that the device cannot feed,
- two devices whose settings for the same link conflict (`LinkSettings.conflicts`),
- a wrong `within`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from agent.config import STALE_INTERVALS, ConfigError, did_you_mean, name_devices, no_such_driver
from agent.domain import QUANTITIES, Node, WhenOffline, nesting_mistakes, use_of, why_unfit
from agent.polling import Connection, Device
from drivers.catalogue import Catalogue
from drivers.driver import Driver, ReadOptions
from drivers.errors import ProfileError
from drivers.modbus import Link, LinkSettings
from drivers.model import NodeType, Quantity, Resolution
from drivers.protocol import TRANSPORTS, unit_address

if TYPE_CHECKING:
    from agent.config import Config, ConnectionConfig, DeviceConfig

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class Site:
    """All connections with their devices."""

    connections: tuple[Connection, ...]
    replaced: tuple[tuple[str, Path], ...] = ()
    """Name and file of each profile that is used instead of the built-in profile of that name."""

    @property
    def devices(self) -> tuple[Device, ...]:
        return tuple(device for connection in self.connections for device in connection.devices)

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(node for device in self.devices for node in device.nodes)


NOTHING = Site(())


def only(site: Site, node_ids: Sequence[str]) -> Site:
    """Return the site with only the devices that feed one of `node_ids`; the whole site if `node_ids` is empty.

    Raises ConfigError for an unknown node.
    """
    known = [node.node_id for node in site.nodes]
    for node_id in node_ids:
        if node_id not in known:
            hint = did_you_mean(node_id, known) or f"; there are {', '.join(known)}"
            raise ConfigError([f"--node: no enabled node is named {node_id!r}{hint}"])
    if not node_ids:
        return site
    wanted = [
        replace(connection, devices=tuple(device for device in connection.devices if device.feeds(node_ids)))
        for connection in site.connections
    ]
    return replace(site, connections=tuple(connection for connection in wanted if connection.devices))


def build(config: Config, origin: str, running: Site = NOTHING) -> Site:
    """Build the site of `config`. `origin` names the file in error texts. Raises ConfigError with all mistakes.

    A link with unchanged settings is taken from the `running` site. A device on this link keeps its state if both
    conditions hold:

    - Its driver, profile, unit id and settings for requests are unchanged.
    - It still has at least one of its nodes.
    """
    return _SiteBuilder(config, origin, running).build()


@dataclass(slots=True)
class _LinkPlan:
    """One link in the configuration, and its devices."""

    settings: LinkSettings
    """Those of the first device, but `timeout_s` and `connect_delay_s` are the longest of all devices."""
    index: int
    """Index of the first `[[device]]` on the link, for error texts."""
    members: list[tuple[DeviceConfig, Driver, tuple[Node, ...]]]


class _SiteBuilder:
    def __init__(self, config: Config, origin: str, running: Site) -> None:
        self._config = config
        self._origin = origin
        self._running = running
        self._catalogue = Catalogue(config.drivers.profile_dirs)
        self._mistakes: list[str] = []
        self._plans: dict[tuple[object, ...], _LinkPlan] = {}

    def build(self) -> Site:
        for index, device in enumerate(self._config.device):
            driver = self._driver(index, device) if device.enabled else None
            if driver is not None:
                nodes = tuple(self._nodes(index, device, driver))
                self._plan(index, device, driver).members.append((device, driver, nodes))
        self._check_nesting()
        if self._mistakes:
            names = [" + ".join(device.node_ids.values()) for device in self._config.device]
            raise ConfigError(name_devices(self._mistakes, names))
        return Site(tuple(self._connected(plan) for plan in self._plans.values()), self._replaced())

    def _replaced(self) -> tuple[tuple[str, Path], ...]:
        names = sorted({device.driver for device in self._config.device if device.enabled})
        return tuple((name, path) for name in names if (path := self._catalogue.replaced(name)) is not None)

    def _plan(self, index: int, device: DeviceConfig, driver: Driver) -> _LinkPlan:
        """Return the plan of the link of a device. The plan then includes the settings of this device.

        Devices with the same host and port, or the same serial port, share one link: some devices accept only one
        client, and a serial line carries only one request at a time.
        """
        settings = self._settings(device, driver)
        plan = self._plans.setdefault(settings.link_key, _LinkPlan(settings, index, []))
        for key, ours, theirs in settings.conflicts(plan.settings):
            self._mistake(
                index, "host", f"{settings.address} is one link; {key} is {ours}, but {theirs} for device[{plan.index}]"
            )
        plan.settings = replace(
            plan.settings,
            timeout_s=max(plan.settings.timeout_s, settings.timeout_s),
            connect_delay_s=max(plan.settings.connect_delay_s, settings.connect_delay_s),
        )
        return plan

    def _connected(self, plan: _LinkPlan) -> Connection:
        link, known = self._link(plan.settings)
        devices = tuple(self._device(link, known, *member) for member in plan.members)
        return Connection(link, devices, plan.settings.address)

    def _link(self, settings: LinkSettings) -> tuple[Link, tuple[Device, ...]]:
        """Return the link with these settings and its devices from the running site, or a new link without devices."""
        for connection in self._running.connections:
            if isinstance(connection.link, Link) and connection.link.settings == settings:
                return connection.link, connection.devices
        return Link(settings), ()

    def _device(
        self, link: Link, known: tuple[Device, ...], device: DeviceConfig, driver: Driver, nodes: tuple[Node, ...]
    ) -> Device:
        name = " + ".join(node.node_id for node in nodes)
        unit_id = _first(device.unit_id, driver.defaults.unit_id, 1)
        settings = self._settings(device, driver)
        # A device with an equal origin is read in the same way. The origin contains the loaded profile, because the
        # file of the profile may have been edited. A Python driver has no profile.
        origin = (device.driver, getattr(driver, "profile", None), self._options(device), unit_id, settings)
        interval_s = self._interval_s(device)
        for same in known:
            if same.origin == origin and {node.node_id for node in same.nodes} & {node.node_id for node in nodes}:
                unchanged = same.nodes == nodes and same.interval_s == interval_s
                return same if unchanged else replace(same, name=name, nodes=nodes, interval_s=interval_s)
        return Device(
            name=name,
            driver_name=device.driver,
            driver=driver,
            reader=link.unit(unit_id, timeout_s=settings.timeout_s, request_gap_s=settings.request_gap_s),
            nodes=nodes,
            address=unit_address(link.settings.address, unit_id),
            unit_id=unit_id,
            interval_s=interval_s,
            patience_s=settings.connect_delay_s + 3 * settings.timeout_s,
            origin=origin,
        )

    def _interval_s(self, device: DeviceConfig) -> float:
        if device.poll_interval_s is not None:
            return device.poll_interval_s
        return self._config.poll_interval_s

    def _mistake(self, index: int, key: str, rule: str) -> None:
        self._mistakes.append(f"{self._origin}: device[{index}].{key}: {rule}")

    def _type_of(self, node_id: str | None) -> NodeType | None:
        nodes = (device.node_ids.items() for device in self._config.device)
        return next((type_ for each in nodes for type_, name in each if name == node_id), None)

    def _check_nesting(self) -> None:
        nodes = [node for plan in self._plans.values() for *_, own in plan.members for node in own]
        wrong = dict(nesting_mistakes(nodes))
        for index, device in enumerate(self._config.device):
            if not device.enabled or device.within is None:
                continue
            names = device.node_ids.values()
            if all(node.within is None for node in nodes if node.node_id in names):
                self._mistake(index, "within", f"no node of this device is of the type of {device.within!r}")
            for rule in (wrong[name] for name in names if name in wrong):
                self._mistake(index, "within", rule)

    def _options(self, device: DeviceConfig) -> ReadOptions:
        transport = "tcp" if device.connection is None else self._config.connection[device.connection].transport
        return ReadOptions(
            max_registers=device.max_registers,
            max_gap=device.max_gap,
            word_order=device.word_order,
            default_max_gap=TRANSPORTS[transport].max_gap,
            nodes=frozenset(device.node_ids),
        )

    def _driver(self, index: int, device: DeviceConfig) -> Driver | None:
        try:
            return self._catalogue.create(device.driver, self._options(device))
        except KeyError:
            self._mistake(index, "driver", no_such_driver(device.driver, self._catalogue))
        except ProfileError as error:
            self._mistake(index, "driver", str(error))
        return None

    def _nodes(self, index: int, device: DeviceConfig, driver: Driver) -> Iterator[Node]:
        of_hybrid = device.nodes is not None
        for type_, node_id in device.node_ids.items():
            key = f"nodes.{type_}" if of_hybrid else "type"
            if of_hybrid and type_ not in driver.nodes:
                offered = ", ".join(sorted(driver.nodes)) or "one node only; use node_id and type"
                self._mistake(index, key, f"driver {device.driver!r} has no such node; it has {offered}")
            elif not of_hybrid and driver.nodes and type_ not in driver.nodes:
                hint = "; the meter of a SunSpec device is driver 'sunspec-meter'" if device.driver == "sunspec" else ""
                self._mistake(index, key, f"driver {device.driver!r} offers {', '.join(sorted(driver.nodes))}{hint}")
            elif not driver.nodes and (reason := why_unfit(driver.kind, type_)):
                self._mistake(index, key, reason)
            node = Node(
                node_id=node_id,
                type=type_,
                kind=driver.kind,
                of_hybrid=of_hybrid or bool(driver.nodes),
                push=device.push,
                within=device.within if not of_hybrid or type_ is self._type_of(device.within) else None,
                invert=device.invert,
                when_offline=_when_offline(device, driver, type_),
                stale_after_s=STALE_INTERVALS * device.poll_interval_s if device.poll_interval_s else None,
                nominal_power_W=device.nominal_power_W,
                energy_capacity_Wh=device.energy_capacity_Wh,
                limits={QUANTITIES[name]: limit for name, limit in device.limits.items()},
            )
            yield replace(node, resolutions=_resolutions(node, driver))

    def _settings(self, device: DeviceConfig, driver: Driver) -> LinkSettings:
        """Return the link settings of a device. Of the values in each list, the first one that is set is used.

        - `timeout_s`: key of the device, default of its family, key of its connection.
        - `connect_delay_s` and `request_gap_s`: key of the device, the longer value of family and connection.
        - `port` without a connection: key of the device, default of its family, 502.
        - `host` without a connection: key of the device.
        - `port` and `host` with a connection, and all other settings: key of the connection.

        Without a connection, the defaults of `LinkSettings` replace the keys of the connection.
        """
        asks = driver.defaults
        connection: ConnectionConfig | LinkSettings
        if device.connection is not None:
            connection = self._config.connection[device.connection]
            port = connection.used_port
        else:
            connection = LinkSettings(host=device.host)
            port = device.port or asks.port or connection.port
        return LinkSettings(
            transport=connection.transport,
            host=connection.host,
            port=port,
            serial_port=connection.serial_port,
            baudrate=connection.baudrate,
            parity=connection.parity,
            stop_bits=connection.stop_bits,
            timeout_s=_first(device.timeout_s, asks.timeout_s, connection.timeout_s),
            connect_delay_s=_first(device.connect_delay_s, max(asks.connect_delay_s or 0, connection.connect_delay_s)),
            request_gap_s=_first(device.request_gap_s, max(asks.request_gap_s or 0, connection.request_gap_s)),
            ca_file=connection.ca_file,
            client_cert_file=connection.client_cert_file,
            client_key_file=connection.client_key_file,
            server_name=connection.server_name,
        )


def _resolutions(node: Node, driver: Driver) -> dict[Quantity, Resolution]:
    """Return quantity of the node → resolution of its registers."""
    found = {}
    for (marked, quantity), resolution in driver.resolutions.items():
        use = use_of(node, quantity, marked)
        if use is not None:
            found[use.quantity] = resolution
    return found


def _when_offline(device: DeviceConfig, driver: Driver, type_: NodeType) -> WhenOffline:
    """Return the `when_offline` of a node. A node that is not solar has "missing" instead of "sleep"."""
    wanted = device.when_offline or ("sleep" if driver.defaults.sleeps else "missing")
    return "missing" if wanted == "sleep" and type_ is not NodeType.SOLAR else wanted


def _first(*values: Number | None) -> Number:
    return next(value for value in values if value is not None)
