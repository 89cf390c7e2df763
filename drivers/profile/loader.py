"""A device family as a TOML file → a frozen `Profile`. No expressions, no conditions: what needs them is a driver.

- The quantity fixes unit and sign; a profile cannot restate them. Points are in the sign of the payload contract for
  the node they belong to (`drivers.model`): a register that runs the other way has a negative scale.
- Several points with the same node, quantity and phase add up: import minus export (scale -0.1), one MPPT and the next,
  a counter's kWh and MWh words. They are read in one request where one can hold them. The sum is missing when one of
  them is, unless that point says `on_invalid = "zero"`.
- Where a device has its active power or a counter per phase only, the total is the sum of the phases listed.
- `invalid` lists the words that mean "not available" as bit patterns (0x8000), whatever the type; a negative number is
  that of a signed type, and floats may also list values (-1.0). NaN and infinity are never values. Nothing else is
  assumed: 0xFFFF is 65535 until a profile says otherwise.
- `min` and `max` are physical, in the unit of the quantity: a value outside is invalid.
- `[channels]` is for devices with several like outputs: the points are those of the first, `NAME:3` is the third.
- `directed` is for powers that are magnitudes with a bit beside them that says which way (see `sign_bit_driver`).
- `driver` names a Python driver that finds the points itself; the profile then says what the family wants of its link.
- The default of `[defaults]` loses to the site's configuration; its `word_order` also to that of a single point.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from drivers import toml_file
from drivers.driver import LinkDefaults, ReadOptions
from drivers.errors import ProfileError, unreadable
from drivers.model import Kind, NodeType, WordOrder
from drivers.profile.encoding import WORD_ORDERS
from drivers.profile.identify_mark import Identify, identify_from
from drivers.profile.point import Channels, Point, channels_from, directed_from, points_from
from drivers.profile.toml_table import TomlTable
from drivers.protocol import MAX_REGISTERS, MAX_UNIT_ID
from drivers.python_drivers import PYTHON_DRIVERS, channel_number

BUILT_IN = Path(__file__).parents[1] / "profiles"


@dataclass(frozen=True, slots=True)
class Profile:
    """A device family."""

    name: str
    manufacturer: str
    models: tuple[str, ...]
    kind: Kind
    source: str
    points: tuple[Point, ...]
    link: LinkDefaults = field(default_factory=LinkDefaults)
    max_registers: int | None = None
    max_gap: int | None = None
    identify: Identify | None = None
    driver: str | None = None
    """The Python driver that reads the device, for a profile that only says what its family wants of the link."""
    channels: Channels | None = None
    directed: bool = False
    """Powers are magnitudes, and the `on` of their node says that they are negative (see `sign_bit_driver`)."""

    @property
    def nodes(self) -> frozenset[NodeType]:
        """For a hybrid: the node types that its points fill."""
        return frozenset(point.node for point in self.points if point.node is not None)

    def options(self, site: ReadOptions) -> ReadOptions:
        """How a device of the family wants to be read; what the site says wins."""
        return replace(
            site,
            max_registers=self.max_registers if site.max_registers is None else site.max_registers,
            max_gap=self.max_gap if site.max_gap is None else site.max_gap,
        )

    def channel(self, number: str) -> Profile:
        """The profile of one of several like outputs, "1" being the first. Raises ProfileError when there is none."""
        channels = self.channels or Channels(count=0, step=0)
        which = channel_number(self.name, number, channels.count)
        return replace(self, points=tuple(channels.moved(point, which) for point in self.points))


def profile_files(profile_dirs: Iterable[Path] = ()) -> dict[str, Path]:
    """Name → file, parsed by nobody yet; later directories win over earlier ones and over the built-in profiles."""
    files: dict[str, Path] = {}
    for directory in (BUILT_IN, *profile_dirs):
        if directory.is_dir():
            files |= {path.stem: path for path in sorted(directory.glob("*.toml"))}
    return files


def load(path: Path) -> Profile:
    """Read and check one profile. Raises ProfileError for the first mistake: file, point, key, rule and value."""
    try:
        content = toml_file.read(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path}: cannot be read: {unreadable(error)}") from None
    except toml_file.TomlError as error:
        raise ProfileError(f"{path}: is not valid TOML: {error}") from None
    return _profile(TomlTable(content, str(path)), path.stem)


def _profile(table: TomlTable, name: str) -> Profile:
    kind = Kind(table.choice("kind", Kind))
    defaults = TomlTable(table.take("defaults", dict, {}), f"{table.where}: [defaults]")
    order: WordOrder = defaults.choice("word_order", WORD_ORDERS, "big")
    identify = table.take("identify", dict, None)
    driver = table.choice("driver", PYTHON_DRIVERS, None)
    if driver is not None:
        for part, key in ((table, "point"), (table, "channels"), (defaults, "word_order")):
            if part.has(key):
                raise part.wrong(key, f"is for registers; driver {driver} finds them itself", part.content[key])
    points = points_from(table, kind, order) if driver is None else ()
    profile = Profile(
        name=name,
        manufacturer=table.text("manufacturer"),
        models=tuple(table.some("models", (str,), "names")),
        kind=kind,
        source=table.text("source"),
        points=points,
        link=_link(defaults),
        max_registers=defaults.whole("max_registers", 1, MAX_REGISTERS, None),
        max_gap=defaults.whole("max_gap", 0, MAX_REGISTERS - 1, None),
        identify=None if identify is None else identify_from(TomlTable(identify, f"{table.where}: [identify]"), order),
        driver=driver,
        channels=channels_from(table, points),
        directed=directed_from(table, points),
    )
    defaults.done()
    table.done()
    return profile


def _link(defaults: TomlTable) -> LinkDefaults:
    return LinkDefaults(
        timeout_s=defaults.seconds("timeout_s"),
        connect_delay_s=defaults.seconds("connect_delay_s"),
        request_gap_s=defaults.seconds("request_gap_s"),
        unit_id=defaults.whole("unit_id", 0, MAX_UNIT_ID, None),
        port=defaults.whole("port", 1, 65_535, None),
        sleeps=defaults.take("sleeps", bool, False),
    )
