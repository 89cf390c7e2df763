"""What every driver is, and the table of those that need Python.

A driver turns register reads of one unit into a `Scan`. It never sees connections, time-outs or other devices.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from drivers.codec import WordOrder
from drivers.errors import ProfileError
from drivers.model import Kind, NodeType, Scan, Table

if TYPE_CHECKING:
    from drivers.profile import Profile


class Reader(Protocol):
    """One unit id on one link: nothing but reads, so that no driver can write."""

    async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
        """Read `count` registers (0..65535) or bits (0 or 1) from a zero-based protocol address.

        Raises a `drivers.errors.DriverError` whose type says what to do.
        """
        ...


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How one device wants to be read; None leaves it to the profile, then to the transport."""

    max_registers: int | None = None
    max_gap: int | None = None
    word_order: WordOrder | None = None
    default_max_gap: int = 31
    """Where a hole costs less than another request: about 31 registers on TCP, 7 on RTU."""


@dataclass(frozen=True, slots=True)
class LinkDefaults:
    """What a device family asks of its link; the site's configuration wins, None leaves it to the connection."""

    timeout_s: float | None = None
    connect_delay_s: float | None = None
    request_gap_s: float | None = None
    unit_id: int | None = None
    port: int | None = None
    sleeps: bool = False
    """It is silent at night, as inverters are that live on the sun: its solar node then counts 0, but not by day."""


class Driver(Protocol):
    """Reads one device. Holds what it learned of the device (models, holes, limits), never its values."""

    @property
    def kind(self) -> Kind:
        """What the device is."""
        ...

    @property
    def nodes(self) -> frozenset[NodeType]:
        """For a hybrid: the node types it can fill. Empty for devices with one node."""
        ...

    @property
    def defaults(self) -> LinkDefaults:
        """What the device family asks of its link."""
        ...

    async def poll(self, reader: Reader, now: Callable[[], float]) -> Scan:
        """Read everything once; `now` gives monotonic seconds for the readings.

        What the device refuses is missing and stands in `Scan.errors`. Raises `SilentError`, `LinkError`,
        `BadReplyError` or `GatewayError` when the device or the link is gone or cannot be trusted: no further request
        makes sense then, and what was read of this poll is dropped.
        """
        ...


# Drivers that need more than a data file: name -> "module:class", imported only when a site uses it.
PYTHON_DRIVERS = {
    "sunspec": "drivers.sunspec:SunSpec",
    "sunspec-meter": "drivers.sunspec:SunSpecMeter",
    "solaredge": "drivers.solaredge:SolarEdge",
}
# Those that read one of several like parts of a device, and how far `NAME:2`, `NAME:3` … go.
PYTHON_CHANNELS = {"sunspec-meter": 9}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Where drivers are found by name: Python drivers, then a site's own profiles, then the built-in ones."""

    profile_dirs: tuple[Path, ...] = field(default=())
    _profiles: dict[Path, Profile] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Devices of one family share what its file says."""

    def names(self) -> list[str]:
        """Every driver name that `create` accepts, sorted; a device with channels takes `NAME:2` as well."""
        from drivers.profile import profile_files

        return sorted({*PYTHON_DRIVERS, *profile_files(self.profile_dirs)})

    def create(self, name: str, options: ReadOptions) -> Driver:
        """The driver of that name. Raises KeyError when there is none, ProfileError when its file is wrong."""
        family, _, channel = name.partition(":")
        if family in PYTHON_DRIVERS:
            numbered = {"channel": channel_number(family, channel, PYTHON_CHANNELS.get(family, 0))} if channel else {}
            return _python_driver(family)(options, **numbered)
        from drivers.profile import load

        path = self.file(family)
        if path not in self._profiles:
            self._profiles[path] = load(path)
        profile = self._profiles[path]
        return driver_of(profile.channel(channel) if channel else profile, options)

    def profiles(self) -> tuple[list[Profile], list[str]]:
        """Every profile that can be used, and what is wrong with the others. Reads all of them: not for the daemon."""
        from drivers.profile import load, profile_files

        profiles, mistakes = [], []
        for path in profile_files(self.profile_dirs).values():
            try:
                profiles.append(load(path))
            except ProfileError as error:
                mistakes.append(str(error))
        return profiles, mistakes

    def alike(self, name: str) -> list[str]:
        """The drivers that an unknown name may mean, at most four: by name, maker or model. Reads all profiles."""
        from difflib import get_close_matches

        if close := get_close_matches(name.lower(), self.names(), 1, cutoff=0.75):
            return close
        words = re.findall(r"[^\W_]+", name.lower())
        named = [
            profile.name
            for profile in self.profiles()[0]
            if all(word in _letters(f"{profile.name} {profile.manufacturer} {profile.models}") for word in words)
        ]
        return sorted(named if words else [])[:4]

    def file(self, family: str) -> Path:
        """Where the profile of a family stands, without a look at any other. Raises KeyError when there is none."""
        from drivers.profile import BUILT_IN

        if family and not set(family) & set("/\\\0"):
            for directory in (*reversed(self.profile_dirs), BUILT_IN):
                if (path := directory / f"{family}.toml").is_file():
                    return path
        raise KeyError(family)

    def replaced(self, name: str) -> Path | None:
        """The site's own profile that is used instead of the built-in one of the same name; None when there is none."""
        from drivers.profile import BUILT_IN

        family = name.partition(":")[0]
        if family in PYTHON_DRIVERS or (path := self.file(family)).parent == BUILT_IN:
            return None
        return path if (BUILT_IN / path.name).is_file() else None


def driver_of(profile: Profile, options: ReadOptions) -> Driver:
    """The driver that reads devices of a family."""
    from drivers.registers import Registers

    if profile.driver is not None:
        return _python_driver(profile.driver)(profile.options(options), profile.link)
    if profile.directed:
        from drivers.directed import Directed

        return Directed(profile, options)
    return Registers(profile, options)


def channel_number(family: str, channel: str, count: int) -> int:
    """Which of the `count` channels of a family `channel` means, 1 being the first. Raises ProfileError."""
    if not count:
        raise ProfileError(f"{family} has no channels (found {f'{family}:{channel}'!r})")
    if not (channel.isascii() and channel.isdecimal() and 1 <= int(channel) <= count):
        raise ProfileError(f"{family}: the channel must be 1..{count} (found {f'{family}:{channel}'!r})")
    return int(channel)


def _python_driver(name: str) -> Callable[..., Driver]:
    module, _, attribute = PYTHON_DRIVERS[name].partition(":")
    return cast("Callable[..., Driver]", getattr(import_module(module), attribute))


def _letters(text: str) -> str:
    """Letters and digits alone: SDM 630 and sdm-630 are the same."""
    return re.sub(r"[\W_]+", "", text.lower())
