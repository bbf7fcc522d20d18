"""Names of children: predictable, within the limits of what they name, and never colliding when cut."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

LABEL_LIMIT = 63
"""Longest label value, and longest DNS-1123 label: Service and Job names, which end up in both."""

STATEFUL_SET_LIMIT = 52
"""A StatefulSet's revision label is its name, a dash and a ten-character hash, within 63 characters."""


def digest8(value: Any) -> str:
    """Eight hexadecimal characters that stand for a JSON value: equal values, equal digests."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:8]


def fit(name: str, limit: int = LABEL_LIMIT) -> str:
    """`name` if it is short enough, else its beginning and a hash of all of it."""
    if len(name) <= limit:
        return name
    return f"{name[: limit - 9].rstrip('-.')}-{digest8(name)}"


def child_name(owner: str, suffix: str = "", limit: int = LABEL_LIMIT) -> str:
    """The name of a child: `owner-suffix`, with the owner's part cut and hashed where the whole would be too long.

    Dots, which resource names may hold and Service names may not, become dashes (and are told apart by the hash).
    """
    room = limit - len(suffix) - 1 if suffix else limit
    stem = fit(owner, room)
    if "." in stem:
        stem = f"{stem.replace('.', '-')[: room - 9]}-{digest8(owner)}"
    return f"{stem}-{suffix}" if suffix else stem
