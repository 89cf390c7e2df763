"""The tables of the configuration as the daemon uses them: values and properties, without checks and pydantic.

The pydantic model of a table inherits from its class in this module. `agent.config.apart.plain` converts a validated
model to an object of this class.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agent.security import Secret, is_loopback
from drivers.protocol import TRANSPORTS

if TYPE_CHECKING:
    from pathlib import Path

    from drivers.model import NodeType
    from drivers.protocol import TransportName

DEFAULT_NAME = "default"
"""The name of a single [push] without a name."""
DEFAULT_LISTEN = "127.0.0.1:9464"
STALE_INTERVALS = 3.0
"""The default of `poll.stale_after_s` is this many times `poll.interval_s`. If a device has its own
`poll_interval_s`, its readings are stale after this many of those intervals."""
ENERGIES = "energy.sqlite3"
"""The name of the file of the energies, beside `outbox.path`."""
OWNER_SUFFIX = ".endpoint"
"""The suffix of the file beside `outbox.path` that names the endpoint whose queue is `outbox.path`."""


def endpoint_key(pushes: Sequence[object], index: int) -> str:
    """Return the key of an endpoint for error texts: `push` for a single one, `push[1]` for the second of several."""
    return "push" if len(pushes) == 1 else f"push[{index}]"


def is_pattern(text: str) -> bool:
    """Whether the text has a wildcard, so that it can match several ids."""
    return any(character in text for character in "*?[")


def both_tokens_mistake(token: Secret | None, token_file: Path | None) -> str | None:
    """Return the error text if a table has both; otherwise None. An empty token counts as none."""
    return "token: give either token or token_file, not both" if token and token_file else None


def token_mistake(token: str) -> str | None:
    """Return the rule that a token of the status listener breaks, or None. The rule also applies to a rotated token."""
    return None if re.fullmatch(r"[!-~]{16,}", token) else "must be at least 16 visible ASCII characters"


class BaseTable:
    """The base of all tables. Tables with the same values are equal."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]  # a table can contain dicts

    def as_dict(self) -> dict[str, Any]:
        """Return key → value. A table becomes a dict, except a table inside a tuple or a dict."""
        return {key: value.as_dict() if isinstance(value, BaseTable) else value for key, value in self.__dict__.items()}


class PushTable(BaseTable):
    """[push] or [[push]]."""

    if TYPE_CHECKING:  # otherwise, pydantic would make fields of these
        url: str
        proxy_url: str | None
        nodes: tuple[str, ...]
        exclude_nodes: tuple[str, ...]
        deadline_s: float
        interval_s: int

    def chooses(self, node_id: str) -> bool:
        chosen = any(self.matches(node_id, each) for each in self.nodes)
        return chosen and not any(self.matches(node_id, each) for each in self.exclude_nodes)

    @staticmethod
    def matches(node_id: str, pattern: str) -> bool:
        return node_id == pattern or fnmatchcase(node_id, pattern)

    @property
    def shown_url(self) -> str:
        """The URL for logs, without its query, which may hold a secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}{parts.path}"

    @property
    def shown_proxy(self) -> str:
        """Host and port of the proxy, without user and password; empty without a proxy."""
        return urlsplit(self.proxy_url).netloc.rpartition("@")[2] if self.proxy_url else ""

    @property
    def effective_deadline_s(self) -> float:
        """The longest time in seconds that a push waits for polls after its tick: at most half of `interval_s`."""
        return min(self.deadline_s, self.interval_s / 2)


class OutboxTable(BaseTable):
    """[outbox]."""

    if TYPE_CHECKING:
        path: Path

    @property
    def energies(self) -> Path:
        return self.path.with_name(ENERGIES)


class StatusTable(BaseTable):
    """[status]."""

    if TYPE_CHECKING:
        listen: str
        token: Secret | None
        token_file: Path | None

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])

    @property
    def loopback(self) -> bool:
        return is_loopback(self.host)

    @property
    def guarded(self) -> bool:
        """Whether requests need a token."""
        return self.token is not None or self.token_file is not None

    def secret(self) -> Secret | None:
        """Return the token that requests need, or None. Raises OSError, UnicodeDecodeError."""
        if self.token_file is not None:
            return Secret(self.token_file.read_text(encoding="utf-8-sig").strip())
        return self.token


class ConnectionTable(BaseTable):
    """[connection.NAME]."""

    if TYPE_CHECKING:
        transport: TransportName
        port: int | None

    @property
    def serial(self) -> bool:
        return TRANSPORTS[self.transport].serial

    @property
    def used_port(self) -> int:
        return self.port or TRANSPORTS[self.transport].port


class DeviceTable(BaseTable):
    """[[device]]."""

    if TYPE_CHECKING:
        node_id: str | None
        type: NodeType | None
        nodes: dict[NodeType, str] | None

    @property
    def node_ids(self) -> dict[NodeType, str]:
        """Node id by type: one entry, or several for a hybrid device."""
        if self.nodes is not None:
            return self.nodes
        if self.type is None or self.node_id is None:
            raise AssertionError("a device without `nodes` has `node_id` and `type`")
        return {self.type: self.node_id}


class ConfigTable(BaseTable):
    """The whole configuration."""

    if TYPE_CHECKING:
        push: Any
        poll: Any
        status: Any
        device: Any

    @property
    def endpoints(self) -> Any:
        """The enabled endpoints, in the order of the file; at least one."""
        return tuple(push for push in self.push if push.enabled)

    @property
    def poll_interval_s(self) -> float:
        """The poll interval in seconds of a device without its own interval: at most the shortest push interval."""
        shortest_s: float = min(self.poll.interval_s, *(push.interval_s for push in self.endpoints))
        return shortest_s

    @property
    def shortest_deadline_s(self) -> float:
        shortest_s: float = min(push.effective_deadline_s for push in self.endpoints)
        return shortest_s

    @property
    def holds_secrets(self) -> bool:
        """Whether the configuration itself contains a token or a password."""
        listener = self.status.token if self.status is not None else None
        return bool(listener) or any(push.token or urlsplit(push.proxy_url or "").password for push in self.push)

    def enabled_nodes(self) -> Iterator[tuple[int, str]]:
        """Yield (index of the device, node id) for each node of an enabled device."""
        for index, device in enumerate(self.device):
            if device.enabled:
                yield from ((index, node_id) for node_id in device.node_ids.values())
