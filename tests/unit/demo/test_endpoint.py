"""The demo asks a busy endpoint again, and says in one line why it gives up."""

from __future__ import annotations

import httpx
import pytest
from hearth_demo import endpoint
from hearth_demo.steps import StepError

URL = "http://127.0.0.1:1"


@pytest.fixture
def replies(monkeypatch: pytest.MonkeyPatch) -> list[httpx.Response | httpx.TransportError]:
    waiting: list[httpx.Response | httpx.TransportError] = []

    def post(url: str, **_: object) -> httpx.Response:
        reply = waiting.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    monkeypatch.setattr(httpx, "post", post)
    monkeypatch.setattr(endpoint, "PAUSE_SECONDS", 0.0)
    return waiting


def test_a_busy_endpoint_is_asked_again(replies: list[httpx.Response | httpx.TransportError]) -> None:
    replies += [httpx.Response(503, text="busy"), httpx.ReadTimeout("slow"), httpx.Response(200, json={"id": "1"})]
    assert endpoint.chat(URL, {}) == {"id": "1"}


def test_a_refusal_is_told_at_once_in_the_endpoints_words(
    replies: list[httpx.Response | httpx.TransportError],
) -> None:
    replies += [httpx.Response(400, text="too long"), httpx.Response(200, json={})]
    with pytest.raises(StepError, match="400 too long"):
        endpoint.chat(URL, {})
    assert len(replies) == 1


def test_an_endpoint_that_stays_busy_ends_the_demo_with_its_last_words(
    replies: list[httpx.Response | httpx.TransportError],
) -> None:
    replies += [httpx.Response(503, text=f"busy {n}") for n in range(endpoint.ATTEMPTS)]
    with pytest.raises(StepError, match=f"503 busy {endpoint.ATTEMPTS - 1}"):
        endpoint.chat(URL, {})
