"""The questions of `init` about the devices that the scan found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from agent.cli.common import complain, say
from agent.commissioning.describe import table
from agent.commissioning.new_site import wrong_answer
from agent.commissioning.proposals import Names, Proposal, UnitProposals, proposal, set_type, settle_grid
from agent.runtime import printable
from drivers.catalogue import Catalogue
from drivers.driver import ReadOptions
from drivers.errors import ProfileError
from drivers.model import Kind, NodeType
from drivers.protocol import unit_address
from drivers.scan import Match

if TYPE_CHECKING:
    from agent.cli.questions import Questions

_UNUSED = "not used"
_RELAY = "relay"
"""The driver of relay boards."""


class DeviceQuestions:
    """Asks for the drivers, types and names of the devices in `found`, and for the power of the loads of relays.

    The answers change the proposals of these devices.
    """

    def __init__(
        self, ask: Questions, catalogue: Catalogue, names: Names, found: list[UnitProposals], *, has_grid: bool
    ) -> None:
        """`has_grid`: the existing configuration has a device that measures the grid."""
        self._ask = ask
        self._catalogue = catalogue
        self._names = names
        self._found = found
        self._has_grid = has_grid

    @property
    def _proposals(self) -> list[Proposal]:
        return [one for each in self._found for one in each.proposals]

    def settle(self) -> None:
        """Print which devices may be the same device. Then show all devices.

        Without --yes, first ask about everything that the scan cannot know. Then show the devices, and let the person
        change one of them. Repeat this until the person accepts them.
        """
        for one in filter(_doubtful, self._proposals):
            say(f"{one.where} is {one.doubt}. Use it only if they are different devices.")
        if not self._ask.asks:
            self.show()
            return
        for each in self._found:
            if not each.proposals:
                self._identify(each)
        for one in self._proposals:
            if one.match.kind is Kind.METER:
                self._measures(one)
        settle_grid(self._proposals, self._names, has_grid=self._has_grid)
        for one in self._proposals:
            self._power(one)
        while True:
            self.show()
            rows = {str(number): each for number, each in enumerate(self._rows(), 1)}
            chosen = self._ask.text(
                "Number of a device to change it, or Enter to accept all",
                "",
                "",
                lambda text, rows=rows: None if text in ("", *rows) else f"must be a number up to {len(rows)}",  # type: ignore[misc]
            )
            if not chosen:
                return
            self._change(rows[chosen])
            settle_grid(self._proposals, self._names, has_grid=self._has_grid)

    def show(self) -> None:
        """Print a table of the devices, and of the units that were not identified."""
        rows = (self._row(number, row) for number, row in enumerate(self._rows(), 1))
        table("Found", ("#", "device", "address", "measures", "name"), rows)

    def _rows(self) -> Iterator[tuple[UnitProposals, Proposal | None]]:
        """Yield (unit, proposal) for each proposal, and (unit, None) for a unit without one."""
        for each in self._found:
            if each.proposals:
                yield from ((each, one) for one in each.proposals)
            else:
                yield each, None

    def _row(self, number: int, row: tuple[UnitProposals, Proposal | None]) -> tuple[str, ...]:
        found, one = row
        if one is None:
            return str(number), "not identified", _where(found), _UNUSED, ""
        types = ", ".join(map(_plain, one.nodes)) if one.enabled else _UNUSED
        device = one.device if one.device == one.driver else f"{one.device} ({one.driver})"
        if found.unit.identity and found.unit.identity.unanswered and one.match in found.unit.identity.matches:
            device += ", not certain"
        return str(number), device, one.where, types, ", ".join(one.nodes.values())

    def _identify(self, found: UnitProposals) -> None:
        """Ask for the driver of an unknown unit. If it is probably a relay board, choose its driver without asking."""
        likely = found.unit.identity.likely if found.unit.identity else ()
        if likely == (_RELAY,):
            self._bind(found, _RELAY)
            return
        labels = " ".join(found.unit.identity.labels) if found.unit.identity else ""
        say(printable(f"{_where(found)} was not identified{f'; its name is {labels}' if labels else ''}."))
        if likely:
            say(f"Perhaps one of these drivers: {', '.join(likely)}")
        self._ask_driver(found)

    def _ask_driver(self, found: UnitProposals) -> None:
        names = self._catalogue.names()

        def rule(text: str) -> str | None:
            if not text or text.partition(":")[0] in names:
                return None
            alike = self._catalogue.alike(text)
            return f"no such driver; did you mean {', '.join(alike)}?" if alike else "no driver matches"

        if driver := self._ask.text("Driver, manufacturer or model of this unit (Enter: leave it out)", "", "", rule):
            self._bind(found, driver)

    def _bind(self, found: UnitProposals, driver: str) -> None:
        """Replace the proposals of the unit by one with this driver. If the driver cannot be used, print why."""
        try:
            made = self._catalogue.create(driver, ReadOptions())
        except (KeyError, ProfileError) as error:
            complain(f"driver {driver!r} cannot be used: {error}")
            return
        for old in found.proposals:
            for name in old.nodes.values():
                self._names.release(name)
        match = Match(driver, made.kind, made.nodes, driver, "by the installer")
        grid = not self._has_grid and not any(one.measures_grid for one in self._proposals)
        found.proposals = [proposal(found.place.link, found.unit.unit_id, match, self._names, of_grid=grid)]

    def _measures(self, one: Proposal) -> None:
        self._type(one, list(NodeType), f"What does {one.device} at {one.where} measure?")

    def _type(self, one: Proposal, types: Sequence[NodeType], question: str) -> None:
        """Ask for the type of a device with one node. "Not used" is one of the choices."""
        choices: list[tuple[NodeType | None, str]] = [(type_, _plain(type_)) for type_ in types]
        choices.append((None, _UNUSED))
        usual = next(iter(one.nodes)) if one.enabled else None
        type_ = self._ask.choice(question, choices, usual)
        if type_ is None:
            one.enabled = False
        else:
            set_type(one, type_, self._names)

    def _power(self, one: Proposal) -> None:
        """If the device is a relay that is used, ask for the power of its load."""
        if one.match.kind is not Kind.RELAY or not one.enabled:
            return
        (name,) = one.nodes.values()
        usual = "" if one.nominal_power_W is None else f"{one.nominal_power_W:g}"
        answer = self._ask.text(f"Power of the load at {name} while it is on, in W (Enter: unknown)", "", usual, _watts)
        one.nominal_power_W = float(answer) if answer else None

    def _change(self, row: tuple[UnitProposals, Proposal | None]) -> None:
        """Ask for the driver, type, names and power of the device in this row, and whether it is used."""
        found, one = row
        if one is None:
            self._ask_driver(found)
            one = next(iter(found.proposals), None)
            if one is None:
                return
        else:
            self._change_driver(found, one)
            one = one if one in found.proposals else found.proposals[0]
        if one.match.kind is Kind.METER:
            self._measures(one)
        elif not one.is_hybrid and len(one.match.kind.nodes) > 1:
            allowed = [type_ for type_ in NodeType if type_ in one.match.kind.nodes]
            self._type(one, allowed, f"What is {one.device} at {one.where}?")
        else:
            one.enabled = self._ask.agree(f"Use {one.device}?", default=one.enabled)
        if one.enabled:
            for type_, name in one.nodes.items():
                one.nodes[type_] = self._new_name(type_, name)
            self._power(one)

    def _change_driver(self, found: UnitProposals, one: Proposal) -> None:
        """If the scan found several drivers for the device, ask which one reads it."""
        matches = found.unit.identity.matches if found.unit.identity else []
        if len(matches) < 2 or one.number > 1 or one.match not in matches:
            return
        choices = [(match, f"{match.driver} ({match.device}, {match.why})") for match in matches]
        match = self._ask.choice(f"Which driver reads {one.where}?", choices, one.match)
        if match is not one.match:
            for name in one.nodes.values():
                self._names.release(name)
            grid = one.measures_grid or not any(each.measures_grid for each in self._proposals)
            found.proposals[found.proposals.index(one)] = proposal(
                found.place.link, found.unit.unit_id, match, self._names, of_grid=grid and not self._has_grid
            )

    def _new_name(self, type_: NodeType, name: str) -> str:
        """Ask for a new name of the node `name`. Reserve the answer and return it."""

        def rule(text: str) -> str | None:
            if text == name:
                return None
            if mistake := wrong_answer({"site": {"node_id": text}}):
                return mistake.removeprefix("site.node_id: ")
            return None if self._names.free(text) else f"{text} is the name of another node"

        new = self._ask.text(f"Name of the {type_.value.replace('_', ' ')} node", "", name, rule)
        self._names.release(name)
        self._names.take(new)
        return new


def _doubtful(one: Proposal) -> bool:
    return bool(one.doubt)


def _where(found: UnitProposals) -> str:
    return unit_address(found.place.link.address, found.unit.unit_id)


def _plain(type_: NodeType) -> str:
    return type_.value.replace("_", " ")


def _watts(text: str) -> str | None:
    """Return what is wrong with a power in W; None if it can be used or is empty."""
    if not text:
        return None
    try:
        power = float(text)
    except ValueError:
        return "must be a number of watts, such as 2000"
    return None if 0 <= power < 1e9 else "must be a number of watts, such as 2000"
