from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from agent.commissioning.describe import describe
from agent.config.errors import ConfigError
from agent.config.loader import parse
from agent.domain.node import Node, ReadingUse, counted_in, direction, doubts, sign_in_words, use_of, why_unfit
from agent.site.builder import Site, build
from drivers.model import Kind, NodeType, Quantity


def site(*devices: dict[str, Any], **push: Any) -> tuple[Any, Site]:
    table = {
        "site": {"node_id": "S"},
        "push": {"url": "https://telemetry.example.com/", "token": "t"} | push,
        "device": [{"host": "192.0.2.1", "unit_id": number} | device for number, device in enumerate(devices, 1)],
    }
    config = parse(table, {}, "site.toml")
    return config, build(config, "site.toml")


def mistakes(*devices: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        site(*devices)
    return caught.value.lines


def meter(node_id: str, type_: str = "grid", **more: Any) -> dict[str, Any]:
    return {"node_id": node_id, "type": type_, "driver": "eastron-sdm630"} | more


def hybrid(within: str, **nodes: str) -> dict[str, Any]:
    return {"driver": "sunspec", "nodes": nodes, "within": within}


def test_a_hybrids_meter_behind_the_main_meter() -> None:
    _, built = site(meter("main"), hybrid("main", solar="pv", grid="inner"))
    assert {node.node_id: node.counted for node in built.nodes} == {"main": True, "pv": True, "inner": False}


def test_a_node_is_summed_unless_one_of_the_meters_around_it_is_sent() -> None:
    main, middle = Node("main", NodeType.GRID, Kind.METER), Node("middle", NodeType.GRID, Kind.METER, within="main")
    inner, hidden = replace(middle, node_id="inner", within="middle"), replace(main, node_id="hidden", push=False)
    nodes = [main, middle, inner, hidden]
    assert counted_in(nodes, ["main", "inner", "hidden"]) == {"main"}
    assert counted_in(nodes, ["middle", "inner"]) == {"middle"}
    assert counted_in(nodes, ["inner"]) == {"inner"}
    assert counted_in([inner], ["inner"]) == {"inner"}, "its meter is not on this site"


@pytest.mark.parametrize(
    ("devices", "line"),
    [
        ([meter("a", within="b")], "device[0].within (a): no enabled node is named 'b'"),
        (
            [meter("a"), meter("b", "solar", within="a")],
            "device[1].within (b): 'a' is grid; only a node of the same type can measure this one as well",
        ),
        (
            [meter("a", push=False), meter("b", within="a")],
            "device[1].within (b): the total does not include 'a'; name a node that it includes",
        ),
        (
            [meter("a", within="a")],
            "device[0].within (a): the total does not include 'a'; name a node that it includes",
        ),
        ([meter("a"), hybrid("a", solar="pv")], "device[1].within (pv): no node of this device is of the type of 'a'"),
        (
            [{"node_id": "r", "type": "grid", "driver": "relay"}],
            (
                "device[0].type (r): a device of kind relay cannot be grid; it can be heat_pump, switched_load,"
                " variable_power_load"
            ),
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(devices: list[dict[str, Any]], line: str) -> None:
    assert mistakes(*devices) == [f"site.toml: {line}"]


def test_an_id_has_at_most_1000_characters() -> None:
    _, built = site(meter("m" * 1000))
    assert [len(node.node_id) for node in built.nodes] == [1000]
    (mistake,) = mistakes(meter("m" * 1001))
    assert "must have at most 1000 characters" in mistake


@pytest.mark.parametrize("name", ["on", "operation_mode", "power_factor"])
def test_a_quantity_without_a_unit_has_no_limits(name: str) -> None:
    (mistake,) = mistakes(meter("m", limits={name: [0, 1]}))
    assert "must be a quantity with its unit" in mistake


def test_only_the_sun_lets_a_node_sleep() -> None:
    for device in (meter("m"), {"driver": "sunspec", "nodes": {"storage": "m"}}):
        rule = 'site.toml: device[0].when_offline (m): only a solar node can sleep; use "missing" or "zero"'
        assert mistakes(device | {"when_offline": "sleep"}) == [rule]


def test_two_in_a_circle_are_both_refused() -> None:
    assert len(mistakes(meter("a", within="b"), meter("b", within="a"))) == 2


def test_check_says_the_sign_of_each_node_and_what_is_doubtful() -> None:
    config, built = site(
        meter("m1"),
        meter("m2"),
        meter("m3", within="m1"),
        meter("roof", "solar", invert=True),
        {"node_id": "boiler", "type": "switched_load", "driver": "relay"},
        meter("bat", "storage", push=False),
        {"node_id": "pv", "type": "solar", "driver": "goodwe-dt"},
        sign={"storage": -1},
    )
    lines = [line.partition("; ")[2] or line for line in describe(config, built)][1:]
    assert lines == [
        "import is sent as positive, export as negative",
        "import is sent as positive, export as negative",
        "import is sent as positive, export as negative; not added to the total, because it is behind m1",
        (
            "production is sent as positive, own consumption as negative; what the meter counts as import is production"
            " (invert = true)"
        ),
        "consumption is sent as positive, generation as negative",
        "discharge is sent as positive, charge as negative (push.sign.storage = -1); not sent (push = false)",
        (
            "production is sent as positive, own consumption as negative; if it does not answer at night it counts 0 W;"
            " if its last power was 100 W or more, or it does not wake within 2 h of yesterday's time, it is missing"
        ),
        'if one of them measures the other too, give the inner one within = "…"',
        "without nominal_power_W it has no power",
    ]


def test_only_meters_of_the_grid_that_are_summed_may_measure_each_other() -> None:
    def of(*nodes: Node) -> list[str]:
        return [line.partition(";")[0] for line in doubts(nodes)]

    m1, m2 = (Node(name, NodeType.GRID, Kind.METER) for name in ("m1", "m2"))
    inner = Node("m3", NodeType.GRID, Kind.METER, within="m1")
    roofs = [Node(name, NodeType.SOLAR, Kind.METER) for name in ("pv1", "pv2")]
    assert of(m1, inner, *roofs) == []
    assert of(m1, inner, *roofs, m2) == ["m1 and m2 are summed as grid"]


@pytest.mark.parametrize(
    ("type_", "positive", "negative"),
    [
        (NodeType.GRID, "import", "export"),
        (NodeType.SOLAR, "production", "own consumption"),
        (NodeType.STORAGE, "charge", "discharge"),
        (NodeType.HEAT_PUMP, "consumption", "generation"),
        (NodeType.SWITCHED_LOAD, "consumption", "generation"),
        (NodeType.VARIABLE_POWER_LOAD, "consumption", "generation"),
    ],
)
def test_every_power_but_0_has_a_direction(type_: NodeType, positive: str, negative: str) -> None:
    assert [direction(type_, power_W) for power_W in (0.5, -0.5, 0.0)] == [positive, negative, ""]


def test_check_warns_of_one_device_that_is_two_nodes_of_a_type() -> None:
    config, built = site(
        meter("a", "solar", unit_id=7),
        meter("b", "solar", unit_id=7),
        {"node_id": "r1", "type": "switched_load", "driver": "relay", "unit_id": 8, "nominal_power_W": 1.0},
        {"node_id": "r2", "type": "switched_load", "driver": "relay:2", "unit_id": 8, "nominal_power_W": 1.0},
        *(
            {"node_id": name, "type": "variable_power_load", "driver": driver, "unit_id": 9}
            for name, driver in [("one", "em2go-duo:1"), ("two", "em2go-duo:2"), ("first", "em2go-duo")]
        ),
    )
    assert [line for line in describe(config, built) if "warning" in line] == [
        "warning: a and b both read 192.0.2.1:502 unit 7; the same solar would be counted twice",
        "warning: one and first both read 192.0.2.1:502 unit 9; the same variable_power_load would be counted twice",
    ]


def test_words_and_numbers_agree() -> None:
    """The direction that a meter's positive power gets, in words and in the sign that is used."""
    for type_, invert in product(NodeType, (False, True)):
        node = Node("n", type_, Kind.METER, invert=invert)
        use = use_of(node, Quantity.ACTIVE_POWER, None)
        assert use is not None
        plain = -1.0 if type_ is NodeType.SOLAR else 1.0
        assert use.sign == (-plain if invert else plain)
        export_is_positive = "export is" in sign_in_words(node) or "counts as export" in sign_in_words(node)
        assert export_is_positive == (use.sign < 0)


def test_a_meter_in_the_other_direction_in_words() -> None:
    meter = Node("m", NodeType.GRID, Kind.METER, invert=True)
    assert sign_in_words(meter) == (
        "import is sent as positive, export as negative; what the meter counts as export is import (invert = true)"
    )


@pytest.mark.parametrize(
    ("type_", "invert", "expected"),
    [
        (NodeType.GRID, False, "imported_energy"),
        (NodeType.GRID, True, "exported_energy"),
        (NodeType.SOLAR, False, "consumed_energy"),
        (NodeType.SOLAR, True, "produced_energy"),
        (NodeType.STORAGE, False, "charged_energy"),
        (NodeType.STORAGE, True, "discharged_energy"),
        (NodeType.HEAT_PUMP, False, "consumed_energy"),
        (NodeType.SWITCHED_LOAD, True, "produced_energy"),
    ],
)
def test_the_import_counter_of_a_meter(type_: NodeType, invert: bool, expected: str) -> None:
    node = Node("n", type_, Kind.METER, invert=invert)
    for day in ("", "today_"):
        use = use_of(node, Quantity(f"{day}imported_energy"), None)  # type: ignore[call-arg]
        assert use == ReadingUse(Quantity(day + expected), 1.0)  # type: ignore[call-arg]


@pytest.mark.parametrize("quantity", [Quantity.ACTIVE_POWER, Quantity.IMPORTED_ENERGY])
def test_a_meter_whose_driver_names_the_nodes_is_used_as_it_is(quantity: Quantity) -> None:
    node = Node("n", NodeType.SOLAR, Kind.METER, of_hybrid=True)
    assert use_of(node, quantity, NodeType.SOLAR) == ReadingUse(quantity, 1.0)


def test_every_kind_can_be_something_and_says_what_it_cannot_be() -> None:
    assert why_unfit(Kind.METER, NodeType.HEAT_PUMP) is None
    assert why_unfit(Kind.INVERTER, NodeType.GRID) == "a device of kind inverter cannot be grid; it can be solar"
    for kind in Kind:
        assert any(why_unfit(kind, type_) is None for type_ in NodeType)
