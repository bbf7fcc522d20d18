"""API keys from a mounted Secret, read again when it changes."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from pathlib import Path

from hearth_gateway.errors import unauthorized

CHECK_SECONDS = 5.0
"""How often the mounted Secret is looked at; the kubelet renews it about once a minute."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who holds a key: the Secret's entry, and the user and groups that it may name."""

    entry: str
    user: str
    groups: tuple[str, ...] = ()


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
        seen = tuple((p.name, p.stat().st_mtime_ns, p.stat().st_size) for p in files)
        if seen != self._seen:
            self._keys = [key for p in files if (key := _read(p)) is not None]
            self._seen = seen

    def _files(self) -> list[Path]:
        if not self._directory.is_dir():
            return []
        # A Secret volume holds links beside a hidden folder of the current version.
        return sorted(p for p in self._directory.iterdir() if not p.name.startswith(".") and p.is_file())


def _read(path: Path) -> tuple[bytes, Caller] | None:
    """One entry: the key itself, or JSON {"key", "user", "groups"}. An empty one lets nobody in."""
    text = path.read_text(encoding="utf-8").strip()
    key, user, groups = text, path.name, []
    if text.startswith("{"):
        try:
            entry = json.loads(text)
            key, user, groups = str(entry["key"]), str(entry.get("user", path.name)), list(entry.get("groups", []))
        except (ValueError, KeyError, TypeError):
            return None
    if not key:
        return None
    return hashlib.sha256(key.encode()).digest(), Caller(path.name, user, tuple(str(g) for g in groups))
