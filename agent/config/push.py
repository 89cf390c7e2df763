"""[push] or [[push]]: an endpoint, and what is sent to it."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StrictBool, StrictInt, model_validator

from agent.config.tables import DEFAULT_NAME, PushTable, both_tokens_mistake
from agent.config.types import FilePath, Identifier, Pause, ProxyUrl, Seconds, SecretText, Section, Url, WholeSeconds
from agent.security import is_loopback

Sign = Literal[1, -1]
Level = Literal["device_type", "device"]


def _each_once(levels: tuple[Level, ...]) -> tuple[Level, ...]:
    if len(set(levels)) < len(levels):
        raise ValueError("must not name a level twice")
    return levels


def _endpoint_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}[A-Za-z0-9])?", name):
        raise ValueError("must be letters, digits and dashes, at most 64, with no dash at either end")
    return name


EndpointName = Annotated[str, AfterValidator(_endpoint_name)]

ALL = "*"
"""The pattern that matches every node."""


class RetryConfig(Section):
    """[push.retry]: pauses between attempts, and when a refused message becomes a dead letter."""

    initial_s: Seconds = 1.0
    """The upper bound of the first random delay. The bound doubles with each failure, up to `max_s`."""
    max_s: Seconds = 300.0
    """The largest upper bound of a delay."""
    dead_letter_after: Annotated[StrictInt, Field(ge=1)] = 5
    """After this many refusals a message becomes a dead letter. If the endpoint refuses several new messages in a row,
    all messages are kept instead."""


class SignConfig(Section):
    """[push.sign]: -1 inverts the powers of a type, for endpoints with other conventions."""

    grid: Sign = 1
    """-1 inverts the powers of the `grid` nodes and of their total."""
    solar: Sign = 1
    """-1 inverts the powers of the `solar` nodes and of their total."""
    storage: Sign = 1
    """-1 inverts the powers of the `storage` nodes and of their total."""
    heat_pump: Sign = 1
    """-1 inverts the powers of the `heat_pump` nodes and of their total."""
    switched_load: Sign = 1
    """-1 inverts the powers of the `switched_load` nodes and of their total."""
    variable_power_load: Sign = 1
    """-1 inverts the powers of the `variable_power_load` nodes and of their total."""


class PushConfig(Section, PushTable):
    """[push]: endpoint, token, content and interval of the messages."""

    name: EndpointName = DEFAULT_NAME
    """The name of the endpoint in log and status, and of its queue. Letters, digits and dashes. Several endpoints must
    have names."""
    formerly: EndpointName | None = None
    """The name before a rename: this endpoint takes over the queue of that name."""
    enabled: StrictBool = True
    """false: nothing is sent or stored; the queue is kept."""
    url: Url
    """The address of the endpoint. Each message is a POST to it."""
    token: SecretText | None = None
    """The bearer token. Better: `token_file`."""
    token_file: FilePath | None = None
    """The file of the bearer token. It is read again when it changes."""
    interval_s: WholeSeconds = 60
    """The time between two pushes."""
    levels: Annotated[tuple[Level, ...], Field(min_length=1), AfterValidator(_each_once)] = ("device_type",)
    """`device_type`: one message with the totals by type. `device`: messages with the values of each node."""
    nodes: Annotated[tuple[Identifier, ...], Field(min_length=1)] = (ALL,)
    """Only these nodes are sent, at both levels: ids, or patterns with `*`, `?` and `[ ]`."""
    exclude_nodes: tuple[Identifier, ...] = ()
    """These nodes are not sent, even if `nodes` has them: ids or patterns."""
    site_node_id: Identifier | None = None
    """The id of the site in the messages of this endpoint. Default: `site.node_id`."""
    node_ids: dict[str, Identifier] = Field(default_factory=dict)
    """Other ids of nodes in the messages of this endpoint, such as `{ "pv-1" = "their-id" }`."""
    device_format: Literal["node", "snapshot"] = "node"
    """One message per node, or one message for all nodes; for the level `device`."""
    device_fields: Literal["contract", "all"] = "contract"
    """The fields of the contract, or every quantity that the driver reads; for the level `device`."""
    time_format: Literal["integer", "string"] = "integer"
    """The format of `time`: Unix seconds as a number or as a string."""
    partial_totals: Literal["omit", "sum"] = "omit"
    """If a device does not answer: `omit` the totals that include it, or send the `sum` of the other devices."""
    quality: StrictBool = False
    """Adds the key `quality`: how complete and how old the values are."""
    gzip: StrictBool = False
    """Compresses the bodies."""
    align: Literal["splay", "clock"] = "splay"
    """`splay`: a hash of `site.node_id` moves the pushes, so that not all sites push at once. `clock`: pushes at
    multiples of `interval_s`."""
    deadline_s: Pause = 5.0
    """A push waits at most this time for polls, and never more than half of `interval_s`."""
    connections: Annotated[StrictInt, Field(ge=1, le=64)] = 8
    """The largest number of messages of one tick that are sent at the same time."""
    connect_timeout_s: Seconds = 10.0
    """The time-out for opening a connection."""
    timeout_s: Seconds = 30.0
    """The time-out of the whole attempt."""
    ca_file: FilePath | None = None
    """The certificate of the authority that signed the endpoint's certificate. Default: the authorities of the
    system."""
    client_cert_file: FilePath | None = None
    """The certificate of the agent as a client."""
    client_key_file: FilePath | None = None
    """The key of `client_cert_file`, without a passphrase."""
    proxy_url: Annotated[ProxyUrl | None, Field(repr=False)] = None
    """The proxy, such as `http://proxy.example.com:3128`. HTTPS_PROXY is ignored."""
    signing_secret_file: FilePath | None = None
    """The file of a secret `whsec_…`. With it, messages are signed as Standard Webhooks."""
    wait_for_clock_s: Pause = 300.0
    """After a boot, messages wait at most this time until the time service has set the clock. While the date is before
    2023-11-14, they wait longer. 0: they never wait, whatever the date is."""
    allow_insecure_http: StrictBool = False
    """true: http is allowed to every address. false: http is allowed only to loopback addresses."""
    sign: SignConfig = SignConfig()
    """The table `[push.sign]`."""
    retry: RetryConfig = RetryConfig()
    """The table `[push.retry]`."""

    @model_validator(mode="after")
    def _secure(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme == "http" and not self.allow_insecure_http and not is_loopback(parts.hostname or ""):
            raise ValueError(
                "url: http sends the token unencrypted; use https, or set allow_insecure_http = true"
                f" (found {self.shown_url!r})"
            )
        if (mistake := both_tokens_mistake(self.token, self.token_file)) is not None:
            raise ValueError(mistake)
        if self.client_key_file and not self.client_cert_file:
            raise ValueError("client_key_file: needs client_cert_file as well")
        return self
