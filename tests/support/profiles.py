"""The built-in profiles. Each is loaded when a test needs it, once per process: loading all takes half a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

from drivers.profile import BUILT_IN, Profile, load, profile_files

_built_in = cache(load)


def load_once(path: Path) -> Profile:
    """Return the profile, as `drivers.profile.load`. Built-in profiles are cached; they are immutable."""
    return _built_in(path) if path.parent == BUILT_IN else load(path)


class Profiles(Mapping[str, Profile]):
    """Driver name → built-in profile, for the profiles of which `has` is true."""

    def __init__(self, has: Callable[[Profile], bool] = lambda _: True) -> None:
        self._files = profile_files()
        self._has = has

    def __getitem__(self, name: str) -> Profile:
        if self._has(profile := load_once(self._files[name])):
            return profile
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._files if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


PROFILES = Profiles()
BY_REGISTERS = Profiles(lambda profile: profile.driver is None)


def families() -> list[Profile]:
    return list(PROFILES.values())
