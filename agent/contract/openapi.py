"""Makes the OpenAPI 3.1 document of an endpoint from the types of the contract. The daemon does not import this module.

`python -m agent.contract.openapi docs/schema/openapi.json` writes the document.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from agent.config import RetryConfig
from agent.contract.schema import MAJOR, MESSAGES, MINOR, opened

PATH = "/v1/telemetry"

_EXAMPLES: dict[str, dict[str, Any]] = {
    "device-type": {
        "time": 1795488582,
        "siteNodeId": "DEMO_site_0",
        "grid": {"active_power_W": -1500, "today_imported_energy_Wh": 1000, "today_exported_energy_Wh": 4000},
        "solar": {"active_power_W": 5000, "today_energy_Wh": 10500},
        "storage": {"active_power_W": 2000, "energy_stored_Wh": 6000, "energy_capacity_Wh": 10000, "mean_soc_perc": 60},
        "heat_pump": {"active_power_W": 0, "operation_modes": ["off"]},
        "switched_load": {},
        "variable_power_load": {},
    },
    "device-node": {
        "time": 1795488582,
        "siteNodeId": "DEMO_site_0",
        "nodeId": "pv-1",
        "solar": {"active_power_W": 2090, "today_energy_Wh": 184},
    },
    "device-snapshot": {
        "time": 1795488582,
        "siteNodeId": "DEMO_site_0",
        "nodes": {"pv-1": {"solar": {"active_power_W": 2090, "today_energy_Wh": 184}}, "meter-1": {"grid": {}}},
    },
}

_DESCRIPTION = """\
The agent of a site POSTs one JSON object to the URL of its configuration. The path in this document is an example.

- Commit the message before you answer 2xx. The agent then deletes it.
- Store each `webhook-id` once: a message arrives again if an answer was lost.
- Accept fields that you do not know, at every level.
- A message with `nodes` has all nodes, a message with `nodeId` has one node, any other message has the totals.
- With `Content-Encoding: gzip`, decompress the body first; most frameworks do not.
- Verify `webhook-signature` over the decompressed bytes of the body, not over parsed JSON.
"""

_ID = {"type": "string", "minLength": 1, "maxLength": 64}
_COUNT = {"type": "integer", "minimum": 0}

# Each entry: name, required, schema, description. Authorization and Content-Type are not here, because OpenAPI has
# `security` and `content` for them.
_HEADERS: tuple[tuple[str, bool, dict[str, Any], str], ...] = (
    ("webhook-id", True, _ID, "the id of the message, the same on every retry; unique over all sites"),
    ("Idempotency-Key", True, _ID | {"maxLength": 66}, "the same id in quotes"),
    (
        "webhook-timestamp",
        False,
        {"type": "string", "pattern": "^[0-9]{1,11}$"},
        "Unix seconds of this attempt; only if messages are signed",
    ),
    (
        "webhook-signature",
        False,
        {"type": "string"},
        "Standard Webhooks, `v1,<base64>`; several signatures are separated by blanks; only if messages are signed",
    ),
    ("X-Telemetry-Attempt", False, _COUNT, "0 for the first attempt of the message"),
    ("X-Telemetry-Backlog", False, _COUNT, "the number of messages that wait after this one"),
    (
        "Content-Encoding",
        False,
        {"type": "string", "enum": ["gzip"]},
        "only if messages are compressed; the body is then gzip of the JSON",
    ),
)

_REFUSALS = RetryConfig.model_fields["dead_letter_after"].default

# Status → its meaning, and what the agent does.
_ANSWERS = {
    "204": "stored, or stored before: the agent deletes the message. Any other 2xx has the same effect",
    "400": f"this message is wrong: after {_REFUSALS} refusals the agent no longer sends it. If several live "
    "messages in a row are refused, the agent keeps all messages",
    "401": "the token is unknown, or the signature is wrong: the agent keeps all messages and tries again",
    "403": "the token belongs to another site: the agent keeps all messages and tries again",
    "409": "another request stores this id at the moment: the agent sends the message again",
    "413": "the message is too large: the agent does the same as after 400",
    "415": "Content-Type must be application/json, Content-Encoding gzip or none: the agent does the same as after 400",
    "422": "the message does not match the schema: the agent does the same as after 400",
    "429": "too many messages: the agent sends the message again, after Retry-After",
    "503": "cannot store now: the agent sends the message again, after Retry-After",
}


def document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    names = ("device-snapshot", "device-node", "device-type")
    types: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = [
        (name, "validation", TypeAdapter(MESSAGES[name])) for name in names
    ]
    kinds, definitions = TypeAdapter.json_schemas(types, ref_template="#/components/schemas/{model}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Endpoint of telemetry-push-agent",
            "version": f"{MAJOR}.{MINOR}",
            "summary": "Receives the telemetry of energy sites",
            "description": _DESCRIPTION,
        },
        "servers": [{"url": "https://telemetry.example.com"}],
        "security": [{"token": []}],
        "paths": {
            PATH: {
                "post": {
                    "operationId": "receiveMessage",
                    "summary": "Store one message",
                    "parameters": [
                        {"name": name, "in": "header", "required": required, "description": text, "schema": schema}
                        for name, required, schema, text in _HEADERS
                    ],
                    "requestBody": {
                        "required": True,
                        "content": {
                            "application/json": {
                                "schema": {"anyOf": list(kinds.values())},
                                "examples": {name: {"value": value} for name, value in _EXAMPLES.items()},
                            }
                        },
                    },
                    "responses": {status: _answer(status, text) for status, text in _ANSWERS.items()},
                }
            }
        },
        "components": {
            "schemas": opened(definitions["$defs"]),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "each controller has its own token, for one site",
                }
            },
        },
    }


def _answer(status: str, text: str) -> dict[str, Any]:
    if status not in {"429", "503"}:
        return {"description": text}
    header = {
        "description": "seconds, or an HTTP date; more than one hour counts as one hour",
        "schema": {"type": "string"},
    }
    return {"description": text, "headers": {"Retry-After": header}}


def main(file: Path) -> None:
    """Write the document into a file."""
    file.write_text(json.dumps(document(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
