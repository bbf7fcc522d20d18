"""Fetches one file of rows over HTTPS."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx

from hearth_trainer.config import SourceConfig, secret
from hearth_trainer.errors import BadDataError, UnavailableError
from hearth_trainer.space import room_for

PASSING = (408, 425, 429)
"""Refusals that another try may not meet."""


def download(source: SourceConfig, space: Path) -> Path:
    """The file at the source's URL, in a folder of `space` that no other URL writes to.

    The source's token goes to the URL's own host; httpx leaves it out of a redirect to another one.

    Raises BadDataError where the server answers no, UnavailableError where it does not answer.
    """
    target = target_of(source.path, space)
    token = secret(source.token_env)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with httpx.stream("GET", source.path, headers=headers, follow_redirects=True, timeout=60) as reply:
            _refuse(source.path, reply)
            with room_for(source.path, space):
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    for piece in reply.iter_bytes():
                        file.write(piece)
    except httpx.LocalProtocolError as error:
        # This side refuses to send the request, and says so by quoting it: its headers may hold the token.
        message = f"{source.path} cannot be asked: {type(error).__name__}"
        raise UnavailableError("SourceUnavailable", message) from None
    except httpx.HTTPError as error:
        raise UnavailableError("SourceUnavailable", f"{source.path}: {error or type(error).__name__}") from error
    return target


def target_of(url: str, space: Path) -> Path:
    """Where the file at `url` goes. It keeps its name: messages tell it, and its suffix says how it is read."""
    name = re.sub(r"[^\w.-]+", "_", unquote(urlsplit(url).path.rsplit("/", 1)[-1]))[-100:].lstrip(".")
    return space / f"rows-{hashlib.sha256(url.encode()).hexdigest()[:16]}" / (name or "rows.jsonl")


def _refuse(url: str, reply: httpx.Response) -> None:
    for step in (*reply.history, reply):
        if step.url.scheme != "https":
            raise BadDataError("DataNotFound", f"{url} redirects to {step.url}, which is not https://", "correct it")
    if reply.is_client_error and reply.status_code not in PASSING:
        advice = "correct the URL"
        if reply.status_code in (401, 403):
            advice = "name a Secret with the key token in the source's secretRef"
        raise BadDataError("DataNotFound", f"{url} answered {reply.status_code}", advice)
    reply.raise_for_status()
