"""Finds the documents of a source: files under a mount, or one https:// URL."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from hearth_indexer.documents import RawDocument, Skipped
from hearth_indexer.download import download
from hearth_indexer.outcome import BadDataError, UnavailableError
from hearth_indexer.settings import Source, bearer

FILE_LIMIT = 64 * 2**20
"""Bytes of one document; a larger file is skipped."""


def collect(source: Source) -> Iterator[RawDocument | Skipped]:
    """The documents of one source, in a stable order.

    Raises BadDataError where a mounted source is missing, UnavailableError where it may not be read, or a server gives
    no document.
    """
    if source.path is None:
        yield download(source.uri, bearer(source.token_env), FILE_LIMIT)
        return
    root = Path(source.path)
    if not stat.S_ISDIR(_mode(source, root)):
        yield _read(source.uri, root)
        return
    files, unread = _listed(root)
    for folder, reason in unread:
        # What is excluded is not missed. Behind the slash is nothing: only a pattern that takes all of it matches.
        if chosen(f"{folder}/", (), source.exclude):
            yield Skipped(_uri_of(source, folder), reason)
    for path in files:
        relative = path.relative_to(root)
        if chosen(relative.as_posix(), source.include, source.exclude):
            yield _read(_uri_of(source, relative), path)


def _mode(source: Source, root: Path) -> int:
    where = f"source {source.name}: {source.uri}"
    try:
        return root.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadDataError(f"{where} holds no such file or folder", "correct the path in uri") from error
    except OSError as error:
        raise UnavailableError(f"{where} {_unreadable(error)}", "let user 65532 read it") from error


def _listed(root: Path) -> tuple[list[Path], list[tuple[Path, str]]]:
    """All files below a folder, sorted; and the folders that cannot be listed, relative to it, each with the reason."""
    unread: list[tuple[Path, str]] = []

    def miss(error: OSError) -> None:
        unread.append((Path(error.filename).relative_to(root), _unreadable(error)))

    files: list[Path] = []
    for folder, folders, names in os.walk(root, onerror=miss):
        folders[:] = [name for name in folders if not _hidden(name)]
        files += [Path(folder, name) for name in names if not _hidden(name)]
    return sorted(files), sorted(unread)


def _uri_of(source: Source, relative: Path) -> str:
    return f"{source.uri.rstrip('/')}/{relative.as_posix()}" if relative.parts else source.uri


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


def _hidden(name: str) -> bool:
    """Dot files, the `..data` folders by which the kubelet swaps a ConfigMap's content, and a file system's own."""
    return name.startswith(".") or name == "lost+found"


def _read(uri: str, path: Path) -> RawDocument | Skipped:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            return Skipped(uri, "is no regular file")
        if found.st_size > FILE_LIMIT:
            return Skipped(uri, f"{found.st_size / 2**20:.0f} MiB, the limit is {FILE_LIMIT // 2**20} MiB")
        return RawDocument(uri, path.name, path.read_bytes())
    except OSError as error:
        return Skipped(uri, _unreadable(error))


def _unreadable(error: OSError) -> str:
    return f"cannot be read: {error.strerror}"
