from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from drivers.errors import ProfileError
from drivers.profile.loader import load
from drivers.toml_file import TomlError, parse, read
from tests.support.cases import for_each

# Valid TOML, in which s3cret is only in values.
_VALUES = (
    'token = "s3cret"\n',
    'list = [\n["s3cret"],\n "s3cret"]\n',
    "text = '''\n[s3cret]\ns3cret=1\ns3cret=\n'''\n",
    'escaped = """\n[s3cret]\ns3cret=1\ns3cret=\n"""\n',
    'table = {token = "s3cret", list = ["s3cret"]}\n',
)
_RUBBISH = (*"\"'[]{}=,\\#x\n\0", " x ", "\\q", "\u201c")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "site.toml"


@pytest.mark.parametrize(
    "content", [b'\xef\xbb\xbfa = "x"\n', b'a = "x"\r\n', b'a = "x"'], ids=["byte order mark", "CRLF", "no end of line"]
)
def test_whatever_an_editor_adds_is_taken(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert read(file) == {"a": "x"}


_PARTS = "1." * 40 + "1"


@pytest.mark.parametrize(
    "text",
    [
        f"# {_PARTS}\na = 1\n",
        f'a = "{_PARTS}"\n',
        f"a = '{_PARTS}'\n",
        f'a = """\n"{_PARTS}\\""""\n',
        f"a = '''\n{_PARTS}'''\n",
        f'a = "\\"{_PARTS}"\n',
    ],
    ids=["comment", "text", "literal", "lines", "literal lines", "escape"],
)
def test_dots_are_levels_only_in_a_key(text: str) -> None:
    assert set(parse(text)) == {"a"}


@pytest.mark.parametrize("key", [_PARTS, f'"x".{_PARTS}', f"'x' . {_PARTS}"])
@pytest.mark.parametrize("before", ["", 'b = "\\""\n', "# it's\n", "b = [\n'#', # \"\n]\n"])
def test_a_key_of_many_levels_is_refused(key: str, before: str) -> None:
    for text in (f"{before}{key} = 1\n", f"{before}[{key}]\n", f"{before}a = {{ {key} = 1 }}\n"):
        with pytest.raises(TomlError, match="nested more than 32 levels deep"):
            parse(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[site]\nnode_id = meter-1\n", "Invalid value (at line 2, column 11), node_id; a text needs quotes"),
        ("node_id = \u201cmeter-1\u201d\n", 'node_id; quotes must be straight, as in "text"'),
        ("site:\n  node_id: x\n", 'this is YAML; TOML has [table] and key = "value"'),
        ("a = 1\na = 2\n", "(at line 2, column 6), a; this key or table is defined twice"),
        ("[push]\n[push]\n", "[push]; this table is defined twice; put its keys under one heading"),
        ('p = "C:\\Users"\n', r"p; in double quotes write \\ for a backslash"),
        ("power_W = 10 kW\n", "power_W; after a value only a # comment may follow"),
        ("host = 192.168.1.1\n", "host; after a value only a # comment may follow; a text needs quotes"),
        ('a = "x\nb = 1\n', "(at line 1, column 7), a; a quote is missing"),
        ('a = "x', "a quote is missing"),
        ('a = "x\x01"\n', "Illegal character '\\x01' (at line 1, column 7), a"),
        ("a = [1", "a ] is missing"),
        ("[[device]\n", "a heading is [table] or [[device]]"),
        ("= 1\n", "(at line 1, column 1)"),
    ],
)
def test_a_mistake_says_where_it_is_and_what_to_do(file: Path, text: str, says: str) -> None:
    file.write_text(text)
    with pytest.raises(TomlError) as caught:
        read(file)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        *("token = SECRET\n", 'token = "SECRET" x\n', 'token = "SECRET', 'token = "SECRET\n', '["SECRET"\n'),
        *("a = 1\nSECRET=\n", "a = 1\nSECRET==\n", "a = 1\nSECRET == \n"),
        *('a = [\n["SECRET"] x\n]\n', 'a = [\n["SECRET]\n', "a = '''\nSECRET=1\0\n'''\n", 'a = """\nSECRET="""x\n'),
        '[push token = "SECRET"]\n',
    ],
)
def test_no_value_is_quoted(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(TomlError) as caught:
        read(file)
    assert "SECRET" not in str(caught.value)


@for_each(("rubbish", "text"), product(_RUBBISH, _VALUES))
def test_no_broken_file_shows_a_value(text: str, rubbish: str) -> None:
    said = [_said(text[:place] + rubbish + text[place:]) for place in range(len(text) + 1)]
    assert not [each for each in said if "s3cret" in each]


def _said(text: str) -> str:
    try:
        parse(text)
    except TomlError as error:
        return str(error)
    return ""


def test_a_profile_is_read_in_the_same_way(file: Path) -> None:
    file.write_text("kind = meter\n")
    with pytest.raises(ProfileError, match=r"site.toml: is not valid TOML: .* kind; a text needs quotes"):
        load(file)
