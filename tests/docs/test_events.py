"""docs/events.md lists every event of the source, with its levels and its fields."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")

LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
COUNTERS = {"counter_reset", "counter_replaced", "counter_rolled_over", "counter_glitch_removed"}
COMPUTED = {
    # The expression of the name in the source: the names.
    "self._event": {"token_rotated", "signing_secret_rotated", "status_token_rotated"},
    "event.name": COUNTERS,
    "event": {"report", "endpoint_report"},
}
BY_NAME = {
    # Fields that the source passes as one mapping.
    **{name: {"message", "url", "reason", "again_s"} for name in ("push_failed", "endpoint_misconfigured")},
    "report": {
        *("answering", "lost", "partial", "delivered", "failed", "refused", "waiting", "parked", "not_pushing"),
    },
    "endpoint_report": {"endpoint", "delivered", "failed", "refused", "waiting", "parked", "not_pushing"},
    "library_log": {"library", "message"},
    "implausible_value": {"value", "low", "high"},
}
LOSSES = {"counter_reset", "counter_replaced"}
LIBRARY_LEVELS = {"warning", "error", "critical"}


@dataclass
class Event:
    levels: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)


def calls() -> Iterator[tuple[ast.Call, set[str]]]:
    """Yield each call of a log method, and the methods that it can be."""
    for path in sorted([*(ROOT / "agent").rglob("*.py"), *(ROOT / "drivers").rglob("*.py")]):
        text = path.read_text(encoding="utf-8")
        if "get_logger" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and node.args:
                methods = {
                    part.attr
                    for part in ast.walk(node.func)
                    if isinstance(part, ast.Attribute) and part.attr in LEVELS and _is_log(part.value)
                }
                if methods:
                    yield node, methods
                elif isinstance(node.func, ast.Attribute) and ast.unparse(node.func).endswith("Context().run"):
                    yield ast.Call(node.args[0], node.args[1:], node.keywords), {node.args[0].attr}  # type: ignore[attr-defined]


def _is_log(value: ast.expr) -> bool:
    return ast.unparse(value) in ("log", "structlog.get_logger()")


def names(call: ast.Call) -> set[str]:
    """Return the names that the first argument of a call can have."""
    name = call.args[0]
    constants = {
        part.value for part in ast.walk(name) if isinstance(part, ast.Constant) and isinstance(part.value, str)
    }
    return constants or COMPUTED[ast.unparse(name)]


def of_the_source() -> dict[str, Event]:
    found: dict[str, Event] = defaultdict(Event)
    for call, methods in calls():
        for name in names(call):
            event = found[name]
            event.levels |= {"error" if each == "exception" else each for each in methods}
            event.fields |= BY_NAME.get(name, set()) | {each.arg for each in call.keywords if each.arg is not None}
            if "exception" in methods:
                event.fields.add("exception")
    found["library_log"].levels = LIBRARY_LEVELS
    for name in COUNTERS:
        found[name].levels = {"warning" if name in LOSSES else "info"}
    found["device_still_lost"].levels = {"debug"}  # the level and the name depend on the same condition
    return found


def of_the_page() -> dict[str, Event]:
    found = {}
    for line in PAGE.splitlines():
        if match := re.match(r"\| `(\w+)` \| ([a-z, ]+) \|(.*?)\| (.+) \| (.+) \|$", line):
            assert match[1] not in found, f"{match[1]} is listed twice"
            found[match[1]] = Event(set(match[2].split(", ")), set(re.findall(r"`(\w+)`", match[3])))
    return found


def test_every_event_is_on_the_page_and_no_other() -> None:
    assert set(of_the_page()) == set(of_the_source())


def test_levels_and_fields_are_those_of_the_source() -> None:
    assert of_the_page() == of_the_source()


def test_the_computed_names_are_in_the_source() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "agent").rglob("*.py"))
    for name in set().union(*COMPUTED.values()):
        assert f'"{name}"' in text
    assert '_LOSSES = frozenset({"counter_reset", "counter_replaced"})' in text
    rotated = set(re.findall(r'"(\w+_rotated)"', text))
    assert rotated == COMPUTED["self._event"]
    assert set(re.findall(r'"(counter_\w+)"', (ROOT / "agent/energy/paths.py").read_text())) == COUNTERS
