"""What a server's answer makes of a document behind https://."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from hearth_indexer import download as module
from hearth_indexer.documents import RawDocument
from hearth_indexer.download import download
from hearth_indexer.outcome import UnavailableError

Serve = Callable[[Callable[[httpx.Request], httpx.Response]], None]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Has a function answer in place of every server."""
    made = httpx.Client

    def serve(answer: Callable[[httpx.Request], httpx.Response]) -> None:
        transport = httpx.MockTransport(answer)
        monkeypatch.setattr(module.httpx, "Client", lambda **more: made(transport=transport, **more))

    return serve


@pytest.mark.parametrize(
    ("answer", "said", "advice"),
    [
        (httpx.Response(401), "answers 401 Unauthorized", "the Secret that the source's secretRef names"),
        (httpx.Response(403), "answers 403 Forbidden", "the Secret that the source's secretRef names"),
        (httpx.Response(404), "answers 404 Not Found", "correct the source's uri"),
        (httpx.Response(302, headers={"location": "http://login"}), "redirects to http://login", ""),
        (httpx.Response(302, headers={"location": "/leave"}), "redirects more than 5 times", ""),
    ],
    ids=["no token", "a wrong token", "no page", "a login without TLS", "in a circle"],
)
def test_what_a_mended_secret_or_server_would_give_out_is_worth_another_try(
    served: Serve, answer: httpx.Response, said: str, advice: str
) -> None:
    served(lambda _: answer)

    with pytest.raises(UnavailableError, match=said) as refused:
        download("https://wiki/leave", {}, 1000)
    assert advice in refused.value.suggestion


@pytest.mark.parametrize(
    ("told", "media_type", "charset"),
    [
        ("text/html", "text/html", ""),
        ('Text/HTML; Charset="Windows-1252"', "text/html", "windows-1252"),
        ("", "", ""),
    ],
)
def test_what_a_server_says_of_a_document_comes_with_it(
    served: Serve, told: str, media_type: str, charset: str
) -> None:
    served(lambda _: httpx.Response(200, headers={"content-type": told}, content=b"30 days"))

    made = RawDocument("https://wiki/leave.md", "leave.md", b"30 days", media_type, charset)
    assert download("https://wiki/leave.md", {}, 1000) == made
