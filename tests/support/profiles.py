"""The built-in profiles. Each is loaded once per process, because loading all of them takes half a second."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from drivers.profile import BUILT_IN, Profile, load, profile_files

_built_in = cache(load)


def load_once(path: Path) -> Profile:
    """Return the profile, as `drivers.profile.load`. Built-in profiles are cached; they are immutable."""
    return _built_in(path) if path.parent == BUILT_IN else load(path)


PROFILES: dict[str, Profile] = {name: load_once(path) for name, path in profile_files().items()}
"""Driver name → profile."""
