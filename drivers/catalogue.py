"""Finds the drivers of a site by their names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import cast

from drivers.driver import PYTHON_CHANNELS, PYTHON_DRIVERS, Driver, ReadOptions, channel_number
from drivers.errors import ProfileError
from drivers.profile import BUILT_IN, Profile, RegisterDriver, load, profile_files


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Finds drivers by name: first Python drivers, then the site's own profiles, then the built-in profiles.

    If several of `profile_dirs` have a profile with the same name, the profile of the last directory is used.
    """

    profile_dirs: tuple[Path, ...] = field(default=())
    _profiles: dict[Path, Profile] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Path → profile, for the profiles that `create` has loaded."""

    def names(self) -> list[str]:
        """Return every driver name, sorted. `create` also accepts a name with a channel, such as `NAME:2`."""
        return sorted({*PYTHON_DRIVERS, *profile_files(self.profile_dirs)})

    def create(self, name: str, options: ReadOptions) -> Driver:
        """Return a new driver.

        Raises KeyError for an unknown name, ProfileError for an invalid profile or channel.
        """
        family, _, channel = name.partition(":")
        if family in PYTHON_DRIVERS:
            numbered = {"channel": channel_number(family, channel, PYTHON_CHANNELS.get(family, 0))} if channel else {}
            return _python_driver(family)(options, **numbered)
        profile = self._loaded(self.file(family))
        return driver_of(profile.channel(channel) if channel else profile, options)

    def profiles(self) -> tuple[list[Profile], list[str]]:
        """Return every valid profile, and the errors of the invalid ones.

        This loads all profiles at the first call. The daemon does so only to explain an unknown driver (`alike`).
        """
        profiles, mistakes = [], []
        for path in profile_files(self.profile_dirs).values():
            try:
                profiles.append(self._loaded(path))
            except ProfileError as error:
                mistakes.append(str(error))
        return profiles, mistakes

    def _loaded(self, path: Path) -> Profile:
        """Return the profile of a file. Raises ProfileError."""
        if path not in self._profiles:
            self._profiles[path] = load(path)
        return self._profiles[path]

    def alike(self, name: str) -> list[str]:
        """Return the names of drivers that the unknown `name` may mean.

        If there is a similar driver name, only the most similar one is returned. Otherwise all profiles are loaded, and
        the names of the first four that match `name` are returned (`matches`).
        """
        from difflib import get_close_matches

        if close := get_close_matches(name.lower(), self.names(), 1, cutoff=0.75):
            return close
        return sorted(profile.name for profile in self.profiles()[0] if matches(profile, name))[:4]

    def file(self, family: str) -> Path:
        """Return the path of the profile of a family, without reading the file. Raises KeyError if there is no file."""
        if family and not set(family) & set("/\\\0"):
            for directory in (*reversed(self.profile_dirs), BUILT_IN):
                if (path := directory / f"{family}.toml").is_file():
                    return path
        raise KeyError(family)

    def replaced(self, name: str) -> Path | None:
        """Return the site's own profile that replaces the built-in profile of that name, or None.

        Raises KeyError for an unknown name.
        """
        family = name.partition(":")[0]
        if family in PYTHON_DRIVERS or (path := self.file(family)).parent == BUILT_IN:
            return None
        return path if (BUILT_IN / path.name).is_file() else None


def driver_of(profile: Profile, options: ReadOptions) -> Driver:
    """Return the driver that reads devices with this profile."""
    if profile.driver is not None:
        return _python_driver(profile.driver)(profile.options(options), profile.link)
    return RegisterDriver(profile, options)


def _python_driver(name: str) -> Callable[..., Driver]:
    module, _, attribute = PYTHON_DRIVERS[name].partition(":")
    return cast("Callable[..., Driver]", getattr(import_module(module), attribute))


def matches(profile: Profile, text: str) -> bool:
    """Whether name, manufacturer and models of the profile together contain all words of `text` (`has_words`)."""
    return has_words(f"{profile.name} {profile.manufacturer} {profile.models}", text)


def has_words(described: str, text: str) -> bool:
    """Whether `described` contains all words of `text`, in any order and case; False if `text` has no word."""
    words = re.findall(r"[^\W_]+", text.casefold())
    found = letters(described)
    return bool(words) and all(word in found for word in words)


def letters(text: str) -> str:
    """Return the letters and digits in lower case, so that "SDM 630" and "sdm-630" are equal."""
    return re.sub(r"[\W_]+", "", text.casefold())
