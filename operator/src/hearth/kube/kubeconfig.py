"""Kubeconfig files, read as kubectl reads them: several become one, in which the first that names something wins."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hearth.api.base import Json


class KubeconfigError(Exception):
    """A kubeconfig cannot be used; the message names the file and says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One cluster, user or context, with the file it stands in: paths are relative to that."""

    content: Json
    file: Path

    def text(self, name: str) -> str:
        """A field that must be there. Raises KubeconfigError where it is not."""
        if not self.content.get(name):
            raise KubeconfigError(f"{self.file}: {name} is missing")
        return str(self.content[name])

    def data(self, name: str) -> bytes | None:
        """What stands in `name`-data, or in the file that `name` gives. Raises KubeconfigError."""
        try:
            if inline := self.content.get(f"{name}-data"):
                return base64.b64decode(str(inline))
            if path := self.content.get(name):
                return (self.file.parent / str(path)).read_bytes()
        except OSError as error:
            raise KubeconfigError(f"{self.file}: {name} {error.filename}: {error.strerror}") from error
        except ValueError as error:
            raise KubeconfigError(f"{self.file}: {name}-data is not base64: {error}") from error
        return None


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """The files in the order in which they were named."""

    files: tuple[tuple[Path, Json], ...]

    @property
    def current_context(self) -> str | None:
        """The first that a file names."""
        return next((str(c["current-context"]) for _, c in self.files if c.get("current-context")), None)

    def entry(self, section: str, name: object, field: str) -> Entry:
        """The first entry of this name. Raises KubeconfigError where there is none."""
        for file, entry in self._entries(section):
            if entry.get("name") == name:
                content = entry.get(field)
                return Entry(content if isinstance(content, dict) else {}, file)
        known = ", ".join(str(entry.get("name")) for _, entry in self._entries(section)) or "none"
        raise KubeconfigError(f"{self}: {section} has no entry named {name!r} (found: {known})")

    def _entries(self, section: str) -> Iterator[tuple[Path, Json]]:
        for file, content in self.files:
            listed = content.get(section)
            for entry in listed if isinstance(listed, list) else ():
                if isinstance(entry, dict):
                    yield file, entry

    def __str__(self) -> str:
        """The files' names."""
        return os.pathsep.join(str(file) for file, _ in self.files)


def paths_of(variable: str) -> tuple[Path, ...]:
    """The paths in a value of KUBECONFIG; empty ones are left out."""
    return tuple(Path(part) for part in variable.split(os.pathsep) if part)


def read(paths: Sequence[Path]) -> Kubeconfig:
    """The files' contents. Raises KubeconfigError where one cannot be read."""
    return Kubeconfig(tuple((path, _content(path)) for path in paths))


def _content(path: Path) -> Json:
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise KubeconfigError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise KubeconfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict | None):
        raise KubeconfigError(f"{path}: expected a kubeconfig, found {content!r:.40}")
    return content or {}
