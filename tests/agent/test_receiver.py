from __future__ import annotations

import json
from typing import Any

import pytest

from agent.receiver import Desk

GROUPS: dict[str, Any] = {
    "grid": {},
    "solar": {},
    "storage": {},
    "heat_pump": {},
    "switched_load": {},
    "variable_power_load": {},
}
MESSAGE = {"time": 1_700_000_000, "siteNodeId": "S", **GROUPS}


def headers(identity: str = "msg_1", token: str = "t") -> dict[str, str]:
    return {
        "authorization": f"Bearer {token}",
        "content-type": "application/json",
        "idempotency-key": f'"{identity}"',
        "webhook-id": identity,
    }


def body(**changes: Any) -> bytes:
    return json.dumps(MESSAGE | changes).encode()


def test_valid_then_duplicate_then_late() -> None:
    desk = Desk("t", "S")
    assert desk.judge(headers(), body()).status == 200
    assert desk.judge(headers(), body()).duplicate
    assert desk.judge(headers("msg_2"), body(time=1_699_999_940)).late
    assert desk.counts == {"accepted": 2, "duplicate": 1, "refused": 0, "late": 1}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"grid": None}, "grid: "),
        ({"time": 1.5}, "time"),
        ({"siteNodeId": "OTHER"}, "siteNodeId is 'OTHER', but the token is bound to 'S'"),
        ({"extra": 1}, "extra: "),
        ({"storage": {"mean_soc_perc": 101}}, "storage.mean_soc_perc"),
        ({"solar": {"active_power_W": None}}, "solar.active_power_W: null"),
        ({"solar": {"active_power_W": "5"}}, "solar.active_power_W"),
    ],
)
def test_a_message_against_the_contract_is_refused(changes: dict[str, Any], problem: str) -> None:
    verdict = Desk("t", "S").judge(headers(), body(**changes))
    assert verdict.status == 422
    assert problem in " ".join(verdict.problems)


def test_token_type_and_ids() -> None:
    desk = Desk("t")
    assert desk.judge(headers(token="other"), body()).status == 401
    assert desk.judge(headers() | {"content-type": "text/plain"}, body()).status == 415
    assert desk.judge(headers() | {"idempotency-key": '"msg_9"'}, body()).status == 400
    assert desk.judge(headers(), b"{").status == 400
    missing = {key: value for key, value in MESSAGE.items() if key != "heat_pump"}
    assert desk.judge(headers(), json.dumps(missing).encode()).status == 422
