"""Every profile that says how it is recognised is, among all the others."""

from __future__ import annotations

import pytest

from drivers.base import Catalogue
from drivers.dump import Dump
from drivers.identify import Identifier
from drivers.profile import Identify, Profile, load, profile_files
from drivers.simulator_units import profile_unit

PROFILES = [load(path) for path in profile_files().values()]
MARKED = {profile.name: profile for profile in PROFILES if profile.identify is not None}


def mark(name: str) -> Identify:
    found = MARKED[name].identify
    assert found is not None
    return found


@pytest.mark.parametrize("name", MARKED)
async def test_a_family_is_recognised_by_its_mark(name: str) -> None:
    image = profile_unit(MARKED[name], dict).image()
    identity = await Identifier(PROFILES).identify(Dump({table: dict(words) for table, words in image.items()}))
    names = [match.driver for match in identity.matches]
    assert name in names
    for other in set(names) - {name}:
        ours, theirs = mark(name), mark(other)
        assert (ours.table, ours.address) == (theirs.table, theirs.address), "no mark may be another family's value"
        assert ours.equals[0] in theirs.equals


def test_there_are_profiles_with_a_mark() -> None:
    assert len(MARKED) >= 10
    assert isinstance(PROFILES[0], Profile)
    assert set(MARKED) <= set(Catalogue().names())
