"""The types of values, with error messages for people who write TOML."""

from __future__ import annotations

import re
from math import isnan
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    PlainValidator,
    StrictInt,
    WithJsonSchema,
)
from pydantic_core.core_schema import (
    no_info_after_validator_function,
    plain_serializer_function_ser_schema,
    str_schema,
)

from agent.config.errors import did_you_mean
from agent.config.tables import BaseTable
from agent.domain import MAX_ID, QUANTITIES
from agent.security import Secret
from drivers.protocol import MAX_PORT, is_ip_address, zone_mistake

_LONGEST_URL = 8000
"""Maximum characters of a URL. Servers should accept this length (RFC 9110, section 4.1), but may refuse more."""
# No site needs values near these limits. They keep sums, products and quotients of configured numbers finite.
MAX_SECONDS = 1e9
MIN_SECONDS = 0.001
_MAX_AMOUNT = 1e15
"""Maximum of a quantity in its unit, such as W or Wh."""


def is_time_zone(name: str) -> bool:
    """Whether the IANA time zone database of this machine has this name."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _timezone(name: str) -> str:
    if not is_time_zone(name):
        raise ValueError("must be a name of the IANA time zone database, such as Europe/Brussels")
    return name


def _url(url: str) -> str:
    if len(url) > _LONGEST_URL:
        raise ValueError(f"must have at most {_LONGEST_URL} characters; servers may refuse more (it has {len(url)})")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        (parts.hostname or "").encode("idna")  # refuses an empty label, or one with over 63 characters
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url:
        raise ValueError("must be an http:// or https:// URL with a valid host and port, and without blanks")
    host = parts.hostname or ""
    if (re.fullmatch(r"[\d.]+", host) or "[" in parts.netloc) and not is_ip_address(host):
        raise ValueError("must have four numbers up to 255 as its IPv4 address, or an IPv6 address in brackets")
    _require_zone(host)
    return url


def _endpoint_url(url: str) -> str:
    parts = urlsplit(_url(url))
    if parts.username or parts.password:
        raise ValueError("must not carry a user or password; use push.token_file")
    return url


def _proxy_url(url: str) -> str:
    if re.match(r"[^/?#]*//[^/?#]*[/?#].*@", url):
        raise ValueError("must have %2F, %3F or %23 instead of /, ? or # in its user and password")
    return _url(url)


def _host(name: str) -> str:
    if name.startswith("/"):
        raise ValueError(
            "must be a host; a serial port goes into serial_port of a [connection.NAME] with transport = rtu"
        )
    if not re.fullmatch(r"[^\s/\[\]@]+", name):
        raise ValueError("must be a host name or an address, such as 192.168.1.20, and nothing else")
    if ":" in name and not is_ip_address(name):
        raise ValueError("must be a host name or an address; write the port into the key port")
    _require_zone(name)
    if re.fullmatch(r"[\d.]+", name) and not is_ip_address(name):
        raise ValueError("must be four numbers up to 255 if it is an IPv4 address")
    return name


def _require_zone(host: str) -> None:
    """Raise ValueError if the host is a link-local IPv6 address without the interface that it belongs to."""
    if (mistake := zone_mistake(host)) is not None:
        raise ValueError(mistake)


def _host_and_port(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not host.strip("[]") or not port.isdecimal() or int(port) > MAX_PORT:
        raise ValueError("must be an address and a port, such as 127.0.0.1:9464 or [::1]:9464")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError("must have an IPv6 address in brackets, such as [::1]:9464")
    _require_zone(host.strip("[]"))
    return text


def _limited_quantity(name: str) -> str:
    if name not in QUANTITIES:
        raise ValueError(f"must be a quantity with its unit, such as active_power_W{did_you_mean(name, QUANTITIES)}")
    return name


def _limit(value: Any) -> tuple[float, float]:
    """Return (lowest, highest) for a list of these two numbers, or (-n, n) for one number n.

    Raises ValueError for anything else, if a number is NaN or beyond `_MAX_AMOUNT`, or if lowest is above highest.
    """
    bounds = value if isinstance(value, list | tuple) else [value, value]
    numbers = [bound for bound in bounds if isinstance(bound, int | float) and not isinstance(bound, bool)]
    if any(abs(number) > _MAX_AMOUNT for number in numbers):
        raise ValueError(f"must be from {-_MAX_AMOUNT:g} to {_MAX_AMOUNT:g}")
    if len(bounds) != 2 or len(numbers) != 2 or any(map(isnan, numbers)):
        raise ValueError("must be a number, or [lowest, highest]")
    low, high = map(float, numbers)
    if bounds is not value:
        low = -low
    if low > high:
        raise ValueError("must be [lowest, highest]" if bounds is value else "must not be negative")
    return low, high


def _path(path: Any) -> Any:
    if path == "":  # Path("") is the working directory
        raise ValueError("must be a path, not an empty text")
    return path


def _identifier(name: str) -> str:
    if not name or name != name.strip() or not name.isprintable():
        raise ValueError("must be a name of printable characters, with no blank at either end")
    if len(name) > MAX_ID:
        raise ValueError(f"must have at most {MAX_ID} characters")
    return name


# Strict, because TOML has types: the text "60" is not a number, and true is not 1.
Seconds = Annotated[float, Field(strict=True, ge=MIN_SECONDS, le=MAX_SECONDS, allow_inf_nan=False)]
Pause = Annotated[float, Field(strict=True, ge=0, le=3600, allow_inf_nan=False)]
Watts = Annotated[float, Field(strict=True, ge=0, le=_MAX_AMOUNT, allow_inf_nan=False)]
WholeSeconds = Annotated[StrictInt, Field(ge=1, le=86_400)]
Port = Annotated[StrictInt, Field(ge=1, le=MAX_PORT)]
FilePath = Annotated[Path, BeforeValidator(_path)]
Identifier = Annotated[str, AfterValidator(_identifier)]
Zone = Annotated[str, AfterValidator(_timezone)]
Host = Annotated[str, AfterValidator(_host)]
Url = Annotated[str, AfterValidator(_endpoint_url)]
ProxyUrl = Annotated[str, AfterValidator(_proxy_url)]
Listen = Annotated[str, AfterValidator(_host_and_port)]
LimitedQuantity = Annotated[str, AfterValidator(_limited_quantity)]
SecretText = Annotated[
    Secret,
    GetPydanticSchema(
        lambda _type, _handler: no_info_after_validator_function(
            Secret,
            str_schema(),
            serialization=plain_serializer_function_ser_schema(lambda _: "**********", when_used="json"),
        )
    ),
    WithJsonSchema({"type": "string", "format": "password", "writeOnly": True}),
]
Limit = Annotated[tuple[float, float], PlainValidator(_limit)]


class Section(BaseModel, BaseTable):
    """The base class of the models of TOML tables: frozen, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
