"""Kubernetes objects from files, as kubectl reads them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from hearth.api.base import API_VERSION, GROUP, Json
from hearth.api.kinds import KINDS


class FileError(Exception):
    """A file that was named cannot be used; the message says why."""


def read_text(path: Path) -> str:
    """The text of a file; `-` is standard input. Raises FileError where it cannot be read."""
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except OSError as error:
        raise FileError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from error


def read_objects(text: str, name: str) -> list[Json]:
    """The objects of a YAML text: documents, or Lists of them.

    Raises FileError where the text is not YAML or holds something else.
    """
    try:
        # A date, and a key that is a number, are text in JSON, which is all that Kubernetes has.
        documents = [json.loads(json.dumps(d, default=str)) for d in yaml.safe_load_all(text) if d is not None]
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise FileError(f"{name} is not YAML: {error}") from error
    return [_object(item, name) for document in documents for item in _items(document)]


def read_resources(text: str, name: str) -> list[Json]:
    """The Hearth resources of a YAML text; objects of other groups are left out.

    Raises FileError where there is none, or one of a kind or version that Hearth does not have.
    """
    served = {kind.kind for kind in KINDS}
    found = [o for o in read_objects(text, name) if o.get("apiVersion", "").partition("/")[0] == GROUP]
    if not found:
        raise FileError(f"{name} holds no {', '.join(sorted(served))} of {GROUP}")
    for resource in found:
        if resource["kind"] not in served or resource["apiVersion"] != API_VERSION:
            raise FileError(
                f"{name}: there is no {resource['kind']} in {resource['apiVersion']}, only "
                f"{', '.join(sorted(served))} in {API_VERSION}"
            )
        if not isinstance(resource.get("spec"), dict):
            raise FileError(f"{name}: {resource['kind']} {resource['metadata']['name']} has no spec")
    return found


def _items(document: Any) -> Iterable[Any]:
    items = document.get("items") if isinstance(document, dict) else None
    return items if isinstance(items, list) else () if _is_empty_list(document) else [document]


def _is_empty_list(document: Any) -> bool:
    return isinstance(document, dict) and "items" in document and document["items"] is None


def _object(item: Any, name: str) -> Json:
    """An object as the API server takes it: what is null in the metadata, as templates leave it, is not there."""
    meta = item.get("metadata") if isinstance(item, dict) else None
    if not isinstance(meta, dict) or not _is_text(item.get("kind")) or not _is_text(meta.get("name")):
        raise FileError(f"{name}: expected Kubernetes objects with kind and metadata.name, found {item!r:.80}")
    meta = {field: value for field, value in meta.items() if value is not None}
    wrong = [f"metadata.{field}" for field in ("labels", "annotations") if not isinstance(meta.get(field, {}), dict)]
    wrong += [] if isinstance(meta.get("namespace", ""), str) else ["metadata.namespace"]
    wrong += [] if isinstance(item.get("apiVersion", ""), str) else ["apiVersion"]
    if wrong:
        raise FileError(f"{name}: {item['kind']} {meta['name']} has a wrong {wrong[0]}")
    # The API server takes no status from a file either.
    ignored = () if isinstance(item.get("status"), dict) else ("status",)
    return {field: value for field, value in item.items() if field not in ignored} | {"metadata": meta}


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)
