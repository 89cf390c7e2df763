"""Files that no person wrote: each ends in short lines without controls of a terminal, never in a traceback."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.agent.cli.test_dump import PROFILE
from tests.support.in_process import Done, call_inside
from tests.support.site import configuration

EX_CONFIG = 78
MOST = 500
"""Characters of a line."""
ESCAPES = "\x1b[2J\x1b]0;title\x07\x9b31m\u202eevil\u2066\x00"
EXAMPLE = (Path(__file__).parents[3] / "config.example.toml").read_text(encoding="utf-8")
BUILT_IN = sorted((Path(__file__).parents[3] / "drivers" / "profiles").glob("*.toml"))


def assert_readable(text: str) -> None:
    for line in text.split("\n"):
        shown = line.replace("\t", " ")
        assert shown.isprintable(), ascii(line[:MOST])
        assert len(line) <= MOST, ascii(line[:MOST])


def assert_told(result: Done, *, lines: int = 120) -> None:
    assert_readable(result.stdout)
    assert_readable(result.stderr)
    assert len(result.stderr.splitlines()) <= lines


def checked(content: str | bytes) -> Done:
    """The content as a configuration."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.toml")
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        return call_inside("check", "--config", path)


def profiled(content: str | bytes) -> Done:
    """The content as a profile."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "own-meter.toml")
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        return call_inside("drivers", "check", path)


def dumped(content: str | bytes) -> Done:
    """The content as a dump."""
    with tempfile.TemporaryDirectory() as folder:
        path, profile = Path(folder, "dump.json"), Path(folder, "own-meter.toml")
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        profile.write_text(PROFILE)
        return call_inside("drivers", "check", profile, "--against", path)


TOML_BOMBS = {
    "arrays": "a = " + "[" * 50_000,
    "arrays that end": "a = " + "[" * 300 + "]" * 300,
    "tables": "a = " + "{b = " * 50_000,
    "dotted table": f"[{'.'.join(['a'] * 3000)}]\nb = 1\n",
    "dotted key": f"{'.'.join(['a'] * 200_000)} = 1\n",
    "quoted key": ".".join(['"a"'] * 100_000) + " = 1\n",
    "digits": f"a = {'9' * 6000}\n",
    "hexadecimal digits": f"a = 0x{'f' * 6000}\n",
    "size": "# " + "x" * (2 << 20),
}


@pytest.mark.parametrize("content", TOML_BOMBS.values(), ids=TOML_BOMBS)
@pytest.mark.parametrize("use", [checked, profiled], ids=["configuration", "profile"])
def test_a_toml_bomb_is_one_line(use: Callable[[str], Done], content: str) -> None:
    result = use(content)
    assert (result.returncode, result.stdout) == (EX_CONFIG, "")
    assert_told(result, lines=1)
    assert "toml: " in result.stderr


@pytest.mark.parametrize(
    "content",
    [
        f'"{"k" * 100_000}" = 1\n',
        "".join(f"k{number} = 1\n" for number in range(5000)),
        "".join(f'[[device]]\nnode_id = "k{number}"\n' for number in range(500)),
        f'[site]\nnode_id = "{"x" * 100_000}\\u0007"\n',
        f"[poll]\ninterval_s = [{'1, ' * 50_000}]\n",
        "[poll]\ninterval_s = 1e999999\n[push]\ninterval_s = -" + "9" * 4000,
    ],
)
def test_mistakes_of_any_number_and_length_are_told_in_bounds(content: str) -> None:
    result = checked(content)
    assert result.returncode == EX_CONFIG
    assert_told(result)


@pytest.mark.parametrize("key", ["manufacturer", "source", "models"])
def test_a_profile_cannot_speak_to_the_terminal(tmp_path: Path, key: str) -> None:
    text = json.dumps(f"Acme {ESCAPES.replace(chr(0), '')}")
    value = f"[{text}]" if key == "models" else text
    profile = "\n".join(line for line in PROFILE.splitlines() if not line.startswith(key))
    path = tmp_path / "own-meter.toml"
    path.write_text(f"{key} = {value}\n{profile}")
    for arguments in (
        ("drivers", "--profile-dir", tmp_path),
        ("drivers", "--profile-dir", tmp_path, "show", "own-meter"),
        ("drivers", "check", path),
    ):
        result = call_inside(*arguments)
        assert result.returncode == 0, result.stderr
        assert_told(result)


DUMP_BOMBS = {
    "nested": "[" * 50_000,
    "nested in the registers": '{"registers": {"holding": ' + '{"a": ' * 50_000,
    "digits of a word": f'{{"registers": {{"holding": {{"0": [{"9" * 6000}]}}}}}}',
    "digits of an address": f'{{"registers": {{"holding": {{"{"9" * 6000}": [1]}}}}}}',
    "digits of the unit id": f'{{"registers": {{}}, "unit_id": {"9" * 6000}}}',
    "words": f'{{"registers": {{"holding": {{"0": [{", ".join(["1"] * 3_000_000)}]}}}}}}',
    "words without address": f'{{"registers": {{"holding": [{", ".join(["1"] * 100_000)}]}}}}',
    "unit ids": f'{{"registers": {{}}, "unit_id": [{", ".join(["1"] * 100_000)}]}}',
    "table": f'{{"registers": {{"{json.dumps(ESCAPES)[1:-1]}{"x" * 3000}": {{}}}}}}',
    "word": json.dumps({"registers": {"holding": {"0": [ESCAPES * 100]}}}),
    "address": json.dumps({"registers": {"holding": {ESCAPES: [1]}}}),
    "digit": json.dumps({"registers": {"holding": {"\u0663": [1]}}}),
}


@pytest.mark.parametrize("content", DUMP_BOMBS.values(), ids=DUMP_BOMBS)
def test_a_dump_that_is_none_is_one_line(content: str) -> None:
    result = dumped(content)
    assert (result.returncode, result.stdout) == (1, "")
    assert_told(result, lines=1)
    assert "dump.json: " in result.stderr


def test_what_a_dump_expects_is_shown_without_controls(tmp_path: Path) -> None:
    expected = {"active_power": ESCAPES * 100, "voltage.l1": [ESCAPES]}
    result = dumped(json.dumps({"registers": {"input": {"0": [0] * 60}}, "expected": expected}))
    assert result.returncode == 1
    assert_told(result)


def test_a_variable_is_bounded_as_the_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = configuration(tmp_path, "http://127.0.0.1:1/", "")
    for value in ("[" * 50_000, "9" * 6000, "{a=" * 3000, ESCAPES.replace(chr(0), ""), "x" * 100_000):
        monkeypatch.setenv("TELEMETRY_AGENT__POLL__INTERVAL_S", value)
        result = call_inside("check", "--config", path)
        assert result.returncode == EX_CONFIG
        assert_told(result, lines=2)


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.integers(), st.floats(), st.booleans(), st.text(max_size=20), st.sampled_from([ESCAPES, "x" * 2000, 10**400])
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def toml(value: Any) -> str:
    """A value as TOML, the tables inline."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(each):08x}" for each in value if not "\ud800" <= each <= "\udfff") + '"'
    return str(value)


