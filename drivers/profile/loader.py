"""Loads the TOML file of a device family as a frozen `Profile`. docs/adding-a-device.md describes all keys.

A profile has no expressions, and its only conditions are marks. A device that needs more gets a Python driver.

Details of some keys:

- The quantity fixes the unit and the sign; a profile cannot change them. Signs follow the payload contract for the
  node of the point (`drivers.model`). For a register with the opposite sign, set a negative scale.
- Points with the same node, quantity and phase are added, and read in one request if possible. Percentages are averaged
  instead. The sum is missing or invalid if one of its points is. But the sum omits an `optional` point if the device
  does not have its value. With `on_invalid = "zero"`, a point counts 0 if the device says "not available".
- `invalid` lists bit patterns, such as 0x8000. For a signed type, it may also list a negative number; for a float, a
  value such as -1.0. NaN and infinity are never values. Without `invalid`, 0xFFFF is 65535.
- If all words of a reply with at least four words are 0xFFFF, or all are 0x8000, the whole reply means "not available".
  This rule does not apply if a point of the request has `on_invalid = "zero"` and one of its `invalid` patterns
  contains that word. The reply is then decoded as usual.
- `driver` names a Python driver that finds the points itself. The profile then has only `kind`, `[defaults]` without
  `word_order`, texts such as the manufacturer, and `[identify]` or `identified_as`.
- The `word_order` of a point overrides that of `[defaults]`. The site's `[[device]]` table also has the key
  `word_order`, which overrides both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from drivers import toml_file
from drivers.driver import PYTHON_DRIVERS, LinkDefaults, ReadOptions, channel_number
from drivers.errors import ProfileError, unreadable
from drivers.model import WORD_ORDERS, Kind, NodeType, WordOrder
from drivers.profile.channels import Channels, channels_from
from drivers.profile.direction import directed
from drivers.profile.mark import Mark, identify_from, marks_from
from drivers.profile.point import Point, Vocabulary, points_from
from drivers.profile.repeat import repeats_from
from drivers.profile.toml_table import TomlTable
from drivers.profile.variant import Rating, Serial, Variant, rating_from, serial_from, variants_from
from drivers.protocol import MAX_PORT, MAX_REGISTERS, MAX_UNIT_ID
from drivers.registers import Span

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
    identify: Mark | None = None
    identified_as: tuple[str, ...] = ()
    """Other profiles whose `[identify]` matches the devices of this family. `scan` proposes such a profile, and also
    prints the name of this one, which has no `[identify]`."""
    driver: str | None = None
    """The Python driver that reads the device, for a profile without points."""
    channels: Channels | None = None
    variants: tuple[Variant, ...] = ()
    """The points of the first variant whose mark holds are used. If no mark holds, `points` are used."""
    rating: Rating | None = None
    serial: Serial | None = None
    note: str = ""
    """Advice for the installer."""

    @property
    def spans(self) -> set[Span]:
        """Every span that a driver of the family may read."""
        points = [*self.points, *(point for variant in self.variants for point in variant.points)]
        spans = {span for point in points for span in point.all_spans}
        spans |= {span for variant in self.variants for span in variant.mark.spans}
        spans |= {span for repeat in {point.repeat for point in points} if repeat for span in repeat.spans}
        return spans | ({self.rating.span} if self.rating else set())

    @property
    def notes(self) -> tuple[str, ...]:
        """The note of the profile and the notes of its variants."""
        variants = (f"{variant.name}: {variant.note}" for variant in self.variants if variant.note)
        return (*([self.note] if self.note else []), *variants)

    def as_variant(self, variant: Variant) -> Profile:
        """Return a profile for the devices of one variant."""
        return replace(self, points=variant.points, variants=())

    @property
    def nodes(self) -> frozenset[NodeType]:
        """For a hybrid: the node types that its points feed. Empty for other kinds."""
        return frozenset(point.node for point in self.points if point.node is not None)

    def options(self, site: ReadOptions) -> ReadOptions:
        """Return `site`, the options of the site, with the limits of the profile where the site sets none."""
        return replace(
            site,
            max_registers=self.max_registers if site.max_registers is None else site.max_registers,
            max_gap=self.max_gap if site.max_gap is None else site.max_gap,
        )

    def channel(self, number: str) -> Profile:
        """Return the profile of one channel. The first channel is "1". Raises ProfileError for an unknown channel."""
        channels = self.channels or Channels(count=0, step=0)
        which = channel_number(self.name, number, channels.count)
        variants = tuple(
            replace(each, points=tuple(channels.moved(point, which) for point in each.points)) for each in self.variants
        )
        return replace(self, points=tuple(channels.moved(point, which) for point in self.points), variants=variants)


def profile_files(profile_dirs: Iterable[Path] = ()) -> dict[str, Path]:
    """Return name → file of each profile. Later directories have priority over earlier ones and built-in profiles."""
    files: dict[str, Path] = {}
    for directory in (BUILT_IN, *profile_dirs):
        if directory.is_dir():
            files |= {path.stem: path for path in sorted(directory.glob("*.toml"))}
    return files


def load(path: Path) -> Profile:
    """Load and check one profile. Raises ProfileError for the first mistake, with file, point, key, rule and value."""
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
    identified_as = tuple(table.some("identified_as", (str,), "names of drivers", []))
    if identified_as and identify is not None:
        raise table.wrong("identified_as", "is for a profile without [identify]", list(identified_as))
    driver = table.choice("driver", PYTHON_DRIVERS, None)
    if driver is not None:
        own = [(table, key) for key in ("point", "channels", "mark", "repeat", "rating", "serial", "variant")]
        for part, key in (*own, (defaults, "word_order")):
            if part.has(key):
                raise part.wrong(key, f"is for registers; driver {driver} finds them itself", part.content[key])
    marks = marks_from(table, order)
    vocabulary = Vocabulary(kind, order, marks, repeats_from(table, order, marks))
    points: tuple[Point, ...] = ()
    variants: tuple[Variant, ...] = ()
    if driver is None:
        listed = points_from(table, vocabulary)
        points = directed(table, listed)
        variants = tuple(
            replace(variant, points=directed(table, variant.points))
            for variant in variants_from(table, listed, vocabulary)
        )
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
        identified_as=identified_as,
        driver=driver,
        channels=channels_from(table, [*points, *(point for variant in variants for point in variant.points)]),
        variants=variants,
        rating=rating_from(table, order) if driver is None else None,
        serial=serial_from(table, order) if driver is None else None,
        note=table.text("note") if table.has("note") else "",
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
        port=defaults.whole("port", 1, MAX_PORT, None),
        sleeps=defaults.take("sleeps", bool, False),
    )
