"""The built-in profiles, each loaded once in a process: they are frozen, and loading all takes a second."""

from __future__ import annotations

from drivers.profile import Profile, load, profile_files

PROFILES: dict[str, Profile] = {name: load(path) for name, path in profile_files().items()}
"""Driver name → profile."""
