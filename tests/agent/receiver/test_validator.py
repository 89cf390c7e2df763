"""The reference endpoint's judgement, without sockets."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest

from agent.receiver.report import Journal, json_line, summary, text_line
from agent.receiver.server import MAX_BODY, Validator, Verdict
from agent.security.signing import signatures as sent_signature

NOW = 1_700_000_000
GROUPS: dict[str, Any] = {
    "grid": {},
    "solar": {},
    "storage": {},
    "heat_pump": {},
    "switched_load": {},
    "variable_power_load": {},
}
MESSAGE = {"time": NOW, "siteNodeId": "S", **GROUPS}
NODE = {"time": NOW, "siteNodeId": "S", "nodeId": "pv-1", "solar": {"active_power_W": 5}}
SNAPSHOT = {"time": NOW, "siteNodeId": "S", "nodes": {"pv-1": {"solar": {"active_power_W": 5}}}}
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"o" * 32).decode()


def desk(site: str | None = "S", **options: Any) -> Validator:
    return Validator("t", site, now=lambda: float(NOW), **options)


def headers(identity: str = "msg_1", token: str = "t", **more: str) -> dict[str, str]:
    return {
        "authorization": f"Bearer {token}",
        "content-type": "application/json",
        "idempotency-key": f'"{identity}"',
        "webhook-id": identity,
    } | {name.replace("_", "-"): value for name, value in more.items()}


def body(**changes: Any) -> bytes:
    return json.dumps(MESSAGE | changes).encode()


def test_valid_then_duplicate_then_late() -> None:
    judge = desk()
    assert judge.judge(headers(), body()).status == 200
    assert judge.judge(headers(), body()).duplicate
    assert judge.judge(headers("msg_2"), body(time=NOW - 60)).late
    assert judge.counts == {"accepted": 2, "duplicate": 1, "refused": 0, "late": 1}


@pytest.mark.parametrize("message", [MESSAGE, NODE, SNAPSHOT], ids=["device_type", "node", "snapshot"])
def test_both_levels_and_both_formats_are_valid(message: dict[str, Any]) -> None:
    assert desk().judge(headers(), json.dumps(message).encode()) == Verdict(200, message=message)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"grid": None}, "grid: "),
        ({"time": 1.5}, "time"),
        ({"storage": {"mean_soc_perc": 101}}, "storage.mean_soc_perc"),
        ({"solar": {"active_power_W": None}}, "solar.active_power_W: "),
        ({"solar": {"active_power_W": "5"}}, "solar.active_power_W"),
    ],
)
def test_a_message_against_the_contract_is_refused(changes: dict[str, Any], problem: str) -> None:
    verdict = desk().judge(headers(), body(**changes))
    assert verdict.status == 422
    assert problem in " ".join(verdict.problems)


def test_an_unknown_field_is_accepted_and_reported() -> None:
    verdict = desk().judge(headers(), body(extra=1, solar={"active_power_w": 1}))
    assert (verdict.status, verdict.problems) == (200, ())
    assert verdict.notes == ("unknown fields, accepted: solar.active_power_w, extra",)


def test_token_type_and_ids() -> None:
    judge = desk()
    assert judge.judge(headers(token="other"), body()).status == 401
    assert judge.judge(headers() | {"authorization": "Basic t"}, body()).status == 401
    assert judge.judge(headers(token="ü"), body()).status == 401
    assert judge.judge(headers() | {"content-type": "text/plain"}, body()).status == 415
    assert judge.judge(headers() | {"idempotency-key": '"msg_9"'}, body()).status == 400
    assert judge.judge({"authorization": "Bearer t", "content-type": "application/json"}, body()).status == 400
    missing = {key: value for key, value in MESSAGE.items() if key != "heat_pump"}
    assert judge.judge(headers(), json.dumps(missing).encode()).status == 422


@pytest.mark.parametrize("broken", [b"{", b"\xff", b'{"time": NaN}', b"[" * 100_000], ids=range(4))
def test_what_is_not_json(broken: bytes) -> None:
    assert desk().judge(headers(), broken).status == 400


def test_the_token_is_bound_to_one_site() -> None:
    verdict = desk().judge(headers(), body(siteNodeId="OTHER"))
    assert (verdict.status, verdict.problems) == (403, ("siteNodeId is 'OTHER', but the token is bound to 'S'",))
    unbound = desk(site=None)
    assert unbound.judge(headers(), body(grid=None, siteNodeId="BROKEN")).status == 422
    assert unbound.judge(headers(), body(siteNodeId="FIRST")).status == 200
    assert unbound.judge(headers("msg_2"), body()).status == 403


def test_two_tokens_while_one_is_rotated() -> None:
    judge = Validator("old\nnew", "S", now=lambda: float(NOW))
    assert [judge.judge(headers(token=token), body()).status for token in ("old", "new", "older", "")] == [
        200,
        200,
        401,
        401,
    ]


def test_an_id_of_any_length_is_not_remembered() -> None:
    judge = desk()
    assert judge.judge(headers("m" * 1000), body()).status == 400
    assert judge.judge(headers("m" * 256), body()).status == 200


def test_one_id_for_two_messages_is_refused() -> None:
    judge = desk()
    judge.judge(headers(), body())
    assert judge.judge(headers(), body(grid={"active_power_W": 1})).status == 422


def test_gzip_and_its_bomb() -> None:
    judge = desk()
    zipped = gzip.compress(body())
    assert judge.judge(headers(content_encoding="gzip"), zipped).status == 200
    bomb = gzip.compress(b" " * (MAX_BODY + 1))
    assert judge.judge(headers("msg_2", content_encoding="gzip"), bomb).status == 413
    for damaged in (zipped[:-1], zipped + zipped, b"no gzip"):
        assert judge.judge(headers("msg_3", content_encoding="gzip"), damaged).status == 400
    assert judge.judge(headers("msg_4", content_encoding="br"), zipped).status == 415


def signed(content: bytes, at: int, secret: str = SECRET, **more: str) -> dict[str, str]:
    made = sent_signature(secret, "msg_1", at, content)
    return headers(webhook_timestamp=str(at), webhook_signature=made, **more)


def test_the_signature() -> None:
    judge = desk(secrets=f"{OTHER_SECRET}\n{SECRET}")
    assert judge.judge(headers(), body()).status == 401, "none at all"
    assert judge.judge(signed(body(), NOW), body(time=NOW + 1)).status == 401, "another body"
    stranger = "whsec_" + base64.b64encode(b"s" * 32).decode()
    assert judge.judge(signed(body(), NOW, stranger), body()).status == 401, "another key"
    old = judge.judge(signed(body(), NOW - 301), body())
    assert (old.status, old.problems) == (401, ("webhook-timestamp is 301 s behind this clock",))
    for at in ("soon", "9" * 5000, "\u00b2", "-1", "1e9"):
        made = hmac.digest(b"k" * 32, f"msg_1.{at}.".encode() + body(), hashlib.sha256)
        odd = headers(webhook_timestamp=at, webhook_signature=f"v1,{base64.b64encode(made).decode()}")
        assert judge.judge(odd, body()).problems == ("webhook-timestamp must be whole Unix seconds",)
    both = signed(body(), NOW, stranger)["webhook-signature"] + " v1a,x " + signed(body(), NOW)["webhook-signature"]
    assert judge.judge(signed(body(), NOW) | {"webhook-signature": both}, body()).status == 200, "keys in rotation"


def test_the_signature_is_the_one_of_the_specification() -> None:
    made = base64.b64encode(hmac.new(b"k" * 32, b"msg_1.%d." % NOW + body(), hashlib.sha256).digest()).decode()
    good = headers(webhook_timestamp=str(NOW), webhook_signature=f"v1,{made}")
    assert desk(secrets=SECRET).judge(good, body()).status == 200


def test_the_signature_covers_the_json_before_compression() -> None:
    zipped = gzip.compress(body())
    judge = desk(secrets=SECRET)
    assert judge.judge(signed(zipped, NOW, content_encoding="gzip"), zipped).status == 401
    assert judge.judge(signed(body(), NOW, content_encoding="gzip"), zipped).status == 200


def test_gaps_are_said_and_filled() -> None:
    judge = desk(interval_s=60)
    judge.judge(headers("a"), body())
    verdict = judge.judge(headers("b"), body(time=NOW + 240))
    assert verdict.missing == 3
    assert verdict.notes[0] == "3 missing before it"
    judge.judge(headers("c"), body(time=NOW + 60))
    judge.judge(headers("d"), json.dumps(NODE).encode())
    assert judge.streams[""].missing == 2
    assert judge.streams["pv-1"].missing == 0
    text, line = summary(judge)
    assert text == "4 accepted, 0 duplicate, 0 refused, 1 late"
    assert line.startswith("device types: 2 messages missing up to ")
    judge.judge(headers("e"), body(time=NOW + 120))
    assert summary(judge)[1].startswith("device types: 1 message missing up to ")


def test_what_is_odd_is_said() -> None:
    judge = desk(interval_s=60)
    assert judge.judge(headers("a"), body(time=NOW + 3600)).notes == ("its time is 3600 s ahead of this clock",)
    again = judge.judge(headers("b"), body(time=NOW + 3600))
    assert again.status == 200
    surplus = "its time fills no gap; usually another message with the same time came before"
    assert again.notes[0] == surplus
    judge.judge(headers("c"), body(time=NOW + 3660))
    between = judge.judge(headers("d"), body(time=NOW + 3630))
    assert between.notes[0] == surplus, "no other message has this time"


def test_what_cannot_be_kept_is_not_acknowledged() -> None:
    full = [True]

    def keep(_identity: str, _message: dict[str, Any]) -> None:
        if full:
            raise OSError(28, "No space left on device")

    judge = desk(keep=keep)
    assert judge.judge(headers(), body()).status == 503
    full.clear()
    verdict = judge.judge(headers(), body())
    assert (verdict.status, verdict.duplicate) == (200, False)


def test_the_journal_outlives_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    journal = Journal(path)
    judge = desk(keep=journal.keep)
    judge.judge(headers("a"), body())
    journal.close()
    with path.open("ab") as torn:
        torn.write(b'{"id": "b", "mess')
    journal = Journal(path)
    again = desk(site=None, keep=journal.keep)
    for identity, message in journal.replay():
        again.remember(identity, message)
    assert again.site == "S"
    assert again.judge(headers("a"), body()).duplicate
    assert not again.judge(headers("b"), body(time=NOW + 60)).duplicate
    assert [identity for identity, _ in journal.replay()] == ["a", "b"]
    journal.close()


def test_lines_for_people_and_for_programs() -> None:
    message = MESSAGE | {"grid": {"active_power_W": -1234.5}, "storage": {"active_power_W": 1, "mean_soc_perc": 41.6}}
    sent = headers(x_telemetry_attempt="2", x_telemetry_backlog="17")
    verdict = Verdict(200, message=message, late=True, notes=("a note",))
    shown = text_line(verdict, sent, NOW + 5)
    assert "  200 late  " in shown
    assert shown.endswith("(+5 s)  attempt 2  backlog 17  grid -1234 W, storage 1 W 41.6 %  a note")
    read = json.loads(json_line(verdict, sent, NOW + 5))
    assert read["message"] == message
    assert (read["at"], read["verdict"], read["attempt"], read["backlog"]) == (NOW + 5, "late", 2, 17)
    refused = text_line(Verdict(401, ("wrong\x1b[2J" + "x" * 1000,)), {"x-telemetry-attempt": "-"}, NOW)
    assert "\x1b" not in refused
    assert len(refused) < 400