@st.composite
def altered(draw: st.DrawFn, text: str) -> str:
    """A file with some of its values, and some of its characters, replaced."""
    lines = text.splitlines()
    places = [number for number, line in enumerate(lines) if "=" in line]
    for place in draw(st.lists(st.sampled_from(places), max_size=3)):
        key = lines[place].partition("=")[0].lstrip("# ")
        lines[place] = f"{key}= {toml(draw(VALUES))}"
    text = "\n".join(lines)
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(text)))
        text = text[:start] + draw(st.text(max_size=4)) + text[start + draw(st.integers(0, 4)) :]
    return text


@given(altered(EXAMPLE))
@settings(max_examples=60)
def test_any_configuration_is_accepted_or_refused_in_words(content: str) -> None:
    result = checked(content)
    assert result.returncode in (0, EX_CONFIG), result.stderr
    assert_told(result)


@given(st.binary(max_size=200))
@settings(max_examples=30)
def test_any_bytes_as_a_configuration(content: bytes) -> None:
    result = checked(content)
    assert result.returncode == EX_CONFIG
    assert_told(result)


@given(st.sampled_from([PROFILE, *(path.read_text(encoding="utf-8") for path in BUILT_IN)]).flatmap(altered))
@settings(max_examples=60)
@example(PROFILE.replace("address = 52", f"address = 52\nscale = 1{'0' * 400}"))
def test_any_profile_is_accepted_or_refused_in_words(content: str) -> None:
    result = profiled(content)
    assert result.returncode in (0, EX_CONFIG), result.stderr
    assert_told(result)


@st.composite
def dumps(draw: st.DrawFn) -> str:
    """A dump that is right in some parts."""
    word = st.one_of(st.integers(-1, 0x1_0000), VALUES)
    run = st.one_of(st.lists(st.integers(0, 0xFFFF), max_size=80), st.lists(word, max_size=4), VALUES)
    first = st.one_of(st.integers(0, 60).map(str), st.integers(-1, 0x1_0000).map(str), st.text(max_size=4))
    table = st.one_of(st.dictionaries(first, run, max_size=4), VALUES)
    names = st.one_of(st.sampled_from(["holding", "input", "coil", "discrete"]), st.text(max_size=4))
    return json.dumps(
        {
            "registers": draw(st.one_of(st.dictionaries(names, table, max_size=3), VALUES)),
            **draw(st.dictionaries(st.sampled_from(["unit_id", "expected", "vendor", "type"]), VALUES, max_size=4)),
        }
    )


@given(dumps())
@settings(max_examples=60)
def test_any_dump_is_accepted_or_refused_in_words(content: str) -> None:
    result = dumped(content)
    assert result.returncode in (0, 1), result.stderr
    assert_told(result)


@given(st.binary(max_size=200))
@settings(max_examples=30)
def test_any_bytes_as_a_dump(content: bytes) -> None:
    result = dumped(content)
    assert result.returncode == 1
    assert_told(result, lines=1)
