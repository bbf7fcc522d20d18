"""Fetches one document over HTTPS."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import httpx

from hearth_indexer.documents import RawDocument, Skipped
from hearth_indexer.outcome import UnavailableError
from hearth_indexer.retry import answered

REDIRECTS = 5


def download(url: str, bearer: dict[str, str], limit: int) -> RawDocument | Skipped:
    """The document at `url`; skipped where it is larger than `limit` bytes.

    `bearer` is the Authorization header, or empty: it never goes to another host.

    Raises UnavailableError where the server does not answer, or answers no: a token, its Secret or the server may be
    mended, and nothing tells of that but another try.
    """
    with httpx.Client(timeout=60, follow_redirects=False) as client:
        target = url
        for _ in range(REDIRECTS + 1):
            same_host = urlsplit(target).netloc == urlsplit(url).netloc
            content, response = _get(client, target, bearer if same_host else {}, limit)
            if response.is_redirect:
                target = str(httpx.URL(target).join(response.headers["location"]))
                if not target.startswith("https://"):
                    raise UnavailableError(f"{url} redirects to {target}, which is not https://")
                continue
            return _document(url, response, content, limit)
    raise UnavailableError(f"{url} redirects more than {REDIRECTS} times")


def _get(client: httpx.Client, url: str, headers: dict[str, str], limit: int) -> tuple[bytes, httpx.Response]:
    content = b""

    def send() -> httpx.Response:
        nonlocal content
        content = b""
        with client.stream("GET", url, headers=headers) as response:
            for part in response.iter_bytes():
                content += part
                if len(content) > limit:
                    break
            return response

    response = answered(send, url, patience=120)
    return content, response


def _document(url: str, response: httpx.Response, content: bytes, limit: int) -> RawDocument | Skipped:
    if response.status_code in (401, 403):
        raise UnavailableError(
            f"{url} answers {response.status_code} {response.reason_phrase}",
            "put a token that may read it under the key token of the Secret that the source's secretRef names",
        )
    if response.status_code >= 400:
        raise UnavailableError(
            f"{url} answers {response.status_code} {response.reason_phrase}", "correct the source's uri, or the server"
        )
    if len(content) > limit:
        return Skipped(url, f"larger than the limit of {limit // 2**20} MiB")
    name = unquote(urlsplit(url).path.rsplit("/", 1)[-1])
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return RawDocument(url, name, content, media_type, response.charset_encoding or "")
