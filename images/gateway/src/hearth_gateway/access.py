"""API keys from a mounted Secret, read again when it changes."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path

from hearth_gateway.errors import unauthorized

log = logging.getLogger("hearth.gateway")

CHECK_SECONDS = 5.0
"""How often the mounted Secret is looked at; the kubelet renews it about once a minute."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who holds a key: the Secret's entry, and the user that it may name."""

    entry: str
    user: str


ANYONE = Caller(entry="", user="anonymous")


class KeyStore:
    """The keys of one directory. Only their SHA-256 digests are kept in memory."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)
        self._keys: list[tuple[bytes, Caller]] = []
        self._seen: object = None
        self._checked = 0.0

    @property
    def empty(self) -> bool:
        """Whether there is no key at all, so that nobody could be let in."""
        self._refresh()
        return not self._keys

    def caller(self, authorization: str | None) -> Caller:
        """The holder of the key in an Authorization header. Raises ApiError (401).

        Every key is compared, each in constant time: how long it takes tells nothing about the keys.
        """
        self._refresh()
        scheme, _, presented = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not presented.strip():
            raise unauthorized("no API key: send it as `Authorization: Bearer KEY`")
        wanted = hashlib.sha256(presented.strip().encode()).digest()
        found: Caller | None = None
        for digest, caller in self._keys:
            if hmac.compare_digest(digest, wanted):
                found = caller
        if found is None:
            raise unauthorized("the API key is not known to this service")
        return found

    def _refresh(self) -> None:
        now = time.monotonic()
        if self._seen is not None and now - self._checked < CHECK_SECONDS:
            return
        self._checked = now
        files = self._files()
        seen = tuple((p.name, _version(p)) for p in files)
        if seen != self._seen:
            self._keys = [key for p in files if (key := _read(p)) is not None]
            self._seen = seen

    def _files(self) -> list[Path]:
        try:
            # A Secret volume holds links beside a hidden folder of the current version.
            return sorted(p for p in self._directory.iterdir() if not p.name.startswith(".") and p.is_file())
        except OSError:
            return []


def _version(path: Path) -> tuple[int, int] | None:
    """Changes with the file; None where the kubelet has just swapped it away: the next look finds the new one."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _read(path: Path) -> tuple[bytes, Caller] | None:
    """One entry: the key itself, or JSON {"key", "user"}. One that is neither lets nobody in, and is told."""
    try:
        key, caller = _entry(path.name, path.read_text(encoding="utf-8").strip())
    except (OSError, ValueError, RecursionError) as error:
        # Never the content: a key that is only mistyped would stand in the log.
        log.warning("API key entry %s lets nobody in: %s", path.name, _reason(error))
        return None
    return hashlib.sha256(key.encode()).digest(), caller


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"it cannot be read: {error.strerror}"
    if isinstance(error, UnicodeError):
        return "it is not UTF-8 text"
    if isinstance(error, json.JSONDecodeError | RecursionError):
        return "it begins with { and is not JSON"
    return str(error)


def _entry(name: str, text: str) -> tuple[str, Caller]:
    """The key and who holds it. Raises ValueError."""
    found = json.loads(text) if text.startswith("{") else {"key": text}
    key, user = found.get("key"), found.get("user", name)
    if not isinstance(key, str) or not key.strip():
        raise ValueError("the key must be text that is not empty")
    if not isinstance(user, str):
        raise ValueError("user must be text")
    return key.strip(), Caller(name, user)
