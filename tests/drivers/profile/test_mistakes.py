"""Every rule of a profile, broken: one line that names file, place, key, rule and what was found."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.errors import ProfileError
from drivers.profile.loader import load
from tests.support.cases import for_each

HEAD = 'manufacturer = "Acme"\nmodels = ["One"]\nkind = "{kind}"\nsource = "this test"\n'
POINT = '[[point]]\nquantity = "active_power"\ntable = "holding"\naddress = 0\ntype = "int16"\n'
VOLTAGE = POINT.replace("active_power", "voltage")
MODE = POINT.replace("active_power", "operation_mode")
ON = POINT.replace("active_power", "on")
APART = POINT.replace("address = 0", "addresses = [0, 9]").replace("int16", "int32")
NUMBER = 'table = "holding"\naddress = 9\ntype = "uint16"\n'


def mistake(folder: Path, text: str, kind: str = "meter", head: str = HEAD) -> str:
    path = folder / "acme.toml"
    path.write_text(head.format(kind=kind) + text)
    with pytest.raises(ProfileError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@for_each(
    ("line", "message"),
    [
        (
            'unit = "W"',
            "point[0] active_power: unit: is fixed by the quantity; a profile cannot set it (found 'W')",
        ),
        ("sign = -1", "point[0] active_power: sign: is fixed by the quantity; a profile cannot set it (found -1)"),
        ("scael = 1", "point[0] active_power: scael: unknown key; there are "),
        ("scale = 0", "point[0] active_power: scale: must not be 0 (found 0.0)"),
        ("scale = -1e-310", "point[0] active_power: scale: must not be 0 (found -1e-310)"),
        ("scale = true", "point[0] active_power: scale: must be a number (found True)"),
        ("scale = nan", "point[0] active_power: scale: must be a number (found nan)"),
        ('scale = "10"', "point[0] active_power: scale: must be a number (found '10')"),
        (
            "length = 2",
            "point[0] active_power: length: is for types string and bits; other types have a fixed length (found 2)",
        ),
        ('word_order = "middle"', "point[0] active_power: word_order: must be one of big, little, "),
        ('phase = "l4"', "point[0] active_power: phase: must be one of l1, l2, l3 (found 'l4')"),
        ("phase = 1", "point[0] active_power: phase: must be text (found 1)"),
        (f'phase = "{78 * "x"}"', f"point[0] active_power: phase: must be one of l1, l2, l3 (found '{78 * 'x'}')"),
        (f'phase = "{79 * "x"}"', f"point[0] active_power: phase: must be one of l1, l2, l3 (found '{76 * 'x'}...)"),
        ('node = "solar"', "point[0] active_power: node: is for hybrids, this is a meter (found 'solar')"),
        ("bit = -1", "point[0] active_power: bit: must be 0..63 (found -1)"),
        ("bit = 64", "point[0] active_power: bit: must be 0..63 (found 64)"),
        ("bit = 3", "point[0] active_power: bit: has no meaning for active_power (found 3)"),
        ('values = { "1" = "on" }', "point[0] active_power: values: has no meaning for active_power (found {'1': "),
        ("invalid = []", "point[0] active_power: invalid: must be a list of raw numbers, not empty (found [])"),
        ("invalid = 0x8000", "point[0] active_power: invalid: must be a list (found 32768)"),
        ("invalid = ['x']", "point[0] active_power: invalid: must be a list of raw numbers, not empty (found ['x'])"),
        ("invalid = [1, 'x']", "point[0] active_power: invalid: must be a list of raw numbers, not empty (found [1, "),
        ("invalid = [0x10000]", "point[0] active_power: invalid: must be bit patterns of 16 bits (found 65536)"),
        ("invalid = [-32769]", "point[0] active_power: invalid: must be bit patterns of 16 bits (found -32769)"),
        ("invalid = [0x18000]", "point[0] active_power: invalid: must be bit patterns of 16 bits (found 98304)"),
        ("invalid = [-1.0]", "point[0] active_power: invalid: must be whole numbers for type int16 (found -1.0)"),
        ('on_invalid = "old"', "point[0] active_power: on_invalid: must be one of missing, zero (found 'old')"),
        ("magnitude = 1", "point[0] active_power: magnitude: must be true or false (found 1)"),
        ("min = 5\nmax = 4", "point[0] active_power: min: must not be above max = 4 (found 5.0)"),
        ("barrier = 1", "point[0] active_power: barrier: must be true or false (found 1)"),
    ],
)
def test_of_a_point(tmp_path: Path, line: str, message: str) -> None:
    assert mistake(tmp_path, f"{POINT}{line}\n").startswith(message)


@for_each(
    ("old", "new", "message"),
    [
        ('"active_power"', '"watts"', "point[0] watts: quantity: must be one of active_power, "),
        ('table = "holding"\n', "", "point[0] active_power: table: is missing"),
        (
            '"holding"',
            '"register"',
            "point[0] active_power: table: must be one of coil, discrete, input, holding (found",
        ),
        ('"holding"', '"coil"', "point[0] active_power: type: must be one of bool, bits (found 'int16')"),
        ("= 0", "= 40001.0", "point[0] active_power: address: must be a whole number (found 40001.0)"),
        ("= 0", "= 65536", "point[0] active_power: address: must be 0..65535 (found 65536)"),
        ('= 0\ntype = "int16"', '= 65535\ntype = "int32"', "point[0] active_power: address: must leave room for 2 reg"),
        ('"int16"', '"int24"', "point[0] active_power: type: must be one of int16, "),
        (
            '"int16"',
            '"string"\nlength = 2',
            "point[0] active_power: type: string is only for [identify], [mark.NAME] and [serial]",
        ),
        ('"int16"', '"bitfield"\nbit = 1', "point[0] active_power: type: must be a number for active_power"),
        ('"int16"', '"bool"', "point[0] active_power: type: must be a number for active_power (found 'bool')"),
        (
            '"int16"',
            '"uint16"\ninvalid = [-1]',
            "point[0] active_power: invalid: must be bit patterns of 16 bits (found",
        ),
        ('"int16"', '"float32"\ninvalid = [1e39]', "point[0] active_power: invalid: must fit float32 (found 1e+39)"),
        (
            '"int16"',
            '"float32"\ninvalid = [-1]',
            "point[0] active_power: invalid: must be bit patterns of 32 bits; a value needs a decimal point, such as",
        ),
        ("address = 0", "addresses = [0]", "point[0] active_power: addresses: must be one for each of the 1 registers"),
        (
            "address = 0",
            "addresses = [0.5]",
            "point[0] active_power: addresses: must be a list of addresses, not empty",
        ),
        (
            '"holding"\naddress = 0',
            '"coil"\naddresses = [0, 1]',
            "point[0] active_power: table: must be one of input, holding (found 'coil')",
        ),
        *(
            (
                'address = 0\ntype = "int16"',
                f'addresses = [0, {address}]\ntype = "int32"',
                f"point[0] active_power: addresses: must be different, each 0..65535 (found [0, {address}])",
            )
            for address in (-1, 65_536)
        ),
    ],
)
def test_of_a_point_s_place_and_type(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert mistake(tmp_path, POINT.replace(old, new)).startswith(message)


@for_each(
    ("text", "message"),
    [
        (f"{ON}", "point[0] on: type: on is a bool or one bit; named states are an operation_mode (found 'int16')"),
        *(
            (f"{ON}{key} = {found}\nbit = 1\n", f"point[0] on: {key}: has no meaning for on (found {found.title()})")
            for key, found in {"scale": "2", "offset": "2", "magnitude": "true", "min": "1", "max": "1"}.items()
        ),
        (f"{ON}bit = 16\n", "point[0] on: bit: must be 0..15 for int16 (found 16)"),
        (f"{ON.replace('int16', 'float32')}bit = 1\n", "point[0] on: bit: needs a type of whole numbers (found 1)"),
        (f"{ON.replace('int16', 'bool')}bit = 0\n", "point[0] on: bit: needs a type of whole numbers (found 0)"),
        (
            f'{ON}bit = 1\nvalues = {{ "1" = "on" }}\n',
            "point[0] on: type: on is a bool or one bit; named states are an operation_mode (found 'int16')",
        ),
        (f"{ON.replace('int16', 'bitfield')}", "point[0] on: type: bitfield needs bit = 0..15 (found 'bitfield')"),
        (
            f'{MODE.replace("int16", "float32")}values = {{ "1" = "on" }}\n',
            "point[0] operation_mode: values: needs a type of whole numbers (found 'float32')",
        ),
        (
            f'{MODE}values = {{ "1" = "on" }}\non_invalid = "zero"\n',
            "point[0] operation_mode: on_invalid: zero cannot be used with values (found 'zero')",
        ),
        (f"{MODE}values = {{}}\n", "point[0] operation_mode: values: must name at least one raw number (found {})"),
        (f'{MODE}values = {{ "0" = "heating" }}\n', "point[0] operation_mode: values: must name each mode off or on"),
        (
            f'{MODE}values = {{ "x" = "on" }}\n',
            "point[0] operation_mode: values: must map raw numbers to names, such as",
        ),
        (f'{MODE}values = {{ "1" = 1 }}\n', "point[0] operation_mode: values: must map to text (found 1)"),
        (f'{MODE}values = {{ "1" = "on", "0x1" = "off" }}\n', "point[0] operation_mode: values: has this number twice"),
        (f"{POINT}{POINT}", "point[1] active_power: address: is already used by point[0] (found 0)"),
        (2 * APART, "point[1] active_power: address: is already used by point[0] (found 0)"),
        (
            f"{VOLTAGE}{VOLTAGE.replace('= 0', '= 1')}",
            "point[1] voltage: quantity: cannot be summed and is already in point[0]",
        ),
        ("", "point: is missing"),
        ("point = []\n", "point: must be a list of [[point]] tables, not empty (found [])"),
        (f"colour = 1\n{POINT}", "colour: unknown key; there are "),
        (f"[defaults]\nunit_id = 256\n{POINT}", "[defaults]: unit_id: must be 0..255 (found 256)"),
        (f"[defaults]\nmax_registers = 126\n{POINT}", "[defaults]: max_registers: must be 1..125 (found 126)"),
        (f"[defaults]\nmax_gap = 125\n{POINT}", "[defaults]: max_gap: must be 0..124 (found 125)"),
        (f"[defaults]\nport = 0\n{POINT}", "[defaults]: port: must be 1..65535 (found 0)"),
        (f"[defaults]\ntimeout_s = 3600.5\n{POINT}", "[defaults]: timeout_s: must be 0..3600 seconds (found 3600.5)"),
        (f"[defaults]\ntimeout_s = -1\n{POINT}", "[defaults]: timeout_s: must be 0..3600 seconds (found -1.0)"),
        (f"[defaults]\nbaudrate = 9600\n{POINT}", "[defaults]: baudrate: unknown key; there are "),
        (f'{POINT}[identify]\ntable = "holding"\naddress = 1\ntype = "uint16"\n', "[identify]: equals: is missing"),
        (f'{POINT}[identify]\ntable = "holding"\ntype = "uint16"\nequals = [1]\n', "[identify]: address: is missing"),
        (
            f'{POINT}[identify]\ntable = "holding"\naddress = 1\ntype = "uint16"\nequals = [65536]\n',
            "[identify]: equals: must fit uint16 (found 65536)",
        ),
        (
            f'{POINT}[identify]\ntable = "coil"\naddress = 1\nequals = [2]\n',
            "[identify]: equals: must fit bool (found 2)",
        ),
        (
            f'{POINT}[identify]\ntable = "holding"\naddress = 1\ntype = "bool"\nequals = [65536]\n',
            "[identify]: equals: must fit bool (found 65536)",
        ),
        (
            f'{POINT}[identify]\ntable = "holding"\naddress = 1\ntype = "string"\nlength = 1\nequals = ["abc*"]\n',
            "[identify]: equals: must fit string (found 'abc*')",
        ),
        *(
            (
                f'{POINT}[identify]\ntable = "holding"\naddress = 1\ntype = {type_}\nequals = [{found}]\n',
                f"[identify]: equals: must fit {type_.split()[0][1:-1]} (found ",
            )
            for type_, found in {'"uint16"': "'a'", '"string"\nlength = 2': "1"}.items()
        ),
        *(
            (
                f'{POINT}[identify]\ntable = "holding"\naddress = 1\ntype = "string"\n{length}equals = ["a"]\n',
                f"[identify]: length: {message}",
            )
            for length, message in {"": "is missing", "length = 0\n": "must be 1..125 (found 0)"}.items()
        ),
        (
            f'{POINT}[identify]\ntable = "holding"\naddress = 1\ntype = "uint16"\nequals = [1]\nalso = []\n',
            "[identify]: also: must be a list of tables, not empty (found [])",
        ),
        (
            f'{POINT}[identify]\ntable = "holding"\naddress = 1\ntype = "uint16"\nequals = [1]\nalso = [{{}}]\n',
            "[identify] also[0]: table: is missing",
        ),
    ],
)
def test_of_the_whole(tmp_path: Path, text: str, message: str) -> None:
    assert mistake(tmp_path, text).startswith(message)


@for_each(
    ("table", "where"),
    [
        ("[channels]\ncount = 2\n", "[channels]"),
        ("[repeat.packs]\nmost = 3\nstep = 10\n", "[repeat.packs]"),
        (f"[repeat.packs]\nmost = 3\nstep = 10\n{NUMBER}", "[repeat.packs]"),
        (f"[rating]\n{NUMBER}", "[rating]"),
        (f"[serial]\n{NUMBER}", "[serial]"),
        ('[[variant]]\nname = "new"\nmark = "there"\nword_order = "little"\n', "variant[0] new"),
    ],
)
def test_of_a_key_that_a_table_does_not_have(tmp_path: Path, table: str, where: str) -> None:
    text = f"{POINT}[mark.there]\n{NUMBER}equals = [1]\n{table}baudrate = 9600\n"
    assert mistake(tmp_path, text).startswith(f"{where}: baudrate: unknown key; there are ")


@for_each("key", ["point", "channels", "mark", "repeat", "rating", "serial", "variant"])
def test_of_registers_where_a_driver_finds_them(tmp_path: Path, key: str) -> None:
    message = f"{key}: is for registers; driver sunspec finds them itself (found {{}})"
    assert mistake(tmp_path, f'driver = "sunspec"\n{key} = {{}}\n') == message


def test_of_a_family_without_models(tmp_path: Path) -> None:
    head = HEAD.replace('["One"]', "[]")
    assert mistake(tmp_path, POINT, head=head) == "models: must be a list of names, not empty (found [])"


TWO = '[[point]]\nquantity = "operation_mode"\ntable = "coil"\naddress = 0\ntype = "bits"\n'
OFF = 'values = { "1" = "off" }\n'


@for_each(
    ("text", "message"),
    [
        (f"{TWO}{OFF}", "length: is missing"),
        (f"{TWO}{OFF}length = 1\n", "length: must be 2..8 (found 1)"),
        (f"{TWO}length = 2\n", "values: is missing"),
        (f'{TWO}length = 2\nvalues = {{ "4" = "on" }}\n', "values: must be 0..3 for 2 bits (found 4)"),
        (f"{TWO}{OFF}length = 2\ninvalid = [-1]\n", "invalid: must be 0..3 for 2 bits (found -1)"),
        (f"{TWO}{OFF}length = 2\ninvalid = [1.0]\n", "invalid: must be 0..3 for 2 bits (found 1.0)"),
        (f"{TWO}{OFF}length = 2\nbit = 0\n", "bit: needs a type of whole numbers (found 0)"),
        (f"{TWO}{OFF}length = 2\n".replace("coil", "holding"), "type: must be one of int16, "),
        (f"{TWO}{OFF}length = 2\n".replace("= 0", "= 65535"), "address: must leave room for 2 registers below 65536"),
    ],
)
def test_of_several_bits_as_one_number(tmp_path: Path, text: str, message: str) -> None:
    assert mistake(tmp_path, text).startswith(f"point[0] operation_mode: {message}")


@for_each(
    ("quantity", "message"),
    [
        ("on", "type: on is a bool or one bit; named states are an operation_mode (found 'bits')"),
        ("temperature", "type: must be a number for temperature (found 'bits')"),
    ],
)
def test_of_bits_that_name_no_mode(tmp_path: Path, quantity: str, message: str) -> None:
    text = f"{TWO}length = 2\n".replace("operation_mode", quantity)
    assert mistake(tmp_path, text).startswith(f"point[0] {quantity}: {message}")


def test_of_a_mark_in_bits(tmp_path: Path) -> None:
    mark = '[identify]\ntable = "coil"\naddress = 0\ntype = "bits"\nlength = 2\nequals = [1]\n'
    assert mistake(tmp_path, f"{POINT}{mark}").startswith("[identify]: type: must be one of bool (found 'bits')")


@for_each(
    ("kind", "text", "message"),
    [
        ("toaster", POINT, "kind: must be one of meter, inverter, battery, hybrid, heat_pump, charger, relay (found"),
        ("hybrid", POINT, "point[0] active_power: node: is missing; each point of a hybrid needs a node"),
        ("meter", "[[point]\n", "is not valid TOML: "),
    ],
)
def test_of_the_kind_and_of_toml(tmp_path: Path, kind: str, text: str, message: str) -> None:
    assert mistake(tmp_path, text, kind).startswith(message)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"none\.toml: cannot be read: "):
        load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'manufacturer = "M\xfcller"\n')
    with pytest.raises(ProfileError, match=r"latin\.toml: cannot be read: "):
        load(tmp_path / "latin.toml")


MARK = f"[mark.there]\n{NUMBER}"
HOLDS = MARK + "equals = [1]\n"
ELSE = 'table = "holding", address = 1, type = "uint16", equals = [1]'
REPEAT = "[repeat.packs]\nmost = 3\nstep = 10\n"
VARIANT = '[[variant]]\nname = "new"\n'
HIGH = MARK.replace("= 9", "= 65530")
LAST = 'table = "holding"\naddress = 65535\ntype = "uint32"\n'
BIT = ON.replace("int16", "bitfield") + "bit = 0\n"
_INSIDE = "is too large: the last channel needs an address above 65535, or a bit that its register lacks"
_OF_BITS = "cannot be used with a point that is a bit and has marks or fallbacks"
LITTLE = f'{VARIANT}mark = "there"\nword_order = "little"\n'


@for_each(
    ("text", "message"),
    [
        (f"{POINT}optional = 1\n", "point[0] active_power: optional: must be true or false (found 1)"),
        (f"{VOLTAGE}optional = 1\n", "point[0] voltage: optional: must be true or false (found 1)"),
        (f'{POINT}valid = "there"\n', "point[0] active_power: valid: must name a mark; there is no [mark.NAME] table"),
        (f'{HOLDS}{POINT}valid = "their"\n', "point[0] active_power: valid: must name a mark; there are there (found"),
        (
            f'{HOLDS}{POINT}positive = "there"\n',
            "point[0] active_power: positive: needs negative in the same point (found",
        ),
        (
            f'{HOLDS}{POINT.replace("active_power", "imported_energy")}negative = "there"\n',
            "point[0] imported_energy: negative: has no meaning for imported_energy (found 'there')",
        ),
        (f"{MARK}{POINT}", "[mark.there]: equals: is missing"),
        (f"{HOLDS}unit_id = 200\n{POINT}", "[mark.there]: unit_id: unknown key; there are "),
        (f"{HOLDS}also = [{{ unit_id = 200, {ELSE} }}]\n{POINT}", "[mark.there] also[0]: unit_id: unknown key; there "),
        (
            f"{POINT}{HOLDS.replace('mark.there', 'identify')}unit_id = 200\n",
            "[identify]: unit_id: is for marks in the list also; the first mark is at the unit id of the device (found",
        ),
        (
            f"{POINT}{HOLDS.replace('mark.there', 'identify')}also = [{{ unit_id = 256 }}]\n",
            "[identify] also[0]: unit_id: must be 0..255 (found 256)",
        ),
        (f"mark = 1\n{POINT}", "mark: must be a table (found 1)"),
        (f"mark = {{ there = 1 }}\n{POINT}", "mark: must be tables, such as [mark.meter_is_there] (found 1)"),
        (f"[mark.there]\n{LAST}min = 1\n{POINT}", "[mark.there]: address: must leave room for 2 registers below 65536"),
        (f"{HOLDS}min = 1\n{POINT}", "[mark.there]: equals: cannot be used together with min, max or bit"),
        (f"{MARK}min = 5\nmax = 4\n{POINT}", "[mark.there]: min: must not be above max = 4 (found 5.0)"),
        (f"{HOLDS}grace_s = -1\n{POINT}", "[mark.there]: grace_s: must be 0..3600 seconds (found -1.0)"),
        (
            f"{MARK.replace('uint16', 'string')}length = 2\nmax = 3\n{POINT}",
            "[mark.there]: max: is for numbers; a text is compared with equals (found 'string')",
        ),
        (
            f"{POINT.replace('address = 0', 'addresses = [0, 5]')}",
            "point[0] active_power: addresses: must be one for each of the 1 registers (found [0, 5])",
        ),
        (
            f"{POINT.replace('int16', 'int32')}addresses = [0, 5]\n",
            "point[0] active_power: address: cannot be used together with addresses (found 0)",
        ),
        (
            f"{POINT.replace('int16', 'int32').replace('address = 0', 'addresses = [5, 5]')}",
            "point[0] active_power: addresses: must be different, each 0..65535 (found [5, 5])",
        ),
        *(
            (
                f"{POINT}fallback = [{{ address = 1, {key} = {found} }}]\n",
                f"point[0] active_power fallback[0]: {key}: cannot be set in a fallback, only in the point (found ",
            )
            for key, found in {
                "quantity": "'soc'",
                "phase": "'l1'",
                "node": "'grid'",
                "optional": "true",
                "confirmed": "false",
                "repeat": "'packs'",
                "fallback": "[{ address = 2 }]",
            }.items()
        ),
        (
            f"{POINT}fallback = [{{ adress = 1 }}]\n",
            "point[0] active_power fallback[0]: adress: unknown key; there ",
        ),
        (f"{POINT}fallback = []\n", "point[0] active_power: fallback: must be a list of tables, not empty (found [])"),
        (f'{POINT}repeat = "packs"\n', "point[0] active_power: repeat: must name a repetition; there is no [repeat"),
        (f'{REPEAT}{POINT}repeat = "pack"\n', "point[0] active_power: repeat: must name a repetition; there are packs"),
        (f"repeat = {{ packs = 1 }}\n{POINT}", "repeat: must be tables, such as [repeat.batteries] (found 1)"),
        *(
            (f"{REPEAT.replace('= 10', f'= {step}')}{POINT}", f"[repeat.packs]: step: must be 1..4096 (found {step})")
            for step in (0, 4097)
        ),
        *(
            (f"{REPEAT}{NUMBER.replace('uint16', type_)}{bit}{POINT}", "[repeat.packs]: type: must be a number (found ")
            for type_, bit in {"bool": "", "bitfield": "bit = 1\n"}.items()
        ),
        (f"{REPEAT}{NUMBER}bit = 1\n{POINT}", "[repeat.packs]: bit: cannot be used for a number of blocks (found 1)"),
        (f"{REPEAT}{LAST}{POINT}", "[repeat.packs]: address: must leave room for 2 registers below 65536"),
        (f'{REPEAT}{VOLTAGE}repeat = "packs"\n', "point[0] voltage: repeat: voltage cannot be summed (found 'packs')"),
        (
            f'{REPEAT}{POINT.replace("= 0", "= 65520")}repeat = "packs"\n',
            "point[0] active_power: repeat: exceeds the last address at block 3 (found 'packs')",
        ),
        (f"{REPEAT.replace('= 3', '= 1')}{POINT}", "[repeat.packs]: most: must be 2..128 (found 1)"),
        (
            f'{REPEAT}table = "holding"\naddress = 1\ntype = "string"\nlength = 2\n{POINT}',
            "[repeat.packs]: type: must be a number (found 'string')",
        ),
        (f'{REPEAT}present = "there"\n{POINT}', "[repeat.packs]: present: must name a mark; there is no [mark.NAME]"),
        (
            f'{HOLDS}{REPEAT}present = "there"\ntable = "holding"\n{POINT}',
            "[repeat.packs]: present: cannot be used together with table (found 'there')",
        ),
        (
            f"{MARK.replace('= 9', '= 65520')}equals = [1]\n{REPEAT}{POINT}repeat = 'packs'\nvalid = 'there'\n",
            "point[0] active_power: repeat: exceeds the last address at block 3 (found 'packs')",
        ),
        (
            f"{MARK.replace('= 9', '= 65520')}equals = [1]\n{REPEAT}present = 'there'\n{POINT}",
            "[repeat.packs]: present: exceeds the last address at block 3 (found 'there')",
        ),
        *(
            (f"{HIGH}equals = [1]\n{text}[channels]\ncount = 8\n", f"[channels]: count: {_INSIDE} (found 8)")
            for text in (
                POINT + "fallback = [{ address = 65530 }]\n",
                POINT + "valid = 'there'\n",
                POINT + VARIANT + "mark = 'there'\n" + POINT.replace("[[", "[[variant.").replace("= 0", "= 65530"),
            )
        ),
        *(
            (f"{POINT}[channels]\ncount = 2\nstep = {step}\n", f"[channels]: step: must be 1..4096 (found {step})")
            for step in (0, 4097)
        ),
        *(
            (
                f"{ON.replace('int16', type_)}bit = 0\n[channels]\ncount = {count}\n",
                f"[channels]: count: {_INSIDE} (found",
            )
            for type_, count in {"bitfield": 17, "uint8_low": 9, "uint32": 33}.items()
        ),
        *(
            (f"{HOLDS}{BIT}{key}\n[channels]\ncount = 8\n", f"[channels]: count: {_OF_BITS} (found 8)")
            for key in ("valid = 'there'", "fallback = [{ address = 1 }]")
        ),
        (
            f"{HOLDS}{REPEAT}present = 'there'\n{POINT}repeat = 'packs'\n[channels]\ncount = 2\nstep = 100\n",
            "[channels]: count: cannot be used with a repetition whose number of blocks is read (found 2)",
        ),
        (
            f"{HOLDS}grace_s = 60\n{REPEAT}present = 'there'\n{POINT}",
            "[repeat.packs]: present: must name a mark without grace_s, which is for points (found 'there')",
        ),
        (
            f"{HOLDS}grace_s = 60\n{POINT}valid = 'there'\n{LITTLE}",
            "variant[0] new: mark: must name a mark without grace_s, which is for points (found 'there')",
        ),
        (f"{POINT}{VARIANT}", "variant[0] new: mark: is missing"),
        (
            f'{HOLDS}{POINT}{VARIANT}mark = "there"\n',
            "variant[0] new: name: needs word_order or [[variant.point]], otherwise",
        ),
        (
            f"{HOLDS}{POINT}{2 * LITTLE}",
            "variant[1] new: name: is already used by another variant (found 'new')",
        ),
        (f'{POINT}[rating]\ntable = "holding"\n', "[rating]: address: is missing"),
        (
            f'{POINT}[rating]\ntable = "holding"\naddress = 1\ntype = "string"\nlength = 2\n',
            "[rating]: type: string is only for [identify], [mark.NAME] and [serial] (found 'string')",
        ),
        (
            f'{POINT}[rating]\ntable = "holding"\naddress = 1\ntype = "uint16"\ntimes = 0\n',
            "[rating]: times: must be 1..10 (found 0)",
        ),
        (f"{POINT}[rating]\n{NUMBER}bit = 1\n", "[rating]: bit: has no meaning for apparent_power (found 1)"),
        (f"{POINT}[rating]\n{LAST}", "[rating]: address: must leave room for 2 registers below 65536 (found 65535)"),
        (f"{POINT}[serial]\n{LAST}", "[serial]: address: must leave room for 2 registers below 65536 (found 65535)"),
        *(
            (
                f"{POINT}[serial]\n{NUMBER.replace('uint16', 'string')}length = 2\n{key}\n",
                f"[serial]: {message}",
            )
            for key, message in {
                "bit = 1": "bit: needs a type of whole numbers (found 1)",
                "invalid = [0]": "invalid: has no meaning for type string (found [0])",
            }.items()
        ),
        (f'identified_as = "other"\n{POINT}', "identified_as: must be a list (found 'other')"),
        (
            f'identified_as = ["other"]\n{POINT}{HOLDS.replace("mark.there", "identify")}',
            "identified_as: is for a profile without [identify] (found ['other'])",
        ),
        (f'note = ""\n{POINT}', "note: must not be empty (found '')"),
    ],
)
def test_of_what_devices_do(tmp_path: Path, text: str, message: str) -> None:
    assert mistake(tmp_path, text).startswith(message)


def test_of_an_optional_state(tmp_path: Path) -> None:
    coil = ON.replace("holding", "coil").replace("int16", "bool")
    message = "point[0] on: optional: is only for numbers, not for on (found True)"
    assert mistake(tmp_path, f"{coil}optional = true\n", kind="relay") == message


def test_a_bool_has_no_invalid_number(tmp_path: Path) -> None:
    coil = ON.replace("holding", "coil").replace("int16", "bool")
    message = "point[0] on: invalid: has no meaning for type bool (found [1])"
    assert mistake(tmp_path, f"{coil}invalid = [1]\n", kind="relay") == message


COIL = '[identify]\ntable = "coil"\naddress = 0\n'


@for_each(
    "text",
    [
        f"{POINT.replace('= 0', '= 65535')}[rating]\n{NUMBER.replace('= 9', '= 65535')}",
        POINT.replace("address = 0", "addresses = [0, 65535]").replace("int16", "int32"),
        APART + APART.replace("9", "10"),
        f"{ON.replace('int16', 'uint64')}bit = 63\n",
        f"{POINT}min = 4\nmax = 4\n",
        f'{MODE}values = {{ "0" = "off", "1" = "on" }}\n',
        f'{TWO}length = 2\nvalues = {{ "0" = "off", "3" = "on" }}\n',
        f"{POINT}invalid = [-32768]\n",
        f"{POINT.replace('int16', 'uint16')}invalid = [0]\n",
        f"{POINT}[defaults]\ntimeout_s = 0\nconnect_delay_s = 3600\nmax_gap = 0\nport = 1\n",
        f"{POINT}{COIL}equals = [0, 1]\n",
        f"{REPEAT.replace('= 10', '= 1')}{POINT}",
        f"{REPEAT.replace('= 10', '= 4096')}{POINT}",
        f"{REPEAT}{POINT.replace('= 0', '= 65515')}repeat = 'packs'\n",
        f"{HOLDS.replace('= 9', '= 65515')}{REPEAT}present = 'there'\n{POINT}",
        f"{REPEAT}{POINT}repeat = 'packs'\n[channels]\ncount = 2\nstep = 100\n",
        f"{BIT}[channels]\ncount = 16\nstep = 1\n",
        f"{POINT.replace('= 0', '= 61439')}[channels]\ncount = 2\nstep = 4096\n",
    ],
)
def test_the_outermost_that_is_allowed(tmp_path: Path, text: str) -> None:
    path = tmp_path / "acme.toml"
    path.write_text(HEAD.format(kind="meter") + text)
    assert load(path).points


@for_each("quantity", ["active_power", "reactive_power", "apparent_power", "current", "soc"])
def test_of_these_quantities_two_points_are_added(tmp_path: Path, quantity: str) -> None:
    one = POINT.replace("active_power", quantity)
    path = tmp_path / "acme.toml"
    path.write_text(HEAD.format(kind="battery") + one + one.replace("= 0", "= 1"))
    assert [point.address for point in load(path).points] == [0, 1]
