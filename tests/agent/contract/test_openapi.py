"""The document says what the agent does with an answer."""

from __future__ import annotations

from agent.contract.openapi import PATH, document
from agent.delivery.http_reply import MAX_RETRY_AFTER_S


def test_the_longest_pause_of_the_document_is_that_of_the_agent() -> None:
    answers = document()["paths"][PATH]["post"]["responses"]
    assert answers["429"]["headers"]["Retry-After"]["description"].endswith("more than one hour counts as one hour")
    assert MAX_RETRY_AFTER_S == 3600.0
