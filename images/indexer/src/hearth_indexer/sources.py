"""Finds the documents of a source: files under a mount, or one https:// URL."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from hearth_indexer.documents import RawDocument, Skipped
from hearth_indexer.download import download
from hearth_indexer.outcome import BadDataError
from hearth_indexer.settings import Source, bearer

FILE_LIMIT = 64 * 2**20
"""Bytes of one document; a larger file is skipped."""


def collect(source: Source) -> Iterator[RawDocument | Skipped]:
    """The documents of one source, in a stable order.

    Raises BadDataError where a mounted source is missing, UnavailableError where a server gives no document.
    """
    if source.path is None:
        yield download(source.uri, bearer(source.token_env), FILE_LIMIT)
        return
    root = Path(source.path)
    if root.is_file():
        yield _read(source.uri, root)
        return
    if not root.is_dir():
        raise BadDataError(
            f"source {source.name}: {source.uri} holds no such file or folder", "correct the path in uri"
        )
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        relative = path.relative_to(root)
        if _hidden(relative) or not chosen(relative.as_posix(), source.include, source.exclude):
            continue
        yield _read(f"{source.uri.rstrip('/')}/{relative.as_posix()}", path)


def chosen(path: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether the globs take this relative path. `exclude` wins; no `include` takes all; `**/` also matches nothing."""
    if any(_matches(path, pattern) for pattern in exclude):
        return False
    return not include or any(_matches(path, pattern) for pattern in include)


def _matches(path: str, pattern: str) -> bool:
    """A glob as in .gitignore: `*` stays within a folder, `**` crosses folders, a bare name matches at any depth."""
    if "/" not in pattern:
        return fnmatch.fnmatchcase(path.rsplit("/", 1)[-1], pattern)
    return re.fullmatch(_regex(pattern.lstrip("/")), path) is not None


def _regex(pattern: str) -> str:
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(meaning.get(part, re.escape(part)) for part in parts)


def _hidden(relative: Path) -> bool:
    """Dot files, and the `..data` folders by which the kubelet swaps a ConfigMap's content."""
    return any(part.startswith(".") for part in relative.parts)


def _read(uri: str, path: Path) -> RawDocument | Skipped:
    size = path.stat().st_size
    if size > FILE_LIMIT:
        return Skipped(uri, f"{size / 2**20:.0f} MiB, the limit is {FILE_LIMIT // 2**20} MiB")
    try:
        return RawDocument(uri, path.name, path.read_bytes())
    except OSError as error:
        return Skipped(uri, f"cannot be read: {error.strerror}")
