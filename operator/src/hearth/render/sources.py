"""Turns the URI of a model or of data into volumes, mounts and the path to read."""

from __future__ import annotations

from dataclasses import dataclass

from hearth.api.base import Json

TOKEN_KEY = "token"  # noqa: S105 - the name of a Secret's key


@dataclass(frozen=True, slots=True)
class Mount:
    """What a pod needs to read one source. `path` is a path in the container, or for hf:// and https:// the URI."""

    volumes: tuple[Json, ...]
    mounts: tuple[Json, ...]
    path: str


class UnsupportedUriError(ValueError):
    """The URI's scheme is none that can be mounted."""


def mount(uri: str, name: str, at: str) -> Mount:
    """How to read `uri` from a container: a volume called `name`, mounted read-only at `at`.

    A claim is mounted whole and the path inside it is appended: with `subPath` the kubelet would try to create a
    missing folder on a read-only volume and the pod would hang, instead of a reader that says what is missing.
    An OCI artifact is an image volume (Kubernetes 1.35 or newer without a feature gate).
    """
    scheme, _, rest = uri.partition("://")
    here: Json = {"name": name, "mountPath": at, "readOnly": True}
    if scheme == "pvc":
        claim, _, inside = rest.partition("/")
        volume: Json = {"name": name, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
        return Mount((volume,), (here,), f"{at}/{inside.strip('/')}".rstrip("/"))
    if scheme == "configMap":
        config, _, key = rest.partition("/")
        volume = {"name": name, "configMap": {"name": config}}
        return Mount((volume,), (here,), f"{at}/{key}".rstrip("/"))
    if scheme == "oci":
        volume = {"name": name, "image": {"reference": rest, "pullPolicy": "IfNotPresent"}}
        return Mount((volume,), (here,), at)
    if scheme in ("hf", "https"):
        return Mount((), (), uri)
    raise UnsupportedUriError(f"{uri!r}: expected configMap://, pvc://, oci://, hf:// or https://")


def hub_repository(uri: str) -> tuple[str, str | None]:
    """The repository and revision of an `hf://repository[@revision]` URI."""
    repository, _, revision = uri.removeprefix("hf://").partition("@")
    return repository, revision or None


def at_commit(path: str, commit: str | None) -> str:
    """An `hf://` URI with the commit in place of its branch; any other path, or without a commit, as it is."""
    if commit is None or not path.startswith("hf://"):
        return path
    return f"hf://{hub_repository(path)[0]}@{commit}"


def hub_token_env(secret: str | None) -> list[Json]:
    """HF_TOKEN from the key `token` of the named Secret; nothing where no Secret is named."""
    if secret is None:
        return []
    return [token_env("HF_TOKEN", secret)]


def token_env(variable: str, secret: str) -> Json:
    """The variable with the key `token` of the named Secret."""
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": TOKEN_KEY}}}
