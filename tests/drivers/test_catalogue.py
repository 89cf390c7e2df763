"""Finding drivers by name: only what is used is read, and a site's own profile wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.catalogue import Catalogue
from drivers.driver import ReadOptions
from drivers.errors import ProfileError
from drivers.profile.loader import BUILT_IN
from drivers.profile.register_driver import RegisterDriver

OWN = (
    'manufacturer = "Own"\nmodels = ["X"]\nkind = "meter"\nsource = "this test"\n'
    '[[point]]\nquantity = "active_power"\ntable = "input"\naddress = 0\ntype = "float32"\n'
)


def maker(catalogue: Catalogue, name: str) -> str:
    driver = catalogue.create(name, ReadOptions())
    assert isinstance(driver, RegisterDriver)
    return driver.profile.manufacturer


def test_other_profiles_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("this is no TOML")
    (tmp_path / "own.toml").write_text(OWN)
    catalogue = Catalogue((tmp_path,))
    assert maker(catalogue, "own") == "Own"
    assert maker(catalogue, "eastron-sdm630") == "Eastron"
    with pytest.raises(ProfileError, match=r"broken\.toml"):
        catalogue.create("broken", ReadOptions())


def test_a_sites_own_profile_wins_and_is_told(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    (first / "eastron-sdm630.toml").write_text(OWN)
    (second / "eastron-sdm630.toml").write_text(OWN.replace('"Own"', '"Later"'))
    (first / "own.toml").write_text(OWN)
    catalogue = Catalogue((first, second))
    assert maker(catalogue, "eastron-sdm630") == "Later", "a later directory wins"
    assert catalogue.replaced("eastron-sdm630") == second / "eastron-sdm630.toml"
    assert catalogue.replaced("eastron-sdm120") is None
    assert catalogue.replaced("own") is None
    assert catalogue.replaced("sunspec") is None
    assert set(catalogue.names()) >= {"own", "sunspec", "eastron-sdm630"}


@pytest.mark.parametrize("name", ["", "no-such", "../profiles/relay", "/etc/passwd", "a\0b", "profiles/relay"])
def test_names_are_names_and_no_paths(name: str) -> None:
    assert (BUILT_IN / "relay.toml").is_file()
    with pytest.raises(KeyError):
        Catalogue((BUILT_IN.parent,)).create(name, ReadOptions())
